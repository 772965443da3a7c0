//! Authentication: who sends this request.
//!
//! Called for every request after routing. Tried in upstream's order: a trusted front proxy's headers, the connection's
//! client certificate, a bearer token (static file, then ServiceAccount). A credential that is there but wrong is 401
//! even where anonymous requests are allowed; only a request without any credential is `system:anonymous`.

use std::collections::HashMap;
use std::sync::Arc;

use gantry_machinery::codec::json::pick;
use gantry_machinery::time;
use gantry_store_cache::key::ObjectKey;
use gantry_store_cache::object::StoredObject;
use gantry_store_cache::store::Store;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::certificate::PeerCertificate;
use super::token::{Claims, ObjectClaim, TokenKeys};
use crate::registry::request::UserInfo;

/// In this group is everybody who proved who they are.
pub const AUTHENTICATED: &str = "system:authenticated";
/// In this group is everybody who did not.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// How long a deleted pod's token still serves, so that it can end in order (upstream's 60 s).
const DELETED_LEEWAY_SECONDS: i64 = 60;

/// Where the authenticator looks up what a token is bound to.
pub trait Lookup: Send + Sync + 'static {
    /// The latest version of an object.
    fn find(&self, key: &ObjectKey) -> Option<Arc<StoredObject>>;
}

impl Lookup for Store {
    fn find(&self, key: &ObjectKey) -> Option<Arc<StoredObject>> {
        self.get(key)
    }
}

/// Somebody sent a credential that proves nothing, or none where one is needed: 401. Carries the reason for the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unauthenticated(pub String);

/// Tells users apart.
pub struct Authenticator {
    /// Common names a front proxy may have; empty for any that its authority signed.
    pub front_proxy_names: Vec<String>,
    /// Tokens from `--token-auth-file`.
    pub static_tokens: HashMap<String, UserInfo>,
    /// ServiceAccount tokens.
    pub tokens: Arc<TokenKeys>,
    /// Where accounts and bound objects are looked up.
    pub lookup: Arc<dyn Lookup>,
    /// Whether requests without credentials are let in as `system:anonymous`.
    pub anonymous: bool,
}

impl Authenticator {
    /// Who sends a request with these headers over a connection with this certificate. `now`: Unix seconds.
    ///
    /// # Errors
    /// [`Unauthenticated`]: answer 401.
    pub fn authenticate(
        &self,
        peer: &PeerCertificate,
        headers: &HeaderMap,
        now: i64,
    ) -> Result<UserInfo, Unauthenticated> {
        if let Some(proxy) = peer.front_proxy(now)
            && (self.front_proxy_names.is_empty() || self.front_proxy_names.iter().any(|n| n == proxy))
            && let Some(user) = from_proxy(headers)
        {
            return Ok(user);
        }
        if let Some(user) = peer.user(now) {
            return Ok(user.clone());
        }
        if let Some(token) = bearer(headers) {
            return self.token(token, &[], now).map(|(user, _)| user);
        }
        match peer {
            PeerCertificate::None if self.anonymous => Ok(UserInfo::new("system:anonymous", &[UNAUTHENTICATED])),
            PeerCertificate::None => Err(Unauthenticated("no credential was sent".to_owned())),
            other => Err(Unauthenticated(other.refusal())),
        }
    }

    /// Whose token this is and which of the audiences (none: this server's) it serves. Also what TokenReview asks.
    ///
    /// # Errors
    /// [`Unauthenticated`].
    pub fn token(
        &self,
        token: &str,
        audiences: &[String],
        now: i64,
    ) -> Result<(UserInfo, Vec<String>), Unauthenticated> {
        if let Some(user) = self.static_tokens.get(token) {
            return Ok((user.clone(), Vec::new()));
        }
        let refused = |e: super::token::TokenError| Unauthenticated(e.to_string());
        let claims = self.tokens.verify(token, now).map_err(refused)?;
        let audiences = self.tokens.audience(&claims, audiences).map_err(refused)?;
        self.still_bound(&claims, now)?;
        Ok((account(&claims), audiences))
    }

    /// A token dies with its account and with what it is bound to.
    fn still_bound(&self, claims: &Claims, now: i64) -> Result<(), Unauthenticated> {
        let bound = &claims.kubernetes;
        let namespace = &bound.namespace;
        if bound.serviceaccount.name.is_empty()
            || claims.sub != format!("system:serviceaccount:{namespace}:{}", bound.serviceaccount.name)
        {
            return Err(Unauthenticated("the token's subject is no ServiceAccount".to_owned()));
        }
        self.lives("serviceaccounts", namespace, &bound.serviceaccount, now)?;
        if let Some(pod) = &bound.pod {
            self.lives("pods", namespace, pod, now)?;
        } else if let Some(node) = &bound.node {
            self.lives("nodes", "", node, now)?;
        }
        if let Some(secret) = &bound.secret {
            self.lives("secrets", namespace, secret, now)?;
        }
        Ok(())
    }

