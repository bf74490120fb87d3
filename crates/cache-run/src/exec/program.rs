//! Finds a program as the shell would, and says why one cannot be started.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

/// Where programs are looked for when there is no `PATH`, as `execvp` of the C libraries does it.
#[cfg(unix)]
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// What makes a file a program when there is no `PATHEXT`.
#[cfg(windows)]
const DEFAULT_PATHEXT: &str = ".COM;.EXE;.BAT;.CMD";

/// Why a command did not start, or cannot be waited for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// There is no such program.
    #[error("cannot find the program {}; check its name and PATH", program.display())]
    NotFound {
        /// The program as it was asked for.
        program: OsString,
    },
    /// The file exists, but what its `#!` line or its loader names does not.
    #[error(
        "cannot run {}: its interpreter does not exist; check the `#!` line, or for what system it was built",
        program.display()
    )]
    NoInterpreter {
        /// The program.
        program: PathBuf,
    },
    /// There is such a file, but it may not be executed or is no program.
    #[error("cannot run {}: {source}; check that it is a program and that it is executable", program.display())]
    NotExecutable {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The working directory cannot be entered.
    #[error("cannot run {} in the directory {}: {source}", program.display(), cwd.display())]
    WorkingDirectory {
        /// The program.
        program: PathBuf,
        /// The directory.
        cwd: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system has no room for another process, or refuses it for another reason.
    #[error("cannot start {}: {source}", program.display())]
    System {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The command was started, but the system will not say how it ended.
    #[error("lost track of {}: {source}", program.display())]
    Lost {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl SpawnError {
    /// Returns the exit code that a shell would give: 127 for a program that is not there, else 126.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::NotFound { .. } | Self::NoInterpreter { .. } => 127,
            _ => 126,
        }
    }

    /// Says why spawning failed; the system alone does not tell a missing program from a missing directory.
    pub(super) fn from_io(program: &Path, cwd: Option<&Path>, source: io::Error) -> Self {
        if let Some(cwd) = cwd
            && let Err(source) = std::fs::metadata(cwd.join("."))
        {
            return Self::WorkingDirectory { program: program.to_owned(), cwd: cwd.to_owned(), source };
        }
        // Only the kernel's own refusals of this file; running out of memory or of processes is something else.
        match source.kind() {
            io::ErrorKind::NotFound if program.exists() => {
                Self::NoInterpreter { program: program.to_owned() }
            }
            io::ErrorKind::NotFound => Self::NotFound { program: program.as_os_str().to_owned() },
            io::ErrorKind::PermissionDenied | io::ErrorKind::IsADirectory => {
                Self::NotExecutable { program: program.to_owned(), source }
            }
            _ if is_no_program(&source) => Self::NotExecutable { program: program.to_owned(), source },
            _ => Self::System { program: program.to_owned(), source },
        }
    }
}

/// Returns whether the kernel does not know the format of the file.
#[cfg(unix)]
pub(super) fn is_no_program(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error())
}

#[cfg(windows)]
fn is_no_program(error: &io::Error) -> bool {
    /// `ERROR_BAD_EXE_FORMAT` of the Windows system error codes.
    const BAD_EXE_FORMAT: i32 = 193;
    error.raw_os_error() == Some(BAD_EXE_FORMAT)
}

/// Where to look for programs.
#[derive(Debug, Clone, Copy)]
pub struct Search<'a> {
    /// The value of `PATH` in the command's environment.
    pub path: Option<&'a OsStr>,
    /// The value of `PATHEXT`; used on Windows alone.
    pub path_ext: Option<&'a OsStr>,
    /// The command's working directory, absolute; relative names and entries of `PATH` start here.
    pub cwd: &'a Path,
}

/// Returns the file that `name` stands for, as `execvp` finds it: a name with a slash is a path, any other is looked for
/// in `PATH`, where an empty entry means the working directory.
///
/// On Windows the extensions of `PATHEXT` are tried, and the working directory is searched only if `PATH` names it.
///
/// # Errors
/// [`SpawnError::NotFound`], or [`SpawnError::NotExecutable`] if all that was found may not be executed.
pub fn resolve_program(name: &OsStr, search: Search<'_>) -> Result<PathBuf, SpawnError> {
    if name.is_empty() {
        return Err(SpawnError::NotFound { program: name.to_owned() });
    }
    let mut refused = None;
    let mut found = |candidate: PathBuf| match probe(&candidate) {
        Ok(()) => Some(candidate),
        Err(error) => {
            if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
                && refused.is_none()
            {
                refused = Some((candidate, error));
            }
            None
        }
    };
    let hit = if has_separator(name) {
        spellings(&search.cwd.join(name), search).into_iter().find_map(&mut found)
    } else {
        search_dirs(search)
            .into_iter()
            .flat_map(|dir| spellings(&search.cwd.join(dir).join(name), search))
            .find_map(&mut found)
    };
    match (hit, refused) {
        (Some(program), _) => Ok(program),
        (None, Some((program, source))) => Err(SpawnError::NotExecutable { program, source }),
        (None, None) => Err(SpawnError::NotFound { program: name.to_owned() }),
    }
}

#[cfg(unix)]
fn has_separator(name: &OsStr) -> bool {
    name.as_encoded_bytes().contains(&b'/')
}

#[cfg(unix)]
fn search_dirs(search: Search<'_>) -> Vec<PathBuf> {
    std::env::split_paths(search.path.unwrap_or(OsStr::new(DEFAULT_PATH))).collect()
}

#[cfg(unix)]
fn spellings(path: &Path, _: Search<'_>) -> [PathBuf; 1] {
    [path.to_owned()]
}

#[cfg(unix)]
fn probe(path: &Path) -> io::Result<()> {
    if std::fs::metadata(path)?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(rustix::fs::access(path, rustix::fs::Access::EXEC_OK)?)
}

#[cfg(windows)]
fn has_separator(name: &OsStr) -> bool {
    name.as_encoded_bytes().iter().any(|byte| matches!(byte, b'/' | b'\\' | b':'))
}

#[cfg(windows)]
fn search_dirs(search: Search<'_>) -> Vec<PathBuf> {
    let dirs = search.path.map(std::env::split_paths).into_iter().flatten();
    dirs.filter(|dir| !dir.as_os_str().is_empty()).collect()
}

/// Returns the name itself if it has an extension, then the name with each extension of `PATHEXT`.
#[cfg(windows)]
fn spellings(path: &Path, search: Search<'_>) -> Vec<PathBuf> {
    let extensions = search.path_ext.and_then(OsStr::to_str).unwrap_or(DEFAULT_PATHEXT);
    let with = extensions.split(';').filter(|extension| !extension.is_empty()).map(|extension| {
        let mut name = path.as_os_str().to_owned();
        name.push(extension);
        PathBuf::from(name)
    });
    path.extension().map(|_| path.to_owned()).into_iter().chain(with).collect()
}

#[cfg(windows)]
fn probe(path: &Path) -> io::Result<()> {
    if std::fs::metadata(path)?.is_dir() { Err(io::ErrorKind::IsADirectory.into()) } else { Ok(()) }
}
