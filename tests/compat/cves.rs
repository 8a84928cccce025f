//! docs/cves.md: the tests that it names are there, and attacks that have no better place.

use std::fs;

use crate::case::{Setup, plain};
use crate::differences::root;
use crate::signer::signature;

#[test]
fn the_tests_that_the_document_names_are_there() {
    let text = fs::read_to_string(root().join("docs/cves.md")).unwrap();
    // Between two back quotes stands every second piece.
    let named: Vec<(&str, &str)> =
        text.split('`').skip(1).step_by(2).filter_map(|quoted| quoted.split_once(".rs::")).collect();
    assert!(named.len() > 30, "{named:?}");
    for (file, name) in named {
        let source =
            fs::read_to_string(root().join(format!("{file}.rs"))).unwrap_or_else(|_| panic!("no {file}.rs"));
        assert!(source.contains(&format!("fn {name}()")), "{file}.rs has no test {name}");
    }
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| Attack |"));
    let without: Vec<&str> = rows.filter(|row| !row.contains(".rs::")).collect();
    assert_eq!(without, [""; 0], "attacks without a test");
}

#[test]
fn domains_that_are_none() {
    let mut pair = Setup::verifying("").start();
    for domain in ["a.example(.b.example", "a.example\"", "a.example/b", "a..example"] {
        let message = signature(domain, "s").sign(&plain());
        for (subject, fields) in pair.outside("text in d= that is read otherwise by others", message).added()
        {
            if subject == harness::milter::Subject::Ours {
                let [field] = fields.as_slice() else { panic!("{fields:?}") };
                assert!(
                    field.starts_with("mx.test.example; dkim=permerror ") && !field.contains("header.d="),
                    "{field}"
                );
            }
        }
    }
}

#[test]
fn fields_added_after_signing() {
    let mut pair = Setup::verifying("").start();
    let oversigned = signature("a.example", "s").tag("h", "From:To:Subject:Date:From:Subject").sign(&plain());
    pair.outside("nothing added", oversigned.clone()).want("AR mx.test.example: pass a.example/s");
    for name in ["Subject", "From"] {
        let mut message = oversigned.clone();
        let field = plain().field(name, "x@c.example").fields().last().unwrap().clone();
        message.fields_mut().insert(0, field);
        pair.outside("a field above all others", message).want("AR mx.test.example: fail a.example/s");
    }
    let plain_signed = signature("a.example", "s").sign(&plain());
    let mut message = plain_signed;
    message.fields_mut().insert(0, plain().field("Subject", "x").fields().last().unwrap().clone());
    pair.outside("a field that is not oversigned: DKIM alone does not notice", message)
        .want("AR mx.test.example: pass a.example/s");
}
