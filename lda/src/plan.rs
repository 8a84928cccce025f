//! What is to be done with a message, as a list (pure). A script makes it; without one it is a single store.

use crate::maildir::Marks;

/// Steps, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// What to do. Nothing at all means that the message is discarded.
    pub steps: Vec<Step>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Put the message into a folder.
    Store(Store),
    /// Refuse the message, with this reason.
    Reject(String),
    /// Hand a message to sendmail.
    Send(Sending),
}

/// A folder that the message goes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Store {
    /// The folder's name as users see it.
    pub mailbox: String,
    /// Flags and keywords.
    pub marks: Marks,
    /// Create the folder, whatever `lda_mailbox_autocreate` says (`fileinto :create`).
    pub create: bool,
    /// The beginning of the message when a script has changed it; with LF or CR LF at the ends of lines.
    pub content: Option<Vec<u8>>,
    /// Where the message that is delivered goes on behind `content`, as a byte of its file; `None`: not at all.
    pub rest_at: Option<u64>,
}

/// A message that is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sending {
    /// The envelope sender; empty for `<>`.
    pub sender: String,
    /// The recipients. With none, nothing is sent: it is only remembered.
    pub recipients: Vec<String>,
    /// The whole message; `None`: the one that is delivered, as it is.
    pub content: Option<Vec<u8>>,
    /// Where the message that is delivered goes on behind `content`, as a byte of its file; `None`: not at all.
    pub rest_at: Option<u64>,
    /// What the log says when it has been sent; empty for nothing: `forwarded to <joe@a.example>`.
    pub logged: String,
    /// What is remembered when it has been sent, so that it is not sent again: the key and the second until which.
    pub remember: Option<(Vec<u8>, u64)>,
    /// Whether the delivery fails when it cannot be sent (redirect), or only the log says so (vacation, notify).
    pub required: bool,
}

impl Plan {
    /// Into one folder, as it is.
    #[must_use]
    pub fn store(mailbox: &str) -> Self {
        Self { steps: vec![Step::Store(Store { mailbox: mailbox.to_owned(), ..Store::default() })] }
    }
}
