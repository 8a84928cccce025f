//! Tests of the header and the envelope: header, address, envelope, date, index, subaddress, relational, regex.

use super::case::{Case, agree};

const ODD: &str = "From: a@x.example
To: undisclosed recipients:;
Cc: group: m1@x.example, \"M 2\" <m2@x.example>;
Subject: =?utf-8?q?gr=C3=BC=C3=9Fe_?= =?utf-8?b?YW4=?= alle
X-Folded: one
 two
\tthree
X-Number: 0012
X-Text: 12abc
Date: Sun, 1 Mar 2026 00:30:00 +0200

body
";

#[test]
fn header() {
    agree(&[
        Case::new("is", "require \"fileinto\"; if header \"subject\" \"[list] hello World\" { fileinto \"a\"; } if header :is \"Subject\" \"[LIST] HELLO WORLD\" { fileinto \"b\"; }"),
        Case::new("octet", "require \"fileinto\"; if header :comparator \"i;octet\" \"subject\" \"[list] hello world\" { fileinto \"a\"; } if header :comparator \"i;octet\" :contains \"subject\" \"World\" { fileinto \"b\"; }"),
        Case::new("contains", "require \"fileinto\"; if header :contains [\"x\",\"from\"] [\"nobody\",\"ALICE\"] { fileinto \"a\"; }"),
        Case::new("matches", "require \"fileinto\"; if header :matches \"subject\" \"[*] h?llo *\" { fileinto \"a\"; } if header :matches \"subject\" \"\\\\[list\\\\] \\\\*\" { fileinto \"b\"; }"),
        Case::new("empty", "require \"fileinto\"; if header \"x-empty\" \"\" { fileinto \"a\"; } if header :contains \"x-empty\" \"\" { fileinto \"b\"; } if header :contains \"none\" \"\" { fileinto \"c\"; }"),
        Case::new("folded", "require \"fileinto\"; if header \"x-folded\" \"one two\tthree\" { fileinto \"a\"; } if header :contains \"x-folded\" \"one two\" { fileinto \"b\"; }").over(ODD),
        Case::new("encoded words", "require \"fileinto\"; if header :contains \"subject\" \"grüße an\" { fileinto \"a\"; }").over(ODD),
        Case::new("count", "require [\"fileinto\",\"relational\",\"comparator-i;ascii-numeric\"]; if header :count \"eq\" :comparator \"i;ascii-numeric\" \"x-multi\" \"3\" { fileinto \"a\"; } if header :count \"ge\" :comparator \"i;ascii-numeric\" [\"to\",\"cc\"] \"3\" { fileinto \"b\"; }"),
        Case::new("value", "require [\"fileinto\",\"relational\",\"comparator-i;ascii-numeric\"]; if header :value \"gt\" :comparator \"i;ascii-numeric\" \"x-spam-score\" \"5\" { fileinto \"a\"; } if header :value \"lt\" \"x-multi\" \"oz\" { fileinto \"b\"; }"),
        Case::new("leading zeros", "require [\"fileinto\",\"relational\",\"comparator-i;ascii-numeric\"]; if header :comparator \"i;ascii-numeric\" \"x-number\" \"12\" { fileinto \"a\"; }").over(ODD),
        Case::new("text behind digits", "require [\"fileinto\",\"relational\",\"comparator-i;ascii-numeric\"]; if header :comparator \"i;ascii-numeric\" \"x-text\" \"12\" { fileinto \"a\"; }").over(ODD).differs("P6"),
        Case::new("index", "require [\"fileinto\",\"index\"]; if header :index 2 \"x-multi\" \"two\" { fileinto \"a\"; } if header :index 1 :last \"x-multi\" \"three\" { fileinto \"b\"; } if header :index 4 \"x-multi\" \"three\" { fileinto \"c\"; }"),
        Case::new("regex", "require [\"fileinto\",\"regex\"]; if header :regex \"subject\" \"^\\\\[[a-z]+\\\\] hello\" { fileinto \"a\"; } if header :regex \"subject\" \"(foo|hello) w\" { fileinto \"b\"; }"),
        Case::new("regex classes", "require [\"fileinto\",\"regex\"]; if header :regex \"x-spam-score\" \"^[[:digit:]]$\" { fileinto \"a\"; }"),
        Case::new("regex alternatives", "require [\"fileinto\",\"regex\",\"variables\"]; if header :regex \"subject\" \"(he|hello)\" { fileinto \"${1}\"; }").differs("P11"),
        Case::new("regex over lines", "require [\"fileinto\",\"regex\",\"body\"]; if body :raw :regex \"needle.*lines\" { fileinto \"a\"; }"),
        Case::new("regex case", "require [\"fileinto\",\"regex\"]; if header :comparator \"i;octet\" :regex \"subject\" \"HELLO\" { fileinto \"a\"; } if header :regex \"subject\" \"HELLO\" { fileinto \"b\"; }"),
    ]);
}

