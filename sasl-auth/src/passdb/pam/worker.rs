//! The worker process: one question to libpam, one answer, the end.

use std::ffi::{CStr, CString};
use std::io::{self, Read, Write};

use base::secret::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pam_client2::{Context, ConversationHandler, Error, ErrorCode, Flag};

use super::{Answer, Question};

/// The longest question: a password is at most a line of the protocol.
const QUESTION_BYTES: u64 = 64 * 1024;

/// Reads one question to the end of `input`, asks PAM, and writes one line of answer.
///
/// To be called by a process of its own: modules may do anything to the process that they run in.
///
/// # Errors
/// The question could not be read, or the answer not written.
pub fn worker_main(input: impl Read, mut output: impl Write) -> io::Result<()> {
    let mut text = Vec::with_capacity(8192);
    input.take(QUESTION_BYTES).read_to_end(&mut text)?;
    let text = Secret::new(text);
    let question: Question = serde_json::from_slice(text.expose())
        // Its text could show the question's, and so the password.
        .map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidData, format!("no question: {:?}", error.classify()))
        })?;
    let mut line = serde_json::to_vec(&check(question))?;
    // Whatever modules have printed without an end of line must not stand before the answer.
    line.insert(0, b'\n');
    line.push(b'\n');
    output.write_all(&line)?;
    output.flush()
}

fn check(question: Question) -> Answer {
    let password = Secret::from(question.password_base64.as_str());
    drop(Secret::from(question.password_base64));
    let Ok(password) = STANDARD.decode(password.expose()).map(Secret::new) else {
        return Answer::Error { reason: "the question's password is not base64".into() };
    };
    if password.is_empty() || password.expose().contains(&0) {
        return Answer::Wrong { reason: "the password is empty or holds a NUL byte".into() };
    }
    if question.user.is_empty() || question.user.contains('\0') {
        return Answer::Unknown { reason: "no user".into() };
    }
    let conversation = Conversation { user: question.user.clone(), password };
    let mut context = match Context::new(&question.service, Some(&question.user), conversation) {
        Ok(context) => context,
        Err(error) => return Answer::Error { reason: failed("pam_start", &error) },
    };
    let items =
        context.set_tty(Some(&question.tty)).and_then(|()| context.set_rhost(question.remote_ip.as_deref()));
    if let Err(error) = items {
        return Answer::Error { reason: failed("pam_set_item", &error) };
    }
    // An empty password in the database opens nothing.
    if let Err(error) = context.authenticate(Flag::DISALLOW_NULL_AUTHTOK) {
        return not_authenticated(&error);
    }
    if let Err(error) = context.acct_mgmt(Flag::DISALLOW_NULL_AUTHTOK) {
        return account_refused(&error);
    }
    let opened = if question.session {
        context.open_session(Flag::SILENT).map(drop)
    } else if question.setcred {
        context.open_pseudo_session(Flag::SILENT).map(drop)
    } else {
        Ok(())
    };
    match opened {
        Ok(()) => Answer::Right { user: context.user().ok() },
        Err(error) if is_trouble(error.code()) => {
            Answer::Error { reason: failed("pam_open_session", &error) }
        }
        Err(error) => Answer::Refused { reason: failed("pam_open_session", &error) },
    }
}

fn not_authenticated(error: &Error) -> Answer {
    let reason = failed("pam_authenticate", error);
    match error.code() {
        ErrorCode::USER_UNKNOWN => Answer::Unknown { reason },
        ErrorCode::AUTH_ERR => Answer::Wrong { reason: format!("{reason} (Password mismatch?)") },
        // What pam_exec says whenever its program ends with anything but 0, a wrong password above all.
        ErrorCode::SYSTEM_ERR => Answer::Wrong { reason },
        code if is_expiry(code) => Answer::Expired { reason },
        code if is_trouble(code) => Answer::Error { reason },
        _ => Answer::Wrong { reason },
    }
}

fn account_refused(error: &Error) -> Answer {
    let reason = failed("pam_acct_mgmt", error);
    match error.code() {
        // pam_exec again.
        ErrorCode::SYSTEM_ERR => Answer::Refused { reason },
        code if is_expiry(code) => Answer::Expired { reason },
        code if is_trouble(code) => Answer::Error { reason },
        _ => Answer::Refused { reason },
    }
}

