//! A /dev/log of its own for a program that logs to syslog only, written to a file.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A syslog socket and the thread that copies its lines to a file; both end when dropped.
#[derive(Debug)]
pub(crate) struct Syslog {
    dev: PathBuf,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Syslog {
    /// Makes the folder `dev` that is to stand in for /dev, and copies what is logged there to `log`.
    pub(crate) fn listen(dev: &Path, log: &Path) -> Self {
        fs::create_dir(dev).unwrap();
        let socket = UnixDatagram::bind(dev.join("log")).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut file = File::options().create(true).append(true).open(log).unwrap();
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopping);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while !stop.load(Ordering::SeqCst) {
                let Ok(length) = socket.recv(&mut buffer) else { continue };
                let line = String::from_utf8_lossy(&buffer[..length]).into_owned();
                // <facility*8+level>Mmm dd hh:mm:ss program[pid]: text
                let text = line.split_once('>').map_or(line.as_str(), |(_, rest)| rest);
                writeln!(file, "{}", text.trim_end_matches(['\0', '\n'])).unwrap();
            }
        });
        Self { dev: dev.to_owned(), stopping, thread: Some(thread) }
    }

    /// A command for `program` in a mount namespace where /dev is this folder and the devices it needs.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("/usr/bin/unshare");
        command.args(["-m", "--propagation", "private", "/bin/sh", "-ec", ENTER, "sh"]);
        command.arg(&self.dev).arg(program);
        command
    }
}

impl Drop for Syslog {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// `sh -c ENTER sh DEV PROGRAM ARGUMENTS…`
const ENTER: &str = r#"dev=$1; shift
for device in null zero random urandom; do
    : > "$dev/$device"
    mount --bind "/dev/$device" "$dev/$device"
done
mount --rbind "$dev" /dev
exec "$@""#;
