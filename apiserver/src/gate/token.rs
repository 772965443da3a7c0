//! ServiceAccount tokens: JWTs signed and verified with our own keys (ES256 by default, RS256 for keys from files).
//!
//! The registry issues through [`TokenIssuer`] (`serviceaccounts/token`), [`super::authn`] verifies, and the OIDC
//! discovery endpoints publish [`TokenKeys::jwks`]. Only these two algorithms are read, and the algorithm is the key's,
//! never the header's choice. Whether the account and the bound object still live is checked by the authenticator.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gantry_machinery::status::Status;
use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{self, EcdsaKeyPair, KeyPair, RsaKeyPair, RsaPublicKeyComponents};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::registry::token::{IssuedToken, TokenClaims, TokenIssuer};

/// The shortest life a token may be asked, in seconds (TokenRequest's own rule).
pub const LIFE_MIN_SECONDS: i64 = 600;
/// The longest a client may be given: a year.
const LIFE_MAX_SECONDS: i64 = 365 * 86_400;
/// Clocks may differ by this much.
const LEEWAY_SECONDS: i64 = 60;
/// Longer tokens are refused unread.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// The claims of a token, as they stand in the JWT.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    /// Audiences.
    #[serde(default, deserialize_with = "one_or_many")]
    pub aud: Vec<String>,
    /// End, Unix seconds.
    pub exp: i64,
    /// Issue time.
    #[serde(default)]
    pub iat: i64,
    /// Issuer.
    #[serde(default)]
    pub iss: String,
    /// The token's own id.
    #[serde(default)]
    pub jti: String,
    /// What is particular to Kubernetes.
    #[serde(rename = "kubernetes.io", default)]
    pub kubernetes: KubernetesClaims,
    /// Beginning.
    #[serde(default)]
    pub nbf: i64,
    /// `system:serviceaccount:NAMESPACE:NAME`.
    #[serde(default)]
    pub sub: String,
}

/// The `kubernetes.io` claim.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KubernetesClaims {
    /// The account's namespace.
    #[serde(default)]
    pub namespace: String,
    /// The node of the bound pod, or the bound node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<ObjectClaim>,
    /// The bound pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<ObjectClaim>,
    /// The bound secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<ObjectClaim>,
    /// The account.
    #[serde(default)]
    pub serviceaccount: ObjectClaim,
}

/// An object by name and uid.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ObjectClaim {
    /// The name.
    #[serde(default)]
    pub name: String,
    /// The uid.
    #[serde(default)]
    pub uid: String,
}

/// `aud` may be one text or a list.
fn one_or_many<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Audience {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Audience::deserialize(from)? {
        Audience::One(one) => vec![one],
        Audience::Many(many) => many,
    })
}

#[derive(Serialize, Deserialize)]
struct Header<'a> {
    alg: &'a str,
    #[serde(default)]
    kid: Option<std::borrow::Cow<'a, str>>,
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Neither a private nor a public key in PEM.
    #[error("no usable key in the file: a PKCS#8 or PKCS#1 private key, or a public key, in PEM is needed")]
    Unreadable,
    /// A key of an algorithm that tokens are not signed with.
    #[error("tokens are signed with ECDSA P-256 or RSA (2048 bits and more) keys: {0}")]
    Unsuitable(String),
}

/// Why a token was refused. The text goes to the log, never to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not three base64url parts, or its JSON is not a token's.
    #[error("the token is malformed")]
    Malformed,
    /// No key of ours signed it.
    #[error("the token's signature is not ours")]
    Signature,
    /// Another issuer's.
    #[error("the token's issuer is another")]
    Issuer,
    /// Too late.
    #[error("the token has expired")]
    Expired,
    /// Too early.
    #[error("the token is not valid yet")]
    NotYet,
    /// Meant for somebody else.
    #[error("the token is for another audience")]
    Audience,
}

