//! One configuration running in both programs, and messages sent through both.

use std::net::IpAddr;

use harness::dns::{Dns, Zone};
use harness::keys::{ED25519, OTHER_RSA, RSA};
use harness::message::Message;
use harness::milter::{Conf, Milter, Subject};
use harness::milter_client::{Edit, Envelope, MilterClient, Options, Outcome};
use harness::scratch::Scratch;
use harness::wait::wait_for;
use nix::sys::signal::Signal;

use crate::outcome::describe;

/// The programs that a run is about: both, or the one that `SUBJECT` names.
pub fn subjects() -> Vec<Subject> {
    match std::env::var("SUBJECT") {
        Ok(name) if !name.is_empty() => vec![Subject::from_env()],
        _ => vec![Subject::Reference, Subject::Ours],
    }
}

/// What has to be there before the programs start.
#[derive(Default)]
pub struct Setup {
    conf: String,
    ours: String,
    zone: Zone,
    scratch: Option<Scratch>,
}

impl Setup {
    /// Lines of opendkim.conf. `{dir}` stands for the scratch folder, here and in files: it holds the private keys
    /// `rsa`, `other` and `ed`.
    pub fn new(conf: &str) -> Self {
        let scratch = Scratch::new("cmp");
        for (name, key) in [("rsa", RSA), ("other", OTHER_RSA), ("ed", ED25519)] {
            scratch.write_secret(name, key.pem);
        }
        let mut setup = Self { zone: Zone::new(), scratch: Some(scratch), ..Self::default() };
        setup.conf = setup.fill(conf);
        setup
    }

    /// `a.example` signs with the selector `s`; what follows is added.
    pub fn signing(conf: &str) -> Self {
        Self::new(&format!("Domain a.example\nSelector s\nKeyFile {{dir}}/rsa\n{conf}"))
    }

    /// Nobody signs; [`RSA`]'s record is at `s._domainkey.a.example`.
    pub fn verifying(conf: &str) -> Self {
        let setup = Self::new(&format!("Mode v\nDNSTimeout 2\n{conf}"));
        setup.zone(|zone| RSA.publish(zone, "s", "a.example"))
    }

    /// A line of opendkim.conf that only ours knows.
    pub fn ours(mut self, line: &str) -> Self {
        self.ours = format!("{line}\n");
        self
    }

    /// Writes a file.
    pub fn file(self, name: &str, content: &str) -> Self {
        let content = self.fill(content);
        self.folder().write(name, content);
        self
    }

    /// Writes a file that only its owner may read.
    pub fn secret(self, name: &str, content: &str) -> Self {
        self.folder().write_secret(name, content);
        self
    }

    /// Does anything else in the scratch folder.
    pub fn with(self, prepare: impl FnOnce(&Scratch)) -> Self {
        prepare(self.folder());
        self
    }

    /// Changes what the DNS knows; it knows nothing at first.
    pub fn zone(mut self, change: impl FnOnce(Zone) -> Zone) -> Self {
        self.zone = change(self.zone);
        self
    }

    /// Starts the programs.
    pub fn start(mut self) -> Pair {
        let scratch = self.scratch.take().unwrap();
        let dns = Dns::start(self.zone);
        let start = |subject: Subject| {
            let mut conf = Conf::new().dns(subject, &dns).line(&self.conf);
            if subject == Subject::Ours {
                // Both answer every step, so that stages can be compared.
                conf = conf.set("MilterReplies", "always").line(&self.ours);
            }
            let name = format!("{subject:?}").to_lowercase();
            (subject, Milter::start(&scratch, &name, subject, &conf))
        };
        let milters = subjects().into_iter().map(start).collect();
        Pair { milters, dns, cases: 0, wrong: Vec::new(), scratch }
    }

    fn folder(&self) -> &Scratch {
        self.scratch.as_ref().unwrap()
    }

    fn fill(&self, text: &str) -> String {
        text.replace("{dir}", self.folder().path().to_str().unwrap())
    }
}

/// Both programs with the same configuration. Dropping it fails the test if any case went wrong.
pub struct Pair {
    milters: Vec<(Subject, Milter)>,
    pub dns: Dns,
    cases: usize,
    wrong: Vec<String>,
    pub scratch: Scratch,
}

