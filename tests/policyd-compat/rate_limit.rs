//! Series for policyd-rate-limit 1.0.1.1.

use std::time::Duration;

use crate::series::{Asked, END, PASS, RCPT, Step, run};
use crate::subject::Origin::RateLimit;
use Step::{Both, Differ, Until};

const OVER: &str = "DEFER_IF_PERMIT too many";

/// By login, and by sender and network where there is none.
const CONF: &str = "limits:\n    - [3, 60]\n    - [5, 3600]\nlimits_by_id:\n    free@a.example: []\n    \
    five@a.example:\n        - [5, 60]\nlimit_by_sasl: True\nlimit_by_sender: True\nlimit_by_ip: True\n\
    limited_networks: [\"198.51.100.0/24\"]\nsuccess_action: \"dunno\"\nfail_action: \"defer_if_permit too many\"\n";

const fn login(login: &'static str) -> Asked {
    Asked { login, sender: login, ..RCPT }
}

#[test]
fn the_same_is_counted_and_refused() {
    let anonymous = |sender, client| Asked { login: "", sender, client, ..RCPT };
    let mut steps = Vec::new();
    let mut message = 0;
    let mut times = |count: u32, asked: Asked, want: &'static str| {
        for _ in 0..count {
            message += 1;
            steps.push(Both(asked.of(message), want));
        }
    };
    times(3, login("joe@a.example"), PASS);
    times(2, login("joe@a.example"), OVER);
    times(3, login("ann@a.example"), PASS);
    times(1, login("ann@a.example"), OVER);
    // Who has limits of his own, and who has none.
    times(5, login("five@a.example"), PASS);
    times(1, login("five@a.example"), OVER);
    times(9, login("free@a.example"), PASS);
    // Without a login the sender counts, without a sender the address, if its network is limited.
    times(3, anonymous("bob@a.example", "198.51.100.1"), PASS);
    times(1, anonymous("bob@a.example", "198.51.100.1"), OVER);
    times(3, anonymous("", "198.51.100.1"), PASS);
    times(1, anonymous("", "198.51.100.1"), OVER);
    times(3, anonymous("", "198.51.100.2"), PASS);
    times(5, anonymous("", "192.0.2.1"), PASS);
    // Other states count nothing.
    times(5, Asked { state: "VRFY", ..login("vrfy@a.example") }, PASS);
    times(3, login("vrfy@a.example"), PASS);
    times(1, login("vrfy@a.example"), OVER);
    run("ratelimit", RateLimit, CONF, &steps);
}

#[test]
fn several_recipients_of_one_message_are_several() {
    let to = |recipient| Asked { recipient, ..login("joe@a.example") };
    let steps = [
        Both(to("a@b.example"), PASS),
        Both(to("b@b.example"), PASS),
        Both(to("c@b.example"), PASS),
        Both(to("d@b.example"), OVER),
    ];
    run("ratelimitrcpt", RateLimit, CONF, &steps);
}

#[test]
fn a_period_passes() {
    let conf = CONF.replace("- [3, 60]\n    - [5, 3600]", "- [2, 3]\n    - [4, 3600]");
    let steps = [
        Both(login("joe@a.example").of(1), PASS),
        Both(login("joe@a.example").of(2), PASS),
        Both(login("joe@a.example").of(3), OVER),
        Until(Duration::from_secs(5)),
        Both(login("joe@a.example").of(4), PASS),
        Both(login("joe@a.example").of(5), PASS),
        Both(login("joe@a.example").of(6), OVER),
        Until(Duration::from_secs(10)),
        // The longer one holds on.
        Both(login("joe@a.example").of(7), OVER),
    ];
    run("ratelimittime", RateLimit, &conf, &steps);
}

#[test]
fn what_differs() {
    let joe = login("joe@a.example");
    let steps = [
        // One account however it is written.
        Both(joe.of(1), PASS),
        Both(login("Joe@A.example").of(2), PASS),
        Both(login("joe+news@a.example").of(3), PASS),
        Differ("R1", login("JOE@a.example").of(4), PASS, OVER),
        Differ("R2", login("joe+other@a.example").of(5), PASS, OVER),
        // A request that comes again: the same recipient of the same message.
        Both(login("ann@a.example").of(6), PASS),
        Both(login("ann@a.example").of(6), PASS),
        Both(login("ann@a.example").of(6), PASS),
        Differ("R3", login("ann@a.example").of(6), OVER, PASS),
        Differ("R3", login("ann@a.example").of(7), OVER, PASS),
    ];
    run("ratelimitdiffer", RateLimit, CONF, &steps);
}

#[test]
fn what_is_given_back() {
    let bob = login("bob@a.example");
    let to = |recipient, message| Asked { recipient, ..bob }.of(message);
    let end = Asked { login: "bob@a.example", sender: "bob@a.example", ..END };
    let steps = [
        // Postfix refuses one of two: at the end there is one recipient.
        Both(to("a@b.example", 1), PASS),
        Both(to("nobody@b.example", 1), PASS),
        Both(end.of(1), PASS),
        Both(to("a@b.example", 2), PASS),
        Differ("R4", to("b@b.example", 2), OVER, PASS),
        Both(Asked { count: 2, ..end }.of(2), PASS),
        Both(to("a@b.example", 3), OVER),
    ];
    run("ratelimitback", RateLimit, CONF, &steps);
}

#[test]
fn another_success_action() {
    let conf = CONF.replace("success_action: \"dunno\"", "success_action: \"permit\"");
    let steps = [Differ("R5", login("joe@a.example").of(1), "PERMIT", PASS)];
    run("ratelimitok", RateLimit, &conf, &steps);
}
