//! Runs the conformance suite's cases of DKIM and of forged results through the milter's pure parts.
//!
//! The cases are no part of the repository: they are looked for at `POSTRIDER_VECTORS`, then
//! beside the repository; without them there is nothing to do.
#![allow(clippy::disallowed_methods, reason = "the place of the cases may be given in the environment")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "the helpers of a test are test code too")]

use std::collections::HashMap;
use std::io::Write as _;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use milter::authres::could_be_ours;
use milter::dkim::{HeaderBlock, KeyAnswer, SignatureResult, Verification, VerifyPolicy};
use serde_json::Value;

/// Cases with another result than the suite lists, and why that is right.
const EXCEPTIONS: &[(&str, &str)] = &[];

#[test]
fn every_case_has_a_listed_result() {
    let Some(cases) = cases("dkim") else { return };
    assert!(cases.len() >= 100, "only {} DKIM cases", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let id = case["id"].as_str().unwrap();
        let results = verify(case);
        let differs = compare(&case["expect"]["dkim"], &results).err();
        match (differs, EXCEPTIONS.iter().any(|(known, _)| *known == id)) {
            (Some(what), false) => wrong.push(format!("{id}: {what}")),
            (None, true) => wrong.push(format!("{id}: an exception that has none of its own any more")),
            _ => {}
        }
    }
    println!("{} of {} cases as listed", cases.len() - wrong.len() - EXCEPTIONS.len(), cases.len());
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn forged_results_and_no_others_are_removed() {
    let Some(cases) = cases("ar") else { return };
    assert!(cases.len() >= 10, "only {} cases of Authentication-Results fields", cases.len());
    for case in &cases {
        let message = BASE64_STANDARD.decode(case["message"].as_str().unwrap()).unwrap();
        let (headers, _) = split(&message);
        for (verdict, ours) in [("removed", true), ("kept", false)] {
            for value in case["expect"][verdict].as_array().into_iter().flatten() {
                let value = value.as_str().unwrap().replace('\n', "\r\n");
                let field = headers
                    .iter()
                    .find(|field| {
                        field.is_called(b"Authentication-Results")
                            && field.value.trim_ascii() == value.as_bytes()
                    })
                    .unwrap_or_else(|| panic!("{}: no field {value}", case["id"]));
                let found = could_be_ours(field.value, |id| id == "mx.test.example");
                assert_eq!(found, ours, "{}: {value}", case["id"]);
            }
        }
    }
}

/// The cases of one suite; none, and a line about it, when they are not at hand.
fn cases(suite: &str) -> Option<Vec<Value>> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/vectors/public.jsonl");
    let path = std::env::var("POSTRIDER_VECTORS").unwrap_or_else(|_| beside.to_owned());
    let Ok(text) = std::fs::read_to_string(path) else {
        // Not by println: the line is to be seen although the test succeeds.
        std::io::stderr().write_all(b"skipped: no conformance vectors\n").unwrap();
        return None;
    };
    let all = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    Some(all.filter(|case| case["suite"] == suite).collect())
}

fn verify(case: &Value) -> Vec<SignatureResult> {
    let message = BASE64_STANDARD.decode(case["message"].as_str().unwrap()).unwrap();
    let (headers, body) = split(&message);
    let now = case["now"].as_u64().unwrap_or_else(base::clock::unix_now);
    let mut verification = Verification::begin(&headers, None, |_| false, &VerifyPolicy::at(now));
    let zone = Zone::new(&case["zone"]);
    let answers: Vec<KeyAnswer> = verification.queries().map(|(_, name)| zone.txt(name)).collect();
    body.chunks(65_535).for_each(|chunk| verification.body(chunk));
    verification.finish(|query| answers.get(query))
}

/// Fields as a milter gets them: value after the colon, folds as LF.
fn split(message: &[u8]) -> (HeaderBlock, &[u8]) {
    let mut headers = HeaderBlock::new();
    let mut rest = message;
    let mut field: Vec<u8> = Vec::new();
    let mut push = |field: &mut Vec<u8>| {
        if let Some(colon) = field.iter().position(|octet| *octet == b':') {
            headers.push(&field[..colon], &field[colon + 1..]);
        }
        field.clear();
    };
    while !rest.is_empty() {
        let end = rest.windows(2).position(|pair| pair == b"\r\n").unwrap_or(rest.len());
        let line = &rest[..end];
        rest = rest.get(end + 2..).unwrap_or_default();
        if line.is_empty() {
            break;
        }
        if matches!(line[0], b' ' | b'\t') && !field.is_empty() {
            field.push(b'\n');
        } else {
            push(&mut field);
        }
        field.extend_from_slice(line);
    }
    push(&mut field);
    (headers, rest)
}

/// The zone of a case: names in lower case to their records, each a list with the type first.
struct Zone<'a>(HashMap<String, &'a Vec<Value>>);

