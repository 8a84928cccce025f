//! All scripts of a user over one message: from files to a plan. The first that fails ends it with an implicit keep.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::action::Edition;
use super::interpreter::{self, Facts, Location, Outside, Program};
use super::library::{self, Library, Places, Unusable};
use super::plan::{Plan, Planner, Policy};
use super::syntax::Mistake;

/// What scripts ask of the world besides other scripts.
pub trait World {
    /// Whether a folder is there and can be delivered into.
    fn mailbox_exists(&mut self, name: &str) -> bool;
    /// Whether an identifier of `duplicate` is known.
    fn is_duplicate(&mut self, id: &str) -> bool;
}

/// Whose script it is, which says whose business its mistakes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The administrator's: before, after, default.
    Site,
    /// The user's.
    User,
}

/// A script that could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// Its file.
    pub script: PathBuf,
    /// Whose it is.
    pub owner: Owner,
    /// Lines for its log: what is wrong, each with a line number if it has one.
    pub complaints: Vec<Mistake>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluation {
    /// What is to be done; an implicit keep and what earlier scripts said when one has failed.
    pub plan: Plan,
    /// The script that failed, if one did.
    pub failed: Option<Failed>,
    /// Whether any script was there.
    pub any: bool,
}

/// Runs the scripts.
///
/// # Errors
/// A script cannot be read now; the delivery is to be tried again.
pub fn evaluate(
    places: &Places,
    library: &mut Library,
    message: &[u8],
    facts: &Facts,
    policy: Policy,
    world: &mut dyn World,
) -> Result<Evaluation, String> {
    let mut planner = Planner::new(policy);
    let mut any = false;
    for (script, owner) in sequence(places)? {
        let loaded = match library.load(&script) {
            Ok(None) => continue,
            Ok(Some((program, _warnings))) => Ok(program),
            Err(Unusable::Unreadable(why)) => return Err(why),
            Err(Unusable::Mistakes(mistakes)) => Err(mistakes),
        };
        any = true;
        let result = loaded.and_then(|program| {
            one(&program, library, message, facts, &mut planner, world)
                .map_err(|why| vec![Mistake::new(0, why)])
        });
        match result {
            Ok(true) => {}
            Ok(false) => break,
            Err(complaints) => {
                let failed = Some(Failed { script, owner, complaints });
                return Ok(Evaluation { plan: kept(planner), failed, any });
            }
        }
    }
    Ok(Evaluation { plan: planner.finish(), failed: None, any })
}

/// The scripts in their order. A user without a script has the default one.
fn sequence(places: &Places) -> Result<Vec<(PathBuf, Owner)>, String> {
    let mut scripts = Vec::new();
    let add = |scripts: &mut Vec<(PathBuf, Owner)>, path: &Path| {
        library::scripts_of(path)
            .map(|found| scripts.extend(found.into_iter().map(|script| (script, Owner::Site))))
            .map_err(|error| format!("{}: {error}", path.display()))
    };
    for path in &places.before {
        add(&mut scripts, path)?;
    }
    match (&places.active, &places.default) {
        (Some(active), Some(default)) if active.symlink_metadata().is_err_and(|error| absent(&error)) => {
            scripts.push((default.clone(), Owner::Site));
        }
        (Some(active), _) => scripts.push((active.clone(), Owner::User)),
        (None, Some(default)) => scripts.push((default.clone(), Owner::Site)),
        (None, None) => {}
    }
    for path in &places.after {
        add(&mut scripts, path)?;
    }
    Ok(scripts)
}

fn absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

/// One script. True: the next is asked.
fn one(
    program: &Program,
    library: &mut Library,
    message: &[u8],
    facts: &Facts,
    planner: &mut Planner,
    world: &mut dyn World,
) -> Result<bool, String> {
    let edition = planner.edition().cloned();
    let text = edition.as_ref().map_or(Cow::Borrowed(message), |edition| Cow::Owned(whole(edition, message)));
    let (extensions, limits) = (library.extensions().clone(), library.limits());
    let mut outside = Combined { library, world };
    let mut ran = interpreter::run(program, &text, facts, &extensions, limits, &mut outside)?;
    if let Some(base) = edition {
        let head = u64::try_from(base.head.len()).unwrap_or(u64::MAX);
        for edition in &mut ran.editions {
            edition.rest_at = edition.rest_at.saturating_sub(head).saturating_add(base.rest_at);
        }
    }
    planner.add(ran)
}

/// An edition in full.
#[must_use]
pub fn whole(edition: &Edition, message: &[u8]) -> Vec<u8> {
    let mut whole = edition.head.clone();
    let rest = usize::try_from(edition.rest_at).ok().and_then(|at| message.get(at..));
    whole.extend_from_slice(rest.unwrap_or_default());
    whole
}

