//! The search for devices on one node: claim after claim, request after request, device after device; the first solution
//! counts. Exhaustive but for its end after so many steps as the profile allows, in the order in which upstream's
//! allocator tries (`allocateOne`): pools by name, those with binding conditions last; slices by name; devices as
//! published.

use gantry_cel::device::Attribute;

use super::Devices;
use super::ask::{Open, whose};
use super::capacity::{Amounts, consumed};
use super::grant::{Grant, Granted, GrantedConfig, narrow, only, share_id};
use super::pools::{PoolView, Slice, add_counters, reaches};
use super::usage::amount;
use super::wishes::Answer;
use crate::rows::devices::{CounterSet, DeviceId, DeviceRow, DeviceTaint, DeviceToleration, Reach, Wanted};
use crate::rows::{NodeRow, NodeTerm};

/// The most devices of one claim (`AllocationResultsMaxSize`).
const RESULTS_MAX: usize = 32;
/// Where no search is begun: more claims, or more devices, than any pod has sense for.
const CLAIMS_MAX: usize = 64;
const DEVICES_MAX: usize = 256;

/// Why there is no answer for a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Something is wrong with a claim, a class or a device: no node counts.
    Error(String),
    /// There may be devices in pools that contradict themselves.
    InvalidPools,
    /// The search was ended.
    TooLong,
}

/// Where a device is: pool, slice and device of the view of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Spot {
    pool: u16,
    slice: u16,
    device: u16,
}

/// A device chosen for a request.
#[derive(Clone, Debug)]
struct Choice {
    request: usize,
    option: usize,
    spot: Spot,
    /// What is consumed of a shared device.
    share: Option<Amounts>,
}

/// A solution: the devices of each claim.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    claims: Vec<Vec<Choice>>,
}

impl Found {
    /// Which option of a request was chosen.
    pub(super) fn chosen(&self, claim: usize, request: usize) -> Option<usize> {
        self.claims[claim].iter().find(|choice| choice.request == request).map(|choice| choice.option)
    }
}

/// `request`, or `request/subrequest`.
pub(super) fn full_name(request: &str, option: &str) -> Box<str> {
    if option.is_empty() { request.into() } else { format!("{request}/{option}").into() }
}

/// Searches on a node, in at most so many steps; `None` when there is no solution.
pub(super) fn search(
    devices: &Devices,
    open: &[Open],
    node: &NodeRow,
    steps_max: u64,
) -> Result<Option<Found>, Failure> {
    let pools = devices.pools_for(node);
    let mut search = Search {
        devices,
        open,
        node,
        all: Vec::new(),
        found: vec![Vec::new(); open.len()],
        counters: Vec::new(),
        left: vec![None; pools.len()],
        steps: 0,
        steps_max,
        pools,
    };
    search.prepare()?;
    match search.request(0, 0) {
        Ok(true) => Ok(Some(Found { claims: search.found })),
        Ok(false) | Err(Stop::TooMany) => {
            if search.pools.iter().any(|pool| pool.invalid) {
                Err(Failure::InvalidPools)
            } else {
                Ok(None)
            }
        }
        Err(Stop::Failed(failure)) => Err(failure),
    }
}

/// Why a branch of the search ends before all of it was tried.
enum Stop {
    /// The claim would have more devices than it can: an option that needs fewer may do.
    TooMany,
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// One required device: of which claim, request and option, and how many the request has already.
#[derive(Clone, Copy)]
struct Place {
    claim: usize,
    request: usize,
    option: usize,
    had: usize,
}

struct Search<'a> {
    devices: &'a Devices,
    open: &'a [Open],
    node: &'a NodeRow,
    pools: Vec<PoolView<'a>>,
    /// The devices of requests that want all: by claim, request and option.
    all: Vec<((usize, usize, usize), Vec<Spot>)>,
    found: Vec<Vec<Choice>>,
    /// Counters that chosen devices consume, by pool.
    counters: Vec<(u16, Vec<CounterSet>)>,
    /// Counters that are left in a pool by what is in use; worked out when asked for.
    left: Vec<Option<Vec<CounterSet>>>,
    steps: u64,
    steps_max: u64,
}

