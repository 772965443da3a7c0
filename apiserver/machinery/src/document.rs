//! Documents about the API, ready to serve: discovery and OpenAPI, with their ETags.
//!
//! Long ones are kept as gzip and nothing else: that is what clients take (client-go, kubectl and browsers ask for it),
//! it is a tenth of the text, and whoever wants the text has it unpacked while it is sent.

use std::io::{Read, Write};

use base64::Engine;
use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

/// Longer documents are kept packed: from here on upstream compresses answers.
const PLAIN_MAX_BYTES: usize = 128 * 1024;
/// Unpacked in pieces of this size.
const PIECE_BYTES: usize = 64 * 1024;

/// A document ready to serve.
#[derive(Clone, Debug)]
pub struct Document {
    body: Body,
    /// Its content type.
    pub content_type: &'static str,
    /// Its strong ETag, quotes included: of the text, however it is sent.
    pub etag: String,
}

/// A document's body as it is kept.
#[derive(Clone, Debug)]
pub enum Body {
    /// The text.
    Plain(Bytes),
    /// The text as gzip.
    Packed(Bytes),
}

impl Document {
    /// The document with this text.
    #[must_use]
    pub fn new(text: Vec<u8>, content_type: &'static str) -> Self {
        let etag = etag(&text);
        let body = if text.len() > PLAIN_MAX_BYTES {
            let mut packer = GzEncoder::new(Vec::with_capacity(text.len() / 8), Compression::fast());
            let packed = packer.write_all(&text).and_then(|()| packer.finish());
            Body::Packed(exact(packed.expect("writing to memory does not fail")))
        } else {
            Body::Plain(exact(text))
        };
        Self { body, content_type, etag }
    }

    /// The body as it is kept.
    #[must_use]
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// The text, in pieces.
    pub fn pieces(&self) -> Box<dyn Iterator<Item = Bytes> + Send> {
        match &self.body {
            Body::Plain(text) => Box::new(std::iter::once(text.clone())),
            Body::Packed(packed) => {
                let mut text = GzDecoder::new(std::io::Cursor::new(packed.clone()));
                Box::new(std::iter::from_fn(move || {
                    let mut piece = Vec::with_capacity(PIECE_BYTES);
                    text.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut piece).expect("we packed it ourselves");
                    (!piece.is_empty()).then(|| piece.into())
                }))
            }
        }
    }
}

/// Without the room that the bytes had to grow in.
fn exact(bytes: Vec<u8>) -> Bytes {
    Bytes::from(bytes.into_boxed_slice())
}

/// A strong ETag of these bytes, quotes included.
#[must_use]
pub fn etag(body: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, body);
    format!("\"{}\"", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_documents_are_kept_packed_and_come_back_whole() {
        for (lines, packed) in [(10, false), (40_000, true)] {
            let text: Vec<u8> = (0..lines).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
            let document = Document::new(text.clone(), "text/plain");
            assert_eq!(document.etag, etag(&text));
            match document.body() {
                Body::Packed(bytes) => assert!(packed && bytes.len() < text.len() / 2),
                Body::Plain(bytes) => assert!(!packed && *bytes == text),
            }
            let pieces: Vec<Bytes> = document.pieces().collect();
            assert!(pieces.iter().all(|piece| piece.len() <= PIECE_BYTES));
            assert_eq!(pieces.concat(), text);
        }
    }
}
