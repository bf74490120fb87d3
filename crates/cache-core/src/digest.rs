//! Content addresses and how they are computed.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::hex;

/// Buffer for hashing a stream. Large enough that threads pay off for BLAKE3, small enough to be forgotten.
const BUFFER: usize = 1 << 20;
/// From this many bytes at a time, BLAKE3 is faster on several threads than on one.
const PARALLEL_FROM: usize = 512 << 10;

/// Which hash function a [`Digest`] was made with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum HashFunction {
    /// BLAKE3 with 256 bits of output: ours.
    Blake3,
    /// SHA-256: what Bazel, Pants, moon and Go speak.
    Sha256,
}

impl HashFunction {
    /// Every function, in the order of their ids.
    pub const ALL: [Self; 2] = [Self::Blake3, Self::Sha256];

    /// Returns the name used in text forms, paths and URLs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Blake3 => "blake3",
            Self::Sha256 => "sha256",
        }
    }

    /// Returns the number used in binary formats. Never renumbered.
    pub const fn id(self) -> u8 {
        match self {
            Self::Blake3 => 1,
            Self::Sha256 => 2,
        }
    }

    fn from_id(id: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|function| function.id() == id)
    }
}

impl FromStr for HashFunction {
    type Err = ParseDigestError;
    fn from_str(name: &str) -> Result<Self, ParseDigestError> {
        let found = Self::ALL.into_iter().find(|function| function.name() == name);
        found.ok_or_else(|| ParseDigestError::new(name))
    }
}

/// The address of a blob: a hash function and the 32 bytes that it gives for the content.
///
/// The text form is `blake3:` or `sha256:` and 64 lower-case digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    function: HashFunction,
    bytes: [u8; 32],
}

/// Says that a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no digest: write blake3:<64 digits of 0-9 a-f> or sha256:<64 digits>")]
pub struct ParseDigestError(String);

impl ParseDigestError {
    fn new(text: &str) -> Self {
        Self(text.chars().take(80).collect())
    }
}

impl Digest {
    /// Returns the digest with these bytes.
    pub const fn new(function: HashFunction, bytes: [u8; 32]) -> Self {
        Self { function, bytes }
    }

    /// Returns the BLAKE3 digest of `content`.
    pub fn blake3(content: &[u8]) -> Self {
        Self::of(HashFunction::Blake3, content)
    }

    /// Returns the SHA-256 digest of `content`.
    pub fn sha256(content: &[u8]) -> Self {
        Self::of(HashFunction::Sha256, content)
    }

    /// Returns the digest of `content` under `function`.
    pub fn of(function: HashFunction, content: &[u8]) -> Self {
        let mut hasher = Hasher::new(function);
        hasher.update(content);
        hasher.finish()
    }

    /// Returns the digest and the length of all that `reader` gives, in constant memory.
    ///
    /// # Errors
    /// What the reader reports.
    pub fn of_reader(function: HashFunction, mut reader: impl Read) -> io::Result<(Self, u64)> {
        let mut hasher = Hasher::new(function);
        let mut buffer = vec![0; BUFFER];
        loop {
            let filled = fill(&mut reader, &mut buffer)?;
            hasher.update(&buffer[..filled]);
            if filled < buffer.len() {
                return Ok((hasher.finish(), hasher.len()));
            }
        }
    }

    /// Returns the digest and the length of an open file, from its current position to its end.
    ///
    /// Files are read, not mapped: a map of a file that somebody truncates meanwhile kills the process with SIGBUS,
    /// and inputs of a build are truncated by editors all day. Large files are hashed on several threads.
    ///
    /// # Errors
    /// What reading reports.
    pub fn of_file(function: HashFunction, file: &File) -> io::Result<(Self, u64)> {
        // The common small file needs one exact buffer, not a megabyte.
        let expected = file.metadata()?.len();
        if expected >= BUFFER as u64 {
            return Self::of_reader(function, file);
        }
        let mut content = Vec::with_capacity(expected as usize + 1);
        let mut reader = file;
        (&mut reader).take(BUFFER as u64).read_to_end(&mut content)?;
        if content.len() == BUFFER {
            // It grew while it was read: the rest goes on as a stream.
            return Self::of_reader(function, (&content[..]).chain(reader));
        }
        Ok((Self::of(function, &content), content.len() as u64))
    }

    /// Returns the hash function.
    pub const fn function(&self) -> HashFunction {
        self.function
    }

    /// Returns the 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// Returns the 64 digits without the name of the function.
    pub fn to_hex(&self) -> String {
        hex::encode(&self.bytes)
    }

