//! OpenLDAP: stored passwords, binds, hostile names, TLS in all its ways, and a server that goes or hangs.

use std::time::Instant;

use base::secret::Secret;
use harness::scratch::Scratch;
use harness::slapd::Slapd;
use sasl_auth::config::settings;
use sasl_auth::ldap::Directory;
use sasl_auth::passdb::{Lookup, Verdict};

use crate::{HOSTILE, fields, found, once_back, passwords, request, runtime, soon};

const ENTRIES: &str = "dn: dc=mail,dc=example
objectClass: dcObject
objectClass: organization
dc: mail
o: Mail

dn: dc=a,dc=mail,dc=example
objectClass: dcObject
objectClass: organization
dc: a
o: A

dn: uid=anna,dc=a,dc=mail,dc=example
objectClass: inetOrgPerson
objectClass: posixAccount
uid: anna
cn: Anna
sn: A
mail: anna@a.example
homeDirectory: /mail/anna
uidNumber: 1001
gidNumber: 1001
userPassword: anna's secret
userPassword: {SSHA}aaaa

dn: uid=bob,dc=a,dc=mail,dc=example
objectClass: inetOrgPerson
uid: bob
cn: Bob
sn: B
mail: bob@a.example

dn: uid=bob,dc=mail,dc=example
objectClass: inetOrgPerson
uid: bob
cn: Bob
sn: B

";

#[test]
fn all() {
    let scratch = Scratch::new("slapd");
    let mut server = Slapd::start(&scratch);
    server.add(ENTRIES);
    let runtime = runtime();
    runtime.block_on(async {
        stored_passwords(&server).await;
        binds(&server).await;
        names_without_a_search(&server).await;
        hostile_names(&server).await;
        lists(&server).await;
        encryption(&server, &scratch).await;
        a_hanging_server(&server).await;
    });
    let users = directory(&server, |settings| settings.auth_bind = true);
    let right = Secret::from("anna's secret");
    runtime.block_on(async {
        assert!(matches!(users.verify(&request("anna@a.example"), &right).await, Ok(Verdict::Right(_))));
    });
    server.stop();
    runtime.block_on(async {
        for _ in 0..20 {
            let began = Instant::now();
            let error = soon(began, users.verify(&request("anna@a.example"), &right).await);
            assert!(error.starts_with("ldap: ldap://127.0.0.1:"), "{error}");
            assert!(!error.contains(Slapd::ROOT_PASSWORD) && !error.contains("anna's"), "{error}");
        }
    });
    server.start_again();
    runtime.block_on(async {
        let back = once_back(async || users.verify(&request("anna@a.example"), &right).await).await;
        assert!(matches!(back, Verdict::Right(_)), "{back:?}");
    });
}

/// A directory on the plain port, searched as the root entry, with changes.
fn directory(server: &Slapd, change: impl FnOnce(&mut settings::Ldap)) -> Directory {
    let pairs =
        [("password", "userPassword"), ("home", "homeDirectory"), ("mail", "maildir:~/%{ldap:uid}/%d")];
    let mut settings = settings::Ldap {
        uris: vec![server.uri()],
        starttls: false,
        tls_ca_file: None,
        bind_dn: Slapd::ROOT_DN.into(),
        bind_password: Secret::from(Slapd::ROOT_PASSWORD),
        base: Slapd::SUFFIX.into(),
        scope: "subtree".into(),
        filter: "(&(objectClass=inetOrgPerson)(|(uid=%u)(mail=%u)))".into(),
        auth_bind: false,
        auth_bind_dn: None,
        attributes: pairs.iter().map(|(field, from)| ((*field).into(), (*from).into())).collect(),
        iterate_filter: None,
        iterate_attribute: "uid".into(),
        connections: 4,
    };
    change(&mut settings);
    Directory::new(&settings, "ldap").unwrap()
}

