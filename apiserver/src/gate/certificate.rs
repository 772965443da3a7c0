//! Client certificates: CN is the user, O are the groups.
//!
//! The handshake takes any certificate whose key the client holds, as upstream's does; whether an authority of ours
//! signed it is decided here, once per connection, so that a stranger's certificate gets a 401 with a body instead of a
//! broken connection. Its end is checked again with every request.

use std::sync::Arc;

use parking_lot::RwLock;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::authn::AUTHENTICATED;
use crate::registry::request::UserInfo;

/// What the certificate of a connection says. `not_after`: Unix seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerCertificate {
    /// None was sent.
    None,
    /// A user, signed by the client authority.
    User {
        /// The user.
        user: Arc<UserInfo>,
        /// Until when.
        not_after: i64,
    },
    /// A proxy that may speak for others.
    FrontProxy {
        /// Its common name.
        name: String,
        /// Until when.
        not_after: i64,
    },
    /// One that no authority of ours signed, or that is out of date.
    Unknown(String),
}

impl PeerCertificate {
    /// The user, while the certificate holds.
    #[must_use]
    pub fn user(&self, now: i64) -> Option<&UserInfo> {
        match self {
            Self::User { user, not_after } if now <= *not_after => Some(user),
            _ => None,
        }
    }

    /// The front proxy's name, while its certificate holds.
    #[must_use]
    pub fn front_proxy(&self, now: i64) -> Option<&str> {
        match self {
            Self::FrontProxy { name, not_after } if now <= *not_after => Some(name),
            _ => None,
        }
    }

    /// Why this certificate makes nobody of its holder.
    #[must_use]
    pub fn refusal(&self) -> String {
        match self {
            Self::None => "no client certificate".to_owned(),
            Self::Unknown(why) => why.clone(),
            Self::User { .. } => "the client certificate has expired".to_owned(),
            Self::FrontProxy { .. } => "a front proxy that is out of date, or speaks for nobody".to_owned(),
        }
    }
}

/// The authorities that clients and front proxies are signed by.
pub struct ClientRoots {
    /// May be exchanged while connections come in; held for moments.
    clients: RwLock<Option<Arc<dyn ClientCertVerifier>>>,
    proxies: Option<Arc<dyn ClientCertVerifier>>,
}

impl ClientRoots {
    /// Roots from PEM bundles; an empty text is none.
    ///
    /// # Errors
    /// What is wrong with a bundle.
    pub fn new(client_ca: &str, front_proxy_ca: &str) -> Result<Self, String> {
        Ok(Self { clients: RwLock::new(verifier(client_ca)?), proxies: verifier(front_proxy_ca)? })
    }

    /// Other roots of clients from now on, for new connections.
    ///
    /// # Errors
    /// What is wrong with the bundle; the roots stay as they were then.
    pub fn replace_clients(&self, client_ca: &str) -> Result<(), String> {
        *self.clients.write() = verifier(client_ca)?;
        Ok(())
    }

    /// The names of the authorities, sent as a hint to clients with several certificates.
    #[must_use]
    pub fn hints(&self) -> Vec<DistinguishedName> {
        [self.clients.read().clone(), self.proxies.clone()]
            .into_iter()
            .flatten()
            .flat_map(|v| v.root_hint_subjects().to_vec())
            .collect()
    }

