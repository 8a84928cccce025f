//! Every scheme: what Dovecot and crypt(3) have made is verified, what is made here is verified,
//! everything else is refused, and nothing panics.

use base::secret::Secret;
use proptest::prelude::*;

use super::vectors::VECTORS;
use super::*;
use crate::mechanism::{CredentialKind, Credentials};

const USER: &str = "bob@lists.example.net";
const PASSWORD: &str = "Tr0ub4dor & 3:é";

fn parsed(text: &str) -> Stored {
    Stored::parse(text.as_bytes(), "CRYPT").unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn verifies(text: &str, user: &str, password: &str) -> bool {
    let verdict = parsed(text).verify(user, password.as_bytes());
    verdict.unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refusal(text: &str) -> String {
    Stored::parse(text.as_bytes(), "CRYPT").unwrap_err().to_string()
}

#[test]
fn hashes_of_dovecot_and_crypt_open_to_their_password_only() {
    for text in VECTORS {
        assert!(verifies(text, USER, PASSWORD), "{text}");
        assert!(!verifies(text, USER, "Tr1ub4dor & 3:é"), "{text}");
        assert!(!verifies(text, USER, ""), "{text}");
    }
}

#[test]
fn yescrypt_is_made_for_crypt() {
    let make = |rounds| generate("yescrypt", rounds, "", &PASSWORD.into());
    for (rounds, parameters, memory) in [(None, "j9T", 16 << 20), (Some(1), "j75", 1 << 20)] {
        let text = make(rounds).unwrap();
        assert!(text.starts_with(&format!("{{CRYPT}}$y${parameters}$")), "{text}");
        assert!(verifies(&text, "", PASSWORD) && !verifies(&text, "", "other"), "{text}");
        let Cost::Slow { memory_bytes } = parsed(&text).cost() else { panic!("{text} is cheap") };
        assert!((memory..memory + (1 << 20)).contains(&memory_bytes), "{memory_bytes}");
        assert_ne!(make(rounds).unwrap(), text);
    }
    for rounds in [0, 10, u32::MAX] {
        assert_eq!(make(Some(rounds)).unwrap_err().to_string(), "YESCRYPT takes 1 to 9 rounds");
    }
    let empty = generate(YESCRYPT, None, "", &Secret::default()).unwrap_err().to_string();
    assert_eq!(empty, "YESCRYPT cannot hold this password: it is empty");
    assert!(generate("YESCRYPT.hex", None, "", &PASSWORD.into()).is_err());
}

#[test]
fn the_shared_vectors_verify() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/facts/password-vectors.tsv");
    let Ok(table) = std::fs::read_to_string(path) else {
        println!("left out: no {path}");
        return;
    };
    let mut seen = 0;
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<_> = line.split('\t').collect();
        let (text, verdict) = (fields[2], fields[3]);
        if verdict.starts_with("not-verified") {
            assert!(refusal(text).contains("no length- before it"), "{text}");
        } else {
            assert!(verifies(text, "user@example.com", "correct horse"), "{text}");
            assert!(!verifies(text, "user@example.com", "wrong horse"), "{text}");
        }
        seen += 1;
    }
    assert!(seen > 80, "only {seen} lines");
}

#[test]
fn what_is_made_in_any_scheme_and_encoding_verifies() {
    let password = Secret::from(PASSWORD);
    for name in schemes() {
        for suffix in ["", ".hex", ".B64", ".base64"] {
            let slow = name.starts_with("ARGON2");
            if slow && !suffix.is_empty() {
                continue;
            }
            let name = format!("{}{suffix}", name.to_lowercase());
            let rounds = match name.as_str() {
                "argon2" | "argon2id" => Some(1),
                _ if name.starts_with("pbkdf2") => Some(10),
                _ if name.starts_with("blf-crypt") || name.starts_with("crypt") => Some(4),
                _ => None,
            };
            let text = generate(&name, rounds, USER, &password).unwrap();
            let start = format!("{{{}}}", name.to_uppercase());
            assert!(text.starts_with(&start), "{text}");
            assert!(verifies(&text, USER, PASSWORD), "{text}");
            assert!(!verifies(&text, USER, "Tr0uB4dor & 3:é"), "{text}");
            let stored = parsed(&text);
            assert!(start.trim_matches(['{', '}']).starts_with(stored.scheme_name()));
            let decoy = stored.decoy();
            assert_eq!(decoy.cost(), stored.cost());
            assert_eq!(decoy.verify(USER, PASSWORD.as_bytes()), Ok(false), "{text}");
        }
    }
}

