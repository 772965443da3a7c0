//! What a pod asks for in all, as 1.36 adds it up (`component-helpers/resource`, `PodRequests`): the larger of its
//! containers together and its most demanding moment of initialisation, sidecars counted in both; what the pod as a
//! whole asks for wins; overhead comes on top.
//!
//! While a container or a pod is resized in place, the most of what is wanted, granted and in force counts; a wish that
//! its node cannot ever grant (`Infeasible`) does not.

use super::wire::{Container, ContainerStatus, PodSpec, PodStatus, Quantities};
use super::{Amounts, amounts};
use crate::rows::amounts::POD_MAX;

/// CPU that a container without a request counts as when scoring (upstream's `DefaultMilliCPURequest`).
const UNSAID_CPU: i64 = 100;
/// Memory that a container without a request counts as when scoring (upstream's `DefaultMemoryRequest`).
const UNSAID_MEMORY: i64 = 200 << 20;

/// What a pod asks for, and the CPU and memory that it is scored by.
pub(super) fn of(spec: &PodSpec<'_>, status: &PodStatus<'_>) -> (Amounts, i64, i64) {
    let wished = !is_infeasible(status);
    let mut plain = Sum::default();
    let mut scored = Sum::default();
    for container in spec.containers.iter().flatten() {
        let asked = Asked::of(container, status.container_statuses.as_deref(), wished);
        plain.total.add(&asked.amounts);
        scored.total.add(&asked.with_defaults());
    }
    for container in spec.init_containers.iter().flatten() {
        let sidecar = container.restart_policy.as_deref() == Some("Always");
        // Only sidecars run on and can be resized.
        let statuses = status.init_container_statuses.as_deref().filter(|_| sidecar);
        let asked = Asked::of(container, statuses, wished);
        scored.init(&asked.with_defaults(), sidecar);
        plain.init(&asked.amounts, sidecar);
    }
    let (mut plain, mut scored) = (plain.total_with_init(), scored.total_with_init());
    let overhead = amounts(spec.overhead.as_ref());
    if let Some(requests) = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref()) {
        let most = of_pod(requests, status, &overhead, wished);
        for sum in [&mut plain, &mut scored] {
            for (name, _) in requests.iter().filter(|(name, _)| is_of_pods(name)) {
                sum.take(name, &most);
            }
        }
    }
    plain.add(&overhead);
    scored.add(&overhead);
    plain.pods = 0;
    plain.tidy();
    plain.cap(POD_MAX);
    scored.cap(POD_MAX);
    (plain, scored.cpu, scored.memory)
}

