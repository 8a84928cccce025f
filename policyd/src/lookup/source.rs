//! Where a list is asked: an SQL database, or Redis. The only file here that knows sockets.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::config::Source as File;
use base::secret::Secret;
use base::sql::{self, Database, Piece, Query, Statement};
use redis::{Cmd, Value};

use super::cache::Answer;
use super::template::{Sought, Template, Variable};
use crate::store::redis::{Link, Servers};

/// How long a question may take at all; nobody waits for its answer so long, but the next one has it.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// The most rows of one answer.
const ROWS: usize = 16;
/// The longest answer, in bytes.
const LONGEST: usize = 1000;
/// The longest file with URLs.
const URL_FILE: u64 = 64 << 10;

/// Where a list is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// An SQL database.
    Sql {
        /// URLs, in order of preference.
        urls: Vec<Secret>,
        /// A file with the URLs instead.
        url_file: Option<PathBuf>,
        /// CA certificates other than the system's.
        ca_file: Option<PathBuf>,
        /// Connections at a time.
        connections: usize,
    },
    /// Redis or Valkey.
    Redis(Servers),
}

impl Origin {
    /// The word of the configuration.
    #[must_use]
    pub fn driver(&self) -> &'static str {
        match self {
            Self::Sql { .. } => "sql",
            Self::Redis(_) => "redis",
        }
    }

    /// The same with what files hold.
    ///
    /// # Errors
    /// The setting that is wrong, and a sentence.
    pub(super) fn resolved(&self) -> Result<Self, Wrong> {
        let mut this = self.clone();
        if let Self::Sql { urls, url_file: Some(path), .. } = &mut this {
            let about =
                |error: String| Wrong { setting: "url_file", text: format!("{}: {error}", path.display()) };
            let file = File::read(path, path.display().to_string(), URL_FILE);
            let file = file.map_err(|error| about(error.to_string()))?;
            *urls = file
                .text()
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty())
                .map(Secret::from)
                .collect();
            if urls.is_empty() {
                return Err(about("is empty".to_owned()));
            }
        }
        Ok(this)
    }
}

/// Why a list cannot be asked as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The setting.
    pub setting: &'static str,
    /// What is wrong with it; without passwords.
    pub text: String,
}

#[cfg(test)]
pub(super) type Fake = Box<dyn Fn(&str) -> (Duration, Result<Answer, String>) + Send + Sync>;

/// A list that can be asked.
pub(super) enum Source {
    Sql {
        database: Database,
        query: Query<Variable>,
        statement: Statement,
    },
    Redis {
        link: Box<Link>,
        words: Vec<Vec<Piece<Variable>>>,
    },
    /// What a test says of a value, and after how long.
    #[cfg(test)]
    Fake(Fake),
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sql { database, .. } => database.fmt(f),
            Self::Redis { link, .. } => link.fmt(f),
            #[cfg(test)]
            Self::Fake(_) => f.write_str("Fake"),
        }
    }
}

impl Source {
    /// Reads URLs, certificates and the query; connects to nothing yet.
    pub(super) fn open(origin: &Origin, template: &Template) -> Result<Self, Wrong> {
        match origin {
            Origin::Sql { urls, url_file, ca_file, connections } => {
                let setting = if url_file.is_some() { "url_file" } else { "url" };
                let database = Database::new(urls, ca_file.as_deref(), *connections)
                    .map_err(|text| Wrong { setting, text })?;
                if let Some(path) = ca_file {
                    let about = |error: &dyn std::fmt::Display| Wrong {
                        setting: "ca_file",
                        text: format!("{}: {error}", path.display()),
                    };
                    let file = File::read(path, path.display().to_string(), 4 << 20)
                        .map_err(|error| about(&error))?;
                    if !file.text().contains("BEGIN CERTIFICATE") {
                        return Err(about(&"no certificate in it"));
                    }
                }
                let query = Query::parse(template.pieces(), database.dialect())
                    .map_err(|error| Wrong { setting: "query", text: error.to_string() })?;
                let statement = Statement::new(&query);
                Ok(Self::Sql { database, query, statement })
            }
            Origin::Redis(servers) => {
                let link = Link::new(servers.clone()).map_err(|text| Wrong { setting: "ca_file", text })?;
                let words = words(template);
                check(&words).map_err(|text| Wrong { setting: "query", text })?;
                Ok(Self::Redis { link: Box::new(link), words })
            }
        }
    }

    /// Makes a connection for the questions to come.
    pub(super) async fn connect(&self) -> Result<(), String> {
        match self {
            Self::Sql { database, .. } => database.connect().await,
            Self::Redis { link, .. } => {
                let answer = tokio::time::timeout(PATIENCE, link.ask(&redis::cmd("PING"))).await;
                answer.unwrap_or_else(|_| Err("no answer to PING".to_owned())).map(drop)
            }
            #[cfg(test)]
            Self::Fake(_) => Ok(()),
        }
    }

