//! Devices (`resource.k8s.io`): what classes, claims and slices have in common, and the rules of claims.
//!
//! Numbers and texts are those of the API's own documentation ("Dynamic Resource Allocation", KEP-4381 and its followers).

use gantry_machinery::names;
use gantry_machinery::value::Value;

use super::labels::check_node_selector;
use super::view::Held;
use super::volume::check_csi_driver;
use super::{Errors, Path, collection, condition, expression, name, same};

/// The most requests, constraints, configurations, selectors or results of one claim.
pub const LIST_MAX: usize = 32;
const EXPRESSION_MAX: usize = 10 * 1024;
const PARAMETERS_MAX: usize = 10 * 1024;
const SUBREQUESTS_MAX: usize = 8;
const BINDING_CONDITIONS_MAX: usize = 4;
const CONSUMERS_MAX: usize = 256;
const EFFECTS: &[&str] = &["NoExecute", "NoSchedule", "None"];

/// A driver's name.
pub fn check_driver(driver: &str, at: &Path<'_>, errors: &mut Errors) {
    if driver.is_empty() {
        return errors.required(at, "");
    }
    check_csi_driver(driver, at, errors);
}

/// A pool's name: subdomains between slashes.
pub fn check_pool(pool: &str, at: &Path<'_>, errors: &mut Errors) {
    if pool.is_empty() {
        return errors.required(at, "");
    }
    if pool.len() > 253 {
        errors.too_long(at, 253);
    }
    for part in pool.split('/') {
        name::subdomain(part, at, errors);
    }
}

/// The name of an attribute or a capacity: an identifier, perhaps after a domain.
pub fn check_qualified(text: &str, at: &Path<'_>, errors: &mut Errors) {
    let identifier = |id: &str, errors: &mut Errors| {
        if id.len() > 32 {
            errors.too_long(at, 32);
        }
        for wrong in names::c_identifier(id) {
            errors.invalid(at, id, wrong);
        }
    };
    match text.split_once('/') {
        None => identifier(text, errors),
        Some((_, id)) if id.contains('/') => errors.invalid(at, text, "must not contain more than one slash"),
        Some((domain, id)) => {
            match domain {
                "" => errors.invalid(at, "", "the domain must not be empty"),
                domain => check_driver(domain, at, errors),
            }
            match id {
                "" => errors.invalid(at, "", "the name must not be empty"),
                id => identifier(id, errors),
            }
        }
    }
}

fn check_fully_qualified(text: &str, at: &Path<'_>, errors: &mut Errors) {
    check_qualified(text, at, errors);
    if !text.contains('/') {
        errors.invalid(at, text, "a fully qualified name must be a domain and a name separated by a slash");
    }
}

/// Selectors of devices. `stored`: they were accepted before and are not looked into again.
pub fn check_selectors(selectors: Option<&Value>, stored: bool, at: &Path<'_>, errors: &mut Errors) {
    collection::list(selectors.items(), LIST_MAX, at, errors, |selector, at, errors| {
        let Some(cel) = selector.get("cel").filter(|c| !c.is_null()) else {
            return errors.required(&at.child("cel"), "");
        };
        let text = cel.get("expression").text();
        let at = at.child("cel.expression");
        if stored {
        } else if text.len() > EXPRESSION_MAX {
            errors.too_long(&at, EXPRESSION_MAX);
        } else {
            expression::check_device_selector(text, &at, errors);
        }
    });
}

/// A driver's own configuration, which every configuration must have.
pub fn check_configuration(config: &Value, stored: bool, at: &Path<'_>, errors: &mut Errors) {
    let at = at.child("opaque");
    let Some(opaque) = config.get("opaque").filter(|o| !o.is_null()) else { return errors.required(&at, "") };
    check_driver(opaque.get("driver").text(), &at.child("driver"), errors);
    check_raw(opaque.get("parameters"), stored, PARAMETERS_MAX, &at.child("parameters"), errors);
}

/// Any JSON object of a bounded size.
fn check_raw(raw: Option<&Value>, stored: bool, max: usize, at: &Path<'_>, errors: &mut Errors) {
    match raw.filter(|r| !r.is_null()) {
        None => errors.required(at, ""),
        Some(raw) if !stored && gantry_machinery::codec::json::to_string(raw).len() > max => errors.too_long(at, max),
        Some(Value::Object(_)) => {}
        Some(_) => errors.invalid(at, "<value omitted>", "must be a valid JSON object"),
    }
}

