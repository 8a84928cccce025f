//! Tests of [`super`].

use super::*;
use proptest::prelude::*;

use Dialect::{MySql, Postgres, Sqlite};

/// A variable of these tests.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Variable(String);

impl Named for Variable {
    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.0)
    }
}

/// A text with `%u`, `%n`, `%d`, `%{name}` and `%%`.
fn pieces(text: &str) -> Vec<Piece<Variable>> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let (name, length) = match rest.strip_prefix('%') {
            Some(after) if after.starts_with(['u', 'n', 'd']) => (after.get(..1), 2),
            Some(after) if after.starts_with('{') => match after.find('}') {
                Some(end) => (after.get(1..end), end + 2),
                None => (None, 1),
            },
            Some(after) if after.starts_with('%') => (None, 2),
            _ => (None, character.len_utf8()),
        };
        match name {
            Some(name) => {
                if !literal.is_empty() {
                    pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                }
                pieces.push(Piece::Variable(Variable(name.to_owned())));
            }
            None => literal.push(character),
        }
        rest = rest.get(length..).unwrap();
    }
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    pieces
}

fn query(text: &str, dialect: Dialect) -> Result<Query<Variable>, QueryError> {
    Query::parse(&pieces(text), dialect)
}

/// What variables stand for, of this user.
fn value(user: &str, variable: &Variable) -> String {
    let (local, domain) = user.split_once('@').unwrap_or((user, ""));
    match variable.0.as_str() {
        "n" => local,
        "d" | "user|domain" => domain,
        _ => user,
    }
    .to_owned()
}

fn sql(query: &Query<Variable>, placeholder: impl FnMut(usize) -> String) -> String {
    query.text().sql(placeholder)
}

/// The statement with numbered placeholders, and the values for `o'b\rien@x.example`.
fn bound(text: &str, dialect: Dialect) -> (String, Vec<String>) {
    let query = query(text, dialect).unwrap();
    let values = query.values(|variable| value("o'b\\rien@x.example", variable));
    (sql(&query, |number| format!("<{number}>")), values)
}

const ALL: [Dialect; 3] = [Sqlite, Postgres, MySql];

#[test]
fn variables_become_parameters() {
    for dialect in ALL {
        let (sql, values) = bound(
            "SELECT password FROM users WHERE username='%n' AND domain = '%{user|domain}' -- the user\n ;",
            dialect,
        );
        assert_eq!(
            sql,
            "SELECT password FROM users WHERE username=<0> AND domain = <1> -- the user".to_owned()
        );
        assert_eq!(values, ["o'b\\rien", "x.example"]);
        let (sql, values) = bound("SELECT 'it''s', '%n @ %d''%%', %u FROM a WHERE b IN (%n,%d)", dialect);
        assert_eq!(sql, "SELECT 'it''s', <0>, <1> FROM a WHERE b IN (<2>,<3>)");
        assert_eq!(values, ["o'b\\rien @ x.example'%", "o'b\\rien@x.example", "o'b\\rien", "x.example"]);
        let (sql, _) = bound("/* it's \"here\" */ SELECT \"a'b\" FROM t WHERE u='%u'", dialect);
        assert_eq!(sql, "/* it's \"here\" */ SELECT \"a'b\" FROM t WHERE u=<0>");
    }
}

