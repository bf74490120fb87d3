//! `put`: stores something under a key of the user's own.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Instant;

use cache_core::{Entry, EntryMeta, Output, OutputKind, PutMode, RelPath};

use super::{Context, now, value};
use crate::args::PutArgs;
use crate::failure::{Failure, Result};
use crate::place;

pub(super) fn run(context: &Context, args: &PutArgs) -> Result {
    let started = Instant::now();
    let (mut source, name) = open(args.file.as_deref())?;
    let failed = |error: io::Error| Failure::failed(format_args!("cannot read {name}: {error}"));
    let mut head = Vec::new();
    (&mut source).take(value::MAX_INLINE as u64 + 1).read_to_end(&mut head).map_err(failed)?;
    let store = place::open(&context.config)?;
    let namespace = context.config.namespace();
    let created = now();
    let mut entry = Entry {
        meta: EntryMeta {
            namespace: namespace.clone(),
            kind: value::KIND.to_owned(),
            name: args.key.clone(),
            created,
            expires: args.ttl.map(|ttl| created.plus(ttl)),
            writer: concat!("vitte-cache ", env!("CARGO_PKG_VERSION")).to_owned(),
            ..EntryMeta::default()
        },
        ..Entry::default()
    };
    if head.len() <= value::MAX_INLINE {
        entry.value = head.into();
    } else {
        let (digest, len) = store.write_blob_from(None, head.chain(source))?;
        let path = RelPath::new(value::OUTPUT).map_err(Failure::failed)?;
        let kind = OutputKind::File { digest, len, mode: 0o644, modified_ns: 0 };
        entry.outputs.push(Output { path, kind });
    }
    // What took long to come in, as from a download, is dearer than what did not.
    entry.meta.cost_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let _ = store.put(&value::key(&namespace, &args.key), &entry, PutMode::Overwrite)?;
    Ok(())
}

fn open(path: Option<&Path>) -> Result<(Box<dyn Read>, String)> {
    let Some(path) = path.filter(|path| *path != Path::new("-")) else {
        return Ok((Box::new(io::stdin().lock()), "standard input".to_owned()));
    };
    let file = File::open(path).map_err(|error| {
        Failure::failed(format_args!("cannot read {}: {error}; nothing was stored", path.display()))
    })?;
    Ok((Box::new(file), path.display().to_string()))
}
