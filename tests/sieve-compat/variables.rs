//! Variables, matches, modifiers, encoded characters.

use super::case::{Case, agree};

#[test]
fn set() {
    agree(&[
        Case::new("set", "require [\"fileinto\",\"variables\"]; set \"a\" \"x\"; set \"B\" \"${a}y\"; fileinto \"${A}.${b}\";"),
        Case::new("unset", "require [\"fileinto\",\"variables\"]; fileinto \"x${none}y\";"),
        Case::new("not references", "require [\"fileinto\",\"variables\"]; fileinto \"${ x}$${y $\";"),
        Case::new("without require", "require \"fileinto\"; fileinto \"${x}\";"),
        Case::new("modifiers", "require [\"fileinto\",\"variables\"]; set :lower \"a\" \"ABC\"; set :upperfirst :lower \"b\" \"dEF\"; set :length \"c\" \"four\"; set :quotewildcard \"d\" \"*?\"; fileinto \"${a}.${b}.${c}.${d}\";"),
        Case::new("more modifiers", "require [\"fileinto\",\"variables\"]; set :upper \"a\" \"abc\"; set :lowerfirst :upper \"b\" \"def\"; set :length \"c\" \"üü\"; fileinto \"${a}.${b}.${c}\";"),
        Case::new("encodeurl", "require [\"fileinto\",\"variables\",\"enotify\"]; set :encodeurl \"a\" \"a b&c/ü\"; fileinto \"${a}\";").differs("P7"),
        Case::new("letters beyond ASCII", "require [\"fileinto\",\"variables\"]; set :upper \"a\" \"xü\"; fileinto \"${a}\";").differs("P8"),
        Case::new("quoteregex", "require [\"fileinto\",\"variables\",\"regex\"]; set :quoteregex \"a\" \"a.b*[c]\"; fileinto \"${a}\";"),
        Case::new("case of names", "require [\"fileinto\",\"variables\"]; set \"Company\" \"x\"; fileinto \"${COMPANY}\";"),
        Case::new("string", "require [\"fileinto\",\"variables\"]; set \"a\" \"x\"; if string \"${a}\" \"X\" { fileinto \"is\"; } if string :matches \"${a}y\" \"?y\" { fileinto \"m${1}\"; }"),
        Case::new("string :count", "require [\"fileinto\",\"variables\",\"relational\",\"comparator-i;ascii-numeric\"]; if string :count \"eq\" :comparator \"i;ascii-numeric\" [\"a\",\"\",\"b\"] \"2\" { fileinto \"a\"; }"),
        Case::new("numbers stay text", "require [\"fileinto\",\"variables\"]; set \"a\" \"007\"; set \"b\" \"1.50\"; fileinto \"${a}.${b}\";"),
    ]);
}

#[test]
fn matches() {
    agree(&[
        Case::new(
            "values",
            "require [\"fileinto\",\"variables\"]; if header :matches \"subject\" \"[*] * *\" { fileinto \"${1}.${2}.${3}\"; }",
        ),
        Case::new(
            "the whole",
            "require [\"fileinto\",\"variables\"]; if header :matches \"x-multi\" \"t*\" { fileinto \"${0}\"; }",
        ),
        Case::new(
            "kept by a miss",
            "require [\"fileinto\",\"variables\"]; if header :matches \"x-multi\" \"o?e\" {} if header :matches \"x-multi\" \"z*\" {} fileinto \"${1}\";",
        ),
        Case::new(
            "shortest first",
            "require [\"fileinto\",\"variables\"]; if string :matches \"aXbXc\" \"*X*\" { fileinto \"${1}.${2}\"; }",
        ),
        Case::new(
            "of a regex",
            "require [\"fileinto\",\"variables\",\"regex\"]; if header :regex \"subject\" \"\\\\[([a-z]+)\\\\] ([a-z]+) (x)?\" { fileinto \"${1}.${2}.${3}\"; }",
        ),
        Case::new(
            "quoted wildcards",
            "require [\"fileinto\",\"variables\"]; if string :matches \"a*b\" \"a\\\\*?\" { fileinto \"${1}\"; }",
        ),
        Case::new(
            "in a block",
            "require [\"fileinto\",\"variables\"]; if string :matches \"a.b\" \"*.*\" { if string :matches \"c.d\" \"?.?\" { fileinto \"${1}\"; } fileinto \"${2}\"; }",
        ),
    ]);
}

#[test]
fn encoded_characters() {
    agree(&[
        Case::new("hex", "require [\"fileinto\",\"encoded-character\"]; fileinto \"a${hex:40 41}b\";"),
        Case::new(
            "unicode",
            "require [\"fileinto\",\"encoded-character\"]; fileinto \"${unicode: fc 00DF}\";",
        ),
        Case::new(
            "not well formed",
            "require [\"fileinto\",\"encoded-character\"]; fileinto \"${hex:}${hex:4z}${unicode}\";",
        ),
        Case::new("without require", "require \"fileinto\"; fileinto \"${hex:40}\";"),
        Case::new(
            "then variables",
            "require [\"fileinto\",\"encoded-character\",\"variables\"]; set \"x\" \"y\"; fileinto \"${hex:24}{x}\";",
        ),
    ]);
}