async fn stored_passwords(server: &Slapd) {
    let users = directory(server, |_| ());
    let anna = found(users.lookup(&request("anna@a.example"), None).await);
    let mut stored = passwords(&anna);
    stored.sort_unstable();
    assert_eq!(stored, ["anna's secret", "{SSHA}aaaa"]);
    assert_eq!(fields(&anna.fields), ["home=/mail/anna", "mail=maildir:~/anna/a.example"]);
    assert!(found(users.lookup(&request("bob@a.example"), None).await).passwords.is_empty());
    assert_eq!(users.lookup(&request("nobody"), None).await, Ok(Lookup::Unknown));
    let twins = users.lookup(&request("bob"), None).await.unwrap_err();
    assert!(twins.detail.contains("more than one entry"), "{twins}");
    let entry = users.user(&request("anna@a.example")).await.unwrap().unwrap();
    assert_eq!(fields(&entry.fields), ["home=/mail/anna", "mail=maildir:~/anna/a.example"]);
    assert_eq!(users.user(&request("nobody")).await, Ok(None));
    // One branch for each domain: a domain without one has no users.
    let branches =
        directory(server, |settings| settings.base = "dc=%{domain_first},dc=mail,dc=example".into());
    assert_eq!(branches.lookup(&request("x@nowhere.example"), None).await, Ok(Lookup::Unknown));
    let lost = directory(server, |settings| settings.base = "dc=nowhere,dc=mail,dc=example".into());
    assert!(lost.lookup(&request("anna"), None).await.unwrap_err().detail.contains("noSuchObject"));
    let refused = directory(server, |settings| settings.bind_password = Secret::from("sesame"));
    let error = refused.lookup(&request("anna"), None).await.unwrap_err();
    assert!(error.detail.contains("invalidCredentials") && error.detail.contains("cn=admin"), "{error}");
    assert!(!error.detail.contains("sesame"));
}

async fn binds(server: &Slapd) {
    let users = directory(server, |settings| settings.auth_bind = true);
    let known = found(users.lookup(&request("anna@a.example"), None).await);
    assert!(known.passwords.is_empty(), "the directory compares");
    assert_eq!(fields(&known.fields), ["home=/mail/anna", "mail=maildir:~/anna/a.example"]);
    assert_eq!(users.lookup(&request("nobody"), None).await, Ok(Lookup::Unknown));
    let verify =
        async |user: &str, password: &str| users.verify(&request(user), &Secret::from(password)).await;
    for _ in 0..3 {
        let right = verify("anna@a.example", "anna's secret").await.unwrap();
        let Verdict::Right(extra) = right else { panic!("{right:?}") };
        assert_eq!(fields(&extra), ["home=/mail/anna", "mail=maildir:~/anna/a.example"]);
        assert!(
            matches!(verify("anna@a.example", "wrong").await, Ok(Verdict::Wrong(text)) if text.contains("49"))
        );
        assert!(matches!(verify("anna@a.example", "").await, Ok(Verdict::Wrong(_))));
        // An entry without a password: nobody gets in.
        assert!(matches!(verify("bob@a.example", "x").await, Ok(Verdict::Wrong(_))));
        assert_eq!(verify("nobody", "x").await, Ok(Verdict::Unknown));
    }
    assert!(verify("bob", "x").await.unwrap_err().detail.contains("more than one entry"));
}

async fn names_without_a_search(server: &Slapd) {
    let users = directory(server, |settings| {
        settings.bind_dn = String::new();
        settings.auth_bind_dn = Some("uid=%n,dc=a,dc=mail,dc=example".into());
    });
    let verify =
        async |user: &str, password: &str| users.verify(&request(user), &Secret::from(password)).await;
    assert_eq!(verify("anna@a.example", "anna's secret").await, Ok(Verdict::Right(Default::default())));
    assert!(matches!(verify("anna", "wrong").await, Ok(Verdict::Wrong(_))));
    assert!(matches!(verify("anna", "").await, Ok(Verdict::Wrong(_))));
    // The server does not tell who exists.
    assert!(matches!(verify("nobody", "x").await, Ok(Verdict::Wrong(_) | Verdict::Unknown)));
    for name in HOSTILE.into_iter().chain(["anna,dc=a", "", "anna+cn=x", " ", "#1"]) {
        let verdict = verify(name, "anna's secret").await;
        assert!(matches!(verdict, Ok(Verdict::Wrong(_) | Verdict::Unknown)), "{name}: {verdict:?}");
    }
}

