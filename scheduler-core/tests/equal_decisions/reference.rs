//! The scheduler as one would write it on a blackboard: one pod at a time, every node, every rule, on the rows' texts.
//! No columns, no classes, no journal. What it decides is right by inspection; the fast one must agree.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use gantry_scheduler_core::columns::{standing, tie};
use gantry_scheduler_core::profile::{Plugin, Profile};
use gantry_scheduler_core::rows::{
    BudgetRow, Demand, Effect, HostPort, Keeper, NodeRow, NodeTerm, Operator, PodAffinity, PodRow, PodTerm,
    Requirement, Selector, SpreadConstraint, Taint, Toleration,
};
use gantry_scheduler_core::storage::Preparation;
use gantry_scheduler_core::tournament::TIE_BITS;

use crate::devices::No;
use crate::volumes::Shelf;

/// Marks the text of what makes no node count.
pub(crate) const WRONG: char = '\0';

type Labels = Vec<(Box<str>, Box<str>)>;

/// A cluster as the reference sees it.
#[derive(Default)]
pub(crate) struct Reference {
    pub(crate) nodes: BTreeMap<String, NodeRow>,
    pub(crate) pods: BTreeMap<String, Placed>,
    pub(crate) shelf: Shelf,
    /// Namespaces' labels.
    pub(crate) namespaces: BTreeMap<String, Labels>,
    /// Image name → size as first reported, and who has it.
    images: BTreeMap<String, (i64, Vec<String>)>,
    pub(crate) seed: u64,
    /// What the scheduler names stand for.
    pub(crate) profiles: Vec<Profile>,
    pub(crate) kindred: BTreeMap<(Keeper, String, String), Selector>,
    pub(crate) budgets: BTreeMap<(String, String), BudgetRow>,
    /// PodGroups: how many of their pods must be placed together, if any.
    pub(crate) groups: BTreeMap<(String, String), Option<i32>>,
    /// Whether the pod is decided on with its gang, for which no room is made.
    pub(crate) in_gang: Cell<bool>,
    /// What is imagined to be otherwise, while it is.
    pub(crate) imagined: RefCell<Imagined>,
}

/// A world that differs.
#[derive(Clone, Default)]
pub(crate) struct Imagined {
    /// Pods that are gone.
    pub(crate) gone: Vec<String>,
    /// Pods that have come to a node.
    pub(crate) come: Vec<(String, String)>,
}

/// A pod and where it is: bound, or assumed.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) row: PodRow,
    pub(crate) node: Option<String>,
    /// What is to be written about its volumes.
    pub(crate) work: Option<Preparation>,
    /// The node that room is made on for it.
    pub(crate) nominated: Option<String>,
    /// The pod that it was told to go for, until it is seen to go.
    pub(crate) doomed_for: Option<String>,
}

/// What the reference decides.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Node(String, u32),
    Nowhere(Nowhere),
}

/// What becomes of a pod that fits nowhere.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Nowhere {
    pub(crate) message: String,
    /// The node to be freed for it, and who has to go.
    pub(crate) frees: Option<(String, Vec<String>)>,
    /// Whether no node can be freed for it.
    pub(crate) hopeless: bool,
}

impl Reference {
    pub(crate) fn new(seed: u64, profiles: Vec<Profile>) -> Self {
        Self { seed, profiles, ..Self::default() }
    }

    /// What a pod's scheduler name stands for, if it is ours to schedule.
    pub(crate) fn profile(&self, pod: &PodRow) -> Option<&Profile> {
        self.profiles.iter().find(|profile| profile.name == pod.scheduler)
    }

    /// Whether the pod's node terms name no node that is common to them.
    pub(crate) fn conflicts(&self, pod: &PodRow) -> bool {
        let asked = self.profile(pod).is_some_and(|profile| profile.filters.has(Plugin::NodeAffinity));
        asked && named(&pod.demand).is_some_and(|names| names.is_empty())
    }

    /// Whether gates hold the pod back.
    pub(crate) fn is_gated(&self, pod: &PodRow) -> bool {
        pod.gated && self.profile(pod).is_some_and(|profile| profile.pre_enqueue.has(Plugin::SchedulingGates))
    }

