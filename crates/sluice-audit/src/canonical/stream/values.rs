//! How each kind of value is written: what a serializer is asked for.

use std::fmt::{self, Write};
use std::ops::Range;

use serde::ser::{self, Serialize};
use serde_json::Error;

use super::{Frame, Object};
use crate::canonical::{write_escaped, write_string};

/// Writes one value.
pub(super) struct Values<'a> {
    pub(super) to: &'a mut Object,
    /// An object's members go into the object that is open, without brackets.
    pub(super) flat: bool,
}

impl<'a> Values<'a> {
    fn object(self, name: &'static str) -> Compound<'a> {
        let is_number = name == NUMBER;
        let frame = if self.flat && !is_number {
            self.to.flattened = true;
            None
        } else {
            Some(self.to.open(b'{'))
        };
        Compound { to: self.to, frame, bracket: b'}', variant: None, member: None, is_number }
    }

    fn array(self) -> Compound<'a> {
        let frame = Some(self.to.open(b'['));
        Compound { to: self.to, frame, bracket: b']', variant: None, member: None, is_number: false }
    }

    /// `{"variant":…`
    fn variant(self, variant: &'static str) -> (Self, Variant) {
        let outer = self.object("");
        let (to, frame) = (outer.to, outer.frame);
        let member = to.name(variant);
        (Values { to, flat: false }, Variant { frame, member })
    }

    fn plain(self, value: impl fmt::Display) -> Result<(), Error> {
        write!(Plain(&mut self.to.out), "{value}").map_err(ser::Error::custom)
    }
}

struct Variant {
    frame: Option<Frame>,
    member: (usize, Range<usize>),
}

impl Variant {
    fn end(self, to: &mut Object) {
        to.member_ends(self.member);
        if let Some(frame) = self.frame {
            to.close(frame, b'}');
        }
    }
}

/// What is written needs no escapes.
struct Plain<'a>(&'a mut Vec<u8>);

impl Write for Plain<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// What is written stands in quotes.
struct Quoted<'a>(&'a mut Vec<u8>);

impl Write for Quoted<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write_escaped(text, self.0);
        Ok(())
    }
}

/// How `serde_json` names numbers of any precision, where a build has them.
pub(super) const NUMBER: &str = "$serde_json::private::Number";

impl<'a> ser::Serializer for Values<'a> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Compound<'a>;
    type SerializeTuple = Compound<'a>;
    type SerializeTupleStruct = Compound<'a>;
    type SerializeTupleVariant = Compound<'a>;
    type SerializeMap = Compound<'a>;
    type SerializeStruct = Compound<'a>;
    type SerializeStructVariant = Compound<'a>;

    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        self.plain(value)
    }

    fn serialize_i8(self, value: i8) -> Result<(), Error> {
        self.plain(value)
    }

    fn serialize_i16(self, value: i16) -> Result<(), Error> {
        self.plain(value)
    }

    fn serialize_i32(self, value: i32) -> Result<(), Error> {
        self.plain(value)
    }

    fn serialize_i64(self, value: i64) -> Result<(), Error> {
        self.plain(value)
    }

    fn serialize_i128(self, value: i128) -> Result<(), Error> {
        match (u64::try_from(value), i64::try_from(value)) {
            (Err(_), Err(_)) => Err(ser::Error::custom("number out of range")),
            _ => self.plain(value),
        }
    }

    fn serialize_u8(self, value: u8) -> Result<(), Error> {
        self.plain(value)
    }

    fn serialize_u16(self, value: u16) -> Result<(), Error> {
        self.plain(value)
    }

    fn serialize_u32(self, value: u32) -> Result<(), Error> {
        self.plain(value)
    }

    fn serialize_u64(self, value: u64) -> Result<(), Error> {
        self.plain(value)
    }

    fn serialize_u128(self, value: u128) -> Result<(), Error> {
        match u64::try_from(value) {
            Err(_) => Err(ser::Error::custom("number out of range")),
            Ok(value) => self.plain(value),
        }
    }

    fn serialize_f32(self, value: f32) -> Result<(), Error> {
        self.plain(serde_json::Value::from(value))
    }

    fn serialize_f64(self, value: f64) -> Result<(), Error> {
        self.plain(serde_json::Value::from(value))
    }

    fn serialize_char(self, value: char) -> Result<(), Error> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), Error> {
        write_string(value, &mut self.to.out);
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Error> {
        self.collect_seq(value)
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.plain("null")
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.serialize_none()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.serialize_none()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Error> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        let (inner, variant) = self.variant(variant);
        value.serialize(Values { to: inner.to, flat: false })?;
        variant.end(inner.to);
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Compound<'a>, Error> {
        Ok(self.array())
    }

    fn serialize_tuple(self, _: usize) -> Result<Compound<'a>, Error> {
        Ok(self.array())
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Compound<'a>, Error> {
        Ok(self.array())
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Compound<'a>, Error> {
        let (inner, variant) = self.variant(variant);
        Ok(Compound { variant: Some(variant), ..inner.array() })
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Compound<'a>, Error> {
        Ok(self.object(""))
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Compound<'a>, Error> {
        Ok(self.object(name))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Compound<'a>, Error> {
        let (inner, variant) = self.variant(variant);
        Ok(Compound { variant: Some(variant), ..inner.object("") })
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<(), Error> {
        self.to.out.push(b'"');
        write!(Quoted(&mut self.to.out), "{value}").map_err(ser::Error::custom)?;
        self.to.out.push(b'"');
        Ok(())
    }
}

