//! Kinds that only beta or alpha versions have: off unless `--runtime-config` turns them on. Kept, defaulted and checked;
//! no loop acts on most of them yet.

use std::fmt;
use std::sync::OnceLock;

use compact_str::CompactString;
use gantry_machinery::names;
use gantry_machinery::resource::Resource;
use gantry_machinery::schema::Message;
use gantry_machinery::value::Value;

use super::cells::{age_cell, name_cell, text_cell};
use super::gang;
use crate::registry::strategy::{Column, Strategy};
use crate::registry::validate::view::Held;
use crate::registry::validate::{Errors, Path, name, same};

/// One such kind.
pub(super) struct Unstable {
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    names: fn(&str, bool) -> Vec<String>,
    check: fn(&Value, &mut Errors),
    /// What else is wrong with an update: new, old.
    check_update: fn(&Value, &Value, &mut Errors),
    /// The one column between name and age: its heading and where its text stands.
    column: Option<(&'static [Column], &'static [&'static str])>,
    /// The field that selectors may name besides the usual ones.
    selectable: &'static [&'static str],
    generation: bool,
    found: OnceLock<(&'static Resource, &'static Message)>,
}

impl Unstable {
    const fn new(group: &'static str, version: &'static str, resource: &'static str) -> Self {
        Self {
            group,
            version,
            resource,
            names: name::subdomain_errors,
            check: |_, _| {},
            check_update: |_, _, _| {},
            column: None,
            selectable: &[],
            generation: false,
            found: OnceLock::new(),
        }
    }

    const fn named_by(mut self, names: fn(&str, bool) -> Vec<String>) -> Self {
        self.names = names;
        self
    }

    const fn ruled_by(mut self, check: fn(&Value, &mut Errors), update: fn(&Value, &Value, &mut Errors)) -> Self {
        self.check = check;
        self.check_update = update;
        self
    }

    const fn showing(mut self, columns: &'static [Column], path: &'static [&'static str]) -> Self {
        self.column = Some((columns, path));
        self
    }

    const fn selected_by(mut self, fields: &'static [&'static str]) -> Self {
        self.selectable = fields;
        self
    }

    const fn with_generation(mut self) -> Self {
        self.generation = true;
        self
    }

    fn find(&self) -> (&'static Resource, &'static Message) {
        let (group, version, resource) = (self.group, self.version, self.resource);
        *self
            .found
            .get_or_init(|| (super::resource(group, version, resource), super::message(group, version, resource)))
    }
}

/// The kinds.
pub(super) static ALL: [Unstable; 9] = [
    Unstable::new("scheduling.k8s.io", "v1alpha2", "workloads")
        .ruled_by(gang::check_workload, gang::check_workload_update)
        .with_generation(),
    Unstable::new("scheduling.k8s.io", "v1alpha2", "podgroups")
        .ruled_by(gang::check_pod_group, gang::check_pod_group_update)
        .with_generation(),
    Unstable::new("coordination.k8s.io", "v1beta1", "leasecandidates")
        .ruled_by(check_lease_candidate, check_lease_candidate_update)
        .showing(
            const {
                &[
                    Column::name(),
                    Column::string("LeaseName"),
                    Column::string("BinaryVersion"),
                    Column::string("EmulationVersion"),
                    Column::string("Age"),
                ]
            },
            &["leaseName", "binaryVersion", "emulationVersion"],
        )
        .selected_by(&["spec.leaseName"]),
    Unstable::new("certificates.k8s.io", "v1beta1", "clustertrustbundles")
        .named_by(names::path_segment)
        .ruled_by(check_trust_bundle, check_trust_bundle_update)
        .showing(const { &[Column::name(), Column::string("SignerName")] }, &["signerName"])
        .selected_by(&["spec.signerName"]),
    Unstable::new("certificates.k8s.io", "v1beta1", "podcertificaterequests")
        .ruled_by(check_certificate_request, check_spec_stays)
        .showing(
            const {
                &[
                    Column::name(),
                    Column::string("PodName"),
                    Column::string("ServiceAccountName"),
                    Column::string("NodeName"),
                    Column::string("SignerName"),
                ]
            },
            &["podName", "serviceAccountName", "nodeName", "signerName"],
        )
        .selected_by(&["spec.signerName", "spec.podName", "spec.nodeName"]),
    Unstable::new("storagemigration.k8s.io", "v1beta1", "storageversionmigrations")
        .ruled_by(check_migration, check_spec_stays)
        .showing(const { &[Column::name(), Column::string("Resource")] }, &["resource.resource"])
        .with_generation(),
    Unstable::new("internal.apiserver.k8s.io", "v1alpha1", "storageversions"),
    Unstable::new("resource.k8s.io", "v1beta2", "devicetaintrules")
        .ruled_by(check_taint_rule, |_, _, _| {})
        .with_generation(),
    Unstable::new("resource.k8s.io", "v1alpha3", "resourcepoolstatusrequests")
        .ruled_by(check_pool_request, check_spec_stays)
        .with_generation(),
];

impl Strategy for Unstable {
    fn resource(&self) -> &'static Resource {
        self.find().0
    }

