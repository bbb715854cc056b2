//! Serves what is stored to people, by the rights that Kubernetes gives them.
//!
//! Who may what is asked of the API server (see [`Access`]); what is handed out
//! is recorded in the collector's own trail first.

mod access;
mod kubernetes;
mod readers;
mod records;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use serde_json::json;
use sluice_audit::{Durability, Kind, Record, Trail};
use sluice_core::Secret;
use sluice_wire::{Code, RECORDS_PATH, RecordFilter, Refusal, TRAILS_PATH};
use tokio::sync::mpsc;
use tokio::time::Instant;

use readers::Place;
use records::{LOOK, Namespaces, Walk, Wanted};
use sluice_link::server::Shutdown;

pub use access::{Access, Asking, Cached, Person, REMEMBERED, Verb};
pub use kubernetes::Kubernetes;
pub use readers::Readers;

use crate::metrics::Metrics;
use crate::server::{Answer, refuse, stream, text};
use crate::store::{Store, StoredTrail};

/// Answers people.
#[derive(Debug)]
pub struct Query {
    /// What is stored.
    pub store: Arc<Store>,
    /// Who may read it.
    pub access: Cached,
    /// The collector's own trail, where reading is recorded.
    pub trail: Trail,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Ends what goes on.
    pub shutdown: Shutdown,
    /// Answers that are under way.
    pub readers: Readers,
    /// How often one who follows must show anew that they still may.
    pub ask_again: Duration,
}

impl Query {
    /// Answers one request.
    pub async fn answer<B>(self: Arc<Self>, request: Request<B>) -> Answer {
        let answered = self.clone().route(request).await;
        answered.unwrap_or_else(|refusal| {
            self.metrics.read_refused(refusal.code);
            refuse(&refusal)
        })
    }

    async fn route<B>(self: Arc<Self>, request: Request<B>) -> Result<Answer, Refusal> {
        let (head, _) = request.into_parts();
        if head.method != Method::GET {
            return Err(nothing());
        }
        let token = head.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token =
            token.and_then(|value| value.split_once(' ')).filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer"));
        let token = token.map_or("", |(_, token)| token);
        let person = self.access.who(token).await?;
        let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
        if path == RECORDS_PATH {
            let token = Secret::new(token.to_owned());
            return self.records(person, token, query).await;
        }
        let below = path.strip_prefix(TRAILS_PATH).ok_or_else(nothing)?;
        // Names are compared as they are, never decoded and never joined to a
        // path before they are known.
        match below.split('/').collect::<Vec<_>>().as_slice() {
            [""] => self.trails(&person, query).await,
            ["", uid] => self.trail(&person, uid).await,
            ["", uid, file] => self.file(&person, uid, file).await,
            _ => Err(nothing()),
        }
    }

    async fn trails(self: Arc<Self>, person: &Person, query: &str) -> Result<Answer, Refusal> {
        let filter: RecordFilter = query.parse().map_err(bad)?;
        let namespaces = self.readable(person, filter.namespace.as_deref()).await?;
        let wanted = Wanted::new(&filter, namespaces.clone()).map_err(bad)?;
        let place = self.readers.place(person)?;
        self.record(person, "trails", [("namespaces", said(&namespaces))]).await?;
        let store = self.store.clone();
        let (pieces, body) = mpsc::channel(PIECES);
        tokio::task::spawn_blocking(move || {
            send_trails(&store, &wanted, &pieces);
            drop(place);
        });
        Ok(stream("application/json", body))
    }

    async fn trail(self: Arc<Self>, person: &Person, uid: &str) -> Result<Answer, Refusal> {
        let trail = self.readable_trail(person, uid).await?;
        self.record(person, "trail", [("pod", json!(uid))]).await?;
        let store = self.store.clone();
        json_of(&blocking(move || store.summary(&trail)).await?)
    }

