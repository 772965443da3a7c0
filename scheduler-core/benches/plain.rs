//! Pods that look at nodes alone: of one class, of a hundred, and each of its own, never seen before.

use criterion::{Criterion, criterion_group, criterion_main};
use gantry_scheduler_core::rows::{NodeTerm, Operator, PreferredNodeTerm, Requirement};

#[path = "support/measure.rs"]
mod measure;
#[path = "support/stream.rs"]
mod stream;
use measure::{NODES, config, measure};
use stream::{Stream, cluster, pod};

fn plain(c: &mut Criterion) {
    for nodes in NODES {
        measure(c, "plain", nodes, Stream::new(cluster(nodes), 20_000, |n| pod(n, 100)));
        measure(c, "classes_100", nodes, Stream::new(cluster(nodes), 20_000, |n| pod(n, 100 + (n % 100) as i64)));
        let different = |n: u64| {
            let mut row = pod(n, 100 + (n % 89) as i64);
            let unheard = n as i64 % 1_000_003;
            row.demand.requests.memory += unheard;
            row.demand.scored_memory += unheard;
            row
        };
        measure(c, "each_different", nodes, Stream::new(cluster(nodes), 5_000, different));
    }
}

fn preferred_node_affinity(c: &mut Criterion) {
    for nodes in NODES {
        let fast = |n| {
            let mut row = pod(n, 100);
            let disk = Requirement { key: "disk".into(), operator: Operator::In, values: vec!["fast".into()] };
            let term = NodeTerm { labels: vec![disk], fields: vec![] };
            row.demand.preferred_node_terms = vec![PreferredNodeTerm { weight: 1, term }];
            row
        };
        measure(c, "preferred_node_affinity", nodes, Stream::new(cluster(nodes), 20_000, fast));
    }
}

criterion_group! { name = benches; config = config(); targets = plain, preferred_node_affinity }
criterion_main!(benches);
