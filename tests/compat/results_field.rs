//! The Authentication-Results field that is added: when, and under which name; DKIM-Filter.

use harness::milter::Subject;

use crate::case::{Setup, plain};
use crate::signer::signature;

fn good() -> harness::message::Message {
    signature("a.example", "s").sign(&plain())
}

#[test]
fn unsigned_mail() {
    let mut pair = Setup::verifying("").start();
    pair.outside("nothing is said by default", plain()).untouched();
    drop(pair);
    let mut pair = Setup::verifying("AlwaysAddARHeader yes").start();
    pair.outside("or none, when asked for", plain()).want("AR mx.test.example: none");
}

#[test]
fn names() {
    let mut pair = Setup::verifying("").start();
    pair.outside("the MTA's name", good()).want("AR mx.test.example: pass a.example/s");
    pair.outside("an MTA that does not say its name", good())
        .no_macro("j")
        .want("AR unknown-host: pass a.example/s");
    drop(pair);
    let mut pair = Setup::verifying("AuthservID Auth.Example").start();
    pair.outside("a name that is set", good()).want("AR Auth.Example: pass a.example/s");
    drop(pair);
    let host = nix::unistd::gethostname().unwrap().into_string().unwrap();
    let mut pair = Setup::verifying("AuthservID HOSTNAME").start();
    pair.outside("the machine's name", good()).want(&format!("AR {host}: pass a.example/s"));
    drop(pair);
    let mut pair = Setup::verifying("AuthservIDWithJobID yes").start();
    pair.outside("with the queue id", good()).want("AR mx.test.example/4Xq2Test01z1: pass a.example/s");
    pair.outside("of which nothing is known", good())
        .no_macro("i")
        .want("AR mx.test.example/(unknown-jobid): pass a.example/s");
}

#[test]
fn no_header_b() {
    let mut pair = Setup::verifying("NoHeaderB yes").start();
    pair.outside("without header.b", good()).want("AR mx.test.example: pass a.example/s without b");
}

#[test]
fn software_header() {
    let mut pair = Setup::verifying("SoftwareHeader yes").start();
    pair.outside("above the result field", good()).want("AR mx.test.example: pass a.example/s, +DKIM-Filter");
    pair.outside("on unsigned mail, too", plain()).want("+DKIM-Filter");
    drop(pair);
    let mut pair = Setup::signing("X-Header yes").start();
    pair.case("its old name; on signed mail").want("sign a.example/s, +DKIM-Filter");
}

/// Differences D44, D45, D48, D49 and D50.
#[test]
fn what_the_field_says_beside_the_results() {
    let mut pair = Setup::verifying("SoftwareHeader yes").start();
    let bad = good().body("Hallo!\n");
    let unknown = signature("a.example", "s").tag("v", "2").tag("a", "ed25519-sha256").sign(&plain());
    for (subject, fields) in pair.outside("a bad body", bad).added() {
        let [result, program] = fields.as_slice() else { panic!("{fields:?}") };
        assert!(result.contains("header.i=@a.example header.a=rsa-sha256 header.s=s header.b="), "{result}");
        match subject {
            Subject::Reference => {
                assert!(
                    result.contains("dkim=fail reason=\"signature verification failed\" (2048-bit key"),
                    "{result}"
                );
                assert!(result.ends_with("dkim-atps=neutral"), "{result}");
                assert_eq!(program, "OpenDKIM Filter v2.11.0 mx.test.example 4Xq2Test01z1");
            }
            Subject::Ours => {
                assert!(
                    result.contains("dkim=fail reason=\"body hash did not verify\" (2048-bit key)"),
                    "{result}"
                );
                assert!(!result.contains("atps"), "{result}");
                assert!(
                    program.starts_with("Postrider v") && program.ends_with(" mx.test.example 4Xq2Test01z1"),
                    "{program}"
                );
            }
        }
    }
    for (subject, fields) in pair.outside("a version that is unknown", unknown).added() {
        let (algorithm, has_reason) = match subject {
            Subject::Reference => ("header.a=rsa-sha1", false),
            Subject::Ours => ("header.a=ed25519-sha256", true),
        };
        assert!(fields[0].contains(algorithm), "{subject:?}: {fields:?}");
        assert_eq!(fields[0].contains("reason=\"unsupported signature version\""), has_reason, "{fields:?}");
    }
}
