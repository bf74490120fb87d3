//! The include path, from the arguments of gcc, clang, nvcc and cl, and from the environment.

use super::{Compile, ENV_NAMES, ShadowError};
use crate::depfile::to_os_string;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The longest response file, in bytes. Linkers get longer ones, compilers do not.
const MAX_RESPONSE_BYTES: u64 = 1 << 20;

/// Flags whose value, in the same argument or in the next, is a directory to search; longer before their own beginnings.
const DIR_FLAGS: [&str; 15] = [
    "--include-directory-after",
    "--include-directory",
    "--system-include",
    "-isystem-after",
    "-iwithsysroot",
    "-cxx-isystem",
    "-external:I",
    "/external:I",
    "-idirafter",
    "-isystem",
    "-iquote",
    "-imsvc",
    "/imsvc",
    "-I",
    "/I",
];

/// Flags for directories of frameworks.
const FRAMEWORK_FLAGS: [&str; 2] = ["-iframework", "-F"];

/// Flags whose directory comes after the value of `-iprefix`.
const PREFIXED_FLAGS: [&str; 2] = ["-iwithprefixbefore", "-iwithprefix"];

/// Flags that say where the system's headers begin.
const SYSROOT_FLAGS: [&str; 2] = ["--sysroot", "-isysroot"];

/// Flags that include a file, which is looked for from the working directory first.
const FORCED_FLAGS: [&str; 5] = ["-include", "-imacros", "--include", "/FI", "-FI"];

/// Flags that pass the next argument on, to where it means the same.
const PASS_FLAGS: [&str; 2] = ["-Xclang", "-Xpreprocessor"];

/// Where headers are looked for, in no order.
#[derive(Debug, Default)]
pub(super) struct SearchPath {
    pub(super) dirs: Vec<PathBuf>,
    pub(super) frameworks: Vec<PathBuf>,
    pub(super) response_files: Vec<PathBuf>,
    /// Response files that do not exist, whose arguments stand for themselves.
    pub(super) absent: Vec<PathBuf>,
}

impl SearchPath {
    pub(super) fn of(compile: &Compile<'_>) -> Result<Self, ShadowError> {
        let mut search = Self::default();
        let args = search.expand(compile)?;
        search.read_flags(args);
        for value in ENV_NAMES.iter().filter_map(|name| (compile.env)(name)) {
            search.dirs.extend(std::env::split_paths(&value).map(non_empty));
        }
        Ok(search)
    }

    /// Returns the arguments with response files, `-Wp,` and the like replaced by what they stand for.
    fn expand(&mut self, compile: &Compile<'_>) -> Result<VecDeque<OsString>, ShadowError> {
        let mut args = VecDeque::new();
        for arg in compile.args {
            let Some(path) = arg_tail(arg, "@").map(PathBuf::from) else {
                push(&mut args, arg.clone());
                continue;
            };
            let file = match File::open(compile.cwd.join(&path)) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.absent.push(path);
                    push(&mut args, arg.clone());
                    continue;
                }
                Err(error) => return Err(ShadowError::ResponseFile { path, reason: error.to_string() }),
            };
            let refuse =
                |reason: &str| ShadowError::ResponseFile { path: path.clone(), reason: reason.to_owned() };
            let mut text = Vec::new();
            file.take(MAX_RESPONSE_BYTES + 1)
                .read_to_end(&mut text)
                .map_err(|error| refuse(&error.to_string()))?;
            if text.len() as u64 > MAX_RESPONSE_BYTES {
                return Err(refuse("it is longer than 1 MiB"));
            }
            for word in words(&text) {
                if word.starts_with(b"@") {
                    return Err(refuse("it names another response file; give that one on the command line"));
                }
                push(
                    &mut args,
                    to_os_string(word).ok_or_else(|| refuse("it holds bytes that are no arguments"))?,
                );
            }
            self.response_files.push(path);
        }
        Ok(args)
    }

    fn read_flags(&mut self, mut args: VecDeque<OsString>) {
        let (mut prefix, mut sysroots, mut prefixed) = (OsString::new(), Vec::new(), Vec::new());
        let mut rooted = Vec::new();
        while let Some(arg) = args.pop_front() {
            if let Some(value) = flag_value(&arg, &PREFIXED_FLAGS, &mut args) {
                prefixed.push(value);
            } else if let Some(value) = flag_value(&arg, &["-iprefix"], &mut args) {
                prefix = value;
            } else if let Some(value) = flag_value(&arg, &SYSROOT_FLAGS, &mut args) {
                sysroots.push(arg_tail(&value, "=").unwrap_or(value));
            } else if let Some(value) = flag_value(&arg, &DIR_FLAGS, &mut args) {
                // `-I=dir` is below the sysroot for gcc and plain for others; to search both is only more careful.
                let below = arg_tail(&value, "=").or_else(|| arg_tail(&value, "$SYSROOT"));
                let plain = below.clone().unwrap_or_else(|| value.clone());
                rooted.extend(below.or_else(|| arg_tail(&arg, "-iwithsysroot").map(|_| value)));
                self.dirs.push(non_empty(plain.into()));
            } else if FORCED_FLAGS.iter().any(|flag| arg_tail(&arg, flag).is_some()) {
                self.dirs.push(".".into());
            } else if let Some(value) = flag_value(&arg, &FRAMEWORK_FLAGS, &mut args) {
                self.frameworks.push(non_empty(value.into()));
            }
        }
        for dir in prefixed {
            self.dirs.push(concat(&prefix, &dir));
        }
        for sysroot in sysroots {
            self.dirs.extend(rooted.iter().map(|dir| concat(&sysroot, dir)));
        }
    }
}

