//! Carries notices out: sendmail, programs and webhooks, a few at a time, each within its time.

use std::error::Error as _;
use std::net::IpAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use super::mail::{self, For};
use super::{Figures, Refusal, Settings, Task};

/// Notices that are sent at the same time.
const AT_ONCE: usize = 4;
/// How long the program of a step may take.
const RUN_TIME: Duration = Duration::from_secs(60);
/// Tries of a webhook, and the time between.
const TRIES: u32 = 3;
const BETWEEN: Duration = Duration::from_secs(2);

/// What sends.
pub(super) struct Sender {
    client: Option<Client>,
    figures: Arc<Mutex<Figures>>,
}

impl Sender {
    pub(super) fn new(settings: &[Settings], figures: Arc<Mutex<Figures>>) -> Result<Self, String> {
        let mut client = None;
        for url in settings.iter().filter_map(|one| one.webhook.as_deref()) {
            check_url(url)?;
            if client.is_none() {
                client = Some(build()?);
            }
        }
        Ok(Self { client, figures })
    }

    /// Takes tasks until there is nobody left who gives any.
    pub(super) async fn run(self, mut tasks: mpsc::Receiver<Task>) {
        let room = Arc::new(Semaphore::new(AT_ONCE));
        let this = Arc::new(self);
        while let Some(task) = tasks.recv().await {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
            let this = Arc::clone(&this);
            tokio::spawn(async move {
                this.one(task).await;
                drop(permit);
            });
        }
    }

    async fn one(&self, task: Task) {
        match task {
            Task::Tell(settings, refusal) => self.tell(&settings, &refusal).await,
            Task::Run(command, refusal) => {
                let program = command.first().map_or("", String::as_str);
                self.count(program, start(&command, &refusal, &json(&refusal), RUN_TIME).await);
            }
        }
    }

    fn count(&self, what: &str, result: Result<(), String>) {
        if let Err(why) = result {
            log::warn!("notice: {what}: {why}");
            self.figures.lock().unwrap_or_else(PoisonError::into_inner).failed += 1;
        }
    }

    async fn tell(&self, settings: &Settings, refusal: &Refusal) {
        let mail = async {
            if !settings.mail_to.is_empty() {
                self.mail(settings, refusal, &settings.mail_to, For::Admin).await;
            }
            let user = [&refusal.key, &refusal.login].into_iter().find(|text| mail::is_address(text));
            if let Some(user) = user.filter(|_| settings.mail_user && !refusal.dry_run) {
                self.mail(settings, refusal, std::slice::from_ref(user), For::User).await;
            }
        };
        let program = async {
            if let Some(name) = settings.command.first() {
                let result = start(&settings.command, refusal, &json(refusal), settings.timeout).await;
                self.count(name, result);
            }
        };
        let webhook = async {
            if let (Some(url), Some(client)) = (&settings.webhook, &self.client) {
                let place = check_url(url).map_or_else(|_| "webhook".to_owned(), |url| place(&url));
                self.count(&place, post(client, url, settings, refusal).await);
            }
        };
        tokio::join!(mail, program, webhook);
    }

    async fn mail(&self, settings: &Settings, refusal: &Refusal, to: &[String], whom: For) {
        let date = date(refusal.time);
        let message = mail::message(refusal, &settings.mail_from, to, whom, &date);
        let mut command =
            vec![settings.sendmail.clone(), "-i".into(), "-f".into(), settings.mail_from.clone()];
        command.push("--".into());
        command.extend_from_slice(to);
        self.count(&settings.sendmail, start(&command, refusal, &message, settings.timeout).await);
    }
}

/// A refusal as one line of JSON.
fn json(refusal: &Refusal) -> String {
    let mut text = serde_json::to_string(refusal).unwrap_or_default();
    text.push('\n');
    text
}

/// Seconds since 1970 as a Date header has them, in UTC.
fn date(secs: u64) -> String {
    let secs = i64::try_from(secs).unwrap_or(0);
    jiff::Timestamp::from_second(secs).map_or_else(
        |_| String::from("Thu, 01 Jan 1970 00:00:00 +0000"),
        |time| time.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string(),
    )
}

/// A child that is the leader of its process group; the group dies with this value.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // There is an id only until the child has been waited for, so it cannot be somebody else's.
        if let Some(id) = self.0.id().and_then(|id| i32::try_from(id).ok()) {
            // The group may be gone already.
            let _gone = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}

