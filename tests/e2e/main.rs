//! End to end: mail through two real Postfix instances, a signing and a verifying milter, into a Maildir.

mod delivery;
