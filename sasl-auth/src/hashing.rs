//! The pool of threads that checks slow password hashes, bounded in threads, memory and queue.
//!
//! Its threads are niced, so that whoever answers the cheap requests gets the processor first.
//! Waiting checks are taken in turns from their lanes (see `queue`); a check whose memory does not
//! fit beside the running ones waits until it does.

mod queue;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use base::clock::monotonic_now;
use base::secret::Secret;
use tokio::sync::oneshot;

use self::queue::{Push, Queue, Ticket, Waiting};
use crate::config::settings::Hashing;
use crate::password::{Cost, HashError, Stored};

/// How far the threads step back behind the rest of the process, in the steps of nice(2).
const NICE: i32 = 10;

/// One password against one or several stored ones of a user.
#[derive(Debug)]
pub struct Job {
    /// The stored passwords; they are tried in this order until one matches.
    pub stored: Vec<Stored>,
    /// The user's full name, for schemes that hash it along.
    pub user: String,
    /// The password to check.
    pub password: Secret,
    /// Whose turn it takes: jobs of a lane wait for each other, lanes take turns. Say, a hash of the
    /// client's address.
    pub lane: u64,
    /// Second class: served only while no other job waits, and pushed out of a full queue by others.
    pub suspect: bool,
    /// When nobody needs the answer any more.
    pub deadline: Instant,
}

/// A check that came to no verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolError {
    /// Too many checks wait (`queue`).
    Full,
    /// The deadline has passed.
    Late,
    /// This check alone needs more memory than all together may take (`memory`).
    Memory {
        /// What it needs, in bytes.
        needed: u64,
        /// What there is, in bytes.
        budget: u64,
    },
    /// The check failed.
    Hash(HashError),
    /// The pool has been dropped.
    Stopped,
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("too many password checks wait (queue in [hashing])"),
            Self::Late => f.write_str("the password check was not done in time"),
            Self::Memory { needed, budget } => write!(
                f,
                "the stored hash needs {} MiB of memory and there are {}: raise memory in [hashing]",
                needed.div_ceil(1 << 20),
                budget >> 20
            ),
            Self::Hash(error) => error.fmt(f),
            Self::Stopped => f.write_str("the password checks have been stopped"),
        }
    }
}

impl std::error::Error for PoolError {}

/// The pool's state in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Checks that wait, suspects among them.
    pub queued: usize,
    /// Suspects that wait.
    pub suspects: usize,
    /// Checks that run.
    pub running: usize,
    /// Memory that the running ones may take, in bytes.
    pub memory_bytes: u64,
    /// Checks that have been run to their end, since the start.
    pub done: u64,
    /// Checks refused for want of room in the queue or of memory.
    pub refused: u64,
    /// Checks whose deadline passed before they ran.
    pub late: u64,
    /// Checks that nobody waited for any more before they ran.
    pub cancelled: u64,
}

impl Figures {
    /// Those of two pools together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            queued: self.queued + other.queued,
            suspects: self.suspects + other.suspects,
            running: self.running + other.running,
            memory_bytes: self.memory_bytes + other.memory_bytes,
            done: self.done + other.done,
            refused: self.refused + other.refused,
            late: self.late + other.late,
            cancelled: self.cancelled + other.cancelled,
        }
    }
}

/// What to run; it may ask whether it has been abandoned.
type Work = Box<dyn FnOnce(&dyn Fn() -> bool) -> Result<Option<usize>, PoolError> + Send>;

struct Task {
    work: Work,
    deadline: Instant,
    reply: oneshot::Sender<Result<Option<usize>, PoolError>>,
}

struct State {
    queue: Queue<Task>,
    running_suspects: usize,
    stopped: bool,
    figures: Figures,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    threads: usize,
    memory_budget: u64,
}

/// The pool. Its threads end when it is dropped, each after the check in hand.
pub struct Pool {
    shared: Arc<Shared>,
}

