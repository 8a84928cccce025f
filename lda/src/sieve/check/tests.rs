//! What `sievec` says of the same mistakes was read off Debian's Pigeonhole 0.5.19; tests/sieve-compat holds both together.

use super::*;
use crate::sieve::syntax;

fn mistakes(script: &str) -> Vec<Mistake> {
    let nodes = syntax::parse(script.as_bytes()).unwrap();
    match check(&nodes, &Extensions::default()) {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes,
    }
}

#[test]
fn each_mistake_is_named() {
    for (script, says) in [
        ("keep \"a\";", "the keep command requires 0 positional argument(s), but 1 is/are specified."),
        (
            "if header :is \"a\" {stop;}",
            "the header test requires 2 positional argument(s), but 1 is/are specified.",
        ),
        (
            "redirect \"bob\";",
            "specified redirect address 'bob' is invalid: invalid or lonely local part 'bob' (expecting '@').",
        ),
        (
            "redirect 3;",
            "the redirect command expects a string as argument 1 (address), but a number was found.",
        ),
        ("fileinto \"a\";", "unknown command 'fileinto': it needs require \"fileinto\""),
        (
            "require \"fileinto\"; fileinto :foo \"a\";",
            "unknown tagged argument ':foo' for the fileinto command",
        ),
        (
            "stop; require \"copy\";",
            "require commands can only be placed at top level at the beginning of the file.",
        ),
        ("if true;", "the if command requires a command block, but it is missing."),
        ("keep {}", "the keep command does not accept a command block"),
        ("else {stop;}", "the else command must follow an if or elseif command."),
        ("require \"variables\"; set \"a.b\" \"x\";", "referring to variable in unknown namespace 'a'."),
        (
            "require \"variables\"; set \"a\" \"${foo.bar}\";",
            "referring to variable in unknown namespace 'foo'.",
        ),
        ("require \"variables\"; set \"a\" \"${33}\";", "invalid match value index 33"),
        ("require \"vacation\"; vacation :days 1 :seconds 3 \"x\";", "unknown tagged argument ':seconds'"),
        (
            "require \"vacation\"; vacation :days 1 :days 3 \"x\";",
            "encountered duplicate PERIOD argument (:days)",
        ),
        (
            "if header :is :contains \"a\" \"b\" {stop;}",
            "encountered duplicate MATCH-TYPE argument (:contains) for the header test.",
        ),
        ("true;", "attempted to use test 'true' as command."),
        ("if keep {stop;}", "attempted to use command 'keep' as test."),
        (
            "require [\"extracttext\",\"variables\"]; extracttext \"a\";",
            "not placed inside a foreverypart loop",
        ),
        ("require [\"enotify\"]; notify \"foo:bar\";", "notify command: invalid method 'foo'."),
        ("require \"nonsense\";", "require command: unknown Sieve capability `nonsense'."),
        ("require \"editheader\"; addheader \"X\" \"y\";", "unknown Sieve capability `editheader'."),
        ("nonsense;", "unknown command 'nonsense'"),
        ("if nonsense {stop;}", "unknown test 'nonsense'"),
        ("if not {stop;}", "requires one sub-test"),
        ("if anyof true {stop;}", "requires a list of sub-tests"),
        ("if header :comparator \"i;foo\" \"a\" \"b\" {stop;}", "unknown comparator 'i;foo'"),
        ("if size {stop;}", "requires either the :under or the :over tag"),
        (
            "if size :over \"x\" {stop;}",
            "the :over tag for the size test requires a number argument, but a string was found.",
        ),
        ("require \"mime\"; if header :anychild \"a\" \"b\" {stop;}", "cannot be used without the :mime tag"),
        ("require \"envelope\"; if envelope \"auth\" \"b\" {stop;}", "envelope part 'auth' is not supported"),
        ("require \"include\"; include \"../x\";", "invalid script name"),
        (
            "require \"relational\"; if header :count \"xx\" \"a\" \"1\" {stop;}",
            "unknown relational match 'xx'",
        ),
    ] {
        let found = mistakes(script);
        assert!(found.iter().any(|mistake| mistake.text.contains(says)), "{script}: {found:#?}");
    }
}

#[test]
fn all_mistakes_are_told_at_once_and_unknown_names_once() {
    let found = mistakes("nonsense;\nkeep \"a\";\nnonsense;\nredirect \"bob\";");
    let lines: Vec<_> = found.iter().map(|mistake| mistake.line).collect();
    assert_eq!(lines, [1, 2, 4]);
}

#[test]
fn sound_scripts_pass() {
    for script in [
        "",
        "require [\"fileinto\", \"comparator-i;octet\"]; fileinto \"a\";",
        "require [\"variables\",\"include\"]; global [\"a\"]; set \"global.b\" \"${global.a}\"; set :lower :upperfirst \"c\" \"${b}${c.}${ }\";",
        "require [\"imap4flags\",\"variables\"]; setflag \"\\\\Seen\"; addflag \"v\" [\"a\",\"b\"]; if hasflag \"x\" { removeflag \"a\"; }",
        "require [\"variables\",\"enotify\"]; notify \"mailto:${x}\"; redirect \"${x}\";",
        "require \"ihave\"; if not ihave \"nonsense\" { keep; } else { nonsense; }",
        "require \"ihave\"; if anyof(ihave \"copy\", nonsense) { redirect :copy \"a@b.example\"; }",
    ] {
        assert_eq!(mistakes(script), [], "{script}");
    }
}
