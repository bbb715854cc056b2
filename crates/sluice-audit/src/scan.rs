//! Reads epochs from front to back, checks all that one epoch can tell by
//! itself, and stops at the first thing that is wrong. Memory is bounded by one
//! frame, whatever the bytes say.

use std::fs::File;
use std::io::{self, BufReader, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use uuid::Uuid;

use crate::format::{FrameHeader, FrameKind, Named, SegmentHeader};
use crate::hash::Hash;
use crate::head::Head;
use crate::leaf::{self, Envelope, Salt};
use crate::mark::Freed;
use crate::record::{Kind, RecordId};

mod file;

pub(crate) use file::{EpochFiles, Listing, Rest, end_of_data, is_locked, regular_file, rest};
use file::{fill, open, rest_is_zero};

/// Where something lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) path: PathBuf,
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

/// Why the rest of an epoch cannot be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) at: At,
    /// Sequence of the leaf that should be there.
    pub(crate) sequence: u64,
    /// Its id, where it can still be read.
    pub(crate) id: Option<RecordId>,
    pub(crate) why: String,
    pub(crate) what: DamageKind,
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DamageKind {
    /// Bytes that are not what was written.
    Changed,
    /// A frame that was begun and not ended, with nothing after it: what a
    /// kill in the middle of a write leaves behind, in the last segment.
    Torn,
    /// A segment that is not there.
    Missing,
}

/// Why a scan stops.
#[derive(Debug)]
pub(crate) enum Stop {
    Damage(Damage),
    Unreadable(PathBuf, io::Error),
}

/// Something that was read and is right.
#[derive(Debug)]
pub(crate) enum Item<'a> {
    Leaf { at: At, bytes: &'a [u8], hash: Hash, envelope: Envelope, salt: Salt },
    Head { at: At, head: Head, signature: Vec<u8> },
}

/// Goes through one epoch.
#[derive(Debug)]
pub(crate) struct EpochScan {
    epoch: Uuid,
    ordinal: u64,
    files: EpochFiles,
    /// Segments up to this number are done.
    done: u64,
    current: Option<Segment>,
    pub(crate) sequence: u64,
    pub(crate) hash: Hash,
    pub(crate) ended: bool,
    mode: Mode,
    /// End of what is right in the segment read last, and that segment.
    pub(crate) end: (u64, u64),
    buffer: Vec<u8>,
}

/// Who else has the files open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Nobody: after the last frame of a segment there are only zeros.
    Still,
    /// Perhaps the writer: a frame may be half written at this moment, and
    /// more may follow what seems to be the end.
    Live,
}

#[derive(Debug)]
struct Segment {
    path: PathBuf,
    number: u64,
    file: BufReader<File>,
    offset: u64,
}

impl EpochScan {
    /// Starts at the first segment, or after those that a collector has.
    pub(crate) fn new(ordinal: u64, epoch: Uuid, files: EpochFiles, mode: Mode) -> Self {
        let freed = files.freed.unwrap_or(Freed { segments: 0, sequence: 0, hash: Hash::ZERO });
        Self {
            epoch,
            ordinal,
            files,
            done: freed.segments,
            current: None,
            sequence: freed.sequence,
            hash: freed.hash,
            ended: false,
            mode,
            end: (0, 0),
            buffer: Vec::new(),
        }
    }

    /// Only the last segment, on the word of its header. `None` when there is
    /// no readable one.
    pub(crate) fn last_segment(ordinal: u64, epoch: Uuid, files: &EpochFiles) -> Option<Self> {
        let (number, path) = files.segments.last_key_value()?;
        let (header, _) = open(path).ok()?.ok()?;
        let mut scan = Self::new(ordinal, epoch, files.clone(), Mode::Still);
        scan.done = number.checked_sub(1)?;
        scan.sequence = header.first.checked_sub(1)?;
        scan.hash = header.prev;
        Some(scan)
    }

    /// Takes note of segments that came later.
    pub(crate) fn refresh(&mut self, files: EpochFiles) {
        self.files = files;
    }

