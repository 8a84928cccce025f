//! The relaxed body canonicalization (RFC 6376 §3.4.4).

use super::Output;

/// What was seen at the end of the last piece and may be the end of a line or of the body:
/// first the line ends, then blanks, then a CR.
#[derive(Debug, Default)]
pub(super) struct Relaxed {
    line_ends: u64,
    blank: bool,
    cr: bool,
}

impl Relaxed {
    pub(super) fn update(&mut self, piece: &[u8], out: &mut Output) {
        let Some(first) = piece.iter().position(is_text) else {
            self.hold(piece, out);
            return;
        };
        let end = piece.iter().rposition(is_text).map_or(0, |at| at + 1);
        self.hold(piece.get(..first).unwrap_or_default(), out);
        self.release(out);
        lines(piece.get(first..end).unwrap_or_default(), out);
        self.hold(piece.get(end..).unwrap_or_default(), out);
    }

    /// Takes blanks, CR and LF, of which none may count in the end.
    fn hold(&mut self, white: &[u8], out: &mut Output) {
        for octet in white {
            match octet {
                b'\n' if self.cr => {
                    self.line_ends += 1;
                    (self.blank, self.cr) = (false, false);
                }
                b'\n' => {
                    self.release(out);
                    out.put(b"\n");
                }
                b'\r' => {
                    if self.cr {
                        self.release(out);
                    }
                    self.cr = true;
                }
                _ => {
                    if self.cr {
                        self.release(out);
                    }
                    self.blank = true;
                }
            }
        }
    }

    /// What was held back turned out to be within a line.
    fn release(&mut self, out: &mut Output) {
        out.put_line_ends(self.line_ends);
        if self.blank {
            out.put(b" ");
        }
        if self.cr {
            out.put(b"\r");
        }
        *self = Self::default();
    }

    /// A body without text is empty; any other ends with one CRLF.
    pub(super) fn finish(mut self, out: &mut Output) {
        if self.cr {
            self.release(out);
        }
        if out.bytes > 0 {
            out.put(b"\r\n");
        }
    }
}

/// Puts out text that begins and ends with an octet that is no white space.
fn lines(text: &[u8], out: &mut Output) {
    let mut rest = text;
    while let Some((clean, at_blank)) = first_to_change(rest).and_then(|at| rest.split_at_checked(at)) {
        out.put(clean);
        let blanks = at_blank.iter().position(|octet| !is_blank(octet)).unwrap_or(at_blank.len());
        rest = at_blank.get(blanks..).unwrap_or_default();
        if !rest.starts_with(b"\r\n") {
            out.put(b" ");
        }
    }
    out.put(rest);
}

/// Where the first run of blanks begins that may be more than one space within a line.
///
/// Blocks are tested as a whole with arithmetic the compiler turns into vector
/// instructions, since ordinary text has hardly anything to change.
fn first_to_change(text: &[u8]) -> Option<usize> {
    let mut base = 0;
    while let (Some(block), Some(next)) = (block(text, base), block(text, base + 1)) {
        if block.iter().zip(next).fold(false, |any, (octet, next)| any | changes(*octet, *next)) {
            break;
        }
        base += BLOCK;
    }
    let rest = text.get(base..)?;
    let pair = rest.windows(2).position(|pair| matches!(pair, [octet, next] if changes(*octet, *next)));
    pair.map(|at| base + at)
}

/// A tab, or a space with another blank or a control character behind it.
///
/// Text ends with an octet that is no white space, so a blank always has a successor.
fn changes(octet: u8, next: u8) -> bool {
    (octet == b'\t') | ((octet == b' ') & (next <= b' '))
}

fn block(text: &[u8], from: usize) -> Option<&[u8; BLOCK]> {
    text.get(from..)?.first_chunk()
}

fn is_text(octet: &u8) -> bool {
    !matches!(octet, b' ' | b'\t' | b'\r' | b'\n')
}

fn is_blank(octet: &u8) -> bool {
    matches!(octet, b' ' | b'\t')
}

const BLOCK: usize = 32;
