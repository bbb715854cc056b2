use tokio::sync::watch;

/// Tells every part that the process is to end.
#[derive(Debug, Clone)]
pub struct Shutdown {
    requested: watch::Receiver<bool>,
}

impl Shutdown {
    /// A shutdown, and what requests it: sending `true`, or dropping the sender.
    pub fn channel() -> (watch::Sender<bool>, Self) {
        let (sender, requested) = watch::channel(false);
        (sender, Self { requested })
    }

    /// Waits until it is requested.
    pub async fn requested(&self) {
        let mut requested = self.requested.clone();
        // An error: the sender is gone, and with it whoever ran us.
        let _ = requested.wait_for(|requested| *requested).await;
    }

    /// Whether it is requested.
    pub fn is_requested(&self) -> bool {
        *self.requested.borrow() || self.requested.has_changed().is_err()
    }
}
