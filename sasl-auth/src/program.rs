//! Programs that are asked one question on standard input and answer on standard output.

use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base::log::escaped;
use base::secret::Secret;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::passdb::Unavailable;

/// How long standard error is listened to after the program's end.
const LAST_WORDS: Duration = Duration::from_millis(20);
/// How much of standard error's first line is kept.
const FIRST_LINE: usize = 256;

/// A program, started anew for each question.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// For errors and the log.
    name: String,
    program: String,
    arguments: Vec<String>,
    running: Arc<Semaphore>,
    timeout: Duration,
}

impl Program {
    /// At most `processes` run at a time; each has `timeout`, time in the queue included.
    ///
    /// # Errors
    /// No program, or none at a time.
    pub(crate) fn new(
        name: &str,
        command: &[String],
        processes: usize,
        timeout: Duration,
    ) -> Result<Self, String> {
        let Some((program, arguments)) = command.split_first().filter(|(program, _)| !program.is_empty())
        else {
            return Err("command: no program".into());
        };
        if !program.starts_with('/') {
            return Err(format!("command: `{program}` is not a full path"));
        }
        if processes == 0 || processes > Semaphore::MAX_PERMITS {
            return Err("processes must be at least 1".into());
        }
        Ok(Self {
            name: name.to_owned(),
            program: program.clone(),
            arguments: arguments.to_vec(),
            running: Arc::new(Semaphore::new(processes)),
            timeout,
        })
    }

    /// Gives the program `question` and takes its answer, at most `most_bytes` of it.
    ///
    /// The program runs in a process group of its own, in `/`, with an environment of `PATH` only.
    /// The group is killed when the time is over, when the answer is too long, and when the caller
    /// stops waiting. The first line on standard error goes to the log.
    ///
    /// # Errors
    /// It could not be started, was too slow, said too much, or ended by a signal or with a status
    /// other than 0.
    pub(crate) async fn ask(&self, question: &Secret, most_bytes: usize) -> Result<Secret, Unavailable> {
        let fail = |what: String| Unavailable::new(format!("{}: {what}", self.program));
        match timeout(self.timeout, self.run(question, most_bytes)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(what)) => Err(fail(what)),
            Err(_) => Err(fail(format!("no answer within {:?}", self.timeout))),
        }
    }

    async fn run(&self, question: &Secret, most_bytes: usize) -> Result<Secret, String> {
        let _permit = self.running.acquire().await.map_err(|error| error.to_string())?;
        let mut group = Group { child: self.start()? };
        let (Some(mut stdin), Some(stdout), Some(stderr)) =
            (group.child.stdin.take(), group.child.stdout.take(), group.child.stderr.take())
        else {
            return Err("has no standard input or output".into());
        };
        let mut first_line = FirstLine::new();
        let ended = {
            let tell = async {
                // A program that answers without reading breaks the pipe; that is its right.
                let _broken = stdin.write_all(question.expose()).await;
                drop(stdin);
            };
            let work = async {
                let ((), answer) = tokio::join!(tell, read(stdout, most_bytes));
                let answer = answer?;
                let status = group.child.wait().await.map_err(|error| error.to_string())?;
                Ok::<_, String>((answer, status))
            };
            let mut listening = std::pin::pin!(first_line.listen(stderr));
            let ended = tokio::select! {
                ended = work => ended,
                never = &mut listening => match never {},
            };
            // What it said last may still be in the pipe.
            let _over = timeout(LAST_WORDS, listening).await;
            ended
        };
        first_line.log(&self.name);
        let (answer, status) = ended?;
        if status.success() { Ok(answer) } else { Err(describe(status)) }
    }

    fn start(&self) -> Result<Child, String> {
        Command::new(&self.program)
            .args(&self.arguments)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("cannot be started: {error}"))
    }
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(111), _) => "temporary failure (exit status 111)".into(),
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended in an unknown way".into(),
    }
}

/// A child that is the leader of its process group; the group dies with this value.
struct Group {
    child: Child,
}

