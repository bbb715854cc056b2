//! Packets to the resolver: an answer is short, is an answer, and holds no
//! address but those of the names in policy.
#![no_main]

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::RData;
use libfuzzer_sys::fuzz_target;
use sluice_core::SystemClock;
use sluice_gateway::names::Names;
use sluice_policy::EgressHost;

static NAMES: LazyLock<Names> = LazyLock::new(|| {
    let names = Names::new(Arc::new(SystemClock::new()), Arc::new(|_| {}));
    let host = |host: &str| EgressHost { host: host.to_owned(), ports: vec![443] };
    names.update(&[], &[host("api.example"), host("*.w")]);
    names
});

fuzz_target!(|packet: &[u8]| {
    let from = (IpAddr::from([127, 0, 0, 1]), 53).into();
    let Some(answer) = NAMES.respond(packet, from) else { return };
    assert!(answer.len() <= 512);
    assert_eq!(answer.get(..2), packet.get(..2));
    let message = Message::from_vec(&answer).expect("a sound answer");
    assert_eq!(message.metadata.message_type, MessageType::Response);
    for record in &message.answers {
        let address = match &record.data {
            RData::A(a) => IpAddr::V4(a.0),
            RData::AAAA(aaaa) => IpAddr::V6(aaaa.0),
            other => panic!("{other:?}"),
        };
        let host = NAMES.host(address).expect("a name of policy");
        assert_eq!(record.name.to_ascii().to_ascii_lowercase().trim_end_matches('.'), &*host);
    }
});
