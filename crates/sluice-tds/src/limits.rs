/// How much of a peer's claims is believed. Each is a bound on memory or work;
/// what exceeds one is [`WireError::TooLarge`](crate::WireError::TooLarge).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one token, one parameter's description, or one value that comes
    /// whole. Also the most that is held back while it is incomplete.
    pub unit: usize,
    /// Columns of a result or of a table-valued parameter. SQL Server sends at
    /// most 4,096.
    pub columns: usize,
    /// Bytes of a SQL batch, which is held whole: its meaning is decided by its
    /// end as much as by its beginning.
    pub batch: usize,
}

impl Limits {
    /// Longest LOGIN7 (2.2.6.4: shorter than 128 KiB).
    pub const LOGIN: usize = 128 * 1024 - 1;
    /// Longest PRELOGIN, FEDAUTH, SSPI or transaction manager request.
    pub const MESSAGE: usize = 128 * 1024;
}

impl Default for Limits {
    fn default() -> Self {
        Self { unit: 4 * 1024 * 1024, columns: 4096, batch: 16 * 1024 * 1024 }
    }
}

/// What login settled that changes how later bytes read. Taken from the
/// server's FEATUREEXTACK: see [`Tokens::negotiated`](crate::Tokens::negotiated).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Negotiated {
    /// Version of COLUMNENCRYPTION, if acknowledged: key tables and crypto
    /// metadata in columns; from 2 on, an enclave package in requests.
    pub column_encryption: Option<u8>,
    /// Version of DATACLASSIFICATION, if acknowledged and enabled: from 2 on,
    /// ranks in the token.
    pub data_classification: Option<u8>,
}

impl Negotiated {
    /// Whether requests carry an enclave package. The specification says only
    /// where it stands; drivers write its length, as a USHORT, whenever version
    /// 2 or later was acknowledged, and never otherwise.
    pub fn enclave(&self) -> bool {
        self.column_encryption.is_some_and(|version| version >= 2)
    }

    pub(crate) fn ranks(&self) -> bool {
        self.data_classification.is_some_and(|version| version >= 2)
    }
}