impl Pool {
    /// Starts the threads.
    ///
    /// # Errors
    /// What the system says when it does not give a thread.
    pub fn new(settings: &Hashing) -> io::Result<Self> {
        let threads = settings.threads.max(1);
        let state = State {
            queue: Queue::new(settings.queue.max(1)),
            running_suspects: 0,
            stopped: false,
            figures: Figures::default(),
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            wake: Condvar::new(),
            threads,
            memory_budget: settings.memory_bytes,
        });
        // Made first: if a thread is missing, dropping it ends those that are there.
        let pool = Self { shared };
        for number in 0..threads {
            let shared = Arc::clone(&pool.shared);
            std::thread::Builder::new().name(format!("hash-{number}")).spawn(move || shared.work())?;
        }
        Ok(pool)
    }

    /// Whether the password matches one of the stored ones. Dropping the future takes a waiting job
    /// out of the queue; one that runs stops before its next hash.
    ///
    /// # Errors
    /// [`PoolError`]; [`PoolError::Hash`] only when none matches and one could not be computed.
    pub async fn verify(&self, job: Job) -> Result<bool, PoolError> {
        Ok(self.first_match(job).await?.is_some())
    }

    /// As [`Self::verify`], telling which of the stored passwords matches. A job of cheap ones only
    /// is done on the spot.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub async fn first_match(&self, job: Job) -> Result<Option<usize>, PoolError> {
        let Job { stored, user, password, lane, suspect, deadline } = job;
        let budget = self.shared.memory_budget;
        let slow = stored.iter().filter_map(|stored| match stored.cost() {
            Cost::Cheap => None,
            Cost::Slow { memory_bytes } => Some(memory_bytes),
        });
        // Those that never fit are not run, so they need not fit.
        let needed = slow.clone().filter(|needed| *needed <= budget).max();
        let all_cheap = slow.count() == 0;
        let work =
            move |abandoned: &dyn Fn() -> bool| first_match(&stored, budget, &user, &password, abandoned);
        match needed {
            Some(needed) => self.submit(Box::new(work), needed, lane, suspect, deadline).await,
            None => {
                let outcome = work(&|| false);
                if !all_cheap && matches!(outcome, Err(PoolError::Memory { .. })) {
                    self.shared.lock().figures.refused += 1;
                }
                outcome
            }
        }
    }

    /// Runs other work than a comparison in its turn: `lane`, `suspect` and `deadline` are those of a [`Job`].
    ///
    /// # Errors
    /// As [`Self::verify`]; [`PoolError::Hash`] when it panics.
    pub async fn compute<T: Send + 'static>(
        &self,
        lane: u64,
        suspect: bool,
        deadline: Instant,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        let result = Arc::new(Mutex::new(None));
        let place = Arc::clone(&result);
        let work = move |_: &dyn Fn() -> bool| {
            let value = work();
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
            Ok(None)
        };
        self.submit(Box::new(work), 0, lane, suspect, deadline).await?;
        let value = result.lock().unwrap_or_else(PoisonError::into_inner).take();
        value.ok_or(PoolError::Stopped)
    }

    /// The numbers of this moment.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let state = self.shared.lock();
        let (queued, suspects) = (state.queue.len(), state.queue.suspects());
        Figures { queued, suspects, ..state.figures }
    }

    async fn submit(
        &self,
        work: Work,
        memory_bytes: u64,
        lane: u64,
        suspect: bool,
        deadline: Instant,
    ) -> Result<Option<usize>, PoolError> {
        let (reply, answer) = oneshot::channel();
        let task = Task { work, deadline, reply };
        let ticket = {
            let mut state = self.shared.lock();
            let (ticket, push) = state.queue.push(lane, suspect, memory_bytes, task);
            match push {
                Push::Queued => {}
                Push::Evicted(other) => {
                    state.figures.refused += 1;
                    answer_to(other, Err(PoolError::Full));
                }
                Push::Full(_) => {
                    state.figures.refused += 1;
                    return Err(PoolError::Full);
                }
            }
            ticket
        };
        self.shared.wake.notify_one();
        let place = Place { shared: &self.shared, ticket };
        let outcome = tokio::time::timeout_at(deadline.into(), answer).await;
        match outcome {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(PoolError::Stopped),
            Err(_) => {
                let mut state = self.shared.lock();
                if state.take_back(&place.ticket) {
                    state.figures.late += 1;
                }
                Err(PoolError::Late)
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let waiting = {
            let mut state = self.shared.lock();
            state.stopped = true;
            state.queue.drain()
        };
        self.shared.wake.notify_all();
        for task in waiting {
            answer_to(task, Err(PoolError::Stopped));
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("figures", &self.figures()).finish_non_exhaustive()
    }
}

/// A future's place in the queue, given up when the future is dropped.
struct Place<'p> {
    shared: &'p Shared,
    ticket: Ticket,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if state.take_back(&self.ticket) {
            state.figures.cancelled += 1;
        }
    }
}

