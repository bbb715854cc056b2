use std::collections::HashMap;

use uuid::Uuid;

use super::{Class, Epoch, Finding, about};

/// How an epoch follows the one before: it names that one's newest leaf.
pub(super) fn link(epoch: &Epoch, before: Option<&Epoch>, by_id: &HashMap<Uuid, &Epoch>) -> Option<Finding> {
    let Some(named) = epoch.predecessor else {
        let before = before?;
        let why = format!("the epoch says that it is the first, but epoch {} is before it", before.ordinal);
        return Some(about(Class::Diverged, epoch, why));
    };
    let Some(past) = by_id.get(&named.epoch) else {
        let why = format!("epoch {} ({}), which this one follows, is missing", named.ordinal, named.epoch);
        return Some(about(Class::Incomplete, epoch, why));
    };
    if past.unread || (past.damage.is_some() && past.sequence <= named.sequence) {
        return None;
    }
    if past.sequence < named.sequence {
        let why = format!(
            "records {} to {} were cut off: epoch {} goes on from record {}",
            past.sequence + 1,
            named.sequence,
            epoch.ordinal,
            named.sequence
        );
        return Some(about(Class::Invalid, past, why).with_sequence(past.sequence + 1));
    }
    if past.sequence > named.sequence {
        let why = format!("records after {} were added when epoch {} had begun", named.sequence, epoch.ordinal);
        return Some(about(Class::Diverged, past, why).with_sequence(named.sequence + 1));
    }
    if past.hash != named.hash {
        let why = format!("record {} is not the one that epoch {} goes on from", past.sequence, epoch.ordinal);
        return Some(about(Class::Diverged, past, why).with_sequence(past.sequence));
    }
    let passed_over = before.filter(|before| before.id != past.id)?;
    let why = format!("epochs {} and {} both follow epoch {}", passed_over.ordinal, epoch.ordinal, past.ordinal);
    Some(about(Class::Diverged, epoch, why))
}
