//! Who owns the terminal: our process group, or the command's.
//!
//! The command has a process group of its own. With a terminal at both ends
//! it owns it from the start; else once it asks, by being stopped for reading
//! it. When it is suspended, so are we, as a shell's job control expects of
//! one job.

use std::fs::File;
use std::io::{self, IsTerminal};

use rustix::process::{Pid, Signal, getpgrp, kill_current_process_group};
use rustix::termios::{tcgetpgrp, tcsetpgrp};
use tokio::signal::unix::SignalKind;

use super::control::Message;
use super::system;

/// The controlling terminal, if there is one.
#[derive(Debug)]
pub(super) struct Terminal {
    device: Option<File>,
    ours: Pid,
    /// The command owns it.
    given: bool,
    /// The command is stopped, and we were told to stop with it.
    suspended: bool,
    continued: tokio::signal::unix::Signal,
}

impl Terminal {
    /// Programs started after this cannot be stopped for writing to the
    /// terminal's settings: start the command's first process before.
    pub(super) fn open() -> io::Result<Self> {
        system::ignore_terminal_stop();
        Ok(Self {
            device: File::open("/dev/tty").ok(),
            ours: getpgrp(),
            given: false,
            suspended: false,
            continued: tokio::signal::unix::signal(SignalKind::from_raw(Signal::CONT.as_raw()))?,
        })
    }

    /// Whether the command is to own it from the start.
    pub(super) fn give_at_start(&mut self) -> bool {
        self.given = self.is_ours() && io::stdin().is_terminal() && io::stdout().is_terminal();
        self.given
    }

    /// The command was stopped by `signal`: what to answer, if anything now.
    pub(super) fn stopped(&mut self, signal: i32) -> Option<Message> {
        // Without a terminal nobody's job control is concerned.
        self.device.as_ref()?;
        let asks = [Signal::TTIN, Signal::TTOU].iter().any(|it| it.as_raw() == signal);
        if asks && self.is_ours() {
            self.given = true;
            return Some(Message::Continue { foreground: true });
        }
        self.take_back();
        self.suspended = true;
        kill_current_process_group(Signal::TSTP).ok();
        None
    }

    /// Waits until we are continued after having been suspended.
    pub(super) async fn resumed(&mut self) -> Message {
        loop {
            self.continued.recv().await;
            if std::mem::take(&mut self.suspended) {
                self.given = self.is_ours();
                return Message::Continue { foreground: self.given };
            }
        }
    }

    /// Ours again, where it was given away.
    pub(super) fn take_back(&mut self) {
        if std::mem::take(&mut self.given)
            && let Some(device) = &self.device
        {
            tcsetpgrp(device, self.ours).ok();
        }
    }

    fn is_ours(&self) -> bool {
        self.device.as_ref().and_then(|device| tcgetpgrp(device).ok()) == Some(self.ours)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.take_back();
    }
}
