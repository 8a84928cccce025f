//! docs/differences/opendkim.md and the cases hold together (filled in below).
