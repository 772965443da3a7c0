//! Who leads, and for how long, in time that stands still between steps.

use serde_json::Value;
use tokio::sync::oneshot;

use super::*;
use crate::testing::{self, FrozenTime};

fn config(identity: &str) -> LeaderConfig {
    LeaderConfig::new("loops", identity)
}

fn candidate(api: &Arc<dyn ResourceApi>, identity: &str) -> Candidate {
    let writer = Writer::new(api.clone(), identity);
    Candidate { writer, clock: Clock::System, config: config(identity), held: None, seen: None }
}

async fn spec(api: &Arc<dyn ResourceApi>) -> Value {
    testing::get(&**api, &gvr::LEASES, "kube-system", "loops").await.expect("the lease exists")["spec"].clone()
}

#[tokio::test]
async fn a_lease_passes_on_only_15_s_after_its_last_renewal() {
    let api = testing::api().await;
    let time = FrozenTime::new();
    let (mut first, mut second) = (candidate(&api, "first"), candidate(&api, "second"));
    assert!(first.attempt().await.unwrap());
    assert!(!second.attempt().await.unwrap());
    time.pass(14).await;
    assert!(!second.attempt().await.unwrap(), "not yet");
    assert!(first.attempt().await.unwrap());
    time.pass(14).await;
    assert!(!second.attempt().await.unwrap(), "seen renewed now: the time begins anew");
    time.pass(14).await;
    assert!(!second.attempt().await.unwrap());
    assert_eq!(spec(&api).await["leaseTransitions"], 0);
    time.pass(1).await;
    assert!(second.attempt().await.unwrap(), "lapsed");
    assert!(!first.attempt().await.unwrap(), "who was overtaken learns it at its next renewal");
    let spec = spec(&api).await;
    assert_eq!((&spec["holderIdentity"], &spec["leaseTransitions"]), (&"second".into(), &1.into()));
}

#[tokio::test]
async fn a_lease_given_back_is_taken_at_once() {
    let api = testing::api().await;
    let _time = FrozenTime::new();
    let (mut first, mut second) = (candidate(&api, "first"), candidate(&api, "second"));
    assert!(first.attempt().await.unwrap());
    assert!(!second.attempt().await.unwrap());
    first.release().await.unwrap();
    assert_eq!(spec(&api).await["holderIdentity"], "");
    assert!(second.attempt().await.unwrap());
    // Giving back what is no longer ours changes nothing.
    first.release().await.unwrap();
    assert_eq!(spec(&api).await["holderIdentity"], "second");
}

#[tokio::test]
async fn who_loses_the_lease_stops_working_and_leaves_it_alone() {
    let api = testing::api().await;
    let time = FrozenTime::new();
    let (begun, begin) = oneshot::channel();
    let stop = CancellationToken::new();
    let leading = tokio::spawn(lead(api.clone(), Clock::System, config("first"), stop.clone(), |leading| async move {
        let _ = begun.send(());
        leading.cancelled().await;
    }));
    begin.await.unwrap();
    // Another takes it, rightly or not.
    let current = testing::get(&*api, &gvr::LEASES, "kube-system", "loops").await.unwrap();
    candidate(&api, "second").write(serde_json::from_value(current).unwrap()).await.unwrap();
    // It finds out when it renews, after 2 s.
    time.pass(3).await;
    leading.await.unwrap();
    assert!(!stop.is_cancelled());
    assert_eq!(spec(&api).await["holderIdentity"], "second");
}

#[tokio::test]
async fn an_orderly_end_lets_the_work_finish_and_then_gives_the_lease_back() {
    let api = testing::api().await;
    let _time = FrozenTime::new();
    let (begun, begin) = oneshot::channel();
    let stop = CancellationToken::new();
    let (at_work, other) = (api.clone(), stop.clone());
    let leading = tokio::spawn(lead(api.clone(), Clock::System, config("first"), stop, |leading| async move {
        let _ = begun.send(());
        leading.cancelled().await;
        assert_eq!(spec(&at_work).await["holderIdentity"], "first", "held until the work has ended");
    }));
    begin.await.unwrap();
    other.cancel();
    leading.await.unwrap();
    assert_eq!(spec(&api).await["holderIdentity"], "");
}
