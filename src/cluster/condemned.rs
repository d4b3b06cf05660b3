//! The lives of other nodes that this one has promised never to answer again.
//!
//! They are on the disk before anybody hears of the promise: a core that forgot one with its
//! process could give a lease to a node that a majority has given up.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use log::{error, warn};

use crate::whole_file;

/// The file in the data folder: a node and its last condemned life in each line.
const FILE: &str = "CONDEMNED";

/// What was promised, by node. A later life follows only when the one before is over, so the
/// last one is enough.
#[derive(Debug)]
pub(super) struct Condemned {
    lives: BTreeMap<Box<str>, u64>,
    folder: Option<PathBuf>,
}

impl Condemned {
    /// What former processes have promised whose data are in `folder`.
    pub(super) fn new(folder: Option<&Path>) -> Self {
        let lives = folder.map(|folder| read(&folder.join(FILE)));
        Self {
            lives: lives.unwrap_or_default(),
            folder: folder.map(Path::to_owned),
        }
    }

    /// All of it.
    pub(super) fn lives(&self) -> impl Iterator<Item = (Box<str>, u64)> {
        self.lives.iter().map(|(node, life)| (node.clone(), *life))
    }

    /// Adds one. When this returns it is on the disk, or the log says that it is not.
    pub(super) fn add(&mut self, node: &str, incarnation: u64) {
        let life = self.lives.entry(node.into()).or_default();
        *life = incarnation.max(*life);
        if let Err(why) = self.write() {
            error!(
                "{FILE} in the data folder cannot be written: {why}; if this node restarts before \
                 {node} is back, the two may serve the same sessions"
            );
        }
    }

    /// Nothing more is to be remembered of a node.
    pub(super) fn forget(&mut self, node: &str) {
        if self.lives.remove(node).is_some()
            && let Err(why) = self.write()
        {
            warn!("{FILE} in the data folder cannot be written: {why}");
        }
    }

    fn write(&self) -> io::Result<()> {
        match &self.folder {
            Some(folder) => whole_file::replace(folder, FILE, &text(&self.lives)),
            None => Ok(()),
        }
    }
}

fn read(file: &Path) -> BTreeMap<Box<str>, u64> {
    match fs::read_to_string(file) {
        Ok(text) => text.lines().filter_map(line).collect(),
        Err(why) => {
            if why.kind() != ErrorKind::NotFound {
                warn!("{} cannot be read: {why}", file.display());
            }
            BTreeMap::new()
        }
    }
}

fn line(line: &str) -> Option<(Box<str>, u64)> {
    let (life, node) = line.split_once(' ')?;
    Some((node.into(), life.parse().ok()?))
}

/// A node and its life in each line.
fn text(lives: &BTreeMap<Box<str>, u64>) -> String {
    let lines = lives.iter().map(|(node, life)| format!("{life} {node}\n"));
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_promised_is_remembered_by_the_next_process() {
        let folder = std::env::temp_dir().join(format!("condemned-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut condemned = Condemned::new(Some(&folder));
        condemned.add("a@10.0.0.1", 5);
        condemned.add("b@10.0.0.2", 7);
        condemned.add("a@10.0.0.1", 9);
        let again = Condemned::new(Some(&folder));
        let lives: Vec<_> = again.lives().collect();
        assert_eq!(lives, [("a@10.0.0.1".into(), 9), ("b@10.0.0.2".into(), 7)]);
        condemned.forget("a@10.0.0.1");
        let left = Condemned::new(Some(&folder));
        assert_eq!(left.lives().collect::<Vec<_>>(), [("b@10.0.0.2".into(), 7)]);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn lines_that_are_damaged_are_left_out() {
        assert_eq!(line("7 a@b"), Some(("a@b".into(), 7)));
        for damaged in ["", "7", "x a@b", "-1 a@b"] {
            assert_eq!(line(damaged), None, "{damaged}");
        }
    }
}
