//! MySQL and MariaDB.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use futures_util::StreamExt as _;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlRow, MySqlSslMode};
use sqlx::{AssertSqlSafe, Column as _, ConnectOptions as _, Row as _, TypeInfo as _, ValueRef as _};

use super::Row;
use super::server::{Failure, Rows, TlsFiles, connect_text, failure, system_ca_file};

/// The parameters that a URL may have.
pub(super) const URL_KEYS: &[&str] = &[
    "sslmode",
    "ssl-mode",
    "sslca",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "charset",
    "collation",
    "socket",
    "timezone",
    "time-zone",
    "statement-cache-capacity",
];

/// A server.
pub(super) struct Server {
    options: MySqlConnectOptions,
    ca_file: Option<PathBuf>,
}

/// An open connection.
pub(super) struct Connection(MySqlConnection);

impl Server {
    pub(super) fn parse(url: &str, tls: TlsFiles<'_>) -> Result<Self, String> {
        // The error may quote the URL.
        let mut options = MySqlConnectOptions::from_str(url)
            .ok()
            .ok_or("is not understood; write mysql://user:password@host:port/database")?;
        let own_ca = url.contains("sslca=") || url.contains("ssl-ca=");
        if tls.ca_file.is_some() && (tls.is_open || matches!(options.get_ssl_mode(), MySqlSslMode::Required))
        {
            let checked = if tls.is_open { MySqlSslMode::VerifyIdentity } else { MySqlSslMode::VerifyCa };
            options = options.ssl_mode(checked);
        }
        let checks = matches!(options.get_ssl_mode(), MySqlSslMode::VerifyCa | MySqlSslMode::VerifyIdentity);
        if let Some(path) = tls.ca_file.map(PathBuf::from).or_else(system_ca_file)
            && checks
            && !own_ca
        {
            options = options.ssl_ca(path);
        }
        // The session is as the server's configuration has it, which the admin's query was written for.
        let options = options
            .pipes_as_concat(false)
            .no_engine_substitution(false)
            .timezone(None)
            .disable_statement_logging();
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
        sql: &Arc<str>,
        values: Vec<String>,
        most: usize,
    ) -> Result<Rows, Failure> {
        let beyond_ascii = values.iter().any(|value| !value.is_ascii());
        let mut bound = sqlx::query(AssertSqlSafe(Arc::clone(sql)));
        for value in values {
            bound = bound.bind(value);
        }
        let mut stream = bound.fetch(&mut self.0);
        let mut rows = Rows::default();
        while let Some(row) = stream.next().await {
            let row = match row {
                Ok(row) => row,
                Err(error) if beyond_ascii && is_foreign_character(&error) => return Ok(rows),
                Err(error) => return Err(failure(&error, is_lost)),
            };
            rows.rows.push(read(&row).map_err(Failure::Answer)?);
            if rows.rows.len() >= most {
                rows.cut = true;
                break;
            }
        }
        Ok(rows)
    }
}

/// The value has characters that the column's character set lacks, so no row can hold it (error 1267:
/// illegal mix of collations).
fn is_foreign_character(error: &sqlx::Error) -> bool {
    number(error) == Some(1267)
}

fn number(error: &sqlx::Error) -> Option<u16> {
    let database = error.as_database_error()?;
    Some(database.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>()?.number())
}

/// SQLSTATE class 08 is a lost connection; 70100 is a connection that was killed.
fn is_lost(code: &str) -> bool {
    code.starts_with("08") || code == "70100"
}

/// The values as the text protocol would give them.
fn read(row: &MySqlRow) -> Result<Row, String> {
    let mut found = Row::default();
    for column in row.columns() {
        let at = column.ordinal();
        let is_null = row.try_get_raw(at).map_err(|error| error.to_string())?.is_null();
        if !is_null {
            let value = text(row, at, column.type_info().name());
            found.push(column.name(), value.map_err(|error| error.to_string())?);
        }
    }
    Ok(found)
}