impl<'a> Search<'a> {
    fn wanted(&self, at: Place) -> &'a Wanted {
        &self.open[at.claim].spec.requests[at.request].options[at.option]
    }

    fn slice(&self, spot: Spot) -> &'a Slice {
        self.pools[usize::from(spot.pool)].slices[usize::from(spot.slice)].1
    }

    fn row(&self, spot: Spot) -> &'a DeviceRow {
        &self.slice(spot).row.devices[usize::from(spot.device)]
    }

    fn id(&self, spot: Spot) -> DeviceId {
        let row = &self.slice(spot).row;
        DeviceId { driver: row.driver.clone(), pool: row.pool.clone(), name: self.row(spot).name.clone() }
    }

    /// Finds the devices of requests that want all, and counts how many devices are needed at least.
    fn prepare(&mut self) -> Result<(), Failure> {
        let open = self.open;
        let mut total = 0;
        for (claim, asked) in open.iter().enumerate() {
            let name = || format!("claim {}/{}", asked.key.namespace, asked.key.name);
            let mut least = 0;
            for (request, wanted) in asked.spec.requests.iter().enumerate() {
                let mut fewest = usize::MAX;
                for (option, wanted) in wanted.options.iter().enumerate() {
                    let at = Place { claim, request, option, had: 0 };
                    let count = match wanted.count {
                        Some(count) => count,
                        None => {
                            let of = self.name_of(at);
                            let all = self.all_devices(at, &format!("{}, request {of}", name()))?;
                            let count = all.len();
                            self.all.push(((claim, request, option), all));
                            count
                        }
                    };
                    fewest = fewest.min(count);
                }
                least += if wanted.options.is_empty() { 0 } else { fewest };
            }
            total += least;
            if least > RESULTS_MAX {
                return Err(Failure::Error(format!(
                    "{}: number of requested devices {least} exceeds the claim limit of {RESULTS_MAX}",
                    name()
                )));
            }
        }
        // The search recurses with every device and every request.
        if open.len() > CLAIMS_MAX || total > DEVICES_MAX { Err(Failure::TooLong) } else { Ok(()) }
    }

    /// The name of a request, or of a subrequest alone, as upstream's texts have it.
    fn name_of(&self, at: Place) -> &'a str {
        let request = &self.open[at.claim].spec.requests[at.request];
        if request.prioritized { &request.options[at.option].name } else { &request.name }
    }

    fn all_devices(&mut self, at: Place, whose: &str) -> Result<Vec<Spot>, Failure> {
        let mut all = Vec::new();
        for pool in 0..self.pools.len() {
            let view = &self.pools[pool];
            let state = match (view.incomplete, view.invalid) {
                (true, _) => Some("being updated"),
                (false, true) => Some("invalid"),
                (false, false) => None,
            };
            if let Some(state) = state {
                let id = view.id;
                let text = format!("{whose}: asks for all devices, but resource pool {id} is currently {state}");
                return Err(Failure::Error(text));
            }
            let mut spot = Spot { pool: pool as u16, ..Spot::default() };
            while let Some(here) = self.next_in_pool(&mut spot) {
                if self.is_selected(at, here)? && self.consumes(at, here).is_some() {
                    all.push(here);
                }
            }
        }
        Ok(all)
    }

    /// The device at a spot or the next of the same pool; leaves the spot behind it.
    fn next_in_pool(&self, spot: &mut Spot) -> Option<Spot> {
        let view = &self.pools[usize::from(spot.pool)];
        while let Some((_, slice)) = view.slices.get(usize::from(spot.slice)) {
            if usize::from(spot.device) < slice.devices.len() {
                let here = *spot;
                spot.device += 1;
                return Some(here);
            }
            *spot = Spot { slice: spot.slice + 1, device: 0, ..*spot };
        }
        None
    }

    /// Whether class and request select a device, and the node reaches it.
    fn is_selected(&self, at: Place, spot: Spot) -> Result<bool, Failure> {
        let asked = &self.open[at.claim];
        let (wish, class) = &asked.wishes[at.request][at.option];
        let (id, slice) = &self.pools[usize::from(spot.pool)].slices[usize::from(spot.slice)];
        match wish.answers(*id).get(usize::from(spot.device)) {
            Some(Answer::Yes) => {}
            Some(Answer::No) | None => return Ok(false),
            Some(Answer::Failed { of_class, selector, why }) => {
                let whose = whose(*of_class, &class.name, &asked.key);
                let DeviceId { driver, pool, name } = self.id(spot);
                let hint = match why {
                    gantry_cel::EvaluateError::NoSuchKey(_) => {
                        ". Consider using CEL optional chaining (?), has() macro, or orValue() for optional fields"
                    }
                    _ => "",
                };
                return Err(Failure::Error(format!(
                    "{whose}: selector #{selector} on device {driver}/{pool}/{name}: CEL runtime error: {why}{hint}"
                )));
            }
        }
        Ok(slice.row.reach != Reach::PerDevice || reaches(&self.row(spot).reach, self.node))
    }

    /// What a request would consume of a device's capacity; `None` if it does not suffice.
    fn consumes(&self, at: Place, spot: Spot) -> Option<Amounts> {
        let device = &self.slice(spot).devices[usize::from(spot.device)];
        let seen = device.usage.as_ref().map_or(&[][..], |used| &used.consumed);
        let row = self.row(spot);
        let mut here = Amounts::new();
        if row.shared {
            for choice in self.found.iter().flatten().filter(|choice| choice.spot == spot) {
                for (name, amount) in choice.share.iter().flatten() {
                    super::usage::add(&mut here, name, *amount);
                }
            }
        }
        consumed(self.wanted(at), row, [seen, &here])
    }

    /// Continues with a request; all before it have their devices.
    fn request(&mut self, claim: usize, request: usize) -> Result<bool, Stop> {
        self.step()?;
        let Some(asked) = self.open.get(claim) else { return Ok(true) };
        let Some(wanted) = asked.spec.requests.get(request) else {
            return match self.request(claim + 1, 0) {
                // Of no consequence for this claim: another choice for it may leave the next one other options.
                Err(Stop::TooMany) => Ok(false),
                other => other,
            };
        };
        if !wanted.prioritized {
            return self.device(Place { claim, request, option: 0, had: 0 }, Spot::default());
        }
        let mut too_many = true;
        for option in 0..wanted.options.len() {
            match self.device(Place { claim, request, option, had: 0 }, Spot::default()) {
                Err(Stop::TooMany) => continue,
                Ok(false) => {}
                other => return other,
            }
            too_many = false;
        }
        if too_many { Err(Stop::TooMany) } else { Ok(false) }
    }

    fn step(&mut self) -> Result<(), Stop> {
        self.steps += 1;
        if self.steps > self.steps_max { Err(Failure::TooLong.into()) } else { Ok(()) }
    }

    /// Chooses the next device of a request, from a spot on, and then the rest.
    fn device(&mut self, at: Place, from: Spot) -> Result<bool, Stop> {
        self.step()?;
        let wanted = self.wanted(at);
        let key = (at.claim, at.request, at.option);
        let all = wanted.count.is_none().then(|| self.all.iter().position(|(of, _)| *of == key)).flatten();
        let count = match (wanted.count, all) {
            (Some(count), _) => count,
            (None, Some(all)) => self.all[all].1.len(),
            (None, None) => 0,
        };
        if wanted.count.is_none() && count == 0 {
            return Ok(false);
        }
        if at.had >= count {
            return self.request(at.claim, at.request + 1);
        }
        if self.found[at.claim].len() + count - at.had > RESULTS_MAX {
            return Err(Stop::TooMany);
        }
        let next = Place { had: at.had + 1, ..at };
        if let Some(all) = all {
            let spot = self.all[all].1[at.had];
            if !self.choose(at, spot, true)? {
                return Ok(false);
            }
            let done = self.device(next, Spot::default());
            if !matches!(done, Ok(true)) {
                self.unchoose(at);
            }
            return done;
        }
        for pool in usize::from(from.pool)..self.pools.len() {
            if self.pools[pool].incomplete || self.pools[pool].invalid {
                continue;
            }
            let here = pool == usize::from(from.pool);
            let mut spot = if here { from } else { Spot { pool: pool as u16, ..Spot::default() } };
            while let Some(candidate) = self.next_in_pool(&mut spot) {
                if !self.is_free(at, candidate) || !self.is_selected(at, candidate)? {
                    continue;
                }
                if !self.choose(at, candidate, false)? {
                    continue;
                }
                // Within a request the order of devices means nothing: the next is looked for behind this one.
                match self.device(next, spot) {
                    Ok(true) => return Ok(true),
                    Ok(false) => self.unchoose(at),
                    Err(stop) => {
                        self.unchoose(at);
                        return Err(stop);
                    }
                }
            }
        }
        Ok(false)
    }

    /// Whether a device is not in use, or only looked at.
    fn is_free(&self, at: Place, spot: Spot) -> bool {
        let shared = self.row(spot).shared;
        let mut same = self.found.iter().enumerate().flat_map(|(claim, all)| all.iter().map(move |c| (claim, c)));
        if self.wanted(at).admin {
            return shared || !same.any(|(claim, choice)| claim == at.claim && choice.spot == spot);
        }
        let device = &self.slice(spot).devices[usize::from(spot.device)];
        let whole = device.usage.as_ref().is_some_and(|used| used.whole > 0);
        !whole && (shared || !same.any(|(_, choice)| choice.spot == spot))
    }

    /// Takes a device for a request, if nothing speaks against it. `must`: it is this one or none.
    fn choose(&mut self, at: Place, spot: Spot, must: bool) -> Result<bool, Stop> {
        if !self.is_free(at, spot) {
            return Ok(false);
        }
        let (row, wanted) = (self.row(spot), self.wanted(at));
        let Some(takes) = self.consumes(at, spot) else { return Ok(false) };
        let counts = self.consumes_counters(spot);
        if counts && !self.has_counters(spot) {
            return Ok(false);
        }
        if row.taints.iter().any(|taint| keeps_away(taint, &wanted.tolerations)) {
            return Ok(false);
        }
        if !self.satisfies_constraints(at, spot) {
            if must {
                let asked = &self.open[at.claim];
                let DeviceId { driver, pool, name } = self.id(spot);
                let claim = format!("{}/{}", asked.key.namespace, asked.key.name);
                return Err(Failure::Error(format!(
                    "claim {claim}, request {}: cannot add device {driver}/{pool}/{name} because a claim constraint would \
                     not be satisfied",
                    self.name_of(at)
                ))
                .into());
            }
            return Ok(false);
        }
        if counts {
            let at = self.counters.iter().position(|(pool, _)| *pool == spot.pool).unwrap_or_else(|| {
                self.counters.push((spot.pool, Vec::new()));
                self.counters.len() - 1
            });
            row.consumes.iter().for_each(|set| add_counters(&mut self.counters[at].1, set));
        }
        let share = row.shared.then_some(takes);
        self.found[at.claim].push(Choice { request: at.request, option: at.option, spot, share });
        Ok(true)
    }

    /// Gives the last device of a claim back.
    fn unchoose(&mut self, at: Place) {
        let Some(choice) = self.found[at.claim].pop() else { return };
        // As it was asked before it was chosen.
        if self.consumes_counters(choice.spot) {
            let row = self.row(choice.spot);
            if let Some((_, sets)) = self.counters.iter_mut().find(|(pool, _)| *pool == choice.spot.pool) {
                for consumed in &row.consumes {
                    let Some(set) = sets.iter_mut().find(|set| set.name == consumed.name) else { continue };
                    for (name, by) in &consumed.counters {
                        super::usage::subtract(&mut set.counters, name, *by);
                    }
                }
            }
        }
    }

    /// Whether a device consumes counters: a shared one does once, with its first share.
    fn consumes_counters(&self, spot: Spot) -> bool {
        let row = self.row(spot);
        if row.consumes.is_empty() {
            return false;
        }
        let used =
            self.slice(spot).devices[usize::from(spot.device)].usage.as_ref().is_some_and(|used| used.shares > 0);
        !(row.shared && (used || self.found.iter().flatten().any(|choice| choice.spot == spot)))
    }

    /// Whether the pool's counters suffice for a device.
    fn has_counters(&mut self, spot: Spot) -> bool {
        let pool = usize::from(spot.pool);
        if self.left[pool].is_none() {
            let view = &self.pools[pool];
            let used = self.devices.consumed_counters(view.pool);
            let mut left: Vec<CounterSet> = self.devices.counter_sets(view.pool).into_iter().cloned().collect();
            for set in &mut left {
                let used = used.iter().find(|used| used.name == set.name);
                for (name, by) in used.into_iter().flat_map(|used| &used.counters) {
                    super::usage::subtract(&mut set.counters, name, *by);
                }
            }
            self.left[pool] = Some(left);
        }
        let left = self.left[pool].as_deref().unwrap_or_default();
        let chosen = self.counters.iter().find(|(of, _)| *of == spot.pool).map_or(&[][..], |(_, sets)| sets);
        let of = |sets: &[CounterSet], set: &str, name: &str| {
            let set = sets.iter().find(|known| *known.name == *set);
            set.map(|set| amount(&set.counters, name)).unwrap_or_default()
        };
        self.row(spot).consumes.iter().all(|set| {
            set.counters.iter().all(|(name, by)| of(left, &set.name, name) >= of(chosen, &set.name, name).plus(*by))
        })
    }

    /// Whether a device may stand beside those that the claim has already.
    fn satisfies_constraints(&self, at: Place, spot: Spot) -> bool {
        let spec = &self.open[at.claim].spec;
        let concerns = |requests: &[Box<str>], request: usize, option: usize| {
            let request = &spec.requests[request];
            requests.is_empty()
                || requests.contains(&request.name)
                || request.prioritized && requests.contains(&full_name(&request.name, &request.options[option].name))
        };
        spec.constraints.iter().all(|constraint| {
            if !concerns(&constraint.requests, at.request, at.option) {
                return true;
            }
            let Some(value) = self.attribute(spot, &constraint.attribute) else { return false };
            let others = self.found[at.claim].iter();
            let others = others.filter(|choice| concerns(&constraint.requests, choice.request, choice.option));
            let mut others = others.filter_map(|choice| self.attribute(choice.spot, &constraint.attribute));
            if constraint.distinct { others.all(|other| other != value) } else { others.all(|other| other == value) }
        })
    }

    /// An attribute by its full name; without a domain it is published as the driver's own.
    fn attribute(&self, spot: Spot, name: &str) -> Option<&'a Attribute> {
        let attributes = &self.row(spot).attributes;
        let find = |name: &str| attributes.iter().find(|(known, _)| **known == *name).map(|(_, value)| value);
        find(name).or_else(|| {
            let (domain, id) = name.split_once('/')?;
            if *self.slice(spot).row.driver == *domain { find(id) } else { None }
        })
    }
}