enum Signer {
    Ecdsa(Box<EcdsaKeyPair>),
    Rsa(Box<RsaKeyPair>),
}

struct Verifier {
    kid: String,
    key: PublicKey,
}

enum PublicKey {
    /// The uncompressed point.
    Ecdsa(Vec<u8>),
    /// Modulus and exponent.
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
}

/// The keys that sign and verify, with the issuer they speak for.
pub struct TokenKeys {
    signer: Signer,
    signer_kid: String,
    verifiers: Vec<Verifier>,
    issuer: String,
    audiences: Vec<String>,
    random: SystemRandom,
    issued: AtomicU64,
}

impl TokenKeys {
    /// Keys from PEM texts: `signing` is a private key; `others` are further keys whose tokens are accepted.
    /// `issuer` is `--service-account-issuer`; `audiences` what this server answers to (default: the issuer).
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn new(signing: &str, others: &[String], issuer: &str, audiences: &[String]) -> Result<Self, KeyError> {
        let signer = private_key(signing)?;
        let own = signer.public();
        let signer_kid = kid(&own);
        let mut verifiers = vec![Verifier { kid: signer_kid.clone(), key: own }];
        for pem in others {
            let key = match private_key(pem) {
                Ok(signer) => signer.public(),
                Err(_) => public_key(pem)?,
            };
            let kid = kid(&key);
            if verifiers.iter().all(|v| v.kid != kid) {
                verifiers.push(Verifier { kid, key });
            }
        }
        let audiences = if audiences.is_empty() { vec![issuer.to_owned()] } else { audiences.to_vec() };
        let issued = AtomicU64::new(0);
        Ok(Self {
            signer,
            signer_kid,
            verifiers,
            issuer: issuer.into(),
            audiences,
            random: SystemRandom::new(),
            issued,
        })
    }

    /// What this server answers to.
    #[must_use]
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// The issuer.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// How many tokens were issued.
    #[must_use]
    pub fn issued(&self) -> u64 {
        self.issued.load(Ordering::Relaxed)
    }

    /// Whether a bearer token is one of ours to judge: a JWT that names our issuer. Says nothing about its validity.
    #[must_use]
    pub fn concerns(&self, token: &str) -> bool {
        let Some(payload) = token.split('.').nth(1) else { return false };
        #[derive(Deserialize)]
        struct Issuer {
            #[serde(default)]
            iss: String,
        }
        URL_SAFE_NO_PAD
            .decode(payload)
            .ok()
            .and_then(|json| serde_json::from_slice::<Issuer>(&json).ok())
            .is_some_and(|claims| claims.iss == self.issuer)
    }

