//! Devices as one would hand them out on a blackboard: every combination of devices, in order, checked as a whole.
//! [`generate`] makes clusters' worth of them.

mod extended;
mod generate;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gantry_cel::device::Attribute;
use gantry_cel::quantity::Quantity;
use gantry_scheduler_core::devices::grant::{ClaimWork, Grant, Granted};
use gantry_scheduler_core::rows::devices::{
    Allocated, Allocation, Choice, ClaimName, CounterSet, DeviceClaimRow, DeviceClassRow, DeviceId, DeviceRow, Reach,
    SliceRow, Wanted,
};
use gantry_scheduler_core::rows::storage::{Key, Thing};
use gantry_scheduler_core::rows::{NodeRow, NodeTerm, Operator, PodRow, Requirement};

pub(crate) use generate::{asks, machine_room, thing, uses};

/// The resource that class `any` stands behind, whatever it says.
pub(crate) const BY_CLASS: &str = "deviceclass.resource.kubernetes.io/any";
const DRIVER: &str = "drv.example";
const IS_A: &str = "device.attributes['drv.example'].?model.orValue('') == 'a'";
const IS_LARGE: &str = "has(device.capacity['drv.example'].memory) && \
                        device.capacity['drv.example'].memory.compareTo(quantity('2')) >= 0";
const IS_SHARED: &str = "device.allowMultipleAllocations && device.driver.startsWith('drv')";

/// All claims, classes and slices; and what was decided and is not yet written.
#[derive(Default)]
pub(crate) struct Rack {
    pub(crate) claims: BTreeMap<Key, DeviceClaimRow>,
    classes: BTreeMap<Box<str>, DeviceClassRow>,
    slices: BTreeMap<Box<str>, SliceRow>,
    assumed: BTreeMap<Box<str>, Allocation>,
}

/// What keeps a pod from a node.
pub(crate) enum No {
    /// Upstream's text.
    Text(&'static str),
    /// No node counts.
    Wrong(String),
}

/// A device chosen: for which request and option of which claim, and what of its capacity.
#[derive(Clone)]
struct Pick<'a> {
    claim: usize,
    request: usize,
    option: usize,
    slice: &'a SliceRow,
    device: &'a DeviceRow,
}

impl Rack {
    pub(crate) fn put(&mut self, thing: Thing) {
        match thing {
            Thing::DeviceClaim(row) => {
                let before = self.claims.get(&row.key);
                if before.is_some_and(|before| before.uid != row.uid) || row.allocation.is_some() {
                    let uid = before.map(|before| before.uid.clone());
                    uid.iter().for_each(|uid| drop(self.assumed.remove(uid)));
                    self.assumed.remove(&row.uid);
                }
                if row.extended && row.allocation.is_some() {
                    self.assumed.remove(&*format!("extended/{}", row.pod));
                }
                self.claims.insert(row.key.clone(), row);
            }
            Thing::DeviceClass(row) => drop(self.classes.insert(row.name.clone(), row)),
            Thing::Slice(row) => drop(self.slices.insert(row.name.clone(), row)),
            _ => {}
        }
    }

    pub(crate) fn take(&mut self, thing: &Thing) {
        match thing {
            Thing::DeviceClaim(row) => {
                if let Some(row) = self.claims.remove(&row.key) {
                    self.assumed.remove(&row.uid);
                }
            }
            Thing::DeviceClass(row) => drop(self.classes.remove(&row.name)),
            Thing::Slice(row) => drop(self.slices.remove(&row.name)),
            _ => {}
        }
    }

    pub(crate) fn assume(&mut self, work: &[ClaimWork]) {
        for claim in work {
            if let Some(grant) = &claim.grant {
                self.assumed.insert(claim.uid.clone(), grant.allocation());
            }
        }
    }

    pub(crate) fn take_back(&mut self, work: &[ClaimWork]) {
        work.iter().for_each(|claim| drop(self.assumed.remove(&claim.uid)));
    }

    fn claims_of(&self, pod: &PodRow) -> Result<Vec<&DeviceClaimRow>, String> {
        let mut all = Vec::new();
        for used in pod.needs.iter().flat_map(|needs| &needs.devices) {
            let name = match &used.claim {
                ClaimName::Is(name) => name,
                ClaimName::None => continue,
                ClaimName::Pending => {
                    return Err(format!("pod \"{}/{}\": ResourceClaim not created yet", pod.namespace, pod.name));
                }
            };
            let Some(claim) = self.claims.get(&Key::new(&pod.namespace, name)) else {
                return Err(format!("could not find claim \"{}/{name}\": not found", pod.namespace));
            };
            if claim.deleting {
                return Err(format!("resourceclaim \"{name}\" is being deleted"));
            }
            all.push(claim);
        }
        Ok(all)
    }

