//! Whole logins through the pipeline, on real files and programs, without a socket.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may; it measures how long answers take"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::clock::monotonic_now;
use base::config::Source;
use sasl_auth::active::{Active, Shared};
use sasl_auth::config;
use sasl_auth::mechanism::{CredentialKind, Credentials, cram_md5_digest};
use sasl_auth::outcome::{Answer, Login, Rejection, Why};
use sasl_auth::password::Stored;
use sasl_auth::pipeline::{Exchange, Turn};
use sasl_auth::request::{Options, Request};

/// A configuration in a scratch folder.
struct Site {
    folder: tempfile::TempDir,
    active: Arc<Active>,
    shared: Arc<Shared>,
}

impl Site {
    /// `{}` in the configuration and in the files' contents is the scratch folder.
    fn new(files: &[(&str, &str)], text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().display().to_string();
        for (name, content) in files {
            write(folder.path(), name, &content.replace("{}", &at));
        }
        let text = format!(
            "mechanisms = [\"PLAIN\", \"LOGIN\", \"CRAM-MD5\", \"SCRAM-SHA-256\", \"XOAUTH2\", \"EXTERNAL\"]\n{}\n[[listen]]\naddress = \"unix:/run/none\"\nkind = \"client\"\n",
            text.replace("{}", &at)
        );
        let loaded = config::load(&Source::new("test.toml", text));
        assert!(loaded.settings.is_some(), "{}", loaded.report.render(false));
        let settings = loaded.settings.unwrap();
        let shared = Arc::new(Shared::new(&settings).unwrap());
        let active = Arc::new(Active::new(settings).unwrap());
        Self { folder, active, shared }
    }

    async fn begin(&self, request: Request, initial: Option<&[u8]>) -> Turn {
        let (active, shared) = (Arc::clone(&self.active), Arc::clone(&self.shared));
        let initial = initial.map(<[u8]>::to_vec);
        Exchange::begin(active, shared, Box::new(request), Options::default(), initial, monotonic_now()).await
    }

    async fn plain(&self, user: &str, password: &str) -> Answer {
        self.plain_for("", user, password, "192.0.2.1").await
    }

    async fn plain_for(&self, authzid: &str, user: &str, password: &str, from: &str) -> Answer {
        let initial = format!("{authzid}\0{user}\0{password}");
        self.begin(request("PLAIN", from), Some(initial.as_bytes())).await.0
    }
}