    pub(crate) fn set_node(&mut self, row: NodeRow) {
        let same_images = self.nodes.get(&*row.name).is_some_and(|old| old.images == row.images);
        if !same_images {
            self.drop_images(&row.name);
            for image in &row.images {
                for name in &image.names {
                    let (_, nodes) = self.images.entry(name.to_string()).or_insert((image.size, Vec::new()));
                    if !nodes.contains(&row.name.to_string()) {
                        nodes.push(row.name.to_string());
                    }
                }
            }
        }
        self.nodes.insert(row.name.to_string(), row);
    }

    pub(crate) fn remove_node(&mut self, name: &str) {
        if self.nodes.remove(name).is_some() {
            self.drop_images(name);
        }
    }

    fn drop_images(&mut self, node: &str) {
        for (_, nodes) in self.images.values_mut() {
            nodes.retain(|n| n != node);
        }
        self.images.retain(|_, (_, nodes)| !nodes.is_empty());
    }

    /// The best node for a pod, or upstream's message.
    pub(crate) fn decide(&self, pod: &PodRow) -> Verdict {
        let demand = &pod.demand;
        let asked = self.profile(pod).expect("only pods of ours are decided on").filters;
        let all = self.nodes.len();
        if !self.conflicts(pod)
            && all > 0
            && let Some(why) = self.shelf.objection(pod, asked)
        {
            let message = format!("0/{all} nodes are available: {why}. not found");
            // Nothing asks whether others could make room.
            return Verdict::Nowhere(Nowhere { message, frees: None, hopeless: false });
        }
        if !self.conflicts(pod)
            && all > 0
            && asked.has(Plugin::DynamicResources)
            && let Some(why) = self.shelf.rack.objection(pod)
        {
            let end = self.end_without_nodes(pod);
            let message = format!("0/{all} nodes are available: {why}.{end}");
            return Verdict::Nowhere(Nowhere { message, frees: None, hopeless: false });
        }
        // With those nominated to the node, and without: either may come to where it goes wrong.
        let looks = |node| [self.filter_beside_nominated(pod, node), self.filter(pod, node)];
        let wrong = self.nodes.values().flat_map(looks).filter_map(|look| match look {
            Err((texts, _)) => texts[0].strip_prefix(WRONG).map(str::to_owned),
            Ok(()) => None,
        });
        if let Some(why) = wrong.min() {
            let message = format!("running \"DynamicResources\" filter plugin: {why}");
            return Verdict::Nowhere(Nowhere { message, frees: None, hopeless: false });
        }
        let mut reasons: BTreeMap<String, u32> = BTreeMap::new();
        let mut feasible = Vec::new();
        if let Some(own) = self.own_node(pod)
            && self.filter_beside_nominated(pod, own).is_ok()
        {
            return Verdict::Node(own.name.to_string(), 0);
        }
        let mut helpful = Vec::new();
        for node in self.nodes.values() {
            match self.filter_beside_nominated(pod, node) {
                Ok(()) => feasible.push(node),
                Err((texts, hopeless)) => {
                    texts.into_iter().for_each(|t| *reasons.entry(t).or_default() += 1);
                    if !hopeless {
                        helpful.push(node);
                    }
                }
            }
        }
        if feasible.is_empty() {
            let (end, frees, hopeless) = self.displace(pod, &helpful);
            return Verdict::Nowhere(Nowhere { message: self.message(pod, &reasons, &end), frees, hopeless });
        }
        let profile = self.profile(pod).expect("only pods of ours are decided on");
        let weigh = |plugin| i64::from(profile.weights.of(plugin));
        let unwelcome: Vec<i64> = feasible.iter().map(|n| unwelcome(demand, n)).collect();
        let preferred: Vec<i64> = feasible.iter().map(|n| preferred(profile, demand, n)).collect();
        let (most_unwelcome, most_preferred) = (max(&unwelcome), max(&preferred));
        let spread = self.spread_scores(pod, &feasible);
        let affinity_to_pods = self.pod_affinity_scores(pod, &feasible);
        let devices: Vec<i64> = feasible.iter().map(|n| self.device_score(pod, n)).collect();
        let most_devices = max(&devices).max(1);
        let scored = feasible.iter().enumerate().map(|(at, node)| {
            let taints = if most_unwelcome == 0 { 100 } else { 100 - 100 * unwelcome[at] / most_unwelcome };
            let affinity = if most_preferred == 0 { 0 } else { 100 * preferred[at] / most_preferred };
            let sum = weigh(Plugin::TaintToleration) * taints
                + weigh(Plugin::NodeAffinity) * affinity
                + weigh(Plugin::PodTopologySpread) * spread[at]
                + weigh(Plugin::InterPodAffinity) * affinity_to_pods[at]
                + weigh(Plugin::DynamicResources) * (100 * devices[at] / most_devices)
                + weigh(Plugin::NodeResourcesFit) * self.fit_score(profile, demand, node)
                + weigh(Plugin::NodeResourcesBalancedAllocation) * self.balance_score(profile, demand, node)
                + weigh(Plugin::ImageLocality) * self.image_locality(demand, node);
            let pods = i64::try_from(self.on(&node.name).count()).expect("few");
            (sum, standing(pods, tie(self.seed, &node.name)) >> (64 - TIE_BITS), node.name.to_string())
        });
        let (score, _, name) = scored.max().expect("there is a feasible node");
        Verdict::Node(name, u32::try_from(score).expect("scores are not negative"))
    }

