//! Sieve: scripts, alone and over messages, and the messages that are made in answer.

use std::time::Duration;

use lda::message::Header;
use lda::sieve::action::{Notify, Vacation};
use lda::sieve::extensions::Extensions;
use lda::sieve::interpreter::{self, Facts, Limits, Location, Outside, Program};
use lda::sieve::plan::{Notification, Plan, Planner, Policy, Step};
use lda::sieve::rewrite::{self, Circumstances};
use lda::sieve::wire::Wire;
use lda::sieve::{address, check, compose, display, mailto, syntax, vacation};

/// Parts a script from the message it is run over.
const MESSAGE: &[u8] = b"\n==MESSAGE==\n";

/// A script, and behind a line `==MESSAGE==` the message. What is compiled runs to its end; what is planned can be
/// stored and sent: no folder or address has a control character, and it comes through a pipe as it went in.
pub fn sieve_script(bytes: &[u8]) {
    let at = bytes.windows(MESSAGE.len()).position(|window| window == MESSAGE);
    let (script, message) = match at {
        Some(at) => (&bytes[..at], &bytes[at + MESSAGE.len()..]),
        None => (bytes, &b"Subject: a\n\nb\n"[..]),
    };
    let extensions = Extensions::parse("+editheader +ereject +vacation-seconds +vnd.dovecot.debug").unwrap();
    let Ok(nodes) = syntax::parse(script) else { return };
    let sound = match check::check(&nodes, &extensions) {
        Ok(sound) => sound,
        Err(mistakes) => {
            assert!(!mistakes.is_empty(), "refused without a reason");
            return;
        }
    };
    let circumstances = Circumstances { zone_minutes: 60, size: None };
    let text = rewrite::rewrite(&sound.commands, &sound.required, circumstances);
    let limits = Limits { instructions: 2000, ..Limits::default() };
    let Ok(program) = interpreter::compile(&text, limits) else { return };
    let facts =
        Facts { sender: "a@a.example".into(), recipient: "b@b.example".into(), hostname: "mx".into() };
    let Ok(ran) = interpreter::run(&program, message, &facts, &extensions, limits, &mut Nothing) else {
        return;
    };
    for edition in &ran.editions {
        assert!(
            usize::try_from(edition.rest_at).unwrap() <= message.len(),
            "an edition goes on beyond the message"
        );
    }
    let mut planner = Planner::new(Policy::default());
    if planner.add(ran).is_err() {
        return;
    }
    planned(&planner.finish());
}

fn planned(plan: &Plan) {
    let mut bytes = Vec::new();
    plan.put(&mut bytes);
    assert_eq!(Plan::take(&mut bytes.as_slice()).as_ref(), Some(plan));
    for store in plan.stores() {
        assert!(
            !store.mailbox.is_empty() && !store.mailbox.chars().any(char::is_control),
            "{:?}",
            store.mailbox
        );
        for flag in &store.flags {
            assert!(flag.bytes().all(|byte| byte.is_ascii_graphic()), "{flag:?}");
        }
    }
    for step in &plan.steps {
        if let Step::Redirect(redirect) = step {
            assert_eq!(address::parse(&redirect.address).as_ref(), Ok(&redirect.address));
            assert!(!redirect.address.chars().any(char::is_control));
        }
    }
    let shown = display::json(plan);
    assert!(!shown.trim_end().chars().any(char::is_control), "{shown:?}");
}

struct Nothing;

impl Outside for Nothing {
    fn mailbox_exists(&mut self, _name: &str) -> bool {
        true
    }

    fn is_duplicate(&mut self, _id: &str) -> bool {
        false
    }

    fn include(&mut self, _location: Location, _name: &str) -> Result<Option<Program>, String> {
        Ok(None)
    }
}

/// A message that is answered, notified of and redirected: whatever stands in it, what is made has the fields that were
/// meant, no line of it begins another one, and one empty line ends the header.
pub fn sieve_answer(bytes: &[u8]) {
    let header = Header::new(bytes);
    let text = String::from_utf8_lossy(bytes);
    for address in address::in_field(&text) {
        let _sound = address::parse(&address);
    }
    let stamp = compose::Stamp { now: Duration::from_secs(1_800_000_000), unique: 1, hostname: &text };
    let subject = header.text("Subject").map(|subject| subject.into_owned());
    let vacation = Vacation { subject, reason: "gone".into(), ..Vacation::default() };
    let _answered = vacation::may_answer(&vacation, header, "a@a.example", &["b@b.example"]);
    let answer = compose::vacation(&vacation, &text, &text, header, stamp);
    made(&answer, "gone\n");
    if let Ok(mailto) = mailto::parse(&text) {
        let body = mailto.body.is_some();
        let notify = Notify { message: Some(text.clone().into_owned()), ..Notify::default() };
        let note = compose::notification(&Notification { notify, mailto }, &text, &text, header, stamp);
        if !body {
            made(&note, "\n");
        }
    }
    let (head, rest) = compose::redirected(bytes, &text);
    let whole = [&head, &bytes[rest..]].concat();
    assert!(Header::new(&whole).first("Return-Path").is_none(), "Return-Path stays");
    assert!(whole.ends_with(&bytes[rest..]));
}

fn made(message: &[u8], body: &str) {
    let text = std::str::from_utf8(message).unwrap();
    let (head, rest) = text.split_once("\n\n").unwrap();
    assert_eq!(rest, body, "{text:?}");
    for line in head.split('\n') {
        let known = line.starts_with(' ')
            || [
                "X-Sieve: ",
                "Message-ID: ",
                "Date: ",
                "From: ",
                "To: ",
                "Cc: ",
                "Subject: ",
                "In-Reply-To: ",
                "References: ",
            ]
            .iter()
            .chain(&["Auto-Submitted: ", "Precedence: ", "X-Auto-Response-Suppress: ", "MIME-Version: "])
            .chain(&["Content-Type: ", "Content-Transfer-Encoding: ", "X-Priority: ", "Importance: "])
            .any(|name| line.starts_with(name))
            || line.split_once(": ").is_some_and(|(name, _)| name == name.to_lowercase());
        assert!(known, "a field that nobody meant: {line:?}");
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
}
