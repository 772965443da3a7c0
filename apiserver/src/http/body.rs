//! Reading a request's body, within bounds: at most 3 MiB, and not slower than the request's own time limit.

use bytes::{Bytes, BytesMut};
use gantry_machinery::status::Status;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::Body;
use http_body_util::BodyExt;

/// The largest body, as upstream has it.
pub const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// How much of a body that is too large is taken in and thrown away, at most.
const DISCARDED_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The whole body.
///
/// # Errors
/// 413 as soon as it is known to be too large, 400 when the client breaks off.
pub async fn read<B>(headers: &HeaderMap, mut body: B) -> Result<Bytes, Status>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let too_large = Status::request_entity_too_large(format!("limit is {BODY_BYTES_MAX}"));
    let said: Option<usize> = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    if said.is_some_and(|length| length > BODY_BYTES_MAX) {
        discard(&mut body, DISCARDED_BYTES_MAX).await;
        return Err(too_large);
    }
    let mut whole = Bytes::new();
    let mut gathered = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| Status::bad_request(format!("the request's body could not be read: {e}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + gathered.len() + data.len() > BODY_BYTES_MAX {
            discard(&mut body, DISCARDED_BYTES_MAX).await;
            return Err(too_large);
        }
        // Most bodies come in one piece, which is then kept as it is.
        if whole.is_empty() && gathered.is_empty() {
            whole = data;
            continue;
        }
        if gathered.is_empty() {
            gathered.reserve(said.unwrap_or(2 * (whole.len() + data.len())));
            gathered.extend_from_slice(&std::mem::take(&mut whole));
        }
        gathered.extend_from_slice(&data);
    }
    Ok(if gathered.is_empty() { whole } else { gathered.freeze() })
}

/// Takes in what is left of the body of a refused request, without keeping it, up to `left` bytes: an HTTP/2 stream
/// whose request is dropped unread is reset, and the client would see the reset instead of the refusal.
pub(super) async fn discard<B: Body<Data = Bytes> + Unpin>(body: &mut B, mut left: usize) {
    while let Some(Ok(frame)) = body.frame().await {
        match frame.data_ref().map_or(Some(left), |data| left.checked_sub(data.len())) {
            Some(less) => left = less,
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;

    async fn read_frames(sizes: &[usize]) -> Result<Bytes, Status> {
        let frames: Vec<Result<Frame<Bytes>, std::io::Error>> =
            sizes.iter().map(|s| Ok(Frame::data(Bytes::from(vec![b'x'; *s])))).collect();
        read(&HeaderMap::new(), StreamBody::new(stream::iter(frames))).await
    }

    #[tokio::test]
    async fn bodies_are_gathered_up_to_the_limit() {
        assert_eq!(read_frames(&[3]).await.unwrap().len(), 3);
        assert_eq!(read_frames(&[1, 2, 4]).await.unwrap().len(), 7);
        assert_eq!(read_frames(&[]).await.unwrap().len(), 0);
        let refused = read_frames(&[BODY_BYTES_MAX, 1]).await.unwrap_err();
        assert_eq!((refused.code, refused.message.as_str()), (413, "Request entity too large: limit is 3145728"));
        let headers = HeaderMap::from_iter([(CONTENT_LENGTH, "3145729".parse().unwrap())]);
        assert_eq!(read(&headers, http_body_util::Empty::<Bytes>::new()).await.unwrap_err().code, 413);
    }
}
