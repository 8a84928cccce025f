//! `postrider-lmtp`: the LMTP server.

fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(75)
}
