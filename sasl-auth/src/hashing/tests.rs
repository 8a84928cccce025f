//! Each bound of the pool, its order, and that nothing takes it down.

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const SOON: Duration = Duration::from_secs(20);

fn pool(threads: usize, memory_bytes: u64, queue: usize) -> Arc<Pool> {
    Arc::new(Pool::new(&Hashing { threads, memory_bytes, queue }).unwrap())
}

fn job(stored: &[&str], password: &str) -> Job {
    Job {
        stored: stored.iter().map(|text| Stored::parse(text.as_bytes(), "PLAIN").unwrap()).collect(),
        user: "user@example.com".to_owned(),
        password: password.into(),
        lane: 1,
        suspect: false,
        deadline: monotonic_now() + SOON,
    }
}

/// Work that tells its number when it starts and ends when it is let.
struct Gate {
    started: mpsc::Receiver<usize>,
    start: mpsc::Sender<usize>,
    open: Vec<mpsc::Sender<()>>,
}

type Submitted = tokio::task::JoinHandle<Result<Option<usize>, PoolError>>;

/// What a job of the test is besides its number.
#[derive(Clone, Copy, Default)]
struct Kind {
    lane: u64,
    suspect: bool,
    memory_bytes: u64,
}

impl Gate {
    fn new() -> Self {
        let (start, started) = mpsc::channel();
        Self { started, start, open: Vec::new() }
    }

    /// Submits job `self.open.len()` and waits until it is queued or running.
    async fn submit(&mut self, pool: &Arc<Pool>, kind: Kind) -> Submitted {
        let number = self.open.len();
        let (open, opened) = mpsc::channel::<()>();
        self.open.push(open);
        let start = self.start.clone();
        let work: Work = Box::new(move |_| {
            start.send(number).unwrap();
            opened.recv().ok();
            Ok(Some(number))
        });
        let seen = |pool: &Pool| {
            let figures = pool.figures();
            figures.queued as u64 + figures.running as u64 + figures.done + figures.refused
        };
        let before = seen(pool);
        let own = Arc::clone(pool);
        let deadline = monotonic_now() + SOON;
        let submitted = tokio::spawn(async move {
            own.submit(work, kind.memory_bytes, kind.lane, kind.suspect, deadline).await
        });
        while seen(pool) == before && !submitted.is_finished() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        submitted
    }

    /// The number of the next job that starts.
    fn next(&self) -> usize {
        self.started.recv_timeout(SOON).unwrap()
    }

    fn finish(&mut self, number: usize) {
        self.open[number].send(()).unwrap();
    }

    fn none_starts(&self) -> bool {
        self.started.recv_timeout(Duration::from_millis(50)).is_err()
    }
}

async fn outcome(submitted: Submitted) -> Result<Option<usize>, PoolError> {
    tokio::time::timeout(SOON, submitted).await.unwrap().unwrap()
}

const BCRYPT: &str = "{BLF-CRYPT}$2y$04$uADc3oT8daFZqiUvHE369...Ny8om5xSEQChDTxZ3IsFoTyKsmMvO";
const ARGON2: &str = "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$I7UDKm13PyTAiRho/9TzvQ$2p7KApBdbtMbUc9m0ZpHmsfGJDhDm+nLnNjSUQh8Qtc";

#[tokio::test]
async fn the_first_stored_password_that_matches_counts() {
    let pool = pool(2, 1 << 30, 8);
    assert_eq!(pool.verify(job(&[BCRYPT], "correct horse")).await, Ok(true));
    assert_eq!(pool.verify(job(&[BCRYPT], "wrong horse")).await, Ok(false));
    let several = ["{PLAIN}other", BCRYPT, "{PLAIN}correct horse"];
    assert_eq!(pool.first_match(job(&several, "correct horse")).await, Ok(Some(1)));
    assert_eq!(pool.first_match(job(&several, "other")).await, Ok(Some(0)));
    assert_eq!(pool.first_match(job(&several, "wrong")).await, Ok(None));
    assert_eq!(pool.first_match(job(&[], "wrong")).await, Ok(None));
    assert_eq!(pool.figures().done, 5);
}

#[tokio::test]
async fn cheap_jobs_take_no_thread() {
    let pool = pool(1, 1 << 20, 1);
    let mut gate = Gate::new();
    let busy = gate.submit(&pool, Kind::default()).await;
    assert_eq!(gate.next(), 0);
    assert_eq!(pool.verify(job(&["{PLAIN}correct horse"], "correct horse")).await, Ok(true));
    gate.finish(0);
    assert_eq!(outcome(busy).await, Ok(Some(0)));
}

