use tokio::sync::oneshot;

use crate::error::TrailError;
use crate::mark::Handed;
use crate::record::Prepared;
use crate::trail::{Durability, Intent, Receipt};

/// What the handles ask of the writer.
#[derive(Debug)]
pub(crate) enum Message {
    Append(Box<Append>),
    /// An intent was dropped.
    Wake,
    End(oneshot::Sender<Result<(), TrailError>>),
    /// Sign the newest leaf, if there is room for a head; answers with the
    /// newest leaf that is signed.
    Sign(oneshot::Sender<u64>),
    /// A collector has this.
    HandedOver(Box<Handed>),
}

/// A record that wants a place.
#[derive(Debug)]
pub(crate) struct Append {
    pub(crate) record: Prepared,
    pub(crate) durability: Durability,
    pub(crate) room: Room,
    pub(crate) acknowledgement: Acknowledgement,
}

/// Which room a record may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// What is not reserved.
    General,
    /// The same, and room for an outcome is reserved.
    Reserving,
    /// What the intent of this sequence reserved.
    Reserved(u64),
}

/// Who waits for a record.
#[derive(Debug)]
pub(crate) struct Acknowledgement {
    answer: Answer,
    receipt: Option<Receipt>,
}

#[derive(Debug)]
enum Answer {
    Receipt(oneshot::Sender<Result<Receipt, TrailError>>),
    Intent(oneshot::Sender<Result<Intent, TrailError>>, Intent),
    Nobody,
}

impl Acknowledgement {
    pub(crate) fn receipt(answer: oneshot::Sender<Result<Receipt, TrailError>>) -> Self {
        Self { answer: Answer::Receipt(answer), receipt: None }
    }

    /// For a record of the trail itself.
    pub(super) fn nobody() -> Self {
        Self { answer: Answer::Nobody, receipt: None }
    }

    /// The token travels with the answer: if nobody waits any more, it is
    /// dropped here, and its intent gets the outcome `unknown`.
    pub(crate) fn intent(answer: oneshot::Sender<Result<Intent, TrailError>>, token: Intent) -> Self {
        Self { answer: Answer::Intent(answer, token), receipt: None }
    }

    pub(super) fn placed(&mut self, receipt: Receipt) {
        self.receipt = Some(receipt);
        if let Answer::Intent(_, token) = &mut self.answer {
            token.arm(receipt);
        }
    }

    pub(crate) fn give(self, result: &Result<(), TrailError>) {
        match (self.answer, self.receipt, result) {
            (Answer::Receipt(answer), Some(receipt), Ok(())) => drop(answer.send(Ok(receipt))),
            (Answer::Intent(answer, token), Some(_), Ok(())) => drop(answer.send(Ok(token))),
            (Answer::Receipt(answer), _, Err(error)) => drop(answer.send(Err(error.clone()))),
            (Answer::Intent(answer, _), _, Err(error)) => drop(answer.send(Err(error.clone()))),
            // Without an answer the receiver reports the failure of the trail.
            (Answer::Nobody, ..) | (_, None, Ok(())) => {}
        }
    }
}
