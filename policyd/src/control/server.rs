//! The control socket: who may ask, one line in, one line out.

use std::sync::Arc;
use std::time::Duration;

use base::service::accept::Acceptor;
use base::service::listen::Listener;
use base::service::stream::Stream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::message::{Answer, Question};
use super::{LONGEST_LINE, answer};
use crate::client::Service;

/// Connections at a time.
const CONNECTIONS: usize = 16;
/// How long a question may take to arrive, and its answer to be read.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest question, in bytes.
const LONGEST_QUESTION: usize = 64 << 10;

/// Who may ask, by user id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admins(Vec<u32>);

impl Admins {
    /// Root, whom this process runs as, and the users of these names.
    ///
    /// # Errors
    /// A sentence that names a user who does not exist.
    pub fn named(names: &[String]) -> Result<Self, String> {
        let mut all = vec![0, nix::unistd::Uid::effective().as_raw()];
        for name in names {
            match nix::unistd::User::from_name(name) {
                Ok(Some(user)) => all.push(user.uid.as_raw()),
                Ok(None) => return Err(format!("[control] admins: there is no user {name}")),
                Err(error) => return Err(format!("[control] admins: {name}: {error}")),
            }
        }
        Ok(Self(all))
    }

    /// Whether a user is among them.
    #[must_use]
    pub fn has(&self, uid: u32) -> bool {
        self.0.contains(&uid)
    }
}

/// Serves the socket for ever.
///
/// # Errors
/// The listener cannot be taken over by the runtime.
pub async fn serve(listener: Listener, admins: Admins, service: Arc<Service>) -> std::io::Result<()> {
    let mut acceptor = Acceptor::new(vec![listener], CONNECTIONS)?;
    let admins = Arc::new(admins);
    loop {
        let (stream, place) = acceptor.next().await;
        let (admins, service) = (Arc::clone(&admins), Arc::clone(&service));
        tokio::spawn(async move {
            let _place = place;
            one(stream, &admins, &service).await;
        });
    }
}

async fn one(mut stream: Stream, admins: &Admins, service: &Service) {
    let allowed = stream.peer().is_some_and(|peer| admins.has(peer.uid));
    let Ok(Some(line)) = timeout(PATIENCE, line(&mut stream)).await else { return };
    let answer = if !allowed {
        let text = "only root, the user of the service and the admins of [control] may ask".to_owned();
        Answer::Failed { text, yours: true }
    } else {
        match serde_json::from_slice::<Question>(&line) {
            Ok(question) => Box::pin(answer::answer(&service.shared, question)).await,
            Err(error) => Answer::Failed { text: format!("no question: {error}"), yours: true },
        }
    };
    let mut bytes = serde_json::to_vec(&answer).unwrap_or_default();
    if bytes.len() > LONGEST_LINE {
        let text = "the answer is too long; ask for fewer".to_owned();
        bytes = serde_json::to_vec(&Answer::Failed { text, yours: true }).unwrap_or_default();
    }
    bytes.push(b'\n');
    // Whoever does not read his answer does without.
    let _gone = timeout(PATIENCE, stream.write_all(&bytes)).await;
}

/// The first line, or `None` when it does not come or is too long.
async fn line(stream: &mut Stream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let length = stream.read(&mut buffer).await.ok().filter(|length| *length > 0)?;
        bytes.extend_from_slice(buffer.get(..length).unwrap_or_default());
        if let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            bytes.truncate(end);
            return Some(bytes);
        }
        if bytes.len() > LONGEST_QUESTION {
            return None;
        }
    }
}
