//! The socket in the data folder.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

/// Its name.
pub(crate) const NAME: &str = "shardmq.sock";

/// What it is called until only its owner can open it.
const DRAFT: &str = "shardmq.sock.new";

/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;

/// Listens on the socket of a data folder, which no other broker has. One that a broker left
/// behind is replaced.
pub(super) fn listen(folder: &Path) -> io::Result<UnixListener> {
    let folder = Folder::open(folder)?;
    let draft = folder.path(DRAFT);
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(&draft)?)?;
    // Nobody can connect before this: it does not listen yet.
    fs::set_permissions(&draft, Permissions::from_mode(0o600))?;
    socket.listen(BACKLOG)?;
    fs::rename(&draft, folder.path(NAME))?;
    Ok(socket.into())
}

/// Removes the socket: the broker has stopped.
pub(super) fn remove(folder: &Path) {
    // What cannot be removed is replaced at the next start.
    _ = fs::remove_file(folder.join(NAME));
}

/// Connects to the broker that has a data folder.
pub(crate) fn connect(folder: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(Folder::open(folder)?.path(NAME))
}

/// A folder by its descriptor: the path of a socket has 107 bytes at most, that of a folder
/// may have more.
struct Folder(File);

impl Folder {
    fn open(folder: &Path) -> io::Result<Self> {
        File::open(folder).map(Self)
    }

    fn path(&self, name: &str) -> PathBuf {
        let folder = PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()));
        folder.join(name)
    }
}
