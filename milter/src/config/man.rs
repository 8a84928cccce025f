//! Makes the manual page opendkim.conf(5) and the list of parameters in docs/differences.

use std::fmt::Write as _;

use super::directives::{self, Parameter, Status};

/// The manual page in roff, for man(7).
#[must_use]
pub fn roff() -> String {
    let mut out = String::from(HEAD);
    let honoured = |own: bool| {
        move |parameter: &&Parameter| parameter.status == Status::Honoured && parameter.ours == own
    };
    section(&mut out, "PARAMETERS", "", directives::all().filter(honoured(false)));
    section(
        &mut out,
        "PARAMETERS OF POSTRIDER",
        "OpenDKIM does not know these.",
        directives::all().filter(honoured(true)),
    );
    section(
        &mut out,
        "NOT YET HONOURED",
        "These are accepted with a warning, unless they are set to their default.",
        directives::all().filter(|parameter| matches!(parameter.status, Status::NotYet(_))),
    );
    section(
        &mut out,
        "WITHOUT EFFECT",
        "These are accepted with a warning, unless they are set to their default.",
        directives::all().filter(|parameter| matches!(parameter.status, Status::Ignored(_))),
    );
    section(
        &mut out,
        "REFUSED",
        "The service does not start with these, because to leave them out silently would change what happens to mail.",
        directives::all().filter(|parameter| matches!(parameter.status, Status::Refused { .. })),
    );
    section(
        &mut out,
        "NAMES NO LONGER KNOWN",
        "OpenDKIM 2.11 of Debian refuses these as well. UnknownParameters warn goes on without them.",
        directives::all().filter(|parameter| matches!(parameter.status, Status::Gone(_))),
    );
    out.push_str(TAIL);
    out
}

/// The list of all parameters as tables in Markdown, for docs/differences/opendkim.md.
#[must_use]
pub fn markdown() -> String {
    let mut out = String::new();
    let mut table = |title: &str, text: &str, keep: &dyn Fn(&Parameter) -> bool| {
        line(
            &mut out,
            &format!(
                "### {title}\n\n{text}\n\n| Parameter | Kind | Default | What becomes of it |\n|---|---|---|---|"
            ),
        );
        for parameter in directives::all().filter(|parameter| keep(parameter)) {
            let default = if parameter.default.is_empty() { "–" } else { parameter.default };
            let cell = |text: &str| text.replace('|', "\\|");
            line(
                &mut out,
                &format!(
                    "| `{}` | {} | {} | {} |",
                    parameter.name,
                    parameter.kind.word(),
                    cell(default),
                    cell(&description(parameter))
                ),
            );
        }
        out.push('\n');
    };
    table("Honoured", "As OpenDKIM does, but for what is said above.", &|parameter| {
        parameter.status == Status::Honoured && !parameter.ours
    });
    table("Postrider's own", "In the same file and syntax.", &|parameter| parameter.ours);
    table("Not yet honoured", "Accepted with a warning, unless set to the default.", &|parameter| {
        matches!(parameter.status, Status::NotYet(_))
    });
    table("Without effect", "Accepted with a warning, unless set to the default.", &|parameter| {
        matches!(parameter.status, Status::Ignored(_))
    });
    table(
        "Refused",
        "The service does not start with these: to leave them out silently would change what happens to mail.",
        &|parameter| matches!(parameter.status, Status::Refused { .. }),
    );
    table(
        "No longer known",
        "Debian's OpenDKIM 2.11 refuses these as well. `UnknownParameters warn` goes on without them.",
        &|parameter| matches!(parameter.status, Status::Gone(_)),
    );
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn section<'a>(out: &mut String, title: &str, text: &str, parameters: impl Iterator<Item = &'a Parameter>) {
    line(out, &format!(".SH \"{title}\""));
    if !text.is_empty() {
        line(out, &escape(text));
    }
    for parameter in parameters {
        let default = match parameter.default {
            "" => String::new(),
            default => format!(", default {default}"),
        };
        let head = format!("({}{default})", parameter.kind.word());
        line(out, &format!(".TP\n.BR {} \" {}\"", escape(parameter.name), escape(&head)));
        line(out, &escape(&description(parameter)));
    }
}

/// What a parameter is for and what becomes of it.
fn description(parameter: &Parameter) -> String {
    let mut text = parameter.doc.to_owned();
    let mut add = |more: &str| {
        text.push(' ');
        let mut chars = more.chars();
        text.extend(chars.next().into_iter().flat_map(char::to_uppercase));
        text.push_str(chars.as_str());
        text.push('.');
    };
    match parameter.status {
        Status::Honoured if parameter.reloadable => {}
        Status::Honoured => add("a new value needs a restart"),
        Status::NotYet(why) => add(&format!("not yet honoured: {why}")),
        Status::Ignored(why) => add(&format!("without effect: {why}")),
        Status::Refused { why, instead } => {
            add(&format!("refused: {why}"));
            add(instead);
        }
        Status::Gone(instead) => add(instead),
    }
    text
}

/// Text as roff takes it literally.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    if text.starts_with(['.', '\'']) {
        out.push_str("\\&");
    }
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\e"),
            '-' => out.push_str("\\-"),
            '"' => out.push_str("\\(dq"),
            c => out.push(c),
        }
    }
    out
}

fn line(out: &mut String, text: &str) {
    // Writing to a String cannot fail.
    let _ok = writeln!(out, "{text}");
}

const HEAD: &str = r#".\" Made from the table of parameters in milter/src/config; do not edit.
.TH OPENDKIM.CONF 5 "" Postrider "Postrider Manual"
.SH NAME
opendkim.conf \- configuration of postrider\-milter
.SH DESCRIPTION
.B postrider\-milter
reads the configuration of OpenDKIM: one parameter a line, a name, blanks, and the value up to the end of the line.
Text from the first
.B #
on is a comment, wherever it stands; there is no quoting and no continuation.
Names may be written in any case.
When a parameter is set twice the last line counts, and a warning says so.
Relative paths start at
.BR BaseDirectory ,
without it where the program was started.
.P
.B postrider\-milter \-n
reads all that starting would read and prints every mistake with file, line and column.
.SH "KINDS OF VALUES"
.TP
.B boolean
The first character counts:
.B T t Y y 1
or
.BR "F f N n 0" .
.TP
.B integer
Decimal; octal after a leading
.BR 0 ;
hexadecimal after
.BR 0x .
.TP
.B action
.BR accept ,
.BR discard ,
.BR quarantine ,
.BR reject ,
.BR tempfail ,
or the first letter of one.
.TP
.B data set
A list with commas between its items (after
.B csl:
when the first item holds a colon); a file, by its path or after
.BR file: ;
or a file of patterns, after
.BR refile: .
A file has one record a line: a key, blanks, and a value; text from
.B #
on is a comment.
In a pattern
.B *
stands for any text and
.B . +
for themselves; all other characters are those of a regular expression, which must match the whole text.
The first record that matches counts.
.TP
.B hosts
In
.BR InternalHosts ,
.B PeerList
and
.B ExternalIgnoreList
a key is a host name, a domain with a leading dot (the hosts below it), an address, or a network such as 192.0.2.0/24.
.B !
before it excludes what it matches.
The most precise entry decides, in this order: host name, its domains from the longest on, address, networks from the smallest on.
"#;

const TAIL: &str = r#".SH FILES
.TP
.I /etc/opendkim.conf
.SH "SEE ALSO"
.BR opendkim\-genkey (8),
.BR opendkim\-testkey (8)
"#;
