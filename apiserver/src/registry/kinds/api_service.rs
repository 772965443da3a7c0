//! APIServices (`apiregistration.k8s.io`): which server answers for a version of a group.
//!
//! Those without a Service are this server's own, written at start ([`crate::bootstrap`]). One that points at a Service is
//! kept, but requests are not forwarded: it says so in its condition, and requests to its group are answered with 503, as
//! upstream answers for an extension server that cannot be reached.

use gantry_machinery::resource::GroupVersionResource;
use gantry_machinery::value::Value;
use gantry_machinery::{names, time, value};

use super::cells::{age_cell, name_cell};
use super::field::fill_with;
use super::plain::Plain;
use crate::registry::strategy::Column;
use crate::registry::validate::view::Held;
use crate::registry::validate::{Errors, Path, name};

/// Where they are stored.
pub const COLLECTION: &str = "apiservices.apiregistration.k8s.io";

/// The resource.
pub(crate) static API_SERVICES: GroupVersionResource =
    GroupVersionResource::of("apiregistration.k8s.io", "v1", "apiservices");

/// The label of those that the server keeps: as they were at start, or always.
pub(crate) const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
/// Kept all the time: altered, they are put right.
pub(crate) const ALWAYS: &str = "true";

/// The kind.
pub(super) static ALL: [Plain; 1] = [Plain::new(
    "apiregistration.k8s.io",
    "apiservices",
    const { &[Column::name(), Column::string("Service"), Column::string("Available"), Column::string("Age")] },
    |service, now| {
        let target = service.at(&["spec", "service"]).filter(|s| !s.is_null());
        let target = target.map(|t| format!("{}/{}", t.get("namespace").text(), t.get("name").text()));
        let conditions = service.array_at(&["status", "conditions"]);
        let available = match conditions.iter().find(|c| c.get("type").text() == "Available") {
            None => "Unknown".to_owned(),
            Some(c) if c.get("status").text() == "True" => "True".to_owned(),
            Some(c) => format!("{} ({})", c.get("status").text(), c.get("reason").text()),
        };
        let target = target.unwrap_or_else(|| "Local".to_owned());
        vec![name_cell(service), Value::from(target), Value::from(available), age_cell(service, now)]
    },
)
.prepared(|service| service.set(&["status"], status(service)))
.settled(|new, old, subresource| {
    if subresource.is_empty() && is_remote(new) != is_remote(old) {
        new.set(&["status"], status(new));
    }
})
.with(
    |service| {
        if let Some(target) = service.at_mut(&["spec", "service"]).and_then(Value::as_object_mut) {
            fill_with(target, "port", || Value::Int(443));
        }
    },
    check,
)
.changing(|new, _, subresource, errors| match subresource {
    "status" => check_status(new, errors),
    _ => check(new, errors),
})
.warning(|service, old| match old {
    None if is_remote(service) => {
        vec!["this server does not forward requests to extension API servers: the group stays unavailable".to_owned()]
    }
    _ => Vec::new(),
})
.named(names::path_segment)
.versioned()];

/// Whether somebody else is to answer.
#[must_use]
pub fn is_remote(service: &Value) -> bool {
    service.at(&["spec", "service"]).is_some_and(|s| !s.is_null())
}

/// What a new APIService has come to.
fn status(service: &Value) -> Value {
    let (available, reason, message) = if is_remote(service) {
        ("False", "AggregationNotBuilt", "this server does not forward requests to extension API servers")
    } else {
        ("True", "Local", "Local APIServices are always available")
    };
    value!({"conditions": [{
        "type": "Available",
        "status": available,
        "reason": reason,
        "message": message,
        "lastTransitionTime": (time::now())
    }]})
}

fn check(service: &Value, errors: &mut Errors) {
    let null = Value::Null;
    let (spec, at) = (service.get("spec").unwrap_or(&null), Path::new("spec"));
    let (group, version) = (spec.get("group").text(), spec.get("version").text());
    let (own, wanted) = (service.at(&["metadata", "name"]).text(), format!("{version}.{group}"));
    if own != wanted {
        let detail = format!("must be `spec.version+\".\"+spec.group`: {wanted:?}");
        errors.invalid(&Path::new("metadata.name"), own, detail);
    }
    if group.is_empty() && version != "v1" {
        let detail = "only v1 may have an empty group and it better be legacy kube";
        errors.required(&at.child("group"), detail);
    }
    if !group.is_empty() {
        name::subdomain(group, &at.child("group"), errors);
    }
    for wrong in names::dns_1035_label(version) {
        errors.invalid(&at.child("version"), version, wrong);
    }
    for (field, max) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
        let priority = spec.get(field).number();
        if !(1..=max).contains(&priority) {
            errors.invalid(&at.child(field), priority, format!("must be positive and less than {max}"));
        }
    }
    let (bundle, skips) = (spec.get("caBundle").text(), spec.get("insecureSkipTLSVerify").truth());
    let Some(target) = spec.get("service").filter(|s| !s.is_null()) else {
        if !bundle.is_empty() {
            let shown = format!("{} bytes", bundle.len() / 4 * 3);
            errors.invalid(&at.child("caBundle"), shown, "local APIServices may not have a caBundle");
        }
        if skips {
            let detail = "local APIServices may not have insecureSkipTLSVerify";
            errors.invalid(&at.child("insecureSkipTLSVerify"), true, detail);
        }
        return;
    };
    let target_at = at.child("service");
    for field in ["namespace", "name"] {
        if target.get(field).text().is_empty() {
            errors.required(&target_at.child(field), "");
        }
    }
    let port = target.get("port").number();
    if !(1..=65535).contains(&port) {
        let detail = format!("port is not valid: {}", names::inclusive_range_error(1, 65535));
        errors.invalid(&target_at.child("port"), port, detail);
    }
    if skips && !bundle.is_empty() {
        errors.invalid(&at.child("insecureSkipTLSVerify"), true, "may not be true if caBundle is present");
    }
}