    /// Checks signature, issuer and times; the audience is the caller's to check ([`Self::audience`]).
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn verify(&self, token: &str, now: i64) -> Result<Claims, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        let part = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Malformed);
        let (header, payload, signature) = (part(header)?, part(payload)?, part(signature)?);
        let header: Header<'_> = serde_json::from_slice(&header).map_err(|_| TokenError::Malformed)?;
        let genuine = self
            .verifiers
            .iter()
            .filter(|v| header.kid.as_deref().is_none_or(|kid| kid == v.kid))
            .any(|v| v.key.verifies(header.alg, signed.as_bytes(), &signature));
        if !genuine {
            return Err(TokenError::Signature);
        }
        let claims: Claims = serde_json::from_slice(&payload).map_err(|_| TokenError::Malformed)?;
        if claims.iss != self.issuer {
            return Err(TokenError::Issuer);
        }
        if claims.exp < now {
            return Err(TokenError::Expired);
        }
        if claims.nbf > now + LEEWAY_SECONDS {
            return Err(TokenError::NotYet);
        }
        Ok(claims)
    }

    /// Which of `wanted` (none: this server's own) the token is for.
    ///
    /// # Errors
    /// [`TokenError::Audience`] for none of them.
    pub fn audience(&self, claims: &Claims, wanted: &[String]) -> Result<Vec<String>, TokenError> {
        let wanted = if wanted.is_empty() { &self.audiences } else { wanted };
        let met: Vec<String> = wanted.iter().filter(|a| claims.aud.contains(a)).cloned().collect();
        if met.is_empty() { Err(TokenError::Audience) } else { Ok(met) }
    }

    /// The public keys as a JSON Web Key Set.
    #[must_use]
    pub fn jwks(&self) -> serde_json::Value {
        let keys: Vec<serde_json::Value> = self
            .verifiers
            .iter()
            .map(|v| match &v.key {
                PublicKey::Ecdsa(point) => serde_json::json!({
                    "use": "sig", "kty": "EC", "kid": v.kid, "crv": "P-256", "alg": "ES256",
                    "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..65]),
                }),
                PublicKey::Rsa(key) => serde_json::json!({
                    "use": "sig", "kty": "RSA", "kid": v.kid, "alg": "RS256",
                    "n": URL_SAFE_NO_PAD.encode(&key.n), "e": URL_SAFE_NO_PAD.encode(&key.e),
                }),
            })
            .collect();
        serde_json::json!({ "keys": keys })
    }

    /// Signs claims.
    ///
    /// # Errors
    /// 500 when the system has no randomness.
    pub fn sign(&self, claims: &Claims) -> Result<String, Status> {
        let alg = match &self.signer {
            Signer::Ecdsa(_) => "ES256",
            Signer::Rsa(_) => "RS256",
        };
        let header = Header { alg, kid: Some(self.signer_kid.as_str().into()) };
        let json = |value: Result<Vec<u8>, serde_json::Error>| {
            URL_SAFE_NO_PAD.encode(value.expect("texts and numbers always have a JSON form"))
        };
        let mut token = json(serde_json::to_vec(&header));
        token.push('.');
        token.push_str(&json(serde_json::to_vec(claims)));
        let signature = match &self.signer {
            Signer::Ecdsa(key) => key.sign(&self.random, token.as_bytes()).map(|s| s.as_ref().to_vec()),
            Signer::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&signature::RSA_PKCS1_SHA256, &self.random, token.as_bytes(), &mut signature)
                    .map(|()| signature)
            }
        }
        .map_err(|_| Status::internal("the token could not be signed"))?;
        token.push('.');
        token.push_str(&URL_SAFE_NO_PAD.encode(signature));
        self.issued.fetch_add(1, Ordering::Relaxed);
        Ok(token)
    }

    fn issue_at(&self, wanted: &TokenClaims, now: i64) -> Result<IssuedToken, Status> {
        let mut id = [0; 16];
        self.random.fill(&mut id).map_err(|_| Status::internal("the system has no randomness"))?;
        let audiences = if wanted.audiences.is_empty() { self.audiences.clone() } else { wanted.audiences.clone() };
        let expiration_seconds = wanted.expiration_seconds.clamp(LIFE_MIN_SECONDS, LIFE_MAX_SECONDS);
        let expires_at = now + expiration_seconds;
        let object = |name: &str, uid: &str| ObjectClaim { name: name.into(), uid: uid.into() };
        let mut kubernetes = KubernetesClaims {
            namespace: wanted.namespace.clone(),
            serviceaccount: object(&wanted.account, &wanted.account_uid),
            ..KubernetesClaims::default()
        };
        if let Some(bound) = &wanted.bound_to {
            let claim = Some(object(&bound.name, &bound.uid));
            match bound.kind.as_str() {
                "Pod" => {
                    kubernetes.pod = claim;
                    kubernetes.node = bound.node.as_ref().map(|(name, uid)| object(name, uid));
                }
                "Secret" => kubernetes.secret = claim,
                "Node" => kubernetes.node = claim,
                other => return Err(Status::internal(format!("tokens cannot be bound to a {other}"))),
            }
        }
        let claims = Claims {
            aud: audiences.clone(),
            exp: expires_at,
            iat: now,
            iss: self.issuer.clone(),
            jti: uuid(id),
            kubernetes,
            nbf: now,
            sub: format!("system:serviceaccount:{}:{}", wanted.namespace, wanted.account),
        };
        Ok(IssuedToken { token: self.sign(&claims)?, audiences, expiration_seconds, expires_at })
    }
}

