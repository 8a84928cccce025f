//! A series of requests: what both say to each, and where they may differ.

use std::time::{Duration, Instant};

use harness::scratch::Scratch;

use crate::subject::{Origin, Ours, Theirs};

/// A request; what is not set is as Postfix sends it.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// `protocol_state`.
    pub state: &'static str,
    /// The message, which `instance` is made of.
    pub message: u32,
    /// `sasl_username`.
    pub login: &'static str,
    /// `sender`.
    pub sender: &'static str,
    /// `recipient`.
    pub recipient: &'static str,
    /// `recipient_count`.
    pub count: u32,
    /// `client_address`.
    pub client: &'static str,
    /// `size`.
    pub size: u64,
}

/// A login's recipient.
pub const RCPT: Asked = Asked {
    state: "RCPT",
    message: 1,
    login: "joe@a.example",
    sender: "joe@a.example",
    recipient: "x@b.example",
    count: 0,
    client: "192.0.2.7",
    size: 0,
};

/// A message that is there as a whole.
pub const END: Asked = Asked { state: "END-OF-MESSAGE", count: 1, recipient: "", ..RCPT };

impl Asked {
    /// The same of another message.
    pub const fn of(self, message: u32) -> Self {
        Self { message, ..self }
    }

    /// The bytes.
    pub fn to_bytes(self, round: &str) -> Vec<u8> {
        let Self { state, message, login, sender, recipient, count, client, size } = self;
        format!(
            "request=smtpd_access_policy\nprotocol_state={state}\nprotocol_name=ESMTP\nclient_address={client}\n\
             client_name=client.example\nclient_port=54720\nreverse_client_name=client.example\n\
             server_address=192.0.2.1\nserver_port=587\nhelo_name=client.example\nsender={sender}\n\
             recipient={recipient}\nrecipient_count={count}\nqueue_id=\ninstance={round}.{message}\nsize={size}\n\
             etrn_domain=\nstress=\nsasl_method=PLAIN\nsasl_username={login}\nsasl_sender=\nccert_subject=\n\
             ccert_issuer=\nccert_fingerprint=\nccert_pubkey_fingerprint=\nencryption_protocol=TLSv1.3\n\
             encryption_cipher=TLS_AES_256_GCM_SHA384\nencryption_keysize=256\npolicy_context=\n\n"
        )
        .into_bytes()
    }
}

/// A step of a series.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    /// Both say this; the keyword is in capital letters here.
    Both(Asked, &'static str),
    /// They differ, by this number: what the other program says, and what ours says.
    Differ(&'static str, Asked, &'static str, &'static str),
    /// Until so long after the series began.
    Until(Duration),
}

/// The answer that lets pass.
pub const PASS: &str = "DUNNO";

/// Asks both, each over one connection, and compares every answer.
#[track_caller]
pub fn run(name: &str, origin: Origin, text: &str, steps: &[Step]) {
    let scratch = Scratch::new(&format!("policycompat{name}"));
    let theirs = Theirs::start(&scratch, origin, text);
    let ours = Ours::start(&scratch, origin, text);
    let (mut their_client, mut our_client) = (theirs.connect(), ours.connect());
    let began = Instant::now();
    let mut wrong = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        let (difference, asked, want_theirs, want_ours) = match *step {
            Step::Until(time) => {
                std::thread::sleep(time.saturating_sub(began.elapsed()));
                continue;
            }
            Step::Both(asked, want) => ("", asked, want, want),
            Step::Differ(number, asked, theirs, ours) => {
                assert_ne!(theirs, ours, "{number} is no difference");
                (number, asked, theirs, ours)
            }
        };
        let bytes = asked.to_bytes(name);
        let said = [their_client.ask(&bytes), our_client.ask(&bytes)];
        for (who, said, want) in [("theirs", &said[0], want_theirs), ("ours", &said[1], want_ours)] {
            if said != want {
                wrong.push(format!("step {number} {difference}: {who} says {said}, not {want}: {asked:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{name}:\n{}\n{}", wrong.join("\n"), ours.configuration);
}
