//! Failures are counted by address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failures that one address has free in a window. A misconfigured build fails once or twice for each of its jobs.
pub(super) const FAILURES: u32 = 30;
/// How long failures count.
const WINDOW: Duration = Duration::from_mins(1);
/// Addresses that are remembered. Beyond that, those that are not share one count.
const ADDRESSES: usize = 4_096;

/// Counts failures by address, in bounded memory.
#[derive(Debug, Default)]
pub(crate) struct Throttle(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    by_address: HashMap<IpAddr, Window>,
    others: Option<Window>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    start: Instant,
    failures: u32,
}

impl Throttle {
    /// Counts a failure of `peer`; returns how long it has to wait if it has used up what is free.
    pub(super) fn fail(&self, peer: IpAddr) -> Result<(), Duration> {
        self.fail_at(peer, Instant::now())
    }

    fn fail_at(&self, peer: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if table.by_address.len() >= ADDRESSES && !table.by_address.contains_key(&peer) {
            table.by_address.retain(|_, window| now.duration_since(window.start) < WINDOW);
        }
        let fresh = Window { start: now, failures: 0 };
        let window = if table.by_address.len() < ADDRESSES || table.by_address.contains_key(&peer) {
            table.by_address.entry(peer).or_insert(fresh)
        } else {
            table.others.get_or_insert(fresh)
        };
        if now.duration_since(window.start) >= WINDOW {
            *window = fresh;
        }
        window.failures = window.failures.saturating_add(1);
        if window.failures <= FAILURES {
            Ok(())
        } else {
            Err(WINDOW.saturating_sub(now.duration_since(window.start)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn failures_count_by_address_and_for_a_while() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        let peer = |n: u32| IpAddr::V4(Ipv4Addr::from_bits(n));
        for _ in 0..FAILURES {
            assert_eq!(throttle.fail_at(peer(1), now), Ok(()));
        }
        assert_eq!(throttle.fail_at(peer(1), now), Err(WINDOW));
        assert_eq!(throttle.fail_at(peer(2), now), Ok(()));
        assert_eq!(throttle.fail_at(peer(1), now + WINDOW), Ok(()));
    }

    #[test]
    fn a_crowd_of_addresses_takes_no_more_memory_and_is_throttled_together() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        let refused = (0..10_000_u32)
            .filter(|n| throttle.fail_at(IpAddr::V4(Ipv4Addr::from_bits(*n)), now).is_err())
            .count();
        assert_eq!(refused, 10_000 - ADDRESSES - FAILURES as usize);
        assert_eq!(throttle.0.lock().unwrap().by_address.len(), ADDRESSES);
    }
}
