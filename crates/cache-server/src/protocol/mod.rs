//! The protocols, one module each, and which one a path belongs to.
//!
//! Each module answers the requests of one protocol: it knows its names, its methods and its status codes. Values, rights
//! and limits are the same for all and live beside this module.

mod bazel;
mod ccache;
mod kv;
pub(crate) mod native;
mod sccache;
mod value;

use axum::body::Body;
use axum::response::Response;
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
    /// Our own, below `/v1/`.
    Native,
}

impl Protocol {
    /// Every protocol.
    pub const ALL: [Self; 5] = [Self::Kv, Self::Ccache, Self::Sccache, Self::Bazel, Self::Native];

    /// Returns the name in configuration, counters and keys. Never renamed: what is stored is found by it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kv => "kv",
            Self::Ccache => "ccache",
            Self::Sccache => "sccache",
            Self::Bazel => "bazel",
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
            Self::Native => native::answer(call, path, body).await,
        }
    }

    /// Returns `refusal` in the form that the protocol has for it.
    pub(crate) fn shape(self, refusal: Refusal) -> Refusal {
        if self == Self::Native { refusal.into_problem() } else { refusal }
    }
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
        for none in ["/", "/x", "/ac", "/ac/abc", &format!("/ac/{}", "A".repeat(64)), &format!("/ac/{hex}/x")]
        {
            assert_eq!(of(none), None, "{none}");
        }
    }
}
