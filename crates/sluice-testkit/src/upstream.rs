use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use anyhow::Result;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

/// A server of ours in the API server's place: it keeps what arrived, and
/// answers as the test says. For what a real one cannot be asked to do.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    state: Arc<State>,
    /// Dropped last: its end closes every connection.
    _runtime: Runtime,
}

/// A request as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Lower-case names.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

/// What to answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// A piece of the body.
    pub body: Bytes,
    /// How many times the piece comes.
    pub times: u64,
    /// Whether the answer stays open after that.
    pub open: bool,
}

type Handler = dyn Fn(&Seen) -> Answer + Send + Sync;

struct State {
    seen: Mutex<Vec<Seen>>,
    sent: Arc<AtomicU64>,
    handler: Box<Handler>,
}

impl Upstream {
    /// Listens on `address` (port 0) with that TLS configuration.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn start(
        address: &str,
        tls: Arc<ServerConfig>,
        handler: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
    ) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind(address))?;
        let address = listener.local_addr()?;
        let state = Arc::new(State { seen: Mutex::default(), sent: Arc::default(), handler: Box::new(handler) });
        runtime.spawn(accept(listener, TlsAcceptor::from(tls), Arc::clone(&state)));
        Ok(Self { address, state, _runtime: runtime })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything that arrived so far, in order.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Bytes of answers that were handed to connections so far.
    pub fn sent(&self) -> u64 {
        self.state.sent.load(Ordering::SeqCst)
    }
}

impl Seen {
    /// The first header of that name (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

impl Answer {
    /// Status 200 with a JSON body.
    pub fn json(body: &serde_json::Value) -> Self {
        Self::bytes("application/json", body.to_string())
    }

    /// Status 200 with a body of that type.
    pub fn bytes(content_type: &str, body: impl Into<Bytes>) -> Self {
        Self {
            status: 200,
            headers: vec![("content-type".to_owned(), content_type.to_owned())],
            body: body.into(),
            times: 1,
            open: false,
        }
    }

    /// The same with another status.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// The same with a header more.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same body over and over, with no length told before.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    /// The same, and no end after it.
    #[must_use]
    pub fn open(mut self) -> Self {
        self.open = true;
        self
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("sent", &self.sent).finish_non_exhaustive()
    }
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, state: Arc<State>) {
    while let Ok((socket, _)) = listener.accept().await {
        let tls = tls.clone();
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let _ = socket.set_nodelay(true);
            let Ok(stream) = tls.accept(socket).await else { return };
            let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let service = service_fn(move |request| {
                let state = Arc::clone(&state);
                async move { Ok::<_, Infallible>(serve(&state, request).await) }
            });
            let io = TokioIo::new(stream);
            if h2 {
                let _ =
                    hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await;
            } else {
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
            }
        });
    }
}

async fn serve(state: &State, request: hyper::Request<Incoming>) -> hyper::Response<Payload> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
    let seen = Seen {
        method: head.method.to_string(),
        path: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: head
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect(),
        body,
    };
    let answer = (state.handler)(&seen);
    state.seen.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    let mut response = hyper::Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        response = response.header(name, value);
    }
    if answer.times == 1 && !answer.open {
        response = response.header("content-length", answer.body.len());
    }
    let payload = Payload { piece: answer.body, left: answer.times, open: answer.open, sent: Arc::clone(&state.sent) };
    response.body(payload).unwrap_or_else(|error| {
        let piece = Bytes::from(format!("the test's answer is none: {error}"));
        hyper::Response::new(Payload { piece, left: 1, open: false, sent: Arc::default() })
    })
}

/// A body that is made while it is sent.
#[derive(Debug)]
struct Payload {
    piece: Bytes,
    left: u64,
    open: bool,
    sent: Arc<AtomicU64>,
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            // An open answer ends with its connection: nothing wakes it.
            return if self.open { Poll::Pending } else { Poll::Ready(None) };
        }
        self.left -= 1;
        self.sent.fetch_add(self.piece.len() as u64, Ordering::SeqCst);
        Poll::Ready(Some(Ok(Frame::data(self.piece.clone()))))
    }
}
