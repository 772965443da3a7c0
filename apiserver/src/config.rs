//! Flags to typed configuration: what `gantry apiserver` takes, with upstream's names, checked before anything starts.
//!
//! The root package parses the command line into a [`Config`]; [`Config::validate`] says everything wrong with it at
//! once, in terms of the flags.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::gate::authz::Mode;

/// The API server's configuration. Field names are flag names.
#[derive(Clone, Debug)]
pub struct Config {
    /// `--bind-address`: where to listen.
    pub bind_address: IpAddr,
    /// `--secure-port`: 0 takes any free port.
    pub secure_port: u16,
    /// `--advertise-address`: under which address others reach this server; the bind address where that is one.
    pub advertise_address: Option<IpAddr>,
    /// `--cert-dir`: where keys and certificates are kept and made.
    pub cert_dir: PathBuf,
    /// `--tls-cert-file`, `--tls-private-key-file`: a serving certificate of the operator's own.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// `--tls-san`: further names and addresses for the certificate we make.
    pub tls_sans: Vec<String>,
    /// `--client-ca-file`: what client certificates are signed by; by default our own authority.
    pub client_ca_file: Option<PathBuf>,
    /// `--requestheader-client-ca-file`: what front proxies are signed by; by default our own.
    pub requestheader_client_ca_file: Option<PathBuf>,
    /// `--requestheader-allowed-names`.
    pub requestheader_allowed_names: Vec<String>,
    /// `--token-auth-file`.
    pub token_auth_file: Option<PathBuf>,
    /// `--anonymous-auth`.
    pub anonymous_auth: bool,
    /// `--authorization-mode`.
    pub authorization_mode: Vec<Mode>,
    /// `--service-account-issuer`.
    pub service_account_issuer: String,
    /// `--service-account-signing-key-file`; by default our own.
    pub service_account_signing_key_file: Option<PathBuf>,
    /// `--service-account-key-file`: further keys whose tokens are accepted.
    pub service_account_key_file: Vec<PathBuf>,
    /// `--api-audiences`; by default the issuer.
    pub api_audiences: Vec<String>,
    /// `--service-cluster-ip-range`, the first (primary) range.
    pub service_cluster_ip_range: Cidr,
    /// `--max-requests-inflight`: reads at once.
    pub max_requests_inflight: usize,
    /// `--max-mutating-requests-inflight`: writes at once.
    pub max_mutating_requests_inflight: usize,
    /// `--request-timeout`, for requests that do not go on for ever.
    pub request_timeout: Duration,
    /// How long running requests have at shutdown.
    pub shutdown_grace: Duration,
    /// Connections at once.
    pub connections_max: usize,
}

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// An address in it.
    pub address: IpAddr,
    /// How many leading bits are fixed.
    pub prefix: u8,
}

impl Cidr {
    /// The `index`th address of the range; 1 is the `kubernetes` Service's.
    #[must_use]
    pub fn nth(&self, index: u32) -> IpAddr {
        match self.address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                IpAddr::V4(((u32::from(v4) & mask) + index).into())
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                IpAddr::V6(((u128::from(v6) & mask) + u128::from(index)).into())
            }
        }
    }

    /// How many bits of an address are free.
    #[must_use]
    pub fn free_bits(&self) -> u8 {
        let all = if self.address.is_ipv4() { 32 } else { 128 };
        all - self.prefix
    }
}

impl std::str::FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no range of addresses such as 10.96.0.0/12");
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        if prefix > if address.is_ipv4() { 32 } else { 128 } {
            return Err(wrong());
        }
        Ok(Self { address, prefix })
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl std::str::FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "AlwaysAllow" => Ok(Self::AlwaysAllow),
            "AlwaysDeny" => Ok(Self::AlwaysDeny),
            "Node" => Ok(Self::Node),
            "RBAC" => Ok(Self::Rbac),
            other => Err(format!("{other:?} is no authorization mode: one of AlwaysAllow, AlwaysDeny, Node, RBAC")),
        }
    }
}

