//! Which processors the generator and the servers have: never the same.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Result;

/// Processors of the generator and of the servers.
#[derive(Clone, Debug)]
pub(crate) struct Cpus {
    pub(crate) generator: Vec<usize>,
    pub(crate) server: Vec<usize>,
}

impl Cpus {
    /// Returns the processors of this process, half for each. With a single one, both have it.
    pub(crate) fn split() -> Result<Self> {
        let mine = sched_getaffinity(None)?;
        let all: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| mine.is_set(*cpu)).collect();
        let (generator, server) = all.split_at(all.len() / 2);
        if generator.is_empty() {
            return Ok(Self { generator: server.to_vec(), server: server.to_vec() });
        }
        Ok(Self { generator: generator.to_vec(), server: server.to_vec() })
    }

    /// Does `work` on the processors of the servers. Processes that it starts stay there.
    pub(crate) fn as_server<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        pin(&self.server)?;
        let done = work();
        pin(&self.generator)?;
        Ok(done)
    }

    /// Moves this thread, and those that it starts, to the processors of the generator.
    pub(crate) fn as_generator(&self) -> Result {
        pin(&self.generator)
    }
}

fn pin(cpus: &[usize]) -> Result {
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu);
    }
    Ok(sched_setaffinity(None, &set)?)
}