#[test]
fn literals_of_each_dialect() {
    for (dialect, text, want, first) in [
        (MySql, r"a = '\'%u\n\%%'", "a = <0>", "'o'b\\rien@x.example\n\\%"),
        (MySql, r#"a = "%u" AND b = 'x\\'"#, r"a = <0> AND b = 'x\\'", "o'b\\rien@x.example"),
        (MySql, "a = 1--1 AND b = '%n' # '", "a = 1--1 AND b = <0> # '", "o'b\\rien"),
        (Sqlite, r"a = '\' AND b = '%n'", r"a = '\' AND b = <0>", "o'b\\rien"),
        (Sqlite, r#"a = "%n" AND [b'] = "c""#, r#"a = <0> AND [b'] = "c""#, "o'b\\rien"),
        (Postgres, r"a = '\' AND b = '%n'", r"a = '\' AND b = <0>", "o'b\\rien"),
        (Postgres, r"a = E'\'\x41\101\u0041%n\'' AND b", "a = <0> AND b", "'AAAo'b\\rien'"),
        (Postgres, r"a = E'\'' AND b = '%n'", r"a = E'\'' AND b = <0>", "o'b\\rien"),
        (Postgres, "a = $x$'%n$x$ AND c", "a = <0> AND c", "'o'b\\rien"),
        (Postgres, "a = $$it's$$ AND b='%n'", "a = $$it's$$ AND b=<0>", "o'b\\rien"),
        (Postgres, "a = $x$it's $y$ $x$ AND b='%n'", "a = $x$it's $y$ $x$ AND b=<0>", "o'b\\rien"),
        (Postgres, "/* /* ' */ ' */ a = '%n'::text", "/* /* ' */ ' */ a = <0>::text", "o'b\\rien"),
        (Postgres, "a = %n::text AND b ? 'c'", "a = <0>::text AND b ? 'c'", "o'b\\rien"),
        (Postgres, "a LIKE'%n'AND b", "a LIKE <0> AND b", "o'b\\rien"),
        (Postgres, "a$b = '%n'", "a$b = <0>", "o'b\\rien"),
    ] {
        let (sql, values) = bound(text, dialect);
        assert_eq!((sql.as_str(), values[0].as_str()), (want, first), "{text}");
    }
}

#[test]
fn variables_where_no_value_can_stand_are_refused() {
    let of = |text: &str, dialect| query(text, dialect).unwrap_err().to_string();
    for (dialect, text, part) in [
        (Postgres, "SELECT 1 FROM \"%d\"", "within a quoted identifier"),
        (MySql, "SELECT 1 FROM `%d`", "within a quoted identifier"),
        (Sqlite, "SELECT 1 FROM [%d]", "within a quoted identifier"),
        (Postgres, "SELECT 1 FROM users_%d", "joined to other text"),
        (Postgres, "SELECT 1 FROM %d.users", "joined to other text"),
        (Postgres, "SELECT %n%d", "joined to other text"),
        (Postgres, "SELECT 1 -- %u", "within a comment"),
        (MySql, "SELECT 1 # %u", "within a comment"),
        (Sqlite, "SELECT 1 /* %u */", "within a comment"),
        (MySql, "SELECT x'%u'", "with a prefix"),
        (MySql, "SELECT _utf8'%u'", "with a prefix"),
        (Postgres, "SELECT U&'%u'", "with a prefix"),
        (MySql, r"SELECT '\%u'", "after a backslash"),
        (Postgres, "SELECT $1", "placeholder $1"),
        (MySql, "SELECT ?", "placeholder ?"),
        (Sqlite, "SELECT :name", "placeholder :name"),
        (Postgres, "SELECT 'abc", "ends within a string literal"),
        (Postgres, "SELECT '%u", "ends within a string literal"),
        (Postgres, "SELECT $a$ 1", "ends within a dollar-quoted literal"),
        (Postgres, "SELECT /* /* */ 1", "ends within a comment"),
        (MySql, "SELECT `a", "ends within a quoted identifier"),
        (Sqlite, " ; ", "is empty"),
    ] {
        let error = of(text, dialect);
        assert!(error.contains(part), "{text}: {error}");
    }
}

proptest! {
    /// The statement is made before any value is known, and every value arrives whole.
    #[test]
    fn no_value_changes_the_statement(user in any::<String>(), other in "['\"\\\\;$%?\u{0}-]{0,8}") {
        for dialect in ALL {
            let query = query("SELECT * FROM t WHERE a='%u' AND b=%u AND c='<%u>'", dialect).unwrap();
            let before = sql(&query, |_| "?".into());
            for user in [&user, &other] {
                let values = query.values(|variable| value(user, variable));
                prop_assert_eq!(&values, &[user.clone(), user.clone(), format!("<{user}>")]);
                prop_assert_eq!(&sql(&query, |_| "?".into()), &before);
            }
        }
    }

    /// Whatever an admin writes is a query or an error, never a panic; what is outside variables stays.
    #[test]
    fn any_text_is_read(text in "[a%u'\"`$\\\\E/*#\\[\\]\n -]{0,40}") {
        for dialect in ALL {
            if let Ok(query) = query(&text, dialect) {
                let placeholders = sql(&query, |_| "\u{1}".into()).matches('\u{1}').count();
                prop_assert_eq!(placeholders, query.text().parameters());
                prop_assert_eq!(placeholders, query.values(|_| String::new()).len());
            }
        }
    }
}
