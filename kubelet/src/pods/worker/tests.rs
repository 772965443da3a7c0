//! The worker against the simulated runtime on simulated time: what the API would be shown at each point.

use serde_json::{Value, json};

use super::*;
use crate::pods::status::{self, Host};
use crate::runtime::simulated::{Simulated, SimulatedConfig};
use crate::runtime::{ContainerRuntime, Operation, PodId};
use gantry_machinery::clock::Clock;

/// A node with one pod on it.
struct Node {
    worker: Worker,
    runtime: Simulated,
    clock: Clock,
    reasons: Vec<&'static str>,
}

impl Node {
    fn with(pod: &Value, delay: Duration) -> Self {
        let clock = Clock::simulated("2026-01-01T00:00:00Z".parse().unwrap());
        let config =
            SimulatedConfig { start_delay: delay, stop_delay: delay, spread: 0.0, ..SimulatedConfig::default() };
        Self::on(Simulated::new(config, clock), clock, pod)
    }

    fn on(runtime: Simulated, clock: Clock, pod: &Value) -> Self {
        let (brief, prior) = PodBrief::decode(pod.to_string().as_bytes()).unwrap();
        let mut effects = Effects::default();
        let now = Now { at: Instant::now(), wall: clock.now() };
        let worker = Worker::new(Arc::new(brief), &prior, "10.0.0.2".into(), now, &mut effects);
        let mut node = Self { worker, runtime, clock, reasons: Vec::new() };
        node.carry_out(effects);
        node
    }

    fn now(&self) -> Now {
        Now { at: Instant::now(), wall: self.clock.now() }
    }

    fn carry_out(&mut self, effects: Effects) {
        self.reasons.extend(effects.facts.iter().map(|fact| fact.reason));
        for what in effects.operations {
            let brief = self.worker.brief.clone();
            self.runtime.begin(Operation { pod: PodId(1), brief, what });
        }
    }

    fn change(&mut self, pod: &Value) {
        let (brief, prior) = PodBrief::decode(pod.to_string().as_bytes()).unwrap();
        let mut effects = Effects::default();
        self.worker.observe(brief, &prior, self.now(), &mut effects);
        self.carry_out(effects);
    }

    /// Lets `time` pass.
    async fn pass(&mut self, time: Duration) {
        let end = Instant::now() + time;
        loop {
            let tick = self.worker.next_deadline().unwrap_or(end).min(end);
            let mut effects = Effects::default();
            match tokio::time::timeout_at(tick, self.runtime.finished()).await {
                Ok(outcomes) => {
                    for outcome in outcomes {
                        let now = self.now();
                        self.worker.happened(&outcome.what, now, &mut effects);
                    }
                }
                Err(_) => {
                    let now = self.now();
                    self.worker.tick(now, &mut effects);
                    self.carry_out(effects);
                    if Instant::now() >= end {
                        return;
                    }
                    continue;
                }
            }
            self.carry_out(effects);
        }
    }

    fn status(&mut self) -> Value {
        let host = Host { ip: "172.16.0.10", scheme: "simulated" };
        let wall = self.clock.now();
        let patch = status::patch(&mut self.worker, host, wall);
        serde_json::from_slice::<Value>(&patch).unwrap()["status"].take()
    }
}

fn pod(spec: Value) -> Value {
    json!({
        "metadata": {"name": "p", "namespace": "default", "uid": "u-1", "generation": 1},
        "spec": spec,
        "status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "True"}]},
    })
}

fn web() -> Value {
    json!({"nodeName": "n", "containers": [{"name": "web", "image": "nginx:1.27"}]})
}