    pub(crate) fn has_claims(&self, pod: &PodRow) -> bool {
        self.claims_of(pod).is_ok_and(|claims| !claims.is_empty()) || self.is_backed(pod)
    }

    /// Whether a pod is held back until its claims come.
    pub(crate) fn misses_claims(&self, pod: &PodRow) -> bool {
        self.claims_of(pod).is_err()
    }

    /// Why a pod cannot run anywhere.
    pub(crate) fn objection(&self, pod: &PodRow) -> Option<String> {
        let claims = match self.claims_of(pod) {
            Ok(claims) => claims,
            Err(why) => return Some(why),
        };
        for claim in claims.iter().filter(|claim| claim.allocation.is_none()) {
            let Key { namespace, name } = &claim.key;
            if self.assumed.contains_key(&claim.uid) {
                return Some(format!("resource claim {namespace}/{name} is in the process of being allocated"));
            }
            for request in &claim.spec.requests {
                for option in &request.options {
                    if !self.classes.contains_key(&option.class) {
                        let part = if request.prioritized { format!("/{}", option.name) } else { String::new() };
                        let name = &request.name;
                        let class = &option.class;
                        return Some(format!("request {name}{part}: device class {class} does not exist"));
                    }
                }
            }
        }
        None
    }

    fn open(&self, pod: &PodRow, node: &NodeRow) -> Vec<DeviceClaimRow> {
        let mut open: Vec<DeviceClaimRow> = Vec::new();
        for claim in self.claims_of(pod).unwrap_or_default() {
            if claim.allocation.is_none() && !open.iter().any(|other| other.uid == claim.uid) {
                open.push(claim.clone());
            }
        }
        open.extend(self.stand_in(pod, node).map(|(claim, _)| claim));
        open
    }

    /// Whether a node can give a pod its devices, and how well they suit.
    pub(crate) fn filter(&self, pod: &PodRow, node: &NodeRow) -> Result<i64, No> {
        if self.stale(pod).is_some() {
            return Err(No::Text("cannot schedule extended resource claim"));
        }
        let open = self.open(pod, node);
        let open: Vec<&DeviceClaimRow> = open.iter().collect();
        let picks = self.allocate(&open, node)?;
        let held = self.claims_of(pod).unwrap_or_default().into_iter();
        for allocation in held.filter_map(|claim| claim.allocation.as_ref()) {
            if allocation.terms.as_ref().is_some_and(|terms| !terms.iter().any(|term| reaches_by(term, node))) {
                return Err(No::Text("resourceclaim not available on the node"));
            }
        }
        let mut score = 0;
        for (at, claim) in open.iter().enumerate() {
            for (request, _) in claim.spec.requests.iter().enumerate().filter(|(_, request)| request.prioritized) {
                let chosen = picks.iter().find(|pick| pick.claim == at && pick.request == request);
                score += chosen.map_or(0, |pick| 8 - pick.option as i64);
            }
        }
        Ok(score)
    }

    /// Whether some claim keeps the pod from a node and nobody else has it.
    pub(crate) fn can_release(&self, pod: &PodRow, node: &NodeRow) -> bool {
        let held = self.claims_of(pod).unwrap_or_default().into_iter();
        held.filter(|claim| claim.reserved_for.iter().all(|uid| *uid == pod.uid)).any(|claim| {
            let terms = claim.allocation.as_ref().and_then(|allocation| allocation.terms.as_ref());
            terms.is_some_and(|terms| !terms.iter().any(|term| reaches_by(term, node)))
        })
    }

