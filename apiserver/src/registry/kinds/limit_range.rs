//! LimitRange: bounds and defaults for what is made in a namespace.

use compact_str::CompactString;
use gantry_machinery::value::{Object, Value};

use super::pod::defaults::resource_list;
use super::row;
use crate::registry::strategy::Strategy;
use crate::registry::validate::view::Held;
use crate::registry::validate::{Errors, Path, name, quantity, resources};

/// LimitRanges of the core group.
#[derive(Debug)]
pub struct LimitRanges;

const LISTS: [&str; 5] = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];

impl Strategy for LimitRanges {
    row!("", "v1", "limitranges");

    fn default(&self, range: &mut Value) {
        let limits = range.at_mut(&["spec", "limits"]).and_then(Value::as_array_mut);
        for limit in limits.into_iter().flatten().filter_map(Value::as_object_mut) {
            for list in LISTS {
                if let Some(list) = limit.get_mut(list).and_then(Value::as_object_mut) {
                    resource_list(list);
                }
            }
            if limit.get("type").text() == "Container" {
                spread(limit, "max", "default");
                spread(limit, "default", "defaultRequest");
                spread(limit, "min", "defaultRequest");
            }
        }
    }

    fn check(&self, range: &Value, errors: &mut Errors) {
        let top = Path::new("spec.limits");
        let limits = range.array_at(&["spec", "limits"]);
        for (n, limit) in limits.iter().enumerate() {
            let at = top.index(n);
            let kind = limit.get("type").text();
            let before = errors.len();
            name::qualified(kind, &at.child("type"), errors);
            let standard = matches!(kind, "Pod" | "Container" | "PersistentVolumeClaim");
            if errors.len() == before && !kind.contains('/') && !standard {
                errors.invalid(&at.child("type"), kind, "must be a standard limit type or fully qualified");
            }
            if limits[..n].iter().any(|l| l.get("type").text() == kind) {
                errors.duplicate(&at.child("type"), kind);
            }
            check_lists(limit, kind, &at, errors);
            check_order(limit, &at, errors);
            check_ratios(limit, &at, errors);
        }
    }

    fn create_on_update(&self) -> bool {
        true
    }
}

