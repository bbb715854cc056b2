//! The system calls that no library here wraps, each behind a safe function.
#![allow(unsafe_code)] // every block below says why it is sound

use std::ffi::CString;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::thread::UnshareFlags;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::control::Control;

/// Leaves the namespaces named by `flags`.
///
/// # Errors
/// What `unshare(2)` says. `flags` must not hold `FILES`: that is refused.
pub(crate) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    if flags.contains(UnshareFlags::FILES) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: only FILES can make descriptors of other threads vanish, and it
    // was refused above.
    unsafe { rustix::thread::unshare_unsafe(flags) }?;
    Ok(())
}

/// Takes over the descriptor whose number came on the command line.
///
/// # Errors
/// When `number` is no open descriptor, or one of the standard three.
pub(crate) fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number < 3 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: F_GETFD touches no memory; it fails on a number that is not open.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the number is open and was left open across exec for this one
    // caller; nothing else in this young process owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Waits for messages on `control` within this tokio runtime.
///
/// # Errors
/// When the runtime cannot watch it.
pub(crate) fn readable(control: Control) -> io::Result<AsyncFd<Control>> {
    // SAFETY: the descriptor is the one that `control` owns: the same in every
    // call, and open until the AsyncFd, which owns `control`, is dropped.
    Ok(unsafe { AsyncFd::register_with_interest(control, Interest::READABLE) }?)
}

/// Marks every descriptor from 3 on to be closed by the next `exec`, so that
/// a command gets only its standard three.
///
/// # Errors
/// What `close_range(2)` says (Linux 5.11 or newer is needed).
pub(crate) fn close_on_exec_from_3() -> io::Result<()> {
    // SAFETY: close_range takes three integers; with CLOEXEC it closes nothing
    // now, so no owner in this process is left with a dead number.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Lets this process take or give away the terminal while it is in the
/// background, which would stop it otherwise (`SIGTTOU`). Programs started
/// after this inherit it.
pub(crate) fn ignore_terminal_stop() {
    // SAFETY: SIG_IGN runs no code of ours; the call cannot fail for a signal
    // that may be ignored.
    unsafe { libc::signal(libc::SIGTTOU, libc::SIG_IGN) };
}

/// Sets and clears attributes of the mount at `path` (`MOUNT_ATTR_*`), of all
/// below it too when `recursive`.
///
/// # Errors
/// What `mount_setattr(2)` says (Linux 5.12 or newer is needed).
pub(crate) fn mount_attributes(path: &Path, set: u64, clear: u64, recursive: bool) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let attributes = libc::mount_attr { attr_set: set, attr_clr: clear, propagation: 0, userns_fd: 0 };
    let flags = if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: `path` and `attributes` outlive the call, which only reads them,
    // and the size is that of the structure.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Installs a seccomp filter on this thread and what it starts. Needs
/// `no_new_privs`.
///
/// # Errors
/// What `prctl(2)` says.
pub(crate) fn install_filter(filter: &mut [libc::sock_filter]) -> io::Result<()> {
    let length = u16::try_from(filter.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog { len: length, filter: filter.as_mut_ptr() };
    // SAFETY: `program` points at `length` initialised instructions that live
    // until the call returns; the kernel copies and checks them.
    let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
