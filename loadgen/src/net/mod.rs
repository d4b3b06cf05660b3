//! Sockets: one io_uring per thread, and nothing of MQTT.
//!
//! The scenario works on [`Links`], which is plain data: output buffers, and lists of what to
//! open, flush and close. [`Engine`] carries that out once per turn and hands back what the
//! kernel has completed. `unsafe` is confined to `system`, `ring` and `buffers`.

mod address;
mod buffers;
mod engine;
mod links;
mod ring;
pub mod system;
mod waker;

pub use address::{Sources, Targets};
pub use engine::{Engine, Happening};
pub use links::{Closing, Links};
pub use waker::Waker;

#[cfg(test)]
mod tests;
