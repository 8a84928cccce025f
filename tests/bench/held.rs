//! Sessions held in the middle of a message, to see what each costs the server in memory.

use std::io;
use std::thread;
use std::time::Duration;

use crate::message::Message;
use crate::process::Memory;
use crate::wire::{Address, CHUNK_BYTES, Envelope, Session};

/// The server's memory before and with the sessions.
pub struct Held {
    /// Sessions that stand in the middle of their message.
    pub sessions: usize,
    /// Resident memory before the first one, in KiB.
    pub before_kib: u64,
    /// With all of them.
    pub with: Memory,
}

impl Held {
    /// What each session added at the peak, in KiB.
    pub fn per_session_kib(&self) -> u64 {
        self.with.peak_kib.saturating_sub(self.before_kib) / (self.sessions as u64).max(1)
    }
}

/// Opens `sessions` connections, takes each through the header and the whole body of `message` but not
/// to its end, chunk by chunk in turn, then reads the memory of process `pid`.
///
/// # Errors
/// When a session cannot be brought there: the figure would be of fewer sessions than asked for.
pub fn hold(
    address: &Address,
    envelope: &Envelope,
    message: &Message,
    sessions: usize,
    pid: u32,
    timeout: Duration,
) -> io::Result<Held> {
    let before_kib = Memory::of(pid)?.now_kib;
    Memory::reset_peak(pid)?;
    let mut open = Vec::with_capacity(sessions);
    for number in 0..sessions {
        let mut session = Session::open(address, envelope, timeout)?;
        let id = format!("4bH{number:06}");
        if !session.start(envelope, message, &id)? {
            return Err(io::Error::other("the milter decided before the body"));
        }
        open.push((session, id));
    }
    for chunk in message.body.chunks(CHUNK_BYTES) {
        for (session, id) in &mut open {
            if !session.feed(envelope, chunk, id)? {
                return Err(io::Error::other("the milter did not want the whole body"));
            }
        }
    }
    // Replies may be suppressed, so the server may still be reading the last chunks.
    thread::sleep(Duration::from_millis(500));
    let with = Memory::of(pid)?;
    Ok(Held { sessions: open.len(), before_kib, with })
}