/// Whether the account or the password has expired. For Dovecot 2.3 these are `PAM_ACCT_EXPIRED` and
/// `PAM_NEW_AUTHTOK_REQD`; it takes the other two for a wrong password.
fn is_expiry(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::ACCT_EXPIRED
            | ErrorCode::NEW_AUTHTOK_REQD
            | ErrorCode::CRED_EXPIRED
            | ErrorCode::AUTHTOK_EXPIRED
    )
}

/// Whether PAM could not tell, rather than having refused.
fn is_trouble(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::OPEN_ERR
            | ErrorCode::SYMBOL_ERR
            | ErrorCode::SERVICE_ERR
            | ErrorCode::SYSTEM_ERR
            | ErrorCode::BUF_ERR
            | ErrorCode::CRED_INSUFFICIENT
            | ErrorCode::AUTHINFO_UNAVAIL
            | ErrorCode::ABORT
            | ErrorCode::MODULE_UNKNOWN
            | ErrorCode::BAD_ITEM
            | ErrorCode::CONV_ERR
            | ErrorCode::CONV_AGAIN
            | ErrorCode::INCOMPLETE
    )
}

/// In the words of Dovecot's log, which fail2ban's filters know.
fn failed(function: &str, error: &Error) -> String {
    format!("{function}() failed: {}", error.message().unwrap_or("unknown error"))
}

/// Answers every hidden prompt with the password and every open one with the user.
struct Conversation {
    user: String,
    password: Secret,
}

impl ConversationHandler for Conversation {
    fn prompt_echo_on(&mut self, _prompt: &CStr) -> Result<CString, ErrorCode> {
        CString::new(self.user.as_str()).map_err(|_nul| ErrorCode::CONV_ERR)
    }

    fn prompt_echo_off(&mut self, _prompt: &CStr) -> Result<CString, ErrorCode> {
        CString::new(self.password.expose()).map_err(|_nul| ErrorCode::CONV_ERR)
    }

    fn text_info(&mut self, _message: &CStr) {}

    fn error_msg(&mut self, _message: &CStr) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of /etc/pam.d for one test; `None` for users who may not write there.
    struct PamService(String);

    impl PamService {
        fn new(name: &str, content: &str) -> Option<Self> {
            if !nix::unistd::geteuid().is_root() {
                return None;
            }
            let name = format!("postrider-test-{name}-{}", std::process::id());
            std::fs::write(format!("/etc/pam.d/{name}"), content).unwrap();
            Some(Self(name))
        }
    }

    impl Drop for PamService {
        fn drop(&mut self) {
            let _gone = std::fs::remove_file(format!("/etc/pam.d/{}", self.0));
        }
    }

    fn ask(service: &str, user: &str, password: &[u8]) -> Answer {
        let question = Question {
            service: service.into(),
            user: user.into(),
            password_base64: STANDARD.encode(password),
            remote_ip: Some("192.0.2.1".into()),
            tty: "smtp".into(),
            session: false,
            setcred: false,
        };
        let text = serde_json::to_vec(&question).unwrap();
        let mut output = Vec::new();
        worker_main(text.as_slice(), &mut output).unwrap();
        serde_json::from_slice(&output).unwrap()
    }

    #[test]
    fn modules_decide() {
        let Some(service) =
            PamService::new("permit", "auth required pam_permit.so\naccount required pam_permit.so\n")
        else {
            return;
        };
        assert_eq!(ask(&service.0, "nobody", b"x"), Answer::Right { user: Some("nobody".into()) });
        assert!(matches!(ask(&service.0, "nobody", b""), Answer::Wrong { .. }));
        assert!(matches!(ask(&service.0, "nobody", b"a\0b"), Answer::Wrong { .. }));
        assert!(matches!(ask(&service.0, "", b"x"), Answer::Unknown { .. }));
    }

