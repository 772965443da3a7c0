//! The promise of scheduler-core about costs: what a decision looks at does not grow with the cluster. Counted in looks at
//! nodes, not in time, so that it holds on any machine: equal streams on 300 nodes and on ten times as many.

use gantry_scheduler_core::cycle::{Event, Scheduler};
use gantry_scheduler_core::plan::Decision;
use gantry_scheduler_core::rows::{Demand, PodRow};

#[path = "../benches/support/stream.rs"]
mod stream;
use stream::{
    Stream, cluster, host_anti_affinity, of_app, pod, preferred_anti_affinity, service, system_spread, web, web_with,
    zone_affinity, zone_spread,
};

/// Looks at nodes per pod, once what is kept of earlier pods is made.
fn looks_per_pod<F: Fn(u64) -> Box<PodRow>>(scheduler: Scheduler, make: F) -> u64 {
    const PODS: u64 = 100;
    let mut stream = Stream::new(scheduler, 200, make);
    let before = stream.scheduler.looks();
    (0..PODS).for_each(|_| stream.one());
    (stream.scheduler.looks() - before) / PODS
}

/// Checks that what something costs is small on a small cluster and the same on a large one. Small is less than a pass
/// over the small cluster: a class may look at each of the few nodes that hold its pods
/// ([`Config::ground_nodes_max`](gantry_scheduler_core::cycle::Config)).
fn does_not_grow(what: &str, looks: impl Fn(u32) -> u64) {
    let (small, large) = (looks(300), looks(3_000));
    assert!(small <= 80 && large <= small.max(16), "{what}: {small} looks at 300 nodes, {large} at 3,000");
}

#[test]
fn a_repeated_class_is_placed_at_the_same_cost_on_any_cluster() {
    does_not_grow("plain", |nodes| looks_per_pod(cluster(nodes), |n| pod(n, 100)));
    type Want = fn(&mut Demand);
    let terms: [(&str, Want); 4] = [
        ("zone spread", zone_spread),
        ("zone affinity", zone_affinity),
        ("host anti-affinity", host_anti_affinity),
        ("preferred anti-affinity", preferred_anti_affinity),
    ];
    for (what, terms) in terms {
        does_not_grow(what, |nodes| looks_per_pod(cluster(nodes), |n| web_with(n, terms)));
    }
    let small_app = |n: u64| of_app(web_with(n, system_spread), n / 3);
    does_not_grow("applications of three pods", |nodes| looks_per_pod(cluster(nodes), small_app));
    does_not_grow("default spread", |nodes| {
        let mut scheduler = cluster(nodes);
        scheduler.step(0, [service()], 0);
        looks_per_pod(scheduler, web)
    });
}

#[test]
fn a_pod_that_fits_nowhere_is_refused_at_the_same_cost_on_any_cluster() {
    does_not_grow("refusal", |nodes| {
        let mut scheduler = cluster(nodes);
        let mut cost = 0;
        for number in 0..20 {
            // Something changes each time, so that nothing is answered from memory.
            scheduler.step(0, [Event::Pod(pod(2 * number, 100))], 10);
            let before = scheduler.looks();
            let plan = scheduler.step(0, [Event::Pod(pod(2 * number + 1, 1_000_000))], 10);
            assert!(matches!(plan.decisions[..], [Decision::Refuse(_)]), "{plan:?}");
            cost = scheduler.looks() - before;
        }
        cost
    });
}

#[test]
fn a_pod_takes_anothers_place_at_the_same_cost_on_any_cluster() {
    does_not_grow("preemption", |nodes| {
        let mut scheduler = cluster(nodes);
        let filler = (0..u64::from(nodes) * 4).map(|n| Event::Pod(pod(n, 8_000)));
        scheduler.step(0, filler.collect::<Vec<_>>(), usize::MAX);
        let mut cost = 0;
        for number in 1_000_000..1_000_020 {
            let before = scheduler.looks();
            let plan = scheduler.step(0, [Event::Pod(Box::new(PodRow { priority: 10, ..*pod(number, 8_000) }))], 10);
            let [Decision::Refuse(refusal)] = &plan.decisions[..] else { panic!("{plan:?}") };
            let victim = refusal.preemption.as_ref().expect("somebody has to go").victims[0].pod.uid.clone();
            cost = scheduler.looks() - before;
            let plan = scheduler.step(0, [Event::PodGone(victim)], 10);
            assert!(matches!(plan.decisions[..], [Decision::Bind(_)]), "{plan:?}");
        }
        cost
    });
}
