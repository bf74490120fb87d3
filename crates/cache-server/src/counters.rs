//! What was asked for and what came of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use serde::Serialize;

use crate::Protocol;
use crate::histogram::Durations;

/// Counters of one protocol.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) hits: AtomicU64,
    pub(crate) misses: AtomicU64,
    pub(crate) stored: AtomicU64,
    pub(crate) deleted: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) bytes_read: AtomicU64,
    pub(crate) bytes_stored: AtomicU64,
    pub(crate) durations: Durations,
}

/// What [`Counters`] show at one moment.
#[derive(Debug, Serialize)]
pub(crate) struct Count {
    hits: u64,
    misses: u64,
    stored: u64,
    deleted: u64,
    refused: u64,
    bytes_read: u64,
    bytes_stored: u64,
}

impl Counters {
    pub(crate) fn count(&self) -> Count {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Count {
            hits: get(&self.hits),
            misses: get(&self.misses),
            stored: get(&self.stored),
            deleted: get(&self.deleted),
            refused: get(&self.refused),
            bytes_read: get(&self.bytes_read),
            bytes_stored: get(&self.bytes_stored),
        }
    }
}

/// Adds `more` to a counter.
pub(crate) fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

/// Counters of the whole server.
#[derive(Debug)]
pub(crate) struct Totals {
    pub(crate) connections: AtomicUsize,
    /// Connections that were served.
    pub(crate) accepted: AtomicU64,
    /// Connections beyond the limit.
    pub(crate) turned_away: AtomicU64,
    /// TLS handshakes that did not succeed.
    pub(crate) handshakes_failed: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) shed: AtomicU64,
    /// Answers that were read too slowly.
    pub(crate) slow_readers: AtomicU64,
    by_protocol: BTreeMap<Protocol, Counters>,
}

/// What [`Totals`] show at one moment.
#[derive(Debug, Serialize)]
pub(crate) struct Sums {
    pub(crate) connections: usize,
    pub(crate) connections_total: u64,
    pub(crate) connections_refused: u64,
    pub(crate) tls_failures: u64,
    pub(crate) requests: u64,
    pub(crate) requests_shed: u64,
    pub(crate) slow_readers: u64,
}

impl Totals {
    pub(crate) fn new() -> Self {
        let by_protocol = Protocol::ALL.into_iter().map(|protocol| (protocol, Counters::default())).collect();
        Self {
            connections: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
            turned_away: AtomicU64::new(0),
            handshakes_failed: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            shed: AtomicU64::new(0),
            slow_readers: AtomicU64::new(0),
            by_protocol,
        }
    }

    pub(crate) fn sums(&self) -> Sums {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Sums {
            connections: self.connections.load(Ordering::Relaxed),
            connections_total: get(&self.accepted),
            connections_refused: get(&self.turned_away),
            tls_failures: get(&self.handshakes_failed),
            requests: get(&self.requests),
            requests_shed: get(&self.shed),
            slow_readers: get(&self.slow_readers),
        }
    }

    pub(crate) fn of(&self, protocol: Protocol) -> &Counters {
        &self.by_protocol[&protocol]
    }
}