/// Whether a taint keeps a request from its device.
fn keeps_away(taint: &DeviceTaint, tolerations: &[DeviceToleration]) -> bool {
    matches!(&*taint.effect, "NoSchedule" | "NoExecute")
        && !tolerations.iter().any(|toleration| {
            (toleration.effect.is_empty() || toleration.effect == taint.effect)
                && (toleration.key.is_empty() && toleration.exists || toleration.key == taint.key)
                && (toleration.exists || toleration.value == taint.value)
        })
}

/// What the claims get by a solution.
pub(super) fn grants(devices: &Devices, open: &[Open], found: &Found, node: &NodeRow) -> Vec<Grant> {
    let pools = devices.pools_for(node);
    let granted = |(claim, asked): (usize, &Open)| {
        let mut term = NodeTerm::default();
        let mut local = false;
        let mut grant = Grant { config: configuration(asked, claim, found), ..Grant::default() };
        for (at, choice) in found.claims[claim].iter().enumerate() {
            let (_, slice) = &pools[usize::from(choice.spot.pool)].slices[usize::from(choice.spot.slice)];
            let row = &slice.row.devices[usize::from(choice.spot.device)];
            let request = &asked.spec.requests[choice.request];
            let wanted = &request.options[choice.option];
            let device =
                DeviceId { driver: slice.row.driver.clone(), pool: slice.row.pool.clone(), name: row.name.clone() };
            let reach = if slice.row.reach == Reach::PerDevice { &row.reach } else { &slice.row.reach };
            local |= matches!(reach, Reach::Node(_)) || row.binds_to_node;
            if let Reach::Terms(terms) = reach {
                terms.iter().take(1).for_each(|by| narrow(&mut term, by));
            }
            grant.results.push(Granted {
                request: full_name(&request.name, &wanted.name),
                share: choice.share.clone().map(|amounts| (share_id(&asked.uid, at, &device), amounts)),
                device,
                admin: wanted.admin,
                tolerations: wanted.tolerations.clone(),
                binding: row.binding.clone(),
                failure: row.failure.clone(),
            });
        }
        grant.term =
            if local { Some(only(&node.name)) } else { Some(term).filter(|term| *term != NodeTerm::default()) };
        grant
    };
    open.iter().enumerate().map(granted).collect()
}