impl State {
    /// Whether the job was still waiting.
    fn take_back(&mut self, ticket: &Ticket) -> bool {
        self.queue.remove(ticket).is_some()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread's life.
    fn work(&self) {
        step_back();
        while let Some(job) = self.next() {
            let Waiting { memory_bytes, suspect, payload: Task { work, reply, .. }, .. } = job;
            let outcome = catch_unwind(AssertUnwindSafe(|| work(&|| reply.is_closed())))
                .unwrap_or(Err(PoolError::Hash(HashError::Panicked)));
            {
                let mut state = self.lock();
                state.figures.running -= 1;
                state.figures.memory_bytes -= memory_bytes;
                state.running_suspects -= usize::from(suspect);
                state.figures.done += 1;
            }
            // What it held back, memory or the suspects' share of threads, may suit any of them.
            self.wake.notify_all();
            // Nobody waits for it any more: nothing to do about that.
            let _nobody = reply.send(outcome);
        }
    }

    /// Waits for a job that may run now; `None` when the pool has been stopped.
    fn next(&self) -> Option<Waiting<Task>> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            let free = self.memory_budget.saturating_sub(state.figures.memory_bytes);
            // One thread is left to the others, if there are several.
            let suspects_too = state.running_suspects < self.threads.saturating_sub(1).max(1);
            match state.queue.pop(free, suspects_too) {
                Some(job) if monotonic_now() >= job.payload.deadline => {
                    state.figures.late += 1;
                    answer_to(job.payload, Err(PoolError::Late));
                }
                Some(job) => {
                    state.figures.running += 1;
                    state.figures.memory_bytes += job.memory_bytes;
                    state.running_suspects += usize::from(job.suspect);
                    return Some(job);
                }
                None => {
                    state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

/// Nices this thread, which Linux counts as a process of its own here.
fn step_back() {
    let nice = rustix::process::getpriority_process(None)
        .and_then(|now| if now < NICE { rustix::process::setpriority_process(None, NICE) } else { Ok(()) });
    if let Err(error) = nice {
        log::warn!("password checks run at the priority of everything else: {error}");
    }
}

fn answer_to(task: Task, outcome: Result<Option<usize>, PoolError>) {
    // Its future may have been dropped at this moment: then nobody wants the answer.
    let _nobody = task.reply.send(outcome);
}

/// The number of the first stored password that matches. An error only if none does.
fn first_match(
    stored: &[Stored],
    budget: u64,
    user: &str,
    password: &Secret,
    abandoned: &dyn Fn() -> bool,
) -> Result<Option<usize>, PoolError> {
    let mut error = None;
    for (number, stored) in stored.iter().enumerate() {
        if abandoned() {
            return Err(PoolError::Late);
        }
        if let Cost::Slow { memory_bytes: needed } = stored.cost()
            && needed > budget
        {
            error = Some(PoolError::Memory { needed, budget });
            continue;
        }
        match stored.verify(user, password.expose()) {
            Ok(true) => return Ok(Some(number)),
            Ok(false) => {}
            Err(failure) => error = Some(PoolError::Hash(failure)),
        }
    }
    error.map_or(Ok(None), Err)
}
