//! Dialogues as text: what the client says, what both programs answer, and where they are meant to differ.
//!
//! | line | what |
//! |---|---|
//! | `C: text` | the client sends a line; `\|` stands for TAB, `[text]` for the text in base64 (`\0` and `\1` are bytes), `{fill N}` makes the line N bytes long, its LF counted |
//! | `S: text` | both answer this; challenges are shown as `[text]`, what is different each time as a word in capitals |
//! | `s: text` | the same, and neighbours of this kind may come in any order |
//! | `S7 dovecot: text` | only the reference answers this: difference S7 |
//! | `S7 ours: text` | only ours does |
//! | `closed`, `S7 dovecot closed`, `S7 ours closed` | the server closes the connection |

use std::cell::RefCell;
use std::panic::Location;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use harness::auth::{Answer, AuthClient, AuthConf, AuthServer};
use harness::milter::Subject;
use harness::scratch::Scratch;
use harness::wait::PATIENCE;

/// Both programs with the same configuration, or the one that `SUBJECT` names.
pub struct Pair {
    pub servers: Vec<AuthServer>,
    minor: u32,
    wrong: RefCell<String>,
    _scratch: Scratch,
}

/// Where a dialogue begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    Connected,
    ShookHands,
    Userdb,
}

/// What is expected of one program after a line of the client.
#[derive(Debug, Default)]
struct Turn {
    said: Option<String>,
    lines: Vec<(bool, String)>,
    closed: bool,
}

impl Pair {
    /// Starts the programs that the run is about.
    pub fn start(conf: &AuthConf) -> Self {
        let scratch = Scratch::new("authcmp");
        let subjects = match std::env::var("SUBJECT") {
            Ok(name) if !name.is_empty() => vec![Subject::from_env()],
            _ => vec![Subject::Reference, Subject::Ours],
        };
        let start = |subject: Subject| AuthServer::start(&scratch, &format!("{subject:?}"), subject, conf);
        let servers = subjects.into_iter().map(start).collect();
        Self { servers, minor: 1, wrong: RefCell::default(), _scratch: scratch }
    }

    /// The dialogues that follow are of a client of version 1.`minor`.
    pub fn minor(&mut self, minor: u32) -> &Self {
        self.minor = minor;
        self
    }

    /// What went wrong so far; it is told no more when this is dropped.
    pub fn wrong(&self) -> String {
        self.wrong.take()
    }

    /// A dialogue after the handshake.
    #[track_caller]
    pub fn dialogue(&self, why: &str, text: &str) {
        self.play(Start::ShookHands, why, text);
    }

    /// A dialogue that begins when the connection is open, before the greeting is read.
    #[track_caller]
    pub fn raw(&self, why: &str, text: &str) {
        self.play(Start::Connected, why, text);
    }

    /// A dialogue on the auth-userdb socket, after its handshake.
    #[track_caller]
    pub fn userdb(&self, why: &str, text: &str) {
        self.play(Start::Userdb, why, text);
    }

    /// Anything else: what comes of it as text.
    #[track_caller]
    pub fn same(&self, why: &str, act: impl Fn(&AuthServer) -> String, want: &str) {
        for server in &self.servers {
            self.compare(why, server, &act(server), want);
        }
    }

    /// The same with a numbered difference.
    #[track_caller]
    pub fn differs(&self, number: &str, act: impl Fn(&AuthServer) -> String, dovecot: &str, ours: &str) {
        assert_ne!(dovecot, ours, "{number} is no difference");
        for server in &self.servers {
            let want = if server.subject() == Subject::Ours { ours } else { dovecot };
            self.compare(number, server, &act(server), want);
        }
    }

