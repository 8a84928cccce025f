//! A mail host whose submission service asks an auth server.

use std::process::{Command, Output};

use harness::auth::{AuthConf, AuthServer};
use harness::milter::Subject;
use harness::postfix::Postfix;
use harness::scratch::Scratch;
use harness::wait::output;

/// The host and the auth server. Fields end in this order.
pub struct Site {
    pub postfix: Postfix,
    pub auth: AuthServer,
    _scratch: Scratch,
}

impl Site {
    /// Starts an auth server with `conf` and a Postfix that uses it.
    pub fn start(conf: &AuthConf) -> Self {
        let scratch = Scratch::new("authe2e");
        let auth = AuthServer::start(&scratch, "auth", Subject::from_env(), conf);
        let postfix = Postfix::build(&scratch, "mx", "mx.a.example")
            .mailbox("anna@a.example")
            .main("default_process_limit = 120")
            .sasl(&auth)
            .start();
        Self { postfix, auth, _scratch: scratch }
    }

    /// swaks, to the end of AUTH, over STARTTLS.
    pub fn swaks(&self, mechanism: &str, user: &str, password: &str) -> Swaks {
        let server = format!("127.0.0.1:{}", self.postfix.submission_port());
        let mut command = Command::new("swaks");
        command.args(["--server", &server, "--tls", "--quit-after", "AUTH", "--auth", mechanism]);
        command.args(["--auth-user", user, "--auth-password", password, "--timeout", "30"]);
        Swaks(output(&mut command, b""))
    }
}

/// What swaks saw.
pub struct Swaks(Output);

impl Swaks {
    /// Everything.
    pub fn transcript(&self) -> String {
        format!("{}{}", String::from_utf8_lossy(&self.0.stdout), String::from_utf8_lossy(&self.0.stderr))
    }

    /// The server's reply to the last step of AUTH, which swaks marks as encrypted, and as an error or not.
    pub fn verdict(&self) -> String {
        let transcript = self.transcript();
        let mut replies = transcript
            .lines()
            .filter_map(|line| line.strip_prefix("<~  ").or_else(|| line.strip_prefix("<~* ")))
            .filter(|line| ["235", "535", "454", "501"].iter().any(|code| line.starts_with(code)));
        replies.next().unwrap_or_default().to_owned()
    }

    #[track_caller]
    pub fn assert(&self, code: &str) {
        assert!(self.verdict().starts_with(code), "{code} expected:\n{}", self.transcript());
    }
}

/// Users of each kind of hash; the password is "correct horse".
pub fn users() -> AuthConf {
    AuthConf::new()
        .mechanisms("PLAIN LOGIN CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256")
        .user("plain", "{PLAIN}correct horse")
        .user("sha512", SHA512_CRYPT)
        .user("scram", SCRAM_SHA_256)
}

pub const PASSWORD: &str = "correct horse";
const SHA512_CRYPT: &str = "{SHA512-CRYPT}$6$BMgJR5.aQ.m0SiCV$Bfv5uzJvA1UhHXhgEWq3xUN0xsnv2QmzBlTp3jdfc90MhUW6n.CX5d3k0lazd4hl.qT2FtVQB4OR81H/Y1KhA0";
const SCRAM_SHA_256: &str = "{SCRAM-SHA-256}4096,+n1baibgGT7gEHO04bHE8w==,FFowgVpZtl9v0qmKTX31miJUD8P68XV+Y8jUYuF1gkY=,xrWwHtdvDq1+9ue2zIu+TNNVYAVi0QbcCREcON4EQ8s=";
