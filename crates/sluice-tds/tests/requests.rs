//! Properties of [`sluice_tds::Requests`] and of what it hands out.

mod support;

use proptest::collection::vec;
use proptest::prelude::*;
use sluice_tds::{
    Deframer, FedAuthMessage, Limits, Login7, Negotiated, PacketKind, Piece, PreLogin, PreLoginOption, Request,
    Requests, SqlBatch, Status, Token, TransactionRequest, WireError,
};
use support::any;
use support::{packets, payload, pieces, read_requests};

fn fed_auth() -> impl Strategy<Value = FedAuthMessage> {
    (any::secret(), proptest::option::of(any::<[u8; 32]>())).prop_map(|(token, nonce)| FedAuthMessage { token, nonce })
}

fn pre_login() -> impl Strategy<Value = PreLogin> {
    (any::<([u8; 6], u8, u8, [u8; 32])>(), any::data(), 8..=254_u8).prop_map(
        |((version, encryption, mars, nonce), data, other)| {
            let mut options = PreLogin::default();
            options.set(PreLoginOption::VERSION, version.to_vec());
            options.set(PreLoginOption::ENCRYPTION, vec![encryption]);
            options.set(PreLoginOption::INSTANCE, data.clone());
            options.set(PreLoginOption::THREAD_ID, Vec::new());
            options.set(PreLoginOption::MARS, vec![mars]);
            options.set(PreLoginOption::NONCE, nonce.to_vec());
            options.set(PreLoginOption(other), data);
            options
        },
    )
}

fn bulk(negotiated: Negotiated) -> impl Strategy<Value = Vec<u8>> {
    (any::rows(negotiated.column_encryption.is_some()), any::<bool>()).prop_map(move |(mut rows, short)| {
        rows.compressed = false;
        let mut out = Vec::new();
        let columns = Token::ColMetadata(std::sync::Arc::new(rows.columns.clone()));
        columns.write(&negotiated, &mut out).expect("fits");
        rows.write_rows(&mut out);
        out.push(0xFD);
        out.extend(vec![0; if short { 8 } else { 12 }]);
        out
    })
}

/// A message: its type and its payload.
fn message(negotiated: Negotiated) -> impl Strategy<Value = (PacketKind, Vec<u8>)> {
    fn written<T>(write: impl Fn(&T, &mut Vec<u8>)) -> impl Fn(T) -> Vec<u8> {
        move |message| {
            let mut out = Vec::new();
            write(&message, &mut out);
            out
        }
    }
    let batch = any::batch(negotiated)
        .prop_map(written(move |batch: &SqlBatch, out| batch.write(&negotiated, out).expect("fits")));
    let transaction = any::transaction().prop_map(written(|t: &TransactionRequest, out| t.write(out).expect("fits")));
    let fed_auth = fed_auth().prop_map(written(|message: &FedAuthMessage, out| message.write(out).expect("fits")));
    let login = any::login().prop_map(written(|login: &Login7, out| login.write(out).expect("fits")));
    prop_oneof![
        1 => batch.prop_map(|payload| (PacketKind::SqlBatch, payload)),
        3 => any::rpc(negotiated).prop_map(|rpc| (PacketKind::Rpc, rpc.wire)),
        2 => bulk(negotiated).prop_map(|payload| (PacketKind::BulkLoad, payload)),
        1 => transaction.prop_map(|payload| (PacketKind::TransactionManager, payload)),
        1 => fed_auth.prop_map(|payload| (PacketKind::FedAuth, payload)),
        1 => login.prop_map(|payload| (PacketKind::Login7, payload)),
        1 => any::data().prop_map(|payload| (PacketKind::Sspi, payload)),
        1 => Just((PacketKind::Attention, Vec::new())),
    ]
}

fn messages() -> impl Strategy<Value = (Negotiated, Vec<(PacketKind, Vec<u8>)>)> {
    any::negotiated().prop_flat_map(|negotiated| (Just(negotiated), vec(message(negotiated), 1..4)))
}

