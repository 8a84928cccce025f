//! Whose message it is: From in its many forms, SenderHeaders.

use harness::message::Message;

use crate::case::{Setup, plain};
use crate::signer::signature;

const SIGNED: &str = "sign a.example/s";

#[test]
fn forms_of_from() {
    let mut pair = Setup::signing("").start();
    for (why, from) in [
        ("a display name", "Anna <anna@a.example>"),
        ("a quoted name", "\"Anna, of A\" <anna@a.example>"),
        ("a name that looks like an address", "\"x@c.example\" <anna@a.example>"),
        ("a comment before", "(x@c.example) anna@a.example"),
        ("a comment behind", "anna@a.example (x@c.example)"),
        ("an encoded word", "=?utf-8?q?Ann=C3=A4?= <anna@a.example>"),
        ("the first of several addresses", "anna@a.example, x@c.example"),
        ("a group gives its first member", "Us: anna@a.example, x@c.example;"),
        ("a quoted local part", "\"anna b\"@a.example"),
        ("folded", "Anna\n <anna@a.example>"),
        ("in angle brackets only", "<anna@a.example>"),
    ] {
        pair.case(why).from(from).want(SIGNED);
    }
    pair.case("blanks around the dots").from("anna@a . example").differs("D23", "nothing", SIGNED);
    pair.case("the address counts, not the name").from("\"anna@a.example\" <x@c.example>").untouched();
    pair.case("nor the comment").from("x@c.example (anna@a.example)").untouched();
    pair.case("the second of several addresses").from("x@c.example, anna@a.example").untouched();
}

#[test]
fn broken_from() {
    let mut pair = Setup::signing("").start();
    for (why, from) in [("no address", "Anna"), ("a local part only", "anna")] {
        pair.case(why).from(from).want("AR mx.test.example: permerror");
    }
    pair.case("an open bracket").from("Anna <anna@a.example").differs(
        "D23",
        SIGNED,
        "AR mx.test.example: permerror",
    );
    pair.case("no From at all").message(plain().without("From")).want("AR mx.test.example: permerror");
}

#[test]
fn two_from_fields() {
    let two = || {
        Message::default()
            .field("From", "x@c.example")
            .field("From", "anna@a.example")
            .field("To", "bob@b.example")
    };
    let mut pair = Setup::signing("").start();
    pair.case("the first of two From fields is ours").fields(&[("From", "x@c.example")]).differs(
        "D22",
        "sign a.example/s h=From:To:Subject:Date:From",
        "AR mx.test.example: permerror",
    );
    pair.case("the second is").message(two()).differs("D22", "nothing", "AR mx.test.example: permerror");
}

#[test]
fn sender_headers() {
    let mut pair = Setup::signing("SenderHeaders Sender,Resent-From").start();
    pair.case("the first one that is there decides")
        .from("x@c.example")
        .fields(&[("Resent-From", "y@d.example"), ("Sender", "anna@a.example")])
        .want("sign a.example/s h=From:To:Subject:Date:Resent-From");
    pair.case("the next one")
        .from("x@c.example")
        .fields(&[("Resent-From", "anna@a.example")])
        .want("sign a.example/s h=From:To:Subject:Date:Resent-From");
    pair.case("From as the last resort").want(SIGNED);
    pair.case("a sender of another domain").fields(&[("Sender", "x@c.example")]).untouched();
}

#[test]
fn broken_from_where_nothing_is_signed() {
    let mut pair = Setup::verifying("AlwaysAddARHeader yes").start();
    let broken = || Message::new("Anna", "bob@b.example", "hello", "Hello!\n");
    pair.outside("unsigned", broken()).want("AR mx.test.example: permerror");
    pair.outside("no From", plain().without("From")).want("AR mx.test.example: permerror");
    for mode in ["v", "sv"] {
        let mut pair = Setup::verifying(&format!("Mode {mode}")).start();
        pair.outside("signed", signature("a.example", "s").sign(&broken())).differs(
            "D37",
            "AR mx.test.example: permerror",
            "AR mx.test.example: pass a.example/s",
        );
    }
}