    fn message(&self) -> &'static Message {
        self.find().1
    }

    fn name_errors(&self, name: &str, prefix: bool) -> Vec<String> {
        (self.names)(name, prefix)
    }

    fn check(&self, object: &Value, errors: &mut Errors) {
        (self.check)(object, errors);
    }

    fn check_update(&self, new: &Value, old: &Value, subresource: &str, errors: &mut Errors) {
        if subresource.is_empty() {
            (self.check)(new, errors);
            (self.check_update)(new, old, errors);
        }
    }

    fn has_generation(&self) -> bool {
        self.generation
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        self.selectable
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, CompactString)> {
        let text = |name: &'static str| object.at(&["spec", name.trim_start_matches("spec.")]).text();
        self.selectable.iter().map(|name| (*name, text(name).into())).collect()
    }

    fn columns(&self) -> &'static [Column] {
        match self.column {
            Some((columns, _)) => columns,
            None => const { &[Column::name(), Column::string("Age")] },
        }
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let (columns, fields) = self.column.unwrap_or((self.columns(), &[]));
        let mut row = vec![name_cell(object)];
        row.extend(fields.iter().map(|field| {
            let path: Vec<&str> = std::iter::once("spec").chain(field.split('.')).collect();
            text_cell(object, &path)
        }));
        if row.len() < columns.len() {
            row.push(age_cell(object, now));
        }
        row
    }
}

impl fmt::Debug for Unstable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.group, self.version, self.resource)
    }
}

/// `spec` says what was asked for, once and for all.
fn check_spec_stays(new: &Value, old: &Value, errors: &mut Errors) {
    if !same(new.get("spec"), old.get("spec")) {
        errors.invalid(&Path::new("spec"), new.get("spec"), "field is immutable");
    }
}

/// A field of `spec` that must hold a text of a certain form.
fn spec_text<'o>(object: &'o Value, field: &str, form: fn(&str) -> Vec<String>, errors: &mut Errors) -> &'o str {
    let spec = Path::new("spec");
    let at = spec.child(field);
    let text = object.at(&["spec", field]).text();
    if text.is_empty() {
        errors.required(&at, "");
    } else {
        for wrong in form(text) {
            errors.invalid(&at, text, wrong);
        }
    }
    text
}

fn any(_: &str) -> Vec<String> {
    Vec::new()
}

fn subdomain(text: &str) -> Vec<String> {
    names::dns_subdomain(text)
}

fn check_lease_candidate(candidate: &Value, errors: &mut Errors) {
    spec_text(candidate, "leaseName", any, errors);
    spec_text(candidate, "binaryVersion", version, errors);
    let emulated = candidate.at(&["spec", "emulationVersion"]).text();
    let strategy = candidate.at(&["spec", "strategy"]).text();
    let spec = Path::new("spec");
    if !emulated.is_empty() {
        for wrong in version(emulated) {
            errors.invalid(&spec.child("emulationVersion"), emulated, wrong);
        }
    }
    if strategy.is_empty() {
        errors.required(&spec.child("strategy"), "");
    } else if strategy == "OldestEmulationVersion" && emulated.is_empty() {
        errors
            .required(&spec.child("emulationVersion"), "must be specified when `strategy` is 'OldestEmulationVersion'");
    }
}

/// `1.36.0`, as semantic versions are written.
fn version(text: &str) -> Vec<String> {
    let core = text.split(['-', '+']).next().unwrap_or_default();
    let parts: Vec<&str> = core.split('.').collect();
    let number = |part: &&str| {
        part.bytes().all(|b| b.is_ascii_digit()) && (*part == "0" || !part.starts_with('0')) && !part.is_empty()
    };
    if parts.len() == 3 && parts.iter().all(number) {
        Vec::new()
    } else {
        vec!["must be a valid semantic version".to_owned()]
    }
}

fn check_lease_candidate_update(new: &Value, old: &Value, errors: &mut Errors) {
    let spec = Path::new("spec");
    errors.immutable(&spec.child("leaseName"), new.at(&["spec", "leaseName"]), old.at(&["spec", "leaseName"]));
}

