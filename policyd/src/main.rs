//! `postrider-policyd`: the policy service.

fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(75)
}
