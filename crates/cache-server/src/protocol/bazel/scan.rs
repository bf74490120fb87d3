//! Finds which contents a message of the Remote Execution API names, while the message streams by.
//!
//! Trees have megabytes, and a few bytes of protobuf can stand for a hundred in memory; so this reads the wire format
//! (`protobuf.dev`, "Encoding") and keeps nothing but where it is. It goes only into messages that lead to digests, which are
//! four deep at most.

use cache_core::{Digest, HashFunction};

/// Digits of a digest.
const DIGITS: usize = 64;
/// Bytes of a number at most.
const NUMBER: u32 = 10;

/// A message that leads to digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// `ActionResult`.
    Result,
    /// `OutputFile`.
    OutputFile,
    /// `OutputDirectory`.
    OutputDirectory,
    /// `Tree`.
    Tree,
    /// `Directory`.
    Directory,
    /// `FileNode`.
    FileNode,
    /// `DirectoryNode`.
    DirectoryNode,
    /// `Digest` of such a content.
    Digest(Role),
}

/// What a content is to who names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Role {
    /// Any bytes.
    File,
    /// A `Tree`.
    Tree,
    /// A `Directory` that stands for itself.
    Directory,
}

/// A content that a message names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) role: Role,
    pub(super) digest: Digest,
    pub(super) size: u64,
}

/// The bytes are not such a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Alien;

/// What a field is.
#[derive(Clone, Copy)]
enum Field {
    Unknown,
    Number,
    /// Bytes, text, or a message that leads to no digest.
    Bytes,
    Message(Kind),
    Hash,
    Size,
    Contents,
}

/// What a number on the wire is for.
#[derive(Clone, Copy)]
enum Next {
    Tag,
    Value(Field),
    Length(Field),
}

enum State {
    Number { value: u64, bytes: u32, next: Next },
    Skip(u64),
    Hash(usize),
}

/// A message under way.
pub(super) struct Scan {
    root: Kind,
    /// The messages around the current place, each with where it ends.
    stack: Vec<(Kind, u64)>,
    at: u64,
    state: State,
    /// Whether the root has a field that such a message has.
    known: bool,
    /// Fields of the root so far.
    fields: usize,
    hash: Option<[u8; DIGITS]>,
    size: u64,
    /// The digest of the `OutputFile` under way, and whether its content is beside it.
    file: Option<Reference>,
    inline: bool,
}

impl Scan {
    /// Returns a scan of a message of `len` bytes.
    pub(super) fn new(root: Kind, len: u64) -> Self {
        Self {
            root,
            stack: vec![(root, len)],
            at: 0,
            state: begin(Next::Tag),
            known: false,
            fields: 0,
            hash: None,
            size: 0,
            file: None,
            inline: false,
        }
    }

