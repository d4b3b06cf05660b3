//! Who listens on a TCP port.

use std::fs;

use super::{entries, name_of, text};

/// A process.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Process {
    /// Its number.
    pub(crate) pid: u32,
    /// Its name, as `ps` shows it.
    pub(crate) name: String,
}

/// The process that listens on a port, if it can be found: those of other users are
/// hidden from an unprivileged process.
pub(crate) fn listener(port: u16) -> Option<Process> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| text(table).unwrap_or_default());
    let sockets: Vec<String> = tables
        .iter()
        .flat_map(|table| listening(table, port))
        .map(socket_link)
        .collect();
    if sockets.is_empty() {
        return None;
    }
    entries("/proc").iter().find_map(|process| {
        let pid = name_of(process).parse().ok()?;
        let holds = |link: &std::path::PathBuf| {
            fs::read_link(link)
                .is_ok_and(|to| sockets.iter().any(|socket| to.as_os_str() == &**socket))
        };
        entries(process.join("fd"))
            .iter()
            .any(holds)
            .then(|| Process {
                pid,
                name: text(process.join("comm")).unwrap_or_else(|| "unknown".to_owned()),
            })
    })
}

/// What a descriptor of a socket is a link to.
fn socket_link(inode: u64) -> String {
    format!("socket:[{inode}]")
}

/// The inodes of the sockets that listen on a port, from a table such as `/proc/net/tcp`.
fn listening(table: &str, port: u16) -> Vec<u64> {
    /// `TCP_LISTEN` of the kernel.
    const LISTEN: &str = "0A";
    let inode = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (_, local) = columns.get(1)?.rsplit_once(':')?;
        let of_port = u16::from_str_radix(local, 16) == Ok(port);
        (of_port && *columns.get(3)? == LISTEN).then_some(columns.get(9)?.parse().ok()?)
    };
    table.lines().filter_map(inode).collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn only_sockets_that_listen_on_the_port_count() {
        let table = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:075B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1
   1: 0100007F:075B 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 222 1
   2: 0100007F:075C 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 333 1";
        assert_eq!(listening(table, 0x075B), [111]);
        assert_eq!(listening(table, 1), [0; 0]);
    }

    #[test]
    fn this_process_is_found_by_its_port() {
        let listener = TcpListener::bind("[::1]:0").or_else(|_| TcpListener::bind("127.0.0.1:0"));
        let port = listener.as_ref().unwrap().local_addr().unwrap().port();
        assert_eq!(
            super::listener(port).map(|process| process.pid),
            Some(std::process::id())
        );
    }
}
