//! What verifying finds.

use harness::dns::{Fault, Zone};
use harness::keys::{ED25519, OTHER_RSA, RSA};
use harness::message::Message;

use crate::case::{Pair, Setup, plain};
use crate::signer::{Signature, rsa_key, signature};

fn good() -> Signature {
    signature("a.example", "s")
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

fn case(pair: &mut Pair, why: &'static str, signature: &Signature, want: &str) {
    pair.outside(why, signature.sign(&plain())).want(want);
}

#[test]
fn good_signatures() {
    let mut pair = Setup::verifying("").zone(|zone| ED25519.publish(zone, "e", "a.example")).start();
    case(&mut pair, "relaxed", &good(), "AR mx.test.example: pass a.example/s");
    case(&mut pair, "simple", &good().tag("c", "simple/simple"), "AR mx.test.example: pass a.example/s");
    case(
        &mut pair,
        "Ed25519",
        &signature("a.example", "e").key(&ED25519),
        "AR mx.test.example: pass a.example/e",
    );
    case(
        &mut pair,
        "with t= and x=",
        &good().tag("t", &(now() - 10).to_string()).tag("x", &(now() + 1000).to_string()),
        "AR mx.test.example: pass a.example/s",
    );
    case(
        &mut pair,
        "i= below d=",
        &good().tag("i", "x@sub.a.example"),
        "AR mx.test.example: pass a.example/s",
    );
    case(
        &mut pair,
        "fields named that are not there",
        &good().tag("h", "From:From:Subject:Cc"),
        "AR mx.test.example: pass a.example/s",
    );
    case(&mut pair, "tags that nobody knows", &good().tag("zz", "1"), "AR mx.test.example: pass a.example/s");
    pair.outside("internal mail of domains that are not ours is verified too", good().sign(&plain()))
        .client("localhost", "127.0.0.1")
        .want("AR mx.test.example: pass a.example/s");
}

#[test]
fn altered_messages() {
    let mut pair = Setup::verifying("").zone(|zone| OTHER_RSA.publish(zone, "o", "a.example")).start();
    let signed = good().sign(&plain());
    pair.outside("another body", signed.clone().body("Hallo!\n"))
        .want("AR mx.test.example: fail a.example/s");
    pair.outside("another subject", signed.without("Subject").field("Subject", "x"))
        .want("AR mx.test.example: fail a.example/s");
    pair.outside("a second From below", signed.field("From", "x@c.example"))
        .want("AR mx.test.example: fail a.example/s");
    case(
        &mut pair,
        "the key of somebody else",
        &signature("a.example", "o"),
        "AR mx.test.example: fail a.example/o",
    );
}

#[test]
fn key_records() {
    let p = RSA.record().rsplit_once("p=").unwrap().1.to_owned();
    let records: [(&'static str, &'static str, String, &str, &str); 14] = [
        ("v1", "no v= at all", format!("k=rsa; p={p}"), "pass", "pass"),
        ("v2", "v= of a version to come", format!("v=DKIM2; p={p}"), "fail", "permerror"),
        ("k1", "an unknown key type", format!("v=DKIM1; k=x; p={p}"), "fail", "permerror"),
        ("k2", "no k=: RSA", format!("v=DKIM1; p={p}"), "pass", "pass"),
        ("h1", "h= without sha256", format!("v=DKIM1; h=sha1; p={p}"), "fail", "permerror"),
        ("h2", "h= with sha256 among others", format!("v=DKIM1; h=sha1:sha256; p={p}"), "pass", "pass"),
        ("s1", "s= for something else", format!("v=DKIM1; s=other; p={p}"), "fail", "permerror"),
        ("s2", "s= with email", format!("v=DKIM1; s=email; p={p}"), "pass", "pass"),
        ("s3", "s=*", format!("v=DKIM1; s=*; p={p}"), "pass", "pass"),
        ("p1", "revoked", "v=DKIM1; p=".to_owned(), "fail", "permerror"),
        ("p2", "a key that is none", "v=DKIM1; p=AAAA".to_owned(), "permerror", "permerror"),
        ("p3", "no tag list", "spf1 -all".to_owned(), "temperror", "permerror"),
        ("p4", "no p=", "v=DKIM1; k=rsa".to_owned(), "temperror", "permerror"),
        ("t1", "t=y changes nothing in the result", format!("v=DKIM1; t=y; p={p}"), "pass", "pass"),
    ];
    let setup = records.iter().fold(Setup::verifying(""), |setup, (selector, _, record, ..)| {
        setup.zone(|zone| zone.txt(&format!("{selector}._domainkey.a.example"), record))
    });
    let mut pair = setup.start();
    for (selector, why, _, reference, ours) in records {
        let case = pair.outside(why, signature("a.example", selector).sign(&plain()));
        let line = |result: &str| format!("AR mx.test.example: {result} a.example/{selector}");
        if reference == ours {
            case.want(&line(ours))
        } else {
            case.differs("D33", &line(reference), &line(ours))
        }
    }
}

#[test]
fn flag_s() {
    let record = RSA.record().replace("v=DKIM1;", "v=DKIM1; t=s;");
    let mut pair = Setup::verifying("").zone(|zone| zone.txt("t._domainkey.a.example", &record)).start();
    let signature = signature("a.example", "t");
    case(
        &mut pair,
        "t=s and i= in the domain itself",
        &signature.clone().tag("i", "x@a.example"),
        "AR mx.test.example: pass a.example/t",
    );
    pair.outside("t=s and i= below it", signature.tag("i", "x@sub.a.example").sign(&plain())).differs(
        "D33",
        "AR mx.test.example: fail a.example/t",
        "AR mx.test.example: permerror a.example/t",
    );
}

#[test]
fn small_keys() {
    let (small, small_record) = rsa_key(768);
    let (pem, record) = rsa_key(1024);
    let setup = || {
        Setup::verifying("").zone(|zone| {
            zone.txt("small._domainkey.a.example", &small_record).txt("k._domainkey.a.example", &record)
        })
    };
    let mut pair = setup().start();
    case(
        &mut pair,
        "768 bits",
        &signature("a.example", "small").pem(&small),
        "AR mx.test.example: policy a.example/small",
    );
    case(
        &mut pair,
        "1024 bits",
        &signature("a.example", "k").pem(&pem),
        "AR mx.test.example: pass a.example/k",
    );
    drop(pair);
    let setup =
        Setup::verifying("MinimumKeyBits 2048").zone(|zone| zone.txt("k._domainkey.a.example", &record));
    let mut pair = setup.start();
    case(
        &mut pair,
        "1024 bits where more is asked for",
        &signature("a.example", "k").pem(&pem),
        "AR mx.test.example: policy a.example/k",
    );
    case(&mut pair, "2048 bits", &good(), "AR mx.test.example: pass a.example/s");
}

#[test]
fn times() {
    let mut pair = Setup::verifying("").start();
    let at = |t: u64, x: u64| good().tag("t", &t.to_string()).tag("x", &x.to_string());
    let now = now();
    case(&mut pair, "expired", &at(now - 5000, now - 1000), "AR mx.test.example: permerror a.example/s");
    case(
        &mut pair,
        "expired within ClockDrift",
        &at(now - 5000, now - 100),
        "AR mx.test.example: pass a.example/s",
    );
    case(
        &mut pair,
        "made in the future",
        &good().tag("t", &(now + 1000).to_string()),
        "AR mx.test.example: permerror a.example/s",
    );
    case(
        &mut pair,
        "made in the future within ClockDrift",
        &good().tag("t", &(now + 100).to_string()),
        "AR mx.test.example: pass a.example/s",
    );
    case(&mut pair, "x= before t=", &at(now + 50, now + 20), "AR mx.test.example: permerror a.example/s");
    drop(pair);
    let mut pair = Setup::verifying("ClockDrift 0").start();
    pair.outside("no drift allowed", at(now - 5000, now - 100).sign(&plain())).differs(
        "D41",
        "AR mx.test.example: pass a.example/s",
        "AR mx.test.example: permerror a.example/s",
    );
}

#[test]
fn flawed_signatures() {
    let mut pair = Setup::verifying("").start();
    for (why, signature) in [
        ("v=2", good().tag("v", "2")),
        ("an unknown algorithm", good().tag("a", "dsa-sha256")),
        ("an unknown canonicalization", good().tag("c", "nofws")),
        ("From is not signed", good().tag("h", "To:Subject")),
        ("i= outside of d=", good().tag("i", "x@c.example")),
        ("another query method", good().tag("q", "http")),
    ] {
        case(&mut pair, why, &signature, "AR mx.test.example: permerror a.example/s");
    }
    pair.outside("a body hash that is no base64", good().tag("bh", "%%%").sign(&plain())).differs(
        "D33",
        "AR mx.test.example: fail a.example/s",
        "AR mx.test.example: permerror a.example/s",
    );
}

#[test]
fn signatures_that_cannot_be_read() {
    let mut pair = Setup::verifying("").start();
    for (why, value) in [("v=1 alone", "v=1"), ("no tag list", "hello"), ("empty", "")] {
        pair.outside(why, plain().field("DKIM-Signature", value)).differs(
            "D37",
            "accept @N",
            "AR mx.test.example: permerror",
        );
    }
    pair.outside("no s=", good().without("s").sign(&plain())).differs(
        "D37",
        "accept @N",
        "AR mx.test.example: permerror a.example/",
    );
    let both = good().sign(&plain()).field("DKIM-Signature", "v=1");
    pair.outside("one beside a good one", both).differs(
        "D37",
        "accept @N",
        "AR mx.test.example: pass a.example/s + permerror",
    );
    drop(pair);
    let mut pair = Setup::verifying("On-BadSignature reject").start();
    pair.outside(
        "On-BadSignature is for signatures that are wrong, not for those that cannot be read",
        plain().field("DKIM-Signature", "v=1"),
    )
    .differs("D37", "550 5.7.0 DKIM signature syntax error @N", "AR mx.test.example: permerror");
}

#[test]
fn weak_and_partial_signatures() {
    let p = RSA.record().rsplit_once("p=").unwrap().1.to_owned();
    let mut pair = Setup::verifying("")
        .zone(|zone| zone.txt("any._domainkey.a.example", &format!("v=DKIM1; p={p}")))
        .start();
    pair.outside("rsa-sha1", signature("a.example", "any").sha1().sign(&plain())).differs(
        "D34",
        "AR mx.test.example: pass a.example/any",
        "AR mx.test.example: policy a.example/any",
    );
    let partial = good().tag("l", "8").sign(&plain());
    pair.outside("l= over the whole body", partial.clone()).want("AR mx.test.example: pass a.example/s");
    let longer = partial.body("Hello!\nand more\n");
    pair.outside("text behind the part that l= covers", longer).differs(
        "D35",
        "AR mx.test.example: pass a.example/s",
        "AR mx.test.example: policy a.example/s",
    );
    pair.outside("l= beyond the body", good().tag("l", "999").sign(&plain())).differs(
        "D33",
        "AR mx.test.example: fail a.example/s",
        "AR mx.test.example: permerror a.example/s",
    );
}

#[test]
fn keys_that_are_not_to_be_had() {
    let setup = Setup::verifying("").zone(|zone| {
        zone.fault("f._domainkey.a.example", Fault::ServFail).fault("q._domainkey.a.example", Fault::Silent)
    });
    let mut pair = setup.zone(|zone| zone.a("n._domainkey.a.example", [192, 0, 2, 1].into())).start();
    for (why, selector) in [("no such name", "none"), ("a name without TXT", "n")] {
        pair.outside(why, signature("a.example", selector).sign(&plain())).differs(
            "D33",
            &format!("AR mx.test.example: fail a.example/{selector}"),
            &format!("AR mx.test.example: permerror a.example/{selector}"),
        );
    }
    for (why, selector) in [("the server fails", "f"), ("the server is silent", "q")] {
        pair.outside(why, signature("a.example", selector).sign(&plain())).differs(
            "D32",
            "nothing",
            &format!("AR mx.test.example: temperror a.example/{selector}"),
        );
    }
    drop(pair);
    let setup = Setup::verifying("On-DNSError tempfail")
        .zone(|zone| zone.fault("f._domainkey.a.example", Fault::ServFail));
    let mut pair = setup.start();
    pair.outside("On-DNSError works", signature("a.example", "f").sign(&plain())).differs(
        "D32",
        "nothing",
        "AR mx.test.example: temperror a.example/f, 451 4.7.5 DKIM key retrieval failed",
    );
}

#[test]
fn several_records_at_one_name() {
    let records = |zone: Zone| OTHER_RSA.publish(RSA.publish(zone, "two", "a.example"), "two", "a.example");
    let mut pair = Setup::verifying("")
        .zone(records)
        .zone(|zone| RSA.publish(zone.txt("txt._domainkey.a.example", "hello"), "txt", "a.example"))
        .start();
    pair.outside("two keys, of which the first is right", signature("a.example", "two").sign(&plain()))
        .differs(
            "D43",
            "AR mx.test.example: temperror a.example/two",
            "AR mx.test.example: pass a.example/two",
        );
    pair.outside("a key and another text", signature("a.example", "txt").sign(&plain())).differs(
        "D43",
        "AR mx.test.example: temperror a.example/txt",
        "AR mx.test.example: pass a.example/txt",
    );
}

#[test]
fn long_records() {
    let record = format!("{}; n={}", RSA.record(), "x".repeat(3000));
    let strings: Vec<&[u8]> = RSA.record().as_bytes().chunks(20).collect();
    let zone = |zone: Zone| {
        zone.txt("long._domainkey.a.example", &record).txt_strings("cut._domainkey.a.example", &strings)
    };
    let mut pair = Setup::verifying("").zone(zone).start();
    case(
        &mut pair,
        "a record that needs TCP",
        &signature("a.example", "long"),
        "AR mx.test.example: pass a.example/long",
    );
    case(
        &mut pair,
        "a record in many strings",
        &signature("a.example", "cut"),
        "AR mx.test.example: pass a.example/cut",
    );
}

/// A message with these signatures, from the top down.
fn signed(signatures: &[Signature]) -> Message {
    signatures.iter().rev().fold(plain(), |message, signature| signature.sign(&message))
}

#[test]
fn several_signatures() {
    let setup = || Setup::verifying("").zone(|zone| RSA.publish(zone, "x", "c.example"));
    let foreign = || signature("c.example", "x");
    let mut pair = setup().start();
    pair.outside("all in one field, from the top down", signed(&[good(), foreign()]))
        .want("AR mx.test.example: pass a.example/s + pass c.example/x");
    pair.outside("a bad one above a good one", signed(&[good().tag("bh", WRONG_HASH), foreign()]))
        .want("AR mx.test.example: fail a.example/s + pass c.example/x");
    let three =
        [foreign().tag("bh", WRONG_HASH), foreign().tag("bh", WRONG_HASH), foreign().tag("bh", WRONG_HASH)];
    let four = [three.as_slice(), &[good()]].concat();
    pair.outside("a good one below three others", signed(&four)).differs(
        "D36",
        "AR mx.test.example: fail c.example/x + fail c.example/x + fail c.example/x + neutral a.example/s",
        "AR mx.test.example: fail c.example/x + fail c.example/x + fail c.example/x + pass a.example/s",
    );
    let junk: Vec<Signature> =
        (0..3).map(|n| signature(&format!("junk{n}.example"), "x")).chain([good()]).collect();
    pair.outside("below three whose keys are not there", signed(&junk)).differs("D36", "AR mx.test.example: fail junk0.example/x + fail junk1.example/x + fail junk2.example/x + neutral a.example/s", "AR mx.test.example: permerror junk0.example/x + permerror junk1.example/x + permerror junk2.example/x + pass a.example/s");
    drop(pair);
    let conf = "MaximumSignaturesToVerify 1";
    let mut pair = Setup::verifying(conf).zone(|zone| RSA.publish(zone, "x", "c.example")).start();
    pair.outside("the author's comes first within a limit", signed(&[foreign(), good()])).differs(
        "D36",
        "AR mx.test.example: pass c.example/x + neutral a.example/s",
        "AR mx.test.example: neutral c.example/x + pass a.example/s",
    );
    drop(pair);
    let conf = "MaximumSignaturesToVerify 1\nTrustSignaturesFrom a.example";
    let mut pair = Setup::verifying(conf).zone(|zone| RSA.publish(zone, "x", "c.example")).start();
    pair.outside("trusted domains count beyond it", signed(&[foreign(), good()]))
        .want("AR mx.test.example: neutral c.example/x + pass a.example/s");
}

#[test]
fn no_signatures_of_strangers() {
    let setup = Setup::verifying("MaximumSignaturesToVerify 0\nTrustSignaturesFrom d.example");
    let setup = setup.zone(|zone| RSA.publish(RSA.publish(zone, "x", "c.example"), "y", "d.example"));
    let mut pair = setup.start();
    let all = [signature("c.example", "x"), signature("d.example", "y"), good()];
    pair.outside("0: those of the author's domain and trusted ones", signed(&all))
        .want("AR mx.test.example: neutral c.example/x + pass d.example/y + pass a.example/s");
}

#[test]
fn must_be_signed() {
    let mut pair = Setup::verifying("MustBeSigned Subject,Cc").start();
    case(&mut pair, "signed, or not there", &good(), "AR mx.test.example: pass a.example/s");
    pair.outside("there and not signed", good().tag("h", "From:To").sign(&plain())).differs(
        "D33",
        "AR mx.test.example: fail a.example/s",
        "AR mx.test.example: policy a.example/s",
    );
}

/// The base64 of 32 octets that are no body's hash.
const WRONG_HASH: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
