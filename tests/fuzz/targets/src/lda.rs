//! What delivery reads: messages, places, configuration, replies of a userdb.

use base::config::Source;
use lda::location::Location;
use lda::maildir::folder::folder;
use lda::maildir::name::{Origin, size_in};
use lda::message::{self, Header};
use lda::quota::Rules;
use lda::userdb::auth_userdb;
use lda::variables::{Template, Values};

use crate::{assert_printable, choice};

const VALUES: Values<'static> = Values {
    user: "joe@a.example",
    home: "/home/joe",
    uid: Some(1000),
    gid: Some(1000),
    service: "lda",
    hostname: "host",
};

/// A message's header, its date and the name made of it.
pub fn delivered_message(bytes: &[u8]) {
    let header = Header::new(bytes);
    let mut total = 0;
    for (name, body) in header.fields() {
        assert!(!name.is_empty());
        total += name.len() + body.len();
    }
    assert!(total <= bytes.len());
    if let Some(text) = header.text("Subject") {
        assert!(!text.contains('\n'));
    }
    if let Some(end) = message::header_end(bytes) {
        assert!(end <= bytes.len());
    }
    if let Some((length, sender)) = message::from_line(bytes) {
        assert!(length <= bytes.len() && sender.len() < length);
    }
    let _ = message::date(bytes);
    let _ = size_in(bytes);
    if let Some(origin) = Origin::of(bytes) {
        let base = origin.base(&[b"joe"], "host");
        assert_eq!(Origin::of(bytes).unwrap().base(&[b"joe"], "host"), base);
        assert!(base.as_str().len() < 100 && !base.as_str().contains(['/', ':', ',']));
        assert_printable(base.as_str());
    }
}

/// A mail location, a template, a folder's name: the path stays below the root.
pub fn place(bytes: &[u8]) {
    let (which, rest) = choice(bytes);
    let text = String::from_utf8_lossy(rest);
    if let Ok(place) = Location::parse(&text).and_then(|location| location.expand(&VALUES)) {
        assert!(place.root.is_absolute());
    }
    if let Ok(template) = Template::parse(&text) {
        let _ = template.expand(&VALUES);
    }
    let location =
        ["maildir:/root", "maildir:/root:LAYOUT=fs", "maildir:/root:LAYOUT=fs:UTF-8"][usize::from(which % 3)];
    let place = Location::parse(location).unwrap().expand(&VALUES).unwrap();
    for separator in ['/', '.'] {
        if let Ok(folder) = folder(&place, separator, "INBOX.", &text) {
            assert!(folder.path.starts_with("/root"), "{}", folder.path.display());
            assert!(
                folder.path.components().all(|part| part.as_os_str() != ".."),
                "{}",
                folder.path.display()
            );
        }
    }
    let _ = Rules::parse([&*text]).map(|rules| rules.of("Sub"));
}

/// A configuration: its report can be printed.
pub fn lda_configuration(bytes: &[u8]) {
    let source = Source::new("lda.toml", String::from_utf8_lossy(bytes));
    assert_printable(&lda::config::load(&source).report.to_string());
}

/// A line of a userdb's reply.
pub fn userdb_reply(bytes: &[u8]) {
    let _ = auth_userdb::reply(bytes);
}
