//! The fuzz targets without a fuzzer: the seeds and always the same changes of them, in some seconds.
//!
//! `SMOKE_ROUNDS=10` makes ten times as many changes. An input that fails is printed in hexadecimal
//! and kept in the build's folder for temporary files.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use targets::{TARGETS, Target};

/// The longest input that is made.
const LONGEST: usize = 8192;

#[test]
fn packets() {
    run("packets", 15_000);
}

#[test]
fn tag_list() {
    run("tag_list", 80_000);
}

#[test]
fn signature() {
    run("signature", 20_000);
}

#[test]
fn key_record() {
    run("key_record", 10_000);
}

#[test]
fn address() {
    run("address", 80_000);
}

#[test]
fn authres() {
    run("authres", 40_000);
}

#[test]
fn configuration() {
    run("configuration", 1_000);
}

#[test]
fn data_set() {
    run("data_set", 1_500);
}

#[test]
fn header_and_body() {
    run("header_and_body", 10_000);
}

#[test]
fn sieve_script() {
    run("sieve_script", 3_000);
}

#[test]
fn sieve_answer() {
    run("sieve_answer", 10_000);
}

#[test]
fn auth_session() {
    run("auth_session", 20_000);
}

#[test]
fn mechanism() {
    run("mechanism", 40_000);
}

#[test]
fn stored_password() {
    run("stored_password", 10_000);
}

#[test]
fn token() {
    run("token", 5_000);
}

#[test]
fn variables() {
    run("variables", 30_000);
}

#[test]
fn passwd_file() {
    run("passwd_file", 40_000);
}

#[test]
fn lmtp_session() {
    run("lmtp_session", 5_000);
}

#[test]
fn auth_configuration() {
    run("auth_configuration", 1_000);
}

#[test]
fn delivered_message() {
    run("delivered_message", 5_000);
}

#[test]
fn place() {
    run("place", 20_000);
}

#[test]
fn lda_configuration() {
    run("lda_configuration", 1_000);
}

#[test]
fn userdb_reply() {
    run("userdb_reply", 20_000);
}

#[test]
fn policy_requests() {
    run("policy_requests", 30_000);
}

#[test]
fn policy_configuration() {
    run("policy_configuration", 1_000);
}

#[test]
fn policy_state() {
    run("policy_state", 40_000);
}

#[test]
fn policy_import() {
    run("policy_import", 1_000);
}

#[test]
fn postfix_check() {
    run("postfix_check", 1_000);
}

/// Every target has a test above and seeds in its folder, and no folder is left over.
#[test]
fn each_target_has_seeds() {
    let mut folders: Vec<String> = fs::read_dir(seeds_folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    folders.sort();
    let mut names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    assert_eq!(folders, names);
    let text = include_str!("smoke.rs");
    let missing: Vec<&str> =
        names.into_iter().filter(|name| !text.contains(&format!("run(\"{name}\","))).collect();
    assert_eq!(missing, [""; 0]);
}

fn seeds_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../seeds")
}

/// The seeds of a target in the order of their names; configurations of other tests are some, too.
fn seeds(name: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(seeds_folder().join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
    if name == "configuration" {
        let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cases/config-bad");
        let files = fs::read_dir(cases).unwrap().map(|entry| entry.unwrap().path().join("opendkim.conf"));
        // Cases of other services have a file of another name.
        paths.extend(files.filter(|path| path.is_file()));
    }
    paths.sort();
    assert!(!paths.is_empty(), "{name} has no seeds");
    paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

fn run(name: &str, count: usize) {
    let rounds = std::env::var("SMOKE_ROUNDS").map_or(1, |rounds| rounds.parse().expect("a number"));
    let target = TARGETS.iter().find(|(known, _)| *known == name).expect("a target of that name");
    let seeds = seeds(name);
    seeds.iter().for_each(|seed| try_one(target, seed));
    try_one(target, b"");
    let mut change = Change::new(name);
    for _ in 0..count * rounds {
        let input = change.of(&seeds);
        try_one(target, &input);
    }
}

fn try_one((name, target): &Target, input: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| target(input))).is_err() {
        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}"));
        fs::write(&path, input).unwrap();
        panic!("{name} fails with the input in {}: {hex}", path.display());
    }
}

