//! File systems that fail: a small one in memory, and an ext4 in a file whose power can be cut.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::scratch::Scratch;
use crate::wait::output;

/// A small file system in memory, unmounted when dropped.
#[derive(Debug)]
pub struct Small(PathBuf);

impl Small {
    /// Mounts one at a new folder, with options like `size=1m,mode=755`.
    #[must_use]
    pub fn mount(path: &Path, options: &str) -> Self {
        fs::create_dir(path).unwrap();
        tool("mount", &["-t", "tmpfs", "-o", options, "tmpfs", &path.display().to_string()]);
        Self(path.to_owned())
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Mounts it anew, with other options: `ro`, `rw`.
    pub fn remount(&self, how: &str) {
        tool("mount", &["-o", &format!("remount,{how}"), &self.0.display().to_string()]);
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// An ext4 in a file, unmounted when dropped.
#[derive(Debug)]
pub struct Disk {
    image: PathBuf,
    at: PathBuf,
}

impl Disk {
    /// Makes and mounts one of 64 MiB.
    #[must_use]
    pub fn new(scratch: &Scratch) -> Self {
        let (image, at) = (scratch.file("image"), scratch.file("disk"));
        File::create(&image).unwrap().set_len(64 << 20).unwrap();
        tool("mkfs.ext4", &["-q", "-F", &image.display().to_string()]);
        fs::create_dir(&at).unwrap();
        let disk = Self { image, at };
        disk.mount();
        disk
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.at
    }

    fn mount(&self) {
        // A long commit interval: nothing gets to the disk by chance.
        let (image, at) = (self.image.display().to_string(), self.at.display().to_string());
        tool("mount", &["-o", "loop,commit=600", &image, &at]);
    }

    /// As if the machine had been switched off: EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH. Nobody can use it
    /// until [`Self::power_on`].
    pub fn power_cut(&self) {
        let script = "import fcntl,os,struct,sys; \
                      fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";
        tool("python3", &["-c", script, &self.at.display().to_string()]);
    }

    /// Mounts it again after [`Self::power_cut`]; nothing may be open there.
    pub fn power_on(&self) {
        tool("umount", &[&self.at.display().to_string()]);
        self.mount();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

/// Runs a program of the system's that has to succeed.
#[track_caller]
fn tool(name: &str, arguments: &[&str]) {
    let output = output(Command::new(name).args(arguments), b"");
    assert!(output.status.success(), "{name} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
