//! Packets and SMP frames.

mod support;

use proptest::collection::vec;
use proptest::prelude::*;
use sluice_tds::smp::{self, Control};
use sluice_tds::{Deframer, Frame, Framer, Header, PacketKind, PacketSize, Status, WireError};
use support::pieces;

/// Frames with adjacent payload joined, and the error at the end.
fn frames(pieces: &[&[u8]]) -> (Vec<String>, Option<WireError>) {
    let mut deframer = Deframer::default();
    let (mut found, mut payload) = (Vec::new(), Vec::new());
    for piece in pieces {
        let mut input = *piece;
        loop {
            match deframer.read(&mut input) {
                Ok(Some(Frame::Payload(bytes))) => payload.extend_from_slice(bytes),
                Ok(Some(frame)) => {
                    found.push(format!("{payload:?} {frame:?}"));
                    payload.clear();
                }
                Ok(None) => break,
                Err(error) => return (found, Some(error)),
            }
        }
        assert!(input.is_empty(), "all of it is taken");
    }
    (found, None)
}

fn smp_frames(pieces: &[&[u8]]) -> (Vec<String>, Vec<u8>, Option<WireError>) {
    let mut deframer = smp::Deframer::new(1000);
    let (mut found, mut data) = (Vec::new(), Vec::new());
    for piece in pieces {
        let mut input = *piece;
        loop {
            match deframer.read(&mut input) {
                Ok(Some(smp::Frame::Data(_, bytes))) => data.extend_from_slice(bytes),
                Ok(Some(frame)) => found.push(format!("{frame:?}")),
                Ok(None) => break,
                Err(error) => return (found, data, Some(error)),
            }
        }
    }
    (found, data, None)
}

fn smp_stream() -> impl Strategy<Value = Vec<u8>> {
    let frame = (
        prop::sample::select(vec![Control::Syn, Control::Ack, Control::Fin, Control::Data]),
        any::<(u16, u32, u32)>(),
        vec(any::<u8>(), 0..40),
    )
        .prop_map(|(control, (session, sequence, window), data)| {
            let data = if control == Control::Data { data } else { Vec::new() };
            let header = smp::Header::new(control, session, data.len(), sequence, window).expect("a frame");
            [header.to_bytes().as_slice(), &data].concat()
        });
    vec(frame, 0..6).prop_map(|frames| frames.concat())
}

proptest! {
    #[test]
    fn what_was_framed_is_deframed(payload in vec(any::<u8>(), 0..3000), size in 0..3000_u32, step in 1..700_usize) {
        let mut framer = Framer::new(PacketKind::Rpc, Status::RESET, PacketSize::granted(size)).spid(7);
        let mut wire = Vec::new();
        for piece in payload.chunks(step) {
            framer.write(piece, &mut wire);
        }
        framer.finish(&mut wire);
        let (mut deframer, mut input, mut read, mut headers) = (Deframer::default(), wire.as_slice(), Vec::new(), Vec::new());
        let mut ends = 0;
        while let Some(frame) = deframer.read(&mut input).expect("sound") {
            match frame {
                Frame::Packet(header) => headers.push(header),
                Frame::Payload(bytes) => read.extend_from_slice(bytes),
                Frame::End(status) => {
                    prop_assert!(!status.has(Status::IGNORE));
                    ends += 1;
                }
            }
        }
        prop_assert_eq!((read, ends), (payload, 1));
        prop_assert!(deframer.is_between_messages());
        for (index, header) in headers.iter().enumerate() {
            let full = PacketSize::granted(size).get();
            prop_assert_eq!(header.status.has(Status::END), index + 1 == headers.len());
            prop_assert_eq!(header.status.has(Status::RESET), index == 0);
            prop_assert!(header.length == full || index + 1 == headers.len() && header.length <= full);
            prop_assert_eq!((header.spid, usize::from(header.packet_id)), (7, index + 1));
        }
    }

    #[test]
    fn any_cut_gives_the_same_frames(
        payloads in vec(vec(any::<u8>(), 0..1500), 0..4),
        changes in vec(any::<(usize, u8)>(), 0..3),
        cuts in vec(any::<usize>(), 0..12),
    ) {
        let mut wire = Vec::new();
        for payload in payloads {
            wire.extend(support::packets(PacketKind::Response, Status::default(), &payload));
        }
        for (at, byte) in changes {
            let length = wire.len().max(1);
            if let Some(slot) = wire.get_mut(at % length) {
                *slot = byte;
            }
        }
        let whole = frames(&[&wire]);
        prop_assert_eq!(&frames(&pieces(&wire, &cuts)), &whole);
        prop_assert_eq!(&frames(&wire.chunks(1).collect::<Vec<_>>()), &whole);
    }

    #[test]
    fn any_cut_gives_the_same_smp_frames(
        mut wire in smp_stream(),
        changes in vec(any::<(usize, u8)>(), 0..3),
        cuts in vec(any::<usize>(), 0..12),
    ) {
        for (at, byte) in changes {
            let length = wire.len().max(1);
            if let Some(slot) = wire.get_mut(at % length) {
                *slot = byte;
            }
        }
        let whole = smp_frames(&[&wire]);
        prop_assert_eq!(&smp_frames(&pieces(&wire, &cuts)), &whole);
        prop_assert_eq!(&smp_frames(&wire.chunks(1).collect::<Vec<_>>()), &whole);
    }
}

