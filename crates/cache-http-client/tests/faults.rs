//! A server that misbehaves in every way: what comes of it is a miss or an error in time, and never a wrong byte.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use cache_core::coding::{Coding, Encoder};
use cache_core::envelope::{Compression, encode_entry};
use cache_core::{Digest, Entry, Error, Key, ListFilter, PutMode, PutOutcome, Result, Store};
use cache_http_client::{Backend, HttpOptions, HttpStore, Token};
use cache_testkit::{content, in_pieces};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Whatever the server does, an operation is over by then; the limits of the options are far below.
const SOON: Duration = Duration::from_secs(20);

/// What the server does with one connection: it sends these bytes, and then closes or says no more.
#[derive(Clone)]
struct Act {
    bytes: Vec<u8>,
    holds: bool,
}

fn sends(bytes: impl AsRef<[u8]>) -> Act {
    Act { bytes: bytes.as_ref().to_vec(), holds: false }
}

fn sends_and_holds(bytes: impl AsRef<[u8]>) -> Act {
    Act { bytes: bytes.as_ref().to_vec(), holds: true }
}

/// Answers one request of each connection by the acts in their order, the last one again and again.
struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(acts: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve(connection, acts.clone(), Arc::clone(&heard)));
            }
        });
        Self { address, requests }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    fn store(&self, retries: u32) -> HttpStore {
        self.store_of(Backend::Generic, retries)
    }

    fn store_of(&self, backend: Backend, retries: u32) -> HttpStore {
        HttpStore::open(self.options(backend, retries)).unwrap()
    }

    fn options(&self, backend: Backend, retries: u32) -> HttpOptions {
        let mut options = HttpOptions::new(format!("http://{}", self.address));
        options.token = Some(Token::new("s3cret").unwrap());
        options.backend = backend;
        options.retries = retries;
        options.timeout = Duration::from_secs(5);
        options.stall = Duration::from_millis(300);
        options
    }
}

async fn serve(mut connection: TcpStream, acts: Vec<Act>, heard: Arc<Mutex<Vec<String>>>) {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        match connection.read(&mut byte).await {
            Ok(1) => request.push(byte[0]),
            _ => return,
        }
    }
    let number = {
        let mut heard = heard.lock().unwrap();
        heard.push(String::from_utf8_lossy(&request).into_owned());
        heard.len() - 1
    };
    let act = &acts[number.min(acts.len() - 1)];
    let _ = connection.write_all(&act.bytes).await;
    if act.holds {
        // Until the client has had enough.
        while connection.read(&mut byte).await.is_ok_and(|read| read > 0) {}
    }
}

/// Returns what `operation` returns; it takes no longer than it may.
async fn soon<T>(operation: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, operation).await.expect("an operation does not end")
}

fn ok(headers: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\n{headers}Connection: close\r\n\r\n").as_bytes(), body].concat()
}

async fn all_of(store: &HttpStore, digest: &Digest) -> Result<Option<Bytes>> {
    match store.read(digest, None).await? {
        Some(body) => body.into_bytes(64 << 20).await.map(Some),
        None => Ok(None),
    }
}

