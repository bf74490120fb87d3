//! The load generator: a closed loop of connections, the same for all servers.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use crate::connection::{Connection, Work};
use crate::content::Contents;
use crate::histogram::Histogram;
use crate::rng::Rng;
use crate::{Method, Result};

/// Bytes that a connection reads at a time. Larger reads fall out of the processor's cache.
const READ: usize = 128 << 10;
/// How long nothing may happen before the run is given up.
const STUCK: Duration = Duration::from_mins(1);

/// One measurement.
#[derive(Clone, Copy)]
pub(crate) struct Load<'a> {
    pub(crate) method: Method,
    pub(crate) contents: &'a Contents,
    pub(crate) connections: usize,
    /// The contents that are asked for, in any order; where a PUT begins to count.
    pub(crate) numbers: Numbers,
    /// What does not count at the beginning.
    pub(crate) warm_up: Duration,
    /// No request begins after it.
    pub(crate) time: Duration,
    /// Most requests.
    pub(crate) requests: u64,
    /// Threads of the generator.
    pub(crate) threads: usize,
}

/// Which contents are asked for.
#[derive(Clone, Copy)]
pub(crate) enum Numbers {
    /// Any of the first so many.
    Any(u64),
    /// Each once, beginning with this one.
    From(u64),
}

/// What came of it.
pub(crate) struct Outcome {
    /// From the first that counts to the last.
    pub(crate) took: Duration,
    pub(crate) times: Histogram,
    /// All requests, with those that do not count.
    pub(crate) requests: u64,
}

impl Outcome {
    /// Returns the requests per second.
    pub(crate) fn rate(&self) -> f64 {
        self.times.count() as f64 / self.took.as_secs_f64()
    }
}

/// Runs the load against the server at `address`.
pub(crate) fn run(address: SocketAddr, load: &Load<'_>) -> Result<Outcome> {
    let begun = AtomicU64::new(0);
    let threads = load.threads.min(load.connections);
    let all = (0..load.connections).map(|_| Connection::open(address)).collect::<Result<Vec<_>>>()?;
    let mut shares: Vec<Vec<Connection>> = (0..threads).map(|_| Vec::new()).collect();
    for (index, connection) in all.into_iter().enumerate() {
        shares[index % threads].push(connection);
    }
    let start = Instant::now();
    let outcomes: Result<Vec<(Instant, Histogram)>> = thread::scope(|scope| {
        let mut running = Vec::new();
        for (index, share) in shares.into_iter().enumerate() {
            let begun = &begun;
            running.push(scope.spawn(move || {
                Thread { load, begun, start, rng: Rng::new(index as u64) }
                    .run(share)
                    .map_err(|error| error.to_string())
            }));
        }
        running.into_iter().map(|thread| Ok(thread.join().map_err(|_| "the generator panicked")??)).collect()
    });
    let mut times = Histogram::new();
    let mut end = start;
    for (last, of_thread) in outcomes? {
        times.merge(&of_thread);
        end = end.max(last);
    }
    if times.count() == 0 {
        return Err("not a single request ended in time".into());
    }
    let requests = begun.into_inner().min(load.requests);
    Ok(Outcome { took: end.saturating_duration_since(start + load.warm_up), times, requests })
}

struct Thread<'a> {
    load: &'a Load<'a>,
    begun: &'a AtomicU64,
    start: Instant,
    rng: Rng,
}

impl Thread<'_> {
    fn run(mut self, mut connections: Vec<Connection>) -> Result<(Instant, Histogram)> {
        let work = Work { method: self.load.method, contents: self.load.contents };
        let mut poll = Poll::new()?;
        let mut events = Events::with_capacity(connections.len());
        let mut buffer = vec![0; READ];
        let mut times = Histogram::new();
        let counts_from = self.start + self.load.warm_up;
        let mut last = counts_from;
        let mut active = 0;
        for (index, connection) in connections.iter_mut().enumerate() {
            let both = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut connection.stream, Token(index), both)?;
            if let Some(number) = self.next() {
                connection.begin(&work, number)?;
                active += 1;
            }
        }
        while active > 0 {
            poll.poll(&mut events, Some(STUCK))?;
            if events.is_empty() {
                return Err(format!("nothing happened for {} s", STUCK.as_secs()).into());
            }
            for event in &events {
                let connection = &mut connections[event.token().0];
                if event.is_writable() {
                    connection.send(&work)?;
                }
                if !event.is_readable() || connection.is_idle() || !connection.receive(&work, &mut buffer)? {
                    continue;
                }
                let now = Instant::now();
                if now >= counts_from {
                    times.add(now - connection.started);
                    last = now;
                }
                match self.next() {
                    Some(number) => connection.begin(&work, number)?,
                    None => active -= 1,
                }
            }
        }
        Ok((last, times))
    }

    fn next(&mut self) -> Option<u64> {
        if self.start.elapsed() >= self.load.warm_up + self.load.time {
            return None;
        }
        let index = self.begun.fetch_add(1, Ordering::Relaxed);
        (index < self.load.requests).then(|| match self.load.numbers {
            Numbers::Any(count) => self.rng.below(count),
            Numbers::From(first) => first + index,
        })
    }
}
