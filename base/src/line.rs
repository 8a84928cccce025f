//! Bytes as they arrive → lines, with a limit on their length.

use std::ops::ControlFlow;

use memchr::memchr;

/// Cuts a stream of bytes into lines that end in LF.
///
/// Between calls it holds nothing but the beginning of an unfinished line, so an idle connection
/// costs no buffer.
#[derive(Debug)]
pub struct Lines {
    rest: Vec<u8>,
    limit: usize,
}

/// A line is longer than the limit; what came before it has been handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

impl Lines {
    /// Lines of at most `limit` bytes, the LF included.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { rest: Vec::new(), limit }
    }

    /// Hands each line that `bytes` completes to `each`, without its LF, until `each` breaks.
    ///
    /// After a break or an error the rest of `bytes` is lost: the connection is at its end.
    ///
    /// # Errors
    /// [`TooLong`] as soon as a line cannot end within the limit any more.
    pub fn feed<B>(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(&[u8]) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, TooLong> {
        while let Some(end) = memchr(b'\n', bytes) {
            let (line, after) = bytes.split_at(end);
            if self.rest.len() + line.len() >= self.limit {
                return Err(TooLong);
            }
            let flow = if self.rest.is_empty() {
                each(line)
            } else {
                let mut whole = std::mem::take(&mut self.rest);
                whole.extend_from_slice(line);
                each(&whole)
            };
            if flow.is_break() {
                return Ok(flow);
            }
            bytes = after.get(1..).unwrap_or_default();
        }
        if self.rest.len() + bytes.len() >= self.limit {
            return Err(TooLong);
        }
        if !bytes.is_empty() {
            self.rest.extend_from_slice(bytes);
        }
        Ok(ControlFlow::Continue(()))
    }

    /// How many bytes of an unfinished line are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.rest.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(limit: usize, pieces: &[&[u8]]) -> (Vec<String>, bool) {
        let mut cutter = Lines::new(limit);
        let mut found = Vec::new();
        for piece in pieces {
            let result = cutter.feed(piece, |line| {
                found.push(String::from_utf8_lossy(line).into_owned());
                ControlFlow::<()>::Continue(())
            });
            if result.is_err() {
                return (found, false);
            }
        }
        (found, true)
    }

    #[test]
    fn lines_are_the_same_however_they_are_split() {
        let text = b"one\n\ntwo three\nfour";
        for at in 0..text.len() {
            let (a, b) = text.split_at(at);
            assert_eq!(lines(20, &[a, b]).0, ["one", "", "two three"], "split at {at}");
        }
    }

    #[test]
    fn the_limit_counts_the_line_feed() {
        assert_eq!(lines(5, &[b"1234\n"]), (vec!["1234".to_owned()], true));
        assert_eq!(lines(5, &[b"12345\n"]), (vec![], false));
        assert_eq!(lines(5, &[b"12", b"34", b"\n"]), (vec!["1234".to_owned()], true));
        assert_eq!(lines(5, &[b"12", b"345"]), (vec![], false));
        assert_eq!(lines(5, &[b"ok\n12345"]), (vec!["ok".to_owned()], false));
    }

    #[test]
    fn nothing_is_held_between_lines() {
        let mut cutter = Lines::new(100);
        assert!(cutter.feed(b"whole\n", |_| ControlFlow::<()>::Continue(())).is_ok());
        assert_eq!((cutter.held(), cutter.rest.capacity()), (0, 0));
    }

    #[test]
    fn a_break_ends_it() {
        let mut cutter = Lines::new(100);
        let mut count = 0;
        let flow = cutter.feed(b"a\nb\nc\n", |line| {
            count += 1;
            if line == b"b" { ControlFlow::Break("stop") } else { ControlFlow::Continue(()) }
        });
        assert_eq!((flow, count), (Ok(ControlFlow::Break("stop")), 2));
    }
}
