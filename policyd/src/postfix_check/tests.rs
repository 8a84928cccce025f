//! Setups of Postfix, and what is found in them.

use base::config::Severity;
use proptest::prelude::*;

use super::*;

const MASTER: &str = "smtp       inet  n       -       y       -       -       smtpd\n\
                      cleanup    unix  n       -       y       -       0       cleanup\n";
const POLICY: &str = "check_policy_service { unix:postrider/policyd, timeout=5s, default_action=DUNNO }";

fn ours() -> Ours {
    Ours {
        listen: vec![Address::Unix("/var/spool/postfix/postrider/policyd".into())],
        reply_within: Duration::from_secs(1),
        by_login: vec!["per-user".into()],
        by_recipient: Vec::new(),
        by_bytes: Vec::new(),
        at_rcpt: Vec::new(),
        at_data: Vec::new(),
        at_end: Vec::new(),
        greylisting: false,
    }
}

fn found(main: &str, master: &str, ours: &Ours) -> Report {
    check(&Source::new("postconf -n", main), &Source::new("postconf -M", master), ours)
}

fn everywhere(text: &str) -> String {
    format!(
        "smtpd_recipient_restrictions = {text}, permit_sasl_authenticated, reject_unauth_destination\n\
         smtpd_data_restrictions = {text}\nsmtpd_end_of_data_restrictions = {text}\n"
    )
}

/// Errors and warnings by their text.
fn complaints(report: &Report) -> Vec<String> {
    let bad = report.notes().iter().filter(|note| note.severity() != Severity::Info);
    bad.map(|note| note.text().to_owned()).collect()
}

#[track_caller]
fn complains(main: &str, master: &str, ours: &Ours, part: &str) {
    let report = found(main, master, ours);
    let all = complaints(&report);
    assert!(all.iter().any(|text| text.contains(part)), "{part} is not among {all:#?}");
    // Each says what to do.
    let rendered = report.render(false);
    assert!(rendered.contains("help"), "{rendered}");
}

#[test]
fn a_setup_in_order_gives_no_complaint() {
    let report = found(&everywhere(POLICY), MASTER, &ours());
    assert_eq!(complaints(&report), Vec::<String>::new(), "{report}");
    assert!(
        report
            .render(false)
            .contains("smtp/inet asks this service in smtpd_recipient_restrictions, smtpd_data")
    );
    // By name of another parameter, in a class, with continuation lines as in main.cf itself.
    let main = format!(
        "policy = {POLICY}\nsmtpd_restriction_classes = limited\nlimited =\n  $policy\n\
         smtpd_recipient_restrictions = limited,\n permit_mynetworks, reject_unauth_destination\n\
         smtpd_data_restrictions = ${{policy}}\nsmtpd_end_of_data_restrictions = $(policy)\n"
    );
    assert_eq!(complaints(&found(&main, MASTER, &ours())), Vec::<String>::new());
    // By TCP.
    let inet = Ours {
        listen: vec![Address::Inet { host: Some("127.0.0.1".into()), port: 10040, only_v6: false }],
        ..ours()
    };
    let main = everywhere("check_policy_service { inet:localhost:10040, timeout=5s }");
    assert_eq!(complaints(&found(&main, MASTER, &inet)), Vec::<String>::new());
}

#[test]
fn not_asked_at_all() {
    let report = found(
        "smtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination\n",
        MASTER,
        &ours(),
    );
    assert_eq!(complaints(&report), ["Postfix never asks this service"]);
    assert!(report.render(false).contains(POLICY), "{report}");
    // Another policy service is not ours.
    complains(&everywhere("check_policy_service unix:private/policyd-spf"), MASTER, &ours(), "never asks");
    complains("", "", &ours(), "postconf has told nothing");
    complains("a = b\n", "cleanup unix n - y - 0 cleanup\n", &ours(), "no service of master.cf runs smtpd");
}

#[test]
fn too_late_in_the_list() {
    let late = |before: &str| {
        format!("smtpd_recipient_restrictions = {before}, {POLICY}\nsmtpd_data_restrictions = {POLICY}\n")
    };
    complains(&late("permit_sasl_authenticated"), MASTER, &ours(), "so per-user never limits them");
    complains(
        &late("permit_mynetworks"),
        MASTER,
        &ours(),
        "`permit_mynetworks` ends smtpd_recipient_restrictions",
    );
    complains(&late("reject_unauth_destination, permit"), MASTER, &ours(), "`permit` ends");
    // One that takes a word after it is not taken for another.
    let fine = late("check_client_access hash:/etc/postfix/permit, reject_unauth_destination");
    assert_eq!(complaints(&found(&fine, MASTER, &ours())), Vec::<String>::new());
    // The option of a service counts for that service only.
    let master = format!(
        "{MASTER}submission inet n - y - - smtpd\n    -o smtpd_sasl_auth_enable=yes\n    -o {{ smtpd_recipient_restrictions = \
         permit_sasl_authenticated, {POLICY}, reject }}\n"
    );
    complains(
        &everywhere(POLICY),
        &master,
        &ours(),
        "`permit_sasl_authenticated` ends smtpd_recipient_restrictions of submission/inet",
    );
}

