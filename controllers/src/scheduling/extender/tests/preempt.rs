//! What extenders say about who leaves for a pod.

use gantry_scheduler_core::plan::Proposal;
use parking_lot::Mutex;

use super::*;

/// A pod of a priority on a node.
fn sits(name: &str, priority: i32, node: &str) -> Json {
    let mut body = pod(name);
    body["spec"]["priority"] = priority.into();
    body["spec"]["nodeName"] = node.into();
    body
}

/// The pod `p` of priority 5, and others below it: `low-a` on `a`, `low-b` and `lower-b` on `b`, where `spare-b` could stay.
/// `high-b` is above.
fn extenders(all: Vec<ExtenderConfig>) -> (Arc<FakeApi>, Extenders) {
    let api = Arc::new(FakeApi::default());
    let mut preemptor = pod("p");
    preemptor["spec"]["priority"] = 5.into();
    api.put("pods", preemptor);
    let others = [("low-a", 1, "a"), ("low-b", 2, "b"), ("lower-b", 1, "b"), ("spare-b", 1, "b"), ("high-b", 9, "b")];
    others.iter().for_each(|(name, priority, node)| api.put("pods", sits(name, *priority, node)));
    (api.clone(), Extenders::new(Arc::new(Shared(api)), all.into()))
}

fn victim(name: &str) -> PodId {
    PodId { namespace: "d".into(), name: name.into(), uid: format!("uid-{name}").into() }
}

fn proposal(node: &str, victims: &[&str], violations: u32) -> Proposal {
    Proposal { node: node.into(), victims: victims.iter().map(|name| victim(name)).collect(), violations }
}

fn about_victims() -> Consultation {
    let proposals = vec![proposal("a", &["low-a"], 0), proposal("b", &["low-b", "lower-b"], 1)];
    let turned_down = vec![("too hot".to_owned(), 2)];
    Consultation { question: Question::Victims { proposals, turned_down }, ..question() }
}

/// Whole pods: their uids, and the nodes that only the API's objects name.
fn whole(victims: &Json) -> Vec<(&str, &str)> {
    let pods = victims["Pods"].as_array().expect("a list").iter();
    let text = |value| Json::as_str(value).expect("a text");
    pods.map(|pod| (text(&pod["metadata"]["uid"]), text(&pod["spec"]["nodeName"]))).collect()
}

/// The advice that leaves these.
fn left(proposals: Vec<Proposal>) -> Option<Advice> {
    Some(Advice::Victims { proposals: Ok(proposals), turned_down: vec![("too hot".to_owned(), 2)] })
}

fn choosy(url: &str) -> ExtenderConfig {
    ExtenderConfig {
        preempt_verb: "preempt".into(),
        filter_verb: String::new(),
        node_cache_capable: true,
        ..extender(url)
    }
}

/// An extender that always answers this, and what it was asked.
async fn answering(answer: Json) -> (String, Arc<Mutex<Vec<(String, Json)>>>) {
    let seen: Arc<Mutex<Vec<(String, Json)>>> = Arc::default();
    let log = seen.clone();
    let url = serve(move |path, question| {
        log.lock().push((path.to_owned(), question.clone()));
        (200, answer.clone())
    })
    .await;
    (url, seen)
}

/// An answer that leaves a node with these victims.
fn leaves(node: &str, uids: &[&str]) -> Json {
    let pods: Vec<Json> = uids.iter().map(|uid| json!({"UID": uid})).collect();
    json!({"NodeNameToMetaVictims": {node: {"Pods": pods, "NumPDBViolations": 0}}})
}

/// Why asking failed.
async fn failure(all: Vec<ExtenderConfig>) -> String {
    match extenders(all).1.ask(about_victims()).await {
        Ok(Advice::Victims { proposals: Err(why), .. }) => why,
        other => panic!("it must fail: {:?}", other.ok()),
    }
}

#[tokio::test]
async fn uids_go_to_those_who_know_the_pods_and_what_they_leave_goes_on_to_the_next() {
    let (first, asked_first) = answering(json!({"nodeNameToMetaVictims": {
        "a": {"pods": [{"uid": "uid-low-a"}], "numPDBViolations": 3},
        "b": {"pods": [{"uid": "uid-lower-b"}]},
    }}))
    .await;
    let (second, asked_second) = answering(leaves("b", &["uid-lower-b"])).await;
    let (_, extenders) = extenders(vec![choosy(&first), choosy(&second)]);
    assert_eq!(extenders.ask(about_victims()).await.ok(), left(vec![proposal("b", &["lower-b"], 0)]));
    let (path, question) = asked_first.lock()[0].clone();
    assert_eq!((path.as_str(), &question["Pod"]["metadata"]["name"]), ("/ext/preempt", &json!("p")));
    // Go's names, and a map that is not given is null.
    assert_eq!(question.as_object().map(serde_json::Map::len), Some(3));
    assert_eq!(question.get("NodeNameToVictims"), Some(&Json::Null));
    assert_eq!(
        question["NodeNameToMetaVictims"],
        json!({
            "a": {"Pods": [{"UID": "uid-low-a"}], "NumPDBViolations": 0},
            "b": {"Pods": [{"UID": "uid-low-b"}, {"UID": "uid-lower-b"}], "NumPDBViolations": 1},
        })
    );
    assert_eq!(
        asked_second.lock()[0].1["NodeNameToMetaVictims"],
        json!({
            "a": {"Pods": [{"UID": "uid-low-a"}], "NumPDBViolations": 3},
            "b": {"Pods": [{"UID": "uid-lower-b"}], "NumPDBViolations": 0},
        })
    );
}

