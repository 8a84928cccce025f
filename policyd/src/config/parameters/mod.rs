//! The table of all settings: what reading, checking and the manual page share.

mod greylist;
mod limit;
mod list;
mod notice;
mod service;

use base::config::toml::{Fallback, Kind, Section, Setting};

/// All sections, in the order of the manual page.
pub static SECTIONS: [Section; 11] = [
    service::TOP,
    service::SERVER,
    service::STORE,
    limit::LIMIT,
    list::LIST,
    greylist::GREYLIST,
    notice::NOTICE,
    service::GEO,
    service::CONTROL,
    service::LOG,
    service::METRICS,
];

const DAY_MS: u64 = 86_400_000;

/// A setting for every kind of driver.
const fn setting(name: &'static str, kind: Kind, default: Fallback, doc: &'static str) -> Setting {
    Setting { name, kind, default, only: &[], doc }
}

/// A setting that goes with some drivers only.
const fn driver(
    only: &'static [&'static str],
    name: &'static str,
    kind: Kind,
    default: Fallback,
    doc: &'static str,
) -> Setting {
    Setting { name, kind, default, only, doc }
}

const fn count(min: i64, max: i64) -> Kind {
    Kind::Integer { min, max }
}

const fn time(min_ms: u64, max_ms: u64) -> Kind {
    Kind::Duration { min_ms, max_ms }
}
