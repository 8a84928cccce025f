//! What scripts ask for, in the order in which they ask.

/// One action of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Explicit keep.
    Keep {
        /// IMAP flags and keywords.
        flags: Vec<String>,
        /// Which edition of the message.
        edition: usize,
    },
    /// Into a folder.
    FileInto {
        /// Its name in UTF-8.
        mailbox: String,
        /// IMAP flags and keywords.
        flags: Vec<String>,
        /// `:create`.
        create: bool,
        /// `:copy`.
        copy: bool,
        /// Which edition of the message.
        edition: usize,
    },
    /// The implicit keep is cancelled.
    Discard,
    /// To another address.
    Redirect {
        /// As the script wrote it, variables filled in.
        address: String,
        /// `:copy`.
        copy: bool,
        /// Which edition of the message.
        edition: usize,
    },
    /// Refused.
    Reject {
        /// What the sender is told.
        reason: String,
        /// By `ereject`.
        extended: bool,
    },
    /// An answer (RFC 5230).
    Vacation(Vacation),
    /// A notification by mail (RFC 5435).
    Notify(Notify),
    /// Something for the log, by `debug_log`.
    Debug(String),
    /// A `duplicate` test remembers its identifier when all goes well (RFC 7352).
    Track {
        /// The identifier.
        id: String,
        /// How long it is remembered.
        seconds: u64,
    },
}

/// The arguments of `vacation`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Vacation {
    /// Seconds between two answers; `None` for the default.
    pub period: Option<u64>,
    /// `:subject`.
    pub subject: Option<String>,
    /// `:from`.
    pub from: Option<String>,
    /// `:addresses`.
    pub addresses: Vec<String>,
    /// `:handle`.
    pub handle: Option<String>,
    /// `:mime`: the reason is a MIME entity.
    pub mime: bool,
    /// The text.
    pub reason: String,
}

/// The arguments of `notify`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Notify {
    /// `:from`.
    pub from: Option<String>,
    /// `:importance`, 1 to 3.
    pub importance: Option<String>,
    /// `:message`.
    pub message: Option<String>,
    /// The method, a `mailto:`.
    pub method: String,
}

/// The message as `editheader` left it: a new head, then the rest of the original from an offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edition {
    /// What stands in front.
    pub head: Vec<u8>,
    /// Where the original goes on behind it.
    pub rest_at: u64,
}

/// What one script, with all that it includes, asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ran {
    /// The actions.
    pub actions: Vec<Action>,
    /// The flags of the implicit keep.
    pub keep_flags: Vec<String>,
    /// The edition that the implicit keep takes.
    pub keep_edition: usize,
    /// Editions of the message; edition 0 is the original, edition n is the entry n - 1.
    pub editions: Vec<Edition>,
}
