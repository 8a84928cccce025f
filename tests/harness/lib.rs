//! The test harness: everything a test needs to run real mail through real daemons in a few lines.
