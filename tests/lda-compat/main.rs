//! Compatibility of postrider-lda: the same deliveries with Debian's dovecot-lda and with ours.
//!
//! What is compared: exit code, folders, content, pattern of names, modes, log. Where the two differ, the case has the
//! number under which docs/differences/dovecot-lda.md tells why; [`differences`] holds numbers and cases together.

mod cases;
mod differences;
mod places;
mod quota;
mod subject;
