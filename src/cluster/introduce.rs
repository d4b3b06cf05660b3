//! Finding out who is at a place: connects, hears the hello, and ends the connection without
//! saying anything but the proof of the cookie. The other side takes no notice. Who it is decides
//! who of the two dials.

use std::cell::RefCell;
use std::rc::Rc;

use log::warn;
use quinn::Connection;
use shard_cluster::wire::{Frame, Hello};
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::Shared;
use super::connection::{CONTROL_FRAME_MAX, PATIENCE, prove};
use super::dial::{connect, direct, resolve};
use super::discovery::{self, Found, Met, Own, Place, Places, Strategy};
use super::ended::Ended;
use super::frames::Frames;
use super::proof::Side;
use super::seed::Seed;

/// Looks for other nodes for ever, and gets to know those that are found.
pub(super) async fn discover(shared: Rc<Shared>, strategy: Strategy, own: Own) {
    let places = Rc::new(RefCell::new(Places::default()));
    let found = |all: &[Found]| {
        let mut now = Vec::new();
        for found in all {
            match found {
                Found::Node(seed) => shared.know(seed.clone()),
                Found::Place(place) => now.push(place),
            }
        }
        let is_connected = |name: &str| shared.hub.borrow().is_connected(name);
        let due = places.borrow_mut().found(&now, is_connected);
        for place in due {
            spawn_local(ask(Rc::clone(&shared), Rc::clone(&places), place));
        }
    };
    discovery::run(strategy, own, found).await;
}

/// Finds out who is at a place.
async fn ask(shared: Rc<Shared>, places: Rc<RefCell<Places>>, place: Place) {
    let met = meet(&shared, &place).await.unwrap_or_else(Met::Nobody);
    if let Met::Node(name) = &met {
        shared.know(Seed {
            name: name.clone(),
            host: place.host.clone(),
            port: place.port,
        });
    }
    let line = places.borrow_mut().asked(&place, met);
    if let Some(line) = line {
        warn!("{line}");
    }
}

async fn meet(shared: &Rc<Shared>, place: &Place) -> Result<Met, String> {
    let mut error = String::new();
    for address in resolve(shared, &place.host, place.port).await? {
        match connect(shared, direct(shared), address).await {
            Err(why) => error = why.to_string(),
            Ok(connection) => {
                let heard = timeout(PATIENCE, hear(shared, &connection)).await;
                let heard = heard.unwrap_or_else(|_| Err("it says nothing".to_owned()));
                Ended::Asked.close(&connection);
                match heard {
                    Ok(met) => return Ok(met),
                    Err(why) => error = why,
                }
            }
        }
    }
    Err(error)
}

/// Waits for the hello of who is at the other end.
async fn hear(shared: &Rc<Shared>, connection: &Connection) -> Result<Met, String> {
    let proven = prove(shared, connection, Side::Dialer).await;
    // The stream stays open until the hello is there.
    let (_send, receive) = proven.map_err(|why| why.to_string())?;
    let mut frames = Frames::new(receive, CONTROL_FRAME_MAX);
    loop {
        if let Some((frame, _)) = frames.next().map_err(|why| why.to_string())? {
            return match frame {
                Frame::Hello(hello) => who(shared, &hello),
                _ => Err("it does not say hello".to_owned()),
            };
        }
        frames.read().await.map_err(|why| why.to_string())?;
    }
}

/// Who says hello.
fn who(shared: &Rc<Shared>, hello: &Hello<'_>) -> Result<Met, String> {
    let hub = shared.hub.borrow();
    if *hello.cluster != *hub.cluster() {
        return Err(format!(
            "{} belongs to the cluster {}",
            hello.node, hello.cluster
        ));
    }
    match *hello.node == *hub.name() {
        false => Ok(Met::Node(hello.node.to_owned())),
        true if hello.boot == hub.boot() => Ok(Met::Own),
        true => Err(format!(
            "the name {} is that of another node too",
            hello.node
        )),
    }
}