/// Adds an argument, or what it passes on.
fn push(args: &mut VecDeque<OsString>, arg: OsString) {
    if PASS_FLAGS.iter().any(|flag| arg == *flag) {
        return;
    }
    match arg_tail(&arg, "-Wp,") {
        Some(list) => {
            let parts = list.as_encoded_bytes().split(|&byte| byte == b',');
            args.extend(parts.filter_map(|part| to_os_string(part.to_vec())));
        }
        None => args.push_back(arg),
    }
}

/// Returns the value of an argument that begins with one of the flags, taking the next argument if it has none itself.
fn flag_value(arg: &OsStr, flags: &[&str], rest: &mut VecDeque<OsString>) -> Option<OsString> {
    let value = flags.iter().find_map(|flag| arg_tail(arg, flag))?;
    if value.is_empty() { rest.pop_front() } else { Some(value) }
}

fn arg_tail(arg: &OsStr, start: &str) -> Option<OsString> {
    to_os_string(arg.as_encoded_bytes().strip_prefix(start.as_bytes())?.to_vec())
}

/// An empty entry means the working directory.
fn non_empty(dir: PathBuf) -> PathBuf {
    if dir.as_os_str().is_empty() { ".".into() } else { dir }
}

fn concat(start: &OsStr, end: &OsStr) -> PathBuf {
    let mut whole = start.to_owned();
    whole.push(end);
    Path::new(&whole).to_owned()
}

/// Splits the text of a response file as gcc does (libiberty's `buildargv`): blank space, quotes, backslashes. On
/// Windows a backslash is a character of paths unless a quote follows.
fn words(text: &[u8]) -> Vec<Vec<u8>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<Vec<u8>>, None);
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let escapes = byte == b'\\' && (cfg!(not(windows)) || bytes.peek() == Some(&b'"'));
        match byte {
            _ if escapes => word.get_or_insert_default().extend(bytes.next()),
            _ if quote == Some(byte) => quote = None,
            b'\'' | b'"' if quote.is_none() => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            _ if quote.is_none() && byte.is_ascii_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dirs(args: &[&str], env: &[(&str, &str)], cwd: &Path) -> Vec<String> {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        let lookup =
            |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
        let search =
            SearchPath::of(&Compile { args: &args, env: &lookup, deps: &[], cwd }).unwrap_or_default();
        search.dirs.iter().map(|dir| dir.display().to_string()).collect()
    }

    #[test]
    fn every_spelling_of_a_directory() {
        let args = "-Ia -I b -isystem c -isystemd -iquote e -idirafter f --include-directory=g --include-directory h \
            -imsvc i /Ij /I k -Wp,-I,l,-Im -Xclang -isystem -Xclang n -iprefix p/ -iwithprefix o -c x.c -DI=q -O2";
        let args: Vec<_> = args.split_whitespace().collect();
        let expected = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "p/o"];
        assert_eq!(dirs(&args, &[], Path::new("/")), expected);
        assert_eq!(
            dirs(&["--sysroot=/r", "-I=/a", "-isystem", "$SYSROOT/b"], &[], Path::new("/")),
            ["/a", "/b", "/r/a", "/r/b"]
        );
        assert_eq!(dirs(&["-include", "x.h", "-I"], &[], Path::new("/")), ["."]);
    }

    #[test]
    #[cfg(unix)]
    fn environment_and_response_files() {
        let dir = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            dirs(&[], &[("CPATH", "a::b"), ("C_INCLUDE_PATH", "c")], dir.path()),
            ["a", ".", "b", "c"]
        );
        std::fs::write(dir.path().join("rsp"), "-Ia\n'-I' \"b c\" -Id\\ e\t")
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(dirs(&["@rsp", "@gone"], &[], dir.path()), ["a", "b c", "d e"]);
        std::fs::write(dir.path().join("nested"), "-Ix @rsp").unwrap_or_else(|error| panic!("{error}"));
        let args = ["@nested".into()];
        let compile = Compile { args: &args, env: &|_| None, deps: &[], cwd: dir.path() };
        assert!(matches!(SearchPath::of(&compile), Err(ShadowError::ResponseFile { .. })));
    }
}
