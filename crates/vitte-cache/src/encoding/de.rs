//! From postcard bytes to a value and the shape that it asked for.

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use super::error::Problem;
use super::trace::{Shape, Step, Trace};

/// Returns the value that is exactly `bytes`, and the shape that it asked for in at most `limit` steps.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8], limit: u64) -> Result<(T, Shape), Problem> {
    let mut decoder = Decoder { rest: bytes, trace: Trace::new(limit) };
    let value = T::deserialize(&mut decoder)?;
    if decoder.rest.is_empty() { Ok((value, decoder.trace.finish())) } else { Err(Problem::Malformed) }
}

struct Decoder<'de> {
    rest: &'de [u8],
    trace: Trace,
}

impl<'de> Decoder<'de> {
    fn take(&mut self, len: u64) -> Result<&'de [u8], Problem> {
        let len = usize::try_from(len).map_err(|_| Problem::Malformed)?;
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Problem::Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Problem::Malformed)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn varint(&mut self) -> Result<u128, Problem> {
        let mut number = 0_u128;
        for shift in (0..u128::BITS).step_by(7) {
            let [byte] = self.array()?;
            let bits = u128::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(Problem::Malformed);
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Problem::Malformed)
    }

    fn number<T: TryFrom<u128>>(&mut self, step: Step) -> Result<T, Problem> {
        self.trace.leaf(step)?;
        T::try_from(self.varint()?).map_err(|_| Problem::Malformed)
    }

    fn signed<T: TryFrom<i128>>(&mut self, step: Step) -> Result<T, Problem> {
        self.trace.leaf(step)?;
        let number = self.varint()?;
        T::try_from((number >> 1) as i128 ^ -((number & 1) as i128)).map_err(|_| Problem::Malformed)
    }

    fn length(&mut self) -> Result<u64, Problem> {
        u64::try_from(self.varint()?).map_err(|_| Problem::Malformed)
    }

    fn with_length(&mut self, step: Step) -> Result<&'de [u8], Problem> {
        self.trace.leaf(step)?;
        let len = self.length()?;
        self.take(len)
    }

    fn text(&mut self, step: Step) -> Result<&'de str, Problem> {
        std::str::from_utf8(self.with_length(step)?).map_err(|_| Problem::Malformed)
    }

    fn nested<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Problem> {
        self.trace.enter()?;
        let value = seed.deserialize(&mut *self)?;
        self.trace.leave();
        Ok(value)
    }

    /// Visits one value inside of this one, such as that of a newtype.
    fn inside<T>(&mut self, visit: impl FnOnce(&mut Self) -> Result<T, Problem>) -> Result<T, Problem> {
        self.trace.enter()?;
        let value = visit(self)?;
        self.trace.leave();
        Ok(value)
    }
}

/// The elements of a list, a map or a tuple.
struct Elements<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    left: u64,
}

impl<'a, 'de> Elements<'a, 'de> {
    /// A caller may allocate by this: every element is at least one step, and there are no more steps than were stored.
    fn hint(&self) -> Option<usize> {
        usize::try_from(self.left.min(self.decoder.trace.left())).ok()
    }

    fn visit_list<T>(
        decoder: &'a mut Decoder<'de>,
        step: Step,
        visit: impl FnOnce(&mut Elements<'_, 'de>) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        decoder.trace.leaf(step)?;
        let count = decoder.length()?;
        let mut elements = Elements { decoder, left: count };
        let value = visit(&mut elements)?;
        elements.decoder.trace.named(Step::End, "", count - elements.left)?;
        Ok(value)
    }
}

impl<'de> SeqAccess<'de> for &mut Elements<'_, 'de> {
    type Error = Problem;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Problem> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        self.decoder.nested(seed).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        self.hint()
    }
}

impl<'de> MapAccess<'de> for &mut Elements<'_, 'de> {
    type Error = Problem;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Problem> {
        self.next_element_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Problem> {
        self.decoder.nested(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.hint()
    }
}

/// The fields of a struct.
struct Fields<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    names: std::slice::Iter<'static, &'static str>,
}

impl<'de> SeqAccess<'de> for Fields<'_, 'de> {
    type Error = Problem;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Problem> {
        let Some(name) = self.names.next() else { return Ok(None) };
        self.decoder.trace.named(Step::Field, name, 0)?;
        self.decoder.nested(seed).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.names.len())
    }
}

/// One variant of an enum.
struct Variant<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    name: &'static str,
    taken: (u32, &'static str),
}