    fn lives(&self, collection: &str, namespace: &str, claim: &ObjectClaim, now: i64) -> Result<(), Unauthenticated> {
        let gone = || Unauthenticated(format!("the token's {collection} {namespace}/{} is gone", claim.name));
        let found = self.lookup.find(&ObjectKey::new(collection, namespace, &claim.name)).ok_or_else(gone)?;
        let [uid, deleted] = pick(&found.body, [&["metadata", "uid"], &["metadata", "deletionTimestamp"]]);
        let deleted_at = deleted.and_then(|d| time::parse(&d.as_str()?));
        let ended = deleted_at.is_some_and(|at| at + DELETED_LEEWAY_SECONDS < now);
        if uid.and_then(|u| u.as_str()).as_deref() != Some(claim.uid.as_str()) || ended {
            return Err(gone());
        }
        Ok(())
    }
}

/// The user that an account's token stands for.
fn account(claims: &Claims) -> UserInfo {
    let bound = &claims.kubernetes;
    let namespace = &bound.namespace;
    let mut extra = Vec::new();
    let mut say = |key: &str, value: String| extra.push((format!("authentication.kubernetes.io/{key}"), vec![value]));
    if !claims.jti.is_empty() {
        say("credential-id", format!("JTI={}", claims.jti));
    }
    if let Some(node) = &bound.node {
        say("node-name", node.name.clone());
        say("node-uid", node.uid.clone());
    }
    if let Some(pod) = &bound.pod {
        say("pod-name", pod.name.clone());
        say("pod-uid", pod.uid.clone());
    }
    UserInfo {
        name: claims.sub.clone(),
        uid: bound.serviceaccount.uid.clone(),
        groups: vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
            AUTHENTICATED.to_owned(),
        ],
        extra,
    }
}

/// The bearer token, if one was sent.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// The user that a front proxy speaks for.
fn from_proxy(headers: &HeaderMap) -> Option<UserInfo> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).filter(|v| !v.is_empty());
    let name = text("x-remote-user")?.to_owned();
    let mut groups: Vec<String> =
        headers.get_all("x-remote-group").iter().filter_map(|v| v.to_str().ok()).map(String::from).collect();
    if !groups.iter().any(|g| g == AUTHENTICATED) {
        groups.push(AUTHENTICATED.to_owned());
    }
    let uid = text("x-remote-uid").unwrap_or_default().to_owned();
    Some(UserInfo { name, uid, groups, extra: prefixed_extra(headers, "x-remote-extra-") })
}

/// Headers of the form `PREFIXkey: value`, by key, percent-decoded as upstream sends them.
pub(super) fn prefixed_extra(headers: &HeaderMap, prefix: &str) -> Vec<(String, Vec<String>)> {
    let mut extra: Vec<(String, Vec<String>)> = Vec::new();
    for (name, value) in headers {
        let (Some(key), Ok(value)) = (name.as_str().strip_prefix(prefix), value.to_str()) else { continue };
        let key = crate::http::route::percent_decode(key, false).into_owned();
        match extra.iter_mut().find(|(k, _)| *k == key) {
            Some((_, values)) => values.push(value.to_owned()),
            None => extra.push((key, vec![value.to_owned()])),
        }
    }
    extra
}