    /// Returns the digest under `function` that has these 64 digits.
    ///
    /// # Errors
    /// If `digits` is anything but 64 lower-case hexadecimal digits.
    pub fn from_hex(function: HashFunction, digits: &str) -> Result<Self, ParseDigestError> {
        hex::decode(digits).map(|bytes| Self { function, bytes }).ok_or_else(|| ParseDigestError::new(digits))
    }
}

/// Reads until `buffer` is full or the input ends; returns how much there is.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.function.name(), self.to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;
    fn from_str(text: &str) -> Result<Self, ParseDigestError> {
        let (function, digits) = text.split_once(':').ok_or_else(|| ParseDigestError::new(text))?;
        Self::from_hex(function.parse()?, digits).map_err(|_| ParseDigestError::new(text))
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            (self.function.id(), self.bytes).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        if deserializer.is_human_readable() {
            return String::deserialize(deserializer)?.parse().map_err(Error::custom);
        }
        let (id, bytes) = <(u8, [u8; 32])>::deserialize(deserializer)?;
        let function = HashFunction::from_id(id).ok_or_else(|| Error::custom("unknown hash function"))?;
        Ok(Self { function, bytes })
    }
}

/// A [`Digest`] in the making, for content that arrives in pieces.
#[derive(Clone)]
pub struct Hasher {
    state: State,
    len: u64,
}

#[derive(Clone)]
enum State {
    // A BLAKE3 hasher holds 1.9 KB of chaining values; boxed, so that moving a `Hasher` stays cheap.
    Blake3(Box<blake3::Hasher>),
    Sha256(sha2::Sha256),
}

impl Hasher {
    /// Returns a hasher that has seen nothing.
    pub fn new(function: HashFunction) -> Self {
        let state = match function {
            HashFunction::Blake3 => State::Blake3(Box::default()),
            HashFunction::Sha256 => State::Sha256(sha2::Sha256::new()),
        };
        Self { state, len: 0 }
    }

    /// Takes the next bytes; large pieces are hashed on several threads where the function allows it.
    pub fn update(&mut self, bytes: &[u8]) {
        self.len += bytes.len() as u64;
        match &mut self.state {
            State::Blake3(hasher) if bytes.len() >= PARALLEL_FROM => {
                hasher.update_rayon(bytes);
            }
            State::Blake3(hasher) => {
                hasher.update(bytes);
            }
            State::Sha256(hasher) => hasher.update(bytes),
        }
    }

    /// Returns how many bytes were taken.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Returns whether nothing was taken yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the digest of everything taken so far.
    pub fn finish(&self) -> Digest {
        match &self.state {
            State::Blake3(hasher) => Digest::new(HashFunction::Blake3, *hasher.finalize().as_bytes()),
            State::Sha256(hasher) => Digest::new(HashFunction::Sha256, hasher.clone().finalize().into()),
        }
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hasher({}, {} bytes)", self.finish(), self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn published_vectors() {
        // BLAKE3 test vectors, input length 0; FIPS 180-2, "abc".
        assert_eq!(
            Digest::blake3(b"").to_string(),
            "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
        );
        assert_eq!(
            Digest::sha256(b"abc").to_string(),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn text_and_binary_forms_parse_back() {
        for digest in [Digest::blake3(b"x"), Digest::sha256(b"x")] {
            assert_eq!(digest.to_string().parse(), Ok(digest));
            let json = serde_json::to_string(&digest).unwrap();
            assert_eq!(json, format!("\"{digest}\""));
            assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
            let binary = postcard::to_stdvec(&digest).unwrap();
            assert_eq!(binary.len(), 33);
            assert_eq!(postcard::from_bytes::<Digest>(&binary).unwrap(), digest);
        }
        for bad in ["", "blake3", "md5:00", "blake3:12", &format!("BLAKE3:{}", "0".repeat(64))] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
        assert!(postcard::from_bytes::<Digest>(&[9; 33]).is_err());
    }

    #[test]
    fn slices_readers_and_files_agree_at_every_size() {
        for len in [0, 1, 1023, PARALLEL_FROM, BUFFER - 1, BUFFER, BUFFER + 1, 3 * BUFFER + 17] {
            let content: Vec<u8> = (0..len).map(|i| (i % 253) as u8).collect();
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&content).unwrap();
            for function in HashFunction::ALL {
                let expected = Digest::of(function, &content);
                assert_eq!(Digest::of_reader(function, &content[..]).unwrap(), (expected, len as u64));
                io::Seek::rewind(&mut file).unwrap();
                assert_eq!(Digest::of_file(function, &file).unwrap(), (expected, len as u64), "{len}");
            }
        }
    }
}
