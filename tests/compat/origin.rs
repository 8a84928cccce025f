//! What else makes mail ours, whose mail is signed, and Mode.

use crate::case::{Setup, plain};

const SIGNED: &str = "sign a.example/s";
const STRANGER: (&str, &str) = ("mx.c.example", "192.0.2.9");

#[test]
fn a_login() {
    let mut pair = Setup::signing("").start();
    let (name, address) = STRANGER;
    pair.case("a client that logged in")
        .client(name, address)
        .macro_value("{auth_type}", "PLAIN")
        .want(SIGNED);
    pair.case("an empty {auth_type} is no login")
        .client(name, address)
        .macro_value("{auth_type}", "")
        .untouched();
    pair.case("{auth_authen} alone is none either")
        .client(name, address)
        .macro_value("{auth_authen}", "anna")
        .untouched();
}

#[test]
fn the_mta_by_name() {
    let mut pair = Setup::signing("MTA submission,smtps").start();
    let (name, address) = STRANGER;
    pair.case("a service in MTA")
        .client(name, address)
        .macro_value("{daemon_name}", "submission")
        .want(SIGNED);
    pair.case("names of services are compared with case")
        .client(name, address)
        .macro_value("{daemon_name}", "Submission")
        .untouched();
    pair.case("another service").client(name, address).untouched();
    pair.case("an internal host is enough all the same").want(SIGNED);
}

#[test]
fn macros() {
    let mut pair = Setup::signing("MacroList mail_mailer=local|Esmtp,mail_host").start();
    let case = |pair: &mut crate::case::Pair, why, name, value, signed| {
        let case = pair.case(why).client("mx.c.example", "192.0.2.9").macro_value(name, value);
        if signed { case.want(SIGNED) } else { case.untouched() }
    };
    case(&mut pair, "one of the values", "{mail_mailer}", "local", true);
    case(&mut pair, "the other value", "{mail_mailer}", "Esmtp", true);
    case(&mut pair, "values are compared with case", "{mail_mailer}", "esmtp", false);
    case(&mut pair, "any value of a macro without values", "{mail_host}", "x", true);
    pair.case("a macro without a value does not count")
        .client("mx.c.example", "192.0.2.9")
        .macro_value("{mail_host}", "")
        .differs("D16", SIGNED, "accept @N");
    case(&mut pair, "a macro that is not listed", "{mail_addr}", "local", false);
}

#[test]
fn domains() {
    let mut pair = Setup::signing("").start();
    pair.case("the domain in another case").from("anna@A.Example").want(SIGNED);
    pair.case("a subdomain is another domain").from("anna@sub.a.example").untouched();
    pair.case("another domain").from("anna@b.example").untouched();
}

#[test]
fn subdomains() {
    let mut pair = Setup::signing("SubDomains yes").start();
    pair.case("the domain itself").want(SIGNED);
    pair.case("a subdomain is signed by its parent")
        .from("anna@x.sub.a.example")
        .want("sign a.example/s i=@a.example");
    pair.case("a domain that only ends alike").from("anna@ba.example").untouched();
}

#[test]
fn several_domains_and_any() {
    let conf = "Domain {dir}/domains\nSelector s\nKeyFile {dir}/rsa";
    let mut pair = Setup::new(conf).file("domains", "b.example\na.example # ours\n").start();
    pair.case("one of a file of domains").want(SIGNED);
    pair.case("the other").from("x@B.example").want("sign b.example/s");
    drop(pair);
    let mut pair = Setup::new("Domain *\nSelector s\nKeyFile {dir}/rsa").start();
    pair.case("* stands for any domain").from("x@any.example").want("sign any.example/s");
}

#[test]
fn modes() {
    let signed = || crate::signer::signature("a.example", "s").sign(&plain());
    let mut pair = Setup::signing("Mode s").start();
    pair.case("Mode s signs").want(SIGNED);
    pair.outside("Mode s leaves mail alone that would be verified", signed()).want("accept @N");
    drop(pair);
    let mut pair = Setup::signing("Mode v\nAlwaysAddARHeader yes").start();
    pair.case("Mode v leaves mail alone that would be signed").want("accept @N");
    pair.outside("Mode v verifies", plain()).want("AR mx.test.example: none");
    drop(pair);
    let mut pair = Setup::signing("Mode vs\nAlwaysAddARHeader yes").start();
    pair.case("both, in any order").want(SIGNED);
    pair.outside("and verifies", plain()).want("AR mx.test.example: none");
    pair.case("signed mail gets no result field, whatever it has")
        .fields(&[("Subject", "x")])
        .want("sign a.example/s h=From:To:Subject:Date:Subject");
}

#[test]
fn nobody_to_sign_for() {
    let mut pair = Setup::new("").start();
    pair.case("without keys local mail is verified like any other").untouched();
}

#[test]
fn exempt_domains() {
    let mut pair = Setup::signing("ExemptDomains a.example\nAlwaysAddARHeader yes").start();
    pair.case("an exempt domain is neither signed").want("accept @N");
    pair.outside("nor verified", plain()).want("accept @N");
    pair.case("subdomains are not meant").from("anna@sub.a.example").want("AR mx.test.example: none");
    pair.case("case does not matter").from("anna@A.EXAMPLE").want("accept @N");
}

#[test]
fn recipients_whose_mail_is_not_signed() {
    let mut pair = Setup::signing("DontSignMailTo list@b.example, Carol@c.example").start();
    pair.case("a recipient in the list").to(&["list@b.example"]).want("accept @N");
    pair.case("among others").to(&["bob@b.example", "carol@C.example"]).want("accept @N");
    pair.case("others only").to(&["bob@b.example", "xlist@b.example"]).want(SIGNED);
    pair.both_log("skipping signing of mail to 'list@b.example'");
}

#[test]
fn two_messages_on_one_connection() {
    let mut pair = Setup::signing("AlwaysAddARHeader yes").start();
    let other = || {
        harness::message::Message::new("x@c.example", "bob@b.example", "first", "First.\n")
            .field("Cc", "y@c.example")
    };
    pair.case("nothing is left of the message before")
        .after(other())
        .body_hash()
        .want("sign a.example/s bh=EVfAHeUM");
    pair.case("nor of a signed one").message(other()).after(plain()).want("AR mx.test.example: none");
}