#[test]
fn salts_differ_from_one_hash_to_the_next() {
    for name in ["SSHA", "SHA512-CRYPT", "SCRAM-SHA-256", "PBKDF2", "OTP", "DES-CRYPT", "SMD5"] {
        let rounds = (name == "PBKDF2").then_some(1);
        let one = generate(name, rounds, USER, &PASSWORD.into()).unwrap();
        let other: Vec<_> = (0..4).map(|_| generate(name, rounds, USER, &PASSWORD.into()).unwrap()).collect();
        assert!(other.iter().any(|other| *other != one), "{name}");
    }
}

#[test]
fn rounds_are_taken_within_their_range_and_refused_with_it() {
    let made = |name: &str, rounds| {
        generate(name, Some(rounds), USER, &PASSWORD.into()).map_err(|error| error.to_string())
    };
    for (name, rounds, start) in [
        ("SHA512-CRYPT", 1234, "{SHA512-CRYPT}$6$rounds=1234$"),
        ("SHA256-CRYPT", 5000, "{SHA256-CRYPT}$5$"),
        ("BLF-CRYPT", 4, "{BLF-CRYPT}$2y$04$"),
        ("CRYPT", 5, "{CRYPT}$2y$05$"),
        ("ARGON2ID", 1, "{ARGON2ID}$argon2id$v=19$m=65536,t=1,p=1$"),
        ("SCRAM-SHA-1", 5000, "{SCRAM-SHA-1}5000,"),
    ] {
        assert!(made(name, rounds).unwrap().starts_with(start), "{name}");
    }
    assert!(made("PBKDF2", 7).unwrap().contains("$7$"));
    for (name, rounds, range) in [
        ("SHA512-CRYPT", 999, "1000 to 10000000"),
        ("SHA256-CRYPT", 10_000_001, "1000 to 10000000"),
        ("BLF-CRYPT", 3, "4 to 17"),
        ("CRYPT", 18, "4 to 17"),
        ("ARGON2I", 2, "3 to 64"),
        ("ARGON2ID", 65, "1 to 64"),
        ("PBKDF2", 0, "1 to 10000000"),
        ("SCRAM-SHA-256", 4095, "4096 to 10000000"),
    ] {
        assert!(made(name, rounds).unwrap_err().contains(range), "{name}");
    }
    for name in ["PLAIN", "SSHA", "MD5-CRYPT", "DES-CRYPT", "OTP", "DIGEST-MD5", "CRAM-MD5"] {
        assert_eq!(made(name, 5), Err(format!("{name} counts no rounds")));
    }
}

#[test]
fn passwords_that_a_scheme_cannot_hold_are_refused() {
    let made = |name: &str, password: &[u8]| {
        generate(name, None, USER, &Secret::new(password)).map_err(|error| error.to_string())
    };
    assert!(made("SHA512", b"").unwrap_err().contains("it is empty"));
    assert!(made("PLAIN", b"\xff").unwrap_err().contains(".b64 suffix"));
    assert_eq!(made("PLAIN.hex", b"\xff"), Ok("{PLAIN.HEX}ff".to_owned()));
    assert!(made("SHA512-CRYPT", b"a\0b").unwrap_err().contains("without NUL"));
    assert!(made("NTLM", b"a").unwrap_err().contains("unknown password scheme NTLM"));
}

#[test]
fn the_length_of_a_digest_tells_its_encoding() {
    for text in [
        "{sha}181f5429e4f2bc2a780996bdb2a6b9e02e8f32b9",
        "{Sha256}d76ad4357f0bb212cefbb5775b2001c34aab4e69bd026a5b6e90945cd2495657",
        "{PLAIN-MD5}NWdUiflvmUaVTx1YrMJj9g==",
        "{PLAIN-MD5}35675489F96F9946954F1D58ACC263F6",
        "{LDAP-MD5}35675489f96f9946954f1d58acc263f6",
        "{LDAP-MD5}NWdUiflvmUaVTx1YrMJj9g",
        "{MD5}35675489f96f9946954f1d58acc263f6",
        "{MD5}NWdUiflvmUaVTx1YrMJj9g==",
        "{CRAM-MD5}i93rc1hqloN8AA8TLEY7/EvjJemdnUWbNyBZpesksvc=",
        "{SSHA.base64}6BxC9hSUc3BhEKgvVlsYrzAf1lcXQIey",
    ] {
        assert!(verifies(text, USER, PASSWORD), "{text}");
        assert!(!verifies(text, USER, "other"), "{text}");
    }
    for (text, why) in [
        ("{SHA.hex}GB9UKeTyvCp4CZa9sqa54C6PMrk=", "bad hexadecimal"),
        ("{SHA}GB9UKeTyvCp4CZa9sqa54C6PMr", "wrong length"),
        ("{SHA}!!", "bad base64"),
        ("{SSHA}GB9UKeTyvCp4CZa9", "too short"),
        ("{CRAM-MD5}8bddeb73", "wrong length"),
        ("{MD5}abc", "neither $1$ nor an MD5"),
        ("{BLF-CRYPT}$6$abc$def", "not a bcrypt hash"),
        ("{MD5-CRYPT}$6$abc$def", "not a $1$ hash"),
    ] {
        assert!(refusal(text).contains(why), "{text}: {}", refusal(text));
    }
}

