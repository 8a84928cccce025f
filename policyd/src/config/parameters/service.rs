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
            Kind::Word(&["memory", "file", "redis"]),
            Fallback::Value("file"),
            "memory: in this process; a restart forgets them. file: in this process and on disk, written every half \
             second; after a crash at most one second of counting is lost. redis: in Redis or Valkey, where several \
             hosts share them.",
        ),
        driver(
            &["file"],
            "path",
            Kind::Path,
            Fallback::Value("/var/lib/postrider-policyd/state"),
            "The file; its folder must be writable.",
        ),
        driver(
            &["redis"],
            "servers",
            Kind::Texts,
            Fallback::Required,
            "The servers of driver redis: host:port, or the path of a UNIX socket. Of single: one server; further ones \
             are tried when it cannot be reached. Of sentinel: the sentinels. Of cluster: some nodes.",
        ),
        driver(
            &["redis"],
            "topology",
            Kind::Word(&["single", "sentinel", "cluster"]),
            Fallback::Value("single"),
            "What the servers are. In a cluster all counters of one prefix are in one slot, since a decision is one script.",
        ),
        driver(
            &["redis"],
            "master",
            Kind::Text,
            Fallback::Value("mymaster"),
            "For sentinel: the name that the sentinels know the master by.",
        ),
        driver(
            &["redis"],
            "tls",
            Kind::Boolean,
            Fallback::Value("false"),
            "Connect by TLS, to the sentinels as well.",
        ),
        driver(
            &["redis"],
            "ca_file",
            Kind::Path,
            Fallback::Found("the system's"),
            "CA certificates (PEM) that the servers' are checked against.",
        ),
        driver(
            &["redis"],
            "username",
            Kind::Text,
            Fallback::None,
            "The user to log in as, where there are ACLs.",
        ),
        driver(&["redis"], "password", Kind::Secret, Fallback::None, "The password to log in with."),
        driver(
            &["redis"],
            "sentinel_password",
            Kind::Secret,
            Fallback::None,
            "For sentinel: the sentinels' own password.",
        ),
        driver(
            &["redis"],
            "database",
            count(0, 65_535),
            Fallback::Value("0"),
            "The number of the database; always 0 in a cluster.",
        ),
        driver(
            &["redis"],
            "prefix",
            Kind::Text,
            Fallback::Value("postrider"),
            "What all names in Redis begin with. Hosts with the same prefix and limits share their counters.",
        ),
        driver(
            &["redis"],
            "deadline",
            time(5, 5000),
            Fallback::Value("100ms"),
            "Within which time a request is decided, by Redis or without it. After three failures in a row Redis is not asked \
             for five seconds.",
        ),
        driver(
            &["redis"],
            "fallback",
            Kind::Word(&["local", "none"]),
            Fallback::Value("local"),
            "While Redis is away: local lets this host use its share of what was left, and tells Redis when it is back; \
             none leaves it to unavailable.",
        ),
        driver(
            &["redis"],
            "hosts",
            count(1, 1000),
            Fallback::Found("those that have been there within a minute"),
            "How many hosts share the limits: each has one part of so many while Redis is away.",
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

pub(super) const GEO: Section = Section {
    name: "geo",
    repeated: false,
    selector: None,
    doc: "Where addresses are, for count countries and asns: MaxMind DB files of your own. They are read at the start and at \
          a reload.",
    settings: &[
        setting(
            "country_file",
            Kind::Path,
            Fallback::None,
            "A database of countries, GeoLite2-Country.mmdb for instance.",
        ),
        setting(
            "asn_file",
            Kind::Path,
            Fallback::None,
            "A database of autonomous systems, GeoLite2-ASN.mmdb for instance.",
        ),
    ],
};

pub(super) const CONTROL: Section = Section {
    name: "control",
    repeated: false,
    selector: None,
    doc: "The socket by which postrider-policyd status, top, reset, raise and explain talk to the running service.",
    settings: &[
        setting(
            "socket",
            Kind::Path,
            Fallback::Value("/run/postrider-policyd/control"),
            "Its path. It is made with mode 0660 and belongs to who runs the service.",
        ),
        setting(
            "enabled",
            Kind::Boolean,
            Fallback::Found("true when the folder of the socket is there"),
            "Whether there is one.",
        ),
        setting(
            "admins",
            Kind::Texts,
            Fallback::None,
            "Users besides root and the service's own who may connect, by name. Everybody who connects is known by the \
             system, without a password.",
        ),
    ],
};