#[tokio::test]
async fn a_job_beyond_all_memory_names_the_setting_unless_another_hash_matches() {
    let pool = pool(1, 32 << 20, 8);
    let error = pool.verify(job(&[ARGON2], "correct horse")).await.unwrap_err();
    assert_eq!(error, PoolError::Memory { needed: 64 << 20, budget: 32 << 20 });
    assert!(error.to_string().contains("64 MiB"), "{error}");
    assert!(error.to_string().contains("raise memory in [hashing]"), "{error}");
    assert_eq!(pool.figures().refused, 1);
    assert_eq!(pool.first_match(job(&[ARGON2, BCRYPT], "correct horse")).await, Ok(Some(1)));
    assert_eq!(pool.verify(job(&[ARGON2, BCRYPT], "wrong")).await, Err(error));
    let too_costly = BCRYPT.replace("$04$", "$31$");
    let error = pool.verify(job(&[&too_costly], "wrong")).await.unwrap_err();
    assert!(matches!(error, PoolError::Hash(HashError::TooCostly(_))), "{error}");
    assert_eq!(pool.first_match(job(&[&too_costly, BCRYPT], "correct horse")).await, Ok(Some(1)));
}

#[tokio::test]
async fn jobs_wait_until_their_memory_fits() {
    let pool = pool(3, 100, 8);
    let mut gate = Gate::new();
    let kind = |memory_bytes, lane| Kind { memory_bytes, lane, ..Kind::default() };
    let first = gate.submit(&pool, kind(60, 0)).await;
    assert_eq!(gate.next(), 0);
    let second = gate.submit(&pool, kind(60, 1)).await;
    assert!(gate.none_starts());
    let small = gate.submit(&pool, kind(40, 2)).await;
    assert_eq!(gate.next(), 2);
    assert_eq!(pool.figures().memory_bytes, 100);
    gate.finish(2);
    assert_eq!(outcome(small).await, Ok(Some(2)));
    gate.finish(0);
    assert_eq!(gate.next(), 1);
    gate.finish(1);
    assert_eq!(outcome(first).await, Ok(Some(0)));
    assert_eq!(outcome(second).await, Ok(Some(1)));
    assert_eq!(pool.figures().memory_bytes, 0);
}

#[tokio::test]
async fn lanes_take_turns_and_suspects_come_last() {
    let pool = pool(1, 100, 16);
    let mut gate = Gate::new();
    let mut waiting = vec![gate.submit(&pool, Kind::default()).await];
    assert_eq!(gate.next(), 0);
    for (lane, suspect) in [(7, true), (1, false), (1, false), (1, false), (2, false), (2, false), (3, false)]
    {
        waiting.push(gate.submit(&pool, Kind { lane, suspect, memory_bytes: 1 }).await);
    }
    assert_eq!((pool.figures().queued, pool.figures().suspects), (7, 1));
    let mut order = vec![];
    for _ in 0..7 {
        gate.finish(order.last().copied().unwrap_or(0));
        order.push(gate.next());
    }
    assert_eq!(order, [2, 5, 7, 3, 6, 4, 1]);
    gate.finish(1);
    for (number, submitted) in waiting.into_iter().enumerate() {
        assert_eq!(outcome(submitted).await, Ok(Some(number)));
    }
}

#[tokio::test]
async fn suspects_leave_a_thread_to_the_others() {
    let pool = pool(2, 100, 16);
    let mut gate = Gate::new();
    let suspect = Kind { suspect: true, ..Kind::default() };
    let first = gate.submit(&pool, suspect).await;
    assert_eq!(gate.next(), 0);
    let second = gate.submit(&pool, suspect).await;
    assert!(gate.none_starts());
    let trusted = gate.submit(&pool, Kind::default()).await;
    assert_eq!(gate.next(), 2);
    gate.finish(0);
    assert_eq!(gate.next(), 1);
    gate.finish(1);
    gate.finish(2);
    for (number, submitted) in [first, second, trusted].into_iter().enumerate() {
        assert_eq!(outcome(submitted).await, Ok(Some(number)));
    }
}