    fn message(&self, pod: &PodRow, reasons: &BTreeMap<String, u32>, end: &str) -> String {
        let all = self.nodes.len();
        if all == 0 {
            return "no nodes available to schedule pods".into();
        }
        let mut lines: Vec<String> = reasons.iter().map(|(r, n)| format!("{n} {r}")).collect();
        lines.sort();
        let why = if self.conflicts(pod) { "pod affinity terms conflict".into() } else { lines.join(", ") };
        format!("0/{all} nodes are available: {why}.{end}")
    }

    /// Whether the pod may run there; if not, the texts of the first rule that says no, and whether removing pods
    /// from the node is of no use.
    pub(crate) fn filter(&self, pod: &PodRow, node: &NodeRow) -> Result<(), (Vec<String>, bool)> {
        let demand = &pod.demand;
        let no = |text: &str, hopeless: bool| Err((vec![text.to_owned()], hopeless));
        let profile = self.profile(pod).expect("only pods of ours are decided on");
        let asked = |plugin| profile.filters.has(plugin);
        if let Some(names) = named(demand)
            && asked(Plugin::NodeAffinity)
            && !names.contains(&node.name.to_string())
        {
            return no("node(s) didn't satisfy plugin(s) [NodeAffinity]", true);
        }
        let cordon = taint("node.kubernetes.io/unschedulable", Effect::NoSchedule);
        if asked(Plugin::NodeUnschedulable) && node.unschedulable && !tolerated(&demand.tolerations, &cordon) {
            return no("node(s) were unschedulable", true);
        }
        let hard = node.taints.iter().filter(|t| t.effect != Effect::PreferNoSchedule);
        if asked(Plugin::TaintToleration) && hard.into_iter().any(|t| !tolerated(&demand.tolerations, t)) {
            return no("node(s) had untolerated taint(s)", true);
        }
        let added = profile.added_node_terms.as_ref();
        if asked(Plugin::NodeAffinity) && added.is_some_and(|terms| !terms.iter().any(|t| term_holds(t, node))) {
            return no("node(s) didn't match scheduler-enforced node affinity", true);
        }
        if asked(Plugin::NodeAffinity) && !selected(demand, node) {
            return no("node(s) didn't match Pod's node affinity/selector", true);
        }
        if asked(Plugin::NodeDeclaredFeatures) && !demand.features.are_in(node.features) {
            return no("node(s) didn't match Pod's required features", true);
        }
        let used = self.on(&node.name).flat_map(|p| p.demand.host_ports.iter());
        if asked(Plugin::NodePorts) && used.into_iter().any(|u| demand.host_ports.iter().any(|w| clash(u, w))) {
            return no("node(s) didn't have free ports for the requested pod ports", false);
        }
        if asked(Plugin::NodeResourcesFit) {
            self.fits(profile, demand, node)?;
        }
        if pod.needs.is_some() {
            let here: Vec<&PodRow> = self.on(&node.name).collect();
            let imagined = self.imagined.borrow().clone();
            let there = self.pods.iter().filter(|(uid, p)| {
                p.node.is_some() && !imagined.gone.contains(uid) || imagined.come.iter().any(|(come, _)| come == *uid)
            });
            let anywhere: Vec<&PodRow> = there.map(|(_, p)| &p.row).collect();
            self.shelf.filter(pod, node, profile.filters, &here, &anywhere)?;
        }
        if asked(Plugin::PodTopologySpread) {
            self.spreads(pod, node)?;
        }
        if asked(Plugin::InterPodAffinity) {
            self.goes_with_pods(pod, node)?;
        }
        if asked(Plugin::DynamicResources) && pod.needs.is_some() {
            match self.shelf.rack.filter(pod, node) {
                Ok(_) => {}
                Err(No::Text(text)) => return no(text, true),
                Err(No::Wrong(why)) => return no(&format!("{WRONG}{why}"), true),
            }
        }
        Ok(())
    }

