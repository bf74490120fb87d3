//! What the server counts, for Prometheus and in its status.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use cache_server::{Anonymous, Right, Rights, ServerOptions, Token};
use common::{Client, content, memory, options, start, start_with};
use serde_json::Value;

/// What a text says: samples by name and labels.
type Samples = BTreeMap<(String, BTreeMap<String, String>), f64>;

/// Reads the text format of Prometheus, strictly: each family is described once, before its samples, which stand together.
fn parse(text: &str) -> Samples {
    let is_name = |name: &str| {
        let mut chars = name.chars();
        chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    assert!(text.ends_with('\n'));
    let (mut samples, mut seen) = (Samples::new(), BTreeSet::new());
    let (mut family, mut kind) = ("", "");
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            (family, _) = help.split_once(' ').unwrap();
            assert!(is_name(family) && seen.insert(family.to_owned()), "{line}");
            kind = "";
            continue;
        }
        if let Some(described) = line.strip_prefix("# TYPE ") {
            let (name, found) = described.split_once(' ').unwrap();
            assert!(name == family && kind.is_empty(), "{line}");
            assert!(["counter", "gauge", "histogram"].contains(&found), "{line}");
            assert_eq!(found == "counter", name.ends_with("_total"), "{line}");
            kind = found;
            continue;
        }
        let (key, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = key.split_once('{').unwrap_or((key, ""));
        let suffix = name.strip_prefix(family).unwrap_or_else(|| panic!("{line} stands in {family}"));
        let allowed: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        assert!(is_name(name) && allowed.contains(&suffix) && !kind.is_empty(), "{line}");
        let labels = parse_labels(labels, is_name);
        let value = value.parse().unwrap_or_else(|_| panic!("{line} has no number"));
        assert_eq!(samples.insert((name.to_owned(), labels), value), None, "{line} is there twice");
    }
    samples
}

fn parse_labels(text: &str, is_name: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    while !rest.is_empty() && rest != "}" {
        let (name, after) = rest.split_once("=\"").unwrap();
        assert!(is_name(name), "{text}");
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next().unwrap() {
                (at, '"') => break at,
                (_, '\\') => value.push(match chars.next().unwrap().1 {
                    'n' => '\n',
                    c @ ('\\' | '"') => c,
                    other => panic!("{text} escapes {other}"),
                }),
                (_, c) => value.push(c),
            }
        };
        assert_eq!(labels.insert(name.to_owned(), value), None, "{text}");
        rest = after[end + 1..].trim_start_matches(',');
    }
    assert_eq!(rest.is_empty(), text.is_empty(), "{text}");
    labels
}

async fn metrics(client: &mut Client) -> Samples {
    let answer = client.ask("GET", "/metrics", &[], b"").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    parse(&answer.text())
}

#[tokio::test]
async fn prometheus_reads_what_was_done() {
    let server = start().await;
    let mut client = server.connect().await;
    let value = content(1_000, 1);
    client.ask("PUT", "/kv/x", &[], &value).await;
    client.ask("GET", "/kv/x", &[], b"").await;
    client.ask("HEAD", "/kv/x", &[], b"").await;
    client.ask("GET", "/kv/y", &[], b"").await;
    client.ask("POST", "/kv/y", &[], b"").await;
    client.ask("DELETE", "/kv/x", &[], b"").await;
    client.ask("PUT", &format!("/ccache/{}", "0".repeat(40)), &[], &value).await;
    let samples = metrics(&mut client).await;
    let get = |name: &str, labels: &[(&str, &str)]| {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let key = (format!("vitte_cache_{name}"), labels);
        *samples.get(&key).unwrap_or_else(|| panic!("{key:?} is missing")) as u64
    };
    let kv = [("protocol", "kv")];
    for (name, expected) in [
        ("hits_total", 2),
        ("misses_total", 1),
        ("stored_total", 1),
        ("deleted_total", 1),
        ("refused_total", 1),
        ("read_bytes_total", 1_000),
        ("stored_bytes_total", 1_000),
    ] {
        assert_eq!(get(name, &kv), expected, "{name}");
    }
    assert_eq!(get("stored_total", &[("protocol", "ccache")]), 1);
    assert_eq!(get("stored_total", &[("protocol", "bazel")]), 0);
    for (name, expected) in [
        ("connections", 1),
        ("connections_total", 1),
        ("connections_refused_total", 0),
        ("tls_failures_total", 0),
        ("requests_total", 8),
        ("requests_running", 0),
        ("requests_shed_total", 0),
        ("slow_readers_total", 0),
        ("spool_bytes", 0),
        ("store_failures_total", 0),
        ("store_timeouts_total", 0),
    ] {
        assert_eq!(get(name, &[]), expected, "{name}");
    }
    assert_eq!(get("build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1);
    assert_eq!(get("store_info", &[("store", "memory")]), 1);

    // Buckets grow, and the last one has all.
    for (method, expected) in [("read", 3), ("write", 1), ("delete", 1), ("other", 1)] {
        let labels = [("protocol", "kv"), ("method", method)];
        assert_eq!(get("request_duration_seconds_count", &labels), expected, "{method}");
        let mut buckets: Vec<(f64, f64)> = samples
            .iter()
            .filter(|((name, found), _)| {
                name.ends_with("_bucket") && labels.iter().all(|(name, value)| found[*name] == *value)
            })
            .map(|((_, found), count)| (found["le"].parse().unwrap(), *count))
            .collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(buckets.len() > 10 && buckets.is_sorted_by_key(|(_, count)| *count), "{buckets:?}");
        assert_eq!(buckets.last(), Some(&(f64::INFINITY, expected as f64)));
    }
}

#[tokio::test]
async fn numbers_are_for_those_who_may_read() {
    let (token, secret) = Token::create("prometheus", Right::Read, None).unwrap();
    let rights = Rights { tokens: vec![token], anonymous: Anonymous::Off };
    let server = start_with(ServerOptions { rights, ..options() }, memory()).await;
    let mut client = server.connect().await;
    let bearer = format!("Bearer {}", secret.reveal());
    for path in ["/metrics", "/ns/team/metrics"] {
        let answer = client.ask("GET", path, &[], b"").await;
        assert_eq!((answer.status, answer.text().contains("vitte_cache")), (401, false));
        assert_eq!(client.ask("GET", path, &[("Authorization", &bearer)], b"").await.status, 200);
    }
    assert_eq!(client.ask("POST", "/metrics", &[("Authorization", &bearer)], b"").await.status, 405);
    let status = client.ask("GET", "/status", &[], b"").await.text();
    assert!(status.contains("\"ready\":true") && !status.contains("connections"), "{status}");
    let status = client.ask("GET", "/status", &[("Authorization", &bearer)], b"").await.text();
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!((&status["connections"], &status["connections_total"]), (&1.into(), &1.into()));
    assert_eq!(status["protocols"]["kv"]["hits"], 0);
}
