//! What the tests need beside Rust, and where it comes from.

use super::{Source, Tool};
use crate::deny::CARGO_DENY_VERSION;

pub(super) const TOOLS: &[Tool] = &[
    Tool {
        name: "git",
        probe: &["git", "--version"],
        source: Source::Packages(["git"; 5]),
        needed_for: "tests of `@git:` inputs",
    },
    Tool {
        name: "bash",
        probe: &["bash", "--version"],
        source: Source::Packages(["bash"; 5]),
        needed_for: "the console examples of the documentation",
    },
    Tool {
        name: "cc",
        probe: &["cc", "--version"],
        source: Source::Packages(["gcc", "gcc", "gcc", "gcc", "build-base"]),
        needed_for: "linking, and tests that compile C",
    },
    Tool {
        name: "c++",
        probe: &["c++", "--version"],
        source: Source::Packages(["g++", "gcc-c++", "gcc", "gcc", "g++"]),
        needed_for: "building the fuzz targets",
    },
    Tool {
        name: "make",
        probe: &["make", "--version"],
        source: Source::Packages(["make"; 5]),
        needed_for: "tests that restored files do not make `make` rebuild",
    },
    Tool {
        name: "ccache",
        probe: &["ccache", "--version"],
        source: Source::Packages(["ccache"; 5]),
        needed_for: "tests and measurements side by side with ccache",
    },
    Tool {
        name: "curl",
        probe: &["curl", "--version"],
        source: Source::Packages(["curl"; 5]),
        needed_for: "tests of the server with a client as it is",
    },
    Tool {
        name: "nginx",
        probe: &["nginx", "-v"],
        source: Source::Packages(["nginx-light", "nginx", "nginx", "nginx", "nginx"]),
        needed_for: "tests of the HTTP client against a real server",
    },
    Tool {
        name: "npm",
        probe: &["npm", "--version"],
        source: Source::Packages(["npm", "npm", "npm", "node", "npm"]),
        needed_for: "installing clients of the server",
    },
    Tool {
        name: "go",
        probe: &["go", "version"],
        source: Source::Packages(["golang-go", "golang", "go", "go", "go"]),
        needed_for: "building bazel-remote",
    },
    Tool {
        name: "turbo-2.11.11",
        probe: &[],
        source: Source::Npm { packages: &["turbo@2.11.11"], bin: "turbo" },
        needed_for: "tests of the server with Turborepo",
    },
    Tool {
        name: "turbo-1.13.4",
        probe: &[],
        source: Source::Npm { packages: &["turbo@1.13.4"], bin: "turbo" },
        needed_for: "tests of the server with Turborepo 1",
    },
    Tool {
        name: "nx-24.0.6",
        probe: &[],
        source: Source::Npm { packages: &["nx@24.0.6"], bin: "nx" },
        needed_for: "tests of the server with Nx",
    },
    Tool {
        // Rush installs its package manager by itself, from the network, unless it is there already.
        name: "rush-5.179.0",
        probe: &[],
        source: Source::Npm { packages: &["@microsoft/rush@5.179.0", "pnpm@9.15.9"], bin: "rush" },
        needed_for: "tests of the server with Rush",
    },
    Tool {
        name: "metro-0.84.6",
        probe: &[],
        source: Source::Npm { packages: &["metro@0.84.6"], bin: "metro" },
        needed_for: "tests of the server with Metro's remote store",
    },
    Tool {
        name: "nix",
        probe: &["nix", "--version"],
        source: Source::Packages(["nix-bin", "", "nix", "", "nix"]),
        needed_for: "tests of the server as a binary cache of Nix",
    },
    Tool {
        name: "sccache-0.19.0",
        probe: &[],
        source: Source::Crate {
            package: "sccache",
            version: "0.19.0",
            args: &["--no-default-features", "--features", "webdav"],
        },
        needed_for: "tests of the server with sccache",
    },
    Tool {
        name: "gradle",
        probe: &["gradle", "--version"],
        source: Source::Packages(["gradle", "", "gradle", "gradle", "gradle"]),
        needed_for: "tests of the server with Gradle",
    },
    Tool {
        name: "mvn",
        probe: &["mvn", "--version"],
        source: Source::Packages(["maven"; 5]),
        needed_for: "installing the Maven of the tests",
    },
    Tool {
        name: "maven-3.9.11",
        probe: &[],
        source: Source::Maven { version: "3.9.11" },
        needed_for: "tests of the server with Maven's build cache extension",
    },
    // npm has it for others too, but no newer one, and what differs between systems is not what is tested.
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    Tool {
        name: "bazel-2.1.0",
        probe: &[],
        source: Source::Npm { packages: &["@bazel/bazel-linux_x64@2.1.0"], bin: "bazel" },
        needed_for: "tests of the server with Bazel",
    },
    Tool {
        name: "moon-2.5.5",
        probe: &[],
        source: Source::Npm { packages: &["@moonrepo/cli@2.5.5"], bin: "moon" },
        needed_for: "tests of the server with moon",
    },
    Tool {
        name: BAZEL_REMOTE,
        probe: &[],
        source: Source::Go { package: "github.com/buchgr/bazel-remote/v2@v2.6.1", bin: "bazel-remote" },
        needed_for: "tests of the HTTP client, and measurements of the server beside it",
    },
    Tool {
        name: "cargo-deny",
        probe: &["cargo", "deny", "--version"],
        source: Source::Cargo(&["cargo-deny", "--version", CARGO_DENY_VERSION, "--no-default-features"]),
        needed_for: "`cargo xtask deny`",
    },
];

/// Its name among the tools.
pub(crate) const BAZEL_REMOTE: &str = "bazel-remote-v2.6.1";

pub(super) const BENCH_TOOLS: &[Tool] = &[
    Tool {
        name: "hyperfine",
        probe: &["hyperfine", "--version"],
        source: Source::Packages(["hyperfine"; 5]),
        needed_for: "measurements by hand",
    },
    Tool {
        name: "bkt",
        probe: &["bkt", "--version"],
        source: Source::Cargo(&["bkt"]),
        needed_for: "measurements side by side with bkt",
    },
];
