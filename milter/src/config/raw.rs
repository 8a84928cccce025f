//! Reads the lines of opendkim.conf: which parameter has which value, and where it says so.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use base::config::{Directive, Report, Source, Span, directives::MAX_BYTES};

use super::{
    directives::{self, Kind, Parameter, Status},
    values::{parse_boolean, parse_integer},
};

/// Where the configuration comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A file; its path is also its name in reports.
    File(PathBuf),
    /// A text that was read already (standard input, a test), and its name in reports.
    Text {
        /// The name in reports.
        name: String,
        /// The text.
        text: String,
    },
    /// None: only defaults and the command line.
    Nothing,
}

/// Names and values as they stand in the configuration, nothing decided.
#[derive(Debug, Default)]
pub struct Raw {
    /// For each parameter its values in the order they were read; the last one is in force.
    values: HashMap<&'static str, Vec<Assigned>>,
}

/// One line that gives a parameter a value.
#[derive(Debug)]
struct Assigned {
    name: Span,
    value: Span,
}

/// One name with its value, from the text or from the command line.
struct Line {
    parameter: Option<&'static Parameter>,
    name: Span,
    value: Option<Span>,
    from_command_line: bool,
}

impl Raw {
    /// Reads the text, splices in what `Include` names, and puts the command line after it.
    ///
    /// Reported are: files that cannot be read, names without a value, unknown names, values that
    /// are not of the parameter's kind, parameters that are refused, not honoured or set twice.
    #[must_use]
    pub fn read(origin: &Origin, command_line: &[(String, String)], report: &mut Report) -> Self {
        let mut reading = Reading { lines: Vec::new(), files: 0, given_up: false, report };
        match origin {
            Origin::File(path) => match Source::read(path, path.to_string_lossy(), MAX_BYTES) {
                Ok(source) => reading.text(&source, 0),
                Err(error) => {
                    reading.report.error_anywhere(format!("cannot read {}: {error}", path.display()));
                }
            },
            Origin::Text { name, text } => reading.text(&Source::new(name.as_str(), text.as_str()), 0),
            Origin::Nothing => {}
        }
        let mut lines = reading.lines;
        lines.extend(command_line_directives(command_line));

        let mut raw = Self::default();
        let tolerant = lines
            .iter()
            .rev()
            .filter(|line| line.parameter.is_some_and(|parameter| parameter.name == "UnknownParameters"))
            .find_map(|line| line.value.as_ref())
            .is_some_and(|value| value.text().eq_ignore_ascii_case("warn"));
        for line in &lines {
            raw.take(line, tolerant, report);
        }
        raw.judge(report);
        raw
    }

    /// The place of the value in force.
    #[must_use]
    pub fn span(&self, name: &str) -> Option<&Span> {
        self.values.get(directives::find(name)?.name)?.last().map(|line| &line.value)
    }

    /// The place of the name in the line in force.
    #[must_use]
    pub fn name_span(&self, name: &str) -> Option<&Span> {
        self.values.get(directives::find(name)?.name)?.last().map(|line| &line.name)
    }

    /// The value in force: as it was set, else the default. `None` for an unknown name and for a
    /// parameter without either.
    #[must_use]
    pub fn effective(&self, name: &str) -> Option<String> {
        let parameter = directives::find(name)?;
        let set = self.span(name).map(|span| span.text().to_owned());
        set.or_else(|| (!parameter.default.is_empty()).then(|| parameter.default.to_owned()))
    }

    /// All values of a parameter, the one in force first, then the others from the last to the
    /// first.
    #[must_use]
    pub fn values(&self, name: &str) -> Vec<&str> {
        let lines = directives::find(name).and_then(|parameter| self.values.get(parameter.name));
        lines.into_iter().flatten().rev().map(|line| line.value.text()).collect()
    }

