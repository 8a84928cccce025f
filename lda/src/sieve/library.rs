//! Where scripts are and what they say: the user's, those before and after it, the default, and those they include.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::check;
use super::extensions::Extensions;
use super::interpreter::{self, Limits, Location, Program};
use super::rewrite::{self, Circumstances};
use super::syntax::{self, Mistake};

/// Where a user's scripts are, with `~` and variables resolved.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Places {
    /// The active script.
    pub active: Option<PathBuf>,
    /// The directory that `include :personal` looks in.
    pub personal: Option<PathBuf>,
    /// The directory that `include :global` looks in.
    pub global: Option<PathBuf>,
    /// Run before the user's: files, or directories whose `.sieve` files are run in the order of their names.
    pub before: Vec<PathBuf>,
    /// Run after it, likewise.
    pub after: Vec<PathBuf>,
    /// The script of those who have none.
    pub default: Option<PathBuf>,
    /// Where mistakes of the user's script are logged; `None`: beside the script.
    pub log: Option<PathBuf>,
}

impl Places {
    /// Reads Dovecot's `sieve = file:~/sieve;active=~/.dovecot.sieve` or a bare path; paths are resolved by `resolve`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn set_user(&mut self, setting: &str, resolve: &dyn Fn(&str) -> PathBuf) -> Result<(), String> {
        let mut parts = setting.split(';').map(str::trim);
        let first = parts.next().unwrap_or("");
        if first.is_empty() {
            self.active = None;
            self.personal = None;
            return Ok(());
        }
        let path = first.strip_prefix("file:").unwrap_or(first);
        if path.split(':').next().is_some_and(|scheme| ["ldap", "dict"].contains(&scheme)) {
            return Err(format!(
                "sieve = {setting}: scripts are read from files only: write file:~/sieve;active=~/.dovecot.sieve"
            ));
        }
        let mut active = None;
        for part in parts {
            match part.split_once('=') {
                Some(("active", path)) => active = Some(resolve(path)),
                Some(("name" | "bindir", _)) | None if part.is_empty() || part.contains('=') => {}
                _ => {
                    return Err(format!(
                        "sieve = {setting}: {part:?} is no option of file:; there is active=FILE"
                    ));
                }
            }
        }
        let path = resolve(path);
        match active {
            Some(active) => {
                self.active = Some(active);
                self.personal = Some(path);
            }
            // A directory holds scripts, its active one is ~/.dovecot.sieve (Pigeonhole's default); a file is the script.
            None if first.starts_with("file:") && path.is_dir() => {
                self.active = Some(resolve("~/.dovecot.sieve"));
                self.personal = Some(path);
            }
            None => {
                self.personal = path.parent().map(Path::to_owned);
                self.active = Some(path);
            }
        }
        Ok(())
    }
}

/// Why a script cannot be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unusable {
    /// It is wrong; all mistakes.
    Mistakes(Vec<Mistake>),
    /// It cannot be read, now; trying later may help.
    Unreadable(String),
}

/// Reads, checks and compiles scripts; those that are included are compiled once.
#[derive(Debug)]
pub struct Library {
    personal: Option<PathBuf>,
    global: Option<PathBuf>,
    extensions: Extensions,
    limits: Limits,
    max_script_size: u64,
    circumstances: Circumstances,
    included: HashMap<PathBuf, Result<Program, String>>,
}

impl Library {
    /// A library over a user's places.
    #[must_use]
    pub fn new(
        places: &Places,
        extensions: Extensions,
        limits: Limits,
        max_script_size: u64,
        circumstances: Circumstances,
    ) -> Self {
        Self {
            personal: places.personal.clone(),
            global: places.global.clone(),
            extensions,
            limits,
            max_script_size,
            circumstances,
            included: HashMap::new(),
        }
    }

    /// The extensions that scripts may use.
    #[must_use]
    pub const fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// What scripts may use up.
    #[must_use]
    pub const fn limits(&self) -> Limits {
        self.limits
    }

