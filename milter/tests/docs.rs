//! The manual page and the list of parameters in docs/ are those of the table (UPDATE=1 rewrites them).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails here says so"
)]

use std::{fs, path::Path};

use milter::config::man;

const BEGIN: &str = "<!-- parameters: made from the table in milter/src/config, do not edit -->\n";
const END: &str = "<!-- end of parameters -->\n";

fn compare(path: &str, want: impl Fn(&str) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(path);
    let found = fs::read_to_string(&path).unwrap_or_default();
    let want = want(&found);
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, want).unwrap();
    } else {
        assert!(found == want, "{} is not up to date: run the tests with UPDATE=1", path.display());
    }
}

#[test]
fn the_manual_page_is_up_to_date() {
    compare("man/opendkim.conf.5", |_| man::roff());
}

#[test]
fn the_list_of_parameters_is_up_to_date() {
    compare("differences/opendkim.md", |found| {
        let (before, rest) = found.split_once(BEGIN).expect("the mark where the list begins");
        let (_, after) = rest.split_once(END).expect("the mark where the list ends");
        format!("{before}{BEGIN}{}{END}{after}", man::markdown())
    });
}
