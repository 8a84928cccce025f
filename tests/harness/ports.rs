//! Ports on 127.0.0.1 that nobody else has, neither another test nor another test process.

use std::fmt;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

/// A TCP and UDP port on loopback, taken until this is dropped.
///
/// The numbers lie below the kernel's range for outgoing connections (32768 and up), so that no client takes one
/// in between. The reservation is a UDP socket on an address of its own: the daemon's own `bind` is not disturbed.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _reservation: UdpSocket,
}

impl Port {
    /// Takes a free port.
    #[must_use]
    pub fn new() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        for _ in 0..COUNT {
            let start = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap();
            let number = FIRST + (NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(start)) % COUNT;
            let Ok(reservation) = UdpSocket::bind((RESERVATION, number)) else { continue };
            let tcp = TcpListener::bind((Ipv4Addr::UNSPECIFIED, number));
            let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, number));
            if tcp.is_ok() && udp.is_ok() {
                return Self { number, _reservation: reservation };
            }
        }
        panic!("no free port between {FIRST} and {}", FIRST + COUNT);
    }

    /// The port's number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }
}

impl Default for Port {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number.fmt(f)
    }
}

const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;
/// Where reservations are held; nothing listens on this loopback address.
const RESERVATION: Ipv4Addr = Ipv4Addr::new(127, 77, 77, 77);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ports_are_free_and_given_once() {
        let ports: Vec<Port> = (0..50).map(|_| Port::new()).collect();
        let numbers: HashSet<u16> = ports.iter().map(Port::number).collect();
        assert_eq!(numbers.len(), ports.len());
        for number in numbers {
            TcpListener::bind((Ipv4Addr::LOCALHOST, number)).unwrap();
        }
    }
}
