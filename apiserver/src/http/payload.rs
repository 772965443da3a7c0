//! Answer bodies: ropes of shared bytes, so that stored objects travel from the cache to TLS without being copied.
//!
//! Made by [`super::answer`] and [`super::watch_stream`], consumed by hyper. A [`Rope`] is one frame: hyper writes its
//! pieces with one vectored call. A streamed body produces the next rope only when hyper has taken the one before, so a
//! slow client holds at most one frame and the cursor behind it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use futures_util::stream::{BoxStream, Stream, StreamExt};
use http_body::{Body, Frame, SizeHint};

/// Pieces of shared bytes, in order.
#[derive(Clone, Debug, Default)]
pub struct Rope {
    pieces: VecDeque<Bytes>,
    remaining: usize,
}

impl Rope {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Room for this many pieces.
    #[must_use]
    pub fn with_capacity(pieces: usize) -> Self {
        Self { pieces: VecDeque::with_capacity(pieces), remaining: 0 }
    }

    /// Appends shared bytes.
    pub fn push(&mut self, piece: impl Into<Bytes>) {
        let piece = piece.into();
        if !piece.is_empty() {
            self.remaining += piece.len();
            self.pieces.push_back(piece);
        }
    }

    /// How many bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.remaining
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remaining == 0
    }

    /// The bytes in one piece, copied.
    #[must_use]
    pub fn gather(&self) -> Vec<u8> {
        let mut whole = Vec::with_capacity(self.remaining);
        self.pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
        whole
    }

    /// Appends another rope.
    pub fn append(&mut self, other: Self) {
        self.remaining += other.remaining;
        self.pieces.extend(other.pieces);
    }

    /// The pieces in order.
    pub fn pieces(&self) -> impl Iterator<Item = &Bytes> {
        self.pieces.iter()
    }
}

impl From<Bytes> for Rope {
    fn from(bytes: Bytes) -> Self {
        let mut rope = Self::with_capacity(1);
        rope.push(bytes);
        rope
    }
}

impl Buf for Rope {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.remaining, "cannot advance past the end of a rope");
        self.remaining -= count;
        while count > 0 {
            let Some(front) = self.pieces.front_mut() else { return };
            if front.len() > count {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.pieces.pop_front();
        }
    }
}

/// The body of an answer.
pub struct Payload(Kind);

impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Kind::Whole(rope) => write!(f, "Payload({} bytes)", rope.as_ref().map_or(0, Rope::len)),
            Kind::Stream(_) => f.write_str("Payload(stream)"),
        }
    }
}

enum Kind {
    Whole(Option<Rope>),
    Stream(BoxStream<'static, Frame<Rope>>),
}

impl Payload {
    /// No body.
    #[must_use]
    pub fn empty() -> Self {
        Self(Kind::Whole(None))
    }

    /// A body whose length is known.
    #[must_use]
    pub fn whole(rope: impl Into<Rope>) -> Self {
        let rope = rope.into();
        Self(Kind::Whole((!rope.is_empty()).then_some(rope)))
    }

    /// A body that is made while it is sent.
    #[must_use]
    pub fn stream(stream: impl Stream<Item = Rope> + Send + 'static) -> Self {
        Self::frames(stream.map(Frame::data))
    }

    /// A body that is made while it is sent, and may end in trailers.
    #[must_use]
    pub fn frames(stream: impl Stream<Item = Frame<Rope>> + Send + 'static) -> Self {
        Self(Kind::Stream(Box::pin(stream)))
    }
}

impl Body for Payload {
    type Data = Rope;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Rope>, Infallible>>> {
        match &mut self.0 {
            Kind::Whole(rope) => Poll::Ready(rope.take().map(|rope| Ok(Frame::data(rope)))),
            Kind::Stream(stream) => stream.as_mut().poll_next(context).map(|frame| frame.map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Kind::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(rope) => SizeHint::with_exact(rope.as_ref().map_or(0, Rope::len) as u64),
            Kind::Stream(_) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rope_is_read_across_its_pieces() {
        let mut rope = Rope::new();
        for piece in ["ab", "", "cde", "f"] {
            rope.push(Bytes::from_static(piece.as_bytes()));
        }
        assert_eq!(rope.remaining(), 6);
        let mut slices = [IoSlice::new(&[]); 2];
        assert_eq!(rope.chunks_vectored(&mut slices), 2);
        assert_eq!(&*slices[1], b"cde");
        rope.advance(3);
        assert_eq!((rope.remaining(), rope.chunk()), (3, &b"de"[..]));
        rope.advance(3);
        assert!(!rope.has_remaining() && rope.chunk().is_empty());
    }
}
