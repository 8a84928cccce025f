//! Small files in a user's home that the user, too, can put there: opened without waiting for a pipe, read to a bound.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The most that is read of one.
pub const LONGEST: u64 = 4 << 20;

/// Opens a file for reading.
///
/// # Errors
/// What the operating system says, or that it is no file.
pub fn open(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path)?;
    check(file)
}

/// Gives an open file back if it is one.
///
/// # Errors
/// It is a pipe, a device, a directory.
pub fn check(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no file; remove it")) }
}

/// Reads a file.
///
/// # Errors
/// As [`open`], or that it is larger than [`LONGEST`].
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > LONGEST {
        return Err(io::Error::other(format!("it is larger than {LONGEST} bytes; remove it")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn pipes_are_not_waited_for_and_nothing_is_read_without_end() {
        let home = tempfile::tempdir().unwrap();
        let (pipe, large) = (home.path().join("pipe"), home.path().join("large"));
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        File::create(&large).unwrap().set_len(LONGEST + 1).unwrap();
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || sender.send((read(&pipe), read(&large))));
        let (of_pipe, of_large) =
            receiver.recv_timeout(Duration::from_secs(20)).expect("it waits for a pipe");
        assert!(of_pipe.unwrap_err().to_string().contains("no file"));
        assert!(of_large.unwrap_err().to_string().contains("larger than"));
        let small = home.path().join("small");
        std::fs::write(&small, "x").unwrap();
        assert_eq!(read(&small).unwrap(), b"x");
        assert_eq!(read(&home.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
