//! Lease: who holds something, and until when.

use gantry_machinery::value::Value;

use super::cells::{age_cell, name_cell, text_cell};
use super::row;
use crate::registry::strategy::{Column, Strategy};
use crate::registry::validate::view::{Held, view};
use crate::registry::validate::{Errors, Path, name};

/// Leases of `coordination.k8s.io`.
#[derive(Debug)]
pub struct Leases;

view! {
    struct Spec {
        holder: "holderIdentity",
        duration: "leaseDurationSeconds",
        transitions: "leaseTransitions",
        strategy: "strategy",
        preferred: "preferredHolder",
    }
}

impl Strategy for Leases {
    row!("coordination.k8s.io", "v1", "leases");

    fn check(&self, lease: &Value, errors: &mut Errors) {
        let Some(spec) = lease.get("spec") else { return };
        let at = Path::new("spec");
        let given = Spec::of(spec);
        if let Some(seconds) = given.duration.int().filter(|s| *s <= 0) {
            errors.invalid(&at.child("leaseDurationSeconds"), seconds, "must be greater than 0");
        }
        if let Some(count) = given.transitions.int() {
            name::non_negative(count, &at.child("leaseTransitions"), errors);
        }
        if given.preferred.is_some_and(|p| !p.as_str().unwrap_or_default().is_empty())
            && given.strategy.text().is_empty()
        {
            errors.forbidden(&at.child("preferredHolder"), "may only be specified when `strategy` is defined");
        }
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const { &[Column::name(), Column::string("Holder"), Column::string("Age")] }
    }

    fn row(&self, lease: &Value, now: i64) -> Vec<Value> {
        vec![name_cell(lease), text_cell(lease, &["spec", "holderIdentity"]), age_cell(lease, now)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_machinery::value;

    #[test]
    fn durations_are_positive() {
        let lease = value!({"spec": {"leaseDurationSeconds": 0, "leaseTransitions": (-1)}});
        let found: Vec<String> = Leases.validate(&lease).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
                "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
            ]
        );
        assert!(Leases.validate(&value!({"spec": {"leaseDurationSeconds": 40}})).is_empty());
    }
}
