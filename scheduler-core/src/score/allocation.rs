//! NodeResourcesFit's scoring strategies and NodeResourcesBalancedAllocation over any resources: what a profile asks for
//! that is not upstream's default. The default, LeastAllocated and balance over CPU and memory, has its own quick form
//! in [`resources_fit`](super::resources_fit) and [`balanced_allocation`](super::balanced_allocation).
//!
//! Arithmetic as in upstream's `noderesources`: integers, rounded down, but for RequestedToCapacityRatio's mean (rounded
//! half up) and the deviations (f64 in upstream's order).

use super::MAX;
use crate::columns::{Columns, ExtendedId, Load};
use crate::rows::Demand;

/// What NodeResourcesFit prefers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strategy {
    /// How a resource is scored.
    pub kind: Kind,
    /// The resources that count, with their weights.
    pub resources: Vec<(Box<str>, i64)>,
}

/// How one resource is scored from its utilization.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// The more would be left, the better.
    #[default]
    LeastAllocated,
    /// The less would be left, the better.
    MostAllocated,
    /// By a shape: points of utilization (0 to 100) and score (0 to 100), joined by straight lines.
    RequestedToCapacityRatio(Vec<(i64, i64)>),
}

impl Default for Strategy {
    fn default() -> Self {
        Self { kind: Kind::default(), resources: vec![("cpu".into(), 1), ("memory".into(), 1)] }
    }
}

impl Kind {
    /// The score of a resource of which `used` of `all` would be used.
    fn of_resource(&self, used: i64, all: i64) -> i64 {
        match self {
            Self::LeastAllocated => {
                if used > all {
                    0
                } else {
                    (all - used) * MAX / all
                }
            }
            // More may be used than there is: containers without requests count as something.
            Self::MostAllocated => used.min(all) * MAX / all,
            Self::RequestedToCapacityRatio(shape) => {
                let utilization = if used > all { MAX } else { used * MAX / all };
                along(shape, utilization)
            }
        }
    }
}

/// The value of a broken line at `x`; constant before its first point and after its last.
fn along(shape: &[(i64, i64)], x: i64) -> i64 {
    let Some(at) = shape.iter().position(|(point, _)| x <= *point) else {
        return shape.last().map_or(0, |(_, value)| *value);
    };
    let (right, above) = shape[at];
    match at.checked_sub(1).map(|before| shape[before]) {
        None => above,
        Some((left, below)) => below + (above - below) * (x - left) / (right - left),
    }
}

/// A resource as one class sees it.
#[derive(Clone, Copy, Debug)]
struct Resource {
    of: Of,
    /// What the pod asks for, as this rule counts it.
    asked: i64,
    weight: i64,
}

#[derive(Clone, Copy, Debug)]
enum Of {
    Cpu,
    Memory,
    Ephemeral,
    Extended(ExtendedId),
}

/// The resources of one class that a rule looks at; those that have no say for it are left out.
fn resources<'a>(
    columns: &mut Columns,
    demand: &Demand,
    scored: bool,
    named: impl Iterator<Item = (&'a str, i64)>,
) -> Vec<Resource> {
    let requests = &demand.requests;
    let (cpu, memory) =
        if scored { (demand.scored_cpu, demand.scored_memory) } else { (requests.cpu, requests.memory) };
    let mut all = Vec::new();
    for (name, weight) in named {
        let (of, asked) = match name {
            "cpu" => (Of::Cpu, cpu),
            "memory" => (Of::Memory, memory),
            "ephemeral-storage" => (Of::Ephemeral, requests.ephemeral),
            // Only a pod that asks for it cares.
            _ if requests.extended(name) != 0 => (Of::Extended(columns.extended_id(name)), requests.extended(name)),
            _ => continue,
        };
        all.push(Resource { of, asked, weight });
    }
    all
}

impl Resource {
    /// What the node offers of it and what is used, without this pod.
    #[inline]
    fn on(self, columns: &Columns, at: usize, scored: bool) -> (i64, i64) {
        match self.of {
            Of::Cpu if scored => (columns.cpu.allocatable[at], columns.scored_cpu[at]),
            Of::Cpu => (columns.cpu.allocatable[at], columns.cpu.used[at]),
            Of::Memory if scored => (columns.memory.allocatable[at], columns.scored_memory[at]),
            Of::Memory => (columns.memory.allocatable[at], columns.memory.used[at]),
            Of::Ephemeral => (columns.ephemeral.allocatable[at], columns.ephemeral.used[at]),
            Of::Extended(id) => {
                let column = &columns.extended[id as usize];
                (column.allocatable[at], column.used[at])
            }
        }
    }
}

