//! Dialogues as data: what the client sends, what the server answers, however the bytes are cut.

use super::*;
use proptest::prelude::*;

fn terms() -> Arc<Terms> {
    Arc::new(Terms {
        host: "mx".to_owned(),
        greeting: "ready".to_owned(),
        largest_message: 1000,
        most_recipients: 4,
        most_bad_commands: 9,
    })
}

/// What one connection did: the replies, and what would have happened outside.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    replies: String,
    events: Vec<String>,
}

/// Runs a session over `input`, cut into pieces of the lengths `cuts`, then of the rest. Users that begin with `no`
/// do not exist; a message that holds `FULL` cannot be stored.
fn run(input: &[u8], cuts: &[usize]) -> Seen {
    let mut out = Vec::new();
    let mut session = Session::<String>::new(terms(), "ID".to_owned(), &mut out);
    let mut seen = Seen::default();
    let mut stored: Option<Vec<u8>> = None;
    let (mut buffer, mut left, mut cuts) = (Vec::new(), input, cuts.iter().copied());
    loop {
        let (used, step) = session.step(&buffer, &mut out);
        match step {
            Step::More => {
                buffer.drain(..used);
                let length = cuts.next().unwrap_or(left.len()).min(left.len()).max(1);
                if left.is_empty() {
                    break;
                }
                let (piece, rest) = left.split_at(length);
                buffer.extend_from_slice(piece);
                left = rest;
                continue;
            }
            Step::Close => {
                seen.events.push("close".to_owned());
                break;
            }
            Step::Recipient(mailbox) => {
                let user = mailbox.user();
                let missing = Reply::new(550, "5.1.1", format!("<{mailbox}> User doesn't exist: {user}"));
                session.recipient(if user.starts_with("no") { Err(missing) } else { Ok(user) }, &mut out);
            }
            Step::Begin => stored = Some(Vec::new()),
            Step::Body(bytes) => {
                let stored_bytes = stored.as_mut().expect("the message has begun");
                stored_bytes.extend_from_slice(bytes);
                if stored_bytes.windows(4).any(|window| window == b"FULL") {
                    stored = None;
                    session.fail(Reply::new(452, "4.3.1", "full"));
                }
            }
            Step::Discard => {
                assert!(stored.take().is_some(), "there is something to discard");
                seen.events.push("discard".to_owned());
            }
            Step::Deliver => {
                let transaction = session.transaction().expect("a transaction");
                let message = stored.take().expect("a message");
                let sender = transaction.mail.sender.as_ref().map_or_else(String::new, ToString::to_string);
                for (place, recipient) in transaction.recipients.iter().enumerate() {
                    let id = transaction.recipient_id(recipient.same_as.unwrap_or(place));
                    let text = format!("<{}> {id} Saved", recipient.mailbox);
                    Reply::new(250, "2.0.0", text).write(&mut out);
                    if let Some(user) = &recipient.known {
                        let message = if message.is_empty() { b"nothing" } else { &message[..] };
                        let message = String::from_utf8_lossy(message);
                        seen.events.push(format!("{sender} -> {user}: {message}"));
                    }
                }
            }
        }
        buffer.drain(..used);
    }
    if stored.is_some() {
        seen.events.push("cut off".to_owned());
    }
    seen.replies = String::from_utf8(out).expect("replies are text");
    seen
}

/// `C: ` lines are sent, with CR LF; `S: ` lines are the answers; `D: ` is sent as it stands, with the escapes
/// `\r \n \0`; `E: ` lines are what happens outside.
fn check(name: &str, dialogue: &str) {
    let (mut input, mut wanted) =
        (Vec::new(), Seen { replies: "220 mx ready\r\n".to_owned(), events: Vec::new() });
    for line in dialogue.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (kind, text) = line.split_at_checked(3).unwrap_or((line, ""));
        match kind {
            "C: " => input.extend_from_slice(format!("{text}\r\n").as_bytes()),
            "D: " => input.extend_from_slice(unescaped(text).as_bytes()),
            "S: " => wanted.replies.push_str(&format!("{text}\r\n")),
            "E: " => wanted.events.push(unescaped(text)),
            _ => panic!("{name}: {line}"),
        }
    }
    assert_eq!(run(&input, &[]), wanted, "{name}");
    for cut in 1..input.len() {
        assert_eq!(run(&input, &[cut]), wanted, "{name}, cut at {cut}");
    }
    assert_eq!(run(&input, &vec![1; input.len()]), wanted, "{name}, byte by byte");
}

