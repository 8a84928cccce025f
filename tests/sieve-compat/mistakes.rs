//! What is refused.

use super::case::{Case, agree};

#[test]
fn refused() {
    agree(&[
        Case::new("unknown command", "nonsense;"),
        Case::new("unknown test", "if nonsense { stop; }"),
        Case::new("unknown capability", "require \"nonsense\";"),
        Case::new("not required", "fileinto \"a\";"),
        Case::new("tag not required", "require \"fileinto\"; fileinto :copy \"a\";"),
        Case::new("late require", "stop; require \"copy\";"),
        Case::new("missing semicolon", "keep"),
        Case::new("two semicolons", "keep;;"),
        Case::new("missing brace", "if true { keep;"),
        Case::new("open string", "require \"fileinto\"; fileinto \"a;"),
        Case::new("open comment", "/* keep;"),
        Case::new("comments", "/* a */ keep; # b"),
        Case::new("too many arguments", "keep \"a\";"),
        Case::new("too few arguments", "if header \"a\" { stop; }"),
        Case::new("wrong type", "redirect 3;"),
        Case::new("a list for a string", "redirect [\"a@b.example\",\"c@d.example\"];"),
        Case::new("redirect to nobody", "redirect \"bob\";"),
        Case::new("two match types", "if header :is :contains \"a\" \"b\" { stop; }"),
        Case::new("test as command", "true;"),
        Case::new("command as test", "if keep { stop; }"),
        Case::new("else alone", "else { stop; }"),
        Case::new("if without a block", "if true;"),
        Case::new("unknown comparator", "if header :comparator \"i;nonsense\" \"a\" \"b\" { stop; }"),
        Case::new("wrong regex", "require \"regex\"; if header :regex \"a\" \"(\" { stop; }"),
        Case::new("wrong namespace", "require \"variables\"; set \"a.b\" \"c\";"),
        Case::new("wrong variable", "require \"variables\"; set \"1a\" \"c\";"),
        Case::new("wrong relation", "require \"relational\"; if header :count \"xx\" \"a\" \"1\" { stop; }"),
        Case::new("size without a limit", "if size 10 { stop; }"),
        Case::new("index without its extension", "if header :index 1 \"a\" \"b\" { stop; }"),
        Case::new("last without index", "require \"index\"; if header :last \"a\" \"b\" { stop; }"),
        Case::new("anychild without mime", "require \"mime\"; if header :anychild \"a\" \"b\" { stop; }"),
        Case::new("break outside", "require \"foreverypart\"; break;"),
        Case::new("extracttext outside", "require [\"extracttext\",\"variables\"]; extracttext \"a\";"),
        Case::new("spamtest", "require \"spamtest\";"),
        Case::new("redirect at run time", "require \"variables\"; set \"x\" \"bob\"; redirect \"${x}\";"),
        Case::new("empty file name of include", "require \"include\"; include \"\";"),
        Case::new("fileinto to nowhere", "require \"fileinto\"; fileinto \"\";").differs("P10"),
    ]);
}

/// What Pigeonhole knows, on by default or not: a script may require it with one if it may with the other.
#[test]
fn extensions_that_may_be_required() {
    let names = [
        "body",
        "comparator-i;ascii-numeric",
        "comparator-i;octet",
        "comparator-i;ascii-casemap",
        "copy",
        "date",
        "duplicate",
        "encoded-character",
        "enotify",
        "envelope",
        "environment",
        "extlists",
        "fcc",
        "fileinto",
        "foreverypart",
        "ihave",
        "imap4flags",
        "imapflags",
        "imapsieve",
        "include",
        "index",
        "mailbox",
        "mailboxid",
        "mboxmetadata",
        "mime",
        "notify",
        "regex",
        "reject",
        "relational",
        "servermetadata",
        "spamtest",
        "spamtestplus",
        "special-use",
        "subaddress",
        "vacation",
        "variables",
        "virustest",
        "vnd.dovecot.environment",
        "vnd.dovecot.execute",
        "vnd.dovecot.filter",
        "vnd.dovecot.pipe",
        "vnd.dovecot.report",
        "convert",
        "enclose",
        "replace",
        "editheader",
        "vacation-seconds",
        "vnd.dovecot.duplicate",
    ];
    let require = |name: &'static str| {
        let script = format!("require \"{name}\"; keep;");
        Case::new(name, Box::leak(script.into_boxed_str()))
    };
    agree(&names.map(require));
    agree(&[
        Case::new(
            "extracttext",
            "require [\"variables\", \"mime\", \"foreverypart\", \"extracttext\"]; keep;",
        ),
        Case::new("extracttext alone", "require \"extracttext\"; keep;"),
        Case::new("debug", "require \"vnd.dovecot.debug\"; keep;"),
    ]);
}