#[test]
fn the_default_scheme_reads_bare_data() {
    let verifies = |text: &str, default: &str| {
        let stored = Stored::parse(text.as_bytes(), default).map_err(|error| error.to_string())?;
        Ok::<_, String>(stored.verify(USER, PASSWORD.as_bytes()).unwrap())
    };
    let hex = "35675489f96f9946954f1d58acc263f6";
    assert_eq!(verifies(PASSWORD, "plain"), Ok(true));
    assert_eq!(verifies("VHIwdWI0ZG9yICYgMzrDqQ==", "PLAIN.b64"), Ok(true));
    assert_eq!(verifies(hex, "PLAIN-MD5"), Ok(true));
    assert_eq!(verifies("t7RJ.XFiAOlAs", "CRYPT"), Ok(true));
    // `$1$` is MD5-CRYPT whatever the default, up to a further `$`.
    assert_eq!(verifies("$1$iSkvhFeY$Gz9Nmtv6H1MaaruuY//PY0", "PLAIN"), Ok(true));
    assert_eq!(verifies("$1$iSkvhFeY$Gz9Nmtv6H1MaaruuY//PY0$rest", "PLAIN"), Ok(true));
    assert_eq!(verifies("$1$money", "PLAIN"), Ok(false));
    // libpam-pwdfile's forms, in files of hashes only.
    assert_eq!(verifies("t7RJ.XFiAOlAs[13]", "CRYPT"), Ok(true));
    assert_eq!(verifies(&format!("{hex}[34]"), "CRYPT"), Ok(true));
    assert_eq!(verifies("d27c3a42e7be027bbfd5d7c3dbee1917[56]", "CRYPT"), Ok(true));
    assert_eq!(verifies(&format!("{hex}[34]"), "PLAIN"), Ok(false));
    // What looks like a scheme is one.
    assert_eq!(verifies("{NTLM}abc", "PLAIN"), Err("unknown password scheme NTLM".to_owned()));
    assert_eq!(verifies("{PLAIN.rot13}abc", "PLAIN"), Err("unknown password scheme PLAIN.ROT13".to_owned()));
    assert_eq!(verifies("abc", "nosuch"), Err("unknown password scheme NOSUCH".to_owned()));
    assert_eq!(verifies("{s3cret & more}abc", "PLAIN"), Err("unknown password scheme".to_owned()));
    // A brace alone is part of the password.
    let stored = Stored::parse(b"{brace", "PLAIN").unwrap();
    assert_eq!(stored.verify(USER, b"{brace"), Ok(true));
    assert!(verifies("{PLAIN}{x}y", "CRYPT").is_ok_and(|matches| !matches));
}

#[test]
fn locked_and_empty_passwords_open_to_nobody() {
    for text in [
        "",
        "*",
        "!",
        "!!",
        "x",
        "*LK*",
        "!$6$TswGDRJ.Ia9cCuH/$6t47",
        "{PLAIN}",
        "{CRYPT}",
        "{SHA512-CRYPT}*",
        "{PLAIN.b64}",
        "{PLAIN-TRUNC}0-",
        "{PLAIN-TRUNC}9-",
    ] {
        for password in ["", "*", "!", "x", "*LK*", "!!", PASSWORD] {
            assert!(!verifies(text, USER, password), "{text} {password}");
        }
        assert_eq!(parsed(text).credentials(CredentialKind::CramMd5, USER), None);
    }
}

