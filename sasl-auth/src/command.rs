//! `driver = "command"`: a program that answers one JSON question about a user.
//!
//! The question is one JSON object on standard input, then the end of the file:
//!
//! ```json
//! {"v":1,"op":"verify","user":"joe@example.com","password":"…","service":"smtp","mechanism":"PLAIN",
//!  "original_user":"Joe@example.com","login_user":null,"master_user":null,"remote_ip":"192.0.2.1",
//!  "remote_port":40000,"local_ip":null,"local_port":0,"session":"","client_id":"","secured":true}
//! ```
//!
//! `op` is `verify` (is this password right?), `lookup` (of a passdb: is there such a user, and which
//! password is stored? asked when there is no clear-text password), `user` (of a userdb: home, uid, gid)
//! or `list` (all users; no user is named). A password that is not UTF-8
//! comes as `password_base64`. The answer is one JSON object:
//!
//! ```json
//! {"result":"ok","fields":{"home":"/home/joe","uid":1000,"gid":1000,"nologin":true},"reason":""}
//! ```
//!
//! `result` is `ok`, `unknown`, `mismatch` (wrong password), `refused` (may not log in though the password
//! may be right) or `error`; `reason` is for the log. An answer to `lookup` holds `password` (with or
//! without `{SCHEME}`) when the program hands out passwords, as CRAM-MD5 and SCRAM need. An answer to
//! `list` holds `users`. Values are texts, numbers, or `true` for a field without a value; a field that is
//! `false` or `null` is absent. An answer is at most 64 KiB, a list 4 MiB. Exit status 0 says that the
//! answer counts; anything else is a temporary failure, 111 by custom.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use base::secret::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::config::settings;
use crate::fields::Fields;
use crate::passdb::{self, Lookup, StoredPassword, Unavailable, Verdict};
use crate::program::Program;
use crate::request::Request;
use crate::userdb;

/// The longest answer about one user.
const ANSWER_BYTES: usize = 64 * 1024;
/// The longest list of users.
const LIST_BYTES: usize = 4 * 1024 * 1024;

/// The program.
pub struct Command {
    program: Program,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Operation {
    Verify,
    Lookup,
    User,
    List,
}

#[derive(Serialize)]
struct Question<'a> {
    v: u8,
    op: Operation,
    user: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password_base64: Option<String>,
    service: &'a str,
    mechanism: &'a str,
    original_user: &'a str,
    login_user: Option<&'a str>,
    master_user: Option<&'a str>,
    remote_ip: Option<IpAddr>,
    remote_port: u16,
    local_ip: Option<IpAddr>,
    local_port: u16,
    session: &'a str,
    client_id: &'a str,
    secured: bool,
}

/// How a program answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Ok,
    Unknown,
    Mismatch,
    Refused,
    Error,
}

#[derive(Deserialize)]
struct Answer {
    result: Outcome,
    #[serde(default)]
    password: Option<String>,
    #[serde(default, deserialize_with = "ordered")]
    fields: Fields,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    users: Vec<String>,
}

impl Command {
    /// Starts nothing yet. `timeout` is for each question.
    ///
    /// # Errors
    /// A command without a program or with a relative path, or no processes.
    pub fn new(settings: &settings::Command, name: &str, timeout: Duration) -> Result<Self, String> {
        Program::new(name, &settings.command, settings.processes, timeout).map(|program| Self { program })
    }

    /// Asks which password is stored. With a clear-text password nothing is asked here: that is
    /// [`Self::verify`]'s question, and one run of the program is enough.
    ///
    /// # Errors
    /// The program failed, or said so.
    pub async fn lookup(&self, request: &Request, password: Option<&Secret>) -> Result<Lookup, Unavailable> {
        if password.is_some() {
            return Ok(Lookup::OnlyVerifies);
        }
        let answer = self.ask(Operation::Lookup, request, None, ANSWER_BYTES).await?;
        match answer.result {
            Outcome::Ok => {}
            Outcome::Unknown | Outcome::Mismatch => return Ok(Lookup::Unknown),
            Outcome::Refused => {
                let mut entry = passdb::Entry { passwords: Vec::new(), fields: answer.fields };
                entry.fields.set("fail", Some(answer.reason));
                return Ok(Lookup::Found(entry));
            }
            Outcome::Error => return Err(failed(&answer.reason)),
        }
        // Without a password the user is known all the same.
        let text = answer.password.map(Secret::from).filter(|text| !text.is_empty());
        let passwords =
            text.map(|text| StoredPassword { text, ..StoredPassword::default() }).into_iter().collect();
        Ok(Lookup::Found(passdb::Entry { passwords, fields: answer.fields }))
    }

