//! One pod's claims of devices, looked up: either the pod is refused at once, whatever the nodes (upstream's PreEnqueue and
//! PreFilter of DynamicResources), or each node can be asked (Filter).

use std::sync::{Arc, Mutex};

use super::allocate::{Failure, Found};
use super::extended::StandIns;
use super::grant::ClaimWork;
use super::known::{Answer, Answers};
use super::wishes::{Uncompiled, Wish};
use super::{Devices, allocate};
use crate::columns::{Columns, Slot};
use crate::filter::{Rule, Verdict};
use crate::plan::PodId;
use crate::rows::NodeTerm;
use crate::rows::devices::{ClaimName, ClaimSpec, DeviceClaimRow, DeviceClassRow, DeviceUse};
use crate::rows::storage::{Key, Needs};

/// The most pods that may have a claim (`ResourceClaimReservedForMaxSize`).
const CONSUMERS_MAX: usize = 256;
/// What a more preferred subrequest is worth: the most there are, less its place (`FirstAvailableDeviceRequestMaxSize`).
const OPTIONS_MAX: u32 = 8;

/// Why a node cannot give a pod its devices; the mask of a [`Rule::Devices`] verdict.
const CANNOT_ALLOCATE: u32 = 0;
const NOT_AVAILABLE: u32 = 1;
const INVALID_POOLS: u32 = 2;
const GAVE_UP: u32 = 3;
const STALE: u32 = 4;

/// Upstream's text.
#[must_use]
pub fn text(mask: u32) -> &'static str {
    match mask {
        NOT_AVAILABLE => "resourceclaim not available on the node",
        INVALID_POOLS => "invalid resource pools were encountered",
        GAVE_UP => "timed out trying to allocate devices",
        STALE => "cannot schedule extended resource claim",
        _ => "cannot allocate all claims",
    }
}

/// Why a pod's claims rule out every node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Upstream's text.
    pub message: String,
    /// Whether something is wrong, rather than missing: upstream's `Error`.
    pub failed: bool,
}

fn refused<T>(message: String) -> Result<T, Refused> {
    Err(Refused { message, failed: false })
}

/// A pod's claims, ready to be asked about nodes.
#[derive(Debug, Default)]
pub struct Ask {
    held: Vec<Held>,
    open: Vec<Open>,
    /// What is known about nodes for them.
    known: Arc<Answers>,
    /// The devices that stand in for extended resources.
    stand_ins: Option<StandIns>,
    /// A claim that an earlier attempt made for extended resources, and its uid: it must go first.
    stale: Option<(Key, Box<str>)>,
    /// How long one node is searched.
    steps_max: u64,
    /// Claims to be reserved that need no allocation.
    reserve: Vec<ClaimWork>,
    /// What went wrong on a node that was asked: no other counts then.
    failure: Mutex<Option<String>>,
    /// Whether some nodes may be better than others.
    scores: bool,
}

/// A claim that is allocated.
#[derive(Debug)]
struct Held {
    key: Key,
    uid: Box<str>,
    terms: Option<Vec<NodeTerm>>,
    failed: bool,
    /// Whether nobody but the pod has it.
    releasable: bool,
}

/// A claim to be allocated.
#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) key: Key,
    pub(super) uid: Box<str>,
    pub(super) spec: Arc<ClaimSpec>,
    /// The wish and the class of every option of every request.
    pub(super) wishes: Vec<Vec<(Arc<Wish>, Arc<DeviceClassRow>)>>,
}

/// The alternatives of one request: what each wants, and its class.
type Options = Vec<(Arc<Wish>, Arc<DeviceClassRow>)>;

