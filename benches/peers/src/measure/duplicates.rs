//! Puts of values that are there already, under keys that are not.

use std::time::Instant;

use crate::contender::Contenders;
use crate::plan::Plan;
use crate::usage;
use bench::workload::{self, Values};

pub(crate) fn run(contenders: &mut Contenders, plan: &Plan) {
    let mut values = Values::new();
    contenders.turn("duplicates", 0, |contender| {
        let before = (usage::disk(&contender.dir)?, usage::written());
        for id in 0..plan.duplicates {
            let (key, value) = (workload::duplicate(id), values.value(id));
            let peer = contender.peer()?;
            let start = Instant::now();
            peer.put(&key, value)?;
            let took = start.elapsed();
            contender.results.duplicate.add(took);
        }
        contender.close()?;
        let results = &mut contender.results;
        let written = usage::written();
        results.duplicates_written = before.1.zip(written).map(|(before, after)| after - before);
        rustix::fs::sync();
        results.duplicates_disk = Some(usage::disk(&contender.dir)?.cast_signed() - before.0.cast_signed());
        // What was not written again must still be read.
        let mut buffer = Vec::new();
        for id in (0..plan.duplicates).step_by(10) {
            let found = contender.peer()?.get(&workload::duplicate(id), &mut buffer)?;
            if found.is_some_and(|found| !values.is_value(id, found)) {
                return Err(format!("returned a wrong value for the duplicate of entry {id}").into());
            }
        }
        contender.close()
    });
}

/// Returns the bytes of all duplicates.
pub(crate) fn bytes(plan: &Plan) -> u64 {
    (0..plan.duplicates).map(|id| workload::len(id) as u64).sum()
}
