//! The client's side of SASL mechanisms, written from the RFCs and sharing no code with the server under test.

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use md5::{Digest as _, Md5};

/// What a client says in one exchange: its first message, then an answer to each challenge.
#[derive(Clone, Debug)]
pub struct Sasl {
    mechanism: String,
    user: String,
    password: String,
    initial: bool,
    step: Step,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Start,
    /// LOGIN after the user's name, SCRAM after the first message (which it keeps, without its GS2 header).
    Middle(String),
    /// SCRAM waits for this signature of the server.
    Final(String),
    End,
}

impl Sasl {
    /// By the mechanism's name: PLAIN, LOGIN, CRAM-MD5, SCRAM-SHA-1, SCRAM-SHA-256, OAUTHBEARER or XOAUTH2 (the
    /// password is the token then), ANONYMOUS and EXTERNAL (the user is what is said).
    #[must_use]
    pub fn new(mechanism: &str, user: &str, password: &str) -> Self {
        Self {
            mechanism: mechanism.to_owned(),
            user: user.to_owned(),
            password: password.to_owned(),
            initial: true,
            step: Step::Start,
        }
    }

    /// Says nothing before the server has asked.
    #[must_use]
    pub fn without_initial(mut self) -> Self {
        self.initial = false;
        self
    }

    /// The mechanism's name.
    #[must_use]
    pub fn mechanism(&self) -> &str {
        &self.mechanism
    }

    /// The first message, if the mechanism has one and it is to be sent along.
    pub fn first(&mut self) -> Option<Vec<u8>> {
        (self.initial && !matches!(self.mechanism.as_str(), "LOGIN" | "CRAM-MD5")).then(|| self.say(b""))
    }

    /// The answer to a challenge. Panics if the server of SCRAM proves to be a wrong one.
    pub fn say(&mut self, challenge: &[u8]) -> Vec<u8> {
        let (user, password) = (self.user.clone(), self.password.clone());
        match (self.mechanism.as_str(), self.step.clone()) {
            ("PLAIN", Step::Start) => {
                self.step = Step::End;
                plain("", &user, &password)
            }
            ("LOGIN", Step::Start) => {
                self.step = Step::Middle(String::new());
                user.into_bytes()
            }
            ("LOGIN", Step::Middle(_)) => {
                self.step = Step::End;
                password.into_bytes()
            }
            ("CRAM-MD5", Step::Start) => {
                self.step = Step::End;
                let digest = hmac_md5(password.as_bytes(), challenge);
                format!("{user} {}", hex(&digest)).into_bytes()
            }
            ("OAUTHBEARER", Step::Start) => {
                self.step = Step::End;
                format!("n,a={user},\x01auth=Bearer {password}\x01\x01").into_bytes()
            }
            ("XOAUTH2", Step::Start) => {
                self.step = Step::End;
                format!("user={user}\x01auth=Bearer {password}\x01\x01").into_bytes()
            }
            // RFC 7628 §3.2.3: the client answers an error with one control-A.
            ("OAUTHBEARER" | "XOAUTH2", Step::End) => vec![1],
            ("ANONYMOUS" | "EXTERNAL", Step::Start) => {
                self.step = Step::End;
                user.into_bytes()
            }
            ("SCRAM-SHA-1" | "SCRAM-SHA-256", Step::Start) => {
                let first = format!("n={},r={NONCE}", user.replace('=', "=3D").replace(',', "=2C"));
                self.step = Step::Middle(first.clone());
                format!("n,,{first}").into_bytes()
            }
            ("SCRAM-SHA-1" | "SCRAM-SHA-256", Step::Middle(first)) => {
                let (answer, signature) = self.proof(&first, &String::from_utf8_lossy(challenge));
                self.step = Step::Final(signature);
                answer.into_bytes()
            }
            ("SCRAM-SHA-1" | "SCRAM-SHA-256", Step::Final(signature)) => {
                assert_eq!(String::from_utf8_lossy(challenge), format!("v={signature}"), "not this server");
                self.step = Step::End;
                Vec::new()
            }
            (mechanism, step) => {
                let challenge = String::from_utf8_lossy(challenge);
                panic!("{mechanism} at {step:?} has no answer to {challenge:?}")
            }
        }
    }

