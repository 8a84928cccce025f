//! Listening sockets: from an address, or handed over by the service manager.
//!
//! Holds one `unsafe` block: taking ownership of the descriptors that systemd passes.

use std::fmt;
use std::fs;
use std::io;
use std::net::{TcpListener, ToSocketAddrs};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::socket::{AddressFamily, SockaddrLike, SockaddrStorage, getsockname};
use std::os::fd::AsRawFd;

/// Pending connections that the kernel may hold for us: Postfix opens many at once.
const BACKLOG: i32 = 4096;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A UNIX socket at this path.
    Unix(PathBuf),
    /// A TCP port; the host is a name or an address, `None` for all interfaces.
    Inet {
        /// Host name or address.
        host: Option<String>,
        /// Port, 1 to 65535 (0 lets the system choose, for tests).
        port: u16,
        /// Take only IPv6 addresses of the host.
        only_v6: bool,
    },
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Inet { host, port, only_v6 } => {
                let kind = if *only_v6 { "inet6" } else { "inet" };
                write!(f, "{kind}:{port}")?;
                host.as_ref().map_or(Ok(()), |host| write!(f, "@{host}"))
            }
        }
    }
}

/// A socket that connections arrive at.
#[derive(Debug)]
pub enum Listener {
    /// A UNIX stream socket.
    Unix(UnixListener),
    /// A TCP socket.
    Tcp(TcpListener),
}

/// Why there is no socket to listen at.
#[derive(Debug)]
pub enum ListenError {
    /// Another process answers at this UNIX socket.
    InUse(PathBuf),
    /// Something that is not a socket lies at the path; it is left alone.
    NotASocket(PathBuf),
    /// The host has no usable address.
    NoAddress(String),
    /// The operating system refused.
    Io(String, io::Error),
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse(path) => write!(
                f,
                "{}: another process answers at this socket; stop it first (fuser {0} tells which)",
                path.display()
            ),
            Self::NotASocket(path) => {
                write!(f, "{}: is there and is no socket; it is left alone", path.display())
            }
            Self::NoAddress(host) => write!(f, "{host}: no address to listen at"),
            Self::Io(what, error) => write!(f, "{what}: {error}"),
        }
    }
}

impl std::error::Error for ListenError {}

/// Opens a listening socket. A UNIX socket that nobody answers at is replaced; its mode follows
/// from the process's umask.
///
/// # Errors
/// See [`ListenError`].
pub fn open(address: &Address) -> Result<Listener, ListenError> {
    let failed = |error| ListenError::Io(address.to_string(), error);
    let listener = match address {
        Address::Unix(path) => {
            clear(path)?;
            Listener::Unix(UnixListener::bind(path).map_err(failed)?)
        }
        Address::Inet { host, port, only_v6 } => {
            let wildcard = if *only_v6 { "::" } else { "0.0.0.0" };
            let name = host.as_deref().unwrap_or(wildcard).trim_start_matches('[').trim_end_matches(']');
            let found = (name, *port)
                .to_socket_addrs()
                .map_err(failed)?
                .find(|found| !*only_v6 || found.is_ipv6())
                .ok_or_else(|| ListenError::NoAddress(name.to_owned()))?;
            Listener::Tcp(TcpListener::bind(found).map_err(failed)?)
        }
    };
    listener.prepare().map_err(failed)?;
    Ok(listener)
}

/// Who may connect to a UNIX socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Its mode, as in chmod(1).
    pub mode: u32,
    /// Its owner; `None` leaves the process's user.
    pub uid: Option<nix::unistd::Uid>,
    /// Its group; `None` leaves the process's group.
    pub gid: Option<nix::unistd::Gid>,
}

impl Access {
    /// Looks up the names of the owner and the group.
    ///
    /// # Errors
    /// A sentence when there is no such user or group.
    pub fn named(mode: u32, user: Option<&str>, group: Option<&str>) -> Result<Self, String> {
        use nix::unistd::{Group, User};
        let uid = match user {
            None => None,
            Some(name) => match User::from_name(name) {
                Ok(Some(user)) => Some(user.uid),
                Ok(None) => return Err(format!("there is no user {name}")),
                Err(errno) => return Err(format!("looking up user {name}: {errno}")),
            },
        };
        let gid = match group {
            None => None,
            Some(name) => match Group::from_name(name) {
                Ok(Some(group)) => Some(group.gid),
                Ok(None) => return Err(format!("there is no group {name}")),
                Err(errno) => return Err(format!("looking up group {name}: {errno}")),
            },
        };
        Ok(Self { mode, uid, gid })
    }
}

