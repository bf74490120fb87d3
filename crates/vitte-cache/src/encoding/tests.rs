use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, VecDeque};
use std::ffi::{CString, OsString};
use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::{NonZeroI16, NonZeroU64, Wrapping};
use std::ops::{Bound, Range, RangeInclusive};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{HEADER, MAX_DEPTH, decode, encode};

/// Checks that a value comes back, and that its bytes are those of postcard.
fn comes_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let bytes = encode(value).unwrap();
    assert_eq!(decode::<T>(&bytes).as_ref(), Some(value));
    assert_eq!(bytes[HEADER..], postcard::to_stdvec(value).unwrap(), "{value:?}");
}

/// Checks that the bytes of `value` are no `T`.
fn is_no<T: DeserializeOwned + Debug>(value: &(impl Serialize + DeserializeOwned + Debug)) {
    let decoded = decode::<T>(&encode(value).unwrap());
    assert!(decoded.is_none(), "{value:?} became {decoded:?}");
}

/// Returns what is said about a value that cannot be encoded.
fn refused<T: Serialize + DeserializeOwned + Debug>(value: &T) -> String {
    match encode(value) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("{value:?} is encoded"),
    }
}

#[test]
fn leaves() {
    comes_back(&(true, false, (), 'x', '\u{1F980}', '\0'));
    comes_back(&(0_u8, u8::MAX, u16::MAX, u32::MAX, u64::MAX, u128::MAX, usize::MAX));
    comes_back(&(i8::MIN, i16::MIN, i32::MIN, i64::MIN, i128::MIN, isize::MIN));
    comes_back(&(i8::MAX, i16::MAX, i32::MAX, i64::MAX, i128::MAX, -1_i8, -1_i16, -1_i128));
    comes_back(&(0.0_f32, f32::INFINITY, f32::MIN_POSITIVE, f64::MAX, f64::NEG_INFINITY, 1e-300_f64));
    comes_back(&(NonZeroU64::MAX, NonZeroI16::MIN, Wrapping(7_u32)));
    let bytes = encode(&f64::NAN).unwrap();
    assert_eq!(decode::<f64>(&bytes).map(f64::to_bits), Some(f64::NAN.to_bits()));
    let bytes = encode(&-0.0_f32).unwrap();
    assert_eq!(decode::<f32>(&bytes).map(f32::to_bits), Some((-0.0_f32).to_bits()));
}

#[test]
fn texts_and_bytes() {
    comes_back(&(String::new(), "é\0\u{1F980}".to_owned(), "x".repeat(1000)));
    comes_back(&(
        Cow::<'static, str>::Borrowed("borrowed"),
        Box::<str>::from("boxed"),
        Arc::<str>::from("arc"),
    ));
    comes_back(&(Bytes::from_static(b"\0\xff"), b"plain".to_vec(), Box::<[u8]>::from(*b"boxed"), [7_u8; 32]));
    comes_back(&(PathBuf::from("a/b"), OsString::from("os"), CString::new("c").unwrap()));
}

#[test]
fn collections() {
    comes_back(&(Vec::<u8>::new(), vec![1_u32; 1000], vec![vec![1_u8], vec![], vec![2, 3]]));
    comes_back(&(VecDeque::from([1, 2]), BTreeSet::from(["a".to_owned()]), HashSet::from([1_i64, 2, 3])));
    comes_back(&(
        HashMap::from([("k".to_owned(), 1), ("l".to_owned(), 2)]),
        BTreeMap::from([((1, 'a'), vec![0.5])]),
    ));
    comes_back(&(BTreeMap::<u8, u8>::new(), vec![(); 1000], [(); 3], [0_u8; 0], ((),), [[1_u16; 2]; 2]));
    let heap = decode::<BinaryHeap<u8>>(&encode(&BinaryHeap::from([1_u8, 9, 5])).unwrap()).unwrap();
    assert_eq!(heap.into_sorted_vec(), [1, 5, 9]);
}

