//! The simple body canonicalization (RFC 6376 §3.4.3).

use super::Output;

/// What was seen at the end of the last piece and may be the end of the body.
#[derive(Debug, Default)]
pub(super) struct Simple {
    line_ends: u64,
    cr: bool,
}

impl Simple {
    pub(super) fn update(&mut self, piece: &[u8], out: &mut Output) {
        // Only line ends at the very end of a piece can be the end of the body;
        // all before them goes to the hash in one slice.
        let is_text = |octet: &u8| !matches!(octet, b'\r' | b'\n');
        let end = piece.iter().rposition(is_text).map_or(0, |at| at + 1);
        if let (text @ [_, ..], _) = piece.split_at_checked(end).unwrap_or_default() {
            self.release(out);
            out.put(text);
        }
        for octet in piece.get(end..).unwrap_or_default() {
            match octet {
                b'\n' if self.cr => {
                    self.cr = false;
                    self.line_ends += 1;
                }
                b'\r' => {
                    if self.cr {
                        self.release(out);
                    }
                    self.cr = true;
                }
                _ => {
                    self.release(out);
                    out.put(b"\n");
                }
            }
        }
    }

    /// What was held back turned out to be within the body.
    fn release(&mut self, out: &mut Output) {
        out.put_line_ends(self.line_ends);
        if self.cr {
            out.put(b"\r");
        }
        *self = Self::default();
    }

    /// Any number of line ends at the end, also none, becomes one.
    pub(super) fn finish(mut self, out: &mut Output) {
        if self.cr {
            self.release(out);
        }
        out.put(b"\r\n");
    }
}
