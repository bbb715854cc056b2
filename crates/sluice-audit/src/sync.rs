//! Group commit: one thread syncs, and all records that were written before a
//! sync began are acknowledged by it.

use std::fs::File;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use crate::error::TrailError;
use crate::failpoint;
use crate::trail::Shared;
use crate::writer::Acknowledgement;

/// What must be on the disk before it is acknowledged.
#[derive(Debug)]
pub(crate) struct SyncJob {
    /// The segment that the records were written to.
    pub(crate) file: Arc<File>,
    pub(crate) acknowledgements: Vec<Acknowledgement>,
}

/// Starts the thread. It ends when the sender is dropped.
pub(crate) fn spawn(shared: Arc<Shared>) -> std::io::Result<(Sender<SyncJob>, JoinHandle<()>)> {
    let (sender, receiver) = channel();
    let thread = std::thread::Builder::new().name("trail-sync".into()).spawn(move || {
        crate::writer::mark_own_thread();
        run(&receiver, &shared);
    })?;
    Ok((sender, thread))
}

fn run(receiver: &Receiver<SyncJob>, shared: &Shared) {
    while let Ok(first) = receiver.recv() {
        let jobs: Vec<SyncJob> = std::iter::once(first).chain(receiver.try_iter()).collect();
        failpoint::hit("before_sync");
        let mut synced: Option<(Arc<File>, Result<(), TrailError>)> = None;
        let mut done = Vec::new();
        for job in jobs {
            let result = match &synced {
                Some((file, result)) if Arc::ptr_eq(file, &job.file) => result.clone(),
                _ => {
                    let result = sync(&job.file, shared);
                    synced = Some((job.file.clone(), result.clone()));
                    result
                }
            };
            done.push((job.acknowledgements, result));
        }
        failpoint::hit("after_sync");
        for (acknowledgements, result) in done {
            for acknowledgement in acknowledgements {
                acknowledgement.give(&result);
            }
        }
    }
}

/// A sync that failed is not tried again: the kernel may have dropped what it
/// could not write, and would say yes the second time.
fn sync(file: &File, shared: &Shared) -> Result<(), TrailError> {
    if let Some(error) = shared.failure() {
        return Err(error);
    }
    rustix::fs::fdatasync(file).map_err(|error| {
        let error = TrailError::failed(&shared.folder, "syncing the segment", &error.into());
        shared.fail(&error);
        error
    })
}