#[test]
fn std_types() {
    comes_back(&(Duration::new(5, 7), UNIX_EPOCH + Duration::from_millis(1234), SystemTime::UNIX_EPOCH));
    comes_back(&(IpAddr::V4(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST, SocketAddr::from(([1, 2, 3, 4], 80))));
    comes_back(&(
        Range { start: 1, end: 2 },
        RangeInclusive::new('a', 'z'),
        Bound::Included(3),
        Bound::<u8>::Unbounded,
    ));
    comes_back(&(Ok::<u8, String>(1), Err::<u8, String>("no".to_owned())));
    comes_back(&(
        Some(Some(1_u8)),
        Some(None::<u8>),
        None::<Option<u8>>,
        Box::new(5),
        Rc::new(6),
        Arc::new(7),
    ));
    comes_back(&(std::marker::PhantomData::<String>, std::cell::Cell::new(5)));
    let mutex = decode::<Mutex<String>>(&encode(&Mutex::new("inside".to_owned())).unwrap()).unwrap();
    assert_eq!(*mutex.lock().unwrap(), "inside");
}

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
struct Unit;
#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
struct Newtype(u32);
#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
struct Pair(u32, String);
#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
struct Generic<T> {
    value: T,
    list: Vec<T>,
}
#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
enum Every {
    Unit,
    Newtype(Box<Every>),
    Tuple(u8, Option<Pair>),
    Struct { a: Unit, b: Vec<Every> },
}
#[derive(Serialize, Deserialize, PartialEq, Debug, Clone, Default)]
#[serde(rename_all = "kebab-case", default)]
struct Attributes {
    #[serde(rename = "odd name")]
    renamed: u8,
    #[serde(default)]
    defaulted: Option<u8>,
    #[serde(skip)]
    skipped: u8,
    long_name: Transparent,
}
#[derive(Serialize, Deserialize, PartialEq, Debug, Clone, Default)]
#[serde(transparent)]
struct Transparent {
    inner: u64,
}
#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
#[serde(try_from = "String", into = "String")]
struct Converted(u8);

impl From<Converted> for String {
    fn from(value: Converted) -> Self {
        value.0.to_string()
    }
}

impl TryFrom<String> for Converted {
    type Error = std::num::ParseIntError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

#[test]
fn structs_and_enums() {
    comes_back(&(Unit, Newtype(1), Pair(2, "two".to_owned())));
    comes_back(&Generic { value: Generic { value: 1_u8, list: vec![] }, list: vec![] });
    comes_back(&Attributes { renamed: 1, defaulted: None, skipped: 0, long_name: Transparent { inner: 5 } });
    comes_back(&vec![Converted(0), Converted(255)]);
    comes_back(&vec![
        Every::Unit,
        Every::Newtype(Box::new(Every::Unit)),
        Every::Tuple(1, Some(Pair(3, String::new()))),
        Every::Struct { a: Unit, b: vec![Every::Tuple(0, None)] },
    ]);
}

/// The types of an earlier version of a program, and what became of them.
mod versions {
    use super::{Deserialize, Serialize};

    macro_rules! version {
        ($module:ident { $($item:item)* }) => {
            pub(super) mod $module {
                use super::{Deserialize, Serialize};
                $(#[derive(Serialize, Deserialize, Debug, PartialEq)] $item)*
            }
        };
    }

    version!(old {
        pub(crate) struct Point { pub(crate) x: u32, pub(crate) y: u32 }
        pub(crate) struct Wrapper(pub(crate) u32);
        pub(crate) enum Choice { A(u32), B(u32) }
    });
    version!(same {
        pub(crate) struct Point { pub(crate) x: u32, pub(crate) y: u32 }
        pub(crate) enum Choice { A(u32), B(u32), C }
    });
    version!(swapped {
        pub(crate) struct Point { pub(crate) y: u32, pub(crate) x: u32 }
        pub(crate) enum Choice { B(u32), A(u32) }
    });
    version!(renamed {
        pub(crate) struct Point { pub(crate) x: u32, pub(crate) z: u32 }
        pub(crate) struct Wrapped(pub(crate) u32);
        pub(crate) enum Choice { X(u32), B(u32) }
    });
    version!(retyped {
        pub(crate) struct Point { pub(crate) x: u32, pub(crate) y: i32 }
        pub(crate) struct Wrapper(pub(crate) u64);
        pub(crate) enum Choice { A { value: u32 }, B(u32) }
    });
    version!(grown {
        pub(crate) struct Point { pub(crate) x: u32, pub(crate) y: u32, #[serde(default)] pub(crate) z: Option<u32> }
    });
    version!(shrunk {
        pub(crate) struct Point { pub(crate) x: u32 }
    });
    version!(nested {
        pub(crate) struct Point { pub(crate) x: u32, pub(crate) y: (u32,) }
    });
    version!(inserted {
        pub(crate) enum Choice { A(u32), X(u32), B(u32) }
    });
    // serde lists the names A, X, B, and the second variant is B.
    version!(aliased {
        pub(crate) enum Choice { #[serde(alias = "X")] A(u32), B(u32) }
    });
}

#[test]
fn a_changed_type_is_a_miss() {
    use versions::{aliased, grown, inserted, nested, old, renamed, retyped, same, shrunk, swapped};
    let point = old::Point { x: 1, y: 1 };
    assert!(decode::<same::Point>(&encode(&point).unwrap()).is_some());
    is_no::<swapped::Point>(&point);
    is_no::<renamed::Point>(&point);
    is_no::<retyped::Point>(&point);
    is_no::<grown::Point>(&point);
    is_no::<shrunk::Point>(&point);
    is_no::<nested::Point>(&point);
    is_no::<(u32, u32)>(&point);
    is_no::<Vec<old::Point>>(&vec![swapped::Point { y: 0, x: 0 }]);
    is_no::<renamed::Wrapped>(&old::Wrapper(1));
    is_no::<retyped::Wrapper>(&old::Wrapper(1));
    is_no::<u32>(&old::Wrapper(1));
    let choice = old::Choice::A(1);
    assert_eq!(decode(&encode(&choice).unwrap()), Some(same::Choice::A(1)), "more variants do no harm");
    is_no::<swapped::Choice>(&choice);
    is_no::<renamed::Choice>(&choice);
    is_no::<retyped::Choice>(&choice);
    is_no::<inserted::Choice>(&old::Choice::B(1));
    is_no::<aliased::Choice>(&old::Choice::B(1));
    let choice = inserted::Choice::X(1);
    assert_eq!(
        decode(&encode(&choice).unwrap()),
        Some(aliased::Choice::A(1)),
        "X is another name of A, not of B"
    );
}

#[test]
fn types_with_the_same_bytes_are_told_apart() {
    is_no::<u32>(&7_u64);
    is_no::<i64>(&7_i32);
    is_no::<u8>(&true);
    is_no::<String>(&'x');
    is_no::<Vec<u8>>(&"text".to_owned());
    is_no::<Bytes>(&"text".to_owned());
    is_no::<Bytes>(&b"bytes".to_vec());
    is_no::<[u8; 4]>(&(1_u8, 2_u8, (3_u8, 4_u8)));
    is_no::<(u8, u8)>(&((1_u8, 2_u8),));
    is_no::<((u8, u8), u8)>(&(1_u8, (2_u8, 3_u8)));
    is_no::<BTreeMap<u8, u8>>(&vec![(1_u8, 2_u8)]);
    is_no::<Option<u8>>(&(true, 5_u8));
    is_no::<Option<()>>(&Some(Some(())));
    is_no::<(Vec<u8>, Vec<u8>)>(&(vec![1_u8, 0], Vec::<u16>::new(), 0_u8));
    is_no::<(Vec<u8>, u8)>(&(Vec::<u8>::new(), (0_u8,)));
    // Lists whose ends are elsewhere: 1 element and 1 after it, 2 elements and none after it.
    is_no::<(Vec<u8>, Option<u8>)>(&(vec![1_u8], 0_u8));
    is_no::<Vec<Vec<u8>>>(&vec![0_u8, 0]);
    is_no::<()>(&Unit);
}

#[derive(Serialize, Deserialize, Debug)]
struct Flattened {
    a: u8,
    #[serde(flatten)]
    rest: Newfields,
}
#[derive(Serialize, Deserialize, Debug)]
struct Newfields {
    b: u8,
}
#[derive(Serialize, Deserialize, Debug)]
#[serde(untagged)]
enum Untagged {
    Number(u8),
}
#[derive(Serialize, Deserialize, Debug)]
#[serde(tag = "type")]
enum Tagged {
    Some { a: u8 },
}
#[derive(Serialize, Deserialize, Debug)]
struct Sometimes {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    list: Vec<u8>,
    after: Vec<u8>,
}
#[derive(Serialize, Deserialize, Debug)]
struct OneWay {
    #[serde(skip_deserializing)]
    a: u8,
    b: u8,
}
#[derive(Serialize, Deserialize, Debug)]
enum Aliased {
    #[serde(alias = "X")]
    A(u32),
    B(u32),
}
#[derive(Serialize, Deserialize, Debug)]
#[serde(tag = "type", content = "content")]
enum Adjacent {
    Some { a: u8 },
}

#[test]
fn what_cannot_be_read_back_is_refused_with_the_remedy() {
    for message in [
        refused(&Flattened { a: 1, rest: Newfields { b: 2 } }),
        refused(&Untagged::Number(1)),
        refused(&Tagged::Some { a: 1 }),
        refused(&Adjacent::Some { a: 1 }),
    ] {
        assert!(message.contains("serde(flatten)") && message.contains("encoding::tests::"), "{message}");
    }
    let message = refused(&Sometimes { list: Vec::new(), after: vec![2, 1] });
    assert!(message.contains("`list`") && message.contains("skip_serializing_if"), "{message}");
    for message in [refused(&OneWay { a: 1, b: 2 }), refused(&Aliased::B(1))] {
        assert!(message.contains("written in one way and read in another"), "{message}");
    }
    #[cfg(unix)]
    {
        let path = PathBuf::from(<OsString as std::os::unix::ffi::OsStringExt>::from_vec(vec![0xff]));
        assert!(refused(&path).contains("UTF-8"), "the type's own words are kept");
    }
}

#[derive(Serialize, Deserialize, Debug)]
struct Link(Option<Box<Link>>);

#[test]
fn depth_is_bounded_both_ways() {
    let chain = |depth| (0..depth).fold(Link(None), |inner, _| Link(Some(Box::new(inner))));
    assert!(decode::<Link>(&encode(&chain(MAX_DEPTH / 2 - 2)).unwrap()).is_some());
    assert!(refused(&chain(1000)).contains("levels deep"));
    // Bytes that another type makes a very deep value of.
    is_no::<Link>(&vec![true; 100_000]);
    let mut bytes = encode(&vec![true; 100_000]).unwrap();
    bytes.drain(HEADER..HEADER + 3);
    assert!(decode::<Link>(&bytes).is_none());
}

#[test]
fn a_list_of_nothing_ends() {
    // A length of 2^64 - 1 for a type without bytes: the steps of the stored value bound it.
    let mut bytes = encode(&(u64::MAX, 0_u8)).unwrap();
    bytes.pop();
    assert!(decode::<Vec<()>>(&bytes).is_none());
    assert!(decode::<Vec<[u8; 0]>>(&bytes).is_none());
    assert!(decode::<HashMap<(), u8>>(&bytes).is_none());
}

/// Says one thing about its length and does another, or nothing.
#[derive(Debug)]
struct Counted(Option<usize>, Vec<u8>);

impl Serialize for Counted {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeSeq;
        let mut seq = serializer.serialize_seq(self.0)?;
        self.1.iter().try_for_each(|item| seq.serialize_element(item))?;
        seq.end()
    }
}

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(|list| Self(None, list))
    }
}

#[test]
fn lists_may_have_a_length_that_is_not_known_before() {
    let list: Vec<u8> = (0..200).collect();
    let bytes = encode(&Counted(None, list.clone())).unwrap();
    assert_eq!(decode::<Vec<u8>>(&bytes), Some(list.clone()));
    assert!(refused(&Counted(Some(3), list)).contains("announces 3"));
}

proptest! {
    #[test]
    fn values_come_back(
        numbers in any::<(i8, i16, i32, i64, i128, u16, u32, u64, u128)>(),
        floats in any::<(f32, f64, char)>(),
        text in ".*",
        list in proptest::collection::vec(any::<Option<(u8, String)>>(), 0..20),
        map in proptest::collection::hash_map(any::<i32>(), any::<Result<u8, bool>>(), 0..20),
    ) {
        let mut floats = floats;
        // What is equal to nothing cannot be compared.
        if floats.0.is_nan() { floats.0 = 0.0; }
        if floats.1.is_nan() { floats.1 = 0.0; }
        comes_back(&(numbers, floats, text, list, map));
    }

    #[test]
    fn damage_makes_no_panic_and_no_value_of_another_length(
        list in proptest::collection::vec(any::<(u16, Option<String>)>(), 0..10),
        cut in any::<proptest::sample::Index>(),
    ) {
        let bytes = encode(&list).unwrap();
        prop_assert!(decode::<Vec<(u16, Option<String>)>>(&bytes[..cut.index(bytes.len())]).is_none());
        let mut longer = bytes.clone();
        longer.push(0);
        prop_assert!(decode::<Vec<(u16, Option<String>)>>(&longer).is_none());
    }

    #[test]
    fn foreign_bytes_make_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), steps in 0_u64..300) {
        let mut framed = vec![super::VERSION];
        framed.extend_from_slice(&[0; 16]);
        framed.extend_from_slice(&steps.to_le_bytes());
        framed.extend_from_slice(&bytes);
        prop_assert!(decode::<Vec<Every>>(&framed).is_none());
        prop_assert!(decode::<HashMap<String, (i128, char, Option<Box<[u8]>>)>>(&framed).is_none());
        prop_assert!(decode::<Vec<()>>(&framed).is_none());
    }
}
