//! Settings of a limit.

use base::config::toml::{Fallback, Kind, Section};

use super::{DAY_MS, count, setting, time};

pub(super) const LIMIT: Section = Section {
    name: "limit",
    repeated: true,
    selector: None,
    doc: "A limit. All limits whose conditions hold are asked together, and a message passes all of them or is \
          counted by none. When several refuse, the first in the file answers.",
    settings: &[
        setting(
            "name",
            Kind::Text,
            Fallback::Required,
            "Its name, in the log, in figures and on the command line. Counters go by it: another name begins anew.",
        ),
        setting(
            "key",
            Kind::Texts,
            Fallback::Required,
            "What each counter is for: the names of one or several attributes of Postfix's policy protocol, among them \
             sasl_username, sender, recipient, client_address, helo_name, policy_context; or sender_domain, \
             recipient_domain, sasl_domain. \"sasl_username|sender\" takes the first that is not empty. \
             Where one is empty, the limit does not apply.",
        ),
        setting(
            "count",
            Kind::Word(&[
                "messages",
                "recipients",
                "bytes",
                "networks",
                "countries",
                "asns",
                "new-recipients",
                "unknown-recipients",
            ]),
            Fallback::Value("messages"),
            "What is counted. networks, countries and asns: how many different ones a key was used from. \
             new-recipients: recipients that the key has not written to within memory. unknown-recipients: recipients \
             that Postfix has refused after we were asked, seen at DATA or END-OF-MESSAGE. See STOLEN ACCOUNTS.",
        ),
        setting(
            "rate",
            Kind::Texts,
            Fallback::Required,
            "How much, in how long: \"100/hour\", \"5000/month\", \"10/30s\"; for bytes \"500M/day\". All of several must hold. \
             A month is 30 days, unless the algorithm is calendar.",
        ),
        setting(
            "algorithm",
            Kind::Word(&["window", "gcra", "calendar"]),
            Fallback::Value("window"),
            "window: never more than that in any period of that length. gcra: a steady rate, with burst at once. \
             calendar: from the beginning of the hour, day, week or month to the next. See ALGORITHMS.",
        ),
        setting(
            "burst",
            count(1, i64::MAX),
            Fallback::Found("the number in rate"),
            "For gcra: how much may come at once.",
        ),
        setting(
            "stage",
            Kind::Word(&["auto", "rcpt", "data", "end-of-message"]),
            Fallback::Value("auto"),
            "When it is counted. auto: reserved at RCPT, final when the message comes to DATA or END-OF-MESSAGE; at RCPT \
             where we are never asked later. See COUNTING.",
        ),
        setting("when", Kind::Texts, Fallback::None, "Conditions that must all hold for the limit to apply."),
        setting(
            "except",
            Kind::Texts,
            Fallback::None,
            "Conditions, of which one is enough for it not to apply.",
        ),
        setting(
            "action",
            Kind::Text,
            Fallback::Value(
                "DEFER_IF_PERMIT 4.7.1 {used} of {limit} {count} used, try again in {retry_after}",
            ),
            "What Postfix is told when the limit is reached: an action of access(5). See ACTIONS.",
        ),
        setting(
            "too_big_action",
            Kind::Text,
            Fallback::Value("REJECT 5.7.1 {cost} {count} at once, {limit} are allowed"),
            "The same, for a message that alone is more than the whole limit: trying again will not help it.",
        ),
        setting(
            "escalate",
            Kind::Texts,
            Fallback::None,
            "What is done at multiples of the limit instead: \"2x HOLD\", \"5x REJECT 5.7.1 ...\", \"10x RUN /path/program\". \
             A multiple can be reached only by what is counted: after an action that refuses, set count_refused.",
        ),
        setting(
            "count_refused",
            Kind::Boolean,
            Fallback::Value("false"),
            "Count what is refused as well, so that who keeps trying stays refused.",
        ),
        setting(
            "dry_run",
            Kind::Boolean,
            Fallback::Value("false"),
            "Log and count only; Postfix is told DUNNO.",
        ),
        setting(
            "overrides",
            Kind::Text,
            Fallback::None,
            "The name of a [[list]] with other rates for single keys: a key and its rates (\"100/hour, 500/day\"), or \
             \"unlimited\". Parts of a key have commas between them.",
        ),
        setting(
            "ipv4_prefix",
            count(0, 32),
            Fallback::Value("32"),
            "Bits of an IPv4 client_address that make a key; of count networks: 24 where this is not set.",
        ),
        setting(
            "ipv6_prefix",
            count(0, 128),
            Fallback::Value("64"),
            "The same for IPv6; of count networks: 48 where this is not set.",
        ),
        setting(
            "memory",
            time(60_000, 400 * DAY_MS),
            Fallback::Value("30d"),
            "For new-recipients: how long a recipient is known.",
        ),
        setting(
            "share",
            count(1, 100),
            Fallback::Value("25"),
            "For unknown-recipients: at least so many of a hundred recipients must be unknown as well.",
        ),
        setting(
            "max_keys",
            count(1, 100_000_000),
            Fallback::Value("1000000"),
            "Counters that it may have at a time, against floods of made-up keys. None in use is given up for another: \
             see unavailable in [store].",
        ),
    ],
};