fn unescaped(text: &str) -> String {
    text.replace("\\r", "\r").replace("\\n", "\n").replace("\\0", "\0")
}

const LHLO: &str = "
    C: LHLO c
    S: 250-mx
    S: 250-8BITMIME
    S: 250-CHUNKING
    S: 250-ENHANCEDSTATUSCODES
    S: 250-PIPELINING
    S: 250-SIZE 1000
    S: 250 SMTPUTF8";

#[test]
fn dialogues() {
    for (name, dialogue) in DIALOGUES {
        check(name, &dialogue.replace("LHLO", LHLO));
    }
}

const DIALOGUES: &[(&str, &str)] = &[
    (
        "one message",
        r"LHLO
        C: MAIL FROM:<s@x.example> SIZE=20
        S: 250 2.1.0 OK
        C: RCPT TO:<anna>
        S: 250 2.1.5 OK
        C: DATA
        S: 354 OK
        D: Subject: x\r\n\r\n..dot\r\n.\r\n
        S: 250 2.0.0 <anna> ID0001 Saved
        E: s@x.example -> anna: Subject: x\r\n\r\n.dot\r\n
        C: QUIT
        S: 221 2.0.0 Bye
        E: close",
    ),
    (
        "one reply for each recipient, the same one delivered once",
        r"LHLO
        C: MAIL FROM:<>
        S: 250 2.1.0 OK
        C: RCPT TO:<anna@A.example>
        S: 250 2.1.5 OK
        C: RCPT TO:<nobody>
        S: 550 5.1.1 <nobody> User doesn't exist: nobody
        C: RCPT TO:<anna@a.Example>
        S: 250 2.1.5 OK
        C: RCPT TO:<anna+x@a.example>
        S: 250 2.1.5 OK
        C: DATA
        S: 354 OK
        D: x\r\n.\r\n
        S: 250 2.0.0 <anna@A.example> ID0001 Saved
        S: 250 2.0.0 <anna@a.Example> ID0001 Saved
        S: 250 2.0.0 <anna+x@a.example> ID0001:R3 Saved
        E:  -> anna@A.example: x\r\n
        E:  -> anna+x@a.example: x\r\n
        C: MAIL FROM:<>
        S: 250 2.1.0 OK
        C: RCPT TO:<anna>
        S: 250 2.1.5 OK
        C: DATA
        S: 354 OK
        D: .\r\n
        S: 250 2.0.0 <anna> ID0002 Saved
        E:  -> anna: nothing",
    ),
    (
        "order",
        r"C: DATA
        S: 503 5.5.0 MAIL needed first
        C: RCPT TO:<anna>
        S: 503 5.5.0 MAIL needed first
        C: MAIL FROM:<>
        S: 250 2.1.0 OK
        C: MAIL FROM:<>
        S: 503 5.5.0 MAIL already given
        C: DATA
        S: 503 5.5.0 No valid recipients
        C: RCPT TO:<nobody>
        S: 550 5.1.1 <nobody> User doesn't exist: nobody
        C: DATA
        S: 503 5.5.0 No valid recipients
        C: RSET
        S: 250 2.0.0 OK
        C: RCPT TO:<anna>
        S: 503 5.5.0 MAIL needed first
        LHLO
        C: MAIL FROM:<>
        S: 250 2.1.0 OK
        LHLO
        C: MAIL FROM:<>
        S: 250 2.1.0 OK",
    ),
    (
        "limits of a transaction",
        r"C: MAIL FROM:<> SIZE=1001
        S: 552 5.3.4 Message is larger than this server takes
        C: MAIL FROM:<> SIZE=1000
        S: 250 2.1.0 OK
        C: RCPT TO:<a>
        S: 250 2.1.5 OK
        C: RCPT TO:<b>
        S: 250 2.1.5 OK
        C: RCPT TO:<c>
        S: 250 2.1.5 OK
        C: RCPT TO:<a>
        S: 250 2.1.5 OK
        C: RCPT TO:<d>
        S: 452 4.5.3 Too many recipients
        C: RCPT TO:<zoë>
        S: 553 5.6.7 The address needs SMTPUTF8, which MAIL did not ask for
        C: RSET
        S: 250 2.0.0 OK
        C: MAIL FROM:<zoë@x> SMTPUTF8
        S: 250 2.1.0 OK
        C: RCPT TO:<zoë>
        S: 250 2.1.5 OK",
    ),
    (
        "chunks",
        r"LHLO
        C: MAIL FROM:<x@y>
        S: 250 2.1.0 OK
        C: RCPT TO:<anna>
        S: 250 2.1.5 OK
        C: RCPT TO:<bob>
        S: 250 2.1.5 OK
        C: BDAT 5
        D: .\r\n\0Q
        S: 250 2.0.0 5 octets so far
        C: RCPT TO:<carl>
        S: 503 5.5.0 The message has begun with BDAT; go on with it, or issue RSET
        C: DATA
        S: 503 5.5.0 The message has begun with BDAT; go on with it, or issue RSET
        C: BDAT 0
        S: 250 2.0.0 5 octets so far
        C: BDAT 4 LAST
        D: UIT\n
        S: 250 2.0.0 <anna> ID0001 Saved
        S: 250 2.0.0 <bob> ID0001:R2 Saved
        E: x@y -> anna: .\r\n\0QUIT\n
        E: x@y -> bob: .\r\n\0QUIT\n
        C: MAIL FROM:<x@y>
        S: 250 2.1.0 OK
        C: RCPT TO:<anna>
        S: 250 2.1.5 OK
        C: BDAT 0 LAST
        S: 250 2.0.0 <anna> ID0002 Saved
        E: x@y -> anna: nothing",
    ),
    (
        "chunks that are not taken are read all the same",
        r"C: BDAT 6
        D: QUIT\r\n
        S: 503 5.5.0 MAIL needed first
        C: MAIL FROM:<>
        S: 250 2.1.0 OK
        C: BDAT 6 LAST
        D: QUIT\r\n
        S: 503 5.5.0 No valid recipients
        C: RCPT TO:<anna>
        S: 250 2.1.5 OK
        C: BDAT 4
        D: FULL
        S: 452 4.3.1 full
        C: BDAT 6
        D: QUIT\r\n
        S: 503 5.5.0 Previous data chunk failed, issue RSET first
        C: DATA
        S: 503 5.5.0 Previous data chunk failed, issue RSET first
        C: RSET
        S: 250 2.0.0 OK
        C: MAIL FROM:<>
        S: 250 2.1.0 OK
        C: RCPT TO:<anna>
        S: 250 2.1.5 OK
        C: BDAT 1
        D: x
        S: 250 2.0.0 1 octets so far
        C: RSET
        S: 250 2.0.0 OK
        E: discard
        C: BDAT x
        S: 501 5.5.4 Invalid chunk size parameter
        C: MAIL FROM:<>
        E: close",
    ),
    (
        "a message that cannot be stored is read to its end",
        r"C: MAIL FROM:<>
        S: 250 2.1.0 OK
        C: RCPT TO:<anna>
        S: 250 2.1.5 OK
        C: RCPT TO:<bob>
        S: 250 2.1.5 OK
        C: DATA
        S: 354 OK
        D: FULL\r\nNOOP\r\n.\r\n
        S: 452 4.3.1 full
        S: 452 4.3.1 full
        C: NOOP
        S: 250 2.0.0 OK",
    ),
    (
        "a client that stops",
        r"C: MAIL FROM:<>
        S: 250 2.1.0 OK
        C: RCPT TO:<anna>
        S: 250 2.1.5 OK
        C: DATA
        S: 354 OK
        D: half a mess
        E: cut off",
    ),
    (
        "patience ends",
        r"C: A
        S: 500 5.5.1 Unknown command
        C: B
        S: 500 5.5.1 Unknown command
        C: HELO x
        S: 500 5.5.1 Unknown command
        C: EHLO x
        S: 500 5.5.1 Unknown command
        C: E
        S: 500 5.5.1 Unknown command
        C: F
        S: 500 5.5.1 Unknown command
        C: G
        S: 500 5.5.1 Unknown command
        C: H
        S: 500 5.5.1 Unknown command
        C: I
        S: 500 5.5.1 Unknown command
        C: J
        S: 421 4.7.0 mx Too many invalid commands.
        E: close",
    ),
];

