//! The Node object of a simulated node: labels, capacity, addresses, conditions and system information.

use gantry_machinery::value;
use gantry_machinery::value::Value;
use jiff::Timestamp;

use super::addresses;

/// What all nodes of a fleet have in common.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Names are this and a number.
    pub name_prefix: String,
    /// CPUs.
    pub cpu: String,
    /// Memory.
    pub memory: String,
    /// Disk.
    pub ephemeral_storage: String,
    /// Pods at most.
    pub pods: u32,
    /// Spread over this many zones (`topology.kubernetes.io/zone`), in turn; 0 for none.
    pub zones: u32,
    /// More labels.
    pub labels: Vec<(String, String)>,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            name_prefix: "node-".to_owned(),
            cpu: "32".to_owned(),
            memory: "256Gi".to_owned(),
            ephemeral_storage: "1Ti".to_owned(),
            pods: 110,
            zones: 0,
            labels: Vec::new(),
        }
    }
}

impl NodeConfig {
    /// The name of node number `node`.
    #[must_use]
    pub fn name(&self, node: u32) -> String {
        format!("{}{node}", self.name_prefix)
    }
}

/// The kubelet version we report: the API level that this program implements.
pub const KUBELET_VERSION: &str = "v1.36.0+gantry";

/// The Node as it registers itself, status included.
#[must_use]
pub fn node(config: &NodeConfig, number: u32, pod_cidr: &str, runtime: &str, now: Timestamp) -> Value {
    let name = config.name(number);
    let mut labels = value!({
        "beta.kubernetes.io/arch": (ARCH),
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": (ARCH),
        "kubernetes.io/hostname": (name.as_str()),
        "kubernetes.io/os": "linux",
    });
    if config.zones > 0 {
        let zone = format!("zone-{}", number % config.zones);
        labels.set(&["topology.kubernetes.io/zone"], zone);
        labels.set(&["topology.kubernetes.io/region"], "simulated");
    }
    for (key, value) in &config.labels {
        labels.set(&[key], value.as_str());
    }
    let cidrs = Value::Array(vec![pod_cidr.into()]);
    value!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": (name.as_str()),
            "labels": labels,
            "annotations": {"gantry.dev/simulated": "true"},
        },
        "spec": {"podCIDR": pod_cidr, "podCIDRs": cidrs},
        "status": (status(config, number, runtime, now)),
    })
}

/// The node's status.
#[must_use]
pub fn status(config: &NodeConfig, number: u32, runtime: &str, now: Timestamp) -> Value {
    let resources = || {
        value!({
            "cpu": (config.cpu.as_str()),
            "ephemeral-storage": (config.ephemeral_storage.as_str()),
            "memory": (config.memory.as_str()),
            "pods": (config.pods.to_string()),
        })
    };
    let address = addresses::host(number).to_string();
    let id = crate::seeded::id(&[config.name(number).as_bytes()]);
    value!({
        "capacity": (resources()),
        "allocatable": (resources()),
        "addresses": [
            {"type": "InternalIP", "address": address},
            {"type": "Hostname", "address": (config.name(number))},
        ],
        "conditions": (conditions(now, None)),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "nodeInfo": {
            "architecture": (ARCH),
            "bootID": (uuid(&id[32..])),
            "containerRuntimeVersion": runtime,
            "kernelVersion": "6.12.0",
            "kubeProxyVersion": "",
            "kubeletVersion": KUBELET_VERSION,
            "machineID": (&id[..32]),
            "operatingSystem": "linux",
            "osImage": "Simulated node",
            "systemUUID": (uuid(&id)),
        },
    })
}

/// The conditions of a healthy node as of now. `since`: when they last changed; `None` for now.
#[must_use]
pub fn conditions(now: Timestamp, since: Option<Timestamp>) -> Value {
    let text = |time: Timestamp| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let row = |kind: &str, status: &str, reason: &str, message: &str| {
        value!({
            "type": kind,
            "status": status,
            "lastHeartbeatTime": (text(now)),
            "lastTransitionTime": (text(since.unwrap_or(now))),
            "reason": reason,
            "message": message,
        })
    };
    Value::Array(vec![
        row("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        row("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        row("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        row("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ])
}

const ARCH: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };

fn uuid(hex: &str) -> String {
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32])
}