    fn device_score(&self, pod: &PodRow, node: &NodeRow) -> i64 {
        let asked = self.profile(pod).expect("ours").filters.has(Plugin::DynamicResources);
        if asked { self.shelf.rack.filter(pod, node).unwrap_or(0) } else { 0 }
    }

    /// What PostFilter says of a pod that no node was asked about because of its claims.
    fn end_without_nodes(&self, pod: &PodRow) -> String {
        let all = self.nodes.len();
        let asked = self.profile(pod).expect("ours").post_filters;
        let mut said = Vec::new();
        if asked.has(Plugin::DynamicResources) {
            said.push("no new claims to deallocate".to_owned());
        }
        if asked.has(Plugin::DefaultPreemption) && self.in_gang.get() {
            said.push("preemption: not tried for the pods of a gang.".to_owned());
        } else if asked.has(Plugin::DefaultPreemption) && pod.never_preempts {
            said.push("preemption: not eligible due to preemptionPolicy=Never.".to_owned());
        } else if asked.has(Plugin::DefaultPreemption) {
            said.push(format!(
                "preemption: 0/{all} nodes are available: {all} Preemption is not helpful for scheduling."
            ));
        }
        if said.is_empty() { String::new() } else { format!(" {}", said.join(", ")) }
    }

    /// How many pods of a domain a constraint counts. Who is imagined to go or come is added up as upstream does it,
    /// whether it would be counted or not.
    fn counted(&self, pod: &PodRow, c: &SpreadConstraint, node: &NodeRow) -> i64 {
        let Some(selector) = &c.selector else { return 0 };
        let counts = |p: &PodRow| p.namespace == pod.namespace && selects(selector, &p.labels);
        let there = self.pods.values().filter(|p| p.node.as_deref() == Some(&*node.name)).map(|p| &p.row);
        let there = there.filter(|p| !p.deleting && !selector.requirements.is_empty() && counts(p)).count();
        let imagined = self.imagined.borrow();
        let here = |uid: &&String| self.pods[*uid].node.as_deref() == Some(&*node.name);
        let gone = imagined.gone.iter().filter(here).filter(|uid| counts(&self.pods[*uid].row)).count();
        let come = imagined.come.iter().filter(|(uid, n)| **n == *node.name && counts(&self.pods[uid].row)).count();
        there as i64 - gone as i64 + come as i64
    }

