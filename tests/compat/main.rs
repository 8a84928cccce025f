//! Compatibility: every case runs on Debian's opendkim and on ours, and what comes of it is compared.
//!
//! Each case states what comes of it in both, in the notation of [`outcome`]. Where the two differ, the case names the
//! number under which docs/differences/opendkim.md tells why; [`differences`] holds the numbers and the cases together.
//! `SUBJECT=reference` or `SUBJECT=ours` runs one of the two alone.

mod case;
mod command_line;
mod cross;
mod cves;
mod differences;
mod outcome;
mod process;
mod signer;

mod actions;
mod author;
mod fields;
mod forged;
mod internal_hosts;
mod keys;
mod limits;
mod log_lines;
mod origin;
mod results;
mod results_field;
mod tables;
