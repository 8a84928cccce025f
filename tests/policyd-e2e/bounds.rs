//! What clients do wrong, and what the system runs short of, ends no service.
//!
//! A million keys: `cargo run --release --bin bench -- policyd` measures them; here are a hundred thousand.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use harness::policyd::{Asked, Policyd};
use harness::scratch::Scratch;
use harness::wait::wait_for;
use nix::sys::signal::Signal;

const CONF: &str = "
listen = [\"unix:{dir}/policy\"]
[server]
client_timeout = \"1s\"
[store]
path = \"{dir}/state\"
[[limit]]
name = \"user\"
key = [\"sasl_username\"]
rate = [\"3/hour\"]
max_keys = 100000
[[limit]]
name = \"client\"
key = [\"sender\"]
rate = [\"3/hour\"]
max_keys = 500
";

fn asked(user: &str) -> Asked<'_> {
    Asked { state: "RCPT", instance: "", user, recipient: "b@b.example", count: 0 }
}

#[test]
fn requests_in_pieces_and_several_at_once_are_answered_in_order() {
    let scratch = Scratch::new("policybounds");
    let policyd = Policyd::start(&scratch, "policyd", CONF);
    let mut client = policyd.connect();
    let bytes = asked("a@a.example").to_bytes();
    for byte in &bytes {
        client.send(std::slice::from_ref(byte));
    }
    assert_eq!(client.reply().unwrap(), "DUNNO");
    client.send(&bytes.repeat(4));
    let said: Vec<String> = (0..4).map(|_| client.reply().unwrap()).collect();
    assert!(said[..2].iter().all(|action| action == "DUNNO") && said[3].starts_with("DEFER"), "{said:?}");
    for other in ["CONNECT", "EHLO", "MAIL", "VRFY", "ETRN"] {
        assert_eq!(client.ask(&Asked { state: other, ..asked("a@a.example") }), "DUNNO");
    }
    // Nothing at all but the kind of the request.
    client.send(b"request=smtpd_access_policy\n\n");
    assert_eq!(client.reply().unwrap(), "DUNNO");
}

#[test]
fn who_breaks_the_protocol_or_does_not_read_is_let_go() {
    let scratch = Scratch::new("policybounds");
    let policyd = Policyd::start(&scratch, "policyd", CONF);
    for junk in [&b"GET / HTTP/1.0\r\n\r\n"[..], b"\n\n", b"request=smtpd_access_policy\r\n\r\n", b"a=b\n\n"]
    {
        let mut client = policyd.connect();
        client.send(junk);
        assert_eq!(client.reply(), None, "{}", junk.escape_ascii());
    }
    // An endless request.
    let mut endless = UnixStream::connect(policyd.socket()).unwrap();
    endless.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut sent = 0;
    while endless.write_all(&[b'x'; 16 * 1024]).is_ok() {
        sent += 16;
        assert!(sent < 8192, "8 MiB were taken");
    }
    // Half a request, and silence.
    let mut half = policyd.connect();
    half.send(b"request=smtpd_access_policy\nsender=");
    assert_eq!(half.reply(), None);
    // Requests without end whose answers are not read.
    let mut deaf = UnixStream::connect(policyd.socket()).unwrap();
    deaf.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    let bytes = asked("deaf@a.example").to_bytes().repeat(20);
    let began = Instant::now();
    while deaf.write_all(&bytes).is_ok() {
        assert!(began.elapsed() < Duration::from_secs(60), "it is read from for ever");
    }
    wait_for("the deaf client's end", || policyd.log().contains("has not read its answer").then_some(()));
    assert_eq!(policyd.connect().ask(&asked("still@a.example")), "DUNNO");
}

#[test]
fn a_flood_of_keys_takes_nothing_from_others() {
    let scratch = Scratch::new("policybounds");
    let policyd = Policyd::start(&scratch, "policyd", CONF);
    let mut client = policyd.connect();
    for _ in 0..3 {
        assert_eq!(client.ask(&asked("paying@a.example")), "DUNNO");
    }
    let before = policyd.resident_bytes();
    for number in 0..20_000 {
        assert_eq!(client.ask(&asked(&format!("flood{number}@x.example"))), "DUNNO");
    }
    // Its limits hold, and the limit that has room counts on.
    assert!(client.ask(&asked("paying@a.example")).starts_with("DEFER"));
    let user = "flood19999@x.example";
    let said: Vec<String> = (0..3).map(|_| client.ask(&asked(user))).collect();
    assert!(said[1] == "DUNNO" && said[2].starts_with("DEFER"), "{said:?}");
    assert!(policyd.log().contains("limit client holds as many keys as max_keys allows; passes uncounted"));
    let grown = policyd.resident_bytes().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes for 20,000 keys");
}

#[test]
fn running_out_of_descriptors_does_not_end_it() {
    let scratch = Scratch::new("policybounds");
    let policyd = Policyd::start_short_of_files(&scratch, "policyd", CONF, 64);
    let mut served = policyd.connect();
    assert_eq!(served.ask(&asked("a@a.example")), "DUNNO");
    let many: Vec<UnixStream> = (0..200).map(|_| UnixStream::connect(policyd.socket()).unwrap()).collect();
    wait_for("a complaint", || policyd.log().contains("no connection can be accepted").then_some(()));
    assert_eq!(served.ask(&asked("a@a.example")), "DUNNO");
    drop(many);
    assert_eq!(policyd.connect().ask(&asked("b@a.example")), "DUNNO");
    wait_for("its recovery", || policyd.log().contains("connections can be accepted again").then_some(()));
}

#[test]
fn idle_connections_cost_little() {
    let scratch = Scratch::new("policybounds");
    let policyd = Policyd::start(&scratch, "policyd", CONF);
    let mut idle = Vec::new();
    assert_eq!(policyd.connect().ask(&asked("a@a.example")), "DUNNO");
    let before = policyd.resident_bytes();
    const COUNT: u32 = 900;
    for number in 0..COUNT {
        let mut client = policyd.connect();
        let user = format!("u{}@a.example", number % 50);
        let instance = format!("i{number}");
        client.ask(&Asked { instance: &instance, ..asked(&user) });
        idle.push(client);
    }
    let each = policyd.resident_bytes().saturating_sub(before) / u64::from(COUNT);
    assert!(each < 6000, "{each} bytes for each idle connection");
    assert_eq!(idle[0].ask(&asked("z@a.example")), "DUNNO");
}

#[test]
fn the_end_answers_what_is_in_hand() {
    let scratch = Scratch::new("policybounds");
    let mut policyd = Policyd::start(&scratch, "policyd", CONF);
    let answered = AtomicUsize::new(0);
    let stopping = AtomicBool::new(false);
    let clients: Vec<_> = (0..8).map(|_| policyd.connect()).collect();
    std::thread::scope(|scope| {
        for (thread, mut client) in clients.into_iter().enumerate() {
            let (answered, stopping) = (&answered, &stopping);
            assert_eq!(client.ask(&asked(&format!("first{thread}@a.example"))), "DUNNO");
            scope.spawn(move || {
                for number in 0.. {
                    if stopping.load(Ordering::SeqCst) {
                        break;
                    }
                    let user = format!("t{thread}.{number}@a.example");
                    assert_eq!(client.try_ask(&asked(&user)).as_deref(), Some("DUNNO"), "request {number}");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        std::thread::sleep(Duration::from_millis(100));
        stopping.store(true, Ordering::SeqCst);
        policyd.signal(Signal::SIGTERM);
    });
    assert!(answered.into_inner() > 8);
    wait_for("its end", || {
        let path = format!("/proc/{}/stat", policyd.pid());
        let stat = std::fs::read_to_string(path).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.trim().starts_with('Z')).then_some(())
    });
    policyd.kill();
}