    /// The answer to a question. The error is for the log, without passwords.
    pub(super) async fn ask(&self, template: &Template, sought: &Sought) -> Result<Answer, String> {
        let value = |variable: &Variable| template.value(*variable, sought).to_owned();
        match self {
            Self::Sql { database, query, statement } => {
                let how = sql::Ask { most: ROWS, limit: PATIENCE, hidden: false };
                let rows = database.ask(statement, &query.values(value), how).await?;
                // Of each row the first that is not NULL.
                let texts = rows.into_iter().filter_map(|row| row.into_values().into_iter().next());
                let texts: Vec<String> = texts.map(|(_, text)| text_of(&text)).collect();
                if texts.is_empty() { Ok(None) } else { answer(texts.join(", ")) }
            }
            Self::Redis { link, words } => {
                let mut command = Cmd::new();
                for word in words {
                    let mut text = String::new();
                    for piece in word {
                        match piece {
                            Piece::Literal(literal) => text.push_str(literal),
                            Piece::Variable(variable) => text.push_str(template.value(*variable, sought)),
                        }
                    }
                    command.arg(text);
                }
                let answered = match tokio::time::timeout(PATIENCE, link.ask(&command)).await {
                    Ok(answered) => answered?,
                    Err(_) => {
                        link.broken();
                        return Err(format!("no answer within {} s", PATIENCE.as_secs()));
                    }
                };
                match answered {
                    // Of SISMEMBER, EXISTS and HEXISTS.
                    Value::Nil | Value::Int(0) => Ok(None),
                    Value::Int(number) => answer(number.to_string()),
                    Value::Double(number) => answer(number.to_string()),
                    Value::Okay => answer("OK".to_owned()),
                    Value::SimpleString(text) => answer(text),
                    Value::BulkString(bytes) => answer(text_of(&bytes)),
                    _ => Err("the answer is neither a text nor a number".to_owned()),
                }
            }
            #[cfg(test)]
            Self::Fake(says) => {
                let (after, answer) = says(template.value(Variable::Value, sought));
                tokio::time::sleep(after).await;
                answer
            }
        }
    }
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn answer(text: String) -> Result<Answer, String> {
    if text.len() > LONGEST {
        return Err(format!("an answer of {} bytes; {LONGEST} are the most", text.len()));
    }
    Ok(Some(Arc::from(text)))
}

/// Commands of Redis that say whether something is there, or what.
const COMMANDS: [(&str, usize); 6] =
    [("GET", 2), ("HGET", 3), ("EXISTS", 2), ("HEXISTS", 3), ("SISMEMBER", 3), ("ZSCORE", 3)];

/// Those whose answer is a text of the admin's.
const TEXTS: [&str; 2] = ["GET", "HGET"];

/// The words of a command: what stands for a placeholder never makes two of one.
fn words(template: &Template) -> Vec<Vec<Piece<Variable>>> {
    let mut words: Vec<Vec<Piece<Variable>>> = vec![Vec::new()];
    for piece in template.pieces() {
        match piece {
            Piece::Variable(_) => {
                if let Some(word) = words.last_mut() {
                    word.push(piece.clone());
                }
            }
            Piece::Literal(text) => {
                for (index, part) in text.split(' ').enumerate() {
                    if index > 0 {
                        words.push(Vec::new());
                    }
                    if let Some(word) = words.last_mut().filter(|_| !part.is_empty()) {
                        word.push(Piece::Literal(part.to_owned()));
                    }
                }
            }
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The name of a command.
fn command(words: &[Vec<Piece<Variable>>]) -> String {
    match words.first().map(Vec::as_slice) {
        Some([Piece::Literal(name)]) => name.to_ascii_uppercase(),
        _ => String::new(),
    }
}

fn check(words: &[Vec<Piece<Variable>>]) -> Result<(), String> {
    let name = command(words);
    let Some((_, count)) = COMMANDS.iter().find(|(known, _)| *known == name) else {
        let known = COMMANDS.map(|(name, _)| name);
        return Err(format!("the command must be one of {}; as in \"HGET rates %u\"", known.join(", ")));
    };
    if words.len() != *count {
        return Err(format!("{name} takes {} words after it, there are {}", count - 1, words.len() - 1));
    }
    Ok(())
}

/// Whether a query of Redis is one that can be asked, and gives a text that may be rates.
///
/// # Errors
/// What is wrong with it.
pub fn gives_text(template: &Template) -> Result<bool, String> {
    let words = words(template);
    check(&words)?;
    Ok(TEXTS.contains(&command(&words).as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_redis() {
        let gives = |text: &str| gives_text(&Template::parse(text).unwrap());
        assert_eq!(gives("HGET rates %u"), Ok(true));
        assert_eq!(gives("get  postrider:rate:%d:%u "), Ok(true));
        assert_eq!(gives("SISMEMBER vip %u"), Ok(false));
        assert!(gives("DEL %u").unwrap_err().contains("must be one of GET, HGET"));
        assert!(gives("%u a b").unwrap_err().contains("must be one of"));
        assert!(gives("GET a %u").unwrap_err().contains("takes 1 words after it, there are 2"));
        let words = words(&Template::parse("GET a%u:%d").unwrap());
        assert_eq!(words.len(), 2);
        assert_eq!(words[1].len(), 4);
    }

    #[test]
    fn what_cannot_be_opened_names_its_setting() {
        let template = Template::parse("SELECT 1 FROM [%u]").unwrap();
        let sql = |url: &str| Origin::Sql {
            urls: vec![Secret::from(url)],
            url_file: None,
            ca_file: None,
            connections: 1,
        };
        let wrong = |origin: &Origin, template| Source::open(origin, template).unwrap_err();
        assert_eq!(wrong(&sql("nonsense"), &template).setting, "url");
        let quoted = wrong(&sql("sqlite:///a"), &template);
        assert_eq!(quoted.setting, "query");
        assert!(quoted.text.contains("within a quoted identifier"), "{}", quoted.text);
        let missing = Origin::Sql {
            urls: Vec::new(),
            url_file: Some("/nowhere/url".into()),
            ca_file: None,
            connections: 1,
        };
        let missing = missing.resolved().unwrap_err();
        assert!(missing.setting == "url_file" && missing.text.contains("/nowhere/url"), "{missing:?}");
    }
}
