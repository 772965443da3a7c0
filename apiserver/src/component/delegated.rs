//! Who asks a component, and may they: both are asked of the API server, by TokenReview and SubjectAccessReview, as
//! upstream's delegated authentication and authorization do. Client certificates are judged here, against the authority
//! that the cluster publishes in `kube-system/extension-apiserver-authentication`.
//!
//! Answers are remembered for ten seconds (upstream's), a bounded number of them, tokens by their digest only. Where the
//! API server cannot be asked, nobody is let in.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gantry_machinery::codec::json;
use gantry_machinery::resource::{GroupVersionResource, gvr};
use gantry_machinery::resource_api::{ResourceApi, Target, WriteOptions};
use gantry_machinery::status::Status;
use http::{HeaderMap, Method};
use parking_lot::Mutex;

use crate::gate::authn::{UNAUTHENTICATED, bearer};
use crate::gate::certificate::{ClientRoots, PeerCertificate};
use crate::gate::token::unix_now;
use crate::registry::request::UserInfo;

static TOKEN_REVIEWS: GroupVersionResource = GroupVersionResource::of("authentication.k8s.io", "v1", "tokenreviews");
static ACCESS_REVIEWS: GroupVersionResource =
    GroupVersionResource::of("authorization.k8s.io", "v1", "subjectaccessreviews");

/// How long an answer counts.
const REMEMBERED: Duration = Duration::from_secs(10);
/// Answers remembered at a time.
const REMEMBERED_MAX: usize = 4096;
/// How often the cluster's authority is read again, and how soon after a failure.
const ROOTS_EVERY: Duration = Duration::from_secs(60);
const ROOTS_AGAIN: Duration = Duration::from_secs(2);
/// Its members may do everything, without anybody being asked (upstream's always-allowed group).
const MASTERS: &str = "system:masters";

/// The gate of a component.
pub(super) struct Delegated {
    authn: Arc<dyn ResourceApi>,
    authz: Arc<dyn ResourceApi>,
    open: Vec<String>,
    users: Answers<[u8; 32], Option<UserInfo>>,
    verdicts: Answers<String, bool>,
}

impl Delegated {
    pub(super) fn new(authn: Arc<dyn ResourceApi>, authz: Arc<dyn ResourceApi>, open: Vec<String>) -> Self {
        Self { authn, authz, open, users: Answers::default(), verdicts: Answers::default() }
    }

    /// Lets a request in.
    ///
    /// # Errors
    /// 401 for a credential that proves nothing, 403 for somebody who may not, 500 when the API server cannot be asked.
    pub(super) async fn admit(
        &self,
        peer: &PeerCertificate,
        headers: &HeaderMap,
        method: &Method,
        path: &str,
    ) -> Result<(), Status> {
        if self.open.iter().any(|pattern| covers(pattern, path)) {
            return Ok(());
        }
        let user = self.user(peer, headers).await?;
        if user.is_in(MASTERS) || self.may(&user, method, path).await? {
            return Ok(());
        }
        let verb = method.as_str().to_ascii_lowercase();
        Err(Status::forbidden_path(format_args!("User {:?} cannot {verb} path {path:?}", user.name)))
    }

    async fn user(&self, peer: &PeerCertificate, headers: &HeaderMap) -> Result<UserInfo, Status> {
        if let Some(user) = peer.user(unix_now()) {
            return Ok(user.clone());
        }
        if let Some(token) = bearer(headers) {
            return self.token(token).await?.ok_or_else(Status::unauthorized);
        }
        match peer {
            PeerCertificate::None => Ok(UserInfo::new("system:anonymous", &[UNAUTHENTICATED])),
            other => {
                tracing::debug!(why = other.refusal(), "not authenticated");
                Err(Status::unauthorized())
            }
        }
    }

    /// Whose token this is, if anybody's.
    async fn token(&self, token: &str) -> Result<Option<UserInfo>, Status> {
        let digest = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
        let key: [u8; 32] = digest.as_ref().try_into().expect("SHA-256 has 32 bytes");
        if let Some(known) = self.users.get(&key) {
            return Ok(known);
        }
        let review = serde_json::json!({
            "apiVersion": TOKEN_REVIEWS.api_version(), "kind": "TokenReview", "spec": {"token": token},
        });
        let answer = ask(&*self.authn, &TOKEN_REVIEWS, &review).await?;
        let status = &answer["status"];
        let user = (status["authenticated"] == true).then(|| user_of(&status["user"]));
        self.users.remember(key, user.clone());
        Ok(user)
    }

    async fn may(&self, user: &UserInfo, method: &Method, path: &str) -> Result<bool, Status> {
        let verb = method.as_str().to_ascii_lowercase();
        let extra: serde_json::Map<String, serde_json::Value> =
            user.extra.iter().map(|(key, values)| (key.clone(), values.clone().into())).collect();
        let review = serde_json::json!({
            "apiVersion": ACCESS_REVIEWS.api_version(),
            "kind": "SubjectAccessReview",
            "spec": {
                "user": user.name, "uid": user.uid, "groups": user.groups, "extra": extra,
                "nonResourceAttributes": {"path": path, "verb": verb},
            },
        });
        let key = review.to_string();
        if let Some(known) = self.verdicts.get(&key) {
            return Ok(known);
        }
        let answer = ask(&*self.authz, &ACCESS_REVIEWS, &review).await?;
        let allowed = answer["status"]["allowed"] == true && answer["status"]["denied"] != true;
        self.verdicts.remember(key, allowed);
        Ok(allowed)
    }
}