    /// Asks whether the password is right.
    ///
    /// # Errors
    /// The program failed, or said so.
    pub async fn verify(&self, request: &Request, password: &Secret) -> Result<Verdict, Unavailable> {
        let answer = self.ask(Operation::Verify, request, Some(password), ANSWER_BYTES).await?;
        Ok(match answer.result {
            Outcome::Ok => Verdict::Right(answer.fields),
            Outcome::Unknown => Verdict::Unknown,
            Outcome::Mismatch => Verdict::Wrong(answer.reason),
            Outcome::Refused => Verdict::Refused(answer.reason),
            Outcome::Error => return Err(failed(&answer.reason)),
        })
    }

    /// Asks for a user's home and the like.
    ///
    /// # Errors
    /// The program failed, or said so.
    pub async fn user(&self, request: &Request) -> Result<Option<userdb::Entry>, Unavailable> {
        let answer = self.ask(Operation::User, request, None, ANSWER_BYTES).await?;
        match answer.result {
            Outcome::Ok => {
                userdb::Entry::from_fields(answer.fields).map(Some).map_err(|error| failed(&error))
            }
            Outcome::Unknown | Outcome::Mismatch | Outcome::Refused => Ok(None),
            Outcome::Error => Err(failed(&answer.reason)),
        }
    }

    /// Asks for all users.
    ///
    /// # Errors
    /// The program failed, or said so.
    pub async fn list(&self) -> Result<Vec<String>, Unavailable> {
        let answer = self.ask(Operation::List, &Request::default(), None, LIST_BYTES).await?;
        match answer.result {
            Outcome::Ok => Ok(answer.users),
            _ => Err(failed(if answer.reason.is_empty() { "lists no users" } else { &answer.reason })),
        }
    }

    async fn ask(
        &self,
        op: Operation,
        request: &Request,
        password: Option<&Secret>,
        most_bytes: usize,
    ) -> Result<Answer, Unavailable> {
        let question = question(op, request, password).map_err(|error| failed(&error.to_string()))?;
        let text = self.program.ask(&question, most_bytes).await?;
        // Neither the error nor the log may show the text: there may be a password in it.
        serde_json::from_slice(text.expose()).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            failed(&format!(
                "the answer is not the JSON object that is asked for (line {line}, column {column})"
            ))
        })
    }
}

fn failed(reason: &str) -> Unavailable {
    Unavailable::new(if reason.is_empty() {
        "the program says `error`".to_owned()
    } else {
        format!("the program: {reason}")
    })
}

fn question(
    op: Operation,
    request: &Request,
    password: Option<&Secret>,
) -> Result<Secret, serde_json::Error> {
    let text = password.and_then(Secret::expose_text);
    let question = Question {
        v: 1,
        op,
        user: &request.user,
        password: text,
        password_base64: password.filter(|_| text.is_none()).map(|secret| STANDARD.encode(secret.expose())),
        service: &request.service,
        mechanism: request.mechanism,
        original_user: &request.original_user,
        login_user: request.login_user.as_deref(),
        master_user: request.master_user.as_deref(),
        remote_ip: request.remote_ip,
        remote_port: request.remote_port,
        local_ip: request.local_ip,
        local_port: request.local_port,
        session: &request.session,
        client_id: &request.client_id,
        secured: request.secured,
    };
    // Large enough that it nearly never grows and leaves a copy of the password behind.
    let mut bytes = Vec::with_capacity(8192);
    serde_json::to_writer(&mut bytes, &question)?;
    bytes.push(b'\n');
    Ok(Secret::new(bytes))
}

