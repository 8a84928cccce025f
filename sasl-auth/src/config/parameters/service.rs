//! Settings of the service as a whole: names, listeners, limits, hashing, cache, delays, tokens, log.

use base::config::toml::{Fallback, Kind, Section};

use super::{DAY_MS, bytes, count, setting, time};

pub(super) const TOP: Section = Section {
    name: "",
    repeated: false,
    selector: None,
    doc: "These stand before the first header.",
    settings: &[
        setting(
            "mechanisms",
            Kind::Texts,
            Fallback::Found("PLAIN and LOGIN"),
            "Mechanisms to offer, in this order: PLAIN, LOGIN, CRAM-MD5, SCRAM-SHA-1, SCRAM-SHA-256, XOAUTH2, \
             OAUTHBEARER, EXTERNAL (the name in the client's certificate, if the mail server tells it, which neither \
             Postfix 3.7 nor Exim 4.96 does) and ANONYMOUS. \
             One that no passdb can serve is left out, with a warning.",
        ),
        setting(
            "username_format",
            Kind::Text,
            Fallback::Value("%{user|lower}"),
            "What becomes of the name that a client sends, before any look-up. See VARIABLES.",
        ),
        setting(
            "username_chars",
            Kind::Text,
            Fallback::Value("a-zA-Z0-9.-_@+"),
            "Characters that a name may hold, with ranges such as a-z. Empty allows all. \
             Letters beyond ASCII are always allowed.",
        ),
        setting(
            "username_translation",
            Kind::Text,
            Fallback::Value(""),
            "Characters to replace, in pairs: \"#@/@\" turns # and / into @.",
        ),
        setting(
            "default_realm",
            Kind::Text,
            Fallback::Value(""),
            "The domain of names without one: user becomes user@domain.",
        ),
        setting(
            "recipient_delimiter",
            Kind::Text,
            Fallback::Value(""),
            "With \"+\", user+tag@domain logs in as user@domain. Empty keeps tags.",
        ),
        setting(
            "master_user_separator",
            Kind::Text,
            Fallback::Value(""),
            "One character. With \"*\", the name user*master and master's password log in as user, if master is found \
             in a passdb with master = true. Empty: by the authorization identity only.",
        ),
        setting(
            "anonymous_username",
            Kind::Text,
            Fallback::Value("anonymous"),
            "The user that ANONYMOUS logs in as.",
        ),
        setting(
            "hostname",
            Kind::Text,
            Fallback::Found("the host's own name"),
            "The host in the challenges of CRAM-MD5.",
        ),
        setting(
            "allow_weak_schemes",
            Kind::Boolean,
            Fallback::Value("false"),
            "Accept passwords that are stored in schemes that are quickly broken (DES-CRYPT, MD5 without salt and others).",
        ),
        setting(
            "internal_failure",
            Kind::Word(&["close", "reply"]),
            Fallback::Value("close"),
            "What a client gets while a database is away. close: the connection is closed without a reply, so that \
             Postfix says 454 (try later) instead of 535 (wrong password), on which mail programs ask for \
             the password again. reply: a temporary failure as Dovecot sends it.",
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

pub(super) const LISTEN: Section = Section {
    name: "listen",
    repeated: true,
    selector: None,
    doc: "A socket to listen at. One that systemd hands over for the same address is used instead of a new one.",
    settings: &[
        setting(
            "address",
            Kind::Address,
            Fallback::Required,
            "\"unix:/path\" or \"inet:host:port\". Nothing protects a TCP port: passwords cross it as they are, and \
             whoever reaches it may try them.",
        ),
        setting(
            "kind",
            Kind::Word(&["client", "userdb"]),
            Fallback::Value("client"),
            "client: authentication, for Postfix and Exim. userdb: look-ups, for delivery agents.",
        ),
        setting(
            "mode",
            Kind::Mode,
            Fallback::Value("0o600"),
            "Permissions of the UNIX socket, in octal. On a userdb socket with exactly 0o666, who is neither root nor of \
             the socket's owner or group finds users of its own uid only.",
        ),
        setting("user", Kind::Text, Fallback::Found("who runs the service"), "The owner of the UNIX socket."),
        setting(
            "group",
            Kind::Text,
            Fallback::Found("the group that runs the service"),
            "The group of the UNIX socket.",
        ),
    ],
};

pub(super) const LIMITS: Section = Section {
    name: "limits",
    repeated: false,
    selector: None,
    doc: "Bounds in count and time.",
    settings: &[
        setting(
            "connections",
            count(1, 1_000_000),
            Fallback::Value("8192"),
            "Open connections: on all listeners of the kind client together, and on each one of the kind userdb.",
        ),
        setting(
            "requests_per_connection",
            count(1, 100_000),
            Fallback::Value("1000"),
            "Requests in hand on one connection.",
        ),
        setting(
            "handshake_timeout",
            time(100, DAY_MS),
            Fallback::Value("30s"),
            "How long a client may take to say its version and number.",
        ),
        setting(
            "request_timeout",
            time(1000, DAY_MS),
            Fallback::Value("150s"),
            "How long a request waits for its client's answer to a challenge, and answers for a client that takes none \
             of them: 30s at most.",
        ),
        setting(
            "reply_within",
            time(500, 9000),
            Fallback::Value("8s"),
            "How long an answer may take from the client's line on, delays included. 9s is the most that can be set: \
             Postfix gives up after 10.",
        ),
        setting(
            "drain_timeout",
            time(0, DAY_MS),
            Fallback::Value("5s"),
            "How long requests in hand may take when the service ends.",
        ),
    ],
};

pub(super) const HASHING: Section = Section {
    name: "hashing",
    repeated: false,
    selector: None,
    doc: "Checks of slow password hashes run on threads of their own. As many others make the keys that SCRAM needs \
          of passwords stored in clear text.",
    settings: &[
        setting("threads", count(1, 1024), Fallback::Found("the number of processors"), "Checks at a time."),
        setting(
            "memory",
            bytes(1 << 20, 1 << 42),
            Fallback::Value("512M"),
            "Memory for all checks in hand together. A hash that needs more is refused.",
        ),
        setting(
            "queue",
            count(1, 1_000_000),
            Fallback::Value("1024"),
            "Checks that may wait. Beyond, clients get a temporary failure.",
        ),
    ],
};

pub(super) const CACHE: Section = Section {
    name: "cache",
    repeated: false,
    selector: None,
    doc: "Remembers which passwords were right and wrong, as a keyed hash. There is no cache without this section. \
          See WHAT THE CACHE REMEMBERS.",
    settings: &[
        setting(
            "size",
            bytes(0, 1 << 40),
            Fallback::Value("16M"),
            "The most that entries may take in memory; 0 turns the cache off.",
        ),
        setting(
            "ttl",
            time(0, 30 * DAY_MS),
            Fallback::Value("5min"),
            "How long a right password is believed without asking again.",
        ),
        setting(
            "negative_ttl",
            time(0, 30 * DAY_MS),
            Fallback::Value("1min"),
            "How long a wrong password or an unknown user is; 0 for never.",
        ),
        setting(
            "stale_ttl",
            time(0, 30 * DAY_MS),
            Fallback::Value("12h"),
            "How long a right password is believed while its database is away.",
        ),
    ],
};

pub(super) const THROTTLE: Section = Section {
    name: "throttle",
    repeated: false,
    selector: None,
    doc: "Delays for wrong passwords. A right password is never delayed by what others did.",
    settings: &[
        setting("failure_delay", time(0, 9000), Fallback::Value("2s"), "Before any failure is answered."),
        setting(
            "max_delay",
            time(0, 9000),
            Fallback::Value("6s"),
            "The most that repeated failures of one address and user add up to.",
        ),
        setting(
            "forget_after",
            time(1000, 30 * DAY_MS),
            Fallback::Value("10min"),
            "Failures older than this do not count.",
        ),
        setting(
            "entries",
            count(0, 16_777_216),
            Fallback::Value("65536"),
            "Pairs of address and user that are remembered.",
        ),
        setting(
            "ipv4_prefix",
            count(0, 32),
            Fallback::Value("32"),
            "Bits of an IPv4 address that count as one address.",
        ),
        setting("ipv6_prefix", count(0, 128), Fallback::Value("64"), "The same for IPv6."),
    ],
};

pub(super) const OAUTH2: Section = Section {
    name: "oauth2",
    repeated: false,
    selector: None,
    doc: "How tokens of XOAUTH2 and OAUTHBEARER are checked: by keys, by an introspection service, or by both.",
    settings: &[
        setting(
            "keys",
            Kind::Texts,
            Fallback::None,
            "Files with public keys in PEM, or with a secret for HMAC (name ending in .key).",
        ),
        setting(
            "jwks",
            Kind::Text,
            Fallback::None,
            "Path or URL of a JSON Web Key Set: https, or http to a loopback address.",
        ),
        setting(
            "introspection_url",
            Kind::Text,
            Fallback::None,
            "Where tokens are shown for checking (RFC 7662): https, or http to a loopback address.",
        ),
        setting("client_id", Kind::Text, Fallback::Value(""), "Our name at the introspection service."),
        setting("client_secret", Kind::Secret, Fallback::None, "Our password there."),
        setting(
            "client_secret_file",
            Kind::Path,
            Fallback::None,
            "The file that holds it, instead of client_secret.",
        ),
        setting("issuers", Kind::Texts, Fallback::None, "Accepted issuers (iss); any when empty."),
        setting("audiences", Kind::Texts, Fallback::None, "Accepted audiences (aud); any when empty."),
        setting("scopes", Kind::Texts, Fallback::None, "Scopes that a token must all have."),
        setting(
            "username_claim",
            Kind::Text,
            Fallback::Value("email"),
            "The claim that holds the user's name.",
        ),
        setting(
            "active_claim",
            Kind::Text,
            Fallback::None,
            "A claim that must be there, with active_value when that is set.",
        ),
        setting("active_value", Kind::Text, Fallback::None, "See active_claim."),
        setting(
            "ca_file",
            Kind::Path,
            Fallback::None,
            "Further certification authorities for https, in PEM.",
        ),
        setting("timeout", time(100, 9000), Fallback::Value("4s"), "How long one question may take."),
        setting(
            "require_user",
            Kind::Boolean,
            Fallback::Found("true when there is a userdb"),
            "Whether the user must be found in a userdb or passdb as well.",
        ),
    ],
};

pub(super) const LOG: Section = Section {
    name: "log",
    repeated: false,
    selector: None,
    doc: "What is logged where. A password is never logged, at no level.",
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
        setting(
            "tag",
            Kind::Text,
            Fallback::Value("auth"),
            "The program's name in the log. fail2ban's filter for Dovecot wants auth.",
        ),
        setting(
            "level",
            Kind::Word(&["error", "warn", "info", "debug"]),
            Fallback::Value("info"),
            "From which level on.",
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
        "Where they are served over HTTP, for instance \"127.0.0.1:9154\". Without it, nowhere.",
    )],
};

pub(super) const NETWORKS: Section = Section {
    name: "networks",
    repeated: false,
    selector: None,
    doc: "Counts logins of a user from a network or country that the user has not come from before.",
    settings: &[
        setting(
            "users",
            count(0, 10_000_000),
            Fallback::Value("10000"),
            "Users that are remembered; 0 turns counting off.",
        ),
        setting("per_user", count(1, 1024), Fallback::Value("16"), "Networks remembered for each user."),
        setting(
            "ipv4_prefix",
            count(0, 32),
            Fallback::Value("24"),
            "Bits of an IPv4 address that make a network.",
        ),
        setting("ipv6_prefix", count(0, 128), Fallback::Value("48"), "The same for IPv6."),
        setting(
            "country_database",
            Kind::Path,
            Fallback::None,
            "A MaxMind DB file with countries; without one only networks are counted.",
        ),
    ],
};
