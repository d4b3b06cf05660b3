//! What happens to records, as the log has it.

use super::read::Reader;
use super::{Damaged, write};
use crate::change::SessionNumber;

const PUT: u8 = 1;
const DELETE: u8 = 2;
const END: u8 = 3;

/// What happens to a record, or to all records of a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Step<'a> {
    /// The record with a key has this value.
    Put(&'a [u8], &'a [u8]),
    /// There is no record with this key.
    Delete(&'a [u8]),
    /// There is nothing of a session.
    End(SessionNumber),
}

/// Appends a step.
pub(crate) fn write_step(out: &mut Vec<u8>, step: Step<'_>) {
    match step {
        Step::Put(key, value) => {
            out.push(PUT);
            write::bytes(out, key);
            write::bytes(out, value);
        }
        Step::Delete(key) => {
            out.push(DELETE);
            write::bytes(out, key);
        }
        Step::End(session) => {
            out.push(END);
            write::number(out, session.0);
        }
    }
}

/// Visits the steps in `bytes`.
pub(crate) fn read_steps(bytes: &[u8], mut visit: impl FnMut(Step<'_>)) -> Result<(), Damaged> {
    let mut reader = Reader(bytes);
    while !reader.0.is_empty() {
        let step = match reader.u8()? {
            PUT => Step::Put(reader.bytes()?, reader.bytes()?),
            DELETE => Step::Delete(reader.bytes()?),
            END => Step::End(SessionNumber(reader.number()?)),
            _ => return Err(Damaged("a change is of an unknown kind")),
        };
        visit(step);
    }
    Ok(())
}
