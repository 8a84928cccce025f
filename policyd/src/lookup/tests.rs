//! Look-ups by a database that is a function: no socket.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::*;
use crate::condition::{Condition, Listing};
use crate::config::Settings as All;
use crate::key::Field;
use crate::limits::Limits;
use crate::protocol::{Attribute, Request};
use crate::store::LimitId;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn settings(away_listed: bool) -> Settings {
    Settings {
        name: "vip".to_owned(),
        origin: Origin::Sql { urls: Vec::new(), url_file: None, ca_file: None, connections: 1 },
        query: Template::parse("%u").unwrap(),
        deadline: 50 * MS,
        lifetimes: Lifetimes {
            listed: 200 * SECOND,
            unlisted: 100 * SECOND,
            stale: 3600 * SECOND,
            bytes: 1 << 20,
        },
        away_listed,
    }
}

/// A list that says what `says` says, and how often it was asked.
fn list(
    settings: Settings,
    says: impl Fn(&str) -> (Duration, Result<Answer, String>) + Send + Sync + 'static,
) -> (Arc<Lookup>, Arc<AtomicU64>) {
    let asked = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&asked);
    let lookup = Lookup::new(settings.clone());
    let fake = move |value: &str| {
        count.fetch_add(1, Ordering::SeqCst);
        says(value)
    };
    lookup.start(settings, Source::Fake(Box::new(fake)));
    (Arc::new(lookup), asked)
}

fn request(user: &str) -> Request<'_> {
    let mut request = Request::default();
    request.set(Attribute::ProtocolState, b"RCPT");
    request.set(Attribute::SaslUsername, user.as_bytes());
    request.set(Attribute::Recipient, b"x@a.example");
    request
}

fn sought(list: &Lookup, user: &str) -> Sought {
    list.settings().query.of_request(Field::of("sasl_username").unwrap(), &request(user)).unwrap()
}

async fn ask(list: &Lookup, user: &str) -> bool {
    ask_after(list, user, Duration::ZERO).await
}

/// As if so much time had passed since the last answer.
async fn ask_after(list: &Lookup, user: &str, later: Duration) -> bool {
    let sought = sought(list, user);
    if list.is_asked_for(&sought, monotonic_now() + later) {
        list.learn(sought.clone()).await;
    }
    list.lists(&sought)
}

