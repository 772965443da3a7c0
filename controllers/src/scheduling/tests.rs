//! The loop against an API that misbehaves: nobody is bound twice, nobody is lost, no node is over-committed.

use std::sync::Arc;

use gantry_machinery::clock::Clock;
use gantry_machinery::resource_api::ResourceApi;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::config::Configuration;
use super::extender::tests::serve;
use super::fake::{BindFate, FakeApi, Shared, node, pod};
use super::metrics::Metrics;
use super::{SchedulingOptions, run};

struct Running {
    api: Arc<FakeApi>,
    stop: CancellationToken,
    work: JoinHandle<()>,
    metrics: Arc<Metrics>,
}

/// Starts the loop over what `prepare` puts there.
fn start(prepare: impl Fn(&Arc<FakeApi>)) -> Running {
    start_with(SchedulingOptions::default(), prepare)
}

/// The same, with settings.
fn start_with(mut options: SchedulingOptions, prepare: impl Fn(&Arc<FakeApi>)) -> Running {
    let api = Arc::new(FakeApi::default());
    prepare(&api);
    let shared: Arc<dyn ResourceApi> = Arc::new(Shared(api.clone()));
    let stop = CancellationToken::new();
    let metrics = Arc::new(Metrics::default());
    options.core.gangs = true;
    let work = run(shared, Clock::System, metrics.clone(), options, stop.clone());
    Running { api, stop, work: tokio::spawn(work), metrics }
}

impl Running {
    async fn bound(&self, name: &str) -> String {
        self.api.until(|view| view.node(name)).await
    }

    /// How many attempts on gangs ended so.
    fn gang_attempts(&self, result: &str) -> Option<u64> {
        let mut text = String::new();
        self.metrics.write(&mut text);
        let labels = format!("{{profile=\"default-scheduler\",result=\"{result}\"}} ");
        let series = format!("scheduler_podgroup_schedule_attempts_total{labels}");
        text.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok())
    }

    /// Ends the loop; it must end by itself.
    async fn end(self) {
        self.api.until(|view| view.bound_twice().is_empty().then_some(())).await;
        self.stop.cancel();
        self.work.await.expect("the loop ends in order");
    }
}

#[tokio::test]
async fn pods_are_bound_and_told() {
    let run = start(|api| {
        api.put("nodes", node("n1", 10));
        api.put("pods", pod("a"));
    });
    assert_eq!(run.bound("a").await, "n1");
    run.api.put("pods", pod("b"));
    assert_eq!(run.bound("b").await, "n1");
    run.api
        .until(|view| view.events().contains(&"Scheduled a: Successfully assigned d/a to n1".to_owned()).then_some(()))
        .await;
    run.end().await;
}

#[tokio::test]
async fn a_pod_that_fits_nowhere_is_told_why_and_bound_when_a_node_comes() {
    let run = start(|api| {
        api.put("nodes", node("full", 0));
        api.put("pods", pod("a"));
    });
    let patch = run.api.until(|view| view.patches("a").pop()).await;
    let condition = &patch["status"]["conditions"][0];
    let message = "0/1 nodes are available: 1 Too many pods. no new claims to deallocate, preemption: \
                   0/1 nodes are available: 1 No preemption victims found for incoming pod.";
    assert_eq!((&condition["reason"], &condition["message"]), (&"Unschedulable".into(), &message.into()));
    assert_eq!((&condition["type"], &condition["status"]), (&"PodScheduled".into(), &"False".into()));
    assert_eq!(condition["observedGeneration"], 1);
    assert!(condition["lastTransitionTime"].is_string());
    assert_eq!(patch["metadata"]["uid"], "uid-a");
    run.api.until(|view| view.events().contains(&format!("FailedScheduling a: {message}")).then_some(())).await;
    run.api.put("nodes", node("new", 5));
    assert_eq!(run.bound("a").await, "new");
    run.end().await;
}

