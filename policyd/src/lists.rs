//! Lists from their sources: files are read at the start and again and again, databases are made ready to be asked.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::condition::Listing;
use crate::config::Settings;
use crate::config::settings::{ListDriver, ListSource};
use crate::list::List;
use crate::lookup::Lookup;
use crate::lookup::source::Wrong;

/// The longest list file.
const LONGEST: u64 = 64 << 20;

/// Reads all lists that are files, and makes the others ready to be asked, for the start and for a reload; `before` is
/// the configuration that was in force.
///
/// # Errors
/// A sentence for each that cannot be read or asked.
pub fn read_all(settings: &Settings, before: Option<&Settings>) -> Result<(), Vec<String>> {
    let ready = |source: &ListSource| match (&source.driver, &source.content) {
        (ListDriver::File { path }, Listing::Read(content)) => {
            content.store(Arc::new(read_file(path)?));
            Ok(())
        }
        (_, Listing::Asked(list)) => open(list, before)
            .map_err(|wrong| format!("list {}: {}: {}", source.name, wrong.setting, wrong.text)),
        (ListDriver::Asked, Listing::Read(_)) => Ok(()),
    };
    let wrong: Vec<String> = settings.lists.iter().filter_map(|source| ready(source).err()).collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// Makes a list ready to be asked.
///
/// # Errors
/// The setting that is wrong, and a sentence.
pub fn open(list: &Lookup, before: Option<&Settings>) -> Result<(), Wrong> {
    let same_name = |source: &&ListSource| source.name == list.settings().name;
    let before = before.and_then(|settings| settings.lists.iter().find(same_name));
    match before.map(|source| &source.content) {
        Some(Listing::Asked(before)) => list.open(Some(before)),
        Some(Listing::Read(_)) | None => list.open(None),
    }
}

/// Those of the lists that are asked.
pub fn asked(settings: &Settings) -> impl Iterator<Item = &Arc<Lookup>> {
    settings.lists.iter().filter_map(|source| match &source.content {
        Listing::Asked(list) => Some(list),
        Listing::Read(_) => None,
    })
}

/// Connects to all databases at once; what is not there by then is found out later.
pub async fn connect(settings: &Settings) {
    let mut tasks = tokio::task::JoinSet::new();
    for list in asked(settings) {
        let list = Arc::clone(list);
        tasks.spawn(async move { list.connect().await });
    }
    while tasks.join_next().await.is_some() {}
}

fn read_file(path: &Path) -> Result<List, String> {
    let failed = |error: std::io::Error| format!("list {}: {error}", path.display());
    let length = std::fs::metadata(path).map_err(failed)?.len();
    if length > LONGEST {
        return Err(format!("list {}: is longer than {} MiB", path.display(), LONGEST >> 20));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    Ok(List::parse(&text))
}

/// When a file was changed last, and its length: both the same is taken for no change.
fn state(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// Reads a file again every now and then, for ever; the last reading holds while that fails. Nothing to do for others.
pub async fn follow(source: ListSource) {
    let (ListDriver::File { path }, Listing::Read(content)) = (&source.driver, &source.content) else {
        return;
    };
    let mut last = state(path);
    let mut failing = false;
    loop {
        tokio::time::sleep(source.refresh.max(Duration::from_secs(1))).await;
        let file = path.clone();
        let seen = last;
        let found = tokio::task::spawn_blocking(move || {
            let now = state(&file);
            let same = now.is_some() && now == seen;
            (now, if same { None } else { Some(read_file(&file)) })
        })
        .await;
        let Ok((now, found)) = found else { continue };
        match found {
            None => {}
            Some(Ok(list)) => {
                if failing {
                    log::info!("list {}: can be read again", source.name);
                }
                log::info!("list {}: {} entries", source.name, list.len());
                failing = false;
                last = now;
                content.store(Arc::new(list));
            }
            Some(Err(error)) => {
                if !failing {
                    log::error!("{error}; what was read before holds");
                }
                failing = true;
            }
        }
    }
}