/// A toleration, of a request or of a result.
fn check_tolerations(tolerations: Option<&Value>, at: &Path<'_>, errors: &mut Errors) {
    for (n, toleration) in tolerations.items().iter().enumerate() {
        let at = at.index(n);
        let (key, value) = (toleration.get("key").text(), toleration.get("value").text());
        if !key.is_empty() {
            name::qualified(key, &at.child("key"), errors);
        }
        match toleration.get("operator").text() {
            "Exists" if !value.is_empty() => {
                errors.invalid(&at.child("value"), value, "must be empty for operator `Exists`");
            }
            "Exists" => {}
            "Equal" => name::label_value(value, &at.child("value"), errors),
            operator => name::one_of(operator, &["Equal", "Exists"], &at.child("operator"), errors),
        }
        let effect = toleration.get("effect").text();
        if !effect.is_empty() {
            name::one_of(effect, EFFECTS, &at.child("effect"), errors);
        }
    }
}

/// A taint of a device.
pub fn check_taint(taint: &Value, at: &Path<'_>, errors: &mut Errors) {
    name::qualified(taint.get("key").text(), &at.child("key"), errors);
    name::label_value(taint.get("value").text(), &at.child("value"), errors);
    name::one_of(taint.get("effect").text(), EFFECTS, &at.child("effect"), errors);
}

/// The conditions that a driver sets before, or instead of, the binding of a pod.
pub fn check_binding_conditions(device: &Value, at: &Path<'_>, errors: &mut Errors) {
    const SUCCESS: &str = "bindingConditions";
    const FAILURE: &str = "bindingFailureConditions";
    let (success, failure) = (device.get(SUCCESS), device.get(FAILURE));
    for (field, list) in [(SUCCESS, success), (FAILURE, failure)] {
        collection::texts(list.items(), BINDING_CONDITIONS_MAX, &at.child(field), errors, name::qualified);
    }
    let failures = at.child(FAILURE);
    for (n, condition) in failure.items().iter().enumerate().filter(|(_, c)| success.items().contains(c)) {
        let detail = "bindingFailureConditions must not overlap with bindingConditions";
        errors.invalid(&failures.index(n), condition, detail);
    }
    let nothing = Value::Array(Vec::new());
    match (success.items(), failure.items()) {
        ([], [_, ..]) => {
            let detail = "bindingConditions are required to use bindingFailureConditions";
            errors.invalid(&at.child(SUCCESS), &nothing, detail);
        }
        ([_, ..], []) => {
            let detail = "bindingFailureConditions are required to use bindingConditions";
            errors.invalid(&failures, &nothing, detail);
        }
        _ => {}
    }
}

/// The spec of a claim, or of a template's claim.
pub fn check_claim_spec(spec: Option<&Value>, at: &Path<'_>, errors: &mut Errors) {
    let null = Value::Null;
    let devices = spec.and_then(|s| s.get("devices")).unwrap_or(&null);
    let at = at.child("devices");
    collection::named(devices.get("requests").items(), LIST_MAX, &at.child("requests"), errors, check_request);
    let constraints = devices.get("constraints").items();
    collection::list(constraints, LIST_MAX, &at.child("constraints"), errors, |constraint, at, errors| {
        check_references(constraint, devices, at, errors);
        let text = |field: &str| constraint.get(field).filter(|f| !f.is_null()).and_then(Value::as_str);
        match (text("matchAttribute"), text("distinctAttribute")) {
            (Some(attribute), _) => check_fully_qualified(attribute, &at.child("matchAttribute"), errors),
            (None, Some(attribute)) => check_fully_qualified(attribute, &at.child("distinctAttribute"), errors),
            (None, None) => {
                let detail = "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple \
                              fields are set";
                errors.required(at, detail);
            }
        }
    });
    let configs = devices.get("config").items();
    collection::list(configs, LIST_MAX, &at.child("config"), errors, |config, at, errors| {
        check_references(config, devices, at, errors);
        check_configuration(config, false, at, errors);
    });
}

fn check_request(request: &Value, at: &Path<'_>, errors: &mut Errors) {
    name::label(request.get("name").text(), &at.child("name"), errors);
    let exactly = request.get("exactly").filter(|e| !e.is_null());
    match (exactly, request.get("firstAvailable").items()) {
        (None, []) => errors.required(at, "exactly one of `exactly` or `firstAvailable` is required"),
        (Some(_), [_, ..]) => {
            let detail = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set";
            errors.invalid(at, None::<&str>, detail);
        }
        (Some(exactly), []) => check_devices_wanted(exactly, &at.child("exactly"), errors),
        (None, choices) => {
            let at = at.child("firstAvailable");
            collection::named(choices, SUBREQUESTS_MAX, &at, errors, |choice, at, errors| {
                name::label(choice.get("name").text(), &at.child("name"), errors);
                check_devices_wanted(choice, at, errors);
            });
        }
    }
}