impl Devices {
    /// The claims that a pod refers to.
    ///
    /// # Errors
    /// Upstream's text of the first that the pod cannot use: the pod is not to be tried (`foreachPodResourceClaim`).
    pub(crate) fn claims_of(&self, pod: &PodId, uses: &[DeviceUse]) -> Result<Vec<&DeviceClaimRow>, String> {
        let mut claims = Vec::with_capacity(uses.len());
        for used in uses {
            let name = match &used.claim {
                ClaimName::Is(name) => name,
                ClaimName::None => continue,
                ClaimName::Pending => {
                    let PodId { namespace, name, .. } = pod;
                    return Err(format!("pod \"{namespace}/{name}\": ResourceClaim not created yet"));
                }
            };
            let Some(claim) = self.claims.get(&Key::new(&pod.namespace, name)) else {
                return Err(format!("could not find claim \"{}/{name}\": not found", pod.namespace));
            };
            if claim.deleting {
                return Err(format!("resourceclaim \"{name}\" is being deleted"));
            }
            if used.generated && claim.pod != pod.uid {
                let PodId { namespace, name: pod, .. } = pod;
                return Err(format!(
                    "ResourceClaim {namespace}/{name} was not created for Pod {namespace}/{pod} (Pod is not owner)"
                ));
            }
            claims.push(claim);
        }
        Ok(claims)
    }

    /// Looks up what a pod needs; `None` where that is nothing.
    ///
    /// # Errors
    /// When it cannot have it on any node.
    pub(crate) fn ask(
        &mut self,
        columns: &mut Columns,
        pod: &PodId,
        needs: &Needs,
        steps_max: u64,
    ) -> Result<Option<Ask>, Refused> {
        let claims = self.claims_of(pod, &needs.devices).map_err(|message| Refused { message, failed: false })?;
        let is_backed = self.backed(&needs.extended).next().is_some();
        if claims.is_empty() && !is_backed {
            return Ok(None);
        }
        let mut ask = Ask { steps_max, ..Ask::default() };
        let mut open: Vec<DeviceClaimRow> = Vec::new();
        for claim in claims {
            let is_reserved = claim.reserved_for.contains(&pod.uid);
            let Some(allocation) = &claim.allocation else {
                if self.assumed.contains_key(&claim.uid) {
                    let Key { namespace, name } = &claim.key;
                    return refused(format!("resource claim {namespace}/{name} is in the process of being allocated"));
                }
                self.check_classes(claim)?;
                // Named twice, it is still one claim.
                if !open.iter().any(|other| other.uid == claim.uid) {
                    open.push(claim.clone());
                }
                continue;
            };
            if !is_reserved && claim.reserved_for.len() >= CONSUMERS_MAX {
                return refused("resourceclaim in use".to_owned());
            }
            let (key, uid) = (claim.key.clone(), claim.uid.clone());
            ask.held.push(Held {
                key: key.clone(),
                uid: uid.clone(),
                terms: allocation.terms.clone(),
                failed: claim.binding_failed,
                releasable: claim.reserved_for.iter().all(|consumer| *consumer == pod.uid),
            });
            let conditional = allocation.results.iter().any(|result| result.conditional);
            // A reservation is written once; conditions are waited for whenever the pod is about to be bound.
            if (!is_reserved || conditional) && !ask.reserve.iter().any(|other| other.uid == uid) {
                ask.reserve.push(ClaimWork { key, uid, ..ClaimWork::default() });
            }
        }
        for claim in open {
            ask.scores |= claim.spec.requests.iter().any(|request| request.prioritized);
            let wishes = self.wishes_of(&claim.key, &claim.spec)?;
            ask.open.push(Open { key: claim.key, uid: claim.uid, spec: claim.spec, wishes });
        }
        if !ask.open.is_empty() {
            ask.known = self.known.of(&ask.open, steps_max, columns);
        }
        if is_backed {
            ask.stale = self.made_for(&pod.uid);
            ask.stand_ins = self.stand_ins(columns, pod, &needs.extended, &ask.open, steps_max)?;
        }
        Ok(Some(ask))
    }

    /// For a pod that is on its node: the claim that was made for its extended resources is one that it has, not one that
    /// is in its way.
    pub(crate) fn hold_made(&self, ask: &mut Ask) {
        let Some((key, uid)) = ask.stale.take() else { return };
        let allocation = self.claims.get(&key).and_then(|claim| claim.allocation.as_ref());
        let terms = allocation.and_then(|allocation| allocation.terms.clone());
        ask.held.push(Held { key, uid, terms, failed: false, releasable: false });
        ask.stand_ins = None;
    }