    /// What is to be written; the ids of shares and configurations left out.
    pub(crate) fn work(&self, pod: &PodRow, node: &NodeRow) -> Vec<ClaimWork> {
        let mut work: Vec<ClaimWork> = Vec::new();
        for claim in self.claims_of(pod).unwrap_or_default() {
            let listed = work.iter().any(|other| other.uid == claim.uid);
            let reserved = claim.reserved_for.contains(&pod.uid);
            let Some(allocation) = &claim.allocation else { continue };
            // Conditions are waited for whenever the pod is about to be bound.
            let conditional = allocation.results.iter().any(|result| result.conditional);
            if (!reserved || conditional) && !listed {
                work.push(ClaimWork { key: claim.key.clone(), uid: claim.uid.clone(), ..ClaimWork::default() });
            }
        }
        let open = self.open(pod, node);
        let open: Vec<&DeviceClaimRow> = open.iter().collect();
        let Ok(picks) = self.allocate(&open, node) else { panic!("it was found to fit") };
        for (at, claim) in open.iter().enumerate() {
            let mut grant = Grant::default();
            let mut terms: Vec<Requirement> = Vec::new();
            let mut local = false;
            for pick in picks.iter().filter(|pick| pick.claim == at) {
                let request = &claim.spec.requests[pick.request];
                let option = &request.options[pick.option];
                let part = if request.prioritized { format!("/{}", option.name) } else { String::new() };
                grant.results.push(Granted {
                    request: format!("{}{part}", request.name).into(),
                    device: id(pick),
                    admin: option.admin,
                    tolerations: option.tolerations.clone(),
                    share: pick.device.shared.then(|| ("".into(), consumption(option, pick.device).expect("picked"))),
                    binding: pick.device.binding.clone(),
                    failure: pick.device.failure.clone(),
                });
                match reach(pick) {
                    Reach::Node(_) => local = true,
                    Reach::Terms(more) => {
                        for requirement in more.iter().flat_map(|term| &term.labels) {
                            if !terms.contains(requirement) {
                                terms.push(requirement.clone());
                            }
                        }
                    }
                    _ => {}
                }
                local |= pick.device.binds_to_node;
            }
            grant.term = if local {
                let values = vec![node.name.clone()];
                let name = Requirement { key: "metadata.name".into(), operator: Operator::In, values };
                Some(NodeTerm { labels: vec![], fields: vec![name] })
            } else {
                (!terms.is_empty()).then(|| NodeTerm { labels: terms, fields: vec![] })
            };
            work.push(ClaimWork { key: claim.key.clone(), uid: claim.uid.clone(), grant: Some(grant), new: None });
        }
        if let Some((_, new)) = self.stand_in(pod, node) {
            work.last_mut().expect("it is to be made").new = Some(Arc::new(new));
        }
        work
    }

    /// The slices of a pool that count, whatever the node.
    fn current(&self, pool: &str) -> Vec<&SliceRow> {
        let of = || self.slices.values().filter(|slice| *slice.pool == *pool);
        let newest = of().map(|slice| slice.generation).max();
        of().filter(|slice| Some(slice.generation) == newest).collect()
    }

