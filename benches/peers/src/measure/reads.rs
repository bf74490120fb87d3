//! Gets of what is there, and of what is not.

use std::time::Instant;

use crate::contender::{Contender, Contenders};
use crate::peers::Result;
use crate::plan::Plan;
use bench::rng::Rng;
use bench::workload::{self, SEED, Values, Zipf};

pub(crate) fn run(contenders: &mut Contenders, plan: &Plan) {
    let zipf = Zipf::new(plan.values);
    let values = Values::new();
    let mut rng = Rng::new(SEED ^ 2);
    let mut buffer = Vec::new();
    for round in 0..plan.rounds {
        let ids: Vec<u64> = (0..plan.reads / plan.rounds).map(|_| zipf.draw(&mut rng)).collect();
        contenders.turn("get", round, |contender| gets(contender, &ids, &values, &mut buffer));
        let absent = plan.misses * round / plan.rounds..plan.misses * (round + 1) / plan.rounds;
        contenders.turn("miss", round, |contender| {
            for n in absent.clone() {
                let key = workload::absent(n);
                let peer = contender.peer()?;
                let start = Instant::now();
                let found = peer.get(&key, &mut buffer)?;
                let took = start.elapsed();
                if found.is_some() {
                    return Err("returned a value for a key that was never stored".into());
                }
                contender.results.miss.add(took);
            }
            Ok(())
        });
    }
    contenders.close("close");
}

fn gets(contender: &mut Contender, ids: &[u64], values: &Values, buffer: &mut Vec<u8>) -> Result {
    let mut lost = 0u64;
    for &id in ids {
        let key = workload::key(id);
        let peer = contender.peer()?;
        let start = Instant::now();
        let found = peer.get(&key, buffer)?;
        let took = start.elapsed();
        let Some(found) = found else {
            lost += 1;
            continue;
        };
        if !values.is_value(id, found) {
            return Err(format!("returned a wrong value for entry {id}").into());
        }
        contender.results.get.add(took);
    }
    if lost > 0 {
        contender.note(&format!("{lost} of {} gets found nothing, though it was stored", ids.len()));
    }
    Ok(())
}