fn text(row: &MySqlRow, at: usize, kind: &str) -> Result<Vec<u8>, sqlx::Error> {
    Ok(match kind {
        "YEAR" | "BIT" => row.try_get_unchecked::<u64, _>(at)?.to_string().into_bytes(),
        kind if kind.ends_with("UNSIGNED") => row.try_get_unchecked::<u64, _>(at)?.to_string().into_bytes(),
        "BOOLEAN" | "TINYINT" | "SMALLINT" | "MEDIUMINT" | "INT" | "BIGINT" => {
            row.try_get_unchecked::<i64, _>(at)?.to_string().into_bytes()
        }
        "FLOAT" => row.try_get_unchecked::<f32, _>(at)?.to_string().into_bytes(),
        "DOUBLE" => row.try_get_unchecked::<f64, _>(at)?.to_string().into_bytes(),
        "TIME" => time(row.try_get_unchecked::<&[u8], _>(at)?),
        "DATE" | "DATETIME" | "TIMESTAMP" => date(row.try_get_unchecked::<&[u8], _>(at)?, kind),
        _ => row.try_get_unchecked::<&[u8], _>(at)?.to_vec(),
    })
}

/// A time of the binary protocol: its length, whether it is negative, days, hour, minute, second, then
/// microseconds. (sqlx's own type has the sign the wrong way round in 0.9.0.)
fn time(bytes: &[u8]) -> Vec<u8> {
    let at = |index: usize| bytes.get(index).copied().unwrap_or(0);
    let days = u32::from_le_bytes([at(2), at(3), at(4), at(5)]);
    let hours = u64::from(days) * 24 + u64::from(at(6));
    let sign = if at(1) == 0 { "" } else { "-" };
    let mut text = format!("{sign}{hours:02}:{:02}:{:02}", at(7), at(8));
    let micros = u32::from_le_bytes([at(9), at(10), at(11), at(12)]);
    if micros != 0 {
        text.push_str(&format!(".{micros:06}"));
    }
    text.into_bytes()
}

/// A date of the binary protocol: its length, year, month, day, then hour, minute, second, then microseconds
/// (MySQL protocol, "binary protocol value").
fn date(bytes: &[u8], kind: &str) -> Vec<u8> {
    let at = |index: usize| bytes.get(index).copied().unwrap_or(0);
    let year = u16::from_le_bytes([at(1), at(2)]);
    let mut text = format!("{year:04}-{:02}-{:02}", at(3), at(4));
    if kind != "DATE" {
        text.push_str(&format!(" {:02}:{:02}:{:02}", at(5), at(6), at(7)));
        let micros = u32::from_le_bytes([at(8), at(9), at(10), at(11)]);
        if micros != 0 {
            text.push_str(&format!(".{micros:06}"));
        }
    }
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times_of_the_binary_protocol() {
        for (bytes, kind, text) in [
            (&[4, 0xea, 7, 12, 31][..], "DATE", "2026-12-31"),
            (&[4, 0xea, 7, 12, 31], "DATETIME", "2026-12-31 00:00:00"),
            (&[7, 0xea, 7, 1, 2, 3, 4, 5], "TIMESTAMP", "2026-01-02 03:04:05"),
            (&[11, 0xea, 7, 1, 2, 3, 4, 5, 64, 226, 1, 0], "DATETIME", "2026-01-02 03:04:05.123456"),
        ] {
            assert_eq!(String::from_utf8(date(bytes, kind)).unwrap(), text);
        }
        for (bytes, text) in [
            (&[0][..], "00:00:00"),
            (&[8, 0, 0, 0, 0, 0, 3, 4, 5], "03:04:05"),
            (&[12, 1, 34, 0, 0, 0, 22, 59, 59, 64, 226, 1, 0], "-838:59:59.123456"),
        ] {
            assert_eq!(String::from_utf8(time(bytes)).unwrap(), text);
        }
    }
}
