//! Pods whose place depends on where other pods are: topology spread, required and preferred (anti-)affinity, and the
//! spread that the system asks for on behalf of pods of a Service.

use criterion::{Criterion, criterion_group, criterion_main};
use gantry_scheduler_core::cycle::Event;

#[path = "support/measure.rs"]
mod measure;
#[path = "support/stream.rs"]
mod stream;
use measure::{NODES, config, measure};
use stream::{
    Stream, cluster, host_anti_affinity, of_app, pod, preferred_anti_affinity, service, system_spread, web, web_with,
    zone_affinity, zone_spread,
};

fn own_terms(c: &mut Criterion) {
    for nodes in NODES {
        measure(c, "zone_spread", nodes, Stream::new(cluster(nodes), 5_000, |n| web_with(n, zone_spread)));
        measure(c, "zone_affinity", nodes, Stream::new(cluster(nodes), 5_000, |n| web_with(n, zone_affinity)));
        let kept = nodes as usize * 4 / 5;
        let apart = Stream::new(cluster(nodes), kept, |n| web_with(n, host_anti_affinity));
        measure(c, "host_anti_affinity", nodes, apart);
        let apart = Stream::new(cluster(nodes), 5_000, |n| web_with(n, preferred_anti_affinity));
        measure(c, "preferred_anti_affinity", nodes, apart);
    }
}

/// Pods that say nothing themselves: a Service selects them, or others keep away from them.
fn others_terms(c: &mut Criterion) {
    for nodes in NODES {
        let mut scheduler = cluster(nodes);
        scheduler.step(0, [service()], 0);
        measure(c, "default_spread", nodes, Stream::new(scheduler, 5_000, web));
        let mut scheduler = cluster(nodes);
        let shy = (0..u64::from(nodes) / 2).map(|n| Event::Pod(web_with(9_000_000 + n, host_anti_affinity)));
        scheduler.step(0, shy.collect::<Vec<_>>(), usize::MAX);
        measure(c, "kept_away", nodes, Stream::new(scheduler, 5_000, web));
    }
}

/// Fifty applications, each spread over zones, their pods in turn, among plain pods; and applications of three pods each,
/// never seen before, spread as the system spreads.
fn mixed(c: &mut Criterion) {
    for nodes in NODES {
        let small = |n: u64| of_app(web_with(n, system_spread), n / 3);
        measure(c, "small_apps", nodes, Stream::new(cluster(nodes), 5_000, small));
        let one_of_fifty = |n: u64| {
            if n.is_multiple_of(3) {
                return pod(n, 100);
            }
            of_app(web_with(n, zone_spread), n % 50)
        };
        measure(c, "mixed_spread", nodes, Stream::new(cluster(nodes), 5_000, one_of_fifty));
    }
}

criterion_group! { name = benches; config = config(); targets = own_terms, others_terms, mixed }
criterion_main!(benches);
