//! Signatures for the verifying cases, made by openssl and a few lines of their own: neither program is asked.

use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use harness::keys::{RSA, TestKey};
use harness::message::{Field, Message};
use harness::scratch::Scratch;
use harness::wait::output;

/// A signature to be made, tag by tag. Its canonicalization is relaxed/relaxed unless `c=` says simple/simple.
#[derive(Clone)]
pub struct Signature {
    tags: Vec<(String, String)>,
    pem: String,
    digest: &'static str,
}

/// `v=1; a=rsa-sha256; c=relaxed/relaxed; d=…; s=…; h=From:To:Subject:Date`, made with [`RSA`].
pub fn signature(domain: &str, selector: &str) -> Signature {
    let tags = [
        ("v", "1"),
        ("a", "rsa-sha256"),
        ("c", "relaxed/relaxed"),
        ("d", domain),
        ("s", selector),
        ("h", "From:To:Subject:Date"),
    ];
    let tags = tags.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    Signature { tags, pem: RSA.pem.to_owned(), digest: "-sha256" }
}

impl Signature {
    /// Sets a tag, in its old place if it has one.
    pub fn tag(mut self, name: &str, value: &str) -> Self {
        match self.tags.iter_mut().find(|(other, _)| other == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.tags.push((name.to_owned(), value.to_owned())),
        }
        self
    }

    /// Leaves a tag out.
    pub fn without(mut self, name: &str) -> Self {
        self.tags.retain(|(other, _)| other != name);
        self
    }

    /// Signs with another key, and says so in `a=`.
    pub fn key(self, key: &TestKey) -> Self {
        Self { pem: key.pem.to_owned(), ..self }.tag("a", key.algorithm)
    }

    /// Signs with an RSA key in PEM.
    pub fn pem(self, pem: &str) -> Self {
        Self { pem: pem.to_owned(), ..self }
    }

    /// Signs and hashes with SHA-1.
    pub fn sha1(self) -> Self {
        Self { digest: "-sha1", ..self }.tag("a", "rsa-sha1")
    }

    /// The message with the signature on top.
    pub fn sign(&self, message: &Message) -> Message {
        let simple = self.tags.iter().any(|(name, value)| name == "c" && value == "simple/simple");
        let mut tags = self.tags.clone();
        if !tags.iter().any(|(name, _)| name == "bh") {
            let body =
                if simple { message.body_bytes().to_vec() } else { relaxed_body(message.body_bytes()) };
            let hash = openssl(&["dgst", self.digest, "-binary"], &body);
            tags.push(("bh".to_owned(), STANDARD.encode(hash)));
        }
        let text: Vec<String> = tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let value = format!(" {}; b=", text.join("; "));
        let mut data = Vec::new();
        let names = tags.iter().find(|(name, _)| name == "h").map_or("", |(_, value)| value.as_str());
        let mut left: Vec<&Field> = message.fields().iter().collect();
        for name in names.split(':') {
            let found = left.iter().rposition(|field| field.name.eq_ignore_ascii_case(name.trim()));
            if let Some(at) = found {
                let field = left.remove(at);
                data.extend(header(&field.name, &field.value, simple));
                data.extend(b"\r\n");
            }
        }
        data.extend(header("DKIM-Signature", value.as_bytes(), simple));
        let signed = STANDARD.encode(self.private(&data));
        let field = Message::default().raw_field("DKIM-Signature", format!("{value}{signed}").as_bytes());
        let mut message = message.clone();
        message.fields_mut().insert(0, field.fields()[0].clone());
        message
    }

    fn private(&self, data: &[u8]) -> Vec<u8> {
        let scratch = Scratch::new("signer");
        let key = scratch.write_secret("key", &self.pem);
        let key = key.to_str().unwrap();
        if self.tags.iter().any(|(name, value)| name == "a" && value.starts_with("ed25519")) {
            // RFC 8463 §3: what is signed is the SHA-256 of the data.
            let hash = scratch.write("hash", openssl(&["dgst", "-sha256", "-binary"], data));
            openssl(&["pkeyutl", "-sign", "-inkey", key, "-rawin", "-in", hash.to_str().unwrap()], b"")
        } else {
            openssl(&["dgst", self.digest, "-sign", key], data)
        }
    }
}

/// A new RSA key of this size: its private half in PEM, and its record.
pub fn rsa_key(bits: u32) -> (String, String) {
    let pem = openssl(&["genrsa", &bits.to_string()], b"");
    let public = openssl(&["rsa", "-pubout", "-outform", "DER"], &pem);
    (String::from_utf8(pem).unwrap(), format!("v=DKIM1; k=rsa; p={}", STANDARD.encode(public)))
}

fn header(name: &str, value: &[u8], simple: bool) -> Vec<u8> {
    if simple {
        return [name.as_bytes(), b":", value].concat();
    }
    let text = String::from_utf8_lossy(value);
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    format!("{}:{}", name.to_lowercase(), words.join(" ")).into_bytes()
}

/// RFC 6376 §3.4.4, for bodies whose lines end in CRLF.
fn relaxed_body(body: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(body);
    let squeeze = |line: &str| {
        let line = line.trim_end_matches([' ', '\t']);
        let mut out = String::new();
        for c in line.chars() {
            match c {
                ' ' | '\t' if out.ends_with(' ') => {}
                ' ' | '\t' => out.push(' '),
                c => out.push(c),
            }
        }
        out
    };
    let mut lines: Vec<String> = text.split("\r\n").map(squeeze).collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines.into_iter().map(|line| line + "\r\n").collect::<String>().into_bytes()
}

fn openssl(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let output = output(Command::new("/usr/bin/openssl").args(arguments), input);
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
