//! Lines for standard error, written by a thread of their own: whoever is stuck at the other end holds up
//! nobody.
//!
//! The thread looks every few milliseconds while there is something to write and sleeps otherwise, so that
//! many lines cost one write(2) and the first line of a quiet time is there at once. What a killed process
//! takes with it are the lines of the last [`ROUND`].

use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long lines are gathered.
const ROUND: Duration = Duration::from_millis(10);
/// The thread sleeps after so many rounds without a line.
const QUIET_ROUNDS: u32 = 100;
/// What waits to be written; lines beyond are lost, and counted.
const MOST_WAITING: usize = 1 << 20;
/// A pipe takes so much in one piece (pipe(7), `PIPE_BUF`): lines of several processes do not mix.
const PIECE: usize = 4096;
/// The longest that [`Writer::flush`] waits for a reader who is stuck.
const LONGEST_FLUSH: Duration = Duration::from_secs(1);
/// A buffer that has grown beyond is given back.
const KEPT: usize = 64 * 1024;

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    lost: u64,
    /// The thread waits to be woken.
    asleep: bool,
    /// The thread holds lines that are not written yet.
    writing: bool,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    /// There is a line, and the thread sleeps.
    wake: Condvar,
    /// All that waited is written.
    written: Condvar,
}

/// The way to the thread.
#[derive(Debug)]
pub(super) struct Writer(Arc<Queue>);

impl Writer {
    /// Starts the thread; lines go to `out`.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start(out: impl Write + Send + 'static) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let own = Arc::clone(&queue);
        std::thread::Builder::new().name("log".into()).spawn(move || own.run(out))?;
        Ok(Self(queue))
    }

    /// Hands over a line with its LF. Never waits for the reader.
    pub(super) fn push(&self, tag: &str, line: &[u8]) {
        let mut waiting = self.0.lock();
        if waiting.bytes.len().saturating_add(line.len()) > MOST_WAITING {
            waiting.lost = waiting.lost.saturating_add(1);
            return;
        }
        if waiting.lost > 0 {
            let lost = std::mem::take(&mut waiting.lost);
            // Into memory: it cannot fail.
            drop(writeln!(waiting.bytes, "{tag}: warning: {lost} log lines were lost: nobody took them"));
        }
        waiting.bytes.extend_from_slice(line);
        if std::mem::take(&mut waiting.asleep) {
            self.0.wake.notify_one();
        }
    }

    /// Waits until all lines are written, or the reader is seen to be stuck.
    pub(super) fn flush(&self) {
        let waiting = self.0.lock();
        let busy = |waiting: &mut Waiting| waiting.writing || !waiting.bytes.is_empty();
        drop(self.0.written.wait_timeout_while(waiting, LONGEST_FLUSH, busy));
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, mut out: impl Write) {
        let mut bytes = Vec::new();
        let mut quiet = 0;
        loop {
            {
                let mut waiting = self.lock();
                if waiting.bytes.is_empty() && quiet >= QUIET_ROUNDS {
                    waiting.asleep = true;
                    let woken = self.wake.wait_while(waiting, |waiting| waiting.bytes.is_empty());
                    waiting = woken.unwrap_or_else(PoisonError::into_inner);
                }
                quiet = if waiting.bytes.is_empty() { quiet + 1 } else { 0 };
                std::mem::swap(&mut bytes, &mut waiting.bytes);
                waiting.writing = !bytes.is_empty();
            }
            if !bytes.is_empty() {
                for piece in pieces(&bytes) {
                    // A closed stderr must not end a daemon that delivers mail.
                    drop(out.write_all(piece));
                }
                bytes.clear();
                bytes.shrink_to(KEPT);
                self.lock().writing = false;
                self.written.notify_all();
            }
            std::thread::sleep(ROUND);
        }
    }
}

