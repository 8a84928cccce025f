//! `postrider-lda`: delivers one message and ends.

fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(75)
}
