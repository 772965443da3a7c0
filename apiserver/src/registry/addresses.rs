//! Service addresses: `spec.clusterIP` and node ports, given out when a Service is written and taken back when it goes.
//!
//! Nothing is kept in memory. Every address in use is an object in the store (an `IPAddress`, as upstream has them; a
//! record in a collection of our own for node ports), created and deleted in the Service's own transaction under
//! [`Expect::Absent`]: two servers on one store cannot give the same address out, and no repair loop is needed.

use std::net::Ipv4Addr;

use gantry_machinery::status::Status;
use gantry_machinery::value;
use gantry_machinery::value::Value;
use gantry_store_cache::key::ObjectKey;
use gantry_store_cache::object::Facets;
use gantry_store_cache::store::Store;
use gantry_store_cache::txn::{Expect, Op, Write};
use hashbrown::HashSet;

use super::create::Beside;
use super::table::Row;
use super::validate::{Errors, Path};
use super::{body, metadata, random};

const IP_ADDRESSES: &str = "ipaddresses.networking.k8s.io";
/// Not a resource: no path leads here.
const NODE_PORTS: &str = "nodeports.gantry";
/// Draws at random before the range is searched from end to end.
const DRAWS: usize = 64;

/// The ranges that Services get addresses from.
#[derive(Clone, Debug)]
pub struct ServiceRanges {
    /// The network of cluster IPs (`--service-cluster-ip-range`).
    pub network: Ipv4Addr,
    /// Its prefix length, 12 to 30.
    pub prefix: u8,
    /// The first and last node port (`--service-node-port-range`).
    pub node_ports: (u16, u16),
}

impl Default for ServiceRanges {
    fn default() -> Self {
        Self { network: Ipv4Addr::new(10, 96, 0, 0), prefix: 12, node_ports: (30_000, 32_767) }
    }
}

impl ServiceRanges {
    /// A range in CIDR notation; `None` if it is no IPv4 network with room for Services.
    #[must_use]
    pub fn with_network(self, cidr: &str) -> Option<Self> {
        let (address, prefix) = cidr.split_once('/')?;
        let (address, prefix): (Ipv4Addr, u8) = (address.parse().ok()?, prefix.parse().ok()?);
        if !(8..=30).contains(&prefix) {
            return None;
        }
        let network = Ipv4Addr::from_bits(address.to_bits() & (u32::MAX << (32 - prefix)));
        Some(Self { network, prefix, ..self })
    }

    /// The address of the `kubernetes` Service: the first of the network.
    #[must_use]
    pub fn first(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits() + 1)
    }

    /// Addresses of the network, without its own and the broadcast address.
    fn usable(&self) -> u32 {
        (1_u32 << (32 - self.prefix)) - 2
    }

    fn holds(&self, address: Ipv4Addr) -> bool {
        let offset = address.to_bits().wrapping_sub(self.network.to_bits());
        offset >= 1 && offset <= self.usable()
    }

    /// Where automatic addresses begin: the lower part is left to people who choose their own (KEP-3070).
    fn dynamic_from(&self) -> u32 {
        (self.usable() / 16).clamp(16.min(self.usable() / 2), 256)
    }
}

/// What a Service holds, and what of it is new.
#[derive(Default)]
struct Taking {
    ops: Beside,
    errors: Errors,
    /// Addresses and ports chosen in this very transaction.
    chosen: HashSet<String>,
}

impl ServiceRanges {
    /// Completes a new Service and gives the operations that take its addresses.
    pub(super) fn on_create(&self, store: &Store, row: &Row, object: &mut Value) -> Result<Beside, Status> {
        if !is_service(row) {
            return Ok(Beside::new());
        }
        self.settle(store, row, object, None)
    }

    /// Completes a changed Service; addresses that it no longer names go back.
    pub(super) fn on_update(&self, store: &Store, row: &Row, new: &mut Value, old: &Value) -> Result<Beside, Status> {
        if !is_service(row) || new.get("spec") == old.get("spec") {
            return Ok(Beside::new());
        }
        self.settle(store, row, new, Some(old))
    }