/// The configuration for the drivers: first what the classes say, then what the claim says.
fn configuration(asked: &Open, claim: usize, found: &Found) -> Vec<GrantedConfig> {
    let spec = &asked.spec;
    let mut all: Vec<GrantedConfig> = Vec::new();
    let mut classes: Vec<(&str, usize, usize)> = Vec::new();
    let name = |request: usize| {
        let option = found.chosen(claim, request).unwrap_or(0);
        let request = &spec.requests[request];
        full_name(&request.name, &request.options[option].name)
    };
    for (request, options) in asked.wishes.iter().enumerate() {
        let Some((_, class)) = options.get(found.chosen(claim, request).unwrap_or(0)) else { continue };
        if let Some((_, from, to)) = classes.iter().find(|(known, ..)| *known == &*class.name) {
            all[*from..*to].iter_mut().for_each(|config| config.requests.push(name(request)));
            continue;
        }
        let from = all.len();
        all.extend(class.config.iter().map(|opaque| GrantedConfig {
            from_class: true,
            requests: vec![name(request)],
            opaque: opaque.clone(),
        }));
        classes.push((&class.name, from, all.len()));
    }
    for config in &spec.config {
        let mine =
            || GrantedConfig { from_class: false, requests: config.requests.clone(), opaque: config.opaque.clone() };
        if config.requests.is_empty() {
            all.push(mine());
            continue;
        }
        for (at, request) in spec.requests.iter().enumerate() {
            if config.requests.contains(&request.name) || request.prioritized && config.requests.contains(&name(at)) {
                all.push(mine());
            }
        }
    }
    // Empty means all.
    for config in &mut all {
        if config.requests.len() == spec.requests.len() {
            config.requests.clear();
        }
    }
    all
}
