//! The responder's sockets.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Names, REPORT_EVERY};

impl Names {
    /// Answers on both sockets until the future is dropped.
    ///
    /// # Errors
    /// A socket cannot be used at all.
    pub async fn serve(
        self: Arc<Self>,
        udp: std::net::UdpSocket,
        tcp: std::net::TcpListener,
    ) -> io::Result<Infallible> {
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        let udp = UdpSocket::from_std(udp)?;
        let tcp = TcpListener::from_std(tcp)?;
        tokio::select! {
            never = datagrams(&self, &udp) => Ok(never),
            never = connections(&self, &tcp) => Ok(never),
            never = late_reports(&self) => Ok(never),
        }
    }
}

/// Connections at one time; what comes beyond is closed at once.
const CONNECTIONS: usize = 64;
/// How long a connection may take for its next question.
const IDLE: Duration = Duration::from_secs(10);
/// Bytes of one question.
const QUESTION: usize = 4096;
/// Pause after a socket error, so that one that stays does not spin.
const PAUSE: Duration = Duration::from_millis(50);

/// One question at a time: an answer comes from memory and waits for nobody.
async fn datagrams(names: &Names, socket: &UdpSocket) -> Infallible {
    let mut buffer = vec![0_u8; QUESTION];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((length, from)) => {
                let packet = buffer.get(..length).unwrap_or_default();
                if let Some(answer) = names.respond(packet, from) {
                    // A full socket drops the answer, as any network may.
                    let _ = socket.try_send_to(&answer, from);
                }
            }
            Err(error) => {
                tracing::debug!(%error, "resolver socket");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn connections(names: &Arc<Names>, listener: &TcpListener) -> Infallible {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut open = JoinSet::new();
    loop {
        while open.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, from)) => {
                if let Ok(permit) = room.clone().try_acquire_owned() {
                    let names = names.clone();
                    open.spawn(async move {
                        let _ = connection(&names, stream, from).await;
                        drop(permit);
                    });
                }
            }
            Err(error) => {
                tracing::debug!(%error, "resolver listener");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Questions with a length before them (RFC 1035 4.2.2, RFC 7766).
async fn connection(names: &Names, mut stream: TcpStream, from: SocketAddr) -> io::Result<()> {
    let mut question = Vec::new();
    loop {
        let length = usize::from(timeout(IDLE, stream.read_u16()).await??);
        if length > QUESTION {
            names.count_malformed();
            return Ok(());
        }
        question.resize(length, 0);
        timeout(IDLE, stream.read_exact(&mut question)).await??;
        let Some(answer) = names.respond(&question, from) else {
            names.count_malformed();
            return Ok(());
        };
        let Ok(length) = u16::try_from(answer.len()) else { return Ok(()) };
        let framed = [&length.to_be_bytes(), answer.as_slice()].concat();
        timeout(IDLE, stream.write_all(&framed)).await??;
    }
}

async fn late_reports(names: &Names) -> Infallible {
    loop {
        tokio::time::sleep(REPORT_EVERY).await;
        names.report_late();
    }
}