/// Whether a pod may ask for a resource as a whole.
fn is_of_pods(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

/// What the pod as a whole asks for: while it is resized, the most of what is wanted, granted and in force. The last two
/// hold the overhead already.
fn of_pod(requests: &Quantities<'_>, status: &PodStatus<'_>, overhead: &Amounts, wished: bool) -> Amounts {
    let in_force = status.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let known = [in_force, status.allocated_resources.as_ref()].into_iter().flatten();
    let mut most = Amounts::default();
    let mut any = false;
    for quantities in known {
        let mut amounts = amounts(Some(quantities));
        amounts.take_away(overhead);
        most.raise(&amounts);
        any = true;
    }
    if wished || !any {
        most.raise(&amounts(Some(requests)));
    }
    most
}

/// Whether the resize that is wanted can never be granted on the pod's node.
fn is_infeasible(status: &PodStatus<'_>) -> bool {
    let pending = status.conditions.iter().flatten().find(|c| c.kind.as_deref() == Some("PodResizePending"));
    pending.is_some_and(|condition| condition.reason.as_deref() == Some("Infeasible"))
}

/// Adds up containers and the moments of initialisation.
#[derive(Default)]
struct Sum {
    total: Amounts,
    sidecars: Amounts,
    peak: Amounts,
}

impl Sum {
    fn init(&mut self, asked: &Amounts, sidecar: bool) {
        if sidecar {
            self.total.add(asked);
            self.sidecars.add(asked);
            self.peak.raise(&self.sidecars);
        } else {
            let mut moment = asked.clone();
            moment.add(&self.sidecars);
            self.peak.raise(&moment);
        }
    }

    fn total_with_init(mut self) -> Amounts {
        self.total.raise(&self.peak);
        self.total
    }
}

/// What one container asks for.
struct Asked {
    amounts: Amounts,
    says_cpu: bool,
    says_memory: bool,
}

impl Asked {
    fn of(container: &Container<'_>, statuses: Option<&[ContainerStatus<'_>]>, wished: bool) -> Self {
        let status = statuses.into_iter().flatten().find(|s| s.name.is_some() && s.name == container.name);
        let resized = status.and_then(|status| Some((status, status.resources.as_ref()?)));
        let spec = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        let wanted = spec.filter(|_| wished || resized.is_none());
        let in_force = resized.and_then(|(_, resources)| resources.requests.as_ref());
        let granted = resized.and_then(|(status, _)| status.allocated_resources.as_ref());
        let mut asked = Self { amounts: Amounts::default(), says_cpu: false, says_memory: false };
        for quantities in [wanted, in_force, granted].into_iter().flatten() {
            asked.amounts.raise(&amounts(Some(quantities)));
            asked.says_cpu |= quantities.contains_key("cpu");
            asked.says_memory |= quantities.contains_key("memory");
        }
        asked
    }

    fn with_defaults(&self) -> Amounts {
        let mut scored = self.amounts.clone();
        if !self.says_cpu {
            scored.cpu = UNSAID_CPU;
        }
        if !self.says_memory {
            scored.memory = UNSAID_MEMORY;
        }
        scored
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::POD_MAX;
    use crate::rows::PodRow;

    fn pod(spec: Value, status: Value) -> PodRow {
        let body = json!({"metadata": {"name": "p", "namespace": "d", "uid": "u"}, "spec": spec, "status": status});
        PodRow::from_json(body.to_string().as_bytes()).expect("a pod")
    }

    /// A container with requests.
    fn asks(name: &str, requests: Value) -> Value {
        json!({"name": name, "resources": {"requests": requests}})
    }

    /// The same that runs beside the others.
    fn sidecar(name: &str, requests: Value) -> Value {
        json!({"name": name, "restartPolicy": "Always", "resources": {"requests": requests}})
    }

    fn infeasible() -> Value {
        json!([{"type": "PodResizePending", "status": "True", "reason": "Infeasible"}])
    }

    /// Name, spec, status; milli-CPU and bytes requested; milli-CPU and bytes scored by.
    fn cases() -> Vec<(&'static str, Value, Value, [i64; 4])> {
        let cpu = |text: &str| json!({"cpu": text});
        let both = |cpu: &str, memory: &str| json!({"cpu": cpu, "memory": memory});
        const UNSAID: i64 = super::UNSAID_MEMORY;
        vec![
            ("nothing", json!({"containers": [asks("a", json!({}))]}), json!({}), [0, 0, 100, UNSAID]),
            ("zero is said", json!({"containers": [asks("a", both("0", "0"))]}), json!({}), [0, 0, 0, 0]),
            (
                "containers add up",
                json!({"containers": [asks("a", both("1", "1Ki")), asks("b", cpu("500m"))]}),
                json!({}),
                [1500, 1024, 1500, 1024 + UNSAID],
            ),
            (
                "the greediest init container, if it asks for more",
                json!({"containers": [asks("a", cpu("1"))], "initContainers": [asks("i", cpu("3")), asks("j", cpu("2"))]}),
                json!({}),
                [3000, 0, 3000, UNSAID],
            ),
            (
                "sidecars beside the containers and the init containers after them",
                json!({"containers": [asks("a", cpu("1"))],
                       "initContainers": [asks("i", cpu("2")), sidecar("s", cpu("1")), asks("j", cpu("2"))]}),
                json!({}),
                [3000, 0, 3000, 2 * UNSAID],
            ),
            (
                "overhead on top",
                json!({"containers": [asks("a", cpu("1"))], "overhead": both("250m", "1Mi")}),
                json!({}),
                [1250, 1 << 20, 1250, UNSAID + (1 << 20)],
            ),
            (
                "what the pod asks for wins, overhead still on top",
                json!({"containers": [asks("a", both("3", "1Gi"))], "resources": {"requests": cpu("2")}, "overhead": cpu("100m")}),
                json!({}),
                [2100, 1 << 30, 2100, 1 << 30],
            ),
            (
                "growing: what is wanted counts before it is granted",
                json!({"containers": [asks("a", cpu("4"))]}),
                json!({"containerStatuses": [
                    {"name": "a", "resources": {"requests": cpu("1")}, "allocatedResources": cpu("1")}]}),
                [4000, 0, 4000, UNSAID],
            ),
            (
                "shrinking: what is in force counts until it is given back",
                json!({"containers": [asks("a", cpu("1"))]}),
                json!({"containerStatuses": [
                    {"name": "a", "resources": {"requests": cpu("4")}, "allocatedResources": cpu("2")}]}),
                [4000, 0, 4000, UNSAID],
            ),
            (
                "infeasible: a wish that cannot be granted does not count",
                json!({"containers": [asks("a", cpu("64"))]}),
                json!({"conditions": infeasible(), "containerStatuses": [
                    {"name": "a", "resources": {"requests": cpu("1")}, "allocatedResources": cpu("2")}]}),
                [2000, 0, 2000, UNSAID],
            ),
            (
                "infeasible, and nothing in force yet: the wish is all there is",
                json!({"containers": [asks("a", cpu("64"))]}),
                json!({"conditions": infeasible()}),
                [64_000, 0, 64_000, UNSAID],
            ),
            (
                "deferred: it may be granted any time",
                json!({"containers": [asks("a", cpu("64"))]}),
                json!({"conditions": [{"type": "PodResizePending", "status": "True", "reason": "Deferred"}],
                       "containerStatuses": [{"name": "a", "resources": {"requests": cpu("1")}}]}),
                [64_000, 0, 64_000, UNSAID],
            ),
            (
                "granted without anything in force is not looked at",
                json!({"containers": [asks("a", cpu("1"))]}),
                json!({"containerStatuses": [{"name": "a", "allocatedResources": cpu("2")}]}),
                [1000, 0, 1000, UNSAID],
            ),
            (
                "sidecars are resized, init containers are not",
                json!({"containers": [asks("a", cpu("1"))], "initContainers": [sidecar("s", cpu("1")), asks("i", cpu("1"))]}),
                json!({"initContainerStatuses": [
                    {"name": "s", "resources": {"requests": cpu("2")}}, {"name": "i", "resources": {"requests": cpu("9")}}]}),
                [3000, 0, 3000, 2 * UNSAID],
            ),
            (
                "the pod as a whole is resized, its overhead aside",
                json!({"containers": [asks("a", cpu("1"))], "resources": {"requests": cpu("2")}, "overhead": cpu("500m")}),
                json!({"resources": {"requests": cpu("4500m")}, "allocatedResources": cpu("2500m")}),
                [4500, 0, 4500, UNSAID],
            ),
            (
                "the pod as a whole wants what cannot be granted",
                json!({"containers": [asks("a", cpu("1"))], "resources": {"requests": cpu("99")}}),
                json!({"conditions": infeasible(), "allocatedResources": cpu("3")}),
                [3000, 0, 3000, UNSAID],
            ),
            (
                "more than there are numbers for",
                json!({"containers": [asks("a", both("9223372036854775807", "16Ei")), asks("b", both("1", "16Ei"))]}),
                json!({}),
                [POD_MAX, POD_MAX, POD_MAX, POD_MAX],
            ),
        ]
    }

    #[test]
    fn requests_add_up_as_upstreams_do() {
        for (name, spec, status, wanted) in cases() {
            let demand = pod(spec, status).demand;
            let got = [demand.requests.cpu, demand.requests.memory, demand.scored_cpu, demand.scored_memory];
            assert_eq!(got, wanted, "{name}");
        }
    }

    #[test]
    fn a_pod_may_ask_for_hugepages_as_a_whole_and_for_nothing_exotic() {
        let containers = [asks("a", json!({"hugepages-2Mi": "2Mi", "a.io/x": "1"}))];
        let spec =
            json!({"containers": containers, "resources": {"requests": {"hugepages-2Mi": "8Mi", "a.io/x": "7"}}});
        let requests = pod(spec, json!({})).demand.requests;
        assert_eq!((requests.extended("hugepages-2Mi"), requests.extended("a.io/x")), (8 << 20, 1));
    }
}