impl Drop for Group {
    fn drop(&mut self) {
        // There is an id only until the child has been waited for, so it cannot be somebody else's.
        if let Some(id) = self.child.id().and_then(|id| i32::try_from(id).ok()) {
            // The group may be gone already.
            let _gone = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}

/// Reads to the end; more than `most_bytes` is an error.
async fn read(from: impl AsyncRead + Unpin, most_bytes: usize) -> Result<Secret, String> {
    let mut bytes = Vec::with_capacity(4096.min(most_bytes + 1));
    from.take(most_bytes as u64 + 1).read_to_end(&mut bytes).await.map_err(|error| error.to_string())?;
    let over = bytes.len() > most_bytes;
    let answer = Secret::new(bytes);
    if over { Err(format!("answer of more than {most_bytes} bytes")) } else { Ok(answer) }
}

/// The beginning of what a program says on standard error.
struct FirstLine {
    text: Vec<u8>,
    ended: bool,
}

enum Never {}

impl FirstLine {
    const fn new() -> Self {
        Self { text: Vec::new(), ended: false }
    }

    /// Reads for ever, so that the program never waits for a full pipe.
    async fn listen(&mut self, mut from: impl AsyncRead + Unpin) -> Never {
        let mut buffer = [0; 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            for byte in buffer.get(..length).unwrap_or_default() {
                self.ended |= *byte == b'\n';
                if !self.ended && self.text.len() < FIRST_LINE {
                    self.text.push(*byte);
                }
            }
        }
        std::future::pending().await
    }

    fn log(&self, name: &str) {
        if !self.text.is_empty() {
            log::warn!("{name}: {}", escaped(&self.text, FIRST_LINE));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(script: &str, processes: usize, timeout_ms: u64) -> Program {
        let command = ["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()];
        Program::new("test", &command, processes, Duration::from_millis(timeout_ms)).unwrap()
    }

    async fn ask(script: &str) -> Result<String, String> {
        let answer = program(script, 1, 5000).ask(&Secret::from("question\n"), 1000).await;
        answer.map(|answer| answer.expose_text().unwrap().to_owned()).map_err(|error| error.detail)
    }

    #[tokio::test]
    async fn answers_are_taken() {
        assert_eq!(ask("cat; echo over >&2").await.as_deref(), Ok("question\n"));
        assert_eq!(ask("echo unread").await.as_deref(), Ok("unread\n"));
        assert_eq!(ask("pwd; echo $HOME$NOTIFY_SOCKET").await.as_deref(), Ok("/\n\n"));
        assert_eq!(ask("head -c 1000 /dev/zero").await.map(|text| text.len()), Ok(1000));
        assert_eq!(ask("head -c 1000000 /dev/zero >&2; echo ok").await.as_deref(), Ok("ok\n"));
    }

    #[tokio::test]
    async fn failures_are_told_apart() {
        for (script, part) in [
            ("exit 111", "temporary failure"),
            ("echo x; exit 3", "exit status 3"),
            ("kill -SEGV $$", "signal 11"),
            ("head -c 1001 /dev/zero", "more than 1000 bytes"),
            ("cat /dev/zero", "more than 1000 bytes"),
        ] {
            let error = ask(script).await.unwrap_err();
            assert!(error.starts_with("/bin/sh: ") && error.contains(part), "{script}: {error}");
        }
        let missing = Program::new("test", &["/nonexistent/x".into()], 1, Duration::from_secs(1)).unwrap();
        assert!(missing.ask(&Secret::default(), 1).await.unwrap_err().detail.contains("cannot be started"));
        assert!(Program::new("test", &["cat".into()], 1, Duration::ZERO).is_err());
        assert!(Program::new("test", &[], 1, Duration::ZERO).is_err());
    }

    /// Whether the process group has a member.
    fn alive(group: i32) -> bool {
        killpg(Pid::from_raw(group), None).is_ok()
    }

    async fn dies(group: i32) -> bool {
        for _ in 0..200 {
            if !alive(group) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }

    #[tokio::test]
    async fn a_slow_program_dies_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let note = folder.path().join("pid");
        let slow = program(&format!("echo $$ > {}; sleep 600 & sleep 600", note.display()), 1, 1500);
        let error = slow.ask(&Secret::default(), 10).await.unwrap_err();
        assert!(error.detail.contains("no answer within 1.5s"), "{error}");
        let group: i32 = std::fs::read_to_string(&note).unwrap().trim().parse().unwrap();
        assert!(dies(group).await);
    }

    #[tokio::test]
    async fn nobody_waiting_ends_it_too() {
        let folder = tempfile::tempdir().unwrap();
        let note = folder.path().join("pid");
        let slow = program(&format!("echo $$ > {}; sleep 600", note.display()), 1, 60_000);
        let started = async {
            while !std::fs::read_to_string(&note).is_ok_and(|text| text.ends_with('\n')) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let question = Secret::default();
        tokio::select! {
            answer = slow.ask(&question, 10) => panic!("{answer:?}"),
            () = started => {}
        }
        let group: i32 = std::fs::read_to_string(&note).unwrap().trim().parse().unwrap();
        assert!(dies(group).await);
        assert_eq!(slow.running.available_permits(), 1);
    }

    #[tokio::test]
    async fn no_more_than_processes_run_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        // Each leaves a file while it runs, and tells how many there are.
        let script = format!("cd {}; touch $$; ls | wc -l; sleep 0.1; rm $$", folder.path().display());
        let program = program(&script, 3, 20_000);
        let mut asked = tokio::task::JoinSet::new();
        for _ in 0..12 {
            let program = program.clone();
            asked.spawn(async move { program.ask(&Secret::default(), 100).await.unwrap() });
        }
        let most = asked
            .join_all()
            .await
            .iter()
            .map(|answer| answer.expose_text().unwrap().trim().parse().unwrap())
            .max();
        assert!((1..=3).contains(&most.unwrap_or(0)), "{most:?}");
    }

    #[tokio::test]
    async fn a_long_queue_ends_in_time() {
        let busy = program("sleep 600", 1, 200);
        let question = Secret::default();
        let (one, two) = tokio::join!(busy.ask(&question, 1), busy.ask(&question, 1));
        assert!(one.is_err() && two.is_err());
    }
}
