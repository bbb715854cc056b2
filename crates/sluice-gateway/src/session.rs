//! One client connection to one target: the only file that knows in which
//! order a request passes the stages.
//!
//! ```text
//! attributes -> identify -> decode -> throttle -> decide -> write-back
//!            -> record: intent -> forward -> mask -> record: outcome
//! ```
//!
//! Whatever breaks on the way closes the door: the request is not forwarded,
//! and the client gets a `Status` that says why.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, Response, StatusCode, Uri, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use sluice_audit::failpoint;
use sluice_core::kubernetes::Request;
use sluice_core::{Action, Command, CommandTarget, Intent, IntentSource, SubjectKind};
use sluice_policy::{Decision, Permit, Reason, Verdict};

use crate::deny::{self, Refused};
use crate::forward::{self, INTENT_HEADER};
use crate::http::body::Downward;
use crate::http::head::Authorities;
use crate::http::serve::Asked;
use crate::http::upstream::{OutgoingBody, Upstream};
use crate::identify::identify;
use crate::kubernetes::accept::Reading;
use crate::kubernetes::body::Plan;
use crate::kubernetes::{self, Reject};
use crate::limits::Taken;
use crate::mask::Masking;
use crate::metrics::Metrics;
use crate::record::{self, End, Running, Stranger};
use crate::relay::{Cut, Relay, over_limit};
use crate::shared::{Policy, Shared};
use crate::tls::Alpn;
use crate::way::Way;

/// Named places between the stages where a test can end the process.
pub const FAILPOINTS: &[&str] = &[
    "gateway.after_identify",
    "gateway.after_decode",
    "gateway.before_refused",
    "gateway.after_refused",
    "gateway.after_decide",
    "gateway.after_intent",
    "gateway.after_forward",
    "gateway.before_outcome",
    "gateway.after_outcome",
];

/// An intent in a header is cut here.
const MAX_INTENT_BYTES: usize = 1024;
/// What is still read of a request that was refused, so that the connection
/// stays usable.
const MAX_DRAINED_BYTES: usize = 64 * 1024;
/// How long a body may pause.
pub(crate) const BODY_PAUSE: Duration = Duration::from_secs(60);

/// One connection.
pub(crate) struct Session {
    pub(crate) shared: Arc<Shared>,
    pub(crate) peer: SocketAddr,
    /// Host and port of the target. What policy says of it is looked up for
    /// each request.
    pub(crate) host: Arc<str>,
    pub(crate) port: u16,
    pub(crate) alpn: Alpn,
    pub(crate) authorities: Arc<Authorities>,
    /// `None`: policy had no such target when the connection was made.
    pub(crate) upstream: Option<Upstream<Way>>,
}

/// What is known of a request when it is refused.
#[derive(Default)]
struct Seen {
    asked: Option<(Method, Uri)>,
    request: Option<Request>,
    /// The part of the body that nobody read.
    unread: Option<Incoming>,
    /// The client waits for `100 Continue` before it sends the body.
    expects: bool,
    /// The refusal is in the trail already.
    recorded: bool,
}

/// A command that may be forwarded, once.
struct Permitted {
    permit: Permit,
    running: Running,
    /// Whether Secrets in the answer are masked.
    masks: bool,
    /// Bytes that the answer may have.
    limit: Option<u64>,
}

impl Session {
    /// Answers one request.
    pub(crate) async fn handle(self: Arc<Self>, asked: Asked) -> Response<Downward> {
        let mut seen = Seen::default();
        match self.pass(asked, &mut seen).await {
            Ok(response) => response,
            Err(refused) => self.refuse(refused, seen).await,
        }
    }