/// The events of an RPC, as [`any::Written`] names them.
fn read_calls(negotiated: Negotiated, payload: &[u8]) -> Vec<String> {
    let (mut deframer, mut requests) = (Deframer::default(), Requests::new(Limits::default()));
    requests.set_negotiated(negotiated);
    let wire = packets(PacketKind::Rpc, Status::default(), payload);
    let (mut input, mut events, mut large) = (wire.as_slice(), Vec::new(), Vec::new());
    while let Some(frame) = deframer.read(&mut input).expect("sound") {
        requests.feed(&frame).expect("sound");
        while let Some(item) = requests.pull().expect("sound") {
            match item.event {
                Request::Begin(_) | Request::End(_) => {}
                Request::Value { column, piece } => match piece {
                    Piece::Null => events.push(format!("value {column} None")),
                    Piece::Whole(value) => events.push(format!("value {column} Some({value:?})")),
                    Piece::Start { .. } => large.clear(),
                    Piece::Data(data) => large.extend_from_slice(data),
                    Piece::End => events.push(format!("value {column} Some({large:?})")),
                },
                event => events.push(format!("{event:?}")),
            }
        }
    }
    events
}

fn on_the_wire(messages: &[(PacketKind, Vec<u8>)]) -> Vec<u8> {
    messages.iter().flat_map(|(kind, payload)| packets(*kind, Status::RESET, payload)).collect()
}

