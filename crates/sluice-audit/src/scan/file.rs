//! The files of a trail, whoever made them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use uuid::Uuid;

use super::READ;
use crate::format::{Named, SegmentHeader};
use crate::hash::Hash;
use crate::mark::{Freed, Mark};

/// The files of a trail, by epoch.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// In the order of the trail.
    pub(crate) epochs: BTreeMap<(u64, Uuid), EpochFiles>,
    /// Segments that were being made.
    pub(crate) unfinished: Vec<PathBuf>,
    /// Names that are not ours.
    pub(crate) others: Vec<PathBuf>,
    /// What a collector has taken.
    pub(crate) mark: Mark,
    /// Files that were to be given back for that, and are still there.
    pub(crate) stale: Vec<PathBuf>,
}

/// The files of an epoch.
#[derive(Debug, Clone, Default)]
pub(crate) struct EpochFiles {
    pub(crate) segments: BTreeMap<u64, PathBuf>,
    pub(crate) public_key: Option<PathBuf>,
    /// Segments that are not there because a collector has them.
    pub(crate) freed: Option<Freed>,
}

impl Listing {
    pub(crate) fn read(folder: &Path) -> io::Result<Self> {
        let mut listing = Self { mark: Mark::read(folder), ..Self::default() };
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let path = entry.path();
            let named = entry.file_name().to_str().map_or(Named::Other, Named::parse);
            match named {
                Named::Segment { ordinal, epoch, number } => {
                    listing.epochs.entry((ordinal, epoch)).or_default().segments.insert(number, path);
                }
                Named::PublicKey { ordinal, epoch } => {
                    listing.epochs.entry((ordinal, epoch)).or_default().public_key = Some(path);
                }
                Named::Unfinished => listing.unfinished.push(path),
                Named::Other => listing.others.push(path),
            }
        }
        listing.leave_out_freed();
        Ok(listing)
    }

    fn leave_out_freed(&mut self) {
        for handed in &self.mark.epochs {
            let (Some(freed), name) = (handed.freed, (handed.ordinal, handed.epoch)) else { continue };
            let Some(files) = self.epochs.get_mut(&name) else { continue };
            files.freed = Some(freed);
            let kept = files.segments.split_off(&freed.segments.saturating_add(1));
            self.stale.extend(std::mem::replace(&mut files.segments, kept).into_values());
            if handed.gone {
                self.stale.extend(files.public_key.take());
                if files.segments.is_empty() {
                    self.epochs.remove(&name);
                }
            }
        }
    }
}

/// Whether a gateway has the folder open for writing.
pub(crate) fn is_locked(folder: &Path) -> bool {
    File::open(folder).is_ok_and(|directory| {
        rustix::fs::flock(directory, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK)
    })
}

/// Opens a segment and reads its header. Never follows a link and never waits
/// for a pipe: the folder may come from anybody.
pub(crate) fn open(path: &Path) -> io::Result<Result<(SegmentHeader, File), &'static str>> {
    let mut file = regular_file(path)?;
    let mut bytes = [0; SegmentHeader::LEN];
    if fill(&mut file, &mut bytes)? < bytes.len() {
        return Ok(Err("the file ends within the header of the segment"));
    }
    Ok(SegmentHeader::parse(&bytes).map(|header| (header, file)))
}

/// Opens `path` if it is a plain file.
pub(crate) fn regular_file(path: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let file = File::from(rustix::fs::open(
        path,
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
    )?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "this is not a plain file"));
    }
    Ok(file)
}

/// Reads until `buffer` is full or the file ends.
pub(crate) fn fill(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while let Some(rest) = buffer.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

pub(super) fn rest_is_zero(file: &mut impl Read) -> io::Result<bool> {
    let mut block = vec![0; READ];
    loop {
        let got = fill(file, &mut block)?;
        if block.iter().take(got).any(|byte| *byte != 0) {
            return Ok(false);
        }
        if got < block.len() {
            return Ok(true);
        }
    }
}

/// What lies in the segments of an epoch from a place on, zeros at the end of
/// each file left out: how many bytes, and their SHA-256. A leaf of kind gap
/// names damage by it.
pub(crate) fn rest(files: &EpochFiles, segment: u64, offset: u64) -> Result<Rest, (PathBuf, io::Error)> {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let mut bytes = 0;
    for (number, path) in files.segments.range(segment..) {
        let start = if *number == segment { offset } else { 0 };
        bytes += digest_file(path, start, &mut context).map_err(|error| (path.clone(), error))?;
    }
    Ok(Rest { bytes, sha256: Hash::finish(context) })
}

/// What [`rest`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rest {
    pub(crate) bytes: u64,
    pub(crate) sha256: Hash,
}

fn digest_file(path: &Path, start: u64, context: &mut aws_lc_rs::digest::Context) -> io::Result<u64> {
    let end = end_of_data(path, start)?;
    let mut file = regular_file(path)?;
    file.seek(SeekFrom::Start(start))?;
    let mut left = end - start;
    let mut block = vec![0; READ];
    while left > 0 {
        let want = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let got = fill(&mut file, block.get_mut(..want).unwrap_or_default())?;
        if got == 0 {
            break;
        }
        context.update(block.get(..got).unwrap_or_default());
        left -= got as u64;
    }
    Ok(end - start)
}

/// Where the zeros at the end of a file begin, but not before `start`.
pub(crate) fn end_of_data(path: &Path, start: u64) -> io::Result<u64> {
    let mut file = regular_file(path)?;
    file.seek(SeekFrom::Start(start))?;
    let mut block = vec![0; READ];
    let (mut at, mut end) = (start, start);
    loop {
        let got = fill(&mut file, &mut block)?;
        if let Some(last) = block.iter().take(got).rposition(|byte| *byte != 0) {
            end = at + last as u64 + 1;
        }
        at += got as u64;
        if got < block.len() {
            return Ok(end);
        }
    }
}