    /// The system's constraints, for a pod that has none and that Services or its controller select.
    fn default_spread(&self, pod: &PodRow) -> Vec<SpreadConstraint> {
        let mut requirements = Vec::new();
        for ((keeper, namespace, name), selector) in &self.kindred {
            let service = *keeper == Keeper::Service && selects(selector, &pod.labels);
            let owner = pod.owner.as_ref().is_some_and(|(kind, owner)| kind == keeper && **owner == **name);
            if *namespace == *pod.namespace && (service || owner) {
                requirements.extend(selector.requirements.clone());
            }
        }
        if !pod.demand.spread.is_empty() || requirements.is_empty() {
            return Vec::new();
        }
        let one = |key: &str, max_skew| SpreadConstraint {
            max_skew,
            topology_key: key.into(),
            selector: Some(Selector { requirements: requirements.clone() }),
            ..SpreadConstraint::default()
        };
        vec![one("kubernetes.io/hostname", 3), one("topology.kubernetes.io/zone", 5)]
    }

    fn included(&self, pod: &PodRow, c: &SpreadConstraint, node: &NodeRow) -> bool {
        let mut hard = node.taints.iter().filter(|t| t.effect != Effect::PreferNoSchedule);
        (c.ignores_affinity || selected(&pod.demand, node))
            && (!c.honors_taints || hard.all(|t| tolerated(&pod.demand.tolerations, t)))
    }

    fn spreads(&self, pod: &PodRow, node: &NodeRow) -> Result<(), (Vec<String>, bool)> {
        let hard: Vec<&SpreadConstraint> = pod.demand.spread.iter().filter(|c| c.hard).collect();
        for c in &hard {
            let Some(value) = label(node, &c.topology_key) else {
                let text = "node(s) didn't match pod topology spread constraints (missing required label)";
                return Err((vec![text.into()], true));
            };
            let mut domains: BTreeMap<&str, i64> = BTreeMap::new();
            for other in self.nodes.values() {
                let complete = hard.iter().all(|c| label(other, &c.topology_key).is_some());
                if complete && self.included(pod, c, other) {
                    *domains.entry(label(other, &c.topology_key).expect("complete")).or_default() +=
                        self.counted(pod, c, other);
                }
            }
            let few = domains.len() < c.min_domains.max(1) as usize;
            let least = if few { 0 } else { *domains.values().min().expect("one at least") };
            let itself = c.selector.as_ref().is_some_and(|s| selects(s, &pod.labels));
            let here = domains.get(value).copied().unwrap_or(0);
            if here + i64::from(itself) - least > i64::from(c.max_skew) {
                return Err((vec!["node(s) didn't match pod topology spread constraints".into()], false));
            }
        }
        Ok(())
    }

    fn spread_scores(&self, pod: &PodRow, feasible: &[&NodeRow]) -> Vec<i64> {
        let defaults = self.default_spread(pod);
        let lenient = !defaults.is_empty();
        let soft: Vec<&SpreadConstraint> = pod.demand.spread.iter().chain(&defaults).filter(|c| !c.hard).collect();
        if soft.is_empty() {
            return vec![0; feasible.len()];
        }
        let complete = |node: &NodeRow| lenient || soft.iter().all(|c| label(node, &c.topology_key).is_some());
        let rated = feasible.iter().filter(|n| complete(n)).count();
        let raw: Vec<Option<i64>> = feasible
            .iter()
            .map(|node| {
                if !complete(node) {
                    return None;
                }
                let mut sum = 0f64;
                for c in &soft {
                    let Some(value) = label(node, &c.topology_key) else { continue };
                    let (count, domains) = if &*c.topology_key == "kubernetes.io/hostname" {
                        (self.counted(pod, c, node), rated)
                    } else {
                        let rated = feasible.iter().filter(|n| complete(n));
                        let mut values: Vec<_> = rated.map(|n| label(n, &c.topology_key)).collect();
                        values.sort();
                        values.dedup();
                        let same = self.nodes.values().filter(|n| {
                            complete(n) && self.included(pod, c, n) && label(n, &c.topology_key) == Some(value)
                        });
                        (same.map(|n| self.counted(pod, c, n)).sum(), values.len())
                    };
                    sum += count as f64 * (domains as f64 + 2.0).ln() + f64::from(c.max_skew - 1);
                }
                Some(sum.round() as i64)
            })
            .collect();
        let least = raw.iter().flatten().min().copied().unwrap_or(0);
        let most = raw.iter().flatten().max().copied().unwrap_or(0);
        raw.iter().map(|r| r.map_or(0, |r| if most == 0 { 100 } else { 100 * (most + least - r) / most })).collect()
    }

