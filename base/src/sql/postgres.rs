//! PostgreSQL, which wants to know every type before it compares: see [`plan`](Connection::plan).

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt as _;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow, PgSslMode, PgTypeInfo};
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions as _, Connection as _, Either, Executor as _, Row as _,
    SqlSafeStr as _, Statement as _, ValueRef as _,
};

use super::Row;
use super::query::Text;
use super::server::{Failure, Rows, Statement, TlsFiles, connect_text, failure, system_ca_file};

/// The parameters that a URL may have.
pub(super) const URL_KEYS: &[&str] = &[
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
    "statement-cache-capacity",
];

/// A server.
pub(super) struct Server {
    options: PgConnectOptions,
    ca_file: Option<PathBuf>,
}

/// An open connection.
pub(super) struct Connection(PgConnection);

/// The statement as it is sent, once the server has told the types in it.
#[derive(Debug)]
pub(super) struct Plan {
    sql: Arc<str>,
    columns: Vec<String>,
    /// Parameters are converted from text to another type, which can fail for a value.
    converts: bool,
}

/// A plan, once there is one. It holds for all connections.
#[derive(Debug, Default)]
pub(super) struct PlanCell(Mutex<Option<Arc<Plan>>>);

impl PlanCell {
    fn current(&self) -> Option<Arc<Plan>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, plan: Option<Arc<Plan>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = plan;
    }
}

impl Server {
    pub(super) fn parse(url: &str, tls: TlsFiles<'_>) -> Result<Self, String> {
        // The error may quote the URL.
        let mut options = PgConnectOptions::from_str(url)
            .ok()
            .ok_or("is not understood; write postgres://user:password@host:port/database")?;
        let own_ca = ["sslrootcert=", "ssl-root-cert=", "ssl-ca="].iter().any(|key| url.contains(key));
        if tls.ca_file.is_some() && (tls.is_open || matches!(options.get_ssl_mode(), PgSslMode::Require)) {
            // libpq, too, takes "require" with a CA file for "verify-ca".
            let checked = if tls.is_open { PgSslMode::VerifyFull } else { PgSslMode::VerifyCa };
            options = options.ssl_mode(checked);
        }
        let checks = matches!(options.get_ssl_mode(), PgSslMode::VerifyCa | PgSslMode::VerifyFull);
        if let Some(path) = tls.ca_file.map(PathBuf::from).or_else(system_ca_file)
            && checks
            && !own_ca
        {
            options = options.ssl_root_cert(path);
        }
        let options = options.disable_statement_logging();
        Ok(Self { options, ca_file: tls.ca_file.map(PathBuf::from) })
    }

    pub(super) fn name(&self) -> String {
        match self.options.get_socket() {
            Some(path) => path.display().to_string(),
            None => format!("{}:{}", self.options.get_host(), self.options.get_port()),
        }
    }

    pub(super) async fn connect(&self) -> Result<Connection, String> {
        match self.options.connect().await {
            Ok(connection) => Ok(Connection(connection)),
            Err(error) => Err(connect_text(&error, self.ca_file.as_deref())),
        }
    }
}

impl Connection {
    pub(super) async fn ask(
        &mut self,
        statement: &Statement,
        values: Vec<String>,
        most: usize,
    ) -> Result<Rows, Failure> {
        if values.iter().any(|value| value.contains('\0')) {
            // No text in PostgreSQL holds a NUL, so no row has this value.
            return Ok(Rows::default());
        }
        if let Some(plan) = statement.plan.current() {
            match self.run(&plan, &values, most).await {
                Err(error) if is_outdated(&error) => {
                    statement.plan.set(None);
                    // The connection remembers what it was told of the types before.
                    self.0.clear_cached_statements().await.map_err(|error| failure(&error, is_lost))?;
                }
                outcome => return outcome.map_err(|error| failure(&error, is_lost)),
            }
        }
        let plan = self.plan(&statement.query).await.map_err(|error| failure(&error, is_lost))?;
        let plan = Arc::new(plan);
        statement.plan.set(Some(Arc::clone(&plan)));
        self.run(&plan, &values, most).await.map_err(|error| failure(&error, is_lost))
    }

