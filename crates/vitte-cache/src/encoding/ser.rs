//! From a value to postcard bytes and a shape.

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::error::Problem;
use super::trace::{Shape, Step, Trace};

/// Bytes of a value that there is room for from the start: what most arguments need.
const SMALL: usize = 64;

/// Returns `value` in bytes, after `header` bytes for the caller, and its shape.
pub(super) fn encode<T: Serialize + ?Sized>(value: &T, header: usize) -> Result<(Vec<u8>, Shape), Problem> {
    let mut out = Vec::with_capacity(header + SMALL);
    out.resize(header, 0);
    let mut encoder = Encoder { out, trace: Trace::new(u64::MAX) };
    value.serialize(&mut encoder)?;
    Ok((encoder.out, encoder.trace.finish()))
}

struct Encoder {
    out: Vec<u8>,
    trace: Trace,
}

/// Writes LEB128, low bits first.
fn varint(mut number: u128, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Returns a number that is small where `number` is near zero.
fn zigzag(number: i128) -> u128 {
    ((number << 1) ^ (number >> 127)) as u128
}

impl Encoder {
    fn number(&mut self, step: Step, number: impl Into<u128>) -> Result<(), Problem> {
        self.trace.leaf(step)?;
        varint(number.into(), &mut self.out);
        Ok(())
    }

    fn signed(&mut self, step: Step, number: impl Into<i128>) -> Result<(), Problem> {
        self.trace.leaf(step)?;
        varint(zigzag(number.into()), &mut self.out);
        Ok(())
    }

    fn raw(&mut self, step: Step, bytes: &[u8]) -> Result<(), Problem> {
        self.trace.leaf(step)?;
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn with_length(&mut self, step: Step, bytes: &[u8]) -> Result<(), Problem> {
        self.trace.leaf(step)?;
        varint(bytes.len() as u128, &mut self.out);
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn nested<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Problem> {
        self.trace.enter()?;
        value.serialize(&mut *self)?;
        self.trace.leave();
        Ok(())
    }

    fn list(&mut self, step: Step, len: Option<usize>) -> Result<List<'_>, Problem> {
        self.trace.leaf(step)?;
        let at = self.out.len();
        if let Some(len) = len {
            varint(len as u128, &mut self.out);
        }
        Ok(List { encoder: self, at, announced: len, count: 0 })
    }

    fn variant(&mut self, step: Step, name: &str, variant: (u32, &str), count: usize) -> Result<(), Problem> {
        self.trace.variant(step, name, variant, count as u64)?;
        varint(variant.0.into(), &mut self.out);
        Ok(())
    }
}

/// A list or a map that is being written.
struct List<'a> {
    encoder: &'a mut Encoder,
    /// Where its length is or will be.
    at: usize,
    announced: Option<usize>,
    count: usize,
}

impl List<'_> {
    fn finish(self) -> Result<(), Problem> {
        match self.announced {
            None => {
                let mut len = Vec::new();
                varint(self.count as u128, &mut len);
                self.encoder.out.splice(self.at..self.at, len);
            }
            Some(announced) if announced == self.count => {}
            Some(announced) => {
                let message = format!("it announces {announced} elements and has {}", self.count);
                return Err(Problem::Custom(message));
            }
        }
        self.encoder.trace.named(Step::End, "", self.count as u64)
    }
}

macro_rules! leaves {
    ($($method:ident: $type:ty => $write:ident $step:ident;)*) => {
        $(fn $method(self, value: $type) -> Result<(), Problem> {
            self.$write(Step::$step, value)
        })*
    };
}

impl<'a> Serializer for &'a mut Encoder {
    type Ok = ();
    type Error = Problem;
    type SerializeSeq = List<'a>;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = List<'a>;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    leaves! {
        serialize_i16: i16 => signed I16;
        serialize_i32: i32 => signed I32;
        serialize_i64: i64 => signed I64;
        serialize_i128: i128 => signed I128;
        serialize_u16: u16 => number U16;
        serialize_u32: u32 => number U32;
        serialize_u64: u64 => number U64;
        serialize_u128: u128 => number U128;
        serialize_bytes: &[u8] => with_length Bytes;
    }