    /// Reads and compiles a script; `None`: there is no such file. The warnings come with it.
    ///
    /// # Errors
    /// It cannot be read, or it is wrong.
    pub fn load(&self, path: &Path) -> Result<Option<(Program, Vec<Mistake>)>, Unusable> {
        let Some(text) = self.read(path)? else { return Ok(None) };
        self.compile(&text).map(Some).map_err(Unusable::Mistakes)
    }

    /// Compiles a script's text; scripts that it includes have to be there.
    ///
    /// # Errors
    /// All its mistakes.
    pub fn compile(&self, text: &[u8]) -> Result<(Program, Vec<Mistake>), Vec<Mistake>> {
        let nodes = syntax::parse(text).map_err(|mistake| vec![mistake])?;
        let sound = check::check(&nodes, &self.extensions)?;
        let missing = self.missing_includes(&sound.commands);
        if !missing.is_empty() {
            return Err(missing);
        }
        let rewritten = rewrite::rewrite(&sound.commands, &sound.required, self.circumstances);
        let program = interpreter::compile(&rewritten, self.limits).map_err(|mistake| vec![mistake])?;
        Ok((program, sound.warnings))
    }

    fn missing_includes(&self, commands: &[check::Checked]) -> Vec<Mistake> {
        let mut missing = Vec::new();
        for command in commands {
            if command.entry.name == "include" && !command.has_tag("optional") {
                let (location, word) = if command.has_tag("global") {
                    (Location::Global, "global")
                } else {
                    (Location::Personal, "personal")
                };
                for name in command.positional.iter().flat_map(check::strings) {
                    if !self.place(location, name).is_some_and(|path| path.exists()) {
                        missing.push(Mistake::new(
                            command.line,
                            format!("include: included {word} script '{name}' does not exist."),
                        ));
                    }
                }
            }
            missing.extend(self.missing_includes(command.block.as_deref().unwrap_or_default()));
        }
        missing
    }

    fn place(&self, location: Location, name: &str) -> Option<PathBuf> {
        let directory = match location {
            Location::Personal => self.personal.as_ref()?,
            Location::Global => self.global.as_ref()?,
        };
        check::is_script_name(name).then(|| directory.join(format!("{name}.sieve")))
    }

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, Unusable> {
        let failed = |error: &io::Error| Unusable::Unreadable(format!("{}: {error}", path.display()));
        // Not to hang at a pipe that somebody put there.
        let open = File::options().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path);
        let file = match open {
            Ok(file) => file,
            // What is no directory holds no script.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(failed(&error)),
        };
        let kind = file.metadata().map_err(|error| failed(&error))?.file_type();
        if !kind.is_file() {
            return Err(Unusable::Mistakes(vec![Mistake::new(1, "it is no file.")]));
        }
        let mut text = Vec::new();
        file.take(self.max_script_size + 1).read_to_end(&mut text).map_err(|error| failed(&error))?;
        if u64::try_from(text.len()).unwrap_or(u64::MAX) > self.max_script_size {
            let limit = self.max_script_size;
            return Err(Unusable::Mistakes(vec![Mistake::new(
                1,
                format!("script is larger than {limit} bytes."),
            )]));
        }
        Ok(Some(text))
    }

    /// An included script, for [`interpreter::Outside`].
    ///
    /// # Errors
    /// It is there but cannot be used; why.
    pub fn include(&mut self, location: Location, name: &str) -> Result<Option<Program>, String> {
        let Some(path) = self.place(location, name) else { return Ok(None) };
        if let Some(known) = self.included.get(&path) {
            return known.clone().map(Some);
        }
        let loaded = match self.load(&path) {
            Ok(None) => return Ok(None),
            Ok(Some((program, _))) => Ok(program),
            Err(Unusable::Unreadable(why)) => Err(why),
            Err(Unusable::Mistakes(mistakes)) => Err(mistakes.first().map_or_else(String::new, |first| {
                format!("{}: line {}: {}", path.display(), first.line, first.text)
            })),
        };
        self.included.insert(path, loaded.clone());
        loaded.map(Some)
    }
}