/// Keeps the authority of client certificates as the cluster publishes it, for ever.
pub(super) async fn follow_client_ca(api: Arc<dyn ResourceApi>, roots: Arc<ClientRoots>) {
    let mut known = String::new();
    loop {
        let pause = match published_client_ca(&*api).await {
            Ok(pem) => {
                if pem != known {
                    match roots.replace_clients(&pem) {
                        Ok(()) => known = pem,
                        Err(why) => tracing::warn!(why, "the cluster's client authority cannot be used"),
                    }
                }
                ROOTS_EVERY
            }
            Err(status) => {
                tracing::debug!(error = %status, "the cluster's client authority cannot be read yet");
                ROOTS_AGAIN
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn published_client_ca(api: &dyn ResourceApi) -> Result<String, Status> {
    let target = Target::object(&gvr::CONFIG_MAPS, "kube-system", "extension-apiserver-authentication");
    let object = api.get(&target).await?;
    let map = document(&object.body)?;
    Ok(map["data"]["client-ca-file"].as_str().unwrap_or_default().to_owned())
}

async fn ask(
    api: &dyn ResourceApi,
    resource: &GroupVersionResource,
    review: &serde_json::Value,
) -> Result<serde_json::Value, Status> {
    let failed = |status: &Status| {
        tracing::warn!(error = %status, "the API server could not be asked about a request");
        Status::internal("the API server could not be asked who may do this")
    };
    let review = json::to_value(review).map_err(Status::internal)?;
    let target = Target::object(resource, "", "");
    let answer = api.create(&target, review, &WriteOptions::default()).await.map_err(|status| failed(&status))?;
    document(&answer.body)
}

fn document(body: &[u8]) -> Result<serde_json::Value, Status> {
    serde_json::from_slice(body)
        .map_err(|error| Status::internal(format_args!("the answer is not understood: {error}")))
}

fn user_of(user: &serde_json::Value) -> UserInfo {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let texts = |value: &serde_json::Value| value.as_array().into_iter().flatten().map(text).collect::<Vec<_>>();
    let extra = user["extra"].as_object().into_iter().flatten();
    UserInfo {
        name: text(&user["username"]),
        uid: text(&user["uid"]),
        groups: texts(&user["groups"]),
        extra: extra.map(|(key, values)| (key.clone(), texts(values))).collect(),
    }
}

/// Whether a pattern of `--authorization-always-allow-paths` covers a path.
fn covers(pattern: &str, path: &str) -> bool {
    let path = path.trim_start_matches('/');
    let pattern = pattern.trim_start_matches('/');
    match pattern.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => path == pattern,
    }
}

/// Answers of the API server, each for a while.
struct Answers<K, V>(Mutex<HashMap<K, (Instant, V)>>);

impl<K, V> Default for Answers<K, V> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<K: std::hash::Hash + Eq, V: Clone> Answers<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        let known = self.0.lock();
        known.get(key).filter(|(at, _)| at.elapsed() < REMEMBERED).map(|(_, answer)| answer.clone())
    }

    fn remember(&self, key: K, answer: V) {
        let mut known = self.0.lock();
        if known.len() >= REMEMBERED_MAX {
            // Somebody tries many names: all are asked about anew, in bounded memory.
            known.clear();
        }
        known.insert(key, (Instant::now(), answer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_paths_are_exact_unless_they_end_in_a_star() {
        for (pattern, path, open) in [
            ("/healthz", "/healthz", true),
            ("/healthz", "/healthz/ping", false),
            ("/healthz/*", "/healthz/ping", true),
            ("livez", "/livez", true),
            ("/livez", "/livezz", false),
            ("*", "/metrics", true),
        ] {
            assert_eq!(covers(pattern, path), open, "{pattern} {path}");
        }
    }

    #[test]
    fn answers_are_bounded_in_number() {
        let answers = Answers::default();
        (0..2 * REMEMBERED_MAX + 8).for_each(|n| answers.remember(n, n));
        assert_eq!(answers.0.lock().len(), 8);
        assert_eq!(answers.get(&(2 * REMEMBERED_MAX)), Some(2 * REMEMBERED_MAX));
        assert_eq!(answers.get(&7), None);
    }

    #[test]
    fn users_are_read_from_reviews() {
        let user = user_of(&serde_json::json!({
            "username": "u", "uid": "1", "groups": ["a", "b"], "extra": {"k": ["v"]},
        }));
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("u", "1"));
        assert!(user.is_in("b"));
        assert_eq!(user.extra, [("k".to_owned(), vec!["v".to_owned()])]);
    }
}