/// Fills what `to` lacks from `from`.
fn spread(limit: &mut Object, from: &str, to: &'static str) {
    let add: Vec<(CompactString, Value)> = limit
        .get(from)
        .object()
        .into_iter()
        .flat_map(Object::iter)
        .filter(|(key, _)| limit.get(to).is_none_or(|t| t.get(key).is_none()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if !add.is_empty() {
        let to = limit.object_entry(to);
        for (key, value) in add {
            to.push_unchecked(key, value);
        }
    }
}

fn check_lists(limit: &Value, kind: &str, at: &Path<'_>, errors: &mut Errors) {
    for list in LISTS {
        let list_at = at.child(list);
        if kind == "Pod" && matches!(list, "default" | "defaultRequest") {
            if limit.get(list).entries().next().is_some() {
                errors.forbidden(&list_at, "may not be specified when `type` is 'Pod'");
            }
            continue;
        }
        for (resource, _) in limit.get(list).entries() {
            if matches!(kind, "Pod" | "Container") {
                resources::check_container_name(resource, &list_at.key(resource), errors);
            } else {
                resources::check_name(resource, &list_at.key(resource), errors);
            }
        }
    }
    if kind == "PersistentVolumeClaim" && ["min", "max"].iter().all(|l| limit.at(&[l, "storage"]).is_none()) {
        let detail = "either minimum or maximum storage value is required, but neither was provided";
        errors.required(&at.child("limits"), detail);
    }
}

/// min ≤ defaultRequest ≤ default ≤ max, for every resource that two of them name.
fn check_order(limit: &Value, at: &Path<'_>, errors: &mut Errors) {
    const WORDS: [(&str, &str, &str, &str, &str); 6] = [
        ("min", "max", "min", "min", "max"),
        ("min", "defaultRequest", "defaultRequest", "min", "default request"),
        ("defaultRequest", "max", "defaultRequest", "default request", "max"),
        ("defaultRequest", "default", "defaultRequest", "default request", "default limit"),
        ("min", "default", "default", "min", "default"),
        ("default", "max", "default", "default", "max"),
    ];
    let of_pods = limit.get("type").text() == "Pod";
    for (low, high, field, low_word, high_word) in WORDS {
        if of_pods && field != "min" {
            continue;
        }
        let field_at = at.child(field);
        for (resource, value) in limit.get(low).entries() {
            let Some(bound) = limit.at(&[high, resource]) else { continue };
            if quantity::of(value) > quantity::of(bound) {
                let [value, bound] = [value, bound].map(|v| quantity::canonical(v).unwrap_or_default());
                // Of a wrong default upstream shows what it is compared with.
                let shown = if (field == low) == (field != "default") { value.clone() } else { bound.clone() };
                let detail = format!("{low_word} value {value} is greater than {high_word} value {bound}");
                errors.invalid(&field_at.key(resource), shown, detail);
            }
        }
    }
}

/// Ratios are of at least one, and not beyond what the bounds allow anyway.
fn check_ratios(limit: &Value, at: &Path<'_>, errors: &mut Errors) {
    let at_ratio = at.child("maxLimitRequestRatio");
    for (resource, ratio) in limit.get("maxLimitRequestRatio").entries() {
        let at = at_ratio.key(resource);
        let shown = quantity::canonical(ratio).unwrap_or_default();
        let milli = |value: Option<&Value>| value.and_then(quantity::of).map(|q| q.milli_value());
        let Some(ratio) = milli(Some(ratio)) else { continue };
        if ratio < 1000 {
            errors.invalid(&at, shown.clone(), format!("ratio {shown} is less than 1"));
        }
        if let (Some(min), Some(max)) = (milli(limit.at(&["min", resource])), milli(limit.at(&["max", resource]))) {
            // Floating point as upstream's, whose digits the message shows.
            #[expect(clippy::cast_precision_loss, reason = "the message shows six digits")]
            let (ratio, bound) = (ratio as f64 / 1000.0, max as f64 / min as f64);
            if ratio > bound {
                errors.invalid(&at, shown.clone(), format!("ratio {shown} is greater than max/min = {bound:.6}"));
            }
        }
    }
    for (resource, wanted) in limit.get("defaultRequest").entries() {
        let Some(most) = limit.at(&["default", resource]) else { continue };
        if limit.get("type").text() != "Pod"
            && !resources::may_overcommit(resource)
            && quantity::of(wanted) != quantity::of(most)
        {
            let [wanted, most] = [wanted, most].map(|v| quantity::canonical(v).unwrap_or_default());
            let detail = format!("default value {most} must equal to defaultRequest value {wanted} in {resource}");
            errors.invalid(&at.child("defaultRequest").key(resource), wanted, detail);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_machinery::value;

    #[test]
    fn containers_get_defaults_from_bounds() {
        let mut range = value!({"spec": {"limits": [
            {"type": "Container", "max": {"cpu": "1"}, "min": {"memory": "1Gi"}}]}});
        LimitRanges.default(&mut range);
        let limit = &range.array_at(&["spec", "limits"])[0];
        assert_eq!(limit.get("default"), Some(&value!({"cpu": "1"})));
        assert_eq!(limit.get("defaultRequest"), Some(&value!({"cpu": "1", "memory": "1Gi"})));
        assert!(LimitRanges.validate(&range).is_empty());
    }

    #[test]
    fn bounds_are_in_order() {
        let range = value!({"spec": {"limits": [{"type": "Pod", "max": {"cpu": "1"}, "min": {"cpu": "2"}}]}});
        let found: Vec<String> = LimitRanges.validate(&range).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1"]);
    }
}
