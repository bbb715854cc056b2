use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;

use crate::contains_marker;

/// Whether `text` is a gzip stream in base64, once or twice, that contains a
/// marker: the form in which Helm keeps a release.
///
/// Reads at most 16 MiB of what is packed, in constant memory; what is longer
/// counts as containing one, what is no gzip does not.
pub fn packed_marker(text: &str) -> bool {
    let once = |text: &[u8]| STANDARD.decode(text.trim_ascii()).ok();
    let packed = match text.trim_start() {
        text if text.starts_with(GZIP) => once(text.as_bytes()),
        text if text.starts_with(GZIP_TWICE) => once(text.as_bytes()).and_then(|inner| once(&inner)),
        _ => None,
    };
    packed.is_some_and(|packed| search(&packed))
}

fn search(packed: &[u8]) -> bool {
    let mut stream = GzDecoder::new(packed).take(LIMIT);
    let mut window = Vec::with_capacity(OVERLAP + CHUNK);
    loop {
        let kept = window.len();
        // A stream that breaks off is searched as far as it goes.
        let read = stream.by_ref().take(CHUNK as u64).read_to_end(&mut window);
        if contains_marker(&window) {
            return true;
        }
        if read.is_err() || window.len() == kept {
            return stream.limit() == 0;
        }
        window.drain(..window.len().saturating_sub(OVERLAP));
    }
}

/// How base64 of a gzip header begins.
const GZIP: &str = "H4sI";
/// How base64 of that begins.
const GZIP_TWICE: &str = "SDRzS";
const LIMIT: u64 = 16 * 1024 * 1024;
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
            assert!(packed_marker(&once), "{before}");
            assert!(packed_marker(&STANDARD.encode(&once)), "{before}");
            assert!(packed_marker(&STANDARD.encode(gzip(STANDARD.encode(&text).as_bytes()))), "{before}");
        }
    }

    #[test]
    fn other_packed_text_has_none() {
        let release = STANDARD.encode(gzip(&vec![b'z'; 2 * CHUNK]));
        assert!(!packed_marker(&release));
        assert!(!packed_marker(&release[..release.len() / 4 * 4 - 8]));
        for text in ["", "H4sI", "H4sIAAAA", "SDRzSQ==", "sluice-masked:00000007", "H4sI not base64"] {
            assert!(!packed_marker(text), "{text}");
        }
    }

    #[test]
    fn a_bomb_counts_as_found() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        for _ in 0..17 {
            encoder.write_all(&vec![0; 1024 * 1024]).unwrap();
        }
        assert!(packed_marker(&STANDARD.encode(encoder.finish().unwrap())));
    }
}
