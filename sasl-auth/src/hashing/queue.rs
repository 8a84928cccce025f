//! Who is next: a bounded queue that takes turns between lanes and keeps suspects for last.
//!
//! Within a class (suspects or not) every lane with waiting jobs gets one job per round. A job that
//! needs more memory than is free lets smaller ones pass, but not forever.

use std::collections::{HashMap, VecDeque};

/// How many jobs may overtake one that waits for memory.
const MOST_OVERTAKEN: u32 = 16;

/// A job in the queue.
pub(super) struct Waiting<T> {
    id: u64,
    /// Memory that it needs, in bytes.
    pub(super) memory_bytes: u64,
    /// Its class.
    pub(super) suspect: bool,
    overtaken: u32,
    /// What it is.
    pub(super) payload: T,
}

/// What to find a job in the queue with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    id: u64,
    lane: u64,
    suspect: bool,
}

/// What became of a new job.
pub(super) enum Push<T> {
    /// It waits.
    Queued,
    /// It waits in the place of this one.
    Evicted(T),
    /// There was no room.
    Full(T),
}

/// The queue.
pub(super) struct Queue<T> {
    capacity: usize,
    next_id: u64,
    trusted: Lanes<T>,
    suspects: Lanes<T>,
}

impl<T> Queue<T> {
    /// An empty queue for up to `capacity` jobs.
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, next_id: 0, trusted: Lanes::new(), suspects: Lanes::new() }
    }

    /// Jobs that wait.
    pub(super) fn len(&self) -> usize {
        self.trusted.len + self.suspects.len
    }

    /// Suspects that wait.
    pub(super) fn suspects(&self) -> usize {
        self.suspects.len
    }

    /// Adds a job at the end of its lane. When the queue is full, the newest job of the longest lane
    /// gives way: of the suspects', if the new one is none; else of the same class, if that lane
    /// is longer than the new job's lane would be.
    pub(super) fn push(
        &mut self,
        lane: u64,
        suspect: bool,
        memory_bytes: u64,
        payload: T,
    ) -> (Ticket, Push<T>) {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        let ticket = Ticket { id, lane, suspect };
        let mut evicted = None;
        if self.len() >= self.capacity {
            evicted = if suspect {
                self.suspects.evict_for(lane)
            } else {
                self.suspects.evict().or_else(|| self.trusted.evict_for(lane))
            };
            if evicted.is_none() {
                return (ticket, Push::Full(payload));
            }
        }
        let class = if suspect { &mut self.suspects } else { &mut self.trusted };
        class.add(lane, Waiting { id, memory_bytes, suspect, overtaken: 0, payload });
        (ticket, evicted.map_or(Push::Queued, |job| Push::Evicted(job.payload)))
    }

    /// The next job that needs no more memory than is free. A suspect only if suspects may run and
    /// nobody else waits.
    pub(super) fn pop(&mut self, free_bytes: u64, suspects_too: bool) -> Option<Waiting<T>> {
        if self.trusted.len > 0 {
            self.trusted.take(free_bytes)
        } else if suspects_too {
            self.suspects.take(free_bytes)
        } else {
            None
        }
    }

    /// Takes a job out; `None` when it no longer waits.
    pub(super) fn remove(&mut self, ticket: &Ticket) -> Option<T> {
        let class = if ticket.suspect { &mut self.suspects } else { &mut self.trusted };
        class.remove(ticket)
    }

    /// Takes all jobs out.
    pub(super) fn drain(&mut self) -> Vec<T> {
        let classes = [&mut self.trusted, &mut self.suspects];
        classes.into_iter().flat_map(Lanes::drain).collect()
    }
}

/// The lanes of one class. A lane is there only while a job waits in it.
struct Lanes<T> {
    jobs: HashMap<u64, VecDeque<Waiting<T>>>,
    /// Whose turn it is, first to last.
    turns: VecDeque<u64>,
    len: usize,
}

impl<T> Lanes<T> {
    fn new() -> Self {
        Self { jobs: HashMap::new(), turns: VecDeque::new(), len: 0 }
    }

    fn add(&mut self, lane: u64, job: Waiting<T>) {
        let jobs = self.jobs.entry(lane).or_default();
        if jobs.is_empty() {
            self.turns.push_back(lane);
        }
        jobs.push_back(job);
        self.len += 1;
    }

    fn first(&mut self, lane: u64) -> Option<&mut Waiting<T>> {
        self.jobs.get_mut(&lane)?.front_mut()
    }

    fn take(&mut self, free_bytes: u64) -> Option<Waiting<T>> {
        let mut turn = 0;
        loop {
            let lane = *self.turns.get(turn)?;
            let job = self.first(lane)?;
            if job.memory_bytes <= free_bytes {
                break;
            }
            if job.overtaken >= MOST_OVERTAKEN {
                return None;
            }
            turn += 1;
        }
        for overtaken in 0..turn {
            let lane = *self.turns.get(overtaken)?;
            self.first(lane)?.overtaken += 1;
        }
        let lane = self.turns.remove(turn)?;
        let jobs = self.jobs.get_mut(&lane)?;
        let job = jobs.pop_front()?;
        if jobs.is_empty() {
            self.jobs.remove(&lane);
        } else {
            self.turns.push_back(lane);
        }
        self.len -= 1;
        Some(job)
    }

    fn longest(&self) -> Option<(u64, usize)> {
        let lengths = self.jobs.iter().map(|(lane, jobs)| (*lane, jobs.len()));
        lengths.max_by_key(|(_, length)| *length)
    }

    /// The newest job of the longest lane.
    fn evict(&mut self) -> Option<Waiting<T>> {
        let (lane, _) = self.longest()?;
        self.take_out(lane, |jobs| jobs.pop_back())
    }

    /// The same, if that lane is longer than `lane` would be with one more.
    fn evict_for(&mut self, lane: u64) -> Option<Waiting<T>> {
        let own = self.jobs.get(&lane).map_or(0, VecDeque::len);
        let (_, length) = self.longest()?;
        if length > own + 1 { self.evict() } else { None }
    }

    fn remove(&mut self, ticket: &Ticket) -> Option<T> {
        let taken = self.take_out(ticket.lane, |jobs| {
            let at = jobs.iter().position(|job| job.id == ticket.id)?;
            jobs.remove(at)
        });
        taken.map(|job| job.payload)
    }

    /// Takes a job out of a lane, and the lane with it if that was its last.
    fn take_out(
        &mut self,
        lane: u64,
        which: impl FnOnce(&mut VecDeque<Waiting<T>>) -> Option<Waiting<T>>,
    ) -> Option<Waiting<T>> {
        let jobs = self.jobs.get_mut(&lane)?;
        let job = which(jobs)?;
        if jobs.is_empty() {
            self.jobs.remove(&lane);
            self.turns.retain(|turn| *turn != lane);
        }
        self.len -= 1;
        Some(job)
    }

    fn drain(&mut self) -> Vec<T> {
        self.turns.clear();
        self.len = 0;
        self.jobs.drain().flat_map(|(_, jobs)| jobs).map(|job| job.payload).collect()
    }
}