    fn serialize_bool(self, value: bool) -> Result<(), Problem> {
        self.raw(Step::Bool, &[value.into()])
    }

    fn serialize_i8(self, value: i8) -> Result<(), Problem> {
        self.raw(Step::I8, &value.to_le_bytes())
    }

    fn serialize_u8(self, value: u8) -> Result<(), Problem> {
        self.raw(Step::U8, &[value])
    }

    fn serialize_f32(self, value: f32) -> Result<(), Problem> {
        self.raw(Step::F32, &value.to_le_bytes())
    }

    fn serialize_f64(self, value: f64) -> Result<(), Problem> {
        self.raw(Step::F64, &value.to_le_bytes())
    }

    fn serialize_char(self, value: char) -> Result<(), Problem> {
        self.with_length(Step::Char, value.encode_utf8(&mut [0; 4]).as_bytes())
    }

    fn serialize_str(self, value: &str) -> Result<(), Problem> {
        self.with_length(Step::Str, value.as_bytes())
    }

    fn serialize_none(self) -> Result<(), Problem> {
        self.raw(Step::None, &[0])
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Problem> {
        self.raw(Step::Some, &[1])?;
        self.nested(value)
    }

    fn serialize_unit(self) -> Result<(), Problem> {
        self.raw(Step::Unit, &[])
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<(), Problem> {
        self.trace.named(Step::UnitStruct, name, 0)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Problem> {
        self.trace.named(Step::NewtypeStruct, name, 1)?;
        self.nested(value)
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<(), Problem> {
        self.variant(Step::UnitVariant, name, (index, variant), 0)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Problem> {
        self.variant(Step::NewtypeVariant, name, (index, variant), 1)?;
        self.nested(value)
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<List<'a>, Problem> {
        self.list(Step::Seq, len)
    }

    fn serialize_tuple(self, len: usize) -> Result<Self, Problem> {
        self.trace.named(Step::Tuple, "", len as u64)?;
        Ok(self)
    }

    fn serialize_tuple_struct(self, name: &'static str, len: usize) -> Result<Self, Problem> {
        self.trace.named(Step::TupleStruct, name, len as u64)?;
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self, Problem> {
        self.variant(Step::TupleVariant, name, (index, variant), len)?;
        Ok(self)
    }

    fn serialize_map(self, len: Option<usize>) -> Result<List<'a>, Problem> {
        self.list(Step::Map, len)
    }

    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Self, Problem> {
        self.trace.named(Step::Struct, name, len as u64)?;
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self, Problem> {
        self.variant(Step::StructVariant, name, (index, variant), len)?;
        Ok(self)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

impl SerializeSeq for List<'_> {
    type Ok = ();
    type Error = Problem;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Problem> {
        self.count += 1;
        self.encoder.nested(value)
    }

    fn end(self) -> Result<(), Problem> {
        self.finish()
    }
}

impl SerializeMap for List<'_> {
    type Ok = ();
    type Error = Problem;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Problem> {
        self.count += 1;
        self.encoder.nested(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Problem> {
        self.encoder.nested(value)
    }

    fn end(self) -> Result<(), Problem> {
        self.finish()
    }
}

macro_rules! elements {
    ($($trait:ident $method:ident;)*) => {
        $(impl $trait for &mut Encoder {
            type Ok = ();
            type Error = Problem;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Problem> {
                self.nested(value)
            }

            fn end(self) -> Result<(), Problem> {
                Ok(())
            }
        })*
    };
}

elements! {
    SerializeTuple serialize_element;
    SerializeTupleStruct serialize_field;
    SerializeTupleVariant serialize_field;
}

macro_rules! fields {
    ($($trait:ident;)*) => {
        $(impl $trait for &mut Encoder {
            type Ok = ();
            type Error = Problem;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), Problem> {
                self.trace.named(Step::Field, name, 0)?;
                self.nested(value)
            }

            fn skip_field(&mut self, name: &'static str) -> Result<(), Problem> {
                Err(Problem::SkippedField(name))
            }

            fn end(self) -> Result<(), Problem> {
                Ok(())
            }
        })*
    };
}

fields! {
    SerializeStruct;
    SerializeStructVariant;
}
