//! What the numbers were measured on.

use std::env::consts::{ARCH, OS};
use std::fs;
use std::path::Path;
use std::thread;

use crate::step::Step;

pub(super) fn facts(scratch: &Path) -> String {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    let model = cpu_model().unwrap_or_else(|| ARCH.to_owned());
    let file_system = file_system(scratch).unwrap_or_else(|| "unknown".to_owned());
    format!("{OS}, {cpus} CPUs ({model}), scratch files on {file_system}")
}

fn cpu_model() -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Returns the type of the file system that holds `path`, as GNU stat names it.
fn file_system(path: &Path) -> Option<String> {
    if OS != "linux" {
        return None;
    }
    let name = Step::new("stat").args(["--file-system", "--format", "%T"]).arg(path).text().ok()?;
    if name.starts_with("ext") && has_journal(path) == Some(false) {
        return Some(format!("{name} without a journal"));
    }
    Some(name)
}

/// Returns whether the ext4 that holds `path` has a journal, which makes changes of directories slower.
fn has_journal(path: &Path) -> Option<bool> {
    let device = Step::new("findmnt").args(["--noheadings", "--output", "SOURCE", "--target"]).arg(path);
    let device = device.text().ok()?;
    let prefix = format!("{}-", Path::new(&device).file_name()?.to_str()?);
    let mut journals = fs::read_dir("/proc/fs/jbd2").ok()?;
    Some(journals.any(|journal| {
        journal.is_ok_and(|journal| journal.file_name().to_string_lossy().starts_with(&prefix))
    }))
}