fn write(folder: &Path, name: &str, content: &str) {
    let path = folder.join(name);
    fs::write(&path, content).unwrap();
    let mode = if content.starts_with("#!") { 0o700 } else { 0o600 };
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

fn request(mechanism: &'static str, from: &str) -> Request {
    Request {
        mechanism,
        service: "smtp".into(),
        remote_ip: Some(from.parse().unwrap()),
        ..Request::default()
    }
}

#[track_caller]
fn accepted(answer: Answer) -> Login {
    match answer {
        Answer::Ok(login, _) => login,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn rejected(answer: Answer) -> Rejection {
    match answer {
        Answer::Fail(rejection) => rejection,
        other => panic!("{other:?}"),
    }
}

const NO_DELAY: &str = "[throttle]\nfailure_delay = 0\n";
const FILE: &str = "[[passdb]]\ndriver = \"passwd-file\"\npath = \"{}/users\"\n";

#[tokio::test]
async fn who_gets_in_and_who_does_not() {
    let users = "bob:{PLAIN}secret::::::\nclosed:{PLAIN}secret::::::nologin reason=Closed_for_good\n\
                 inside:{PLAIN}secret::::::allow_nets=198.51.100.0/24\nother:{PLAIN}secret::::::user=robert\n";
    let site = Site::new(&[("users", users)], &format!("{NO_DELAY}{FILE}"));
    assert_eq!(accepted(site.plain("bob", "secret").await).user, "bob");
    let login = accepted(site.plain("BOB", "secret").await);
    assert_eq!((login.user.as_str(), login.original_user.as_str()), ("bob", "BOB"));
    assert_eq!(accepted(site.plain("other", "secret").await).user, "robert");
    assert_eq!(rejected(site.plain("bob", "Secret").await).why, Why::Mismatch(String::new()));
    assert_eq!(rejected(site.plain("nobody", "secret").await).why, Why::UnknownUser);
    let closed = rejected(site.plain("closed", "secret").await);
    assert_eq!(
        (closed.why.code(), closed.reason.as_deref()),
        (Some("user_disabled"), Some("Closed_for_good"))
    );
    assert_eq!(rejected(site.plain("closed", "wrong").await).why.code(), None, "says nothing to strangers");
    assert!(matches!(rejected(site.plain("inside", "secret").await).why, Why::Address(_)));
    accepted(site.plain_for("", "inside", "secret", "198.51.100.7").await);
    assert!(matches!(rejected(site.plain("b(b", "secret").await).why, Why::BadName(_)));
    assert!(matches!(rejected(site.plain("bob", "").await).why, Why::Mismatch(_)));
}

#[tokio::test]
async fn a_changed_file_counts_at_once() {
    let site = Site::new(&[("users", "bob:{PLAIN}old::::::\n")], &format!("{NO_DELAY}{FILE}"));
    accepted(site.plain("bob", "old").await);
    write(site.folder.path(), "users", "bob:{PLAIN}newer::::::\n");
    rejected(site.plain("bob", "old").await);
    accepted(site.plain("bob", "newer").await);
    fs::remove_file(site.folder.path().join("users")).unwrap();
    assert!(matches!(site.plain("bob", "newer").await, Answer::TemporaryFailure { .. }));
}

#[tokio::test]
async fn app_passwords_open_for_their_service_until_they_expire() {
    let apps = "bob:{PLAIN}for-smtp:phone:smtp:\nbob:{PLAIN}for-imap:tablet:imap:\nbob:{PLAIN}gone:old::2020-01-01\n";
    let passdb = format!("{NO_DELAY}{FILE}app_passwords = \"{{}}/apps\"\n");
    let site = Site::new(&[("users", "bob:{PLAIN}secret::::::\n"), ("apps", apps)], &passdb);
    assert_eq!(accepted(site.plain("bob", "secret").await).label, None);
    assert_eq!(accepted(site.plain("bob", "for-smtp").await).label.as_deref(), Some("phone"));
    rejected(site.plain("bob", "for-imap").await);
    rejected(site.plain("bob", "gone").await);
}

#[tokio::test]
async fn deny_master_and_chains() {
    let config = format!(
        "{NO_DELAY}master_user_separator = \"*\"\n[[passdb]]\ndriver = \"passwd-file\"\npath = \"{{}}/denied\"\ndeny = true\n\
         [[passdb]]\ndriver = \"passwd-file\"\npath = \"{{}}/masters\"\nmaster = true\n{FILE}\
         [[passdb]]\nname = \"more-users\"\ndriver = \"passwd-file\"\npath = \"{{}}/more\"\n"
    );
    // Top-level settings stand before the first section.
    let config = config.replace(
        "[throttle]\nfailure_delay = 0\nmaster_user_separator = \"*\"\n",
        "master_user_separator = \"*\"\n[throttle]\nfailure_delay = 0\n",
    );
    let files = [
        ("denied", "mallory:::::::\n"),
        ("masters", "boss:{PLAIN}key::::::\n"),
        ("users", "bob:{PLAIN}secret::::::\nmallory:{PLAIN}secret::::::\n"),
        ("more", "eve:{PLAIN}secret::::::\nbob:{PLAIN}second::::::\n"),
    ];
    let site = Site::new(&files, &config);
    assert_eq!(rejected(site.plain("mallory", "secret").await).why.code(), Some("user_disabled"));
    assert_eq!(accepted(site.plain("eve", "secret").await).source, "more-users");
    assert_eq!(accepted(site.plain("bob", "second").await).source, "more-users");
    for (authzid, user) in [("bob", "boss"), ("", "bob*boss")] {
        let login = accepted(site.plain_for(authzid, user, "key", "192.0.2.1").await);
        assert_eq!((login.user.as_str(), login.master_user.as_deref()), ("bob", Some("boss")));
    }
    rejected(site.plain_for("bob", "boss", "secret", "192.0.2.1").await);
    assert_eq!(
        rejected(site.plain_for("zzz", "boss", "key", "192.0.2.1").await).why.code(),
        Some("authz_fail")
    );
    assert_eq!(
        rejected(site.plain_for("mallory", "boss", "key", "192.0.2.1").await).why.code(),
        Some("user_disabled")
    );
    assert!(matches!(
        rejected(site.plain_for("eve", "bob", "secret", "192.0.2.1").await).why,
        Why::UnknownUser | Why::Mismatch(_)
    ));
    rejected(site.plain("boss", "key").await);
}

/// Answers as `mode` says, and counts how often it was asked.
const PROGRAM: &str = "#!/bin/sh\ncat > /dev/null\necho x >> {}/asked\ncase \"$(cat {}/mode)\" in\n\
                       right) echo '{\"result\":\"ok\"}' ;;\nlocked) echo '{\"result\":\"refused\"}' ;;\nwrong) echo '{\"result\":\"mismatch\"}' ;;\n*) exit 111 ;;\nesac\n";
const COMMAND: &str = "[[passdb]]\ndriver = \"command\"\ncommand = [\"{}/program\"]\n";

fn asked(site: &Site) -> usize {
    fs::read_to_string(site.folder.path().join("asked")).map_or(0, |text| text.lines().count())
}

#[tokio::test]
async fn without_a_cache_an_outage_is_temporary() {
    let site = Site::new(&[("program", PROGRAM), ("mode", "right")], &format!("{NO_DELAY}{COMMAND}"));
    accepted(site.plain("bob", "secret").await);
    write(site.folder.path(), "mode", "away");
    assert!(matches!(site.plain("bob", "secret").await, Answer::TemporaryFailure { .. }));
    write(site.folder.path(), "mode", "right");
    accepted(site.plain("bob", "secret").await);
}

#[tokio::test]
async fn the_cache_answers_again_and_outlives_an_outage() {
    let config = format!("{NO_DELAY}[cache]\nttl = 1\nnegative_ttl = 1\nstale_ttl = 60\n{COMMAND}");
    let site = Site::new(&[("program", PROGRAM), ("mode", "right")], &config);
    accepted(site.plain("bob", "secret").await);
    let once = asked(&site);
    accepted(site.plain("bob", "secret").await);
    assert_eq!(asked(&site), once, "answered from the cache");
    write(site.folder.path(), "mode", "wrong");
    rejected(site.plain("bob", "guess").await);
    let twice = asked(&site);
    rejected(site.plain("bob", "guess").await);
    assert_eq!(asked(&site), twice, "a wrong one as well");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    write(site.folder.path(), "mode", "away");
    accepted(site.plain("bob", "secret").await);
    assert!(asked(&site) > twice, "the program was asked first");
    assert!(matches!(site.plain("bob", "other").await, Answer::TemporaryFailure { .. }));
    assert!(matches!(site.plain("eve", "secret").await, Answer::TemporaryFailure { .. }));
}

#[tokio::test]
async fn failures_wait_and_good_passwords_of_others_do_not() {
    let users = "bob:{PLAIN}secret::::::\neve:{PLAIN}secret::::::\n";
    let config = format!("[throttle]\nfailure_delay = \"600ms\"\n{FILE}");
    let site = Site::new(&[("users", users)], &config);
    for round in 0..4u32 {
        let start = Instant::now();
        rejected(site.plain("bob", "wrong").await);
        assert!(start.elapsed() >= Duration::from_millis(600), "round {round}");
    }
    let start = Instant::now();
    accepted(site.plain("eve", "secret").await);
    accepted(site.plain_for("", "bob", "secret", "198.51.100.9").await);
    assert!(start.elapsed() < Duration::from_millis(600), "{:?}", start.elapsed());
}

#[tokio::test]
async fn many_guesses_at_one_user_from_one_address_are_put_off() {
    let config = format!("[limits]\nreply_within = 2\n[throttle]\nfailure_delay = \"10ms\"\n{FILE}");
    let site = Arc::new(Site::new(&[("users", "bob:{PLAIN}secret::::::\n")], &config));
    for _ in 0..4 {
        rejected(site.plain("bob", "wrong").await);
    }
    let start = Instant::now();
    let mut guesses = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let site = Arc::clone(&site);
        guesses.spawn(async move { site.plain("bob", "wrong").await });
    }
    let answers = guesses.join_all().await;
    assert!(start.elapsed() < Duration::from_secs(3));
    let looked_at = answers.iter().filter(|answer| matches!(answer, Answer::Fail(_))).count();
    assert!(looked_at <= 3, "{looked_at} of 20 were looked at within two seconds");
}

#[tokio::test]
async fn an_unknown_user_costs_what_a_known_one_costs() {
    // Cost 8: some 15 ms a check.
    let users = "bob:{BLF-CRYPT}$2y$08$QrSy2NsvRDGEpx7RsRsmCO1p2C7rM.DJbZLgCKzeQTSZ4s49vCvwK::::::\n";
    let site = Site::new(&[("users", users)], &format!("{NO_DELAY}{FILE}"));
    rejected(site.plain("bob", "wrong").await);
    let took = async |user: &str| {
        let start = Instant::now();
        rejected(site.plain(user, "wrong").await);
        start.elapsed()
    };
    let (mut known, mut unknown) = (Duration::MAX, Duration::MAX);
    // The shortest of several times; of more where the machine is busy with other things.
    for round in 1..=60 {
        (known, unknown) = (known.min(took("bob").await), unknown.min(took("nobody").await));
        if round >= 5 && unknown > known / 2 && known > unknown / 2 {
            return;
        }
    }
    panic!("{known:?} for a known, {unknown:?} for an unknown user");
}

#[tokio::test]
async fn weak_schemes_need_a_word() {
    let users = "bob:{PLAIN-MD5}5ebe2294ecd0e0f08eab7690d2a6ee69::::::\n";
    let site = Site::new(&[("users", users)], &format!("{NO_DELAY}{FILE}"));
    rejected(site.plain("bob", "secret").await);
    let site = Site::new(&[("users", users)], &format!("allow_weak_schemes = true\n{NO_DELAY}{FILE}"));
    accepted(site.plain("bob", "secret").await);
}

#[tokio::test]
async fn a_mechanism_that_needs_more_than_a_one_way_hash() {
    let users = "bob:{SHA256}K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=::::::\n";
    let site = Site::new(&[("users", users)], &format!("{NO_DELAY}{FILE}"));
    accepted(site.plain("bob", "secret").await);
    let (answer, exchange) = site.begin(request("CRAM-MD5", "192.0.2.1"), None).await;
    assert!(matches!(answer, Answer::Challenge(_)));
    let response = b"bob 0123456789abcdef0123456789abcdef".to_vec();
    let (answer, _) = exchange.unwrap().go_on(response, monotonic_now()).await;
    let Why::Mismatch(detail) = rejected(answer).why else { panic!() };
    assert_eq!(detail, "Requested CRAM-MD5 scheme, but we have only SHA256");
}

#[tokio::test]
async fn scram_leads_an_unknown_user_on() {
    let site = Site::new(&[("users", "bob:{PLAIN}secret::::::\n")], &format!("{NO_DELAY}{FILE}"));
    let mut challenges = Vec::new();
    for user in ["bob", "nobody"] {
        let first = format!("n,,n={user},r=abcdefghijkl");
        let (answer, exchange) =
            site.begin(request("SCRAM-SHA-256", "192.0.2.1"), Some(first.as_bytes())).await;
        let Answer::Challenge(challenge) = answer else { panic!("{answer:?}") };
        let challenge = String::from_utf8(challenge).unwrap();
        let nonce = challenge.split(',').next().unwrap().to_owned();
        challenges.push(challenge.split(',').map(|part| part.len()).collect::<Vec<_>>());
        let proof = format!("c=biws,{nonce},p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
        let (answer, _) = exchange.unwrap().go_on(proof.into_bytes(), monotonic_now()).await;
        rejected(answer);
    }
    assert_eq!(challenges.first(), challenges.last(), "both look the same");
}

#[tokio::test]
async fn a_login_in_hand_is_small() {
    let site = Site::new(&[("users", "bob:{PLAIN}secret::::::\n")], &format!("{NO_DELAY}{FILE}"));
    let (active, shared) = (Arc::clone(&site.active), Arc::clone(&site.shared));
    let turn = Exchange::begin(
        active,
        shared,
        Box::new(request("PLAIN", "192.0.2.1")),
        Options::default(),
        None,
        monotonic_now(),
    );
    let bytes = size_of_val(&turn);
    assert!(bytes < 4096, "{bytes} bytes are moved about for each login");
}

/// Passdbs after the first are not asked, or their word does not count, for SCRAM as for PLAIN.
#[tokio::test]
async fn scram_follows_the_chain_as_plain_does() {
    let chain = |first: &str, second: &str| {
        format!(
            "{NO_DELAY}{FILE}{first}\n[[passdb]]\nname = \"more-users\"\ndriver = \"passwd-file\"\npath = \"{{}}/more\"\n{second}\n"
        )
    };
    let files = [("users", "bob:{PLAIN}secret::::::\n"), ("more", "eve:{PLAIN}secret::::::\n")];
    for (first, second, user, opens) in [
        ("", "", "bob", true),
        ("", "", "eve", true),
        ("result_failure = \"return-fail\"", "", "eve", false),
        ("result_success = \"continue-fail\"", "", "bob", false),
        ("result_success = \"return-fail\"", "", "bob", false),
        ("", "skip = \"unauthenticated\"", "eve", false),
        ("result_success = \"continue-ok\"", "", "bob", true),
    ] {
        let site = Site::new(&files, &chain(first, second));
        let plain = matches!(site.plain(user, "secret").await, Answer::Ok(..));
        assert_eq!(plain, opens, "PLAIN {first} {second} {user}");
        assert_eq!(cram(&site, user, "secret").await, opens, "CRAM-MD5 {first} {second} {user}");
    }
}

/// A CRAM-MD5 login (RFC 2195).
async fn cram(site: &Site, user: &str, password: &str) -> bool {
    let (answer, exchange) = site.begin(request("CRAM-MD5", "192.0.2.1"), None).await;
    let Answer::Challenge(challenge) = answer else { panic!("{answer:?}") };
    let states = Stored::parse(password.as_bytes(), "PLAIN").unwrap();
    let Some(Credentials::CramMd5(states)) = states.credentials(CredentialKind::CramMd5, user) else {
        panic!()
    };
    let digest = cram_md5_digest(&states, &challenge).unwrap();
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let response = format!("{user} {digest}").into_bytes();
    let (answer, _) = exchange.unwrap().go_on(response, monotonic_now()).await;
    matches!(answer, Answer::Ok(..))
}

#[tokio::test]
async fn an_app_password_ends_in_the_cache_as_well() {
    let now = base::clock::unix_now();
    let site = Site::new(
        // SQLite takes an empty file for an empty database.
        &[("db", "")],
        &format!(
            "{NO_DELAY}[cache]\n[[passdb]]\ndriver = \"sql\"\nurl = \"sqlite://{{}}/db\"\n\
             query = \"SELECT '{{PLAIN}}own' AS password\"\n\
             app_password_query = \"SELECT '{{PLAIN}}app' AS password, 'phone' AS label, {} AS expires\"\n",
            now + 2
        ),
    );
    assert_eq!(accepted(site.plain("bob", "app").await).label.as_deref(), Some("phone"));
    tokio::time::sleep(Duration::from_millis(2100)).await;
    rejected(site.plain("bob", "app").await);
    accepted(site.plain("bob", "own").await);
}

#[tokio::test]
async fn who_is_locked_out_stays_out_while_the_back_end_is_away() {
    let config = format!("{NO_DELAY}[cache]\nttl = 1\nstale_ttl = 60\n{COMMAND}");
    let site = Site::new(&[("program", PROGRAM), ("mode", "right")], &config);
    accepted(site.plain("bob", "secret").await);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    write(site.folder.path(), "mode", "locked");
    assert_eq!(rejected(site.plain("bob", "secret").await).why.code(), Some("user_disabled"));
    write(site.folder.path(), "mode", "away");
    assert!(matches!(site.plain("bob", "secret").await, Answer::TemporaryFailure { .. }));
}

#[tokio::test]
async fn fields_with_suffixes_and_names_without_domain() {
    let users = "near:{PLAIN}secret::::::allow_nets:protected=198.51.100.0/24\n\
                 ren@x.example:{PLAIN}secret::::::username=other\n\
                 look:{PLAIN}secret::::::\n";
    let config = format!("{NO_DELAY}{FILE}default_fields = {{ colour = \"red\" }}\n");
    let site = Site::new(&[("users", users)], &config);
    assert!(matches!(rejected(site.plain("near", "secret").await).why, Why::Address(_)));
    assert_eq!(accepted(site.plain("ren@x.example", "secret").await).user, "other@x.example");
    let config = format!("{NO_DELAY}{FILE}default_fields = {{ noauthenticate = \"y\" }}\n");
    let site = Site::new(&[("users", users)], &config);
    assert!(matches!(rejected(site.plain("look", "secret").await).why, Why::UnknownUser));
    assert!(!cram(&site, "look", "secret").await);
}

/// A token that `key` (32 bytes) signs, for one hour.
fn token(user: &str) -> String {
    let claims = serde_json::json!({"email": user, "exp": base::clock::unix_now() + 3600});
    let key = jsonwebtoken::EncodingKey::from_secret(KEY.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap()
}

const KEY: &str = "0123456789abcdef0123456789abcdef";

async fn xoauth2(site: &Site, user: &str, token: &str) -> Turn {
    let initial = format!("user={user}\x01auth=Bearer {token}\x01\x01");
    site.begin(request("XOAUTH2", "192.0.2.1"), Some(initial.as_bytes())).await
}

#[tokio::test]
async fn a_token_opens_for_its_own_user_only() {
    let config = format!(
        "master_user_separator = \"*\"\n[throttle]\nfailure_delay = \"300ms\"\n\
         [oauth2]\nkeys = [\"{{}}/signing.key\"]\nrequire_user = false\n\
         [[passdb]]\ndriver = \"passwd-file\"\npath = \"{{}}/denied\"\ndeny = true\n\
         [[passdb]]\ndriver = \"passwd-file\"\npath = \"{{}}/masters\"\nmaster = true\n{FILE}"
    );
    let files = [
        ("signing.key", KEY),
        ("denied", "mallory:::::::\n"),
        ("masters", "boss:{PLAIN}key::::::\n"),
        ("users", "bob:{PLAIN}secret::::::\n"),
    ];
    let site = Site::new(&files, &config);
    assert_eq!(accepted(xoauth2(&site, "bob", &token("Bob")).await.0).user, "bob");
    for (user, claim) in
        [("bob", "bob*boss"), ("bob*boss", "bob*boss"), ("bob", "eve"), ("mallory", "mallory")]
    {
        let start = Instant::now();
        let (answer, exchange) = xoauth2(&site, user, &token(claim)).await;
        assert!(matches!(answer, Answer::Challenge(_)), "{user} {claim}: {answer:?}");
        assert!(start.elapsed() >= Duration::from_millis(300), "the refusal itself waits");
        let (answer, _) = exchange.unwrap().go_on(vec![1], monotonic_now()).await;
        rejected(answer);
    }
}

#[tokio::test]
async fn a_certificate_opens_for_its_own_user_only() {
    let config = format!(
        "master_user_separator = \"*\"\n{NO_DELAY}\
         [[passdb]]\ndriver = \"passwd-file\"\npath = \"{{}}/masters\"\nmaster = true\n{FILE}"
    );
    let files = [("masters", "boss:{PLAIN}key::::::\n"), ("users", "bob:{PLAIN}secret::::::\n")];
    let site = Site::new(&files, &config);
    for (name, opens) in [("bob", true), ("bob*boss", false), ("eve", false)] {
        let request = Request {
            valid_client_cert: true,
            cert_username: Some(name.to_owned()),
            ..request("EXTERNAL", "192.0.2.1")
        };
        let (answer, _) = site.begin(request, Some(b"")).await;
        assert_eq!(matches!(answer, Answer::Ok(..)), opens, "{name}: {answer:?}");
    }
}

#[tokio::test]
async fn a_burst_of_guesses_locks_nobody_out_for_long() {
    let config = format!("[limits]\nreply_within = 2\n[throttle]\nfailure_delay = \"10ms\"\n{FILE}");
    let site = Arc::new(Site::new(&[("users", "bob:{PLAIN}secret::::::\n")], &config));
    let mut guesses = tokio::task::JoinSet::new();
    for _ in 0..300 {
        let site = Arc::clone(&site);
        guesses.spawn(async move { site.plain("bob", "wrong").await });
    }
    guesses.join_all().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    accepted(site.plain("bob", "secret").await);
    for _ in 0..5 {
        rejected(site.plain("bob", "wrong").await);
    }
    let start = Instant::now();
    accepted(site.plain("bob", "secret").await);
    // Those who guess take turns a second apart.
    assert!(start.elapsed() < Duration::from_millis(800), "it was good before: {:?}", start.elapsed());
}

/// Their name in the log is the same; what the one has said is no answer of the other.
#[tokio::test]
async fn what_is_remembered_of_one_passdb_is_not_the_word_of_another() {
    let sql = |password: &str, more: &str| {
        format!(
            "[[passdb]]\ndriver = \"sql\"\nurl = \"sqlite://{{}}/db\"\n{more}\n\
             query = \"SELECT '{{PLAIN}}{password}' AS password\"\n"
        )
    };
    let config = format!(
        "master_user_separator = \"*\"\n{NO_DELAY}[cache]\n{}{}{}",
        sql("first", ""),
        sql("second", ""),
        sql("key", "master = true")
    );
    let site = Site::new(&[("db", "")], &config);
    for _ in 0..2 {
        accepted(site.plain("bob", "first").await);
        accepted(site.plain("bob", "second").await);
        rejected(site.plain("bob", "third").await);
        // What opens for a master user who acts for others does not open as his own password.
        accepted(site.plain("bob*boss", "key").await);
        rejected(site.plain("boss", "key").await);
    }
}

/// A burst of SCRAM logins is worked off by as many threads as are set; what does not fit is to come
/// again, whether the user exists or not.
#[tokio::test]
async fn a_burst_of_scram_is_bounded_and_refuses_nobody_for_good() {
    let config = format!("[hashing]\nthreads = 1\nqueue = 4\n{NO_DELAY}{FILE}");
    let users: String = (0..30).map(|n| format!("u{n}:{{PLAIN}}secret::::::\n")).collect();
    let site = Arc::new(Site::new(&[("users", &users)], &config));
    let begin = |user: String| {
        let site = Arc::clone(&site);
        async move {
            let first = format!("n,,n={user},r=abcdefghijkl");
            site.begin(request("SCRAM-SHA-256", "192.0.2.1"), Some(first.as_bytes())).await.0
        }
    };
    // What unknown users are answered from is learnt of a known one.
    assert!(matches!(begin("u0".to_owned()).await, Answer::Challenge(_)));
    for name in ["u", "nobody"] {
        let mut logins = tokio::task::JoinSet::new();
        (0..30).for_each(|n| drop(logins.spawn(begin(format!("{name}{n}")))));
        let answers = logins.join_all().await;
        let count = |want: fn(&Answer) -> bool| answers.iter().filter(|answer| want(answer)).count();
        let challenges = count(|answer| matches!(answer, Answer::Challenge(_)));
        let later = count(|answer| matches!(answer, Answer::TemporaryFailure { .. }));
        assert!((1..30).contains(&challenges), "{name}: {challenges} challenges");
        assert_eq!(challenges + later, 30, "{name}: {answers:?}");
    }
    let figures = site.shared.keys_pool.figures();
    assert!(figures.done > 0 && figures.refused > 0, "{figures:?}");
}

/// A program that knows a user and keeps his password to itself denies him, and vouches for him.
#[tokio::test]
async fn a_program_without_passwords_tells_who_exists() {
    let deny = COMMAND.replace("[[passdb]]", "[[passdb]]\ndeny = true");
    let files = [("program", PROGRAM), ("mode", "right"), ("users", "bob:{PLAIN}secret::::::\n")];
    let site = Site::new(&files, &format!("{NO_DELAY}{deny}{FILE}"));
    assert_eq!(rejected(site.plain("bob", "secret").await).why.code(), Some("user_disabled"));
    write(site.folder.path(), "mode", "wrong");
    accepted(site.plain("bob", "secret").await);
    let site = Site::new(&files, &format!("{NO_DELAY}{COMMAND}"));
    for (mode, opens) in [("right", true), ("wrong", false)] {
        write(site.folder.path(), "mode", mode);
        let request = Request {
            valid_client_cert: true,
            cert_username: Some("bob".to_owned()),
            ..request("EXTERNAL", "192.0.2.1")
        };
        let (answer, _) = site.begin(request, Some(b"")).await;
        assert_eq!(matches!(answer, Answer::Ok(..)), opens, "{mode}: {answer:?}");
    }
}

/// While one database is away the users of another can still be guessed at: that is counted as ever.
#[tokio::test]
async fn guesses_during_an_outage_take_turns_as_well() {
    let config = format!("[limits]\nreply_within = 2\n{NO_DELAY}{COMMAND}{FILE}");
    let files = [("program", PROGRAM), ("mode", "away"), ("users", "bob:{PLAIN}secret::::::\n")];
    let site = Arc::new(Site::new(&files, &config));
    for _ in 0..4 {
        assert!(matches!(site.plain("bob", "wrong").await, Answer::TemporaryFailure { .. }));
    }
    let asked_before = asked(&site);
    let mut guesses = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let site = Arc::clone(&site);
        guesses.spawn(async move { site.plain("bob", "wrong").await });
    }
    guesses.join_all().await;
    let looked_at = asked(&site) - asked_before;
    assert!((1..=3).contains(&looked_at), "{looked_at} of 20 were looked at within two seconds");
    // Whom only the database that is away can know is not counted against.
    for _ in 0..4 {
        assert!(matches!(site.plain("eve", "secret").await, Answer::TemporaryFailure { .. }));
    }
    let start = Instant::now();
    assert!(matches!(site.plain("eve", "secret").await, Answer::TemporaryFailure { .. }));
    assert!(start.elapsed() < Duration::from_millis(900), "{:?}", start.elapsed());
}