    /// RFC 5802 §3: the client's last message and the signature that the server must show.
    fn proof(&self, first: &str, server: &str) -> (String, String) {
        let value = |name: &str| {
            let found = server.split(',').find_map(|part| part.strip_prefix(name));
            found.unwrap_or_else(|| panic!("no {name} in {server:?}"))
        };
        assert!(value("r=").starts_with(NONCE) && value("r=").len() > NONCE.len(), "{server:?}");
        let (algorithm, derive, mac) = match self.mechanism.as_str() {
            "SCRAM-SHA-1" => (
                &digest::SHA1_FOR_LEGACY_USE_ONLY,
                pbkdf2::PBKDF2_HMAC_SHA1,
                hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            ),
            _ => (&digest::SHA256, pbkdf2::PBKDF2_HMAC_SHA256, hmac::HMAC_SHA256),
        };
        let mut salted = vec![0; algorithm.output_len()];
        let salt = STANDARD.decode(value("s=")).unwrap();
        pbkdf2::derive(derive, value("i=").parse().unwrap(), &salt, self.password.as_bytes(), &mut salted);
        let sign = |key: &[u8], text: &str| hmac::sign(&hmac::Key::new(mac, key), text.as_bytes());
        let client_key = sign(&salted, "Client Key");
        let stored_key = digest::digest(algorithm, client_key.as_ref());
        let answer = format!("c=biws,r={}", value("r="));
        let authenticated = format!("{first},{server},{answer}");
        let signature = sign(stored_key.as_ref(), &authenticated);
        let proof: Vec<u8> =
            client_key.as_ref().iter().zip(signature.as_ref()).map(|(key, sign)| key ^ sign).collect();
        let server_key = sign(&salted, "Server Key");
        let of_server = STANDARD.encode(sign(server_key.as_ref(), &authenticated));
        (format!("{answer},p={}", STANDARD.encode(proof)), of_server)
    }
}

/// The message of PLAIN (RFC 4616).
#[must_use]
pub fn plain(authzid: &str, user: &str, password: &str) -> Vec<u8> {
    format!("{authzid}\0{user}\0{password}").into_bytes()
}

/// A JSON Web Token (RFC 7519) with these claims, a JSON object, signed by HS256.
#[must_use]
pub fn token(claims: &str, secret: &[u8]) -> String {
    let [head, body] = [r#"{"typ":"JWT","alg":"HS256"}"#, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let signature = hmac::sign(&key, format!("{head}.{body}").as_bytes());
    format!("{head}.{body}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// HMAC-MD5 (RFC 2104), which CRAM-MD5 is made of.
fn hmac_md5(key: &[u8], text: &[u8]) -> [u8; 16] {
    let mut block = [0; 64];
    if key.len() > block.len() {
        block[..16].copy_from_slice(&Md5::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let pad = |with: u8| block.map(|byte| byte ^ with);
    let inner = Md5::new().chain_update(pad(0x36)).chain_update(text).finalize();
    Md5::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The client's nonce: nothing secret, so one will do.
const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_2195_and_rfc_7677_examples() {
        let mut sasl = Sasl::new("CRAM-MD5", "tim", "tanstaaftanstaaf");
        let answer = sasl.say(b"<1896.697170952@postoffice.reston.mci.net>");
        assert_eq!(String::from_utf8(answer).unwrap(), "tim b913a602c7eda7a495b4e6e7334d3890");

        let mut sasl = Sasl::new("SCRAM-SHA-256", "user", "pencil");
        assert_eq!(sasl.first().unwrap(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let server = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let answer = String::from_utf8(sasl.say(server.as_bytes())).unwrap();
        assert!(answer.ends_with("p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="), "{answer}");
        assert_eq!(sasl.say(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), b"");
    }
}
