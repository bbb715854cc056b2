//! The segment that is written to. Owned by the writer's thread.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use uuid::Uuid;

use crate::error::TrailError;
use crate::failpoint;
use crate::format::{FrameHeader, Named, SegmentHeader};
use crate::hash::Hash;

/// Writes frames one after the other, into segments whose room was taken from
/// the file system before the first byte.
#[derive(Debug)]
pub(crate) struct Spool {
    folder: PathBuf,
    directory: Arc<File>,
    epoch: Uuid,
    ordinal: u64,
    segment_bytes: u64,
    capacity_bytes: u64,
    /// Bytes of all segments of the trail but the current one.
    others: u64,
    current: Option<Segment>,
}

#[derive(Debug)]
struct Segment {
    file: Arc<File>,
    path: PathBuf,
    identity: (u64, u64),
    number: u64,
    offset: u64,
}

/// What a spool needs to know of its trail.
#[derive(Debug)]
pub(crate) struct SpoolOptions {
    pub(crate) folder: PathBuf,
    pub(crate) directory: Arc<File>,
    pub(crate) epoch: Uuid,
    pub(crate) ordinal: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) capacity_bytes: u64,
    /// Bytes of the segments that earlier epochs left.
    pub(crate) others: u64,
}

impl Spool {
    pub(crate) fn new(options: SpoolOptions) -> Self {
        Self {
            folder: options.folder,
            directory: options.directory,
            epoch: options.epoch,
            ordinal: options.ordinal,
            segment_bytes: options.segment_bytes,
            capacity_bytes: options.capacity_bytes,
            others: options.others,
            current: None,
        }
    }

    /// Bytes that can still be written to the current segment.
    pub(crate) fn room(&self) -> u64 {
        self.current.as_ref().map_or(0, |segment| self.segment_bytes - segment.offset)
    }

    /// Room of a segment that holds nothing yet.
    pub(crate) fn empty_room(&self) -> u64 {
        self.segment_bytes - SegmentHeader::LEN as u64
    }

    /// Number of the current segment.
    pub(crate) fn number(&self) -> u64 {
        self.current.as_ref().map_or(0, |segment| segment.number)
    }

    /// Removes segments that a collector has, and with `gone` the public key of
    /// their epoch. What cannot be removed is removed by the next start.
    pub(crate) fn free(&mut self, ordinal: u64, epoch: Uuid, numbers: RangeInclusive<u64>, gone: bool) {
        for number in numbers {
            let path = self.folder.join(Named::Segment { ordinal, epoch, number }.name().unwrap_or_default());
            let len = std::fs::symlink_metadata(&path).map_or(0, |metadata| metadata.len());
            if std::fs::remove_file(&path).is_ok() {
                self.others = self.others.saturating_sub(len);
            }
            failpoint::hit("free.after_remove");
        }
        if gone {
            let name = Named::PublicKey { ordinal, epoch }.name().unwrap_or_default();
            let _ = std::fs::remove_file(self.folder.join(name));
        }
    }

    /// Bytes of all segments of the trail.
    pub(crate) fn bytes(&self) -> u64 {
        self.others + self.current.as_ref().map_or(0, |_| self.segment_bytes)
    }

    /// The file under the writer, for syncing.
    pub(crate) fn file(&self) -> Option<Arc<File>> {
        self.current.as_ref().map(|segment| segment.file.clone())
    }

    /// Begins the next segment, whose first leaf has the sequence `first` and
    /// follows the leaf with the hash `prev`. When it fails, the current
    /// segment is as it was.
    pub(crate) fn rotate(&mut self, first: u64, prev: Hash) -> Result<(), TrailError> {
        failpoint::hit("rotate.before_create");
        let used = self.others + self.current.as_ref().map_or(0, |segment| segment.offset);
        if used + self.segment_bytes > self.capacity_bytes {
            return Err(TrailError::Full {
                folder: self.folder.clone(),
                cause: format!(
                    "{used} bytes are in use, and another segment of {} would go over the capacity of {} bytes",
                    self.segment_bytes, self.capacity_bytes
                ),
                fix: "raise the trail's capacity, or start with a new folder and keep this one as it is".into(),
            });
        }
        let number = self.current.as_ref().map_or(0, |segment| segment.number) + 1;
        let header = SegmentHeader { epoch: self.epoch, ordinal: self.ordinal, number, first, prev };
        let segment = self.create(&header)?;
        if let Some(old) = self.current.take() {
            // A record that was synced must not stand on one that was not.
            let trimmed = old.file.set_len(old.offset).and_then(|()| old.file.sync_all());
            self.others += old.offset;
            self.current = Some(segment);
            trimmed.map_err(|error| {
                TrailError::failed(&self.folder, &format!("closing {}", old.path.display()), &error)
            })?;
            failpoint::hit("rotate.after_trim");
        } else {
            self.current = Some(segment);
        }
        Ok(())
    }

