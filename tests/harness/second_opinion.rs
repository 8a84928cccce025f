//! What others say of a message's DKIM signatures: dkimpy, Mail::DKIM, mail-auth, OpenDKIM.

use std::fmt::Write as _;
use std::process::Command;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use mail_auth::{AuthenticatedMessage, DkimResult, MessageAuthenticator};

use crate::dns::{Dns, Zone};
use crate::message::{Message, tag};
use crate::milter::{Conf, Milter, Subject};
use crate::milter_client::{Envelope, MilterClient};
use crate::scratch::Scratch;
use crate::wait::output;

/// One signature as one judge sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opinion {
    /// Who says so.
    pub judge: &'static str,
    /// `a=`
    pub algorithm: String,
    /// `d=`
    pub domain: String,
    /// `s=`
    pub selector: String,
    /// `pass`, or why not.
    pub verdict: String,
}

/// Fails the test unless `message` has exactly `signatures` DKIM signatures, and every judge says `pass` to every one.
///
/// The key records come from `zone`. Debian 12's Mail::DKIM (1.20230212) knows no Ed25519; Debian's OpenDKIM, as a
/// verifying milter, is asked about such signatures instead. RSA is judged by dkimpy, Mail::DKIM and mail-auth,
/// Ed25519 by dkimpy, mail-auth and OpenDKIM.
#[track_caller]
pub fn assert_verified(message: &[u8], zone: &Zone, signatures: usize) {
    let found = Message::parse(message).all("DKIM-Signature");
    assert_eq!(found.len(), signatures, "signatures in\n{}", String::from_utf8_lossy(message));
    let opinions = opinions(message, zone);
    let mut wrong = String::new();
    for judge in JUDGES {
        let of_judge: Vec<&Opinion> = opinions.iter().filter(|opinion| opinion.judge == judge).collect();
        let expected = found.iter().filter(|value| knows(judge, &tag(value, "a"))).count();
        if of_judge.len() != expected || of_judge.iter().any(|opinion| opinion.verdict != "pass") {
            writeln!(wrong, "{judge}: {of_judge:?}").unwrap();
        }
    }
    if !wrong.is_empty() {
        let message = String::from_utf8_lossy(&message[..message.len().min(8000)]);
        panic!("not all signatures verify\n{wrong}{message}");
    }
}

/// What all judges say, signature by signature; none from a judge that does not know the algorithm.
#[must_use]
pub fn opinions(message: &[u8], zone: &Zone) -> Vec<Opinion> {
    let scratch = Scratch::new("judge");
    let message_file = scratch.write("message", message);
    let zone_file = scratch.write("zone.json", zone.txt_as_json().to_string());
    let mut opinions = Vec::new();
    for (judge, program, script) in SCRIPTS {
        let script = scratch.write("script", script);
        let mut command = Command::new(program);
        let output = output(command.arg(script).arg(&message_file).arg(&zone_file), b"");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{judge}: {}\n{said}", output.status);
        opinions
            .extend(String::from_utf8_lossy(&output.stdout).lines().filter_map(|line| parse(judge, line)));
    }
    opinions.extend(mail_auth(message, zone));
    if Message::parse(message).all("DKIM-Signature").iter().any(|value| knows(OPENDKIM, &tag(value, "a"))) {
        opinions.extend(opendkim(message, zone));
    }
    opinions.retain(|opinion| knows(opinion.judge, &opinion.algorithm));
    opinions
}

/// mail-auth in this process, which asks a DNS server that answers from `zone`.
#[must_use]
pub fn mail_auth(message: &[u8], zone: &Zone) -> Vec<Opinion> {
    let dns = Dns::start(zone.clone());
    let (mut udp, mut tcp) = (ConnectionConfig::udp(), ConnectionConfig::tcp());
    (udp.port, tcp.port) = (dns.port(), dns.port());
    let server = NameServerConfig::new(dns.address().ip(), true, vec![udp, tcp]);
    let config = ResolverConfig::from_parts(None, vec![], vec![server]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let authenticator = MessageAuthenticator::new(config, ResolverOpts::default()).unwrap();
        let Some(message) = AuthenticatedMessage::parse(message) else { return Vec::new() };
        let outputs = authenticator.verify_dkim(&message).await;
        let opinion = |output: &mail_auth::DkimOutput<'_>| {
            let signature = output.signature()?;
            Some(Opinion {
                judge: MAIL_AUTH,
                algorithm: format!("{:?}", signature.a).to_ascii_lowercase(),
                domain: signature.d.to_string(),
                selector: signature.s.to_string(),
                verdict: match output.result() {
                    DkimResult::Pass => "pass".to_owned(),
                    other => format!("{other:?}"),
                },
            })
        };
        outputs.iter().filter_map(opinion).collect()
    })
}

/// Debian's OpenDKIM as a milter that verifies.
fn opendkim(message: &[u8], zone: &Zone) -> Vec<Opinion> {
    let (scratch, dns) = (Scratch::new("opendkim"), Dns::start(zone.clone()));
    let subject = Subject::Reference;
    let conf = Conf::verifying(&scratch, "judge", "judge.example")
        .set("MaximumSignaturesToVerify", "20")
        .dns(subject, &dns);
    let milter = Milter::start(&scratch, "judge", subject, &conf);
    let stranger = Envelope { client_address: Some([203, 0, 113, 5].into()), ..Envelope::default() };
    let message = Message::parse(message).without("Authentication-Results");
    let outcome = MilterClient::connect(&milter).first_message(&stranger, &message).unwrap();
    let judged = outcome.apply(&message);
    let results = judged.first("Authentication-Results");
    results
        .split(';')
        .filter_map(|part| {
            let mut words = part.split_whitespace();
            let verdict = words.next()?.strip_prefix("dkim=")?.to_owned();
            let property = |name: &str| {
                part.split_whitespace().find_map(|word| word.strip_prefix(name)).map(str::to_owned)
            };
            Some(Opinion {
                judge: OPENDKIM,
                algorithm: property("header.a=")?,
                domain: property("header.d=")?,
                selector: property("header.s=")?,
                verdict,
            })
        })
        .collect()
}

/// `ALGORITHM DOMAIN SELECTOR VERDICT`
fn parse(judge: &'static str, line: &str) -> Option<Opinion> {
    let mut words = line.splitn(4, ' ').map(str::to_owned);
    Some(Opinion {
        judge,
        algorithm: words.next()?,
        domain: words.next()?,
        selector: words.next()?,
        verdict: words.next()?,
    })
}

fn knows(judge: &str, algorithm: &str) -> bool {
    match judge {
        MAIL_DKIM => algorithm.starts_with("rsa"),
        OPENDKIM => algorithm.starts_with("ed25519"),
        _ => true,
    }
}

const DKIMPY: &str = "dkimpy";
const MAIL_DKIM: &str = "Mail::DKIM";
const MAIL_AUTH: &str = "mail-auth";
const OPENDKIM: &str = "OpenDKIM";
const JUDGES: [&str; 4] = [DKIMPY, MAIL_DKIM, MAIL_AUTH, OPENDKIM];

/// Judges in other languages: their program and script. Python is Debian's, which has Debian's modules.
const SCRIPTS: [(&str, &str, &str); 2] = [
    (DKIMPY, "/usr/bin/python3", include_str!("judges/dkimpy.py")),
    (MAIL_DKIM, "/usr/bin/perl", include_str!("judges/mail_dkim.pl")),
];
