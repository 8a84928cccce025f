//! The table of commands and tests: their extension, arguments, tags and what may follow them.

/// A command or a test.
#[derive(Debug)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// Whether it stands alone or is asked.
    pub role: Role,
    /// The extension that brings it, empty for RFC 5228.
    pub extension: &'static str,
    /// What must and may follow without a tag.
    pub positional: &'static [Positional],
    /// Which of them may be left out.
    pub optional: Optional,
    /// The tags it takes.
    pub tags: &'static [&'static [Tag]],
    /// The tests it takes.
    pub tests: Tests,
    /// Whether braces follow.
    pub block: bool,
}

/// Command or test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Ends with a semicolon or has a block.
    Command,
    /// Stands behind `if`, `not` and the like.
    Test,
}

/// The tests that belong to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tests {
    /// None.
    None,
    /// One (`if`, `not`).
    One,
    /// A list in parentheses (`anyof`).
    List,
}

/// The argument without a tag that may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Optional {
    /// All must be there.
    None,
    /// The first, as the variable's name of `setflag`.
    First,
    /// The last, as the patterns of `deleteheader`.
    Last,
}

/// An argument without a tag.
#[derive(Debug)]
pub struct Positional {
    /// What messages call it.
    pub name: &'static str,
    /// What it has to be.
    pub kind: Kind,
}

/// What an argument has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One string.
    Text,
    /// A string or a list of them.
    List,
    /// A number.
    Number,
}

impl Kind {
    /// What messages call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::List => "string list",
            Self::Number => "number",
        }
    }
}

/// A tag.
#[derive(Debug)]
pub struct Tag {
    /// Its name without the colon.
    pub name: &'static str,
    /// Tags of one group exclude each other; empty: only itself.
    pub group: &'static str,
    /// The extension that brings it, empty for the one of the command.
    pub extension: &'static str,
    /// The argument that follows it.
    pub argument: Option<Kind>,
}

/// The entry of a name.
#[must_use]
pub fn entry(name: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| entry.name == name)
}

const fn tag(name: &'static str, argument: Option<Kind>) -> Tag {
    of("", "", name, argument)
}

const fn of(group: &'static str, extension: &'static str, name: &'static str, argument: Option<Kind>) -> Tag {
    Tag { name, group, extension, argument }
}

const fn text(name: &'static str) -> Positional {
    Positional { name, kind: Kind::Text }
}

const fn list(name: &'static str) -> Positional {
    Positional { name, kind: Kind::List }
}

const MATCHES: &[Tag] = &[
    of("MATCH-TYPE", "", "is", None),
    of("MATCH-TYPE", "", "contains", None),
    of("MATCH-TYPE", "", "matches", None),
    of("MATCH-TYPE", "regex", "regex", None),
    of("MATCH-TYPE", "relational", "count", Some(Kind::Text)),
    of("MATCH-TYPE", "relational", "value", Some(Kind::Text)),
    of("COMPARATOR", "", "comparator", Some(Kind::Text)),
];
const ADDRESS_PARTS: &[Tag] = &[
    of("ADDRESS-PART", "", "all", None),
    of("ADDRESS-PART", "", "localpart", None),
    of("ADDRESS-PART", "", "domain", None),
    of("ADDRESS-PART", "subaddress", "user", None),
    of("ADDRESS-PART", "subaddress", "detail", None),
];
const INDEX: &[Tag] = &[of("", "index", "index", Some(Kind::Number)), of("", "index", "last", None)];
const MIME: &[Tag] = &[of("", "mime", "mime", None), of("", "mime", "anychild", None)];
const MIME_OPTIONS: &[Tag] = &[
    of("MIME-OPTION", "mime", "type", None),
    of("MIME-OPTION", "mime", "subtype", None),
    of("MIME-OPTION", "mime", "contenttype", None),
    of("MIME-OPTION", "mime", "param", Some(Kind::List)),
];
const FLAGS: &[Tag] = &[of("", "imap4flags", "flags", Some(Kind::List))];
const COPY: &[Tag] = &[of("", "copy", "copy", None)];
const CREATE: &[Tag] = &[of("", "mailbox", "create", None)];
const ZONE: &[Tag] = &[of("ZONE", "", "zone", Some(Kind::Text))];
const ORIGINAL_ZONE: &[Tag] = &[of("ZONE", "", "originalzone", None)];
const MODIFIERS: &[Tag] = &[
    of("CASE", "", "lower", None),
    of("CASE", "", "upper", None),
    of("CASE-FIRST", "", "lowerfirst", None),
    of("CASE-FIRST", "", "upperfirst", None),
    of("QUOTE", "", "quotewildcard", None),
    of("", "enotify", "encodeurl", None),
    tag("length", None),
];

