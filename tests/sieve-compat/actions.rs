//! keep, fileinto, redirect, discard, reject, vacation, notify, flags: what becomes of them together.

use super::case::{Case, agree};

#[test]
fn keep_fileinto_discard_redirect() {
    agree(&[
        Case::new("nothing", ""),
        Case::new("keep", "keep;"),
        Case::new("discard", "discard;"),
        Case::new("keep and discard", "keep; discard;"),
        Case::new("discard and keep", "discard; keep;"),
        Case::new("stop", "stop; discard;"),
        Case::new("fileinto", "require \"fileinto\"; fileinto \"a\";"),
        Case::new("fileinto and keep", "require \"fileinto\"; keep; fileinto \"a\"; fileinto \"a\";"),
        Case::new("fileinto INBOX", "require \"fileinto\"; fileinto \"INBOX\";"),
        Case::new(
            "folders that look like numbers",
            "require \"fileinto\"; fileinto \"2024.10\"; fileinto \"007\";",
        ),
        Case::new("folders in other letters", "require \"fileinto\"; fileinto \"Entwürfe/ä\";"),
        Case::new("fileinto :copy", "require [\"fileinto\",\"copy\"]; fileinto :copy \"a\";"),
        Case::new("copy, then not", "require [\"fileinto\",\"copy\"]; fileinto :copy \"a\"; fileinto \"a\";")
            .differs("P1"),
        Case::new("fileinto :create", "require [\"fileinto\",\"mailbox\"]; fileinto :create \"a\";"),
        Case::new("redirect", "redirect \"x@y.example\";"),
        Case::new("redirect with a name", "redirect \"X <x@y.example>\";"),
        Case::new("redirect to a host without dots", "redirect \"x@localhost\";"),
        Case::new("redirect :copy", "require \"copy\"; redirect :copy \"x@y.example\";"),
        Case::new(
            "redirect twice",
            "redirect \"x@y.example\"; redirect \"x@y.example\"; redirect \"X@y.example\";",
        ),
        Case::new(
            "four redirects",
            "redirect \"a@y.example\"; redirect \"b@y.example\"; redirect \"c@y.example\"; redirect \"d@y.example\";",
        ),
        Case::new(
            "five redirects",
            "redirect \"a@y.example\"; redirect \"b@y.example\"; redirect \"c@y.example\"; redirect \"d@y.example\"; redirect \"e@y.example\";",
        ),
        Case::new("keep and redirect", "keep; redirect \"x@y.example\";"),
    ]);
}

#[test]
fn rejections() {
    agree(&[
        Case::new("reject", "require \"reject\"; reject \"no\";"),
        Case::new("reject in lines", "require \"reject\"; reject text:\nno\n..more\n.\n;"),
        Case::new("reject and discard", "require \"reject\"; discard; reject \"no\";"),
        Case::new("reject and keep", "require \"reject\"; keep; reject \"no\";"),
        Case::new("keep after reject", "require \"reject\"; reject \"no\"; keep;"),
        Case::new("reject twice", "require \"reject\"; reject \"no\"; reject \"never\";"),
        Case::new(
            "reject and redirect",
            "require [\"reject\",\"copy\"]; redirect :copy \"x@y.example\"; reject \"no\";",
        ),
        Case::new(
            "reject and vacation",
            "require [\"reject\",\"vacation\"]; vacation \"gone\"; reject \"no\";",
        ),
        Case::new(
            "reject and notify",
            "require [\"reject\",\"enotify\"]; notify \"mailto:x@y.example\"; reject \"no\";",
        ),
    ]);
}

#[test]
fn vacations() {
    agree(&[
        Case::new("plain", "require \"vacation\"; vacation \"gone\";"),
        Case::new(
            "all arguments",
            "require \"vacation\"; vacation :days 3 :subject \"s\" :from \"b@b.example\" :addresses [\"x@b.example\"] :handle \"h\" :mime \"Content-Type: text/plain\n\ngone\";",
        ),
        Case::new(
            "handle by default",
            "require \"vacation\"; vacation :subject \"s\" :from \"b@b.example\" :mime \"gone\";",
        ),
        Case::new("in lines", "require \"vacation\"; vacation text:\nI am\n..gone\n.\n;"),
        Case::new("days below", "require \"vacation\"; vacation :days 0 \"gone\";"),
        Case::new("days far beyond", "require \"vacation\"; vacation :days 400 \"gone\";"),
        Case::new("seconds", "require \"vacation-seconds\"; vacation :seconds 10 \"gone\";"),
        Case::new(
            "seconds enough",
            "require [\"vacation\",\"vacation-seconds\"]; vacation :seconds 100000 \"gone\";",
        ),
        Case::new("twice", "require \"vacation\"; vacation \"gone\"; vacation \"gone\";"),
        Case::new("wrong from", "require \"vacation\"; vacation :from \"bob\" \"gone\";"),
        Case::new("keep with it", "require [\"vacation\",\"fileinto\"]; vacation \"gone\"; fileinto \"a\";"),
        Case::new(
            "variables in it",
            "require [\"vacation\",\"variables\"]; if header :matches \"subject\" \"*\" { vacation :subject \"Re: ${1}\" \"about ${1}\"; }",
        ),
    ]);
}

