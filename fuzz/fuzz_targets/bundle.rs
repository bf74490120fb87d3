//! No file makes an import panic, and what it takes in leaves and comes back as it is.

#![no_main]

use cache_coordinator::bundle::{ImportOptions, Imported, Selection, export, import};
use cache_core::{ListFilter, Store, crc32c};
use cache_testkit::{MemoryStore, block_on};
use libfuzzer_sys::fuzz_target;

const START: &[u8] = b"VTCX\x01\0\0\0\0\0\0\0\0\0\0\0";
/// Bytes of the header of an item, without its checksum.
const HEADER: usize = 44;

fuzz_target!(|data: &[u8]| {
    // As found, and with right checksums of the headers, which the fuzzer would not find.
    take_in(data);
    take_in(&sealed(data));
});

fn sealed(mut data: &[u8]) -> Vec<u8> {
    let mut file = START.to_vec();
    while let Some((header, rest)) = data.split_first_chunk::<HEADER>() {
        file.extend_from_slice(header);
        file.extend_from_slice(&crc32c(header).to_le_bytes());
        let len = u64::from_le_bytes(header[4..12].try_into().expect("eight bytes"));
        let (content, rest) = rest.split_at(rest.len().min(usize::try_from(len).unwrap_or(usize::MAX)));
        file.extend_from_slice(content);
        data = rest;
    }
    file.extend_from_slice(data);
    file
}

fn take_in(file: &[u8]) {
    let options = ImportOptions { max_blob: 1 << 16, max_entry: 1 << 16, ..ImportOptions::default() };
    let into = |store: MemoryStore, mut file: &[u8]| -> Option<(MemoryStore, Imported)> {
        let imported = block_on(import(&store, &mut file, &options)).ok()?;
        Some((store, imported))
    };
    let Some((store, imported)) = into(MemoryStore::new(), file) else { return };
    let list = |store: &MemoryStore| {
        block_on(store.list(&ListFilter::default(), None, usize::MAX)).expect("it is open").items
    };
    let there = list(&store);
    assert!(there.len() as u64 <= imported.entries);
    let mut again = Vec::new();
    let selection = Selection::Keys(there.iter().map(|listed| listed.key).collect());
    let exported = block_on(export(&store, &selection, &mut again)).expect("it is open");
    assert_eq!((exported.entries, exported.left_out.len()), (there.len() as u64, 0));
    let (other, imported) = into(MemoryStore::new(), &again).expect("it was just written");
    assert!(imported.flaws == 0 && imported.broken_off.is_none(), "{imported:?}");
    assert_eq!(list(&other), there);
}