    async fn pass(&self, asked: Asked, seen: &mut Seen) -> Result<Response<Downward>, Refused> {
        let arrived = self.shared.clock.monotonic();
        let (head, body) = asked?.into_parts();
        seen.asked = Some((head.method.clone(), head.uri.clone()));
        seen.expects = head.headers.contains_key(header::EXPECT);
        seen.unread = Some(body);

        // One policy for the whole command, whatever is loaded meanwhile.
        let policy = self.shared.policy.load_full();
        let target = policy.target(&self.host, self.port).ok_or_else(|| self.no_target())?;
        let upstream = self.upstream.as_ref().ok_or_else(|| self.no_target())?;
        let request = seen.request.insert(kubernetes::attributes(&head.method, &head.uri, &head.headers)?);

        let subject = identify(&self.shared, &policy, target, &head.headers).await?;
        failpoint!("gateway.after_identify");

        let plan = kubernetes::body::plan(request);
        let (whole, room) = self.read(plan, request, &head.headers, &mut seen.unread).await?;
        if plan == Plan::Read {
            kubernetes::body::decode(request, &head.headers, &whole)?;
        }
        failpoint!("gateway.after_decode");

        self.throttle(&policy)?;
        let mut command = Command {
            at: self.shared.clock.now(),
            subject,
            workload: self.shared.workload.clone(),
            target: CommandTarget { name: target.name.clone(), host: target.host.clone(), port: self.port },
            intents: self.intents(&head.headers),
            actions: seen.request.take().map(|request| Action::Kubernetes(Box::new(request))).into_iter().collect(),
        };
        let decision = self.decide(&policy, &command, &whole);
        Metrics::count(&self.shared.metrics.commands, decision.verdict.label());
        self.shared.metrics.decided.observe(self.shared.clock.monotonic().saturating_sub(arrived).as_secs_f64());
        failpoint!("gateway.after_decide");

        let body = match plan {
            Plan::Stream => seen.unread.take().map_or(OutgoingBody::Whole(Bytes::new()), OutgoingBody::Stream),
            Plan::Empty | Plan::Read => OutgoingBody::Whole(whole),
        };
        let answer = match self.permit(&policy, &command, decision, &mut seen.recorded).await {
            Ok(permitted) => self.forward(upstream, permitted, &command, head, body).await,
            Err(refused) => {
                if let OutgoingBody::Stream(body) = body {
                    seen.unread = Some(body);
                }
                Err(refused)
            }
        };
        drop(room);
        if answer.is_err()
            && let Some(Action::Kubernetes(request)) = command.actions.pop()
        {
            seen.request = Some(*request);
        }
        answer
    }

    /// From a decision to a command that may be forwarded: recorded, durably.
    async fn permit(
        &self,
        policy: &Policy,
        command: &Command,
        decision: Decision,
        recorded: &mut bool,
    ) -> Result<Permitted, Refused> {
        let revision = policy.compiled.revision();
        let obligations = match &decision.verdict {
            Verdict::Allow(permit) => *permit.obligations(),
            Verdict::Deny(reason) => {
                failpoint!("gateway.before_refused");
                record::denied(&self.shared, command, &decision, reason, revision).await?;
                failpoint!("gateway.after_refused");
                *recorded = true;
                return Err(Refused::Denied(Box::new(reason.clone())));
            }
        };
        let audit = policy.compiled.audit();
        let running = record::intent(&self.shared, command, &decision, revision, audit, &obligations).await?;
        *recorded = true;
        failpoint!("gateway.after_intent");
        let Verdict::Allow(permit) = decision.verdict else { return Err(self.no_target()) };
        let limit = policy.compiled.limits().response_bytes;
        Ok(Permitted { permit, running, masks: obligations.mask_secrets, limit })
    }

    /// Reads what must be read before the decision. The room for it is kept
    /// until the returned permit goes.
    async fn read(
        &self,
        plan: Plan,
        request: &Request,
        headers: &http::HeaderMap,
        unread: &mut Option<Incoming>,
    ) -> Result<(Bytes, Option<tokio::sync::OwnedSemaphorePermit>), Refused> {
        let Some(body) = unread.as_mut().filter(|body| !body.is_end_stream()) else { return Ok((Bytes::new(), None)) };
        let limit = match plan {
            Plan::Stream => return Ok((Bytes::new(), None)),
            Plan::Empty => 0,
            Plan::Read => kubernetes::body::LIMIT,
        };
        let declared =
            headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if declared.is_some_and(|declared| declared > limit) {
            return Err(over(plan, request).into());
        }
        let room = self.shared.limits.body(declared.unwrap_or(limit)).await.ok_or(Refused::Busy)?;
        let mut bytes = BytesMut::with_capacity(declared.unwrap_or(0));
        loop {
            let frame = tokio::time::timeout(BODY_PAUSE, body.frame()).await.map_err(|_| Refused::BodyLate)?;
            match frame.transpose().map_err(|error| Refused::BodyLost(error.to_string()))?.map(Frame::into_data) {
                Some(Ok(data)) if bytes.len() + data.len() > limit => return Err(over(plan, request).into()),
                Some(Ok(data)) => bytes.extend_from_slice(&data),
                Some(Err(_trailers)) => {}
                None => break,
            }
        }
        *unread = None;
        Ok((bytes.freeze(), Some(room)))
    }

