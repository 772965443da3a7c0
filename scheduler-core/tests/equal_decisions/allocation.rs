//! The reference's scores of what a node's resources come to, for any strategy and any resources: recounted from all
//! pods of the node, each time.

use gantry_scheduler_core::profile::Profile;
use gantry_scheduler_core::rows::{Demand, NodeRow, PodRow};
use gantry_scheduler_core::score::allocation::Kind;

use crate::reference::Reference;

/// A resource as a rule sees it: what the node has, what its pods use, what this pod asks for.
struct Amount {
    all: i64,
    used: i64,
    asked: i64,
}

impl Reference {
    /// What a rule that looks at `resource` sees; `None` where it has no say.
    fn amount(&self, demand: &Demand, node: &NodeRow, resource: &str, scored: bool) -> Option<Amount> {
        let of = |demand: &Demand| match resource {
            "cpu" if scored => demand.scored_cpu,
            "cpu" => demand.requests.cpu,
            "memory" if scored => demand.scored_memory,
            "memory" => demand.requests.memory,
            "ephemeral-storage" => demand.requests.ephemeral,
            extended => demand.requests.extended(extended),
        };
        let all = match resource {
            "cpu" => node.allocatable.cpu,
            "memory" => node.allocatable.memory,
            "ephemeral-storage" => node.allocatable.ephemeral,
            // Only a pod that asks for it cares.
            _ if of(demand) == 0 => return None,
            extended => node.allocatable.extended(extended),
        };
        let used = self.on(&node.name).map(|pod: &PodRow| of(&pod.demand)).sum();
        Some(Amount { all, used, asked: of(demand) })
    }

    /// NodeResourcesFit.
    pub(crate) fn fit_score(&self, profile: &Profile, demand: &Demand, node: &NodeRow) -> i64 {
        let mut scores: Vec<(i64, i64)> = Vec::new();
        for (resource, weight) in &profile.fit.resources {
            let Some(Amount { all, used, asked }) = self.amount(demand, node, resource, true) else { continue };
            if all == 0 {
                continue;
            }
            let used = used + asked;
            let score = match &profile.fit.kind {
                Kind::LeastAllocated if used > all => 0,
                Kind::LeastAllocated => (all - used) * 100 / all,
                Kind::MostAllocated if used > all => 100,
                Kind::MostAllocated => used * 100 / all,
                Kind::RequestedToCapacityRatio(shape) => line(shape, if used > all { 100 } else { used * 100 / all }),
            };
            scores.push((score, *weight));
        }
        let ratio = matches!(profile.fit.kind, Kind::RequestedToCapacityRatio(_));
        if ratio {
            scores.retain(|(score, _)| *score > 0);
        }
        let sum: i64 = scores.iter().map(|(score, weight)| score * weight).sum();
        let weights: i64 = scores.iter().map(|(_, weight)| weight).sum();
        match weights {
            0 => 0,
            _ if ratio => (sum as f64 / weights as f64).round() as i64,
            _ => sum / weights,
        }
    }

    /// NodeResourcesBalancedAllocation.
    pub(crate) fn balance_score(&self, profile: &Profile, demand: &Demand, node: &NodeRow) -> i64 {
        let amounts = || profile.balanced.iter().filter_map(|r| self.amount(demand, node, r, false));
        if amounts().all(|amount| amount.asked == 0) {
            return 0;
        }
        let fractions = |with: bool| -> Vec<f64> {
            let there = amounts().filter(|amount| amount.all != 0);
            let used = |amount: &Amount| amount.used + if with { amount.asked } else { 0 };
            there.map(|amount| (used(&amount) as f64 / amount.all as f64).min(1.0)).collect()
        };
        50 + (50 + balance(&fractions(true)) - balance(&fractions(false))) / 2
    }
}

fn balance(fractions: &[f64]) -> i64 {
    let n = fractions.len() as f64;
    let deviation = match fractions.len() {
        0 | 1 => 0.0,
        2 => ((fractions[0] - fractions[1]) / 2.0).abs(),
        _ => {
            let mean = fractions.iter().sum::<f64>() / n;
            let squares = fractions.iter().fold(0.0, |sum, f| sum + (f - mean) * (f - mean));
            (squares / n).sqrt()
        }
    };
    ((1.0 - deviation) * 100.0) as i64
}

/// The value at `x` of the line through the points.
fn line(points: &[(i64, i64)], x: i64) -> i64 {
    let mut before: Option<(i64, i64)> = None;
    for (at, value) in points {
        if x <= *at {
            let Some((left, low)) = before else { return *value };
            return low + (value - low) * (x - left) / (at - left);
        }
        before = Some((*at, *value));
    }
    before.map_or(0, |(_, value)| value)
}
