//! What is wrong with the way Postfix asks us, and what to write instead.

use std::path::Path;
use std::time::Duration;

use base::config::{Note, Report, Severity, Span};
use base::service::listen::Address;

use super::Ours;
use super::endpoint::{Endpoint, Target, time};
use super::main_cf::{MainCf, Value};
use super::master_cf::Service;
use super::restrictions::{self, Before, Restriction};

/// Lists that can ask a policy service, in the order in which they are evaluated.
const LISTS: [(&str, Stage); 7] = [
    ("smtpd_client_restrictions", Stage::Early),
    ("smtpd_helo_restrictions", Stage::Early),
    ("smtpd_sender_restrictions", Stage::Early),
    ("smtpd_relay_restrictions", Stage::Rcpt),
    ("smtpd_recipient_restrictions", Stage::Rcpt),
    ("smtpd_data_restrictions", Stage::Data),
    ("smtpd_end_of_data_restrictions", Stage::End),
];

/// A time limit above this keeps clients waiting for a service that hangs.
const LONG_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// At RCPT with `smtpd_delay_reject = yes`, at CONNECT, EHLO or MAIL without.
    Early,
    Rcpt,
    Data,
    End,
}

/// One place where a service asks us.
struct Asked {
    list: &'static str,
    stage: Stage,
    endpoint: Endpoint,
}

/// A line to cite, or the service's own when the value is a default.
fn place<'a>(value: &'a Value, service: &'a Service) -> &'a Span {
    value.span.as_ref().unwrap_or(&service.span)
}

/// Adds a note, unless the same was said already of the same line by another service.
fn once(report: &mut Report, severity: Severity, span: &Span, text: &str, help: &str) {
    let same = |note: &Note| {
        note.text() == text
            && note.span().is_some_and(|known| {
                known.line() == span.line() && known.source().name() == span.source().name()
            })
    };
    if report.notes().iter().any(same) {
        return;
    }
    let note = match severity {
        Severity::Error => report.error(span, text),
        Severity::Warning => report.warning(span, text),
        Severity::Info => report.info(span, text),
    };
    note.help(help);
}

/// Everything that is to be said.
pub(super) fn all(main: &MainCf, services: &[Service], ours: &Ours, report: &mut Report) {
    if main.is_empty() && services.is_empty() {
        report
            .error_anywhere("postconf has told nothing")
            .help("is Postfix installed, and does `postconf -n` work?");
        return;
    }
    if services.is_empty() {
        report
            .error_anywhere("no service of master.cf runs smtpd")
            .help("postconf -M | grep smtpd shows what takes mail from the network");
        return;
    }
    let mut asking = 0_usize;
    for service in services {
        if service_findings(main, service, ours, report) {
            asking += 1;
        }
    }
    if asking == 0 {
        let line = example(ours, main);
        report.error_anywhere("Postfix never asks this service").help(format!(
            "in main.cf: {line} as the first of smtpd_recipient_restrictions, and the same in smtpd_data_restrictions \
             and smtpd_end_of_data_restrictions"
        ));
    } else if asking < services.len() {
        for service in services {
            if !lists_of(main, service).iter().any(|list| !ours_in(list, main, service, ours).is_empty()) {
                let text = format!("{} does not ask this service", service.name);
                report.info(&service.span, text).help(
                    "in order when no mail to be limited comes through it; otherwise it needs the lists of the others",
                );
            }
        }
    }
    delivery_without_smtpd(report, services);
}

/// Mail from sendmail(1) is no concern of smtpd, which is said once, because nothing else tells it.
fn delivery_without_smtpd(report: &mut Report, services: &[Service]) {
    if let Some(service) = services.first() {
        report
            .info(&service.span, "mail that programs of this machine hand to sendmail(1) passes no smtpd")
            .help("no policy service sees it; authorized_submit_users says who may");
    }
}

/// A list as a service has it.
struct List {
    name: &'static str,
    stage: Stage,
    value: Value,
    restrictions: Vec<Restriction>,
}

fn lists_of(main: &MainCf, service: &Service) -> Vec<List> {
    LISTS
        .iter()
        .filter_map(|(name, stage)| {
            let value = service.value(main, name)?;
            let restrictions = restrictions::read(&value.text, main);
            Some(List { name, stage: *stage, value, restrictions })
        })
        .collect()
}

