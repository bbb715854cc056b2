//! A byte that says how to cut, then SMP frames with packets in them: reading
//! ends, without a panic; any cut gives the same; headers are written as they
//! were read.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use sluice_tds::smp::{Deframer, Frame, Header};

fuzz_target!(|input: &[u8]| {
    let Some((cut, wire)) = input.split_first() else { return };
    assert_eq!(read(wire, wire.len().max(1)), read(wire, usize::from(*cut).max(1)));
});

type Sessions = BTreeMap<u16, (sluice_tds::Deframer, Vec<String>)>;

fn read(wire: &[u8], step: usize) -> (Vec<Vec<String>>, Vec<u8>, bool) {
    let mut deframer = Deframer::new(32767);
    let (mut sessions, mut again, mut failed) = (Sessions::new(), Vec::new(), false);
    for mut piece in wire.chunks(step) {
        loop {
            match deframer.read(&mut piece) {
                Ok(None) => break,
                Err(_) => {
                    failed = true;
                    break;
                }
                Ok(Some(Frame::Header(header))) => {
                    assert_eq!(header.to_bytes().len(), Header::BYTES);
                    again.extend_from_slice(&header.to_bytes());
                }
                Ok(Some(Frame::Data(session, data))) => {
                    again.extend_from_slice(data);
                    let (packets, found) = sessions.entry(session).or_default();
                    let mut data = data;
                    while let Ok(Some(frame)) = packets.read(&mut data) {
                        if !matches!(frame, sluice_tds::Frame::Payload(_)) {
                            found.push(format!("{frame:?}"));
                        }
                    }
                }
            }
        }
        if failed {
            break;
        }
    }
    assert!(wire.starts_with(&again), "a gap");
    (sessions.into_values().map(|(_, found)| found).collect(), again, failed)
}
