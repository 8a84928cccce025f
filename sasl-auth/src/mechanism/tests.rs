//! Every mechanism by its RFC's examples, what Dovecot was seen to do with broken messages, and noise.

use md5::block_api::compress;
use proptest::prelude::{ProptestConfig, Strategy, any, prop_oneof, proptest};

use super::*;

pub(super) fn environment() -> Environment<'static> {
    Environment {
        random: &[7; 24],
        now_unix: 1_795_314_428,
        hostname: "mail.example.com",
        decoy_secret: b"a secret of this process",
        valid_client_cert: true,
        cert_username: Some("holder"),
        anonymous_username: "anonymous",
    }
}

pub(super) fn new(name: &str) -> Mechanism {
    Mechanism::new(name, &environment()).unwrap()
}

fn who(user: &str, authorization: Option<&str>) -> Identity {
    Identity { authentication: user.into(), authorization: authorization.map(str::to_owned) }
}

fn is_invalid(step: &Step) -> bool {
    matches!(step, Step::Failure(Refusal::InvalidInput(_)))
}

const MISMATCH: Step = Step::Failure(Refusal::Mismatch);
const SUCCESS: Step = Step::Success { data: None };

#[test]
fn plain_reads_the_examples_of_rfc_4616() {
    let examples: [(&[u8], Identity, &[u8]); 5] = [
        (b"\0tim\0tanstaaftanstaaf", who("tim", None), b"tanstaaftanstaaf"),
        (b"Ursel\0Kurt\0xipj3plmq", who("Kurt", Some("Ursel")), b"xipj3plmq"),
        (b"tim\0tim\0x", who("tim", None), b"x"),
        (b"\0j\xc3\xb6rg\0p\xe4ss", who("jörg", None), b"p\xe4ss"),
        (b"\0tim\0", who("tim", None), b""),
    ];
    for (message, identity, password) in examples {
        let mut plain = new("plain");
        assert_eq!(plain.start(Some(message)), Step::Verify(identity.clone(), Secret::new(password)));
        assert_eq!(plain.claimed_user(), Some(identity.authentication.as_str()));
        assert_eq!(plain.checked(true), SUCCESS);
    }
    for broken in [&b""[..], b"tim", b"tim\0x", b"\0tim\0x\0", b"\0\0x", b"\0t\xe4\0x", b"\xe4\0tim\0x"] {
        let mut plain = new("PLAIN");
        assert!(is_invalid(&plain.start(Some(broken))), "{broken:?}");
        assert!(is_invalid(&plain.checked(true)));
    }
    assert!(is_invalid(&new("PLAIN").start(Some(&[b"\0", &[b'u'; 1025][..], b"\0x"].concat()))));
    assert!(is_invalid(&new("PLAIN").start(Some(&[b"\0u\0", &[b'x'; 8193][..]].concat()))));
}

#[test]
fn a_client_that_should_have_begun_is_asked_with_an_empty_challenge() {
    for description in descriptions().iter().filter(|description| description.client_first) {
        assert_eq!(new(description.name).start(None), Step::Challenge(Vec::new()), "{}", description.name);
    }
    let mut plain = new("PLAIN");
    plain.start(None);
    assert_eq!(plain.respond(b"\0tim\0x"), Step::Verify(who("tim", None), "x".into()));
    assert_eq!(plain.checked(false), MISMATCH);
}

#[test]
fn login_asks_for_name_and_password() {
    let user = Step::Challenge(b"Username:".to_vec());
    let password = Step::Challenge(b"Password:".to_vec());
    for initial in [None, Some(&b""[..])] {
        let mut login = new("LOGIN");
        assert_eq!(login.start(initial), user);
        assert_eq!(login.respond(b"bcrypt5"), password);
        assert_eq!(
            login.respond(b"correct horse"),
            Step::Verify(who("bcrypt5", None), "correct horse".into())
        );
        assert_eq!(login.checked(true), SUCCESS);
    }
    let mut login = new("LOGIN");
    assert_eq!(login.start(Some(b"tim")), password);
    assert!(is_invalid(&login.respond(b"pass\0word")));
    assert_eq!(login.claimed_user(), Some("tim"));
    for broken in [&b""[..], b"ti\0m", b"\xff"] {
        let mut login = new("LOGIN");
        login.start(None);
        assert!(is_invalid(&login.respond(broken)), "{broken:?}");
    }
}