    async fn file(self: Arc<Self>, person: &Person, uid: &str, name: &str) -> Result<Answer, Refusal> {
        let trail = self.readable_trail(person, uid).await?;
        let (store, wanted) = (self.store.clone(), name.to_owned());
        let found = blocking(move || store.file(&trail, &wanted)).await?;
        let (path, len) = found.ok_or_else(|| {
            Refusal::new(
                Code::NotFound,
                "the trail has no such file",
                format!("GET {TRAILS_PATH}/{uid} names its files"),
            )
        })?;
        let place = self.readers.place(person)?;
        self.record(person, "file", [("pod", json!(uid)), ("file", json!(name))]).await?;
        let (pieces, body) = mpsc::channel(PIECES);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = send_file(&path, len, &pieces) {
                let _ = pieces.blocking_send(Err(error));
            }
            drop(place);
        });
        let mut answer = stream("application/octet-stream", body);
        answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(len));
        Ok(answer)
    }

    async fn records(self: Arc<Self>, person: Person, token: Secret<String>, query: &str) -> Result<Answer, Refusal> {
        let filter: RecordFilter = query.parse().map_err(bad)?;
        let namespaces = self.readable_records(&person, &filter).await?;
        let wanted = Wanted::new(&filter, namespaces.clone()).map_err(bad)?;
        let place = self.readers.place(&person)?;
        let (out, body) = mpsc::channel(PIECES);
        let walk = Walk::new(self.store.clone(), wanted, out.clone());
        let trails = walk.trails().len();
        if filter.follow && trails > FOLLOWED {
            let message = format!("{trails} trails are too many to follow at once; at most {FOLLOWED} can be");
            return Err(Refusal::new(Code::BadRequest, message, "name a namespace or a podUid"));
        }
        let fields = [("namespaces", said(&namespaces)), ("filter", json!(filter))];
        self.record(&person, "records", fields).await?;
        if filter.follow {
            tokio::spawn(self.follow(token, filter, walk, out, place));
        } else {
            drop(out);
            tokio::task::spawn_blocking(move || {
                walk.once();
                drop(place);
            });
        }
        Ok(stream("application/x-ndjson", body))
    }

    /// Sends what comes, for as long as it is read and may be. Where nobody says
    /// whether it may be, it ends: whoever still may asks anew.
    async fn follow(
        self: Arc<Self>,
        token: Secret<String>,
        filter: RecordFilter,
        mut walk: Walk,
        out: mpsc::Sender<io::Result<Bytes>>,
        _place: Place,
    ) {
        let mut changes = self.store.changes();
        let mut asked = Instant::now();
        loop {
            changes.borrow_and_update();
            let passed = blocking(move || {
                let passed = walk.go_on();
                (walk, passed)
            });
            let Ok((back, Ok(()))) = passed.await else { return };
            walk = back;
            tokio::select! {
                _ = changes.changed() => {}
                () = tokio::time::sleep(LOOK) => {}
                () = out.closed() => return,
                () = self.shutdown.requested() => return,
            }
            // What comes close together goes out together.
            tokio::time::sleep(LINGER).await;
            if asked.elapsed() >= self.ask_again {
                let Ok(person) = self.access.who(token.expose()).await else { return };
                let Ok(namespaces) = self.readable_records(&person, &filter).await else { return };
                walk.narrow(namespaces);
                asked = Instant::now();
            }
        }
    }

    /// Of which namespaces somebody may read records.
    async fn readable_records(&self, person: &Person, filter: &RecordFilter) -> Result<Namespaces, Refusal> {
        match filter.pod_uid.as_deref() {
            // A trail that is not there yet may still be followed.
            Some(uid) if self.store.get(uid).is_some() => {
                let trail = self.readable_trail(person, uid).await?;
                Ok(Namespaces::These(BTreeSet::from([trail.meta.namespace.clone()])))
            }
            _ => self.readable(person, filter.namespace.as_deref()).await,
        }
    }

    /// Which namespaces somebody may list, among those that have trails.
    async fn readable(&self, person: &Person, namespace: Option<&str>) -> Result<Namespaces, Refusal> {
        if let Some(namespace) = namespace.filter(|namespace| !namespace.is_empty()) {
            if self.access.may(person, Verb::List, namespace).await? {
                return Ok(Namespaces::These(BTreeSet::from([namespace.to_owned()])));
            }
            return Err(forbidden(person, Verb::List, &format!("in namespace {namespace}")));
        }
        if self.access.may(person, Verb::List, "").await? {
            return Ok(Namespaces::All);
        }
        let known: BTreeSet<String> = self.store.all().iter().map(|trail| trail.meta.namespace.clone()).collect();
        if known.len() > ASKED {
            return Err(forbidden(person, Verb::List, "in all namespaces; name one"));
        }
        let mut these = BTreeSet::new();
        for namespace in known.into_iter().filter(|namespace| !namespace.is_empty()) {
            if self.access.may(person, Verb::List, &namespace).await? {
                these.insert(namespace);
            }
        }
        if these.is_empty() {
            Err(forbidden(person, Verb::List, "in any namespace"))
        } else {
            Ok(Namespaces::These(these))
        }
    }

    /// A trail that somebody may read. Whether there is one that they may not is
    /// not said.
    async fn readable_trail(&self, person: &Person, uid: &str) -> Result<Arc<StoredTrail>, Refusal> {
        let trail = self.store.get(uid);
        let namespace = trail.as_ref().map_or("", |trail| trail.meta.namespace.as_str());
        match (self.access.may(person, Verb::Get, namespace).await?, trail) {
            (true, Some(trail)) => Ok(trail),
            _ => Err(Refusal::new(
                Code::NotFound,
                "there is no trail of this pod that you may read",
                format!(
                    "GET {TRAILS_PATH} lists them; {} needs `get` on trails.sluice.dev in the pod's namespace",
                    person.username
                ),
            )),
        }
    }

    /// Reading is recorded before anything is handed out.
    async fn record<const N: usize>(
        &self,
        person: &Person,
        what: &'static str,
        fields: [(&str, serde_json::Value); N],
    ) -> Result<(), Refusal> {
        let by = json!({ "username": person.username, "uid": person.uid, "groups": person.groups });
        let mut record = Record::new(Kind::Read).with("what", what).with("by", by);
        for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_null()) {
            record = record.with(name, value);
        }
        match self.trail.append(record, Durability::Disk).await {
            Ok(_) => {
                self.metrics.read(what);
                self.store.changed();
                Ok(())
            }
            Err(error) => {
                let message = format!("reading cannot be recorded, and is refused: {error}");
                Err(Refusal::new(Code::Unavailable, message, "see to the collector's volume"))
            }
        }
    }
}

