//! Series for postfwd 1.35.

use std::time::Duration;

use crate::series::{Asked, END, PASS, RCPT, Step, run};
use crate::subject::Origin::Postfwd;
use Step::{Both, Differ, Until};

const fn login(login: &'static str) -> Asked {
    Asked { login, sender: login, ..RCPT }
}

const fn from(client: &'static str) -> Asked {
    Asked { client, login: "", ..RCPT }
}

#[test]
fn the_same_is_counted_and_refused() {
    const CONF: &str = "id=WHITE; client_address=192.0.2.0/28; action=dunno\n\
        id=BLACK; client_address==203.0.113.1; action=dunno\n\
        id=USER; sasl_username=~/./; action=rate(sasl_username/3/3600/450 4.7.1 too many)\n\
        id=ADDR; client_address==!!(198.51.100.9); sasl_username!~/./; action=rate(client_address/2/3600/REJECT too many)\n";
    const USER: &str = "450 4.7.1 too many";
    const ADDRESS: &str = "REJECT too many";
    let mut steps = Vec::new();
    let mut message = 0;
    let mut times = |count: u32, asked: Asked, want: &'static str| {
        for _ in 0..count {
            message += 1;
            steps.push(Both(asked.of(message), want));
        }
    };
    times(9, from("192.0.2.7"), PASS);
    times(9, from("203.0.113.1"), PASS);
    times(9, Asked { client: "192.0.2.7", ..login("joe@a.example") }, PASS);
    times(3, Asked { client: "198.51.100.1", ..login("joe@a.example") }, PASS);
    times(2, Asked { client: "198.51.100.2", ..login("Joe@a.Example") }, USER);
    times(1, Asked { client: "198.51.100.2", ..login("ann@a.example") }, PASS);
    times(2, from("198.51.100.3"), PASS);
    times(2, from("198.51.100.3"), ADDRESS);
    times(9, from("198.51.100.9"), PASS);
    times(2, from("2001:db8::1"), PASS);
    times(1, from("2001:db8::1"), ADDRESS);
    times(2, from("2001:db8::2"), PASS);
    run("postfwd", Postfwd, CONF, &steps);
}

#[test]
fn sizes_and_recipients_at_the_end() {
    const CONF: &str = "id=SIZE; protocol_state==END-OF-MESSAGE; \
        action=size(sasl_username/1000/3600/450 4.7.1 too large)\n\
        id=RCPT; protocol_state==END-OF-MESSAGE; action=rcpt(sasl_username/10/3600/450 4.7.1 too many)\n";
    let end = |login, message, size, count| Asked { login, size, count, ..END }.of(message);
    let steps = [
        Both(end("joe@a.example", 1, 600, 1), PASS),
        Both(end("joe@a.example", 2, 400, 1), PASS),
        Both(end("joe@a.example", 3, 1, 1), "450 4.7.1 too large"),
        Both(end("ann@a.example", 4, 10, 6), PASS),
        Both(end("ann@a.example", 5, 10, 5), "450 4.7.1 too many"),
        Both(end("ann@a.example", 6, 10, 4), PASS),
        Both(end("ann@a.example", 7, 10, 1), "450 4.7.1 too many"),
    ];
    run("postfwdend", Postfwd, CONF, &steps);
}

#[test]
fn the_edge_of_a_period() {
    const CONF: &str = "id=USER; sasl_username=~/./; action=rate(sasl_username/4/6/450 4.7.1 too many)\n";
    const OVER: &str = "450 4.7.1 too many";
    let joe = login("joe@a.example");
    let steps = [
        Both(joe.of(1), PASS),
        Until(Duration::from_secs(4)),
        Both(joe.of(2), PASS),
        Both(joe.of(3), PASS),
        Both(joe.of(4), PASS),
        Both(joe.of(5), OVER),
        // Seven messages within four seconds, of four in six.
        Until(Duration::from_millis(7200)),
        Both(joe.of(6), PASS),
        Differ("R6", joe.of(7), PASS, OVER),
        Differ("R6", joe.of(8), PASS, OVER),
    ];
    run("postfwdedge", Postfwd, CONF, &steps);
}

