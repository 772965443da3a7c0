//! The cluster's keys and certificates, made at the first start under the data directory and reused afterwards.
//!
//! Called by [`crate::server`] before anything listens. The layout follows upstream's certificates directory (`ca.crt`,
//! `apiserver.crt`, `front-proxy-ca.crt`, `sa.key`, ...), so an operator may put certificates of their own there.
//! Invariants: private keys are readable by their owner alone; a file appears whole or not at all; a leaf that is near
//! its end, or does not name every address the server has, is issued again from the same authority.

pub mod issue;
pub mod kubeconfig;

use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{ExtendedKeyUsagePurpose, KeyPair};

use self::issue::{Authority, Subject};

/// Everything the server needs to prove who it is and to check who others are.
#[derive(Debug)]
pub struct Pki {
    /// Signs servers and clients of this cluster.
    pub ca: Authority,
    /// Signs proxies that may speak for others.
    pub front_proxy_ca: Authority,
    /// The server's own certificate.
    pub serving: Identity,
    /// A client in `system:masters`.
    pub admin: Identity,
    /// The client the server is to aggregated servers and webhooks.
    pub front_proxy_client: Identity,
    /// Signs ServiceAccount tokens: a PKCS#8 private key in PEM.
    pub service_account_key: String,
}

/// A certificate with its private key, both PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate, followed by nothing: its issuer is known to all sides.
    pub certificate: String,
    /// The private key, PKCS#8.
    pub key: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity(..)")
    }
}

/// Why the keys could not be had.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file could not be read or written.
    #[error("{path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A certificate could not be issued, or an authority on disk could not be used.
    #[error("cannot issue certificates from {path}")]
    Issue {
        /// The authority, or the certificate to be.
        path: PathBuf,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// One half of a pair is there and the other is not: refusing beats replacing an operator's file.
    #[error("{0} is there, its counterpart is not: restore it, or remove both to have them made anew")]
    Half(PathBuf),
}

/// The names and addresses a serving certificate holds.
#[derive(Clone, Debug, Default)]
pub struct ServingNames {
    /// DNS names.
    pub names: Vec<String>,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
}

impl ServingNames {
    /// The names by which pods, nodes and this machine reach the server: loopback, the host's name, the `kubernetes`
    /// Service, and `extra` addresses (the Service's, the advertised one).
    #[must_use]
    pub fn usual(extra: impl IntoIterator<Item = IpAddr>) -> Self {
        let mut names: Vec<String> = [
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ]
        .map(String::from)
        .to_vec();
        if let Some(host) = hostname().filter(|h| !names.contains(h)) {
            names.push(host);
        }
        let mut addresses: Vec<IpAddr> = vec![[127, 0, 0, 1].into(), std::net::Ipv6Addr::LOCALHOST.into()];
        for address in extra {
            if !address.is_unspecified() && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        Self { names, addresses }
    }

    /// Adds what is not there yet; texts that are addresses count as such.
    pub fn extend(&mut self, further: &[String]) {
        for text in further {
            match text.parse::<IpAddr>() {
                Ok(address) if !self.addresses.contains(&address) => self.addresses.push(address),
                Err(_) if !self.names.contains(text) => self.names.push(text.clone()),
                _ => {}
            }
        }
    }
}

fn hostname() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim().to_ascii_lowercase();
    let valid = !name.is_empty()
        && name.len() <= 253
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
        && name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    valid.then_some(name)
}

impl Pki {
    /// Reads what is under `dir` and makes what is missing or near its end. `now`: Unix seconds.
    ///
    /// # Errors
    /// [`PkiError`]: the server cannot start.
    pub fn open(dir: &Path, names: &ServingNames, now: i64) -> Result<Self, PkiError> {
        fs::create_dir_all(dir).map_err(|source| PkiError::File { path: dir.to_owned(), source })?;
        let ca = authority(dir, "ca", "kubernetes", now)?;
        let front_proxy_ca = authority(dir, "front-proxy-ca", "front-proxy-ca", now)?;
        let serving = leaf(
            dir,
            "apiserver",
            &ca,
            &Subject {
                common_name: "kube-apiserver".into(),
                names: names.names.clone(),
                addresses: names.addresses.clone(),
                usage: vec![ExtendedKeyUsagePurpose::ServerAuth],
                ..Subject::default()
            },
            now,
        )?;
        let admin = leaf(dir, "admin", &ca, &Subject::client("kubernetes-admin", Some("system:masters")), now)?;
        let front_proxy_client =
            leaf(dir, "front-proxy-client", &front_proxy_ca, &Subject::client("front-proxy-client", None), now)?;
        let service_account_key = service_account_key(dir)?;
        Ok(Self { ca, front_proxy_ca, serving, admin, front_proxy_client, service_account_key })
    }

    /// A client certificate of this cluster, made anew: what each loop and node of this process identifies itself by.
    ///
    /// # Errors
    /// [`PkiError::Issue`].
    pub fn client(&self, user: &str, group: Option<&str>, now: i64) -> Result<Identity, PkiError> {
        self.ca
            .issue(&Subject::client(user, group), now)
            .map_err(|source| PkiError::Issue { path: PathBuf::from(user), source })
    }
}

