//! Connections over real sockets with an agent that remembers: bounds, time limits, bugs, the end.

use super::*;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;

/// What happened outside, in order.
type Log = Arc<Mutex<Vec<String>>>;

/// Users whose names begin with `no` do not exist; a message that holds `FULL` cannot be stored, `BUG` panics,
/// at delivery too for the user `bug`.
struct Remembers(Log, Vec<u8>);

impl Remembers {
    fn say(&self, text: impl Into<String>) {
        self.0.lock().unwrap().push(text.into());
    }
}

impl Agent for Remembers {
    type User = String;

    fn look_up(&mut self, mailbox: &Mailbox) -> Result<String, Reply> {
        let user = mailbox.user();
        assert_ne!(user, "panic", "a bug");
        if user.starts_with("no") { Err(Reply::new(550, "5.1.1", "no")) } else { Ok(user) }
    }

    fn begin(&mut self, _client: &str, _transaction: &Transaction<String>) -> Result<(), Reply> {
        self.say("begin");
        Ok(())
    }

    fn write(&mut self, _transaction: &Transaction<String>, bytes: &[u8]) -> Result<(), Reply> {
        self.1.extend_from_slice(bytes);
        let holds = |text: &[u8]| self.1.windows(text.len()).any(|window| window == text);
        assert!(!holds(b"BUG"), "a bug");
        if holds(b"FULL") { Err(Reply::new(452, "4.3.1", "full")) } else { Ok(()) }
    }

    fn discard(&mut self) {
        self.1.clear();
        self.say("discard");
    }

    fn deliver(&mut self, transaction: &mut Transaction<String>, each: &mut dyn FnMut(Reply) -> bool) {
        self.say(format!("deliver {}", self.1.len()));
        self.1.clear();
        for recipient in &transaction.recipients {
            assert_ne!(recipient.known.as_deref(), Some("bug"), "a bug");
            each(Reply::new(250, "2.0.0", "Saved"));
        }
    }
}

struct Client {
    stream: UnixStream,
    thread: std::thread::JoinHandle<io::Result<End>>,
    log: Log,
    shared: Arc<Shared>,
    /// Gone when the connection is.
    server: std::sync::Weak<Stream>,
}

fn connect(idle_ms: u64, message_ms: u64) -> Client {
    let (stream, server) = UnixStream::pair().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    let (log, shared) = (Log::default(), Arc::new(Shared::default()));
    let terms = Arc::new(Terms {
        host: "mx".to_owned(),
        greeting: "ready".to_owned(),
        largest_message: 0,
        most_recipients: 10,
        most_bad_commands: 10,
    });
    let patience =
        Patience { idle: Duration::from_millis(idle_ms), message: Duration::from_millis(message_ms) };
    let server = Arc::new(Stream::Unix(server));
    let kept = Arc::downgrade(&server);
    let thread = {
        let (log, shared) = (Arc::clone(&log), Arc::clone(&shared));
        std::thread::spawn(move || {
            let agent = Remembers(log, Vec::new());
            Connection::new(&server, &shared, terms, patience, "ID".to_owned(), agent).run()
        })
    };
    Client { stream, thread, log, shared, server: kept }
}

impl Client {
    fn say(&mut self, text: impl AsRef<[u8]>) {
        self.stream.write_all(text.as_ref()).unwrap();
    }

    /// Reads until `lines` lines are there.
    fn hear(&mut self, lines: usize) -> String {
        let mut text = Vec::new();
        while text.iter().filter(|&&byte| byte == b'\n').count() < lines {
            let mut piece = [0; 4096];
            let count = self.stream.read(&mut piece).unwrap();
            assert!(count > 0, "closed after {}", String::from_utf8_lossy(&text));
            text.extend_from_slice(&piece[..count]);
        }
        String::from_utf8(text).unwrap()
    }

    /// What is said until the end, how it ended and what happened outside.
    fn end(mut self) -> (String, End, Vec<String>) {
        let mut text = String::new();
        self.stream.read_to_string(&mut text).unwrap();
        let end = self.thread.join().unwrap().unwrap();
        let log = self.log.lock().unwrap().clone();
        (text, end, log)
    }
}

const BEGIN: &str = "MAIL FROM:<>\r\nRCPT TO:<anna>\r\nRCPT TO:<bob>\r\nDATA\r\n";

#[test]
fn a_message_in_one_go_is_answered_in_two_writes() {
    let mut client = connect(20_000, 20_000);
    client.hear(1);
    client.say(BEGIN);
    assert_eq!(client.hear(4), "250 2.1.0 OK\r\n250 2.1.5 OK\r\n250 2.1.5 OK\r\n354 OK\r\n");
    client.say("hello\r\n.\r\nQUIT\r\n");
    let (text, end, log) = client.end();
    assert_eq!(text, "250 2.0.0 Saved\r\n250 2.0.0 Saved\r\n221 2.0.0 Bye\r\n");
    assert_eq!((end, log), (End::Closed, vec!["begin".into(), "deliver 7".into(), "discard".into()]));
}