    /// The file appears under its name only when its header and its room are
    /// there.
    fn create(&self, header: &SegmentHeader) -> Result<Segment, TrailError> {
        let named = Named::Segment { ordinal: self.ordinal, epoch: self.epoch, number: header.number };
        let path = self.folder.join(named.name().unwrap_or_default());
        let mut temporary = path.clone().into_os_string();
        temporary.push(".new");
        let temporary = PathBuf::from(temporary);
        let made = self.make(&temporary, header).and_then(|file| {
            failpoint::hit("rotate.after_create");
            std::fs::rename(&temporary, &path)?;
            self.directory.sync_all()?;
            failpoint::hit("rotate.after_rename");
            let metadata = file.metadata()?;
            Ok((file, (metadata.dev(), metadata.ino())))
        });
        match made {
            Ok((file, identity)) => Ok(Segment {
                file: Arc::new(file),
                path,
                identity,
                number: header.number,
                offset: SegmentHeader::LEN as u64,
            }),
            Err(error) => {
                let _ = std::fs::remove_file(&temporary);
                let _ = std::fs::remove_file(&path);
                Err(TrailError::rotation(&self.folder, &format!("making {}", path.display()), &error))
            }
        }
    }

    fn make(&self, path: &Path, header: &SegmentHeader) -> io::Result<File> {
        let _ = std::fs::remove_file(path);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        reserve(&file, self.segment_bytes)?;
        file.write_all_at(&header.encode(), 0)?;
        file.sync_all()?;
        Ok(file)
    }

    /// Writes whole frames after the ones that are there. On an error nothing
    /// is known of what was written: the spool must not be used again.
    pub(crate) fn write(&mut self, frames: &[u8]) -> Result<(), TrailError> {
        let Some(segment) = &mut self.current else { return Ok(()) };
        failpoint::hit("before_frame");
        for (name, part) in [("after_frame_header", FrameHeader::LEN), ("mid_frame", first_frame(frames) / 2)] {
            if failpoint::armed(name) {
                let _ = segment.file.write_all_at(frames.get(..part).unwrap_or_default(), segment.offset);
                failpoint::hit(name);
            }
        }
        segment.file.write_all_at(frames, segment.offset).map_err(|error| {
            TrailError::failed(&self.folder, &format!("writing {}", segment.path.display()), &error)
        })?;
        segment.offset += frames.len() as u64;
        failpoint::hit("after_frame");
        self.is_there()
    }

    /// Whether the segment still is the file of its name.
    pub(crate) fn is_there(&self) -> Result<(), TrailError> {
        let Some(segment) = &self.current else { return Ok(()) };
        let cause = match std::fs::symlink_metadata(&segment.path) {
            Ok(metadata) if (metadata.dev(), metadata.ino()) == segment.identity => return Ok(()),
            Ok(_) => format!("{} was replaced by another file", segment.path.display()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                format!("{} was deleted or moved", segment.path.display())
            }
            Err(error) => format!("{} cannot be seen: {error}", segment.path.display()),
        };
        Err(TrailError::Deleted {
            folder: self.folder.clone(),
            cause,
            fix: "put the folder back if it was moved, then start the gateway again; let nothing but the gateway write there".into(),
        })
    }

    /// Gives back the room that was not used, and syncs all.
    pub(crate) fn close(&mut self) -> Result<(), TrailError> {
        let Some(segment) = self.current.take() else { return Ok(()) };
        let closed = segment
            .file
            .set_len(segment.offset)
            .and_then(|()| segment.file.sync_all())
            .and_then(|()| self.directory.sync_all());
        closed.map_err(|error| TrailError::failed(&self.folder, &format!("closing {}", segment.path.display()), &error))
    }
}

/// Takes `bytes` of room for a file; all of it reads as zeros.
fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    loop {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => break,
            Err(error) => return Err(error.into()),
        }
    }
    // This file system takes room only for what is written.
    let block = vec![0; 64 * 1024];
    let mut at = 0;
    while at < bytes {
        let part = usize::try_from(bytes - at).unwrap_or(usize::MAX).min(block.len());
        file.write_all_at(block.get(..part).unwrap_or_default(), at)?;
        at += part as u64;
    }
    Ok(())
}

/// Length of the first of some frames.
fn first_frame(frames: &[u8]) -> usize {
    let header = frames.first_chunk::<{ FrameHeader::LEN }>().map(FrameHeader::parse);
    match header {
        Some(Ok(Some(header))) => FrameHeader::LEN + header.len + header.beside,
        _ => frames.len(),
    }
}
