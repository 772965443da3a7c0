//! Devices of `resource.k8s.io` (Dynamic Resource Allocation): classes, what drivers offer (slices), what pods ask for
//! (claims and their templates). The scheduler's DynamicResources plugin and the drivers act on them.

pub(super) mod v1beta1;

use gantry_machinery::time;
use gantry_machinery::value::{Object, Value};

use super::cells::{age_cell, name_cell, text_cell};
use super::field::{fill, fill_with};
use super::plain::Plain;
use crate::registry::strategy::Column;
use crate::registry::validate::device::{
    LIST_MAX, check_binding_conditions, check_claim_spec, check_claim_status, check_configuration, check_driver,
    check_pool, check_qualified, check_selectors, check_taint, drop_deallocated, unchanged,
};
use crate::registry::validate::labels::check_node_selector;
use crate::registry::validate::resources::is_extended;
use crate::registry::validate::view::Held;
use crate::registry::validate::volume::check_claim_metadata;
use crate::registry::validate::{Errors, Path, collection, name, quantity, same};

const GROUP: &str = "resource.k8s.io";
const DEVICES_MAX: usize = 128;
/// Where devices have taints, counters or lists as attributes.
const ELABORATE_DEVICES_MAX: usize = 64;
const COUNTER_SETS_MAX: usize = 8;
const COUNTERS_MAX: usize = 32;
const CONSUMPTIONS_MAX: usize = 2;
const PROPERTIES_MAX: usize = 32;
const TAINTS_MAX: usize = 16;
const CHOICES_MAX: usize = 10;
const TEXT_MAX: usize = 64;

const NAME_AND_AGE: &[Column] = &[Column::name(), Column::string("Age")];

fn name_and_age(object: &Value, now: i64) -> Vec<Value> {
    vec![name_cell(object), age_cell(object, now)]
}

/// The kinds.
pub(super) static ALL: [Plain; 4] = [
    Plain::new(GROUP, "deviceclasses", NAME_AND_AGE, name_and_age)
        .with(|_| {}, |class, errors| check_class(class, None, errors))
        .changing(|new, old, _, errors| check_class(new, Some(old), errors))
        .with_generation(),
    Plain::new(
        GROUP,
        "resourceclaims",
        const { &[Column::name(), Column::string("State"), Column::string("Age")] },
        |claim, now| vec![name_cell(claim), Value::from(state(claim)), age_cell(claim, now)],
    )
    .with(
        |claim| {
            if let Some(spec) = claim.get_mut("spec").and_then(Value::as_object_mut) {
                default_claim_spec(spec);
            }
            default_results(claim);
        },
        |claim, errors| check_claim_spec(claim.get("spec"), &Path::new("spec"), errors),
    )
    .changing(|new, old, subresource, errors| match subresource {
        "status" => check_claim_status(new, old, errors),
        _ => errors.immutable(&Path::new("spec"), new.get("spec"), old.get("spec")),
    })
    .settled(|new, old, subresource| {
        if subresource == "status" {
            drop_deallocated(new, old);
        }
    }),
    Plain::new(GROUP, "resourceclaimtemplates", NAME_AND_AGE, name_and_age)
        .with(
            |template| {
                if let Some(spec) = template.at_mut(&["spec", "spec"]).and_then(Value::as_object_mut) {
                    default_claim_spec(spec);
                }
            },
            |template, errors| {
                check_claim_metadata(template.at(&["spec", "metadata"]), &Path::new("spec.metadata"), errors);
                check_claim_spec(template.at(&["spec", "spec"]), &Path::new("spec.spec"), errors);
            },
        )
        .changing(|new, old, _, errors| errors.immutable(&Path::new("spec"), new.get("spec"), old.get("spec"))),
    Plain::new(
        GROUP,
        "resourceslices",
        const {
            &[
                Column::name(),
                Column::string("Node"),
                Column::string("Driver"),
                Column::string("Pool"),
                Column::string("Age"),
            ]
        },
        |slice, now| {
            vec![
                name_cell(slice),
                text_cell(slice, &["spec", "nodeName"]),
                text_cell(slice, &["spec", "driver"]),
                text_cell(slice, &["spec", "pool", "name"]),
                age_cell(slice, now),
            ]
        },
    )
    .with(default_slice, |slice, errors| check_slice(slice, None, errors))
    .prepared(drop_disabled)
    .settled(|new, _, _| drop_disabled(new))
    .changing(|new, old, _, errors| check_slice(new, Some(old), errors))
    .with_generation()
    .selectable(&["spec.nodeName", "spec.driver"]),
];

