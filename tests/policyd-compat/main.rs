//! The same series of requests to policyd-rate-limit or postfwd and to ours with the imported configuration; needs what
//! apt-packages names.
//!
//! Each difference has its number in docs/differences/policy.md.

mod differences;
mod postfwd;
mod rate_limit;
mod series;
mod subject;