    /// What `-e NAME` prints, a line for each value that was set, the one in force first: switches
    /// as `True` or `False`, numbers in decimal (OpenDKIM 2.11 observed). Nothing for a parameter
    /// that is not set.
    #[must_use]
    pub fn printed(&self, name: &str) -> Vec<String> {
        let print = |kind: Kind, text: &str| match kind {
            Kind::Boolean => parse_boolean(text).map(|on| if on { "True" } else { "False" }.to_owned()),
            Kind::Integer => parse_integer(text).map(|number| number.to_string()),
            Kind::String | Kind::DataSet | Kind::Action => None,
        };
        let Some(parameter) = directives::find(name) else { return Vec::new() };
        self.values(name)
            .into_iter()
            .map(|text| print(parameter.kind, text).unwrap_or_else(|| text.to_owned()))
            .collect()
    }

    /// The parameters whose value differs from `new` but which only a restart brings into force.
    #[must_use]
    pub fn needs_restart(&self, new: &Self) -> Vec<&'static str> {
        directives::all()
            .filter(|parameter| !parameter.reloadable && parameter.status == Status::Honoured)
            .map(|parameter| parameter.name)
            .filter(|name| self.effective(name) != new.effective(name))
            .collect()
    }

    fn take(&mut self, line: &Line, tolerant: bool, report: &mut Report) {
        let Some(parameter) = line.parameter else {
            unrecognized(&line.name, tolerant, report);
            return;
        };
        let hide =
            |span: &Span| if parameter.is_private() { span.clone().into_private() } else { span.clone() };
        let name = hide(&line.name);
        if let Status::Gone(instead) = parameter.status {
            let text = format!("'{}' is not a parameter of OpenDKIM any more", parameter.name);
            let note = if tolerant { report.warning(&name, text) } else { report.error(&name, text) };
            note.help(instead);
            return;
        }
        let Some(value) = &line.value else {
            report
                .error(&line.name, format!("required value of {} missing", parameter.name))
                .help("write the value after the name, or remove the line for the default");
            return;
        };
        if value.text().starts_with('=') {
            report
                .error(&hide(&value.part(0, 1)), "there is no equals sign in this syntax")
                .help("write the value after the name, with a blank between them");
            return;
        }
        if let Some(help) = wrong_kind(parameter.kind, value.text()) {
            report.error(value, format!("illegal value for {}", parameter.name)).help(help);
            return;
        }
        if value.text().contains('\u{fffd}') {
            report
                .error(&name, format!("the value of {} is not UTF-8", parameter.name))
                .help("write it in UTF-8");
            return;
        }
        let values = self.values.entry(parameter.name).or_default();
        let repeated = values.last().filter(|earlier| {
            // The same line comes again when a file is included twice.
            let elsewhere = earlier.name.start_offset() != line.name.start_offset()
                || earlier.name.source().name() != line.name.source().name();
            elsewhere && !line.from_command_line
        });
        if let Some(earlier) = repeated {
            let (file, number) = (earlier.name.source().name(), earlier.name.line());
            report
                .warning(
                    &name,
                    format!("{} is set again; the value of {file} line {number} is not used", parameter.name),
                )
                .help("remove one of the two lines");
        }
        values.push(Assigned { name, value: hide(value) });
    }

    /// Says what is not honoured of the values in force.
    fn judge(&self, report: &mut Report) {
        let in_force = self
            .values
            .iter()
            .filter_map(|(name, lines)| Some((directives::find(name)?, lines.last()?)))
            .filter(|(parameter, line)| !is_default(parameter, line.value.text()));
        for (parameter, line) in in_force {
            let (name, place) = (parameter.name, &line.name);
            match parameter.status {
                Status::NotYet(why) => {
                    report.warning(place, format!("{name} is not yet honoured: {why}"));
                }
                Status::Ignored(why) => {
                    report.warning(place, format!("{name} has no effect: {why}"));
                }
                Status::Refused { why, instead } => {
                    report.error(place, format!("{name} is refused: {why}")).help(instead);
                }
                Status::Honoured | Status::Gone(_) => {}
            }
        }
    }
}

