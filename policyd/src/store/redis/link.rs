//! The connection to Redis or Valkey: one server, the master that sentinels name, or a cluster.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::secret::Secret;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, IntoConnectionInfo as _, Pipeline,
    RedisConnectionInfo, RedisError, RedisResult, Script, ServerErrorKind, TlsCertificates, TlsMode, Value,
};

use super::script::Call;

/// How long making a connection may take, all tries included.
const CONNECT: Duration = Duration::from_secs(2);
/// The largest file of CA certificates.
const CA_LIMIT: u64 = 4 << 20;

/// Where the servers are, and how to log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Servers {
    /// What `addresses` are.
    pub topology: Topology,
    /// `host:port`, or the full path of a UNIX socket.
    pub addresses: Vec<String>,
    /// Whether connections are by TLS.
    pub tls: bool,
    /// CA certificates other than the system's.
    pub ca_file: Option<PathBuf>,
    /// The user, of an ACL.
    pub username: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// The sentinels' own password.
    pub sentinel_password: Option<Secret>,
    /// The number of the database; 0 in a cluster.
    pub database: i64,
}

/// What the addresses are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topology {
    /// One server.
    Single,
    /// Sentinels, which know the master of this name.
    Sentinel(String),
    /// Some nodes of a cluster.
    Cluster,
}

#[derive(Clone)]
enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// A connection that is made when it is needed, and made anew when it is broken.
pub(crate) struct Link {
    servers: Servers,
    certificates: TlsCertificates,
    current: Mutex<Option<Connection>>,
    connecting: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("servers", &self.servers).finish_non_exhaustive()
    }
}

/// A script with its hash.
#[derive(Debug)]
pub(super) struct Loaded {
    text: &'static str,
    hash: String,
}

impl Loaded {
    pub(super) fn new(text: &'static str) -> Self {
        Self { text, hash: Script::new(text).get_hash().to_owned() }
    }
}

impl Link {
    /// A link that is not connected yet.
    ///
    /// # Errors
    /// The CA certificates cannot be read, or an address is none.
    pub(crate) fn new(servers: Servers) -> Result<Self, String> {
        // The crate takes the process' provider of cryptography; where one is set already, that one is fine.
        let _set_already = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let root_cert = servers.ca_file.as_deref().map(certificates).transpose()?;
        let certificates = TlsCertificates { client_tls: None, root_cert };
        if servers.addresses.is_empty() {
            return Err("no address of a Redis server".into());
        }
        for address in &servers.addresses {
            parse(address, servers.tls)?;
        }
        Ok(Self {
            servers,
            certificates,
            current: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
        })
    }

