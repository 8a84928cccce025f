//! Users by the auth-userdb protocol, from postrider-sasl-auth or Dovecot: one question on a socket of its own.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use base::dovecot::request::Parameters;
use base::dovecot::{LONGEST_USERDB_LINE, MAJOR, USERDB_MINOR, escape_into};
use nix::sys::time::{TimeVal, TimeValLike};

use super::{Answer, Fields};

/// The most that is read of a reply.
const LONGEST_REPLY: usize = 64 * 1024;

pub(super) fn look_up(path: &Path, user: &str, service: &str, timeout: Duration) -> Answer {
    let deadline = base::clock::monotonic_now() + timeout;
    match ask(path, user, service, deadline) {
        Ok(answer) => answer,
        Err(error) => Answer::Temporary(format!("userdb {}: {error}", path.display())),
    }
}

fn ask(path: &Path, user: &str, service: &str, deadline: Instant) -> Result<Answer, String> {
    let mut question = format!("VERSION\t{MAJOR}\t{USERDB_MINOR}\n").into_bytes();
    let start = question.len();
    question.extend_from_slice(b"USER\t1\t");
    escape_into(user.as_bytes(), &mut question);
    question.extend_from_slice(format!("\tservice={service}\n").as_bytes());
    if question.len() - start > LONGEST_USERDB_LINE {
        return Ok(Answer::Unknown);
    }
    let mut stream = connect(path, left(deadline)?)?;
    stream.set_write_timeout(Some(left(deadline)?)).map_err(|error| error.to_string())?;
    stream.write_all(&question).map_err(|error| format!("write: {error}"))?;
    let mut read = Vec::new();
    let mut piece = [0; 4096];
    let mut done = 0;
    loop {
        while let Some(end) = read.get(done..).and_then(|rest: &[u8]| memchr::memchr(b'\n', rest)) {
            let line = read.get(done..done + end).unwrap_or_default();
            if let Some(answer) = reply(line)? {
                return Ok(answer);
            }
            done += end + 1;
        }
        if read.len() > LONGEST_REPLY {
            return Err("the reply is too long".to_owned());
        }
        stream.set_read_timeout(Some(left(deadline)?)).map_err(|error| error.to_string())?;
        match stream.read(&mut piece) {
            Ok(0) => return Err("the connection was closed without a reply".to_owned()),
            Ok(length) => read.extend_from_slice(piece.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Err(SLOW.to_owned()),
            Err(error) => return Err(format!("read: {error}")),
        }
    }
}

/// Connects; a server that accepts nobody keeps a client waiting when its queue is full, and so this has a limit too.
fn connect(path: &Path, within: Duration) -> Result<UnixStream, String> {
    use nix::sys::socket::{
        AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt,
    };
    let failed = |error: nix::Error| format!("connect: {}", std::io::Error::from(error));
    let address = UnixAddr::new(path).map_err(failed)?;
    let socket =
        socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).map_err(failed)?;
    // Linux waits for as long as for a write. Zero would be for ever.
    let limit = TimeVal::microseconds(i64::try_from(within.as_micros()).unwrap_or(i64::MAX).max(1));
    setsockopt(&socket, sockopt::SendTimeout, &limit).map_err(failed)?;
    match connect(std::os::fd::AsRawFd::as_raw_fd(&socket), &address) {
        Ok(()) => Ok(UnixStream::from(socket)),
        Err(nix::Error::EAGAIN) => Err("it accepts no connection within the time limit".to_owned()),
        Err(error) => Err(failed(error)),
    }
}

const SLOW: &str = "no reply within the time limit";

fn left(deadline: Instant) -> Result<Duration, String> {
    let left = deadline.saturating_duration_since(base::clock::monotonic_now());
    if left.is_zero() { Err(SLOW.to_owned()) } else { Ok(left) }
}

