//! Masking of one response.

use bytes::Bytes;
use sluice_mask::Marker;
use sluice_mask::secrets::Masker;

use crate::relay::Cut;

/// A masker at work on one response.
pub(crate) struct Masking(Masker);

impl Masking {
    /// Masks the values of Secrets.
    pub(crate) fn secrets(marker: Marker) -> Self {
        Self(Masker::new(marker))
    }

    /// The next bytes as the client may see them.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Bytes, Cut> {
        let mut out = Vec::with_capacity(bytes.len() + 64);
        match self.0.push(bytes, &mut out) {
            Ok(()) => Ok(Bytes::from(out)),
            Err(error) => Err(cut(error)),
        }
    }

    /// Values masked so far.
    pub(crate) fn values(&self) -> u64 {
        self.0.values()
    }

    /// The end: what is left to show, and how many values were masked.
    pub(crate) fn finish(self) -> Result<(Bytes, u64), Cut> {
        let values = self.0.finish().map_err(cut)?;
        Ok((Bytes::new(), values))
    }
}

fn cut(error: sluice_mask::secrets::NotMaskable) -> Cut {
    Cut::Unmaskable(error.to_string())
}