#[test]
fn a_long_line_is_one_mistake() {
    for length in [LONGEST_LINE - 6, LONGEST_LINE - 5, LONGEST_LINE, 3 * LONGEST_LINE, 100_000] {
        let input = format!("NOOP {}\nNOOP\r\n", "x".repeat(length));
        let fits = length + 6 <= LONGEST_LINE;
        let wanted = if fits { "250 2.0.0 OK\r\n" } else { "500 5.5.2 Line too long\r\n" };
        for cuts in
            [vec![], vec![1000; 200], vec![4096; 50], vec![4095; 50], vec![length + 5], vec![length + 6]]
        {
            let seen = run(input.as_bytes(), &cuts);
            assert_eq!(
                seen.replies,
                format!("220 mx ready\r\n{wanted}250 2.0.0 OK\r\n"),
                "{length} {cuts:?}"
            );
        }
    }
}

#[test]
fn a_message_too_big_is_thrown_away_and_refused() {
    for (length, wanted) in
        [(998, "250 2.0.0 <a> ID0001 Saved"), (999, "552 5.3.4 "), (100_000, "552 5.3.4 ")]
    {
        let head = "MAIL FROM:<>\r\nRCPT TO:<a>\r\n";
        let body = format!("{}\r\n", "x".repeat(length));
        let data = format!("{head}DATA\r\n{body}.\r\nNOOP\r\n");
        let bdat = format!("{head}BDAT {} LAST\r\n{body}NOOP\r\n", body.len());
        for input in [data, bdat] {
            for cuts in [vec![], vec![777; 200]] {
                let seen = run(input.as_bytes(), &cuts);
                let mut last = seen.replies.lines().rev();
                assert_eq!(last.next(), Some("250 2.0.0 OK"));
                assert!(last.next().unwrap().starts_with(wanted), "{length}: {}", seen.replies);
                assert_eq!(seen.events == ["discard"], length > 998, "{:?}", seen.events.len());
            }
        }
    }
}