#[tokio::test]
async fn whole_victims_go_to_those_who_do_not_know_them() {
    let (url, asked) = answering(leaves("a", &["uid-low-a"])).await;
    let config = ExtenderConfig { node_cache_capable: false, ..choosy(&url) };
    let (api, extenders) = extenders(vec![config]);
    assert_eq!(extenders.ask(about_victims()).await.ok(), left(vec![proposal("a", &["low-a"], 0)]));
    let question = asked.lock()[0].1.clone();
    assert_eq!(question.get("NodeNameToMetaVictims"), Some(&Json::Null));
    let victims = &question["NodeNameToVictims"];
    assert_eq!(whole(&victims["a"]), [("uid-low-a", "a")]);
    assert_eq!(whole(&victims["b"]), [("uid-low-b", "b"), ("uid-lower-b", "b")]);
    assert_eq!((&victims["a"]["NumPDBViolations"], &victims["b"]["NumPDBViolations"]), (&json!(0), &json!(1)));
    // A node that a victim has left by itself is not what it was.
    api.delete("pods", "d", "lower-b");
    let _ = extenders.ask(about_victims()).await;
    let victims = asked.lock()[1].1["NodeNameToVictims"].clone();
    assert_eq!((whole(&victims["a"]), victims.get("b")), (vec![("uid-low-a", "a")], None));
    let mut another = sits("low-a", 1, "a");
    another["metadata"]["uid"] = "another".into();
    api.put("pods", another);
    assert_eq!(extenders.ask(about_victims()).await.ok(), left(vec![]));
    assert_eq!(asked.lock().len(), 2, "there is nothing to ask about");
}

#[tokio::test]
async fn an_extender_may_name_another_victim_but_only_one_that_is_there_and_less_important() {
    let (url, _) = answering(leaves("b", &["uid-spare-b"])).await;
    let (_, api) = extenders(vec![choosy(&url)]);
    assert_eq!(api.ask(about_victims()).await.ok(), left(vec![proposal("b", &["spare-b"], 0)]));
    for uid in ["uid-low-a", "uid-high-b", "uid-nobody"] {
        let (url, _) = answering(leaves("b", &["uid-low-b", uid])).await;
        let why = format!(
            "extender: {url} claims to preempt pod (UID: {uid}) on node: b, but the pod is not found on that node"
        );
        assert_eq!(failure(vec![choosy(&url)]).await, why);
    }
    let (url, _) = answering(leaves("elsewhere", &["uid-low-a"])).await;
    let why = format!("extender: {url} claims to preempt on node: elsewhere, which was not asked about");
    assert_eq!(failure(vec![choosy(&url)]).await, why);
}

#[tokio::test]
async fn nodes_without_victims_fail_the_pod_unless_the_extender_may_be_ignored() {
    for without in [json!({"Pods": []}), json!({}), Json::Null] {
        let mut answer = leaves("a", &["uid-low-a"]);
        answer["NodeNameToMetaVictims"]["b"] = without;
        let (url, _) = answering(answer).await;
        assert_eq!(failure(vec![choosy(&url)]).await, "expected at least one victim pod on node \"b\"");
        let ignorable = ExtenderConfig { ignorable: true, ..choosy(&url) };
        let advice = extenders(vec![ignorable]).1.ask(about_victims()).await;
        assert_eq!(advice.ok(), left(vec![proposal("a", &["low-a"], 0)]));
    }
}

#[tokio::test]
async fn an_extender_that_fails_is_skipped_only_if_it_may_be_ignored() {
    let broken = serve(|_, _| (500, Json::Null)).await;
    let why = format!("failed preempt with extender at URL {broken}, code 500");
    assert_eq!(failure(vec![choosy(&broken)]).await, why);
    let (foreign, _) = answering(leaves("a", &["uid-nobody"])).await;
    let (working, _) = answering(leaves("b", &["uid-low-b"])).await;
    let ignorable = |url: &str| ExtenderConfig { ignorable: true, ..choosy(url) };
    for skipped in [broken, foreign] {
        let (_, extenders) = extenders(vec![ignorable(&skipped), choosy(&working)]);
        assert_eq!(extenders.ask(about_victims()).await.ok(), left(vec![proposal("b", &["low-b"], 0)]));
    }
}

#[tokio::test]
async fn nobody_is_asked_once_no_node_is_left_and_nobody_without_a_verb_or_an_interest() {
    for answer in [json!({"NodeNameToMetaVictims": {}}), json!({})] {
        let (none, _) = answering(answer).await;
        let (never, asked) = answering(leaves("a", &["uid-low-a"])).await;
        let (_, extenders) = extenders(vec![choosy(&none), choosy(&never)]);
        assert_eq!(extenders.ask(about_victims()).await.ok(), left(vec![]));
        assert!(asked.lock().is_empty());
    }
    let (never, asked) = answering(leaves("a", &["uid-low-a"])).await;
    let silent = ExtenderConfig { preempt_verb: String::new(), filter_verb: "filter".into(), ..choosy(&never) };
    // The question is about the first two.
    let (_, extenders) = extenders(vec![silent.clone(), silent, choosy(&never)]);
    let Question::Victims { proposals, .. } = about_victims().question else { panic!("it is about victims") };
    assert_eq!(extenders.ask(about_victims()).await.ok(), left(proposals));
    assert!(asked.lock().is_empty());
}
