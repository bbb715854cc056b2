//! Signals that are meant for the command.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that are passed on instead of being obeyed.
pub(super) struct Signals {
    hangup: Signal,
    interrupt: Signal,
    quit: Signal,
    terminate: Signal,
    first: Signal,
    second: Signal,
}

impl Signals {
    /// From now on they do not end this process.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
            first: signal(SignalKind::user_defined1())?,
            second: signal(SignalKind::user_defined2())?,
        })
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> i32 {
        let kind = tokio::select! {
            _ = self.hangup.recv() => SignalKind::hangup(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.quit.recv() => SignalKind::quit(),
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.first.recv() => SignalKind::user_defined1(),
            _ = self.second.recv() => SignalKind::user_defined2(),
        };
        kind.as_raw_value()
    }
}
