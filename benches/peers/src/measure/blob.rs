//! Blobs of 64 MiB.

use std::fs;
use std::time::Instant;

use super::wrong;
use crate::contender::Contenders;
use crate::peers::ROOMY;
use crate::plan::Plan;
use bench::workload::{self, Values};

pub(crate) fn run(contenders: &mut Contenders, plan: &Plan) {
    let values = Values::new();
    let (mut blob, mut buffer) = (Vec::new(), Vec::new());
    for round in 0..plan.blobs {
        contenders.turn("blob", round, |contender| {
            values.blob(round, &mut blob);
            let dir = contender.scratch.join("blobs");
            fs::create_dir_all(&dir)?;
            let mut peer = (contender.kind.open)(&dir, ROOMY)?;
            let key = workload::key(round);
            let start = Instant::now();
            peer.put(&key, &blob)?;
            contender.results.blob_put.add(start.elapsed());
            rustix::fs::sync();
            // The first get may grow the buffer, which costs more than reading.
            for timed in [false, true] {
                let start = Instant::now();
                let found = peer.get(&key, &mut buffer)?;
                let took = start.elapsed();
                if found.is_none_or(|found| found != blob) {
                    return Err(format!("returned {} for a blob", wrong(found)).into());
                }
                if timed {
                    contender.results.blob_get.add(took);
                }
            }
            peer.settle()?;
            drop(peer);
            Ok(fs::remove_dir_all(&dir)?)
        });
    }
}
