//! One question to one answer (RFC 1035, RFC 6891). Pure, bounded, and the
//! only reader of what the agent's resolver sends.

use std::net::SocketAddr;

use hickory_proto::op::{Edns, Message, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};

use super::Names;

impl Names {
    /// The answer to a packet; `None` for what gets none: packets too short for
    /// a header, and answers (two responders would talk forever).
    ///
    /// An answer is never longer than 512 bytes, so it is never truncated.
    pub fn respond(&self, packet: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
        respond(self, packet, from)
    }
}

fn respond(names: &Names, packet: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
    let head = Head::read(packet)?;
    if head.opcode != u8::from(OpCode::Query) {
        names.count_malformed();
        return Some(head.answer(ResponseCode::NotImp));
    }
    let malformed = || {
        names.count_malformed();
        head.answer(ResponseCode::FormErr)
    };
    let Ok(message) = Message::from_vec(packet) else { return Some(malformed()) };
    let [query] = message.queries.as_slice() else { return Some(malformed()) };

    let mut answer = answer_to(&message.metadata, query);
    if let Some(edns) = &message.edns {
        answer.edns = Some(our_edns());
        if edns.version() != 0 {
            names.count_malformed();
            answer.metadata.response_code = ResponseCode::BADVERS;
            return Some(encode(answer).unwrap_or_else(|| head.answer(ResponseCode::ServFail)));
        }
    }
    resolve(names, query, from, &mut answer);
    Some(encode(answer).unwrap_or_else(|| head.answer(ResponseCode::ServFail)))
}

/// Fills in addresses, or the refusal.
fn resolve(names: &Names, query: &Query, from: SocketAddr, answer: &mut Message) {
    let refuse = |answer: &mut Message, code| {
        answer.metadata.response_code = code;
        if let Some(edns) = &mut answer.edns {
            edns.options_mut().insert(why_blocked());
        }
        names.count_refused(shown(query), from);
    };
    if query.query_class() != DNSClass::IN {
        return refuse(answer, ResponseCode::Refused);
    }
    let Some(address) = names.address(&query.name().to_ascii()) else {
        return refuse(answer, ResponseCode::NXDomain);
    };
    names.count_answered();
    // Of a name that exists, everything but addresses is an empty answer: no
    // HTTPS record, so no encrypted ClientHello.
    let data = match query.query_type() {
        RecordType::A => RData::A(A(address.v4)),
        RecordType::AAAA => RData::AAAA(AAAA(address.v6)),
        _ => return,
    };
    answer.answers.push(Record::from_rdata(query.name().clone(), TTL, data));
}

/// How long a client may keep an address, in seconds: a target that policy
/// drops is forgotten after it.
const TTL: u32 = 30;
/// What we accept over UDP (DNS flag day 2020).
const PAYLOAD: u16 = 1232;

/// The fixed part of a packet that is needed to answer what cannot be read.
struct Head {
    id: u16,
    opcode: u8,
    recursion_desired: bool,
}

impl Head {
    fn read(packet: &[u8]) -> Option<Self> {
        let [id_high, id_low, flags, ..] = *packet else { return None };
        if packet.len() < 12 || flags & 0x80 != 0 {
            return None;
        }
        Some(Self {
            id: u16::from_be_bytes([id_high, id_low]),
            opcode: (flags >> 3) & 0x0f,
            recursion_desired: flags & 1 != 0,
        })
    }

    /// A bare header with this code.
    fn answer(&self, code: ResponseCode) -> Vec<u8> {
        let [high, low] = self.id.to_be_bytes();
        let flags = 0x80 | (self.opcode << 3) | u8::from(self.recursion_desired);
        vec![high, low, flags, 0x80 | code.low(), 0, 0, 0, 0, 0, 0, 0, 0]
    }
}

fn answer_to(asked: &Metadata, query: &Query) -> Message {
    let mut answer = Message::response(asked.id, asked.op_code);
    answer.metadata = Metadata::response_from_request(asked);
    answer.metadata.recursion_available = true;
    answer.metadata.authoritative = true;
    answer.queries.push(query.clone());
    answer
}

fn our_edns() -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(PAYLOAD);
    edns.set_version(0);
    edns
}

/// Extended error 15, Blocked (RFC 8914 4.16).
fn why_blocked() -> EdnsOption {
    let mut data = vec![0, 15];
    data.extend_from_slice(b"not in the policy of this gateway");
    EdnsOption::Unknown(15, data)
}

/// As reports show it.
fn shown(query: &Query) -> String {
    let mut name = query.name().to_ascii();
    name.truncate(255);
    name
}

fn encode(answer: Message) -> Option<Vec<u8>> {
    answer.to_vec().ok()
}
