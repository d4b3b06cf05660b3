//! The numbers of this node's lives: each higher than all before, also across restarts.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use log::warn;

use crate::whole_file;

/// The file in the data folder that has the last one.
const FILE: &str = "INCARNATION";

/// Gives this node's lives their numbers: the time, in milliseconds since 1970, unless a
/// former one was higher because the clock was.
#[derive(Debug)]
pub(super) struct Incarnations {
    last: u64,
    folder: Option<PathBuf>,
}

impl Incarnations {
    /// Those of a node whose data are in `folder`, if it has one.
    pub(super) fn new(folder: Option<&Path>) -> Self {
        let last = folder.map_or(0, |folder| last(&folder.join(FILE)));
        let folder = folder.map(Path::to_owned);
        Self { last, folder }
    }

    /// The next one.
    pub(super) fn next(&mut self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(1, |since| since.as_millis() as u64);
        self.last = now.max(self.last.saturating_add(1));
        if let Some(folder) = &self.folder
            && let Err(error) = whole_file::replace(folder, FILE, &format!("{}\n", self.last))
        {
            // The clock usually does: only one that was set back makes it matter.
            warn!("{} cannot be written: {error}", folder.join(FILE).display());
        }
        self.last
    }
}

/// The last one that was written.
fn last(file: &Path) -> u64 {
    match fs::read_to_string(file) {
        Ok(text) => text.trim().parse().unwrap_or(0),
        Err(error) => {
            if error.kind() != ErrorKind::NotFound {
                warn!("{} cannot be read: {error}", file.display());
            }
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_life_has_a_higher_number_even_if_the_clock_was_set_back() {
        let folder = std::env::temp_dir().join(format!("incarnation-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let first = Incarnations::new(Some(&folder)).next();
        let mut lives = Incarnations::new(Some(&folder));
        let (second, third) = (lives.next(), lives.next());
        assert!(first < second && second < third);
        let future = u64::MAX / 2;
        fs::write(folder.join(FILE), future.to_string()).unwrap();
        assert_eq!(Incarnations::new(Some(&folder)).next(), future + 1);
        fs::remove_dir_all(folder).unwrap();
    }
}
