//! From Dovecot's configuration to ours: `postrider-sasl-auth import --doveconf FILE`.
//!
//! `parser` reads the text into a tree, `v23` and `v24` say what its settings mean in the two syntaxes,
//! with the help of `sql` (connections), `ldap` (attributes), `fields` and `service` (what both
//! syntaxes share), and `draft` keeps what comes out and writes it as TOML.

mod draft;
mod fields;
mod ldap;
mod parser;
mod service;
mod sql;
mod v23;
mod v24;

use std::fmt;
use std::path::Path;

use draft::Draft;
use parser::Block;

/// The longest text that is looked at, in bytes.
const MAX_BYTES: usize = 256 << 10;

/// Turns the output of `doveconf -n` (Dovecot 2.3 or 2.4; of `doveconf -nP` with passwords) into a
/// configuration of ours. What cannot be carried over stands in it as comments.
///
/// `read` gives the text of a file that the configuration names (dovecot-sql.conf.ext and the like),
/// or `None` when it cannot be read; the section then stands in comments. Of a text longer than 256 KiB
/// only the beginning is looked at.
///
/// [`crate::config::load`] takes the result without errors.
///
/// # Errors
/// [`NotDovecot`] when nothing in the text is known of Dovecot.
pub fn doveconf(text: &str, read: &mut dyn FnMut(&Path) -> Option<String>) -> Result<String, NotDovecot> {
    let text = text.get(..text.floor_char_boundary(MAX_BYTES)).unwrap_or("");
    let root = parser::parse(text);
    if !is_dovecots(text, &root) {
        return Err(NotDovecot);
    }
    let new = is_2_4(text, &root);
    let mut draft = Draft::new(if new { "2.4" } else { "2.3" });
    service::settings(&root, new, &mut draft);
    if new {
        v24::databases(&root, &mut draft);
    } else {
        v23::databases(&root, read, &mut draft);
    }
    service::listeners(&root, &mut draft);
    Ok(draft.finish())
}

/// A text in which no setting of Dovecot is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotDovecot;

impl fmt::Display for NotDovecot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no setting of Dovecot is in it; what is wanted is the output of doveconf -nP")
    }
}

impl std::error::Error for NotDovecot {}

/// Whether the text is doveconf's, as its first line says, or holds anything that authentication is about.
fn is_dovecots(text: &str, root: &Block) -> bool {
    let first = text.lines().next().unwrap_or("");
    let is_ours = |name: &str| name.starts_with("auth_") || name.starts_with("dovecot_");
    (first.starts_with("# 2.") && first.contains("dovecot"))
        || root.settings().any(|(name, _)| is_ours(name))
        || root.blocks().any(|block| match block.kind() {
            "passdb" | "userdb" => true,
            "service" => matches!(block.name(), "auth" | "auth-worker"),
            _ => false,
        })
}

/// Whether the text is of Dovecot 2.4: by doveconf's first line, by the version setting that 2.4 must
/// have, or by named passdbs.
fn is_2_4(text: &str, root: &Block) -> bool {
    let first = text.lines().next().unwrap_or("");
    if let Some(version) = first.strip_prefix("# 2.") {
        return !version.starts_with(['0', '1', '2', '3']);
    }
    root.value("dovecot_config_version").is_some()
        || root.blocks().any(|block| matches!(block.kind(), "passdb" | "userdb") && !block.name().is_empty())
}

#[cfg(test)]
mod tests;
