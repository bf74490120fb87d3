//! Answers that are read too slowly end their connection.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::pace::Pace;

/// The answers that are being sent over one connection. Clones are of the same connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answers(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// By when which answer has to get on.
    due: Vec<(u64, Instant)>,
    next: u64,
    /// Those that did not.
    late: Vec<u64>,
}

/// An answer that is being sent, for as long as this exists.
///
/// Each piece of it has a pace of its own: what a client took fast is no reason to wait for it longer afterwards.
#[derive(Debug)]
pub(crate) struct Answer {
    all: Answers,
    id: u64,
    patience: Duration,
}

impl Answers {
    /// Begins an answer. Its client is waited for as long as [`Pace`] says.
    pub(crate) fn begin(&self, patience: Duration) -> Answer {
        let mut state = self.lock();
        let id = state.next;
        state.next += 1;
        state.due.push((id, Pace::new(patience).deadline(0)));
        Answer { all: self.clone(), id, patience }
    }

    /// Returns when the connection has to end unless an answer gets on; nothing if nobody waits for the client.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.lock().due.iter().map(|(_, deadline)| *deadline).min()
    }

    /// Returns whether an answer should have got on by `now`, and keeps in mind which ones.
    pub(crate) fn are_late(&self, now: Instant) -> bool {
        let State { due, late, .. } = &mut *self.lock();
        late.extend(due.extract_if(.., |(_, deadline)| *deadline <= now).map(|(id, _)| id));
        !late.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answer {
    /// Waits for the client to take so many bytes, as it took what was sent before.
    pub(crate) fn sends(&self, bytes: u64) {
        self.set(Some(Pace::new(self.patience).deadline(bytes)));
    }

    /// Waits for the client no longer: there is nothing to be sent yet, which is not its fault.
    pub(crate) fn pauses(&self) {
        self.set(None);
    }

    /// Returns whether the connection ends because of this answer.
    pub(crate) fn is_late(&self) -> bool {
        self.all.lock().late.contains(&self.id)
    }

    fn set(&self, deadline: Option<Instant>) {
        let State { due, .. } = &mut *self.all.lock();
        let at = due.iter().position(|(id, _)| *id == self.id);
        match (at, deadline) {
            (Some(at), Some(deadline)) => due[at].1 = deadline,
            (Some(at), None) => drop(due.swap_remove(at)),
            (None, Some(deadline)) => due.push((self.id, deadline)),
            (None, None) => {}
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.pauses();
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use cache_testkit::MemoryStore;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::watch;

    use super::*;
    use crate::app::{App, Peer};
    use crate::connection::Connection;
    use crate::idle::Idle;
    use crate::settings::Settings;
    use crate::vault::{Spool, Vault};
    use crate::{ServerOptions, Timeouts};

    /// Length of the value that is read.
    const LEN: usize = 1 << 20;

    /// Reads a value `size` bytes at a time, each after a `pause`, and returns how many bytes came and how many readers were too
    /// slow. The clock goes on by itself while all wait.
    async fn read(size: usize, pause: Duration) -> (usize, u64) {
        let settings = Settings::new(ServerOptions::default()).unwrap();
        let (limits, timeouts) = (settings.options.limits, settings.options.timeouts);
        let spool = Spool::open(None, limits.spool_bytes, timeouts.body).unwrap();
        let store = Arc::new(MemoryStore::new());
        let app = Arc::new(App::new(settings, Vault::new(store, spool, &timeouts)));
        let (_go_on, stop) = watch::channel(false);
        let peer = Peer { address: IpAddr::V4(Ipv4Addr::LOCALHOST), answers: Answers::default() };
        let slot = app.connections.try_enter().unwrap();
        let answers = peer.answers.clone();
        let mut connection = Connection { peer, app: Arc::clone(&app), stop, _slot: slot };
        let (mut client, server) = tokio::io::duplex(4 << 10);
        let settings = app.settings();
        let serving = async {
            let stream = Idle::new(server, timeouts.header, timeouts.idle, answers);
            let _ = connection.talk(stream, &settings.builder, None).await;
        };
        let talking = async {
            let put = format!("PUT /kv/x HTTP/1.1\r\nHost: c\r\nContent-Length: {LEN}\r\n\r\n");
            client.write_all(put.as_bytes()).await.unwrap();
            client.write_all(&vec![7; LEN]).await.unwrap();
            let mut head = vec![0; 1024];
            assert!(client.read(&mut head).await.unwrap() > 0 && head.starts_with(b"HTTP/1.1 200"));
            client.write_all(b"GET /kv/x HTTP/1.1\r\nHost: c\r\nConnection: close\r\n\r\n").await.unwrap();
            let (mut read, mut piece) = (0, vec![0; size]);
            loop {
                tokio::time::sleep(pause).await;
                match client.read(&mut piece).await.unwrap() {
                    0 => return read,
                    len => read += len,
                }
            }
        };
        let ((), read) = tokio::join!(serving, talking);
        (read, app.totals.slow_readers.load(std::sync::atomic::Ordering::Relaxed))
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_gets_everything_and_one_that_trickles_does_not() {
        let second = Duration::from_secs(1);
        let (read_all, slow) = read(Timeouts::BODY_RATE as usize, second).await;
        assert!(read_all > LEN && slow == 0, "{read_all}");
        // A byte now and then is not nothing, and not enough.
        let (read_some, slow) = read(1, 5 * second).await;
        assert!(read_some < LEN && slow == 1, "{read_some}");
    }
}