    /// What those wait for who need these claims: the claims, and the classes of those that are not allocated.
    pub(crate) fn concerns(&self, pod: &PodId, needs: &Needs) -> (Vec<Key>, Vec<Box<str>>) {
        let named = needs.devices.iter().filter_map(|used| match &used.claim {
            ClaimName::Is(name) => Some(Key::new(&pod.namespace, name)),
            ClaimName::Pending | ClaimName::None => None,
        });
        let mut keys: Vec<Key> = named.collect();
        let open = keys.iter().filter_map(|key| self.claims.get(key)).filter(|claim| claim.allocation.is_none());
        let options = open.flat_map(|claim| &claim.spec.requests).flat_map(|request| &request.options);
        let mut classes: Vec<Box<str>> = options.map(|option| option.class.clone()).collect();
        let behind = self.backed(&needs.extended).filter_map(|resource| self.class_behind(resource));
        classes.extend(behind.map(|class| class.name.clone()));
        keys.extend(self.made_for(&pod.uid).map(|(key, _)| key));
        (keys, classes)
    }

    fn check_classes(&self, claim: &DeviceClaimRow) -> Result<(), Refused> {
        for request in &claim.spec.requests {
            for option in &request.options {
                if !self.classes.contains_key(&option.class) {
                    let name = allocate::full_name(&request.name, &option.name);
                    return refused(format!("request {name}: device class {} does not exist", option.class));
                }
            }
        }
        Ok(())
    }

    pub(super) fn wishes_of(&mut self, key: &Key, spec: &ClaimSpec) -> Result<Vec<Options>, Refused> {
        let mut all = Vec::with_capacity(spec.requests.len());
        for request in &spec.requests {
            let mut options = Vec::with_capacity(request.options.len());
            for option in &request.options {
                let class = Arc::clone(&self.classes[&option.class]);
                let wish = self.wishes.get(&class, &option.selectors, &self.slices).map_err(|error| {
                    let Uncompiled { of_class, selector, why } = error;
                    let whose = whose(of_class, &class.name, key);
                    let message = format!("{whose}: selector #{selector}: CEL compile error: {why}");
                    Refused { message, failed: true }
                })?;
                options.push((wish, class));
            }
            all.push(options);
        }
        Ok(all)
    }

    /// The verdict on one node, and how well it suits (0 where no preferences are stated), if it passes all other rules.
    pub(crate) fn verdict(&self, ask: &Ask, columns: &Columns, slot: Slot) -> (Verdict, u32) {
        let no = |mask| (Verdict::masked(Rule::Devices, mask), 0);
        if ask.stale.is_some() {
            return no(STALE);
        }
        match self.answer(ask, columns, slot) {
            Some(Answer::Fits(_)) if ask.unavailable(columns, slot).next().is_some() => no(NOT_AVAILABLE),
            Some(Answer::Fits(score)) => (Verdict::FITS, score),
            Some(Answer::Cannot) | None => no(CANNOT_ALLOCATE),
            Some(Answer::InvalidPools) => no(INVALID_POOLS),
            Some(Answer::GaveUp) => no(GAVE_UP),
        }
    }

    /// What a search on one node finds, or has found; `None` where something went wrong.
    fn answer(&self, ask: &Ask, columns: &Columns, slot: Slot) -> Option<Answer> {
        let known = ask.known_on(columns, slot);
        if let Some(answer) = known.get(slot) {
            return Some(answer);
        }
        let answer = match self.allocate(ask, columns, slot) {
            Ok(Some(found)) => Answer::Fits(if ask.scores { score(ask, &found) } else { 0 }),
            Ok(None) => Answer::Cannot,
            Err(Failure::InvalidPools) => Answer::InvalidPools,
            Err(Failure::TooLong) => Answer::GaveUp,
            Err(Failure::Error(why)) => {
                // The least is told, whatever the order of the nodes.
                if let Ok(mut failure) = ask.failure.lock()
                    && failure.as_ref().is_none_or(|known| why < *known)
                {
                    *failure = Some(why);
                }
                return None;
            }
        };
        known.keep(slot, answer);
        Some(answer)
    }