/// Returns what a server may do instead of sending `blob`.
fn faults(blob: &Bytes) -> Vec<(&'static str, Act)> {
    let len = blob.len();
    let half = &blob[..len / 2];
    let length = format!("Content-Length: {len}\r\n");
    let longer = [&blob[..], b"and more"].concat();
    vec![
        ("closes at once", sends("")),
        ("says nothing", sends_and_holds("")),
        ("sends garbage", sends(content(2, 5000))),
        ("sends half a head", sends("HTTP/1.1 200 OK\r\nContent-Le")),
        ("stalls in the head", sends_and_holds("HTTP/1.1 200 OK\r\nContent-Le")),
        ("has no status", sends("HTTP/1.1 2000 OK\r\n\r\n")),
        ("cuts the body", sends(ok(&length, half))),
        ("stalls in the body", sends_and_holds(ok(&length, half))),
        ("cuts a body without a length", sends(ok("", half))),
        ("sends something else", sends(ok("Content-Length: 2\r\n", b"OK"))),
        ("sends more than the blob", sends(ok(&format!("Content-Length: {}\r\n", longer.len()), &longer))),
        ("announces two lengths", sends(ok(&format!("{length}Content-Length: 7\r\n"), blob))),
        ("announces too much", sends(ok("Content-Length: 99999999999999999\r\n", half))),
        ("sends broken chunks", sends(ok("Transfer-Encoding: chunked\r\n", b"zz\r\nxx"))),
        ("compresses", sends(ok(&format!("Content-Encoding: gzip\r\n{length}"), blob))),
        (
            "sends a part unasked",
            sends(b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 5-6/9\r\nContent-Length: 2\r\n\r\nxx"),
        ),
        (
            "redirects in circles",
            sends("HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
        ),
        ("redirects to nowhere", sends("HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n")),
        (
            "is overloaded for an hour",
            sends("HTTP/1.1 503 No\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n"),
        ),
        ("has enough", sends("HTTP/1.1 429 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")),
        ("fails", sends("HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")),
        ("forbids", sends("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")),
        ("is gone", sends("HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n")),
    ]
}

#[tokio::test]
async fn every_fault_is_a_miss_or_an_error_in_time() {
    let blob = content(1, 2 << 20);
    let (len, digest, key) = (blob.len(), Digest::blake3(&blob), Key::from_bytes([1; 32]));
    for (fault, act) in faults(&blob) {
        // Only the server knows whether what it says it stored is stored.
        let claims_success = act.bytes.starts_with(b"HTTP/1.1 2");
        let server = Server::start(vec![act]).await;
        let store = server.store(1);
        let read = soon(all_of(&store, &digest)).await;
        assert!(!matches!(read, Ok(Some(_))), "a server that {fault} is believed");
        let got = soon(store.get(&key)).await;
        assert!(!matches!(got, Ok(Some(_))), "a server that {fault} is believed");
        for error in [read.err(), got.err()].into_iter().flatten() {
            assert!(!error.to_string().contains("s3cret"), "{fault}: {error}");
        }
        let writes = soon(store.write(&digest, len as u64, in_pieces(&blob, 100_000))).await;
        if !claims_success {
            assert!(writes.is_err(), "a server that {fault} is said to have a blob");
        }
    }
}

#[tokio::test]
async fn a_download_goes_on_where_it_broke_off() {
    let blob = content(1, 2 << 20);
    let (len, digest) = (blob.len(), Digest::blake3(&blob));
    let cut = len / 3;
    let first = ok(&format!("ETag: \"x\"\r\nContent-Length: {len}\r\n"), &blob[..cut]);
    // The first piece that the client took may end anywhere: what follows is what it asks for.
    let whole = ok(&format!("ETag: \"x\"\r\nContent-Length: {len}\r\n"), &blob);
    let server = Server::start(vec![sends(&first), sends(&whole)]).await;
    assert_eq!(soon(all_of(&server.store(2), &digest)).await.unwrap().unwrap(), blob);
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests[1].contains(&format!("range: bytes={cut}-\r\n")), "{}", requests[1]);
    assert!(requests[1].contains("if-range: \"x\"\r\n"));

    let rest = [
        format!(
            "HTTP/1.1 206 Partial\r\nContent-Range: bytes {cut}-{}/{len}\r\nContent-Length: {}\r\n\r\n",
            len - 1,
            len - cut
        )
        .as_bytes(),
        &blob[cut..],
    ]
    .concat();
    let server = Server::start(vec![sends(&first), sends(&rest)]).await;
    assert_eq!(soon(all_of(&server.store(2), &digest)).await.unwrap().unwrap(), blob);

    // Something else goes on, and the digest tells.
    let other = ok(&format!("Content-Length: {len}\r\n"), &content(9, len));
    let server = Server::start(vec![sends(&first), sends(&other)]).await;
    let error = soon(all_of(&server.store(2), &digest)).await.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");

    let server = Server::start(vec![sends(&first)]).await;
    assert!(soon(all_of(&server.store(0), &digest)).await.unwrap_err().is_retryable());
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn what_is_safe_is_asked_again_and_nothing_else() {
    const BUSY: &str = "HTTP/1.1 503 No\r\nRetry-After: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let blob = content(1, 1000);
    let digest = Digest::sha256(&blob);
    let found = ok("Content-Length: 1000\r\n", &blob);
    let server = Server::start(vec![sends(BUSY), sends(BUSY), sends(found)]).await;
    assert_eq!(soon(all_of(&server.store(2), &digest)).await.unwrap().unwrap(), blob);
    assert_eq!(server.requests().len(), 3);

    let server = Server::start(vec![sends(BUSY)]).await;
    let store = server.store(1);
    let error = soon(store.get(&Key::from_bytes([1; 32]))).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }) && error.is_retryable());
    assert_eq!(server.requests().len(), 2);
    assert!(soon(store.delete(&digest)).await.is_err());
    assert_eq!(server.requests().len(), 3, "a removal is repeated");
    let store = server.store_of(Backend::Native, 1);
    assert!(soon(store.put(&Key::from_bytes([1; 32]), &Entry::default(), PutMode::IfAbsent)).await.is_err());
    assert_eq!(server.requests().len(), 4, "what is stored only where nothing is, is repeated");
    let streamed = content(2, 2 << 20);
    let absent = sends("HTTP/1.1 404 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let server = Server::start(vec![absent, sends(BUSY)]).await;
    let body = in_pieces(&streamed, 100_000);
    assert!(
        soon(server.store_of(Backend::Native, 1).write(&Digest::blake3(&streamed), 2 << 20, body))
            .await
            .is_err()
    );
    assert_eq!(server.requests().len(), 2, "a stream is repeated");

    // The budget ends before the retries of many operations do.
    let server = Server::start(vec![sends(BUSY)]).await;
    let store = server.store(1);
    for _ in 0..50 {
        assert!(soon(store.missing(&[digest])).await.is_err());
    }
    let asked = server.requests().len();
    assert!((60..=70).contains(&asked), "{asked} requests of 50 operations");
}

