//! The lines of the log that monitoring looks for.

use harness::keys::RSA;
use harness::milter::Subject;

use crate::case::{Setup, plain, subjects};
use crate::signer::signature;

/// What stands before a message's lines.
const JOB: &str = "4Xq2Test01z1: ";

#[test]
fn signing() {
    let conf = "KeyTable {dir}/keys\nSigningTable {dir}/senders\nMTA submission\nMacroList nothing\n";
    let keys = "one a.example:s:{dir}/rsa\ngone d.example:s:{dir}/gone\nwide e.example:s:{dir}/wide\n";
    let setup = Setup::new(conf).file("keys", keys).file("wide", RSA.pem);
    let setup = setup.file("senders", "a.example one\nd.example gone\ne.example wide\n");
    let mut pair = setup.start();
    pair.case("signed").want("sign a.example/s");
    let deferred = "451 4.7.5 DKIM signing is not possible at the moment, try again later @N";
    pair.case("a missing key").from("x@d.example").differs("D25", "tempfail @N", deferred);
    pair.case("an unsafe key").from("x@e.example").differs("D25", "tempfail @N", deferred);
    pair.case("a sender without a key").from("x@z.example").untouched();
    pair.outside("a stranger", plain()).untouched();
    for line in [
        "DKIM-Signature field added (s=s, d=a.example)",
        "error loading key 'gone'",
        "error loading key 'wide'",
        "no signing table match for 'x@z.example'",
        "mx.c.example [192.0.2.9] not internal",
        "not authenticated",
        "no MTA name match (host=mx.test.example, MTA=smtpd)",
        "no macros match",
    ] {
        pair.both_log(&format!("{JOB}{line}"));
    }
    pair.both_log("key data is not secure: ");
    pair.both_log("can be read or written by other users");
}

#[test]
fn strangers_with_our_names() {
    let mut pair = Setup::signing("ExemptDomains z.example\nDontSignMailTo list@b.example").start();
    pair.outside("a stranger", plain()).untouched();
    pair.case("an exempt domain").from("x@z.example").want("accept @N");
    pair.case("a recipient").to(&["list@b.example"]).want("accept @N");
    pair.case("another domain").from("x@y.example").untouched();
    pair.both_log(&format!("{JOB}external host mx.c.example attempted to send as a.example"));
    pair.both_log(&format!("{JOB}domain 'z.example' exempted, accepting"));
    pair.both_log(&format!("{JOB}skipping signing of mail to 'list@b.example'"));
    pair.both_log(&format!("{JOB}no signing domain match for 'y.example'"));
}

#[test]
fn verifying() {
    let setup = Setup::verifying("On-BadSignature reject\nOn-NoSignature reject\nLogResults yes");
    let mut pair = setup.zone(|zone| zone.txt("gone._domainkey.a.example", "v=DKIM1; p=")).start();
    let good = || signature("a.example", "s").sign(&plain());
    pair.outside("good", good()).want("AR mx.test.example: pass a.example/s");
    pair.outside("bad", good().body("Hallo!\n"))
        .want("AR mx.test.example: fail a.example/s, 550 5.7.0 bad DKIM signature data");
    pair.outside("no key", signature("a.example", "none").sign(&plain())).differs(
        "D33",
        "AR mx.test.example: fail a.example/none",
        "AR mx.test.example: permerror a.example/none",
    );
    pair.outside("revoked", signature("a.example", "gone").sign(&plain())).differs(
        "D38",
        "AR mx.test.example: fail a.example/gone, reject",
        "AR mx.test.example: permerror a.example/gone, 550 5.7.0 bad DKIM signature data",
    );
    pair.outside("unsigned", plain()).differs(
        "D51",
        "550 5.7.0 no DKIM signature data",
        "550 5.7.0 no DKIM signature data @N",
    );
    for line in [
        "DKIM verification successful",
        "s=s d=a.example a=rsa-sha256 SSL",
        "bad signature data",
        "key retrieval failed (s=none, d=a.example)",
        "key revoked (s=gone, d=a.example, a=rsa-sha256)",
        "no signature data",
    ] {
        pair.both_log(&format!("{JOB}{line}"));
    }
    pair.both_log(" domain=a.example selector=s result=\"no signature error\"");
}

#[test]
fn unusable_messages() {
    let mut pair = Setup::signing("MaximumHeaders 2000").start();
    pair.case("no author").message(plain().without("From")).want("AR mx.test.example: permerror");
    pair.case("too large").message(plain().field("X-A", &"x".repeat(3000))).differs(
        "D52",
        "tempfail @L",
        "451 4.7.0 too much header data @N",
    );
    pair.both_log(&format!("{JOB}can't determine message sender"));
    pair.both_log("too much header data");
}

#[test]
fn reload() {
    let mut pair = Setup::signing("").start();
    pair.case("before").want("sign a.example/s");
    pair.reload("Domain a.example\nSelector t\nKeyFile {dir}/rsa");
    pair.case("after").want("sign a.example/t");
    pair.both_log("configuration reloaded from ");
}

#[test]
fn a_broken_reload() {
    let mut pair = Setup::signing("").start();
    pair.reload("Domain a.example\nNonsense yes");
    pair.case("the old configuration stays").want("sign a.example/s");
}

/// Difference D56: what a sender writes cannot make a line of its own.
#[test]
fn text_of_senders_is_escaped() {
    let mut pair = Setup::signing("").start();
    pair.case("an unreadable author").from("x\u{1b}[31m\u{7}").want("AR mx.test.example: permerror");
    for subject in subjects() {
        let log = pair.milter(subject).unwrap().wait_log("can't parse From: header value");
        assert_eq!(log.contains('\u{1b}'), subject == Subject::Reference, "{log:?}");
    }
}