    fn allocate<'a>(&'a self, open: &[&DeviceClaimRow], node: &NodeRow) -> Result<Vec<Pick<'a>>, No> {
        if open.is_empty() {
            return Ok(Vec::new());
        }
        // Pools by name, those with conditions last; slices by name; devices in order.
        let names: BTreeSet<&str> = self.slices.values().map(|slice| &*slice.pool).collect();
        let mut pools: Vec<(bool, &str, Vec<&SliceRow>, Option<&'static str>)> = Vec::new();
        for pool in names {
            let all = self.current(pool);
            let here: Vec<&SliceRow> = all.iter().copied().filter(|slice| slice_reaches(slice, node)).collect();
            let Some(first) = here.first() else { continue };
            let devices = || all.iter().flat_map(|slice| &slice.devices);
            let twice = devices().count() > devices().map(|device| &device.name).collect::<BTreeSet<_>>().len();
            let sets: Vec<&CounterSet> = all.iter().flat_map(|slice| &slice.counters).collect();
            let unknown = devices().flat_map(|device| &device.consumes).any(|c| !sets.iter().any(|s| s.name == c.name));
            let sets_twice = sets.len() > sets.iter().map(|set| &set.name).collect::<BTreeSet<_>>().len();
            let state = if all.len() as i64 != first.slices {
                Some("being updated")
            } else {
                (twice || unknown || sets_twice).then_some("invalid")
            };
            let conditional = here.iter().flat_map(|slice| &slice.devices).any(|device| !device.binding.is_empty());
            pools.push((conditional, pool, here, state));
        }
        pools.sort_by_key(|(conditional, pool, ..)| (*conditional, *pool));
        for claim in open {
            for request in &claim.spec.requests {
                for option in request.options.iter().filter(|option| option.count.is_none()) {
                    for (_, pool, _, state) in &pools {
                        if let Some(state) = state {
                            let name = if request.prioritized { &option.name } else { &request.name };
                            let Key { namespace, name: claim } = &claim.key;
                            return Err(No::Wrong(format!(
                                "claim {namespace}/{claim}, request {name}: asks for all devices, but resource pool \
                                 {DRIVER}/{pool} is currently {state}"
                            )));
                        }
                    }
                }
            }
        }
        let usable = pools.iter().filter(|(.., state)| state.is_none()).flat_map(|(_, _, slices, _)| slices);
        let devices: Vec<(&SliceRow, &DeviceRow)> =
            usable.flat_map(|slice| slice.devices.iter().map(move |device| (*slice, device))).collect();
        match self.extend(open, node, &devices, Vec::new(), 0, 0) {
            Some(picks) => Ok(picks),
            None if pools.iter().any(|(.., state)| *state == Some("invalid")) || self.any_invalid(&pools) => {
                Err(No::Text("invalid resource pools were encountered"))
            }
            None => Err(No::Text("cannot allocate all claims")),
        }
    }

    /// Whether an incomplete pool contradicts itself, too.
    fn any_invalid(&self, pools: &[(bool, &str, Vec<&SliceRow>, Option<&'static str>)]) -> bool {
        pools.iter().any(|(_, pool, ..)| {
            let all = self.current(pool);
            let devices = || all.iter().flat_map(|slice| &slice.devices);
            let twice = devices().count() > devices().map(|device| &device.name).collect::<BTreeSet<_>>().len();
            let sets: Vec<&CounterSet> = all.iter().flat_map(|slice| &slice.counters).collect();
            let unknown = devices().flat_map(|device| &device.consumes).any(|c| !sets.iter().any(|s| s.name == c.name));
            twice || unknown || sets.len() > sets.iter().map(|set| &set.name).collect::<BTreeSet<_>>().len()
        })
    }

    /// The first way to satisfy all requests from one on, added to what is picked.
    fn extend<'a>(
        &'a self,
        open: &[&DeviceClaimRow],
        node: &NodeRow,
        devices: &[(&'a SliceRow, &'a DeviceRow)],
        picked: Vec<Pick<'a>>,
        claim: usize,
        request: usize,
    ) -> Option<Vec<Pick<'a>>> {
        let Some(asked) = open.get(claim) else { return Some(picked) };
        let Some(wanted) = asked.spec.requests.get(request) else {
            return self.extend(open, node, devices, picked, claim + 1, 0);
        };
        for (at, option) in wanted.options.iter().enumerate() {
            let fits = |slice: &SliceRow, device: &DeviceRow| {
                let here = slice.reach != Reach::PerDevice || reaches(&device.reach, node);
                here && self.selects(option, device)
            };
            let candidates: Vec<(&SliceRow, &DeviceRow)> =
                devices.iter().copied().filter(|(slice, device)| fits(slice, device)).collect();
            let pick =
                |(slice, device): (&'a SliceRow, &'a DeviceRow)| Pick { claim, request, option: at, slice, device };
            let combinations: Vec<Vec<(&SliceRow, &DeviceRow)>> = match option.count {
                Some(count) => combinations(&candidates, count),
                None => {
                    // Those whose capacity would not suffice are not among all.
                    let all = candidates.iter().copied().filter(|(slice, device)| {
                        let mut with = picked.clone();
                        with.retain(|_| false);
                        with.push(pick((slice, device)));
                        self.capacity_suffices(open, &with)
                    });
                    let all: Vec<_> = all.collect();
                    if all.is_empty() { vec![] } else { vec![all] }
                }
            };
            for combination in combinations {
                let mut with = picked.clone();
                with.extend(combination.into_iter().map(pick));
                if self.is_valid(open, &with)
                    && let Some(found) = self.extend(open, node, devices, with, claim, request + 1)
                {
                    return Some(found);
                }
            }
        }
        None
    }

    fn selects(&self, option: &Wanted, device: &DeviceRow) -> bool {
        let class = &self.classes[&option.class];
        class.selectors.iter().chain(&option.selectors).all(|expression| match &**expression {
            IS_A => device.attributes.contains(&("model".into(), Attribute::Text("a".into()))),
            IS_LARGE => device.capacity.iter().any(|(name, c)| &**name == "memory" && c.value.value() >= 2),
            IS_SHARED => device.shared,
            other => panic!("{other}"),
        })
    }

    fn allocated(&self) -> Vec<&Allocated> {
        let seen = self.claims.values().filter_map(|claim| claim.allocation.as_deref());
        seen.chain(self.assumed.values()).flat_map(|a| &a.results).filter(|result| !result.admin).collect()
    }

    fn capacity_suffices(&self, open: &[&DeviceClaimRow], picks: &[Pick<'_>]) -> bool {
        picks.iter().enumerate().all(|(at, pick)| {
            let option = &open[pick.claim].spec.requests[pick.request].options[pick.option];
            let Some(takes) = consumption(option, pick.device) else { return false };
            takes.iter().all(|(name, amount)| {
                let seen = self.allocated().into_iter().filter(|other| other.device == id(pick));
                let seen = seen.filter_map(|other| other.share.as_ref()).flatten();
                let seen: i64 = seen.filter(|(other, _)| other == name).map(|(_, amount)| amount.value()).sum();
                let before = picks[..at].iter().filter(|other| pick.device.shared && id(other) == id(pick));
                let before: i64 = before
                    .map(|other| {
                        let option = &open[other.claim].spec.requests[other.request].options[other.option];
                        let takes = consumption(option, other.device).unwrap_or_default();
                        takes.iter().find(|(known, _)| known == name).map_or(0, |(_, amount)| amount.value())
                    })
                    .sum();
                let there = pick.device.capacity.iter().find(|(known, _)| known == name).expect("its own");
                seen + before + amount.value() <= there.1.value.value()
            })
        })
    }

    /// Whether all that is picked may stand together.
    fn is_valid(&self, open: &[&DeviceClaimRow], picks: &[Pick<'_>]) -> bool {
        let option = |pick: &Pick<'_>| &open[pick.claim].spec.requests[pick.request].options[pick.option];
        let whole: Vec<&DeviceId> =
            self.allocated().into_iter().filter(|result| result.share.is_none()).map(|result| &result.device).collect();
        for (at, pick) in picks.iter().enumerate() {
            let before = picks[..at].iter().filter(|other| id(other) == id(pick));
            let clash = if option(pick).admin {
                !pick.device.shared && before.clone().any(|other| other.claim == pick.claim)
            } else {
                whole.contains(&&id(pick)) || !pick.device.shared && before.clone().next().is_some()
            };
            let tainted = pick.device.taints.iter().any(|taint| {
                let tolerated = option(pick).tolerations.iter().any(|t| t.key == taint.key);
                &*taint.effect == "NoSchedule" && !tolerated
            });
            if clash || tainted {
                return false;
            }
        }
        for (claim, asked) in open.iter().enumerate() {
            for constraint in &asked.spec.constraints {
                let concerned = |pick: &&Pick<'_>| {
                    let names = &constraint.requests;
                    pick.claim == claim && (names.is_empty() || names.contains(&asked.spec.requests[pick.request].name))
                };
                let mut values: Vec<Option<&Attribute>> = Vec::new();
                for pick in picks.iter().filter(concerned) {
                    let named = pick.device.attributes.iter().find(|(name, _)| &**name == "model");
                    values.push(named.map(|(_, value)| value));
                }
                let mut distinct = values.clone();
                distinct.dedup();
                let differ = (0..values.len()).all(|at| !values[..at].contains(&values[at]));
                let fine = if constraint.distinct { differ } else { distinct.len() <= 1 };
                if values.contains(&None) || !fine {
                    return false;
                }
            }
        }
        self.capacity_suffices(open, picks) && self.counters_suffice(picks)
    }

    fn counters_suffice(&self, picks: &[Pick<'_>]) -> bool {
        let pools: BTreeSet<&str> = picks.iter().map(|pick| &*pick.slice.pool).collect();
        pools.into_iter().all(|pool| {
            let current = self.current(pool);
            let used: BTreeSet<DeviceId> = self.allocated().into_iter().map(|result| result.device.clone()).collect();
            let mut consumed = 0;
            for slice in &current {
                for device in &slice.devices {
                    if used.contains(&device_id(slice, device)) {
                        consumed += device.consumes.iter().map(|set| set.counters[0].1.value()).sum::<i64>();
                    }
                }
            }
            let mut here: Vec<DeviceId> = Vec::new();
            let mut wants = false;
            for pick in picks.iter().filter(|pick| *pick.slice.pool == *pool) {
                // A share costs nothing more once the device is in use.
                let again = pick.device.shared && (here.contains(&id(pick)) || used.contains(&id(pick)));
                here.push(id(pick));
                if !again {
                    wants |= !pick.device.consumes.is_empty();
                    consumed += pick.device.consumes.iter().map(|set| set.counters[0].1.value()).sum::<i64>();
                }
            }
            let there: i64 =
                current.iter().flat_map(|slice| &slice.counters).map(|set| set.counters[0].1.value()).sum();
            !wants || consumed <= there
        })
    }
}

fn device_id(slice: &SliceRow, device: &DeviceRow) -> DeviceId {
    DeviceId { driver: slice.driver.clone(), pool: slice.pool.clone(), name: device.name.clone() }
}

fn id(pick: &Pick<'_>) -> DeviceId {
    device_id(pick.slice, pick.device)
}

fn reach<'a>(pick: &Pick<'a>) -> &'a Reach {
    if pick.slice.reach == Reach::PerDevice { &pick.device.reach } else { &pick.slice.reach }
}

