//! Reading lists from their sources, at the start and again and again.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::config::Settings;
use crate::config::settings::{ListDriver, ListSource};
use crate::list::List;

/// The longest list file.
const LONGEST: u64 = 64 << 20;

/// Reads all lists, for the start and for a reload.
///
/// # Errors
/// A sentence for each that cannot be read.
pub fn read_all(settings: &Settings) -> Result<(), Vec<String>> {
    let wrong: Vec<String> = settings
        .lists
        .iter()
        .filter_map(|source| match read(source) {
            Ok(list) => {
                source.content.store(Arc::new(list));
                None
            }
            Err(error) => Some(error),
        })
        .collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

fn read(source: &ListSource) -> Result<List, String> {
    match &source.driver {
        ListDriver::File { path } => read_file(path),
    }
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
fn state(source: &ListSource) -> Option<(SystemTime, u64)> {
    match &source.driver {
        ListDriver::File { path } => {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        }
    }
}

/// Reads a list again every now and then, for ever; the last reading holds while that fails.
pub async fn follow(source: ListSource) {
    let mut last = state(&source);
    let mut failing = false;
    loop {
        tokio::time::sleep(source.refresh.max(Duration::from_secs(1))).await;
        let one = source.clone();
        let seen = last;
        let found = tokio::task::spawn_blocking(move || {
            let now = state(&one);
            let same = now.is_some() && now == seen;
            (now, if same { None } else { Some(read(&one)) })
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
                source.content.store(Arc::new(list));
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
