//! Every way in which a request is not forwarded, or its answer not passed
//! on; each becomes a `Status` that says what to do.

use std::time::Duration;

use http::{Response, StatusCode};
use sluice_audit::TrailError;
use sluice_core::kubernetes::Request;
use sluice_policy::Reason;

use crate::http::body::Downward;
use crate::http::head::Unreadable;
use crate::http::upstream::UpstreamError;
use crate::identity::Refusal;
use crate::kubernetes::{Reject, Status};

/// Why a client gets an answer of the gateway's own.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It is no HTTP that can be read in one way only; the connection ends.
    Unreadable(Unreadable),
    /// It is no request that the API server reads in one way only.
    Rejected(Reject),
    /// Nobody, or nobody known, asks.
    Unidentified(Refusal),
    /// Policy says no.
    Denied(Box<Reason>),
    /// More commands than `limits.commandsPerMinute`.
    Throttled { per_minute: u32, wait: Duration },
    /// No room for one more request body.
    Busy,
    /// The body broke off, or its framing is wrong.
    BodyLost(String),
    /// The body stopped coming.
    BodyLate,
    /// It cannot be recorded.
    Unrecorded(TrailError),
    /// There is no answer from the server.
    Upstream(UpstreamError),
    /// There is an answer that cannot be masked.
    Withheld { answered: StatusCode, why: String },
    /// There is an answer that is not shown for another reason.
    Cut { answered: StatusCode, why: String },
}

impl Refused {
    /// A stable word for records and metrics.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "UnreadableHttp",
            Self::Rejected(_) => "UnreadableRequest",
            Self::Unidentified(refusal) => refusal.code,
            Self::Denied(reason) => reason.code,
            Self::Throttled { .. } => "Throttled",
            Self::Busy => "Busy",
            Self::BodyLost(_) => "BodyLost",
            Self::BodyLate => "BodyLate",
            Self::Unrecorded(_) => "Unrecorded",
            Self::Upstream(UpstreamError::Dial(error)) => error.code(),
            Self::Upstream(_) => "UpstreamBroken",
            Self::Withheld { .. } => "Withheld",
            Self::Cut { .. } => "Cut",
        }
    }

    /// What people read, and what they can do.
    pub(crate) fn words(&self) -> (String, String) {
        match self {
            Self::Unreadable(unreadable) => (unreadable.message.clone(), "Send one plain HTTP request.".into()),
            Self::Rejected(reject) => (reject.message.clone(), reject.fix.clone()),
            Self::Unidentified(refusal) => (refusal.message.clone(), refusal.fix.clone()),
            Self::Denied(reason) => (reason.message.clone(), reason.fix.clone()),
            Self::Throttled { per_minute, .. } => (
                format!("more than {per_minute} commands in a minute"),
                "Slow down, or raise limits.commandsPerMinute in the policy.".into(),
            ),
            Self::Busy => {
                ("there is no room for one more request body".into(), "Send it again in a few seconds.".into())
            }
            Self::BodyLost(why) => (format!("the request body cannot be read: {why}"), "Send it again.".into()),
            Self::BodyLate => (
                format!("nothing of the request body came for {} seconds", crate::session::BODY_PAUSE.as_secs()),
                "Send it again.".into(),
            ),
            Self::Unrecorded(error) => (
                format!("the command cannot be recorded: {error}"),
                "Nothing is forwarded until the trail takes records.".into(),
            ),
            Self::Upstream(UpstreamError::Dial(error)) => (error.to_string(), error.fix()),
            Self::Upstream(error) => {
                (error.to_string(), "Whether it was carried out is not known: look before you repeat it.".into())
            }
            Self::Withheld { why, .. } => (why.clone(), String::new()),
            Self::Cut { answered, why } => {
                (format!("the server answered {}, but {why}", answered.as_u16()), String::new())
            }
        }
    }

    /// As the client's own protocol says it.
    pub(crate) fn status(&self, request: Option<&Request>) -> Status {
        let status = match (self, request) {
            (Self::Rejected(reject), _) => return Status::from(reject),
            (Self::Denied(reason), Some(request)) => return Status::denied(request, reason),
            (Self::Withheld { answered, why }, Some(request)) => return Status::withheld(request, *answered, why),
            (other, _) => {
                let (message, fix) = other.words();
                let code = other.http();
                let text = format!("sluice: {}. {}", message.trim_end_matches('.'), capital(&fix));
                Status::new(code, text.trim_end()).cause("SluiceCode", other.code()).cause("SluiceFix", fix)
            }
        };
        let status = match request {
            Some(request) => status.about(request),
            None => status,
        };
        match self {
            Self::Throttled { wait, .. } => status.retry_after(u32::try_from(wait.as_secs()).unwrap_or(60) + 1),
            Self::Busy => status.retry_after(5),
            _ => status,
        }
    }

    fn http(&self) -> StatusCode {
        match self {
            Self::Unreadable(unreadable) => StatusCode::from_u16(unreadable.status).unwrap_or(StatusCode::BAD_REQUEST),
            Self::Rejected(reject) => reject.code,
            // Nothing is wrong with the token: another one would not help.
            Self::Unidentified(refusal) if refusal.code == "ProviderUnavailable" => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unidentified(_) => StatusCode::UNAUTHORIZED,
            Self::Denied(_) => StatusCode::FORBIDDEN,
            Self::Throttled { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Busy | Self::Unrecorded(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::BodyLost(_) => StatusCode::BAD_REQUEST,
            Self::BodyLate => StatusCode::REQUEST_TIMEOUT,
            Self::Upstream(_) | Self::Withheld { .. } | Self::Cut { .. } => StatusCode::BAD_GATEWAY,
        }
    }

    /// Whether nothing more of this connection can be trusted.
    pub(crate) fn ends_connection(&self) -> bool {
        matches!(self, Self::Unreadable(_) | Self::BodyLost(_) | Self::BodyLate)
    }
}

/// The text as a sentence begins.
fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// A `Status` as an answer.
pub(crate) fn answer(status: &Status) -> Response<Downward> {
    status.response().map(Downward::whole)
}

/// An answer for a client that speaks plain HTTP to a TLS port, as the bytes
/// of the whole connection.
pub(crate) fn plain(message: &str) -> Vec<u8> {
    let body = format!("{message}\n");
    format!(
        "HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

impl From<Unreadable> for Refused {
    fn from(unreadable: Unreadable) -> Self {
        Self::Unreadable(unreadable)
    }
}

impl From<Reject> for Refused {
    fn from(reject: Reject) -> Self {
        Self::Rejected(reject)
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::Unidentified(refusal)
    }
}

impl From<TrailError> for Refused {
    fn from(error: TrailError) -> Self {
        Self::Unrecorded(error)
    }
}

impl From<UpstreamError> for Refused {
    fn from(error: UpstreamError) -> Self {
        Self::Upstream(error)
    }
}
