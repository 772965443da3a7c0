//! Issuing: an authority and the subjects it signs. ECDSA P-256 throughout.

use std::net::IpAddr;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Identity;

const DAY: i64 = 86_400;
/// How long authorities live: ten years, as kubeadm's do.
const AUTHORITY_DAYS: i64 = 3650;
/// How long leaves live: one year, as kubeadm's do.
const LEAF_DAYS: i64 = 365;
/// A leaf with less than this left is issued again at the next start.
const RENEW_DAYS: i64 = 30;

/// A certificate authority: its certificate, and the means to sign.
pub struct Authority {
    /// The certificate, PEM.
    pub certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority(..)")
    }
}

/// Whom a certificate is for.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// CN: the user's name, or the server's.
    pub common_name: String,
    /// O: the user's group. One at most: the issuing library keeps one value per attribute.
    pub group: Option<String>,
    /// DNS names it answers to.
    pub names: Vec<String>,
    /// Addresses it answers to.
    pub addresses: Vec<IpAddr>,
    /// What it may be used for.
    pub usage: Vec<ExtendedKeyUsagePurpose>,
}

impl Subject {
    /// A client: the user `name`, in `group` if one is given.
    #[must_use]
    pub fn client(name: &str, group: Option<&str>) -> Self {
        Self {
            common_name: name.into(),
            group: group.map(str::to_owned),
            usage: vec![ExtendedKeyUsagePurpose::ClientAuth],
            ..Self::default()
        }
    }
}

impl Authority {
    /// A new authority and its private key in PEM.
    ///
    /// # Errors
    /// What rcgen reports.
    pub fn new(common_name: &str, now: i64) -> Result<(Self, String), rcgen::Error> {
        let key = KeyPair::generate()?;
        let key_pem = key.serialize_pem();
        let mut params = CertificateParams::default();
        params.distinguished_name = named(common_name, None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign];
        valid_for(&mut params, now, AUTHORITY_DAYS);
        let certificate = params.self_signed(&key)?.pem();
        Ok((Self { certificate, issuer: Issuer::new(params, key) }, key_pem))
    }

    /// An authority from its PEM files.
    ///
    /// # Errors
    /// What rcgen reports of unreadable PEM, or a key it cannot use.
    pub fn from_pem(certificate: String, key: &str) -> Result<Self, rcgen::Error> {
        let issuer = Issuer::from_ca_cert_pem(&certificate, KeyPair::from_pem(key)?)?;
        Ok(Self { certificate, issuer })
    }

    /// A certificate for `subject` with a new key.
    ///
    /// # Errors
    /// What rcgen reports (a name that is no DNS name).
    pub fn issue(&self, subject: &Subject, now: i64) -> Result<Identity, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = named(&subject.common_name, subject.group.as_deref());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = subject.usage.clone();
        for name in &subject.names {
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
        }
        params.subject_alt_names.extend(subject.addresses.iter().map(|a| SanType::IpAddress(*a)));
        params.use_authority_key_identifier_extension = true;
        valid_for(&mut params, now, LEAF_DAYS);
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Identity { certificate, key: key.serialize_pem() })
    }

    /// Whether a certificate issued earlier still does for `subject`: signed by this authority, not near its end, and
    /// naming every name and address.
    #[must_use]
    pub fn still_serves(&self, certificate: &str, subject: &Subject, now: i64) -> bool {
        let (Ok(ca), Ok(leaf)) = (
            CertificateDer::from_pem_slice(self.certificate.as_bytes()),
            CertificateDer::from_pem_slice(certificate.as_bytes()),
        ) else {
            return false;
        };
        let (Ok((_, ca)), Ok((_, leaf))) = (X509Certificate::from_der(&ca), X509Certificate::from_der(&leaf)) else {
            return false;
        };
        if leaf.issuer() != ca.subject() || key_id(&leaf) != subject_key_id(&ca) {
            return false;
        }
        if leaf.validity().not_after.timestamp() < now + RENEW_DAYS * DAY {
            return false;
        }
        let held: Vec<&GeneralName<'_>> = leaf
            .subject_alternative_name()
            .ok()
            .flatten()
            .map(|san| san.value.general_names.iter().collect())
            .unwrap_or_default();
        let has_name = |name: &String| held.iter().any(|g| matches!(g, GeneralName::DNSName(n) if n == name));
        let has_address = |address: &IpAddr| {
            held.iter().any(|g| match (g, address) {
                (GeneralName::IPAddress(bytes), IpAddr::V4(v4)) => *bytes == v4.octets(),
                (GeneralName::IPAddress(bytes), IpAddr::V6(v6)) => *bytes == v6.octets(),
                _ => false,
            })
        };
        subject.names.iter().all(has_name) && subject.addresses.iter().all(has_address)
    }
}

fn key_id<'a>(cert: &'a X509Certificate<'_>) -> Option<&'a [u8]> {
    cert.extensions().iter().find_map(|e| match e.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|k| k.0),
        _ => None,
    })
}

fn subject_key_id<'a>(cert: &'a X509Certificate<'_>) -> Option<&'a [u8]> {
    cert.extensions().iter().find_map(|e| match e.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
        _ => None,
    })
}

fn named(common_name: &str, group: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(group) = group {
        name.push(DnType::OrganizationName, group);
    }
    name.push(DnType::CommonName, common_name);
    name
}

/// From five minutes ago, so that a client whose clock is a little behind accepts it.
fn valid_for(params: &mut CertificateParams, now: i64, days: i64) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let at = |seconds: i64| epoch + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    params.not_before = at(now - 300);
    params.not_after = at(now + days * DAY);
}
