//! An OpenLDAP server of its own, with TLS, on free ports and a socket in the scratch folder.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::certificates::Certificates;
use crate::daemon::Daemon;
use crate::ports::Port;
use crate::scratch::Scratch;
use crate::wait::output;

/// A running server with the suffix [`Self::SUFFIX`]; it is ended when dropped.
#[derive(Debug)]
pub struct Slapd {
    daemon: Daemon,
    folder: PathBuf,
    plain: Port,
    encrypted: Port,
    certificates: Certificates,
}

impl Slapd {
    /// What all entries lie below.
    pub const SUFFIX: &'static str = "dc=mail,dc=example";
    /// The entry that may do everything.
    pub const ROOT_DN: &'static str = "cn=admin,dc=mail,dc=example";
    /// Its password.
    pub const ROOT_PASSWORD: &'static str = "root secret";

    /// Starts an empty server in `scratch`; only [`Self::ROOT_DN`] reads passwords, and nobody reads without
    /// a login.
    #[must_use]
    pub fn start(scratch: &Scratch) -> Self {
        let folder = scratch.file("slapd");
        fs::create_dir_all(folder.join("data")).unwrap();
        let certificates = Certificates::new(&folder);
        let conf = folder.join("slapd.conf");
        let folder_text = folder.display();
        let text = format!(
            "include /etc/ldap/schema/core.schema\n\
             include /etc/ldap/schema/cosine.schema\n\
             include /etc/ldap/schema/nis.schema\n\
             include /etc/ldap/schema/inetorgperson.schema\n\
             modulepath /usr/lib/ldap\n\
             moduleload back_mdb\n\
             pidfile {folder_text}/slapd-own.pid\n\
             TLSCertificateFile {certificate}\n\
             TLSCertificateKeyFile {key}\n\
             database mdb\n\
             suffix {suffix}\n\
             rootdn {root}\n\
             rootpw \"{password}\"\n\
             directory {folder_text}/data\n\
             maxsize 10485760\n\
             dbnosync\n\
             access to attrs=userPassword by anonymous auth by * none\n\
             access to * by users read by * none\n",
            certificate = certificates.certificate().display(),
            key = certificates.key().display(),
            suffix = Self::SUFFIX,
            root = Self::ROOT_DN,
            password = Self::ROOT_PASSWORD,
        );
        fs::write(&conf, text).unwrap();
        let (plain, encrypted) = (Port::new(), Port::new());
        let socket = folder.join("ldapi").display().to_string().replace('/', "%2F");
        let listeners = format!("ldap://127.0.0.1:{plain} ldaps://127.0.0.1:{encrypted} ldapi://{socket}");
        let daemon = Daemon::new("slapd", "/usr/sbin/slapd", &folder, Signal::SIGTERM).arguments([
            "-d".to_owned(),
            "0".to_owned(),
            "-f".to_owned(),
            conf.display().to_string(),
            "-h".to_owned(),
            listeners,
        ]);
        let mut server = Self { daemon, folder, plain, encrypted, certificates };
        server.start_again();
        server
    }

    /// Ends the server.
    pub fn stop(&mut self) {
        self.daemon.stop();
    }

    /// Starts it again, with its entries and on its ports.
    pub fn start_again(&mut self) {
        let ports = [self.plain.number(), self.encrypted.number()];
        self.daemon
            .start(|| ports.iter().all(|&port| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()));
    }

    /// Holds it, as a machine that hangs: connections stay and nobody answers.
    pub fn freeze(&self) {
        self.daemon.freeze();
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.daemon.thaw();
    }

    /// Adds entries, as LDIF.
    #[track_caller]
    pub fn add(&self, ldif: &str) {
        let mut add = Command::new("ldapadd");
        add.args(["-x", "-D", Self::ROOT_DN, "-w", Self::ROOT_PASSWORD, "-H", &self.socket_uri()]);
        let done = output(&mut add, ldif.as_bytes());
        assert!(done.status.success(), "ldapadd refuses: {ldif}\n{}", String::from_utf8_lossy(&done.stderr));
    }

    /// `ldap://127.0.0.1:port`.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.plain)
    }

    /// `ldaps://127.0.0.1:port`.
    #[must_use]
    pub fn tls_uri(&self) -> String {
        format!("ldaps://127.0.0.1:{}", self.encrypted)
    }

    /// `ldapi://path`, the path percent-encoded.
    #[must_use]
    pub fn socket_uri(&self) -> String {
        let path = self.folder.join("ldapi").display().to_string();
        format!("ldapi://{}", path.replace('/', "%2F"))
    }

    /// The CA that has signed the server's certificate.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.certificates.ca()
    }
}