#[test]
fn notifications() {
    agree(&[
        Case::new("plain", "require \"enotify\"; notify \"mailto:x@y.example\";"),
        Case::new(
            "all arguments",
            "require \"enotify\"; notify :from \"b@b.example\" :importance \"1\" :message \"new\" \"mailto:x@y.example?cc=c@y.example&body=text\";",
        ),
        Case::new("several recipients", "require \"enotify\"; notify \"mailto:x@y.example,z@y.example\";")
            .differs("P4"),
        Case::new(
            "the same twice",
            "require \"enotify\"; notify \"mailto:x@y.example\"; notify \"mailto:x@y.example\";",
        ),
        Case::new("another method", "require \"enotify\"; notify \"xmpp:x@y.example\";"),
        Case::new("no address", "require \"enotify\"; notify \"mailto:x\";"),
        Case::new(
            "no address at run time",
            "require [\"enotify\",\"variables\"]; set \"x\" \"x\"; notify \"mailto:${x}\";",
        ),
        Case::new(
            "valid_notify_method",
            "require [\"enotify\",\"fileinto\"]; if valid_notify_method [\"mailto:a@b.example\"] { fileinto \"yes\"; } if valid_notify_method [\"mailto:a@b.example\",\"xmpp:a@b.example\"] { fileinto \"no\"; }",
        ),
        Case::new(
            "notify_method_capability",
            "require [\"enotify\",\"fileinto\"]; if notify_method_capability \"mailto:a@b.example\" \"online\" \"maybe\" { fileinto \"yes\"; } if notify_method_capability \"mailto:a@b.example\" \"online\" \"yes\" { fileinto \"no\"; }",
        ),
    ]);
}

#[test]
fn flags() {
    agree(&[
        Case::new("keep :flags", "require \"imap4flags\"; keep :flags [\"\\\\Seen\",\"a b\"];"),
        Case::new("setflag then keep", "require \"imap4flags\"; setflag \"\\\\Flagged\"; keep;"),
        Case::new(
            "implicit keep",
            "require \"imap4flags\"; addflag [\"\\\\Answered\",\"$Junk\"]; removeflag \"$Junk\";",
        ),
        Case::new(
            "fileinto",
            "require [\"imap4flags\",\"fileinto\"]; setflag \"x\"; fileinto \"a\"; setflag \"y\"; fileinto :flags \"z\" \"b\"; fileinto \"c\";",
        ),
        Case::new(
            "the last counts",
            "require [\"imap4flags\",\"fileinto\"]; fileinto :flags \"x\" \"a\"; fileinto :flags \"y\" \"a\";",
        ),
        Case::new(
            "none at last",
            "require [\"imap4flags\",\"fileinto\"]; fileinto :flags \"x\" \"a\"; fileinto \"a\";",
        ),
        Case::new("invalid", "require \"imap4flags\"; keep :flags [\"\\\\Foo\",\"ok\"];"),
        Case::new(
            "in another order",
            "require \"imap4flags\"; addflag \"b\"; addflag \"a\"; addflag \"B\"; addflag \"\\\\seen\"; keep;",
        ),
        Case::new(
            "hasflag",
            "require [\"imap4flags\",\"fileinto\"]; setflag [\"a\",\"b\"]; if hasflag \"A\" { fileinto \"yes\"; } if hasflag \"c\" { fileinto \"no\"; }",
        ),
        Case::new(
            "hasflag :count",
            "require [\"imap4flags\",\"fileinto\",\"relational\"]; setflag [\"a\",\"b\"]; if hasflag :count \"eq\" :comparator \"i;ascii-casemap\" \"2\" { fileinto \"two\"; }",
        ),
        Case::new(
            "in a variable",
            "require [\"imap4flags\",\"variables\",\"fileinto\"]; addflag \"v\" [\"a\",\"b\"]; fileinto :flags \"${v}\" \"x\"; if hasflag \"v\" \"a\" { fileinto \"${v}\"; }",
        ),
    ]);
}
