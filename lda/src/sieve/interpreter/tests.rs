//! Scripts over messages, from text to actions.

use super::*;
use crate::sieve::rewrite::{self, Circumstances};
use crate::sieve::{check, syntax};

const MESSAGE: &[u8] = b"From: Alice <alice@a.example>\nTo: bob@b.example\nSubject: hello world\n\
Message-ID: <m1@a.example>\n\nbody text\n";

#[derive(Default)]
struct World {
    duplicates: Vec<String>,
    scripts: Vec<(&'static str, &'static str)>,
}

impl Outside for World {
    fn mailbox_exists(&mut self, name: &str) -> bool {
        name == "there"
    }

    fn is_duplicate(&mut self, id: &str) -> bool {
        self.duplicates.iter().any(|known| known == id)
    }

    fn include(&mut self, _location: Location, name: &str) -> Result<Option<Program>, String> {
        self.scripts.iter().find(|(known, _)| *known == name).map(|(_, text)| program(text)).transpose()
    }
}

fn extensions() -> Extensions {
    Extensions::parse("+editheader +vacation-seconds +ereject").unwrap()
}

fn program(script: &str) -> Result<Program, String> {
    let nodes = syntax::parse(script.as_bytes()).map_err(|mistake| mistake.text)?;
    let sound = check::check(&nodes, &extensions()).map_err(|mistakes| mistakes[0].text.clone())?;
    let circumstances = Circumstances { zone_minutes: 0, size: None };
    let text = rewrite::rewrite(&sound.commands, &sound.required, circumstances);
    compile(&text, Limits::default()).map_err(|mistake| format!("{mistake:?} in {text}"))
}

fn ran_in(world: &mut World, script: &str) -> Result<Ran, String> {
    let facts = Facts {
        sender: "alice@a.example".into(),
        recipient: "bob+lists@b.example".into(),
        hostname: "mx.b.example".into(),
    };
    run(&program(script)?, MESSAGE, &facts, &extensions(), Limits::default(), world)
}

fn actions(script: &str) -> Vec<Action> {
    ran_in(&mut World::default(), script).unwrap().actions
}

fn keep(flags: &[&str]) -> Action {
    Action::Keep { flags: flags.iter().map(|flag| (*flag).to_owned()).collect(), edition: 0 }
}

fn into(mailbox: &str) -> Action {
    Action::FileInto { mailbox: mailbox.into(), flags: Vec::new(), create: false, copy: false, edition: 0 }
}

#[test]
fn actions_come_in_order_and_none_is_forgotten() {
    assert_eq!(actions("keep; discard;"), [keep(&[]), Action::Discard]);
    assert_eq!(
        actions("require \"fileinto\"; keep; fileinto \"a\"; fileinto \"2024.10\"; fileinto \"007\";"),
        [keep(&[]), into("a"), into("2024.10"), into("007")]
    );
    assert_eq!(
        actions("keep; redirect \"a@localhost\";"),
        [keep(&[]), Action::Redirect { address: "a@localhost".into(), copy: false, edition: 0 }]
    );
}

#[test]
fn variables_and_matches() {
    assert_eq!(
        actions(
            "require [\"variables\",\"fileinto\"]; if header :matches \"subject\" \"* *\" \
             { set :upper \"X\" \"${2}\"; fileinto \"${1}.${x}${unset}\"; }"
        ),
        [into("hello.WORLD")]
    );
    assert_eq!(actions("require \"fileinto\"; fileinto \"${1}\";"), [into("${1}")]);
    assert_eq!(
        actions("require [\"fileinto\",\"encoded-character\"]; fileinto \"${unicode:fc}${hex:24}{x}\";"),
        [into("ü${x}")]
    );
}

#[test]
fn flags_go_with_keep_and_fileinto() {
    assert_eq!(
        actions(
            "require [\"imap4flags\",\"fileinto\"]; setflag \"\\\\Seen a\"; keep; fileinto :flags [\"b c\",\"d\"] \"x\";"
        ),
        [
            keep(&["\\Seen", "a"]),
            Action::FileInto {
                mailbox: "x".into(),
                flags: vec!["b".into(), "c".into(), "d".into()],
                create: false,
                copy: false,
                edition: 0
            }
        ]
    );
    let ran = ran_in(&mut World::default(), "require \"imap4flags\"; addflag \"\\\\Flagged\";").unwrap();
    assert_eq!(ran.keep_flags, ["\\Flagged"]);
    assert_eq!(ran.actions, []);
}

