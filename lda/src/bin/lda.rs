//! `postrider-lda`: delivers one message and ends.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

#[allow(clippy::disallowed_methods, reason = "main reads the environment for the whole program")]
fn main() -> ExitCode {
    let environment = |name: &str| std::env::var(name).ok();
    let run = || lda::program::run(std::env::args_os().skip(1).collect(), &environment);
    // 101, which a panic would end with, makes Postfix bounce the mail.
    ExitCode::from(catch_unwind(AssertUnwindSafe(run)).unwrap_or(base::exit::TEMPFAIL))
}