    /// Judges the chain that a connection's client sent. Front proxies first: one CA may have signed both.
    #[must_use]
    pub fn judge(&self, chain: Option<&[CertificateDer<'_>]>) -> PeerCertificate {
        let Some((leaf, rest)) = chain.and_then(<[_]>::split_first) else { return PeerCertificate::None };
        let Ok((_, parsed)) = X509Certificate::from_der(leaf) else {
            return PeerCertificate::Unknown("the client certificate cannot be read".to_owned());
        };
        let not_after = parsed.validity().not_after.timestamp();
        let name = parsed.subject().iter_common_name().filter_map(|n| n.as_str().ok()).next().unwrap_or_default();
        let signed_by = |verifier: &Option<Arc<dyn ClientCertVerifier>>| match verifier {
            Some(verifier) => verifier.verify_client_cert(leaf, rest, UnixTime::now()).map(|_| ()),
            None => Err(rustls::Error::General("no authority is configured".to_owned())),
        };
        if signed_by(&self.proxies).is_ok() {
            return PeerCertificate::FrontProxy { name: name.to_owned(), not_after };
        }
        let clients = self.clients.read().clone();
        if let Err(e) = signed_by(&clients) {
            return PeerCertificate::Unknown(format!("the client certificate of {name:?} is refused: {e}"));
        }
        if name.is_empty() {
            return PeerCertificate::Unknown("the client certificate names nobody".to_owned());
        }
        let mut groups: Vec<String> = parsed
            .subject()
            .iter_organization()
            .filter_map(|o| o.as_str().ok())
            .filter(|o| !o.is_empty())
            .map(String::from)
            .collect();
        if !groups.iter().any(|g| g == AUTHENTICATED) {
            groups.push(AUTHENTICATED.to_owned());
        }
        let fingerprint = ring::digest::digest(&ring::digest::SHA256, leaf);
        let hex: String = fingerprint.as_ref().iter().map(|b| format!("{b:02x}")).collect();
        let extra = vec![("authentication.kubernetes.io/credential-id".to_owned(), vec![format!("X509SHA256={hex}")])];
        let user = Arc::new(UserInfo { name: name.to_owned(), uid: String::new(), groups, extra });
        PeerCertificate::User { user, not_after }
    }
}

fn verifier(bundle: &str) -> Result<Option<Arc<dyn ClientCertVerifier>>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        roots.add(certificate.map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
    }
    if roots.is_empty() {
        return Ok(None);
    }
    WebPkiClientVerifier::builder_with_provider(roots.into(), provider()).build().map(Some).map_err(|e| e.to_string())
}

/// The cryptography everything uses.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Takes any certificate, or none, in the handshake; see the file's head.
#[derive(Debug)]
pub struct AskForCertificate {
    provider: Arc<CryptoProvider>,
    hints: Vec<DistinguishedName>,
}

impl AskForCertificate {
    /// Asks, hinting at these authorities.
    #[must_use]
    pub fn new(hints: Vec<DistinguishedName>) -> Arc<Self> {
        Arc::new(Self { provider: provider(), hints })
    }
}

impl ClientCertVerifier for AskForCertificate {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::token::unix_now;
    use crate::pki::issue::{Authority, Subject};

    fn chain(identity: &crate::pki::Identity) -> Vec<CertificateDer<'static>> {
        vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()]
    }

    #[test]
    fn who_signed_decides_what_a_certificate_is() {
        let now = unix_now();
        let (clients, _) = Authority::new("clients", now).unwrap();
        let (proxies, _) = Authority::new("proxies", now).unwrap();
        let (strangers, _) = Authority::new("clients", now).unwrap();
        let roots = ClientRoots::new(&clients.certificate, &proxies.certificate).unwrap();
        let subject = Subject::client("jane", Some("dev"));

        let user = roots.judge(Some(&chain(&clients.issue(&subject, now).unwrap())));
        let found = user.user(now).unwrap();
        assert_eq!(
            (found.name.as_str(), &found.groups[..]),
            ("jane", &["dev".to_owned(), AUTHENTICATED.to_owned()][..])
        );
        assert!(user.user(now + 400 * 86_400).is_none(), "its end is checked with every request");

        let proxy = roots.judge(Some(&chain(&proxies.issue(&subject, now).unwrap())));
        assert_eq!(proxy.front_proxy(now), Some("jane"));
        let stranger = roots.judge(Some(&chain(&strangers.issue(&subject, now).unwrap())));
        assert!(matches!(stranger, PeerCertificate::Unknown(_)));
        let expired = roots.judge(Some(&chain(&clients.issue(&subject, now - 400 * 86_400).unwrap())));
        assert!(matches!(expired, PeerCertificate::Unknown(_)));
        assert_eq!(roots.judge(None), PeerCertificate::None);
    }

    #[test]
    fn a_server_certificate_is_no_client() {
        let now = unix_now();
        let (clients, _) = Authority::new("clients", now).unwrap();
        let roots = ClientRoots::new(&clients.certificate, "").unwrap();
        let server = Subject {
            common_name: "kube-apiserver".into(),
            names: vec!["localhost".into()],
            usage: vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth],
            ..Subject::default()
        };
        let judged = roots.judge(Some(&chain(&clients.issue(&server, now).unwrap())));
        assert!(matches!(judged, PeerCertificate::Unknown(_)), "{judged:?}");
    }
}