fn error(wire: &[u8]) -> WireError {
    frames(&[wire]).1.expect("an error")
}

#[test]
fn errors_name_field_value_and_offset() {
    assert_eq!(
        error(&[0x02, 1, 0, 8, 0, 0, 1, 0]).to_string(),
        "packet type at byte 0 is 2 (0x2): no type of TDS 7.2 to 8.0"
    );
    assert_eq!(
        error(&[0x01, 1, 0, 7, 0, 0, 1, 0]).to_string(),
        "packet length at byte 2 is 7 (0x7): a packet has at least its header"
    );
    assert_eq!(
        error(&[0x01, 1, 0x80, 0, 0, 0, 1, 0]).to_string(),
        "packet length at byte 2 is 32768 (0x8000): packets have at most 32767 bytes"
    );
}

#[test]
fn a_message_is_over_before_another_begins() {
    let first = [0x01, 0, 0, 9, 0, 0, 1, 0, 0x55];
    let other = [0x06, 1, 0, 8, 0, 0, 1, 0];
    assert_eq!(
        error(&[first.as_slice(), &other].concat()).to_string(),
        "packet type at byte 9 is 6 (0x6): a message of another type is not over"
    );
}

#[test]
fn a_message_may_be_abandoned() {
    let (mut wire, mut framer) = (Vec::new(), Framer::new(PacketKind::Rpc, Status::default(), PacketSize::DEFAULT));
    framer.write(&[1, 2, 3], &mut wire);
    framer.abandon(&mut wire);
    assert_eq!(wire, [0x03, 0x03, 0, 11, 0, 0, 1, 0, 1, 2, 3]);
    let (found, error) = frames(&[&wire]);
    assert_eq!((found.last().map(String::as_str), error), (Some("[1, 2, 3] End(Status(3))"), None));
}

#[test]
fn sizes_are_granted_as_servers_do() {
    for (asked, granted) in [(0, 4096), (1, 512), (512, 512), (8000, 8000), (32768, 32767), (u32::MAX, 32767)] {
        assert_eq!(PacketSize::granted(asked).get(), granted);
    }
}

#[test]
fn an_attention_has_no_payload() {
    assert_eq!(support::packets(PacketKind::Attention, Status::default(), &[]), [6, 1, 0, 8, 0, 0, 1, 0]);
    assert_eq!(Header::BYTES, 8);
}

#[test]
fn smp_frames_are_judged() {
    let sound = smp::Header::new(Control::Data, 5, 3, 1, 4).expect("a frame").to_bytes();
    assert_eq!(sound, [0x53, 8, 5, 0, 19, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0]);
    assert_eq!(smp::Header::new(Control::Ack, 5, 3, 1, 4), None);
    let change = |at: usize, byte: u8| {
        let mut wire = sound;
        wire[at] = byte;
        smp_frames(&[&wire]).2.map(|error| error.to_string())
    };
    assert_eq!(change(0, 0x54).as_deref(), Some("SMP.SMID at byte 0 is 84 (0x54): each frame begins with 0x53"));
    assert_eq!(change(1, 9).as_deref(), Some("SMP.FLAGS at byte 1 is 9 (0x9): exactly one of SYN, ACK, FIN and DATA"));
    assert_eq!(change(1, 2).as_deref(), Some("SMP.LENGTH at byte 4 is 19 (0x13): 16, and more for DATA alone"));
    assert_eq!(change(5, 0x40).as_deref(), Some("SMP.LENGTH at byte 4 is 16403, over the limit of 1000"));
}
