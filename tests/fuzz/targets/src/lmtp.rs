//! The LMTP server's conversation: bytes of a client, whole and cut into pieces.

use std::sync::Arc;

use lda::lmtp::command::LONGEST_LINE;
use lda::lmtp::reply::Reply;
use lda::lmtp::session::{Session, Step, Terms};

/// What a client says, cut after as many bytes as the first byte tells. The conversation is the same however it is
/// cut; every reply is sound; a recipient, a body and a delivery come in this order; a body is at most as large as
/// allowed; each delivery is answered for each recipient.
pub fn lmtp_session(bytes: &[u8]) {
    let (cut, said) = super::choice(bytes);
    let whole = converse(said, said.len().max(1));
    let pieces = converse(said, usize::from(cut).max(1));
    assert_eq!(whole, pieces);
}

const LARGEST: u64 = 2000;

/// Replies, and what was delivered.
fn converse(said: &[u8], cut: usize) -> (Vec<u8>, Vec<Vec<u8>>) {
    let terms = Terms {
        host: "mx".to_owned(),
        greeting: "ready".to_owned(),
        largest_message: LARGEST,
        most_recipients: 3,
        most_bad_commands: 5,
    };
    let mut out = Vec::new();
    let mut session = Session::<()>::new(Arc::new(terms), "ID".to_owned(), &mut out);
    let (mut buffer, mut left): (Vec<u8>, &[u8]) = (Vec::new(), said);
    let (mut body, mut delivered) = (None::<Vec<u8>>, Vec::new());
    loop {
        let (used, step) = session.step(&buffer, &mut out);
        match step {
            Step::More => {
                buffer.drain(..used);
                assert!(buffer.len() < LONGEST_LINE, "more is held than a line takes");
                if left.is_empty() {
                    break;
                }
                let (piece, rest) = left.split_at(cut.min(left.len()));
                buffer.extend_from_slice(piece);
                left = rest;
                continue;
            }
            Step::Close => break,
            Step::Recipient(mailbox) => {
                assert!(!mailbox.to_string().chars().any(char::is_control));
                let missing = Reply::new(550, "5.1.1", format!("<{mailbox}> {}", mailbox.user()));
                let answer = if mailbox.local.starts_with('n') { Err(missing) } else { Ok(()) };
                session.recipient(answer, &mut out);
            }
            Step::Begin => {
                assert!(body.replace(Vec::new()).is_none(), "a message within a message");
                // Some messages cannot be stored.
                if session.envelope().is_some_and(|envelope| envelope.recipients.len() == 3) {
                    session.fail(Reply::TEMPORARY);
                }
            }
            Step::Body(bytes) => {
                let body = body.as_mut().expect("a body has a beginning");
                body.extend_from_slice(bytes);
                assert!(body.len() as u64 <= LARGEST, "larger than allowed");
            }
            Step::Discard => {
                assert!(body.take().is_some(), "nothing to discard");
            }
            Step::Deliver => {
                let transaction = session.transaction().expect("a transaction");
                assert!((1..=3).contains(&transaction.recipients.len()));
                delivered.push(body.take().expect("a body"));
                for (place, recipient) in transaction.recipients.iter().enumerate() {
                    assert!(recipient.known.is_some() != recipient.same_as.is_some());
                    assert!(recipient.same_as.is_none_or(|earlier| earlier < place));
                    Reply::new(250, "2.0.0", transaction.recipient_id(place)).write(&mut out);
                }
            }
        }
        // A message that failed is thrown away at its end without being told.
        if !session.is_receiving() && !matches!(session.place(), "DATA" | "BDAT") {
            body = None;
        }
        buffer.drain(..used);
    }
    assert_sound(&out);
    (out, delivered)
}

/// Lines of a code, a blank or a hyphen, and printable text, each ended by CR LF and not too long.
fn assert_sound(replies: &[u8]) {
    let text = std::str::from_utf8(replies).expect("replies are text");
    assert!(text.ends_with("\r\n"));
    for line in text.trim_end_matches("\r\n").split("\r\n") {
        let (code, rest) = line.split_at(3);
        assert!(code.bytes().all(|byte| byte.is_ascii_digit()), "{line}");
        assert!(rest.starts_with([' ', '-']), "{line}");
        assert!(line.len() <= 510, "{line}");
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
}
