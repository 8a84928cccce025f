//! Stored passwords: `{SCHEME}data` in all of Dovecot's schemes, to verify, to convert, to make.