    #[track_caller]
    fn play(&self, start: Start, why: &str, text: &str) {
        let mut wrong = String::new();
        for server in &self.servers {
            let turns = turns(text, server.subject());
            let client = match start {
                Start::Connected => AuthClient::open(server.client_socket()),
                Start::ShookHands => AuthClient::connect_minor(server, self.minor),
                Start::Userdb => AuthClient::connect_userdb(server),
            };
            if let Err(said) = converse(client, &turns, start) {
                wrong.push_str(&format!("\n{:?} said:\n{said}", server.subject()));
            }
        }
        if !wrong.is_empty() {
            let here = Location::caller();
            self.wrong.borrow_mut().push_str(&format!("\n{here}: {why}: expected\n{text}{wrong}"));
        }
    }

    #[track_caller]
    fn compare(&self, why: &str, server: &AuthServer, came: &str, want: &str) {
        if came != want {
            let (here, subject) = (Location::caller(), server.subject());
            let text = format!("\n{here}: {why}: expected\n    {want}\n{subject:?} gave\n    {came}\n");
            self.wrong.borrow_mut().push_str(&text);
        }
    }
}

/// All that went wrong is told together.
impl Drop for Pair {
    fn drop(&mut self) {
        let wrong = self.wrong.take();
        if !wrong.is_empty() && !std::thread::panicking() {
            panic!("{wrong}");
        }
    }
}

/// The turns of one program, out of the text.
fn turns(text: &str, subject: Subject) -> Vec<Turn> {
    let mut turns = vec![Turn::default()];
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (head, rest) = line.split_once(": ").unwrap_or((line.trim_end_matches(':'), ""));
        let mut words = head.split(' ');
        let (mut kind, mut ours) = (words.next().unwrap(), true);
        if let Some(who) = words.next() {
            assert!(kind.starts_with('S') && kind.len() > 1, "{line}: no number");
            ours = match who {
                "dovecot" => subject == Subject::Reference,
                "ours" => subject == Subject::Ours,
                _ => panic!("{line}: who?"),
            };
            kind = words.next().unwrap_or("S");
        }
        let turn = turns.last_mut().unwrap();
        match kind {
            _ if !ours => {}
            "C" => turns.push(Turn { said: Some(rest.to_owned()), ..Turn::default() }),
            "S" => turn.lines.push((true, rest.to_owned())),
            "s" => turn.lines.push((false, rest.to_owned())),
            "closed" => turn.closed = true,
            _ => panic!("{line}: not a line of a dialogue"),
        }
    }
    turns
}

/// Plays the turns; an error is the whole dialogue as it really went.
fn converse(mut client: AuthClient, turns: &[Turn], start: Start) -> Result<(), String> {
    let mut said = String::new();
    let mut good = true;
    for turn in turns {
        if let Some(line) = &turn.said {
            said.push_str(&format!("    C: {line}\n"));
            client.send_bytes(&to_wire(line));
        }
        let mut came: Vec<String> = Vec::new();
        for _ in &turn.lines {
            match client.read(if good { PATIENCE } else { SHORT }) {
                Answer::Line(line) => came.push(to_text(&line)),
                Answer::Closed | Answer::Nothing => good = false,
            }
            good &= matches_so_far(&turn.lines, &came);
            if !good {
                break;
            }
        }
        if turn.closed || !good {
            loop {
                match client.read(if good { PATIENCE } else { SHORT }) {
                    Answer::Line(line) => {
                        good = false;
                        came.push(to_text(&line));
                    }
                    Answer::Closed => {
                        good &= turn.closed;
                        came.push("closed".to_owned());
                        break;
                    }
                    Answer::Nothing => {
                        good = false;
                        break;
                    }
                }
            }
        }
        for line in came {
            said.push_str(&if line == "closed" { "    closed\n".into() } else { format!("    S: {line}\n") });
        }
        if said.ends_with("closed\n") {
            return if good { Ok(()) } else { Err(said) };
        }
    }
    // Nothing else may have come: the next line is the answer to one last question.
    if good && start != Start::Connected {
        client.send(if start == Start::Userdb { LAST_USERDB.0 } else { LAST.0 });
        let answer = client.read(PATIENCE);
        let want = if start == Start::Userdb { LAST_USERDB.1 } else { LAST.1 };
        if answer != Answer::Line(want.to_owned()) {
            said.push_str(&format!("    at the end: {answer:?}\n"));
            good = false;
        }
    }
    if good { Ok(()) } else { Err(said) }
}

