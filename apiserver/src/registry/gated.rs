//! Fields behind feature gates: what a new object says in them is dropped while the gate is off, and what an object has
//! said since the gate was on stays (upstream's `DropDisabledPodFields` and its like).
//!
//! One table says which fields those are; the verbs ask it right after the kind's own preparation, before defaults and
//! rules see the object.

use gantry_machinery::feature::{Gate, Gates};
use gantry_machinery::value::Value;

/// A field of a spec.
struct Gated {
    gate: Gate,
    field: &'static str,
}

/// Of a pod, wherever pods or templates for them are.
const POD_SPEC: &[Gated] = &[Gated { gate: Gate::GenericWorkload, field: "schedulingGroup" }];

const DEVICE_CLASS_SPEC: &[Gated] = &[Gated { gate: Gate::DRAExtendedResource, field: "extendedResourceName" }];

/// Fields of PodGroups and of templates for them, behind gates that nothing here acts on (`WorkloadAwarePreemption`,
/// `TopologyAwareWorkloadScheduling`, `DRAWorkloadResourceClaims`): as if off, whatever the flag says.
const POD_GROUP: [&str; 5] =
    ["disruptionMode", "priority", "priorityClassName", "resourceClaims", "schedulingConstraints"];

/// Where the objects of a collection hold a spec with fields behind gates, and which those are.
fn spec(collection: &str) -> Option<(&'static [&'static str], &'static [Gated])> {
    match collection {
        "deviceclasses.resource.k8s.io" => Some((&["spec"], DEVICE_CLASS_SPEC)),
        "pods" => Some((&["spec"], POD_SPEC)),
        "podtemplates" => Some((&["template", "spec"], POD_SPEC)),
        "cronjobs.batch" => Some((&["spec", "jobTemplate", "spec", "template", "spec"], POD_SPEC)),
        "daemonsets.apps"
        | "deployments.apps"
        | "jobs.batch"
        | "replicasets.apps"
        | "replicationcontrollers"
        | "statefulsets.apps" => Some((&["spec", "template", "spec"], POD_SPEC)),
        _ => None,
    }
}

/// Drops what gates that are off forbid, unless the object has it already.
pub(super) fn drop_disabled(gates: Gates, collection: &str, new: &mut Value, old: Option<&Value>) {
    match (collection, old) {
        ("podgroups.scheduling.k8s.io", None) => new.get_mut("spec").into_iter().for_each(drop_unbuilt),
        ("workloads.scheduling.k8s.io", None) => {
            let templates = new.get_mut("spec").and_then(|spec| spec.get_mut("podGroupTemplates"));
            templates.and_then(Value::as_array_mut).into_iter().flatten().for_each(drop_unbuilt);
        }
        _ => {}
    }
    let Some((path, fields)) = spec(collection) else { return };
    for Gated { field, .. } in fields.iter().filter(|gated| !gates.enabled(gated.gate)) {
        let in_use = |object: &Value| object.at(path).and_then(|spec| spec.get(field)).is_some_and(|v| !v.is_null());
        if in_use(new) && !old.is_some_and(in_use) {
            let path: Vec<&str> = path.iter().copied().chain([*field]).collect();
            new.remove(&path);
        }
    }
}

/// None of this changes later: a new object is the only one that could bring it.
fn drop_unbuilt(group: &mut Value) {
    for field in POD_GROUP {
        group.remove(&[field]);
    }
}

#[cfg(test)]
mod tests {
    use gantry_machinery::value;

    use super::*;

    #[test]
    fn a_field_behind_a_gate_is_dropped_unless_it_was_there() {
        let with = value!({"spec": {"template": {"spec": {"schedulingGroup": {"podGroupName": "g"}, "a": 1}}}});
        let without = value!({"spec": {"template": {"spec": {"a": 1}}}});
        let dropped = |gates: Gates, old: Option<&Value>| {
            let mut new = with.clone();
            drop_disabled(gates, "jobs.batch", &mut new, old);
            new
        };
        let (off, on) = (Gates::default(), Gates::default().with(Gate::GenericWorkload, true));
        assert_eq!(dropped(off, None), without);
        assert_eq!(dropped(off, Some(&without)), without);
        assert_eq!(dropped(off, Some(&with)), with);
        assert_eq!(dropped(on, None), with);

        // On, unless somebody turns it off.
        let class = value!({"spec": {"extendedResourceName": "x.y/gpu"}});
        for (gates, kept) in
            [(Gates::default(), true), (Gates::default().with(Gate::DRAExtendedResource, false), false)]
        {
            let mut new = class.clone();
            drop_disabled(gates, "deviceclasses.resource.k8s.io", &mut new, None);
            assert_eq!(new == class, kept);
        }
    }

    #[test]
    fn what_nothing_acts_on_is_no_part_of_a_group() {
        let policy = value!({"gang": {"minCount": 2}});
        let full =
            value!({"schedulingPolicy": (policy.clone()), "priority": 7, "schedulingConstraints": {"topology": []}});
        let lean = value!({"schedulingPolicy": policy});
        let mut group = value!({"spec": (full.clone())});
        drop_disabled(Gates::default(), "podgroups.scheduling.k8s.io", &mut group, None);
        assert_eq!(group, value!({"spec": (lean.clone())}));
        let mut workload = value!({"spec": {"podGroupTemplates": [full]}});
        drop_disabled(Gates::default(), "workloads.scheduling.k8s.io", &mut workload, None);
        assert_eq!(workload, value!({"spec": {"podGroupTemplates": [lean]}}));
    }
}
