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
    pair.case("an address included again: the more precise entry wins").client("unknown", "198.51.100.9").want(SIGNED);
    pair.case("outside").client("unknown", "203.0.113.1").untouched();
    pair.case("an IPv6 network").client("unknown", "2001:db8:1:2::3").want(SIGNED);
    pair.case("another IPv6 network").client("unknown", "2001:db9::1").untouched();
}
