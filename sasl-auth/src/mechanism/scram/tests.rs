//! SCRAM against a client of the tests' own, by the RFCs' examples, and against forged messages.

use std::num::NonZeroU32;

use aws_lc_rs::pbkdf2;
use proptest::prelude::{ProptestConfig, any, proptest};

use super::*;
use crate::mechanism::tests::{environment, new};
use crate::mechanism::{CredentialKind, Identity, Mechanism};

/// What a server stores for a password.
fn stored(sha: Sha, password: &str, salt: &[u8], iterations: u32) -> ScramKeys {
    let salted = salted(sha, password, salt, iterations);
    let client_key = sha.hmac(&salted, b"Client Key");
    ScramKeys {
        iterations,
        salt: salt.to_vec(),
        stored_key: Secret::new(sha.hash(&client_key)),
        server_key: Secret::new(sha.hmac(&salted, b"Server Key")),
    }
}

fn salted(sha: Sha, password: &str, salt: &[u8], iterations: u32) -> Vec<u8> {
    let algorithm = match sha {
        Sha::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
        Sha::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
    };
    let mut out = vec![0; sha.output_len()];
    let iterations = NonZeroU32::new(iterations).unwrap();
    pbkdf2::derive(algorithm, iterations, salt, password.as_bytes(), &mut out);
    out
}

/// A client: makes its last message from the server's first, and the server signature that it expects.
struct Client<'a> {
    sha: Sha,
    header: &'a str,
    bare: &'a str,
    password: &'a str,
}

impl Client<'_> {
    fn first(&self) -> Vec<u8> {
        format!("{}{}", self.header, self.bare).into_bytes()
    }

    /// The last message without proof, the proof, and the expected server-final message.
    fn last(&self, server_first: &[u8]) -> (String, Vec<u8>, String) {
        let server_first = std::str::from_utf8(server_first).unwrap();
        let attribute = |name| server_first.split(',').find_map(|part| part.strip_prefix(name)).unwrap();
        let salt = STANDARD.decode(attribute("s=")).unwrap();
        let salted = salted(self.sha, self.password, &salt, attribute("i=").parse().unwrap());
        let client_key = self.sha.hmac(&salted, b"Client Key");
        let without = format!("c={},r={}", STANDARD.encode(self.header), attribute("r="));
        let transcript = format!("{},{server_first},{without}", self.bare);
        let signature = self.sha.hmac(&self.sha.hash(&client_key), transcript.as_bytes());
        let proof = client_key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        let server = self.sha.hmac(&self.sha.hmac(&salted, b"Server Key"), transcript.as_bytes());
        (without, proof, format!("v={}", STANDARD.encode(server)))
    }
}

fn message(without: &str, proof: &[u8]) -> Vec<u8> {
    format!("{without},p={}", STANDARD.encode(proof)).into_bytes()
}

fn challenge(step: Step) -> Vec<u8> {
    match step {
        Step::Challenge(text) => text,
        other => panic!("no challenge but {other:?}"),
    }
}

/// Runs an exchange up to the server's first message.
fn begun(client: &Client<'_>, keys: Option<ScramKeys>) -> (Mechanism, Vec<u8>) {
    let mut server = new(client.sha.mechanism());
    let step = server.start(Some(&client.first()));
    assert!(matches!(step, Step::Credentials(..)), "{step:?}");
    let server_first = challenge(server.credentials(keys.map(Credentials::Scram)));
    (server, server_first)
}

/// The server of an RFC's example, with its nonce.
fn example(sha: Sha, nonce: &str, first: &str, salt: &str) -> (Scram, String) {
    let mut server = Scram { server_nonce: nonce.into(), ..Scram::new(sha, &environment()) };
    let identity = Identity { authentication: "user".into(), authorization: None };
    assert_eq!(server.begin(Some(first.as_bytes())), Step::Credentials(identity, sha.kind()));
    let keys = stored(sha, "pencil", &STANDARD.decode(salt).unwrap(), 4096);
    let server_first = challenge(server.credentials(Some(Credentials::Scram(keys))));
    (server, String::from_utf8(server_first).unwrap())
}

fn success(text: &str) -> Step {
    Step::Success { data: Some(text.as_bytes().to_vec()) }
}