#[test]
fn the_wrong_stage() {
    let only_rcpt = format!("smtpd_recipient_restrictions = {POLICY}\n");
    let report = found(&only_rcpt, MASTER, &ours());
    assert_eq!(complaints(&report), Vec::<String>::new());
    assert!(report.render(false).contains("asks at RCPT only"));
    let bytes = Ours { by_bytes: vec!["volume".into()], ..ours() };
    complains(
        &only_rcpt,
        MASTER,
        &bytes,
        "never asks in smtpd_end_of_data_restrictions, and so volume knows only",
    );
    let data = Ours { at_data: vec!["mails".into()], ..ours() };
    complains(
        &only_rcpt,
        MASTER,
        &data,
        "never asks in smtpd_data_restrictions, and so mails counts nothing",
    );
    let only_data = format!("smtpd_data_restrictions = {POLICY}\n");
    let domain = Ours { by_recipient: vec!["to-domain".into()], ..ours() };
    complains(&only_data, MASTER, &domain, "to-domain sees no recipient");
    complains(&only_data, MASTER, &Ours { greylisting: true, ..ours() }, "greylisting is never asked");
    let early = format!("smtpd_delay_reject = no\nsmtpd_client_restrictions = {POLICY}\n");
    complains(&early, MASTER, &ours(), "asks before a recipient is known");
    let delayed = format!("smtpd_client_restrictions = {POLICY}\n");
    assert_eq!(complaints(&found(&delayed, MASTER, &ours())), Vec::<String>::new());
}

#[test]
fn a_socket_outside_the_chroot() {
    let outside = Ours { listen: vec![Address::Unix("/run/postrider/policyd".into())], ..ours() };
    let main = everywhere("check_policy_service { unix:/run/postrider/policyd, timeout=5s }");
    complains(&main, MASTER, &outside, "is /var/spool/postfix/run/postrider/policyd");
    let report = found(&main, MASTER, &outside).render(false);
    assert!(report.contains("unix:/var/spool/postfix/postrider/policyd"), "{report}");
    // Without a chroot it is right; `-` is a chroot below compatibility level 1 only.
    let free = MASTER.replace(" y ", " n ");
    assert_eq!(complaints(&found(&main, &free, &outside)), Vec::<String>::new());
    let dash = MASTER.replace(" y ", " - ");
    complains(&main, &dash, &outside, "runs in a chroot");
    let level = format!("compatibility_level = 3.6\n{main}");
    assert_eq!(complaints(&found(&level, &dash, &outside)), Vec::<String>::new());
    // The absolute path of a socket that is in the queue directory.
    let main = everywhere("check_policy_service { unix:/var/spool/postfix/postrider/policyd, timeout=5s }");
    complains(&main, MASTER, &ours(), "runs in a chroot");
    assert!(
        found(&main, MASTER, &ours())
            .render(false)
            .contains("write check_policy_service unix:postrider/policyd")
    );
}

#[test]
fn time_limits_and_default_actions() {
    complains(
        &everywhere("check_policy_service unix:postrider/policyd"),
        MASTER,
        &ours(),
        "Postfix waits 100s",
    );
    let with = |text: &str| everywhere(&format!("check_policy_service {{ unix:postrider/policyd, {text} }}"));
    complains(&with("timeout=1s"), MASTER, &ours(), "which may take 1s");
    complains(&with("timeout=soon"), MASTER, &ours(), "`soon` is no time");
    complains(&with("timeout=5s, default_action=OK"), MASTER, &ours(), "lets everything through");
    complains(&with("timeout=5s, default_action=REJECT"), MASTER, &ours(), "bounces mail");
    complains(&with("timeout=5s, { default_action = 550 no }"), MASTER, &ours(), "bounces mail");
    complains(&with("timeout=5s, default_action=WHATEVER"), MASTER, &ours(), "is no action");
    complains(&with("timeout=5s, try_limit=1"), MASTER, &ours(), "try_limit 1");
    let fine = with("timeout=5s, { default_action = 451 4.7.1 later }");
    assert_eq!(complaints(&found(&fine, MASTER, &ours())), Vec::<String>::new());
    let unknown = everywhere("check_policy_service nonsense");
    complains(&unknown, MASTER, &ours(), "is no address of a policy service");
}

#[test]
fn the_same_line_is_complained_about_once() {
    let master = format!("{MASTER}submission inet n - y - - smtpd\nsmtps inet n - y - - smtpd\n");
    let report = found(&everywhere("check_policy_service unix:postrider/policyd"), &master, &ours());
    assert_eq!(report.warnings(), 3, "one for each list: {report}");
}

#[test]
fn what_names_itself_comes_to_an_end() {
    let again = |name: &str| format!("{name} ").repeat(40);
    let main = format!(
        "smtpd_restriction_classes = limited\nlimited = {}\nempty = {}\nsmtpd_recipient_restrictions = limited, $empty\n",
        again("limited"),
        again("$empty")
    );
    assert!(!complaints(&found(&main, MASTER, &ours())).is_empty());
}

proptest! {
    #[test]
    fn nothing_breaks_it(main in "(smtpd_[a-z]{0,9}_?restrictions? = [ -~]{0,80}\n|[ -~]{0,60}\n){0,8}", master in "[ -~\n]{0,200}") {
        let _report = found(&main, &master, &ours()).render(false);
    }
}
