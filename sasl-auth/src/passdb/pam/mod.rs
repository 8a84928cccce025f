//! Passwords that PAM checks, each in a process of its own: a module may hang or crash, it hurts one login.
//!
//! pam_unix waits up to three seconds before it refuses, unless its line says `nodelay`; the service
//! delays failures itself. It reads other users' passwords as root only.

mod worker;

use std::path::Path;
use std::time::Duration;

use base::secret::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{Unavailable, Verdict};
use crate::config::settings;
use crate::fields::Fields;
use crate::program::Program;
use crate::request::Request;
use crate::variables::{Template, Values};

pub use worker::worker_main;

/// The longest answer of a worker. Modules that print to standard output are part of it.
const ANSWER_BYTES: usize = 64 * 1024;

/// PAM, asked through worker processes.
pub struct Pam {
    service: Service,
    session: bool,
    setcred: bool,
    worker: Program,
}

/// Which file of /etc/pam.d is used.
enum Service {
    /// `*`: the one named as the request's service.
    OfRequest,
    Template(Template),
}

/// What a worker is asked, as one JSON object.
#[derive(Serialize, Deserialize)]
struct Question {
    service: String,
    user: String,
    password_base64: String,
    remote_ip: Option<String>,
    tty: String,
    session: bool,
    setcred: bool,
}

/// What it answers, as one line of JSON.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "lowercase")]
enum Answer {
    /// The password is right and the account may be used. `user` is the name that modules made of it.
    Right { user: Option<String> },
    /// `pam_authenticate` refused.
    Wrong { reason: String },
    /// Modules do not know the user.
    Unknown { reason: String },
    /// The account may not be used.
    Refused { reason: String },
    /// The account or its password has expired.
    Expired { reason: String },
    /// PAM could not tell.
    Error { reason: String },
}

impl Pam {
    /// `worker` is the program, with its arguments, that calls [`worker_main`]. It is started for each
    /// check, `settings.processes` at a time, and killed after `timeout`.
    ///
    /// # Errors
    /// A service that is no template, or no processes.
    pub fn new(settings: &settings::Pam, worker: &[String], timeout: Duration) -> Result<Self, String> {
        let service = if settings.service == "*" {
            Service::OfRequest
        } else {
            let template = Template::parse(&settings.service).map_err(|error| format!("service: {error}"))?;
            if !template.has_variables() {
                warn_if_missing(&settings.service);
            }
            Service::Template(template)
        };
        let worker = Program::new("pam", worker, settings.processes, timeout)?;
        Ok(Self { service, session: settings.session, setcred: settings.setcred, worker })
    }

    /// Asks PAM whether the password is right and the account may be used.
    ///
    /// # Errors
    /// PAM could not tell (its service is not configured, a module's back end is away), or the worker
    /// crashed or was too slow.
    pub async fn verify(&self, request: &Request, password: &Secret) -> Result<Verdict, Unavailable> {
        let service = match &self.service {
            Service::OfRequest => request.service.clone(),
            Service::Template(template) => template.expand(&Values::of(request)),
        };
        if service.is_empty() || service.starts_with('.') || service.contains(['/', '\0']) {
            return Err(Unavailable::new(format!("{service:?} cannot be a PAM service")));
        }
        let question = Question {
            service,
            user: request.user.clone(),
            password_base64: String::new(),
            remote_ip: request.remote_ip.map(|ip| ip.to_string()),
            tty: request.service.clone(),
            session: self.session,
            setcred: self.setcred,
        };
        let question =
            with_password(question, password).map_err(|error| Unavailable::new(error.to_string()))?;
        let text = self.worker.ask(&question, ANSWER_BYTES).await?;
        match answer(text.expose()) {
            Some(Answer::Right { user }) => {
                let mut fields = Fields::new();
                if let Some(user) = user.filter(|user| *user != request.user) {
                    fields.set("user", Some(user));
                }
                Ok(Verdict::Right(fields))
            }
            Some(Answer::Wrong { reason }) => Ok(Verdict::Wrong(reason)),
            Some(Answer::Unknown { .. }) => Ok(Verdict::Unknown),
            Some(Answer::Refused { reason }) => Ok(Verdict::Refused(reason)),
            Some(Answer::Expired { reason }) => Ok(Verdict::Expired(reason)),
            Some(Answer::Error { reason }) => Err(Unavailable::new(reason)),
            None => Err(Unavailable::new("the PAM worker gave no answer")),
        }
    }
}