#[tokio::test]
async fn answers_hold_for_their_time_and_are_asked_once() {
    let (list, asked) = list(settings(false), |value| (MS, Ok((value == "joe").then(|| "1/s".into()))));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let list = Arc::clone(&list);
        tasks.spawn(async move { ask(&list, "Joe").await });
    }
    while let Some(listed) = tasks.join_next().await {
        assert!(listed.unwrap());
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1, "those who ask for the same wait for one answer");
    assert!(!ask(&list, "eve").await);
    assert!(!ask(&list, "eve").await);
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    let later = 150 * SECOND;
    assert!(!ask_after(&list, "eve", later).await && ask_after(&list, "joe", later).await);
    assert_eq!(asked.load(Ordering::SeqCst), 3, "what is not listed is asked sooner");
    assert!(ask_after(&list, "joe", 201 * SECOND).await);
    assert_eq!(asked.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn an_outage_costs_three_deadlines_and_old_answers_hold() {
    let away = Arc::new(AtomicU64::new(0));
    let is_away = Arc::clone(&away);
    let (list, asked) = list(settings(true), move |_| match is_away.load(Ordering::SeqCst) {
        0 => (MS, Ok(None)),
        _ => (Duration::from_secs(3600), Err("never".to_owned())),
    });
    assert!(!ask(&list, "joe").await);
    away.store(1, Ordering::SeqCst);
    let began = monotonic_now();
    for number in 0..50 {
        assert!(!ask_after(&list, "joe", 101 * SECOND).await, "the old answer holds");
        assert!(ask(&list, &format!("new{number}")).await, "nothing is known: as configured");
    }
    let took = monotonic_now() - began;
    assert!(took >= 100 * MS && took < 2500 * MS, "{took:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 4, "three failures open the breaker");
    let health = list.health();
    assert!(health.trouble.is_some_and(|trouble| trouble.contains("no answer within 50ms")));
}

#[tokio::test]
async fn an_answer_that_comes_late_is_there_for_the_next() {
    let (list, asked) = list(settings(false), |_| (80 * MS, Ok(Some("x".into()))));
    assert!(!ask(&list, "joe").await);
    while list.known(&sought(&list, "joe")).is_none() {
        tokio::time::sleep(MS).await;
    }
    assert!(ask(&list, "joe").await);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn questions_under_way_are_bounded() {
    let (list, asked) = list(settings(false), |_| (Duration::from_secs(3600), Ok(None)));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..2 * FLIGHTS {
        let list = Arc::clone(&list);
        tasks.spawn(async move { ask(&list, &format!("{number}")).await });
    }
    while let Some(listed) = tasks.join_next().await {
        assert!(!listed.unwrap());
    }
    assert_eq!(asked.load(Ordering::SeqCst), u64::try_from(FLIGHTS).unwrap());
}

#[tokio::test]
async fn a_reload_takes_over_what_has_not_changed() {
    let url = base::secret::Secret::from("sqlite:///nowhere/db");
    let sql = |deadline| Settings {
        origin: Origin::Sql { urls: vec![url.clone()], url_file: None, ca_file: None, connections: 1 },
        query: Template::parse("SELECT 1 FROM t WHERE a = '%u'").unwrap(),
        deadline,
        ..settings(false)
    };
    let before = Lookup::new(sql(50 * MS));
    before.open(None).unwrap();
    let joe = sought(&before, "joe");
    before.state.get().unwrap().inner().cache.put(joe.clone(), Some("x".into()), monotonic_now());
    assert!(!before.is_asked_for(&joe, monotonic_now()));
    let same = Lookup::new(sql(50 * MS));
    same.open(Some(&before)).unwrap();
    assert!(
        same.is_asked_for(&joe, monotonic_now()) && same.lists(&joe),
        "asked again, and holds until then"
    );
    let other = Lookup::new(sql(60 * MS));
    other.open(Some(&before)).unwrap();
    assert!(!other.lists(&joe));
}

#[tokio::test]
async fn only_what_decides_is_asked() {
    let (list, _) = list(settings(false), |_| (MS, Ok(None)));
    let of = |text: &str| Condition::parse(text, |_| Some(Listing::Asked(Arc::clone(&list)))).unwrap();
    let needs = |conditions: &[&str], verdict| {
        let conditions: Vec<Condition> = conditions.iter().map(|text| of(text)).collect();
        let mut needs = Vec::new();
        let decided = needs::decided(&conditions, verdict, &request("joe"), monotonic_now(), &mut needs);
        (decided, needs.len())
    };
    let listed = "sasl_username in list:vip";
    assert_eq!(needs(&[listed], false), (false, 1));
    assert_eq!(needs(&[listed, listed, "sender_domain not in list:vip"], false), (false, 1));
    assert_eq!(needs(&[listed, "recipient in list:vip"], false), (false, 2));
    assert_eq!(needs(&[listed, "sasl_username = eve"], false), (true, 0), "one that does not hold is enough");
    assert_eq!(needs(&[listed, "sasl_username = joe"], true), (true, 0), "one that holds is enough");
    ask(&list, "joe").await;
    assert_eq!(needs(&[listed, "recipient in list:vip"], false), (true, 0));
    assert_eq!(needs(&[listed, "recipient in list:vip"], true), (false, 1));
}

fn limits(text: &str) -> (All, Limits) {
    let loaded = crate::config::load(&base::config::Source::new("f", text));
    let settings = loaded.settings.unwrap_or_else(|| panic!("{}", loaded.report));
    let limits = Limits::new(&settings, 1, |_| LimitId(0));
    (settings, limits)
}

#[test]
fn overrides_are_rates_unlimited_or_told_wrong() {
    let (settings, limits) = limits(
        "listen = \"unix:/a\"\n[[list]]\nname = \"rates\"\ndriver = \"sql\"\nurl = \"sqlite:///nowhere\"\n\
         query = \"SELECT rate FROM t WHERE a = '%u'\"\n[[limit]]\nname = \"l\"\nkey = \"sasl_username\"\n\
         rate = \"10/hour\"\noverrides = \"rates\"\n",
    );
    let Listing::Asked(list) = &settings.lists[0].content else { panic!("it is asked") };
    list.open(None).unwrap();
    let limit = &limits.all[0];
    assert!(limits.asks_lists && limit.asks(b"joe").is_some());
    for (user, text) in [
        ("two", "5/hour, 20/day"),
        ("free", "Unlimited"),
        ("wrong", "many"),
        ("much", "1/s, 1/s, 1/s, 1/s, 1/s, 1/s, 1/s"),
    ] {
        let (_, sought) = limit.asks(user.as_bytes()).unwrap();
        list.state.get().unwrap().inner().cache.put(sought, Some(text.into()), monotonic_now());
    }
    let of = |user: &str| {
        limit.rule(user.as_bytes(), 0).map(|rule| rule.levels.iter().map(|level| level.limit).collect())
    };
    assert_eq!(of("two"), Some(vec![5, 20]));
    assert_eq!(of("free"), None);
    assert_eq!(of("wrong"), Some(vec![10]), "the limit's own rate holds");
    assert_eq!(of("much"), Some(vec![10]));
    assert_eq!(of("nobody"), Some(vec![10]));
    let from = limit.override_of(b"two").unwrap();
    assert_eq!((from.list.as_str(), from.text.as_str()), ("rates", "5/hour, 20/day"));
    assert_eq!((limit.override_of(b"wrong"), limit.override_of(b"nobody")), (None, None));
    // What is raised is raised from what has become known since.
    let raise =
        |key: &[u8]| crate::store::Raise { limit: "l".into(), key: key.into(), hundredths: 200, until: 100 };
    limits.set_raises(&[raise(b"two"), raise(b"late")]);
    assert_eq!((of("two"), of("late")), (Some(vec![10, 40]), Some(vec![20])));
    let (_, late) = limit.asks(b"late").unwrap();
    list.state.get().unwrap().inner().cache.put(late, Some("7/hour".into()), monotonic_now());
    assert_eq!(of("late"), Some(vec![14]));
}

#[test]
fn a_request_asks_what_its_limits_need() {
    let (_, limits) = limits(
        "listen = \"unix:/a\"\nexempt = [\"client_address in 10.0.0.0/8\", \"sender in list:vip\"]\n\
         [[list]]\nname = \"vip\"\ndriver = \"sql\"\nurl = \"sqlite:///nowhere\"\nquery = \"SELECT 1 FROM t WHERE a = '%u'\"\n\
         [[limit]]\nname = \"late\"\nkey = \"sasl_username\"\nrate = \"10/hour\"\noverrides = \"vip\"\nstage = \"data\"\n\
         [[limit]]\nname = \"other\"\nkey = \"recipient\"\nrate = \"10/hour\"\noverrides = \"vip\"\nwhen = \"sasl_username = eve\"\n",
    );
    for list in limits.all.iter().filter_map(|limit| limit.asks(b"x")).map(|(list, _)| list) {
        let _opened_twice = list.open(None);
    }
    let asked = |user: &str, state: &[u8], address: &[u8]| {
        let mut request = request(user);
        request.set(Attribute::ProtocolState, state);
        request.set(Attribute::ClientAddress, address);
        request.set(Attribute::Sender, b"s@a.example");
        let needs = needs::of_limits(&request, &limits, monotonic_now());
        needs.iter().map(|need| need.sought.shown()).collect::<Vec<_>>()
    };
    let address = b"192.0.2.1";
    assert_eq!(asked("joe", b"RCPT", address), ["s@a.example"], "one that holds would exempt");
    assert_eq!(asked("joe", b"DATA", address), ["s@a.example", "joe"]);
    assert_eq!(asked("eve", b"RCPT", address), ["s@a.example", "x@a.example"]);
    assert_eq!(asked("", b"DATA", address), ["s@a.example"], "there is no key");
    assert_eq!(asked("eve", b"RCPT", b"10.1.1.1"), [""; 0], "exempt already");
    assert_eq!(asked("eve", b"VRFY", address), [""; 0]);
}

#[tokio::test]
async fn a_question_that_panics_is_over() {
    let (list, asked) = list(settings(false), |_| panic!("a bug"));
    let joe = sought(&list, "joe");
    assert!(!ask(&list, "joe").await);
    assert!(!ask(&list, "joe").await);
    assert_eq!(asked.load(Ordering::SeqCst), 2, "it is asked again");
    let state = list.state.get().unwrap();
    let long_ago = monotonic_now() - Duration::from_secs(3600);
    for _ in 0..3 {
        state.inner().breaker.failed(long_ago);
    }
    list.learn(joe.clone()).await;
    while state.inner().flights.contains_key(&joe) {
        tokio::time::sleep(MS).await;
    }
    assert_eq!(asked.load(Ordering::SeqCst), 3, "a probe");
    assert!(state.inner().breaker.way(monotonic_now() + 6 * SECOND) == Way::Probe, "another may be made");
}