#[tokio::test]
async fn a_refused_binding_is_tried_again() {
    let run = start(|api| {
        api.fates(&[BindFate::NotDone]);
        api.put("nodes", node("n1", 1));
        api.put("pods", pod("a"));
    });
    let said = "FailedScheduling a: binding rejected: running Bind plugin \"DefaultBinder\": refused";
    run.api.until(|view| view.events().iter().any(|event| event == said).then_some(())).await;
    let patch = run.api.until(|view| view.patches("a").pop()).await;
    assert_eq!(patch["status"]["conditions"][0]["reason"], "SchedulerError");
    assert_eq!(run.bound("a").await, "n1");
    run.end().await;
}

#[tokio::test]
async fn a_binding_whose_answer_was_lost_is_not_made_twice_and_keeps_its_place() {
    let run = start(|api| {
        api.fates(&[BindFate::DoneUnheard]);
        api.put("nodes", node("n1", 1));
        api.put("pods", pod("a"));
    });
    assert_eq!(run.bound("a").await, "n1");
    // The node is full with it, whatever the answer said.
    run.api.put("pods", pod("b"));
    run.api.until(|view| view.patches("b").pop()).await;
    run.api.delete("pods", "d", "a");
    assert_eq!(run.bound("b").await, "n1");
    run.end().await;
}

#[tokio::test]
async fn a_pod_replaced_while_being_bound_is_another_pod() {
    let run = start(|api| {
        api.fates(&[BindFate::NotDone, BindFate::NotDone]);
        api.put("nodes", node("n1", 1));
        api.put("pods", pod("a"));
    });
    run.api.delete("pods", "d", "a");
    let mut successor = pod("a");
    successor["metadata"]["uid"] = "uid-2".into();
    run.api.put("pods", successor);
    assert_eq!(run.bound("a").await, "n1");
    run.end().await;
}

#[tokio::test]
async fn an_expired_watch_is_followed_by_a_list_that_reconciles() {
    let run = start(|api| {
        api.put("nodes", node("n1", 1));
        api.put("pods", pod("a"));
    });
    assert_eq!(run.bound("a").await, "n1");
    run.api.expire();
    run.api.put("pods", pod("b"));
    run.api.delete("pods", "d", "a");
    assert_eq!(run.bound("b").await, "n1");
    run.end().await;
}

#[tokio::test]
async fn many_pods_with_failing_bindings_all_find_their_place_and_no_node_is_over_committed() {
    let run = start(|api| {
        let fates = [BindFate::NotDone, BindFate::DoneUnheard, BindFate::Done, BindFate::Done];
        api.fates(&fates.repeat(10));
        (0..10).for_each(|n| api.put("nodes", node(&format!("n{n}"), 20)));
        (0..200).for_each(|n| api.put("pods", pod(&format!("p{n}"))));
    });
    let nodes =
        run.api.until(|view| (0..200).map(|n| view.node(&format!("p{n}"))).collect::<Option<Vec<String>>>()).await;
    for n in 0..10 {
        assert_eq!(nodes.iter().filter(|name| **name == format!("n{n}")).count(), 20);
    }
    run.end().await;
}

/// A pod of a priority.
fn important(name: &str, priority: i32) -> serde_json::Value {
    let mut body = pod(name);
    body["spec"]["priority"] = priority.into();
    body
}

#[tokio::test]
async fn a_more_important_pod_takes_the_place_of_a_less_important_one() {
    let run = start(|api| {
        api.put("nodes", node("n1", 1));
        api.put("pods", important("low", 1));
    });
    assert_eq!(run.bound("low").await, "n1");
    run.api.put("pods", important("high", 10));
    assert_eq!(run.bound("high").await, "n1");
    run.api.until(|view| view.node("low").is_none().then_some(())).await;
    let patch = run.api.until(|view| view.patches("low").pop()).await;
    let condition = &patch["status"]["conditions"][0];
    assert_eq!(condition["type"], "DisruptionTarget");
    assert_eq!(condition["reason"], "PreemptionByScheduler");
    assert_eq!(condition["message"], "default-scheduler: preempting to accommodate a higher priority pod");
    let preempted = "Preempted low: Preempted by pod uid-high on node n1".to_owned();
    run.api.until(|view| view.events().contains(&preempted).then_some(())).await;
    run.end().await;
}

