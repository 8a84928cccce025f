//! Dovecot's own tools use the service: dovecot-lda asks where a user's mail lies, doveadm tries and looks up.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::process::{Command, Output};

use harness::auth::{AuthConf, AuthServer};
use harness::milter::Subject;
use harness::scratch::Scratch;
use harness::wait::output;

/// A configuration for Dovecot's tools, in which nothing runs.
fn conf(scratch: &Scratch, auth: &AuthServer) -> String {
    let folder = scratch.path().display();
    let userdb = auth.userdb_socket().display();
    let path = scratch.write(
        "tools.conf",
        format!(
            "base_dir = {folder}/tools\nlog_path = {folder}/tools.log\nprotocols =\nssl = no\n\
             mail_location = maildir:~/Maildir\nauth_socket_path = {userdb}\npostmaster_address = p@a.example\n\
             default_internal_user = root\ndefault_internal_group = root\nstats_writer_socket_path =\n"
        ),
    );
    path.display().to_string()
}

fn server(scratch: &Scratch) -> AuthServer {
    let home = scratch.file("home");
    fs::create_dir(&home).unwrap();
    chown(&home, Some(USER), Some(USER)).unwrap();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
    let conf = AuthConf::new()
        .line(&format!("anna:{{PLAIN}}secret:{USER}:{USER}::{}::", home.display()))
        .line(&format!(
            "boris:{{PLAIN}}secret:{USER}:{USER}::{}::userdb_mail=maildir:~/Other userdb_quota_rule=*:bytes=1M",
            home.display()
        ));
    AuthServer::start(scratch, "auth", Subject::from_env(), &conf)
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn dovecot_lda_delivers() {
    let scratch = Scratch::new("lda");
    let mut auth = server(&scratch);
    let conf = conf(&scratch, &auth);
    let deliver = |user: &str| {
        let mut command = Command::new("/usr/lib/dovecot/dovecot-lda");
        output(command.args(["-c", &conf, "-d", user]), b"From: x@a.example\nSubject: hello\n\nHello!\n")
    };
    let log = || fs::read_to_string(scratch.file("tools.log")).unwrap_or_default();
    for (user, folder) in [("anna", "Maildir"), ("boris", "Other"), ("ANNA", "Maildir")] {
        let before = new_mail(&scratch, folder);
        let output = deliver(user);
        assert!(output.status.success(), "{user}: {}\n{}\n{}", text(&output), log(), auth.log());
        assert_eq!(new_mail(&scratch, folder), before + 1, "{user}");
    }
    let output = deliver("nosuch");
    assert_eq!(output.status.code(), Some(67), "{}\n{}", text(&output), log());
    // While nobody answers the mail stays in the queue.
    auth.stop();
    let output = deliver("anna");
    assert_eq!(output.status.code(), Some(75), "{}\n{}", text(&output), log());
    auth.start_again();
    assert!(deliver("anna").status.success());
}

/// How many messages lie in a Maildir's folder `new`.
fn new_mail(scratch: &Scratch, folder: &str) -> usize {
    fs::read_dir(scratch.file("home").join(folder).join("new")).map_or(0, Iterator::count)
}

#[test]
fn doveadm_tries_and_looks_up() {
    let scratch = Scratch::new("doveadm");
    let auth = server(&scratch);
    let conf = conf(&scratch, &auth);
    let doveadm = |arguments: &[&str]| {
        let mut command = Command::new("/usr/bin/doveadm");
        let output = output(command.args(["-c", &conf]).args(arguments), b"");
        (output.status.code(), text(&output))
    };
    let client = auth.client_socket().display().to_string();
    let userdb = auth.userdb_socket().display().to_string();
    for (user, password, code, said) in [
        ("anna", "secret", 0, "auth succeeded"),
        ("anna", "wrong", 77, "auth failed"),
        ("nosuch", "secret", 77, "auth failed"),
    ] {
        let (status, output) =
            doveadm(&["auth", "test", "-a", &client, "-x", "service=smtp", user, password]);
        assert_eq!(status, Some(code), "{user}: {output}");
        assert!(output.contains(said), "{user}: {output}");
    }
    let (status, output) = doveadm(&["auth", "lookup", "-a", &userdb, "-x", "service=smtp", "anna"]);
    assert_eq!(status, Some(0), "{output}");
    assert!(output.contains("passdb: anna"), "{output}");
    let (status, output) = doveadm(&["user", "-a", &userdb, "boris"]);
    assert_eq!(status, Some(0), "{output}");
    for field in ["uid", "gid", "home", "maildir:~/Other", "*:bytes=1M"] {
        assert!(output.contains(field), "{field}: {output}");
    }
    let (status, output) = doveadm(&["user", "-a", &userdb, "nosuch"]);
    assert_eq!(status, Some(67), "{output}");
    let (status, output) = doveadm(&["user", "-a", &userdb, "*"]);
    assert_eq!((status, output.as_str()), (Some(0), "anna\nboris\n"));
}

/// Who owns mail here; nobody has to be called so.
const USER: u32 = 5000;
