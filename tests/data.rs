//! `shardmq data`, by the real program.

mod command;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use command::Folder;

/// An export, as it is written.
const TEXT: &str = include_str!("data/export.jsonl");

#[test]
fn what_is_imported_is_counted_and_exported_as_it_was() {
    let folder = Folder::new();
    folder.write("in.jsonl", TEXT);
    let imported = folder.run(&["data", "import", "in.jsonl"]);
    assert_eq!(imported.code, Some(0), "{imported:?}");
    let checked = folder.run(&["data", "check"]);
    assert_eq!(checked.out, imported.out);
    for line in ["sessions               1", "messages for sessions  2"] {
        assert!(checked.out.contains(line), "{checked:?}");
    }
    assert_eq!(folder.run(&["data", "export"]).out, TEXT);
    let exported = folder.run(&["data", "export", "out.jsonl"]);
    assert_eq!(exported.code, Some(0), "{exported:?}");
    let out = folder.0.join("out.jsonl");
    assert_eq!(fs::read_to_string(&out).unwrap(), TEXT);
    let mode = fs::metadata(&out).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    folder
        .run(&["data", "export", "out.jsonl"])
        .failed_with(&["Nothing is overwritten"]);
}

#[test]
fn data_are_imported_into_an_empty_folder_only() {
    let folder = Folder::new();
    folder.write("in.jsonl", TEXT);
    assert_eq!(folder.run(&["data", "import", "in.jsonl"]).code, Some(0));
    folder
        .run(&["data", "import", "in.jsonl"])
        .failed_with(&["/data has data already", "--data-dir FOLDER"]);
}

#[test]
fn a_wrong_line_leaves_nothing_behind() {
    let folder = Folder::new();
    folder.write("in.jsonl", &TEXT.replace("\"qos\":1", "\"qos\":7"));
    folder.run(&["data", "import", "in.jsonl"]).failed_with(&[
        "in.jsonl: line 3: a QoS is 0, 1 or 2",
        "Nothing was imported",
    ]);
    folder
        .run(&["data", "check"])
        .failed_with(&["has no stored data"]);
    folder.write("in.jsonl", TEXT);
    assert_eq!(folder.run(&["data", "import", "in.jsonl"]).code, Some(0));
}

#[test]
fn a_folder_without_data_and_one_in_use_are_named() {
    let folder = Folder::new();
    for command in ["check", "export"] {
        folder
            .run(&["data", command])
            .failed_with(&["the data folder data has no stored data"]);
    }
    assert!(!folder.0.join("data").exists());
    let mut lock = File::create(folder.write("data/LOCK", "")).unwrap();
    lock.try_lock().unwrap();
    writeln!(lock, "4711").unwrap();
    folder.write("in.jsonl", TEXT);
    for command in [&["data", "check"][..], &["data", "import", "in.jsonl"]] {
        folder
            .run(command)
            .failed_with(&["is in use by another broker (process 4711)"]);
    }
}

#[test]
fn damaged_data_are_an_error() {
    let folder = Folder::new();
    folder.write("in.jsonl", TEXT);
    assert_eq!(folder.run(&["data", "import", "in.jsonl"]).code, Some(0));
    let path = folder.0.join("data/store.redb");
    let mut bytes = fs::read(&path).unwrap();
    bytes.iter_mut().skip(4096).for_each(|byte| *byte ^= 0x55);
    fs::write(&path, bytes).unwrap();
    folder
        .run(&["data", "check"])
        .failed_with(&["store.redb is damaged", "from a backup"]);
}
