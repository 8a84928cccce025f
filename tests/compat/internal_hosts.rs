//! InternalHosts, ExternalIgnoreList and PeerList: which clients they mean.

use crate::case::Setup;

const SIGNED: &str = "sign a.example/s";

#[test]
fn without_the_parameter() {
    let mut pair = Setup::signing("").start();
    pair.case("loopback is internal by default").want(SIGNED);
    pair.case("IPv6 loopback is, too").client("localhost", "::1").want(SIGNED);
    pair.case("a message that came without an address counts as local").no_address().want(SIGNED);
    pair.case("nobody else is").client("mx.c.example", "192.0.2.9").untouched();
    pair.case("the name localhost does not help").client("localhost", "192.0.2.9").untouched();
}

#[test]
fn setting_it_replaces_the_default() {
    let mut pair = Setup::signing("InternalHosts 192.0.2.9, mail.int.example").start();
    pair.case("the default is gone").untouched();
    pair.case("an address").client("unknown", "192.0.2.9").want(SIGNED);
    pair.case("its neighbour").client("unknown", "192.0.2.8").untouched();
    pair.case("a host name means that host").client("mail.int.example", "198.51.100.1").want(SIGNED);
    pair.case("the case of a host name").client("MAIL.int.Example", "198.51.100.1").want(SIGNED);
    pair.case("nothing below a host name").client("a.mail.int.example", "198.51.100.1").untouched();
}

#[test]
fn networks() {
    let hosts = "192.0.2.0/24\n!192.0.2.7\n198.51.0.0/16\n!198.51.100.0/24\n198.51.100.9\n2001:db8::/32\n";
    let mut pair = Setup::signing("InternalHosts {dir}/hosts").file("hosts", hosts).start();
    pair.case("a network").client("unknown", "192.0.2.200").want(SIGNED);
    pair.case("an address that is excluded").client("unknown", "192.0.2.7").untouched();
    pair.case("a wider network").client("unknown", "198.51.1.1").want(SIGNED);
    pair.case("a network excluded from it").client("unknown", "198.51.100.1").untouched();
    pair.case("an address included again: the more precise entry wins")
        .client("unknown", "198.51.100.9")
        .want(SIGNED);
    pair.case("outside").client("unknown", "203.0.113.1").untouched();
    pair.case("an IPv6 network").client("unknown", "2001:db8:1:2::3").want(SIGNED);
    pair.case("another IPv6 network").client("unknown", "2001:db9::1").untouched();
}

#[test]
fn domains_and_odd_entries() {
    let hosts = ".int.example\n!bad.int.example\n192.168.0.1/24\n 10.7.7.7\n::ffff:203.0.113.0/120\n2001:DB8:0:0:0:0:0:9\n";
    let mut pair = Setup::signing("InternalHosts {dir}/hosts").file("hosts", hosts).start();
    pair.case("a host below a domain").client("a.int.example", "198.51.100.1").want(SIGNED);
    pair.case("far below it").client("a.b.INT.example", "198.51.100.1").want(SIGNED);
    pair.case("not the domain itself").client("int.example", "198.51.100.1").untouched();
    pair.case("an excluded host of it").client("bad.int.example", "198.51.100.1").untouched();
    pair.case("leading blanks in a flat file do not matter").client("unknown", "10.7.7.7").want(SIGNED);
    pair.case("a network written with host bits")
        .client("unknown", "192.168.0.9")
        .differs("D11", "nothing", SIGNED);
    pair.case("IPv6 in another spelling").client("unknown", "2001:db8::9").differs("D11", "nothing", SIGNED);
}

#[test]
fn ipv4_inside_ipv6() {
    let mut pair = Setup::signing("InternalHosts 192.168.0.0/16").start();
    pair.case("an IPv4 client").client("unknown", "192.168.5.5").want(SIGNED);
    pair.case("the same client as the MTA's IPv6 socket sees it")
        .client("unknown", "::ffff:192.168.5.5")
        .differs("D12", "nothing", SIGNED);
}

#[test]
fn everybody() {
    let mut pair = Setup::signing("InternalHosts 0.0.0.0/0, ::/0").start();
    pair.case("any IPv4 client").client("unknown", "203.0.113.77").want(SIGNED);
    pair.case("any IPv6 client").client("unknown", "2001:db8::77").want(SIGNED);
}

