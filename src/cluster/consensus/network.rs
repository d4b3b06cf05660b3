//! The cores' talk: each request is one of [`rpc`], in JSON, with the cluster and both ends.

use std::future::Future;
use std::rc::Weak;
use std::time::Duration;

use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse};
use openraft::raft::{TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse};
use openraft::{AnyError, BasicNode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Snapshot, Types, Vote};
use crate::cluster::Shared;
use crate::cluster::rpc::{self, CallError, kind};

/// A request with its sender and receiver, as logs and not as names: a node that comes back
/// without its data is somebody else.
#[derive(Deserialize, Serialize)]
pub(super) struct Envelope<T> {
    pub(super) cluster: u64,
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) what: T,
}

/// Makes a client for each other node.
pub(super) struct Network {
    pub(super) shared: Weak<Shared>,
    pub(super) cluster: u64,
    pub(super) own: u64,
}

/// Speaks with one other node.
pub(super) struct Client {
    shared: Weak<Shared>,
    cluster: u64,
    own: u64,
    target: u64,
    name: String,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Client {
        Client {
            shared: self.shared.clone(),
            cluster: self.cluster,
            own: self.own,
            target,
            name: node.addr.clone(),
        }
    }
}

impl Client {
    async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        kind: u8,
        what: Q,
        patience: Duration,
    ) -> Result<A, RPCError<Types>> {
        let network = |error: &dyn core::fmt::Display| {
            RPCError::Network(NetworkError::new(&AnyError::error(error.to_string())))
        };
        let Some(shared) = self.shared.upgrade() else {
            return Err(network(&"this node stops"));
        };
        let envelope = Envelope {
            cluster: self.cluster,
            from: self.own,
            to: self.target,
            what,
        };
        let body = serde_json::to_vec(&envelope).map_err(|error| network(&error))?;
        match rpc::call(&shared, &self.name, kind, &body, patience).await {
            Ok(body) => serde_json::from_slice(&body).map_err(|error| network(&error)),
            Err(error @ (CallError::NotConnected | CallError::Refused(_))) => {
                let error = AnyError::error(error.to_string());
                Err(RPCError::Unreachable(Unreachable::new(&error)))
            }
            Err(error) => Err(network(&error)),
        }
    }
}

impl RaftNetworkV2<Types> for Client {
    type SnapshotData = Vec<u8>;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        self.ask(kind::APPEND, request, option.hard_ttl()).await
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask(kind::VOTE, request, option.hard_ttl()).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask(kind::PRE_VOTE, request, option.hard_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let parcel = (vote, snapshot.meta, snapshot.snapshot);
        let sent = self.ask(kind::SNAPSHOT, parcel, option.hard_ttl());
        tokio::select! {
            sent = sent => Ok(sent?),
            closed = cancel => Err(closed.into()),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        self.ask(kind::HAND_OVER, request, option.hard_ttl()).await
    }
}