impl<'a> Zone<'a> {
    fn new(zone: &'a Value) -> Self {
        let records = zone.as_object().unwrap().iter();
        let normal = |name: &str| name.trim_end_matches('.').to_lowercase();
        Self(records.map(|(name, records)| (normal(name), records.as_array().unwrap())).collect())
    }

    /// The records at a name, those of a wildcard above it, or none if only names below it exist.
    fn find(&self, name: &str) -> Option<&[Value]> {
        let exists = |name: &str| {
            let below = format!(".{name}");
            self.0.contains_key(name) || self.0.keys().any(|known| known.ends_with(&below))
        };
        if let Some(records) = self.0.get(name) {
            return Some(records);
        }
        if exists(name) {
            return Some(&[]);
        }
        let mut parent = name;
        while let Some((_, above)) = parent.split_once('.') {
            if let Some(records) = self.0.get(&format!("*.{above}")) {
                return Some(records);
            }
            if exists(above) {
                return None;
            }
            parent = above;
        }
        None
    }

    fn txt(&self, name: &str) -> KeyAnswer {
        let mut name = name.to_lowercase();
        for _ in 0..12 {
            let Some(records) = self.find(&name) else { return KeyAnswer::NotFound };
            let of_type = |record: &&Value, kind: &str| record[0] == kind;
            let texts: Vec<Vec<u8>> = records
                .iter()
                .filter(|record| of_type(record, "TXT"))
                .map(|record| octets(&record[1]))
                .collect();
            for record in records {
                let applies = record[1].as_str().map_or(texts.is_empty(), |kind| kind == "TXT");
                match record[0].as_str().unwrap() {
                    failure @ ("SERVFAIL" | "REFUSED" | "TIMEOUT") if applies => {
                        return KeyAnswer::TempFail(failure.to_owned());
                    }
                    "NXDOMAIN" if applies => return KeyAnswer::NotFound,
                    _ => {}
                }
            }
            if !texts.is_empty() {
                return KeyAnswer::Records(texts);
            }
            let Some(alias) = records.iter().find(|record| of_type(record, "CNAME")) else {
                return KeyAnswer::NotFound;
            };
            name = alias[1].as_str().unwrap().trim_end_matches('.').to_lowercase();
        }
        KeyAnswer::TempFail("CNAME chain too long".to_owned())
    }
}

/// One string or several; a character up to U+00FF is one octet.
fn octets(value: &Value) -> Vec<u8> {
    let one = |text: &str| -> Vec<u8> {
        let latin1: Result<Vec<u8>, _> = text.chars().map(|c| u8::try_from(u32::from(c))).collect();
        latin1.unwrap_or_else(|_| text.as_bytes().to_vec())
    };
    match value {
        Value::Array(strings) => strings.iter().flat_map(|text| one(text.as_str().unwrap())).collect(),
        text => one(text.as_str().unwrap()),
    }
}

/// Each expected signature is matched with the result that has its `b=`, else its domain and
/// selector, and its result must be one that is listed. Nothing else may pass.
fn compare(expected: &Value, results: &[SignatureResult]) -> Result<(), String> {
    let mut left: Vec<&SignatureResult> = results.iter().collect();
    let expected = expected.as_array().unwrap();
    for want in expected {
        let listed: Vec<&str> = match &want["result"] {
            Value::Array(listed) => listed.iter().map(|result| result.as_str().unwrap()).collect(),
            one => vec![one.as_str().unwrap()],
        };
        let is_like = |shown: &Option<String>, key: &str| {
            want[key]
                .as_str()
                .is_none_or(|text| shown.as_ref().is_some_and(|it| it.eq_ignore_ascii_case(text)))
        };
        let b = want["b"].as_str().unwrap_or_default();
        let mut fitting: Vec<usize> = (0..left.len())
            .filter(|at| {
                let shown = left[*at].claims.signature_base64.get(..8);
                shown.is_some_and(|shown| b.starts_with(shown))
            })
            .collect();
        if fitting.is_empty() {
            let claims = |at: &usize| &left[*at].claims;
            fitting = (0..left.len())
                .filter(|at| is_like(&claims(at).domain, "d") && is_like(&claims(at).selector, "s"))
                .collect();
        }
        if fitting.is_empty() && expected.len() == 1 {
            fitting = (0..left.len()).collect();
        }
        let is_listed = |at: &&usize| listed.contains(&left[**at].result.as_str());
        let Some(at) = fitting.iter().find(is_listed).or(fitting.first()).copied() else {
            if want["optional"] == true {
                continue;
            }
            return Err(format!("want {listed:?} for {want}, got nothing in {results:?}"));
        };
        let got = left.remove(at);
        if !listed.contains(&got.result.as_str()) {
            return Err(format!("want {listed:?}, got {} ({})", got.result, got.reason));
        }
    }
    match left.iter().find(|it| expected.is_empty() || it.result.as_str() == "pass") {
        Some(extra) => Err(format!("one more result than listed: {} ({})", extra.result, extra.reason)),
        None => Ok(()),
    }
}