#[test]
fn a_truncated_clear_password_opens_to_every_continuation() {
    for (text, password, right) in [
        ("{PLAIN-TRUNC}5-corre", "correct horse", true),
        ("{PLAIN-TRUNC}5-corre", "corre", true),
        ("{PLAIN-TRUNC}5-corre", "corr", false),
        ("{PLAIN-TRUNC}5-corre", "coRRect horse", false),
        ("{PLAIN-TRUNC}30-corre", "corre", true),
        ("{PLAIN-TRUNC}30-corre", "correct", false),
        ("{PLAIN-TRUNC}3-corre", "corre", true),
        ("{PLAIN-TRUNC}3-corre", "cor", false),
        ("{PLAIN-TRUNC}7-cor-rec", "cor-rect", true),
    ] {
        assert_eq!(verifies(text, USER, password), right, "{text} {password}");
    }
    assert!(refusal("{PLAIN-TRUNC}correct horse").contains("no length-"));
    assert!(refusal("{PLAIN-TRUNC}x-correct horse").contains("no length-"));
}

#[test]
fn digest_md5_belongs_to_one_user() {
    let text = "{DIGEST-MD5}d27c3a42e7be027bbfd5d7c3dbee1917";
    assert!(verifies(text, USER, PASSWORD));
    assert!(!verifies(text, "alice@lists.example.net", PASSWORD));
    assert!(!verifies(text, "bob", PASSWORD));
    // The realm follows the last @ (doveadm pw -u a@b@c).
    assert!(verifies("{DIGEST-MD5}1778ca54c767e21bc75b927bd1cde562", "a@b@c", "pässword"));
}

#[test]
fn otp_states_of_rfc_2289_appendix_c() {
    for state in [
        "md4 0 TeSt D1854218EBBB0B51",
        "md4 1 TeSt 63473EF01CD0B444",
        "md5 0 TeSt 9E876134D90499DD",
        "md5 99 TeSt 50FE1962C4965880",
        "sha1 0 TeSt BB9E6AE1979D8FF4",
        "sha1 1 TeSt 63D936639734385B",
    ] {
        let text = format!("{{OTP}}{state}");
        assert!(verifies(&text, USER, "This is a test."), "{state}");
        assert!(!verifies(&text, USER, "This is a test!"), "{state}");
    }
    for state in [
        "",
        "sha1",
        "sha1 x",
        "sha1 1024",
        "sha1 1024 seed",
        "sha1 1024 seed 00",
        "rot13 1 a 00",
        "sha1 10000 seed af565c52f345bf91",
        "sha1 1 se-ed af565c52f345bf91",
        "sha1 1 seed af565c52f345bf91 more",
        "sha1  1 seed af565c52f345bf91",
    ] {
        let text = format!("{{OTP.b64}}{}", encoding::to_base64(state.as_bytes()));
        assert!(state.is_empty() || refusal(&text).contains("not a OTP password"), "{state}");
    }
}

#[test]
fn weak_schemes_are_those_of_dovecot_2_4() {
    let weak: Vec<_> = schemes().filter(|name| Scheme::named(name).is_some_and(Scheme::is_weak)).collect();
    assert_eq!(
        weak,
        ["DES-CRYPT", "MD5-CRYPT", "SMD5", "PLAIN-MD4", "PLAIN-MD5", "LDAP-MD5", "MD5", "HMAC-MD5"]
    );
    for (text, weak) in [
        ("{CRYPT}t7RJ.XFiAOlAs", true),
        ("{CRYPT}$1$iSkvhFeY$Gz9Nmtv6H1MaaruuY//PY0", true),
        ("$1$iSkvhFeY$Gz9Nmtv6H1MaaruuY//PY0", true),
        ("{CRYPT}$3$$7def216d04bcdd26cc99b1eb64dd4802", true),
        ("{CRYPT}_J9..K0Ayf6hQDykhKRs", true),
        ("{CRYPT}$y$j75$Ab3.cdef$WWV5p97", false),
        ("{PLAIN}x", false),
        ("{SSHA}6BxC9hSUc3BhEKgvVlsYrzAf1lcXQIey", false),
        ("{CRAM-MD5}8bddeb73586a96837c000f132c463bfc4be325e99d9d459b372059a5eb24b2f7", false),
    ] {
        assert_eq!(parsed(text).is_weak(), weak, "{text}");
    }
}