/// Which devices, and how many: of a request, or of one of its alternatives.
fn check_devices_wanted(wanted: &Value, at: &Path<'_>, errors: &mut Errors) {
    let class_at = at.child("deviceClassName");
    match wanted.get("deviceClassName").text() {
        "" => errors.required(&class_at, ""),
        class => name::subdomain(class, &class_at, errors),
    }
    check_selectors(wanted.get("selectors"), false, &at.child("selectors"), errors);
    let count = wanted.get("count").number();
    match wanted.get("allocationMode").text() {
        "All" if count != 0 => {
            errors.invalid(&at.child("count"), count, "must not be specified when allocationMode is 'All'");
        }
        "ExactCount" if count <= 0 => errors.invalid(&at.child("count"), count, "must be greater than zero"),
        "All" | "ExactCount" => {}
        mode => errors.not_supported(&at.child("allocationMode"), mode, &["All", "ExactCount"]),
    }
    check_tolerations(wanted.get("tolerations"), &at.child("tolerations"), errors);
}

/// The requests that a constraint, a configuration or a result is about.
fn check_references(holder: &Value, devices: &Value, at: &Path<'_>, errors: &mut Errors) {
    let at = at.child("requests");
    collection::texts(holder.get("requests").items(), LIST_MAX, &at, errors, |reference, at, errors| {
        check_reference(reference, devices, at, errors);
    });
}

/// `request`, or `request/subrequest`, of this claim.
fn check_reference(reference: &str, devices: &Value, at: &Path<'_>, errors: &mut Errors) {
    const DETAIL: &str =
        "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
    if reference.split('/').count() > 2 {
        return errors.invalid(at, reference, DETAIL);
    }
    for part in reference.split('/') {
        name::label(part, at, errors);
    }
    let find = |items: &'_ [Value], name: &str| items.iter().position(|i| i.get("name").text() == name);
    let requests = devices.get("requests").items();
    let (request, choice) = reference.split_once('/').map_or((reference, None), |(r, c)| (r, Some(c)));
    let found = find(requests, request)
        .is_some_and(|n| choice.is_none_or(|choice| find(requests[n].get("firstAvailable").items(), choice).is_some()));
    if !found {
        errors.invalid(at, reference, DETAIL);
    }
}

/// What identifies an allocated device: driver, pool, device and share.
fn device_id(device: &Value) -> String {
    let part = |field: &str| device.get(field).text().to_owned();
    let id = [part("driver"), part("pool"), part("device")].join("/");
    match device.get("shareID").text() {
        "" => id,
        share => format!("{id}/{share}"),
    }
}

/// A change of a claim's status.
pub fn check_claim_status(new: &Value, old: &Value, errors: &mut Errors) {
    let null = Value::Null;
    let (status, was) = (new.get("status").unwrap_or(&null), old.get("status").unwrap_or(&null));
    let devices = new.at(&["spec", "devices"]).unwrap_or(&null);
    let at = Path::new("status");
    let consumers = status.get("reservedFor").items();
    let at_consumers = at.child("reservedFor");
    let uid = |consumer: &Value| consumer.get("uid").text().to_owned();
    collection::set(consumers, CONSUMERS_MAX, &at_consumers, errors, uid, |consumer, at, errors| {
        for field in ["resource", "name", "uid"] {
            if consumer.get(field).text().is_empty() {
                errors.required(&at.child(field), "");
            }
        }
    });
    let allocation = status.get("allocation").filter(|a| !a.is_null());
    let results = allocation.and_then(|a| a.at(&["devices", "results"])).items();
    let allocated: Vec<String> = results.iter().map(device_id).collect();
    let statuses = status.get("devices").items();
    collection::set(statuses, usize::MAX, &at.child("devices"), errors, device_id, |device, at, errors| {
        check_device_status(device, at, errors);
        let id = device_id(device);
        if !allocated.contains(&id) {
            errors.invalid(at, &id, "must be an allocated device in the claim");
        }
    });
    if !consumers.is_empty() {
        let deleted = !new.at(&["metadata", "deletionTimestamp"]).text().is_empty();
        let before = was.get("reservedFor").items();
        if allocation.is_none() {
            errors.forbidden(&at_consumers, "may not be specified when `allocated` is not set");
        } else if deleted && consumers.iter().any(|c| !before.contains(c)) {
            let detail = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
            errors.forbidden(&at_consumers, detail);
        }
    }
    let at = at.child("allocation");
    match (allocation, was.get("allocation").filter(|a| !a.is_null())) {
        (Some(now), Some(before)) => errors.immutable(&at, Some(now), Some(before)),
        (Some(now), None) => check_allocation(now, devices, &at, errors),
        _ => {}
    }
}