    /// Whether a term selects a pod.
    fn term_selects(&self, term: &PodTerm, pod: &PodRow) -> bool {
        let none = Vec::new();
        let of_namespace = self.namespaces.get(&*pod.namespace).unwrap_or(&none);
        let by_labels = term.namespace_selector.as_ref().is_some_and(|s| selects(s, of_namespace));
        (term.namespaces.contains(&pod.namespace) || by_labels)
            && term.selector.as_ref().is_some_and(|s| selects(s, &pod.labels))
    }

    /// All pods on nodes that exist, with their nodes.
    fn neighbours(&self) -> impl Iterator<Item = (&NodeRow, &PodRow)> {
        self.nodes.values().flat_map(|node| self.on(&node.name).map(move |pod| (node, pod)))
    }

    fn goes_with_pods(&self, pod: &PodRow, node: &NodeRow) -> Result<(), (Vec<String>, bool)> {
        let none = PodAffinity::default();
        let terms = pod.demand.pods.as_deref().unwrap_or(&none);
        let same = |other: &NodeRow, key: &str| label(node, key).is_some() && label(node, key) == label(other, key);
        if !terms.required.is_empty() {
            let labelled = terms.required.iter().all(|t| label(node, &t.topology_key).is_some());
            let liked = |p: &PodRow| terms.required.iter().all(|t| self.term_selects(t, p));
            let near = |t: &PodTerm| self.neighbours().any(|(n, p)| liked(p) && same(n, &t.topology_key));
            let anywhere = self
                .neighbours()
                .any(|(n, p)| liked(p) && terms.required.iter().any(|t| label(n, &t.topology_key).is_some()));
            let first = !anywhere && liked(pod);
            if !(labelled && (first || terms.required.iter().all(near))) {
                return Err((vec!["node(s) didn't match pod affinity rules".into()], true));
            }
        }
        for t in &terms.forbidden {
            if self.neighbours().any(|(n, p)| self.term_selects(t, p) && same(n, &t.topology_key)) {
                return Err((vec!["node(s) didn't match pod anti-affinity rules".into()], false));
            }
        }
        let forbids = |p: &PodRow, n: &NodeRow| {
            let theirs = p.demand.pods.iter().flat_map(|terms| &terms.forbidden);
            theirs.into_iter().any(|t| self.term_selects(t, pod) && same(n, &t.topology_key))
        };
        if self.neighbours().any(|(n, p)| forbids(p, n)) {
            return Err((vec!["node(s) didn't satisfy existing pods anti-affinity rules".into()], false));
        }
        Ok(())
    }

    fn pod_affinity_scores(&self, pod: &PodRow, feasible: &[&NodeRow]) -> Vec<i64> {
        let none = PodAffinity::default();
        let ours = pod.demand.pods.as_deref().unwrap_or(&none);
        let profile = self.profile(pod).expect("only pods of ours are decided on");
        if profile.ignore_preferred_terms_of_existing_pods && ours.preferred.is_empty() {
            return vec![0; feasible.len()];
        }
        let raw: Vec<i64> = feasible
            .iter()
            .map(|node| {
                let same = |n: &NodeRow, t: &PodTerm| {
                    let key = &t.topology_key;
                    label(node, key).is_some() && label(node, key) == label(n, key)
                };
                let mut sum = 0;
                for (n, p) in self.neighbours() {
                    for (weight, t) in &ours.preferred {
                        sum += if self.term_selects(t, p) && same(n, t) { i64::from(*weight) } else { 0 };
                    }
                    let Some(theirs) = p.demand.pods.as_deref() else { continue };
                    let required = theirs.required.iter().map(|t| (profile.hard_pod_affinity_weight, t));
                    for (weight, t) in required.chain(theirs.preferred.iter().map(|(w, t)| (*w, t))) {
                        sum += if self.term_selects(t, pod) && same(n, t) { i64::from(weight) } else { 0 };
                    }
                }
                sum
            })
            .collect();
        let least = raw.iter().min().copied().unwrap_or(0);
        let range = raw.iter().max().copied().unwrap_or(0) - least;
        let scale = |r: &i64| if range > 0 { (100.0 * ((r - least) as f64 / range as f64)) as i64 } else { 0 };
        raw.iter().map(scale).collect()
    }