fn check_class(class: &Value, old: Option<&Value>, errors: &mut Errors) {
    let at = Path::new("spec");
    let stored = unchanged(class, old, "selectors");
    check_selectors(class.at(&["spec", "selectors"]), stored, &at.child("selectors"), errors);
    let stored = unchanged(class, old, "config");
    let configs = class.array_at(&["spec", "config"]);
    collection::list(configs, LIST_MAX, &at.child("config"), errors, |config, at, errors| {
        check_configuration(config, stored, at, errors);
    });
    if let Some(resource) = class.str_at(&["spec", "extendedResourceName"])
        && !(resource.contains('/') && is_extended(resource))
    {
        errors.invalid(&at.child("extendedResourceName"), resource, "must be a valid extended resource name");
    }
}

/// What a claim has come to, for people.
fn state(claim: &Value) -> &'static str {
    let deleted = !claim.at(&["metadata", "deletionTimestamp"]).text().is_empty();
    let allocated = claim.at(&["status", "allocation"]).is_some_and(|a| !a.is_null());
    let reserved = !claim.array_at(&["status", "reservedFor"]).is_empty();
    match (deleted, allocated, reserved) {
        (true, false, _) => "deleted",
        (true, true, false) => "deleted,allocated",
        (true, true, true) => "deleted,allocated,reserved",
        (false, false, _) => "pending",
        (false, true, false) => "allocated",
        (false, true, true) => "allocated,reserved",
    }
}

fn default_claim_spec(spec: &mut Object) {
    let requests = spec.get_mut("devices").and_then(|d| d.get_mut("requests")).and_then(Value::as_array_mut);
    for request in requests.into_iter().flatten() {
        if let Some(exactly) = request.get_mut("exactly").and_then(Value::as_object_mut) {
            default_wanted(exactly);
        }
        let choices = request.get_mut("firstAvailable").and_then(Value::as_array_mut);
        choices.into_iter().flatten().filter_map(Value::as_object_mut).for_each(default_wanted);
    }
}

fn default_wanted(wanted: &mut Object) {
    fill(wanted, "allocationMode", "ExactCount");
    if wanted.get("allocationMode").text() == "ExactCount" {
        fill(wanted, "count", 1);
    }
    default_tolerations(wanted);
}

fn default_tolerations(holder: &mut Object) {
    let tolerations = holder.get_mut("tolerations").and_then(Value::as_array_mut);
    for toleration in tolerations.into_iter().flatten().filter_map(Value::as_object_mut) {
        fill(toleration, "operator", "Equal");
    }
}

fn default_results(claim: &mut Value) {
    let results = claim.at_mut(&["status", "allocation", "devices", "results"]).and_then(Value::as_array_mut);
    results.into_iter().flatten().filter_map(Value::as_object_mut).for_each(default_tolerations);
}

fn devices_of(slice: &mut Value) -> impl Iterator<Item = &mut Object> {
    let devices = slice.at_mut(&["spec", "devices"]).and_then(Value::as_array_mut);
    devices.into_iter().flatten().filter_map(Value::as_object_mut)
}

fn default_slice(slice: &mut Value) {
    for device in devices_of(slice) {
        let taints = device.get_mut("taints").and_then(Value::as_array_mut);
        for taint in taints.into_iter().flatten().filter_map(Value::as_object_mut) {
            fill_with(taint, "timeAdded", || Value::String(time::now()));
        }
    }
}

