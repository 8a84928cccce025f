//! The story that each kind of database goes through.

use std::process::Command;
use std::time::{Duration, Instant};

use harness::policyd::{Asked, PolicyClient, Policyd, program};
use harness::scratch::Scratch;
use harness::wait::wait_for;
use serde_json::Value;

/// Times of the lists, short enough to be waited for.
pub const TIMES: &str = "deadline = \"2s\"\nttl = \"1s\"\nnegative_ttl = \"1s\"\n";

/// A database with `vip` and `rates`.
pub trait Database {
    /// Puts a login in, with its rates (several with `;`), or takes it out.
    fn set(&mut self, table: &str, login: &str, text: Option<&str>);
    /// Ends it.
    fn stop(&mut self);
    /// Starts it again.
    fn start(&mut self);
}

/// What the story is told with.
pub struct Story<'a> {
    /// Its folder.
    pub scratch: &'a Scratch,
    /// The sections of both lists.
    pub lists: &'a str,
    /// Whether the database still has everything after it was stopped.
    pub keeps: bool,
}

struct Told<'a> {
    policyd: &'a Policyd,
    client: PolicyClient,
    messages: u32,
}

impl Told<'_> {
    /// A message of somebody: whether it passes.
    fn sends(&mut self, user: &str) -> bool {
        self.messages += 1;
        let instance = format!("i{}", self.messages);
        let asked = Asked { state: "DATA", instance: &instance, user, count: 1, ..Asked::default() };
        let answer = self.client.ask(&asked);
        assert!(answer == "DUNNO" || answer.starts_with("DEFER"), "{answer}");
        answer == "DUNNO"
    }

    /// How many of so many messages pass.
    fn passes(&mut self, user: &str, of: u32) -> u32 {
        (0..of).map(|_| u32::from(self.sends(user))).sum()
    }

    fn json(&self, words: &[&str]) -> Value {
        let socket = self.policyd.folder().join("control");
        let done =
            Command::new(program()).args(words).arg("--json").arg("--socket").arg(socket).output().unwrap();
        assert!(done.status.success(), "{words:?}: {done:?}");
        serde_json::from_slice(&done.stdout).unwrap()
    }

    fn said(&self, words: &[&str]) -> String {
        let socket = self.policyd.folder().join("control");
        let done = Command::new(program()).args(words).arg("--socket").arg(socket).output().unwrap();
        assert!(done.status.success(), "{words:?}: {done:?}");
        String::from_utf8(done.stdout).unwrap()
    }

    fn reset(&self, user: &str) {
        let _said = self.said(&["reset", user]);
    }
}

/// Long enough for an answer to be asked again.
fn after_the_ttl() {
    std::thread::sleep(Duration::from_millis(1100));
}

/// Tells it.
pub fn tell(story: Story<'_>, mut database: impl Database) {
    let text = format!(
        "listen = [\"unix:{{dir}}/policy\"]\n[store]\ndriver = \"memory\"\n[control]\nsocket = \"{{dir}}/control\"\n\
         {}[[limit]]\nname = \"user\"\nkey = [\"sasl_username\"]\nrate = [\"2/hour\"]\noverrides = \"rates\"\n\
         except = [\"sasl_username in list:vip\"]\n",
        story.lists
    );
    database.set("vip", "vip@a.example", Some("yes"));
    database.set("vip", "o'brien' or '1'='1@a.example", Some("yes"));
    database.set("rates", "more@a.example", Some("4/hour"));
    database.set("rates", "both@a.example", Some("6/day;3/hour"));
    database.set("rates", "free@a.example", Some("unlimited"));
    database.set("rates", "wrong@a.example", Some("a lot"));
    let policyd = Policyd::start(story.scratch, "policyd", &text);
    let mut told = Told { policyd: &policyd, client: policyd.connect(), messages: 0 };

    // Listed and unlisted, overrides; small and capital letters are the same.
    assert_eq!(told.passes("Vip@A.example", 6), 6);
    assert_eq!(told.passes("o'brien' or '1'='1@a.example", 6), 6);
    assert_eq!(told.passes("' or '1'='1@a.example", 6), 2);
    assert_eq!(told.passes("other@a.example", 6), 2);
    assert_eq!(told.passes("more@a.example", 6), 4);
    assert_eq!(told.passes("both@a.example", 6), 3);
    assert_eq!(told.passes("free@a.example", 9), 9);
    assert_eq!(told.passes("wrong@a.example", 6), 2);
    let wrong = "list rates says \"a lot\" of wrong@a.example for limit user: 'a lot' is no rate";
    assert_eq!(policyd.log().matches(wrong).count(), 1, "{}", policyd.log());
    by_hand(&told);

    // What changes is seen when the answer's time is over, and not before.
    database.set("vip", "other@a.example", Some("yes"));
    database.set("rates", "more@a.example", Some("5/hour"));
    after_the_ttl();
    assert_eq!(told.passes("other@a.example", 3), 3);
    assert_eq!(told.passes("more@a.example", 3), 1);
    database.set("vip", "other@a.example", None);
    after_the_ttl();
    assert_eq!(told.passes("other@a.example", 3), 0);
    database.set("vip", "other@a.example", Some("yes"));
    // A reload has it asked at once.
    policyd.reload();
    assert_eq!(told.passes("other@a.example", 3), 3);

    outage(&story, &mut told, &mut database);
}