    async fn run(&mut self, plan: &Plan, values: &[String], most: usize) -> Result<Rows, sqlx::Error> {
        let mut bound = sqlx::query(AssertSqlSafe(Arc::clone(&plan.sql)));
        for value in values {
            bound = bound.bind(value.as_str());
        }
        let mut stream = bound.fetch(&mut self.0);
        let mut rows = Rows::default();
        while let Some(row) = stream.next().await {
            let row = match row {
                Ok(row) => row,
                Err(error) if plan.converts && is_impossible_value(&error) => return Ok(rows),
                Err(error) => return Err(error),
            };
            rows.rows.push(read(&row, plan)?);
            if rows.rows.len() >= most {
                rows.cut = true;
                break;
            }
        }
        Ok(rows)
    }

    /// Learns the types from the server and writes the statement accordingly.
    ///
    /// In an admin's query every value stood in quotes, and PostgreSQL gave a quoted literal the type that its
    /// place asks for. Bound parameters are text, and text is not compared with an integer. So the server
    /// is first asked about the statement with parameters of unknown type, which it resolves as it does
    /// literals; then a parameter of another type than text is converted from text explicitly. Likewise a
    /// column of a type that we do not read is given out as text by the server, as Dovecot would see it.
    async fn plan(&mut self, query: &Text) -> Result<Plan, sqlx::Error> {
        let mut types: Vec<Option<String>> = vec![None; query.parameters()];
        let mut described = loop {
            match self.0.prepare(AssertSqlSafe(statement(query, &types)).into_sql_str()).await {
                Ok(described) => break described,
                // A place that asks for no type, as an argument of concat().
                Err(error) => match undetermined(&error).and_then(|number| types.get_mut(number)) {
                    Some(kind @ None) => *kind = Some("text".to_owned()),
                    _ => return Err(error),
                },
            }
        };
        let inferred = match described.parameters() {
            Some(Either::Left(inferred)) => inferred.to_vec(),
            _ => Vec::new(),
        };
        let mut converts = false;
        for (kind, inferred) in types.iter_mut().zip(&inferred) {
            let oid = inferred.oid().filter(|oid| oid.0 != TEXT);
            if kind.is_none()
                && let Some(oid) = oid
            {
                *kind = Some(self.type_name(oid).await?);
                converts = true;
            }
        }
        if converts {
            let sql = statement(query, &types);
            described = self.0.prepare(AssertSqlSafe(sql).into_sql_str()).await?;
        }
        let columns: Vec<String> = described.columns().iter().map(|own| own.name().to_owned()).collect();
        let readable: Vec<bool> =
            described.columns().iter().map(|own| is_readable(own.type_info())).collect();
        let mut sql = statement(query, &types);
        if readable.contains(&false) {
            sql = with_text_columns(&sql, &readable);
        }
        Ok(Plan { sql: sql.into(), columns, converts })
    }

    /// The type's name as it is written in a cast, with its schema where that is needed.
    async fn type_name(&mut self, oid: Oid) -> Result<String, sqlx::Error> {
        // The type modifier -1 keeps "character" (that is, one character) from standing for bpchar.
        let query = sqlx::query("SELECT pg_catalog.format_type($1, -1)");
        query.bind(oid).fetch_one(&mut self.0).await?.try_get(0)
    }
}

/// The statement with `$1`, or a conversion of it where a type is given.
fn statement(query: &Text, types: &[Option<String>]) -> String {
    query.sql(|index| {
        let number = index + 1;
        match types.get(index).and_then(Option::as_deref) {
            None => format!("${number}"),
            Some("text") => format!("CAST(${number} AS text)"),
            Some(name) => format!("CAST(CAST(${number} AS text) AS {name})"),
        }
    })
}