fn condition<'a>(status: &'a Value, kind: &str) -> &'a Value {
    status["conditions"].as_array().unwrap().iter().find(|c| c["type"] == kind).unwrap_or(&Value::Null)
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_pod_is_created_runs_and_is_ready() {
    let mut node = Node::with(&pod(web()), 2 * SECOND);
    let status = node.status();
    assert_eq!(status["phase"], "Pending");
    assert_eq!(status["containerStatuses"][0]["state"]["waiting"]["reason"], "ContainerCreating");
    assert_eq!(status["podIP"], Value::Null);
    assert_eq!(condition(&status, "Ready")["message"], "containers with unready status: [web]");
    node.pass(3 * SECOND).await;
    let status = node.status();
    assert_eq!(status["phase"], "Running");
    assert_eq!(status["podIP"], "10.0.0.2");
    assert_eq!(status["observedGeneration"], 1);
    assert_eq!(condition(&status, "Ready")["status"], "True");
    assert_eq!(condition(&status, "Ready")["lastTransitionTime"], "2026-01-01T00:00:03Z");
    assert_eq!(condition(&status, "PodScheduled"), &Value::Null, "it is the scheduler's");
    let web = &status["containerStatuses"][0];
    assert_eq!(web["state"]["running"]["startedAt"], "2026-01-01T00:00:02Z");
    assert_eq!((&web["ready"], &web["started"], &web["restartCount"]), (&json!(true), &json!(true), &json!(0)));
    assert_eq!(web["image"], "docker.io/library/nginx:1.27");
    assert_eq!(node.reasons, ["Pulled", "Created", "Started"]);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_pod_becomes_unready_stops_within_its_grace_and_is_finished() {
    let mut object = pod(web());
    let mut node = Node::with(&object, 5 * SECOND);
    node.pass(6 * SECOND).await;
    object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:08Z");
    object["metadata"]["deletionGracePeriodSeconds"] = json!(2);
    node.change(&object);
    assert_eq!(condition(&node.status(), "Ready")["status"], "False");
    assert!(!node.worker.finished());
    node.pass(3 * SECOND).await;
    assert!(node.worker.finished());
    let status = node.status();
    assert_eq!(status["phase"], "Failed");
    assert_eq!(status["containerStatuses"][0]["state"]["terminated"]["exitCode"], 137, "killed: it wanted 5 s");
}

#[tokio::test(start_paused = true)]
async fn init_containers_run_in_order_and_sidecars_keep_running() {
    let spec = json!({
        "nodeName": "n", "restartPolicy": "Never",
        "initContainers": [
            {"name": "first", "image": "busybox"},
            {"name": "side", "image": "proxy", "restartPolicy": "Always", "startupProbe": {"initialDelaySeconds": 5}},
        ],
        "containers": [{"name": "main", "image": "app", "command": ["/bin/sleep", "10"]}],
    });
    let mut node = Node::with(&pod(spec), Duration::ZERO);
    node.pass(SECOND).await;
    let status = node.status();
    assert_eq!(status["phase"], "Pending");
    assert_eq!(status["initContainerStatuses"][0]["state"]["terminated"]["reason"], "Completed");
    assert_eq!(status["containerStatuses"][0]["state"]["waiting"]["reason"], "PodInitializing");
    assert_eq!(condition(&status, "Initialized")["message"], "containers with incomplete status: [side]");
    node.pass(6 * SECOND).await;
    let status = node.status();
    assert_eq!(status["phase"], "Running");
    assert_eq!(condition(&status, "Initialized")["status"], "True");
    assert_eq!(condition(&status, "Ready")["status"], "True");
    node.pass(10 * SECOND).await;
    let status = node.status();
    assert_eq!(status["phase"], "Succeeded");
    assert_eq!(condition(&status, "Ready")["reason"], "PodCompleted");
    assert!(status["initContainerStatuses"][1]["state"]["terminated"].is_object(), "the sidecar went last");
}

#[tokio::test(start_paused = true)]
async fn crashing_containers_back_off_and_count_restarts() {
    let mut object = pod(web());
    object["metadata"]["annotations"] = json!({"gantry.dev/run-for": "1s", "gantry.dev/exit-code": "3"});
    let mut node = Node::with(&object, Duration::ZERO);
    node.pass(SECOND + SECOND / 2).await;
    let status = node.status();
    assert_eq!(status["containerStatuses"][0]["restartCount"], 1, "the first restart is free");
    assert_eq!(status["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 3);
    node.pass(SECOND).await;
    let status = node.status();
    assert_eq!(status["phase"], "Running");
    let waiting = &status["containerStatuses"][0]["state"]["waiting"];
    assert_eq!(waiting["reason"], "CrashLoopBackOff");
    assert_eq!(waiting["message"], "back-off 10s restarting failed container=web pod=p_default(u-1)");
    node.pass(11 * SECOND).await;
    let status = node.status();
    assert_eq!(status["containerStatuses"][0]["restartCount"], 2);
    let message = status["containerStatuses"][0]["state"]["waiting"]["message"].as_str().unwrap_or("").to_owned();
    assert!(message.starts_with("back-off 20s"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn pods_that_are_not_restarted_end_with_their_containers() {
    for (command, code, phase) in [("true", 0, "Succeeded"), ("false", 1, "Failed")] {
        let spec = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "i", "command": [command]}]});
        let mut node = Node::with(&pod(spec), Duration::ZERO);
        node.pass(SECOND).await;
        let status = node.status();
        assert_eq!(status["phase"], phase);
        assert_eq!(status["containerStatuses"][0]["state"]["terminated"]["exitCode"], code);
        assert!(!node.worker.finished(), "nobody asked it to go");
    }
}

#[tokio::test(start_paused = true)]
async fn images_that_do_not_exist_keep_the_pod_waiting() {
    let spec = json!({"containers": [{"name": "c", "image": "nginx:404"}]});
    let mut node = Node::with(&pod(spec), Duration::ZERO);
    node.pass(60 * SECOND).await;
    let status = node.status();
    assert_eq!(status["phase"], "Pending");
    assert_eq!(status["containerStatuses"][0]["state"]["waiting"]["reason"], "ImagePullBackOff");
    assert_eq!(status["containerStatuses"][0]["restartCount"], 0);
}

#[tokio::test(start_paused = true)]
async fn the_active_deadline_fails_the_pod() {
    let mut spec = web();
    spec["activeDeadlineSeconds"] = json!(30);
    let mut node = Node::with(&pod(spec), Duration::ZERO);
    node.pass(29 * SECOND).await;
    assert_eq!(node.status()["phase"], "Running");
    node.pass(2 * SECOND).await;
    let status = node.status();
    assert_eq!((&status["phase"], &status["reason"]), (&json!("Failed"), &json!("DeadlineExceeded")));
    assert!(status["containerStatuses"][0]["state"]["terminated"].is_object());
}

#[tokio::test(start_paused = true)]
async fn readiness_waits_for_the_probe_and_for_gates() {
    let spec = json!({
        "readinessGates": [{"conditionType": "lb"}],
        "containers": [{"name": "c", "image": "i", "readinessProbe": {"initialDelaySeconds": 20}}],
    });
    let mut object = pod(spec);
    let mut node = Node::with(&object, Duration::ZERO);
    node.pass(19 * SECOND).await;
    assert_eq!(condition(&node.status(), "ContainersReady")["status"], "False");
    node.pass(2 * SECOND).await;
    let status = node.status();
    assert_eq!(condition(&status, "ContainersReady")["status"], "True");
    assert_eq!(condition(&status, "Ready")["reason"], "ReadinessGatesNotReady");
    object["status"]["conditions"] = json!([{"type": "lb", "status": "True"}]);
    node.change(&object);
    assert_eq!(condition(&node.status(), "Ready")["status"], "True");
}

#[tokio::test(start_paused = true)]
async fn a_restarted_node_takes_up_what_ran_without_changing_its_status() {
    let mut object = pod(web());
    let mut node = Node::with(&object, SECOND);
    node.pass(5 * SECOND).await;
    let before = node.status();
    let scheduled = object["status"]["conditions"][0].take();
    object["status"] = before.clone();
    object["status"]["conditions"].as_array_mut().unwrap().push(scheduled);
    let (runtime, clock) = (Simulated::new(SimulatedConfig::default(), node.clock), node.clock);
    let mut again = Node::on(runtime, clock, &object);
    again.pass(SECOND).await;
    assert_eq!(again.status(), before);
}

#[tokio::test(start_paused = true)]
async fn a_new_image_restarts_its_container() {
    let mut object = pod(web());
    let mut node = Node::with(&object, Duration::ZERO);
    node.pass(SECOND).await;
    object["spec"]["containers"][0]["image"] = json!("nginx:1.28");
    object["metadata"]["generation"] = json!(2);
    node.change(&object);
    node.pass(SECOND).await;
    let status = node.status();
    assert_eq!(status["containerStatuses"][0]["restartCount"], 1);
    assert_eq!(status["containerStatuses"][0]["image"], "docker.io/library/nginx:1.28");
    assert_eq!(status["observedGeneration"], 2);
}
