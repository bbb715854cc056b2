//! Values straight into canonical bytes, without a tree of them in between.
//!
//! Members are written as they come; when their object ends, those that are
//! not in the order of their names are put into it.

use std::fmt;
use std::ops::Range;

use serde::Serialize;
use serde_json::Error;

use super::{DEPTH, stub, to_vec, write_string};

mod values;

use values::Values;

/// An object that is being written, member by member.
#[derive(Clone)]
pub(crate) struct Object {
    out: Vec<u8>,
    /// Members of all objects that are not closed yet, outermost first.
    members: Vec<Member>,
    /// Objects and arrays that are not closed yet.
    depth: usize,
    /// Whether [`Object::members`] met an object.
    flattened: bool,
    /// Reused where members are put into order.
    spare: Vec<u8>,
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.out))
    }
}

/// Where a member stands: `"name":value`.
#[derive(Debug, Clone)]
struct Member {
    bytes: Range<usize>,
    /// The escaped name without its quotes.
    name: Range<usize>,
}

/// An object or array that is not closed yet.
#[derive(Clone, Copy)]
struct Frame {
    start: usize,
    /// The first of its members.
    base: usize,
}

impl Object {
    /// Without members yet.
    pub(crate) fn new() -> Self {
        let mut out = Vec::with_capacity(1_536);
        out.push(b'{');
        Self { out, members: Vec::with_capacity(16), depth: 1, flattened: false, spare: Vec::new() }
    }

    /// Adds a member; of two with one name the later counts.
    ///
    /// # Errors
    /// The value is none that JSON has; nothing is added then.
    pub(crate) fn member(&mut self, name: &str, value: &impl Serialize) -> Result<(), Error> {
        self.whole_or_not(|to| {
            let opened = to.name(name);
            value.serialize(Values { to, flat: false })?;
            to.member_ends(opened);
            Ok(())
        })
    }

    /// Adds each member of `value`. `Ok(false)`: it is no object, and nothing was
    /// added.
    ///
    /// # Errors
    /// As [`Object::member`].
    pub(crate) fn members(&mut self, value: &impl Serialize) -> Result<bool, Error> {
        self.flattened = false;
        let marks = (self.out.len(), self.members.len());
        self.whole_or_not(|to| value.serialize(Values { to, flat: true }))?;
        if !self.flattened {
            self.out.truncate(marks.0);
            self.members.truncate(marks.1);
        }
        Ok(self.flattened)
    }

    /// The canonical bytes of all of it.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.order(0);
        self.out.push(b'}');
        self.out
    }

    fn whole_or_not(&mut self, write: impl FnOnce(&mut Self) -> Result<(), Error>) -> Result<(), Error> {
        let (out, members) = (self.out.len(), self.members.len());
        let written = write(self);
        if written.is_err() {
            self.out.truncate(out);
            self.members.truncate(members);
            self.depth = 1;
        }
        written
    }

    fn open(&mut self, bracket: u8) -> Frame {
        let frame = Frame { start: self.out.len(), base: self.members.len() };
        self.out.push(bracket);
        self.depth += 1;
        frame
    }

    fn close(&mut self, frame: Frame, bracket: u8) {
        if bracket == b'}' {
            self.order(frame.base);
        }
        self.out.push(bracket);
        self.depth -= 1;
        if self.depth == DEPTH {
            // Nested deeper than any reader goes.
            let stub = to_vec(&stub(self.out.get(frame.start..).unwrap_or_default()));
            self.out.truncate(frame.start);
            self.out.extend_from_slice(&stub);
        }
    }

    /// A comma where something stands before in the object or array.
    fn comma(&mut self) {
        if !matches!(self.out.last(), Some(b'{' | b'[')) {
            self.out.push(b',');
        }
    }

    /// Writes the name of a member and the colon.
    fn name(&mut self, name: &str) -> (usize, Range<usize>) {
        self.comma();
        let start = self.out.len();
        write_string(name, &mut self.out);
        self.named(start)
    }

    /// After the name, which stands there in its quotes.
    fn named(&mut self, start: usize) -> (usize, Range<usize>) {
        let name = start + 1..self.out.len() - 1;
        self.out.push(b':');
        (start, name)
    }

    fn member_ends(&mut self, (start, name): (usize, Range<usize>)) {
        self.members.push(Member { bytes: start..self.out.len(), name });
    }

    /// Puts the members from `base` on into the order of their names.
    fn order(&mut self, base: usize) {
        let Some(members) = self.members.get_mut(base..) else { return };
        let out = &self.out;
        if !members.is_sorted_by(|a, b| compare(out, a, b).is_lt())
            && let Some(start) = members.first().map(|first| first.bytes.start)
        {
            members.sort_by(|a, b| compare(out, a, b));
            self.spare.clear();
            for (index, member) in members.iter().enumerate() {
                if members.get(index + 1).is_some_and(|next| compare(out, member, next).is_eq()) {
                    continue;
                }
                if !self.spare.is_empty() {
                    self.spare.push(b',');
                }
                self.spare.extend_from_slice(out.get(member.bytes.clone()).unwrap_or_default());
            }
            self.out.truncate(start);
            self.out.extend_from_slice(&self.spare);
        }
        self.members.truncate(base);
    }
}

/// By the bytes of the names. Only an escape, which begins with `\`, makes a
/// name differ from how it is written.
fn compare(out: &[u8], a: &Member, b: &Member) -> std::cmp::Ordering {
    let written = |member: &Member| out.get(member.name.clone()).unwrap_or_default();
    let (a, b) = (written(a), written(b));
    if a.contains(&b'\\') || b.contains(&b'\\') { unescaped(a).cmp(&unescaped(b)) } else { a.cmp(b) }
}

fn unescaped(name: &[u8]) -> Vec<u8> {
    let quoted = [b"\"", name, b"\""].concat();
    serde_json::from_slice::<String>(&quoted).map_or(quoted, String::into_bytes)
}

#[cfg(test)]
mod tests;