    fn fits(&self, profile: &Profile, demand: &Demand, node: &NodeRow) -> Result<(), (Vec<String>, bool)> {
        let (mut texts, mut hopeless) = (Vec::new(), false);
        if i64::try_from(self.on(&node.name).count()).expect("few") + 1 > node.allocatable.pods {
            texts.push("Too many pods".to_owned());
        }
        let mut ask = |name: &str, want: i64, all: i64, used: i64| {
            if want > 0 && want > all - used {
                texts.push(format!("Insufficient {name}"));
                hopeless |= want > all;
            }
        };
        let (want, all) = (&demand.requests, &node.allocatable);
        let used = |of: &dyn Fn(&PodRow) -> i64| self.on(&node.name).map(of).sum::<i64>();
        ask("cpu", want.cpu, all.cpu, used(&|p| p.demand.requests.cpu));
        ask("memory", want.memory, all.memory, used(&|p| p.demand.requests.memory));
        ask("ephemeral-storage", want.ephemeral, all.ephemeral, used(&|p| p.demand.requests.ephemeral));
        let asked = |name: &str| !profile.ignores(name) && !self.shelf.rack.stands_in(name, node);
        for (name, amount) in want.extended.iter().filter(|(name, _)| asked(name)) {
            ask(name, *amount, all.extended(name), used(&|p| p.demand.requests.extended(name)));
        }
        if texts.is_empty() { Ok(()) } else { Err((texts, hopeless)) }
    }

    pub(crate) fn remove_pod(&mut self, uid: &str) -> Option<Placed> {
        self.unplace(uid);
        self.pods.remove(uid)
    }

    /// A pod is on no node (any more), and what was decided about its volumes is off.
    pub(crate) fn unplace(&mut self, uid: &str) {
        let Some(placed) = self.pods.get_mut(uid) else { return };
        placed.node = None;
        if let Some(work) = placed.work.take() {
            self.shelf.take_back(&work);
        }
    }

    /// What is to be written about a pod's volumes on its node; held from now on.
    pub(crate) fn work(&mut self, uid: &str, node: &str) -> Option<Preparation> {
        let placed = self.pods.get_mut(uid).expect("decided on");
        placed.row.needs.as_ref()?;
        let profile = self.profiles.iter().find(|p| p.name == placed.row.scheduler).expect("ours");
        let mut work = Preparation::default();
        if profile.filters.has(Plugin::VolumeBinding) {
            work = self.shelf.work(&placed.row, &self.nodes[node]).expect("it was found to fit");
        }
        if profile.filters.has(Plugin::DynamicResources) {
            work.claims = self.shelf.rack.work(&placed.row, &self.nodes[node]);
        }
        if work.is_empty() {
            return None;
        }
        self.shelf.assume(&work, node);
        placed.work = Some(work.clone());
        Some(work)
    }

    /// The pods on a node.
    pub(crate) fn on<'a>(&'a self, node: &'a str) -> impl Iterator<Item = &'a PodRow> {
        let imagined = self.imagined.borrow().clone();
        let there = self.pods.iter().filter(move |(uid, p)| {
            let gone = imagined.gone.contains(uid);
            let come = imagined.come.iter().any(|(come, at)| come == *uid && at == node);
            p.node.as_deref() == Some(node) && !gone || come
        });
        there.map(|(_, p)| &p.row)
    }

    fn image_locality(&self, demand: &Demand, node: &NodeRow) -> i64 {
        const MIB: i64 = 1 << 20;
        if demand.images.is_empty() {
            return 0;
        }
        let mut sum = 0;
        for image in &demand.images {
            if node.images.iter().any(|i| i.names.contains(image)) {
                let (size, nodes) = &self.images[&**image];
                sum += (*size as f64 * (nodes.len() as f64 / self.nodes.len() as f64)) as i64;
            }
        }
        let most = 1000 * MIB * demand.images.len() as i64;
        100 * (sum.clamp(23 * MIB, most) - 23 * MIB) / (most - 23 * MIB)
    }
}