/// Makes inputs out of seeds; always the same ones for the same name.
struct Change {
    state: u64,
}

impl Change {
    fn new(name: &str) -> Self {
        let state = name.bytes().fold(0x9e37_79b9_7f4a_7c15, |state: u64, byte| {
            (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self { state }
    }

    /// xorshift64.
    fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    /// A number below `limit`; 0 when that is 0.
    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 11) as usize % limit.max(1)
    }

    fn of(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut input = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(5) {
            let at = self.below(input.len() + 1);
            let to = (at + self.below(24)).min(input.len());
            match self.below(9) {
                0 => self.flip_bit(&mut input),
                1 => self.set_byte(&mut input),
                2 => input.truncate(at),
                3 => drop(input.drain(at..to)),
                4 => {
                    let copy = input[at..to].to_vec();
                    let times = 1 + self.below(40);
                    drop(input.splice(at..at, copy.repeat(times)));
                }
                5 => self.splice_other(&mut input, at, seeds),
                6 => {
                    let words = WORDS[self.below(WORDS.len())];
                    drop(input.splice(at..at, words.iter().copied()));
                }
                7 => self.set_length(&mut input, at),
                _ => {
                    let bytes: Vec<u8> = (0..self.below(6)).map(|_| self.next() as u8).collect();
                    drop(input.splice(at..at, bytes));
                }
            }
        }
        input.truncate(LONGEST);
        input
    }

    fn flip_bit(&mut self, input: &mut [u8]) {
        let at = self.below(input.len());
        let bit = self.below(8);
        if let Some(byte) = input.get_mut(at) {
            *byte ^= 1 << bit;
        }
    }

    fn set_byte(&mut self, input: &mut [u8]) {
        let at = self.below(input.len());
        let values = b"\0\n\r\t \x1f\"#%()*+,-./09:;<=>@AZ[\\]^_az{|}~\x7f\x80\xc3\xff";
        let value = values[self.below(values.len())];
        if let Some(byte) = input.get_mut(at) {
            *byte = value;
        }
    }

    /// What stands in another seed from some place on, put here instead of the rest.
    fn splice_other(&mut self, input: &mut Vec<u8>, at: usize, seeds: &[Vec<u8>]) {
        let other = &seeds[self.below(seeds.len())];
        let from = self.below(other.len() + 1);
        input.truncate(at);
        input.extend_from_slice(&other[from..]);
    }

    /// Four bytes as the length of a packet.
    fn set_length(&mut self, input: &mut [u8], at: usize) {
        let lengths = [0, 1, 2, 5, 16, 255, 65_535, 1 << 20, (1 << 20) + 1, u32::MAX];
        let length = lengths[self.below(lengths.len())].to_be_bytes();
        if let Some(place) = input.get_mut(at..at + 4) {
            place.copy_from_slice(&length);
        }
    }
}

/// Pieces of text that mean something to some target.
const WORDS: [&[u8]; 28] = [
    b"\r\n",
    b"\r\n ",
    b"\n\n",
    b"; ",
    b"=",
    b"v=1;",
    b"b=",
    b"bh=",
    b"d=example.com;",
    b"h=from:to;",
    b"l=0;",
    b"t=99999999999;",
    b"i=@example.com;",
    b"c=relaxed/simple;",
    b"p=",
    b"k=ed25519;",
    b"\"",
    b"(",
    b")",
    b"\\",
    b"<a@example.com>",
    b"\xc3\xa9.example",
    b"xn--",
    b"csl:",
    b"refile:",
    b"mx.test;",
    b"*@",
    b"From:",
];
