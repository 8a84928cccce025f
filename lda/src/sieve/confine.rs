//! Processes for work that is not ours alone. Scripts run in one whose processor time and memory are limited: whatever
//! they do to the interpreter, the delivery goes on without it. What is sent once is sent in one that outlives us.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use base::clock::monotonic_now;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, setsid};
use rustix::process::set_parent_process_death_signal;

/// The longest answer that is taken.
const MAX_ANSWER: u64 = 64 << 20;
/// How much longer than its processor time a script may take, when the machine is busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the work may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confines {
    /// Processor time, by the second.
    pub cpu: Duration,
    /// Bytes of memory beyond what is in use now.
    pub memory: u64,
}

/// Does the work in a child process and gives its answer. The child ends with us.
///
/// # Errors
/// Why there is none, a sentence for the script's log. An error of the second kind is not the script's fault: the
/// system has no process to give.
pub fn confined(confines: Confines, work: impl FnOnce() -> Vec<u8>) -> Result<Vec<u8>, Unanswered> {
    let prepare = || {
        // It holds our files and their locks: when we are killed, the next attempt is not to wait for it.
        set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).is_ok()
            && limit(confines).is_ok()
    };
    let (child, reader) = start(prepare, work)?;
    let answer = answer(reader, confines.cpu + PATIENCE);
    if answer.is_err() {
        // It may have ended by itself.
        let _gone = kill(child, Signal::SIGKILL);
    }
    judge(answer, ended(child), confines)
}

/// Does work that is to come to its end even when we are killed meanwhile: in a child process and a session of its own.
///
/// # Errors
/// There is no process, or no answer within the time; the work may go on.
pub fn apart(within: Duration, work: impl FnOnce() -> Vec<u8>) -> Result<Vec<u8>, String> {
    let (child, reader) = start(|| setsid().is_ok(), work).map_err(|why| match why {
        Unanswered::System(why) | Unanswered::Work(why) => why,
    })?;
    let answer = answer(reader, within).map_err(|error| format!("no answer: {error}"))?;
    match ended(child) {
        Some(WaitStatus::Exited(_, 0)) => Ok(answer),
        status => Err(format!("ended unexpectedly ({status:?})")),
    }
}

fn start(
    prepare: impl FnOnce() -> bool,
    work: impl FnOnce() -> Vec<u8>,
) -> Result<(Pid, OwnedFd), Unanswered> {
    let system = |error: nix::Error| Unanswered::System(format!("cannot start a process: {error}"));
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(system)?;
    // SAFETY: the child does nothing but the work, which takes no lock that another thread of ours may hold (it does
    // not log, print or read the environment; the allocator of glibc is made for it), and ends by _exit. Should it
    // hang all the same, it is not waited for when its time is over.
    #[allow(unsafe_code, reason = "fork: the only way to limit what the interpreter uses up")]
    match unsafe { fork() }.map_err(system)? {
        ForkResult::Child => {
            drop(reader);
            // Root goes first: a change of credentials takes back the signal for the parent's end.
            let ready = crate::credentials::give_up_root().is_ok() && prepare();
            let written = ready && File::from(writer).write_all(&work()).is_ok();
            // SAFETY: ends the process without running what the parent has registered for its end.
            #[allow(unsafe_code, reason = "the child must not run the parent's exit handlers")]
            unsafe {
                nix::libc::_exit(i32::from(!written))
            }
        }
        ForkResult::Parent { child } => Ok((child, reader)),
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unanswered {
    /// The work was too much, or broke down.
    Work(String),
    /// The system could not do it now.
    System(String),
}

fn limit(confines: Confines) -> nix::Result<()> {
    let seconds = confines.cpu.as_secs().max(1);
    setrlimit(Resource::RLIMIT_CPU, seconds, seconds + 1)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    let used = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|pages| pages.split(' ').next()?.parse::<u64>().ok())
        .map_or(0, |pages| pages.saturating_mul(4096));
    if used == 0 {
        return Ok(());
    }
    let memory = used.saturating_add(confines.memory);
    setrlimit(Resource::RLIMIT_AS, memory, memory)
}

fn answer(reader: OwnedFd, within: Duration) -> io::Result<Vec<u8>> {
    let deadline = monotonic_now() + within;
    let mut reader = File::from(reader);
    let mut answer = Vec::new();
    let mut piece = vec![0; 64 * 1024];
    loop {
        let left = deadline.saturating_duration_since(monotonic_now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(reader.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) if left.is_zero() => return Err(io::ErrorKind::TimedOut.into()),
            Ok(0) | Err(nix::errno::Errno::EINTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        match reader.read(&mut piece)? {
            0 => return Ok(answer),
            length => answer.extend_from_slice(piece.get(..length).unwrap_or_default()),
        }
        if u64::try_from(answer.len()).unwrap_or(u64::MAX) > MAX_ANSWER {
            return Err(io::Error::other("its answer is too long"));
        }
    }
}

fn ended(child: Pid) -> Option<WaitStatus> {
    loop {
        match waitpid(child, None) {
            Err(nix::errno::Errno::EINTR) => {}
            other => return other.ok(),
        }
    }
}

fn judge(
    answer: io::Result<Vec<u8>>,
    status: Option<WaitStatus>,
    confines: Confines,
) -> Result<Vec<u8>, Unanswered> {
    let work = |text: String| Err(Unanswered::Work(text));
    match (answer, status) {
        (Ok(answer), Some(WaitStatus::Exited(_, 0))) => Ok(answer),
        (Err(error), _) if error.kind() == io::ErrorKind::TimedOut => {
            work("execution took too long.".to_owned())
        }
        (Err(error), _) => work(format!("execution failed: {error}.")),
        (_, Some(WaitStatus::Signaled(_, Signal::SIGXCPU | Signal::SIGKILL, _))) => {
            work(format!("execution exceeded CPU time limit of {} s.", confines.cpu.as_secs()))
        }
        (_, Some(WaitStatus::Signaled(_, Signal::SIGABRT | Signal::SIGSEGV, _))) => {
            work(format!("execution exceeded the memory limit of {} bytes.", confines.memory))
        }
        (_, status) => work(format!("execution ended unexpectedly ({status:?}).")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFINES: Confines = Confines { cpu: Duration::from_secs(1), memory: 64 << 20 };

    fn failed(work: impl FnOnce() -> Vec<u8>) -> String {
        match confined(CONFINES, work).unwrap_err() {
            Unanswered::Work(text) | Unanswered::System(text) => text,
        }
    }

    #[test]
    fn answers_of_any_size_come_back() {
        assert_eq!(confined(CONFINES, || b"x".to_vec()), Ok(b"x".to_vec()));
        assert_eq!(confined(CONFINES, || vec![7; 1 << 20]).unwrap().len(), 1 << 20);
    }

    #[test]
    fn work_apart_is_answered_or_given_up() {
        assert_eq!(apart(Duration::from_secs(20), || b"y".to_vec()), Ok(b"y".to_vec()));
        let slow = || {
            std::thread::sleep(Duration::from_millis(500));
            Vec::new()
        };
        assert!(apart(Duration::from_millis(50), slow).unwrap_err().contains("no answer"));
    }

    #[test]
    fn time_and_memory_are_limited() {
        let endless = || {
            let mut number = 1_u64;
            while std::hint::black_box(number) != 0 {
                number = number.wrapping_mul(3) | 1;
            }
            Vec::new()
        };
        assert!(failed(endless).contains("CPU time limit of 1 s"));
        let greedy = || vec![std::hint::black_box(1); 1 << 30];
        assert!(failed(greedy).contains("memory limit"), "{}", failed(greedy));
    }
}
