//! No access log makes the simulation panic, and each of its lines is counted once at most.

#![no_main]

use cache_run::access::Access;
use cache_run::simulate::Simulation;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Err(error) = Access::parse(data) {
        assert!(!error.to_string().contains('\n'));
    }
    let mut simulation = Simulation::new(&[0, 1000, 1 << 20, u64::MAX]);
    let mut log = data;
    simulation.replay(&mut log).expect("reading from memory does not fail");
    let summary = simulation.summary();
    let lines = data.split(|&byte| byte == b'\n').count() as u64;
    assert!(summary.accesses + summary.bad_lines + summary.left_out <= lines);
    assert!(summary.keys <= summary.accesses);
    for outcome in &summary.results {
        for ratio in [outcome.hit_ratio, outcome.byte_hit_ratio].into_iter().flatten() {
            assert!((0.0..=1.0).contains(&ratio), "{ratio}");
        }
    }
});