    /// Takes the next bytes, and appends what they name to `found`: less than one reference for each 64 bytes.
    pub(super) fn feed(&mut self, mut bytes: &[u8], found: &mut Vec<Reference>) -> Result<(), Alien> {
        while let Some(&first) = bytes.first() {
            let (_, end) = *self.stack.last().ok_or(Alien)?;
            if self.at >= end {
                return Err(Alien);
            }
            let taken = match &mut self.state {
                State::Skip(left) => {
                    let taken = (*left).min(bytes.len() as u64);
                    *left -= taken;
                    let done = *left == 0;
                    self.at += taken;
                    if done {
                        self.end_field(found)?;
                    }
                    taken as usize
                }
                State::Hash(filled) => {
                    let taken = (DIGITS - *filled).min(bytes.len());
                    let hash = self.hash.get_or_insert([0; DIGITS]);
                    hash[*filled..*filled + taken].copy_from_slice(&bytes[..taken]);
                    *filled += taken;
                    let done = *filled == DIGITS;
                    self.at += taken as u64;
                    if done {
                        self.end_field(found)?;
                    }
                    taken
                }
                State::Number { value, bytes: count, next } => {
                    // The tenth byte has one bit left.
                    if *count + 1 == NUMBER && first > 1 {
                        return Err(Alien);
                    }
                    *value |= u64::from(first & 0x7f) << (7 * *count);
                    *count += 1;
                    let (value, next) = (*value, *next);
                    self.at += 1;
                    if first & 0x80 == 0 {
                        self.number(value, next, found)?;
                    }
                    1
                }
            };
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    /// Returns whether the message is whole and is one: it has a field that such a message has, or no fields at all.
    pub(super) fn is_whole(&self) -> bool {
        self.stack.is_empty() && self.known || self.at == 0 && matches!(self.stack.as_slice(), [(_, 0)])
    }

    /// Returns how many fields the root has so far; an item of a list is a field.
    pub(super) fn fields(&self) -> usize {
        self.fields
    }

    fn number(&mut self, value: u64, next: Next, found: &mut Vec<Reference>) -> Result<(), Alien> {
        let (kind, end) = *self.stack.last().ok_or(Alien)?;
        match next {
            Next::Tag => {
                let number = value >> 3;
                if number == 0 || value > u64::from(u32::MAX) {
                    return Err(Alien);
                }
                let field = self.field(kind, number);
                if self.stack.len() == 1 {
                    self.fields += 1;
                    self.known |= !matches!(field, Field::Unknown);
                }
                self.state = match (value & 7, field) {
                    (0, Field::Unknown | Field::Number | Field::Size) => begin(Next::Value(field)),
                    (1, Field::Unknown) => State::Skip(8),
                    (5, Field::Unknown) => State::Skip(4),
                    (2, Field::Number | Field::Size) => return Err(Alien),
                    (2, _) => begin(Next::Length(field)),
                    _ => return Err(Alien),
                };
                if let State::Skip(len) = self.state {
                    self.fits(len, end)?;
                }
                Ok(())
            }
            Next::Value(field) => {
                if let Field::Size = field {
                    // Negative sizes have the highest bit.
                    self.size = i64::try_from(value).map_err(|_| Alien)? as u64;
                }
                self.end_field(found)
            }
            Next::Length(field) => {
                self.fits(value, end)?;
                match field {
                    Field::Message(kind) => {
                        if matches!(kind, Kind::Digest(_)) {
                            (self.hash, self.size) = (None, 0);
                        }
                        if kind == Kind::OutputFile {
                            (self.file, self.inline) = (None, false);
                        }
                        self.stack.push((kind, self.at + value));
                        self.state = begin(Next::Tag);
                        self.close(found)
                    }
                    Field::Hash if value == DIGITS as u64 => {
                        self.state = State::Hash(0);
                        Ok(())
                    }
                    Field::Hash if value > 0 => Err(Alien),
                    field => {
                        if let Field::Contents = field {
                            self.inline = value > 0;
                        }
                        self.state = State::Skip(value);
                        if value == 0 { self.end_field(found) } else { Ok(()) }
                    }
                }
            }
        }
    }

    fn fits(&self, len: u64, end: u64) -> Result<(), Alien> {
        if self.at.checked_add(len).is_some_and(|after| after <= end) { Ok(()) } else { Err(Alien) }
    }

    fn end_field(&mut self, found: &mut Vec<Reference>) -> Result<(), Alien> {
        self.state = begin(Next::Tag);
        self.close(found)
    }

    /// Leaves the messages that end here.
    fn close(&mut self, found: &mut Vec<Reference>) -> Result<(), Alien> {
        while let Some((kind, _)) = self.stack.pop_if(|(_, end)| *end == self.at) {
            match kind {
                Kind::Digest(role) => {
                    let Some(reference) = self.reference(role)? else { continue };
                    if self.stack.last().is_some_and(|(kind, _)| *kind == Kind::OutputFile) {
                        self.file = Some(reference);
                    } else {
                        found.push(reference);
                    }
                }
                // A content that is beside its digest need not be anywhere else.
                Kind::OutputFile => found.extend(self.file.take().filter(|_| !self.inline)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Returns what the digest that was just read names. One without anything in it names nothing.
    fn reference(&mut self, role: Role) -> Result<Option<Reference>, Alien> {
        let Some(hash) = self.hash.take() else {
            return if self.size == 0 { Ok(None) } else { Err(Alien) };
        };
        let digits = std::str::from_utf8(&hash).map_err(|_| Alien)?;
        let digest = Digest::from_hex(HashFunction::Sha256, digits).map_err(|_| Alien)?;
        Ok(Some(Reference { role, digest, size: self.size }))
    }

    fn field(&self, kind: Kind, number: u64) -> Field {
        use Field::{Bytes, Contents, Hash, Message, Number, Size, Unknown};
        match (kind, number) {
            (Kind::Result, 2) => Message(Kind::OutputFile),
            (Kind::Result, 3) => Message(Kind::OutputDirectory),
            (Kind::Result, 4) => Number,
            (Kind::Result, 6 | 8) => Message(Kind::Digest(Role::File)),
            (Kind::Result, 5 | 7 | 9..=12) => Bytes,
            (Kind::OutputFile, 1 | 7) => Bytes,
            (Kind::OutputFile, 2) => Message(Kind::Digest(Role::File)),
            (Kind::OutputFile, 4) => Number,
            (Kind::OutputFile, 5) => Contents,
            (Kind::OutputDirectory, 1) => Bytes,
            (Kind::OutputDirectory, 3) => Message(Kind::Digest(Role::Tree)),
            (Kind::OutputDirectory, 4) => Number,
            (Kind::OutputDirectory, 5) => Message(Kind::Digest(Role::Directory)),
            (Kind::Tree, 1 | 2) => Message(Kind::Directory),
            (Kind::Directory, 1) => Message(Kind::FileNode),
            (Kind::Directory, 2) => Message(Kind::DirectoryNode),
            (Kind::Directory, 3 | 5) => Bytes,
            (Kind::FileNode, 1 | 6) => Bytes,
            (Kind::FileNode, 2) => Message(Kind::Digest(Role::File)),
            (Kind::FileNode, 4) => Number,
            (Kind::DirectoryNode, 1) => Bytes,
            // A tree has its directories in itself.
            (Kind::DirectoryNode, 2) if self.root == Kind::Tree => Bytes,
            (Kind::DirectoryNode, 2) => Message(Kind::Digest(Role::Directory)),
            (Kind::Digest(_), 1) => Hash,
            (Kind::Digest(_), 2) => Size,
            _ => Unknown,
        }
    }
}

fn begin(next: Next) -> State {
    State::Number { value: 0, bytes: 0, next }
}
