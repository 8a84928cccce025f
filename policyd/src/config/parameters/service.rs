//! Settings of the service as a whole: sockets, bounds, the store, log and figures.

use base::config::toml::{Fallback, Kind, Section};

use super::{DAY_MS, count, driver, setting, time};

pub(super) const TOP: Section = Section {
    name: "",
    repeated: false,
    selector: None,
    doc: "These stand before the first header.",
    settings: &[
        setting(
            "listen",
            Kind::Addresses,
            Fallback::Required,
            "Where Postfix asks: \"unix:/path\" or \"inet:host:port\", one or several. A socket that systemd hands over for \
             the same address is used instead of a new one. Whoever reaches a TCP port can use up anybody's limits.",
        ),
        setting(
            "socket_mode",
            Kind::Mode,
            Fallback::Value("0o660"),
            "Permissions of the UNIX sockets that we open, in octal.",
        ),
        setting(
            "socket_user",
            Kind::Text,
            Fallback::Found("who runs the service"),
            "The owner of these sockets.",
        ),
        setting(
            "socket_group",
            Kind::Text,
            Fallback::Found("the group that runs the service"),
            "The group of these sockets; Postfix's smtpd runs as postfix.",
        ),
        setting(
            "exempt",
            Kind::Texts,
            Fallback::None,
            "Conditions (see CONDITIONS), of which one is enough: no limit applies then.",
        ),
        setting(
            "recipient_delimiter",
            Kind::Text,
            Fallback::Value("+"),
            "In keys, what follows one of these characters in the local part of an address is left out: \
             user+tag@domain counts as user@domain. Empty keeps all.",
        ),
        setting(
            "timezone",
            Kind::Text,
            Fallback::Found("the system's"),
            "The time zone of algorithm calendar, as in \"Europe/Berlin\".",
        ),
        setting("user", Kind::Text, Fallback::None, "The user to run as, when started as root."),
        setting(
            "group",
            Kind::Text,
            Fallback::Found("the user's own group"),
            "The group to run as, when started as root.",
        ),
    ],
};

pub(super) const SERVER: Section = Section {
    name: "server",
    repeated: false,
    selector: None,
    doc: "Bounds in count and time.",
    settings: &[
        setting(
            "connections",
            count(1, 1_000_000),
            Fallback::Value("16384"),
            "Open connections on all listeners together; further ones wait. Each smtpd process of Postfix holds one for \
             each way in which main.cf writes the service down.",
        ),
        setting(
            "client_timeout",
            time(1000, DAY_MS),
            Fallback::Value("30s"),
            "How long a client may leave its answer unread, or a request unfinished.",
        ),
        setting(
            "reservation_timeout",
            time(1000, DAY_MS),
            Fallback::Value("15min"),
            "How long what was reserved at RCPT waits for DATA or END-OF-MESSAGE of its message.",
        ),
        setting(
            "drain_timeout",
            time(0, DAY_MS),
            Fallback::Value("5s"),
            "How long requests in hand may take when the service ends.",
        ),
    ],
};

pub(super) const STORE: Section = Section {
    name: "store",
    repeated: false,
    selector: Some("driver"),
    doc: "Where counters are kept.",
    settings: &[
        setting(
            "driver",
            Kind::Word(&["memory", "file"]),
            Fallback::Value("file"),
            "memory: in this process; a restart forgets them. file: in this process and on disk, written every half \
             second; after a crash at most one second of counting is lost.",
        ),
        driver(
            &["file"],
            "path",
            Kind::Path,
            Fallback::Value("/var/lib/postrider-policyd/state"),
            "The file; its folder must be writable.",
        ),
        setting(
            "unavailable",
            Kind::Word(&["open", "closed"]),
            Fallback::Value("open"),
            "What becomes of mail while the store cannot answer, or a limit's max_keys are in use. open: it passes, \
             uncounted. closed: unavailable_action.",
        ),
        setting(
            "unavailable_action",
            Kind::Text,
            Fallback::Value("DEFER_IF_PERMIT 4.3.0 Sending limits cannot be checked now, try again later"),
            "The action for closed.",
        ),
    ],
};

pub(super) const LOG: Section = Section {
    name: "log",
    repeated: false,
    selector: None,
    doc: "What is logged where.",
    settings: &[
        setting(
            "syslog",
            Kind::Boolean,
            Fallback::Found("true when there is /dev/log and standard error is no terminal"),
            "To the system log; otherwise to standard error.",
        ),
        setting(
            "facility",
            Kind::Word(&[
                "mail", "auth", "authpriv", "daemon", "user", "local0", "local1", "local2", "local3",
                "local4", "local5", "local6", "local7",
            ]),
            Fallback::Value("mail"),
            "The facility of the system log.",
        ),
        setting("tag", Kind::Text, Fallback::Value("postrider-policyd"), "The program's name in the log."),
        setting(
            "level",
            Kind::Word(&["error", "warn", "info", "debug"]),
            Fallback::Value("info"),
            "From which level on. info has a line for every refusal, debug one for every answer.",
        ),
    ],
};

pub(super) const METRICS: Section = Section {
    name: "metrics",
    repeated: false,
    selector: None,
    doc: "Figures for Prometheus.",
    settings: &[setting(
        "listen",
        Kind::TcpAddress,
        Fallback::None,
        "Where they are served over HTTP, for instance \"127.0.0.1:9155\". Without it, nowhere.",
    )],
};
