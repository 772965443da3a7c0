//! `resource.k8s.io/v1beta1`: requests without `exactly`, and devices whose content stands in `basic`.

use gantry_machinery::value::{Object, Value};

use crate::registry::versions::Version;

const GROUP: &str = "resource.k8s.io";

/// The version of one resource, without a conversion.
pub(in crate::registry::kinds) const fn same(resource: &'static str) -> Version {
    Version::new(GROUP, "v1beta1", resource, (GROUP, "v1"))
}

/// ResourceClaims.
pub(in crate::registry::kinds) const fn claims() -> Version {
    same("resourceclaims").converted(
        |claim| each(claim, CLAIM_REQUESTS, nest_request),
        |claim| each(claim, CLAIM_REQUESTS, flatten_request),
    )
}

/// ResourceClaimTemplates.
pub(in crate::registry::kinds) const fn templates() -> Version {
    same("resourceclaimtemplates").converted(
        |template| each(template, TEMPLATE_REQUESTS, nest_request),
        |template| each(template, TEMPLATE_REQUESTS, flatten_request),
    )
}

/// ResourceSlices.
pub(in crate::registry::kinds) const fn slices() -> Version {
    same("resourceslices").converted(
        |slice| each(slice, DEVICES, |device| lift(device, "basic")),
        |slice| each(slice, DEVICES, |device| sink(device, "basic", |field| field != "name")),
    )
}

const CLAIM_REQUESTS: &[&str] = &["spec", "devices", "requests"];
const TEMPLATE_REQUESTS: &[&str] = &["spec", "spec", "devices", "requests"];
const DEVICES: &[&str] = &["spec", "devices"];

/// Changes each object of the list at `path`.
fn each(object: &mut Value, path: &[&str], change: fn(&mut Object)) {
    if let Some(Value::Array(items)) = object.at_mut(path) {
        items.iter_mut().filter_map(Value::as_object_mut).for_each(change);
    }
}

/// What asks for exactly these devices moves into `exactly`; a list of alternatives stays.
fn nest_request(request: &mut Object) {
    sink(request, "exactly", |field| !matches!(field, "name" | "firstAvailable" | "exactly"));
}

fn flatten_request(request: &mut Object) {
    lift(request, "exactly");
}

/// Moves the fields that `moves` into the object at `key`, if there are any.
fn sink(object: &mut Object, key: &'static str, moves: fn(&str) -> bool) {
    let mut inner = Object::new();
    object.fields_mut().retain_mut(|(field, value)| {
        let goes = moves(field);
        if goes {
            inner.push_unchecked(field.clone(), std::mem::take(value));
        }
        !goes
    });
    if !inner.is_empty() {
        object.insert(key, inner);
    }
}

/// Moves the fields of the object at `key` to where it stands.
fn lift(object: &mut Object, key: &str) {
    if let Some(Value::Object(inner)) = object.remove(key) {
        for (field, value) in inner {
            object.insert(field, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use gantry_machinery::value;

    use super::*;

    #[test]
    fn requests_and_devices_come_back_the_same() {
        let beta = value!({"spec": {"devices": {"requests": [
            {"name": "a", "deviceClassName": "gpu", "count": 2},
            {"name": "b", "firstAvailable": [{"name": "x", "deviceClassName": "gpu"}]},
        ]}}});
        let mut claim = beta.clone();
        each(&mut claim, CLAIM_REQUESTS, nest_request);
        assert_eq!(
            claim.at(CLAIM_REQUESTS),
            Some(&value!([
                {"name": "a", "exactly": {"deviceClassName": "gpu", "count": 2}},
                {"name": "b", "firstAvailable": [{"name": "x", "deviceClassName": "gpu"}]},
            ]))
        );
        each(&mut claim, CLAIM_REQUESTS, flatten_request);
        assert_eq!(claim, beta);

        let stable = value!({"spec": {"devices": [{"name": "d", "attributes": {"a": {"int": 1}}}]}});
        let mut slice = stable.clone();
        each(&mut slice, DEVICES, |device| sink(device, "basic", |field| field != "name"));
        assert_eq!(slice.at(DEVICES), Some(&value!([{"name": "d", "basic": {"attributes": {"a": {"int": 1}}}}])));
        each(&mut slice, DEVICES, |device| lift(device, "basic"));
        assert_eq!(slice, stable);
    }
}
