//! Settings of greylisting.

use base::config::toml::{Fallback, Kind, Section};

use super::{DAY_MS, count, setting, time};

pub(super) const GREYLIST: Section = Section {
    name: "greylist",
    repeated: false,
    selector: None,
    doc: "Greylisting at RCPT: who has not written from this network, by this sender, to this recipient before is asked to \
          come again. Clients that have logged in are never asked. Without this section there is none.",
    settings: &[
        setting(
            "enabled",
            Kind::Boolean,
            Fallback::Found("true when the section is there"),
            "Whether there is any.",
        ),
        setting(
            "delay",
            time(1000, DAY_MS),
            Fallback::Value("5min"),
            "How long a first attempt has to wait.",
        ),
        setting(
            "retry_window",
            time(60_000, 30 * DAY_MS),
            Fallback::Value("2d"),
            "How long a first attempt is remembered; who comes later begins anew.",
        ),
        setting(
            "expiry",
            time(3_600_000, 400 * DAY_MS),
            Fallback::Value("35d"),
            "How long what has passed is remembered without being used.",
        ),
        setting(
            "ipv4_prefix",
            count(0, 32),
            Fallback::Value("24"),
            "Bits of an IPv4 address that make a client.",
        ),
        setting("ipv6_prefix", count(0, 128), Fallback::Value("64"), "The same for IPv6."),
        setting(
            "pooling",
            Kind::Word(&["network", "name"]),
            Fallback::Value("network"),
            "What is one client: a network, or name: also all whose verified names are in the same domain, for pools that \
             retry from other networks.",
        ),
        setting(
            "trust_client_after",
            count(0, 1_000_000),
            Fallback::Value("5"),
            "Passes, counted once an hour, after which a client is not asked any more; 0 for never.",
        ),
        setting(
            "trust_domain_after",
            count(0, 1_000_000),
            Fallback::Value("2"),
            "The same for a client with one domain of senders.",
        ),
        setting(
            "when",
            Kind::Texts,
            Fallback::None,
            "Conditions that must all hold for a request to be asked about.",
        ),
        setting(
            "except",
            Kind::Texts,
            Fallback::None,
            "Conditions, of which one is enough for it not to be.",
        ),
        setting(
            "shipped_whitelist",
            Kind::Boolean,
            Fallback::Value("true"),
            "Never ask the large pools of the list that comes with this program.",
        ),
        setting(
            "whitelist",
            Kind::Texts,
            Fallback::None,
            "Files of more such clients, one a line: a network, a name (and all below it), sender:DOMAIN or \
             recipient:ADDRESS. Read at the start and at a reload.",
        ),
        setting(
            "action",
            Kind::Text,
            Fallback::Value("DEFER_IF_PERMIT 4.2.0 Greylisted, try again in {retry_after}"),
            "What Postfix is told. {retry_after} is the only placeholder.",
        ),
        setting(
            "dry_run",
            Kind::Boolean,
            Fallback::Value("false"),
            "Log and remember only; Postfix is told DUNNO.",
        ),
        setting(
            "max_entries",
            count(1000, 100_000_000),
            Fallback::Value("1000000"),
            "Entries at a time in the stores memory and file. When there are so many, new clients pass.",
        ),
    ],
};
