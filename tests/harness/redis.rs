//! Redis for one test: a server, a cluster of three, or a master with a replica and three sentinels.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::certificates::Certificates;
use crate::daemon::{Daemon, run};
use crate::ports::Port;
use crate::scratch::Scratch;
use crate::wait::wait_for;

/// The server: Redis, or what `POSTRIDER_REDIS_SERVER` names, such as `valkey-server`.
fn server_program() -> String {
    std::env::var("POSTRIDER_REDIS_SERVER").unwrap_or_else(|_| "redis-server".into())
}

/// Its command line client, or what `POSTRIDER_REDIS_CLI` names.
fn client_program() -> String {
    std::env::var("POSTRIDER_REDIS_CLI").unwrap_or_else(|_| "redis-cli".into())
}

/// A `redis-server`, without a disk.
#[derive(Debug)]
pub struct Redis {
    daemon: Daemon,
    port: Port,
    /// The bus of a cluster.
    _bus: Option<Port>,
    /// What redis-cli needs besides the port.
    client: Vec<String>,
}

impl Redis {
    /// Starts a server.
    #[must_use]
    pub fn start(scratch: &Scratch, name: &str) -> Self {
        Self::with(scratch, name, &[], Vec::new(), None)
    }

    /// Starts a server that wants TLS and a password.
    #[must_use]
    pub fn start_guarded(scratch: &Scratch, name: &str, certificates: &Certificates, password: &str) -> Self {
        let path = |path: PathBuf| path.display().to_string();
        let port = Port::new();
        let more = [
            "--tls-port".to_owned(),
            port.to_string(),
            "--tls-cert-file".to_owned(),
            path(certificates.certificate()),
            "--tls-key-file".to_owned(),
            path(certificates.key()),
            "--tls-ca-cert-file".to_owned(),
            path(certificates.ca()),
            "--tls-auth-clients".to_owned(),
            "no".to_owned(),
            "--requirepass".to_owned(),
            password.to_owned(),
        ];
        let client = ["--tls", "--cacert", &path(certificates.ca()), "-a", password, "--no-auth-warning"];
        let client = client.iter().map(|word| (*word).to_owned()).collect();
        Self::on(scratch, name, port, "0", &more, client, None)
    }

    fn with(scratch: &Scratch, name: &str, more: &[String], client: Vec<String>, bus: Option<Port>) -> Self {
        let port = Port::new();
        let plain = port.to_string();
        Self::on(scratch, name, port, &plain, more, client, bus)
    }

    fn on(
        scratch: &Scratch,
        name: &str,
        port: Port,
        plain: &str,
        more: &[String],
        client: Vec<String>,
        bus: Option<Port>,
    ) -> Self {
        let folder = scratch.file(name);
        fs::create_dir_all(&folder).unwrap();
        let daemon = Daemon::new("redis", server_program(), &folder, Signal::SIGKILL)
            .arguments(["--bind", "127.0.0.1", "--port", plain, "--save", "", "--appendonly", "no"])
            .arguments(more.iter().cloned());
        let mut redis = Self { daemon, port, _bus: bus, client };
        redis.run();
        redis
    }

    /// `127.0.0.1:port`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ends it at once; what it held is lost.
    pub fn stop(&mut self) {
        self.daemon.stop();
    }

    /// Starts it again.
    pub fn run(&mut self) {
        let (port, client) = (self.port.number(), self.client.clone());
        self.daemon.start(|| answers(port, &client));
    }

    /// Holds it: connections stay and nobody answers.
    pub fn freeze(&self) {
        self.daemon.freeze();
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.daemon.thaw();
    }

    /// What redis-cli prints for a command.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> String {
        run(cli(self.port.number(), &self.client, words), None)
    }
}

fn cli(port: u16, client: &[String], words: &[&str]) -> Command {
    let mut command = Command::new(client_program());
    command.args(["-h", "127.0.0.1", "-p", &port.to_string()]).args(client).args(words);
    command
}

fn answers(port: u16, client: &[String]) -> bool {
    let output = cli(port, client, &["PING"]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim() == "PONG"
}

/// A cluster of three masters.
#[derive(Debug)]
pub struct Cluster {
    /// Its nodes.
    pub nodes: Vec<Redis>,
}

impl Cluster {
    /// Starts the nodes and joins them.
    #[must_use]
    pub fn start(scratch: &Scratch) -> Self {
        let node = |number: usize| {
            let bus = Port::new();
            let more = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port"];
            let mut more: Vec<String> = more.iter().map(|word| (*word).to_owned()).collect();
            more.push(bus.to_string());
            Redis::with(scratch, &format!("node-{number}"), &more, Vec::new(), Some(bus))
        };
        let nodes: Vec<Redis> = (0..3).map(node).collect();
        let mut create = Command::new(client_program());
        create.args(["--cluster", "create"]).args(nodes.iter().map(Redis::address)).arg("--cluster-yes");
        run(create, None);
        for node in &nodes {
            wait_for("the cluster to be whole", || {
                node.command(&["CLUSTER", "INFO"]).contains("cluster_state:ok").then_some(())
            });
        }
        Self { nodes }
    }

    /// The nodes' addresses.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(Redis::address).collect()
    }
}

/// A master, a replica, and three sentinels that watch them under the name `mail`.
#[derive(Debug)]
pub struct Watched {
    /// Who is the master first.
    pub master: Redis,
    /// Who takes over.
    pub replica: Redis,
    sentinels: Vec<(Daemon, Port)>,
}

impl Watched {
    /// Starts all of them, and waits until the sentinels know each other.
    #[must_use]
    pub fn start(scratch: &Scratch) -> Self {
        let master = Redis::start(scratch, "master");
        let of = ["--replicaof".to_owned(), format!("127.0.0.1 {}", master.port)];
        let replica = Redis::with(scratch, "replica", &of, Vec::new(), None);
        wait_for("the replica", || {
            replica.command(&["INFO", "replication"]).contains("master_link_status:up").then_some(())
        });
        let sentinel = |number: usize| {
            let port = Port::new();
            let folder = scratch.file(&format!("sentinel-{number}"));
            fs::create_dir_all(&folder).unwrap();
            let conf = folder.join("conf");
            let text = format!(
                "bind 127.0.0.1\nport {port}\nsentinel monitor mail 127.0.0.1 {} 2\n\
                 sentinel down-after-milliseconds mail 500\nsentinel failover-timeout mail 5000\n",
                master.port
            );
            fs::write(&conf, text).unwrap();
            let mut daemon = Daemon::new("sentinel", server_program(), &folder, Signal::SIGKILL)
                .arguments([conf.display().to_string(), "--sentinel".to_owned()]);
            let number = port.number();
            daemon.start(|| answers(number, &[]));
            (daemon, port)
        };
        let sentinels: Vec<(Daemon, Port)> = (0..3).map(sentinel).collect();
        for (_, port) in &sentinels {
            wait_for("the sentinels to know each other", || {
                let said = run(cli(port.number(), &[], &["SENTINEL", "CKQUORUM", "mail"]), None);
                let others = run(cli(port.number(), &[], &["SENTINEL", "MASTER", "mail"]), None);
                let known = others.contains("num-other-sentinels\n2") && others.contains("num-slaves\n1");
                (said.starts_with("OK 3") && known).then_some(())
            });
        }
        Self { master, replica, sentinels }
    }

    /// The sentinels' addresses.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.sentinels.iter().map(|(_, port)| format!("127.0.0.1:{port}")).collect()
    }
}
