//! What each protocol answers, from the sheet of status codes that its clients accept.

mod common;

use cache_core::Digest;
use common::{content, start};

const KEY: &str = "0123456789abcdef0123456789abcdef01234567";

#[tokio::test]
async fn ccache_in_three_layouts() {
    let server = start().await;
    let mut client = server.connect().await;
    let flat = format!("/ccache/{KEY}");
    let subdirs = format!("/ccache/{}/{}", &KEY[..2], &KEY[2..]);
    let bazel = format!("/ccache/ac/{KEY}{}", &KEY[..24]);
    for (method, path, body, status) in [
        ("GET", &flat, "", 404),
        ("HEAD", &flat, "", 404),
        ("PUT", &flat, "one", 200),
        ("HEAD", &subdirs, "", 200),
        ("PUT", &subdirs, "two", 200),
        ("GET", &bazel, "", 200),
        ("PUT", &bazel, "", 400),
        ("DELETE", &bazel, "", 204),
        ("GET", &flat, "", 404),
        // Nothing is there, and ccache would take a 404 as a failure of the server.
        ("DELETE", &flat, "", 204),
        ("POST", &flat, "", 405),
    ] {
        let answer = client.ask(method, path, &[], body.as_bytes()).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        if method == "GET" && status == 200 {
            assert_eq!(answer.body, b"two");
        }
    }
    assert_eq!(client.ask("PUT", "/ccache/nokey", &[], b"x").await.status, 400);
    assert_eq!(client.ask("GET", "/ccache/nokey", &[], b"").await.status, 404);
}

#[tokio::test]
async fn bazel_contents_are_what_their_name_says() {
    let server = start().await;
    let mut client = server.connect().await;
    for len in [5, 400_000] {
        let value = content(len, 3);
        let hex = Digest::sha256(&value).to_hex();
        let mut wrong = value.clone();
        wrong[len - 1] ^= 1;
        for (method, path, body, status) in [
            ("GET", format!("/cas/{hex}"), &b""[..], 404),
            ("PUT", format!("/cas/{hex}"), &wrong, 400),
            ("GET", format!("/cas/{hex}"), b"", 404),
            ("PUT", format!("/cas/{hex}"), &value, 200),
            ("PUT", format!("/cas/{hex}"), &value, 200),
            ("HEAD", format!("//cas/{hex}"), b"", 200),
            ("GET", format!("/some/instance/cas/{hex}"), b"", 200),
            ("DELETE", format!("/cas/{hex}"), b"", 405),
            ("GET", format!("/ns/other/cas/{hex}"), b"", 404),
            ("PUT", format!("/ns/other/cas/{hex}"), &wrong, 400),
            ("GET", format!("/ns/other/cas/{hex}"), b"", 404),
        ] {
            let answer = client.ask(method, &path, &[], body).await;
            assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
            if method == "GET" && status == 200 {
                assert!(answer.body == value);
            }
        }
    }
}

#[tokio::test]
async fn bazel_results_are_opaque_and_belong_to_their_instance() {
    let server = start().await;
    let mut client = server.connect().await;
    let hex = "a".repeat(64);
    assert_eq!(client.ask("PUT", &format!("/ac/{hex}"), &[], b"\xff opaque").await.status, 200);
    assert_eq!(client.ask("PUT", &format!("/i/j/ac/{hex}"), &[], b"other").await.status, 200);
    assert_eq!(client.ask("GET", &format!("/ac/{hex}"), &[], b"").await.body, b"\xff opaque");
    assert_eq!(client.ask("GET", &format!("/i/j/ac/{hex}"), &[], b"").await.body, b"other");
    assert_eq!(client.ask("GET", &format!("/i/ac/{hex}"), &[], b"").await.status, 404);
    assert_eq!(client.ask("GET", &format!("/ac/{}", "A".repeat(64)), &[], b"").await.status, 404);
}

#[tokio::test]
async fn bazel_always_has_the_empty_content() {
    let server = start().await;
    let mut client = server.connect().await;
    let path = format!("/cas/{}", Digest::sha256(b"").to_hex());
    for method in ["GET", "HEAD", "PUT", "GET"] {
        let answer = client.ask(method, &path, &[], b"").await;
        assert_eq!((answer.status, answer.header("content-length")), (200, Some("0")), "{method}");
    }
    assert_eq!(client.ask("PUT", &path, &[], b"x").await.status, 400);
}

#[tokio::test]
async fn sccache_starts_and_writes_as_over_webdav() {
    let server = start().await;
    let mut client = server.connect().await;
    let body = b"<?xml version=\"1.0\"?><D:propfind xmlns:D=\"DAV:\"><D:allprop/></D:propfind>";
    let depth = [("Depth", "0"), ("Content-Type", "application/xml")];
    assert_eq!(client.ask("GET", "/sccache/sc/.sccache_check", &[], b"").await.status, 404);
    let directory = client.ask("PROPFIND", "/sccache/sc/", &depth, body).await;
    assert_eq!(directory.status, 207);
    for part in [
        "<D:collection/>",
        "<D:getlastmodified>",
        " GMT<",
        "<D:href>/sccache/sc/</D:href>",
        "HTTP/1.1 200 OK",
    ] {
        assert!(directory.text().contains(part), "{part} in {}", directory.text());
    }
    assert_eq!(client.ask("MKCOL", "/sccache/sc/", &[], b"").await.status, 201);
    assert_eq!(client.ask("PROPFIND", "/sccache/sc/.sccache_check", &depth, body).await.status, 404);
    assert_eq!(client.ask("PUT", "/sccache/sc/.sccache_check", &[], b"Hello, World!").await.status, 201);
    assert_eq!(client.ask("PUT", "/sccache//sc/.sccache_check", &[], b"Hello, World!").await.status, 201);
    let file = client.ask("PROPFIND", "/sccache/sc/.sccache_check", &depth, body).await;
    assert_eq!(file.status, 207);
    assert!(file.text().contains("<D:getcontentlength>13</D:getcontentlength>"), "{}", file.text());
    assert_eq!(client.ask("GET", "/sccache/sc/.sccache_check", &[], b"").await.body, b"Hello, World!");
    let options = client.ask("OPTIONS", "/sccache/", &[], b"").await;
    assert_eq!((options.status, options.header("dav")), (200, Some("1")));
    assert_eq!(client.ask("PUT", "/sccache/sc/", &[], b"x").await.status, 409);
    assert_eq!(client.ask("LOCK", "/sccache/sc/x", &[], b"").await.status, 405);
}
