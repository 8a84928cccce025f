//! What sasl-auth reads: the auth protocol, mechanisms, stored passwords, tokens, templates, files.

use std::ops::ControlFlow;

use base::config::Source;
use base::dovecot::LONGEST_CLIENT_LINE;
use base::line::Lines;
use sasl_auth::mechanism::{Environment, Mechanism, Step, descriptions};
use sasl_auth::password::{Cost, Stored};
use sasl_auth::request::Request;
use sasl_auth::session::{Event, Session};
use sasl_auth::userdb_session::UserdbSession;
use sasl_auth::variables::{Template, Values};

use crate::choice;

const OFFERED: [&str; 3] = ["PLAIN", "LOGIN", "SCRAM-SHA-256"];

/// A client's stream, in one piece and in small ones: the session sees the same.
pub fn auth_session(bytes: &[u8]) {
    let (size, bytes) = choice(bytes);
    let whole = conversation(bytes, usize::MAX);
    let pieces = conversation(bytes, usize::from(size).max(1));
    assert_eq!(whole, pieces);
    let mut session = UserdbSession::new(None, None);
    for line in bytes.split(|byte| *byte == b'\n') {
        if session.line(line).is_err() {
            break;
        }
    }
}

fn conversation(bytes: &[u8], size: usize) -> Vec<String> {
    let now = base::clock::monotonic_now();
    let mut session = Session::<()>::new(5);
    let mut lines = Lines::new(LONGEST_CLIENT_LINE);
    let mut seen = Vec::new();
    for piece in bytes.chunks(size.min(bytes.len().max(1))) {
        let fed = lines.feed(piece, |line| match session.line(line, &OFFERED) {
            Err(why) => {
                seen.push(why.to_string());
                ControlFlow::Break(())
            }
            Ok(event) => {
                seen.push(format!("{event:?}"));
                if let Event::Begin(begin) = event {
                    session.wait(begin.id, (), now);
                }
                assert!(session.open() <= 5);
                ControlFlow::Continue(())
            }
        });
        if !matches!(fed, Ok(ControlFlow::Continue(()))) {
            break;
        }
    }
    seen
}

/// A client's messages to each mechanism: it ends, and it never opens without a word from the passdbs.
pub fn mechanism(bytes: &[u8]) {
    let (which, bytes) = choice(bytes);
    let all = descriptions();
    let description = &all[usize::from(which) % all.len()];
    let environment = Environment {
        random: &[7; 24],
        now_unix: 1_700_000_000,
        hostname: "mail.example",
        decoy_secret: b"secret",
        valid_client_cert: which & 1 == 0,
        cert_username: Some("bob"),
        anonymous_username: "anonymous",
    };
    let mut machine = Mechanism::new(description.name, &environment).expect("a mechanism that is described");
    let mut messages = bytes.split(|byte| *byte == 0xff);
    let first = messages.next().filter(|message| !message.is_empty());
    let mut step = machine.start(first);
    for _ in 0..10 {
        step = match step {
            Step::Challenge(_) => machine.respond(messages.next().unwrap_or_default()),
            Step::Verify(..) | Step::Trusted(_) => machine.checked(false),
            Step::Credentials(..) => machine.credentials(None),
            Step::Token { .. } => machine.token_checked(false),
            Step::Success { .. } => panic!("{} has let somebody in", description.name),
            Step::Failure(_) => return,
        };
    }
    panic!("{} does not come to an end", description.name);
}

/// A stored password: it is read or refused, and what is cheap is compared.
pub fn stored_password(bytes: &[u8]) {
    let (scheme, text) = choice(bytes);
    let default = ["PLAIN", "CRYPT", "SSHA512", "SCRAM-SHA-256"][usize::from(scheme) % 4];
    if let Ok(stored) = Stored::parse(text, default)
        && stored.cost() == Cost::Cheap
    {
        // Whatever the answer is, there is one.
        drop(stored.verify("bob@example.com", b"password"));
    }
}

/// Tokens, keys and what an issuer answers.
pub fn token(bytes: &[u8]) {
    drop(sasl_auth::oauth::jwt::parse_header(bytes));
    drop(sasl_auth::oauth::keys::parse_jwks(bytes));
    drop(sasl_auth::oauth::keys::parse_pem(bytes));
    drop(sasl_auth::oauth::introspect::parse_response(bytes));
}

/// A text with variables: what can be read can be expanded.
pub fn variables(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let request = Request { user: "bob@example.com".into(), ..Request::default() };
    match Template::parse(&text) {
        Ok(template) => drop(template.expand(&Values::of(&request))),
        Err(error) => assert!(error.offset <= text.len(), "{error:?}"),
    }
}

/// A passwd-file's lines.
pub fn passwd_file(bytes: &[u8]) {
    for line in bytes.split(|byte| *byte == b'\n') {
        let user = base::passwd_file::user(line);
        assert!(user.len() <= line.len());
        drop(base::passwd_file::line(line));
    }
}

/// A configuration in TOML: mistakes are reported at places in the text, in printable lines.
pub fn auth_configuration(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    // Settings that name a file with a secret are read at once.
    let harmless: Vec<&str> = text.split('\n').filter(|line| !line.contains("_file")).collect();
    let source = Source::new("fuzzed", harmless.join("\n"));
    let loaded = sasl_auth::config::load(&source);
    assert_eq!(loaded.settings.is_none(), loaded.report.has_errors());
    crate::assert_printable(&loaded.report.render(false));
}