    fn throttle(&self, policy: &Policy) -> Result<(), Refused> {
        let Some(per_minute) = policy.compiled.limits().commands_per_minute else { return Ok(()) };
        match self.shared.limits.commands.take(per_minute, &*self.shared.clock) {
            Taken::Yes { .. } => Ok(()),
            Taken::No { wait } => Err(Refused::Throttled { per_minute, wait }),
        }
    }

    fn intents(&self, headers: &http::HeaderMap) -> Vec<Intent> {
        let declared = headers.get(INTENT_HEADER).map(|value| {
            let mut text = String::from_utf8_lossy(value.as_bytes()).into_owned();
            text.truncate(text.floor_char_boundary(MAX_INTENT_BYTES));
            Intent { source: IntentSource::Header, text }
        });
        declared.into_iter().chain(self.shared.intents.iter().cloned()).collect()
    }

    /// Policy's decision, and what no policy can lift.
    fn decide(&self, policy: &Policy, command: &Command, body: &[u8]) -> Decision {
        let mut decision = policy.compiled.decide(command);
        if let Verdict::Allow(permit) = &decision.verdict {
            let masked = permit.obligations().mask_secrets;
            let denied = match command.actions.as_slice() {
                _ if policy.is_stale(self.shared.clock.monotonic()) => Err(Box::new(stale(policy))),
                [Action::Kubernetes(request)] => kubernetes::writeback::check(request, body, masked),
                _ => Ok(()),
            };
            if let Err(reason) = denied {
                decision.explanation = reason.to_string();
                decision.rule = None;
                decision.verdict = Verdict::Deny(*reason);
            }
        }
        decision
    }