    /// Runs a script by its hash; `None` where the server does not know it: it was restarted, or is another one.
    pub(super) async fn run(&self, script: &Loaded, call: &Call) -> Result<Option<Value>, String> {
        match self.send(&command("EVALSHA", &script.hash, call)).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => Ok(None),
            answer => answer.map(Some).map_err(|error| said(&error)),
        }
    }

    /// Runs a script by its text; from then on the server knows it.
    pub(super) async fn load(&self, script: &Loaded, call: &Call) -> Result<Value, String> {
        self.send(&command("EVAL", script.text, call)).await.map_err(|error| said(&error))
    }

    /// Sends one command.
    pub(crate) async fn ask(&self, command: &Cmd) -> Result<Value, String> {
        self.send(command).await.map_err(|error| said(&error))
    }

    /// Sends several commands at once, whose keys are in one slot.
    pub(super) async fn ask_all(&self, commands: &Pipeline) -> Result<Vec<Value>, String> {
        let mut connection = self.connection().await.map_err(|error| said(&error))?;
        let count = commands.cmd_iter().count();
        let answer = match &mut connection {
            Connection::One(one) => one.req_packed_commands(commands, 0, count).await,
            Connection::Cluster(all) => all.req_packed_commands(commands, 0, count).await,
        };
        answer.map_err(|error| {
            self.broken();
            said(&error)
        })
    }

    async fn send(&self, command: &Cmd) -> RedisResult<Value> {
        let mut connection = self.connection().await?;
        let answer = match &mut connection {
            Connection::One(one) => one.req_packed_command(command).await,
            Connection::Cluster(all) => all.req_packed_command(command).await,
        };
        // Errors inside an answer are errors.
        let answer = answer.and_then(Value::extract_error);
        if let Err(error) = &answer
            && error.kind() != ErrorKind::Server(ServerErrorKind::NoScript)
        {
            // Also when the server has become a replica, or is still loading: there may be a better one.
            self.broken();
        }
        answer
    }

    fn current(&self) -> MutexGuard<'_, Option<Connection>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops the connection: the next question makes a new one.
    pub(crate) fn broken(&self) {
        *self.current() = None;
    }

    async fn connection(&self) -> RedisResult<Connection> {
        if let Some(connection) = self.current().clone() {
            return Ok(connection);
        }
        let _one_at_a_time = self.connecting.lock().await;
        if let Some(connection) = self.current().clone() {
            return Ok(connection);
        }
        let made = self.connect().await?;
        *self.current() = Some(made.clone());
        Ok(made)
    }

    fn login(&self) -> RedisConnectionInfo {
        let mut info = RedisConnectionInfo::default().set_db(self.servers.database).set_skip_set_lib_name();
        if let Some(username) = &self.servers.username {
            info = info.set_username(username);
        }
        if let Some(password) = secret(self.servers.password.as_ref()) {
            info = info.set_password(password);
        }
        info
    }

    async fn connect(&self) -> RedisResult<Connection> {
        let servers = &self.servers;
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(None);
        let addresses = || servers.addresses.iter().filter_map(|text| parse(text, servers.tls).ok());
        let mode = servers.tls.then_some(TlsMode::Secure);
        match &servers.topology {
            Topology::Single => {
                let mut last = RedisError::from((ErrorKind::InvalidClientConfig, "no address"));
                for address in addresses() {
                    let info = address.into_connection_info()?.set_redis_settings(self.login());
                    let client = match mode {
                        Some(_) => Client::build_with_tls(info, self.certificates.clone())?,
                        None => Client::open(info)?,
                    };
                    match client.get_multiplexed_async_connection_with_config(&config).await {
                        Ok(connection) => return Ok(Connection::One(connection)),
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
            Topology::Sentinel(name) => {
                let mut builder = SentinelClientBuilder::new(addresses(), name, SentinelServerType::Master)?
                    .set_client_to_redis_db(servers.database);
                if let Some(mode) = mode {
                    builder = builder
                        .set_client_to_redis_tls_mode(mode)
                        .set_client_to_sentinel_tls_mode(mode)
                        .set_client_to_redis_certificates(self.certificates.clone())
                        .set_client_to_sentinel_certificates(self.certificates.clone());
                }
                if let Some(username) = &servers.username {
                    builder = builder.set_client_to_redis_username(username);
                }
                if let Some(password) = secret(servers.password.as_ref()) {
                    builder = builder.set_client_to_redis_password(password);
                }
                if let Some(password) = secret(servers.sentinel_password.as_ref()) {
                    builder = builder.set_client_to_sentinel_password(password);
                }
                let mut client = builder.build()?;
                client.get_async_connection_with_config(&config).await.map(Connection::One)
            }
            Topology::Cluster => {
                let mut builder = ClusterClientBuilder::new(addresses())
                    .connection_timeout(CONNECT)
                    .retries(2)
                    .min_retry_wait(5)
                    .max_retry_wait(20);
                if let Some(mode) = mode {
                    builder = builder.tls(mode).certs(self.certificates.clone());
                }
                if let Some(username) = &servers.username {
                    builder = builder.username(username);
                }
                if let Some(password) = secret(servers.password.as_ref()) {
                    builder = builder.password(password);
                }
                builder.build()?.get_async_connection().await.map(Connection::Cluster)
            }
        }
    }
}

fn secret(secret: Option<&Secret>) -> Option<&str> {
    secret.and_then(Secret::expose_text)
}

fn command(name: &str, script: &str, call: &Call) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(script).arg(call.keys.len());
    for key in &call.keys {
        command.arg(key.as_slice());
    }
    for argument in &call.arguments {
        command.arg(argument.as_slice());
    }
    command
}

/// An error without what may be secret.
fn said(error: &RedisError) -> String {
    let mut text = error.to_string();
    text.truncate(text.floor_char_boundary(300));
    text
}

/// Whether a text can be a server's address.
///
/// # Errors
/// A sentence that says what to write.
pub fn check_address(text: &str) -> Result<(), String> {
    parse(text, false).map(|_| ())
}

fn parse(text: &str, tls: bool) -> Result<ConnectionAddr, String> {
    if text.starts_with('/') {
        return Ok(ConnectionAddr::Unix(text.into()));
    }
    let wrong = || format!("`{text}` is no address; write host:port, [2001:db8::1]:6379 or /path/of/socket");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let Ok(port) = port.parse::<u16>() else { return Err(wrong()) };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    if host.is_empty() || port == 0 {
        return Err(wrong());
    }
    Ok(match tls {
        true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        false => ConnectionAddr::Tcp(host, port),
    })
}

fn certificates(path: &Path) -> Result<Vec<u8>, String> {
    let about = |error: &dyn fmt::Display| format!("{}: {error}", path.display());
    let source = base::config::Source::read(path, path.display().to_string(), CA_LIMIT);
    let text = source.map_err(|error| about(&error))?.text().to_owned();
    if text.contains("BEGIN CERTIFICATE") {
        Ok(text.into_bytes())
    } else {
        Err(about(&"no certificate in it"))
    }
}
