//! Who gets mail and as whom: ids, names, details, sockets, and what `--check-user` says of it.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use harness::auth::{AuthConf, AuthServer};
use harness::milter::Subject;
use harness::scratch::Scratch;

use crate::lab::{Lab, USER, message, program, run, said};

fn code(lab: &Lab, arguments: &[&str]) -> Option<i32> {
    let mut command = Command::new(program());
    command.arg("-c").arg(&lab.conf).args(arguments).env("POSTRIDER_LOG", "stderr").env_remove("USER");
    let output = run(&mut command, &message(1, "x"));
    println!("{arguments:?}: {}", said(&output));
    output.status.code()
}

#[test]
fn exit_codes_are_dovecot_ldas() {
    let lab = Lab::new("codes", "");
    assert_eq!(code(&lab, &["-d", "joe"]), Some(0));
    assert_eq!(code(&lab, &["-d", "JOE"]), Some(0));
    assert_eq!(code(&lab, &["-d", "joe+x"]), Some(0));
    assert_eq!(code(&lab, &["-d", "nosuch"]), Some(67));
    assert_eq!(code(&lab, &["-d", "../joe"]), Some(67));
    assert_eq!(code(&lab, &[]), Some(64), "root has to name the user");
    assert_eq!(code(&lab, &["-d", "joe", "more"]), Some(64));
    assert_eq!(code(&lab, &["-d", "joe", "-o", "first_valid_uid=6000"]), Some(75));
    assert_eq!(code(&lab, &["-d", "joe", "-o", "nosuch=1"]), Some(75));
    assert_eq!(code(&lab, &["-d", "joe", "-p", "/nonexistent"]), Some(75));
    fs::write(&lab.conf, "mail_locatoin = 1\n").unwrap();
    assert_eq!(code(&lab, &["-d", "joe"]), Some(75), "a mistake in the configuration bounces nothing");
    assert_eq!(code(&lab, &["-n"]), Some(78));
    fs::remove_file(&lab.conf).unwrap();
    assert_eq!(code(&lab, &["-d", "joe"]), Some(75));
}