proptest! {
    #[test]
    fn a_login_is_read_as_written(login in any::login()) {
        let mut wire = Vec::new();
        login.write(&mut wire).expect("fits");
        prop_assert_eq!(Login7::parse(&wire), Ok(login));
    }

    #[test]
    fn half_a_login_is_incomplete(login in any::login(), cut in any::<usize>()) {
        let mut wire = Vec::new();
        login.write(&mut wire).expect("fits");
        let read = Login7::parse(&wire[..cut % wire.len()]);
        prop_assert!(matches!(read, Err(WireError::Incomplete { .. })), "{:?}", read);
    }

    #[test]
    fn no_bytes_break_a_login(login in any::login(), changes in vec(any::<(usize, u8)>(), 1..6)) {
        let mut wire = Vec::new();
        login.write(&mut wire).expect("fits");
        for (at, byte) in changes {
            let length = wire.len();
            wire[at % length] = byte;
        }
        if let Ok(login) = Login7::parse(&wire) {
            // What is believed can be written, and is the same then; but for
            // parts that lay over each other and are together too long now.
            let mut again = Vec::new();
            if login.write(&mut again).is_ok() {
                prop_assert_eq!(Login7::parse(&again), Ok(login));
            }
        }
    }

    #[test]
    fn a_prelogin_is_read_as_written(options in pre_login(), cut in any::<usize>()) {
        let mut wire = Vec::new();
        options.write(&mut wire).expect("fits");
        prop_assert_eq!(PreLogin::parse(&wire), Ok(options));
        let read = PreLogin::parse(&wire[..cut % wire.len()]);
        prop_assert!(matches!(read, Err(WireError::Incomplete { .. })), "{:?}", read);
    }

    #[test]
    fn noise_is_no_login(noise in vec(any::<u8>(), 0..300)) {
        let _ = PreLogin::parse(&noise);
        let _ = Login7::parse(&noise);
        let _ = FedAuthMessage::parse(&noise);
        let _ = TransactionRequest::parse(&noise);
    }

    #[test]
    fn a_batch_is_read_as_written((negotiated, batch) in any::negotiated().prop_flat_map(|n| (Just(n), any::batch(n)))) {
        let mut wire = Vec::new();
        batch.write(&negotiated, &mut wire).expect("fits");
        prop_assert_eq!(SqlBatch::parse(&wire, &negotiated), Ok(batch));
    }

    #[test]
    fn calls_are_read_as_written((negotiated, rpc) in any::negotiated().prop_flat_map(|n| (Just(n), any::rpc(n)))) {
        prop_assert_eq!(read_calls(negotiated, &rpc.wire), rpc.events);
    }

    #[test]
    fn a_transaction_request_is_read_as_written(request in any::transaction(), cut in any::<usize>()) {
        let mut wire = Vec::new();
        request.write(&mut wire).expect("fits");
        prop_assert_eq!(TransactionRequest::parse(&wire), Ok(request));
        let read = TransactionRequest::parse(&wire[..cut % wire.len()]);
        prop_assert!(matches!(read, Err(WireError::Incomplete { .. })), "{:?}", read);
    }

    #[test]
    fn a_token_message_is_read_as_written(message in fed_auth(), cut in any::<usize>()) {
        let mut wire = Vec::new();
        message.write(&mut wire).expect("fits");
        prop_assert_eq!(FedAuthMessage::parse(&wire), Ok(message));
        let read = FedAuthMessage::parse(&wire[..cut % wire.len()]);
        prop_assert!(matches!(read, Err(WireError::Incomplete { .. })), "{:?}", read);
    }

    #[test]
    fn any_cut_gives_the_same((negotiated, messages) in messages(), cuts in vec(any::<usize>(), 0..12)) {
        let wire = on_the_wire(&messages);
        let (whole, error) = read_requests(negotiated, &[&wire]);
        prop_assert_eq!(error, None);
        let ends = whole.events.iter().filter(|event| event.starts_with("End(Status")).count();
        prop_assert_eq!(ends, messages.len());
        prop_assert_eq!(&whole.raw, &messages.iter().flat_map(|(_, payload)| payload.clone()).collect::<Vec<_>>());
        prop_assert_eq!(&read_requests(negotiated, &pieces(&wire, &cuts)), &(whole, None));
        prop_assert_eq!(payload(&wire), read_requests(negotiated, &wire.chunks(1).collect::<Vec<_>>()).0.raw);
    }

    #[test]
    fn half_a_message_is_no_message((negotiated, messages) in messages(), cut in any::<usize>()) {
        let wire = on_the_wire(&messages);
        let short = &wire[..cut % wire.len()];
        let (all, _) = read_requests(negotiated, &[&wire]);
        let (found, error) = read_requests(negotiated, &[short]);
        prop_assert_eq!(error, None);
        prop_assert!(all.raw.starts_with(&found.raw));
        for (short, whole) in found.events.iter().zip(&all.events) {
            prop_assert!(short == whole || short.starts_with("data") && whole.starts_with(short), "{} {}", short, whole);
        }
    }

    #[test]
    fn a_message_that_ends_early_is_incomplete((negotiated, rpc) in any::negotiated().prop_flat_map(|n| (Just(n), any::rpc(n))), cut in any::<usize>()) {
        let short = &rpc.wire[..cut % rpc.wire.len()];
        let (found, error) = read_requests(negotiated, &[&packets(PacketKind::Rpc, Status::default(), short)]);
        match error {
            // It may end after any parameter.
            None => prop_assert_eq!(found.raw.len(), short.len()),
            Some(error) => prop_assert!(matches!(error, WireError::Incomplete { .. }), "{:?}", error),
        }
    }

    #[test]
    fn no_bytes_break_it(
        (negotiated, messages) in messages(),
        changes in vec(any::<(usize, u8)>(), 1..6),
        cuts in vec(any::<usize>(), 0..4),
    ) {
        let mut wire = on_the_wire(&messages);
        for (at, byte) in changes {
            let length = wire.len();
            wire[at % length] = byte;
        }
        let (whole, error) = read_requests(negotiated, &[&wire]);
        let (cut, cut_error) = read_requests(negotiated, &pieces(&wire, &cuts));
        prop_assert_eq!((&whole, error.is_some()), (&cut, cut_error.is_some()));
    }
}