#[tokio::test]
async fn a_full_queue_refuses_or_gives_up_a_suspect_or_a_long_lane() {
    let pool = pool(1, 100, 2);
    let mut gate = Gate::new();
    let kind = |lane, suspect| Kind { lane, suspect, ..Kind::default() };
    let running = gate.submit(&pool, Kind::default()).await;
    assert_eq!(gate.next(), 0);
    let one = gate.submit(&pool, kind(1, false)).await;
    let suspect = gate.submit(&pool, kind(1, true)).await;
    let refused = gate.submit(&pool, kind(2, true)).await;
    assert_eq!(outcome(refused).await, Err(PoolError::Full));
    let two = gate.submit(&pool, kind(1, false)).await;
    assert_eq!(outcome(suspect).await, Err(PoolError::Full));
    let refused = gate.submit(&pool, kind(1, false)).await;
    assert_eq!(outcome(refused).await, Err(PoolError::Full));
    // Lane 1 has two: it gives one up to lane 2, after which nobody has more than another.
    let three = gate.submit(&pool, kind(2, false)).await;
    assert_eq!(outcome(two).await, Err(PoolError::Full));
    let refused = gate.submit(&pool, kind(3, false)).await;
    assert_eq!(outcome(refused).await, Err(PoolError::Full));
    assert_eq!((pool.figures().refused, pool.figures().queued), (5, 2));
    for (number, submitted) in [(0, running), (1, one), (6, three)] {
        gate.finish(number);
        assert_eq!(outcome(submitted).await, Ok(Some(number)));
    }
}

#[tokio::test]
async fn a_dropped_future_gives_its_place_up() {
    let pool = pool(1, 100, 2);
    let mut gate = Gate::new();
    let running = gate.submit(&pool, Kind::default()).await;
    assert_eq!(gate.next(), 0);
    let waiting = gate.submit(&pool, Kind::default()).await;
    assert_eq!(pool.figures().queued, 1);
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    assert_eq!((pool.figures().queued, pool.figures().cancelled), (0, 1));
    // One that runs ends by itself and takes nothing with it.
    running.abort();
    gate.finish(0);
    let next = gate.submit(&pool, Kind::default()).await;
    assert_eq!(gate.next(), 2);
    gate.finish(2);
    assert_eq!(outcome(next).await, Ok(Some(2)));
    assert_eq!(pool.figures().done, 2);
}

#[tokio::test]
async fn the_deadline_ends_the_wait_whatever_the_threads_do() {
    let pool = pool(1, 1 << 20, 4);
    let mut gate = Gate::new();
    let busy = gate.submit(&pool, Kind::default()).await;
    assert_eq!(gate.next(), 0);
    let mut late = job(&[BCRYPT], "correct horse");
    late.deadline = monotonic_now() + Duration::from_millis(30);
    assert_eq!(pool.verify(late).await, Err(PoolError::Late));
    assert_eq!((pool.figures().late, pool.figures().queued), (1, 0));
    gate.finish(0);
    assert_eq!(outcome(busy).await, Ok(Some(0)));
    let mut past = job(&[BCRYPT], "correct horse");
    past.deadline = monotonic_now();
    assert_eq!(pool.verify(past).await, Err(PoolError::Late));
}

#[tokio::test]
async fn an_abandoned_job_stops_before_its_next_hash() {
    let stored = [BCRYPT, BCRYPT].map(|text| Stored::parse(text.as_bytes(), "PLAIN").unwrap());
    let outcome = first_match(&stored, 1 << 20, "", &"correct horse".into(), &|| true);
    assert_eq!(outcome, Err(PoolError::Late));
}

#[tokio::test]
async fn a_panic_ends_its_own_job_only() {
    let pool = pool(1, 100, 4);
    for _ in 0..3 {
        let work: Work = Box::new(|_| panic!("on purpose"));
        let deadline = monotonic_now() + SOON;
        let outcome = pool.submit(work, 50, 0, true, deadline).await;
        assert_eq!(outcome, Err(PoolError::Hash(HashError::Panicked)));
    }
    let figures = pool.figures();
    assert_eq!((figures.running, figures.memory_bytes, figures.done), (0, 0, 3));
    assert_eq!(pool.verify(job(&["{OTP}sha1 1 TeSt 63D936639734385B"], "x")).await, Ok(false));
}

#[tokio::test]
async fn checks_run_behind_the_rest_of_the_process() {
    let pool = pool(1, 100, 4);
    let nice = || rustix::process::getpriority_process(None).unwrap();
    let work: Work = Box::new(move |_| Ok(usize::try_from(nice()).ok()));
    let deadline = monotonic_now() + SOON;
    let outcome = pool.submit(work, 0, 0, false, deadline).await;
    assert_eq!(outcome, Ok(usize::try_from(NICE.max(nice())).ok()));
}

