//! What a pod that fits nowhere is told, who makes room for it, and where it waits.

use std::sync::Arc;

use super::displace::{Attempt, Tried};
use super::find::Verdicts;
use super::{Scheduler, hash};
use crate::filter::tally::Tally;
use crate::meter::{Point, Timed};
use crate::plan::{self, Decision, Millis, Nomination, Reasons, Refusal};
use crate::pods::{PodIndex, State};
use crate::profile::{Plugin, PluginSet};
use crate::queue::{GroupId, Turn};
use crate::rows::storage::Key;
use crate::storage::ask::Ask;

/// How the message ends: what became of the attempt to displace others, as far as the pods of a group share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Ending {
    /// It was not asked for, or not possible at all.
    None,
    /// The pod's policy forbids it.
    Never,
    /// Its victims are still on their way out.
    Patience,
    /// No node could be freed for a pod of this priority.
    Hopeless(i32),
    /// No node could be freed, and asking one about devices went wrong.
    Failed,
    /// The extenders left none of the nodes that could be freed.
    Declined,
    /// A node is being freed.
    Made,
    /// It waits with its gang, for which no room is made.
    Gang,
}

/// What became of a pod that is not placed: what it is told is made of it.
struct Account<'a> {
    /// Whom it is alike with.
    group: GroupId,
    ending: Ending,
    /// What dry runs found.
    tried: Option<&'a Tried>,
    /// Why extenders turned nodes down.
    turned_down: Vec<(String, u32)>,
}

impl Scheduler {
    /// Makes room for a pod if it may displace others; lets it wait for a change that helps, and says why it must. No node
    /// was [found](Self::find) for it. `None` while extenders are to be asked first and are busy.
    pub(super) fn refuse(&mut self, now: Millis, index: PodIndex) -> Option<Decision> {
        let pod = self.pods.at(index);
        let (priority, never) = (pod.priority, pod.never_preempts);
        let alike = self.alike(index);
        let rejected = self.rejection.is_some();
        let known = self.shares_reasons() && !never && !rejected;
        let attempt = if rejected && never {
            Attempt::Never
        } else if rejected {
            Attempt::Unasked
        } else if known && self.known_reasons(alike, Ending::Hopeless(priority)) {
            self.meter.tallies.preemptions += 1;
            Attempt::Hopeless(Tried::default())
        } else {
            self.attempt_counted(index)
        };
        self.conclude(now, index, alike, attempt, Vec::new())
    }

    /// Attempts to displace others, counted and timed.
    pub(super) fn attempt_counted(&mut self, index: PodIndex) -> Attempt {
        let began = self.meter.begin();
        let attempt = self.attempt(index);
        let passed = matches!(attempt, Attempt::Candidate(_) | Attempt::Choice(_));
        let plugin = Plugin::DefaultPreemption;
        self.meter.end(began, || Timed::Plugin { plugin, point: Point::PostFilter, passed });
        self.meter.tallies.preemptions +=
            u64::from(passed || matches!(attempt, Attempt::Hopeless(_) | Attempt::Failed));
        attempt
    }

    /// The group of a pod that fits nowhere. Alike are those of a class, unless others' terms tell them apart.
    pub(super) fn alike(&self, index: PodIndex) -> GroupId {
        let Some(pod) = self.pods.get(index) else { return GroupId::default() };
        let by_labels = if let Some(tenant) = &pod.tenant {
            // Its volumes and claims are its own affair.
            hash(tenant)
        } else if !self.classes.get(pod.class).is_wide() && self.labels_matter(index) {
            hash(&(&pod.id.namespace, &pod.labels))
        } else {
            0
        };
        (pod.class, by_labels)
    }

    /// Whether all pods of a group hear the same: nominated pods differ in whom they must leave room to.
    fn shares_reasons(&self) -> bool {
        self.nominations.is_empty()
    }