#[tokio::test]
async fn a_pod_that_room_is_made_for_says_where() {
    let run = start(|api| {
        api.refuse_evictions(true);
        api.put("nodes", node("n1", 1));
        api.put("pods", important("low", 1));
    });
    assert_eq!(run.bound("low").await, "n1");
    run.api.put("pods", important("high", 10));
    let patch = run.api.until(|view| view.patches("high").pop()).await;
    assert_eq!(patch["status"]["nominatedNodeName"], "n1");
    assert_eq!(patch["status"]["conditions"][0]["message"], "0/1 nodes are available: 1 Too many pods.");
    // A victim that could not be asked is asked again.
    run.api.refuse_evictions(false);
    assert_eq!(run.bound("high").await, "n1");
    run.end().await;
}

/// Settings with an extender, as a configuration file has them.
fn with_extender(extender: &str) -> SchedulingOptions {
    let text = format!(
        "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nextenders: [{extender}]\n"
    );
    let config = Configuration::read(text.as_bytes()).expect("valid");
    SchedulingOptions { core: config.core(), extenders: config.extenders.into(), ..SchedulingOptions::default() }
}

#[tokio::test]
async fn an_extender_says_which_node_is_freed_and_until_then_nobody_leaves() {
    // The node that the extender leaves; none at first.
    let chosen: Arc<Mutex<&str>> = Arc::default();
    let choice = chosen.clone();
    let url = serve(move |path, question| {
        assert_eq!((path, &question["Pod"]["metadata"]["name"]), ("/ext/preempt", &"high".into()));
        let mut nodes = question["NodeNameToMetaVictims"].as_object().cloned().expect("it knows the pods");
        assert_eq!(nodes.len(), 2);
        nodes.retain(|node, _| node == *choice.lock());
        (200, serde_json::json!({"NodeNameToMetaVictims": nodes}))
    })
    .await;
    let options = with_extender(&format!("{{urlPrefix: '{url}', preemptVerb: preempt, nodeCacheCapable: true}}"));
    let run = start_with(options, |api| {
        for (node_name, name, priority) in [("n1", "low", 1), ("n2", "lower", 0)] {
            api.put("nodes", node(node_name, 1));
            let mut sits = important(name, priority);
            sits["spec"]["nodeName"] = node_name.into();
            api.put("pods", sits);
        }
        api.put("pods", important("high", 10));
    });
    let patch = run.api.until(|view| view.patches("high").pop()).await;
    assert_eq!(
        patch["status"]["conditions"][0]["message"],
        "0/2 nodes are available: 2 Too many pods. no new claims to deallocate, preemption: no candidate node for preemption"
    );
    assert!(patch["status"]["nominatedNodeName"].is_null());
    run.api.until(|view| (view.node("low").is_some() && view.node("lower").is_some()).then_some(())).await;
    // The dearer one.
    *chosen.lock() = "n1";
    assert_eq!(run.bound("high").await, "n1");
    run.api.until(|view| (view.node("low").is_none() && view.node("lower").is_some()).then_some(())).await;
    run.end().await;
}

#[tokio::test]
async fn a_pod_hears_of_an_extender_that_cannot_say_who_leaves() {
    let url = serve(|_, _| (500, serde_json::Value::Null)).await;
    let options = with_extender(&format!("{{urlPrefix: '{url}', preemptVerb: preempt}}"));
    let run = start_with(options, |api| {
        api.put("nodes", node("n1", 1));
        let mut sits = important("low", 1);
        sits["spec"]["nodeName"] = "n1".into();
        api.put("pods", sits);
        api.put("pods", important("high", 10));
    });
    let said = format!(
        "FailedScheduling high: 0/1 nodes are available: 1 Too many pods. preemption: failed preempt with extender at URL \
         {url}, code 500"
    );
    run.api.until(|view| view.events().contains(&said).then_some(())).await;
    let patch = run.api.until(|view| view.patches("high").pop()).await;
    assert_eq!(patch["status"]["conditions"][0]["reason"], "Unschedulable");
    assert!(run.api.until(|view| Some(view.node("low"))).await.is_some(), "nobody leaves");
    run.end().await;
}