    async fn forward(
        &self,
        upstream: &Upstream<Way>,
        permitted: Permitted,
        command: &Command,
        mut head: http::request::Parts,
        body: OutgoingBody,
    ) -> Result<Response<Downward>, Refused> {
        let Permitted { permit, mut running, masks, limit } = permitted;
        let [Action::Kubernetes(request)] = command.actions.as_slice() else { return Err(self.no_target()) };
        let mut body = body;
        if masks {
            kubernetes::accept::narrow(request, &mut head.headers);
            if let OutgoingBody::Whole(whole) = &mut body
                && let Some(guarded) = kubernetes::writeback::guarded(request, whole)
            {
                head.headers.insert(header::CONTENT_LENGTH, guarded.len().into());
                *whole = guarded;
            }
        }
        if command.subject.kind == SubjectKind::Workload && !head.headers.contains_key(header::AUTHORIZATION) {
            self.speak_for_workload(&mut head.headers);
        }
        let repeatable = !request.changes_state() && matches!(&body, OutgoingBody::Whole(body) if body.is_empty());
        let outgoing = match forward::outgoing(head, body, self.authorities.canonical(), self.alpn, repeatable) {
            Ok(outgoing) => outgoing,
            Err(error) => {
                running.end(End::Failed(format!("not sent: {error}"))).await?;
                return Err(
                    Reject::bad(format!("the request cannot be passed on: {error}"), "Send a plain path.").into()
                );
            }
        };
        let response = match forward::forward(permit, upstream, outgoing).await {
            Ok(response) => response,
            Err(error) => {
                running.end(End::Failed(error.to_string())).await?;
                return Err(error.into());
            }
        };
        failpoint!("gateway.after_forward");

        let (mut head, body) = response.into_parts();
        let upstream_id =
            head.headers.get("audit-id").and_then(|id| id.to_str().ok()).map(|id| id.chars().take(128).collect());
        running.answered(head.status, upstream_id);
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            // Upgrades were denied before: what follows belongs to no request.
            let why = "that switches to another protocol, which the request did not ask for".to_owned();
            running.end(End::Failed(why.clone())).await?;
            return Err(Refused::Cut { answered: head.status, why });
        }
        forward::strip_hop_by_hop(&mut head.headers);
        if masks {
            kubernetes::accept::without_warnings(request, &mut head.headers);
        }
        let reading =
            if masks { kubernetes::accept::reading(request, head.status, &head.headers) } else { Reading::Untouched };
        let masking = match reading {
            Reading::Untouched => None,
            Reading::Masked => {
                head.headers.remove(header::CONTENT_LENGTH);
                Some(Masking::secrets(self.shared.marker))
            }
            Reading::Withheld(why) => {
                running.end(End::Failed(why.clone())).await?;
                return Err(Refused::Withheld { answered: head.status, why });
            }
        };
        let answered = head.status;
        if limit.is_some_and(|limit| body.size_hint().lower() > limit) {
            let why = over_limit(limit);
            running.end(End::Failed(why.clone())).await?;
            return Err(Refused::Cut { answered, why });
        }
        let body = (Relay { masking, running, limit }).start(body).await.map_err(|cut| match cut {
            Cut::Unmaskable(why) => Refused::Withheld { answered, why },
            Cut::Broken(why) => Refused::Cut { answered, why },
        })?;
        head.version = http::Version::HTTP_11;
        Ok(Response::from_parts(head, body))
    }

    /// The pod as itself, at the API server of its own cluster, is known there
    /// by its token.
    fn speak_for_workload(&self, headers: &mut http::HeaderMap) {
        let Some(token) = self.shared.own_token(&self.host) else { return };
        if let Ok(mut value) = http::HeaderValue::try_from(format!("Bearer {}", token.expose())) {
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
    }

    /// Answers a request that goes no further, and records why if that was not
    /// done yet.
    async fn refuse(&self, refused: Refused, seen: Seen) -> Response<Downward> {
        if !seen.recorded {
            let (message, fix) = refused.words();
            let line = seen.asked.as_ref().map(|(method, uri)| line(method, uri));
            record::stranger(
                &self.shared,
                Stranger {
                    peer: self.peer,
                    destination: format!("{}:{}", self.host, self.port),
                    code: refused.code(),
                    message,
                    fix,
                    request: line.as_deref(),
                },
            )
            .await;
        }
        let mut response = deny::answer(&refused.status(seen.request.as_ref()));
        let ends = refused.ends_connection() || !drained(seen.unread, seen.expects).await;
        if ends && self.alpn == Alpn::Http1 {
            response.headers_mut().insert(header::CONNECTION, http::HeaderValue::from_static("close"));
        }
        response
    }

    fn no_target(&self) -> Refused {
        Refused::Denied(Box::new(Reason {
            code: sluice_policy::code::NO_TARGET,
            rule: None,
            message: format!("no target of the policy is {}:{}", self.host, self.port),
            fix: "Name it under spec.targets of a GatewayPolicy that selects this workload".into(),
            near_misses: Vec::new(),
        }))
    }
}

/// Reads the rest of a small body, so that the next request of the connection
/// can be told from it. False: it is too long, or does not come.
async fn drained(unread: Option<Incoming>, expects: bool) -> bool {
    const LONGEST: Duration = Duration::from_secs(5);
    let Some(mut body) = unread.filter(|body| !body.is_end_stream()) else { return true };
    if expects || body.size_hint().lower() > MAX_DRAINED_BYTES as u64 {
        return false;
    }
    let drain = async {
        let mut seen = 0;
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return false };
            seen += frame.data_ref().map_or(0, Bytes::len);
            if seen > MAX_DRAINED_BYTES {
                return false;
            }
        }
        true
    };
    tokio::time::timeout(LONGEST, drain).await.unwrap_or(false)
}

fn over(plan: Plan, request: &Request) -> Reject {
    match plan {
        Plan::Empty => kubernetes::body::unexpected(request),
        Plan::Read | Plan::Stream => kubernetes::body::too_large(),
    }
}

fn stale(policy: &Policy) -> Reason {
    Reason {
        code: "PolicyTooOld",
        rule: None,
        message: format!(
            "the policy in force was last confirmed more than maxPolicyAge ({} s) ago",
            policy.compiled.audit().max_policy_age.as_secs()
        ),
        fix:
            "Repair the policy files, or the way to the control plane; /readyz and the gateway's log say what is wrong"
                .into(),
        near_misses: Vec::new(),
    }
}

/// Method and path, for the record of a refusal.
fn line(method: &Method, uri: &Uri) -> String {
    const LONGEST: usize = 2048;
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    let mut line = format!("{method} {path}");
    line.truncate(line.floor_char_boundary(LONGEST));
    line
}
