use std::io::Cursor;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const HOST: &str = "Host: api.example\r\n";

/// Hands out its bytes in pieces of the given sizes.
struct Pieces {
    bytes: Cursor<Vec<u8>>,
    sizes: Vec<usize>,
    turn: usize,
}

impl AsyncRead for Pieces {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let size = this.sizes[this.turn % this.sizes.len()].min(out.remaining());
        this.turn += 1;
        let mut piece = vec![0; size];
        let count = std::io::Read::read(&mut this.bytes, &mut piece)?;
        out.put_slice(&piece[..count]);
        Poll::Ready(Ok(()))
    }
}

fn run(bytes: &[u8], sizes: Vec<usize>) -> (Vec<u8>, io::Result<()>, Option<u16>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("runtime");
    runtime.block_on(async {
        let refusal = Refusal::default();
        let pieces = Pieces { bytes: Cursor::new(bytes.to_vec()), sizes, turn: 0 };
        let mut strict =
            Strict::new(pieces, Arc::new(Authorities::new("api.example", 443)), refusal.clone(), UnderWay::default());
        let mut out = Vec::new();
        // After a refusal there is no end.
        let end = loop {
            if refusal.get().is_some() && out.ends_with(SENTINEL) {
                break Ok(());
            }
            match strict.read_buf(&mut out).await {
                Ok(0) => break Ok(()),
                Ok(_) => {}
                Err(error) => break Err(error),
            }
        };
        (out, end, refusal.get().map(|refused| refused.status))
    })
}

fn pipelined() -> Vec<u8> {
    [
        format!("GET /a HTTP/1.1\r\n{HOST}\r\n"),
        format!("PUT /b HTTP/1.1\r\n{HOST}Content-Length: 5\r\n\r\nhello"),
        format!("POST /c HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA\r\n0123456789\r\n0\r\nX: y\r\n\r\n"),
        format!("GET /d HTTP/1.1\r\n{HOST}\r\n"),
    ]
    .concat()
    .into_bytes()
}

#[test]
fn what_is_refused_is_replaced_by_the_sentinel() {
    for (bad, status) in [
        ("GET /x HTTP/1.1\nHost: api.example\r\n\r\n".to_owned(), 400),
        (format!("GET /x HTTP/1.1\r\n{HOST}X: a\rb\r\n\r\n"), 400),
        (format!("\r\nGET /x HTTP/1.1\r\n{HOST}\r\n"), 400),
        (format!("GET /x HTTP/1.1\r\n{HOST}X: {}\r\n\r\n", "y".repeat(MAX_HEAD_BYTES)), 431),
        ("GET /x HTTP/1.1\r\nHost: other\r\n\r\n".to_owned(), 421),
        (
            format!(
                "POST /x HTTP/1.1\r\n{HOST}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /y HTTP/1.1\r\n\r\n"
            ),
            400,
        ),
    ] {
        let good = pipelined();
        let bytes = [good.as_slice(), bad.as_bytes()].concat();
        let (out, end, refused) = run(&bytes, vec![4096]);
        assert!(end.is_ok());
        assert_eq!(refused, Some(status), "{bad:?}");
        assert_eq!(out, [good.as_slice(), SENTINEL].concat());
    }
}

#[test]
fn bad_chunk_framing_ends_the_stream() {
    for body in [
        "5;x=y\r\nhello\r\n",
        "5\nhello",
        "5\r\nhelloo\r\n",
        "-1\r\n",
        "0x5\r\nhello\r\n",
        "\r\n",
        " 5\r\nhello\r\n",
        "0\r\nContent-Length: 4\r\n\r\n",
        "fffffffffffffffff\r\n",
    ] {
        let bytes = format!("POST /c HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n{body}");
        let (_, end, _) = run(bytes.as_bytes(), vec![4096]);
        assert_eq!(end.expect_err(body).kind(), io::ErrorKind::InvalidData);
    }
}

#[tokio::test]
async fn a_connection_without_a_request_ends() {
    let (mut client, server) = tokio::io::duplex(64 * 1024);
    let under_way = UnderWay::default();
    let authorities = Arc::new(Authorities::new("api.example", 443));
    let mut strict = Strict::new(server, authorities, Refusal::default(), under_way.clone());
    strict.idle_time = Duration::from_millis(50);
    // An answer that takes its time is no idle connection.
    let request = format!("GET /a HTTP/1.1\r\n{HOST}\r\n");
    let one = under_way.one();
    let late = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        client.write_all(request.as_bytes()).await.expect("write");
    };
    let mut out = vec![0; request.len()];
    let (_, read) = tokio::join!(late, strict.read_exact(&mut out));
    read.expect("the late request");
    assert_eq!(out, request.as_bytes());
    drop(one);
    assert_eq!(strict.read(&mut out).await.expect("an end"), 0);
}

proptest! {
    #[test]
    fn any_split_passes_the_same_bytes(sizes in proptest::collection::vec(1_usize..40, 1..20)) {
        let bytes = pipelined();
        let (out, end, refused) = run(&bytes, sizes);
        prop_assert!(end.is_ok());
        prop_assert_eq!(refused, None);
        prop_assert_eq!(out, bytes);
    }

    #[test]
    fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = run(&bytes, vec![7]);
    }
}
