//! The manual page of the settings is that of the table (UPDATE=1 rewrites it), and its example works.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails here says so"
)]

use std::{fs, path::Path};

use base::config::Source;
use policyd::config::{self, man};

#[test]
fn the_manual_page_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/man/postrider-policyd.toml.5");
    let want = man::roff();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, want).unwrap();
    } else {
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert!(found == want, "{} is not up to date: run the tests with UPDATE=1", path.display());
    }
}

#[test]
fn the_example_of_the_manual_page_is_taken_without_a_complaint() {
    let page = man::roff();
    let example = page.split(".nf\n").nth(1).unwrap().split(".fi\n").next().unwrap().replace("\\-", "-");
    assert!(example.contains("[[limit]]"));
    let loaded = config::load(&Source::new("example", example));
    assert_eq!(loaded.report.to_string(), "");
    assert!(loaded.settings.is_some());
}

/// postrider-policyd(8) tells of every command and of each of its options, in the command's own section.
#[test]
fn the_manual_page_has_every_command_with_its_options() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/man/postrider-policyd.8");
    let page = fs::read_to_string(path).unwrap().replace("\\-", "-");
    let commands = page.split(".SH COMMANDS\n").nth(1).unwrap().split("\n.SH ").next().unwrap();
    let general = commands.split("\n.SS ").next().unwrap();
    let known = policyd::cli::commands();
    assert_eq!(known.len(), 6);
    for (command, options) in &known {
        let section = commands.split("\n.SS ").find(|section| section.starts_with(&format!("{command}\n")));
        let section = section.unwrap_or_else(|| panic!("there is no section on {command}"));
        for option in options {
            let written = |text: &str| {
                text.lines().any(|line| line.starts_with(".B") && line.split(' ').any(|word| word == option))
            };
            let everywhere = ["--json", "--socket"].contains(&option.as_str()) && command != "import";
            assert!(written(if everywhere { general } else { section }), "{command} {option}");
        }
    }
    let sections = commands.matches("\n.SS ").count();
    assert_eq!(sections, known.len(), "a section is on nothing");
}

/// postrider-policyd(8) names every figure.
#[test]
fn the_manual_page_has_every_figure() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/man/postrider-policyd.8");
    let page = fs::read_to_string(path).unwrap();
    let figures = page.split(".SH FIGURES\n").nth(1).unwrap().split("\n.SH ").next().unwrap();
    let metrics = policyd::metrics::Metrics::new();
    // A family is shown as soon as it has a member.
    metrics.over("l", "DEFER", "refused");
    metrics.unavailable("full");
    metrics.list("vip").hit();
    metrics.lists(&[("vip", policyd::lookup::Health::default())]);
    let figures_of_store = policyd::store::Figures { keys: vec![("l".into(), 1)], ..Default::default() };
    metrics.state(&figures_of_store, 0);
    let text = metrics.text();
    let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE postrider_policyd_"));
    let mut count = 0;
    for line in names {
        let (name, kind) = line.split_once(' ').unwrap();
        let name = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
        let word = |own: &str| own.trim_matches(['"', ',', '.', ';']) == name;
        assert!(figures.split_whitespace().any(word), "{name}");
        count += 1;
    }
    assert_eq!(count, 24);
}