    #[test]
    fn refusals_are_told_apart() {
        let text = "auth required pam_deny.so\naccount required pam_permit.so\n";
        let Some(deny) = PamService::new("deny", text) else { return };
        let Answer::Wrong { reason } = ask(&deny.0, "nobody", b"x") else { panic!("not wrong") };
        assert_eq!(reason, "pam_authenticate() failed: Authentication failure (Password mismatch?)");
        let text = "auth required pam_debug.so auth=user_unknown\naccount required pam_permit.so\n";
        let unknown = PamService::new("unknown", text).unwrap();
        assert!(matches!(ask(&unknown.0, "nobody", b"x"), Answer::Unknown { .. }));
        let text = "auth required pam_debug.so auth=authinfo_unavail\naccount required pam_permit.so\n";
        let away = PamService::new("away", text).unwrap();
        assert!(matches!(ask(&away.0, "nobody", b"x"), Answer::Error { .. }));
        let text = "auth required pam_permit.so\naccount required pam_debug.so acct=perm_denied\n";
        let refused = PamService::new("refused", text).unwrap();
        let Answer::Refused { reason } = ask(&refused.0, "nobody", b"x") else { panic!("not refused") };
        assert_eq!(reason, "pam_acct_mgmt() failed: Permission denied");
        let missing = PamService::new("missing", "auth required pam_nonexistent.so\n").unwrap();
        assert!(matches!(ask(&missing.0, "nobody", b"x"), Answer::Error { .. }));
    }

    #[test]
    fn what_has_expired_is_told_as_such() {
        for (part, code, function, words) in [
            ("acct", "acct_expired", "pam_acct_mgmt", "User account has expired"),
            ("acct", "new_authtok_reqd", "pam_acct_mgmt", "Authentication token is no longer valid"),
            ("acct", "cred_expired", "pam_acct_mgmt", "User credentials expired"),
            ("auth", "acct_expired", "pam_authenticate", "User account has expired"),
            ("auth", "new_authtok_reqd", "pam_authenticate", "Authentication token is no longer valid"),
        ] {
            let (auth, acct) = if part == "auth" { (code, "success") } else { ("success", code) };
            let text = format!(
                "auth required pam_debug.so auth={auth}\naccount required pam_debug.so acct={acct}\n"
            );
            let Some(service) = PamService::new(&format!("expiry-{part}-{code}"), &text) else { return };
            let answer = ask(&service.0, "nobody", b"x");
            let Answer::Expired { reason } = &answer else { panic!("{part} {code}: {answer:?}") };
            assert!(reason.starts_with(&format!("{function}() failed: {words}")), "{reason}");
        }
    }

    #[test]
    fn programs_of_pam_exec_refuse_by_a_system_error() {
        let text = "auth required pam_exec.so quiet /bin/false\naccount required pam_permit.so\n";
        let Some(wrong) = PamService::new("exec-auth", text) else { return };
        let answer = ask(&wrong.0, "nobody", b"x");
        assert_eq!(answer, Answer::Wrong { reason: "pam_authenticate() failed: System error".into() });
        let text = "auth required pam_permit.so\naccount required pam_exec.so quiet /bin/false\n";
        let refused = PamService::new("exec-account", text).unwrap();
        let answer = ask(&refused.0, "nobody", b"x");
        assert_eq!(answer, Answer::Refused { reason: "pam_acct_mgmt() failed: System error".into() });
    }

    #[test]
    fn the_password_reaches_the_module() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("check");
        std::fs::write(&script, "#!/bin/sh\n[ \"$(tr -d '\\0')\" = opensesame ] && [ \"$PAM_RHOST$PAM_TTY$PAM_USER\" = 192.0.2.1smtpnobody ]\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(&script, mode).unwrap();
        let text = format!(
            "auth required pam_exec.so quiet expose_authtok {}\naccount required pam_permit.so\n",
            script.display()
        );
        let Some(service) = PamService::new("exec", &text) else { return };
        assert!(matches!(ask(&service.0, "nobody", b"opensesame"), Answer::Right { .. }));
        assert!(matches!(ask(&service.0, "nobody", b"wrong"), Answer::Wrong { .. }));
    }

    #[test]
    fn what_is_no_question_is_refused_without_being_shown() {
        for text in [&b""[..], b"{}", b"{\"password_base64\":\"c2VjcmV0\"", b"\xff"] {
            let error = worker_main(text, Vec::new()).unwrap_err().to_string();
            assert!(!error.contains("c2VjcmV0") && error.contains("no question"), "{error}");
        }
    }
}
