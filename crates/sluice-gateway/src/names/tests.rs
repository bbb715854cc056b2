use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use jiff::Timestamp;
use sluice_core::ManualClock;
use sluice_policy::TargetKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

struct Bench {
    names: Arc<Names>,
    clock: Arc<ManualClock>,
    refused: Arc<Mutex<Vec<RefusedName>>>,
}

impl Bench {
    fn new(targets: &[&str], egress: &[&str]) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
        let refused = Arc::new(Mutex::new(Vec::new()));
        let heard = refused.clone();
        let names = Arc::new(Names::new(clock.clone(), Arc::new(move |name| heard.lock().unwrap().push(name))));
        let bench = Self { names, clock, refused };
        bench.update(targets, egress);
        bench
    }

    fn update(&self, targets: &[&str], egress: &[&str]) {
        let targets: Vec<Target> = targets.iter().map(|host| target(host)).collect();
        let egress: Vec<EgressHost> =
            egress.iter().map(|host| EgressHost { host: (*host).to_owned(), ports: vec![443] }).collect();
        self.names.update(&targets, &egress);
    }

    fn ask(&self, name: &str, kind: RecordType) -> Message {
        self.send(&question(name, kind)).expect("an answer")
    }

    fn send(&self, message: &Message) -> Option<Message> {
        self.raw(&message.to_vec().unwrap())
    }

    fn raw(&self, packet: &[u8]) -> Option<Message> {
        let answer = self.names.respond(packet, "127.0.0.1:5353".parse().unwrap())?;
        assert!(answer.len() <= 512, "{}", answer.len());
        Some(Message::from_vec(&answer).expect("a sound answer"))
    }

    fn v4(&self, name: &str) -> Option<IpAddr> {
        self.names.address(name).map(|address| address.v4.into())
    }
}