fn group(min_count: u32) -> serde_json::Value {
    serde_json::json!({"metadata": {"name": "g", "namespace": "d", "uid": "uid-g", "generation": 1},
                       "spec": {"schedulingPolicy": {"gang": {"minCount": min_count}}}})
}

fn member(name: &str) -> serde_json::Value {
    let mut pod = pod(name);
    pod["spec"]["schedulingGroup"] = serde_json::json!({"podGroupName": "g"});
    pod
}

#[tokio::test]
async fn a_gang_waits_for_its_last_pod_and_its_group_is_told() {
    let run = start(|api| {
        api.put("nodes", node("n1", 10));
        api.put("podgroups.scheduling.k8s.io", group(3));
        ["a", "b"].iter().for_each(|name| api.put("pods", member(name)));
        api.put("pods", pod("alone"));
    });
    assert_eq!(run.bound("alone").await, "n1");
    assert_eq!(run.api.until(|view| Some(view.node("a").or(view.node("b")))).await, None, "two are too few");
    run.api.put("pods", member("c"));
    for name in ["a", "b", "c"] {
        assert_eq!(run.bound(name).await, "n1");
    }
    let patch = run.api.until(|view| view.patches("g").pop()).await;
    let condition = &patch["status"]["conditions"][0];
    assert_eq!((&condition["type"], &condition["status"]), (&"PodGroupScheduled".into(), &"True".into()));
    assert_eq!((&condition["reason"], &condition["observedGeneration"]), (&"Scheduled".into(), &1.into()));
    run.end().await;
}

#[tokio::test]
async fn a_gang_too_large_is_told_and_bound_once_there_is_room() {
    let run = start(|api| {
        api.put("nodes", node("n1", 2));
        api.put("podgroups.scheduling.k8s.io", group(3));
        ["a", "b", "c"].iter().for_each(|name| api.put("pods", member(name)));
    });
    let said = async |name: &'static str| {
        let patch = run.api.until(move |view| view.patches(name).pop()).await;
        patch["status"]["conditions"][0]["message"].as_str().unwrap_or_default().to_owned()
    };
    let waits = "pod group is unschedulable, waiting for minCount pods from a gang to be scheduled";
    assert_eq!((said("a").await.as_str(), said("b").await.as_str()), (waits, waits));
    assert_eq!(
        said("c").await,
        "0/1 nodes are available: 1 Too many pods. no new claims to deallocate, preemption: not tried for the pods of a gang."
    );
    assert_eq!(said("g").await, "pod group is unschedulable");
    run.api.put("pods", pod("alone"));
    assert_eq!((run.gang_attempts("scheduled"), run.gang_attempts("unschedulable")), (None, Some(1)));
    assert_eq!(run.bound("alone").await, "n1", "a gang that waits keeps nothing for itself");
    run.api.put("nodes", node("n2", 2));
    for name in ["a", "b", "c"] {
        run.bound(name).await;
    }
    assert_eq!(run.gang_attempts("scheduled"), Some(1));
    run.end().await;
}

#[tokio::test]
async fn a_gang_whose_binding_is_refused_comes_back_whole() {
    let run = start(|api| {
        api.fates(&[BindFate::NotDone]);
        api.put("nodes", node("n1", 10));
        api.put("podgroups.scheduling.k8s.io", group(3));
        ["a", "b", "c"].iter().for_each(|name| api.put("pods", member(name)));
    });
    for name in ["a", "b", "c"] {
        let refused =
            format!("FailedScheduling {name}: binding rejected: running Bind plugin \"DefaultBinder\": refused");
        run.api.until(move |view| view.events().contains(&refused).then_some(())).await;
    }
    for name in ["a", "b", "c"] {
        assert_eq!(run.bound(name).await, "n1");
    }
    run.end().await;
}
