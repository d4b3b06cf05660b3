//! The brokers' processes, as they are looked at around each stage.

use crate::procfs::Usage;

/// The processes that are watched, one for each node.
#[derive(Debug, Clone)]
pub struct Brokers {
    pids: Vec<u32>,
    /// All of them were there once.
    is_seen: bool,
    /// The one that was found to have ended.
    ended: Option<u32>,
}

impl Brokers {
    /// Watches these processes, or none.
    pub const fn new(pids: Vec<u32>) -> Self {
        Self {
            pids,
            is_seen: false,
            ended: None,
        }
    }

    /// What each has used so far; nothing at all once one of them has ended. A broker that is
    /// not there at first is a mistake in the options; one that ends during the run is a result.
    pub fn sample(&mut self) -> Result<Vec<Usage>, String> {
        if self.ended.is_some() {
            return Ok(Vec::new());
        }
        let mut usages = Vec::with_capacity(self.pids.len());
        for pid in &self.pids {
            match Usage::read(*pid) {
                Ok(usage) => usages.push(usage),
                Err(_) if self.is_seen => {
                    self.ended = Some(*pid);
                    return Ok(Vec::new());
                }
                Err(error) => return Err(error),
            }
        }
        self.is_seen = true;
        Ok(usages)
    }

    /// What is wrong with them, if anything.
    pub fn problem(&self) -> Option<String> {
        self.ended.map(|pid| match self.pids.len() {
            1 => "the broker's process has ended".to_owned(),
            _ => format!("the broker's process {pid} has ended"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_that_ends_is_a_result_and_one_that_never_was_a_mistake() {
        assert!(Brokers::new(vec![u32::MAX]).sample().is_err());
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .spawn()
            .expect("a child");
        let own = std::process::id();
        let mut brokers = Brokers::new(vec![own, child.id()]);
        assert_eq!(brokers.sample().map(|usages| usages.len()), Ok(2));
        assert_eq!(brokers.problem(), None);
        let id = child.id();
        drop(child.stdin.take());
        child.wait().expect("an end");
        assert_eq!(brokers.sample().map(|usages| usages.len()), Ok(0));
        let problem = format!("the broker's process {id} has ended");
        assert_eq!(brokers.problem(), Some(problem));
    }
}