impl Pair {
    /// A case, with one sentence that says why it is one: a local client and a plain message, until told otherwise.
    pub fn case(&mut self, why: &'static str) -> Case<'_> {
        Case {
            pair: self,
            why,
            client: ("localhost".to_owned(), Some([127, 0, 0, 1].into())),
            macros: Vec::new(),
            recipients: vec!["bob@b.example".to_owned()],
            message: plain(),
            raw_body: None,
            body_hash: false,
            before: None,
        }
    }

    /// A case with mail from outside.
    pub fn outside(&mut self, why: &'static str, message: Message) -> Case<'_> {
        self.case(why).client("mx.c.example", "192.0.2.9").message(message)
    }

    /// Gives each program another configuration and SIGUSR1; mail from now on is treated by it, if it is sound.
    pub fn reload(&self, conf: &str) {
        for (subject, milter) in &self.milters {
            let mut new = Conf::new().dns(*subject, &self.dns).line(&self.fill(conf));
            if *subject == Subject::Ours {
                new = new.set("MilterReplies", "always");
            }
            milter.configure(&new);
            milter.signal(Signal::SIGUSR1);
            // Ours reads it at once and says what came of it, OpenDKIM when the next connection arrives.
            if *subject == Subject::Ours {
                wait_for("the reload", || {
                    let log = milter.log();
                    ["configuration reloaded", "stays in force"]
                        .iter()
                        .any(|text| log.contains(text))
                        .then_some(())
                });
            }
        }
    }

    fn fill(&self, text: &str) -> String {
        text.replace("{dir}", self.scratch.path().to_str().unwrap())
    }

    /// The log of one of the programs so far; none if it does not run.
    pub fn milter(&self, subject: Subject) -> Option<&Milter> {
        self.milters.iter().find(|(other, _)| *other == subject).map(|(_, milter)| milter)
    }

    /// Fails the test unless each program logs a line with this text, within the harness's patience.
    #[track_caller]
    pub fn both_log(&self, text: &str) {
        for (_, milter) in &self.milters {
            let _ = milter.wait_log(text);
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        assert!(self.cases > 0, "no case was run");
        assert!(self.wrong.is_empty(), "\n{}\n", self.wrong.join("\n"));
    }
}

/// One message and who sends it.
pub struct Case<'p> {
    pair: &'p mut Pair,
    why: &'static str,
    client: (String, Option<IpAddr>),
    macros: Vec<(String, Option<String>)>,
    recipients: Vec<String>,
    message: Message,
    raw_body: Option<Vec<u8>>,
    body_hash: bool,
    before: Option<Message>,
}

impl Case<'_> {
    /// The client's name as the MTA has it (`unknown` if it has none) and its address.
    pub fn client(mut self, name: &str, address: &str) -> Self {
        self.client = (name.to_owned(), Some(address.parse().unwrap()));
        self
    }

    /// A client that did not come over the network.
    pub fn no_address(mut self) -> Self {
        self.client.1 = None;
        self
    }

    /// A macro's value.
    pub fn macro_value(mut self, name: &str, value: &str) -> Self {
        self.macros.push((name.to_owned(), Some(value.to_owned())));
        self
    }

    /// A macro that the MTA does not send.
    pub fn no_macro(mut self, name: &str) -> Self {
        self.macros.push((name.to_owned(), None));
        self
    }

    /// Another recipient than bob@b.example.
    pub fn to(mut self, recipients: &[&str]) -> Self {
        self.recipients = recipients.iter().map(|&recipient| recipient.to_owned()).collect();
        self
    }

    /// Another message.
    pub fn message(mut self, message: Message) -> Self {
        self.message = message;
        self
    }

    /// The plain message with another From field.
    pub fn from(mut self, from: &str) -> Self {
        self.message = Message::new(from, "bob@b.example", "hello", "Hello!\n");
        self
    }

    /// The plain message with further fields at its end.
    pub fn fields(mut self, fields: &[(&str, &str)]) -> Self {
        for (name, value) in fields {
            self.message = self.message.field(name, value);
        }
        self
    }

    /// The beginning of `bh=` is compared as well.
    pub fn body_hash(mut self) -> Self {
        self.body_hash = true;
        self
    }

    /// A body whose line ends are sent as they are; the beginning of `bh=` is compared.
    pub fn raw_body(self, body: &[u8]) -> Self {
        Self { raw_body: Some(body.to_vec()), ..self }.body_hash()
    }

    /// Another message goes first, over the same connection.
    pub fn after(mut self, message: Message) -> Self {
        self.before = Some(message);
        self
    }

    /// Both do this.
    #[track_caller]
    pub fn want(self, want: &str) {
        self.check(want, want);
    }

    /// Nothing happens to the message: OpenDKIM wants no body and accepts at the end, ours accepts at the end of the
    /// header already.
    #[track_caller]
    pub fn untouched(self) {
        self.differs("D51", "nothing", "accept @N");
    }

    /// The two do not do the same, as difference `number` says.
    #[track_caller]
    pub fn differs(self, number: &str, reference: &str, ours: &str) {
        assert!(number.starts_with('D') && reference != ours, "{}: this is no difference", self.why);
        self.check(reference, ours);
    }

    /// The values of the fields that each program adds, unfolded; for what [`describe`] does not tell.
    pub fn added(self) -> Vec<(Subject, Vec<String>)> {
        self.pair.cases += 1;
        let run = |(subject, milter): &(Subject, Milter)| {
            let outcome = self.outcome(milter).unwrap();
            let mut values = Vec::new();
            for edit in &outcome.edits {
                if let Edit::InsertHeader { value, .. } = edit {
                    let text = String::from_utf8_lossy(value);
                    values.push(text.split_ascii_whitespace().collect::<Vec<&str>>().join(" "));
                }
            }
            (*subject, values)
        };
        self.pair.milters.iter().map(run).collect()
    }

    fn check(self, reference: &str, ours: &str) {
        self.pair.cases += 1;
        for (subject, milter) in &self.pair.milters {
            let got = self.run(milter);
            let want = if *subject == Subject::Ours { ours } else { reference };
            if got != want {
                let line = format!("{}\n  {subject:?} wanted: {want}\n  {subject:?} did:    {got}", self.why);
                self.pair.wrong.push(line);
            }
        }
    }

    fn run(&self, milter: &Milter) -> String {
        match self.outcome(milter) {
            Ok(outcome) => describe(&outcome, self.body_hash),
            Err(_) => "the connection ended".to_owned(),
        }
    }

    fn outcome(&self, milter: &Milter) -> std::io::Result<Outcome> {
        let recipients = self.recipients.iter().map(String::as_str).collect();
        let envelope = Envelope {
            client_name: &self.client.0,
            client_address: self.client.1,
            recipients,
            ..Envelope::default()
        };
        let mut client = MilterClient::open(milter);
        client.negotiate(Options::POSTFIX)?;
        for (name, value) in &self.macros {
            match value {
                Some(value) => client.set_macro(name, value),
                None => client.unset_macro(name),
            }
        }
        match &self.before {
            None if self.raw_body.is_some() => self.by_hand(&mut client),
            None => client.first_message(&envelope, &self.message),
            Some(before) => {
                client.first_message(&envelope, before).and_then(|_| client.message(&envelope, &self.message))
            }
        }
    }
}

impl Case<'_> {
    /// Step by step, for a body that [`Message`] would put in order.
    fn by_hand(&self, client: &mut MilterClient) -> std::io::Result<Outcome> {
        client.client(&self.client.0, self.client.1)?;
        client.helo("client.example")?;
        client.mail("anna@a.example")?;
        client.rcpt("bob@b.example")?;
        client.data()?;
        for field in self.message.fields() {
            client.header(&field.name, &field.value)?;
        }
        client.eoh()?;
        if let Some(body) = self.raw_body.as_ref().filter(|body| !body.is_empty()) {
            client.body(body)?;
        }
        client.end()
    }
}

/// From anna@a.example to bob@b.example, with To, Subject, Date and Message-ID.
pub fn plain() -> Message {
    Message::new("anna@a.example", "bob@b.example", "hello", "Hello!\n")
}
