//! A name server on loopback that knows the bench's two key records.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::{RData, Record, RecordType};

/// Long enough that every server asks once a run and then has it in its cache, as for a busy sender.
const TTL_SECS: u32 = 3600;

/// Answers TXT queries for the names of `records` over UDP, everything else with NXDOMAIN, until the
/// process ends. Gives the port.
///
/// # Errors
/// When no socket can be opened.
pub fn serve(records: HashMap<String, String>) -> io::Result<u16> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = socket.local_addr()?.port();
    thread::spawn(move || {
        let mut query = [0; 4096];
        while let Ok((length, asker)) = socket.recv_from(&mut query) {
            answer(&socket, &records, &query[..length], asker);
        }
    });
    Ok(port)
}

/// A query that cannot be read, or an asker that is gone, gets no answer, as from any name server.
fn answer(socket: &UdpSocket, records: &HashMap<String, String>, query: &[u8], asker: SocketAddr) {
    let Ok(query) = Message::from_vec(query) else { return };
    let mut response = Message::response(query.metadata.id, query.metadata.op_code);
    response.metadata.recursion_desired = query.metadata.recursion_desired;
    response.metadata.recursion_available = true;
    if let Some(question) = query.queries.first() {
        let name = question.name().to_ascii().to_ascii_lowercase();
        match records.get(name.trim_end_matches('.')) {
            Some(text) if question.query_type() == RecordType::TXT => {
                // A character string of a TXT record holds 255 bytes at most.
                let strings = text.as_bytes().chunks(255).collect();
                let data = RData::TXT(TXT::from_bytes(strings));
                response.add_answer(Record::from_rdata(question.name().clone(), TTL_SECS, data));
            }
            Some(_) => {}
            None => response.metadata.response_code = ResponseCode::NXDomain,
        }
        response.add_query(question.clone());
    }
    if let Ok(bytes) = response.to_vec() {
        socket.send_to(&bytes, asker).ok();
    }
}
