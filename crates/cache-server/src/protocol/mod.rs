//! The protocols, one module each, and which one a path belongs to.
//!
//! Each module answers the requests of one protocol: it knows its names, its methods and its status codes. Values, rights
//! and limits are the same for all and live beside this module.

mod bazel;
mod ccache;
mod coding;
mod gradle;
mod kv;
mod maven;
pub(crate) mod native;
mod nx;
mod sccache;
mod turborepo;
mod value;

/// What the fuzz targets call.
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing {
    pub use super::bazel::fuzzing::message;
    pub use super::native::fuzzing::{frame, question};
    pub use super::turborepo::fuzzing::{hashes, team};
}

use axum::body::Body;
use axum::response::Response;
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use crate::app::Call;
use crate::reply::Refusal;
use crate::target::Target;

/// A protocol that build tools speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Protocol {
    /// Plain GET, HEAD, PUT and DELETE of any path below `/kv/`.
    Kv,
    /// ccache's HTTP storage, below `/ccache/`.
    Ccache,
    /// sccache's WebDAV storage, below `/sccache/`.
    Sccache,
    /// Bazel's HTTP cache: `ac/<hex>` and `cas/<hex>` below any instance.
    Bazel,
    /// Gradle's HTTP build cache, below `/cache/`.
    Gradle,
    /// Maven's build cache extension, below `/maven/`.
    Maven,
    /// Turborepo's remote cache, below `/v8/artifacts/`.
    Turborepo,
    /// Nx's self-hosted remote cache, below `/v1/cache/`.
    Nx,
    /// Our own, below `/v1/`.
    Native,
}

impl Protocol {
    /// Every protocol.
    pub const ALL: [Self; 9] = [
        Self::Kv,
        Self::Ccache,
        Self::Sccache,
        Self::Bazel,
        Self::Gradle,
        Self::Maven,
        Self::Turborepo,
        Self::Nx,
        Self::Native,
    ];

    /// Returns the name in configuration, counters and keys. Never renamed: what is stored is found by it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kv => "kv",
            Self::Ccache => "ccache",
            Self::Sccache => "sccache",
            Self::Bazel => "bazel",
            Self::Gradle => "gradle",
            Self::Maven => "maven",
            Self::Turborepo => "turborepo",
            Self::Nx => "nx",
            Self::Native => "native",
        }
    }

    /// Returns the protocol that a path belongs to and the part of the path that it reads.
    pub(crate) fn of(target: &Target) -> Option<(Self, &[String])> {
        let (first, rest) = target.segments.split_first()?;
        match first.as_str() {
            "kv" => Some((Self::Kv, rest)),
            "ccache" => Some((Self::Ccache, rest)),
            "sccache" => Some((Self::Sccache, rest)),
            "maven" => Some((Self::Maven, rest)),
            "cache" if rest.len() == 1 => Some((Self::Gradle, rest)),
            "v8" if turborepo::is_path(rest) => Some((Self::Turborepo, &rest[1..])),
            "v1" if nx::is_path(rest) => Some((Self::Nx, &rest[1..])),
            "v1" if native::is_path(rest) => Some((Self::Native, rest)),
            _ => bazel::is_path(&target.segments).then_some((Self::Bazel, &target.segments[..])),
        }
    }

    /// Answers a request whose path belongs to this protocol.
    pub(crate) async fn answer(
        self,
        call: &Call<'_>,
        path: &[String],
        body: &mut Body,
    ) -> Result<Response, Refusal> {
        match self {
            Self::Kv => kv::answer(call, path, body).await,
            Self::Ccache => ccache::answer(call, path, body).await,
            Self::Sccache => sccache::answer(call, path, body).await,
            Self::Bazel => bazel::answer(call, path, body).await,
            Self::Gradle => gradle::answer(call, path, body).await,
            Self::Maven => maven::answer(call, path, body).await,
            Self::Turborepo => turborepo::answer(call, path, body).await,
            Self::Nx => nx::answer(call, path, body).await,
            Self::Native => native::answer(call, path, body).await,
        }
    }

    /// Returns `refusal` as the clients of this protocol take it, wherever in the server it comes from.
    pub(crate) fn refuse(self, method: &Method, refusal: Refusal) -> Response {
        match self {
            Self::Gradle => gradle::refuse(method, refusal).into_response(),
            Self::Nx => nx::refuse(method, refusal).into_response(),
            Self::Turborepo => turborepo::refuse(refusal),
            Self::Native => refusal.into_problem().into_response(),
            Self::Kv | Self::Ccache | Self::Sccache | Self::Bazel | Self::Maven => refusal.into_response(),
        }
    }
}

/// Returns whether a status says that the server is in trouble or busy, rather than what the client did wrong.
fn is_trouble(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_find_their_protocol() {
        let hex = "a".repeat(64);
        let of = |path: &str| {
            let target = Target::parse(path).unwrap();
            Protocol::of(&target).map(|(protocol, rest)| (protocol, rest.join("/")))
        };
        assert_eq!(of("/kv/a/b"), Some((Protocol::Kv, "a/b".to_owned())));
        assert_eq!(of("/sccache/"), Some((Protocol::Sccache, String::new())));
        assert_eq!(of(&format!("/ccache/ac/{hex}")), Some((Protocol::Ccache, format!("ac/{hex}"))));
        for bazel in [format!("/ac/{hex}"), format!("//cas/{hex}"), format!("/a/b/ac/{hex}")] {
            assert_eq!(of(&bazel).map(|(protocol, _)| protocol), Some(Protocol::Bazel), "{bazel}");
        }
        assert_eq!(of("/cache//k"), Some((Protocol::Gradle, "k".to_owned())));
        assert_eq!(of("/maven/v1/g/a"), Some((Protocol::Maven, "v1/g/a".to_owned())));
        assert_eq!(of("/v8/artifacts"), Some((Protocol::Turborepo, String::new())));
        assert_eq!(of("/v8/artifacts/k"), Some((Protocol::Turborepo, "k".to_owned())));
        assert_eq!(of("/v1/cache/k"), Some((Protocol::Nx, "k".to_owned())));
        // An instance of Bazel may have any name.
        assert_eq!(of(&format!("/cache/ac/{hex}")).map(|(protocol, _)| protocol), Some(Protocol::Bazel));
        for none in [
            "/",
            "/x",
            "/ac",
            "/ac/abc",
            &format!("/ac/{}", "A".repeat(64)),
            &format!("/ac/{hex}/x"),
            "/cache",
            "/cache/a/b",
            "/v8/x/k",
            "/v8/artifacts/a/b",
            "/v1/cache",
            "/v1/cache/a/b",
            "/v1/x/a",
        ] {
            assert_eq!(of(none), None, "{none}");
        }
    }
}
