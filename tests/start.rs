//! Everything that can keep the broker from starting: each ends it with exit code 1 and
//! says what is wrong and what to do.

mod command;

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use command::{Folder, Without, outcome, without};

/// `CAP_DAC_OVERRIDE`: permissions of files do not count.
const DAC_OVERRIDE: i32 = 1;
/// `CAP_DAC_READ_SEARCH`.
const DAC_READ_SEARCH: i32 = 2;
/// `CAP_NET_BIND_SERVICE`.
const NET_BIND_SERVICE: i32 = 10;
/// `CAP_IPC_LOCK`.
const IPC_LOCK: i32 = 14;
/// `CAP_SYS_RESOURCE`.
const SYS_RESOURCE: i32 = 24;

/// An address that is free, as nearly as one can know.
const ANY_PORT: &str = "127.0.0.1:0";

#[test]
fn a_port_that_is_taken_is_named_with_who_has_it() {
    let taken = TcpListener::bind(ANY_PORT).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    Folder::new().run(&["--bind", &address]).failed_with(&[
        &format!(
            "of listener default ({address}) is taken by process {} (",
            std::process::id()
        ),
        "--set listeners.tcp.default.bind=127.0.0.1:",
    ]);
}

#[test]
fn a_port_without_permission_is_named() {
    let first = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    let first: u16 = fs::read_to_string(first).unwrap().trim().parse().unwrap();
    // Where every port is free for all, there is nothing to forbid.
    let Some(port @ 1..) = first.checked_sub(1) else {
        return;
    };
    let folder = Folder::new();
    let mut command = folder.shardmq(&["--bind", &format!("127.0.0.1:{port}")]);
    outcome(without(&mut command, Without::Capability(NET_BIND_SERVICE))).failed_with(&[
        &format!("no permission for port {port} of listener default"),
        "setcap cap_net_bind_service=+ep",
        "bind=127.0.0.1:1883",
    ]);
}

#[test]
fn an_address_of_another_machine_is_named() {
    let bind = ["--bind", "192.0.2.1:1883", "--set", "allow_anonymous=true"];
    Folder::new()
        .run(&bind)
        .failed_with(&["192.0.2.1 of listener default is not an address of this machine"]);
}

#[test]
fn a_seccomp_filter_over_io_uring_is_named() {
    let folder = Folder::new();
    for errno in [libc::EPERM, libc::ENOSYS] {
        let mut command = folder.shardmq(&["--bind", ANY_PORT]);
        outcome(without(&mut command, Without::Rings(errno))).failed_with(&[
            "io_uring is forbidden by a seccomp filter",
            "--security-opt seccomp=",
        ]);
    }
}

#[test]
fn a_kernel_that_does_not_know_our_rings_is_named() {
    let folder = Folder::new();
    let mut command = folder.shardmq(&["--bind", ANY_PORT]);
    outcome(without(&mut command, Without::Rings(libc::EINVAL)))
        .failed_with(&["too old", "Linux 6.1 or later"]);
}

#[test]
fn too_little_locked_memory_is_named() {
    let folder = Folder::new();
    let mut command = folder.shardmq(&["--bind", ANY_PORT]);
    without(
        &mut command,
        Without::Limit(libc::RLIMIT_MEMLOCK, 64 << 10, 64 << 10),
    );
    without(&mut command, Without::Capability(SYS_RESOURCE));
    outcome(without(&mut command, Without::Capability(IPC_LOCK))).failed_with(&[
        "the limit of locked memory is too low: 64 KiB, and io_uring needs 512 KiB",
        "prlimit --pid $$ --memlock=unlimited:unlimited",
        "LimitMEMLOCK=infinity",
    ]);
}

#[test]
fn too_few_open_files_are_named() {
    let folder = Folder::new();
    let mut command = folder.shardmq(&["--bind", ANY_PORT, "--shards", "1"]);
    outcome(without(
        &mut command,
        Without::Limit(libc::RLIMIT_NOFILE, 50, 50),
    ))
    .failed_with(&[
        "the limit of open files is too low: 50",
        "LimitNOFILE=1048576",
    ]);
}

#[test]
fn a_cpu_that_is_not_on_this_machine_is_named() {
    let folder = Folder::new();
    folder
        .run(&["--cpus", "1023"])
        .failed_with(&["shards.cpus = 1023: no CPU 1023 on this machine"]);
    folder
        .run(&["--shards", "1024"])
        .failed_with(&["shards.count = 1024, but this process may use"]);
}

#[test]
fn a_data_folder_in_use_is_named_with_who_uses_it() {
    let folder = Folder::new();
    let mut lock = File::create(folder.write("data/LOCK", "")).unwrap();
    lock.try_lock().unwrap();
    writeln!(lock, "4711").unwrap();
    folder.run(&["--bind", ANY_PORT]).failed_with(&[
        "/data is in use by another broker (process 4711)",
        "--data-dir FOLDER",
    ]);
}

#[test]
fn a_data_folder_of_a_later_version_is_left_alone() {
    let folder = Folder::new();
    let marker = folder.write("data/VERSION", "3\n");
    folder
        .run(&["--bind", ANY_PORT])
        .failed_with(&["has format 3, this version knows up to 2"]);
    assert_eq!(fs::read_to_string(marker).unwrap(), "3\n");
}

#[test]
fn stored_data_that_are_gone_or_damaged_are_not_replaced_by_nothing() {
    let folder = Folder::new();
    folder.write("data/VERSION", "2\n");
    folder
        .run(&["--bind", ANY_PORT])
        .failed_with(&["the stored data are gone: no ", "from a backup"]);
    let database = folder.write("data/store.redb", "no database");
    folder
        .run(&["--bind", ANY_PORT])
        .failed_with(&["store.redb is damaged", "Nothing was changed"]);
    assert_eq!(fs::read_to_string(database).unwrap(), "no database");
}

#[test]
fn a_data_folder_with_a_damaged_marker_is_left_alone() {
    let folder = Folder::new();
    for damage in ["", "one", "0", "99999999999999999999999"] {
        let marker = folder.write("data/VERSION", damage);
        folder
            .run(&["--bind", ANY_PORT])
            .failed_with(&["VERSION holds no format number"]);
        assert_eq!(fs::read_to_string(marker).unwrap(), damage);
    }
}

#[test]
fn a_data_folder_that_is_a_file_is_named() {
    let folder = Folder::new();
    folder.write("file", "");
    for path in ["file", "file/data"] {
        folder
            .run(&["--data-dir", path])
            .failed_with(&["is not a folder", "--data-dir FOLDER"]);
    }
}

#[test]
fn a_data_folder_without_permission_is_named() {
    let folder = Folder::new();
    fs::create_dir(folder.0.join("data")).unwrap();
    fs::set_permissions(folder.0.join("data"), Permissions::from_mode(0o500)).unwrap();
    for path in ["data", "data/deeper"] {
        let mut command = folder.shardmq(&["--bind", ANY_PORT, "--data-dir", path]);
        without(&mut command, Without::Capability(DAC_READ_SEARCH));
        outcome(without(&mut command, Without::Capability(DAC_OVERRIDE)))
            .failed_with(&["is not writable for this user", "sudo install -d"]);
    }
}
