//! What the machine gives at best, measured in the same run as the stores.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use twox_hash::XxHash3_128;

use crate::peers::Result;
use crate::plan::Plan;
use bench::samples::{Samples, Summary};

const PAGE: usize = 4 << 10;
/// The mean of the values.
const MEAN: usize = 11_280;
/// Files that are read in turn.
const FILES: u64 = 1_000;

pub(crate) fn limits(dir: &Path, plan: &Plan) -> Result<Vec<(&'static str, Summary)>> {
    let dir = dir.join("limits");
    fs::create_dir(&dir)?;
    let path = |n: u64| dir.join(n.to_string());
    let temp = dir.join("temp");
    let mut page = vec![7; PAGE];
    let value = vec![7; MEAN];
    let once = plan.limits.min(FILES * 5);
    let create = timed(once, |n| {
        let mut file = File::create_new(&temp)?;
        file.write_all(&page)?;
        drop(file);
        Ok(fs::rename(&temp, path(n))?)
    })?;
    let open = timed(plan.limits, |n| Ok(File::open(path(n % FILES.min(once)))?.read_exact(&mut page)?))?;
    let file = File::options().read(true).write(true).create(true).truncate(true).open(dir.join("log"))?;
    let append = timed(plan.limits, |n| Ok(file.write_all_at(&page, n * PAGE as u64)?))?;
    let read =
        timed(plan.limits, |n| Ok(file.read_exact_at(&mut page, n * 7_919 % plan.limits * PAGE as u64)?))?;
    let unlink = timed(once, |n| Ok(fs::remove_file(path(n))?))?;
    let hash = timed(plan.limits, |_| {
        black_box(XxHash3_128::oneshot(black_box(&value)));
        Ok(())
    })?;
    fs::remove_dir_all(&dir)?;
    let names = [
        ("open + read + close 4 KiB", open),
        ("pread 4 KiB", read),
        ("pwrite 4 KiB, appending", append),
        ("create + write 4 KiB + rename", create),
        ("unlink", unlink),
        ("XXH3-128 of 11 KB", hash),
    ];
    Ok(names.into_iter().filter_map(|(name, samples)| Some((name, samples.summary()?))).collect())
}

fn timed(count: u64, mut operation: impl FnMut(u64) -> Result) -> Result<Samples> {
    let mut samples = Samples::default();
    for n in 0..count {
        let start = Instant::now();
        operation(n)?;
        samples.add(start.elapsed());
    }
    Ok(samples)
}
