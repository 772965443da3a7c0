//! NodePorts: two pods of a node cannot hold the same host port of the same address.

use crate::rows::HostPort;

/// Whether any of `wanted` clashes with one in use.
#[must_use]
pub fn is_taken(used: &[HostPort], wanted: &[HostPort]) -> bool {
    wanted.iter().any(|w| used.iter().any(|u| clash(u, w)))
}

/// `0.0.0.0` is every address.
fn clash(a: &HostPort, b: &HostPort) -> bool {
    const ANY: &str = "0.0.0.0";
    a.port == b.port && a.protocol == b.protocol && (a.ip == b.ip || &*a.ip == ANY || &*b.ip == ANY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(ip: &str, protocol: &str, port: u16) -> HostPort {
        HostPort { ip: ip.into(), protocol: protocol.into(), port }
    }

    #[test]
    fn ports_clash_by_address_protocol_and_number() {
        let used = [port("127.0.0.1", "TCP", 80)];
        for (wanted, taken) in [
            (port("127.0.0.1", "TCP", 80), true),
            (port("0.0.0.0", "TCP", 80), true),
            (port("127.0.0.2", "TCP", 80), false),
            (port("127.0.0.1", "UDP", 80), false),
            (port("127.0.0.1", "TCP", 81), false),
        ] {
            assert_eq!(is_taken(&used, std::slice::from_ref(&wanted)), taken, "{wanted:?}");
        }
        assert!(is_taken(&[port("0.0.0.0", "TCP", 80)], &[port("10.0.0.1", "TCP", 80)]));
    }
}
