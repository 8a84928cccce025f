//! Settings of postrider-lmtp: sockets, limits, what is added to messages, figures.

use base::config::toml::{Fallback, Kind, Section};

use super::{DAY_MS, bytes, count, setting, time};

pub(super) const LMTP: Section = Section {
    name: "lmtp",
    repeated: false,
    selector: None,
    doc: "The LMTP server. Names are Dovecot's without lmtp_ in front.",
    settings: &[
        setting(
            "listen",
            Kind::Texts,
            Fallback::None,
            "\"unix:/path\" or \"inet:host:port\". Sockets that systemd hands over are used as well.",
        ),
        setting("mode", Kind::Mode, Fallback::Value("0o600"), "Permissions of the UNIX sockets, in octal."),
        setting(
            "user",
            Kind::Text,
            Fallback::Found("who runs the service"),
            "The owner of the UNIX sockets.",
        ),
        setting(
            "group",
            Kind::Text,
            Fallback::Found("the group that runs the service"),
            "The group of the UNIX sockets.",
        ),
        setting(
            "connections",
            count(1, 10_000),
            Fallback::Value("100"),
            "Connections at a time; further ones wait.",
        ),
        setting(
            "message_size_limit",
            bytes(0, 1 << 50),
            Fallback::Value("0"),
            "The largest message, as told by SIZE; 0 is no limit.",
        ),
        setting("recipient_limit", count(1, 100_000), Fallback::Value("1000"), "Recipients of one message."),
        setting(
            "idle_timeout",
            time(1000, DAY_MS),
            Fallback::Value("300s"),
            "How long a client may say nothing.",
        ),
        setting(
            "message_timeout",
            time(1000, DAY_MS),
            Fallback::Value("30m"),
            "How long a message may take from DATA or the first BDAT to its end.",
        ),
        setting(
            "drain_timeout",
            time(0, DAY_MS),
            Fallback::Value("30s"),
            "How long deliveries in hand may take when the service ends.",
        ),
        setting(
            "user_concurrency_limit",
            count(0, 10_000),
            Fallback::Value("10"),
            "Deliveries to one user at a time; 0 is no limit.",
        ),
        setting(
            "rcpt_check_quota",
            Kind::Boolean,
            Fallback::Value("false"),
            "Refuse users who are over quota at RCPT already.",
        ),
        setting(
            "save_to_detail_mailbox",
            Kind::Boolean,
            Fallback::Value("false"),
            "user+detail is saved into the folder detail, as with -m of postrider-lda.",
        ),
        setting(
            "hdr_delivery_address",
            Kind::Word(&["final", "none"]),
            Fallback::Value("final"),
            "Which address the field Delivered-To holds; it is added for messages with one recipient.",
        ),
        setting("add_received_header", Kind::Boolean, Fallback::Value("true"), "Add a field Received."),
        setting(
            "login_greeting",
            Kind::Text,
            Fallback::Value("Postrider ready."),
            "What the greeting says after the hostname.",
        ),
    ],
};

pub(super) const METRICS: Section = Section {
    name: "metrics",
    repeated: false,
    selector: None,
    doc: "Figures of postrider-lmtp for Prometheus.",
    settings: &[setting(
        "listen",
        Kind::TcpAddress,
        Fallback::None,
        "Where they are served over HTTP, for instance \"127.0.0.1:9155\". Without it, nowhere.",
    )],
};