#[test]
fn address() {
    agree(&[
        Case::new("all", "require \"fileinto\"; if address \"to\" \"bob@b.example\" { fileinto \"a\"; } if address :all \"to\" \"CAROL+x@c.example\" { fileinto \"b\"; } if address \"to\" \"Bob\" { fileinto \"c\"; }"),
        Case::new("parts", "require \"fileinto\"; if address :localpart \"from\" \"alice\" { fileinto \"a\"; } if address :domain [\"to\",\"cc\"] \"d.example\" { fileinto \"b\"; }"),
        Case::new("subaddress", "require [\"fileinto\",\"subaddress\"]; if address :user \"to\" \"carol\" { fileinto \"a\"; } if address :detail \"to\" \"x\" { fileinto \"b\"; } if address :detail \"from\" \"\" { fileinto \"c\"; }"),
        Case::new("groups", "require \"fileinto\"; if address \"cc\" \"m2@x.example\" { fileinto \"a\"; } if address :domain \"to\" \"\" { fileinto \"b\"; }").over(ODD),
        Case::new("matches", "require [\"fileinto\",\"variables\"]; if address :matches :domain \"from\" \"*.example\" { fileinto \"${1}\"; }"),
        Case::new("count", "require [\"fileinto\",\"relational\",\"comparator-i;ascii-numeric\"]; if address :count \"eq\" :comparator \"i;ascii-numeric\" [\"to\",\"cc\"] \"3\" { fileinto \"a\"; }"),
        Case::new("index", "require [\"fileinto\",\"index\"]; if address :index 1 \"to\" \"bob@b.example\" { fileinto \"a\"; }"),
    ]);
}

#[test]
fn envelope() {
    agree(&[
        Case::new("from", "require [\"fileinto\",\"envelope\"]; if envelope \"from\" \"alice@a.example\" { fileinto \"a\"; } if envelope :domain \"from\" \"A.example\" { fileinto \"b\"; }"),
        Case::new("to", "require [\"fileinto\",\"envelope\",\"subaddress\"]; if envelope :detail \"to\" \"lists\" { fileinto \"a\"; } if envelope :user \"to\" \"bob\" { fileinto \"b\"; } if envelope \"to\" \"bob+lists@b.example\" { fileinto \"c\"; }"),
        Case::new("detail in a folder", "require [\"fileinto\",\"envelope\",\"subaddress\",\"variables\"]; if envelope :matches :detail \"to\" \"*\" { fileinto \"x.${1}\"; }"),
        Case::new("no detail", "require [\"fileinto\",\"envelope\",\"subaddress\"]; if envelope :detail \"to\" \"\" { fileinto \"a\"; } if envelope :matches :detail \"to\" \"*\" { fileinto \"b\"; }").envelope("alice@a.example", "bob@b.example"),
        Case::new("count", "require [\"fileinto\",\"envelope\",\"relational\",\"comparator-i;ascii-numeric\"]; if envelope :count \"eq\" :comparator \"i;ascii-numeric\" [\"from\",\"to\"] \"2\" { fileinto \"a\"; }"),
    ]);
}

#[test]
fn date() {
    agree(&[
        Case::new("parts", "require [\"fileinto\",\"date\"]; if date :originalzone \"date\" \"hour\" \"23\" { fileinto \"a\"; } if date :zone \"+0000\" \"date\" \"date\" \"2026-11-27\" { fileinto \"b\"; } if date :zone \"-0500\" \"date\" \"weekday\" \"4\" { fileinto \"c\"; }"),
        Case::new("more parts", "require [\"fileinto\",\"date\",\"variables\"]; if date :matches :zone \"+0000\" \"date\" \"std11\" \"*\" { fileinto \"${1}\"; } if date :matches :zone \"+0000\" \"date\" \"iso8601\" \"*\" { fileinto \"${1}\"; } if date :matches :originalzone \"date\" \"zone\" \"*\" { fileinto \"${1}\"; } if date :matches :zone \"+0000\" \"date\" \"julian\" \"*\" { fileinto \"${1}\"; }"),
        Case::new("time", "require [\"fileinto\",\"date\",\"variables\"]; if date :matches :originalzone \"date\" \"time\" \"*\" { fileinto \"${1}\"; } if date :matches :originalzone \"date\" \"day\" \"*\" { fileinto \"${1}\"; } if date :matches :originalzone \"date\" \"month\" \"*\" { fileinto \"${1}\"; }"),
        Case::new("local zone", "require [\"fileinto\",\"date\",\"variables\"]; if date :matches \"date\" \"hour\" \"*\" { fileinto \"${1}\"; }"),
        Case::new("received", "require [\"fileinto\",\"date\"]; if date :zone \"+0000\" \"received\" \"hour\" \"09\" { fileinto \"a\"; }"),
        Case::new("relational", "require [\"fileinto\",\"date\",\"relational\"]; if date :value \"ge\" :zone \"+0000\" \"date\" \"date\" \"2026-01-01\" { fileinto \"a\"; }"),
        Case::new("no date", "require [\"fileinto\",\"date\"]; if date \"x-multi\" \"hour\" \"01\" { fileinto \"a\"; }"),
        Case::new("across a day", "require [\"fileinto\",\"date\"]; if date :zone \"+0000\" \"date\" \"date\" \"2026-02-28\" { fileinto \"a\"; }").over(ODD),
    ]);
}