/// The two states as a CRAM-MD5 hash holds them, from a password of at most 64 bytes.
fn cram_states(password: &[u8]) -> Secret {
    let mut states = Vec::new();
    for pad in [0x36, 0x5c] {
        let mut block = [pad; 64];
        block.iter_mut().zip(password).for_each(|(byte, key)| *byte ^= key);
        let mut state = [0x6745_2301_u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
        compress(&mut state, &[block]);
        states.extend(state.iter().flat_map(|word| word.to_le_bytes()));
    }
    Secret::new(states)
}

#[test]
fn the_digest_of_rfc_2195_comes_out() {
    let states = cram_states(b"tanstaaftanstaaf");
    let digest = cram_md5_digest(&states, b"<1896.697170952@postoffice.reston.mci.net>").unwrap();
    assert_eq!(u128::from_be_bytes(digest), 0xb913_a602_c7ed_a7a4_95b4_e6e7_334d_3890);
    assert_eq!(cram_md5_digest(&"short".into(), b"x"), None);
}

#[test]
fn cram_md5_digests_messages_of_every_length() {
    use md5::{Digest as _, Md5};
    let states = cram_states(b"key");
    for length in 0..200 {
        let message = vec![b'm'; length];
        let pad = |with: u8| {
            let mut block = [with; 64];
            block.iter_mut().zip(b"key").for_each(|(byte, key)| *byte ^= key);
            block
        };
        let inner = Md5::new().chain_update(pad(0x36)).chain_update(&message).finalize();
        let whole = Md5::new().chain_update(pad(0x5c)).chain_update(inner).finalize();
        assert_eq!(cram_md5_digest(&states, &message).unwrap(), *whole, "{length}");
    }
}

#[test]
fn cram_md5_asks_for_the_keyed_hash_of_a_fresh_challenge() {
    let states = cram_states(b"secret");
    let answer = |digest: fn(String) -> String| {
        let mut cram = new("CRAM-MD5");
        let Step::Challenge(challenge) = cram.start(Some(b"ignored")) else { panic!("no challenge") };
        let text = String::from_utf8(challenge.clone()).unwrap();
        let (number, rest) = text.strip_prefix('<').unwrap().split_once('.').unwrap();
        assert!(number.len() == 16 && number.bytes().all(|byte| byte.is_ascii_digit()), "{text}");
        assert_eq!(rest, "1795314428@mail.example.com>");
        let right = format!("{:032x}", u128::from_be_bytes(cram_md5_digest(&states, &challenge).unwrap()));
        let step = cram.respond(format!("a user {}", digest(right)).as_bytes());
        assert_eq!(step, Step::Credentials(who("a user", None), CredentialKind::CramMd5));
        cram
    };
    let stored = || Some(Credentials::CramMd5(states.clone()));
    assert_eq!(answer(|right| right).credentials(stored()), SUCCESS);
    assert_eq!(answer(|right| right).credentials(None), MISMATCH);
    // Dovecot compares text: capitals and other lengths are a wrong password.
    assert_eq!(answer(|right| right.to_uppercase()).credentials(stored()), MISMATCH);
    assert_eq!(answer(|_| "abc".into()).credentials(stored()), MISMATCH);
    assert_eq!(answer(|right| right.replace(['a', '1', '7'], "0")).credentials(stored()), MISMATCH);
    let mut cram = new("CRAM-MD5");
    cram.start(None);
    assert!(is_invalid(&cram.respond(b"nospace")));
}

#[test]
fn two_exchanges_have_two_challenges() {
    let challenge = |random: &[u8; 24], hostname| {
        let environment = Environment { random, hostname, ..environment() };
        let Step::Challenge(text) = Mechanism::new("CRAM-MD5", &environment).unwrap().start(None) else {
            panic!("no challenge")
        };
        String::from_utf8(text).unwrap()
    };
    let (mut first, mut last) = ([7; 24], [7; 24]);
    first[0] = 8;
    last[23] = 8;
    let texts = [&[7; 24], &first, &last].map(|random| challenge(random, "h"));
    assert!(texts[0] != texts[1] && texts[0] != texts[2] && texts[1] != texts[2], "{texts:?}");
    assert!(challenge(&[7; 24], "a>b\r\n @c").ends_with("@abc>"));
}

const TOKEN: &str = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==";

#[test]
fn oauthbearer_reads_the_example_of_rfc_7628() {
    let message = format!(
        "n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer {TOKEN}\x01\x01"
    );
    let expected = Step::Token { user: "user@example.com".into(), token: TOKEN.into() };
    let mut bearer = new("OAUTHBEARER");
    assert_eq!(bearer.start(Some(message.as_bytes())), expected);
    assert_eq!(bearer.token_checked(true), SUCCESS);
    let mut bearer = new("OAUTHBEARER");
    bearer.start(None);
    assert_eq!(bearer.respond(message.as_bytes()), expected);
    assert_eq!(bearer.token_checked(false), Step::Challenge(br#"{"status":"invalid_token"}"#.to_vec()));
    assert_eq!(bearer.respond(b"\x01"), MISMATCH);
    assert!(is_invalid(&bearer.respond(b"\x01")));

    for (message, user) in [
        (format!("n,,\x01auth=Bearer {TOKEN}\x01\x01"), ""),
        (format!("y,a=a=2Cb=3Dc,\x01auth=bearer  {TOKEN}\x01"), "a,b=c"),
        (format!("n,a=x,\x01auth=BEARER {TOKEN}\x01more"), "x"),
    ] {
        let expected = Bearer { user: user.into(), token: Some(TOKEN.into()) };
        assert_eq!(parse_oauthbearer(message.as_bytes()), Ok(expected), "{message:?}");
    }
    let long = format!("n,a={},\x01auth=Bearer abc\x01\x01", "u".repeat(1025));
    for broken in [
        "garbage",
        &long,
        "p=tls-unique,a=x,\x01auth=Bearer abc\x01\x01",
        "n\x01auth=Bearer abc\x01\x01",
        "n,x,\x01auth=Bearer abc\x01\x01",
        "n,a=,\x01auth=Bearer abc\x01\x01",
        "n,a=b=2,\x01auth=Bearer abc\x01\x01",
        "n,a=x,\x01auth=Basic abc\x01\x01",
        "n,a=x,\x01auth=Bearer\x01\x01",
        "n,a=x,\x01auth=Bearer \x01\x01",
        "n,a=x,\x01auth=Bearerabc\x01\x01",
        "n,a=x,\x01auth=Bearer a,b\x01\x01",
        "n,a=x,\x01auth=Bearer a\x01auth=Bearer b\x01\x01",
    ] {
        assert!(parse_oauthbearer(broken.as_bytes()).is_err(), "{broken:?}");
    }
}

#[test]
fn xoauth2_tells_its_own_error_before_it_fails() {
    let mut xoauth2 = new("XOAUTH2");
    let message = format!("user=tim@example.com\x01auth=Bearer {TOKEN}\x01\x01");
    let expected = Step::Token { user: "tim@example.com".into(), token: TOKEN.into() };
    assert_eq!(xoauth2.start(Some(message.as_bytes())), expected);
    let error = br#"{"status":"401","schemes":"bearer","scope":"mail"}"#;
    assert_eq!(xoauth2.token_checked(false), Step::Challenge(error.to_vec()));
    assert_eq!(xoauth2.respond(b""), MISMATCH);
    for broken in
        ["", "garbage", "auth=Bearer abc\x01\x01", "user=\x01auth=Bearer abc\x01\x01", "user=a\x01user=b\x01"]
    {
        assert!(is_invalid(&new("XOAUTH2").start(Some(broken.as_bytes()))), "{broken:?}");
    }
    let long = format!("user={}\x01auth=Bearer abc\x01\x01", "u".repeat(1025));
    assert!(parse_xoauth2(long.as_bytes()).is_err());
    let mut without = new("XOAUTH2");
    assert!(is_invalid(&without.start(Some(b"user=tim\x01\x01"))));
    assert_eq!(without.claimed_user(), Some("tim"));
}

#[test]
fn external_believes_a_certificate_that_the_server_trusts() {
    for (valid_client_cert, cert_username, message, expected) in [
        (true, Some("holder"), &b""[..], Some(who("holder", None))),
        (true, Some("holder"), b"holder", Some(who("holder", None))),
        (true, Some("holder"), b"other", Some(who("holder", Some("other")))),
        (true, None, b"other", None),
        (true, Some(""), b"other", None),
        (false, Some("holder"), b"", None),
        (true, Some("holder"), b"o\0ther", None),
    ] {
        let environment = Environment { valid_client_cert, cert_username, ..environment() };
        let mut external = Mechanism::new("EXTERNAL", &environment).unwrap();
        match (external.start(Some(message)), expected) {
            (step, Some(expected)) => {
                assert_eq!(step, Step::Trusted(expected));
                assert_eq!(external.checked(true), SUCCESS);
            }
            (step, None) => assert!(is_invalid(&step), "{step:?}"),
        }
    }
    let mut unknown = new("EXTERNAL");
    unknown.start(Some(b""));
    assert_eq!(unknown.checked(false), MISMATCH);
}

#[test]
fn anonymous_users_have_one_name_and_leave_a_trace() {
    for (message, trace) in [
        (&b"sirhc@example.com"[..], Some("sirhc@example.com")),
        (b"", None),
        (b"a\xffb\r\n\0c", Some("a\u{fffd}b???c")),
    ] {
        let mut anonymous = new("ANONYMOUS");
        assert_eq!(anonymous.start(Some(message)), Step::Trusted(who("anonymous", None)));
        assert_eq!(anonymous.trace(), trace);
        assert_eq!(anonymous.checked(true), SUCCESS);
    }
    let mut long = new("ANONYMOUS");
    long.start(Some(&[b'x'; 1000]));
    assert_eq!(long.trace().unwrap().len(), 255);
}

#[test]
fn a_call_out_of_turn_fails_and_ends_the_exchange() {
    for description in descriptions() {
        let calls: [fn(&mut Mechanism) -> Step; 4] =
            [|m| m.respond(b"x"), |m| m.checked(true), |m| m.credentials(None), |m| m.token_checked(true)];
        for call in calls {
            let mut mechanism = new(description.name);
            assert!(is_invalid(&call(&mut mechanism)), "{}", description.name);
            assert!(is_invalid(&mechanism.start(Some(b"\0a\0b"))));
        }
        let mut mechanism = new(description.name);
        assert!(is_invalid(&mechanism.start(Some(&[b'x'; 16 * 1024 + 1]))), "{}", description.name);
    }
    let mut verifying = new("PLAIN");
    verifying.start(Some(b"\0a\0b"));
    assert!(is_invalid(&verifying.token_checked(true)));
    assert!(is_invalid(&verifying.checked(true)), "the exchange is over");
    assert!(Mechanism::new("GSSAPI", &environment()).is_none());
}

#[test]
fn nothing_secret_is_printed() {
    let mut plain = new("PLAIN");
    let step = plain.start(Some(b"\0tim\0tanstaaf"));
    let token = new("XOAUTH2").start(Some(b"user=tim\x01auth=Bearer tanstaaf\x01\x01"));
    assert!(!format!("{plain:?} {step:?} {token:?}").contains("tanstaaf"));
}

/// Bytes that come near to messages.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        proptest::sample::select(vec![
            &b"\0"[..],
            b"\x01",
            b",",
            b"=",
            b"n,,",
            b"y,",
            b"a=",
            b"n=",
            b"r=",
            b"c=biws",
            b"p=",
            b"m=",
            b"user=",
            b"auth=",
            b"Bearer ",
            b" ",
            b"=2C",
            b"=3D",
            b"tim",
            b"\xc3\xb6",
            b"AAAA",
        ])
        .prop_map(<[u8]>::to_vec),
        proptest::collection::vec(any::<u8>(), 0..6),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// Goes through an exchange with these messages and answers, and gives the steps.
fn drive(name: &str, initial: Option<&[u8]>, messages: &[Vec<u8>], yes: bool) -> Vec<Step> {
    let mut mechanism = new(name);
    let mut messages = messages.iter();
    let mut steps = vec![mechanism.start(initial)];
    while let Some(last) = steps.last() {
        let next = match last {
            Step::Challenge(_) => mechanism.respond(messages.next().map_or(&b""[..], Vec::as_slice)),
            Step::Verify(..) | Step::Trusted(_) => mechanism.checked(yes),
            Step::Token { .. } => mechanism.token_checked(yes),
            Step::Credentials(_, kind) => mechanism.credentials(yes.then(|| match kind {
                CredentialKind::CramMd5 => Credentials::CramMd5(cram_states(b"x")),
                CredentialKind::ScramSha1 => Credentials::Scram(scram_keys(20)),
                CredentialKind::ScramSha256 => Credentials::Scram(scram_keys(32)),
            })),
            Step::Success { .. } | Step::Failure(_) => {
                assert!(is_invalid(&mechanism.respond(b"x")) && is_invalid(&mechanism.checked(true)));
                return steps;
            }
        };
        steps.push(next);
        assert!(steps.len() < 8, "{name} does not end: {steps:?}");
    }
    steps
}

fn scram_keys(length: usize) -> ScramKeys {
    let key = Secret::new(vec![1; length]);
    ScramKeys { iterations: 1, salt: vec![2], stored_key: key.clone(), server_key: key }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn noise_never_opens_what_only_a_secret_may(
        which in 0..9_usize,
        initial in proptest::option::of(noise()),
        messages in proptest::collection::vec(noise(), 0..4),
        yes in any::<bool>(),
    ) {
        let name = descriptions()[which].name;
        let steps = drive(name, initial.as_deref(), &messages, yes);
        let success = matches!(steps.last(), Some(Step::Success { .. }));
        let proves = name.starts_with("SCRAM") || name == "CRAM-MD5";
        assert!(!success || (yes && !proves), "{name}: {steps:?}");
        for step in &steps {
            let (Step::Verify(who, _) | Step::Credentials(who, _) | Step::Trusted(who)) = step else { continue };
            for text in [Some(&who.authentication), who.authorization.as_ref()].into_iter().flatten() {
                assert!(!text.is_empty() && !text.contains('\0') && text.len() <= 1024);
            }
        }
    }
}
