//! Two bytes that say what login settled and how to cut, then what a client
//! sends: reading ends, without a panic; any cut gives the same; the payload
//! comes out without a gap; what is whole is written as it was read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_tds::{
    Deframer, FedAuthMessage, Frame, Limits, Login7, Negotiated, PreLogin, Request, Requests, SqlBatch,
    TransactionRequest,
};

fuzz_target!(|input: &[u8]| {
    let [settled, cut, wire @ ..] = input else { return };
    let negotiated = Negotiated {
        column_encryption: Some(settled & 3).filter(|version| *version > 0),
        data_classification: Some(settled >> 2 & 3).filter(|version| *version > 0),
    };
    let whole = read(negotiated, wire, wire.len().max(1));
    let cut = read(negotiated, wire, usize::from(*cut).max(1));
    assert_eq!(whole, cut);
    // The same bytes as one message of each kind that is read whole.
    let mut again = Vec::new();
    if let Ok(login) = Login7::parse(wire)
        && login.write(&mut again).is_ok()
    {
        assert_eq!(Login7::parse(&again).as_ref(), Ok(&login));
    }
    let mut again = Vec::new();
    if let Ok(options) = PreLogin::parse(wire)
        && options.write(&mut again).is_ok()
    {
        assert_eq!(PreLogin::parse(&again).as_ref(), Ok(&options));
    }
    let mut again = Vec::new();
    if let Ok(batch) = SqlBatch::parse(wire, &negotiated) {
        batch.write(&negotiated, &mut again).expect("it was read");
        assert_eq!(again, wire);
    }
    let mut again = Vec::new();
    if let Ok(request) = TransactionRequest::parse(wire) {
        request.write(&mut again).expect("it was read");
        assert_eq!(again, wire);
    }
    let mut again = Vec::new();
    if let Ok(message) = FedAuthMessage::parse(wire) {
        message.write(&mut again).expect("it was read");
        assert_eq!(again, wire);
    }
});

/// What was handed out, and whether an error ended it. Where a value is cut is
/// not part of what was said.
fn read(negotiated: Negotiated, wire: &[u8], step: usize) -> (Vec<String>, Vec<u8>, bool) {
    let (mut deframer, mut requests) = (Deframer::default(), Requests::new(Limits::default()));
    requests.set_negotiated(negotiated);
    let (mut events, mut raw, mut payload) = (Vec::new(), Vec::new(), Vec::new());
    for mut piece in wire.chunks(step) {
        loop {
            let frame = match deframer.read(&mut piece) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(_) => return (events, raw, true),
            };
            if let Frame::Payload(bytes) = frame {
                payload.extend_from_slice(bytes);
            }
            if requests.feed(&frame).is_err() {
                return (events, raw, true);
            }
            loop {
                match requests.pull() {
                    Ok(None) => break,
                    Err(_) => return (events, raw, true),
                    Ok(Some(item)) => {
                        raw.extend_from_slice(item.raw);
                        assert!(payload.starts_with(&raw), "a gap");
                        let text = format!("{:?}", item.event);
                        if let Request::End(_) = item.event {
                            (raw, payload) = (Vec::new(), Vec::new());
                        }
                        if !text.contains("piece: Data(") {
                            events.push(text);
                        }
                    }
                }
            }
        }
    }
    (events, raw, false)
}
