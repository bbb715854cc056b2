//! Lines out of chunks, bounded.

/// Gathers lines.
#[derive(Debug)]
pub(crate) struct Lines {
    buffer: Vec<u8>,
    limit: usize,
}

/// A line is longer than it may be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a line is longer than {0} bytes")]
pub(crate) struct TooLong(usize);

impl Lines {
    /// Lines of at most `limit` bytes, their end included.
    pub(crate) fn new(limit: usize) -> Self {
        Self { buffer: Vec::new(), limit }
    }

    /// Takes bytes in, gives the lines that are whole now, without their ends.
    /// After an error the rest is of no use.
    pub(crate) fn push(&mut self, mut chunk: &[u8]) -> Result<Vec<Vec<u8>>, TooLong> {
        let mut lines = Vec::new();
        while let Some(end) = chunk.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = chunk.split_at(end);
            if self.buffer.len() + line.len() >= self.limit {
                return Err(TooLong(self.limit));
            }
            self.buffer.extend_from_slice(line);
            lines.push(std::mem::take(&mut self.buffer));
            chunk = rest.get(1..).unwrap_or_default();
        }
        if self.buffer.len() + chunk.len() >= self.limit {
            return Err(TooLong(self.limit));
        }
        self.buffer.extend_from_slice(chunk);
        Ok(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// However the bytes are cut, the lines are the same.
        #[test]
        fn cuts_do_not_matter(text in "[a-c\n]{0,64}", cuts in prop::collection::vec(0_usize..64, 0..6)) {
            let whole: Vec<Vec<u8>> = {
                let mut lines: Vec<_> = text.split('\n').map(|line| line.as_bytes().to_vec()).collect();
                lines.pop();
                lines
            };
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.push(text.len());
            cuts.sort_unstable();
            let (mut lines, mut found, mut from) = (Lines::new(1024), Vec::new(), 0);
            for to in cuts {
                found.extend(lines.push(&text.as_bytes()[from..to]).expect("short"));
                from = to;
            }
            prop_assert_eq!(found, whole);
        }
    }

    #[test]
    fn a_line_without_an_end_is_not_gathered_for_ever() {
        let mut lines = Lines::new(8);
        assert_eq!(lines.push(b"1234567\n"), Ok(vec![b"1234567".to_vec()]));
        assert_eq!(lines.push(b"12345678\n"), Err(TooLong(8)));
        let mut lines = Lines::new(8);
        assert_eq!(lines.push(b"1234"), Ok(vec![]));
        assert_eq!(lines.push(b"5678"), Err(TooLong(8)));
    }
}
