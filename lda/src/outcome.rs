//! What came of a delivery → exit status, or LMTP reply (pure).

use base::exit;

/// What came of a delivery to one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// The message is where it belongs: in folders, sent on, or discarded by a script.
    Delivered,
    /// The message is refused; the reason is for its sender.
    Rejected {
        /// Why.
        reason: String,
        /// Because the mailbox is full.
        quota: bool,
    },
    /// Not now. The reason is for the peer; the log has more.
    Temporary {
        /// Why, without paths and the like.
        reason: String,
        /// Because the mailbox is full.
        quota: bool,
    },
}

/// What a peer is told when the log knows more.
pub const INTERNAL: &str = "Temporary internal error";

impl Outcome {
    /// A temporary failure of which the peer learns nothing.
    pub fn internal() -> Self {
        Self::Temporary { reason: INTERNAL.to_owned(), quota: false }
    }

    /// The exit status of postrider-lda.
    #[must_use]
    pub fn status(&self) -> u8 {
        match self {
            Self::Delivered => 0,
            Self::Rejected { .. } => exit::NOPERM,
            Self::Temporary { .. } => exit::TEMPFAIL,
        }
    }

    /// The reply after the final dot, as Dovecot words it, without its end of line.
    #[must_use]
    pub fn reply(&self, recipient: &str, session: &str) -> String {
        match self {
            Self::Delivered => format!("250 2.0.0 <{recipient}> {session} Saved"),
            Self::Rejected { reason, quota: true } => format!("552 5.2.2 <{recipient}> {}", one_line(reason)),
            Self::Rejected { reason, quota: false } => {
                format!("552 5.2.0 <{recipient}> {}", one_line(reason))
            }
            Self::Temporary { reason, quota: true } => {
                format!("452 4.2.2 <{recipient}> {}", one_line(reason))
            }
            Self::Temporary { reason, quota: false } => {
                format!("451 4.2.0 <{recipient}> {}", one_line(reason))
            }
        }
    }
}

/// A reason in one line of printable text.
fn one_line(reason: &str) -> String {
    reason.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(400).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes() {
        let full = |quota| Outcome::Rejected { reason: "no\r\nroom".into(), quota };
        assert_eq!(Outcome::Delivered.status(), 0);
        assert_eq!(full(true).status(), 77);
        assert_eq!(Outcome::internal().status(), 75);
        assert_eq!(full(true).reply("a@x", "s:1"), "552 5.2.2 <a@x> no  room");
        assert_eq!(full(false).reply("a@x", "s:1"), "552 5.2.0 <a@x> no  room");
        assert_eq!(Outcome::Delivered.reply("a@x", "s:1"), "250 2.0.0 <a@x> s:1 Saved");
        assert_eq!(Outcome::internal().reply("a@x", "s:1"), "451 4.2.0 <a@x> Temporary internal error");
    }
}
