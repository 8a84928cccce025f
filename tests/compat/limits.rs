//! RequiredHeaders, MaximumHeaders and messages of odd shape.

use harness::message::Message;

use crate::case::{Setup, plain};

#[test]
fn required_headers() {
    let mut pair = Setup::signing("RequiredHeaders yes").start();
    pair.case("all in order").want("sign a.example/s");
    for (why, message, text) in [
        ("two From", plain().field("From", "x@a.example"), "message does not have exactly one From field"),
        ("no Date", plain().without("Date"), "message does not have exactly one Date field"),
        ("two Subject", plain().field("subject", "x"), "message has multiple Subject fields"),
        (
            "of several faults the last",
            plain().without("Date").field("To", "x@b.example"),
            "message has multiple To fields",
        ),
    ] {
        pair.case(why).message(message.clone()).want(&format!("550 5.0.0 {text} @N"));
        pair.outside(why, message).want(&format!("550 5.0.0 {text} @N"));
    }
    pair.case("no From").message(plain().without("From")).differs(
        "D42",
        "AR mx.test.example: permerror",
        "550 5.0.0 message does not have exactly one From field @N",
    );
    pair.both_log("RFC5322 header requirement error: message has multiple To fields");
}

#[test]
fn headers_that_are_too_large() {
    let large = || plain().field("X-Large", &"x".repeat(1000)).field("X-After", "y");
    for (action, reference, ours) in [
        ("tempfail", "tempfail @L", "451 4.7.0 too much header data @N"),
        ("reject", "reject @L", "550 5.7.0 too much header data @N"),
        ("accept", "accept @L", "accept @N"),
        ("discard", "discard @L", "discard @N"),
    ] {
        let mut pair = Setup::signing(&format!("MaximumHeaders 500\nOn-Security {action}")).start();
        pair.case("a header over the limit").message(large()).differs("D52", reference, ours);
        pair.case("one within it").want("sign a.example/s");
    }
    let mut pair = Setup::signing("MaximumHeaders 0").start();
    pair.case("0 is no limit").message(large()).want("sign a.example/s");
}

#[test]
fn the_default_limit() {
    let mut pair = Setup::signing("").start();
    pair.case("64 KiB are too much")
        .message(plain().field("X-A", &"x".repeat(40_000)).field("X-B", &"x".repeat(40_000)))
        .differs("D52", "tempfail @L", "451 4.7.0 too much header data @N");
}

#[test]
fn no_header_at_all() {
    let mut pair = Setup::signing("").start();
    pair.case("a message without a header")
        .message(Message::default().body("x\n"))
        .want("AR mx.test.example: permerror");
    drop(pair);
    let mut pair = Setup::signing("IgnoreMalformedMail yes").start();
    pair.case("nothing is said of it when it is to be ignored")
        .message(Message::default().body("x\n"))
        .untouched();
}

#[test]
fn a_field_beyond_64_kib() {
    let mut pair = Setup::signing("MaximumHeaders 0").start();
    pair.case("a packet that libmilter does not take")
        .message(plain().field("X-A", &"x".repeat(70_000)))
        .differs("D58", "the connection ended", "sign a.example/s");
}
