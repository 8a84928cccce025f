//! The DNS server against hickory's own message format, over real sockets.

use super::*;
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData};
use std::time::Instant;

fn ask(dns: &Dns, name: &str, record_type: RecordType, over_tcp: bool) -> Option<Message> {
    let mut question = Message::query();
    question.add_query(Query::query(Name::from_ascii(name).unwrap(), record_type));
    let bytes = question.to_vec().unwrap();
    let mut reply = vec![0; 65_535];
    let length = if over_tcp {
        let mut stream = TcpStream::connect(dns.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        stream.write_all(&u16::try_from(bytes.len()).unwrap().to_be_bytes()).unwrap();
        stream.write_all(&bytes).unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).ok()?;
        let length = usize::from(u16::from_be_bytes(length));
        stream.read_exact(&mut reply[..length]).ok()?;
        length
    } else {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(1000))).unwrap();
        socket.send_to(&bytes, dns.address()).unwrap();
        socket.recv(&mut reply).ok()?
    };
    let reply = Message::from_vec(&reply[..length]).unwrap();
    assert_eq!(reply.metadata.id, question.metadata.id);
    Some(reply)
}

fn texts(reply: &Message) -> Vec<Vec<String>> {
    let strings = |record: &hickory_proto::rr::Record| match &record.data {
        RData::TXT(txt) => {
            Some(txt.txt_data.iter().map(|s| String::from_utf8_lossy(s).into_owned()).collect())
        }
        _ => None,
    };
    reply.answers.iter().filter_map(strings).collect()
}

#[test]
fn records_and_the_absence_of_them() {
    let zone = Zone::new()
        .txt_strings("two.example", &[b"a", b"b"])
        .txt("two.example", "c")
        .ttl("two.example", 77)
        .cname("alias.example", "two.example")
        .mx("two.example", 10, "mx.example")
        .a("deep.below.example", Ipv4Addr::new(192, 0, 2, 1));
    let dns = Dns::start(zone);
    let reply = ask(&dns, "TWO.example.", RecordType::TXT, false).unwrap();
    assert_eq!(texts(&reply), [vec!["a", "b"], vec!["c"]]);
    assert_eq!(reply.answers[0].ttl, 77);
    let reply = ask(&dns, "alias.example.", RecordType::TXT, false).unwrap();
    assert_eq!((reply.answers.len(), texts(&reply).len()), (3, 2));
    assert_eq!(ask(&dns, "two.example.", RecordType::MX, false).unwrap().answers.len(), 1);
    // Nothing of that type, nothing there but below, nothing at all.
    for (name, code) in [
        ("two.example.", ResponseCode::NoError),
        ("below.example.", ResponseCode::NoError),
        ("nowhere.example.", ResponseCode::NXDomain),
    ] {
        let reply = ask(&dns, name, RecordType::A, false).unwrap();
        assert_eq!((reply.metadata.response_code, reply.answers.len()), (code, 0), "{name}");
        assert_eq!(reply.authorities[0].record_type(), RecordType::SOA, "{name}");
    }
    assert_eq!(dns.count("two.example"), 3);
}

#[test]
fn a_zone_that_changes_and_faults() {
    let dns = Dns::start(Zone::new().txt("k.example", "old"));
    assert_eq!(texts(&ask(&dns, "k.example.", RecordType::TXT, false).unwrap()), [["old"]]);
    for (fault, code) in [
        (Fault::ServFail, ResponseCode::ServFail),
        (Fault::Refused, ResponseCode::Refused),
        (Fault::NxDomain, ResponseCode::NXDomain),
    ] {
        dns.change(|zone| zone.fault("k.example", fault));
        let reply = ask(&dns, "k.example.", RecordType::TXT, true).unwrap();
        assert_eq!((reply.metadata.response_code, reply.answers.len()), (code, 0));
    }
    dns.change(|zone| zone.fault("k.example", Fault::Silent));
    assert!(ask(&dns, "k.example.", RecordType::TXT, false).is_none());
    assert!(ask(&dns, "k.example.", RecordType::TXT, true).is_none());
    dns.change(|zone| {
        zone.without("k.example").txt("k.example", "new").delay("k.example", Duration::from_millis(200))
    });
    let before = Instant::now();
    assert_eq!(texts(&ask(&dns, "k.example.", RecordType::TXT, false).unwrap()), [["new"]]);
    assert!(before.elapsed() >= Duration::from_millis(200));
}

#[test]
fn an_answer_too_long_for_udp_comes_over_tcp() {
    let long = "x".repeat(900);
    let dns = Dns::start(Zone::new().txt("long.example", &long));
    let cut = ask(&dns, "long.example.", RecordType::TXT, false).unwrap();
    assert!(cut.metadata.truncation && cut.answers.is_empty());
    let whole = ask(&dns, "long.example.", RecordType::TXT, true).unwrap();
    assert_eq!(texts(&whole)[0].concat(), long);
    assert_eq!((dns.count("long.example"), dns.tcp_count()), (2, 1));
}