    /// The operations that give back what a Service holds.
    pub(super) fn on_delete(&self, row: &Row, object: &Value) -> Beside {
        if !is_service(row) {
            return Beside::new();
        }
        held(object)
            .into_iter()
            .map(|key| Op { key, expect: Expect::Any, write: Write::Delete { last: None } })
            .collect()
    }

    /// Whether objects of this kind hold addresses at all.
    pub(super) fn concern(&self, row: &Row) -> bool {
        is_service(row)
    }

    fn settle(&self, store: &Store, row: &Row, new: &mut Value, old: Option<&Value>) -> Result<Beside, Status> {
        let owner = (metadata::text(new, "namespace").to_owned(), metadata::text(new, "name").to_owned());
        let had: HashSet<ObjectKey> = old.map(held).unwrap_or_default().into_iter().collect();
        let mut taking = Taking::default();
        let kind = new.str_at(&["spec", "type"]).unwrap_or("ClusterIP").to_owned();
        if kind == "ExternalName" {
            for field in ["clusterIP", "clusterIPs"] {
                new.remove(&["spec", field]);
            }
        } else {
            self.settle_cluster_ip(store, new, old, &had, &owner, &mut taking);
        }
        if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
            let wants = kind == "NodePort" || new.bool_at(&["spec", "allocateLoadBalancerNodePorts"]) != Some(false);
            self.settle_node_ports(store, new, old, wants, &had, &owner, &mut taking);
        }
        let errors = taking.errors.into_vec();
        if !errors.is_empty() {
            return Err(row.invalid(&owner.1, &errors));
        }
        let holds: HashSet<ObjectKey> = held(new).into_iter().collect();
        let gone = had.difference(&holds).cloned();
        let back = gone.map(|key| Op { key, expect: Expect::Any, write: Write::Delete { last: None } });
        taking.ops.extend(back);
        Ok(taking.ops)
    }

    fn settle_cluster_ip(
        &self,
        store: &Store,
        new: &mut Value,
        old: Option<&Value>,
        had: &HashSet<ObjectKey>,
        owner: &(String, String),
        taking: &mut Taking,
    ) {
        let asked = match new.str_at(&["spec", "clusterIP"]) {
            Some(asked) if !asked.is_empty() => asked.to_owned(),
            _ => {
                let first = new.array_at(&["spec", "clusterIPs"]).first().and_then(Value::as_str).unwrap_or_default();
                match (first, old) {
                    ("", Some(old)) => old.str_at(&["spec", "clusterIP"]).unwrap_or_default().to_owned(),
                    (first, _) => first.to_owned(),
                }
            }
        };
        let spec = Path::new("spec");
        let address = match asked.as_str() {
            "None" => {
                new.set(&["spec", "clusterIP"], "None");
                new.set(&["spec", "clusterIPs"], value!(["None"]));
                return;
            }
            "" => {
                let Some(address) = self.free_address(store) else {
                    let full = "failed to allocate a serviceIP: range is full";
                    taking.errors.invalid(&spec.child("clusterIPs"), value!([]), full);
                    return;
                };
                address
            }
            asked => {
                let shown = value!([asked]);
                let list = spec.child("clusterIPs");
                match asked.parse::<Ipv4Addr>() {
                    Ok(address) if self.holds(address) => address,
                    Ok(_) => {
                        let range = format!("{}/{}", self.network, self.prefix);
                        let why = format!(
                            "failed to allocate IP {asked}: the provided IP ({asked}) is not in the valid \
                             range. The range of valid IPs is {range}"
                        );
                        taking.errors.invalid(&list, shown, why);
                        return;
                    }
                    // The Service's own validation says what is wrong with the text.
                    Err(_) => return,
                }
            }
        };
        let text = address.to_string();
        let key = ObjectKey::new(IP_ADDRESSES, "", &text);
        if !had.contains(&key) {
            if store.get(&key).is_some() {
                let why = format!("failed to allocate IP {text}: provided IP is already allocated");
                taking.errors.invalid(&spec.child("clusterIPs"), value!([(text.as_str())]), why);
                return;
            }
            taking.ops.push(taken(key, &mut ip_address(&text, owner)));
        }
        new.set(&["spec", "clusterIP"], text.as_str());
        new.set(&["spec", "clusterIPs"], value!([(text.as_str())]));
        if new.array_at(&["spec", "ipFamilies"]).is_empty() {
            new.set(&["spec", "ipFamilies"], value!(["IPv4"]));
        }
        if new.str_at(&["spec", "ipFamilyPolicy"]).unwrap_or_default().is_empty() {
            new.set(&["spec", "ipFamilyPolicy"], "SingleStack");
        }
    }

    /// An address that nobody holds: drawn at random, then searched for.
    fn free_address(&self, store: &Store) -> Option<Ipv4Addr> {
        let (from, usable, base) = (self.dynamic_from(), self.usable(), self.network.to_bits());
        let free = |offset: u32| {
            let address = Ipv4Addr::from_bits(base + offset);
            store.get(&ObjectKey::new(IP_ADDRESSES, "", &address.to_string())).is_none().then_some(address)
        };
        // Offset 1 is the `kubernetes` Service's, offset `usable` the last.
        let span = u64::from(usable - from) + 1;
        let drawn = (0..DRAWS).find_map(|_| free(from + u32::try_from(random::below(span)).unwrap_or_default()));
        drawn.or_else(|| (from..=usable).find_map(free)).or_else(|| (2..from).find_map(free))
    }

    #[allow(clippy::too_many_arguments, reason = "one Service's circumstances, which nothing else has together")]
    fn settle_node_ports(
        &self,
        store: &Store,
        new: &mut Value,
        old: Option<&Value>,
        wants: bool,
        had: &HashSet<ObjectKey>,
        owner: &(String, String),
        taking: &mut Taking,
    ) {
        let old_ports = old.map(|o| o.array_at(&["spec", "ports"]).to_vec()).unwrap_or_default();
        let mut ports = new.array_at(&["spec", "ports"]).to_vec();
        let spec = Path::new("spec");
        let list = spec.child("ports");
        for (at, port) in ports.iter_mut().enumerate() {
            let item = list.index(at);
            let path = item.child("nodePort");
            let asked = port.i64_at(&["nodePort"]).unwrap_or_default();
            if asked != 0 {
                let key = node_port_key(asked);
                if had.contains(&key) || !taking.chosen.insert(asked.to_string()) {
                    continue;
                }
                let (first, last) = self.node_ports;
                if !(i64::from(first)..=i64::from(last)).contains(&asked) {
                    let why =
                        format!("provided port is not in the valid range. The range of valid ports is {first}-{last}");
                    taking.errors.invalid(&path, asked, why);
                } else if store.get(&key).is_some() {
                    taking.errors.invalid(&path, asked, "provided port is already allocated");
                } else {
                    taking.ops.push(taken(key, &mut node_port(asked, owner)));
                }
                continue;
            }
            if !wants {
                continue;
            }
            // A port that is merely rewritten keeps its number.
            let same = |o: &&Value| ["port", "protocol", "name"].iter().all(|f| o.get(f) == port.get(f));
            let kept = old_ports.iter().find(same).and_then(|o| o.i64_at(&["nodePort"])).filter(|n| *n != 0);
            let chosen = kept.filter(|n| had.contains(&node_port_key(*n))).or_else(|| {
                let free = self.free_port(store, &taking.chosen)?;
                taking.ops.push(taken(node_port_key(free), &mut node_port(free, owner)));
                Some(free)
            });
            match chosen {
                Some(number) => {
                    taking.chosen.insert(number.to_string());
                    port.set(&["nodePort"], number);
                }
                None => taking.errors.invalid(&path, 0_i64, "failed to allocate a nodePort: range is full"),
            }
        }
        new.set(&["spec", "ports"], Value::Array(ports));
    }

    fn free_port(&self, store: &Store, chosen: &HashSet<String>) -> Option<i64> {
        let (first, last) = (i64::from(self.node_ports.0), i64::from(self.node_ports.1));
        let free = |n: i64| (!chosen.contains(&n.to_string()) && store.get(&node_port_key(n)).is_none()).then_some(n);
        let span = u64::try_from(last - first + 1).ok().filter(|s| *s > 0)?;
        let drawn = (0..DRAWS).find_map(|_| free(first + i64::try_from(random::below(span)).unwrap_or_default()));
        drawn.or_else(|| (first..=last).find_map(free))
    }
}