/// Reads or makes an authority: `{name}.crt` and `{name}.key`.
fn authority(dir: &Path, name: &str, common_name: &str, now: i64) -> Result<Authority, PkiError> {
    let (cert_path, key_path) = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
    let issue = |source| PkiError::Issue { path: cert_path.clone(), source };
    match (read(&cert_path)?, read(&key_path)?) {
        (Some(certificate), Some(key)) => Authority::from_pem(certificate, &key).map_err(issue),
        (None, None) => {
            let (authority, key) = Authority::new(common_name, now).map_err(issue)?;
            write(&key_path, key.as_bytes(), 0o600)?;
            write(&cert_path, authority.certificate.as_bytes(), 0o644)?;
            tracing::info!(path = %cert_path.display(), "made a certificate authority");
            Ok(authority)
        }
        (Some(_), None) => Err(PkiError::Half(cert_path)),
        (None, Some(_)) => Err(PkiError::Half(key_path)),
    }
}

/// Reads a certificate and key, or issues them: when absent, near the end, of another authority, or short of a name.
fn leaf(dir: &Path, name: &str, ca: &Authority, subject: &Subject, now: i64) -> Result<Identity, PkiError> {
    let (cert_path, key_path) = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
    if let (Some(certificate), Some(key)) = (read(&cert_path)?, read(&key_path)?)
        && ca.still_serves(&certificate, subject, now)
    {
        return Ok(Identity { certificate, key });
    }
    let made = ca.issue(subject, now).map_err(|source| PkiError::Issue { path: cert_path.clone(), source })?;
    write(&key_path, made.key.as_bytes(), 0o600)?;
    write(&cert_path, made.certificate.as_bytes(), 0o644)?;
    tracing::info!(path = %cert_path.display(), "issued a certificate");
    Ok(made)
}

fn service_account_key(dir: &Path) -> Result<String, PkiError> {
    let (key_path, public_path) = (dir.join("sa.key"), dir.join("sa.pub"));
    if let Some(key) = read(&key_path)? {
        return Ok(key);
    }
    let pair = KeyPair::generate().map_err(|source| PkiError::Issue { path: key_path.clone(), source })?;
    let key = pair.serialize_pem();
    write(&key_path, key.as_bytes(), 0o600)?;
    write(&public_path, pair.public_key_pem().as_bytes(), 0o644)?;
    Ok(key)
}

fn read(path: &Path) -> Result<Option<String>, PkiError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PkiError::File { path: path.to_owned(), source }),
    }
}

/// Writes a file that is either there whole or not at all, with these permissions from the first byte on.
///
/// # Errors
/// [`PkiError::File`].
pub fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), PkiError> {
    let temporary = path.with_extension(format!("tmp{}", std::process::id()));
    let written = (|| {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    written.map_err(|source| PkiError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    #[test]
    fn the_second_start_reuses_what_the_first_made() {
        let dir = tempfile::tempdir().unwrap();
        let names = ServingNames::usual([[10, 96, 0, 1].into()]);
        let first = Pki::open(dir.path(), &names, NOW).unwrap();
        let second = Pki::open(dir.path(), &names, NOW + 86_400).unwrap();
        assert_eq!(first.ca.certificate, second.ca.certificate);
        assert_eq!(first.serving.certificate, second.serving.certificate);
        assert_eq!(first.service_account_key, second.service_account_key);
        for key in ["ca.key", "apiserver.key", "admin.key", "sa.key", "front-proxy-ca.key"] {
            let mode = fs::metadata(dir.path().join(key)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{key}");
        }
    }

    #[test]
    fn a_leaf_near_its_end_or_short_of_an_address_is_issued_again_by_the_same_authority() {
        let dir = tempfile::tempdir().unwrap();
        let names = ServingNames::usual([]);
        let first = Pki::open(dir.path(), &names, NOW).unwrap();
        let more = ServingNames::usual([[192, 0, 2, 7].into()]);
        let second = Pki::open(dir.path(), &more, NOW).unwrap();
        assert_ne!(first.serving.certificate, second.serving.certificate);
        assert_eq!(first.admin.certificate, second.admin.certificate);
        let third = Pki::open(dir.path(), &more, NOW + 360 * 86_400).unwrap();
        assert_ne!(second.serving.certificate, third.serving.certificate);
        assert_ne!(second.admin.certificate, third.admin.certificate);
        assert_eq!(first.ca.certificate, third.ca.certificate);
    }

    #[test]
    fn half_an_authority_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ca.crt"), "theirs").unwrap();
        let err = Pki::open(dir.path(), &ServingNames::default(), NOW).unwrap_err();
        assert!(matches!(err, PkiError::Half(_)), "{err}");
        assert_eq!(fs::read_to_string(dir.path().join("ca.crt")).unwrap(), "theirs");
    }
}