#[tokio::test]
async fn the_token_stays_with_the_server_it_is_for() {
    let blob = content(1, 10);
    let other = Server::start(vec![sends(ok("Content-Length: 10\r\n", &blob))]).await;
    let to = format!(
        "HTTP/1.1 307 There\r\nLocation: http://{}/x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        other.address
    );
    let server = Server::start(vec![sends(to)]).await;
    let store = server.store(0);
    assert_eq!(soon(all_of(&store, &Digest::blake3(&blob))).await.unwrap().unwrap(), blob);
    assert!(server.requests()[0].contains("authorization: Bearer s3cret\r\n"));
    assert!(!other.requests()[0].to_lowercase().contains("authorization"));
    // What changes something is not sent on.
    let error = soon(store.write(&Digest::blake3(&blob), 10, blob.into())).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
    assert_eq!(other.requests().len(), 1);
}

#[tokio::test]
async fn our_own_protocol_is_doubted_in_the_same_way() {
    let blob = content(1, 2 << 20);
    let (len, digest, key) = (blob.len(), Digest::blake3(&blob), Key::from_bytes([1; 32]));
    let other = encode_entry(&Key::from_bytes([2; 32]), &Entry::default(), Compression::None).unwrap();
    let frame = |len: u32, content: &[u8]| [&[1][..], &len.to_le_bytes(), content].concat();
    let whole = |body: &[u8]| sends(ok(&format!("Content-Length: {}\r\n", body.len()), body));
    let answers = [
        ("sends nothing", whole(b"")),
        ("sends other JSON", whole(b"{\"found\": []}")),
        ("sends half of its JSON", whole(b"{\"missing\": [\"blake3:")),
        ("sends no digests", whole(b"{\"missing\": [\"md5:00\"]}")),
        ("lists no entries", whole(b"{\"items\": [{\"key\": 1}], \"next\": null}")),
        ("sends an unknown frame", whole(&[9, 9, 9])),
        ("sends a frame that is too long", whole(&frame(u32::MAX, b"x"))),
        ("sends half a frame", whole(&frame(100, b"x"))),
        ("sends another entry", whole(&other)),
        ("sends other entries", whole(&frame(other.len() as u32, &other).repeat(2))),
        (
            "refuses without reason",
            sends("HTTP/1.1 409 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
        ),
        ("has something already", sends("HTTP/1.1 412 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")),
        ("knows somebody better", sends("HTTP/1.1 401 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")),
    ];
    let mut faults = faults(&blob);
    faults.extend(answers);
    for (fault, act) in faults {
        let claims_success = act.bytes.starts_with(b"HTTP/1.1 2");
        let server = Server::start(vec![act]).await;
        let store = server.store_of(Backend::Native, 1);
        let read = soon(all_of(&store, &digest)).await;
        assert!(!matches!(read, Ok(Some(_))), "a server that {fault} is believed");
        let got = soon(store.get(&key)).await;
        assert!(!matches!(got, Ok(Some(_))), "a server that {fault} is believed");
        let many = soon(store.get_many(&[key, key])).await;
        assert!(!many.as_ref().is_ok_and(|many| many.iter().any(Option::is_some)), "{fault}: {many:?}");
        let missing = soon(store.missing(&[digest])).await;
        assert!(!missing.as_ref().is_ok_and(Vec::is_empty), "a server that {fault} is said to have a blob");
        let listed = soon(store.list(&ListFilter::default(), None, 10)).await;
        assert!(listed.is_err(), "a server that {fault} has a list: {listed:?}");
        let errors = [read.err(), got.err(), many.err(), missing.err(), listed.err()];
        for error in errors.into_iter().flatten() {
            assert!(!error.to_string().contains("s3cret"), "{fault}: {error}");
        }
        if !claims_success {
            let writes = soon(store.write(&digest, len as u64, in_pieces(&blob, 100_000))).await;
            assert!(writes.is_err(), "a server that {fault} is said to have a blob");
            let puts = soon(store.put(&key, &Entry::default(), PutMode::Overwrite)).await;
            assert!(puts.is_err(), "a server that {fault} is said to have an entry");
        }
    }
}

#[tokio::test]
async fn a_server_of_bazels_protocol_is_doubted_in_the_same_way() {
    let blob = content(1, 2 << 20);
    let (len, digest, key) = (blob.len(), Digest::blake3(&blob), Key::from_bytes([1; 32]));
    for (fault, act) in faults(&blob) {
        let claims_success = act.bytes.starts_with(b"HTTP/1.1 2");
        let server = Server::start(vec![act]).await;
        let store = server.store_of(Backend::Bazel, 1);
        assert!(
            !matches!(soon(all_of(&store, &digest)).await, Ok(Some(_))),
            "a server that {fault} is believed"
        );
        assert!(!matches!(soon(store.get(&key)).await, Ok(Some(_))), "a server that {fault} is believed");
        let missing = soon(store.missing(&[digest])).await;
        assert!(!missing.as_ref().is_ok_and(Vec::is_empty), "a server that {fault} is said to have a blob");
        if !claims_success {
            let writes = soon(store.write(&digest, len as u64, in_pieces(&blob, 100_000))).await;
            assert!(writes.is_err(), "a server that {fault} is said to have a blob");
        }
    }
}

#[tokio::test]
async fn a_batch_that_breaks_off_is_asked_for_again() {
    let key = Key::from_bytes([1; 32]);
    let entry = Entry { value: content(1, 1000), ..Entry::default() };
    let envelope = encode_entry(&key, &entry, Compression::None).unwrap();
    let frames = [&[0, 1][..], &(envelope.len() as u32).to_le_bytes(), &envelope].concat();
    let head = format!("Content-Length: {}\r\n", frames.len());
    let server = Server::start(vec![sends(ok(&head, &frames[..600])), sends(ok(&head, &frames))]).await;
    let store = server.store_of(Backend::Native, 2);
    assert_eq!(soon(store.get_many(&[key, key])).await.unwrap(), [None, Some(entry)]);
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_read_that_is_late_is_asked_a_second_time() {
    let key = Key::from_bytes([1; 32]);
    let entry = Entry { value: content(1, 1000), ..Entry::default() };
    let envelope = encode_entry(&key, &entry, Compression::None).unwrap();
    let quick = sends(ok(&format!("Content-Length: {}\r\n", envelope.len()), &envelope));
    let late = sends_and_holds("");
    let acts = [vec![quick.clone(); 25], vec![late.clone(), quick.clone()], vec![late, quick]].concat();
    let server = Server::start(acts).await;
    // Without a second attempt it would be an error: nothing is asked again after one.
    let store = server.store_of(Backend::Native, 0);
    for _ in 0..27 {
        assert_eq!(soon(store.get(&key)).await.unwrap().as_ref(), Some(&entry));
    }
    assert!(server.requests().len() >= 29);
}

#[tokio::test]
async fn a_download_waits_as_long_as_the_server_says_or_not_at_all() {
    let blob = content(1, 2 << 20);
    let first = ok(&format!("Content-Length: {}\r\n", blob.len()), &blob[..1000]);
    let busy = "HTTP/1.1 503 No\r\nRetry-After: 3600\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let server = Server::start(vec![sends(first), sends(busy)]).await;
    assert!(soon(all_of(&server.store(2), &Digest::blake3(&blob))).await.unwrap_err().is_retryable());
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_server_that_takes_parts_is_doubted_in_the_same_way() {
    let blob = content(1, 9 << 20);
    let (len, digest) = (blob.len() as u64, Digest::blake3(&blob));
    let answer =
        |head: &str| sends(format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
    let (absent, begun) =
        (answer("404 No"), answer(&format!("201 Yes\r\nLocation: /v1/uploads/{}", "a".repeat(64))));
    for (fault, rest) in [
        ("forgets the upload", vec![answer("404 No")]),
        ("never has more", vec![answer("409 No\r\nUpload-Offset: 5")]),
        ("has more than there is", vec![answer("409 No\r\nUpload-Offset: 99999999999")]),
        ("has no offset", vec![answer("204 Yes")]),
        ("has another digest", vec![answer("422 No")]),
        ("closes at once", vec![sends("")]),
        ("says nothing", vec![sends_and_holds("")]),
    ] {
        let server = Server::start([vec![absent.clone(), begun.clone()], rest].concat()).await;
        let store = server.store_of(Backend::Native, 2);
        let written = soon(store.write(&digest, len, blob.clone().into())).await;
        assert!(written.is_err(), "a server that {fault} is said to have a blob");
        assert!(server.requests().len() <= 12, "{fault}: {:?}", server.requests());
    }
}

/// Returns `len` bytes that shrink, and what they are in `coding`.
fn coded(coding: Coding, len: usize) -> (Bytes, Vec<u8>) {
    let text = (0_u64..).flat_map(|i| format!("line {i}\n").into_bytes()).take(len).collect::<Vec<u8>>();
    let mut encoder = Encoder::new(coding, len as u64).unwrap();
    let mut coded = Vec::new();
    for piece in text.chunks(100_000) {
        coded.extend_from_slice(&encoder.push(piece).unwrap());
    }
    coded.extend_from_slice(&encoder.finish().unwrap());
    (text.into(), coded)
}

fn ok_coded(coding: Coding, len: usize, body: &[u8]) -> Vec<u8> {
    ok(&format!("Content-Encoding: {coding}\r\nX-Digest-SizeBytes: {len}\r\n"), body)
}

fn in_coding(server: &Server, coding: Coding, retries: u32) -> HttpStore {
    let mut options = server.options(Backend::Native, retries);
    options.compression = if coding == Coding::Zstd { Compression::Zstd } else { Compression::Lz4 };
    HttpStore::open(options).unwrap()
}

#[tokio::test]
async fn what_comes_compressed_and_is_not_the_blob_is_no_data() {
    for coding in Coding::ALL {
        for len in [100_000, 3 << 20] {
            let (blob, sent) = coded(coding, len);
            let other = content(1, len);
            let digest = Digest::blake3(&blob);
            let server = Server::start(vec![sends(ok_coded(coding, len, &sent))]).await;
            let store = in_coding(&server, coding, 0);
            assert_eq!(soon(all_of(&store, &digest)).await.unwrap().unwrap(), blob);
            assert!(server.requests()[0].contains(&format!("accept-encoding: {coding}\r\n")));
            // Wherever it is damaged, it is a miss or fails, and never ends.
            for at in [0, 5, sent.len() / 3, sent.len() / 2, sent.len() - 5] {
                let mut damaged = sent.clone();
                damaged[at] ^= 0x55;
                let server = Server::start(vec![sends(ok_coded(coding, len, &damaged))]).await;
                let read = soon(all_of(&in_coding(&server, coding, 0), &digest)).await;
                assert!(!matches!(read, Ok(Some(_))), "{coding} {len} {at}");
                if at == 0 {
                    let is_wrong = matches!(read, Ok(None) | Err(Error::DigestMismatch { .. }));
                    assert!(is_wrong && (len > 1 << 20 || read.is_ok()), "{coding} {len}: {read:?}");
                }
            }
            for (fault, body) in [
                ("is not compressed", &blob[..]),
                ("has another content", &other[..]),
                ("is cut off", &sent[..sent.len() - 1]),
                ("goes on", &[&sent[..], &sent].concat()),
                ("is a bomb", &coded_zeros(coding)),
            ] {
                let server = Server::start(vec![sends(ok_coded(coding, len, body))]).await;
                let read = soon(all_of(&in_coding(&server, coding, 0), &digest)).await;
                assert!(!matches!(read, Ok(Some(_))), "what {fault} is believed");
            }
        }
    }
}

/// Returns 64 MiB of nothing, coded.
fn coded_zeros(coding: Coding) -> Vec<u8> {
    let mut encoder = Encoder::new(coding, 64 << 20).unwrap();
    let zeros = vec![0; 1 << 20];
    let mut coded: Vec<u8> = (0..64).flat_map(|_| encoder.push(&zeros).unwrap()).collect();
    coded.extend_from_slice(&encoder.finish().unwrap());
    coded
}

#[tokio::test]
async fn what_came_compressed_and_broke_off_goes_on_as_it_is() {
    for coding in Coding::ALL {
        let (blob, sent) = coded(coding, 3 << 20);
        let len = blob.len();
        let whole = ok(&format!("Content-Length: {len}\r\n"), &blob);
        let acts = vec![sends(ok_coded(coding, len, &sent[..sent.len() / 2])), sends(whole)];
        let server = Server::start(acts).await;
        let read = soon(all_of(&in_coding(&server, coding, 2), &Digest::blake3(&blob))).await;
        assert!(read.unwrap().unwrap() == blob);
        let requests = server.requests();
        assert_eq!(requests.len(), 2);
        let rest = requests[1].lines().find_map(|line| line.strip_prefix("range: bytes=")).unwrap();
        let from: usize = rest.trim_end_matches('-').parse().unwrap();
        assert!((1..len).contains(&from), "{}", requests[1]);
        assert!(requests[1].contains("accept-encoding: identity\r\n") && !requests[1].contains("if-range"));
    }
}

/// Lets a connection go on by a byte every now and then: it is never quiet for as long as a stall takes.
async fn drip() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

#[tokio::test]
async fn a_server_that_sends_or_takes_a_byte_now_and_then_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut options = HttpOptions::new(format!("http://{}", listener.local_addr().unwrap()));
    (options.timeout, options.stall, options.retries) =
        (Duration::from_millis(400), Duration::from_millis(200), 0);
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = vec![0; 16];
                connection.read_exact(&mut request).await.unwrap();
                if request.starts_with(b"HEAD") {
                    let _ = connection.write_all(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n").await;
                }
                if request.starts_with(b"GET") {
                    let _ = connection.write_all(&ok("Content-Length: 3000000\r\n", b"")).await;
                    while connection.write_all(b"x").await.is_ok() {
                        drip().await;
                    }
                }
                while connection.read(&mut request).await.is_ok_and(|read| read > 0) {
                    drip().await;
                }
            });
        }
    });
    let store = HttpStore::open(options).unwrap();
    let digest = Digest::blake3(b"never");
    let error = soon(all_of(&store, &digest)).await.unwrap_err();
    assert!(error.to_string().contains("too slowly"), "{error}");
    // It is more than what goes into the buffers of the systems in between.
    let blob = content(1, 64 << 20);
    let sent = soon(store.write(&Digest::blake3(&blob), 64 << 20, blob.into())).await;
    assert!(matches!(sent, Err(Error::Unavailable { .. })), "{sent:?}");
}