    /// Searches on one node.
    fn allocate(&self, ask: &Ask, columns: &Columns, slot: Slot) -> Result<Option<Found>, Failure> {
        let open = ask.open_on(columns, slot);
        if open.is_empty() {
            return Ok(Some(Found::default()));
        }
        let Some(node) = columns.row(slot) else { return Ok(None) };
        allocate::search(self, open, node, ask.steps_max)
    }

    /// What is to be written about the claims on a node that fits.
    pub(crate) fn work(&self, ask: &Ask, columns: &Columns, slot: Slot) -> Vec<ClaimWork> {
        let mut work = ask.reserve.clone();
        if let (Ok(Some(found)), Some(node)) = (self.allocate(ask, columns, slot), columns.row(slot)) {
            let open = ask.open_on(columns, slot);
            let grants = allocate::grants(self, open, &found, node);
            work.extend(open.iter().zip(grants).map(|(open, grant)| ClaimWork {
                key: open.key.clone(),
                uid: open.uid.clone(),
                grant: Some(grant),
                new: None,
            }));
            if let Some(variant) = ask.stand_ins.as_ref().and_then(|all| all.on(columns, slot))
                && let Some(last) = work.last_mut()
            {
                last.new = Some(Arc::clone(&variant.new));
            }
        }
        work
    }
}

impl Ask {
    /// Why the attempt failed altogether, once nodes were asked.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().ok()?.clone()
    }

    /// Whether some nodes may be better than others.
    #[must_use]
    pub fn scores(&self) -> bool {
        self.scores
    }

    /// The claims to be allocated on a node.
    fn open_on(&self, columns: &Columns, slot: Slot) -> &[Open] {
        let variant = self.stand_ins.as_ref().and_then(|all| all.on(columns, slot));
        variant.map_or(&self.open, |variant| &variant.open)
    }

    /// What is known about a node for them.
    fn known_on(&self, columns: &Columns, slot: Slot) -> &Answers {
        let variant = self.stand_ins.as_ref().and_then(|all| all.on(columns, slot));
        variant.map_or(&self.known, |variant| &variant.known)
    }

    /// A claim that was made for the pod's extended resources and is in its way, and its uid: it is to be deleted.
    #[must_use]
    pub fn stale(&self) -> Option<&(Key, Box<str>)> {
        self.stale.as_ref()
    }

    fn unavailable<'a>(&'a self, columns: &'a Columns, slot: Slot) -> impl Iterator<Item = &'a Held> {
        self.held.iter().filter(move |held| {
            held.failed
                || held.terms.as_ref().is_some_and(|terms| {
                    let row = columns.row(slot);
                    !row.is_some_and(|row| terms.iter().any(|term| term.matches_node(&row.name, &row.labels)))
                })
        })
    }

    /// A claim that keeps the pod from one of these nodes and that nobody else has: it may be given back (PostFilter).
    pub(crate) fn to_release(&self, columns: &Columns, verdicts: &[Verdict]) -> Option<(Key, Box<str>)> {
        if !self.held.iter().any(|held| held.releasable) {
            return None;
        }
        let away = |verdict: &Verdict| verdict.rule() == Rule::Devices && verdict.mask() == NOT_AVAILABLE;
        let slots = (0..).zip(verdicts).filter(|(_, verdict)| away(verdict)).map(|(slot, _)| slot);
        let held = slots.flat_map(|slot| self.unavailable(columns, slot)).find(|held| held.releasable)?;
        Some((held.key.clone(), held.uid.clone()))
    }
}

/// Better, the earlier the subrequests that were chosen are in their lists.
fn score(ask: &Ask, found: &Found) -> u32 {
    let mut score = 0;
    for (claim, open) in ask.open.iter().enumerate() {
        let prioritized = open.spec.requests.iter().enumerate().filter(|(_, request)| request.prioritized);
        for (request, _) in prioritized {
            if let Some(option) = found.chosen(claim, request) {
                score += OPTIONS_MAX.saturating_sub(u32::try_from(option).unwrap_or(OPTIONS_MAX));
            }
        }
    }
    score
}

/// Whose selector failed.
pub(super) fn whose(of_class: bool, class: &str, claim: &Key) -> String {
    if of_class { format!("class {class}") } else { format!("claim {}/{}", claim.namespace, claim.name) }
}
