/// A set of sequences, one bit each. Sequences are contiguous, so that it is
/// never larger than the leaves that were read.
#[derive(Debug, Default)]
pub(super) struct Bits {
    words: Vec<u64>,
    pub(super) count: u64,
}

impl Bits {
    pub(super) fn set(&mut self, sequence: u64) {
        let (word, bit) = Self::place(sequence);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        if let Some(word) = self.words.get_mut(word)
            && *word & bit == 0
        {
            *word |= bit;
            self.count += 1;
        }
    }

    pub(super) fn get(&self, sequence: u64) -> bool {
        let (word, bit) = Self::place(sequence);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    /// Says whether it was set.
    pub(super) fn clear(&mut self, sequence: u64) -> bool {
        let (word, bit) = Self::place(sequence);
        match self.words.get_mut(word) {
            Some(word) if *word & bit != 0 => {
                *word &= !bit;
                self.count -= 1;
                true
            }
            _ => false,
        }
    }

    fn place(sequence: u64) -> (usize, u64) {
        (usize::try_from(sequence / 64).unwrap_or(usize::MAX), 1 << (sequence % 64))
    }
}