/// NodeResourcesFit for one class.
#[derive(Debug)]
pub enum Fit {
    /// Upstream's default.
    Standard,
    /// Another strategy, other resources or other weights.
    General(Box<GeneralFit>),
}

/// A strategy, compiled.
#[derive(Debug)]
pub struct GeneralFit {
    kind: Kind,
    resources: Vec<Resource>,
}

impl Fit {
    /// Compiles a strategy for a demand.
    pub fn new(columns: &mut Columns, strategy: &Strategy, demand: &Demand) -> Self {
        if *strategy == Strategy::default() {
            return Self::Standard;
        }
        let named = strategy.resources.iter().map(|(name, weight)| (&**name, *weight));
        let resources = resources(columns, demand, true, named);
        Self::General(Box::new(GeneralFit { kind: strategy.kind.clone(), resources }))
    }

    /// The score of a node for a pod that takes `load`.
    #[inline]
    #[must_use]
    pub fn score(&self, columns: &Columns, at: usize, load: &Load) -> u32 {
        match self {
            Self::Standard => super::resources_fit::score(
                columns.cpu.allocatable[at],
                columns.scored_cpu[at] + load.scored_cpu,
                columns.memory.allocatable[at],
                columns.scored_memory[at] + load.scored_memory,
            ),
            Self::General(general) => general.score(columns, at),
        }
    }
}

impl GeneralFit {
    fn score(&self, columns: &Columns, at: usize) -> u32 {
        let (mut sum, mut weights) = (0, 0);
        for resource in &self.resources {
            let (all, used) = resource.on(columns, at, true);
            if all == 0 {
                continue;
            }
            let score = self.kind.of_resource(used + resource.asked, all);
            // A shape may value a resource at nothing: then it does not pull the mean down either.
            if score > 0 || !matches!(self.kind, Kind::RequestedToCapacityRatio(_)) {
                sum += score * resource.weight;
                weights += resource.weight;
            }
        }
        if weights == 0 {
            return 0;
        }
        let mean = match self.kind {
            Kind::RequestedToCapacityRatio(_) => (sum as f64 / weights as f64).round() as i64,
            Kind::LeastAllocated | Kind::MostAllocated => sum / weights,
        };
        u32::try_from(mean).unwrap_or(0)
    }
}

/// NodeResourcesBalancedAllocation for one class.
#[derive(Debug)]
pub enum Balance {
    /// It has nothing to say: the pod asks for none of its resources.
    Silent,
    /// CPU and memory.
    Standard,
    /// Other resources.
    General(Box<[BalancedResource]>),
}

/// A resource that is to be in balance.
#[derive(Debug)]
pub struct BalancedResource(Resource);

impl Balance {
    /// Compiles the rule for a demand.
    pub fn new(columns: &mut Columns, named: &[Box<str>], demand: &Demand) -> Self {
        let all = resources(columns, demand, false, named.iter().map(|name| (&**name, 1)));
        // A pod that requests nothing keeps every balance; upstream skips the rule.
        if all.iter().all(|resource| resource.asked == 0) {
            return Self::Silent;
        }
        match named {
            [cpu, memory] if &**cpu == "cpu" && &**memory == "memory" => Self::Standard,
            _ => Self::General(all.into_iter().map(BalancedResource).collect()),
        }
    }

    /// The score of a node for a pod that takes `load`.
    #[inline]
    #[must_use]
    pub fn score(&self, columns: &Columns, at: usize, load: &Load) -> u32 {
        match self {
            Self::Silent => 0,
            Self::Standard => {
                let with = super::balanced_allocation::balance(
                    columns.cpu.allocatable[at],
                    columns.cpu.used[at] + load.cpu,
                    columns.memory.allocatable[at],
                    columns.memory.used[at] + load.memory,
                );
                super::balanced_allocation::change(columns.balance[at].into(), with)
            }
            Self::General(resources) => {
                let balance = |with: bool| {
                    let used = resources.iter().map(|r| {
                        let (all, used) = r.0.on(columns, at, false);
                        (all, used + if with { r.0.asked } else { 0 })
                    });
                    balance(used)
                };
                super::balanced_allocation::change(balance(false), balance(true))
            }
        }
    }
}