#[test]
fn a_check_looks_at_what_is_named() {
    let lab = Lab::new("deep", "mail_fsync = \"never\"\nsendmail_path = \"/nonexistent\"");
    let check = || {
        let output = run(Command::new(program()).arg("-n").arg("-c").arg(&lab.conf), b"");
        (output.status.code().unwrap(), said(&output))
    };
    fs::write(lab.scratch.file("users"), "joe::0:0::/root\nanna::5:5::/a\n:bad\n").unwrap();
    let (code, text) = check();
    assert_eq!(code, 0, "{text}");
    for part in [
        "users:1: mail is not delivered as root",
        "users:3: no user name",
        "a power cut may lose mail",
        "/nonexistent cannot be run",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    fs::remove_file(lab.scratch.file("users")).unwrap();
    let (code, text) = check();
    assert!(code == 78 && text.contains("mail is deferred until the file can be read"), "{text}");
}

#[test]
fn files_belong_to_the_user() {
    let lab = Lab::new("owner", "lda_mailbox_autocreate = true\nlda_mailbox_autosubscribe = true");
    assert_eq!(code(&lab, &["-d", "joe"]), Some(0));
    assert_eq!(code(&lab, &["-d", "joe", "-m", "B\u{fc}cher.Neu"]), Some(0));
    let folder = lab.root().join(".B&APw-cher.Neu");
    for (path, mode) in [
        (lab.root(), 0o40700),
        (lab.messages()[0].clone(), 0o100_600),
        (folder.clone(), 0o40700),
        (folder.join("maildirfolder"), 0o100_600),
        (lab.root().join("subscriptions"), 0o100_600),
    ] {
        let found = fs::metadata(&path).unwrap();
        assert_eq!((found.uid(), found.gid(), found.mode()), (USER, USER, mode), "{}", path.display());
    }
    assert_eq!(fs::read_to_string(lab.root().join("subscriptions")).unwrap(), "V\t2\n\nB\u{fc}cher\tNeu\n");
    assert_eq!(crate::lab::messages(&folder).len(), 1);
}

/// As local(8) starts it: as the user, without arguments, with everything in the environment.
#[test]
fn without_arguments_the_environment_says_it_all() {
    let lab = Lab::new("local", "");
    let home = lab.root().parent().unwrap().to_owned();
    let mut command = Command::new(program());
    command
        .env_clear()
        .env("HOME", &home)
        .env("USER", "joe")
        .env("SENDER", "anna@a.example")
        .env("RECIPIENT", "joe+x@a.example");
    command.env("POSTRIDER_LOG", "stderr").uid(USER).gid(USER);
    let conf = lab.conf.display().to_string();
    let output =
        run(command.args(["-c", &conf, "-o", "deliver_log_format=%e %{to_envelope} %$"]), &message(1, "x"));
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(
        said(&output).contains(": anna@a.example joe+x@a.example saved mail to INBOX"),
        "{}",
        said(&output)
    );
    assert_eq!(lab.messages().len(), 1);
}

#[test]
fn a_userdb_socket_is_asked() {
    let scratch = Scratch::new("ldauserdb");
    let home = scratch.file("home");
    fs::create_dir(&home).unwrap();
    std::os::unix::fs::chown(&home, Some(USER), Some(USER)).unwrap();
    for subject in [Subject::Ours, Subject::Reference] {
        let name = format!("{subject:?}").to_lowercase();
        let line = format!(
            "anna@a.example:{{PLAIN}}x:{USER}:{USER}::{}::userdb_mail=maildir:~/{name}",
            home.display()
        );
        let mut auth = AuthServer::start(&scratch, &name, subject, &AuthConf::new().line(&line));
        let socket = auth.userdb_socket().display().to_string();
        let conf = scratch.write(
            &format!("{name}.toml"),
            format!("[[userdb]]\ndriver = \"auth-userdb\"\npath = \"{socket}\"\ntimeout = \"2s\"\n"),
        );
        let deliver = |user: &str| {
            let mut command = Command::new(program());
            command.arg("-c").arg(&conf).args(["-d", user]).env("POSTRIDER_LOG", "stderr");
            let output = run(&mut command, &message(1, &name));
            println!("{}", said(&output));
            output.status.code()
        };
        assert_eq!(deliver("Anna@A.example"), Some(0));
        assert_eq!(deliver("anna+tag@a.example"), Some(0));
        assert_eq!(deliver("nosuch@a.example"), Some(67));
        assert_eq!(crate::lab::messages(&home.join(&name)).len(), 2);
        auth.stop();
        assert_eq!(deliver("anna@a.example"), Some(75));
    }
}

#[test]
fn check_user_names_what_stands_in_the_way() {
    let lab = Lab::new("checkuser", "[quota]\nquota_rule = \"*:bytes=1000\"");
    let check = |arguments: &[&str]| {
        let mut command = Command::new(program());
        let output = run(command.arg("-c").arg(&lab.conf).args(arguments), b"");
        (output.status.code().unwrap(), said(&output))
    };
    let (status, text) = check(&["--check-user", "joe"]);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("the first delivery creates it"), "{text}");
    assert_eq!(code(&lab, &["-d", "joe"]), Some(0));
    assert_eq!(check(&["--check-user", "joe"]).0, 0);
    let root = lab.root();
    for (path, mode, code, wanted) in
        [(root.join("new"), 0o500, 75, "chmod u+rwx"), (root.clone(), 0o600, 75, "chmod u+x")]
    {
        let before = fs::metadata(&path).unwrap().permissions();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let (status, text) = check(&["--check-user", "joe"]);
        assert!(status == code && text.contains("WRONG") && text.contains(wanted), "{status}: {text}");
        // The delivery says the same.
        assert_eq!(self::code(&lab, &["-d", "joe", "-a", &path.display().to_string()]), Some(code));
        fs::set_permissions(&path, before).unwrap();
    }
    fs::write(root.join("maildirsize"), "1000S\n2000 1\n").unwrap();
    let (status, text) = check(&["--check-user", "joe", "--json"]);
    assert_eq!(status, 77, "{text}");
    assert!(text.contains("\"exit_code\": 77") && text.contains("mailbox is full"), "{text}");
    assert_eq!(check(&["--check-user", "nosuch"]).0, 67);
}