impl Config {
    /// The defaults of a server that keeps its keys under `cert_dir`.
    #[must_use]
    pub fn new(cert_dir: impl Into<PathBuf>) -> Self {
        Self {
            bind_address: Ipv4Addr::UNSPECIFIED.into(),
            secure_port: 6443,
            advertise_address: None,
            cert_dir: cert_dir.into(),
            tls: None,
            tls_sans: Vec::new(),
            client_ca_file: None,
            requestheader_client_ca_file: None,
            requestheader_allowed_names: vec!["front-proxy-client".to_owned()],
            token_auth_file: None,
            anonymous_auth: true,
            authorization_mode: vec![Mode::Node, Mode::Rbac],
            service_account_issuer: "https://kubernetes.default.svc.cluster.local".to_owned(),
            service_account_signing_key_file: None,
            service_account_key_file: Vec::new(),
            api_audiences: Vec::new(),
            service_cluster_ip_range: Cidr { address: Ipv4Addr::new(10, 96, 0, 0).into(), prefix: 12 },
            max_requests_inflight: 400,
            max_mutating_requests_inflight: 200,
            request_timeout: Duration::from_secs(60),
            shutdown_grace: Duration::from_secs(10),
            connections_max: 65_536,
        }
    }

    /// Where to listen.
    #[must_use]
    pub fn listen(&self) -> SocketAddr {
        SocketAddr::new(self.bind_address, self.secure_port)
    }

    /// The address under which others reach the server.
    #[must_use]
    pub fn advertised(&self) -> IpAddr {
        match self.advertise_address {
            Some(address) => address,
            None if !self.bind_address.is_unspecified() => self.bind_address,
            None => outward_address().unwrap_or(Ipv4Addr::LOCALHOST.into()),
        }
    }

    /// Everything wrong, one line each.
    ///
    /// # Errors
    /// The lines.
    pub fn validate(&self) -> Result<(), Vec<String>> {
        let mut wrong = Vec::new();
        if self.authorization_mode.is_empty() {
            wrong.push("--authorization-mode: at least one mode is needed".to_owned());
        }
        for (at, mode) in self.authorization_mode.iter().enumerate() {
            if self.authorization_mode[..at].contains(mode) {
                wrong.push(format!("--authorization-mode: {mode:?} is named twice"));
            }
        }
        let issuer = &self.service_account_issuer;
        if issuer.is_empty() || (issuer.contains(':') && !issuer.starts_with("https://")) {
            wrong.push("--service-account-issuer: a name, or a URL that starts with https://, is needed".to_owned());
        }
        let range = self.service_cluster_ip_range;
        if range.free_bits() < 2 {
            wrong.push(format!("--service-cluster-ip-range: {range} is too small, four addresses are the least"));
        }
        if range.address.is_ipv4() && range.free_bits() > 20 || range.free_bits() > 112 {
            wrong.push(format!(
                "--service-cluster-ip-range: {range} is too large, the prefix must be at least /12 (IPv6: /16)"
            ));
        }
        for (flag, value) in [
            ("--max-requests-inflight", self.max_requests_inflight),
            ("--max-mutating-requests-inflight", self.max_mutating_requests_inflight),
            ("connections", self.connections_max),
        ] {
            if value == 0 || value > 1 << 20 {
                wrong.push(format!("{flag}: {value} is not between 1 and {}", 1 << 20));
            }
        }
        if self.request_timeout < Duration::from_secs(1) {
            wrong.push("--request-timeout: at least one second is needed".to_owned());
        }
        let plain = |name: &String| {
            let name = name.strip_prefix("*.").unwrap_or(name);
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b':'))
        };
        for name in self.tls_sans.iter().filter(|name| !plain(name)) {
            wrong.push(format!("--tls-san: {name:?} is neither a DNS name nor an address"));
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}

/// The address that this machine would send from: asks the routing table, sends nothing.
fn outward_address() -> Option<IpAddr> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // An address for documentation: connecting a datagram socket only picks the route.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_unspecified()).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_every_fault_is_named() {
        let mut config = Config::new("/nowhere");
        assert_eq!(config.validate(), Ok(()));
        config.authorization_mode = vec![];
        config.service_cluster_ip_range = "10.0.0.0/8".parse().unwrap();
        config.max_requests_inflight = 0;
        config.service_account_issuer = "http://x".to_owned();
        let wrong = config.validate().unwrap_err();
        assert_eq!(wrong.len(), 4, "{wrong:?}");
    }

    #[test]
    fn ranges_count_from_their_first_address() {
        let range: Cidr = "10.96.5.7/12".parse().unwrap();
        assert_eq!(range.nth(1), IpAddr::from([10, 96, 0, 1]));
        assert_eq!("fd00::/108".parse::<Cidr>().unwrap().nth(10), "fd00::a".parse::<IpAddr>().unwrap());
        assert!("10.0.0.0/33".parse::<Cidr>().is_err() && "10.0.0.0".parse::<Cidr>().is_err());
    }
}