fn target(host: &str) -> Target {
    Target {
        name: host.to_owned(),
        host: host.to_owned(),
        ports: vec![443],
        kind: TargetKind::Kubernetes,
        audiences: vec!["a".to_owned()],
        ca_bundle: None,
        providers: Vec::new(),
    }
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.queries.push(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn code(message: &Message) -> ResponseCode {
    message.metadata.response_code
}

fn addresses(message: &Message) -> Vec<IpAddr> {
    let address = |data: &RData| match data {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
        _ => None,
    };
    message.answers.iter().filter_map(|record| address(&record.data)).collect()
}

#[test]
fn a_name_of_policy_has_one_address_of_each_family() {
    let bench = Bench::new(&["api.example", "b.example"], &["pypi.example"]);
    for (name, v4, v6) in [
        ("api.example.", "198.18.0.1", "fd5f:736c:7569:6365::1"),
        ("b.example.", "198.18.0.2", "fd5f:736c:7569:6365::2"),
        ("pypi.example.", "198.18.0.3", "fd5f:736c:7569:6365::3"),
    ] {
        let answer = bench.ask(name, RecordType::A);
        assert_eq!((code(&answer), addresses(&answer)), (ResponseCode::NoError, vec![v4.parse().unwrap()]));
        assert_eq!(answer.metadata.id, 0x1234);
        assert!(answer.metadata.recursion_available && answer.metadata.recursion_desired);
        assert_eq!(addresses(&bench.ask(name, RecordType::AAAA)), [v6.parse::<IpAddr>().unwrap()]);
        let host = name.trim_end_matches('.');
        assert_eq!(bench.names.host(v4.parse().unwrap()).as_deref(), Some(host));
        assert_eq!(bench.names.host(v6.parse().unwrap()).as_deref(), Some(host));
        assert_eq!(bench.names.host(format!("::ffff:{v4}").parse().unwrap()).as_deref(), Some(host));
        assert!(is_synthetic(v4.parse().unwrap()) && is_synthetic(v6.parse().unwrap()));
    }
    assert_eq!(bench.names.counts(), Counts { answered: 6, refused: 0, malformed: 0 });
}

#[test]
fn a_question_in_any_case_is_answered_as_it_was_asked() {
    let bench = Bench::new(&["api.example"], &[]);
    let answer = bench.ask("aPi.ExAmPlE.", RecordType::A);
    assert_eq!(addresses(&answer), ["198.18.0.1".parse::<IpAddr>().unwrap()]);
    assert_eq!(answer.queries[0].name().to_ascii(), "aPi.ExAmPlE.");
    assert_eq!(answer.answers[0].name.to_ascii(), "aPi.ExAmPlE.");
}

#[test]
fn everything_but_addresses_is_empty() {
    let bench = Bench::new(&["api.example"], &["*.pypi.example"]);
    for kind in
        [RecordType::TXT, RecordType::HTTPS, RecordType::SVCB, RecordType::MX, RecordType::ANY, RecordType::CNAME]
    {
        for name in ["api.example.", "files.pypi.example."] {
            let answer = bench.ask(name, kind);
            assert_eq!((code(&answer), answer.answers.len()), (ResponseCode::NoError, 0), "{name} {kind}");
        }
    }
    assert!(bench.refused.lock().unwrap().is_empty());
}

#[test]
fn a_refused_peer_is_shown_as_what_it_is() {
    let bench = Bench::new(&["api.example"], &[]);
    let packet = question("other.example.", RecordType::A).to_vec().unwrap();
    bench.names.respond(&packet, "[::ffff:127.0.0.1]:5353".parse().unwrap()).unwrap();
    assert_eq!(bench.refused.lock().unwrap()[0].from.to_string(), "127.0.0.1:5353");
}

#[test]
fn a_name_that_policy_does_not_have_does_not_exist() {
    let bench = Bench::new(&["api.example"], &["*.pypi.example"]);
    let names = [
        "example.",
        "x.api.example.",
        "api.example.evil.",
        "pypi.example.",
        "xpypi.example.",
        "localhost.",
        ".",
        "api.example.default.svc.cluster.local.",
        "1.0.18.198.in-addr.arpa.",
    ];
    for name in names {
        for kind in [RecordType::A, RecordType::TXT] {
            let answer = bench.ask(name, kind);
            assert_eq!((code(&answer), answer.answers.len()), (ResponseCode::NXDomain, 0), "{name}");
        }
    }
    let heard = bench.refused.lock().unwrap();
    assert_eq!(heard[0].name, "example.");
    assert_eq!(heard[0].from.to_string(), "127.0.0.1:5353");
    assert_eq!(bench.names.counts().refused, 2 * names.len() as u64);
    drop(heard);

    // Bytes that no host name has, below a wildcard.
    let mut odd = question("example.", RecordType::A);
    let labels = [b"a b\0".as_slice(), b"pypi", b"example"];
    odd.queries[0].set_name(Name::from_labels(labels).unwrap());
    assert_eq!(code(&bench.send(&odd).unwrap()), ResponseCode::NXDomain);
}

#[test]
fn names_below_a_wildcard_get_addresses_when_they_are_asked_for() {
    let bench = Bench::new(&["api.example"], &["*.pypi.example"]);
    assert_eq!(bench.v4("b.pypi.example"), Some("198.18.0.2".parse().unwrap()));
    assert_eq!(bench.v4("a.b.pypi.example"), Some("198.18.0.3".parse().unwrap()));
    assert_eq!(bench.v4("B.PYPI.example."), Some("198.18.0.2".parse().unwrap()));
    assert_eq!(bench.names.host("198.18.0.3".parse().unwrap()).as_deref(), Some("a.b.pypi.example"));
    assert_eq!(bench.names.host("198.18.0.4".parse().unwrap()), None);
}

#[test]
fn an_address_belongs_to_one_name_for_good() {
    let bench = Bench::new(&["a.example", "b.example"], &[]);
    let b: IpAddr = "198.18.0.2".parse().unwrap();
    bench.update(&["c.example", "a.example"], &[]);
    assert_eq!(bench.names.host(b), None);
    assert_eq!(code(&bench.ask("b.example.", RecordType::A)), ResponseCode::NXDomain);
    assert_eq!(bench.v4("a.example"), Some("198.18.0.1".parse().unwrap()));
    assert_eq!(bench.v4("c.example"), Some("198.18.0.3".parse().unwrap()));
    bench.update(&[], &["*.example"]);
    assert_eq!(bench.v4("b.example"), Some(b));
    assert_eq!(bench.names.host(b).as_deref(), Some("b.example"));
}

#[test]
fn foreign_addresses_stand_for_nothing() {
    let bench = Bench::new(&["a.example"], &[]);
    for address in [
        "198.18.0.0",
        "198.18.0.2",
        "198.19.255.255",
        "198.20.0.1",
        "10.0.0.1",
        "0.0.0.1",
        "::1",
        "fd5f:736c:7569:6365::",
        "fd5f:736c:7569:6365::2",
        "fd5f:736c:7569:6365:1::1",
        "fd5f:736c:7569:6366::1",
    ] {
        assert_eq!(bench.names.host(address.parse().unwrap()), None, "{address}");
    }
    assert!(!is_synthetic("198.20.0.1".parse().unwrap()) && !is_synthetic("fd00::1".parse().unwrap()));
}

#[test]
fn invented_names_cannot_use_all_addresses_up() {
    let bench = Bench::new(&["a.example"], &["*.wild.example"]);
    let given = (0..20_000).filter(|number| bench.v4(&format!("n{number}.wild.example")).is_some()).count();
    assert_eq!(given, pool::MAX_WILDCARD_NAMES - 1);
    assert_eq!(code(&bench.ask("one-more.wild.example.", RecordType::A)), ResponseCode::NXDomain);
    bench.update(&["a.example", "new.example"], &["*.wild.example"]);
    assert!(bench.v4("new.example").is_some());
    let last = synthetic(65_536);
    assert_eq!((index(last.v4.into()), index(last.v6.into())), (Some(65_536), Some(65_536)));
}

#[test]
fn what_cannot_be_read_is_a_format_error_or_nothing() {
    let bench = Bench::new(&["api.example"], &[]);
    let good = question("api.example.", RecordType::A).to_vec().unwrap();

    // No header, or an answer: nothing.
    for length in 0..12 {
        assert_eq!(bench.raw(&good[..length]), None);
    }
    let mut answer = question("api.example.", RecordType::A);
    answer.metadata.message_type = MessageType::Response;
    assert_eq!(bench.send(&answer), None);

    let format_error = |packet: &[u8], what: &str| {
        let answer = bench.raw(packet).unwrap_or_else(|| panic!("{what}: no answer"));
        assert_eq!(
            (code(&answer), answer.metadata.id, answer.queries.len()),
            (ResponseCode::FormErr, 0x1234, 0),
            "{what}"
        );
    };
    for length in 12..good.len() {
        format_error(&good[..length], "cut off");
    }
    let with = |at: usize, byte: u8| {
        let mut packet = good.clone();
        packet[at] = byte;
        packet
    };
    format_error(&with(5, 0), "no question");
    format_error(&with(5, 2), "two questions, one there");
    format_error(&with(12, 64), "a label of 64 bytes");
    format_error(&with(12, 0xc0), "a name that points at itself");
    let mut two = question("api.example.", RecordType::A);
    two.queries.push(Query::query(Name::from_ascii("b.example.").unwrap(), RecordType::A));
    format_error(&two.to_vec().unwrap(), "two questions");
    assert!(bench.names.counts().malformed > 0);
    assert_eq!(bench.names.counts().answered, 0);
}

#[test]
fn only_questions_of_the_internet_are_understood() {
    let bench = Bench::new(&["api.example"], &[]);
    for operation in [OpCode::Status, OpCode::Notify, OpCode::Update] {
        let mut message = question("api.example.", RecordType::A);
        message.metadata.op_code = operation;
        let answer = bench.send(&message).unwrap();
        assert_eq!((code(&answer), answer.answers.len()), (ResponseCode::NotImp, 0));
    }
    let mut chaos = question("version.bind.", RecordType::TXT);
    chaos.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(code(&bench.send(&chaos).unwrap()), ResponseCode::Refused);
}

#[test]
fn extensions_are_answered_with_extensions() {
    let bench = Bench::new(&["api.example"], &[]);
    let extended = |name: &str, version: u8| {
        let mut message = question(name, RecordType::A);
        let mut edns = Edns::new();
        edns.set_max_payload(4096).set_version(version).set_dnssec_ok(true);
        message.edns = Some(edns);
        bench.send(&message).unwrap()
    };
    let answer = extended("api.example.", 0);
    assert_eq!(addresses(&answer).len(), 1);
    assert_eq!(answer.edns.as_ref().unwrap().max_payload(), 1232);
    let refused = extended("other.example.", 0);
    assert_eq!(code(&refused), ResponseCode::NXDomain);
    assert!(refused.edns.unwrap().option(15.into()).is_some());
    // Code 16 is BADVERS in an extended answer (RFC 6891 9).
    assert_eq!(u16::from(code(&extended("api.example.", 1))), 16);
    assert_eq!(bench.ask("other.example.", RecordType::A).edns, None);
}

#[test]
fn the_longest_name_still_fits() {
    let label = "a".repeat(63);
    let name = format!("{label}.{label}.{label}.{}.", "a".repeat(61));
    let bench = Bench::new(&[], &["*.aaaa"]);
    let mut message = question(&name, RecordType::AAAA);
    message.edns = Some(Edns::new());
    assert_eq!(code(&bench.send(&message).unwrap()), ResponseCode::NXDomain);
}

#[test]
fn reports_are_bounded_and_say_what_they_leave_out() {
    let bench = Bench::new(&[], &[]);
    let flood = |times: u32| {
        for _ in 0..times {
            bench.ask("tunnel.example.", RecordType::TXT);
        }
    };
    flood(100);
    assert_eq!(bench.refused.lock().unwrap().len(), REPORTS as usize);
    bench.clock.advance(REPORT_EVERY);
    flood(10);
    let heard = bench.refused.lock().unwrap().clone();
    assert_eq!(heard.len(), REPORTS as usize + 1);
    assert_eq!(heard.last().unwrap().unreported, u64::from(100 - REPORTS));
    assert_eq!(bench.names.counts().refused, 110);

    // Nobody asks again: what was left out is heard of when there is room.
    bench.names.report_late();
    assert_eq!(bench.refused.lock().unwrap().len(), REPORTS as usize + 1);
    bench.clock.advance(REPORT_EVERY);
    bench.names.report_late();
    bench.clock.advance(REPORT_EVERY);
    bench.names.report_late();
    let heard = bench.refused.lock().unwrap().clone();
    assert_eq!(heard.len(), REPORTS as usize + 2);
    assert_eq!(heard.last().unwrap().unreported, 8, "nine were left out, this one is the last of them");
}

#[tokio::test]
async fn both_sockets_answer() {
    let bench = Bench::new(&["api.example"], &[]);
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (udp_at, tcp_at) = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
    let serving = tokio::spawn(bench.names.clone().serve(udp, tcp));
    let packet = question("api.example.", RecordType::A).to_vec().unwrap();
    let expected = bench.names.respond(&packet, udp_at).unwrap();

    let client = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(udp_at).await.unwrap();
    // What gets no answer comes first: the answer that arrives is the second's.
    client.send(b"short").await.unwrap();
    client.send(&packet).await.unwrap();
    let mut buffer = [0; 512];
    let length = within(client.recv(&mut buffer)).await.unwrap();
    assert_eq!(buffer[..length], expected);

    let mut client = within(tokio::net::TcpStream::connect(tcp_at)).await.unwrap();
    let framed = [&u16::try_from(packet.len()).unwrap().to_be_bytes(), packet.as_slice()].concat();
    // Two at once, then one in pieces.
    client.write_all(&[framed.clone(), framed.clone()].concat()).await.unwrap();
    for piece in framed.chunks(3) {
        client.write_all(piece).await.unwrap();
        client.flush().await.unwrap();
    }
    for _ in 0..3 {
        let length = within(client.read_u16()).await.unwrap();
        let mut answer = vec![0; length.into()];
        within(client.read_exact(&mut answer)).await.unwrap();
        assert_eq!(answer, expected);
    }
    // Too long, or no question: closed.
    for length in [4097_u16, 0] {
        let mut client = within(tokio::net::TcpStream::connect(tcp_at)).await.unwrap();
        client.write_u16(length).await.unwrap();
        assert_eq!(within(client.read(&mut [0; 1])).await.unwrap_or(0), 0);
    }
    serving.abort();
}

async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("within a minute")
}

proptest::proptest! {
    #[test]
    fn no_packet_breaks_the_responder(packet in proptest::collection::vec(proptest::num::u8::ANY, 0..600)) {
        let bench = Bench::new(&["api.example"], &["*.pypi.example"]);
        bench.raw(&packet);
    }

    #[test]
    fn no_altered_question_breaks_the_responder(
        at in 2_usize..40, byte in proptest::num::u8::ANY, cut in 0_usize..50,
    ) {
        let bench = Bench::new(&["api.example"], &["*.pypi.example"]);
        let mut packet = question("files.pypi.example.", RecordType::A).to_vec().unwrap();
        let length = packet.len();
        if let Some(place) = packet.get_mut(at) { *place = byte; }
        bench.raw(&packet[..length.min(cut)]);
        bench.raw(&packet);
    }
}
