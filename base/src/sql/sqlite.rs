//! SQLite: files opened read-only, and opened again when another file has taken their place.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow, SqliteValueRef};
use sqlx::{AssertSqlSafe, Column as _, ConnectOptions as _, Decode, Row as _, TypeInfo as _, ValueRef as _};

use super::Row;
use super::server::{Failure, Rows, failure};

/// How long a look-up waits while somebody writes to the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// A database file.
pub(super) struct File {
    path: PathBuf,
    options: SqliteConnectOptions,
}

/// An open file.
pub(super) struct Connection {
    connection: SqliteConnection,
    /// Device and inode.
    identity: (u64, u64),
}

impl File {
    /// Reads `sqlite:///path` or `sqlite:/path`, with the URI parameters `immutable`, `cache` and `vfs`.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        // The error may quote the URL.
        let options = SqliteConnectOptions::from_str(url)
            .ok()
            .ok_or("is not a sqlite URL such as sqlite:///path/to/file")?;
        let path = options.get_filename().to_owned();
        if !path.is_absolute() {
            return Err("names no absolute path; write sqlite:///path/to/file".into());
        }
        let options = options
            .read_only(true)
            .create_if_missing(false)
            .busy_timeout(BUSY_TIMEOUT)
            .disable_statement_logging();
        Ok(Self { path, options })
    }

    pub(super) fn path(self) -> PathBuf {
        self.path
    }

    pub(super) fn name(&self) -> String {
        self.path.display().to_string()
    }

    pub(super) async fn open(&self) -> Result<Connection, String> {
        let identity = identity(&self.path).map_err(|error| error.to_string())?;
        match self.options.connect().await {
            Ok(connection) => Ok(Connection { connection, identity }),
            Err(sqlx::Error::Database(error)) => Err(format!(
                "{} (code {}); it is opened read-only; with journal_mode WAL the user we run as must also \
                 read the -wal and -shm files beside it, or be allowed to create them",
                error.message(),
                error.code().unwrap_or_default()
            )),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Whether the path still leads to the file that is open: admins replace files by renaming new ones.
    pub(super) fn is_same(&self, connection: &Connection) -> bool {
        identity(&self.path).is_ok_and(|identity| identity == connection.identity)
    }
}

fn identity(path: &Path) -> std::io::Result<(u64, u64)> {
    std::fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

impl Connection {
    pub(super) async fn ask(
        &mut self,
        sql: &Arc<str>,
        values: Vec<String>,
        most: usize,
    ) -> Result<Rows, Failure> {
        let mut bound = sqlx::query(AssertSqlSafe(Arc::clone(sql)));
        for value in values {
            bound = bound.bind(value);
        }
        let mut stream = bound.fetch(&mut self.connection);
        let mut rows = Rows::default();
        while let Some(row) = stream.next().await {
            let row = row.map_err(|error| failure(&error, is_lost))?;
            rows.rows.push(read(&row).map_err(Failure::Answer)?);
            if rows.rows.len() >= most {
                rows.cut = true;
                break;
            }
        }
        Ok(rows)
    }
}

/// SQLITE_CORRUPT, SQLITE_NOTADB, SQLITE_IOERR and its kin: open the file anew.
fn is_lost(code: &str) -> bool {
    code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 10 | 11 | 26))
}

/// The values as sqlite3_column_text would give them.
fn read(row: &SqliteRow) -> Result<Row, String> {
    let mut found = Row::default();
    for column in row.columns() {
        let value = row.try_get_raw(column.ordinal()).map_err(|error| error.to_string())?;
        if !value.is_null() {
            found.push(column.name(), text(value).map_err(|error| error.to_string())?);
        }
    }
    Ok(found)
}

fn text(value: SqliteValueRef<'_>) -> Result<Vec<u8>, sqlx::error::BoxDynError> {
    let storage = value.type_info().name().to_owned();
    Ok(match storage.as_str() {
        "INTEGER" => <i64 as Decode<'_, sqlx::Sqlite>>::decode(value)?.to_string().into_bytes(),
        "REAL" => format!("{:?}", <f64 as Decode<'_, sqlx::Sqlite>>::decode(value)?).into_bytes(),
        _ => <Vec<u8> as Decode<'_, sqlx::Sqlite>>::decode(value)?,
    })
}