fn label<'a>(node: &'a NodeRow, key: &str) -> Option<&'a str> {
    node.labels.iter().find(|(k, _)| **k == *key).map(|(_, v)| &**v)
}

pub(crate) fn selects(selector: &Selector, labels: &[(Box<str>, Box<str>)]) -> bool {
    selector.requirements.iter().all(|r| holds(r, labels.iter().find(|(k, _)| *k == r.key).map(|(_, v)| &**v)))
}

fn max(raw: &[i64]) -> i64 {
    raw.iter().copied().max().unwrap_or(0)
}

fn taint(key: &str, effect: Effect) -> Taint {
    Taint { key: key.into(), value: "".into(), effect }
}

fn tolerated(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|t| {
        let key = t.key.is_empty() || t.key == taint.key;
        let value = t.exists || t.value == taint.value;
        let effect = t.effect.is_none() || t.effect == Some(taint.effect);
        key && value && effect
    })
}

fn unwelcome(demand: &Demand, node: &NodeRow) -> i64 {
    let soft = node.taints.iter().filter(|t| t.effect == Effect::PreferNoSchedule);
    soft.filter(|t| !tolerated(&demand.tolerations, t)).count() as i64
}

fn preferred(profile: &Profile, demand: &Demand, node: &NodeRow) -> i64 {
    let terms = demand.preferred_node_terms.iter().chain(&profile.added_preferred_node_terms);
    terms.filter(|p| term_holds(&p.term, node)).map(|p| i64::from(p.weight)).sum()
}

fn selected(demand: &Demand, node: &NodeRow) -> bool {
    let labels = demand.node_selector.iter().all(|(k, v)| node.labels.iter().any(|(nk, nv)| nk == k && nv == v));
    labels && demand.node_terms.as_ref().is_none_or(|terms| terms.iter().any(|t| term_holds(t, node)))
}

fn term_holds(term: &NodeTerm, node: &NodeRow) -> bool {
    let some = !term.labels.is_empty() || !term.fields.is_empty();
    let label = |key: &str| node.labels.iter().find(|(k, _)| **k == *key).map(|(_, v)| &**v);
    some && term.labels.iter().all(|r| holds(r, label(&r.key)))
        && term.fields.iter().all(|r| holds(r, Some(&node.name)))
}

fn holds(r: &Requirement, value: Option<&str>) -> bool {
    let among = value.is_some_and(|v| r.values.iter().any(|known| &**known == v));
    let number = |text: &str| text.parse::<i64>().ok();
    let compared = || match (r.values.first().and_then(|v| number(v)), value.and_then(number)) {
        (Some(bound), Some(value)) => Some(value.cmp(&bound)),
        _ => None,
    };
    match r.operator {
        Operator::In => among,
        Operator::NotIn => !among,
        Operator::Exists => value.is_some(),
        Operator::DoesNotExist => value.is_none(),
        Operator::Gt => compared() == Some(std::cmp::Ordering::Greater),
        Operator::Lt => compared() == Some(std::cmp::Ordering::Less),
    }
}

/// The nodes that the required terms name, if every term names some.
fn named(demand: &Demand) -> Option<Vec<String>> {
    let terms = demand.node_terms.as_ref().filter(|t| !t.is_empty())?;
    let mut all = Vec::new();
    for term in terms {
        let mut fields = term.fields.iter().filter(|r| &*r.key == "metadata.name" && r.operator == Operator::In);
        let mut names: Vec<String> = fields.next()?.values.iter().map(ToString::to_string).collect();
        for r in fields {
            names.retain(|n| r.values.iter().any(|v| **v == **n));
        }
        all.extend(names);
    }
    Some(all)
}

fn clash(a: &HostPort, b: &HostPort) -> bool {
    let any = |p: &HostPort| &*p.ip == "0.0.0.0";
    a.port == b.port && a.protocol == b.protocol && (a.ip == b.ip || any(a) || any(b))
}
