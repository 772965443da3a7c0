//! gzip for large answers, while they are sent.
//!
//! Upstream compresses answers above 128 KiB for clients that accept gzip, at the fastest level; client-go asks for it.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http::HeaderMap;
use http::header::ACCEPT_ENCODING;

use super::payload::Rope;

/// Answers up to this size are sent as they are.
pub const PLAIN_MAX_BYTES: usize = 128 * 1024;

/// Whether the client takes gzip.
#[must_use]
pub fn accepts_gzip(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT_ENCODING).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).any(|item| {
        let (coding, parameters) = item.split_once(';').unwrap_or((item, ""));
        let refused = parameters.trim().strip_prefix("q=").is_some_and(|q| q.trim().parse() == Ok(0.0_f32));
        coding.trim().eq_ignore_ascii_case("gzip") && !refused
    })
}

/// Compresses a stream of ropes; every rope in gives at most one out.
pub fn gzip(ropes: BoxStream<'static, Rope>) -> impl futures_util::Stream<Item = Rope> + Send + 'static {
    let encoder = GzEncoder::new(Vec::new(), Compression::fast());
    stream::unfold(Some((ropes, encoder)), |state| async move {
        let (mut ropes, mut encoder) = state?;
        loop {
            let Some(rope) = ropes.next().await else {
                let end = encoder.finish().expect("writing to memory does not fail");
                return Some((Rope::from(bytes::Bytes::from(end)), None));
            };
            for piece in rope.pieces() {
                encoder.write_all(piece).expect("writing to memory does not fail");
            }
            let made = std::mem::take(encoder.get_mut());
            if !made.is_empty() {
                return Some((Rope::from(bytes::Bytes::from(made)), Some((ropes, encoder))));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[tokio::test]
    async fn what_is_compressed_comes_back() {
        let pieces: Vec<Rope> =
            (0..50).map(|i| Rope::from(bytes::Bytes::from(format!("item {i} ").repeat(500)))).collect();
        let plain: Vec<u8> = pieces.iter().flat_map(|r| r.pieces().flat_map(|p| p.to_vec())).collect();
        let ropes: Vec<Rope> = gzip(stream::iter(pieces).boxed()).collect().await;
        let packed: Vec<u8> = ropes.iter().flat_map(|r| r.pieces().flat_map(|p| p.to_vec())).collect();
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut back).unwrap();
        assert!(packed.len() < plain.len() / 5);
        assert_eq!(back, plain);
    }

    #[test]
    fn quality_zero_refuses() {
        let headers = |v: &str| HeaderMap::from_iter([(ACCEPT_ENCODING, v.parse().unwrap())]);
        assert!(accepts_gzip(&headers("deflate, gzip;q=0.5")));
        assert!(!accepts_gzip(&headers("gzip;q=0, br")));
        assert!(!accepts_gzip(&headers("identity")));
    }
}