fn check_status(service: &Value, errors: &mut Errors) {
    let at = Path::new("status.conditions");
    let conditions = service.array_at(&["status", "conditions"]);
    for (n, condition) in conditions.iter().enumerate() {
        let status = condition.get("status").text();
        if !matches!(status, "True" | "False" | "Unknown") {
            errors.not_supported(&at.index(n).child("status"), status, &["True", "False", "Unknown"]);
        }
    }
}

/// The APIService of a group-version of this server; the numbers order groups and versions in clients' eyes.
#[must_use]
pub fn own(group: &str, version: &str) -> Value {
    const PRIORITIES: &[(&str, i64)] = &[
        ("", 18_000),
        ("apps", 17_800),
        ("events.k8s.io", 17_750),
        ("authentication.k8s.io", 17_700),
        ("authorization.k8s.io", 17_600),
        ("autoscaling", 17_500),
        ("batch", 17_400),
        ("certificates.k8s.io", 17_300),
        ("networking.k8s.io", 17_200),
        ("policy", 17_100),
        ("rbac.authorization.k8s.io", 17_000),
        ("storage.k8s.io", 16_800),
        ("apiextensions.k8s.io", 16_700),
        ("admissionregistration.k8s.io", 16_700),
        ("scheduling.k8s.io", 16_600),
        ("coordination.k8s.io", 16_500),
        ("node.k8s.io", 16_300),
        ("discovery.k8s.io", 16_200),
        ("flowcontrol.apiserver.k8s.io", 16_100),
        ("resource.k8s.io", 15_900),
    ];
    let minimum = PRIORITIES.iter().find(|(g, _)| *g == group).map_or(1000, |(_, priority)| *priority);
    let priority = match (group, version) {
        ("", _) => 1,
        ("autoscaling", "v2") => 30,
        ("flowcontrol.apiserver.k8s.io", "v1") => 21,
        (_, v) if v.contains("alpha") => 9,
        (_, v) if v.contains("beta") => 12,
        _ => 15,
    };
    local(group, version, minimum, priority, "onstart")
}

/// The APIService of a group-version that definitions make: behind all of the server's own.
pub(crate) fn announced(group: &str, version: &str) -> Value {
    local(group, version, 1000, 100, ALWAYS)
}

fn local(group: &str, version: &str, minimum: i64, priority: i64, managed: &str) -> Value {
    let mut spec = value!({"version": version, "groupPriorityMinimum": minimum, "versionPriority": priority});
    if !group.is_empty() {
        spec.set(&["group"], group);
    }
    value!({
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {
            "name": (format!("{version}.{group}")),
            "labels": {(MANAGED): managed}
        },
        "spec": spec
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::strategy::Strategy;

    fn causes(errors: Vec<gantry_machinery::status::FieldError>) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn ours_are_available_and_others_are_not() {
        let [services] = &ALL;
        let mut ours = own("apps", "v1");
        services.prepare_for_create(&mut ours);
        assert_eq!(causes(services.validate(&ours)), Vec::<String>::new());
        assert_eq!(services.row(&ours, 0)[..3], ["v1.apps", "Local", "True"].map(Value::from));
        let mut theirs = value!({"metadata": {"name": "v1beta1.metrics.k8s.io"}, "spec": {
            "group": "metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
            "insecureSkipTLSVerify": true, "service": {"namespace": "kube-system", "name": "metrics-server"}}});
        services.prepare_for_create(&mut theirs);
        services.default(&mut theirs);
        assert_eq!(causes(services.validate(&theirs)), Vec::<String>::new());
        assert_eq!(theirs.at(&["spec", "service", "port"]).number(), 443);
        assert_eq!(
            services.row(&theirs, 0)[1..3],
            ["kube-system/metrics-server", "False (AggregationNotBuilt)"].map(Value::from)
        );
        assert_eq!(services.warnings(&theirs, None).len(), 1);
        let mut local = theirs.clone();
        local.remove(&["spec", "service"]);
        services.prepare_for_update(&mut local, &theirs, "");
        assert_eq!(services.row(&local, 0)[2], Value::from("True"));
    }

    #[test]
    fn each_is_refused_with_the_field() {
        let [services] = &ALL;
        let bad = value!({"metadata": {"name": "x"}, "spec": {"version": "V1", "groupPriorityMinimum": 20001,
            "service": {}, "insecureSkipTLSVerify": true, "caBundle": "YQ=="}});
        let fields: Vec<String> = services.validate(&bad).into_iter().map(|e| e.field).collect();
        assert_eq!(
            fields,
            [
                "metadata.name",
                "spec.group",
                "spec.version",
                "spec.groupPriorityMinimum",
                "spec.versionPriority",
                "spec.service.namespace",
                "spec.service.name",
                "spec.service.port",
                "spec.insecureSkipTLSVerify",
            ]
        );
    }
}