/// What is seen from outside.
fn by_hand(told: &Told<'_>) {
    let explained = told.json(&["explain", "more@a.example"]);
    let standing = &explained["standings"][0];
    assert_eq!(standing["override"]["list"], "rates", "{explained}");
    assert_eq!(standing["override"]["text"], "4/hour", "{explained}");
    assert!(told.said(&["explain", "more@a.example"]).contains("4 in 1 h (list rates: 4/hour)"));
    let tried = told.said(&["explain", "-x", "sasl_username=free@a.example"]);
    assert!(tried.contains("free@a.example is unlimited by list rates"), "{tried}");
    let tried = told.said(&["explain", "-x", "sasl_username=vip@a.example"]);
    assert!(tried.contains("except sasl_username in list:vip holds"), "{tried}");
    let status = told.json(&["status"]);
    assert_eq!(status["lists"][0]["name"], "vip");
    assert_eq!(status["lists"][0]["connected"], true, "{status}");
    assert!(status["lists"][0]["entries"].as_u64().unwrap() >= 8, "{status}");
}

/// Stopped: the last answers hold, others are as configured; answers come at once. Then it is back.
fn outage(story: &Story<'_>, told: &mut Told<'_>, database: &mut impl Database) {
    told.reset("more@a.example");
    assert_eq!(told.passes("vip@a.example", 1), 1);
    database.stop();
    after_the_ttl();
    let began = Instant::now();
    let mut slowest = Duration::ZERO;
    for round in 0..40 {
        let asked = Instant::now();
        assert!(told.sends("vip@a.example"), "the old answer holds");
        assert!(!told.sends("o@a.example") || round < 2, "the limit's own rate holds");
        slowest = slowest.max(asked.elapsed());
    }
    assert_eq!(told.passes("more@a.example", 9), 5, "the old override holds");
    // Two requests, each within its deadline.
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let log = told.policyd.log();
    assert_eq!(log.matches("list vip: ").count(), 1, "{log}");
    assert!(
        log.contains("what it said last holds, values of which it said nothing count as not listed"),
        "{log}"
    );
    let status = told.json(&["status"]);
    assert_eq!(status["lists"][0]["connected"], false, "{status}");
    assert!(status["lists"][0]["trouble"].as_str().is_some_and(|trouble| !trouble.is_empty()), "{status}");
    assert!(told.said(&["status"]).contains("AWAY: "));

    // Back, without a restart.
    database.start();
    if !story.keeps {
        database.set("vip", "vip@a.example", Some("yes"));
    }
    database.set("vip", "late@a.example", Some("yes"));
    let mut tries = 0;
    wait_for("the database to be asked again", || {
        tries += 1;
        let _asked = told.sends(&format!("try{tries}@a.example"));
        told.policyd.log().contains("list vip: answers again").then_some(())
    });
    assert_eq!(told.passes("late@a.example", 5), 5);
    assert_eq!(told.passes("vip@a.example", 3), 3);
    assert_eq!(told.json(&["status"])["lists"][0]["connected"], true);
}