/// Opens a listening socket as [`open`] does; a UNIX socket is never open to more than `access` says,
/// not even for a moment. Call it before there are other threads that make files: the umask is the process's.
///
/// # Errors
/// See [`ListenError`].
pub fn open_for(address: &Address, access: Access) -> Result<Listener, ListenError> {
    let Address::Unix(path) = address else { return open(address) };
    let before = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o777));
    let opened = open(address);
    nix::sys::stat::umask(before);
    let listener = opened?;
    let failed = |error| ListenError::Io(address.to_string(), error);
    if access.uid.is_some() || access.gid.is_some() {
        nix::unistd::chown(path, access.uid, access.gid).map_err(|errno| failed(io::Error::from(errno)))?;
    }
    let mode = std::os::unix::fs::PermissionsExt::from_mode(access.mode & 0o777);
    fs::set_permissions(path, mode).map_err(failed)?;
    Ok(listener)
}

/// The sockets that the service manager has opened for us (sd_listen_fds(3)); empty without one.
///
/// # Errors
/// When what was handed over is not a listening stream socket.
pub fn handed_over() -> Result<Vec<Listener>, ListenError> {
    let failed = |error| ListenError::Io("a socket from the service manager".to_owned(), error);
    let passed = sd_notify::listen_fds().map_err(failed)?;
    let mut listeners = Vec::new();
    for raw in passed {
        #[allow(unsafe_code, reason = "the descriptors arrive as numbers")]
        // SAFETY: systemd passes these descriptors to this process alone, and this function is
        // called once at start, before anything else could have taken them.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        let address: SockaddrStorage =
            getsockname(fd.as_raw_fd()).map_err(|errno| failed(io::Error::from(errno)))?;
        let listener = match address.family() {
            Some(AddressFamily::Unix) => Listener::Unix(UnixListener::from(fd)),
            Some(AddressFamily::Inet | AddressFamily::Inet6) => Listener::Tcp(TcpListener::from(fd)),
            _ => return Err(failed(io::Error::other("is neither a UNIX nor a TCP socket"))),
        };
        listener.prepare().map_err(failed)?;
        listeners.push(listener);
    }
    Ok(listeners)
}

/// Sets the process's file mode creation mask, which UNIX sockets made later follow.
pub fn set_umask(mask: u32) {
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(mask));
}

impl Listener {
    fn prepare(&self) -> io::Result<()> {
        // A second listen(2) on a bound socket only changes the length of its queue.
        let backlog = nix::sys::socket::Backlog::new(BACKLOG)?;
        match self {
            Self::Unix(socket) => {
                nix::sys::socket::listen(socket, backlog)?;
                socket.set_nonblocking(true)
            }
            Self::Tcp(socket) => {
                nix::sys::socket::listen(socket, backlog)?;
                socket.set_nonblocking(true)
            }
        }
    }

    /// The path of a UNIX socket, as it was bound.
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        match self {
            Self::Unix(socket) => socket.local_addr().ok()?.as_pathname().map(Path::to_owned),
            Self::Tcp(_) => None,
        }
    }

    /// The address in words, for the log.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Unix(socket) => socket
                .local_addr()
                .ok()
                .and_then(|address| address.as_pathname().map(|path| format!("unix:{}", path.display()))),
            Self::Tcp(socket) => socket.local_addr().ok().map(|address| format!("inet:{address}")),
        }
        .unwrap_or_else(|| "a socket without a name".to_owned())
    }
}

/// Makes room at a UNIX socket's path, if nobody answers there.
fn clear(path: &Path) -> Result<(), ListenError> {
    let failed = |error| ListenError::Io(format!("unix:{}", path.display()), error);
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => return Err(ListenError::NotASocket(path.to_owned())),
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(ListenError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_have_names() {
        let access = Access::named(0o600, Some("root"), Some("root")).unwrap();
        assert_eq!((access.uid.map(u32::from), access.gid.map(u32::from)), (Some(0), Some(0)));
        let error = Access::named(0o600, None, Some("no-such-group")).unwrap_err();
        assert_eq!(error, "there is no group no-such-group");
    }

    #[test]
    fn a_socket_gets_its_mode() {
        use std::os::unix::fs::MetadataExt;
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("s");
        let access = Access { mode: 0o640, uid: None, gid: Some(nix::unistd::getgid()) };
        let listener = open_for(&Address::Unix(path.clone()), access).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        assert_eq!(listener.path().as_deref(), Some(path.as_path()));
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let address = Address::Unix(path.clone());
        drop(UnixListener::bind(&path).unwrap());
        let first = open(&address).unwrap();
        assert_eq!(first.name(), format!("unix:{}", path.display()));
        assert!(matches!(open(&address), Err(ListenError::InUse(_))));
    }

    #[test]
    fn a_file_at_the_path_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("precious");
        fs::write(&path, "mail").unwrap();
        assert!(matches!(open(&Address::Unix(path.clone())), Err(ListenError::NotASocket(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mail");
    }

    #[test]
    fn a_tcp_port_is_opened_by_name_and_number() {
        for host in ["127.0.0.1", "localhost", "[127.0.0.1]"] {
            let address = Address::Inet { host: Some(host.to_owned()), port: 0, only_v6: false };
            assert!(matches!(open(&address), Ok(Listener::Tcp(_))), "{host}");
        }
    }
}
