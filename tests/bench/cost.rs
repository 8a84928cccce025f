//! What several processes of one server used together: CPU time to the nanosecond, memory by share.

use std::fs;
use std::io;
use std::time::Duration;

/// CPU time of all living threads of the processes, exact to the nanosecond.
///
/// # Errors
/// When a process is gone.
pub fn running_time(pids: &[u32]) -> io::Result<Duration> {
    let mut sum = Duration::ZERO;
    for pid in pids {
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            let nanoseconds = text.split(' ').next().and_then(|number| number.parse().ok());
            sum += Duration::from_nanos(nanoseconds.ok_or_else(|| io::Error::other("no schedstat"))?);
        }
    }
    Ok(sum)
}

/// Memory of the processes in KiB; pages shared with others count by share (Pss).
///
/// # Errors
/// When a process is gone or not ours.
pub fn proportional_kib(pids: &[u32]) -> io::Result<u64> {
    let mut sum = 0;
    for pid in pids {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        let value = line.and_then(|value| value.trim().trim_end_matches(" kB").parse::<u64>().ok());
        sum += value.ok_or_else(|| io::Error::other("no Pss"))?;
    }
    Ok(sum)
}