#[test]
fn patterns() {
    let hosts = "10.9.*\n127.0.0.1\nmail-?.c.example\n 10.7.7.7\n";
    let mut pair = Setup::signing("InternalHosts refile:{dir}/hosts").file("hosts", hosts).start();
    pair.case("a pattern on the text of the address").client("unknown", "10.9.3.4").want(SIGNED);
    pair.case("no text of that form").client("unknown", "10.10.9.4").untouched();
    pair.case("a plain address in a refile").want(SIGNED);
    pair.case("a line with leading blanks is no entry of a refile").client("unknown", "10.7.7.7").untouched();
}

#[test]
fn an_external_ignore_list_changes_the_log_only() {
    let mut pair = Setup::signing("ExternalIgnoreList 192.0.2.0/24").start();
    pair.case("it does not make a client internal").client("unknown", "192.0.2.9").untouched();
    pair.case("nor anybody else").client("far.c.example", "203.0.113.9").untouched();
    pair.both_log("external host far.c.example");
    for subject in crate::case::subjects() {
        let log = pair.milter(subject).unwrap().log();
        assert!(!log.contains("external host [192.0.2.9]"), "{subject:?}: {log}");
    }
}

#[test]
fn peers_are_let_through_at_once() {
    let mut pair = Setup::signing("PeerList 192.0.2.0/24, .peer.example\nAlwaysAddARHeader yes").start();
    pair.case("a peer's address").client("unknown", "192.0.2.9").want("accept @C");
    pair.case("a peer's domain").client("mx.peer.example", "203.0.113.9").want("accept @C");
    pair.case("an internal host is no peer").want(SIGNED);
    pair.case("a stranger is none").client("unknown", "203.0.113.9").want("AR mx.test.example: none");
}

#[test]
fn a_pattern_that_begins_with_a_star() {
    // Tutorials have such lines: they match a host's form with ! as well, and so never make a host internal.
    let hosts = "*.int.example\n10.1.1.1\n*.168.3.4\n";
    let mut pair = Setup::signing("InternalHosts refile:{dir}/hosts").file("hosts", hosts).start();
    pair.case("a host below").client("a.int.example", "10.2.2.2").untouched();
    pair.case("far below").client("a.b.int.example", "10.2.2.2").untouched();
    pair.case("the domain itself").client("int.example", "10.2.2.2").untouched();
    pair.case("a host below whose address is listed").client("a.int.example", "10.1.1.1").want(SIGNED);
    pair.case("an address that is listed").client("b.example", "10.1.1.1").want(SIGNED);
    pair.case("the text of an address").client("unknown", "192.168.3.4").untouched();
}

#[test]
fn names_and_addresses_are_looked_up_apart() {
    let hosts = "10.0.0.0/8\n!bad.example\n!10.9.9.9\ngood.example\n.int.example\n!.ext.int.example\n";
    for conf in ["InternalHosts {dir}/hosts", "InternalHosts refile:{dir}/hosts"] {
        let mut pair = Setup::signing(conf).file("hosts", hosts).start();
        pair.case("an excluded name").client("bad.example", "192.0.2.9").untouched();
        pair.case("an excluded name whose address is listed").client("bad.example", "10.1.1.1").want(SIGNED);
        pair.case("an excluded address whose name is listed").client("good.example", "10.9.9.9").want(SIGNED);
        pair.case("both excluded").client("bad.example", "10.9.9.9").untouched();
        pair.case("an excluded parent domain").client("a.ext.int.example", "192.0.2.9").untouched();
        pair.case("an excluded parent domain, the address is listed")
            .client("a.ext.int.example", "10.1.1.1")
            .want(SIGNED);
    }
}

#[test]
fn peers_by_name_and_address() {
    let mut pair = Setup::signing("PeerList 10.0.0.0/8, !bad.example, !10.9.9.9, good.example").start();
    pair.case("an excluded name whose address is listed").client("bad.example", "10.1.1.1").want("accept @C");
    pair.case("an excluded address whose name is listed")
        .client("good.example", "10.9.9.9")
        .want("accept @C");
    pair.case("both excluded").client("bad.example", "10.9.9.9").untouched();
}
