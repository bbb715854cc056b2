use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::LONG;

/// A child process whose output is kept. Ended with SIGKILL when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdout: Output,
    stderr: Output,
}

/// A process that has ended.
#[derive(Debug, Clone)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Everything it wrote to standard output.
    pub stdout: String,
    /// Everything it wrote to standard error.
    pub stderr: String,
}

impl Process {
    /// Starts it with no standard input.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("start {command:?}"))?;
        let stdout = Output::read(child.stdout.take().context("no stdout")?);
        let stderr = Output::read(child.stderr.take().context("no stderr")?);
        Ok(Self { child, stdout, stderr })
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line of standard output that `pick` takes. Fails early when
    /// the process ends without one.
    ///
    /// # Errors
    /// With everything it wrote, when no such line comes.
    pub fn line<T>(&mut self, what: &str, pick: impl Fn(&str) -> Option<T>) -> Result<T> {
        match self.stdout.line(&pick) {
            Some(found) => Ok(found),
            None => {
                let end = self.child.try_wait()?.map_or("still runs".to_owned(), |status| status.to_string());
                bail!("no {what} from the process ({end})\n{}{}", self.stdout.text(), self.stderr.text())
            }
        }
    }

    /// Waits for a line of standard error that `pick` takes.
    ///
    /// # Errors
    /// With everything it wrote there, when no such line comes.
    pub fn error_line<T>(&self, what: &str, pick: impl Fn(&str) -> Option<T>) -> Result<T> {
        self.stderr.line(&pick).with_context(|| format!("no {what} on standard error:\n{}", self.stderr.text()))
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Sends a signal by name, such as `TERM`.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, name: &str) -> Result<()> {
        let pid = self.id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status().context("run kill")?;
        if !status.success() {
            bail!("signal {name} did not reach process {pid}");
        }
        Ok(())
    }

    /// Whether it has ended.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn is_over(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it has not ended after [`LONG`].
    pub fn wait(mut self) -> Result<Finished> {
        let status = self.ended(LONG)?;
        Ok(Finished { status, stdout: self.stdout.all(), stderr: self.stderr.all() })
    }

    /// Waits for its end and leaves the handle usable.
    ///
    /// # Errors
    /// When it has not ended after `limit`.
    pub fn ended(&mut self, limit: Duration) -> Result<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if start.elapsed() > limit {
                bail!("process {} has not ended after {limit:?}\n{}", self.id(), self.stderr.text());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Runs a command to its end and keeps its output.
///
/// # Errors
/// When it cannot be started or does not end.
pub fn run(command: &mut Command) -> Result<Finished> {
    Process::start(command)?.wait()
}

/// One stream of a process, read by a thread so that a pipe never fills.
#[derive(Debug)]
struct Output {
    shared: Arc<(Mutex<Lines>, Condvar)>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<String>,
    closed: bool,
}

impl Output {
    fn read(stream: impl Read + Send + 'static) -> Self {
        let shared = Arc::new((Mutex::new(Lines::default()), Condvar::new()));
        let writer = Arc::clone(&shared);
        let reader = thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            loop {
                line.clear();
                let end = !matches!(stream.read_until(b'\n', &mut line), Ok(read) if read > 0);
                let mut lines = writer.0.lock().unwrap_or_else(PoisonError::into_inner);
                if end {
                    lines.closed = true;
                } else {
                    lines.lines.push(String::from_utf8_lossy(&line).into_owned());
                }
                writer.1.notify_all();
                if end {
                    return;
                }
            }
        });
        Self { shared, reader: Some(reader) }
    }

    fn line<T>(&self, pick: &impl Fn(&str) -> Option<T>) -> Option<T> {
        let start = Instant::now();
        let mut lines = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = 0;
        loop {
            while let Some(line) = lines.lines.get(seen) {
                if let Some(found) = pick(line.trim_end()) {
                    return Some(found);
                }
                seen += 1;
            }
            let left = LONG.checked_sub(start.elapsed())?;
            if lines.closed {
                return None;
            }
            lines = self.shared.1.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn text(&self) -> String {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner).lines.concat()
    }

    /// The text once the stream is closed.
    fn all(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        self.text()
    }
}
