use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, RootCertStore, StreamOwned};

use crate::http1::{self, Response};
use crate::{LONG, pki};

/// A connection that sends exactly the bytes it is given.
#[derive(Debug)]
pub struct Raw {
    stream: BufReader<Stream>,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Raw {
    /// Without TLS.
    ///
    /// # Errors
    /// When nothing listens.
    pub fn plain(address: SocketAddr) -> Result<Self> {
        Ok(Self { stream: BufReader::new(Stream::Plain(connect(address)?)) })
    }

    /// With TLS that names `host` and believes `roots`; `alpn` may be empty.
    ///
    /// # Errors
    /// When the handshake fails: also when the certificate is for another name.
    pub fn tls(address: SocketAddr, host: &str, roots: &RootCertStore, alpn: &[&str]) -> Result<Self> {
        let mut config = pki::client_config(roots);
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Self::tls_with(address, host, config)
    }

    /// With TLS of a configuration of the test's own.
    ///
    /// # Errors
    /// When the handshake fails.
    pub fn tls_with(address: SocketAddr, host: &str, config: rustls::ClientConfig) -> Result<Self> {
        let name = ServerName::try_from(host.to_owned()).with_context(|| format!("host name {host:?}"))?;
        let mut socket = connect(address)?;
        let mut session = ClientConnection::new(Arc::new(config), name)?;
        while session.is_handshaking() {
            session.complete_io(&mut socket).with_context(|| format!("TLS handshake for {host}"))?;
        }
        Ok(Self { stream: BufReader::new(Stream::Tls(Box::new(StreamOwned::new(session, socket)))) })
    }

    /// What ALPN agreed on.
    pub fn alpn(&self) -> Option<String> {
        match self.stream.get_ref() {
            Stream::Plain(_) => None,
            Stream::Tls(tls) => tls.conn.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
        }
    }

    /// The names in the certificate of the other side, as DER.
    pub fn certificate(&self) -> Option<Vec<u8>> {
        match self.stream.get_ref() {
            Stream::Plain(_) => None,
            Stream::Tls(tls) => tls.conn.peer_certificates().and_then(|chain| chain.first()).map(|der| der.to_vec()),
        }
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the other side has closed.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(bytes.as_ref())?;
        stream.flush()?;
        Ok(())
    }

    /// Lets a write fail after two seconds in which the other side takes
    /// nothing, for a test that floods and does not read.
    ///
    /// # Errors
    /// When the socket is gone.
    pub fn impatient(&mut self) -> Result<()> {
        let socket = match self.stream.get_ref() {
            Stream::Plain(socket) => socket,
            Stream::Tls(tls) => &tls.sock,
        };
        Ok(socket.set_write_timeout(Some(Duration::from_secs(2)))?)
    }

    /// Reads one answer.
    ///
    /// # Errors
    /// When none comes, or what comes is not HTTP/1.
    pub fn response(&mut self) -> Result<Response> {
        http1::read_response(&mut self.stream, false)
    }

    /// Reads one answer to a HEAD request.
    ///
    /// # Errors
    /// As [`Raw::response`].
    pub fn head_response(&mut self) -> Result<Response> {
        http1::read_response(&mut self.stream, true)
    }

    /// Reads status and headers and leaves the body for [`Raw::chunk`].
    ///
    /// # Errors
    /// When none comes.
    pub fn head(&mut self) -> Result<(u16, Vec<(String, String)>)> {
        http1::read_head(&mut self.stream)
    }

    /// The next chunk of a chunked body; `None` is its end.
    ///
    /// # Errors
    /// When the connection ends before the body does.
    pub fn chunk(&mut self) -> Result<Option<Vec<u8>>> {
        http1::read_chunk(&mut self.stream)
    }

    /// Reads exactly that many bytes.
    ///
    /// # Errors
    /// When the connection ends before.
    pub fn exactly(&mut self, bytes: &mut [u8]) -> Result<()> {
        Ok(self.stream.read_exact(bytes)?)
    }

    /// Everything until the other side closes or resets.
    ///
    /// # Errors
    /// When it neither sends nor closes for [`LONG`].
    pub fn rest(&mut self) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            match self.stream.fill_buf() {
                Ok([]) => return Ok(all),
                Ok(bytes) => {
                    all.extend_from_slice(bytes);
                    let read = bytes.len();
                    self.stream.consume(read);
                }
                Err(error) if ended(error.kind()) => return Ok(all),
                Err(error) => return Err(error).context("the connection neither ends nor goes on"),
            }
        }
    }

    /// Whether the other side has closed: nothing but the end is there to read.
    ///
    /// # Errors
    /// When it neither sends nor closes for [`LONG`].
    pub fn closed(&mut self) -> Result<bool> {
        Ok(self.rest()?.is_empty())
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(buffer),
            Self::Tls(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, LONG).with_context(|| format!("connect to {address}"))?;
    stream.set_read_timeout(Some(LONG))?;
    stream.set_write_timeout(Some(LONG))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// How a closed connection looks to a reader: a reset is a close as well.
fn ended(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::InvalidData
    )
}
