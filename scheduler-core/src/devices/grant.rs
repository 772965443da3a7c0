//! What a claim is given, in the shape of its `status.allocation`; and what must be written before the pod is bound.

use std::sync::Arc;

use gantry_cel::quantity::Quantity;

use super::extended::NewClaim;
use crate::rows::devices::{Allocated, Allocation, DeviceId, DeviceToleration};
use crate::rows::storage::Key;
use crate::rows::{NodeTerm, Operator, Requirement};

/// A claim that must be reserved for a pod, and allocated if nobody has yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimWork {
    /// Which; no such name where it has yet to be made.
    pub key: Key,
    /// Its uid, likewise.
    pub uid: Box<str>,
    /// What it is given; `None` where it is allocated already.
    pub grant: Option<Grant>,
    /// What it is to be made of, where that has not been done.
    pub new: Option<Arc<NewClaim>>,
}

/// `AllocationResult`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// `devices.results`.
    pub results: Vec<Granted>,
    /// `devices.config`.
    pub config: Vec<GrantedConfig>,
    /// `nodeSelector`, of one term; `None` for all nodes.
    pub term: Option<NodeTerm>,
}

/// The id of a share, and how much of what it takes.
pub type Share = (Box<str>, Vec<(Box<str>, Quantity)>);

/// `DeviceRequestAllocationResult`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// `request`, or `request/subrequest`.
    pub request: Box<str>,
    /// Which device.
    pub device: DeviceId,
    /// Whether it is only looked at.
    pub admin: bool,
    /// The tolerations of the request.
    pub tolerations: Vec<DeviceToleration>,
    /// `shareID` and `consumedCapacity`, of shared devices.
    pub share: Option<Share>,
    /// `bindingConditions`.
    pub binding: Vec<Box<str>>,
    /// `bindingFailureConditions`.
    pub failure: Vec<Box<str>>,
}

/// `DeviceAllocationConfiguration`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrantedConfig {
    /// Whether the class says it; otherwise the claim.
    pub from_class: bool,
    /// The requests it is for; empty for all.
    pub requests: Vec<Box<str>>,
    /// `opaque`, as JSON.
    pub opaque: Box<str>,
}

impl Grant {
    /// As it is seen once it is written.
    #[must_use]
    pub fn allocation(&self) -> Allocation {
        let result = |result: &Granted| Allocated {
            device: result.device.clone(),
            admin: result.admin,
            share: result.share.as_ref().map(|(_, consumed)| consumed.clone()),
            conditional: !result.binding.is_empty(),
        };
        Allocation {
            results: self.results.iter().map(result).collect(),
            terms: self.term.clone().map(|term| vec![term]),
        }
    }
}

/// The term that means one node.
pub(super) fn only(node: &str) -> NodeTerm {
    let name = Requirement { key: "metadata.name".into(), operator: Operator::In, values: vec![node.into()] };
    NodeTerm { labels: Vec::new(), fields: vec![name] }
}

/// Adds what another term requires.
pub(super) fn narrow(term: &mut NodeTerm, by: &NodeTerm) {
    for (to, from) in [(&mut term.labels, &by.labels), (&mut term.fields, &by.fields)] {
        for requirement in from {
            if !to.contains(requirement) {
                to.push(requirement.clone());
            }
        }
    }
}

/// The id of a share: the same whenever the same claim is given the same device in the same place, in the shape of a
/// version 8 UUID. Only devices of one claim and one device's shares must differ.
pub(super) fn share_id(claim: &str, at: usize, device: &DeviceId) -> Box<str> {
    let half = |salt: u8| crate::intern::fixed_hasher().hash_one((salt, claim, at, device));
    let (high, low) = (half(0), half(1));
    format!(
        "{:08x}-{:04x}-8{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        0x8000 | (low >> 48) & 0x3fff,
        low & 0xffff_ffff_ffff
    )
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_ids_are_uuids_and_differ() {
        let device = DeviceId { driver: "d".into(), pool: "p".into(), name: "x".into() };
        let id = share_id("claim", 0, &device);
        let dashes: Vec<usize> = id.match_indices('-').map(|(at, _)| at).collect();
        assert_eq!((id.len(), dashes), (36, vec![8, 13, 18, 23]));
        assert_eq!(&id[14..15], "8");
        assert!(id != share_id("claim", 1, &device) && id != share_id("other", 0, &device));
        assert_eq!(id, share_id("claim", 0, &device));
    }
}