/// Fields behind alpha gates of 1.36 (`DRANodeAllocatableResources`) are dropped as upstream drops them.
fn drop_disabled(slice: &mut Value) {
    for device in devices_of(slice) {
        device.remove("nodeAllocatableResourceMappings");
    }
}

fn check_slice(slice: &Value, old: Option<&Value>, errors: &mut Errors) {
    let null = Value::Null;
    let at = Path::new("spec");
    let spec = slice.get("spec").unwrap_or(&null);
    check_driver(spec.get("driver").text(), &at.child("driver"), errors);
    let pool = spec.get("pool").unwrap_or(&null);
    let at_pool = at.child("pool");
    check_pool(pool.get("name").text(), &at_pool.child("name"), errors);
    let count = pool.get("resourceSliceCount").number();
    if count <= 0 {
        errors.invalid(&at_pool.child("resourceSliceCount"), count, "must be greater than zero");
    }
    let generation = pool.get("generation").number();
    if generation < 0 {
        errors.invalid(&at_pool.child("generation"), generation, "must be greater than or equal to zero");
    }
    if let Some(was) = old.and_then(|o| o.get("spec")) {
        for path in [&["pool", "name"][..], &["driver"], &["nodeName"]] {
            errors.immutable(&at.child(&path.join(".")), spec.at(path), was.at(path));
        }
    }
    check_place(spec, errors);
    let (counters, devices) = (spec.get("sharedCounters"), spec.get("devices"));
    if counters.is_some_and(|c| !c.is_null()) && devices.is_some_and(|d| !d.is_null()) {
        errors.invalid(&at, "", "only one of `sharedCounters` or `devices` is allowed");
    }
    let devices = devices.items();
    let per_device = spec.get("perDeviceNodeSelection").truth();
    let max = if devices.iter().any(is_elaborate) { ELABORATE_DEVICES_MAX } else { DEVICES_MAX };
    collection::named(devices, max, &at.child("devices"), errors, |device, at, errors| {
        let name = device.get("name");
        let before = old.map(|o| o.array_at(&["spec", "devices"])).unwrap_or_default();
        let before = before.iter().find(|d| d.get("name") == name);
        check_device(device, before, per_device, at, errors);
    });
    let sets = at.child("sharedCounters");
    collection::named(counters.items(), COUNTER_SETS_MAX, &sets, errors, |set, at, errors| {
        match set.get("name").text() {
            "" => errors.required(&at.child("name"), ""),
            text => name::label(text, &at.child("name"), errors),
        }
        check_counters(set.get("counters"), &at.child("counters"), errors);
    });
}

fn is_elaborate(device: &Value) -> bool {
    let any = |field: &str| !device.get(field).items().is_empty();
    let listed =
        |attribute: &Value| ["bools", "ints", "strings", "versions"].iter().any(|f| attribute.get(f).is_some());
    any("taints") || any("consumesCounters") || device.get("attributes").entries().any(|(_, a)| listed(a))
}

/// From which nodes the devices of a slice can be reached.
fn check_place(spec: &Value, errors: &mut Errors) {
    const CHOICE: &str = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    let at = Path::new("spec");
    let mut set: Vec<&str> = Vec::new();
    match spec.str_at(&["nodeName"]) {
        None => {}
        Some("") => {
            errors.invalid(&at.child("nodeName"), "", "must be either unset or set to a non-empty string");
        }
        Some(node) => {
            set.push("`nodeName`");
            name::subdomain(node, &at.child("nodeName"), errors);
        }
    }
    if let Some(selector) = spec.get("nodeSelector").filter(|s| !s.is_null()) {
        set.push("`nodeSelector`");
        let at = at.child("nodeSelector");
        check_node_selector(selector, &at, errors);
        let terms = selector.get("nodeSelectorTerms");
        if terms.items().len() != 1 {
            errors.invalid(&at.child("nodeSelectorTerms"), terms, "must have exactly one node selector term");
        }
    }
    for (field, quoted) in [("allNodes", "`allNodes`"), ("perDeviceNodeSelection", "`perDeviceNodeSelection`")] {
        match spec.bool_at(&[field]) {
            Some(true) => set.push(quoted),
            Some(false) => errors.invalid(&at.child(field), false, "must be either unset or set to true"),
            None => {}
        }
    }
    match set.as_slice() {
        [] => errors.required(&at, CHOICE),
        [_] => {}
        several => {
            let shown = format!("{{{}}}", several.join(", "));
            errors.invalid(&at, shown, format!("{CHOICE}, but multiple fields are set"));
        }
    }
}