#[test]
fn credentials_come_from_their_own_kind_or_from_clear_text() {
    let clear = parsed("{PLAIN}correct horse");
    let stored = parsed("{CRAM-MD5}38b57fd1a0c4b46c814aa05f20318edd71c455380655f2c0ac35c5b359528d29");
    let cram = clear.credentials(CredentialKind::CramMd5, USER).unwrap();
    assert_eq!(stored.credentials(CredentialKind::CramMd5, USER).as_ref(), Some(&cram));
    // The inner state first: RFC 2104's K xor ipad.
    let Credentials::CramMd5(states) = cram else { panic!("not CRAM-MD5") };
    assert_eq!(
        encoding::to_hex(states.expose()),
        "71c455380655f2c0ac35c5b359528d2938b57fd1a0c4b46c814aa05f20318edd"
    );
    let longer = "x".repeat(65);
    assert!(verifies(&generate("CRAM-MD5", None, USER, &longer.as_str().into()).unwrap(), USER, &longer));

    for (kind, name) in
        [(CredentialKind::ScramSha1, "SCRAM-SHA-1"), (CredentialKind::ScramSha256, "SCRAM-SHA-256")]
    {
        let text = generate(name, Some(5000), USER, &PASSWORD.into()).unwrap();
        let Some(Credentials::Scram(keys)) = parsed(&text).credentials(kind, USER) else {
            panic!("no keys from {text}")
        };
        assert_eq!((keys.iterations, keys.salt.len()), (5000, 16));
        assert_eq!(format!("{{{name}}}{}", scram::text(&keys)), text);
        // From clear text: the same each time, of the user's own salt, and right.
        let derived = clear.credentials(kind, USER).unwrap();
        assert_eq!(clear.credentials(kind, USER).as_ref(), Some(&derived));
        let Credentials::Scram(derived) = derived else { panic!("not SCRAM") };
        assert!(verifies(&format!("{{{name}}}{}", scram::text(&derived)), USER, "correct horse"));
        let Some(Credentials::Scram(other)) = clear.credentials(kind, "eve") else { panic!() };
        assert_ne!(other.salt, derived.salt);
        // A user who does not exist looks the same and has other keys.
        let Some(Credentials::Scram(unknown)) = unknown_user(kind, USER) else { panic!() };
        assert_eq!((unknown.iterations, &unknown.salt), (4096, &derived.salt));
        assert_ne!(unknown.stored_key, derived.stored_key);
        assert_eq!(unknown_user(kind, USER), Some(Credentials::Scram(unknown)));
        assert_eq!(stored.credentials(kind, USER), None);
        // So does a decoy of a clear password, while one of a verifier is like that.
        assert_eq!(clear.decoy().credentials(kind, USER), unknown_user(kind, USER));
        let Some(Credentials::Scram(decoy)) = parsed(&text).decoy().credentials(kind, USER) else { panic!() };
        assert_eq!((decoy.iterations, decoy.salt.len()), (5000, 16));
        assert_eq!(
            (decoy.stored_key.expose().len(), decoy.server_key.expose().len()),
            (keys.stored_key.expose().len(), keys.server_key.expose().len())
        );
        assert!(decoy.salt != keys.salt && decoy.stored_key != keys.stored_key);
        let again = parsed(&text).decoy().credentials(kind, USER);
        assert_eq!(again, Some(Credentials::Scram(decoy)));
    }
    let kind = CredentialKind::CramMd5;
    assert_eq!(stored.decoy().credentials(kind, USER), unknown_user(kind, USER));
    assert_ne!(unknown_user(kind, USER), stored.credentials(kind, USER));
    let sha256 = parsed(VECTORS[19]);
    assert_eq!(sha256.credentials(CredentialKind::ScramSha1, USER), None);
    assert_eq!(sha256.credentials(CredentialKind::CramMd5, USER), None);
    assert!(matches!(unknown_user(kind, USER), Some(Credentials::CramMd5(_))));
}

