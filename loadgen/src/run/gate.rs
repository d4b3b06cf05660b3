//! Where the workers of a run wait for each other.

use serde_json::Value;

/// Keeps worker processes in step. A single process passes every gate at once.
pub trait Gate {
    /// Waits until all workers have come to the gate `name`. Each brings a value; all get the
    /// values of all workers, in order of their numbers.
    fn arrive(&mut self, name: &str, brings: Value) -> Result<Vec<Value>, String>;

    /// Whether the whole run is to end early.
    fn is_interrupted(&mut self) -> bool {
        false
    }
}

/// The gate of a run in one process.
#[derive(Debug)]
pub struct Solo;

impl Gate for Solo {
    fn arrive(&mut self, _name: &str, brings: Value) -> Result<Vec<Value>, String> {
        Ok(vec![brings])
    }
}
