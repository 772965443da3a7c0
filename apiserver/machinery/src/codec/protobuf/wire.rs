//! The primitives of the protobuf wire: varints, tags and length-delimited parts.

/// How a field's payload is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Payload<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2.
    Bytes(&'a [u8]),
    /// Wire type 5.
    Fixed32(u32),
}

/// Why bytes are no protobuf, in the words of Go's generated decoders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum WireError {
    /// They end within a field.
    #[error("unexpected EOF")]
    End,
    /// A number has too many bytes.
    #[error("proto: integer overflow")]
    Overflow,
    /// Groups, or no type at all.
    #[error("proto: illegal wireType {0}")]
    WireType(u8),
    /// Fields count from one.
    #[error("proto: illegal tag {0} (wire type {1})")]
    Tag(u32, u8),
}

/// The fields of one message, in the order they stand.
pub(super) struct Fields<'a> {
    bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    fn varint(&mut self) -> Result<u64, WireError> {
        let mut number = 0;
        for (place, byte) in self.bytes.iter().enumerate() {
            if place == 10 {
                return Err(WireError::Overflow);
            }
            number |= u64::from(byte & 0x7f) << (7 * place).min(63);
            if byte & 0x80 == 0 {
                self.bytes = &self.bytes[place + 1..];
                return Ok(number);
            }
        }
        Err(if self.bytes.len() >= 10 { WireError::Overflow } else { WireError::End })
    }

    fn take(&mut self, count: u64) -> Result<&'a [u8], WireError> {
        let count = usize::try_from(count).map_err(|_| WireError::End)?;
        let (part, rest) = self.bytes.split_at_checked(count).ok_or(WireError::End)?;
        self.bytes = rest;
        Ok(part)
    }

    fn field(&mut self) -> Result<(u32, Payload<'a>), WireError> {
        let tag = self.varint()?;
        let kind = (tag & 7) as u8;
        let number = u32::try_from(tag >> 3).map_err(|_| WireError::Overflow)?;
        if number == 0 {
            return Err(WireError::Tag(number, kind));
        }
        let payload = match kind {
            0 => Payload::Varint(self.varint()?),
            1 => Payload::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().expect("eight bytes were taken"))),
            2 => {
                let length = self.varint()?;
                Payload::Bytes(self.take(length)?)
            }
            5 => Payload::Fixed32(u32::from_le_bytes(self.take(4)?.try_into().expect("four bytes were taken"))),
            other => return Err(WireError::WireType(other)),
        };
        Ok((number, payload))
    }

    /// The numbers of a packed list: varints without tags.
    pub(super) fn packed(bytes: &'a [u8]) -> impl Iterator<Item = Result<u64, WireError>> {
        let mut rest = Self { bytes };
        std::iter::from_fn(move || if rest.bytes.is_empty() { None } else { Some(rest.varint()) }).fuse()
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Payload<'a>), WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.bytes.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.bytes = &[];
        }
        Some(field)
    }
}

/// Appends a varint.
pub(super) fn push_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends a field's tag.
pub(super) fn push_tag(number: u32, wire_type: u8, out: &mut Vec<u8>) {
    push_varint(u64::from(number) << 3 | u64::from(wire_type), out);
}

/// Appends a field that holds bytes.
pub(super) fn push_bytes(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    push_tag(number, 2, out);
    push_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Appends a field whose bytes `fill` writes. Most are short: one byte is kept for the length, and the rest moves up
/// when it needs more.
pub(super) fn push_delimited<E>(
    number: u32,
    out: &mut Vec<u8>,
    fill: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    push_tag(number, 2, out);
    let at = out.len();
    out.push(0);
    fill(out)?;
    let length = out.len() - at - 1;
    if let Ok(short @ 0..0x80) = u8::try_from(length) {
        out[at] = short;
        return Ok(());
    }
    let mut prefix = Vec::with_capacity(5);
    push_varint(length as u64, &mut prefix);
    out.splice(at..=at, prefix);
    Ok(())
}