fn said(namespaces: &Namespaces) -> serde_json::Value {
    match namespaces {
        Namespaces::All => serde_json::Value::Null,
        Namespaces::These(these) => json!(these),
    }
}

/// A JSON array, never whole in memory: there can be very many trails.
fn send_trails(store: &Store, wanted: &Wanted, pieces: &mpsc::Sender<io::Result<Bytes>>) {
    let mut piece = b"[".to_vec();
    let mut between: &[u8] = b"";
    for trail in store.all().into_iter().filter(|trail| wanted.has(&trail.meta)) {
        piece.extend_from_slice(between);
        between = b",";
        // A summary is text and numbers.
        piece.extend(serde_json::to_vec(&store.summary(&trail)).unwrap_or_default());
        if piece.len() >= PIECE && pieces.blocking_send(Ok(std::mem::take(&mut piece).into())).is_err() {
            return;
        }
    }
    piece.push(b']');
    let _ = pieces.blocking_send(Ok(piece.into()));
}

fn send_file(path: &Path, len: u64, pieces: &mpsc::Sender<io::Result<Bytes>>) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut left = len;
    while left > 0 {
        let mut piece = vec![0; usize::try_from(left).unwrap_or(usize::MAX).min(PIECE)];
        file.read_exact(&mut piece)?;
        left -= piece.len() as u64;
        if pieces.blocking_send(Ok(piece.into())).is_err() {
            break;
        }
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Refusal::new(Code::Unavailable, error.to_string(), "try again"))
}

fn json_of(body: &impl serde::Serialize) -> Result<Answer, Refusal> {
    let body = serde_json::to_vec(body)
        .map_err(|error| Refusal::new(Code::Unavailable, error.to_string(), "say so to who maintains Sluice"))?;
    Ok(text(StatusCode::OK, "application/json", body))
}

fn nothing() -> Refusal {
    let fix = format!("GET {TRAILS_PATH}, {TRAILS_PATH}/UID, {TRAILS_PATH}/UID/FILE or {RECORDS_PATH}");
    Refusal::new(Code::NotFound, "there is nothing here", fix)
}

fn bad(error: sluice_wire::OutOfBounds) -> Refusal {
    Refusal::new(Code::BadRequest, error.to_string(), "see docs/collector.md")
}

fn forbidden(person: &Person, verb: Verb, place: &str) -> Refusal {
    let message = format!("{} may not {} trails.sluice.dev {place}", person.username, verb.label());
    Refusal::new(Code::Forbidden, message, "bind the ClusterRole sluice-audit-reader to them")
}

/// Bytes of a file that are sent at once.
const PIECE: usize = 64 * 1024;
/// Pieces that wait to be sent.
const PIECES: usize = 4;
/// Trails that one reader can follow: of each a file is open.
const FOLLOWED: usize = 500;
/// Namespaces that are asked for one by one.
const ASKED: usize = 200;
/// How long what is new is gathered.
const LINGER: Duration = Duration::from_millis(50);
/// How often a reader who follows must still have the right to.
pub const ASK_AGAIN: Duration = Duration::from_secs(60);
