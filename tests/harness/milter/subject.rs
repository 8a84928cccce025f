//! Which program a test is about: ours, or Debian's opendkim as the reference.

use std::io::Write;
use std::path::{Path, PathBuf};

/// The milter under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// `postrider-milter` from the target folder, or `$POSTRIDER_MILTER_BIN`.
    Ours,
    /// `/usr/sbin/opendkim`.
    Reference,
}

impl Subject {
    /// `SUBJECT=reference` or `SUBJECT=ours` in the environment; ours when unset.
    #[must_use]
    pub fn from_env() -> Self {
        match std::env::var("SUBJECT").as_deref() {
            Ok("reference") => Self::Reference,
            Ok("ours" | "") | Err(_) => Self::Ours,
            Ok(other) => panic!("SUBJECT={other}: must be ours or reference"),
        }
    }

    /// For a test of something that only ours does: true, with a printed line, when the subject is the reference.
    #[must_use]
    pub fn lacks(self, what: &str) -> bool {
        let lacks = self == Self::Reference;
        if lacks {
            // Past the test framework, which hides what a passing test prints.
            let _ = writeln!(std::io::stderr(), "skipped with SUBJECT=reference: {what}");
        }
        lacks
    }

    /// The program's file.
    #[must_use]
    pub fn program(self) -> PathBuf {
        match self {
            Self::Reference => PathBuf::from("/usr/sbin/opendkim"),
            Self::Ours => std::env::var_os("POSTRIDER_MILTER_BIN")
                .map_or_else(|| target_folder().join("postrider-milter"), PathBuf::from),
        }
    }
}

/// `target/debug` or `target/release`: test programs lie there or in its folder `deps`.
pub fn target_folder() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let folder = program.parent().unwrap();
    if folder.ends_with("deps") { folder.parent().unwrap().to_owned() } else { Path::new(folder).to_owned() }
}