/// Whole lines, as many together as fit into [`PIECE`]; a longer line alone.
fn pieces(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let end_of_line = |part: &[u8]| part.iter().position(|byte| *byte == b'\n');
        let last = bytes.get(..PIECE).map(|start| start.iter().rposition(|byte| *byte == b'\n'));
        let end = match last {
            // All of it.
            None => bytes.len(),
            Some(Some(end)) => end + 1,
            Some(None) => end_of_line(bytes).map_or(bytes.len(), |end| end + 1),
        };
        let (piece, rest) = bytes.split_at_checked(end)?;
        bytes = rest;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::mpsc;

    use super::*;
    use crate::clock::monotonic_now;

    type Said = Arc<Mutex<Vec<Vec<u8>>>>;

    /// Writes that wait to be let go one by one.
    struct Gate {
        go: mpsc::Receiver<()>,
        said: Said,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.go.recv().map_err(io::Error::other)?;
            self.said.lock().unwrap().push(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gated() -> (Writer, mpsc::Sender<()>, Said) {
        let (open, go) = mpsc::channel();
        let said = Said::default();
        let writer = Writer::start(Gate { go, said: Arc::clone(&said) }).unwrap();
        (writer, open, said)
    }

    #[test]
    fn lines_come_in_order_and_together() {
        let (writer, open, said) = gated();
        for _ in 0..10 {
            open.send(()).unwrap();
        }
        for n in 0..400 {
            writer.push("auth", format!("line {n}\n").as_bytes());
        }
        writer.flush();
        let said = said.lock().unwrap();
        let expected: String = (0..400).map(|n| format!("line {n}\n")).collect();
        assert_eq!(String::from_utf8(said.concat()).unwrap(), expected);
        assert!(said.len() < 10, "{} writes", said.len());
    }

    #[test]
    fn a_stuck_reader_holds_up_nobody_and_memory_is_bounded() {
        let (writer, open, said) = gated();
        let line = [&[b'x'; 999][..], b"\n"].concat();
        writer.push("auth", b"first\n");
        let before = monotonic_now();
        while !writer.0.lock().writing {
            assert!(before.elapsed() < Duration::from_secs(20), "the thread takes nothing");
            std::thread::yield_now();
        }
        // It now waits for its reader.
        for _ in 0..10_000 {
            writer.push("auth", &line);
        }
        assert!(writer.0.lock().bytes.len() <= MOST_WAITING);
        let lost = writer.0.lock().lost;
        assert_eq!(lost, 10_000 - 1048);
        // The reader is there again.
        for _ in 0..3000 {
            open.send(()).unwrap();
        }
        writer.flush();
        writer.push("auth", b"and on\n");
        writer.flush();
        let said = String::from_utf8(said.lock().unwrap().concat()).unwrap();
        let end = format!("auth: warning: {lost} log lines were lost: nobody took them\nand on\n");
        assert!(said.ends_with(&end), "{}", said.lines().last().unwrap());
    }

    #[test]
    fn pieces_are_whole_lines() {
        let long = [&[b'y'; 5000][..], b"\n"].concat();
        let text = [b"a\n".as_slice(), &long, b"b\n", b"c\n"].concat();
        let all: Vec<_> = pieces(&text).collect();
        assert_eq!(all, [b"a\n".as_slice(), &long, b"b\nc\n"]);
        let text = b"0123456789abcde\n".repeat(600);
        assert!(pieces(&text).all(|piece| piece.len() <= PIECE && piece.ends_with(b"\n")));
        assert_eq!(pieces(&text).count(), 3);
        assert_eq!(pieces(b"no end").collect::<Vec<_>>(), [b"no end"]);
        assert_eq!(pieces(b"").count(), 0);
    }

    #[test]
    fn the_first_line_of_a_quiet_time_is_there_at_once() {
        let (writer, open, said) = gated();
        open.send(()).unwrap();
        let deadline = monotonic_now() + Duration::from_secs(20);
        while !writer.0.lock().asleep {
            assert!(monotonic_now() < deadline, "the thread does not go to sleep");
            std::thread::sleep(Duration::from_millis(20));
        }
        writer.push("auth", b"hello\n");
        writer.flush();
        assert_eq!(*said.lock().unwrap(), [b"hello\n"]);
    }
}