/// All ways to take so many, in order.
fn combinations<T: Copy>(of: &[T], count: usize) -> Vec<Vec<T>> {
    if count == 0 {
        return vec![vec![]];
    }
    let from = |at: usize| {
        let rest = combinations(&of[at + 1..], count - 1);
        rest.into_iter().map(move |rest| [vec![of[at]], rest].concat())
    };
    (0..of.len()).flat_map(from).collect()
}

fn consumption(option: &Wanted, device: &DeviceRow) -> Option<Vec<(Box<str>, Quantity)>> {
    if !option.capacity.iter().all(|(name, _)| device.capacity.iter().any(|(known, _)| known == name)) {
        return None;
    }
    let mut all = Vec::new();
    for (name, capacity) in &device.capacity {
        let asked = option.capacity.iter().find(|(known, _)| known == name).map(|(_, amount)| *amount);
        let takes = match (asked, &capacity.choice) {
            (None, _) => capacity.default.unwrap_or(capacity.value),
            (Some(asked), Choice::Values(values)) => *values.iter().find(|value| **value >= asked)?,
            (Some(asked), _) => asked,
        };
        all.push((name.clone(), takes));
    }
    Some(all)
}

fn reaches_by(term: &NodeTerm, node: &NodeRow) -> bool {
    let among =
        |r: &Requirement, value: Option<&str>| value.is_some_and(|v| r.values.iter().any(|known| **known == *v));
    let label = |key: &str| node.labels.iter().find(|(known, _)| **known == *key).map(|(_, value)| &**value);
    (!term.labels.is_empty() || !term.fields.is_empty())
        && term.labels.iter().all(|r| among(r, label(&r.key)))
        && term.fields.iter().all(|r| among(r, Some(&node.name)))
}