#[tokio::test]
async fn requests_at_a_time_are_limited() {
    const LIMIT: usize = 3;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut options = HttpOptions::new(format!("http://{}", listener.local_addr().unwrap()));
    options.connections = LIMIT;
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, largest) = (Arc::clone(&now), Arc::clone(&most));
    // As many as there may be, so that nobody waits who could be answered.
    let turn = Arc::new(tokio::sync::Barrier::new(LIMIT));
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let (now, most, turn) = (Arc::clone(&counted), Arc::clone(&largest), Arc::clone(&turn));
            tokio::spawn(async move {
                let (mut request, mut piece) = (Vec::new(), [0; 4096]);
                while let Ok(read @ 1..) = connection.read(&mut piece).await {
                    request.extend_from_slice(&piece[..read]);
                    if !request.ends_with(b"\r\n\r\n") {
                        continue;
                    }
                    request.clear();
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    turn.wait().await;
                    now.fetch_sub(1, Ordering::SeqCst);
                    let _ = connection.write_all(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n").await;
                }
            });
        }
    });
    let store = HttpStore::open(options).unwrap();
    let keys: Vec<Key> = (0..30).map(|number| Key::from_bytes([number; 32])).collect();
    assert_eq!(soon(store.get_many(&keys)).await.unwrap(), vec![None; 30]);
    assert_eq!(most.load(Ordering::SeqCst), LIMIT);
}

#[tokio::test]
async fn collections_are_made_once_where_a_server_insists_on_them() {
    let answer =
        |status: &str| sends(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
    let created = answer("201 Created");
    let acts =
        vec![answer("409 Conflict"), created.clone(), answer("405 It is there"), created.clone(), created];
    let server = Server::start(acts).await;
    let store = server.store(0);
    for key in [Key::from_bytes([1; 32]), Key::from_bytes([1; 32])] {
        let put = soon(store.put(&key, &Entry::default(), PutMode::Overwrite)).await;
        assert_eq!(put.unwrap(), PutOutcome::Stored);
    }
    let requests = server.requests();
    let asked: Vec<&str> = requests.iter().map(|request| &request[..request.len().min(12)]).collect();
    assert_eq!(asked, ["PUT /e/01/01", "MKCOL /e/ HT", "MKCOL /e/01/", "PUT /e/01/01", "PUT /e/01/01"]);
}