const COMMAND: Entry = Entry {
    name: "",
    role: Role::Command,
    extension: "",
    positional: &[],
    optional: Optional::None,
    tags: &[],
    tests: Tests::None,
    block: false,
};
const TEST: Entry = Entry { role: Role::Test, ..COMMAND };

/// All commands and tests.
#[rustfmt::skip]
pub const ENTRIES: &[Entry] = &[
    // RFC 5228
    Entry { name: "require", positional: &[list("capabilities")], ..COMMAND },
    Entry { name: "if", tests: Tests::One, block: true, ..COMMAND },
    Entry { name: "elsif", tests: Tests::One, block: true, ..COMMAND },
    Entry { name: "else", block: true, ..COMMAND },
    Entry { name: "stop", ..COMMAND },
    Entry { name: "keep", tags: &[FLAGS], ..COMMAND },
    Entry { name: "discard", ..COMMAND },
    Entry { name: "redirect", positional: &[text("address")], tags: &[COPY], ..COMMAND },
    Entry { name: "fileinto", extension: "fileinto", positional: &[text("folder")], tags: &[COPY, CREATE, FLAGS], ..COMMAND },
    Entry { name: "true", ..TEST },
    Entry { name: "false", ..TEST },
    Entry { name: "not", tests: Tests::One, ..TEST },
    Entry { name: "allof", tests: Tests::List, ..TEST },
    Entry { name: "anyof", tests: Tests::List, ..TEST },
    Entry { name: "exists", positional: &[list("header names")], tags: &[MIME], ..TEST },
    Entry { name: "size", tags: &[&[of("LIMIT", "", "over", Some(Kind::Number)), of("LIMIT", "", "under", Some(Kind::Number))]], ..TEST },
    Entry { name: "header", positional: &[list("header names"), list("key list")], tags: &[MATCHES, INDEX, MIME, MIME_OPTIONS], ..TEST },
    Entry { name: "address", positional: &[list("header list"), list("key list")], tags: &[MATCHES, ADDRESS_PARTS, INDEX, MIME], ..TEST },
    // RFC 5228 §5.4
    Entry { name: "envelope", extension: "envelope", positional: &[list("envelope part"), list("key list")], tags: &[MATCHES, ADDRESS_PARTS], ..TEST },
    // RFC 5173
    Entry { name: "body", extension: "body", positional: &[list("key list")], tags: &[MATCHES, &[of("BODY-TRANSFORM", "", "raw", None), of("BODY-TRANSFORM", "", "content", Some(Kind::List)), of("BODY-TRANSFORM", "", "text", None)]], ..TEST },
    // RFC 5183
    Entry { name: "environment", extension: "environment", positional: &[text("name"), list("key list")], tags: &[MATCHES], ..TEST },
    // RFC 5229
    Entry { name: "set", extension: "variables", positional: &[text("name"), text("value")], tags: &[MODIFIERS], ..COMMAND },
    Entry { name: "string", extension: "variables", positional: &[list("source"), list("key list")], tags: &[MATCHES], ..TEST },
    // RFC 5230, 6131
    Entry { name: "vacation", extension: "vacation", positional: &[text("reason")], tags: &[&[
        of("PERIOD", "", "days", Some(Kind::Number)), of("PERIOD", "vacation-seconds", "seconds", Some(Kind::Number)),
        tag("subject", Some(Kind::Text)), tag("from", Some(Kind::Text)), tag("addresses", Some(Kind::List)),
        tag("mime", None), tag("handle", Some(Kind::Text)),
    ]], ..COMMAND },
    // RFC 5232
    Entry { name: "setflag", extension: "imap4flags", positional: &[text("variable name"), list("list of flags")], optional: Optional::First, ..COMMAND },
    Entry { name: "addflag", extension: "imap4flags", positional: &[text("variable name"), list("list of flags")], optional: Optional::First, ..COMMAND },
    Entry { name: "removeflag", extension: "imap4flags", positional: &[text("variable name"), list("list of flags")], optional: Optional::First, ..COMMAND },
    Entry { name: "hasflag", extension: "imap4flags", positional: &[list("variable list"), list("list of flags")], optional: Optional::First, tags: &[MATCHES], ..TEST },
    // RFC 5260
    Entry { name: "date", extension: "date", positional: &[text("header name"), text("date part"), list("key list")], tags: &[MATCHES, ZONE, ORIGINAL_ZONE, INDEX], ..TEST },
    Entry { name: "currentdate", extension: "date", positional: &[text("date part"), list("key list")], tags: &[MATCHES, ZONE], ..TEST },
    // RFC 5293
    Entry { name: "addheader", extension: "editheader", positional: &[text("field name"), text("value")], tags: &[&[tag("last", None)]], ..COMMAND },
    Entry { name: "deleteheader", extension: "editheader", positional: &[text("field name"), list("value patterns")], optional: Optional::Last, tags: &[MATCHES, &[tag("index", Some(Kind::Number)), tag("last", None)]], ..COMMAND },
    // RFC 5429
    Entry { name: "reject", extension: "reject", positional: &[text("reason")], ..COMMAND },
    Entry { name: "ereject", extension: "ereject", positional: &[text("reason")], ..COMMAND },
    // RFC 5435
    Entry { name: "notify", extension: "enotify", positional: &[text("method")], tags: &[&[
        tag("from", Some(Kind::Text)), tag("importance", Some(Kind::Text)), tag("options", Some(Kind::List)), tag("message", Some(Kind::Text)),
    ]], ..COMMAND },
    Entry { name: "valid_notify_method", extension: "enotify", positional: &[list("notification uris")], ..TEST },
    Entry { name: "notify_method_capability", extension: "enotify", positional: &[text("notification uri"), text("notification capability"), list("key list")], tags: &[MATCHES], ..TEST },
    // RFC 5463
    Entry { name: "ihave", extension: "ihave", positional: &[list("capabilities")], ..TEST },
    Entry { name: "error", extension: "ihave", positional: &[text("message")], ..COMMAND },
    // RFC 5490
    Entry { name: "mailboxexists", extension: "mailbox", positional: &[list("mailbox names")], ..TEST },
    // RFC 5703
    Entry { name: "foreverypart", extension: "foreverypart", tags: &[&[tag("name", Some(Kind::Text))]], block: true, ..COMMAND },
    Entry { name: "break", extension: "foreverypart", tags: &[&[tag("name", Some(Kind::Text))]], ..COMMAND },
    Entry { name: "extracttext", extension: "extracttext", positional: &[text("variable name")], tags: &[MODIFIERS, &[tag("first", Some(Kind::Number))]], ..COMMAND },
    // RFC 6609
    Entry { name: "include", extension: "include", positional: &[text("script name")], tags: &[&[
        of("LOCATION", "", "personal", None), of("LOCATION", "", "global", None), tag("once", None), tag("optional", None),
    ]], ..COMMAND },
    Entry { name: "return", extension: "include", ..COMMAND },
    Entry { name: "global", extension: "include", positional: &[list("variable names")], ..COMMAND },
    // RFC 7352
    Entry { name: "duplicate", extension: "duplicate", tags: &[&[
        of("UNIQUE-ID", "", "header", Some(Kind::Text)), of("UNIQUE-ID", "", "uniqueid", Some(Kind::Text)),
        tag("handle", Some(Kind::Text)), tag("seconds", Some(Kind::Number)), tag("last", None),
    ]], ..TEST },
    // Pigeonhole's own
    Entry { name: "debug_log", extension: "vnd.dovecot.debug", positional: &[text("message")], ..COMMAND },
];
