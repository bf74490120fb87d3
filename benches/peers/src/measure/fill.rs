//! Puts of new values.

use std::time::Instant;

use crate::contender::Contenders;
use crate::plan::Plan;
use crate::usage;
use bench::workload::{self, Values};

pub(crate) fn run(contenders: &mut Contenders, plan: &Plan) {
    let mut values = Values::new();
    for round in 0..plan.rounds {
        let ids = plan.values * round / plan.rounds..plan.values * (round + 1) / plan.rounds;
        contenders.turn("put", round, |contender| {
            for id in ids.clone() {
                let (key, value) = (workload::key(id), values.value(id));
                let peer = contender.peer()?;
                let start = Instant::now();
                peer.put(&key, value)?;
                let took = start.elapsed();
                contender.results.put.add(took);
            }
            // Else the dirty pages of one peer are written back in the turn of another.
            rustix::fs::sync();
            Ok(())
        });
    }
    contenders.close("close");
    contenders.turn("disk", 0, |contender| {
        contender.results.disk = Some(usage::disk(&contender.dir)?);
        Ok(())
    });
}
