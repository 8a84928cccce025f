//! Turns a bare CR or LF into CRLF on the way to the canonicalization (OpenDKIM's `FixCRLF`).

/// Remembers whether the last piece ended with CR.
#[derive(Debug, Default)]
pub(super) struct LineEnds {
    cr: bool,
}

impl LineEnds {
    pub(super) fn update(&mut self, piece: &[u8], mut put: impl FnMut(&[u8])) {
        let mut rest = piece;
        if self.cr && !rest.is_empty() {
            self.cr = false;
            put(b"\r\n");
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        let mut from = 0;
        for at in memchr::memchr2_iter(b'\r', b'\n', rest) {
            let Some(before) = rest.get(from..at) else { continue };
            match rest.get(at..).unwrap_or_default() {
                // What is in order goes on with what surrounds it.
                [b'\r', b'\n', ..] => {}
                [b'\n', ..] if at.checked_sub(1).and_then(|at| rest.get(at)) == Some(&b'\r') => {}
                [b'\r'] => {
                    put(before);
                    self.cr = true;
                    from = at + 1;
                }
                _ => {
                    put(before);
                    put(b"\r\n");
                    from = at + 1;
                }
            }
        }
        put(rest.get(from..).unwrap_or_default());
    }

    pub(super) fn finish(self, mut put: impl FnMut(&[u8])) {
        if self.cr {
            put(b"\r\n");
        }
    }
}
