//! A DNS server on loopback that answers as the test says, over UDP and TCP, and counts what it is asked.

mod answer;
mod zone;

pub use zone::{Fault, Zone};

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use hickory_proto::rr::RecordType;

use crate::ports::Port;
use crate::wait::wait_for;
use answer::{Answer, answer};

/// A running DNS server; it stops when dropped.
#[derive(Debug)]
pub struct Dns {
    port: Port,
    state: Arc<State>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    zone: Mutex<Zone>,
    counts: Mutex<HashMap<(String, RecordType), usize>>,
    tcp_queries: Mutex<usize>,
    stopping: AtomicBool,
}

impl Dns {
    /// Starts a server that answers from `zone` on a free port of 127.0.0.1.
    #[must_use]
    pub fn start(zone: Zone) -> Self {
        let port = Port::new();
        let address = (Ipv4Addr::LOCALHOST, port.number());
        // A program that another thread starts at this moment has a copy of the sockets with which the port was tried,
        // until it becomes that program.
        let udp = wait_for("the port", || UdpSocket::bind(address).ok());
        let tcp = wait_for("the port", || TcpListener::bind(address).ok());
        let state = Arc::new(State { zone: Mutex::new(zone), ..State::default() });
        let for_udp = Arc::clone(&state);
        let for_tcp = Arc::clone(&state);
        let threads = vec![
            std::thread::spawn(move || serve_udp(&udp, &for_udp)),
            std::thread::spawn(move || serve_tcp(&tcp, &for_tcp)),
        ];
        Self { port, state, threads }
    }

    /// The port, for UDP and TCP.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Address and port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port()).into()
    }

    /// Replaces the zone by what `change` makes of it; the next question is answered from the new one.
    pub fn change(&self, change: impl FnOnce(Zone) -> Zone) {
        let mut zone = self.state.zone.lock().unwrap();
        *zone = change(std::mem::take(&mut *zone));
    }

    /// A copy of the zone as it is now.
    #[must_use]
    pub fn zone(&self) -> Zone {
        self.state.zone.lock().unwrap().clone()
    }

    /// How often a name was asked for, in any type, over UDP and TCP together.
    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        let counts = self.state.counts.lock().unwrap();
        counts.iter().filter(|((asked, _), _)| asked.eq_ignore_ascii_case(name)).map(|(_, count)| count).sum()
    }

    /// How many questions came over TCP.
    #[must_use]
    pub fn tcp_count(&self) -> usize {
        *self.state.tcp_queries.lock().unwrap()
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.state.stopping.store(true, Ordering::SeqCst);
        // Wake both threads from their waiting.
        if let Ok(waker) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) {
            let _ = waker.send_to(b"", self.address());
        }
        let _ = TcpStream::connect(self.address());
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl State {
    /// Counts a question and says what to answer and when.
    fn answer(&self, question: &[u8], over_tcp: bool) -> Option<Answer> {
        let answer = answer(&self.zone.lock().unwrap(), question, over_tcp)?;
        *self.counts.lock().unwrap().entry(answer.asked.clone()).or_default() += 1;
        if over_tcp {
            *self.tcp_queries.lock().unwrap() += 1;
        }
        Some(answer)
    }

    fn stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }
}

fn serve_udp(socket: &UdpSocket, state: &Arc<State>) {
    let mut buffer = [0; 4096];
    loop {
        let received = socket.recv_from(&mut buffer);
        if state.stopping() {
            return;
        }
        let Ok((length, client)) = received else { continue };
        let Some(Answer { bytes: Some(bytes), delay, .. }) = state.answer(&buffer[..length], false) else {
            continue;
        };
        if delay.is_zero() {
            let _ = socket.send_to(&bytes, client);
        } else {
            let socket = socket.try_clone().unwrap();
            std::thread::spawn(move || {
                std::thread::sleep(delay);
                let _ = socket.send_to(&bytes, client);
            });
        }
    }
}

fn serve_tcp(listener: &TcpListener, state: &Arc<State>) {
    for stream in listener.incoming() {
        if state.stopping() {
            return;
        }
        let Ok(stream) = stream else { continue };
        let state = Arc::clone(state);
        std::thread::spawn(move || {
            // The client's end of the connection ends this, an error is no news.
            let _ = serve_connection(stream, &state);
        });
    }
}

fn serve_connection(mut stream: TcpStream, state: &State) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut question)?;
        let Some(Answer { bytes: Some(bytes), delay, .. }) = state.answer(&question, true) else { continue };
        std::thread::sleep(delay);
        let mut reply = u16::try_from(bytes.len()).unwrap_or(0).to_be_bytes().to_vec();
        reply.extend(bytes);
        stream.write_all(&reply)?;
    }
}

#[cfg(test)]
mod tests;
