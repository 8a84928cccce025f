//! `postrider-lmtp`: the LMTP server.

fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(lda::lmtp::program::main(std::env::args_os().skip(1)))
}