#[test]
fn answers_and_notifications_keep_their_arguments_apart() {
    assert_eq!(
        actions(
            "require [\"vacation\",\"variables\",\"enotify\"]; if header :matches \"subject\" \"*\" {} \
             vacation :days 3 :subject \"re ${1}\" :addresses [\"x@b.example\",\"y@b.example\"] :handle \"h\" :mime \"gone\"; \
             notify :message \"m ${1}\" :importance \"1\" \"mailto:n@x.example\"; vacation \"again\";"
        ),
        [
            Action::Vacation(Vacation {
                period: Some(3 * 86_400),
                subject: Some("re hello world".into()),
                from: None,
                addresses: vec!["x@b.example".into(), "y@b.example".into()],
                handle: Some("h".into()),
                mime: true,
                reason: "gone".into(),
            }),
            Action::Notify(Notify {
                from: None,
                importance: Some("1".into()),
                message: Some("m hello world".into()),
                method: "mailto:n@x.example".into(),
            }),
            Action::Vacation(Vacation {
                reason: "again".into(),
                handle: Some("again<default-subject><default-from><NO-MIME>".into()),
                ..Vacation::default()
            }),
        ]
    );
}

#[test]
fn the_outside_is_asked() {
    assert_eq!(
        actions(
            "require [\"mailbox\",\"fileinto\"]; if mailboxexists \"there\" { fileinto :create \"there\"; } \
             if not mailboxexists [\"there\",\"away\"] { discard; }"
        )
        .len(),
        2
    );
    let script = "require \"duplicate\"; if duplicate :handle \"h\" :seconds 60 { discard; }";
    let track = Action::Track { id: "h\u{1f}m1@a.example".into(), seconds: 60 };
    assert_eq!(actions(script), [track]);
    let mut world = World { duplicates: vec!["h\u{1f}m1@a.example".into()], ..World::default() };
    assert_eq!(ran_in(&mut world, script).unwrap().actions, [Action::Discard]);

    let mut world = World {
        scripts: vec![
            ("a", "require [\"include\",\"variables\"]; global \"v\"; set \"v\" \"1\"; keep;"),
            ("loop", "require \"include\"; include \"loop\";"),
        ],
        ..World::default()
    };
    let script = "require [\"include\",\"variables\",\"fileinto\"]; global \"v\"; include \"a\"; include :optional \"none\"; fileinto \"x${v}\";";
    assert_eq!(ran_in(&mut world, script).unwrap().actions, [keep(&[]), into("x1")]);
    assert!(
        ran_in(&mut world, "require \"include\"; include \"none\";").unwrap_err().contains("does not exist")
    );
    assert!(ran_in(&mut world, "require \"include\"; include \"loop\";").unwrap_err().contains("too deeply"));
}

#[test]
fn edited_headers_are_kept_as_editions() {
    let ran = ran_in(
        &mut World::default(),
        "require [\"editheader\",\"fileinto\"]; addheader \"X-A\" \"1\"; fileinto \"a\"; deleteheader \"Subject\"; addheader :last \"X-B\" \"2\";",
    )
    .unwrap();
    let whole: Vec<_> = ran
        .editions
        .iter()
        .map(|edition| {
            let mut whole = edition.head.clone();
            whole.extend_from_slice(&MESSAGE[usize::try_from(edition.rest_at).unwrap()..]);
            String::from_utf8(whole).unwrap()
        })
        .collect();
    let message = String::from_utf8(MESSAGE.to_vec()).unwrap();
    assert_eq!(whole[0], format!("X-A: 1\n{message}"));
    assert_eq!(
        whole[1],
        format!("X-A: 1\n{}", message.replace("Subject: hello world\n", "").replace("\n\n", "\nX-B: 2\n\n"))
    );
    assert_eq!(ran.keep_edition, 2);
    assert!(matches!(&ran.actions[0], Action::FileInto { edition: 1, .. }));
}

#[test]
fn failures_say_why() {
    assert_eq!(ran_in(&mut World::default(), "require \"ihave\"; error \"bah\";").unwrap_err(), "bah");
    assert!(
        program("require \"regex\"; if header :regex \"a\" \"(\" {stop;}")
            .unwrap_err()
            .contains("regular expression")
    );
    let limits = Limits { instructions: 10, ..Limits::default() };
    let long = "keep;".repeat(20);
    let error = run(
        &program(&long).unwrap(),
        MESSAGE,
        &Facts::default(),
        &extensions(),
        limits,
        &mut World::default(),
    );
    assert!(error.unwrap_err().contains("instructions"));
}

#[test]
fn envelopes_and_environment() {
    assert_eq!(
        actions(
            "require [\"envelope\",\"subaddress\",\"environment\",\"fileinto\"]; \
             if envelope :detail \"to\" \"lists\" { fileinto \"d\"; } \
             if environment \"host\" \"mx.b.example\" { fileinto \"e\"; }"
        ),
        [into("d"), into("e")]
    );
}