#[test]
fn the_example_of_rfc_5802() {
    let first = "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL";
    let (mut server, server_first) = example(Sha::Sha1, "3rfcNHYJY1ZVvWVs7j", first, "QSXCR+Q6sek8bf92");
    assert_eq!(server_first, "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096");
    let last = "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=";
    assert_eq!(server.respond(last.as_bytes()), success("v=rmF9pqV8S7suAoZWja4dJRkFsKQ="));
}

#[test]
fn the_example_of_rfc_7677() {
    let first = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    let (mut server, server_first) =
        example(Sha::Sha256, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", first, "W22ZaJ0SNY7soEsUEjb6gQ==");
    let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    assert_eq!(server_first, format!("r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"));
    let last = format!("c=biws,r={nonce},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
    assert_eq!(server.respond(last.as_bytes()), success("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
}

#[test]
fn client_first_messages_are_read_or_refused_for_a_reason() {
    let first = parse_client_first(b"y,a=adm=2Cin,n=a=3Db,r=x!~,z=more,y=a=b").unwrap();
    assert_eq!(
        first,
        ClientFirst {
            gs2_header: "y,a=adm=2Cin,".into(),
            bare: "n=a=3Db,r=x!~,z=more,y=a=b".into(),
            authorization: Some("adm,in".into()),
            user: "a=b".into(),
            nonce: "x!~".into(),
        }
    );
    for (broken, why) in [
        ("", "gs2 header"),
        ("n,", "gs2 header"),
        ("p=tls-unique,,n=u,r=x", "channel binding"),
        ("x,,n=u,r=x", "flag"),
        ("n,b=x,n=u,r=x", "authorization"),
        ("n,a=,n=u,r=x", "empty"),
        ("n,,m=x,n=u,r=x", "mandatory"),
        ("n,,n=u,r=x,m=x", "mandatory"),
        ("n,,r=x", "user name"),
        ("n,,n=,r=x", "empty"),
        ("n,,n=u=2c,r=x", "=2C"),
        ("n,,n=u=,r=x", "=2C"),
        ("n,,n=u\0,r=x", "NUL"),
        ("n,,n=u", "nonce"),
        ("n,,n=u,r=", "nonce"),
        ("n,,n=u,r=a b", "nonce"),
        ("n,,n=u,r=x,", "extension"),
        ("n,,n=u,r=x,zz=1", "extension"),
        ("n,,n=u,r=x,z=", "extension"),
    ] {
        let error = parse_client_first(broken.as_bytes()).unwrap_err();
        assert!(error.contains(why), "{broken:?}: {error}");
    }
    assert!(parse_client_first(b"n,,n=\xff,r=x").is_err());
    let named = |length: usize| format!("n,,n={},r=x", "u".repeat(length));
    assert!(parse_client_first(named(1024).as_bytes()).is_ok());
    assert!(parse_client_first(named(1025).as_bytes()).unwrap_err().contains("too long"));
    for broken in [
        "",
        "c=biws,r=x",
        "c=biws,p=AA==",
        "r=x,c=biws,p=AA==",
        "c=b,r=x,p=AA==",
        "c=biws,r=x,p=A",
        "c=biws,r=x,m=1,p=AA==",
    ] {
        assert!(parse_client_final(broken.as_bytes()).is_err(), "{broken:?}");
    }
}

#[test]
fn what_the_client_signed_must_be_what_was_said() {
    let client = Client { sha: Sha::Sha256, header: "n,,", bare: "n=tim,r=abc", password: "pw" };
    let keys = || Some(stored(Sha::Sha256, "pw", b"salt", 10));
    let answer = |change: &dyn Fn(&str, &[u8]) -> Vec<u8>| {
        let (mut server, server_first) = begun(&client, keys());
        let (without, proof, server_final) = client.last(&server_first);
        (server.respond(&change(&without, &proof)), success(&server_final))
    };
    let (right, expected) = answer(&|without, proof| message(without, proof));
    assert_eq!(right, expected);
    let invalid = |step: &Step| matches!(step, Step::Failure(Refusal::InvalidInput(_)));
    let (other_header, _) = answer(&|w, p| message(&w.replace("c=biws", "c=eSws"), p));
    assert!(invalid(&other_header));
    let (other_nonce, _) = answer(&|w, p| message(&w.replace("r=abc", "r=abd"), p));
    assert!(invalid(&other_nonce));
    let (client_nonce_only, _) = answer(&|_, p| message("c=biws,r=abc", p));
    assert!(invalid(&client_nonce_only));
    let (short, _) = answer(&|w, p| message(w, &p[1..]));
    assert!(invalid(&short));
    let (extended, _) = answer(&|w, p| message(&format!("{w},x=y"), p));
    assert_eq!(extended, Step::Failure(Refusal::Mismatch), "an extension is signed, too");
}

#[test]
fn an_unknown_user_looks_like_a_wrong_password() {
    for sha in [Sha::Sha1, Sha::Sha256] {
        let server_first = |bare: &str, keys: Option<ScramKeys>| {
            let client = Client { sha, header: "n,,", bare, password: "pw" };
            let (mut server, server_first) = begun(&client, keys);
            let (without, proof, _) = client.last(&server_first);
            assert_eq!(server.respond(&message(&without, &proof)), Step::Failure(Refusal::Mismatch));
            String::from_utf8(server_first).unwrap()
        };
        let known = server_first("n=tim,r=abc", Some(stored(sha, "other", &[9; 16], 4096)));
        let unknown = server_first("n=nosuch,r=abc", None);
        assert_eq!(known.len(), unknown.len());
        assert!(unknown.ends_with(",i=4096"));
        assert_eq!(unknown, server_first("n=NoSuch,r=abc", None), "the same at each try, in any case");
        assert_ne!(unknown, server_first("n=nosuch2,r=abc", None));
        // Keys of another hash, and nonsense, serve as little as none.
        let wrong_length = ScramKeys { stored_key: "short".into(), ..stored(sha, "pw", b"s", 1) };
        assert_eq!(server_first("n=nosuch,r=abc", Some(wrong_length)), unknown);
        let no_iterations = ScramKeys { iterations: 0, ..stored(sha, "pw", b"s", 1) };
        assert_eq!(server_first("n=nosuch,r=abc", Some(no_iterations)), unknown);
    }
}

#[test]
fn the_decoys_own_keys_open_nothing() {
    let keys = decoy_keys(Sha::Sha256, environment().decoy_secret, "tim");
    assert_ne!(keys.stored_key, keys.server_key);
    let other = decoy_keys(Sha::Sha256, b"another process", "tim");
    assert_ne!(keys.salt, other.salt);
}

#[test]
fn the_wrong_kind_of_credentials_is_a_mismatch() {
    let client = Client { sha: Sha::Sha1, header: "n,,", bare: "n=tim,r=abc", password: "pw" };
    let mut server = new("SCRAM-SHA-1");
    assert_eq!(
        server.start(Some(&client.first())),
        Step::Credentials(
            Identity { authentication: "tim".into(), authorization: None },
            CredentialKind::ScramSha1
        )
    );
    let server_first = challenge(server.credentials(Some(Credentials::CramMd5(Secret::new([0; 32])))));
    let (without, proof, _) = client.last(&server_first);
    assert_eq!(server.respond(&message(&without, &proof)), Step::Failure(Refusal::Mismatch));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_right_password_opens_and_a_changed_proof_does_not(
        sha1 in any::<bool>(),
        user in "[a-z=,\u{e4}@]{1,20}",
        authorization in proptest::option::of("[a-z]{1,8}"),
        bound in any::<bool>(),
        nonce in "[!-+\\--~]{1,40}",
        password in "\\PC{0,30}",
        salt in proptest::collection::vec(any::<u8>(), 1..40),
        iterations in 1..50_u32,
        at in any::<proptest::sample::Index>(),
        flip in 1..=255_u8,
    ) {
        let sha = if sha1 { Sha::Sha1 } else { Sha::Sha256 };
        let bare = format!("n={},r={nonce}", user.replace('=', "=3D").replace(',', "=2C"));
        let flag = if bound { "y" } else { "n" };
        let header = match &authorization {
            Some(name) => format!("{flag},a={name},"),
            None => format!("{flag},,"),
        };
        let client = Client { sha, header: &header, bare: &bare, password: &password };
        let keys = stored(sha, &password, &salt, iterations);
        let (mut server, server_first) = begun(&client, Some(keys.clone()));
        assert_eq!(server.claimed_user(), Some(user.as_str()));
        let (without, proof, server_final) = client.last(&server_first);
        assert_eq!(server.respond(&message(&without, &proof)), success(&server_final));

        let (mut server, server_first) = begun(&client, Some(keys));
        let (without, mut proof, _) = client.last(&server_first);
        let at = at.index(proof.len());
        proof[at] ^= flip;
        assert_eq!(server.respond(&message(&without, &proof)), Step::Failure(Refusal::Mismatch));
    }
}
