//! Authentication-Results fields that claim to be ours.

use harness::message::Message;

use crate::case::{Setup, plain};
use crate::signer::signature;

const NAME: &str = "Authentication-Results";

fn with(values: &[&str]) -> Message {
    values.iter().fold(plain(), |message, value| message.field(NAME, value))
}

#[test]
fn from_the_last_to_the_first() {
    let mut pair = Setup::verifying("").start();
    let values = [
        "mx.test.example; dkim=pass",
        "mx.other.example; dkim=pass",
        "MX.Test.Example; dkim=pass header.d=x.example",
        "(a comment) mx.test.example; dkim=pass",
        "\"mx.test.example\"; dkim=pass",
        "mx.test.example/job; dkim=pass",
        "mx.test.example 1; dkim=pass",
        "xmx.test.example; dkim=pass",
    ];
    let gone = [7, 6, 5, 4, 3, 1].map(|index| format!("-{NAME}[{index}]")).join(", ");
    pair.outside("indices shift, so the last goes first", with(&values)).want(&gone);
    let signed = signature("a.example", "s").sign(&with(&values[..1]));
    pair.outside("before the new field is added", signed)
        .want("-Authentication-Results[1], AR mx.test.example: pass a.example/s");
}

#[test]
fn forms_that_opendkim_keeps() {
    let mut pair = Setup::verifying("").start();
    let many = format!("mx.test.example; {}", vec!["dkim=pass"; 20].join("; "));
    for (why, value) in [
        ("without any result", "mx.test.example; none"),
        ("without a DKIM result", "mx.test.example; spf=pass smtp.mailfrom=x@c.example"),
        ("with a dot at the end of the name", "mx.test.example.; dkim=pass"),
        ("with an empty result", "mx.test.example;; dkim=pass"),
        ("with a version of the method that is not finished", "mx.test.example; dkim/1=pass"),
        ("with very many results", &many),
    ] {
        pair.outside(why, with(&[value])).differs("D46", "nothing", "-Authentication-Results[1]");
    }
}

#[test]
fn on_other_ways() {
    let mut pair = Setup::signing("ExemptDomains c.example").start();
    let forged = || with(&["mx.test.example; dkim=pass"]);
    pair.case("mail that we sign").message(forged()).differs(
        "D47",
        "sign a.example/s",
        "-Authentication-Results[1], sign a.example/s",
    );
    pair.outside("an exempt domain", forged().without("From").field("From", "x@c.example")).differs(
        "D47",
        "accept @N",
        "-Authentication-Results[1]",
    );
    pair.outside("a malformed signature", forged().field("DKIM-Signature", "v=1")).differs(
        "D47",
        "accept @N",
        "-Authentication-Results[1], AR mx.test.example: permerror",
    );
    pair.outside("plain unsigned mail", forged()).want("-Authentication-Results[1]");
}

#[test]
fn when_it_is_not_wanted() {
    let mut pair = Setup::verifying("KeepAuthResults yes").start();
    pair.outside("KeepAuthResults keeps them", with(&["mx.test.example; dkim=pass"])).untouched();
}

#[test]
fn other_names() {
    let mut pair = Setup::verifying("RemoveARFrom old.example, mx.gone.example").start();
    let values = [
        "old.example; dkim=pass",
        "mx.test.example; dkim=pass",
        "x.old.example; dkim=pass",
        "MX.gone.example; dkim=fail",
    ];
    pair.outside("RemoveARFrom takes the place of our own name", with(&values))
        .want("-Authentication-Results[4], -Authentication-Results[1]");
    drop(pair);
    let mut pair = Setup::verifying("RemoveARAll yes").start();
    pair.outside("RemoveARAll: those without a DKIM result as well", with(&["mx.test.example; spf=pass"]))
        .want("-Authentication-Results[1]");
    drop(pair);
    let mut pair = Setup::verifying("AuthservID auth.example").start();
    pair.outside(
        "our own name is AuthservID",
        with(&["mx.test.example; dkim=pass", "auth.example; dkim=pass"]),
    )
    .want("-Authentication-Results[2]");
}