    /// What comes of an attempt to displace others: extenders are asked, or the pod is told and waits. `turned_down` is
    /// why extenders turned nodes down that could have taken the pod.
    pub(super) fn conclude(
        &mut self,
        now: Millis,
        index: PodIndex,
        alike: GroupId,
        attempt: Attempt,
        turned_down: Vec<(String, u32)>,
    ) -> Option<Decision> {
        let pod = self.pods.at(index);
        let (priority, never, nominated_before) = (pod.priority, pod.never_preempts, !pod.nominated.is_empty());
        // Nothing that the core sees would tell when an extender changes its mind.
        let pauses = matches!(attempt, Attempt::Declined(_))
            || !turned_down.is_empty() && !matches!(attempt, Attempt::Candidate(_));
        let (ending, tried) = match &attempt {
            Attempt::Unasked => (Ending::None, None),
            Attempt::Never => (Ending::Never, None),
            Attempt::Patience => (Ending::Patience, None),
            Attempt::Failed => (Ending::Failed, None),
            Attempt::Declined(tried) => (Ending::Declined, Some(tried)),
            Attempt::Hopeless(tried) => (Ending::Hopeless(priority), Some(tried)),
            Attempt::Candidate(_) => (Ending::Made, None),
            Attempt::Choice(candidates) => return self.consult_about_victims(index, candidates, turned_down),
        };
        let reasons = self.reasons(index, Account { group: alike, ending, tried, turned_down });
        let release = if self.rejection.is_some() { None } else { self.to_release() };
        let (preemption, nomination) = match &attempt {
            Attempt::Candidate(candidate) => {
                let preemption = self.displace(index, candidate);
                let told = *self.pods.at(index).told_nominated == *preemption.node;
                let nomination = (!told).then(|| Nomination::Node(preemption.node.clone()));
                (Some(preemption), nomination)
            }
            Attempt::Hopeless(_) => {
                self.nominate(index, "");
                let told = !self.pods.at(index).told_nominated.is_empty() || nominated_before;
                (None, told.then_some(Nomination::Nowhere))
            }
            _ => (None, None),
        };
        if pauses {
            self.pause(now, index);
            return Some(Decision::Refuse(Refusal { nomination, release, ..self.refusal(index, reasons) }));
        }
        let ticket = self.queue.ticket();
        let seen = self.seen();
        self.move_to(index, State::Waiting);
        self.keeps_waiting(index, Some(Arc::clone(&reasons.plugins)));
        self.arrivals.refused += 1;
        let (class, by_labels) = alike;
        let failed = self.rejection.as_ref().is_some_and(|rejection| rejection.failed);
        let pod = self.pods.at(index);
        pod.failed = failed;
        pod.ticket = ticket;
        pod.waits_with_gang = false;
        pod.kin = if !pod.nominated.is_empty() {
            hash(&pod.id.uid)
        } else if never {
            hash(&(by_labels, never))
        } else {
            by_labels
        };
        let group = (class, pod.kin);
        if let Some(tenant) = self.pods.at(index).tenant.clone() {
            self.storage.listen(group, &tenant);
        }
        self.queue.wait(now, group, seen, Turn::new(priority, ticket, index));
        Some(Decision::Refuse(Refusal { nomination, release, preemption, ..self.refusal(index, reasons) }))
    }

    /// What a pod is told that is not placed.
    pub(super) fn refusal(&mut self, index: PodIndex, Reasons { message, plugins }: Reasons) -> Refusal {
        let profile = self.classes.get(self.pods.at(index).class).demand.profile;
        let pod = self.pods.at(index);
        let told = hash(&*message);
        Refusal {
            pod: (*pod.id).clone(),
            news: std::mem::replace(&mut pod.told, told) != told,
            message,
            plugins,
            overdue: std::mem::take(&mut pod.overdue),
            attempts: pod.attempts,
            nomination: None,
            release: None,
            preemption: None,
            profile,
        }
    }

    /// A claim of devices to delete, or to give back by the verdicts on all nodes; where they are not in `scratch`, no node
    /// was asked for devices.
    fn to_release(&self) -> Option<(Key, Box<str>)> {
        let ask = self.ask.as_ref()?;
        let by_verdicts = || ask.to_release(&self.columns, &self.scratch.verdicts);
        ask.stale().cloned().or_else(|| if self.verdicts == Verdicts::InScratch { by_verdicts() } else { None })
    }