/// What it says is in the way is in the way, and the command that it gives mends it.
#[test]
fn check_user_gives_the_command_that_mends_it() {
    type Spoil = fn(&std::path::Path);
    let spoils: [(&str, Spoil); 10] = [
        ("Maildir of its own, not to be passed", |home| set_mode(&home.join("Maildir"), 0o600)),
        ("Maildir of root's", |home| {
            std::os::unix::fs::chown(home.join("Maildir"), Some(0), Some(0)).unwrap();
        }),
        ("home of root's, without a Maildir", |home| {
            fs::remove_dir_all(home.join("Maildir")).unwrap();
            std::os::unix::fs::chown(home, Some(0), Some(0)).unwrap();
            set_mode(home, 0o755);
        }),
        ("new without writing", |home| set_mode(&home.join("Maildir/new"), 0o500)),
        ("new of root's", |home| {
            std::os::unix::fs::chown(home.join("Maildir/new"), Some(0), Some(0)).unwrap();
        }),
        ("no tmp, and none can be made", |home| {
            fs::remove_dir_all(home.join("Maildir/tmp")).unwrap();
            set_mode(&home.join("Maildir"), 0o500);
        }),
        ("a file in the place of new", |home| {
            fs::remove_dir_all(home.join("Maildir/new")).unwrap();
            fs::write(home.join("Maildir/new"), "").unwrap();
        }),
        ("maildirsize of root's", |home| {
            std::os::unix::fs::chown(home.join("Maildir/maildirsize"), Some(0), Some(0)).unwrap();
            set_mode(&home.join("Maildir/maildirsize"), 0o600);
        }),
        ("a script of root's", |home| {
            fs::write(home.join(".dovecot.sieve"), "keep;").unwrap();
            set_mode(&home.join(".dovecot.sieve"), 0o600);
        }),
        ("a script without reading", |home| {
            fs::write(home.join(".dovecot.sieve"), "keep;").unwrap();
            std::os::unix::fs::chown(home.join(".dovecot.sieve"), Some(USER), Some(USER)).unwrap();
            set_mode(&home.join(".dovecot.sieve"), 0o200);
        }),
    ];
    for (what, spoil) in spoils {
        let lab = Lab::new("mend", "[quota]\nquota_rule = \"*:bytes=1000000\"");
        assert_eq!(code(&lab, &["-d", "joe"]), Some(0));
        spoil(lab.root().parent().unwrap());
        let check = || {
            let output =
                run(Command::new(program()).arg("-c").arg(&lab.conf).args(["--check-user", "joe"]), b"");
            (output.status.code().unwrap(), said(&output))
        };
        let (status, text) = check();
        assert_eq!(status, 75, "{what}: {text}");
        assert_eq!(code(&lab, &["-d", "joe", "-a", what]), Some(75), "{what}: {text}");
        // One after the other: what stands behind the first shows when that is gone.
        let mut commands = Vec::new();
        for _ in 0..3 {
            let (status, text) = check();
            if status == 0 {
                break;
            }
            let help = text.lines().find_map(|line| line.strip_prefix("      help: ")).unwrap();
            let command = help.split("    (").next().unwrap().to_owned();
            let done = run(Command::new("sh").args(["-c", &command]), b"");
            assert!(done.status.success(), "{what}: {command}: {}", said(&done));
            commands.push(command);
        }
        println!("{what}: {commands:?}");
        assert_eq!(check().0, 0, "{what}: after {commands:?}: {}", check().1);
        assert_eq!(code(&lab, &["-d", "joe", "-a", what]), Some(0), "{what}: after {commands:?}");
    }
}

fn set_mode(path: &std::path::Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The userdb and the scripts: what cannot be mended by one command is named at least.
#[test]
fn check_user_looks_at_the_userdb_and_the_scripts() {
    let lab = Lab::new("checkaround", "");
    let check = |conf: &std::path::Path, user: &str| {
        let output = run(Command::new(program()).arg("-c").arg(conf).args(["--check-user", user]), b"");
        (output.status.code().unwrap(), said(&output))
    };
    let script = lab.root().parent().unwrap().join(".dovecot.sieve");
    fs::write(&script, "keep;\nnonsense;\n").unwrap();
    let (status, text) = check(&lab.conf, "joe");
    assert_eq!(status, 0, "mail is kept: {text}");
    let wanted = format!("postrider-lda sieve-check {}", script.display());
    assert!(text.contains("line 2: unknown command 'nonsense'") && text.contains(&wanted), "{text}");
    let socket = lab.scratch.file("auth-userdb");
    let conf = lab.scratch.write(
        "socket.toml",
        format!("[[userdb]]\ndriver = \"auth-userdb\"\npath = \"{}\"\n", socket.display()),
    );
    let (status, text) = check(&conf, "joe");
    assert!(status == 75 && text.contains("systemctl restart dovecot"), "{status}: {text}");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    drop(listener);
    let (status, text) = check(&conf, "joe");
    assert!(status == 75 && text.contains("nobody listens at"), "{status}: {text}");
    fs::write(lab.scratch.file("users"), "root::0:0::/root\nlow::5:5::/\n").unwrap();
    let (status, text) = check(&lab.conf, "root");
    assert!(status == 75 && text.contains("newaliases"), "{status}: {text}");
    let (status, text) = check(&lab.conf, "low");
    assert!(
        status == 75 && text.contains("first_valid_uid = 500") && text.contains("help: "),
        "{status}: {text}"
    );
    fs::remove_file(lab.scratch.file("users")).unwrap();
    let (status, text) = check(&lab.conf, "joe");
    assert!(status == 75 && text.contains("help: restore "), "{status}: {text}");
}
