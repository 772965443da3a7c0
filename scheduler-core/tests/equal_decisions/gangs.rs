//! The reference's gangs: the pods of a group are placed one after another by the rules for single pods; if too few found
//! a place, all of them are taken away again.

use std::collections::BTreeSet;

use gantry_scheduler_core::plan::{Apart, Together};
use gantry_scheduler_core::profile::Plugin;
use gantry_scheduler_core::rows::PodRow;
use gantry_scheduler_core::storage::Preparation;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::reference::{Nowhere, Placed, Reference, Verdict};
use crate::{Bench, prepared};

/// A group's namespace and name.
pub(crate) type Group = (String, String);

/// How a pod is to be decided on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Alone,
    /// With its gang, of which so many more must be placed.
    Together(Group, usize),
    NotYet,
}

/// One pod's part: where it goes and how well, or why nowhere.
pub(crate) type Part = Result<(String, u32, Option<Preparation>), String>;

impl Reference {
    pub(crate) fn standing(&self, pod: &PodRow) -> Standing {
        if pod.group.is_empty() || !self.goes_with_its_gang(pod) {
            return Standing::Alone;
        }
        let group = (pod.namespace.to_string(), pod.group.to_string());
        let Some(min) = self.groups.get(&group) else { return Standing::NotYet };
        let min = usize::try_from(min.unwrap_or(0)).unwrap_or(0);
        let count = |of: &dyn Fn(&Placed) -> bool| self.members(&group).filter(|(_, p)| of(p)).count();
        let bound = count(&|p| !p.row.node.is_empty());
        if bound >= min {
            Standing::Alone
        } else if count(&|_| true) < min || count(&|p| p.node.is_some()) > bound {
            Standing::NotYet
        } else {
            Standing::Together(group, min - bound)
        }
    }

    fn goes_with_its_gang(&self, pod: &PodRow) -> bool {
        self.profile(pod).is_some_and(|profile| profile.pre_enqueue.has(Plugin::GangScheduling))
    }

    fn members(&self, (namespace, name): &Group) -> impl Iterator<Item = (&String, &Placed)> {
        self.pods.iter().filter(|(_, p)| *p.row.namespace == **namespace && *p.row.group == **name)
    }

    /// Places the pods of a gang, if so many of them find a place; else says of each what it is to be told. In order.
    pub(crate) fn place_together(&mut self, group: &Group, needed: usize) -> Result<Vec<Part>, Vec<(String, String)>> {
        let ours = |p: &Placed| p.node.is_none() && !p.row.deleting && self.goes_with_its_gang(&p.row);
        let held_back = |row: &PodRow| self.is_gated(row) || self.shelf.rack.misses_claims(row);
        let pending = self.members(group).filter(|(_, p)| ours(p) && !held_back(&p.row));
        let mut pods: Vec<(i32, String)> = pending.map(|(uid, p)| (-p.row.priority, uid.clone())).collect();
        pods.sort();
        let before: Vec<(String, Placed)> = pods.iter().map(|(_, uid)| (uid.clone(), self.pods[uid].clone())).collect();
        let mut parts = Vec::new();
        for (_, uid) in &pods {
            self.in_gang.set(true);
            let verdict = self.decide(&self.pods[uid].row);
            self.in_gang.set(false);
            parts.push(match verdict {
                Verdict::Node(node, score) => {
                    let work = self.work(uid, &node);
                    let placed = self.pods.get_mut(uid).expect("it is a member");
                    (placed.node, placed.nominated) = (Some(node.clone()), None);
                    Ok((node, score, work))
                }
                Verdict::Nowhere(Nowhere { message, .. }) => Err(message),
            });
        }
        if parts.iter().filter(|part| part.is_ok()).count() >= needed {
            return Ok(parts);
        }
        for (uid, placed) in before {
            self.unplace(&uid);
            self.pods.insert(uid, Placed { nominated: None, ..placed });
        }
        let told = pods.into_iter().zip(parts).map(|((_, uid), part)| {
            let others = "pod group is unschedulable, waiting for minCount pods from a gang to be scheduled";
            (uid, part.map_or_else(|message| message, |_| others.to_owned()))
        });
        Err(told.collect())
    }
}

impl Bench {
    pub(crate) fn placed_together(&mut self, together: &Together) -> Result<(), TestCaseError> {
        let uid = |n: usize| together.placements[n].pod.uid.to_string();
        let Standing::Together(group, needed) = self.slow.standing(&self.slow.pods[&uid(0)].row) else {
            return Err(TestCaseError::fail(format!("{together:?} is no gang to be placed")));
        };
        for placement in &together.placements {
            let placed = &self.slow.pods[&*placement.pod.uid];
            prop_assert!(placed.node.is_none() && !placed.row.deleting, "{placement:?}");
        }
        let expected = match self.slow.place_together(&group, needed) {
            Ok(parts) => parts.into_iter().flatten().collect::<Vec<_>>(),
            Err(told) => return Err(TestCaseError::fail(format!("{together:?} fits not: {told:?}"))),
        };
        let done = together.placements.iter();
        let done = done.map(|p| (p.node.to_string(), p.score, prepared(p))).collect::<Vec<_>>();
        prop_assert_eq!(expected, done, "{:?}", together);
        Ok(())
    }

    pub(crate) fn refused_together(&mut self, apart: &Apart) -> Result<(), TestCaseError> {
        let first = &self.slow.pods[&*apart.refusals[0].pod.uid].row;
        let Standing::Together(group, needed) = self.slow.standing(first) else {
            return Err(TestCaseError::fail(format!("{apart:?} is no gang to be placed")));
        };
        let Err(expected) = self.slow.place_together(&group, needed) else {
            return Err(TestCaseError::fail(format!("{apart:?} fits")));
        };
        let told = apart.refusals.iter().map(|r| (r.pod.uid.to_string(), r.message.to_string()));
        let told = told.collect::<Vec<_>>();
        prop_assert_eq!(expected, told);
        Ok(())
    }

    /// The gangs that could be placed now.
    pub(crate) fn fitting_gangs(&mut self) -> Vec<Group> {
        let waiting: BTreeSet<(Group, usize)> = self
            .slow
            .pods
            .values()
            .filter(|p| p.node.is_none() && !p.row.deleting)
            .filter_map(|p| match self.slow.standing(&p.row) {
                Standing::Together(group, needed) => Some((group, needed)),
                Standing::Alone | Standing::NotYet => None,
            })
            .collect();
        let mut fitting = Vec::new();
        for (group, needed) in waiting {
            let before = self.slow.pods.clone();
            let fits = self.slow.place_together(&group, needed).is_ok();
            if fits {
                let placed: Vec<String> = before
                    .iter()
                    .filter(|(uid, p)| p.node != self.slow.pods[*uid].node)
                    .map(|(uid, _)| uid.clone())
                    .collect();
                placed.iter().for_each(|uid| self.slow.unplace(uid));
                fitting.push(group);
            }
            self.slow.pods = before;
        }
        fitting
    }
}
