//! Writes lines to standard error from a thread of its own: a terminal or a collector that stands still must not stop the
//! server.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Bytes of lines that wait. What comes on top is lost, and counted.
const MAX_WAITING: usize = 1 << 20;
/// How long the end of the process waits for lines to be written.
const FLUSH: Duration = Duration::from_secs(1);

/// Takes lines and never waits.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    lines: Sender<Message>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: AtomicUsize,
    lost: AtomicU64,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// Everything before this is written when it is dropped.
    Flush(Sender<()>),
}

impl Writer {
    pub(super) fn start() -> io::Result<Self> {
        Self::to(io::stderr())
    }

    fn to(mut out: impl Write + Send + 'static) -> io::Result<Self> {
        let (lines, received) = mpsc::channel();
        let shared = Arc::<Shared>::default();
        let counts = Arc::clone(&shared);
        thread::Builder::new().name("log".to_owned()).spawn(move || {
            for message in received {
                // Nobody can be told that the log cannot be written.
                match message {
                    Message::Line(line) => {
                        let _ = out.write_all(&line);
                        counts.waiting.fetch_sub(line.len(), Ordering::Relaxed);
                        let lost = counts.lost.swap(0, Ordering::Relaxed);
                        if lost > 0 {
                            let _ = writeln!(out, "vitte-cache: warning: {lost} lines of the log were lost: nobody read them in time");
                        }
                    }
                    Message::Flush(done) => {
                        let _ = out.flush();
                        drop(done);
                    }
                }
            }
        })?;
        Ok(Self { lines, shared })
    }

    /// Waits until what was written before is out, or for a second.
    pub(super) fn wait(&self) {
        let (done, all_written) = mpsc::channel();
        if self.lines.send(Message::Flush(done)).is_ok() {
            let _: Result<(), RecvTimeoutError> = all_written.recv_timeout(FLUSH);
        }
    }
}

impl Write for Writer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let before = self.shared.waiting.fetch_add(line.len(), Ordering::Relaxed);
        if before + line.len() > MAX_WAITING || self.lines.send(Message::Line(line.to_vec())).is_err() {
            self.shared.waiting.fetch_sub(line.len(), Ordering::Relaxed);
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Writer {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Mutex, PoisonError};

    /// Takes nothing until its gate opens.
    struct Stuck {
        gate: mpsc::Receiver<()>,
        text: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Stuck {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let _ = self.gate.recv();
            self.text.lock().unwrap_or_else(PoisonError::into_inner).write(line)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stands_still_costs_lines_and_no_time() {
        let (open, gate) = mpsc::channel();
        let text = Arc::<Mutex<Vec<u8>>>::default();
        let mut writer = Writer::to(Stuck { gate, text: Arc::clone(&text) }).unwrap();
        let line = vec![b'x'; MAX_WAITING / 4];
        for _ in 0..6 {
            writer.write_all(&line).unwrap();
        }
        drop(open);
        writer.wait();
        let text = text.lock().unwrap();
        let text = String::from_utf8_lossy(&text);
        assert_eq!(text.matches('x').count(), MAX_WAITING);
        assert!(text.contains("2 lines of the log were lost"));
    }
}
