//! The exit codes of sysexits(3) that the services use, by name.

/// The command line was used wrongly.
pub const USAGE: u8 = 64;
/// A file, user or address that was named is not there or not usable.
pub const DATAERR: u8 = 65;
/// There is no such user.
pub const NOUSER: u8 = 67;
/// A service that is needed is not available (a socket in use, a server away).
pub const UNAVAILABLE: u8 = 69;
/// A mistake in the program itself.
pub const SOFTWARE: u8 = 70;
/// The operating system refused something basic (fork, threads).
pub const OSERR: u8 = 71;
/// Not now; try again later.
pub const TEMPFAIL: u8 = 75;
/// The privileges for an operation are missing.
pub const NOPERM: u8 = 77;
/// Something in the configuration is wrong.
pub const CONFIG: u8 = 78;