impl<'de> EnumAccess<'de> for Variant<'_, 'de> {
    type Error = Problem;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Problem> {
        // By its name, not its number: with `#[serde(alias)]` the list of names has more of them than there are variants,
        // and the number in the list is not the number of the variant.
        let name: StrDeserializer<'static, Problem> = self.taken.1.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl Variant<'_, '_> {
    fn take(&mut self, step: Step, count: usize) -> Result<(), Problem> {
        self.decoder.trace.variant(step, self.name, self.taken, count as u64)
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, 'de> {
    type Error = Problem;

    fn unit_variant(mut self) -> Result<(), Problem> {
        self.take(Step::UnitVariant, 0)
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(mut self, seed: S) -> Result<S::Value, Problem> {
        self.take(Step::NewtypeVariant, 1)?;
        self.decoder.nested(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(mut self, len: usize, visitor: V) -> Result<V::Value, Problem> {
        self.take(Step::TupleVariant, len)?;
        visitor.visit_seq(&mut Elements { decoder: self.decoder, left: len as u64 })
    }

    fn struct_variant<V: Visitor<'de>>(
        mut self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.take(Step::StructVariant, fields.len())?;
        visitor.visit_seq(Fields { decoder: self.decoder, names: fields.iter() })
    }
}

macro_rules! leaves {
    ($($method:ident: $read:ident $step:ident => $visit:ident;)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
            visitor.$visit(self.$read(Step::$step)?)
        })*
    };
}

macro_rules! refused {
    ($($method:ident;)*) => {
        $(fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Problem> {
            Err(Problem::AsksWhatIsNext(stringify!($method)))
        })*
    };
}

impl<'de> Deserializer<'de> for &mut Decoder<'de> {
    type Error = Problem;

    leaves! {
        deserialize_i16: signed I16 => visit_i16;
        deserialize_i32: signed I32 => visit_i32;
        deserialize_i64: signed I64 => visit_i64;
        deserialize_i128: signed I128 => visit_i128;
        deserialize_u16: number U16 => visit_u16;
        deserialize_u32: number U32 => visit_u32;
        deserialize_u64: number U64 => visit_u64;
        deserialize_u128: number U128 => visit_u128;
        deserialize_str: text Str => visit_borrowed_str;
        deserialize_string: text Str => visit_borrowed_str;
        deserialize_bytes: with_length Bytes => visit_borrowed_bytes;
        deserialize_byte_buf: with_length Bytes => visit_borrowed_bytes;
    }

    refused! {
        deserialize_any;
        deserialize_identifier;
        deserialize_ignored_any;
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.trace.leaf(Step::Bool)?;
        match self.array()? {
            [0] => visitor.visit_bool(false),
            [1] => visitor.visit_bool(true),
            [_] => Err(Problem::Malformed),
        }
    }

    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.trace.leaf(Step::I8)?;
        visitor.visit_i8(i8::from_le_bytes(self.array()?))
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.trace.leaf(Step::U8)?;
        visitor.visit_u8(u8::from_le_bytes(self.array()?))
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.trace.leaf(Step::F32)?;
        visitor.visit_f32(f32::from_le_bytes(self.array()?))
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.trace.leaf(Step::F64)?;
        visitor.visit_f64(f64::from_le_bytes(self.array()?))
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        let mut chars = self.text(Step::Char)?.chars();
        match (chars.next(), chars.next()) {
            (Some(only), None) => visitor.visit_char(only),
            _ => Err(Problem::Malformed),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.array()? {
            [0] => {
                self.trace.leaf(Step::None)?;
                visitor.visit_none()
            }
            [1] => {
                self.trace.leaf(Step::Some)?;
                self.inside(|decoder| visitor.visit_some(decoder))
            }
            [_] => Err(Problem::Malformed),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.trace.leaf(Step::Unit)?;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.trace.named(Step::UnitStruct, name, 0)?;
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.trace.named(Step::NewtypeStruct, name, 1)?;
        self.inside(|decoder| visitor.visit_newtype_struct(decoder))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        Elements::visit_list(self, Step::Seq, |elements| visitor.visit_seq(elements))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Problem> {
        self.trace.named(Step::Tuple, "", len as u64)?;
        visitor.visit_seq(&mut Elements { decoder: self, left: len as u64 })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.trace.named(Step::TupleStruct, name, len as u64)?;
        visitor.visit_seq(&mut Elements { decoder: self, left: len as u64 })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        Elements::visit_list(self, Step::Map, |elements| visitor.visit_map(elements))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.trace.named(Step::Struct, name, fields.len() as u64)?;
        visitor.visit_seq(Fields { decoder: self, names: fields.iter() })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        let index = u32::try_from(self.varint()?).map_err(|_| Problem::Malformed)?;
        let variant = variants.get(index as usize).ok_or(Problem::Malformed)?;
        visitor.visit_enum(Variant { decoder: self, name, taken: (index, variant) })
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}
