//! The `continue` token of a list in chunks: which state the list shows and after which object it goes on. Upstream's
//! form (base64url of a JSON object), so that logs and tools that look inside see what they know.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gantry_machinery::status::Status;
use gantry_store_cache::key::ObjectKey;
use gantry_store_cache::revision::Revision;
use serde::{Deserialize, Serialize};

const VERSION: &str = "meta.k8s.io/v1";

/// Where a list goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ContinueToken {
    /// The state the chunks show; `None` goes on in the latest (an inconsistent list, which the client chose).
    pub(super) revision: Option<Revision>,
    /// The last object of the chunk before.
    pub(super) after: ObjectKey,
    /// How many follow it in that state, where that is known.
    pub(super) left: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    v: String,
    #[serde(default)]
    rv: i64,
    #[serde(default)]
    start: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    left: Option<u64>,
}

impl ContinueToken {
    pub(super) fn encode(&self) -> String {
        let rv = self.revision.map_or(-1, |r| i64::try_from(r.0).unwrap_or(i64::MAX));
        // Like upstream's: the smallest key after the last one shown.
        let start = match self.after.namespace() {
            "" => format!("{}\0", self.after.name()),
            namespace => format!("{namespace}/{}\0", self.after.name()),
        };
        let wire = Wire { v: VERSION.to_owned(), rv, start, left: self.left };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&wire).expect("a struct of texts and numbers always encodes"))
    }

    /// The token of a list over `collection`.
    ///
    /// # Errors
    /// 400 for what is no token of ours.
    pub(super) fn decode(token: &str, collection: &str) -> Result<Self, Status> {
        let invalid =
            |why: &str| Status::bad_request(format!("invalid continue token: continue key is not valid: {why}"));
        let bytes = URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')).map_err(|e| invalid(&e.to_string()))?;
        let wire: Wire = serde_json::from_slice(&bytes).map_err(|e| invalid(&e.to_string()))?;
        if wire.v != VERSION {
            return Err(invalid(&format!("server does not recognize this encoded version {}", wire.v)));
        }
        if wire.rv == 0 {
            return Err(invalid("incorrect encoded start resourceVersion (version meta.k8s.io/v1)"));
        }
        if wire.start.is_empty() {
            return Err(invalid("encoded start key empty (version meta.k8s.io/v1)"));
        }
        let start = wire.start.strip_suffix('\0').unwrap_or(&wire.start);
        let (namespace, name) = start.split_once('/').unwrap_or(("", start));
        if name.contains('/') || [namespace, name].iter().any(|part| matches!(*part, "." | "..")) {
            return Err(invalid(&wire.start));
        }
        Ok(Self {
            revision: u64::try_from(wire.rv).ok().map(Revision),
            after: ObjectKey::new(collection, namespace, name),
            left: wire.left,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_round_trip() {
        for (namespace, name) in [("default", "a.b"), ("", "node-1")] {
            let token = ContinueToken {
                revision: Some(Revision(77)),
                after: ObjectKey::new("x", namespace, name),
                left: Some(3),
            };
            assert_eq!(ContinueToken::decode(&token.encode(), "x").unwrap(), token);
        }
        let latest = ContinueToken { revision: None, after: ObjectKey::new("x", "", "a"), left: None };
        assert_eq!(ContinueToken::decode(&latest.encode(), "x").unwrap(), latest);
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let wire = |json: &str| URL_SAFE_NO_PAD.encode(json);
        for bad in [
            "%%%".to_owned(),
            wire("{"),
            wire(r#"{"v":"v2","rv":1,"start":"a"}"#),
            wire(r#"{"v":"meta.k8s.io/v1","rv":0,"start":"a"}"#),
            wire(r#"{"v":"meta.k8s.io/v1","rv":1,"start":""}"#),
            wire(r#"{"v":"meta.k8s.io/v1","rv":1,"start":"../../secrets/x"}"#),
        ] {
            let status = ContinueToken::decode(&bad, "x").unwrap_err();
            assert_eq!((status.code, status.reason), (400, "BadRequest"), "{bad}");
        }
    }
}
