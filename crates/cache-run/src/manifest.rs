//! What the key of a run was made of, kept so that two runs can be compared by name.

use std::fmt;

use serde::{Deserialize, Serialize};

use cache_core::{Digest, FileState, TreePath};

/// Every part of a key, in a form that can be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Program as it was called.
    pub program: String,
    /// Identity of the program.
    pub tool: Digest,
    /// The same in words: a path, a version.
    pub tool_description: String,
    /// Arguments.
    pub args: Vec<Shown>,
    /// Working directory, relative to the base.
    pub cwd: String,
    /// Declared variables; unset if nothing.
    pub env: Vec<(String, Option<Shown>)>,
    /// Declared outputs, and the other options that are part of the key, as they were written.
    pub options: Vec<(String, String)>,
    /// Operating system and processor.
    pub platform: String,
    /// Digest of what the command reads from its standard input.
    pub stdin: Option<Digest>,
    /// Inputs and their state, sorted by path.
    pub inputs: Vec<(TreePath, FileState)>,
}

/// A value that may be secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// The value, unless it looks secret.
    pub text: Option<String>,
    /// A keyed hash of it, by which two values can be compared and from which neither can be guessed.
    pub tag: [u8; 16],
}

impl Shown {
    /// Returns the value `raw` as it can be kept: as `text`, if it may be shown. `salt` never leaves this machine.
    pub fn new(salt: &[u8; 32], raw: &[u8], text: Option<String>) -> Self {
        // BLAKE3 has no length extension, so that a secret prefix makes a keyed hash.
        let digest = Digest::blake3(&[salt, raw].concat());
        Self { text, tag: std::array::from_fn(|i| digest.as_bytes()[i]) }
    }
}

/// One thing in which two runs differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Difference {
    /// A file.
    File {
        /// Which one.
        #[serde(serialize_with = "as_text")]
        path: TreePath,
        /// What it was; absent if nothing.
        before: Option<FileState>,
        /// What it is; absent if nothing.
        after: Option<FileState>,
    },
    /// A declared environment variable.
    Env {
        /// Which one.
        name: String,
        /// What it was.
        before: Option<String>,
        /// What it is.
        after: Option<String>,
    },
    /// An argument.
    Argument {
        /// Which one, counted from 1.
        position: usize,
        /// What it was; there were fewer if nothing.
        before: Option<String>,
        /// What it is; there are fewer if nothing.
        after: Option<String>,
    },
    /// Anything else: the program, its identity, the platform, an option.
    Part {
        /// Which one.
        name: String,
        /// What it was.
        before: String,
        /// What it is.
        after: String,
    },
}

fn as_text<S: serde::Serializer>(path: &TreePath, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(path)
}

impl fmt::Display for Difference {
    /// Writes it in as few words as a status line has room for.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, before: None, .. } => write!(f, "{path} added"),
            Self::File { path, after: None, .. } => write!(f, "{path} removed"),
            Self::File { path, .. } => write!(f, "{path} changed"),
            Self::Env { name, before: None, .. } => write!(f, "{name} set"),
            Self::Env { name, after: None, .. } => write!(f, "{name} unset"),
            Self::Env { name, .. } => write!(f, "{name} changed"),
            Self::Argument { position, before: None, .. } => write!(f, "argument {position} added"),
            Self::Argument { position, after: None, .. } => write!(f, "argument {position} removed"),
            Self::Argument { position, .. } => write!(f, "argument {position} changed"),
            Self::Part { name, .. } => write!(f, "{name} changed"),
        }
    }
}

/// What is shown in place of a value that looks secret.
pub const HIDDEN: &str = "<changed>";

fn shown(value: &Shown) -> String {
    value.text.clone().unwrap_or_else(|| HIDDEN.to_owned())
}

