use proptest::prelude::*;

use super::*;
use crate::*;

fn secret(n: u8) -> SigningKey {
    SigningKey::from_bytes([n; 32])
}

fn key(n: u8) -> Key {
    Key::from_bytes([n; 32])
}

fn signed(ring: &Keyring, key: &Key, mut entry: Entry) -> Entry {
    ring.sign(key, &mut entry).unwrap();
    entry
}

fn sample() -> Entry {
    let kind = OutputKind::File { digest: Digest::blake3(b"x"), len: 1, mode: 0o644, modified_ns: 5 };
    Entry {
        meta: EntryMeta {
            kind: "run".to_owned(),
            name: "docs".to_owned(),
            expires: Some(Timestamp::from_millis(9)),
            ..EntryMeta::default()
        },
        value: "value".into(),
        outputs: vec![Output { path: RelPath::new("bin/tool").unwrap(), kind }],
        signature: None,
    }
}

#[test]
fn each_standing_has_its_cause() {
    let ring = Keyring::new(secret(1));
    let entry = signed(&ring, &key(1), sample());
    assert_eq!(ring.standing(&key(1), &sample()), Standing::Unsigned);
    assert_eq!(ring.standing(&key(1), &entry), Standing::Valid);
    assert_eq!(ring.standing(&key(2), &entry), Standing::Forged);
    assert_eq!(Keyring::new(secret(2)).standing(&key(1), &entry), Standing::UnknownSigner);
}

#[test]
fn nothing_of_an_entry_can_be_changed() {
    type Change = (&'static str, fn(&mut Entry));

    let ring = Keyring::new(secret(1));
    let entry = signed(&ring, &key(1), sample());
    let changes: [Change; 13] = [
        ("namespace", |entry| entry.meta.namespace = Namespace::new("other").unwrap()),
        ("kind", |entry| entry.meta.kind.push('x')),
        ("name", |entry| entry.meta.name.clear()),
        ("created", |entry| entry.meta.created = Timestamp::from_millis(1)),
        ("expires", |entry| entry.meta.expires = None),
        ("writer", |entry| entry.meta.writer.push('x')),
        ("cost", |entry| entry.meta.cost_ms += 1),
        ("priority", |entry| entry.meta.priority = Priority::High),
        ("tags", |entry| drop(entry.meta.tags.insert(String::new(), String::new()))),
        ("dependencies", |entry| entry.meta.dependencies.upstream.push(key(3))),
        ("value", |entry| entry.value = "valuf".into()),
        ("outputs", |entry| entry.outputs.clear()),
        ("signature", |entry| {
            if let Some(signature) = &mut entry.signature {
                signature.mac[31] ^= 1;
            }
        }),
    ];
    for (what, change) in changes {
        let mut entry = entry.clone();
        change(&mut entry);
        assert_eq!(ring.standing(&key(1), &entry), Standing::Forged, "{what}");
    }
}

#[test]
fn a_signature_of_one_key_is_none_of_another_whatever_it_says() {
    let ring = Keyring::new(secret(1)).accepting(secret(2));
    let mut entry = signed(&ring, &key(1), sample());
    entry.signature.as_mut().unwrap().key = secret(2).id();
    assert_eq!(ring.standing(&key(1), &entry), Standing::Forged);
}

#[test]
fn while_keys_are_replaced_both_count_and_the_new_one_signs() {
    let old = Keyring::new(secret(1));
    let entry = signed(&old, &key(1), sample());
    let both = Keyring::new(secret(2)).accepting(secret(1)).accepting(secret(1));
    assert_eq!(both.ids().collect::<Vec<_>>(), [secret(2).id(), secret(1).id()]);
    assert_eq!(both.standing(&key(1), &entry), Standing::Valid);
    let again = signed(&both, &key(1), entry.clone());
    assert_eq!(again.signer(), Some(secret(2).id()));
    assert_eq!(old.standing(&key(1), &again), Standing::UnknownSigner);
    assert_eq!(Keyring::new(secret(2)).standing(&key(1), &again), Standing::Valid);
}

#[test]
fn each_signer_has_addresses_of_its_own() {
    let (one, other) = (secret(1).id(), secret(2).id());
    let address = one.address(&key(7));
    assert_eq!(one.address(&address), key(7));
    assert!(address != key(7) && address != other.address(&key(7)) && address != one.address(&key(8)));
}

/// A change here makes every signed entry unreachable, and every signature wrong: it needs new contexts.
#[test]
fn what_is_derived_from_a_key_is_fixed() {
    let secret = secret(7);
    assert_eq!(secret.id().to_string(), "e3131ecbdf107826");
    assert_eq!(
        secret.id().address(&key(0)).to_hex(),
        "f28717fc5c0cbe1e95ee5c6a08b69b95ca92588ffb1ae375f7868f4c2640f812"
    );
    let signature = secret.sign(&key(1), &sample()).unwrap();
    assert_eq!(
        crate::hex::encode(&signature.mac),
        "a3ffe338dcf7a27ab8b3f896c6de04ba230c10f227d14c60f755a9816eb4ff5f"
    );
}

#[test]
fn keys_are_random_and_have_one_text_form() {
    let (one, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    assert_ne!(one, other);
    assert_ne!(one.id(), other.id());
    assert_eq!(one.to_hex().parse::<SigningKey>().unwrap(), one);
    for wrong in [String::new(), one.to_hex().to_uppercase() + "A", one.to_hex()[1..].to_owned()] {
        assert_eq!(wrong.parse::<SigningKey>(), Err(ParseSigningKeyError));
    }
}

#[test]
fn secrets_are_never_shown() {
    let secret = SigningKey::generate().unwrap();
    let shown = format!("{secret:?} {:?} {ParseSigningKeyError}", Keyring::new(secret.clone()));
    assert!(!shown.contains(&secret.to_hex()[..8]), "{shown}");
    assert!(shown.contains(&secret.id().to_string()), "{shown}");
}

proptest! {
    /// Bytes that move from the facts to the value, or from one fact to the next, make another entry.
    #[test]
    fn equal_signatures_are_of_equal_entries(
        a in ("[ab]{0,3}", "[ab]{0,3}", "[ab]{0,3}"), b in ("[ab]{0,3}", "[ab]{0,3}", "[ab]{0,3}"),
    ) {
        let entry = |(kind, name, value): (String, String, String)| Entry {
            meta: EntryMeta { kind, name, ..EntryMeta::default() },
            value: value.into(),
            ..Entry::default()
        };
        let (a, b) = (entry(a), entry(b));
        let secret = secret(1);
        prop_assert_eq!(a == b, secret.sign(&key(1), &a).unwrap() == secret.sign(&key(1), &b).unwrap());
    }
}