/// The question as a line, with the password's copies wiped afterwards.
fn with_password(mut question: Question, password: &Secret) -> Result<Secret, serde_json::Error> {
    question.password_base64 = STANDARD.encode(password.expose());
    let mut line = Vec::with_capacity(8192);
    let written = serde_json::to_writer(&mut line, &question);
    line.push(b'\n');
    drop(Secret::from(question.password_base64));
    let line = Secret::new(line);
    written.map(|()| line)
}

/// The answer is the last line that is one: modules may have printed others before it.
fn answer(text: &[u8]) -> Option<Answer> {
    text.split(|byte| *byte == b'\n').rev().find_map(|line| serde_json::from_slice(line).ok())
}

/// Without its file PAM uses `other`, which refuses everybody as if the password were wrong.
fn warn_if_missing(service: &str) {
    let lower = service.to_ascii_lowercase();
    let folders = ["/etc/pam.d", "/usr/lib/pam.d", "/usr/share/pam.d"];
    let there = folders.iter().any(|folder| Path::new(folder).join(&lower).exists());
    if !there && !Path::new("/etc/pam.conf").metadata().is_ok_and(|file| file.len() > 0) {
        log::warn!(
            "pam: there is no /etc/pam.d/{lower}; PAM will use its service `other`, which refuses everybody"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pam(script: &str, timeout_ms: u64) -> Pam {
        let settings =
            settings::Pam { service: "smtp-%Ls".into(), session: false, setcred: true, processes: 2 };
        let worker = ["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()];
        Pam::new(&settings, &worker, Duration::from_millis(timeout_ms)).unwrap()
    }

    fn request() -> Request {
        let remote_ip = Some([192, 0, 2, 1].into());
        Request { user: "joe".into(), service: "Sub".into(), remote_ip, ..Request::default() }
    }

    async fn verify(script: &str) -> Result<Verdict, Unavailable> {
        pam(script, 3000).verify(&request(), &Secret::from("opensesame")).await
    }

    #[tokio::test]
    async fn what_the_worker_says_counts() {
        let right = verify(r#"echo 'module says {'; echo '{"result":"right","user":"joe"}'"#).await;
        assert_eq!(right, Ok(Verdict::Right(Fields::new())));
        let Ok(Verdict::Right(fields)) = verify(r#"echo '{"result":"right","user":"jim"}'"#).await else {
            panic!()
        };
        assert_eq!(fields.value("user"), Some("jim"));
        assert_eq!(verify(r#"echo '{"result":"wrong","reason":"r"}'"#).await, Ok(Verdict::Wrong("r".into())));
        assert_eq!(verify(r#"echo '{"result":"unknown","reason":"r"}'"#).await, Ok(Verdict::Unknown));
        assert_eq!(
            verify(r#"echo '{"result":"refused","reason":"r"}'"#).await,
            Ok(Verdict::Refused("r".into()))
        );
        assert_eq!(
            verify(r#"echo '{"result":"expired","reason":"r"}'"#).await,
            Ok(Verdict::Expired("r".into()))
        );
        assert_eq!(verify(r#"echo '{"result":"error","reason":"r"}'"#).await, Err(Unavailable::new("r")));
        for script in ["", "echo right", "kill -SEGV $$", r#"echo '{"result":"right"}'; exit 1"#] {
            assert!(verify(script).await.is_err(), "{script}");
        }
        let slow = pam("sleep 600", 200).verify(&request(), &Secret::from("x")).await.unwrap_err();
        assert!(slow.detail.contains("no answer within"), "{slow}");
    }

    #[tokio::test]
    async fn the_worker_is_told_everything() {
        let told = concat!(
            r#"{"service":"smtp-sub","user":"joe","password_base64":"b3BlbnNlc2FtZQ==","remote_ip":"192.0.2.1","#,
            r#""tty":"Sub","session":false,"setcred":true}"#
        );
        let script = format!(r#"[ "$(cat)" = '{told}' ] && echo '{{"result":"right","user":null}}'"#);
        assert_eq!(verify(&script).await, Ok(Verdict::Right(Fields::new())));
    }

    #[tokio::test]
    async fn a_service_is_a_file_of_pam_d() {
        let settings = settings::Pam { service: "*".into(), session: false, setcred: false, processes: 1 };
        let pam = Pam::new(&settings, &["/bin/false".into()], Duration::from_secs(1)).unwrap();
        for service in ["", "../shadow", "a/b", ".x"] {
            let request = Request { service: service.into(), ..request() };
            let error = pam.verify(&request, &Secret::from("x")).await.unwrap_err();
            assert!(error.detail.contains("cannot be a PAM service"), "{error}");
        }
    }
}