/// Whether what came is what is expected, as far as it came.
fn matches_so_far(expected: &[(bool, String)], came: &[String]) -> bool {
    let mut left: Vec<&(bool, String)> = expected.iter().collect();
    for line in came {
        // Those that may come in any order, up to the first that may not.
        let movable = left.iter().take_while(|(fixed, _)| !fixed).count().max(1);
        let Some(at) = left.iter().take(movable).position(|(_, want)| want == line) else { return false };
        left.remove(at);
    }
    true
}

/// A line as it is sent, its LF added.
fn to_wire(line: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = line;
    let mut fill = None;
    while let Some(char) = rest.chars().next() {
        let length = match char {
            '[' => {
                let end = rest.find(']').unwrap();
                let text = rest[1..end].replace("\\0", "\0").replace("\\1", "\x01").replace("\\n", "\n");
                bytes.extend(STANDARD.encode(text).into_bytes());
                end + 1
            }
            '{' => {
                let end = rest.find('}').unwrap();
                let total: usize = rest[1..end].strip_prefix("fill ").unwrap().parse().unwrap();
                fill = Some((bytes.len(), total));
                end + 1
            }
            '|' => {
                bytes.push(b'\t');
                1
            }
            '\\' => {
                bytes.push(match rest.as_bytes()[1] {
                    b'0' => 0,
                    b'1' => 1,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    other => other,
                });
                2
            }
            _ => {
                bytes.extend(char.to_string().into_bytes());
                char.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    bytes.push(b'\n');
    if let Some((at, total)) = fill {
        let missing = total - bytes.len();
        bytes.splice(at..at, std::iter::repeat_n(b'x', missing));
    }
    bytes
}

/// A line as it came, readable, without what is different each time.
fn to_text(line: &str) -> String {
    let mut fields: Vec<String> = line.split('\t').map(str::to_owned).collect();
    match fields[0].as_str() {
        "SPID" | "CUID" => {
            let number = fields[1].parse::<u32>().is_ok_and(|number| number > 0);
            fields[1] = if number { "NUMBER".into() } else { format!("not a number: {}", fields[1]) };
        }
        "COOKIE" if fields[1].len() == 32 && fields[1].bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            fields[1] = "COOKIE".into();
        }
        "CONT" => {
            if let Some(data) = fields.get_mut(2).filter(|data| !data.is_empty())
                && let Some(text) = STANDARD.decode(&*data).ok().and_then(|data| String::from_utf8(data).ok())
            {
                *data = format!("[{}]", challenge(&text));
            }
        }
        _ => {}
    }
    fields.join("|").replace('\x01', "\\1")
}

/// A challenge without its random parts.
fn challenge(text: &str) -> String {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some((number, rest)) = text.strip_prefix('<').and_then(|rest| rest.split_once('.')) {
        let (time, host) = rest.split_once('@').unwrap_or_default();
        if digits(number) && number.len() == 16 && digits(time) && host.len() > 1 && host.ends_with('>') {
            return "<NUMBER.TIME@HOST>".to_owned();
        }
    }
    let names: Vec<&str> =
        text.split(',').filter_map(|part| part.split_once('=')).map(|(name, _)| name).collect();
    match names[..] {
        ["r", "s", "i"] => format!("r=NONCE,s=SALT,{}", text.rsplit(',').next().unwrap()),
        ["v"] => "v=SIGNATURE".to_owned(),
        _ => text.to_owned(),
    }
}

/// The last question of a dialogue and its answer.
const LAST: (&str, &str) =
    ("CONT\t4294967295\t=", "FAIL\t4294967295\treason=Authentication request timed out");
/// The same on the auth-userdb socket.
const LAST_USERDB: (&str, &str) = ("USER\t4294967295\tnobody.here\tservice=last", "NOTFOUND\t4294967295");
/// For what need not come.
const SHORT: Duration = Duration::from_millis(700);