/// Says that a name is unknown, and what it was probably meant to be. The rest of the line is
/// shown only when that is no parameter that may hold a key or a password.
fn unrecognized(name: &Span, tolerant: bool, report: &mut Report) {
    let meant = directives::suggest(name.text());
    let open = meant.and_then(directives::find).is_some_and(|parameter| !parameter.is_private());
    let place = if open { name.clone() } else { name.clone().into_private() };
    let text = format!("unrecognized parameter '{}'", name.text());
    let note = if tolerant { report.warning(&place, text) } else { report.error(&place, text) };
    match meant {
        Some(meant) => note.help(format!("did you mean {meant}?")),
        None => {
            note.help("opendkim.conf(5) lists all parameters; 'UnknownParameters warn' goes on without it")
        }
    };
}

struct Reading<'a> {
    lines: Vec<Line>,
    files: usize,
    /// After a mistake that could repeat itself without end.
    given_up: bool,
    report: &'a mut Report,
}

impl Reading<'_> {
    fn text(&mut self, source: &Arc<Source>, depth: usize) {
        for Directive { name, value } in base::config::directives::parse(source) {
            let parameter = directives::find(name.text());
            match (&value, parameter) {
                (Some(path), Some(parameter)) if parameter.name == "Include" => self.include(path, depth),
                _ => self.lines.push(Line { parameter, name, value, from_command_line: false }),
            }
        }
    }

    fn include(&mut self, path: &Span, depth: usize) {
        if self.given_up {
            return;
        }
        self.files += 1;
        if depth >= MAX_DEPTH {
            self.given_up = true;
            self.report
                .error(path, format!("files are included more than {MAX_DEPTH} levels deep"))
                .help("does a file include itself?");
        } else if self.files > MAX_FILES {
            self.given_up = true;
            self.report.error(path, format!("more than {MAX_FILES} files are included"));
        } else {
            match Source::read(Path::new(path.text()), path.text(), MAX_BYTES) {
                Ok(source) => self.text(&source, depth + 1),
                Err(error) => {
                    self.report.error(path, format!("cannot read {}: {error}", path.text()));
                }
            }
        }
    }
}

fn command_line_directives(command_line: &[(String, String)]) -> Vec<Line> {
    let text: Vec<String> = command_line.iter().map(|(name, value)| format!("{name} {value}")).collect();
    let source = Source::new("command line", text.join("\n"));
    let mut offset = 0;
    let mut lines = Vec::new();
    for ((name, value), number) in command_line.iter().zip(1..) {
        let end = offset + name.len();
        let value_start = end + 1;
        lines.push(Line {
            parameter: directives::find(name),
            name: Span::new(&source, number, offset, end),
            value: (!value.is_empty())
                .then(|| Span::new(&source, number, value_start, value_start + value.len())),
            from_command_line: true,
        });
        offset = value_start + value.len() + 1;
    }
    lines
}

/// What to write when a value is not of its kind.
fn wrong_kind(kind: Kind, value: &str) -> Option<&'static str> {
    match kind {
        Kind::Boolean if parse_boolean(value).is_none() => Some("write yes or no"),
        Kind::Integer if parse_integer(value).is_none() => {
            Some("write a whole number: decimal, octal after 0, or hexadecimal after 0x")
        }
        Kind::Action if super::Action::parse(value).is_none() => {
            Some("write accept, discard, quarantine, reject or tempfail")
        }
        _ => None,
    }
}

fn is_default(parameter: &Parameter, value: &str) -> bool {
    match parameter.kind {
        Kind::Boolean => parse_boolean(value) == parse_boolean(parameter.default),
        Kind::Integer => parse_integer(value) == parse_integer(parameter.default),
        Kind::String | Kind::DataSet | Kind::Action => value.eq_ignore_ascii_case(parameter.default),
    }
}

const MAX_DEPTH: usize = 5;
const MAX_FILES: usize = 1000;