impl TokenIssuer for TokenKeys {
    fn issue(&self, claims: &TokenClaims) -> Result<IssuedToken, Status> {
        self.issue_at(claims, unix_now())
    }
}

/// Now, Unix seconds.
#[must_use]
pub fn unix_now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
}

/// Sixteen random bytes as a version 4 UUID.
#[must_use]
pub fn uuid(mut random: [u8; 16]) -> String {
    random[6] = (random[6] & 0x0f) | 0x40;
    random[8] = (random[8] & 0x3f) | 0x80;
    let hex: String = random.iter().map(|b| format!("{b:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

impl Signer {
    fn public(&self) -> PublicKey {
        match self {
            Self::Ecdsa(key) => PublicKey::Ecdsa(key.public_key().as_ref().to_vec()),
            Self::Rsa(key) => PublicKey::Rsa(RsaPublicKeyComponents::from(key.public())),
        }
    }
}

impl PublicKey {
    fn verifies(&self, alg: &str, signed: &[u8], signature: &[u8]) -> bool {
        match (self, alg) {
            (Self::Ecdsa(point), "ES256") => {
                signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point)
                    .verify(signed, signature)
                    .is_ok()
            }
            (Self::Rsa(key), "RS256") => key.verify(&signature::RSA_PKCS1_2048_8192_SHA256, signed, signature).is_ok(),
            _ => false,
        }
    }
}

/// Names a key by the hash of what it consists of.
fn kid(key: &PublicKey) -> String {
    let hash = match key {
        PublicKey::Ecdsa(point) => digest::digest(&digest::SHA256, point),
        PublicKey::Rsa(key) => {
            let mut context = digest::Context::new(&digest::SHA256);
            context.update(&key.n);
            context.update(&key.e);
            context.finish()
        }
    };
    URL_SAFE_NO_PAD.encode(hash)
}

fn private_key(pem: &str) -> Result<Signer, KeyError> {
    let unsuitable = |e: ring::error::KeyRejected| KeyError::Unsuitable(e.to_string());
    match PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| KeyError::Unreadable)? {
        PrivateKeyDer::Pkcs8(der) => {
            let random = SystemRandom::new();
            let bytes = der.secret_pkcs8_der();
            match EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, bytes, &random) {
                Ok(key) => Ok(Signer::Ecdsa(Box::new(key))),
                Err(_) => Ok(Signer::Rsa(Box::new(RsaKeyPair::from_pkcs8(bytes).map_err(unsuitable)?))),
            }
        }
        PrivateKeyDer::Pkcs1(der) => {
            Ok(Signer::Rsa(Box::new(RsaKeyPair::from_der(der.secret_pkcs1_der()).map_err(unsuitable)?)))
        }
        PrivateKeyDer::Sec1(_) => {
            Err(KeyError::Unsuitable("convert the EC key to PKCS#8 (openssl pkcs8 -topk8 -nocrypt)".to_owned()))
        }
        _ => Err(KeyError::Unreadable),
    }
}

