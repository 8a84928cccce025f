//! One DNS question to its answer: no sockets here.

use std::time::Duration;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::zone::{Fault, NEGATIVE_TTL_SECS, Zone, soa};

/// What to send, and after how long.
pub(super) struct Answer {
    /// Name (without the last dot, in lower case) and type of the question.
    pub(super) asked: (String, RecordType),
    /// The reply's bytes; nothing for a server that is silent.
    pub(super) bytes: Option<Vec<u8>>,
    pub(super) delay: Duration,
}

/// Answers one question; None if it is not a DNS question at all.
pub(super) fn answer(zone: &Zone, question: &[u8], over_tcp: bool) -> Option<Answer> {
    let request = Message::from_vec(question).ok()?;
    let query = request.queries.first()?.clone();
    let name = query.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
    let entry = zone.find(&name);
    let delay = entry.map_or(Duration::ZERO, |entry| entry.delay);
    let asked = (name.clone(), query.query_type());

    let mut response = Message::response(request.metadata.id, request.metadata.op_code);
    response.metadata.message_type = MessageType::Response;
    response.metadata.recursion_desired = request.metadata.recursion_desired;
    response.metadata.recursion_available = true;
    response.metadata.authoritative = true;
    response.add_query(query.clone());
    let limit = request.edns.as_ref().map_or(512, |edns| usize::from(edns.max_payload().max(512)));
    if let Some(edns) = request.edns {
        response.set_edns(edns);
    }
    match entry.and_then(|entry| entry.fault) {
        Some(Fault::Silent) => return Some(Answer { asked, bytes: None, delay }),
        Some(Fault::ServFail) => response.metadata.response_code = ResponseCode::ServFail,
        Some(Fault::Refused) => response.metadata.response_code = ResponseCode::Refused,
        Some(Fault::NxDomain) => negative(&mut response, query.name(), ResponseCode::NXDomain),
        None => fill(zone, &mut response, query.name().clone(), query.query_type()),
    }
    let mut bytes = response.to_vec().ok()?;
    if !over_tcp && bytes.len() > limit {
        bytes = response.truncate().to_vec().ok()?;
    }
    Some(Answer { asked, bytes: Some(bytes), delay })
}

/// Puts the records for a name into the answer, following CNAMEs.
fn fill(zone: &Zone, response: &mut Message, mut name: Name, wanted: RecordType) {
    for _ in 0..MAX_CNAMES {
        let text = name.to_ascii();
        let Some(entry) = zone.find(&text) else {
            let code = if zone.has_below(&text) { ResponseCode::NoError } else { ResponseCode::NXDomain };
            return negative(response, &name, code);
        };
        let records = entry.of_type(wanted);
        if records.is_empty() {
            return negative(response, &name, ResponseCode::NoError);
        }
        let mut next = None;
        for data in records {
            if let (RData::CNAME(target), true) = (data, wanted != RecordType::CNAME) {
                next = Some(target.0.clone());
            }
            response.add_answer(Record::from_rdata(name.clone(), entry.ttl_secs, data.clone()));
        }
        match next {
            Some(target) => name = target,
            None => return,
        }
    }
}

fn negative(response: &mut Message, name: &Name, code: ResponseCode) {
    response.metadata.response_code = code;
    response.add_authority(Record::from_rdata(name.base_name(), NEGATIVE_TTL_SECS, soa()));
}

/// Longer chains are a loop.
const MAX_CNAMES: usize = 12;
