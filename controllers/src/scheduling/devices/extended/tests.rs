//! Claims in the stead of extended resources against the real registry: what is written, and that nothing stays of it when
//! the pod is not bound.

use std::sync::Arc;
use std::time::Duration;

use gantry_machinery::clock::Clock;
use gantry_machinery::resource_api::{Collection, ListOptions, ResourceApi};
use gantry_scheduler_core::devices::extended::NewRequest;
use gantry_scheduler_core::devices::grant::{Grant, Granted};
use gantry_scheduler_core::plan::Placement;
use gantry_scheduler_core::rows::devices::DeviceId;
use serde_json::Value as Json;

use super::super::{Release, Scribe, give_back, prepare, unreserve};
use super::*;
use crate::scheduling::volumes::Notices;
use crate::testing;

struct Bench {
    api: Arc<dyn ResourceApi>,
    metrics: Metrics,
    placement: Placement,
    work: Vec<ClaimWork>,
}

impl Bench {
    /// A pod that was placed, and what of devices was decided for it.
    async fn new() -> Self {
        let api = testing::api().await;
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        testing::create(&*api, &gvr::SERVICE_ACCOUNTS, "default", account).await;
        let container = json!({"name": "c", "image": "i", "resources": {"limits": {"x.y/gpu": "1"}}});
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [container]},
        });
        testing::create(&*api, &gvr::PODS, "default", pod).await;
        let pod = testing::get(&*api, &gvr::PODS, "default", "p").await.expect("just created");
        let uid = pod["metadata"]["uid"].as_str().expect("it has one").into();
        let pod = Arc::new(PodId { namespace: "default".into(), name: "p".into(), uid });
        let request: Box<str> = "container-0-request-0".into();
        let device = DeviceId { driver: "d.e".into(), pool: "pool".into(), name: "x".into() };
        let results = vec![Granted { request: request.clone(), device, ..Granted::default() }];
        let new = NewClaim {
            requests: vec![NewRequest { name: request.clone(), class: "gpus".into(), count: 1 }],
            mappings: vec![Mapping { container: "c".into(), resource: "x.y/gpu".into(), request }],
        };
        let work = vec![ClaimWork {
            grant: Some(Grant { results, ..Grant::default() }),
            new: Some(Arc::new(new)),
            ..ClaimWork::default()
        }];
        let placement = Placement {
            pod,
            node: "n".into(),
            score: 0,
            attempts: 1,
            since: 0,
            profile: 0,
            interests: 0,
            preparation: None,
        };
        Self { api, metrics: Metrics::new(["default-scheduler"]), placement, work }
    }

    async fn prepare(&self) -> Result<(), NotReady> {
        let scribe = Scribe::new(&self.api, Clock::System, &self.metrics);
        prepare(&scribe, &Notices::default(), Duration::from_secs(1), &self.placement, &self.work).await
    }

    async fn claims(&self) -> Vec<Json> {
        let of = Collection { resource: &gvr::RESOURCE_CLAIMS, namespace: "default" };
        let all = self.api.list(&of, &ListOptions::default()).await.expect("claims can be listed");
        all.items.iter().map(|claim| serde_json::from_slice(&claim.body).expect("stored JSON")).collect()
    }
}

#[tokio::test]
async fn a_claim_is_made_allocated_named_in_the_pods_status_and_goes_if_the_pod_is_not_bound() {
    let bench = Bench::new().await;
    bench.prepare().await.expect("nothing is in the way");
    let claims = bench.claims().await;
    let [claim] = &claims[..] else { panic!("{claims:?}") };
    assert_eq!(claim["metadata"]["annotations"][ANNOTATION], "true");
    assert_eq!(claim["spec"]["devices"]["requests"][0]["exactly"]["deviceClassName"], "gpus");
    assert_eq!(claim["status"]["allocation"]["devices"]["results"][0]["device"], "x");
    assert_eq!(claim["status"]["reservedFor"][0]["name"], "p");
    let pod = testing::get(&*bench.api, &gvr::PODS, "default", "p").await.expect("it is there");
    assert_eq!(
        pod["status"]["extendedResourceClaimStatus"],
        json!({
            "resourceClaimName": claim["metadata"]["name"],
            "requestMappings": [
                {"containerName": "c", "resourceName": "x.y/gpu", "requestName": "container-0-request-0"},
            ],
        })
    );

    unreserve(&bench.api, &bench.placement.pod, &bench.work).await;
    assert_eq!(bench.claims().await, Vec::<Json>::new());
}

#[tokio::test]
async fn a_claim_of_an_earlier_attempt_is_deleted_and_anybody_elses_is_not() {
    let bench = Bench::new().await;
    bench.prepare().await.expect("nothing is in the way");
    let claim = bench.claims().await.remove(0);
    let text = |field: &str| claim["metadata"][field].as_str().expect("a text");
    let pod = PodId::clone(&bench.placement.pod);
    let (key, uid) = (Key::new("default", text("name")), Box::from(text("uid")));
    let writer = Writer::new(bench.api.clone(), "test");
    let other = PodId { uid: "other".into(), ..pod.clone() };
    discard(&writer, &key, &uid, &other).await;
    assert_eq!(bench.claims().await.len(), 1);
    give_back(&writer, &Release { key, uid, pod }).await;
    assert_eq!(bench.claims().await, Vec::<Json>::new());
}

#[tokio::test]
async fn a_pod_that_went_meanwhile_leaves_no_claim() {
    let bench = Bench::new().await;
    let target = Target::object(&gvr::PODS, "default", "p");
    let now = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    bench.api.delete(&target, &now).await.expect("it is there");
    assert!(bench.prepare().await.is_err());
    assert_eq!(bench.claims().await, Vec::<Json>::new());
}
