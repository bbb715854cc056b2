use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};

use crate::LONG;

/// A `CONNECT` proxy that leads one name to one address, so that stock clients
/// (`proxy-url` in a kubeconfig) use the server's true name without a resolver.
/// It sees only ciphertext.
#[derive(Debug)]
pub struct ConnectProxy {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl ConnectProxy {
    /// Listens on `ip`; `CONNECT authority` leads to `to`, anything else is
    /// refused.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn start(ip: IpAddr, authority: &str, to: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((ip, 0))?;
        let address = listener.local_addr()?;
        let over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&over);
        let wanted = format!("CONNECT {authority} HTTP/1.1");
        let acceptor = thread::spawn(move || {
            while let Ok((socket, _)) = listener.accept() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let wanted = wanted.clone();
                thread::spawn(move || serve(socket, &wanted, to));
            }
        });
        Ok(Self { address, over, acceptor: Some(acceptor) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://IP:PORT`, as `proxy-url` wants it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for ConnectProxy {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn serve(mut downstream: TcpStream, wanted: &str, to: SocketAddr) -> Result<()> {
    let mut reader = BufReader::new(downstream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    if first.trim_end() != wanted {
        downstream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")?;
        return Ok(());
    }
    let mut upstream = TcpStream::connect_timeout(&to, LONG).with_context(|| format!("connect to {to}"))?;
    downstream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    // A client speaks first after the answer, but may have sent early.
    upstream.write_all(reader.buffer())?;
    let mut back = (upstream.try_clone()?, downstream.try_clone()?);
    let other = thread::spawn(move || {
        let _ = std::io::copy(&mut back.0, &mut back.1);
        let _ = back.1.shutdown(Shutdown::Write);
    });
    let _ = std::io::copy(&mut downstream, &mut upstream);
    let _ = upstream.shutdown(Shutdown::Write);
    let _ = other.join();
    Ok(())
}
