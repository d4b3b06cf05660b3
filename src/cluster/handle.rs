//! What other threads may ask of the links.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;

use super::Shared;
use super::membership::change::{self, ChangeError};
use super::rpc::{self, CallError};

/// Orders that wait to be taken.
const WAITING_MAX: usize = 64;

/// Work for the thread that has the links.
type Order = Box<dyn FnOnce(Rc<Shared>) -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// Running links, for other threads. Its functions may be awaited in any runtime.
#[derive(Clone, Debug)]
pub(crate) struct Handle(mpsc::Sender<Order>);

/// The end of all handles.
pub(super) struct Orders(mpsc::Receiver<Order>);

/// A handle, and where its orders come in.
pub(super) fn channel() -> (Handle, Orders) {
    let (send, receive) = mpsc::channel(WAITING_MAX);
    (Handle(send), Orders(receive))
}

impl Handle {
    /// Does something on the thread that has the links, where nothing may block. Nothing comes
    /// back if that thread has ended.
    pub(super) async fn run<T, F>(
        &self,
        work: impl FnOnce(Rc<Shared>) -> F + Send + 'static,
    ) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + 'static,
    {
        let (tell, told) = oneshot::channel();
        let order: Order =
            Box::new(move |shared| Box::pin(async move { _ = tell.send(work(shared).await) }));
        self.0.send(order).await.ok()?;
        told.await.ok()
    }

    /// Asks another node; see [`rpc`].
    pub(crate) async fn call(
        &self,
        node: &str,
        kind: u8,
        body: Vec<u8>,
        patience: Duration,
    ) -> Result<Vec<u8>, CallError> {
        let node = node.to_owned();
        let called = self.run(move |shared| async move {
            rpc::call(&shared, &node, kind, &body, patience).await
        });
        let ended = || Err(CallError::Lost("this node stops".to_owned()));
        called.await.unwrap_or_else(ended)
    }

    /// Joins the cluster of another node: `name@host` or `name@host:port`. This node must not be
    /// in a cluster with others. When it is done this node is a member; it keeps its clients.
    pub(crate) async fn join(&self, node: &str) -> Result<(), ChangeError> {
        let node = node.to_owned();
        let joined = self.run(move |shared| async move { change::join(&shared, &node).await });
        joined.await.unwrap_or_else(stops)
    }

    /// Says to the others that this node is about to stop, or is not any more: one that goes is
    /// given no sessions.
    pub(crate) async fn go(&self, goes: bool) {
        let go = move |shared: Rc<Shared>| async move { shared.hub.borrow_mut().go(goes) };
        self.run(go).await;
    }

    /// Leaves the cluster: the others have agreed when it is done, and this node is alone. It
    /// keeps its clients, and joins nobody before it is told to.
    pub(crate) async fn leave(&self) -> Result<(), ChangeError> {
        let left = self.run(move |shared| async move { change::leave(&shared).await });
        left.await.unwrap_or_else(stops)
    }

    /// Removes another member, by its name, whether or not it runs. If it does, it hears so and
    /// is alone.
    pub(crate) async fn force_leave(&self, name: &str) -> Result<(), ChangeError> {
        let name = name.to_owned();
        let removed =
            self.run(move |shared| async move { change::force_leave(&shared, &name).await });
        removed.await.unwrap_or_else(stops)
    }

    /// Requests of a kind from other nodes are answered by `handler` from now on. It runs on
    /// the thread that has the links: what takes long belongs elsewhere.
    pub(crate) async fn answer<F>(
        &self,
        kind: u8,
        handler: impl Fn(String, Vec<u8>) -> F + Send + 'static,
    ) where
        F: Future<Output = Result<Vec<u8>, String>> + 'static,
    {
        let register = move |shared: Rc<Shared>| async move {
            shared.handlers.on(kind, move |request| {
                handler(request.from.into(), request.body)
            });
        };
        self.run(register).await;
    }
}

fn stops() -> Result<(), ChangeError> {
    Err(ChangeError::Refused("this node stops".to_owned()))
}

impl Orders {
    /// Does what is ordered, for ever.
    pub(super) async fn serve(mut self, shared: Rc<Shared>) {
        while let Some(order) = self.0.recv().await {
            spawn_local(order(Rc::clone(&shared)));
        }
    }
}
