//! One byte that chooses the form, then a segment, or payloads that get good
//! frames: judging and reading end, without a panic, and only a trail with a
//! signed end is whole.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sluice_audit::read::Reader;
use sluice_audit::verify::verify;

fuzz_target!(|input: &[u8]| {
    let Some((form, bytes)) = input.split_first() else { return };
    let segment = if form % 2 == 0 { bytes.to_vec() } else { framed(bytes) };
    if std::fs::write(FOLDER.join(NAME), &segment).is_err() {
        return;
    }
    let report = verify(&FOLDER, None);
    assert!(report.exit_code() <= 5);
    assert!(report.exit_code() != 0 || report.sealed.is_some());
    assert!(report.bytes <= segment.len() as u64);
    let read = Reader::open(&FOLDER).map_or(0, |reader| reader.filter(Result::is_ok).count());
    assert!(read as u64 <= report.leaves, "what is read was judged");
});

/// A segment with a good header; each line break begins the next payload, and
/// a payload that begins with `#` is a head, its `|` the line breaks.
fn framed(bytes: &[u8]) -> Vec<u8> {
    let mut out = b"sluice-1".to_vec();
    out.extend_from_slice(&1_u128.to_be_bytes());
    for number in [1_u64, 1, 1] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.resize(124, 0);
    out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
    for line in bytes.split(|byte| *byte == b'\n') {
        let (kind, payload) = match line.strip_prefix(b"#") {
            Some(head) => (2, head.iter().map(|byte| if *byte == b'|' { b'\n' } else { *byte }).collect()),
            None => (1, line.to_vec()),
        };
        let Ok(len) = u16::try_from(payload.len()) else { continue };
        let mut checked = vec![kind, 0];
        checked.extend_from_slice(&len.to_be_bytes());
        checked.extend_from_slice(&payload);
        out.extend_from_slice(&checked[..4]);
        out.extend_from_slice(&crc32fast::hash(&checked).to_be_bytes());
        out.extend_from_slice(&payload);
    }
    out
}

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("sluice-fuzz-trail-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for the segment");
    folder
});
const NAME: &str = "epoch-00000001-00000000-0000-0000-0000-000000000001-00000001.seg";
