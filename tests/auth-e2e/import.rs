//! A running Dovecot's configuration, as the installed doveconf prints it, is imported: ours then lets in whom it lets in.

use std::fs;
use std::process::Command;

use harness::auth::{Answer, AuthClient, AuthConf, AuthServer, program};
use harness::milter::Subject;
use harness::sasl::Sasl;
use harness::scratch::Scratch;
use harness::wait::output;

use crate::site::{PASSWORD, users};

/// Files of users in several places, one of them for each domain, and who is refused or acts for others.
fn conf() -> AuthConf {
    let dovecot = "auth_master_user_separator = *
auth_default_realm =
auth_cache_size = 1 M
passdb {
  driver = passwd-file
  args = {dir}/denied
  deny = yes
}
passdb {
  driver = passwd-file
  args = {dir}/masters
  master = yes
}
passdb {
  driver = passwd-file
  args = scheme=PLAIN username_format=%n {dir}/domains/%d/users
  override_fields = userdb_mail=maildir:/srv/%d/%n
}
userdb {
  driver = passwd-file
  args = username_format=%n {dir}/domains/%d/users
  default_fields = uid=5000 gid=5000 home=/srv/%d/%n
}
";
    users()
        .user("mallory", "{PLAIN}correct horse")
        .file("denied", "mallory:\n")
        .file("masters", "boss:{PLAIN}key\n")
        .file(
            "domains/b.example/users",
            "boris:correct horse\nclosed:correct horse::::::allow_nets=192.0.2.1\n",
        )
        .block(dovecot, "")
}

#[test]
fn what_doveconf_prints() {
    if Subject::from_env() != Subject::Ours {
        return;
    }
    let scratch = Scratch::new("import");
    let dovecot = AuthServer::start(&scratch, "dovecot", Subject::Reference, &conf());
    let printed = output(Command::new("doveconf").args(["-nP", "-c"]).arg(dovecot.conf_path()), b"");
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    let imported =
        output(Command::new(program(Subject::Ours)).args(["import", "--doveconf", "-"]), &printed.stdout);
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    let mut text = String::from_utf8(imported.stdout).unwrap();

    let mut ours = AuthServer::start(&scratch, "ours", Subject::Ours, &AuthConf::new());
    ours.stop();
    for (theirs, own) in
        [(dovecot.client_socket(), ours.client_socket()), (dovecot.userdb_socket(), ours.userdb_socket())]
    {
        let address = |path: &std::path::Path| format!("\"unix:{}\"", path.display());
        assert!(text.contains(&address(theirs)), "{text}");
        text = text.replace(&address(theirs), &address(own));
    }
    fs::write(ours.conf_path(), format!("{text}\n[log]\nsyslog = false\n")).unwrap();
    ours.start_again();

    for (mechanism, user, password, opens) in [
        ("PLAIN", "plain", PASSWORD, true),
        ("LOGIN", "PLAIN", PASSWORD, true),
        ("PLAIN", "plain", "wrong", false),
        ("PLAIN", "sha512", PASSWORD, true),
        ("PLAIN", "scram", PASSWORD, true),
        ("PLAIN", "nosuch", PASSWORD, false),
        ("PLAIN", "mallory", PASSWORD, false),
        ("PLAIN", "boris@b.example", PASSWORD, true),
        ("PLAIN", "boris@b.example", "wrong", false),
        ("PLAIN", "boris@c.example", PASSWORD, false),
        ("PLAIN", "boris", PASSWORD, false),
        ("PLAIN", "closed@b.example", PASSWORD, false),
        ("PLAIN", "plain*boss", "key", true),
        ("PLAIN", "plain*boss", PASSWORD, false),
        ("PLAIN", "boss", "key", false),
        ("CRAM-MD5", "plain", PASSWORD, true),
        ("CRAM-MD5", "sha512", PASSWORD, false),
        ("SCRAM-SHA-256", "scram", PASSWORD, true),
        ("SCRAM-SHA-256", "boris@b.example", PASSWORD, true),
        ("SCRAM-SHA-256", "scram", "wrong", false),
    ] {
        for server in [&dovecot, &ours] {
            let answer = AuthClient::connect(server).auth(&Sasl::new(mechanism, user, password));
            let ok = matches!(&answer, Answer::Line(line) if line.starts_with("OK\t"));
            assert_eq!(
                ok,
                opens,
                "{:?}: {mechanism} {user} {password}: {answer:?}\n{text}",
                server.subject()
            );
        }
    }
    for user in ["boris@b.example", "plain", "nosuch", "boris@c.example"] {
        let [theirs, own] = [&dovecot, &ours].map(|server| {
            let mut client = AuthClient::connect_userdb(server);
            client.send(&format!("USER\t1\t{user}\tservice=lda"));
            let line = client.line();
            // The order of fields is nobody's concern.
            let mut fields: Vec<String> = line.split('\t').map(str::to_owned).collect();
            fields.sort();
            fields
        });
        assert_eq!(own, theirs, "{user}\n{text}");
    }
}
