//! What is measured, and how much of it.

use std::time::Duration;

use crate::Method;

/// One table: a size and a number of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) method: Method,
    pub(crate) size: usize,
    pub(crate) connections: usize,
    /// Most requests in one turn.
    pub(crate) requests: u64,
    /// Turns of each server.
    pub(crate) rounds: usize,
}

pub(crate) struct Plan {
    pub(crate) rounds: usize,
    pub(crate) warm_up: Duration,
    pub(crate) time: Duration,
    pub(crate) cases: Vec<Case>,
    /// Entries of the large store.
    pub(crate) million: u64,
}

pub(crate) const SMALL: usize = 1 << 10;
pub(crate) const LARGE: usize = 4 << 20;
pub(crate) const HUGE: usize = 256 << 20;
const SIZES: [usize; 4] = [SMALL, 64 << 10, LARGE, HUGE];
const CONNECTIONS: [usize; 3] = [1, 32, 256];
/// Most bytes that a turn of PUTs stores: what a disk has room for, and what a page cache takes without waiting for it.
const STORED: u64 = 2 << 30;
/// Connections that put the largest contents at a time: with more, uploads under way alone are beyond that.
const HUGE_PUTS: [usize; 2] = [1, 4];

impl Case {
    pub(crate) fn title(&self) -> String {
        let plural = if self.connections == 1 { "" } else { "s" };
        format!("{} of {}, {} connection{plural}", self.method.name(), size(self.size), self.connections)
    }

    /// Returns how many different contents are read: enough to be no matter of one cache line or file, and all in memory.
    pub(crate) fn contents(size: usize) -> u64 {
        match size {
            SMALL => 10_000,
            HUGE => 2,
            LARGE => 64,
            _ => 2_000,
        }
    }
}

impl Plan {
    pub(crate) fn new(quick: bool, only: &[String]) -> Self {
        let rounds = if quick { 1 } else { 5 };
        let mut cases = Vec::new();
        for method in [Method::Get, Method::Put] {
            for size in SIZES {
                let connections =
                    if (method, size) == (Method::Put, HUGE) { &HUGE_PUTS[..] } else { &CONNECTIONS };
                for &connections in connections {
                    let requests = requests(method, size, connections);
                    // 64 GiB go through the loopback at each turn of these.
                    let rounds = if size == HUGE && connections == 256 { 1 } else { rounds };
                    let case = Case { method, size, connections, requests, rounds };
                    let too_long = quick && size == HUGE && connections > 4;
                    let wanted =
                        only.is_empty() || only.iter().any(|text| case.title().contains(text.as_str()));
                    if wanted && !too_long {
                        cases.push(case);
                    }
                }
            }
        }
        let millis = |quick_one, full| Duration::from_millis(if quick { quick_one } else { full });
        Self {
            rounds,
            warm_up: millis(20, 200),
            time: millis(100, 800),
            cases,
            million: if quick { 10_000 } else { 1_000_000 },
        }
    }
}

fn requests(method: Method, size: usize, connections: usize) -> u64 {
    match (method, size) {
        (Method::Get, HUGE) => connections.max(4) as u64,
        (Method::Get, _) => u64::MAX,
        (Method::Put, size) => STORED / size as u64,
    }
}

/// Returns a number of bytes for people.
pub(crate) fn size(bytes: usize) -> String {
    if bytes < 1 << 20 { format!("{} KiB", bytes >> 10) } else { format!("{} MiB", bytes >> 20) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn puts_are_bounded_and_every_connection_has_work() {
        for case in Plan::new(false, &[]).cases {
            assert!(case.requests >= case.connections as u64, "{}", case.title());
            if case.method == Method::Put {
                assert!(case.requests * case.size as u64 <= STORED, "{}", case.title());
            }
        }
        let only = Plan::new(true, &["GET of 1 KiB".to_owned()]);
        assert_eq!(only.cases.len(), 3);
    }
}
