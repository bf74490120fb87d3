//! Whether everything is there that a result names.
//!
//! Bazel takes a result without its files ("build without the bytes") and asks for them when they are needed; a file that is
//! gone by then fails the build. So a result is a hit only if all of its files are in the same namespace, and asking whether they
//! are counts as using them, so that they stay as long as the result.
//!
//! Under the names of results there are other values too, such as ccache's. They are told apart by their bytes: a value counts as
//! a result if it is protobuf from its first byte to its last, has a field of an `ActionResult`, each of its fields has
//! the type it has there, and each digest is 64 hexadecimal digits. Values of ccache fail at their first bytes, and a value that
//! passes by chance names contents only if it has 64 such digits in the right place. Whatever is no result is served as it is,
//! unchecked: nobody could say what it needs. Taking a result for something else would cost the check, and taking something else
//! for a result could only cost a hit: what is sent are the stored bytes either way.

use std::collections::HashSet;

use cache_core::{Digest, HashFunction};
use http_body_util::BodyExt;

use super::scan::{Alien, Kind, Reference, Role, Scan};
use super::{EMPTY, content_name};
use crate::app::Call;
use crate::outgoing::Outgoing;
use crate::vault::Found;

/// Contents that are asked for at a time. A small one comes with its entry, so together they are as large as a piece of a
/// download.
const BATCH: usize = 16;
/// Bytes that are scanned at a time, so that few references are found before they are asked for.
const PIECE: usize = 4 << 10;
/// Most contents that a result may name to be a hit: a directory with all of a large project's dependencies has half as many.
const MAX_REFERENCES: usize = 200_000;
/// Most trees and directories among them. They are remembered, with 100 bytes each.
const MAX_DIRECTORIES: usize = 8 << 10;
/// Most bytes of one tree or directory.
const MAX_DIRECTORY: u64 = 64 << 20;

/// Returns whether the value `found` under `name` may be served: it is no result, or all that it names is there.
pub(super) async fn is_servable(call: &Call<'_>, name: &str, found: &Found) -> bool {
    let mut check = Check { call, asked: 0, missing: false, directories: Vec::new(), seen: HashSet::new() };
    match check.scan(name, found, Kind::Result).await {
        Ok(()) => {}
        Err(Trouble::Alien) => return true,
        Err(Trouble::Gone) => return false,
    }
    while let Some((kind, digest)) = check.directories.pop() {
        if check.missing || check.scan_directory(kind, &digest).await.is_err() {
            check.missing = true;
            break;
        }
    }
    if check.missing {
        tracing::debug!(name, "a result is incomplete and is answered as a miss");
    }
    !check.missing
}

struct Check<'a> {
    call: &'a Call<'a>,
    /// Contents so far.
    asked: usize,
    missing: bool,
    /// Trees and directories that are still to be read.
    directories: Vec<(Kind, Digest)>,
    seen: HashSet<(Kind, Digest)>,
}

enum Trouble {
    Alien,
    Gone,
}

impl From<Alien> for Trouble {
    fn from(Alien: Alien) -> Self {
        Self::Alien
    }
}

impl Check<'_> {
    async fn scan_directory(&mut self, kind: Kind, digest: &Digest) -> Result<(), Trouble> {
        let name = content_name(&digest.to_hex());
        let found = self.call.app.vault.find(&self.call.place(&name)).await.ok_or(Trouble::Gone)?;
        if found.len > MAX_DIRECTORY {
            tracing::warn!(name, limit = MAX_DIRECTORY, "a tree is too large to be checked and is a miss");
            return Err(Trouble::Gone);
        }
        self.scan(&name, &found, kind).await
    }

    async fn scan(&mut self, name: &str, found: &Found, kind: Kind) -> Result<(), Trouble> {
        let content = self.call.app.vault.open(&self.call.place(name), found, None).await;
        let mut content = Outgoing::new(content.ok_or(Trouble::Gone)?, found.len);
        let (mut scan, mut references) = (Scan::new(kind, found.len), Vec::new());
        while let Some(frame) = content.frame().await {
            let Ok(piece) = frame.map_err(|_| Trouble::Gone)?.into_data() else { continue };
            for piece in piece.chunks(PIECE) {
                scan.feed(piece, &mut references)?;
                if references.len() >= BATCH {
                    self.ask(&mut references).await;
                }
            }
        }
        if !scan.is_whole() {
            return Err(Trouble::Alien);
        }
        self.ask(&mut references).await;
        Ok(())
    }

    /// Asks for the contents that were found, and notes those that name others.
    async fn ask(&mut self, references: &mut Vec<Reference>) {
        self.asked = self.asked.saturating_add(references.len());
        self.missing |= self.asked > MAX_REFERENCES;
        let empty = Digest::from_hex(HashFunction::Sha256, EMPTY).ok();
        references.retain(|it| Some(it.digest) != empty || it.size != 0);
        for batch in references.chunks(BATCH) {
            // The rest of a result is still to be looked at: it may turn out to be none.
            if self.missing {
                break;
            }
            let names: Vec<String> = batch.iter().map(|it| content_name(&it.digest.to_hex())).collect();
            let places: Vec<_> = names.iter().map(|name| self.call.place(name)).collect();
            let lengths = self.call.app.vault.lengths(&places).await;
            self.missing = !lengths.into_iter().eq(batch.iter().map(|it| Some(it.size)));
        }
        for reference in references.drain(..) {
            let kind = match reference.role {
                Role::File => continue,
                Role::Tree => Kind::Tree,
                Role::Directory => Kind::Directory,
            };
            if self.seen.insert((kind, reference.digest)) {
                self.missing |= self.seen.len() > MAX_DIRECTORIES;
                if !self.missing {
                    self.directories.push((kind, reference.digest));
                }
            }
        }
    }
}