    /// Counts for whose sake a pod waits; `None`: it waits no longer.
    pub(super) fn keeps_waiting(&mut self, index: PodIndex, plugins: Option<Arc<[&'static str]>>) {
        let pod = self.pods.at(index);
        let before = std::mem::replace(&mut pod.refused_by, plugins);
        let (class, now) = (pod.class, pod.refused_by.clone());
        let profile = self.classes.get(class).demand.profile;
        for (plugins, by) in [(before, -1), (now, 1)] {
            if let Some(plugins) = plugins {
                self.meter.tallies.waits(profile, &plugins, by);
            }
        }
    }

    fn known_reasons(&mut self, group: GroupId, ending: Ending) -> bool {
        let seen = self.seen();
        if self.reasons_at != seen {
            self.reasons.clear();
            self.reasons_at = seen;
        }
        self.reasons.contains_key(&(group, ending))
    }

    /// Why a pod of a gang fits nowhere; nobody makes room for gangs. No node was [found](Self::find) for it.
    pub(super) fn reasons_in_gang(&mut self, index: PodIndex) -> Reasons {
        let class = self.pods.at(index).class;
        let account = Account { group: (class, 0), ending: Ending::Gang, tried: None, turned_down: Vec::new() };
        self.work_out_reasons(index, account)
    }

    /// Why a group fits nowhere, worked out once for all its pods while nothing changes; what extenders said of one pod
    /// (`turned_down`) is that pod's alone.
    fn reasons(&mut self, index: PodIndex, account: Account<'_>) -> Reasons {
        let Account { group, ending, tried, ref turned_down } = account;
        let failed = tried.is_some_and(|tried| tried.failure.is_some());
        let shared = self.shares_reasons() && turned_down.is_empty() && !failed;
        if shared
            && self.known_reasons(group, ending)
            && let Some(known) = self.reasons.get(&(group, ending))
        {
            return known.clone();
        }
        let reasons = self.work_out_reasons(index, account);
        if shared {
            self.reasons.insert((group, ending), reasons.clone());
        }
        reasons
    }

    fn work_out_reasons(&mut self, index: PodIndex, account: Account<'_>) -> Reasons {
        let Account { group, ending, tried, turned_down } = account;
        let nodes = self.columns.count();
        let demand = Arc::clone(&self.classes.get(group.0).demand);
        let verdicts = if self.rejection.is_some() { Tally::default() } else { self.tally(index) };
        let class = self.classes.get(group.0);
        if let Some(rejection) = &self.rejection {
            let plugins = Arc::new([rejection.plugin]);
            let preemption = match ending {
                Ending::Never => NEVER.to_owned(),
                Ending::Gang => NO_ROOM_FOR_GANGS.to_owned(),
                _ => format!("0/{nodes} nodes are available: {nodes} Preemption is not helpful for scheduling."),
            };
            let asked = class.profile.post_filters;
            let preemption = asked.has(Plugin::DefaultPreemption).then_some(&*preemption);
            let of_devices = said(asked, preemption, "no new claims to deallocate");
            Reasons { message: plan::rejected_message(nodes, rejection, &of_devices).into(), plugins }
        } else {
            let of_devices = match &self.ask {
                Some(ask) if ask.wants_devices() => match self.to_release() {
                    Some(_) if ask.stale().is_some() => "deletion of ResourceClaim completed",
                    Some(_) => "deallocation of ResourceClaim completed",
                    None => "still not schedulable",
                },
                _ => "no new claims to deallocate",
            };
            let end = match ending {
                Ending::Made => String::new(),
                _ if nodes == 0 => String::new(),
                Ending::None => said(class.profile.post_filters, None, of_devices),
                Ending::Gang => {
                    let asked = class.profile.post_filters;
                    let preemption = asked.has(Plugin::DefaultPreemption);
                    said(asked, preemption.then_some(NO_ROOM_FOR_GANGS), of_devices)
                }
                // Upstream's PostFilter ends with the error: what the plugins before it said is lost.
                Ending::Failed => self.ask.as_ref().and_then(Ask::failure).map_or_else(String::new, |failure| {
                    format!("running \"{}\" filter plugin: {}", failure.plugin, failure.message)
                }),
                Ending::Never => said(class.profile.post_filters, Some(NEVER), of_devices),
                Ending::Declined => match tried.and_then(|tried| tried.failure.as_ref()) {
                    Some(failure) => format!("preemption: {failure}"),
                    None => said(class.profile.post_filters, Some("no candidate node for preemption"), of_devices),
                },
                Ending::Patience => said(
                    class.profile.post_filters,
                    Some("not eligible due to a terminating pod on the nominated node."),
                    of_devices,
                ),
                Ending::Hopeless(_) => {
                    let mut text = format!("0/{nodes} nodes are available:");
                    if let Some(tried) = tried {
                        hopeless(&mut text, nodes, tried, &demand);
                    }
                    said(class.profile.post_filters, Some(&text), of_devices)
                }
            };
            let plugins = plan::plugins(&verdicts, !turned_down.is_empty());
            let reasons = turned_down.into_iter().chain(plan::reasons(&verdicts, &demand)).collect();
            Reasons { message: plan::message(nodes, reasons, class.conflicts(), &end).into(), plugins }
        }
    }
}

/// What a pod hears that may not displace others.
const NEVER: &str = "not eligible due to preemptionPolicy=Never.";

/// What a pod hears that is decided on with its gang.
const NO_ROOM_FOR_GANGS: &str = "not tried for the pods of a gang.";

/// What upstream's PostFilter plugins say together. Dynamic resource allocation answers first (`of_devices`), also for pods
/// without claims.
fn said(asked: PluginSet, preemption: Option<&str>, of_devices: &str) -> String {
    let claims = asked.has(Plugin::DynamicResources).then(|| of_devices.to_owned());
    let preemption = preemption.map(|text| format!("preemption: {text}"));
    claims.into_iter().chain(preemption).collect::<Vec<String>>().join(", ")
}

/// What dry runs found, counted by nodes.
fn hopeless(text: &mut String, nodes: u32, tried: &Tried, demand: &crate::rows::Demand) {
    let mut reasons = plan::reasons(&tried.still_failing, demand);
    let untried = nodes - tried.without_victims - tried.still_failing.nodes();
    for (reason, nodes) in [
        ("Preemption is not helpful for scheduling", untried),
        ("No preemption victims found for incoming pod", tried.without_victims),
    ] {
        if nodes > 0 {
            reasons.push((reason.to_owned(), nodes));
        }
    }
    plan::list(text, reasons);
}