fn public_key(pem: &str) -> Result<PublicKey, KeyError> {
    let der = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).map_err(|_| KeyError::Unreadable)?;
    let (_, info) = SubjectPublicKeyInfo::from_der(&der).map_err(|_| KeyError::Unreadable)?;
    match info.parsed() {
        Ok(x509_parser::public_key::PublicKey::EC(point)) if point.data().len() == 65 => {
            Ok(PublicKey::Ecdsa(point.data().to_vec()))
        }
        Ok(x509_parser::public_key::PublicKey::RSA(key)) => {
            let plain = |n: &[u8]| n.iter().copied().skip_while(|b| *b == 0).collect::<Vec<u8>>();
            Ok(PublicKey::Rsa(RsaPublicKeyComponents { n: plain(key.modulus), e: plain(key.exponent) }))
        }
        _ => Err(KeyError::Unsuitable("another kind of key".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::token::BoundObject;

    const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
    const NOW: i64 = 1_800_000_000;

    fn keys() -> TokenKeys {
        let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
        TokenKeys::new(&pem, &[], ISSUER, &[]).unwrap()
    }

    fn wanted() -> TokenClaims {
        TokenClaims {
            namespace: "default".into(),
            account: "robot".into(),
            account_uid: "u1".into(),
            audiences: vec![],
            expiration_seconds: 3600,
            bound_to: Some(BoundObject {
                kind: "Pod".into(),
                name: "p".into(),
                uid: "u2".into(),
                node: Some(("n".into(), "u3".into())),
            }),
        }
    }

    #[test]
    fn a_token_says_what_was_asked_and_verifies() {
        let keys = keys();
        let issued = keys.issue_at(&wanted(), NOW).unwrap();
        assert!(keys.concerns(&issued.token));
        let claims = keys.verify(&issued.token, NOW + 10).unwrap();
        assert_eq!(claims.sub, "system:serviceaccount:default:robot");
        assert_eq!(claims.exp, NOW + 3600);
        assert_eq!(claims.kubernetes.pod.as_ref().unwrap().uid, "u2");
        assert_eq!(claims.kubernetes.node.as_ref().unwrap().name, "n");
        assert_eq!(keys.audience(&claims, &[]).unwrap(), [ISSUER]);
        assert_eq!(keys.audience(&claims, &["other".into()]), Err(TokenError::Audience));
    }

    #[test]
    fn what_is_forged_late_early_or_foreign_is_refused() {
        let keys = keys();
        let token = keys.issue_at(&wanted(), NOW).unwrap().token;
        assert_eq!(keys.verify(&token, NOW + 3601), Err(TokenError::Expired));
        assert_eq!(keys.verify(&token, NOW - 120), Err(TokenError::NotYet));
        assert_eq!(self::keys().verify(&token, NOW), Err(TokenError::Signature));
        assert_eq!(keys.verify("a.b", NOW), Err(TokenError::Malformed));

        let mut parts: Vec<String> = token.split('.').map(String::from).collect();
        let mut claims: serde_json::Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(&parts[1]).unwrap()).unwrap();
        claims["sub"] = "system:serviceaccount:kube-system:admin".into();
        parts[1] = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims).unwrap());
        assert_eq!(keys.verify(&parts.join("."), NOW), Err(TokenError::Signature));

        for alg in ["none", "HS256", "RS256"] {
            parts[0] = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{alg}"}}"#));
            assert_eq!(keys.verify(&parts.join("."), NOW), Err(TokenError::Signature), "{alg}");
        }
    }

    #[test]
    fn tokens_of_a_further_key_are_accepted() {
        let old = rcgen::KeyPair::generate().unwrap();
        let before = TokenKeys::new(&old.serialize_pem(), &[], ISSUER, &[]).unwrap();
        let token = before.issue_at(&wanted(), NOW).unwrap().token;
        let new = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let after = TokenKeys::new(&new, &[old.public_key_pem()], ISSUER, &[]).unwrap();
        assert!(after.verify(&token, NOW).is_ok());
        assert_eq!(after.jwks()["keys"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn lives_are_kept_within_bounds() {
        let keys = keys();
        let short = keys.issue_at(&TokenClaims { expiration_seconds: 1, ..wanted() }, NOW).unwrap();
        assert_eq!(short.expiration_seconds, LIFE_MIN_SECONDS);
    }
}