#[test]
fn hashes_that_ask_for_too_much_are_refused_unheard() {
    let tail = "$ohfphjfhocEolXoUr6pYDQ$2J4/XQhnW10vEBCslD5D9lLLkrsc7PbiI3iZmPxD3po";
    for (text, limit) in [
        (format!("{{ARGON2}}$argon2id$v=19$m=1048577,t=1,p=1{tail}"), "1 GiB"),
        (format!("{{ARGON2}}$argon2id$v=19$m=65536,t=257,p=1{tail}"), "16 GiB"),
        (format!("{{ARGON2}}$argon2id$v=19$m=8,t=10000001,p=1{tail}"), "16 GiB"),
        (format!("{{ARGON2}}$argon2id$v=19$m=2048,t=1,p=129{tail}"), "128 lanes"),
        (VECTORS[17].replace("$5000$", "$10000001$"), "10000000 rounds"),
        (VECTORS[19].replace("4096,", "4294967295,"), "10000000 rounds"),
        (VECTORS[32].replace("=1234$", "=999999999$"), "10000000 rounds"),
    ] {
        let stored = parsed(&text);
        let Err(HashError::TooCostly(why)) = stored.verify(USER, b"x") else { panic!("{text}") };
        assert!(why.contains(limit), "{text}: {why}");
        assert_eq!(stored.cost(), Cost::Slow { memory_bytes: 0 }, "{text}");
    }
    let cost = |text: &str| parsed(text).cost();
    assert_eq!(cost(VECTORS[26]), Cost::Slow { memory_bytes: 64 << 20 });
    assert_eq!(cost("{PLAIN}x"), Cost::Cheap);
    assert_eq!(cost(VECTORS[4]), Cost::Cheap);
}

#[test]
fn argon2_by_its_own_prefix_and_malformed_ones() {
    let tail = "$ohfphjfhocEolXoUr6pYDQ$2J4/XQhnW10vEBCslD5D9lLLkrsc7PbiI3iZmPxD3po";
    let name = |scheme: &str| VECTORS[26].replace("{ARGON2ID}", scheme);
    assert!(verifies(&name("{ARGON2}"), USER, PASSWORD));
    assert!(verifies(&name("{argon2i}"), USER, PASSWORD));
    for parameters in [
        "argon2id$v=19$m=65536,t=3,p=1".to_owned(),
        format!("$argon2x$v=19$m=65536,t=3,p=1{tail}"),
        format!("$argon2id$v=18$m=65536,t=3,p=1{tail}"),
        format!("$argon2id$v=19$m=65536,t=3{tail}"),
        format!("$argon2id$v=19$m=65536,t=0,p=1{tail}"),
        format!("$argon2id$v=19$m=7,t=1,p=1{tail}"),
        format!("$argon2id$v=19$m=-1,t=1,p=1{tail}"),
        "$argon2id$v=19$m=65536,t=3,p=1$c2FsdA$aGFzaA".to_owned(),
    ] {
        assert!(refusal(&format!("{{ARGON2ID}}{parameters}")).contains("not a ARGON2ID"));
    }
}

#[test]
fn nothing_of_a_password_is_shown() {
    let stored = parsed("{PLAIN}opensesame");
    assert_eq!(format!("{stored:?}"), "Stored(PLAIN)");
    for text in ["{SHA}opensesame", "{SCRAM-SHA-1}opensesame", "opensesame", "{open sesame}x"] {
        assert!(!refusal(text).contains("sesame"), "{}", refusal(text));
    }
}

proptest! {
    #[test]
    fn no_stored_text_and_no_password_panics(
        text in prop::collection::vec(any::<u8>(), 0..120),
        scheme in prop::sample::select(schemes().collect::<Vec<_>>()),
        suffix in prop::sample::select(vec!["", ".hex", ".b64", ".x", "."]),
        tail in "([$./,=a-zA-Z0-9 -]|\\$(1|5|6|y|7|2y|sha1|md5|argon2id|gy|3)\\$|rounds=|m=8,t=1,p=1){0,40}",
        password in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        for text in [
            text.clone(),
            format!("{{{scheme}{suffix}}}{tail}").into_bytes(),
            [format!("{{{scheme}{suffix}}}").as_bytes(), &text].concat(),
        ] {
            let Ok(stored) = Stored::parse(&text, scheme) else { continue };
            let _credentials = stored.credentials(CredentialKind::CramMd5, USER);
            // What a chance hash of these costs is not bounded by much.
            if stored.cost() == Cost::Cheap {
                prop_assert!(stored.verify(USER, &password).is_ok());
            }
        }
    }

    #[test]
    fn no_damaged_hash_panics(
        vector in prop::sample::select(VECTORS.to_vec()),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut text = vector.as_bytes().to_vec();
        let at = at.index(text.len());
        text[at] = byte;
        text.truncate(text.len().min(cut.index(2 * text.len())));
        if let Ok(stored) = Stored::parse(&text, "CRYPT") {
            let _credentials = stored.decoy().credentials(CredentialKind::CramMd5, USER);
            if stored.cost() == Cost::Cheap {
                let _verdict = stored.verify(USER, PASSWORD.as_bytes());
            }
        }
    }
}