/// An object or array on its way.
pub(super) struct Compound<'a> {
    to: &'a mut Object,
    /// `None`: its members are those of the object around it.
    frame: Option<Frame>,
    bracket: u8,
    /// What it is the value of.
    variant: Option<Variant>,
    /// The member whose name is written.
    member: Option<(usize, Range<usize>)>,
    is_number: bool,
}

impl Compound<'_> {
    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.to.comma();
        value.serialize(Values { to: self.to, flat: false })
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), Error> {
        let member = self.to.name(name);
        value.serialize(Values { to: self.to, flat: false })?;
        self.to.member_ends(member);
        Ok(())
    }

    fn ends(self) -> Result<(), Error> {
        match self.frame {
            // `{"…Number":"123` becomes `123`.
            Some(frame) if self.is_number => {
                self.to.depth -= 1;
                self.to.members.truncate(frame.base);
                self.to.out.pop();
                self.to.out.drain(frame.start..(frame.start + NUMBER.len() + 5).min(self.to.out.len()));
            }
            Some(frame) => self.to.close(frame, self.bracket),
            None => {}
        }
        if let Some(variant) = self.variant {
            variant.end(self.to);
        }
        Ok(())
    }
}

impl ser::SerializeSeq for Compound<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.item(value)
    }

    fn end(self) -> Result<(), Error> {
        self.ends()
    }
}

impl ser::SerializeTuple for Compound<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.item(value)
    }

    fn end(self) -> Result<(), Error> {
        self.ends()
    }
}

impl ser::SerializeTupleStruct for Compound<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.item(value)
    }

    fn end(self) -> Result<(), Error> {
        self.ends()
    }
}

impl ser::SerializeTupleVariant for Compound<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.item(value)
    }

    fn end(self) -> Result<(), Error> {
        self.ends()
    }
}

impl ser::SerializeMap for Compound<'_> {
    type Ok = ();
    type Error = Error;

    /// A text, or a number or boolean as text.
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.to.comma();
        let start = self.to.out.len();
        key.serialize(Values { to: self.to, flat: false })?;
        match self.to.out.get(start) {
            Some(b'"') => {}
            Some(b'[' | b'{' | b'n') | None => return Err(ser::Error::custom("key must be a string")),
            Some(_) => {
                self.to.out.insert(start, b'"');
                self.to.out.push(b'"');
            }
        }
        self.member = Some(self.to.named(start));
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(Values { to: self.to, flat: false })?;
        if let Some(member) = self.member.take() {
            self.to.member_ends(member);
        }
        Ok(())
    }

    fn end(self) -> Result<(), Error> {
        self.ends()
    }
}

impl ser::SerializeStruct for Compound<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
        self.field(name, value)
    }

    fn end(self) -> Result<(), Error> {
        self.ends()
    }
}

impl ser::SerializeStructVariant for Compound<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
        self.field(name, value)
    }

    fn end(self) -> Result<(), Error> {
        self.ends()
    }
}