#[test]
fn bugs_end_one_message() {
    let mut client = connect(20_000, 20_000);
    client.say("MAIL FROM:<>\r\nRCPT TO:<panic>\r\nRCPT TO:<anna>\r\nRCPT TO:<bug>\r\nDATA\r\nBUG\r\n.\r\n");
    let text = client.hear(8);
    let told = "451 4.3.0 Temporary internal error\r\n";
    assert!(text.contains(&format!("OK\r\n{told}250 2.1.5")), "{text}");
    assert!(text.ends_with(&format!("354 OK\r\n{told}{told}")), "{text}");
    client.say("MAIL FROM:<>\r\nRCPT TO:<anna>\r\nRCPT TO:<bug>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n");
    let (text, end, _) = client.end();
    assert!(text.ends_with(&format!("354 OK\r\n250 2.0.0 Saved\r\n{told}221 2.0.0 Bye\r\n")), "{text}");
    assert_eq!(end, End::Closed);
}

#[test]
fn a_client_that_stops_leaves_nothing() {
    for (sent, rest) in [("", ""), ("half", " a mess"), ("x\r\n.\r", "")] {
        let mut client = connect(20_000, 20_000);
        client.say(BEGIN);
        client.say(sent);
        client.hear(5);
        client.say(rest);
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        let (text, end, log) = client.end();
        assert_eq!((text.as_str(), end), ("", End::Gone));
        assert_eq!(log, ["begin", "discard"]);
    }
}

#[test]
fn a_message_that_cannot_be_stored_is_refused_once_it_is_there() {
    let mut client = connect(20_000, 20_000);
    client.say(BEGIN);
    client.say(format!("FULL{}\r\n.\r\nQUIT\r\n", "x".repeat(200_000)));
    let (text, _, log) = client.end();
    assert!(text.ends_with("354 OK\r\n452 4.3.1 full\r\n452 4.3.1 full\r\n221 2.0.0 Bye\r\n"), "{text}");
    assert_eq!(log, ["begin", "discard", "discard"]);
}

#[test]
fn silence_ends_the_connection() {
    let client = connect(50, 20_000);
    let (text, end, _) = client.end();
    assert_eq!(text, "220 mx ready\r\n421 4.4.2 mx Disconnected for inactivity\r\n");
    assert_eq!(end, End::TimedOut);
}

#[test]
fn slow_senders_have_a_limit_in_total() {
    let mut client = connect(10_000, 300);
    client.say(BEGIN);
    client.hear(5);
    let started = monotonic_now();
    while client.stream.write_all(b"x").is_ok() {
        std::thread::sleep(Duration::from_millis(10));
        assert!(started.elapsed() < Duration::from_secs(15), "no limit");
    }
    let mut text = String::new();
    // The server may have closed with bytes of ours unread.
    drop(client.stream.read_to_string(&mut text));
    assert_eq!(client.thread.join().unwrap().unwrap(), End::TimedOut);
    assert!(text.is_empty() || text == "421 4.4.2 mx The message took too long\r\n", "{text}");
    assert_eq!(*client.log.lock().unwrap(), ["begin", "discard"]);
}

#[test]
fn a_client_that_reads_nothing_is_not_waited_for() {
    let client = connect(100, 20_000);
    let mut writer = client.stream.try_clone().unwrap();
    writer.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
    let flood = "NOOP\r\n".repeat(100_000);
    while writer.write_all(flood.as_bytes()).is_ok() {}
    let error = client.thread.join().unwrap().unwrap_err();
    assert!(matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut), "{error}");
}

#[test]
fn the_end_waits_for_the_transaction_in_hand() {
    let mut idle = connect(20_000, 20_000);
    idle.hear(1);
    let mut busy = connect(20_000, 20_000);
    busy.say(BEGIN);
    busy.hear(5);
    for client in [&idle, &busy] {
        client.shared.stopping.store(true, Ordering::SeqCst);
    }
    assert!(!idle.shared.in_hand.load(Ordering::SeqCst) && busy.shared.in_hand.load(Ordering::SeqCst));
    idle.server.upgrade().unwrap().end_reading();
    let (text, end, _) = idle.end();
    assert_eq!((text.as_str(), end), ("421 4.3.2 mx Shutting down\r\n", End::Stopped));
    busy.say("x\r\n.\r\n");
    let (text, end, log) = busy.end();
    assert_eq!(text, "250 2.0.0 Saved\r\n250 2.0.0 Saved\r\n421 4.3.2 mx Shutting down\r\n");
    assert_eq!((end, log[1].as_str()), (End::Stopped, "deliver 3"));
}