/// Reads `--token-auth-file`: lines of `token,user,uid[,"group1,group2"]`.
///
/// # Errors
/// What is wrong, with the line's number.
pub fn static_tokens(csv: &str) -> Result<HashMap<String, UserInfo>, String> {
    let mut tokens = HashMap::new();
    for (number, line) in csv.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut fields = line.splitn(4, ',').map(|f| f.trim().trim_matches('"'));
        let (Some(token), Some(user), Some(uid)) = (fields.next(), fields.next(), fields.next()) else {
            return Err(format!("line {}: a token, a user name and a uid are needed", number + 1));
        };
        if token.is_empty() || user.is_empty() {
            return Err(format!("line {}: the token and the user name may not be empty", number + 1));
        }
        let mut groups: Vec<String> = fields
            .next()
            .unwrap_or_default()
            .split(',')
            .map(str::trim)
            .filter(|g| !g.is_empty())
            .map(String::from)
            .collect();
        groups.push(AUTHENTICATED.to_owned());
        tokens.insert(token.to_owned(), UserInfo { name: user.into(), uid: uid.into(), groups, extra: Vec::new() });
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use gantry_store_cache::object::Facets;
    use gantry_store_cache::revision::Revision;

    use super::*;
    use crate::registry::token::{TokenClaims, TokenIssuer};

    struct Objects(Vec<(&'static str, &'static str, &'static str, &'static str)>);

    impl Lookup for Objects {
        fn find(&self, key: &ObjectKey) -> Option<Arc<StoredObject>> {
            let (.., body) = self.0.iter().find(|(c, ns, n, _)| ObjectKey::new(c, ns, n) == *key)?;
            let body = bytes::Bytes::from_static(body.as_bytes());
            Some(Arc::new(StoredObject::new(key.clone(), Revision(1), Revision(1), body, Facets::default())))
        }
    }

    fn authenticator(objects: Objects) -> Authenticator {
        let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
        Authenticator {
            front_proxy_names: vec![],
            static_tokens: static_tokens("secret,jane,7,\"dev,ops\"\n").unwrap(),
            tokens: Arc::new(TokenKeys::new(&pem, &[], "issuer", &[]).unwrap()),
            lookup: Arc::new(objects),
            anonymous: true,
        }
    }

    fn with_token(token: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, format!("Bearer {token}").parse().unwrap())])
    }

    fn claims() -> TokenClaims {
        TokenClaims {
            namespace: "a".into(),
            account: "robot".into(),
            account_uid: "u1".into(),
            audiences: vec![],
            expiration_seconds: 600,
            bound_to: None,
        }
    }

    #[test]
    fn no_credential_is_anonymous_and_a_wrong_one_is_refused() {
        let authenticator = authenticator(Objects(vec![]));
        let user = authenticator.authenticate(&PeerCertificate::None, &HeaderMap::new(), 0).unwrap();
        assert_eq!((user.name.as_str(), user.groups), ("system:anonymous", vec![UNAUTHENTICATED.to_owned()]));
        assert!(authenticator.authenticate(&PeerCertificate::None, &with_token("wrong"), 0).is_err());
        let jane = authenticator.authenticate(&PeerCertificate::None, &with_token("secret"), 0).unwrap();
        assert_eq!((jane.name.as_str(), jane.groups.len()), ("jane", 3));
    }

    #[test]
    fn a_token_dies_with_its_account() {
        let now = super::super::token::unix_now();
        let there = Objects(vec![("serviceaccounts", "a", "robot", r#"{"metadata":{"uid":"u1"}}"#)]);
        let mut authenticator = authenticator(there);
        let token = authenticator.tokens.issue(&claims()).unwrap().token;
        let user = authenticator.authenticate(&PeerCertificate::None, &with_token(&token), now).unwrap();
        assert_eq!(user.name, "system:serviceaccount:a:robot");
        assert!(user.is_in("system:serviceaccounts:a") && user.is_in(AUTHENTICATED));
        for replaced in [
            vec![],
            vec![("serviceaccounts", "a", "robot", r#"{"metadata":{"uid":"u9"}}"#)],
            vec![(
                "serviceaccounts",
                "a",
                "robot",
                r#"{"metadata":{"uid":"u1","deletionTimestamp":"2020-01-01T00:00:00Z"}}"#,
            )],
        ] {
            authenticator.lookup = Arc::new(Objects(replaced));
            assert!(authenticator.authenticate(&PeerCertificate::None, &with_token(&token), now).is_err());
        }
    }

    #[test]
    fn proxy_headers_count_only_from_a_front_proxy() {
        let authenticator = authenticator(Objects(vec![]));
        let headers: HeaderMap =
            [("x-remote-user", "jane"), ("x-remote-group", "dev"), ("x-remote-extra-scope%2fa", "1")]
                .into_iter()
                .map(|(k, v)| (http::HeaderName::from_static(k), v.parse().unwrap()))
                .collect();
        let direct = authenticator.authenticate(&PeerCertificate::None, &headers, 0).unwrap();
        assert_eq!(direct.name, "system:anonymous");
        let proxy = PeerCertificate::FrontProxy { name: "front-proxy-client".into(), not_after: 10 };
        let user = authenticator.authenticate(&proxy, &headers, 0).unwrap();
        assert_eq!(user.name, "jane");
        assert_eq!(user.extra, [("scope/a".to_owned(), vec!["1".to_owned()])]);
        assert!(authenticator.authenticate(&proxy, &headers, 11).is_err(), "its certificate has expired");
    }
}