    /// The next leaf or head; `None` at the end of the epoch. In [`Mode::Live`]
    /// it can be asked again after `None`.
    pub(crate) fn next(&mut self) -> Result<Option<Item<'_>>, Stop> {
        loop {
            if self.current.is_none() && !self.open_next()? {
                return Ok(None);
            }
            if let Some(frame) = self.patient_frame()? {
                return self.item(frame).map(Some);
            }
            match self.mode {
                Mode::Still => self.only_zeros()?,
                Mode::Live if self.files.segments.range(self.done + 1..).next().is_none() => {
                    self.back()?;
                    return Ok(None);
                }
                Mode::Live => {}
            }
            self.current = None;
        }
    }

    /// A frame; in [`Mode::Live`] a bad one is given time to become whole, if
    /// there is a writer, and is looked at once more when there is none any more.
    fn patient_frame(&mut self) -> Result<Option<FrameHeader>, Stop> {
        let mut left = if self.mode == Mode::Live { Some(PATIENCE) } else { None };
        loop {
            match (self.frame(), left) {
                (Err(Stop::Damage(damage)), Some(patience)) => {
                    let written = damage.at.path.parent().is_some_and(is_locked);
                    left = patience.checked_sub(1).filter(|_| written);
                    if written {
                        std::thread::sleep(PAUSE);
                    }
                    self.back()?;
                }
                (other, _) => return other,
            }
        }
    }

    /// Goes back to the end of what was right. What comes next comes bit by
    /// bit: a reader that waits holds no large buffer.
    fn back(&mut self) -> Result<(), Stop> {
        let Some(segment) = &mut self.current else { return Ok(()) };
        if segment.file.capacity() > READ_LIVE
            && let Ok(file) = segment.file.get_ref().try_clone()
        {
            segment.file = BufReader::with_capacity(READ_LIVE, file);
        }
        self.buffer = Vec::new();
        segment
            .file
            .seek(SeekFrom::Start(segment.offset))
            .map(drop)
            .map_err(|error| Stop::Unreadable(segment.path.clone(), error))
    }

    /// Opens the segment after those that are done. `false`: there is none.
    fn open_next(&mut self) -> Result<bool, Stop> {
        self.buffer.clear();
        let number = self.done + 1;
        let Some(path) = self.files.segments.get(&number) else {
            let Some((_, later)) = self.files.segments.range(number..).next() else { return Ok(false) };
            let name = Named::Segment { ordinal: self.ordinal, epoch: self.epoch, number }.name().unwrap_or_default();
            let at = At { path: later.with_file_name(name), segment: number, offset: 0 };
            return Err(self.damage(at, DamageKind::Missing, "this segment is missing, later ones are there"));
        };
        let at = At { path: path.clone(), segment: number, offset: 0 };
        let (header, file) = match open(path) {
            Ok(Ok(opened)) => opened,
            Ok(Err(why)) => return Err(self.damage(at, DamageKind::Changed, why)),
            Err(error) => return Err(Stop::Unreadable(path.clone(), error)),
        };
        let expected = SegmentHeader {
            epoch: self.epoch,
            ordinal: self.ordinal,
            number,
            first: self.sequence + 1,
            prev: self.hash,
        };
        if header != expected {
            let why = if header.epoch != self.epoch || header.ordinal != self.ordinal || header.number != number {
                "the header of the segment does not agree with the name of its file".to_owned()
            } else {
                format!(
                    "the segment goes on from record {}, but the last one before it is {}{}",
                    header.first.saturating_sub(1),
                    self.sequence,
                    if header.first == self.sequence + 1 { " with another hash" } else { "" }
                )
            };
            return Err(self.damage(at, DamageKind::Changed, &why));
        }
        let offset = SegmentHeader::LEN as u64;
        self.current = Some(Segment { path: path.clone(), number, file: BufReader::with_capacity(READ, file), offset });
        self.done = number;
        self.end = (number, offset);
        Ok(true)
    }

    /// Reads a frame into the buffer. `None`: none was written here.
    fn frame(&mut self) -> Result<Option<FrameHeader>, Stop> {
        let Some(segment) = &mut self.current else { return Ok(None) };
        let mut bytes = [0; FrameHeader::LEN];
        let got = fill(&mut segment.file, &mut bytes).map_err(|error| Stop::Unreadable(segment.path.clone(), error))?;
        if got < bytes.len() && bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let parsed = FrameHeader::parse(&bytes);
        let header = match parsed {
            Ok(None) => return Ok(None),
            Ok(Some(header)) => header,
            Err(why) => {
                self.buffer.clear();
                return Err(self.changed_or_torn(bytes[FrameHeader::LEN - 1], why));
            }
        };
        self.buffer.resize(header.len + header.beside, 0);
        let got_rest =
            fill(&mut segment.file, &mut self.buffer).map_err(|error| Stop::Unreadable(segment.path.clone(), error))?;
        if got < bytes.len() || got_rest < self.buffer.len() {
            self.buffer.truncate(got_rest);
            let last = self.buffer.last().copied().unwrap_or(1);
            return Err(self.changed_or_torn(last, "the file ends within the record"));
        }
        if !self.buffer.get(..header.len).is_some_and(|payload| header.matches(payload)) {
            let last = self.buffer.last().copied().unwrap_or(1);
            return Err(self.changed_or_torn(last, "the record does not match its checksum"));
        }
        Ok(Some(header))
    }

    /// Judges the frame in the buffer.
    fn item(&mut self, header: FrameHeader) -> Result<Item<'_>, Stop> {
        let Some(segment) = &mut self.current else { return Err(no_segment()) };
        let at = At { path: segment.path.clone(), segment: segment.number, offset: segment.offset };
        segment.offset += (FrameHeader::LEN + header.len + header.beside) as u64;
        self.end = (segment.number, segment.offset);
        let judged = match header.kind {
            FrameKind::Leaf => self.judge_leaf(header),
            FrameKind::Head => self.judge_head(header),
        };
        match judged {
            Err(why) => {
                self.end = (at.segment, at.offset);
                Err(self.damage(at, DamageKind::Changed, &why))
            }
            Ok(Judged::Leaf(envelope, hash, salt)) => {
                self.sequence = envelope.sequence;
                self.hash = hash;
                self.ended = envelope.kind == Kind::End;
                let bytes = self.buffer.get(..header.len).unwrap_or_default();
                Ok(Item::Leaf { at, bytes, hash, envelope: *envelope, salt })
            }
            Ok(Judged::Head(head, signature)) => Ok(Item::Head { at, head, signature }),
        }
    }

    fn judge_leaf(&self, header: FrameHeader) -> Result<Judged, String> {
        let (bytes, beside) = self.buffer.split_at_checked(header.len).unwrap_or_default();
        let envelope: Envelope = leaf::read(bytes)?;
        if envelope.v != leaf::VERSION {
            return Err(format!("the record has format {}, not {}", envelope.v, leaf::VERSION));
        }
        if envelope.epoch != self.epoch {
            return Err(format!("the record belongs to epoch {}", envelope.epoch));
        }
        if envelope.sequence != self.sequence + 1 {
            return Err(format!("record {} stands where {} should", envelope.sequence, self.sequence + 1));
        }
        if envelope.prev != self.hash {
            return Err("the record does not carry the hash of the record before it".to_owned());
        }
        if (envelope.kind == Kind::Enrol) != (envelope.sequence == 1) {
            return Err("the first record of an epoch, and no other, is of kind enrol".to_owned());
        }
        if self.ended {
            return Err("the record stands after the end of its epoch".to_owned());
        }
        let salt = leaf::salt_is_right(envelope.response.as_ref(), beside)?;
        Ok(Judged::Leaf(Box::new(envelope), Hash::of_leaf(bytes), salt))
    }

    fn judge_head(&self, header: FrameHeader) -> Result<Judged, String> {
        let (bytes, beside) = self.buffer.split_at_checked(header.len).unwrap_or_default();
        let (head, signature) = Head::parse(bytes).ok_or("the head cannot be read")?;
        if !beside.is_empty() {
            return Err("a salt lies beside a head".to_owned());
        }
        if head.epoch != self.epoch || head.sequence != self.sequence || head.hash != self.hash {
            return Err(format!("the head does not speak of the record before it ({})", self.sequence));
        }
        Ok(Judged::Head(head, signature))
    }

    /// After the last frame of a segment there may only be zeros.
    fn only_zeros(&mut self) -> Result<(), Stop> {
        self.buffer.clear();
        let Some(segment) = &mut self.current else { return Ok(()) };
        let at = At { path: segment.path.clone(), segment: segment.number, offset: segment.offset };
        match rest_is_zero(&mut segment.file) {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.damage(at, DamageKind::Changed, "bytes stand after the last record of the segment")),
            Err(error) => Err(Stop::Unreadable(at.path, error)),
        }
    }

    /// What was just read is no frame; `last` is its last byte. Torn when it
    /// breaks off into zeros up to the end of the last segment, and the epoch
    /// has not ended: room is taken before it is written to, so a write that
    /// was cut short leaves zeros behind it.
    fn changed_or_torn(&mut self, last: u8, why: &str) -> Stop {
        let newest = self.files.segments.last_key_value().map(|(number, _)| *number);
        let ended = self.ended;
        let Some(segment) = &mut self.current else { return no_segment() };
        let at = At { path: segment.path.clone(), segment: segment.number, offset: segment.offset };
        let rest_is_zero = match rest_is_zero(&mut segment.file) {
            Ok(zero) => zero,
            Err(error) => return Stop::Unreadable(at.path, error),
        };
        let torn = newest == Some(segment.number) && !ended && rest_is_zero && last == 0;
        let what = if torn { DamageKind::Torn } else { DamageKind::Changed };
        self.damage(at, what, why)
    }

    fn damage(&self, at: At, what: DamageKind, why: &str) -> Stop {
        let id = serde_json::from_slice::<Envelope>(&self.buffer).ok().map(|envelope| envelope.id);
        Stop::Damage(Damage { at, sequence: self.sequence + 1, id, why: why.to_owned(), what })
    }
}

enum Judged {
    Leaf(Box<Envelope>, Hash, Salt),
    Head(Head, Vec<u8>),
}

/// Not met: a frame is in the buffer only while its segment is open.
fn no_segment() -> Stop {
    Stop::Unreadable(PathBuf::new(), io::Error::other("no segment is open"))
}

/// Bytes that are read at once.
const READ: usize = 256 * 1024;
/// The same for a reader that has come to the end.
const READ_LIVE: usize = 8 * 1024;
/// How often, and how long, a reader waits for a frame that is half written.
const PATIENCE: u32 = 20;
const PAUSE: Duration = Duration::from_millis(10);
