//! Public keys from the DNS: the only file that knows hickory-resolver.

mod cache;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::clock::monotonic_now;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use tokio::sync::Semaphore;

pub use cache::{Cache, CacheLimits};

use crate::dkim::KeyAnswer;

/// How many times a name is asked for before it counts as a failure.
const TRIES: u32 = 2;
/// Questions that may be under way at once; each holds a descriptor. Further ones wait their turn
/// within their own deadline.
const QUESTIONS_AT_ONCE: usize = 256;
/// Records and bytes of one answer that are looked at (RFC 6376 §3.6.2.2 wants one record).
const MOST_RECORDS: usize = 8;
const MOST_BYTES: usize = 64 * 1024;

/// Where keys come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// The name servers of /etc/resolv.conf.
    System,
    /// These name servers (`Nameservers`).
    Servers(Vec<SocketAddr>),
    /// A fixed list for tests (`TestPublicKeys`, `TestDNSData`), no network at all.
    Fixed(Arc<dyn Fixed>),
}

/// A fixed list of records.
pub trait Fixed: std::fmt::Debug + Send + Sync {
    /// The answer for a name in lower case without a final dot.
    fn answer(&self, name: &str) -> KeyAnswer;
}

/// Looks up key records, with a deadline, a second try and a cache.
#[derive(Debug)]
pub struct Keys {
    source: Inner,
    deadline: Duration,
    cache: Mutex<Cache>,
    questions: Semaphore,
}

#[derive(Debug)]
enum Inner {
    Network(Box<TokioResolver>),
    Fixed(Arc<dyn Fixed>),
}

impl Keys {
    /// Prepares look-ups from `source`, each answered within `deadline`.
    ///
    /// # Errors
    /// When the resolver cannot be set up.
    pub fn new(source: &Source, deadline: Duration, limits: CacheLimits) -> io::Result<Self> {
        let source = match source {
            Source::Fixed(list) => Inner::Fixed(Arc::clone(list)),
            Source::Servers(servers) => Inner::Network(Box::new(resolver(
                servers_config(servers),
                ResolverOpts::default(),
                deadline,
            )?)),
            Source::System => {
                let (config, options) = system_config();
                Inner::Network(Box::new(resolver(config, options, deadline)?))
            }
        };
        Ok(Self {
            source,
            deadline,
            cache: Mutex::new(Cache::new(limits)),
            questions: Semaphore::new(QUESTIONS_AT_ONCE),
        })
    }

    /// The answer for a name, if it is at hand without asking anybody.
    #[must_use]
    pub fn at_hand(&self, name: &str) -> Option<Arc<KeyAnswer>> {
        match &self.source {
            Inner::Fixed(list) => Some(Arc::new(list.answer(name))),
            Inner::Network(_) => self.cache().find(name, monotonic_now()),
        }
    }

    /// Looks a key record's name up (lower case, A-labels, no final dot). Always answers, at the
    /// latest when the deadline has passed: a failure of any kind is [`KeyAnswer::TempFail`] with
    /// the reason, and is not kept.
    pub async fn look_up(&self, name: &str) -> Arc<KeyAnswer> {
        if let Some(answer) = self.at_hand(name) {
            return answer;
        }
        let Inner::Network(resolver) = &self.source else {
            return Arc::new(KeyAnswer::TempFail("no name server".to_owned()));
        };
        let asked = tokio::time::timeout(self.deadline, async {
            // The semaphore is never closed; if it were, asking at once is the better failure.
            let _turn = self.questions.acquire().await.ok();
            self.ask(resolver, name).await
        });
        match asked.await {
            Ok(answer) => answer,
            Err(_) => {
                Arc::new(KeyAnswer::TempFail(format!("no answer within {} s", self.deadline.as_secs_f32())))
            }
        }
    }

    async fn ask(&self, resolver: &TokioResolver, text: &str) -> Arc<KeyAnswer> {
        let name = match Name::from_ascii(text) {
            Ok(mut name) => {
                name.set_fqdn(true);
                name
            }
            // No such name can exist: a label or the whole is too long.
            Err(_) => return Arc::new(KeyAnswer::NotFound),
        };
        let mut failure = String::new();
        for _ in 0..TRIES {
            let lookup = resolver.lookup(name.clone(), RecordType::TXT);
            match tokio::time::timeout(self.deadline / TRIES, lookup).await {
                Err(_) => failure = format!("no answer within {} s", self.deadline.as_secs_f32()),
                Ok(Ok(found)) => {
                    let now = monotonic_now();
                    let ttl = found.valid_until().saturating_duration_since(now);
                    let answer = Arc::new(records(found.answers().iter().map(|record| &record.data)));
                    self.cache().keep(text, Arc::clone(&answer), ttl, now);
                    return answer;
                }
                Ok(Err(NetError::Dns(DnsError::NoRecordsFound(none)))) => {
                    let answer = Arc::new(KeyAnswer::NotFound);
                    let ttl = Duration::from_secs(u64::from(none.negative_ttl.unwrap_or(0)));
                    self.cache().keep(text, Arc::clone(&answer), ttl, monotonic_now());
                    return answer;
                }
                Ok(Err(NetError::Dns(DnsError::ResponseCode(code)))) => {
                    failure = format!("the name server answered {code}");
                }
                Ok(Err(error)) => failure = error.to_string(),
            }
        }
        Arc::new(KeyAnswer::TempFail(failure))
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// What /etc/resolv.conf says; without it, or without a server in it, the one on this machine, as
/// resolv.conf(5) has it. A milter that only signs needs none.
fn system_config() -> (ResolverConfig, ResolverOpts) {
    let local = || {
        let server = SocketAddr::from(([127, 0, 0, 1], 53));
        log::warn!("/etc/resolv.conf names no server that can be used; {server} is asked for keys");
        (servers_config(&[server]), ResolverOpts::default())
    };
    match hickory_resolver::system_conf::read_system_conf() {
        Ok((config, _)) if config.name_servers().is_empty() => local(),
        Ok(found) => found,
        Err(error) => {
            log::warn!("/etc/resolv.conf cannot be read: {error}");
            local()
        }
    }
}

fn servers_config(servers: &[SocketAddr]) -> ResolverConfig {
    let mut config = ResolverConfig::default();
    for server in servers {
        let mut known =
            NameServerConfig::new(server.ip(), true, vec![ConnectionConfig::udp(), ConnectionConfig::tcp()]);
        for connection in &mut known.connections {
            connection.port = server.port();
        }
        config.add_name_server(known);
    }
    config
}

fn resolver(
    config: ResolverConfig,
    mut options: ResolverOpts,
    deadline: Duration,
) -> io::Result<TokioResolver> {
    options.timeout = deadline / TRIES;
    options.attempts = 0;
    // Our own cache is bounded in bytes as well.
    options.cache_size = 0;
    options.edns0 = true;
    options.use_hosts_file = hickory_resolver::config::ResolveHosts::Never;
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = options;
    builder.build().map_err(io::Error::other)
}

/// The TXT records among an answer's data, each with its strings joined (RFC 6376 §3.6.2.2).
fn records<'a>(data: impl Iterator<Item = &'a RData>) -> KeyAnswer {
    let mut left = MOST_BYTES;
    let mut found = Vec::new();
    for data in data {
        let RData::TXT(text) = data else { continue };
        let length: usize = text.txt_data.iter().map(|part| part.len()).sum();
        if found.len() == MOST_RECORDS || length > left {
            break;
        }
        left -= length;
        found.push(text.txt_data.concat());
    }
    if found.is_empty() { KeyAnswer::NotFound } else { KeyAnswer::Records(found) }
}
