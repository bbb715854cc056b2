use bytes::Bytes;
use http::Method;
use sluice_audit::ship::{Batch, SendError, Transport};
use sluice_wire::{BatchStart, INGEST_PATH, IngestAnswer, IngestRefusal};

use crate::link::{body, refusal};
use crate::{Link, LinkError};

/// Carries a trail's batches to the collector, over one connection.
#[derive(Debug)]
pub struct IngestTransport {
    link: Link,
}

impl IngestTransport {
    /// Over this link, which must lead to the collector.
    pub fn new(link: Link) -> Self {
        Self { link }
    }
}

impl Transport for IngestTransport {
    async fn send(&mut self, batch: &Batch) -> Result<u64, SendError> {
        let start = BatchStart {
            epoch: batch.epoch,
            ordinal: batch.ordinal,
            segment: batch.segment,
            offset: batch.offset,
            rest: batch.rest,
        };
        let path = format!("{INGEST_PATH}?{start}");
        let away = |error: LinkError| SendError::Unreachable(error.to_string());
        let sent = self.link.send(Method::POST, &path, Bytes::copy_from_slice(&batch.bytes)).await.map_err(away)?;
        let url = self.link.endpoint().url(INGEST_PATH);
        let (status, body) = body(&url, sent).await.map_err(away)?;
        if !status.is_success() {
            return Err(refused(&url, status, &body));
        }
        match serde_json::from_slice::<IngestAnswer>(&body) {
            Ok(answer) if answer.epoch == batch.epoch => Ok(answer.acknowledged),
            Ok(answer) => Err(SendError::Unreachable(format!(
                "{url}: acknowledges epoch {} where {} was sent; check that a version of ours answers there",
                answer.epoch, batch.epoch
            ))),
            Err(error) => Err(SendError::Unreachable(format!(
                "{url}: the answer cannot be read ({error}); check that a version of ours answers there"
            ))),
        }
    }
}

/// What a refusal means for who ships.
fn refused(url: &str, status: http::StatusCode, body: &[u8]) -> SendError {
    let said = |code: &str, message: String, fix: &str| SendError::Refused {
        code: code.to_owned(),
        message: format!("{url}: {message}"),
        fix: fix.to_owned(),
    };
    match serde_json::from_slice(body) {
        Ok(IngestRefusal::Gap { expected }) => SendError::Gap { expected },
        Ok(IngestRefusal::Fork { sequence }) => said(
            "fork",
            format!("another record {sequence} of this epoch is stored there"),
            "compare both with `sluice audit verify`: one of them is not what was written",
        ),
        Ok(IngestRefusal::BadSignature { message }) => {
            said("badSignature", message, "see what `sluice audit verify` says of the trail's folder")
        }
        Ok(IngestRefusal::Malformed { message }) => {
            said("malformed", message, "see what `sluice audit verify` says of the trail's folder")
        }
        Ok(IngestRefusal::Full { message }) => {
            said("full", message, "make room at the collector; it is sent again by itself")
        }
        Ok(IngestRefusal::NotYours { message }) => {
            said("notYours", message, "the trail's folder must not outlive its pod, nor be shared")
        }
        Ok(IngestRefusal::Other) | Err(_) => match refusal(url, status, body) {
            LinkError { refusal: Some(refusal), .. } => {
                said(&format!("{:?}", refusal.code), refusal.message, &refusal.fix)
            }
            error => SendError::Unreachable(error.to_string()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;

    fn said(refusal: &impl serde::Serialize) -> SendError {
        refused("https://c:1/v1/ingest", StatusCode::CONFLICT, &serde_json::to_vec(refusal).expect("JSON"))
    }

    #[test]
    fn each_refusal_is_what_the_shipper_understands() {
        assert_eq!(said(&IngestRefusal::Gap { expected: 7 }), SendError::Gap { expected: 7 });
        for (refusal, code) in [
            (IngestRefusal::Fork { sequence: 3 }, "fork"),
            (IngestRefusal::BadSignature { message: "x".into() }, "badSignature"),
            (IngestRefusal::Malformed { message: "x".into() }, "malformed"),
            (IngestRefusal::Full { message: "x".into() }, "full"),
            (IngestRefusal::NotYours { message: "x".into() }, "notYours"),
        ] {
            let SendError::Refused { code: said, message, fix } = said(&refusal) else { panic!("{refusal:?}") };
            assert_eq!(said, code);
            assert!(message.starts_with("https://c:1/v1/ingest: ") && !fix.is_empty(), "{message}");
        }
    }

    #[test]
    fn a_refusal_of_the_server_itself_keeps_its_words() {
        let refusal = sluice_wire::Refusal::new(sluice_wire::Code::NotYou, "no certificate", "enrol");
        let SendError::Refused { code, message, fix } = said(&refusal) else { panic!() };
        assert_eq!((code.as_str(), fix.as_str()), ("NotYou", "enrol"));
        assert!(message.contains("no certificate"), "{message}");
        let SendError::Refused { code, .. } = refused("https://c:1", StatusCode::BAD_GATEWAY, b"<html>") else {
            panic!()
        };
        assert_eq!(code, "Unavailable");
    }
}