/// The scripts of a file or directory, in the order of their names.
///
/// # Errors
/// The directory cannot be read.
pub fn scripts_of(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut scripts = Vec::new();
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "sieve") {
            scripts.push(path);
        }
    }
    scripts.sort();
    Ok(scripts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library(places: &Places) -> Library {
        let circumstances = Circumstances { zone_minutes: 0, size: None };
        Library::new(places, Extensions::default(), Limits::default(), 1000, circumstances)
    }

    #[test]
    fn dovecots_forms_of_the_place() {
        let home = tempfile::tempdir().unwrap();
        let resolve = |path: &str| {
            path.strip_prefix("~/").map_or_else(|| PathBuf::from(path), |rest| home.path().join(rest))
        };
        let read = |setting: &str| {
            let mut places = Places::default();
            places.set_user(setting, &resolve).map(|()| (places.active, places.personal))
        };
        let (active, sieve) = (Some(home.path().join(".dovecot.sieve")), Some(home.path().join("sieve")));
        assert_eq!(read("file:~/sieve;active=~/.dovecot.sieve"), Ok((active.clone(), sieve.clone())));
        assert_eq!(read("~/.dovecot.sieve"), Ok((active.clone(), Some(home.path().to_owned()))));
        fs::create_dir(home.path().join("sieve")).unwrap();
        assert_eq!(read("file:~/sieve"), Ok((active, sieve)));
        assert_eq!(read(""), Ok((None, None)));
        assert!(read("file:~/sieve;aktiv=x").unwrap_err().contains("active=FILE"));
        assert!(read("ldap:/etc/x").unwrap_err().contains("files only"));
    }

    #[test]
    fn files_are_read_within_limits() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.sieve");
        let library = library(&Places::default());
        assert!(library.load(&path).unwrap().is_none());
        fs::write(&path, "keep;").unwrap();
        assert!(library.load(&path).unwrap().is_some());
        fs::write(&path, " ".repeat(1001)).unwrap();
        assert!(
            matches!(library.load(&path), Err(Unusable::Mistakes(mistakes)) if mistakes[0].text.contains("larger than 1000"))
        );
        assert!(matches!(library.load(home.path()), Err(Unusable::Mistakes(_))));
        let fifo = home.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(matches!(library.load(&fifo), Err(Unusable::Mistakes(_))));
    }

    #[test]
    fn included_scripts_have_to_be_there() {
        let home = tempfile::tempdir().unwrap();
        let places = Places { personal: Some(home.path().to_owned()), ..Places::default() };
        let mut library = library(&places);
        let script = b"require \"include\"; if true { include \"a\"; }";
        assert!(
            library.compile(script).unwrap_err()[0]
                .text
                .contains("included personal script 'a' does not exist")
        );
        fs::write(home.path().join("a.sieve"), "keep;").unwrap();
        assert!(library.compile(script).is_ok());
        assert!(library.include(Location::Personal, "a").unwrap().is_some());
        assert!(library.include(Location::Global, "a").unwrap().is_none());
        assert!(library.include(Location::Personal, "../a").unwrap().is_none());
        fs::write(home.path().join("b.sieve"), "\nbroken;").unwrap();
        assert!(
            library
                .include(Location::Personal, "b")
                .unwrap_err()
                .contains("b.sieve: line 2: unknown command")
        );
        assert!(library.include(Location::Personal, "b").is_err());
    }

    #[test]
    fn directories_are_run_in_order() {
        let home = tempfile::tempdir().unwrap();
        for name in ["b.sieve", "a.sieve", "c.txt"] {
            fs::write(home.path().join(name), "").unwrap();
        }
        let names = scripts_of(home.path()).unwrap();
        assert_eq!(names, [home.path().join("a.sieve"), home.path().join("b.sieve")]);
        assert_eq!(scripts_of(&names[0]).unwrap(), names[..1]);
    }
}