/// A JSON object as fields in its own order.
fn ordered<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Fields, D::Error> {
    struct Ordered;

    impl<'de> Visitor<'de> for Ordered {
        type Value = Fields;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object of texts, numbers and true")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
            let mut fields = Fields::new();
            while let Some((name, value)) = map.next_entry::<String, serde_json::Value>()? {
                if name.is_empty() || name.contains('=') || name.chars().any(char::is_control) {
                    return Err(de::Error::custom(
                        "a field's name is empty or holds `=` or a control character",
                    ));
                }
                match value {
                    serde_json::Value::String(text) => fields.set(name, Some(text)),
                    serde_json::Value::Number(number) => fields.set(name, Some(number.to_string())),
                    serde_json::Value::Bool(true) => fields.set(name, None),
                    serde_json::Value::Bool(false) | serde_json::Value::Null => {}
                    _ => return Err(de::Error::custom("a field's value is an array or an object")),
                }
            }
            Ok(fields)
        }
    }

    deserializer.deserialize_map(Ordered)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(script: &str) -> Command {
        let command = vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()];
        Command::new(&settings::Command { command, processes: 2 }, "test", Duration::from_secs(5)).unwrap()
    }

    fn request() -> Request {
        Request { user: "joe".into(), service: "smtp".into(), mechanism: "PLAIN", ..Request::default() }
    }

    fn says(answer: &str) -> Command {
        assert!(!answer.contains('\''));
        command(&format!("cat >/dev/null; printf '%s' '{answer}'"))
    }

    #[test]
    fn the_question_has_the_password_in_one_form() {
        let text = |password| question(Operation::Verify, &request(), Some(&password)).unwrap();
        let value: serde_json::Value = serde_json::from_slice(text(Secret::from("a\"b")).expose()).unwrap();
        assert_eq!((value["op"].as_str(), value["password"].as_str()), (Some("verify"), Some("a\"b")));
        assert_eq!((value["v"].as_u64(), value["service"].as_str()), (Some(1), Some("smtp")));
        let value: serde_json::Value =
            serde_json::from_slice(text(Secret::new(vec![0xff])).expose()).unwrap();
        assert_eq!((value["password"].as_str(), value["password_base64"].as_str()), (None, Some("/w==")));
    }

    #[tokio::test]
    async fn verdicts() {
        let verify = async |answer: &str| says(answer).verify(&request(), &Secret::from("x")).await;
        let mut fields = Fields::new();
        fields.set("z", Some("1".into()));
        fields.set("nologin", None);
        fields.set("a", Some("t".into()));
        let answer = r#"{"result":"ok","fields":{"z":1,"nologin":true,"a":"t","off":false,"none":null}}"#;
        let Ok(Verdict::Right(found)) = verify(answer).await else { panic!("not right") };
        assert_eq!(found.iter().collect::<Vec<_>>(), fields.iter().collect::<Vec<_>>());
        assert_eq!(verify(r#"{"result":"unknown"}"#).await, Ok(Verdict::Unknown));
        assert_eq!(verify(r#"{"result":"mismatch","reason":"r"}"#).await, Ok(Verdict::Wrong("r".into())));
        assert_eq!(
            verify(r#"{"result":"refused","reason":"locked"}"#).await,
            Ok(Verdict::Refused("locked".into()))
        );
        for (answer, part) in [
            (r#"{"result":"error","reason":"db away"}"#, "db away"),
            (r#"{"result":"OK"}"#, "not the JSON object"),
            (r#"{"password":"secret"}"#, "not the JSON object"),
            ("secret", "not the JSON object"),
            ("", "not the JSON object"),
            (r#"{"result":"ok"} {"result":"ok"}"#, "not the JSON object"),
            (r#"{"result":"ok","fields":{"a=b":"c"}}"#, "not the JSON object"),
            (r#"{"result":"ok","fields":{"a":["secret"]}}"#, "not the JSON object"),
        ] {
            let error = verify(answer).await.unwrap_err();
            assert!(error.detail.contains(part) && !error.detail.contains("secret"), "{answer}: {error}");
        }
    }

    #[tokio::test]
    async fn lookups_and_users() {
        let lookup = async |answer: &str| says(answer).lookup(&request(), None).await;
        let Ok(Lookup::Found(entry)) = lookup(r#"{"result":"ok","password":"{PLAIN}x"}"#).await else {
            panic!("none")
        };
        assert_eq!(entry.passwords[0].text, Secret::from("{PLAIN}x"));
        assert_eq!(lookup(r#"{"result":"ok"}"#).await, Ok(Lookup::Found(passdb::Entry::default())));
        assert_eq!(lookup(r#"{"result":"unknown"}"#).await, Ok(Lookup::Unknown));
        let Ok(Lookup::Found(entry)) = lookup(r#"{"result":"refused","reason":"gone"}"#).await else {
            panic!("none")
        };
        assert_eq!(entry.fields.value("fail"), Some("gone"));

        let user = says(r#"{"result":"ok","fields":{"uid":1000,"gid":"1000","home":"/h","user":"Joe"}}"#);
        let entry = user.user(&request()).await.unwrap().unwrap();
        assert_eq!(entry.user.as_deref(), Some("Joe"));
        assert_eq!(
            entry.fields.iter().collect::<Vec<_>>(),
            [("uid", Some("1000")), ("gid", Some("1000")), ("home", Some("/h"))]
        );
        assert_eq!(says(r#"{"result":"unknown"}"#).user(&request()).await, Ok(None));
        assert_eq!(
            says(r#"{"result":"ok","users":["a","b"]}"#).list().await,
            Ok(vec!["a".into(), "b".into()])
        );
        assert!(says(r#"{"result":"unknown"}"#).list().await.is_err());
    }

    #[tokio::test]
    async fn the_password_is_neither_argument_nor_environment() {
        // The program reads its own command line and environment, and refuses when the password is there.
        let spy = command(
            "cat >/dev/null; if grep -q opensesame /proc/$$/environ; then echo '{\"result\":\"error\"}'; else echo '{\"result\":\"ok\"}'; fi",
        );
        assert!(matches!(spy.verify(&request(), &Secret::from("opensesame")).await, Ok(Verdict::Right(_))));
        let echo = command("grep -q '\"password\":\"opensesame\"' && echo '{\"result\":\"ok\"}'");
        assert!(matches!(echo.verify(&request(), &Secret::from("opensesame")).await, Ok(Verdict::Right(_))));
    }
}