fn is_service(row: &Row) -> bool {
    row.collection == "services"
}

/// The records of everything a Service holds.
fn held(service: &Value) -> Vec<ObjectKey> {
    let mut keys = Vec::new();
    for address in service.array_at(&["spec", "clusterIPs"]).iter().filter_map(Value::as_str) {
        if address.parse::<Ipv4Addr>().is_ok() {
            keys.push(ObjectKey::new(IP_ADDRESSES, "", address));
        }
    }
    for port in service.array_at(&["spec", "ports"]) {
        if let Some(number) = port.i64_at(&["nodePort"]).filter(|n| *n != 0) {
            let key = node_port_key(number);
            // TCP and UDP of one Service may share a number.
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
    }
    keys
}

fn node_port_key(number: i64) -> ObjectKey {
    ObjectKey::new(NODE_PORTS, "", &number.to_string())
}

fn taken(key: ObjectKey, record: &mut Value) -> Op {
    let facets = Facets { labels: body::labels(record), fields: Box::default() };
    Op { key, expect: Expect::Absent, write: Write::Put { body: body::encode(record), facets, ttl: None } }
}

fn ip_address(address: &str, (namespace, name): &(String, String)) -> Value {
    value!({
        "kind": "IPAddress",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {
            "name": address,
            "uid": (random::uuid()),
            "creationTimestamp": (gantry_machinery::time::now()),
            "labels": {
                "ipaddress.kubernetes.io/ip-family": "IPv4",
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
            },
        },
        "spec": {"parentRef": {
            "group": "", "resource": "services", "namespace": (namespace.as_str()), "name": (name.as_str()),
        }},
    })
}

fn node_port(number: i64, (namespace, name): &(String, String)) -> Value {
    value!({
        "metadata": {"name": (number.to_string())},
        "service": {"namespace": (namespace.as_str()), "name": (name.as_str())},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_know_their_bounds() {
        let ranges = ServiceRanges::default();
        assert_eq!(ranges.first(), Ipv4Addr::new(10, 96, 0, 1));
        assert!(ranges.holds(Ipv4Addr::new(10, 111, 255, 254)));
        assert!(!ranges.holds(Ipv4Addr::new(10, 111, 255, 255)), "the broadcast address");
        assert!(!ranges.holds(Ipv4Addr::new(10, 96, 0, 0)), "the network's own");
        assert!(!ranges.holds(Ipv4Addr::new(10, 95, 255, 255)));
        let small = ServiceRanges::default().with_network("192.168.3.7/29").unwrap();
        assert_eq!((small.network, small.usable()), (Ipv4Addr::new(192, 168, 3, 0), 6));
        assert!(small.dynamic_from() <= small.usable());
        assert!(ServiceRanges::default().with_network("10.0.0.0/31").is_none());
    }

    #[test]
    fn a_service_holds_its_addresses_and_each_port_once() {
        let service = value!({"spec": {
            "clusterIPs": ["10.96.0.9"],
            "ports": [{"nodePort": 30053, "protocol": "TCP"}, {"nodePort": 30053, "protocol": "UDP"}, {"port": 1}],
        }});
        let names: Vec<String> = held(&service).iter().map(|k| k.name().to_owned()).collect();
        assert_eq!(names, ["10.96.0.9", "30053"]);
        assert!(held(&value!({"spec": {"clusterIPs": ["None"]}})).is_empty());
    }
}
