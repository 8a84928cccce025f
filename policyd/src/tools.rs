//! What the command line does besides running the service: asking it, importing, comparing with Postfix.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base::config::{Report, Source};
use base::exit;

use crate::cli::Import;
use crate::config::Settings;
use crate::config::settings::{Count, LimitStage};
use crate::control::client::{Silent, ask};
use crate::control::message::{Answer, Question};
use crate::control::show;
use crate::import;
use crate::postfix_check::{self, Ours};

/// Where the control socket is when no configuration can be read.
pub const CONTROL: &str = "/run/postrider-policyd/control";

/// The longest file that is imported, and the longest output of postconf.
const LONGEST: u64 = 4 << 20;

/// Asks the service; gives the text for standard output.
///
/// # Errors
/// An exit code and a sentence.
pub fn ask_service(socket: &Path, question: &Question, json: bool) -> Result<String, (u8, String)> {
    let answer = ask(socket, question).map_err(|silent| match silent {
        Silent::NoService(text) => (exit::UNAVAILABLE, text),
        Silent::NotAllowed(text) => (exit::NOPERM, text),
        Silent::Broken(text) => (exit::TEMPFAIL, text),
    })?;
    if let Answer::Failed { text, yours } = &answer
        && !json
    {
        return Err((if *yours { exit::DATAERR } else { exit::TEMPFAIL }, text.clone()));
    }
    Ok(match json {
        true => format!("{}\n", serde_json::to_string_pretty(&answer).unwrap_or_default()),
        false => show::text(&answer, base::clock::unix_now()),
    })
}

/// Translates a file of another program's.
///
/// # Errors
/// An exit code and a sentence.
pub fn import_file(from: Import, path: &Path) -> Result<String, (u8, String)> {
    let name = path.display().to_string();
    let source = if name == "-" {
        Source::from_reader(std::io::stdin(), "standard input", LONGEST)
    } else {
        Source::read(path, &name, LONGEST)
    };
    let source = source.map_err(|error| (exit::DATAERR, format!("{name}: {error}")))?;
    match from {
        Import::PolicydRateLimit => import::policyd_rate_limit(source.text()),
        Import::Postfwd => import::postfwd(source.text()),
    }
    .map_err(|error| (exit::DATAERR, format!("{name}: {error}")))
}

/// Compares the settings with Postfix' configuration, in `folder` or Postfix' own.
///
/// # Errors
/// A sentence: postconf cannot be run.
pub fn check_postfix(settings: &Settings, folder: Option<&Path>) -> Result<Report, String> {
    let main = postconf(folder, "-n")?;
    let master = postconf(folder, "-M")?;
    Ok(postfix_check::check(&main, &master, &ours(settings)))
}

fn postconf(folder: Option<&Path>, flag: &str) -> Result<Arc<Source>, String> {
    let mut command = Command::new("postconf");
    if let Some(folder) = folder {
        command.arg("-c").arg(folder);
    }
    let mut child =
        command.arg(flag).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(|error| {
            format!("postconf {flag}: {error}; is Postfix installed, and /usr/sbin in PATH?")
        })?;
    let mut text = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(LONGEST).read_to_end(&mut text).map_err(|error| format!("postconf {flag}: {error}"))?;
    }
    let status = child.wait().map_err(|error| format!("postconf {flag}: {error}"))?;
    if !status.success() {
        return Err(format!("postconf {flag}: {status}"));
    }
    Ok(Source::new(format!("postconf {flag}"), String::from_utf8_lossy(&text)))
}

/// What the check has to know of us.
fn ours(settings: &Settings) -> Ours {
    let names = |wanted: &dyn Fn(&crate::config::settings::Limit) -> bool| -> Vec<String> {
        settings.limits.iter().filter(|limit| wanted(limit)).map(|limit| limit.name.clone()).collect()
    };
    let is_login = |field: crate::key::Field| field.name().starts_with("sasl_");
    Ours {
        listen: settings.listen.clone(),
        // Lists are asked first, all at once.
        reply_within: crate::lists::asked(settings)
            .map(|list| list.settings().deadline)
            .max()
            .unwrap_or_default()
            + match &settings.store.driver {
                crate::config::settings::StoreDriver::Redis(redis) => redis.deadline,
                _ => Duration::from_millis(50),
            },
        by_login: names(&|limit| limit.key.fields().any(is_login)),
        by_recipient: names(&|limit| limit.key.fields().any(crate::key::Field::is_of_recipient)),
        by_bytes: names(&|limit| limit.count == Count::Bytes),
        at_rcpt: names(&|limit| limit.stage == LimitStage::Rcpt || limit.count == Count::NewRecipients),
        at_data: names(&|limit| limit.stage == LimitStage::Data),
        at_end: names(&|limit| limit.stage == LimitStage::EndOfMessage),
        greylisting: settings.greylist.is_some(),
    }
}
