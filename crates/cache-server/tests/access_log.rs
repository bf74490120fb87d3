//! One line of the log for each request, and one span. What `tracing` remembers of who listens counts for the whole process, so
//! this test is alone in its file.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod common;

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cache_server::{Anonymous, Right, Rights, ServerOptions, Timeouts, Token};
use common::{content, large_answer, memory, options, start_with};
use serde_json::Value;
use tracing_subscriber::fmt::format::FmtSpan;

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Returns the lines of one target.
    fn lines(&self, target: &str) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["target"] == target).collect()
    }
}

#[tokio::test]
async fn each_request_is_logged_once_with_what_came_of_it_and_no_secret() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_span_events(FmtSpan::CLOSE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let (token, secret) = Token::create("test", Right::ReadWrite, None).unwrap();
    let rights = Rights { tokens: vec![token], anonymous: Anonymous::Off };
    let server = start_with(ServerOptions { rights, ..options() }, memory()).await;
    let mut client = server.connect().await;
    let bearer = format!("Bearer {}", secret.reveal());
    let authorization = [("Authorization", bearer.as_str())];
    client.ask("PUT", "/ns/team/kv/x?password=1", &authorization, &content(300_000, 1)).await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let in_a_trace = [authorization[0], ("traceparent", trace)];
    let got = client.ask("GET", "/ns/team/kv/x", &in_a_trace, b"").await;
    // What is no such thing is not logged.
    let shouted = trace.to_uppercase();
    let wrong = [("Authorization", "Bearer vc_wrong"), ("traceparent", shouted.as_str())];
    client.ask("GET", "/kv/x", &wrong, b"").await;
    client.ask("HEAD", "/livez", &[], b"").await;
    // This one breaks off before there is an answer.
    client
        .send(
            format!(
                "PUT /kv/y HTTP/1.1\r\nHost: c\r\nAuthorization: {bearer}\r\nContent-Length: 9\r\n\r\nabc"
            )
            .as_bytes(),
        )
        .await;
    drop(client);
    let access = loop {
        let access = log.lines("vitte_cache::access");
        if access.len() == 5 {
            break access;
        }
        tokio::task::yield_now().await;
    };
    let facts: Vec<_> = access
        .iter()
        .map(|line| {
            let fields = &line["fields"];
            let text = |name: &str| fields[name].as_str().unwrap_or("-").to_owned();
            let [method, path, protocol, namespace] = ["method", "path", "protocol", "namespace"].map(text);
            (method + " " + &path + " " + &protocol + " " + &namespace, fields["bytes"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(facts[0], ("PUT /ns/team/kv/x kv team".to_owned(), 0));
    assert_eq!(facts[1], ("GET /ns/team/kv/x kv team".to_owned(), 300_000));
    assert_eq!(facts[2].0, "GET /kv/x kv -");
    assert_eq!(facts[3], ("HEAD /livez - -".to_owned(), 0));
    assert_eq!(facts[4].0, "PUT /kv/y kv default");
    let statuses: Vec<_> = access.iter().map(|line| line["fields"]["status"].as_u64()).collect();
    assert_eq!(statuses[..4], [Some(200), Some(200), Some(401), Some(200)]);
    assert!(access[..4].iter().all(|line| line["fields"]["complete"] == true));
    assert!(access.iter().all(|line| line["fields"]["slow"] == false));
    let traces: Vec<_> = access.iter().map(|line| line["fields"]["traceparent"].as_str()).collect();
    assert_eq!(traces, [None, Some(trace), None, None, None]);
    assert_eq!(access[1]["fields"]["id"], got.header("x-request-id").unwrap());

    let spans = log.lines("vitte_cache::request");
    assert_eq!(spans.len(), 5);
    let span = &spans[1]["span"];
    assert_eq!((&span["id"], &span["status"]), (&access[1]["fields"]["id"], &200.into()));
    assert_eq!((&span["protocol"], &span["namespace"]), (&"kv".into(), &"team".into()));
    assert_eq!(span["traceparent"], trace);
    assert_eq!((&span["bytes"], &span["micros"]), (&300_000.into(), &access[1]["fields"]["micros"]));

    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for secret in [secret.reveal(), "vc_wrong", "password=1"] {
        assert!(!text.contains(secret), "{secret}");
    }

    // Whose answer is not read.
    let timeouts = Timeouts { body: Duration::from_millis(500), ..Timeouts::default() };
    let server = start_with(ServerOptions { timeouts, ..options() }, memory()).await;
    let (_slow, len) = large_answer(&server).await;
    let last = loop {
        let line = log.lines("vitte_cache::access").pop().unwrap();
        if line["fields"]["path"] == "/v1/batch" {
            break line;
        }
        tokio::task::yield_now().await;
    };
    let fields = &last["fields"];
    assert_eq!(
        (&fields["slow"], &fields["complete"], &fields["status"]),
        (&true.into(), &false.into(), &200.into())
    );
    assert!(fields["bytes"].as_u64().unwrap() < len as u64);
}
