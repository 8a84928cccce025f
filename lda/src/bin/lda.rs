//! `postrider-lda`: delivers one message and ends.

fn main() -> std::process::ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let code = lda::sieve::tools::run(&arguments, base::clock::since_epoch(), &mut out, &mut err);
    std::process::ExitCode::from(code.unwrap_or(75))
}