/// Places in the list where we are asked.
fn ours_in(list: &List, main: &MainCf, service: &Service, ours: &Ours) -> Vec<(usize, Endpoint)> {
    endpoints(list).filter(|(_, endpoint)| reaches(endpoint, main, service, ours) == Reach::Ours).collect()
}

fn endpoints(list: &List) -> impl Iterator<Item = (usize, Endpoint)> {
    list.restrictions.iter().enumerate().filter_map(|(at, one)| {
        let argument = one.argument.as_ref().filter(|_| one.name == "check_policy_service")?;
        Some((at, Endpoint::read(argument)))
    })
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Reach {
    Ours,
    /// It names our socket, but from within the chroot it leads elsewhere.
    OutsideChroot,
    Another,
}

fn reaches(endpoint: &Endpoint, main: &MainCf, service: &Service, ours: &Ours) -> Reach {
    let queue = main.queue_directory();
    let chroot = service.in_chroot(main);
    let leads_to =
        |wanted: &Path, chroot: bool| endpoint.path(&queue, chroot).is_some_and(|path| path == wanted);
    let mut reach = Reach::Another;
    for listen in &ours.listen {
        match (listen, &endpoint.target) {
            (Address::Unix(path), Target::Unix(_)) => {
                if leads_to(path, chroot) {
                    return Reach::Ours;
                }
                if chroot && leads_to(path, false) {
                    reach = Reach::OutsideChroot;
                }
            }
            (Address::Inet { host, port, .. }, Target::Inet(asked, asked_port)) => {
                let same_host = host.as_ref().is_none_or(|host| {
                    host.eq_ignore_ascii_case(asked) || (is_loopback(host) && is_loopback(asked))
                });
                if same_host && *asked_port == port.to_string() {
                    return Reach::Ours;
                }
            }
            _ => {}
        }
    }
    reach
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What is to be said about one service; whether it asks us.
fn service_findings(main: &MainCf, service: &Service, ours: &Ours, report: &mut Report) -> bool {
    let lists = lists_of(main, service);
    let mut asked = Vec::new();
    for list in &lists {
        for (_, endpoint) in endpoints(list) {
            match reaches(&endpoint, main, service, ours) {
                Reach::Ours | Reach::Another => {}
                Reach::OutsideChroot => outside_chroot(main, service, ours, list, &endpoint, report),
            }
            if endpoint.target == Target::Unknown {
                once(
                    report,
                    Severity::Error,
                    place(&list.value, service),
                    &format!("`{}` is no address of a policy service", endpoint.text),
                    "write unix:path or inet:host:port after check_policy_service",
                );
            }
        }
        for (at, endpoint) in ours_in(list, main, service, ours) {
            let early = list.stage == Stage::Early;
            let delayed = service.value(main, "smtpd_delay_reject").is_none_or(|value| value.text == "yes");
            if early && !delayed {
                once(
                    report,
                    Severity::Error,
                    place(&list.value, service),
                    &format!("{} asks before a recipient is known, for smtpd_delay_reject is no", list.name),
                    "move check_policy_service to smtpd_recipient_restrictions",
                );
            }
            early_enough(service, ours, list, at, report);
            behaviour(main, service, ours, list, &endpoint, report);
            let stage = if early && delayed { Stage::Rcpt } else { list.stage };
            asked.push(Asked { list: list.name, stage, endpoint });
        }
    }
    if asked.is_empty() {
        return false;
    }
    stages(service, ours, &lists, &asked, report);
    let names: Vec<&str> = asked.iter().map(|one| one.list).collect();
    once(
        report,
        Severity::Info,
        &service.span,
        &format!("{} asks this service in {}", service.name, names.join(", ")),
        "nothing to do",
    );
    true
}

fn outside_chroot(
    main: &MainCf,
    service: &Service,
    ours: &Ours,
    list: &List,
    endpoint: &Endpoint,
    report: &mut Report,
) {
    let queue = main.queue_directory();
    let within = endpoint.path(&queue, true).unwrap_or_default();
    let help = ours
        .listen
        .iter()
        .find_map(|listen| match listen {
            Address::Unix(path) => path.strip_prefix(&queue).ok(),
            Address::Inet { .. } => None,
        })
        .map_or_else(
            || {
                format!(
                    "listen = [\"unix:{}/postrider/policyd\"] in our configuration, and check_policy_service \
                     unix:postrider/policyd",
                    queue.display()
                )
            },
            |below| format!("write check_policy_service unix:{}", below.display()),
        );
    once(
        report,
        Severity::Error,
        place(&list.value, service),
        &format!("{} runs in a chroot, from where `{}` is {}", service.name, endpoint.text, within.display()),
        &help,
    );
}

/// Whether something before our place in the list ends it.
fn early_enough(service: &Service, ours: &Ours, list: &List, at: usize, report: &mut Report) {
    let help = format!("put check_policy_service before it in {}", list.name);
    for one in list.restrictions.iter().take(at) {
        let span = place(&list.value, service);
        let own = service.sets(list.name);
        let place_of = if own { format!("{} of {}", list.name, service.name) } else { list.name.to_owned() };
        match one.before() {
            Before::Everybody => once(
                report,
                Severity::Error,
                span,
                &format!("`{}` ends {place_of} before this service is asked", one.name),
                &help,
            ),
            Before::Logins if !ours.by_login.is_empty() => once(
                report,
                Severity::Error,
                span,
                &format!(
                    "`permit_sasl_authenticated` ends {place_of} for users with a login, so {} never limits them",
                    ours.by_login.join(", ")
                ),
                &help,
            ),
            Before::Logins => once(
                report,
                Severity::Warning,
                span,
                &format!("`permit_sasl_authenticated` ends {place_of} for users with a login"),
                &help,
            ),
            Before::OwnNetworks => once(
                report,
                Severity::Warning,
                span,
                &format!(
                    "`permit_mynetworks` ends {place_of} for clients of mynetworks, which are never asked about"
                ),
                &help,
            ),
            Before::Some => once(
                report,
                Severity::Info,
                span,
                &format!("`{}` ends {place_of} for some clients before this service is asked", one.name),
                &help,
            ),
            Before::Nobody => {}
        }
    }
}

/// Time limits, and what Postfix does without an answer.
fn behaviour(
    main: &MainCf,
    service: &Service,
    ours: &Ours,
    list: &List,
    endpoint: &Endpoint,
    report: &mut Report,
) {
    let setting = |own: &Option<String>, name: &str| match own {
        Some(text) => Some(Value { text: text.clone(), span: list.value.span.clone() }),
        None => service.value(main, name),
    };
    let here = format!("{{ {}, timeout=5s, default_action=DUNNO }}", address_of(endpoint));
    if let Some(timeout) = setting(&endpoint.timeout, "smtpd_policy_service_timeout") {
        let span = timeout.span.clone().unwrap_or_else(|| place(&list.value, service).clone());
        match time(&timeout.text) {
            Some(limit) if limit <= ours.reply_within => once(
                report,
                Severity::Error,
                &span,
                &format!(
                    "Postfix waits {} for an answer, which may take {:?}",
                    timeout.text, ours.reply_within
                ),
                &format!("write check_policy_service {here}"),
            ),
            Some(limit) if limit > LONG_TIMEOUT => once(
                report,
                Severity::Warning,
                &span,
                &format!(
                    "Postfix waits {} for each answer and asks twice: clients give up first",
                    timeout.text
                ),
                &format!("write check_policy_service {here}"),
            ),
            Some(_) => {}
            None => once(
                report,
                Severity::Error,
                &span,
                &format!("`{}` is no time", timeout.text),
                &format!("write check_policy_service {here}"),
            ),
        }
    }
    if let Some(action) = setting(&endpoint.default_action, "smtpd_policy_service_default_action") {
        let span = action.span.clone().unwrap_or_else(|| place(&list.value, service).clone());
        default_action(&action, &span, &here, report);
    }
    if setting(&endpoint.try_limit, "smtpd_policy_service_try_limit").is_some_and(|value| value.text == "1") {
        once(
            report,
            Severity::Warning,
            place(&list.value, service),
            "with try_limit 1 the first request of each smtpd after a restart of this service is lost",
            "leave smtpd_policy_service_try_limit at 2",
        );
    }
}

/// What Postfix does without an answer.
fn default_action(action: &Value, span: &Span, here: &str, report: &mut Report) {
    let word = action.text.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    let is_code =
        |first: char| word.len() == 3 && word.starts_with(first) && word.bytes().all(|b| b.is_ascii_digit());
    match word.as_str() {
        "DUNNO" | "DEFER" | "DEFER_IF_PERMIT" | "WARN" | "INFO" | "HOLD" => {}
        "OK" | "PERMIT" | "RELAY" | "" => once(
            report,
            Severity::Error,
            span,
            &format!(
                "default_action `{}` lets everything through when this service is away, and skips what follows in the list",
                action.text
            ),
            &format!("write check_policy_service {here}"),
        ),
        "REJECT" | "DISCARD" => once(
            report,
            Severity::Warning,
            span,
            &format!(
                "default_action `{}` loses or bounces mail whenever this service is restarted",
                action.text
            ),
            &format!("write check_policy_service {here}, or default_action=DEFER"),
        ),
        _ if is_code('5') => once(
            report,
            Severity::Warning,
            span,
            &format!("default_action `{}` bounces mail whenever this service is restarted", action.text),
            &format!("write check_policy_service {here}, or default_action=DEFER"),
        ),
        _ if is_code('4') && action.span.is_none() => once(
            report,
            Severity::Info,
            span,
            "without this service Postfix answers 451 to every recipient (default_action is not set)",
            &format!("to let mail through instead: check_policy_service {here}"),
        ),
        _ if is_code('4') => {}
        _ => once(
            report,
            Severity::Warning,
            span,
            &format!("default_action `{}` is no action that access(5) knows", action.text),
            &format!("write check_policy_service {here}"),
        ),
    }
}

fn address_of(endpoint: &Endpoint) -> String {
    match &endpoint.target {
        Target::Unix(path) => format!("unix:{}", path.display()),
        Target::Inet(host, port) => format!("inet:{host}:{port}"),
        Target::Unknown => "unix:postrider/policyd".into(),
    }
}

/// Whether what the limits need is asked at all.
fn stages(service: &Service, ours: &Ours, lists: &[List], asked: &[Asked], report: &mut Report) {
    let at = |stage: Stage| asked.iter().any(|one| one.stage == stage);
    let text = asked.first().map_or("", |one| one.endpoint.text.as_str());
    let mut missing = |limits: &[String], stage: Stage, list: &str, why: &str| {
        if limits.is_empty() || at(stage) {
            return;
        }
        let value = lists.iter().find(|known| known.name == list).map(|known| &known.value);
        let span = value.map_or(&service.span, |value| place(value, service));
        once(
            report,
            Severity::Error,
            span,
            &format!("{} never asks in {list}, and so {} {why}", service.name, limits.join(", ")),
            &format!("add check_policy_service {text} to {list}"),
        );
    };
    missing(&ours.at_rcpt, Stage::Rcpt, "smtpd_recipient_restrictions", "counts nothing");
    missing(&ours.at_data, Stage::Data, "smtpd_data_restrictions", "counts nothing");
    missing(&ours.at_end, Stage::End, "smtpd_end_of_data_restrictions", "counts nothing");
    missing(&ours.by_recipient, Stage::Rcpt, "smtpd_recipient_restrictions", "sees no recipient");
    missing(
        &ours.by_bytes,
        Stage::End,
        "smtpd_end_of_data_restrictions",
        "knows only the size that clients declare",
    );
    if ours.greylisting {
        missing(&["greylisting".to_owned()], Stage::Rcpt, "smtpd_recipient_restrictions", "is never asked");
    }
    if at(Stage::Rcpt) && !at(Stage::Data) && !at(Stage::End) {
        once(
            report,
            Severity::Info,
            &service.span,
            &format!(
                "{} asks at RCPT only: what is refused or given up later is counted all the same",
                service.name
            ),
            &format!(
                "add check_policy_service {text} to smtpd_data_restrictions and smtpd_end_of_data_restrictions"
            ),
        );
    }
    if let Some(other) = asked.iter().find(|one| one.endpoint.text != text) {
        once(
            report,
            Severity::Info,
            &service.span,
            &format!(
                "{} names this service in different ways (`{text}`, `{}`), each of which is a connection of its own",
                service.name, other.endpoint.text
            ),
            "write the same text in all lists: what is given up is known at once then",
        );
    }
}

/// The restriction as it should stand in main.cf.
fn example(ours: &Ours, main: &MainCf) -> String {
    let queue = main.queue_directory();
    let address = ours.listen.first().map_or_else(
        || "unix:postrider/policyd".to_owned(),
        |listen| match listen {
            Address::Unix(path) => {
                let path = path.strip_prefix(&queue).unwrap_or(path);
                format!("unix:{}", path.display())
            }
            Address::Inet { host, port, .. } => {
                format!("inet:{}:{port}", host.as_deref().unwrap_or("localhost"))
            }
        },
    );
    format!("check_policy_service {{ {address}, timeout=5s, default_action=DUNNO }}")
}