async fn hostile_names(server: &Slapd) {
    let base64 = |text: &str| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
    let mut ldif = String::new();
    for (number, name) in HOSTILE.iter().enumerate() {
        ldif.push_str(&format!(
            "dn: cn=hostile{number},dc=mail,dc=example\nobjectClass: inetOrgPerson\ncn: hostile{number}\nsn: x\n\
             uid:: {}\nuserPassword:: {}\n\n",
            base64(name),
            base64(&format!("of <{name}>"))
        ));
    }
    server.add(&ldif);
    let users = directory(server, |_| ());
    for name in HOSTILE {
        assert_eq!(passwords(&found(users.lookup(&request(name), None).await)), [format!("of <{name}>")]);
    }
    for near in ["**", "*)(objectClass=*", "anna)(uid=anna", "anna*", "\\2a", "\0"] {
        assert_eq!(users.lookup(&request(near), None).await, Ok(Lookup::Unknown), "{near}");
    }
}

async fn lists(server: &Slapd) {
    let mut ldif = String::new();
    for number in 0..1200 {
        ldif.push_str(&format!(
            "dn: cn=many{number},dc=mail,dc=example\nobjectClass: inetOrgPerson\ncn: many{number}\nsn: many\n\
             uid: many{number}\n\n"
        ));
    }
    server.add(&ldif);
    let users = directory(server, |settings| settings.iterate_filter = Some("(sn=many)".into()));
    // More than a page, and more than the 500 entries that the server gives for one question.
    assert_eq!(users.list().await.unwrap().len(), 1200);
    assert!(directory(server, |_| ()).list().await.unwrap_err().detail.contains("no iterate_filter"));
}

async fn encryption(server: &Slapd, scratch: &Scratch) {
    let ca = server.ca_file();
    let stranger = harness::certificates::Certificates::new(&scratch.file("stranger"));
    for (uri, starttls) in [(server.uri(), true), (server.tls_uri(), false), (server.tls_uri(), true)] {
        let with = |ca_file| {
            directory(server, |settings| {
                settings.uris = vec![uri.clone()];
                settings.starttls = starttls;
                settings.tls_ca_file = Some(ca_file);
            })
        };
        found(with(ca.clone()).lookup(&request("anna@a.example"), None).await);
        let error = with(stranger.ca()).lookup(&request("anna@a.example"), None).await.unwrap_err();
        assert!(error.detail.contains("certificate") && error.detail.contains("tls_ca_file"), "{error}");
    }
    let second = directory(server, |settings| settings.uris.insert(0, "ldap://127.0.0.1:1".into()));
    found(second.lookup(&request("anna@a.example"), None).await);
    let local = directory(server, |settings| settings.uris = vec![server.socket_uri()]);
    found(local.lookup(&request("anna@a.example"), None).await);
}

/// A server that hangs: a look-up ends by itself, the next ones fail at once, and all is well afterwards.
async fn a_hanging_server(server: &Slapd) {
    let users = directory(server, |settings| settings.auth_bind = true);
    let right = Secret::from("anna's secret");
    let anna = request("anna@a.example");
    assert!(matches!(users.verify(&anna, &right).await, Ok(Verdict::Right(_))));
    server.freeze();
    // The caller's own limit, as the chain of passdbs sets one.
    let limit = std::time::Duration::from_millis(500);
    assert!(tokio::time::timeout(limit, users.verify(&anna, &right)).await.is_err());
    server.thaw();
    let back = once_back(async || users.verify(&anna, &right).await).await;
    assert!(matches!(back, Verdict::Right(_)), "{back:?}");
}
