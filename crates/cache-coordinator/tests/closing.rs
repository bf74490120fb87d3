//! Flushing, closing, and what happens to those who do neither.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cache_coordinator::action::{
    ActionCache, ActionId, ActionKind, ActionMetadata, ActionRun, FileStates, Miss,
};
use cache_coordinator::target::{TargetBuild, TargetCache, TargetId};
use cache_coordinator::{Coordinator, Tier};
use cache_core::{Anchor, Digest, Error, Namespace, RelPath, Store, TreePath};
use cache_fs::{FsStore, Layout, Options};
use cache_testkit::{Fault, Gate, Operation};
use common::{blob, entry, far, faulty, key, near, read, store};

#[cfg(unix)]
const LAYOUTS: [Layout; 2] = [Layout::Files, Layout::Segments];
#[cfg(not(unix))]
const LAYOUTS: [Layout; 1] = [Layout::Files];

fn disk(dir: &Path, layout: Layout) -> Arc<dyn Store> {
    Arc::new(FsStore::open(&dir.join("cache"), Options { layout, ..Options::default() }).unwrap())
}

#[tokio::test]
async fn a_flush_waits_for_what_is_on_its_way() {
    let (local, server, gate) = (faulty(), faulty(), Gate::new());
    server.inject(Operation::Put, .., Fault::Wait(gate.clone()));
    let far = far(&server).deadline(Duration::from_hours(1));
    let chain = Arc::new(Coordinator::builder().tier(near(&local)).tier(far).build().unwrap());
    let (there, blobs) = (key(1), [blob(1, 1000)]);
    store(&*chain, &there, &entry("there", &blobs), &blobs).await;
    let waiting = {
        let chain = Arc::clone(&chain);
        tokio::spawn(async move { Store::flush(&*chain).await })
    };
    gate.arrived(1).await;
    assert!(!waiting.is_finished() && server.get(&there).await.unwrap().is_none());
    gate.open();
    waiting.await.unwrap().unwrap();
    assert!(server.get(&there).await.unwrap().is_some());
    Store::flush(&*chain).await.unwrap();
    assert_eq!((local.calls(Operation::Flush), server.calls(Operation::Flush)), (2, 0));
    for _ in 0..2 {
        chain.close().await.unwrap();
    }
    assert!(matches!(Store::flush(&*chain).await, Err(Error::Closed { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_flush_says_what_has_not_arrived_and_loses_none_of_it() {
    let (local, server, gate) = (faulty(), faulty(), Gate::new());
    server.inject(Operation::Put, .., Fault::Wait(gate.clone()));
    let far = far(&server).deadline(Duration::from_hours(1));
    let chain = Coordinator::builder().tier(near(&local)).tier(far).build().unwrap();
    store(&chain, &key(1), &entry("there", &[]), &[]).await;
    let error = Store::flush(&chain).await.unwrap_err();
    assert!(error.to_string().contains("1 writes of 5 bytes"), "{error}");
    gate.open();
    Store::flush(&chain).await.unwrap();
    assert!(server.get(&key(1)).await.unwrap().is_some());
}

#[tokio::test]
async fn dropping_a_chain_loses_nothing_that_its_disk_has() {
    for layout in LAYOUTS {
        let dir = tempfile::tempdir().unwrap();
        let blobs = [blob(1, 300_000), blob(2, 10)];
        {
            let chain = Coordinator::builder()
                .tier(Tier::new(disk(dir.path(), layout)))
                .tier(far(&faulty()))
                .build()
                .unwrap();
            store(&chain, &key(1), &entry("there", &blobs), &blobs).await;
        }
        let again = disk(dir.path(), layout);
        assert_eq!(again.get(&key(1)).await.unwrap(), Some(entry("there", &blobs)), "{layout:?}");
        for (digest, content) in &blobs {
            assert_eq!(read(&*again, digest, None).await.unwrap().as_ref(), Some(content), "{layout:?}");
        }
        for _ in 0..2 {
            again.close().await.unwrap();
        }
    }
}

#[tokio::test]
async fn caches_are_flushed_and_closed_with_their_store_and_lose_nothing_without() {
    for layout in LAYOUTS {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("tree");
        std::fs::create_dir(&base).unwrap();
        std::fs::write(base.join("a.c"), "a").unwrap();
        let files = Arc::new(FileStates::new(&base).unwrap());
        let source = TreePath { anchor: Anchor::Base, path: RelPath::new("a.c").unwrap() };
        let inputs = files.snapshot(std::slice::from_ref(&source)).await.unwrap();
        std::fs::write(base.join("a.o"), "object").unwrap();
        let outputs = vec![RelPath::new("a.o").unwrap()];
        let id = ActionId::new("//a", ActionKind::Compile, Digest::blake3(b"cc")).unwrap();
        let target = TargetId::new("//a").unwrap();
        let open = || {
            let (store, namespace) = (disk(dir.path(), layout), Namespace::default());
            let actions = ActionCache::new(Arc::clone(&store), Arc::clone(&files), namespace.clone());
            let targets = TargetCache::new(store, Arc::clone(&files), namespace, ActionMetadata::default());
            (actions, targets)
        };
        {
            let (actions, targets) = open();
            let run = ActionRun {
                inputs: inputs.clone(),
                outputs: outputs.clone(),
                success: true,
                ..ActionRun::default()
            };
            actions.record(&id, &run).await.unwrap();
            let build = TargetBuild {
                target: target.clone(),
                sources: inputs,
                deps: Vec::new(),
                outputs,
                cost_ms: 1,
            };
            targets.update(&build).await.unwrap();
        }
        let (actions, targets) = open();
        assert!(actions.is_cached(&id, &ActionMetadata::default()).await, "{layout:?}");
        let sources = std::slice::from_ref(&source);
        assert!(targets.is_cached(&target, sources, &[]).await, "{layout:?}");
        for _ in 0..2 {
            actions.flush().await.unwrap();
            targets.flush().await.unwrap();
        }
        for _ in 0..2 {
            actions.close().await.unwrap();
            targets.close().await.unwrap();
        }
        assert!(!actions.is_cached(&id, &ActionMetadata::default()).await);
        let miss = targets.look_up(&target, sources, &[]).await.unwrap_err();
        assert!(!matches!(miss, Miss::Absent), "it says that it cannot tell: {miss:?}");
        assert!(actions.flush().await.is_err());
    }
}
