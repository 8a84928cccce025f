//! Two mail hosts: A signs what is submitted and relays to B, which verifies and delivers into Maildirs.

use harness::dns::{Dns, Zone};
use harness::keys::{RSA, TestKey};
use harness::message::{Message, tag};
use harness::milter::{Conf, Milter, SigningKey, Subject};
use harness::postfix::{Builder, Delivered, Postfix};
use harness::scratch::Scratch;
use harness::second_opinion;

/// The hosts, their milters and the DNS. Fields end in this order.
pub struct Site {
    pub a: Postfix,
    pub b: Postfix,
    pub signer: Milter,
    pub verifier: Milter,
    pub dns: Dns,
    pub subject: Subject,
    pub scratch: Scratch,
}

/// What a test wants to be different.
pub struct Plan<'a> {
    pub keys: &'a [TestKey],
    pub sign: fn(Conf) -> Conf,
    pub verify: fn(Conf) -> Conf,
    pub a: fn(Builder<'_>) -> Builder<'_>,
    pub b: fn(Builder<'_>) -> Builder<'_>,
}

impl Default for Plan<'_> {
    fn default() -> Self {
        Self { keys: &[RSA], sign: |conf| conf, verify: |conf| conf, a: |host| host, b: |host| host }
    }
}

impl Plan<'_> {
    /// Starts everything.
    pub fn start(&self) -> Site {
        let subject = Subject::from_env();
        let scratch = Scratch::new("e2e");
        let zone = self.keys.iter().fold(Zone::new(), |zone, key| key.publish(zone, key.name, A));
        let dns = Dns::start(zone);
        let signing: Vec<SigningKey<'_>> =
            self.keys.iter().map(|&key| SigningKey { key, domain: A, selector: key.name }).collect();
        let conf = (self.sign)(Conf::signing(&scratch, "signer", &signing));
        let signer = Milter::start(&scratch, "signer", subject, &conf);
        let conf = (self.verify)(Conf::verifying(&scratch, "verifier", B_HOST).dns(subject, &dns));
        let verifier = Milter::start(&scratch, "verifier", subject, &conf);
        let b = Postfix::build(&scratch, "b", B_HOST).milter(&verifier).mailbox(BOB);
        let b = (self.b)(b).start();
        let a = Postfix::build(&scratch, "a", "mx.a.example").milter(&signer).relay(B, b.smtp_port());
        let a = (self.a)(a).start();
        Site { a, b, signer, verifier, dns, subject, scratch }
    }
}

impl Site {
    /// Submits a message from [`ANNA`] to [`BOB`] and waits for it.
    pub fn send(&self, message: &Message) -> Delivered {
        let before = self.b.maildir(BOB).messages().len();
        self.a.submit().send(ANNA, &[BOB], &message.to_bytes()).expect(250);
        self.b.maildir(BOB).wait(before + 1).remove(before)
    }

    /// Fails unless the message carries `signatures` signatures, B has found each of them good, and others agree.
    #[track_caller]
    pub fn assert_pass(&self, delivered: &Delivered, signatures: usize) {
        let results = results(&delivered.message);
        assert_eq!(results.matches("dkim=pass").count(), signatures, "{results}\n{}", self.verifier.log());
        assert_eq!(results.matches("dkim=").count(), signatures, "{results}");
        second_opinion::assert_verified(&delivered.message.to_bytes(), &self.dns.zone(), signatures);
    }
}

/// A message from [`ANNA`] to [`BOB`].
pub fn message(subject: &str, body: impl AsRef<[u8]>) -> Message {
    Message::new("Anna <anna@a.example>", BOB, subject, body)
}

/// What B's own Authentication-Results field says, which must be the only one with its name.
#[track_caller]
pub fn results(message: &Message) -> String {
    let fields = message.all("Authentication-Results");
    let mut own = fields.into_iter().filter(|value| value.split(';').next().unwrap().trim() == B_HOST);
    let first = own.next().unwrap_or_default();
    assert_eq!(own.next(), None, "a second Authentication-Results");
    // The version of OpenDKIM that Debian has says this of ATPS (RFC 6541), which is no DKIM result.
    first.replace("dkim-atps=", "atps=")
}

/// The one DKIM-Signature of a message.
#[track_caller]
pub fn signature(message: &Message) -> String {
    let mut found = message.all("DKIM-Signature");
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// The selectors of all signatures, sorted.
pub fn selectors(message: &Message) -> Vec<String> {
    let mut found: Vec<String> = message.all("DKIM-Signature").iter().map(|value| tag(value, "s")).collect();
    found.sort();
    found
}

pub const A: &str = "a.example";
pub const B: &str = "b.example";
pub const B_HOST: &str = "mx.b.example";
pub const ANNA: &str = "anna@a.example";
pub const BOB: &str = "bob@b.example";
