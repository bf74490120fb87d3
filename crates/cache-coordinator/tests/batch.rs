//! Many questions at once: where the answers come from, and what they cost.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cache_coordinator::action::{
    ActionCache, ActionId, ActionKind, ActionMetadata, ActionRequest, ActionRun, FileStates,
};
use cache_coordinator::target::{TargetBuild, TargetCache, TargetId, TargetRequest};
use cache_coordinator::{Coordinator, Origin, Tier};
use cache_core::{
    Anchor, Digest, ListFilter, ManualClock, Namespace, PutMode, RelPath, Store, Timestamp, TreePath,
};
use cache_testkit::MemoryStore;

mod common;
use common::{Hollow, settle};

fn files(base: &Path) -> Arc<FileStates> {
    let clock = ManualClock::new(Timestamp::from(SystemTime::now()).plus(Duration::from_hours(1)));
    Arc::new(FileStates::with_clock(base, Arc::new(clock)).unwrap())
}

fn path(name: &str) -> TreePath {
    TreePath { anchor: Anchor::Base, path: RelPath::new(name).unwrap() }
}

fn origins(pairs: &[(Origin, usize)]) -> BTreeMap<Origin, usize> {
    pairs.iter().copied().collect()
}

#[tokio::test]
async fn each_answer_says_where_it_comes_from() {
    let dir = tempfile::tempdir().unwrap();
    let (tree, cache_dir) = (dir.path().join("tree"), dir.path().join("cache"));
    fs::create_dir(&tree).unwrap();
    let source = Arc::new(MemoryStore::new());
    let recorder = ActionCache::new(source.clone(), files(&tree), Namespace::default());
    let id = |n: usize| ActionId::new(format!("//{n}"), ActionKind::Test, Digest::blake3(b"")).unwrap();
    for n in 0..3 {
        recorder.record(&id(n), &ActionRun { success: true, ..ActionRun::default() }).await.unwrap();
    }
    let memory = Arc::new(MemoryStore::new());
    let disk = Arc::new(cache_fs::FsStore::open(&cache_dir, cache_fs::Options::default()).unwrap());
    let remote = Hollow::default();
    for item in source.list(&ListFilter::default(), None, 100).await.unwrap().items {
        let entry = source.get(&item.key).await.unwrap().unwrap();
        let stored = match item.meta.name.parse::<ActionId>().unwrap().target() {
            "//0" => memory.put(&item.key, &entry, PutMode::Overwrite).await,
            "//1" => Store::put(&*disk, &item.key, &entry, PutMode::Overwrite).await,
            _ => {
                remote.entries.lock().unwrap().push((item.key, entry));
                continue;
            }
        };
        let _ = stored.unwrap();
    }
    let tiers = Coordinator::builder()
        .tier(Tier::new(memory))
        .tier(Tier::new(disk))
        .tier(Tier::new(Arc::new(remote)));
    let chain = Arc::new(tiers.build().unwrap());
    let cache = ActionCache::over(Arc::clone(&chain), files(&tree), Namespace::default());
    let requests: Vec<ActionRequest> =
        (0..4).map(|n| ActionRequest { id: id(n), metadata: ActionMetadata::default() }).collect();
    let report = cache.batch_validate(&requests).await;
    let from: Vec<Option<Origin>> = report
        .results
        .iter()
        .map(|result| result.as_ref().ok().map(cache_coordinator::action::Hit::origin))
        .collect();
    assert_eq!(from, [Some(Origin::Memory), Some(Origin::Disk), Some(Origin::Remote), None]);
    assert_eq!(report.origins, origins(&[(Origin::Memory, 1), (Origin::Disk, 1), (Origin::Remote, 1)]));

    // What was found is copied into the fastest tier.
    settle(&chain).await;
    assert_eq!(cache.look_up(&id(2), &ActionMetadata::default()).await.unwrap().origin(), Origin::Memory);
    assert_eq!(cache.batch_validate(&requests).await.origins, origins(&[(Origin::Memory, 3)]));

    let blind = ActionCache::new(chain, files(&tree), Namespace::default());
    assert_eq!(blind.batch_validate(&requests).await.origins, origins(&[(Origin::Unknown, 3)]));
}

/// Records `targets` targets with 20 sources each, of `sources` files, and has all of them validated by a process that
/// knows nothing but what is in the store. Returns the number of distinct files.
fn validate(targets: usize, sources: usize) {
    const EACH: usize = 20;
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("src")).unwrap();
    fs::create_dir(dir.path().join("out")).unwrap();
    for source in 0..sources {
        fs::write(dir.path().join(format!("src/{source}.c")), source.to_string()).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let tier = Tier::new(Arc::new(MemoryStore::new()));
        let chain = Arc::new(Coordinator::builder().tier(tier).build().unwrap());
        let open = || {
            let files = files(dir.path());
            TargetCache::over(Arc::clone(&chain), files, Namespace::default(), ActionMetadata::default())
        };
        let recorder = open();
        let mut requests = Vec::new();
        for target in 0..targets {
            let sources: Vec<TreePath> =
                (0..EACH).map(|n| path(&format!("src/{}.c", (target * 7 + n) % sources))).collect();
            let output = format!("out/{target}");
            fs::write(dir.path().join(&output), "made").unwrap();
            let build = TargetBuild {
                target: TargetId::new(target.to_string()).unwrap(),
                sources: recorder.files().snapshot(&sources).await.unwrap(),
                deps: Vec::new(),
                outputs: vec![RelPath::new(output).unwrap()],
                cost_ms: 1,
            };
            recorder.update(&build).await.unwrap();
            requests.push(TargetRequest { target: build.target, sources, deps: Vec::new() });
        }
        let cache = open();
        let report = cache.batch_validate(&requests).await;
        assert_eq!((report.hits, report.misplaced), (targets, 0));
        assert_eq!(report.origins, origins(&[(Origin::Memory, targets)]));
        // One stat for each distinct file: the sources, and what was made.
        assert_eq!(report.paths, sources + targets);
        assert_eq!(cache.files().looked_at(), (sources + targets) as u64);
    });
}

#[test]
fn an_unchanged_tree_costs_one_stat_per_distinct_file() {
    validate(300, 500);
}

#[test]
fn an_unchanged_large_tree_costs_one_stat_per_distinct_file() {
    if std::env::var_os("VITTE_CACHE_TEST_SLOW").is_some() {
        validate(10_000, 50_000);
    }
}