/// A bundle of a signer is named after it: `example.com:signer:suffix`.
fn check_trust_bundle(bundle: &Value, errors: &mut Errors) {
    let name = bundle.at(&["metadata", "name"]).text();
    let signer = bundle.at(&["spec", "signerName"]).text();
    let metadata = Path::new("metadata");
    let at = metadata.child("name");
    if signer.is_empty() {
        if name.contains(':') {
            errors.invalid(&at, name, "ClusterTrustBundle without signer name must not have \":\" in its name");
        }
    } else {
        let prefix = format!("{}:", signer.replace('/', ":"));
        if !name.starts_with(&prefix) {
            errors.invalid(
                &at,
                name,
                format!("ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}"),
            );
        }
    }
    let spec = Path::new("spec");
    let trust = bundle.at(&["spec", "trustBundle"]).text();
    if !trust.contains("-----BEGIN CERTIFICATE-----") {
        errors.invalid(&spec.child("trustBundle"), "<value omitted>", "at least one trust anchor must be provided");
    }
}

fn check_trust_bundle_update(new: &Value, old: &Value, errors: &mut Errors) {
    let spec = Path::new("spec");
    errors.immutable(&spec.child("signerName"), new.at(&["spec", "signerName"]), old.at(&["spec", "signerName"]));
}

fn check_certificate_request(request: &Value, errors: &mut Errors) {
    spec_text(request, "signerName", any, errors);
    for field in ["podName", "serviceAccountName", "nodeName"] {
        spec_text(request, field, subdomain, errors);
    }
    for field in ["podUID", "serviceAccountUID", "nodeUID", "stubPKCS10Request"] {
        spec_text(request, field, any, errors);
    }
    if let Some(seconds) = request.at(&["spec", "maxExpirationSeconds"]).int().filter(|s| *s < 3600) {
        let spec = Path::new("spec");
        errors.invalid(&spec.child("maxExpirationSeconds"), seconds, "must be at least 3600");
    }
}

fn check_migration(migration: &Value, errors: &mut Errors) {
    let spec = Path::new("spec");
    if migration.at(&["spec", "resource", "resource"]).text().is_empty() {
        errors.required(&spec.child("resource").child("resource"), "resource is required");
    }
}

fn check_taint_rule(rule: &Value, errors: &mut Errors) {
    let spec = Path::new("spec");
    let taint = spec.child("taint");
    let key = rule.at(&["spec", "taint", "key"]).text();
    if key.is_empty() {
        errors.required(&taint.child("key"), "");
    }
    for wrong in if key.is_empty() { Vec::new() } else { names::qualified_name(key) } {
        errors.invalid(&taint.child("key"), key, wrong);
    }
    let value = rule.at(&["spec", "taint", "value"]).text();
    for wrong in names::label_value(value) {
        errors.invalid(&taint.child("value"), value, wrong);
    }
    match rule.at(&["spec", "taint", "effect"]).text() {
        "" => errors.required(&taint.child("effect"), ""),
        "NoExecute" | "NoSchedule" | "None" => {}
        other => errors.not_supported(&taint.child("effect"), other, &["NoExecute", "NoSchedule", "None"]),
    }
}

fn check_pool_request(request: &Value, errors: &mut Errors) {
    spec_text(request, "driver", subdomain, errors);
    if let Some(limit) = request.at(&["spec", "limit"]).int().filter(|l| *l < 1) {
        let spec = Path::new("spec");
        errors.invalid(&spec.child("limit"), limit, "must be greater than or equal to 1");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_machinery::value;

    fn wrong(resource: &str, object: &Value) -> Vec<String> {
        let kind = ALL.iter().find(|kind| kind.resource == resource).unwrap();
        kind.validate(object).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn candidates_say_what_they_run() {
        let candidate =
            value!({"spec": {"leaseName": "l", "binaryVersion": "1.36", "strategy": "OldestEmulationVersion"}});
        assert_eq!(
            wrong("leasecandidates", &candidate),
            [
                "spec.binaryVersion: Invalid value: \"1.36\": must be a valid semantic version",
                "spec.emulationVersion: Required value: must be specified when `strategy` is 'OldestEmulationVersion'"
            ]
        );
    }

    #[test]
    fn bundles_of_a_signer_are_named_after_it() {
        let bundle = |name: &str, signer: &str| {
            value!({"metadata": {"name": name},
                "spec": {"signerName": signer, "trustBundle": "-----BEGIN CERTIFICATE-----"}})
        };
        assert_eq!(wrong("clustertrustbundles", &bundle("example.com:a:x", "example.com/a")), [""; 0]);
        assert_eq!(wrong("clustertrustbundles", &bundle("x", "example.com/a")).len(), 1);
        assert_eq!(wrong("clustertrustbundles", &bundle("a:x", "")).len(), 1);
    }

    #[test]
    fn a_rule_taints_with_a_known_effect() {
        let rule = value!({"spec": {"taint": {"key": "a/b", "effect": "Sometimes"}}});
        assert_eq!(
            wrong("devicetaintrules", &rule),
            [
                "spec.taint.effect: Unsupported value: \"Sometimes\": supported values: \"NoExecute\", \"NoSchedule\", \"None\""
            ]
        );
    }
}
