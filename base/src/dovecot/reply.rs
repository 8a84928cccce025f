//! Lines that a server sends, appended to a buffer.

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{CLIENT_MINOR, MAJOR, USERDB_MINOR, escape_into};

/// Longest reply line: Exim reads no more than 8191 bytes. Fields beyond are left out.
pub const LONGEST_REPLY: usize = 8_000;
/// Most fields in a reply: Exim reads no more than 16.
pub const MOST_FIELDS: usize = 15;

/// The whole greeting of a client socket, in one piece: some clients want it in one read, and Exim
/// sends nothing before `DONE`.
///
/// `mechanisms` are names with their flags (`plaintext`, `mutual-auth` …). `cookie` is random.
pub fn greeting<'a>(
    mechanisms: impl IntoIterator<Item = (&'a str, &'a [&'a str])>,
    pid: u32,
    connection: u64,
    cookie: &[u8; 16],
    out: &mut Vec<u8>,
) {
    line(out, format_args!("VERSION\t{MAJOR}\t{CLIENT_MINOR}"));
    for (name, flags) in mechanisms {
        out.extend(b"MECH\t");
        out.extend(name.as_bytes());
        for flag in flags {
            out.push(b'\t');
            out.extend(flag.as_bytes());
        }
        out.push(b'\n');
    }
    line(out, format_args!("SPID\t{pid}\nCUID\t{connection}"));
    let cookie = u128::from_be_bytes(*cookie);
    line(out, format_args!("COOKIE\t{cookie:032x}\nDONE"));
}

/// The greeting of a userdb socket.
pub fn userdb_greeting(pid: u32, out: &mut Vec<u8>) {
    line(out, format_args!("VERSION\t{MAJOR}\t{USERDB_MINOR}\nSPID\t{pid}"));
}

/// `CONT id base64`; without data the TAB is still there, which Postfix insists on.
pub fn cont(id: u32, data: &[u8], out: &mut Vec<u8>) {
    line(out, format_args!("CONT\t{id}\t{}", STANDARD.encode(data)));
}

/// A line of a command, an id and fields: `OK`, `FAIL`, `USER`, `PASS`, `NOTFOUND`, `LIST`, `DONE`.
#[derive(Debug)]
pub struct Reply<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    fields: usize,
    /// Bytes and fields that are kept free for what is added last.
    reserved: (usize, usize),
}

impl<'a> Reply<'a> {
    /// Begins the line.
    pub fn new(command: &str, id: u32, out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        out.extend(command.as_bytes());
        let mut reply = Self { out, start, fields: 1, reserved: (0, 0) };
        reply.bare(id);
        reply
    }

    /// Adds `key=value`. Gives false, and adds nothing, when the line would become too long for
    /// its readers.
    pub fn field(&mut self, key: &str, value: impl AsRef<[u8]>) -> bool {
        let before = self.out.len();
        self.out.push(b'\t');
        escape_into(key.as_bytes(), self.out);
        self.out.push(b'=');
        escape_into(value.as_ref(), self.out);
        self.keep_or_cut(before)
    }

    /// Adds a bare `key`, as [`Self::field`].
    pub fn flag(&mut self, key: &str) -> bool {
        let before = self.out.len();
        self.out.push(b'\t');
        escape_into(key.as_bytes(), self.out);
        self.keep_or_cut(before)
    }

    /// Adds a text that is no `key=value` (the user of `USER`, `LIST`).
    pub fn text(&mut self, text: &[u8]) -> bool {
        let before = self.out.len();
        self.out.push(b'\t');
        escape_into(text, self.out);
        self.keep_or_cut(before)
    }

    /// Keeps room for fields that are added last, after those that may be left out.
    pub fn reserve(&mut self, fields: &[(&str, String)]) {
        // In the worst case every byte is escaped.
        let bytes = fields.iter().map(|(key, value)| key.len() + 2 * value.len() + 2).sum();
        self.reserved = (bytes, fields.len());
    }

    /// Gives the room back, for those fields.
    pub fn release(&mut self) {
        self.reserved = (0, 0);
    }

    /// Ends the line.
    pub fn end(self) {
        self.out.push(b'\n');
    }

    fn bare(&mut self, id: u32) {
        // Writing to a Vec cannot fail.
        drop(write!(self.out, "\t{id}"));
        self.fields += 1;
    }

    fn keep_or_cut(&mut self, before: usize) -> bool {
        let fits = self.out.len() - self.start + self.reserved.0 < LONGEST_REPLY
            && self.fields + self.reserved.1 < MOST_FIELDS;
        if fits {
            self.fields += 1;
        } else {
            self.out.truncate(before);
        }
        fits
    }
}

fn line(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to a Vec cannot fail.
    drop(writeln!(out, "{text}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greeting_has_dovecots_order() {
        let mut out = Vec::new();
        let mechanisms: [(&str, &[&str]); 2] = [("PLAIN", &["plaintext"]), ("EXTERNAL", &[])];
        greeting(mechanisms, 77, 5, &[0xab; 16], &mut out);
        let want = "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tEXTERNAL\nSPID\t77\nCUID\t5\n\
                    COOKIE\tabababababababababababababababab\nDONE\n";
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }

    #[test]
    fn replies() {
        let mut out = Vec::new();
        cont(2, b"", &mut out);
        let mut ok = Reply::new("OK", 14, &mut out);
        assert!(ok.field("user", "a\tb"));
        assert!(ok.flag("anonymous"));
        ok.end();
        assert_eq!(out, b"CONT\t2\t\nOK\t14\tuser=a\x01tb\tanonymous\n");
    }

    #[test]
    fn a_reply_stays_readable_for_exim() {
        let mut out = Vec::new();
        let mut ok = Reply::new("OK", 1, &mut out);
        assert!(ok.field("user", "u"));
        assert!(!ok.field("long", "x".repeat(LONGEST_REPLY)));
        let added = (0..40).filter(|n| ok.field(&format!("f{n}"), "v")).count();
        ok.end();
        assert_eq!(added, MOST_FIELDS - 3);
        assert!(out.ends_with(b"\tf11=v\n"));
        assert_eq!(out.iter().filter(|&&b| b == b'\t').count() + 1, MOST_FIELDS);
    }
}