/// The same, of one device of a slice that leaves it to its devices.
fn check_device_place(device: &Value, per_device: bool, at: &Path<'_>, errors: &mut Errors) {
    const CHOICE: &str = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when \
                          `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
    const FIELDS: [(&str, &str); 3] =
        [("nodeName", "`nodeName`"), ("nodeSelector", "`nodeSelector`"), ("allNodes", "`allNodes`")];
    let given = |field: &str| device.get(field).filter(|f| !f.is_null());
    if !per_device {
        if FIELDS.iter().any(|(field, _)| given(field).is_some()) {
            let detail = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set \
                          to true in the ResourceSlice spec";
            errors.invalid(at, None::<&str>, detail);
        }
        return;
    }
    let mut set: Vec<&str> = Vec::new();
    for (field, quoted) in FIELDS {
        match given(field) {
            None => continue,
            Some(Value::String(text)) if text.is_empty() => {
                errors.invalid(&at.child(field), "", "must not be empty");
                continue;
            }
            Some(Value::String(text)) => name::subdomain(text, &at.child(field), errors),
            Some(Value::Bool(false)) => {
                errors.invalid(&at.child(field), false, "must be either unset or set to true");
                continue;
            }
            Some(selector @ Value::Object(_)) => check_node_selector(selector, &at.child(field), errors),
            Some(_) => {}
        }
        set.push(quoted);
    }
    match set.as_slice() {
        [] => errors.required(at, CHOICE),
        [_] => {}
        several => errors.invalid(at, format!("{{{}}}", several.join(", ")), CHOICE),
    }
}

fn check_device(device: &Value, old: Option<&Value>, per_device: bool, at: &Path<'_>, errors: &mut Errors) {
    let kept = |field: &str| old.is_some_and(|old| same(device.get(field), old.get(field)));
    name::label(device.get("name").text(), &at.child("name"), errors);
    let (attributes, capacity) = (device.get("attributes"), device.get("capacity"));
    let properties = attributes.entries().count() + capacity.entries().count();
    if properties > PROPERTIES_MAX {
        let detail = format!("the total number of attributes and capacities must not exceed {PROPERTIES_MAX}");
        errors.invalid(at, properties, detail);
    }
    let list = at.child("attributes");
    for (key, attribute) in attributes.entries() {
        check_qualified(key, &list, errors);
        check_attribute(attribute, &list.key(key), errors);
    }
    if !kept("capacity") {
        let shared = device.get("allowMultipleAllocations").truth();
        let list = at.child("capacity");
        for (key, capacity) in capacity.entries() {
            check_qualified(key, &list, errors);
            let Some(policy) = capacity.get("requestPolicy").filter(|p| !p.is_null()) else { continue };
            let at = list.key(key);
            let at = at.child("requestPolicy");
            if shared {
                check_policy(policy, capacity.get("value").unwrap_or(&Value::Null), &at, errors);
            } else {
                errors.forbidden(&at, "allowMultipleAllocations must be true");
            }
        }
    }
    if !kept("taints") {
        collection::list(device.get("taints").items(), TAINTS_MAX, &at.child("taints"), errors, check_taint);
    }
    let consumed = device.get("consumesCounters").items();
    let set = |consumption: &Value| consumption.get("counterSet").text().to_owned();
    collection::set(consumed, CONSUMPTIONS_MAX, &at.child("consumesCounters"), errors, set, |item, at, errors| {
        match item.get("counterSet").text() {
            "" => errors.required(&at.child("counterSet"), ""),
            text => name::label(text, &at.child("counterSet"), errors),
        }
        check_counters(item.get("counters"), &at.child("counters"), errors);
    });
    check_device_place(device, per_device, at, errors);
    check_binding_conditions(device, at, errors);
}

fn check_counters(counters: Option<&Value>, at: &Path<'_>, errors: &mut Errors) {
    if counters.entries().next().is_none() {
        return errors.required(at, "");
    }
    collection::map(counters, COUNTERS_MAX, at, errors, |key, _, _, errors| name::label(key, at, errors));
}

fn check_attribute(attribute: &Value, at: &Path<'_>, errors: &mut Errors) {
    let mut values = 0;
    for (kind, value) in Some(attribute).entries().filter(|(_, value)| !value.is_null()) {
        values += 1;
        let at = at.child(kind);
        match (kind, value) {
            (_, Value::Array(items)) if items.is_empty() => {
                errors.invalid(&at, value, "must not be empty if specified");
            }
            ("strings", _) => collection_of_texts(value, &at, errors, check_text),
            ("versions", _) => collection_of_texts(value, &at, errors, check_version),
            ("string", _) => check_text(Some(value).text(), &at, errors),
            ("version", _) => check_version(Some(value).text(), &at, errors),
            _ => {}
        }
    }
    match values {
        0 => errors.invalid(at, "", "exactly one value must be specified"),
        1 => {}
        _ => errors.invalid(at, attribute, "exactly one value must be specified"),
    }
}

fn collection_of_texts(list: &Value, at: &Path<'_>, errors: &mut Errors, check: fn(&str, &Path<'_>, &mut Errors)) {
    for (n, item) in Some(list).items().iter().enumerate() {
        check(Some(item).text(), &at.index(n), errors);
    }
}

fn check_text(text: &str, at: &Path<'_>, errors: &mut Errors) {
    if text.len() > TEXT_MAX {
        errors.too_long(at, TEXT_MAX);
    }
}

fn check_version(text: &str, at: &Path<'_>, errors: &mut Errors) {
    if !is_version(text) {
        errors.invalid(at, text, "must be a string compatible with semver.org spec 2.0.0");
    }
    check_text(text, at, errors);
}

/// Semantic versioning 2.0.0.
fn is_version(text: &str) -> bool {
    let (text, build) = text.split_once('+').map_or((text, None), |(t, b)| (t, Some(b)));
    let (core, early) = text.split_once('-').map_or((text, None), |(c, e)| (c, Some(e)));
    let number = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) && (part.len() == 1 || !part.starts_with('0'))
    };
    let word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let early_part = |part: &str| word(part) && (!part.bytes().all(|b| b.is_ascii_digit()) || number(part));
    core.split('.').count() == 3
        && core.split('.').all(number)
        && early.is_none_or(|e| e.split('.').all(early_part))
        && build.is_none_or(|b| b.split('.').all(word))
}

/// How much of a shared capacity one request may take.
fn check_policy(policy: &Value, capacity: &Value, at: &Path<'_>, errors: &mut Errors) {
    let choices = policy.get("validValues").items();
    let range = policy.get("validRange").filter(|r| !r.is_null());
    let default = policy.get("default").filter(|d| !d.is_null());
    match (choices, range, default) {
        ([_, ..], Some(_), _) => {
            let detail = "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the \
                          same time";
            errors.forbidden(at, detail);
        }
        ([_, ..], None, None) => errors.required(&at.child("default"), "required when validValues is defined"),
        ([], Some(_), None) => errors.required(&at.child("default"), "required when validRange is defined"),
        ([_, ..], None, Some(default)) => {
            check_choices(choices, default, capacity, &at.child("validValues"), errors);
        }
        ([], Some(range), Some(default)) => check_range(range, default, capacity, &at.child("validRange"), errors),
        ([], None, _) => {}
    }
}

fn shown(value: &Value) -> String {
    quantity::canonical(value).unwrap_or_default()
}

fn check_choices(choices: &[Value], default: &Value, capacity: &Value, at: &Path<'_>, errors: &mut Errors) {
    let size = quantity::of;
    for (n, pair) in choices.windows(2).enumerate() {
        if size(&pair[0]) > size(&pair[1]) {
            errors.invalid(&at.index(n + 1), shown(&pair[1]), "values must be sorted in ascending order");
        }
    }
    collection::set(choices, CHOICES_MAX, at, errors, shown, |choice, at, errors| {
        if size(choice) > size(capacity) {
            let detail = format!("option is larger than capacity value: {}", shown(capacity));
            errors.invalid(at, shown(choice), detail);
        }
    });
    if !choices.iter().any(|c| size(c) == size(default)) {
        errors.invalid(at, shown(default), "default value is not valid according to the requestPolicy");
    }
}

fn check_range(range: &Value, default: &Value, capacity: &Value, at: &Path<'_>, errors: &mut Errors) {
    let size = quantity::of;
    let Some(min) = range.get("min").filter(|m| !m.is_null()) else {
        return errors.required(&at.child("min"), "required when validRange is defined");
    };
    if size(min) > size(capacity) {
        let detail = format!("min is larger than capacity value: {}", shown(capacity));
        errors.invalid(&at.child("min"), shown(min), detail);
    }
    if size(default) < size(min) {
        errors.invalid(&at.child("default"), shown(default), format!("default is less than min: {}", shown(min)));
    }
    let max = range.get("max").filter(|m| !m.is_null());
    if let Some(max) = max {
        if size(min) > size(max) {
            errors.invalid(&at.child("max"), shown(min), format!("min is larger than max: {}", shown(max)));
        }
        if size(max) > size(capacity) {
            let detail = format!("max is larger than capacity value: {}", shown(capacity));
            errors.invalid(&at.child("max"), shown(max), detail);
        }
        if size(default) > size(max) {
            errors.invalid(&at.child("default"), shown(default), format!("default is more than max: {}", shown(max)));
        }
    }
    let Some(step) = range.get("step").filter(|s| !s.is_null()) else { return };
    let at = at.child("step");
    let (Some(first), Some(width)) = (size(min), size(step)) else { return };
    if width.sign() <= 0 {
        return errors.invalid(&at, shown(step), "must be greater than zero");
    }
    let added = first.plus(width);
    if size(capacity).is_some_and(|c| added > c) {
        let detail = format!("one step {} is larger than capacity value: {}", added.to_text(), shown(capacity));
        errors.invalid(&at, shown(step), detail);
    }
    for value in [Some(default), max].into_iter().flatten() {
        let distance = size(value).map(|v| v.minus(first).value()).unwrap_or_default();
        if width.value() > 0 && distance % width.value() != 0 {
            let detail = format!("value is not a multiple of a given step ({}) from ({})", shown(step), shown(min));
            errors.invalid(&at, shown(value), detail);
        }
    }
}

#[cfg(test)]
mod tests {
    use gantry_machinery::value;

    use super::*;
    use crate::registry::strategy::Strategy;

    fn kind(resource: &str) -> &'static Plain {
        ALL.iter().find(|kind| kind.resource().gvr.resource == resource).unwrap()
    }

    fn causes(errors: Vec<gantry_machinery::status::FieldError>) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    fn claim() -> Value {
        value!({"metadata": {"name": "c", "namespace": "d"}, "spec": {"devices": {
            "requests": [
                {"name": "gpu", "exactly": {"deviceClassName": "gpu.example.com", "tolerations": [{"key": "a"}],
                    "selectors": [{"cel": {"expression": "device.driver == 'gpu.example.com'"}}]}},
                {"name": "any", "firstAvailable": [{"name": "big", "deviceClassName": "big"},
                    {"name": "all", "deviceClassName": "small", "allocationMode": "All"}]},
            ],
            "constraints": [{"requests": ["gpu", "any/big"], "matchAttribute": "gpu.example.com/numa"}],
            "config": [{"requests": ["gpu"], "opaque": {"driver": "gpu.example.com", "parameters": {"a": 1}}}],
        }}})
    }

    #[test]
    fn a_claim_asks_for_one_device_unless_it_says_more() {
        let claims = kind("resourceclaims");
        let mut claim = claim();
        claims.default(&mut claim);
        assert_eq!(causes(claims.validate(&claim)), Vec::<String>::new());
        let exactly = claim.array_at(&["spec", "devices", "requests"])[0].get("exactly").unwrap();
        assert_eq!((exactly.str_at(&["allocationMode"]), exactly.i64_at(&["count"])), (Some("ExactCount"), Some(1)));
        assert_eq!(exactly.array_at(&["tolerations"])[0].get("operator").text(), "Equal");
        let mut other = claim.clone();
        other.set(&["spec", "devices", "config"], value!([]));
        let fields: Vec<String> = claims.validate_update(&other, &claim, "").into_iter().map(|e| e.field).collect();
        assert_eq!(fields, ["spec"]);
    }

    #[test]
    fn a_claim_is_refused_with_the_field() {
        let claims = kind("resourceclaims");
        let mut claim = value!({"spec": {"devices": {
            "requests": [
                {"name": "a"},
                {"name": "a", "exactly": {"deviceClassName": "", "allocationMode": "All", "count": 2,
                    "selectors": [{}, {"cel": {"expression": "("}}]}},
            ],
            "constraints": [{"requests": ["b"]}],
            "config": [{}, {"opaque": {"driver": "x.example", "parameters": 1}}],
        }}});
        claims.default(&mut claim);
        assert_eq!(
            causes(claims.validate(&claim)),
            [
                "spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required",
                "spec.devices.requests[1].exactly.deviceClassName: Required value",
                "spec.devices.requests[1].exactly.selectors[0].cel: Required value",
                "spec.devices.requests[1].exactly.selectors[1].cel.expression: Invalid value: \"(\": compilation \
                 failed: ERROR: <input>:1:2: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', LITERAL, IDENTIFIER}",
                "spec.devices.requests[1].exactly.count: Invalid value: 2: must not be specified when allocationMode is \
                 'All'",
                "spec.devices.requests[1]: Duplicate value: \"a\"",
                "spec.devices.constraints[0].requests[0]: Invalid value: \"b\": must be the name of a request in the \
                 claim or the name of a request and a subrequest separated by '/'",
                "spec.devices.constraints[0]: Required value: exactly one of \"matchAttribute\" or \
                 \"distinctAttribute\" is required, but multiple fields are set",
                "spec.devices.config[0].opaque: Required value",
                "spec.devices.config[1].opaque.parameters: Invalid value: \"<value omitted>\": must be a valid JSON \
                 object",
            ]
        );
    }

    #[test]
    fn status_holds_together() {
        let claims = kind("resourceclaims");
        let mut old = claim();
        claims.default(&mut old);
        let mut new = old.clone();
        new.set(&["status"], value!({"reservedFor": [{"resource": "pods", "name": "p", "uid": "u"}]}));
        assert_eq!(
            causes(claims.validate_update(&new, &old, "status")),
            ["status.reservedFor: Forbidden: may not be specified when `allocated` is not set"]
        );
        let result = value!({"request": "gpu", "driver": "gpu.example.com", "pool": "n", "device": "gpu-0"});
        new.set(&["status", "allocation"], value!({"devices": {"results": [result]}}));
        new.set(&["status", "devices"], value!([{"driver": "gpu.example.com", "pool": "n", "device": "gpu-0"}]));
        assert_eq!(causes(claims.validate_update(&new, &old, "status")), Vec::<String>::new());
        assert_eq!(claims.row(&new, 0)[1], Value::from("allocated,reserved"));
        let mut freed = new.clone();
        freed.remove(&["status", "allocation"]);
        freed.remove(&["status", "reservedFor"]);
        claims.prepare_for_update(&mut freed, &new, "status");
        assert_eq!(freed.at(&["status", "devices"]), None);
        assert_eq!(causes(claims.validate_update(&freed, &new, "status")), Vec::<String>::new());
        let mut moved = new.clone();
        moved.set(&["status", "allocation", "nodeSelector"], value!({"nodeSelectorTerms": [{}]}));
        assert_eq!(claims.validate_update(&moved, &new, "status")[0].field, "status.allocation");
        let mut spec = new.clone();
        spec.set(&["spec"], value!({}));
        claims.prepare_for_update(&mut spec, &new, "status");
        assert_eq!(spec.get("spec"), new.get("spec"), "a write of status keeps the spec");
    }

    #[test]
    fn a_slice_says_where_its_devices_are() {
        let slices = kind("resourceslices");
        let mut slice = value!({"metadata": {"name": "s"}, "spec": {
            "driver": "gpu.example.com", "nodeName": "n1",
            "pool": {"name": "n1", "generation": 1, "resourceSliceCount": 1},
            "devices": [{"name": "gpu-0", "taints": [{"key": "a", "effect": "NoSchedule"}],
                "attributes": {"model": {"string": "x"}, "firmware": {"version": "1.0.0-rc.1+b"}},
                "capacity": {"memory": {"value": "80Gi"}}}],
        }});
        slices.default(&mut slice);
        assert_eq!(causes(slices.validate(&slice)), Vec::<String>::new());
        assert_eq!(slices.fields(&slice), [("spec.nodeName", "n1".into()), ("spec.driver", "gpu.example.com".into())]);
        let mut bad = slice.clone();
        bad.set(&["spec", "allNodes"], true);
        bad.set(&["spec", "nodeName"], "n2");
        let device = value!({"name": "gpu-0", "allNodes": true, "attributes": {"a/b": {}, "v": {"version": "1.0"}},
            "capacity": {"m": {"value": "1Gi", "requestPolicy": {"default": "1"}}}});
        bad.set(&["spec", "devices"], value!([device, {"name": "gpu-0"}]));
        let found = causes(slices.validate_update(&bad, &slice, ""));
        assert_eq!(
            found,
            [
                "spec.nodeName: Invalid value: \"n2\": field is immutable",
                "spec: Invalid value: \"{`nodeName`, `allNodes`}\": exactly one of `nodeName`, `nodeSelector`, \
                 `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set",
                "spec.devices[0].attributes[a/b]: Invalid value: \"\": exactly one value must be specified",
                "spec.devices[0].attributes[v].version: Invalid value: \"1.0\": must be a string compatible with \
                 semver.org spec 2.0.0",
                "spec.devices[0].capacity[m].requestPolicy: Forbidden: allowMultipleAllocations must be true",
                "spec.devices[0]: Invalid value: null: `nodeName`, `nodeSelector` and `allNodes` can only be set if \
                 `perDeviceNodeSelection` is set to true in the ResourceSlice spec",
                "spec.devices[1]: Duplicate value: \"gpu-0\"",
            ]
        );
        assert!(slices.generation_changed(&bad, &slice) && !slices.generation_changed(&slice, &slice));
    }

    #[test]
    fn a_class_keeps_what_was_accepted() {
        let classes = kind("deviceclasses");
        let old = value!({"metadata": {"name": "x"}, "spec": {"selectors": [{"cel": {"expression": "((("}}]}});
        assert_eq!(classes.validate(&old).len(), 1);
        let mut new = old.clone();
        new.set(&["spec", "extendedResourceName"], "cpu");
        let found: Vec<String> = classes.validate_update(&new, &old, "").into_iter().map(|e| e.field).collect();
        assert_eq!(found, ["spec.extendedResourceName"]);
    }
}
