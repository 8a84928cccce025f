//! What the On- parameters make of results.

use harness::keys::RSA;

use crate::case::{Setup, plain};
use crate::signer::{Signature, signature};

fn good() -> Signature {
    signature("a.example", "s")
}

#[test]
fn actions_for_bad_signatures() {
    let bad = || good().sign(&plain()).body("Hallo!\n");
    for (action, end) in [
        ("accept", ""),
        ("Reject", ", 550 5.7.0 bad DKIM signature data"),
        ("t", ", 451 4.7.0 bad DKIM signature data"),
        ("discard", ", discard"),
    ] {
        let mut pair = Setup::verifying(&format!("On-BadSignature {action}"))
            .zone(|zone| zone.txt("gone._domainkey.a.example", "v=DKIM1; p="))
            .start();
        pair.outside("a bad signature", bad()).want(&format!("AR mx.test.example: fail a.example/s{end}"));
        pair.outside("a good one", good().sign(&plain())).want("AR mx.test.example: pass a.example/s");
        if action == "Reject" {
            pair.outside("a revoked key", signature("a.example", "gone").sign(&plain())).differs(
                "D38",
                "AR mx.test.example: fail a.example/gone, reject",
                "AR mx.test.example: permerror a.example/gone, 550 5.7.0 bad DKIM signature data",
            );
            pair.outside("no signature is another matter", plain()).untouched();
        }
    }
}

#[test]
fn quarantine() {
    let mut pair =
        Setup::verifying("On-BadSignature quarantine\nOn-KeyNotFound q\nOn-NoSignature quarantine").start();
    pair.outside("a bad signature", good().sign(&plain()).body("Hallo!\n")).differs(
        "D40",
        "AR mx.test.example: fail a.example/s",
        "AR mx.test.example: fail a.example/s, hold opendkim",
    );
    pair.outside("no key record", signature("a.example", "none").sign(&plain())).differs(
        "D40",
        "AR mx.test.example: fail a.example/none",
        "AR mx.test.example: permerror a.example/none, hold opendkim",
    );
    pair.outside("no signature", plain()).differs("D40", "nothing", "hold opendkim");
    pair.outside("a good one", good().sign(&plain())).want("AR mx.test.example: pass a.example/s");
}

#[test]
fn keys_under_test_cost_nothing() {
    let record = RSA.record().replace("v=DKIM1;", "v=DKIM1; t=y;");
    let mut pair = Setup::verifying("On-BadSignature reject")
        .zone(|zone| zone.txt("t._domainkey.a.example", &record))
        .start();
    let message = signature("a.example", "t").sign(&plain()).body("Hallo!\n");
    pair.outside("t=y: a bad signature is accepted", message).want("AR mx.test.example: fail a.example/t");
}

#[test]
fn actions_for_missing_keys() {
    for (action, end) in [
        ("reject", ", 550 5.7.0 DKIM key retrieval failed"),
        ("tempfail", ", 451 4.7.5 DKIM key retrieval failed"),
        ("discard", ", discard"),
    ] {
        let mut pair = Setup::verifying(&format!("On-KeyNotFound {action}")).start();
        pair.outside("no key record", signature("a.example", "none").sign(&plain())).differs(
            "D33",
            &format!("AR mx.test.example: fail a.example/none{end}"),
            &format!("AR mx.test.example: permerror a.example/none{end}"),
        );
    }
}

#[test]
fn actions_for_unsigned_mail() {
    for (action, want) in [
        ("reject", "550 5.7.0 no DKIM signature data"),
        ("tempfail", "451 4.7.0 no DKIM signature data"),
        ("discard", "discard"),
    ] {
        let mut pair = Setup::verifying(&format!("On-NoSignature {action}")).start();
        pair.outside("no signature", plain()).differs("D51", want, &format!("{want} @N"));
        pair.outside("a signature", good().sign(&plain())).want("AR mx.test.example: pass a.example/s");
    }
    let mut pair = Setup::verifying("On-NoSignature reject\nAlwaysAddARHeader yes").start();
    pair.outside("AlwaysAddARHeader does not switch the action off", plain()).differs(
        "D39",
        "AR mx.test.example: none",
        "AR mx.test.example: none, 550 5.7.0 no DKIM signature data",
    );
}

#[test]
fn the_default_action() {
    let mut pair = Setup::verifying("On-BadSignature accept\nOn-Default reject").start();
    pair.outside("On-Default is for those that are not set", plain()).differs(
        "D51",
        "550 5.7.0 no DKIM signature data",
        "550 5.7.0 no DKIM signature data @N",
    );
    pair.outside("whatever the order in the file", good().sign(&plain()).body("x\n"))
        .want("AR mx.test.example: fail a.example/s");
}
