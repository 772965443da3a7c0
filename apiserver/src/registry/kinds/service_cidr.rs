//! The address space of Services (`networking.k8s.io`): ServiceCIDRs, and one IPAddress for each address in use.
//!
//! [`crate::registry::addresses`] writes the IPAddress of a Service in the Service's own transaction; an address that
//! somebody else has taken by creating an IPAddress is never given out. Services get addresses from the range that the
//! server was started with, which the ServiceCIDR `kubernetes` describes; further ServiceCIDRs are kept and say so.

use gantry_machinery::names;
use gantry_machinery::value::Value;

use super::cells::{age_cell, name_cell};
use super::plain::Plain;
use crate::registry::strategy::Column;
use crate::registry::validate::view::Held;
use crate::registry::validate::{Errors, Path, condition, name};

/// The ServiceCIDR of the range that the server was started with.
pub const DEFAULT: &str = "kubernetes";

/// The kinds.
pub(super) static ALL: [Plain; 2] = [
    Plain::new(
        "networking.k8s.io",
        "servicecidrs",
        const { &[Column::name(), Column::string("CIDRs"), Column::string("Age")] },
        |range, now| {
            let blocks: Vec<&str> = range.array_at(&["spec", "cidrs"]).iter().filter_map(Value::as_str).collect();
            vec![name_cell(range), Value::from(blocks.join(",")), age_cell(range, now)]
        },
    )
    .with(|_| {}, |range, errors| check_blocks(range.array_at(&["spec", "cidrs"]), errors))
    .changing(|new, old, subresource, errors| match subresource {
        "status" => {
            condition::check_all(new.array_at(&["status", "conditions"]), &Path::new("status.conditions"), errors);
        }
        _ => check_block_change(new, old, errors),
    })
    .warning(|range, old| match old {
        None if range.at(&["metadata", "name"]).text() != DEFAULT => {
            vec!["this server gives Services addresses from --service-cluster-ip-range only".to_owned()]
        }
        _ => Vec::new(),
    }),
    Plain::new(
        "networking.k8s.io",
        "ipaddresses",
        const { &[Column::name(), Column::string("ParentRef"), Column::string("Age")] },
        |address, now| {
            vec![name_cell(address), Value::from(parent(address.at(&["spec", "parentRef"]))), age_cell(address, now)]
        },
    )
    .with(|_| {}, check_address)
    .changing(|new, old, _, errors| {
        let path = ["spec", "parentRef"];
        errors.immutable(&Path::new("spec.parentRef"), new.at(&path), old.at(&path));
    })
    .named(|name, _| {
        // The canonical form alone: one address, one name.
        match name.parse::<std::net::IpAddr>() {
            Ok(address) if address.to_string() == name => Vec::new(),
            Ok(address) => vec![format!("must be in canonical form (\"{address}\")")],
            Err(_) => vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()],
        }
    }),
];

/// `services/default/kubernetes`
fn parent(reference: Option<&Value>) -> String {
    let Some(reference) = reference.filter(|r| !r.is_null()) else { return "<none>".to_owned() };
    let part = |field: &str| reference.get(field).text();
    let mut text = part("resource").to_owned();
    for (separator, part) in [('.', part("group")), ('/', part("namespace")), ('/', part("name"))] {
        if !part.is_empty() {
            text.push(separator);
            text.push_str(part);
        }
    }
    text
}

fn check_blocks(blocks: &[Value], errors: &mut Errors) {
    let at = Path::new("spec.cidrs");
    // Upstream shows the spec.
    let shown = || gantry_machinery::value!({"cidrs": (Value::Array(blocks.to_vec()))});
    match blocks.len() {
        0 => return errors.required(&at, "at least one CIDR required"),
        1 | 2 => {}
        _ => return errors.invalid(&at, shown(), "may only hold up to 2 values"),
    }
    let families: Vec<bool> = blocks.iter().filter_map(|b| name::cidr_family(Some(b).text())).collect();
    if blocks.len() == 2 && !matches!(families.as_slice(), [one, other] if one != other) {
        let detail = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        return errors.invalid(&at, shown(), detail);
    }
    for (n, block) in blocks.iter().enumerate() {
        name::cidr(Some(block).text(), &at.index(n), errors);
    }
}

