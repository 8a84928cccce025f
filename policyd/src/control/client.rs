//! The asking side of the control socket, for the command line.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::LONGEST_LINE;
use super::message::{Answer, Question};

/// How long the service may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Silent {
    /// Nobody listens there; the sentence says what to do.
    NoService(String),
    /// We may not connect.
    NotAllowed(String),
    /// What came is no answer.
    Broken(String),
}

/// Asks the service at a socket.
///
/// # Errors
/// See [`Silent`].
pub fn ask(socket: &Path, question: &Question) -> Result<Answer, Silent> {
    let about = |what: &dyn std::fmt::Display| format!("{}: {what}", socket.display());
    let mut stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            Silent::NotAllowed(about(&"only root and the user of the service may ask; try sudo"))
        }
        std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => Silent::NoService(about(
            &"no service listens there; is it running, and does [control] in its configuration name this socket?",
        )),
        _ => Silent::NoService(about(&error)),
    })?;
    let broken = |error: std::io::Error| Silent::Broken(about(&error));
    stream.set_read_timeout(Some(PATIENCE)).map_err(broken)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(broken)?;
    let mut line = serde_json::to_vec(question).map_err(|error| Silent::Broken(error.to_string()))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(broken)?;
    let mut bytes = Vec::new();
    let most = u64::try_from(LONGEST_LINE).unwrap_or(u64::MAX).saturating_add(1);
    stream.take(most).read_to_end(&mut bytes).map_err(broken)?;
    serde_json::from_slice(&bytes).map_err(|error| Silent::Broken(about(&format!("no answer: {error}"))))
}