impl Manifest {
    /// Returns everything in which `self` differs from an `earlier` run: files first, then the environment, then the rest.
    pub fn differences(&self, earlier: &Self) -> Vec<Difference> {
        let mut out = Vec::new();
        merge(&earlier.inputs, &self.inputs, |path, before, after| {
            let (before, after) = (before.copied(), after.copied());
            out.push(Difference::File { path: path.clone(), before, after });
        });
        merge(&earlier.env, &self.env, |name, before, after| {
            let text = |value: Option<&Option<Shown>>| value.and_then(Option::as_ref).map(shown);
            out.push(Difference::Env { name: name.clone(), before: text(before), after: text(after) });
        });
        for position in 0..self.args.len().max(earlier.args.len()) {
            let (before, after) = (earlier.args.get(position), self.args.get(position));
            if before.map(|arg| arg.tag) != after.map(|arg| arg.tag) {
                let (before, after) = (before.map(shown), after.map(shown));
                out.push(Difference::Argument { position: position + 1, before, after });
            }
        }
        let mut part = |name: &str, before: &str, after: &str| {
            let (name, before, after) = (name.to_owned(), before.to_owned(), after.to_owned());
            out.push(Difference::Part { name, before, after });
        };
        if self.program != earlier.program {
            part("program", &earlier.program, &self.program);
        } else if self.tool != earlier.tool {
            let describe = |manifest: &Self| {
                let digits = manifest.tool.to_hex();
                format!("{} ({})", manifest.tool_description, &digits[..12])
            };
            part("tool", &describe(earlier), &describe(self));
        }
        if self.platform != earlier.platform {
            part("platform", &earlier.platform, &self.platform);
        }
        if self.cwd != earlier.cwd {
            part("working directory", &earlier.cwd, &self.cwd);
        }
        if self.stdin != earlier.stdin {
            let text =
                |stdin: Option<Digest>| stdin.map_or_else(|| "none".to_owned(), |digest| digest.to_string());
            part("standard input", &text(earlier.stdin), &text(self.stdin));
        }
        merge(&earlier.options, &self.options, |name, before, after| {
            part(name, before.map_or("", String::as_str), after.map_or("", String::as_str));
        });
        out
    }
}

/// Calls `differs` for each name whose value is not the same in both lists, which are sorted by name.
fn merge<K: Ord, V: PartialEq>(
    before: &[(K, V)],
    after: &[(K, V)],
    mut differs: impl FnMut(&K, Option<&V>, Option<&V>),
) {
    let (mut old, mut new) = (before.iter().peekable(), after.iter().peekable());
    loop {
        match (old.peek(), new.peek()) {
            (None, None) => return,
            (Some((key, value)), None) => {
                differs(key, Some(value), None);
                old.next();
            }
            (None, Some((key, value))) => {
                differs(key, None, Some(value));
                new.next();
            }
            (Some((a, x)), Some((b, y))) => match a.cmp(b) {
                std::cmp::Ordering::Less => {
                    differs(a, Some(x), None);
                    old.next();
                }
                std::cmp::Ordering::Greater => {
                    differs(b, None, Some(y));
                    new.next();
                }
                std::cmp::Ordering::Equal => {
                    if x != y {
                        differs(a, Some(x), Some(y));
                    }
                    old.next();
                    new.next();
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cache_core::{Anchor, RelPath};

    fn path(text: &str) -> TreePath {
        TreePath { anchor: Anchor::Base, path: RelPath::new(text).unwrap() }
    }

    fn file(content: &str) -> FileState {
        FileState::File { digest: Digest::blake3(content.as_bytes()), executable: false }
    }

    fn plain(text: &str) -> Shown {
        Shown::new(&[1; 32], text.as_bytes(), Some(text.to_owned()))
    }

    fn manifest() -> Manifest {
        let salt = [1; 32];
        Manifest {
            program: "cc".to_owned(),
            tool: Digest::blake3(b"cc"),
            tool_description: "/usr/bin/cc".to_owned(),
            args: vec![plain("-O2")],
            cwd: ".".to_owned(),
            env: vec![
                ("MODE".to_owned(), Some(plain("dev"))),
                ("TOKEN".to_owned(), Some(Shown::new(&salt, b"hunter2", None))),
            ],
            options: vec![("outputs".to_owned(), "a".to_owned())],
            platform: "linux-x86_64".to_owned(),
            stdin: None,
            inputs: vec![(path("a"), file("1")), (path("b"), file("2")), (path("d"), file("4"))],
        }
    }

    #[test]
    fn each_difference_has_a_name() {
        let before = manifest();
        let mut after = before.clone();
        assert!(after.differences(&before).is_empty());
        after.inputs = vec![(path("a"), file("9")), (path("c"), file("3")), (path("d"), file("4"))];
        after.env = vec![("TOKEN".to_owned(), Some(Shown::new(&[1; 32], b"hunter3", None)))];
        after.args.push(plain("-g"));
        after.tool = Digest::blake3(b"cc 2");
        after.platform = "linux-aarch64".to_owned();
        let names: Vec<String> = after.differences(&before).iter().map(ToString::to_string).collect();
        let expected = [
            "a changed",
            "b removed",
            "c added",
            "MODE unset",
            "TOKEN changed",
            "argument 2 added",
            "tool changed",
            "platform changed",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn secrets_are_compared_but_not_kept() {
        let json = format!("{:?}", manifest());
        assert!(json.contains("dev") && !json.contains("hunter2"));
        let other_salt = Shown::new(&[2; 32], b"hunter2", None);
        assert_ne!(manifest().env[1].1.as_ref().unwrap().tag, other_salt.tag);
    }
}