/// Runs a program with `input` on standard input, and what matters in its environment.
async fn start(command: &[String], refusal: &Refusal, input: &str, limit: Duration) -> Result<(), String> {
    let Some((program, arguments)) = command.split_first() else { return Err("no program".into()) };
    let mut child = Command::new(program);
    child
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    for (name, value) in [
        ("POLICYD_LIMIT", &refusal.limit),
        ("POLICYD_KEY", &refusal.key),
        ("POLICYD_LOGIN", &refusal.login),
        ("POLICYD_CLIENT", &refusal.client),
    ] {
        child.env(name, value.replace('\0', ""));
    }
    let child = child.spawn().map_err(|error| format!("cannot be started: {error}"))?;
    let mut group = Group(child);
    let stdin = group.0.stdin.take();
    let run = async {
        if let Some(mut stdin) = stdin {
            // A program that ends without reading breaks the pipe; that is its right.
            let _broken = stdin.write_all(input.as_bytes()).await;
        }
        group.0.wait().await.map_err(|error| error.to_string())
    };
    match timeout(limit, run).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(status.to_string()),
        Ok(Err(why)) => Err(why),
        Err(_) => Err(format!("not done within {limit:?}; it was killed")),
    }
}

/// Whether a URL may be told of incidents: https, or http to this host itself.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub fn check_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("no user or password in a URL; set webhook_authorization".into());
    }
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let loopback = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    match url.scheme() {
        "https" => Ok(url),
        "http" if loopback => Ok(url),
        _ => Err("neither an https URL nor http to this host itself".into()),
    }
}

/// A URL for the log, without what may be secret in it.
fn place(url: &Url) -> String {
    url.origin().ascii_serialization()
}

