//! A disk that is really full: a small file system of its own.

use std::process::Command;

use super::*;

/// A file system of 64 MiB.
pub(super) struct Small {
    folder: Folder,
    pub(super) mounted: PathBuf,
}

impl Small {
    /// Nothing where that is not permitted.
    pub(super) fn new() -> Option<Self> {
        let folder = Folder::new();
        let image = folder.0.join("image");
        fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
        ran("mkfs.ext4", &[Path::new("-q"), &image])
            .then(|| Self::mount(folder))
            .flatten()
    }

    fn mount(folder: Folder) -> Option<Self> {
        let (image, mounted) = (folder.0.join("image"), folder.0.join("mounted"));
        fs::create_dir(&mounted).unwrap();
        let arguments = [Path::new("-o"), Path::new("loop"), &image, &mounted];
        ran("mount", &arguments).then_some(Self { folder, mounted })
    }

    /// What a power cut would leave.
    pub(super) fn copy(&self) -> Self {
        let folder = Folder::new();
        fs::copy(self.folder.0.join("image"), folder.0.join("image")).unwrap();
        Self::mount(folder).unwrap()
    }

    /// Takes all the room there is.
    fn fill(&self) -> PathBuf {
        use std::io::Write;
        let path = self.mounted.join("ballast");
        let mut file = fs::File::create(&path).unwrap();
        for size in [1 << 20, 4096, 1] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
        let _ = file.sync_all();
        path
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.mounted).output();
    }
}

fn ran(program: &str, arguments: &[&Path]) -> bool {
    let output = Command::new(program).args(arguments).output();
    output.is_ok_and(|output| output.status.success())
}

/// Prints why a test did nothing; there is no other way to say it.
pub(super) fn skipped() {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "skipped: no loop device for this user");
}

#[test]
fn a_full_disk_stops_nothing_for_good_and_loses_nothing() {
    let Some(small) = Small::new() else {
        return skipped();
    };
    let mut running = Running::new(&small.mounted, options());
    running.store(vec![session(1)]);
    assert!(!running.link.is_full());
    let ballast = small.fill();
    // Far more than the database has room for in its file.
    for number in 2..4000 {
        let changes = vec![
            entry(1, number),
            Change::Retain {
                message: message(&format!("t/{number}"), &[3; 2000]),
                version: 1,
            },
        ];
        running.send(changes);
    }
    wait_until("the disk is full", || running.link.is_full());
    // Nobody is to wait for that for long.
    wait_until("it is stuck", || {
        running.link.ring();
        running.link.is_stuck()
    });
    assert!(!running.link.is_stuck(), "that is said again at once");
    let before = running.link.committed();
    assert!(before < running.number, "all was written to a full disk");
    fs::remove_file(ballast).unwrap();
    running.wait(running.number);
    wait_until("there is room again", || !running.link.is_full());
    running.handle.stop().unwrap();
    let stored = stored(&small.mounted);
    assert_eq!(stored.sessions[0].entries.len(), 3998);
    assert_eq!(stored.retained.len(), 3998);
}

#[test]
fn what_frees_something_is_stored_from_the_reserve() {
    let Some(small) = Small::new() else {
        return skipped();
    };
    let mut running = Running::new(&small.mounted, options());
    running.store(vec![session(1)]);
    for number in 2..500 {
        running.send(vec![entry(1, number)]);
    }
    running.wait(running.number);
    // All but 2 MiB, which is less than the reserve of a twentieth.
    let free = space::of(&small.mounted).unwrap().free;
    let ballast = small.mounted.join("ballast");
    let taken = vec![1; usize::try_from(free).unwrap() - (2 << 20)];
    fs::write(&ballast, taken).unwrap();
    running.store(vec![drop_entry(1, 2)]);
    assert!(running.link.is_full());
    for number in 3..500 {
        running.send(vec![drop_entry(1, number)]);
    }
    running.wait(running.number);
    fs::remove_file(ballast).unwrap();
    // By itself, with nothing to write.
    wait_until("there is room again", || !running.link.is_full());
    running.handle.stop().unwrap();
    assert!(stored(&small.mounted).sessions[0].entries.is_empty());
}

#[test]
fn a_stop_with_a_full_disk_says_so_and_takes_its_time() {
    let Some(small) = Small::new() else {
        return skipped();
    };
    let mut running = Running::new(&small.mounted, options());
    running.store(vec![session(1)]);
    let _ballast = small.fill();
    for number in 2..4000 {
        running.send(vec![Change::Retain {
            message: message(&format!("t/{number}"), &[3; 4000]),
            version: 1,
        }]);
    }
    wait_until("the disk is full", || running.link.is_full());
    let begun = Instant::now();
    let failure = running.handle.stop().unwrap_err();
    assert!(failure.what.contains("full"), "{failure}");
    assert!(begun.elapsed() < Duration::from_secs(9));
    assert_eq!(stored(&small.mounted).sessions.len(), 1);
}

#[test]
fn what_the_log_has_outlives_a_stop_and_a_start_with_a_full_disk() {
    let Some(small) = Small::new() else {
        return skipped();
    };
    let mut running = Running::new(&small.mounted, options());
    running.store(vec![session(1)]);
    let ballast = small.fill();
    // As much as the log has room for, and the database has not.
    for number in 2..60 {
        let payload = vec![number as u8; 16 << 10];
        let message = message(&format!("t/{number}"), &payload);
        running.send(vec![
            entry(1, number),
            Change::Retain {
                message,
                version: 1,
            },
        ]);
    }
    let number = running.number;
    running.wait(number);
    let _ = fs::OpenOptions::new()
        .append(true)
        .open(&ballast)
        .and_then(|mut file| std::io::Write::write_all(&mut file, &vec![1; 16 << 20]));
    // With room or without, it ends, and has everything.
    let _ = running.handle.stop();
    for _ in 0..2 {
        let stored = stored(&small.mounted);
        assert_eq!(stored.sessions[0].entries.len(), 58);
        assert_eq!(stored.retained.len(), 58);
    }
    fs::remove_file(ballast).unwrap();
    let running = Running::new(&small.mounted, options());
    running.handle.stop().unwrap();
    assert_eq!(stored(&small.mounted).retained.len(), 58);
}
