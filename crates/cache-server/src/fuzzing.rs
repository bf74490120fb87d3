//! What the fuzz targets call.
#![allow(
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "a panic is what they look for, or a system that cannot run them"
)]

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use cache_core::Store;
use http::header::{AUTHORIZATION, IF_NONE_MATCH, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use crate::answers::Answers;
use crate::app::{App, Peer};
use crate::conditions::{Wanted, wanted};
use crate::connection::Connection;
use crate::idle::Idle;
pub use crate::protocol::fuzzing::{frame, hashes, message, question, team};
use crate::rights::Throttle;
use crate::settings::Settings;
use crate::target::Target;
use crate::vault::{Spool, Vault};
use crate::{Anonymous, Right, Rights, Secret, ServerOptions, Token};

/// How long a connection may take that has said everything: far longer than any does, and shorter than the fuzzer's own limit.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes on their way between both ends.
const PIPE: usize = 4 << 10;
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Takes a text for the path of a request.
pub fn path(text: &str) {
    let Ok(target) = Target::parse(text) else { return };
    assert!(target.segments.len() <= 32);
    let mut again = String::new();
    for part in &target.segments {
        assert!(is_plain(part), "{part:?}");
        again.push('/');
        for byte in part.bytes() {
            write!(again, "%{byte:02x}").unwrap();
        }
    }
    if again.len() <= 2_048 {
        assert_eq!(Target::parse(&again).unwrap().segments, target.segments);
    }
}

/// Returns whether `part` is one name to every file system.
pub fn is_plain(part: &str) -> bool {
    (1..=255).contains(&part.len())
        && part != "."
        && part != ".."
        && !part.chars().any(|c| c.is_control() || matches!(c, '/' | '\\'))
}

/// Takes bytes for the headers that say what is wanted of a value of `len` bytes.
pub fn conditions(range: Option<&[u8]>, none_match: Option<&[u8]>, if_range: Option<&[u8]>, len: u64) {
    let mut headers = HeaderMap::new();
    for (name, value) in [(RANGE, range), (IF_NONE_MATCH, none_match), (IF_RANGE, if_range)] {
        if let Some(Ok(value)) = value.map(HeaderValue::from_bytes) {
            headers.append(name, value);
        }
    }
    match wanted(&headers, "\"a\"", len) {
        Wanted::Whole => {}
        Wanted::Part(part) => {
            assert!(headers.contains_key(RANGE) && part.start < part.end && part.end <= len, "{part:?}");
        }
        Wanted::Nothing => assert!(headers.contains_key(RANGE)),
        Wanted::Unchanged => assert!(headers.contains_key(IF_NONE_MATCH)),
    }
}

/// Takes bytes for a credential, and gives a good one to `user`.
pub fn credential(bytes: &[u8], user: &str) {
    static KNOWN: LazyLock<(Rights, Secret)> = LazyLock::new(|| {
        let (token, secret) = Token::create("fuzz", Right::Read, None).unwrap();
        (Rights { tokens: vec![token], anonymous: Anonymous::Off }, secret)
    });
    let (rights, secret) = &*KNOWN;
    let admits = |value: HeaderValue| {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
        rights.admit(&headers, PEER, &Throttle::default()).is_ok()
    };
    // Nobody guesses 256 bits.
    assert!(!HeaderValue::from_bytes(bytes).is_ok_and(admits));
    if !user.contains(':') && user.len() < 1_000 {
        let pair = format!("{user}:{}", secret.reveal());
        for text in [STANDARD.encode(&pair), URL_SAFE_NO_PAD.encode(&pair)] {
            assert!(admits(HeaderValue::from_str(&format!("Basic {text}")).unwrap()), "{user:?}");
        }
    }
}

/// Sends `bytes` to a server of `store` over one connection, then nothing more, and returns all that comes back. The server has
/// closed the connection then.
pub async fn connection(store: Arc<dyn Store>, bytes: &[u8]) -> Vec<u8> {
    let settings = Settings::new(ServerOptions::default()).unwrap();
    let (limits, timeouts) = (settings.options.limits, settings.options.timeouts);
    let spool = Spool::open(None, limits.spool_bytes, timeouts.body).unwrap();
    let app = Arc::new(App::new(settings, Vault::new(store, spool, &timeouts)));
    let (_go_on, stop) = watch::channel(false);
    let mut connection = Connection {
        peer: Peer { address: PEER, answers: Answers::default() },
        app: Arc::clone(&app),
        stop,
        _slot: app.connections.try_enter().unwrap(),
    };
    let (client, server) = tokio::io::duplex(PIPE);
    let (mut reader, mut writer) = tokio::io::split(client);
    let settings = app.settings();
    let serving = async {
        let stream = Idle::new(server, timeouts.header, timeouts.idle, Answers::default());
        // That it fails is what most of what comes from a fuzzer deserves.
        let _ = connection.talk(stream, &settings.builder, None).await;
    };
    let sending = async {
        // It may be closed before everything is sent.
        let _ = writer.write_all(bytes).await;
        let _ = writer.shutdown().await;
    };
    let mut answers = Vec::new();
    let talk = async { tokio::join!(serving, sending, reader.read_to_end(&mut answers)) };
    let ((), (), read) =
        tokio::time::timeout(PATIENCE, talk).await.expect("it is neither answered nor closed");
    let _ = read.unwrap();
    answers
}
