//! The properties of MQTT 5.0: one table of what may stand where, one walk that
//! checks a packet's properties against it, and two views of what was checked.

mod publish;
mod section;
mod table;
mod user;

pub use publish::PublishProperties;
pub(super) use section::{Property, Section, Value};
pub(super) use table::{Carrier, id};
pub use user::UserProperties;