/// What a line of the server says to question 1; `None` for the greeting.
///
/// # Errors
/// A sentence: another version of the protocol is spoken.
pub fn reply(line: &[u8]) -> Result<Option<Answer>, String> {
    let mut parts = line.splitn(3, |byte| *byte == b'\t');
    let command = parts.next().unwrap_or_default();
    let id = parts.next().unwrap_or_default();
    let rest = parts.next().unwrap_or_default();
    match (command, id) {
        (b"VERSION", major) if major != MAJOR.to_string().as_bytes() => {
            Err("it speaks another version of the protocol".to_owned())
        }
        (b"NOTFOUND", b"1") => Ok(Some(Answer::Unknown)),
        (b"FAIL", b"1") => {
            let reason = Parameters::new(rest)
                .value(b"reason")
                .map(|reason| String::from_utf8_lossy(&reason).into_owned());
            Ok(Some(Answer::Temporary(format!(
                "userdb: {}",
                reason.unwrap_or_else(|| "internal failure".to_owned())
            ))))
        }
        (b"USER", b"1") => {
            let mut parts = rest.splitn(2, |byte| *byte == b'\t');
            let name = base::dovecot::unescaped(parts.next().unwrap_or_default());
            let mut fields = Fields::default();
            fields.set("user", String::from_utf8_lossy(&name));
            for (key, value) in Parameters::new(parts.next().unwrap_or_default()).iter() {
                let value = if value.is_empty() { "yes".into() } else { String::from_utf8_lossy(&value) };
                fields.set(&String::from_utf8_lossy(key), value);
            }
            Ok(Some(Answer::Found(fields)))
        }
        // VERSION, SPID and what later versions may add.
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn answered(reply: &'static [u8]) -> Answer {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 1000];
            let length = stream.read(&mut asked).unwrap();
            stream.write_all(reply).unwrap();
            if reply.is_empty() {
                std::thread::sleep(Duration::from_millis(600));
            }
            String::from_utf8_lossy(&asked[..length]).into_owned()
        });
        let answer = look_up(&path, "j\to", "lda", Duration::from_millis(500));
        assert_eq!(server.join().unwrap(), "VERSION\t1\t1\nUSER\t1\tj\x01to\tservice=lda\n");
        answer
    }

    #[test]
    fn replies() {
        let Answer::Found(fields) = answered(
            b"VERSION\t1\t1\nSPID\t9\nUSER\t1\tjo\tuid=1\thome=/h\tnice\t\tquota_rule=*:storage=1G\n",
        ) else {
            panic!()
        };
        assert_eq!(
            fields.iter().collect::<Vec<_>>(),
            [("user", "jo"), ("uid", "1"), ("home", "/h"), ("nice", "yes"), ("quota_rule", "*:storage=1G")]
        );
        assert_eq!(answered(b"VERSION\t1\t1\nNOTFOUND\t1\n"), Answer::Unknown);
        assert_eq!(answered(b"FAIL\t1\treason=db away\n"), Answer::Temporary("userdb: db away".into()));
        for reply in [&b"VERSION\t2\t0\n"[..], b"VERSION\t1\t1\n", b""] {
            assert!(matches!(answered(reply), Answer::Temporary(_)), "{reply:?}");
        }
    }

    /// A server that hangs and whose queue of connections is full.
    #[test]
    fn a_server_that_accepts_nobody_is_not_waited_for() {
        use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
        use std::os::fd::AsRawFd as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let server = socket(AddressFamily::Unix, SockType::Stream, SockFlag::empty(), None).unwrap();
        bind(server.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        listen(&server, Backlog::new(1).unwrap()).unwrap();
        let limit = Duration::from_millis(200);
        // One more than the backlog fits.
        let _waiting: Vec<_> = (0..2).map(|_| connect(&path, limit).unwrap()).collect();
        let Answer::Temporary(why) = look_up(&path, "x", "lda", limit) else { panic!() };
        assert!(why.ends_with(": it accepts no connection within the time limit"), "{why}");
    }

    #[test]
    fn no_socket_is_temporary() {
        assert!(matches!(
            look_up(Path::new("/nonexistent/s"), "x", "lda", Duration::from_secs(1)),
            Answer::Temporary(_)
        ));
        assert_eq!(
            look_up(Path::new("/nonexistent/s"), &"x".repeat(2000), "lda", Duration::from_secs(1)),
            Answer::Unknown
        );
    }
}