fn check_allocation(allocation: &Value, devices: &Value, at: &Path<'_>, errors: &mut Errors) {
    let null = Value::Null;
    let given = allocation.get("devices").unwrap_or(&null);
    let at_devices = at.child("devices");
    let results = at_devices.child("results");
    collection::list(given.get("results").items(), LIST_MAX, &results, errors, |result, at, errors| {
        check_reference(result.get("request").text(), devices, &at.child("request"), errors);
        check_driver(result.get("driver").text(), &at.child("driver"), errors);
        check_pool(result.get("pool").text(), &at.child("pool"), errors);
        name::label(result.get("device").text(), &at.child("device"), errors);
        check_binding_conditions(result, at, errors);
        check_tolerations(result.get("tolerations"), &at.child("tolerations"), errors);
        check_share(result, at, errors);
    });
    let configs = at_devices.child("config");
    collection::list(given.get("config").items(), 2 * LIST_MAX, &configs, errors, |config, at, errors| {
        let sources = &["FromClaim", "FromClass"];
        name::one_of(config.get("source").text(), sources, &at.child("source"), errors);
        check_references(config, devices, at, errors);
        check_configuration(config, false, at, errors);
    });
    if let Some(selector) = allocation.get("nodeSelector").filter(|s| !s.is_null()) {
        check_node_selector(selector, &at.child("nodeSelector"), errors);
    }
}

fn check_share(device: &Value, at: &Path<'_>, errors: &mut Errors) {
    let Some(share) = device.get("shareID").and_then(Value::as_str) else { return };
    let shaped = share.len() == 36
        && share.bytes().enumerate().all(|(n, b)| match n {
            8 | 13 | 18 | 23 => b == b'-',
            _ => matches!(b, b'0'..=b'9' | b'a'..=b'f'),
        });
    if !shaped {
        let detail = "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase \
                      hexadecimal characters";
        errors.invalid(&at.child("shareID"), share, detail);
    }
}

fn check_device_status(device: &Value, at: &Path<'_>, errors: &mut Errors) {
    check_driver(device.get("driver").text(), &at.child("driver"), errors);
    check_pool(device.get("pool").text(), &at.child("pool"), errors);
    name::label(device.get("device").text(), &at.child("device"), errors);
    check_share(device, at, errors);
    let conditions = device.get("conditions").items();
    if conditions.len() > 8 {
        errors.too_many(&at.child("conditions"), conditions.len(), 8);
    }
    condition::check_all(conditions, &at.child("conditions"), errors);
    if let Some(data) = device.get("data").filter(|d| !d.is_null()) {
        check_raw(Some(data), false, PARAMETERS_MAX, &at.child("data"), errors);
    }
    let Some(network) = device.get("networkData") else { return };
    let at = at.child("networkData");
    for (field, max) in [("interfaceName", 256), ("hardwareAddress", 128)] {
        if network.get(field).text().len() > max {
            errors.too_long(&at.child(field), max);
        }
    }
    collection::texts(network.get("ips").items(), 16, &at.child("ips"), errors, |address, at, errors| {
        if name::cidr_family(address).is_none() {
            let detail = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)";
            errors.invalid(at, address, detail);
        }
    });
}

/// A device's status ends with its allocation: drops from `new` what `old` had allocated and `new` has not.
pub fn drop_deallocated(new: &mut Value, old: &Value) {
    let allocated = |claim: &Value| -> Vec<String> {
        claim.at(&["status", "allocation", "devices", "results"]).items().iter().map(device_id).collect()
    };
    let (now, before) = (allocated(new), allocated(old));
    let Some(devices) = new.at_mut(&["status", "devices"]).and_then(Value::as_array_mut) else { return };
    devices.retain(|device| {
        let id = device_id(device);
        now.contains(&id) || !before.contains(&id)
    });
    if devices.is_empty() {
        new.remove(&["status", "devices"]);
    }
}

/// Whether two lists (of selectors, of configurations) are the same, so that what was accepted stays accepted.
#[must_use]
pub fn unchanged(new: &Value, old: Option<&Value>, field: &str) -> bool {
    old.is_some_and(|old| same(new.at(&["spec", field]), old.at(&["spec", field])))
}