/// What earlier scripts asked for, and the message is kept whatever the failed one had begun.
fn kept(planner: Planner) -> Plan {
    let mut plan = planner.finish();
    if plan.implicit_keep.is_none() {
        plan.implicit_keep = Plan::keep().implicit_keep;
    }
    plan
}

struct Combined<'a> {
    library: &'a mut Library,
    world: &'a mut dyn World,
}

impl Outside for Combined<'_> {
    fn mailbox_exists(&mut self, name: &str) -> bool {
        self.world.mailbox_exists(name)
    }

    fn is_duplicate(&mut self, id: &str) -> bool {
        self.world.is_duplicate(id)
    }

    fn include(&mut self, location: Location, name: &str) -> Result<Option<Program>, String> {
        self.library.include(location, name)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::sieve::extensions::Extensions;
    use crate::sieve::interpreter::Limits;
    use crate::sieve::plan::Step;
    use crate::sieve::rewrite::Circumstances;

    struct Nothing;

    impl World for Nothing {
        fn mailbox_exists(&mut self, _name: &str) -> bool {
            false
        }

        fn is_duplicate(&mut self, _id: &str) -> bool {
            false
        }
    }

    const MESSAGE: &[u8] = b"Subject: a\n\nbody\n";

    fn evaluated(scripts: &[(&str, &str)]) -> Evaluation {
        let home = tempfile::tempdir().unwrap();
        for (name, text) in scripts {
            let path = home.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let places = Places {
            active: Some(home.path().join("active")),
            before: vec![home.path().join("before")],
            after: vec![home.path().join("after")],
            default: Some(home.path().join("default")),
            ..Places::default()
        };
        let extensions = Extensions::parse("+editheader").unwrap();
        let circumstances = Circumstances { zone_minutes: 0, size: None };
        let mut library = Library::new(&places, extensions, Limits::default(), 10_000, circumstances);
        evaluate(&places, &mut library, MESSAGE, &Facts::default(), Policy::default(), &mut Nothing).unwrap()
    }

    fn mailboxes(evaluation: &Evaluation) -> Vec<&str> {
        evaluation.plan.stores().map(|store| store.mailbox.as_str()).collect()
    }

    const INTO: &str = "require [\"fileinto\",\"copy\"]; fileinto :copy ";

    #[test]
    fn before_user_after() {
        let copy = |name: &str| format!("{INTO}\"{name}\";");
        let all = evaluated(&[
            ("before/2.sieve", &copy("2")),
            ("before/1.sieve", &copy("1")),
            ("active", &copy("3")),
            ("after", &copy("4")),
            ("default", "discard;"),
        ]);
        assert_eq!(mailboxes(&all), ["1", "2", "3", "4", "INBOX"]);
        let stopped = evaluated(&[("before", "discard;"), ("active", &copy("3"))]);
        assert!(mailboxes(&stopped).is_empty() && stopped.any);
        let default = evaluated(&[("default", &copy("d"))]);
        assert_eq!(mailboxes(&default), ["d", "INBOX"]);
        let none = evaluated(&[]);
        assert!(!none.any);
        assert_eq!(mailboxes(&none), ["INBOX"]);
    }

    #[test]
    fn a_script_that_fails_means_keep() {
        let copy = format!("{INTO}\"1\";");
        for broken in ["broken;", "require \"ihave\"; discard; error \"x\";"] {
            let evaluation = evaluated(&[("before", &copy), ("active", broken), ("after", "discard;")]);
            assert_eq!(mailboxes(&evaluation), ["1", "INBOX"]);
            let failed = evaluation.failed.unwrap();
            assert_eq!(failed.owner, Owner::User);
            assert!(failed.script.ends_with("active"));
        }
    }

    #[test]
    fn edits_go_on_from_script_to_script() {
        let add = |name: &str, folder: &str| {
            format!(
                "require [\"editheader\",\"fileinto\",\"copy\"]; addheader \"{name}\" \"x\"; fileinto :copy \"{folder}\";"
            )
        };
        let evaluation = evaluated(&[
            ("before", &add("A", "a")),
            ("active", &add("B", "b")),
            ("after", "require \"fileinto\"; if exists \"B\" { fileinto \"c\"; }"),
        ]);
        let texts: Vec<_> = evaluation
            .plan
            .steps
            .iter()
            .map(|step| {
                let Step::Store(store) = step else { panic!() };
                let edition = &evaluation.plan.editions[store.edition - 1];
                String::from_utf8(whole(edition, MESSAGE)).unwrap()
            })
            .collect();
        let original = std::str::from_utf8(MESSAGE).unwrap();
        assert_eq!(
            texts,
            [
                format!("A: x\n{original}"),
                format!("B: x\nA: x\n{original}"),
                format!("B: x\nA: x\n{original}")
            ]
        );
    }
}
