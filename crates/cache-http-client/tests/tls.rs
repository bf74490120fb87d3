//! A real server of this project that speaks HTTPS.

mod common;

use std::sync::atomic::Ordering;

use cache_core::{Digest, Error, Key, Store};
use cache_http_client::HttpStore;
use cache_testkit::content;
use futures_util::future::join_all;

use common::ours::{passing, start_with_tls};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_of_ones_own_vouches_and_many_requests_share_a_connection() {
    let (server, authority) = start_with_tls().await;
    let (address, moved) = passing(server.address, u64::MAX).await;
    let mut options = server.options("");
    options.url = format!("https://{address}");
    options.retries = 0;
    let key = Key::from_bytes([1; 32]);
    let error = HttpStore::open(options.clone()).unwrap().get(&key).await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    for (wrong, why) in [(&b"nothing"[..], "no certificate"), (b"-----BEGIN CERTIFICATE-----\n?", "CA")] {
        let mut options = options.clone();
        options.extra_ca = Some(wrong.to_vec());
        let error = HttpStore::open(options).unwrap_err();
        assert!(matches!(&error, Error::Invalid(what) if what.contains(why)), "{error}");
    }
    options.extra_ca = Some(authority);
    let store = HttpStore::open(options).unwrap();
    let before = moved.connections.load(Ordering::SeqCst);
    assert_eq!(store.get(&key).await.unwrap(), None);
    let blobs: Vec<_> = (0..40).map(|seed| content(seed, 50_000)).collect();
    let digests: Vec<Digest> = blobs.iter().map(|blob| Digest::blake3(blob)).collect();
    let writes =
        digests.iter().zip(&blobs).map(|(digest, blob)| store.write(digest, 50_000, blob.clone().into()));
    assert!(join_all(writes).await.iter().all(Result::is_ok));
    let reads = join_all(digests.iter().map(|digest| store.read(digest, None))).await;
    for (read, blob) in reads.into_iter().zip(blobs) {
        assert!(read.unwrap().unwrap().into_bytes(50_000).await.unwrap() == blob);
    }
    // HTTP/2: of HTTP/1.1 it would be many.
    assert_eq!(moved.connections.load(Ordering::SeqCst) - before, 1);
}
