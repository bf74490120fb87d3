//! The settings of `[remote-cache]`.

use super::{Files, Id, Kind, Setting};

/// In the order of [`Id`].
pub(super) const TABLE: &[Setting] = &[
    Setting {
        id: Id::RemoteUrl,
        key: "remote-cache.url",
        env: "VITTE_REMOTE_CACHE_URL",
        flag: None,
        kind: Kind::Url,
        default: "none",
        files: Files::Any,
        doc: "Address of a cache that others share; `run` asks it for what is not in the directory. One that a project's file \
              names is used only if it lies below an address of `trusted`.",
    },
    Setting {
        id: Id::RemoteToken,
        key: "remote-cache.token",
        env: "VITTE_REMOTE_CACHE_TOKEN",
        flag: None,
        kind: Kind::Secret,
        default: "none",
        files: Files::User,
        doc: "What proves to the server who asks. `${NAME}` stands for the environment variable. It is sent to the address that \
              stands beside it, in the same file or in the environment, and to those of `trusted`.",
    },
    Setting {
        id: Id::RemoteTrusted,
        key: "remote-cache.trusted",
        env: "VITTE_REMOTE_CACHE_TRUSTED",
        flag: None,
        kind: Kind::Text,
        default: "none",
        files: Files::User,
        doc: "Addresses, with spaces between them, below which a project's file may name a remote cache, and to which the token \
              is sent.",
    },
    Setting {
        id: Id::RemoteBackend,
        key: "remote-cache.backend",
        env: "VITTE_REMOTE_CACHE_BACKEND",
        flag: None,
        kind: Kind::Choice(&["native", "generic", "bazel"]),
        default: "native",
        files: Files::Any,
        doc: "What the server speaks: `native` is the protocol of `vitte-cache serve`, `generic` GET, HEAD, PUT and DELETE by \
              path, as nginx with DAV, and `bazel` Bazel's HTTP cache, as bazel-remote.",
    },
    Setting {
        id: Id::RemoteMode,
        key: "remote-cache.mode",
        env: "VITTE_REMOTE_CACHE_MODE",
        flag: Some("--remote"),
        kind: Kind::Choice(&["off", "read", "write", "readwrite"]),
        default: "read",
        files: Files::User,
        doc: "What `run` does with the remote cache.",
    },
    Setting {
        id: Id::RemoteTimeout,
        key: "remote-cache.timeout",
        env: "VITTE_REMOTE_CACHE_TIMEOUT",
        flag: None,
        kind: Kind::Duration { none: false },
        default: "5s",
        files: Files::Any,
        doc: "How long the remote cache has for an answer, and for each piece of one.",
    },
    Setting {
        id: Id::RemoteRetryCount,
        key: "remote-cache.retry_count",
        env: "VITTE_REMOTE_CACHE_RETRY_COUNT",
        flag: None,
        kind: Kind::Repeats,
        default: "2",
        files: Files::Any,
        doc: "How often a question to the remote cache is repeated within its time.",
    },
    Setting {
        id: Id::RemoteCompression,
        key: "remote-cache.compression",
        env: "VITTE_REMOTE_CACHE_COMPRESSION",
        flag: None,
        kind: Kind::Choice(&["auto", "none", "lz4", "zstd"]),
        default: "auto",
        files: Files::Any,
        doc: "How entries and files are compressed on their way to and from the remote cache; `auto` goes by what a sample promises. \
              Files are only with `native`, or from `bazel` with zstd, and with `auto` only if the server is on another machine.",
    },
    Setting {
        id: Id::RemoteCa,
        key: "remote-cache.ca",
        env: "VITTE_REMOTE_CACHE_CA",
        flag: None,
        kind: Kind::File,
        default: "none",
        files: Files::User,
        doc: "Certificates (PEM) of an authority of one's own that is believed when it vouches for the remote cache, beside those of \
              the system.",
    },
    Setting {
        id: Id::RemoteUploadWait,
        key: "remote-cache.upload_wait",
        env: "VITTE_REMOTE_CACHE_UPLOAD_WAIT",
        flag: None,
        kind: Kind::Duration { none: false },
        default: "2s",
        files: Files::Any,
        doc: "How long `run` waits for its uploads after the command ended. What is left goes with the next run.",
    },
];

/// Returns `text` if it is an address. What is wrong with another one is not repeated: there may be a password in it.
pub(super) fn parse_url(text: &str) -> Result<String, String> {
    let text = text.trim();
    let wrong = |why: &str| Err(format!("{why}: write {}", Kind::Url.allowed()));
    let Some(rest) = ["https://", "http://"].iter().find_map(|scheme| text.strip_prefix(scheme)) else {
        return wrong("it starts with neither https:// nor http://");
    };
    if rest.is_empty() || rest.starts_with('/') {
        return wrong("it names no server");
    }
    if rest.contains(['@', '?', '#']) {
        return wrong("there is an @, ? or # in it; what proves who asks belongs into `token`");
    }
    if rest.contains("..") || rest.contains(['\\', '%']) || rest.contains(char::is_whitespace) {
        return wrong("there is something in it that can be read in several ways");
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// Returns what is shown of a secret: nothing, unless it is only the name of a variable.
pub(super) fn masked(text: &str) -> String {
    let name = text.trim().strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    let is_name = |name: &&str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    name.filter(is_name).map_or_else(|| "(not shown)".to_owned(), |name| format!("${{{name}}}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_secrets_or_two_meanings_are_refused_unseen() {
        assert_eq!(parse_url(" https://a.example:8080/kv/x/ ").unwrap(), "https://a.example:8080/kv/x");
        for text in [
            "",
            "cache.example.com/hunter2",
            "ftp://hunter2",
            "https://",
            "https:///hunter2",
            "https://me:hunter2@cache.example.com",
            "https://cache.example.com/?token=hunter2",
            "https://cache.example.com/a/../hunter2",
            "https://cache.example.com/a/%2e%2e/hunter2",
            "https://cache.example.com\\hunter2",
        ] {
            let error = parse_url(text).unwrap_err();
            assert!(
                error.contains("https://cache.example.com/ns/team") && !error.contains("hunter2"),
                "{error}"
            );
        }
    }

    #[test]
    fn of_a_token_only_the_name_of_its_variable_is_shown() {
        assert_eq!(masked("${VITTE_TOKEN}"), "${VITTE_TOKEN}");
        for secret in ["hunter2", "${A}hunter2", "${hunter2", "${A}${B}", "${hunt er2}"] {
            assert_eq!(masked(secret), "(not shown)");
        }
    }
}
