//! A certificate authority for one test, and the certificate of a server on 127.0.0.1, made by openssl.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::daemon::run;

/// Files of a CA and of one server that it vouches for.
#[derive(Debug)]
pub struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// Makes them in `folder`: the server's names are `localhost` and 127.0.0.1.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let own = Self { folder: folder.to_owned() };
        let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"];
        let mut ca = Command::new("openssl");
        ca.args(["req", "-x509", "-subj", "/CN=Test CA"]).args(curve);
        ca.arg("-keyout").arg(own.folder.join("ca.key")).arg("-out").arg(own.ca());
        run(ca, None);
        let mut server = Command::new("openssl");
        server.args(["req", "-x509", "-subj", "/CN=localhost"]).args(curve);
        server.args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
        server.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        server.arg("-CA").arg(own.ca()).arg("-CAkey").arg(own.folder.join("ca.key"));
        server.arg("-keyout").arg(own.key()).arg("-out").arg(own.certificate());
        run(server, None);
        own
    }

    /// The CA's certificate.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// The server's certificate.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("server.pem")
    }

    /// The server's private key.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.folder.join("server.key")
    }
}