/// 100 less the standard deviation of the used fractions, in percent.
fn balance(resources: impl Iterator<Item = (i64, i64)>) -> i64 {
    let fractions: smallvec::SmallVec<[f64; 4]> =
        resources.filter(|(all, _)| *all != 0).map(|(all, used)| (used as f64 / all as f64).min(1.0)).collect();
    let deviation = match &*fractions {
        [] | [_] => 0.0,
        [one, other] => ((one - other) / 2.0).abs(),
        more => {
            let mean = more.iter().sum::<f64>() / more.len() as f64;
            let squares = more.iter().fold(0.0, |sum, fraction| sum + (fraction - mean) * (fraction - mean));
            (squares / more.len() as f64).sqrt()
        }
    };
    ((1.0 - deviation) * MAX as f64) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{Amounts, NodeRow};

    fn node(columns: &mut Columns) {
        let extended = vec![("x.y/gpu".into(), 4)];
        let allocatable = Amounts { cpu: 1000, memory: 2000, pods: 10, extended, ..Amounts::default() };
        columns.set_node(NodeRow { name: "n".into(), allocatable, ..NodeRow::default() });
    }

    fn demand(cpu: i64, memory: i64, gpus: i64) -> Demand {
        let extended = if gpus > 0 { vec![("x.y/gpu".into(), gpus)] } else { vec![] };
        let requests = Amounts { cpu, memory, extended, ..Amounts::default() };
        Demand { scored_cpu: cpu, scored_memory: memory, requests, ..Demand::default() }
    }

    fn score(strategy: &Strategy, demand: &Demand) -> u32 {
        let mut columns = Columns::new(0);
        node(&mut columns);
        Fit::new(&mut columns, strategy, demand).score(&columns, 0, &Load::default())
    }

    #[test]
    fn strategies_score_as_upstream_says() {
        let resources = |gpu| vec![("cpu".into(), 1), ("memory".into(), 3), ("x.y/gpu".into(), gpu)];
        let least = Strategy { kind: Kind::LeastAllocated, resources: resources(4) };
        assert_eq!(score(&least, &demand(500, 500, 1)), (50 + 3 * 75 + 4 * 75) / 8);
        // The GPUs do not count for a pod that asks for none.
        assert_eq!(score(&least, &demand(500, 500, 0)), (50 + 3 * 75) / 4);
        let most = Strategy { kind: Kind::MostAllocated, resources: resources(4) };
        assert_eq!(score(&most, &demand(5000, 500, 1)), (100 + 3 * 25 + 4 * 25) / 8);
        let shape = Kind::RequestedToCapacityRatio(vec![(0, 0), (50, 100), (100, 0)]);
        let ratio = Strategy { kind: shape, resources: resources(1) };
        // CPU at its peak, memory half way up; the GPUs are used up and count for nothing.
        assert_eq!(score(&ratio, &demand(500, 500, 4)), (100 + 3 * 50) / 4 + 1);
    }

    #[test]
    fn a_broken_line_is_flat_outside_its_points() {
        let shape = [(20, 10), (40, 50), (80, 30)];
        assert_eq!([0, 20, 30, 40, 60, 100].map(|x| along(&shape, x)), [10, 10, 30, 50, 40, 30]);
    }

    #[test]
    fn balance_over_three_resources_is_their_deviation() {
        let mut columns = Columns::new(0);
        node(&mut columns);
        let names: Vec<Box<str>> = vec!["cpu".into(), "memory".into(), "x.y/gpu".into()];
        let score = |columns: &mut Columns, demand: &Demand| {
            Balance::new(columns, &names, demand).score(columns, 0, &Load::default())
        };
        assert_eq!(score(&mut columns, &demand(500, 1000, 2)), 75);
        // Fractions 1, 0, 0 deviate by the root of 2/9.
        assert_eq!(score(&mut columns, &demand(1000, 0, 0)), 50);
        assert_eq!(score(&mut columns, &demand(0, 0, 4)), 51);
        assert_eq!(score(&mut columns, &demand(0, 0, 0)), 0);
    }
}
