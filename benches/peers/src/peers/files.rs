//! One file per entry, as most build caches have it: the yardstick.

use std::fs::{self, File};
use std::io::{self, IoSlice, Read, Write};
use std::path::{Path, PathBuf};
use std::process;

use super::{Kind, Peer, Result, checked};
use bench::workload::Key;

pub(super) const KIND: Kind = Kind {
    name: super::FILES,
    about: "one file per entry in 256 directories, temporary file and rename, XXH3-128 on each get",
    shared: true,
    open: |dir, _| Ok(Box::new(Files::open(dir)?)),
};

struct Files {
    dir: PathBuf,
    temp: PathBuf,
    next_temp: u64,
}

impl Files {
    fn open(dir: &Path) -> Result<Self> {
        let temp = dir.join("tmp");
        fs::create_dir_all(&temp)?;
        Ok(Self { dir: dir.to_owned(), temp, next_temp: 0 })
    }

    fn path(&self, key: &Key) -> PathBuf {
        let mut name = [0; 65];
        super::hex(&key[..1], &mut name[..2]);
        name[2] = b'/';
        super::hex(&key[1..], &mut name[3..]);
        self.dir.join(str::from_utf8(&name).unwrap_or_default())
    }
}

impl Peer for Files {
    fn put(&mut self, key: &Key, value: &[u8]) -> Result {
        let temp = self.temp.join(format!("{}-{}", process::id(), self.next_temp));
        self.next_temp += 1;
        let mut file = File::create_new(&temp)?;
        write_both(&mut file, value, &checked::sum(value))?;
        drop(file);
        let path = self.path(key);
        match fs::rename(&temp, &path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(path.parent().unwrap_or(&self.dir))?;
                Ok(fs::rename(&temp, &path)?)
            }
            other => Ok(other?),
        }
    }

    fn get<'a>(&mut self, key: &Key, buffer: &'a mut Vec<u8>) -> Result<Option<&'a [u8]>> {
        let mut file = match File::open(self.path(key)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let len = file.metadata()?.len() as usize;
        if buffer.len() < len {
            buffer.resize(len, 0);
        }
        file.read_exact(&mut buffer[..len])?;
        Ok(checked::strip(&buffer[..len]))
    }
}

/// Writes both parts, with one system call where the kernel takes all of it.
fn write_both(file: &mut File, value: &[u8], sum: &[u8]) -> io::Result<()> {
    let written = file.write_vectored(&[IoSlice::new(value), IoSlice::new(sum)])?;
    file.write_all(value.get(written..).unwrap_or_default())?;
    file.write_all(sum.get(written.saturating_sub(value.len())..).unwrap_or_default())
}
