//! What holds for every packet, and for every sequence of bytes.

mod hostile;
mod round_trip;
pub(super) mod strategies;
