use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;

use crate::contains_marker;

/// Whether `text` is a gzip stream in base64, once or twice, that contains a
/// marker: the form in which Helm keeps a release.
///
/// Reads at most `budget` bytes of what is packed ([`PACKED_BUDGET`] for all
/// texts of a body together), in constant memory, and takes them off it; what
/// is longer counts as containing one, what is no gzip does not.
pub fn packed_marker(text: &str, budget: &mut u64) -> bool {
    let once = |text: &[u8]| STANDARD.decode(text.trim_ascii()).ok();
    let packed = match text.trim_start() {
        text if text.starts_with(GZIP) => once(text.as_bytes()),
        text if text.starts_with(GZIP_TWICE) => once(text.as_bytes()).and_then(|inner| once(&inner)),
        _ => None,
    };
    packed.is_some_and(|packed| search(&packed, budget))
}

fn search(packed: &[u8], budget: &mut u64) -> bool {
    let mut stream = GzDecoder::new(packed).take(*budget);
    let mut window = Vec::with_capacity(OVERLAP + CHUNK);
    loop {
        let kept = window.len();
        // A stream that breaks off is searched as far as it goes.
        let read = stream.by_ref().take(CHUNK as u64).read_to_end(&mut window);
        *budget = stream.limit();
        if contains_marker(&window) {
            return true;
        }
        if read.is_err() || window.len() == kept {
            return *budget == 0;
        }
        window.drain(..window.len().saturating_sub(OVERLAP));
    }
}

/// What is unpacked of one body: a few releases, and not a bomb for each of its
/// texts.
pub const PACKED_BUDGET: u64 = 16 * 1024 * 1024;

/// How base64 of a gzip header begins.
const GZIP: &str = "H4sI";
/// How base64 of that begins.
const GZIP_TWICE: &str = "SDRzS";
const CHUNK: usize = 64 * 1024;
/// Longer than every spelling of a marker.
const OVERLAP: usize = 1024;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::Marker;

    fn found(text: &str) -> bool {
        packed_marker(text, &mut { PACKED_BUDGET })
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_marker_in_a_release_is_found() {
        for before in [0, 1, CHUNK - 30, CHUNK - 5, CHUNK, 3 * CHUNK + 7] {
            let text = [&vec![b'x'; before][..], Marker::new(7).text(), &[b'y'; 5000]].concat();
            let once = STANDARD.encode(gzip(&text));
            assert!(found(&once), "{before}");
            assert!(found(&STANDARD.encode(&once)), "{before}");
            assert!(found(&STANDARD.encode(gzip(STANDARD.encode(&text).as_bytes()))), "{before}");
        }
    }

    #[test]
    fn other_packed_text_has_none() {
        let release = STANDARD.encode(gzip(&vec![b'z'; 2 * CHUNK]));
        assert!(!found(&release));
        assert!(!found(&release[..release.len() / 4 * 4 - 8]));
        for text in ["", "H4sI", "H4sIAAAA", "SDRzSQ==", "sluice-masked:00000007", "H4sI not base64"] {
            assert!(!found(text), "{text}");
        }
    }

    #[test]
    fn a_bomb_counts_as_found() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        for _ in 0..17 {
            encoder.write_all(&vec![0; 1024 * 1024]).unwrap();
        }
        assert!(found(&STANDARD.encode(encoder.finish().unwrap())));
    }

    #[test]
    fn many_small_bombs_share_one_budget() {
        let small = STANDARD.encode(gzip(&vec![b'z'; 6 * 1024 * 1024]));
        let mut budget = PACKED_BUDGET;
        assert_eq!([(); 3].map(|()| packed_marker(&small, &mut budget)), [false, false, true]);
        assert_eq!(budget, 0);
    }
}