#[tokio::test]
async fn a_dropped_pool_answers_what_waits() {
    let pool = pool(1, 100, 4);
    let shared = Arc::clone(&pool.shared);
    let mut gate = Gate::new();
    let running = gate.submit(&pool, Kind::default()).await;
    assert_eq!(gate.next(), 0);
    // Holds the queue's only waiting job without holding the pool.
    let (reply, answer) = oneshot::channel();
    let task = Task { work: Box::new(|_| Ok(None)), deadline: monotonic_now() + SOON, reply };
    let (_, push) = shared.lock().queue.push(0, false, 0, task);
    assert!(matches!(push, Push::Queued));
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    drop(pool);
    assert_eq!(answer.await, Ok(Err(PoolError::Stopped)));
    gate.finish(0);
}

#[test]
fn a_large_job_is_not_overtaken_forever() {
    let mut queue = Queue::new(100);
    queue.push(0, false, 90, 0);
    for number in 1..40 {
        queue.push(number, false, 10, number);
    }
    let overtaking = std::iter::from_fn(|| queue.pop(20, true)).count();
    assert_eq!(overtaking, 16);
    assert_eq!(queue.pop(100, true).map(|job| job.payload), Some(0));
    assert_eq!(queue.pop(20, true).map(|job| job.payload), Some(17));
    assert_eq!(queue.len(), 22);
}

#[test]
fn a_ticket_takes_its_own_job_out_once() {
    let mut queue = Queue::new(4);
    let (ticket, _) = queue.push(1, false, 0, 'a');
    let (other, _) = queue.push(1, true, 0, 'b');
    assert_eq!(queue.remove(&ticket), Some('a'));
    assert_eq!(queue.remove(&ticket), None);
    assert_eq!(queue.pop(0, false).map(|job| job.payload), None);
    assert_eq!((queue.len(), queue.suspects()), (1, 1));
    assert_eq!(queue.drain(), ['b']);
    assert_eq!(queue.remove(&other), None);
    assert_eq!(queue.len(), 0);
}

/// What is done to a queue.
#[derive(Debug, Clone)]
enum Act {
    Push(u64, bool, u64),
    Pop(u64, bool),
    Remove(prop::sample::Index),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (0..4_u64, any::<bool>(), 0..100_u64).prop_map(|(lane, suspect, memory)| Act::Push(lane, suspect, memory)),
        2 => (0..100_u64, any::<bool>()).prop_map(|(free, suspects)| Act::Pop(free, suspects)),
        1 => any::<prop::sample::Index>().prop_map(Act::Remove),
    ]
}

proptest! {
    #[test]
    fn every_job_leaves_the_queue_once(acts in prop::collection::vec(act(), 0..200)) {
        let mut queue = Queue::new(12);
        let mut inside = BTreeSet::new();
        let mut tickets = Vec::new();
        for (number, act) in acts.into_iter().enumerate() {
            match act {
                Act::Push(lane, suspect, memory) => {
                    let (ticket, push) = queue.push(lane, suspect, memory, number);
                    tickets.push((ticket, number));
                    let room = inside.len() < 12;
                    prop_assert_eq!(matches!(push, Push::Queued), room);
                    match push {
                        Push::Queued => prop_assert!(inside.insert(number)),
                        Push::Evicted(other) => {
                            prop_assert!(inside.remove(&other));
                            prop_assert!(inside.insert(number));
                        }
                        Push::Full(same) => prop_assert_eq!(same, number),
                    }
                }
                Act::Pop(free, suspects) => {
                    let others = queue.len() > queue.suspects();
                    if let Some(job) = queue.pop(free, suspects) {
                        prop_assert!(job.memory_bytes <= free);
                        prop_assert!(!job.suspect || suspects && !others);
                        prop_assert!(inside.remove(&job.payload));
                    }
                }
                Act::Remove(which) if !tickets.is_empty() => {
                    let (ticket, number) = tickets[which.index(tickets.len())];
                    let removed = queue.remove(&ticket);
                    prop_assert_eq!(removed, inside.remove(&number).then_some(number));
                }
                Act::Remove(_) => {}
            }
            prop_assert_eq!(queue.len(), inside.len());
        }
        let rest: BTreeSet<_> = std::iter::from_fn(|| queue.pop(100, true)).map(|job| job.payload).collect();
        prop_assert_eq!(rest, inside);
    }
}
