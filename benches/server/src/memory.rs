//! What processes take of the machine.

use std::collections::BTreeSet;
use std::fs;
use std::ops::AddAssign;
use std::time::Duration;

use crate::Result;

/// Of the clock that the kernel counts the time of processes in, wherever Linux runs.
const TICK: Duration = Duration::from_millis(10);

/// Resident memory in bytes, of all processes of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// All of it, with files that are mapped.
    pub(crate) resident: u64,
    /// What is the processes' own.
    pub(crate) own: u64,
}

impl Memory {
    /// Returns the memory of the process `pid` and its children.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let mut sum = Self::default();
        for pid in family(pid) {
            let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
            sum += Self::parse(&text);
        }
        Ok(sum)
    }

    fn parse(status: &str) -> Self {
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
        };
        Self { resident: kib("VmRSS:") << 10, own: kib("RssAnon:") << 10 }
    }
}

impl AddAssign for Memory {
    fn add_assign(&mut self, other: Self) {
        self.resident += other.resident;
        self.own += other.own;
    }
}

/// Returns how long the process `pid` and its children have run so far, on all processors together.
pub(crate) fn worked(pid: u32) -> Result<Duration> {
    let mut ticks = 0;
    for pid in family(pid) {
        let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        ticks += ticks_of(&text).ok_or_else(|| format!("/proc/{pid}/stat has another form"))?;
    }
    Ok(TICK * ticks)
}

/// Returns the sum of the fields `utime` and `stime`. The second field, a name, may have anything in it.
fn ticks_of(stat: &str) -> Option<u32> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u32>().ok();
    Some(next()? + next()?)
}

fn family(pid: u32) -> BTreeSet<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    std::iter::once(pid).chain(children).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_found() {
        let status = "Name:\tx\nVmRSS:\t    2048 kB\nRssAnon:\t    1024 kB\nRssFile:\t 1 kB\n";
        assert_eq!(Memory::parse(status), Memory { resident: 2 << 20, own: 1 << 20 });
        assert!(Memory::of(std::process::id()).unwrap().resident > 0);
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 9 9 20 0 1 0 100 0 0";
        assert_eq!(ticks_of(stat), Some(300));
        assert!(worked(std::process::id()).is_ok());
    }
}
