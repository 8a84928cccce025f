//! if and else, ihave and error, include, duplicate, mailboxexists, environment, editheader.

use super::case::{Case, agree};

#[test]
fn branches() {
    agree(&[
        Case::new(
            "if",
            "require \"fileinto\"; if true { fileinto \"a\"; } elsif true { fileinto \"b\"; } else { fileinto \"c\"; }",
        ),
        Case::new(
            "elsif",
            "require \"fileinto\"; if false { fileinto \"a\"; } elsif not false { fileinto \"b\"; } else { fileinto \"c\"; }",
        ),
        Case::new(
            "else",
            "require \"fileinto\"; if anyof(false, not true) { fileinto \"a\"; } else { if allof(true, true) { fileinto \"c\"; } }",
        ),
        Case::new(
            "size",
            "require \"fileinto\"; if size :over 10 { fileinto \"a\"; } if size :under 1K { fileinto \"b\"; } if size :over 1M { fileinto \"c\"; }",
        ),
        Case::new(
            "exists",
            "require \"fileinto\"; if exists [\"to\",\"x-empty\"] { fileinto \"a\"; } if exists [\"to\",\"nonsense\"] { fileinto \"b\"; }",
        ),
    ]);
}

#[test]
fn ihave_and_error() {
    agree(&[
        Case::new("known", "require [\"ihave\",\"fileinto\"]; if ihave \"copy\" { fileinto :copy \"a\"; }"),
        Case::new(
            "unknown",
            "require [\"ihave\",\"fileinto\"]; if ihave \"nonsense\" { nonsense; } else { fileinto \"b\"; }",
        ),
        Case::new(
            "unknown in allof",
            "require [\"ihave\",\"fileinto\"]; if allof(ihave \"nonsense\", nonsense \"x\") { nonsense; } else { fileinto \"b\"; }",
        ),
        Case::new("not", "require [\"ihave\",\"fileinto\"]; if not ihave \"nonsense\" { fileinto \"b\"; }"),
        Case::new("error", "require [\"ihave\",\"fileinto\"]; fileinto \"a\"; error \"bah\";"),
    ]);
}

#[test]
fn includes() {
    agree(&[
        Case::new("personal", "require [\"include\",\"fileinto\"]; include \"other\"; fileinto \"b\";").beside(&[("other", "require \"fileinto\"; fileinto \"a\";")]),
        Case::new("return", "require [\"include\",\"fileinto\"]; include :personal \"other\"; fileinto \"b\";").beside(&[("other", "require [\"fileinto\",\"include\"]; if true { return; } fileinto \"a\";")]),
        Case::new("stop", "require [\"include\",\"fileinto\"]; include \"other\"; fileinto \"b\";").beside(&[("other", "require \"fileinto\"; fileinto \"a\"; stop;")]),
        Case::new("once", "require [\"include\",\"variables\",\"fileinto\"]; global \"n\"; set \"n\" \"x\"; include :once \"other\"; include :once \"other\"; fileinto \"${n}\";").beside(&[("other", "require [\"include\",\"variables\"]; global \"n\"; set \"n\" \"${n}y\";")]),
        Case::new("twice", "require [\"include\",\"variables\",\"fileinto\"]; global \"n\"; set \"n\" \"x\"; include \"other\"; include \"other\"; fileinto \"${n}\";").beside(&[("other", "require [\"include\",\"variables\"]; global \"n\"; set \"n\" \"${n}y\";")]),
        Case::new("global namespace", "require [\"include\",\"variables\",\"fileinto\"]; set \"global.n\" \"x\"; include \"other\"; fileinto \"${global.m}\";").beside(&[("other", "require [\"include\",\"variables\"]; global [\"n\",\"m\"]; set \"m\" \"${n}z\";")]),
        Case::new("locals stay", "require [\"include\",\"variables\",\"fileinto\"]; set \"n\" \"x\"; include \"other\"; fileinto \"${n}\";").beside(&[("other", "require [\"variables\"]; set \"n\" \"y\";")]),
        Case::new("missing", "require \"include\"; include \"none\";"),
        Case::new("optional", "require [\"include\",\"fileinto\"]; include :optional \"none\"; fileinto \"a\";"),
        Case::new("itself", "require \"include\"; include \"case\";").differs("P9"),
        Case::new("broken", "require \"include\"; include \"other\";").beside(&[("other", "nonsense;")]).differs("P2"),
    ]);
}

#[test]
fn the_world() {
    agree(&[
        Case::new("mailboxexists", "require [\"mailbox\",\"fileinto\"]; if mailboxexists \"INBOX\" { fileinto \"a\"; } if mailboxexists [\"INBOX\",\"none\"] { fileinto \"b\"; }"),
        Case::new("duplicate", "require [\"duplicate\",\"fileinto\"]; if duplicate { discard; } else { fileinto \"a\"; }"),
        Case::new("environment", "require [\"environment\",\"fileinto\"]; if environment :contains \"host\" \"\" { fileinto \"h\"; } if environment \"nonsense\" \"\" { fileinto \"n\"; }"),
        Case::new("location and phase", "require [\"environment\",\"fileinto\"]; if environment \"location\" \"MDA\" { fileinto \"l\"; } if environment \"phase\" \"during\" { fileinto \"p\"; }").differs("P3"),
        Case::new("currentdate", "require [\"date\",\"fileinto\",\"relational\"]; if currentdate :value \"ge\" \"year\" \"2020\" { fileinto \"a\"; } if currentdate :zone \"+0000\" :value \"lt\" \"date\" \"2020-01-01\" { fileinto \"b\"; }"),
    ]);
}

#[test]
fn edited_headers() {
    agree(&[
        Case::new(
            "added",
            "require [\"editheader\",\"fileinto\"]; addheader \"X-New\" \"1\"; if header \"x-new\" \"1\" { fileinto \"a\"; }",
        ),
        Case::new(
            "deleted",
            "require [\"editheader\",\"fileinto\"]; deleteheader \"Subject\"; if not exists \"subject\" { fileinto \"a\"; }",
        ),
        Case::new(
            "deleted by index",
            "require [\"editheader\",\"fileinto\"]; deleteheader :index 2 \"X-Multi\"; if header \"x-multi\" \"two\" { fileinto \"two\"; } if header \"x-multi\" \"three\" { fileinto \"three\"; }",
        ),
        Case::new(
            "deleted by value",
            "require [\"editheader\",\"fileinto\"]; deleteheader :contains \"X-Multi\" \"t\"; if header \"x-multi\" \"two\" { fileinto \"two\"; } if header \"x-multi\" \"one\" { fileinto \"one\"; }",
        ),
        Case::new(
            "protected",
            "require [\"editheader\",\"fileinto\"]; deleteheader \"Received\"; if exists \"received\" { fileinto \"a\"; }",
        ),
    ]);
}