fn reaches(reach: &Reach, node: &NodeRow) -> bool {
    match reach {
        Reach::Node(name) => *name == node.name,
        Reach::Terms(terms) => terms.iter().any(|term| reaches_by(term, node)),
        Reach::Everywhere => true,
        Reach::Nowhere | Reach::PerDevice => false,
    }
}

fn slice_reaches(slice: &SliceRow, node: &NodeRow) -> bool {
    match &slice.reach {
        Reach::PerDevice => slice.devices.iter().any(|device| reaches(&device.reach, node)),
        reach => reaches(reach, node),
    }
}

/// The same, without what the reference does not make up.
pub(crate) fn without_share_ids(mut work: Vec<ClaimWork>) -> Vec<ClaimWork> {
    let grants = work.iter_mut().filter_map(|claim| claim.grant.as_mut());
    grants.flat_map(|grant| &mut grant.results).filter_map(|result| result.share.as_mut()).for_each(|(id, _)| {
        *id = "".into();
    });
    work
}

/// What the API says once a pod's claims are written.
pub(crate) fn written(rack: &Rack, pod: &str, work: &[ClaimWork]) -> Vec<Thing> {
    let mut things = Vec::new();
    for claim in work {
        let known = rack.claims.get(&claim.key).filter(|row| row.uid == claim.uid).cloned();
        let made = claim.new.as_ref().map(|new| extended::made(&claim.key.namespace, pod, new));
        let Some(mut row) = known.or(made) else { continue };
        if let Some(grant) = &claim.grant {
            row.allocation = Some(Arc::new(grant.allocation()));
        }
        if row.allocation.is_some() {
            row.reserved_for.push(pod.into());
            things.push(Thing::DeviceClaim(row));
        }
    }
    things
}
