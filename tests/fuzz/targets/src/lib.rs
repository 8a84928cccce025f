//! What is fuzzed: one function for each kind of input that strangers or admins write.
//!
//! Each takes any bytes, feeds them to the code, and panics when the code does or when it breaks a
//! promise. `tests/smoke.rs` runs them in `make test`, `../fuzz_targets` under libFuzzer.

mod auth;
mod configuration;
mod data_set;
mod dkim;
mod fields;
mod lda;
mod lmtp;
mod packets;
mod policyd;
mod sieve;

pub use self::policyd::{policy_configuration, policy_import, policy_requests, policy_state, postfix_check};
pub use auth::{auth_configuration, auth_session, mechanism, passwd_file, stored_password, token, variables};
pub use configuration::configuration;
pub use data_set::data_set;
pub use dkim::{header_and_body, key_record, signature, tag_list};
pub use fields::{address, authres};
pub use lda::{delivered_message, lda_configuration, place, userdb_reply};
pub use lmtp::lmtp_session;
pub use packets::packets;
pub use sieve::{sieve_answer, sieve_script};

/// A target's name, which is also that of its folder of seeds, and the target.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("packets", packets),
    ("tag_list", tag_list),
    ("signature", signature),
    ("key_record", key_record),
    ("address", address),
    ("authres", authres),
    ("configuration", configuration),
    ("data_set", data_set),
    ("header_and_body", header_and_body),
    ("auth_session", auth_session),
    ("mechanism", mechanism),
    ("stored_password", stored_password),
    ("token", token),
    ("variables", variables),
    ("passwd_file", passwd_file),
    ("auth_configuration", auth_configuration),
    ("sieve_script", sieve_script),
    ("sieve_answer", sieve_answer),
    ("delivered_message", delivered_message),
    ("place", place),
    ("lda_configuration", lda_configuration),
    ("userdb_reply", userdb_reply),
    ("lmtp_session", lmtp_session),
    ("policy_requests", policy_requests),
    ("policy_configuration", policy_configuration),
    ("policy_state", policy_state),
    ("policy_import", policy_import),
    ("postfix_check", postfix_check),
];

/// The first byte, which chooses among variants, and the rest.
fn choice(bytes: &[u8]) -> (u8, &[u8]) {
    bytes.split_first().map_or((0, bytes), |(first, rest)| (*first, rest))
}

/// Fails when text for a terminal or log holds a control character other than a line end.
fn assert_printable(text: &str) {
    let bad = text.chars().find(|c| c.is_control() && *c != '\n');
    assert_eq!(bad, None, "a control character in {text:?}");
}

/// Fails when a header field's value could end the field or holds a control character: the folds are
/// LF and a tab.
fn assert_field_value(value: &str) {
    let bad = value.replace("\n\t", "").chars().find(|c| c.is_control());
    assert_eq!(bad, None, "a control character in {value:?}");
}
