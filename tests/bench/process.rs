//! What the kernel says of a running process: CPU time used and memory held.

use std::fs;
use std::io;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

/// CPU time of all threads of a process, ended ones included.
#[derive(Clone, Copy, Debug)]
pub struct CpuTime {
    /// In user mode.
    pub user: Duration,
    /// In the kernel on the process's behalf.
    pub system: Duration,
}

impl CpuTime {
    /// Reads `/proc/PID/stat`. The kernel counts in clock ticks, usually of 10 ms, so differences below
    /// one second are coarse.
    pub fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The second field is the program's name in parentheses and may hold anything; utime and stime
        // are the 14th and 15th.
        let after_name = stat.rsplit_once(") ").map(|(_, rest)| rest).unwrap_or_default();
        let mut fields = after_name.split(' ').skip(11).map(str::parse::<u64>);
        let (Some(Ok(user)), Some(Ok(system))) = (fields.next(), fields.next()) else {
            return Err(io::Error::other(format!("/proc/{pid}/stat cannot be read: {stat}")));
        };
        let per_second = sysconf(SysconfVar::CLK_TCK)?.and_then(|n| u64::try_from(n).ok()).unwrap_or(100);
        let ticks = |n: u64| Duration::from_micros(n * 1_000_000 / per_second);
        Ok(Self { user: ticks(user), system: ticks(system) })
    }

    /// Both modes together.
    pub fn total(self) -> Duration {
        self.user + self.system
    }

    /// What was used since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }
}

/// Resident memory of a process in KiB.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Now (VmRSS).
    pub now_kib: u64,
    /// At its highest since the last reset (VmHWM).
    pub peak_kib: u64,
}

impl Memory {
    /// Reads `/proc/PID/status`.
    pub fn of(pid: u32) -> io::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|value| value.trim().trim_end_matches(" kB").parse().ok())
                .ok_or_else(|| io::Error::other(format!("/proc/{pid}/status has no {name}")))
        };
        Ok(Self { now_kib: field("VmRSS:")?, peak_kib: field("VmHWM:")? })
    }

    /// Makes the peak start again from what is held now.
    pub fn reset_peak(pid: u32) -> io::Result<()> {
        fs::write(format!("/proc/{pid}/clear_refs"), "5")
    }
}