#[test]
fn being_told_to_close_ends_everything() {
    let mut out = Vec::new();
    let mut session = Session::<()>::new(terms(), "ID".to_owned(), &mut out);
    assert_eq!(session.step(b"MAIL FROM:<>\r\n", &mut out), (14, Step::More));
    out.clear();
    session.close("4.4.2", "Disconnected for inactivity", &mut out);
    assert_eq!(session.step(b"NOOP\r\n", &mut out), (0, Step::Close));
    assert_eq!(out, b"421 4.4.2 mx Disconnected for inactivity\r\n");
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces_give_the_same(
        lines in proptest::collection::vec(prop_oneof![
            Just("MAIL FROM:<a@b>\r\n"), Just("RCPT TO:<anna>\r\n"), Just("RCPT TO:<bob>\n"), Just("DATA\r\n"),
            Just("BDAT 3\r\nabc"), Just("BDAT 7 LAST\r\nabcFULL"), Just("BDAT 2 LAST\r\n.\r"), Just("RSET\r\n"),
            Just("x\r\n.\r\n"), Just("..\r\n"), Just("\r\n.\r\n"), Just(".\r\n"), Just("LHLO c\r\n"), Just("\0\r"),
        ], 0..14),
        cuts in proptest::collection::vec(1_usize..12, 0..60),
    ) {
        let input = lines.concat();
        prop_assert_eq!(run(input.as_bytes(), &cuts), run(input.as_bytes(), &[]));
    }

    #[test]
    fn no_bytes_panic(input in proptest::collection::vec(any::<u8>(), 0..300)) {
        run(&input, &[]);
    }
}