/// The same rows with the columns that are not `readable` as text.
fn with_text_columns(sql: &str, readable: &[bool]) -> String {
    let columns: Vec<String> = (1..=readable.len()).map(|number| format!("c{number}")).collect();
    let outputs: Vec<String> = columns
        .iter()
        .zip(readable)
        .map(
            |(column, readable)| {
                if *readable { format!("q.{column}") } else { format!("CAST(q.{column} AS text)") }
            },
        )
        .collect();
    // The line ends first: the query may end in a comment.
    format!("SELECT {} FROM ({sql}\n) AS q ({})", outputs.join(", "), columns.join(", "))
}

const BOOL: u32 = 16;
const BYTEA: u32 = 17;
const CHAR: u32 = 18;
const NAME: u32 = 19;
const INT8: u32 = 20;
const INT2: u32 = 21;
const INT4: u32 = 23;
const TEXT: u32 = 25;
const OID: u32 = 26;
const UNKNOWN: u32 = 705;
const BPCHAR: u32 = 1042;
const VARCHAR: u32 = 1043;

/// Whether [`text`] reads the binary form of a type.
fn is_readable(kind: &PgTypeInfo) -> bool {
    kind.oid().is_some_and(|oid| {
        matches!(
            oid.0,
            BOOL | BYTEA | CHAR | NAME | INT8 | INT2 | INT4 | TEXT | OID | UNKNOWN | BPCHAR | VARCHAR
        )
    })
}

/// The parameter (from 0) whose type the server could not tell (42P18).
fn undetermined(error: &sqlx::Error) -> Option<usize> {
    let database = error.as_database_error().filter(|own| own.code().as_deref() == Some("42P18"))?;
    let (_, after) = database.message().split_once('$')?;
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    digits.parse::<usize>().ok()?.checked_sub(1)
}

fn has_code(error: &sqlx::Error, wanted: impl Fn(&str) -> bool) -> bool {
    error.as_database_error().and_then(|own| own.code()).is_some_and(|code| wanted(&code))
}

/// The value cannot be of the type that it is compared with (`bob` as an integer), so no row has it:
/// invalid text representation, number or time out of range, invalid time.
fn is_impossible_value(error: &sqlx::Error) -> bool {
    has_code(error, |code| matches!(code, "22P02" | "22003" | "22007" | "22008" | "22021"))
}

/// The types have changed since the plan was made: syntax errors and type errors (class 42), or a changed
/// result type.
fn is_outdated(error: &sqlx::Error) -> bool {
    has_code(error, |code| code.starts_with("42") || code == "0A000")
}

/// Connection exceptions (08), shutdown and crash (57P), and a prepared statement that somebody has
/// dropped (26000).
fn is_lost(code: &str) -> bool {
    code.starts_with("08") || code.starts_with("57P") || code == "26000"
}

/// The values as the text protocol would give them.
fn read(row: &PgRow, plan: &Plan) -> Result<Row, sqlx::Error> {
    let mut found = Row::default();
    for (column, name) in row.columns().iter().zip(&plan.columns) {
        let value = row.try_get_raw(column.ordinal())?;
        if !value.is_null() {
            let kind = column.type_info().oid().map_or(TEXT, |oid| oid.0);
            found.push(name, text(kind, value.as_bytes().map_err(sqlx::Error::Decode)?));
        }
    }
    Ok(found)
}

/// A value in binary form.
fn text(kind: u32, bytes: &[u8]) -> Vec<u8> {
    let number = match (kind, bytes) {
        (BOOL, [value]) => return if *value == 0 { b"f".to_vec() } else { b"t".to_vec() },
        (INT2, bytes) => bytes.try_into().map(|own| i64::from(i16::from_be_bytes(own))),
        (INT4, bytes) => bytes.try_into().map(|own| i64::from(i32::from_be_bytes(own))),
        (OID, bytes) => bytes.try_into().map(|own| i64::from(u32::from_be_bytes(own))),
        (INT8, bytes) => bytes.try_into().map(i64::from_be_bytes),
        _ => return bytes.to_vec(),
    };
    number.map_or_else(|_| bytes.to_vec(), |number| number.to_string().into_bytes())
}