fn build() -> Result<Client, String> {
    Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .referer(false)
        .user_agent(concat!("postrider-policyd/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| format!("cannot set up https: {}", reason(error)))
}

/// Posts JSON; tries again where the other side is at fault.
async fn post(client: &Client, url: &str, settings: &Settings, refusal: &Refusal) -> Result<(), String> {
    let url = check_url(url)?;
    let mut last = String::new();
    for attempt in 0..TRIES {
        if attempt > 0 {
            tokio::time::sleep(BETWEEN * attempt).await;
        }
        let mut request = client
            .post(url.clone())
            .timeout(settings.timeout)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(json(refusal));
        if let Some(secret) = settings.webhook_authorization.as_ref().and_then(|secret| secret.expose_text())
        {
            let Ok(mut value) = HeaderValue::from_str(secret) else {
                return Err("webhook_authorization holds a character that no header may hold".into());
            };
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        match request.send().await {
            Ok(response) if response.status().is_success() => return Ok(()),
            Ok(response) if response.status().is_server_error() => {
                last = format!("answered {}", response.status());
            }
            Ok(response) => return Err(format!("answered {}", response.status())),
            Err(error) => last = reason(error),
        }
    }
    Err(format!("{last} ({TRIES} times)"))
}

/// What went wrong, to the innermost cause, without the URL.
fn reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;
    use crate::notice::Notices;

    pub(in crate::notice) fn refusal() -> Refusal {
        Refusal {
            limit: "per-user".into(),
            key: "joe@a.example".into(),
            login: "joe@a.example".into(),
            client: "192.0.2.1".into(),
            sender: "joe@a.example".into(),
            recipient: "bob@b.example".into(),
            count: "recipients".into(),
            used: 100,
            allowed: 100,
            action: "DEFER_IF_PERMIT".into(),
            retry_after: Some(600),
            step: 1,
            dry_run: false,
            host: "mx.a.example".into(),
            time: 1_800_000_000,
        }
    }

    fn settings() -> Settings {
        Settings {
            limits: Vec::new(),
            mail_to: Vec::new(),
            mail_user: false,
            mail_from: "policyd@a.example".into(),
            sendmail: "/usr/sbin/sendmail".into(),
            command: Vec::new(),
            webhook: None,
            webhook_authorization: None,
            timeout: Duration::from_secs(10),
            quiet: Duration::from_secs(3600),
            dry_run: false,
        }
    }

    async fn soon(what: impl Fn() -> bool) -> bool {
        for _ in 0..500 {
            if what() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }

    #[tokio::test]
    async fn mails_go_to_admin_and_user_once() {
        let folder = tempfile::tempdir().unwrap();
        let sendmail = folder.path().join("sendmail");
        let script =
            format!("#!/bin/sh\n{{ echo \"$@\"; cat; echo .; }} >> {}/out\n", folder.path().display());
        std::fs::write(&sendmail, script).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&sendmail, mode).unwrap();
        let one = Settings {
            mail_to: vec!["admin@a.example".into()],
            mail_user: true,
            sendmail: sendmail.display().to_string(),
            ..settings()
        };
        let notices = Notices::start(vec![one]).unwrap();
        for _ in 0..10 {
            notices.refused(&refusal());
        }
        let out = || std::fs::read_to_string(folder.path().join("out")).unwrap_or_default();
        assert!(soon(|| out().matches("\n.\n").count() == 2).await, "{}", out());
        assert!(
            out().contains("-i -f policyd@a.example -- admin@a.example\nFrom: policyd@a.example\n"),
            "{}",
            out()
        );
        assert!(out().contains("-- joe@a.example\n"));
        assert!(out().contains("Date: Fri, 15 Jan 2027 08:00:00 +0000\n"), "{}", out());
        assert_eq!((notices.figures().begun, notices.figures().failed), (1, 0));
        notices.refused(&Refusal { dry_run: true, ..refusal() });
        assert_eq!(notices.figures().begun, 1, "a dry run is told of only when that is wanted");
    }

    #[tokio::test]
    async fn programs_are_told_and_slow_ones_killed() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let script = format!("cat > {0}.tmp; echo $POLICYD_KEY >> {0}.tmp; mv {0}.tmp {0}", out.display());
        let one = Settings { command: vec!["/bin/sh".into(), "-c".into(), script], ..settings() };
        let slow = Settings {
            command: vec!["/bin/sleep".into(), "600".into()],
            timeout: Duration::from_millis(200),
            ..settings()
        };
        let missing = Settings { command: vec!["/nonexistent".into()], ..settings() };
        let notices = Notices::start(vec![one, slow, missing]).unwrap();
        notices.refused(&refusal());
        assert!(soon(|| out.exists() && notices.figures().failed == 2).await, "{:?}", notices.figures());
        let text = std::fs::read_to_string(&out).unwrap();
        let (json, key) = text.split_once('\n').unwrap();
        assert_eq!(key, "joe@a.example\n");
        let told: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!((&told["limit"], &told["used"]), (&"per-user".into(), &100.into()));
    }

    #[tokio::test]
    async fn a_flood_is_bounded_and_waits_for_nobody() {
        let slow = Settings { command: vec!["/bin/sleep".into(), "600".into()], ..settings() };
        let notices = Notices::start(vec![slow]).unwrap();
        for number in 0..2000 {
            notices.refused(&Refusal { key: format!("k{number}"), ..refusal() });
        }
        let figures = notices.figures();
        assert_eq!(figures.begun + figures.dropped, 2000);
        assert!(figures.begun <= 256 + 8 && figures.dropped > 1700, "{figures:?}");
    }

    #[tokio::test]
    async fn webhooks_are_posted_and_tried_again() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?x=1", listener.local_addr().unwrap());
        let one = Settings {
            webhook: Some(url),
            webhook_authorization: Some("Bearer s3cret".into()),
            ..settings()
        };
        let notices = Notices::start(vec![one]).unwrap();
        notices.refused(&refusal());
        let mut seen = Vec::new();
        for answer in [
            "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            "HTTP/1.1 204 Fine\r\nConnection: close\r\n\r\n",
        ] {
            let accepted = timeout(Duration::from_secs(20), listener.accept()).await.unwrap();
            let (mut stream, _) = accepted.unwrap();
            let mut text = String::new();
            let mut buffer = [0; 4096];
            while !text.contains("\"time\":") {
                let length = stream.read(&mut buffer).await.unwrap();
                text.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            seen.push(text);
        }
        assert!(seen[1].starts_with("POST /hook?x=1 HTTP/1.1\r\n"), "{}", seen[1]);
        assert!(seen[1].contains("authorization: Bearer s3cret\r\n"), "{}", seen[1]);
        assert!(seen[1].contains("\"key\":\"joe@a.example\""), "{}", seen[1]);
        assert_eq!(seen[0], seen[1]);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(notices.figures().failed, 0);
    }

    #[test]
    fn only_safe_urls() {
        for good in
            ["https://hooks.a.example/x", "http://127.0.0.1:9/x", "http://[::1]/", "http://localhost/"]
        {
            assert!(check_url(good).is_ok(), "{good}");
        }
        for bad in
            ["http://hooks.a.example/", "ftp://a.example/", "https://user:pw@a.example/", "nonsense", ""]
        {
            assert!(check_url(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn steps_run_their_program_once() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("hook");
        std::fs::write(
            &program,
            format!("#!/bin/sh\necho \"$1 $POLICYD_LOGIN\" >> {}/out\n", folder.path().display()),
        )
        .unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&program, mode).unwrap();
        let notices = Notices::start(Vec::new()).unwrap();
        let command = [program.display().to_string(), "lock".to_owned()];
        for _ in 0..5 {
            notices.run(&command, &refusal());
        }
        let out = || std::fs::read_to_string(folder.path().join("out")).unwrap_or_default();
        assert!(soon(|| !out().is_empty()).await);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(out(), "lock joe@a.example\n");
    }
}
