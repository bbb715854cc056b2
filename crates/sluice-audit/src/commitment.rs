use std::fmt;

use aws_lc_rs::{digest, rand};

use crate::hash::Hash;

/// Takes a response as it passes and commits to it with a random salt.
///
/// The leaf carries `SHA-256(salt || response)` and the SHA-256 of the salt.
/// The salt lies beside the leaf: with it, a copy of the response can be
/// checked; once it is erased, the leaf confirms no guess.
pub struct CommitmentBuilder {
    salt: [u8; SALT],
    context: digest::Context,
}

impl CommitmentBuilder {
    /// Starts with a fresh salt. `None` when the system gives no random bytes.
    pub fn new() -> Option<Self> {
        let mut salt = [0; SALT];
        rand::fill(&mut salt).ok()?;
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&salt);
        Some(Self { salt, context })
    }

    /// The next bytes of the response, as the agent receives them.
    pub fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
    }

    /// The commitment to what passed so far; more may follow (progress).
    pub fn so_far(&self) -> Commitment {
        Commitment { value: Hash::finish(self.context.clone()), salt: self.salt }
    }

    /// The commitment to all that passed.
    pub fn finish(self) -> Commitment {
        Commitment { value: Hash::finish(self.context), salt: self.salt }
    }
}

impl fmt::Debug for CommitmentBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CommitmentBuilder(***)")
    }
}

/// A salted commitment, with its salt.
#[derive(Clone)]
pub struct Commitment {
    pub(crate) value: Hash,
    pub(crate) salt: [u8; SALT],
}

impl fmt::Debug for Commitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Commitment({})", self.value)
    }
}

/// Length of a salt in bytes.
pub(crate) const SALT: usize = 32;