fn check_block_change(new: &Value, old: &Value, errors: &mut Errors) {
    const FIXED: &str = "field is immutable";
    let (now, before) = (new.array_at(&["spec", "cidrs"]), old.array_at(&["spec", "cidrs"]));
    let at = Path::new("spec.cidrs");
    // A second family may join the first.
    let joins = (before.len(), now.len()) == (1, 2);
    if now.len() != before.len() && !joins {
        return errors.invalid(&at, new.at(&["spec", "cidrs"]), FIXED);
    }
    for (n, (block, _)) in now.iter().zip(before).enumerate().filter(|(_, (now, before))| now != before) {
        errors.invalid(&at.index(n), block, FIXED);
    }
    if joins {
        check_blocks(now, errors);
    }
}

fn check_address(address: &Value, errors: &mut Errors) {
    let at = Path::new("spec.parentRef");
    let Some(reference) = address.at(&["spec", "parentRef"]).filter(|r| !r.is_null()) else {
        return errors.required(&at, "");
    };
    match reference.get("group").text() {
        "" => {}
        group => name::subdomain(group, &at.child("group"), errors),
    }
    for (field, required) in [("resource", true), ("name", true), ("namespace", false)] {
        let (at, text) = (at.child(field), reference.get(field).text());
        if text.is_empty() && required {
            errors.required(&at, "");
        } else if !text.is_empty() {
            for wrong in names::path_segment(text, false) {
                errors.invalid(&at, text, wrong);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use gantry_machinery::value;

    use super::*;
    use crate::registry::strategy::Strategy;

    fn causes(errors: Vec<gantry_machinery::status::FieldError>) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_range_grows_by_a_family_and_otherwise_stays() {
        let [ranges, _] = &ALL;
        let range = |blocks: Value| value!({"metadata": {"name": "r"}, "spec": {"cidrs": blocks}});
        let old = range(value!(["10.1.0.0/16"]));
        assert!(ranges.validate(&old).is_empty());
        assert!(ranges.validate_update(&range(value!(["10.1.0.0/16", "fd00::/112"])), &old, "").is_empty());
        assert_eq!(
            causes(ranges.validate_update(&range(value!(["10.2.0.0/16"])), &old, "")),
            ["spec.cidrs[0]: Invalid value: \"10.2.0.0/16\": field is immutable"]
        );
        assert_eq!(
            causes(ranges.validate(&range(value!([])))),
            ["spec.cidrs: Required value: at least one CIDR required"]
        );
        assert_eq!(ranges.validate(&range(value!(["10.0.0.0/8", "11.0.0.0/8"])))[0].field, "spec.cidrs");
        assert_eq!(ranges.warnings(&old, None).len(), 1);
    }

    #[test]
    fn an_address_is_named_by_itself_and_belongs_to_somebody() {
        let [_, addresses] = &ALL;
        assert!(
            addresses.name_errors("10.1.2.3", false).is_empty() && addresses.name_errors("fd00::1", false).is_empty()
        );
        assert_eq!(addresses.name_errors("010.1.2.3", false).len(), 1);
        assert_eq!(addresses.name_errors("FD00::1", false), ["must be in canonical form (\"fd00::1\")"]);
        assert_eq!(causes(addresses.validate(&value!({"spec": {}}))), ["spec.parentRef: Required value"]);
        let good = value!({"metadata": {"name": "10.1.2.3"},
            "spec": {"parentRef": {"resource": "services", "namespace": "d", "name": "s"}}});
        assert_eq!(causes(addresses.validate(&good)), Vec::<String>::new());
        assert_eq!(addresses.row(&good, 0)[1], Value::from("services/d/s"));
    }
}