#[test]
fn what_differs_in_keys_and_repeated_requests() {
    const CONF: &str =
        "id=USER; sasl_username=~/./; action=rate5321(sasl_username/3/3600/450 4.7.1 too many)\n";
    const OVER: &str = "450 4.7.1 too many";
    let steps = [
        Both(login("joe@a.example").of(1), PASS),
        Both(login("joe+news@a.example").of(2), PASS),
        Both(login("Joe@a.example").of(3), PASS),
        Differ("R1", login("JOE@a.example").of(4), PASS, OVER),
        Differ("R2", login("joe+other@a.example").of(5), PASS, OVER),
        Both(login("ann@a.example").of(6), PASS),
        Both(login("ann@a.example").of(6), PASS),
        Both(login("ann@a.example").of(6), PASS),
        Differ("R3", login("ann@a.example").of(6), OVER, PASS),
    ];
    run("postfwdkeys", Postfwd, CONF, &steps);
}

#[test]
fn what_one_limit_refuses_no_other_counts() {
    const CONF: &str = "id=LONG; action=rate(sasl_username/5/3600/450 4.7.1 long)\n\
        id=SHORT; action=rate(sasl_username/2/4/450 4.7.1 short)\n";
    let joe = login("joe@a.example");
    let steps = [
        Both(joe.of(1), PASS),
        Both(joe.of(2), PASS),
        Both(joe.of(3), "450 4.7.1 short"),
        Both(joe.of(4), "450 4.7.1 short"),
        Both(joe.of(5), "450 4.7.1 short"),
        Until(Duration::from_secs(6)),
        Differ("R7", joe.of(6), "450 4.7.1 long", PASS),
    ];
    run("postfwdboth", Postfwd, CONF, &steps);
}

#[test]
fn messages_at_the_end_are_refused_at_rcpt() {
    const CONF: &str = "id=RCPT; protocol_state==END-OF-MESSAGE; \
        action=rcpt(sasl_username/3/3600/450 4.7.1 too many)\n";
    const OVER: &str = "450 4.7.1 too many";
    let to = |recipient, message| Asked { recipient, ..RCPT }.of(message);
    let end = |message, count| Asked { count, ..END }.of(message);
    let steps = [
        Both(to("a@b.example", 1), PASS),
        Both(to("b@b.example", 1), PASS),
        Both(end(1, 2), PASS),
        Both(to("a@b.example", 2), PASS),
        Differ("R8", to("b@b.example", 2), PASS, OVER),
        Both(end(2, 2), OVER),
    ];
    run("postfwdrcpt", Postfwd, CONF, &steps);
}

#[test]
fn what_is_not_there_is_no_key() {
    const CONF: &str = "id=USER; action=rate(sasl_username/1/3600/450 4.7.1 too many)\n";
    let nobody = login("");
    let steps = [
        Both(nobody.of(1), PASS),
        Differ("R10", nobody.of(2), "450 4.7.1 too many", PASS),
        Both(login("joe@a.example").of(3), PASS),
    ];
    run("postfwdempty", Postfwd, CONF, &steps);
    // A rule without a value is none, for both.
    let conf = "id=NONE; sasl_username==; action=rate(client_address/1/3600/450 4.7.1 too many)\n\
        id=OTHER; sender=~/./; action=rate(sender/9/3600/450 4.7.1 too many)\n";
    run("postfwdnone", Postfwd, conf, &[Both(nobody.of(1), PASS), Both(nobody.of(2), PASS)]);
}

#[test]
fn the_text_of_an_answer() {
    const CONF: &str =
        "id=USER; action=rate(sasl_username/2/3600/450 4.7.1 $$ratecount for $$sasl_username)\n";
    let joe = login("joe@a.example");
    let steps = [
        Both(joe.of(1), PASS),
        Both(joe.of(2), PASS),
        Differ("R9", joe.of(3), "450 4.7.1 3 for joe@a.example", "450 4.7.1 2 for joe@a.example"),
    ];
    run("postfwdtext", Postfwd, CONF, &steps);
}
