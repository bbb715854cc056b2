//! What the process outside and the ones inside say to each other: one JSON
//! message a packet on a socket pair, with descriptors beside it.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::{Deserialize, Serialize};

use super::plan::Plan;

/// One message. Which side says it stands beside each.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Message {
    /// Outside: what to build. Said to each of the two processes inside.
    Plan(Box<Plan>),
    /// Inside: the namespaces are made; the user mapping may be written.
    Unshared,
    /// Outside: the mapping is written.
    Mapped,
    /// Inside: the network stands. Carries the TCP listener, the resolver's
    /// UDP socket and its TCP listener, in that order.
    Listening,
    /// Outside: the gateway serves; hide what is to be hidden, start the
    /// command. Carries the file of certificates (PEM) that the command is to
    /// trust.
    Go {
        /// The command is to own the terminal from the start.
        foreground: bool,
    },
    /// Outside: this signal came for the command.
    Signal(i32),
    /// Inside: the command was stopped by this signal.
    Stopped(i32),
    /// Outside: the stopped command may go on.
    Continue {
        /// And is to own the terminal.
        foreground: bool,
    },
    /// Inside: the command ended, with this exit code (128+N for a signal).
    Exited(u8),
    /// Inside: it cannot be done, and why, in words for people.
    Failed(String),
}

/// Messages above this are a bug in whoever sends them.
const MESSAGE_MAX: usize = 1 << 20;

/// How many descriptors a message can carry.
const DESCRIPTORS_MAX: usize = 3;

/// One end of the socket pair.
#[derive(Debug)]
pub(crate) struct Control(OwnedFd);

impl Control {
    /// Both ends, closed on exec.
    pub(crate) fn pair() -> io::Result<(Self, Self)> {
        // SEQPACKET keeps the borders of messages; an end that closes reads as
        // an empty message at the other.
        let (outer, inner) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        for end in [&outer, &inner] {
            rustix::net::sockopt::set_socket_send_buffer_size(end, MESSAGE_MAX).ok();
        }
        Ok((Self(outer), Self(inner)))
    }

    /// The end that was left open for this process as descriptor `number`.
    pub(crate) fn inherited(number: RawFd) -> io::Result<Self> {
        super::system::inherited(number).map(Self)
    }

    /// A second handle on the same end, closed on exec.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Lets the next program started inherit this end; its number there.
    pub(crate) fn keep_across_exec(&self) -> io::Result<RawFd> {
        rustix::io::fcntl_setfd(&self.0, rustix::io::FdFlags::empty())?;
        Ok(self.0.as_raw_fd())
    }

    /// Makes reads return `WouldBlock` instead of waiting.
    pub(crate) fn nonblocking(&self) -> io::Result<()> {
        Ok(rustix::io::ioctl_fionbio(&self.0, true)?)
    }

    /// Sends a message.
    pub(crate) fn send(&self, message: &Message) -> io::Result<()> {
        self.send_with(message, &[])
    }

    /// Sends a message and descriptors with it.
    pub(crate) fn send_with(&self, message: &Message, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        loop {
            match rustix::net::sendmsg(&self.0, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let mut waits = [rustix::event::PollFd::new(&self.0, rustix::event::PollFlags::OUT)];
                    rustix::event::poll(&mut waits, None)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The next message with its descriptors; `None` when the other end is
    /// closed.
    pub(crate) fn receive(&self) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
        let mut bytes = vec![0; MESSAGE_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut slices = [IoSliceMut::new(&mut bytes)];
            match rustix::net::recvmsg(&self.0, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
                Ok(received) => break received,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        };
        if received.bytes == 0 {
            return Ok(None);
        }
        if received.flags.contains(ReturnFlags::TRUNC) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a control message is longer than 1 MiB"));
        }
        let message = serde_json::from_slice(&bytes[..received.bytes])?;
        let descriptors = ancillary
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
                _ => None,
            })
            .flatten()
            .collect();
        Ok(Some((message, descriptors)))
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Control {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_keep_their_borders_and_descriptors() {
        let (outer, inner) = Control::pair().unwrap();
        let file = tempfile::tempfile().unwrap();
        inner.send(&Message::Unshared).unwrap();
        inner.send_with(&Message::Listening, &[file.as_fd(), file.as_fd()]).unwrap();
        drop(inner);
        assert!(matches!(outer.receive().unwrap(), Some((Message::Unshared, fds)) if fds.is_empty()));
        assert!(matches!(outer.receive().unwrap(), Some((Message::Listening, fds)) if fds.len() == 2));
        assert!(outer.receive().unwrap().is_none());
    }
}
