//! Every mode of every tier, each well, slow, failing or lying: what callers see, and who is asked for what.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use bytes::Bytes;
use cache_coordinator::{Coordinator, Tier};
use cache_core::{Digest, PutMode, PutOutcome, Store};
use cache_testkit::Operation;
use common::{Faulty, Health, blob, entry, faulty, key, near, read, settle, store};

const MODES: [(bool, bool); 4] = [(false, false), (true, false), (false, true), (true, true)];
/// More than is checked before the caller sees any of it.
const LARGE: usize = 300_000;

#[derive(Clone, Copy, Debug)]
struct Case {
    reads: bool,
    writes: bool,
    background: bool,
    health: Health,
}

impl Case {
    fn all() -> impl Iterator<Item = Self> + Clone {
        MODES.into_iter().flat_map(|(reads, writes)| {
            Health::ALL.into_iter().flat_map(move |health| {
                [false, true].map(|background| Self { reads, writes, background, health })
            })
        })
    }

    fn tier(self, store: &Faulty) -> Tier {
        near(store).read(self.reads).write(self.writes).write_back(self.background).verify(true)
    }

    /// Whether entries can be had from it.
    fn gives(self) -> bool {
        self.reads && matches!(self.health, Health::Healthy | Health::Lying)
    }

    /// Whether it can be stored in.
    fn takes(self) -> bool {
        self.writes && matches!(self.health, Health::Healthy | Health::Lying)
    }
}

/// Whether each is written in the background, as the documentation says.
fn in_background(cases: &[Case]) -> Vec<bool> {
    let mut source = false;
    let mut all = Vec::new();
    for case in cases {
        let background = case.writes && case.background && source;
        source |= case.reads && case.writes && !background;
        all.push(background);
    }
    all
}

async fn check(cases: &[Case]) {
    let stores: Vec<Faulty> = cases.iter().map(|_| faulty()).collect();
    // An entry of its own in each tier, with a small blob and a large one.
    let mut seeded = Vec::new();
    for (number, store_of) in (0..).zip(&stores) {
        let blobs = [blob(100 + number, 5000), blob(200 + number, LARGE)];
        let entry = entry(&format!("of tier {number}"), &blobs);
        store(store_of.inner(), &key(number), &entry, &blobs).await;
        seeded.push((key(number), entry, blobs));
    }
    let mut builder = Coordinator::builder();
    for (case, store) in cases.iter().zip(&stores) {
        builder = builder.tier(case.tier(store));
        case.health.befall(store);
    }
    let chain = builder.build().unwrap();

    for (case, (key, entry, blobs)) in cases.iter().zip(&seeded) {
        let expected = case.gives().then_some(entry);
        assert_eq!(chain.get_many(&[*key]).await.unwrap(), [expected.cloned()]);
        let found = chain.get(key).await.unwrap();
        let digests: Vec<Digest> = blobs.iter().map(|(digest, _)| *digest).collect();
        let missing = chain.missing(&digests).await.unwrap();
        if case.health == Health::Lying {
            // Whoever reads a blob there, be it to copy it, finds it wrong and removes it.
            assert!(found.is_none() || found.as_ref() == expected);
        } else {
            assert_eq!(found.as_ref(), expected);
            assert_eq!(missing.is_empty(), case.gives());
        }
        let liars = cases.iter().any(|case| case.health == Health::Lying);
        for (number, blob) in blobs.iter().enumerate() {
            check_blob(&chain, *case, blob, number == 0, liars).await;
        }
    }
    settle(&chain).await;

    // A caller stores something of its own.
    let blobs = [blob(1, 5000), blob(2, LARGE)];
    let (mine, entry) = (key(1000), entry("mine", &blobs));
    for (digest, content) in &blobs {
        chain.write(digest, content.len() as u64, content.clone().into()).await.unwrap();
    }
    assert_eq!(chain.put(&mine, &entry, PutMode::Overwrite).await.unwrap(), PutOutcome::Stored);
    let background = in_background(cases);
    let through = |index: usize| cases[index].takes() && !background[index];
    let found = chain.get(&mine).await.unwrap();
    // A liar loses it as soon as somebody reads its blobs, be it to send them on.
    let keeps = |index: usize| through(index) && cases[index].reads && cases[index].health == Health::Healthy;
    if (0..cases.len()).any(keeps) {
        assert_eq!(found.as_ref(), Some(&entry), "{cases:?}");
    } else {
        assert!(found.is_none_or(|found| found == entry), "{cases:?}");
    }
    let _ = chain.flush(std::time::Duration::from_mins(1)).await;
    for (index, store) in stores.iter().enumerate() {
        let arrived = store.inner().get(&mine).await.unwrap();
        let source = |other: usize| {
            other < index && through(other) && cases[other].reads && cases[other].health == Health::Healthy
        };
        if keeps(index) || background[index] && cases[index].takes() && (0..index).any(source) {
            assert_eq!(arrived.as_ref(), Some(&entry), "tier {index} of {cases:?}");
        } else if !cases[index].takes() {
            assert_eq!(arrived, None, "tier {index} of {cases:?}");
        }
    }

    // Nobody sees it after it was removed, whichever tier could not be told.
    chain.remove(&mine).await.unwrap();
    assert_eq!(chain.get(&mine).await.unwrap(), None);
    assert_eq!(chain.get_many(&[mine]).await.unwrap(), [None]);

    for (case, store) in cases.iter().zip(&stores) {
        let calls = |operations: &[Operation]| -> u64 { operations.iter().map(|it| store.calls(*it)).sum() };
        if !case.reads {
            assert_eq!(calls(&[Operation::Get, Operation::GetMany, Operation::Read]), 0);
        }
        if !case.writes {
            let writes = [Operation::Put, Operation::Write, Operation::Remove, Operation::Delete];
            assert_eq!(calls(&writes), 0);
        }
        if !case.reads && !case.writes {
            assert_eq!(calls(&common::OPERATIONS), 0);
        }
    }
}

/// Checks that a blob comes whole and right, or not at all.
async fn check_blob(
    chain: &Coordinator,
    case: Case,
    (digest, content): &(Digest, Bytes),
    small: bool,
    liars: bool,
) {
    let found = read(chain, digest, None).await;
    match case.health {
        // A large one is checked at its end only, and a liar may have got a copy of it.
        _ if liars && !small && found.is_err() => {}
        Health::Healthy if case.reads => assert_eq!(found.unwrap().as_ref(), Some(content)),
        _ => assert_eq!(found.unwrap(), None),
    }
    let part = read(chain, digest, Some(10..20)).await;
    assert!(part.is_err() || part.unwrap().is_none_or(|part| part == content[10..20]));
}

#[tokio::test(start_paused = true)]
async fn one_tier() {
    for case in Case::all() {
        check(&[case]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn two_tiers() {
    for first in Case::all() {
        for second in Case::all() {
            check(&[first, second]).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn three_tiers_of_which_the_first_is_well() {
    let first = Case { reads: true, writes: true, background: false, health: Health::Healthy };
    for second in Case::all().filter(|case| !case.background) {
        for third in Case::all().filter(|case| case.background) {
            check(&[first, second, third]).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn three_tiers_of_which_the_last_is_well() {
    let last = Case { reads: true, writes: true, background: true, health: Health::Healthy };
    for first in Case::all().filter(|case| !case.background) {
        for second in Case::all().filter(|case| !case.background) {
            check(&[first, second, last]).await;
        }
    }
}
