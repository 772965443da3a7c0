//! What a definition's status says: the names it was given, and whether it is established. Names of one group are first
//! come, first served; a definition whose names are taken waits until they are free.
//!
//! ```text
//!  created ─ names free ─▶ NamesAccepted, Established=False (Installing) ─ rows in place ─▶ Established
//!     └──── a name taken ─▶ NamesAccepted=False (PluralConflict, …) ─ name freed ─▲
//! ```

use std::collections::HashSet;

use gantry_machinery::value::Value;

use super::conditions;

/// The annotation that groups of the project itself need.
pub(crate) const API_APPROVED: &str = "api-approved.kubernetes.io";

/// Names that other definitions of a group have.
pub(crate) struct Claimed {
    resources: HashSet<String>,
    kinds: HashSet<String>,
}

impl Claimed {
    /// The accepted names of these definitions, as far as they are of the group.
    pub(crate) fn by<'v>(others: impl Iterator<Item = &'v Value>, group: &str) -> Self {
        let mut claimed = Self { resources: HashSet::new(), kinds: HashSet::new() };
        for other in others.filter(|other| other.str_at(&["spec", "group"]) == Some(group)) {
            let Some(names) = other.at(&["status", "acceptedNames"]) else { continue };
            let text = |field: &str| names.str_at(&[field]).filter(|t| !t.is_empty()).map(ToOwned::to_owned);
            claimed.resources.extend(["plural", "singular"].into_iter().filter_map(text));
            claimed.resources.extend(names.array_at(&["shortNames"]).iter().filter_map(Value::as_str).map(Into::into));
            claimed.kinds.extend(["kind", "listKind"].into_iter().filter_map(text));
        }
        claimed
    }
}

/// The definition with the status that is due; `None` if it has it. `compiled`: whether it can be served.
pub(crate) fn settled(definition: &Value, claimed: &Claimed, compiled: bool) -> Option<Value> {
    let mut new = definition.clone();
    let wanted = definition.at(&["spec", "names"]).cloned().unwrap_or_else(Value::object);
    let mut accepted = definition.at(&["status", "acceptedNames"]).cloned().unwrap_or_else(Value::object);
    let mut conflict = None;
    for (field, among, reason) in [
        ("plural", &claimed.resources, "PluralConflict"),
        ("singular", &claimed.resources, "SingularConflict"),
        ("kind", &claimed.kinds, "KindConflict"),
        ("listKind", &claimed.kinds, "ListKindConflict"),
    ] {
        let name = wanted.str_at(&[field]).unwrap_or_default();
        if accepted.str_at(&[field]) != Some(name) && among.contains(name) {
            conflict = Some((reason, format!("{name:?} is already in use")));
        } else {
            accepted.set(&[field], name);
        }
        if field == "singular" {
            conflict = short_names(&wanted, &mut accepted, claimed).or(conflict);
        }
    }
    copy(&wanted, &mut accepted, "categories");
    new.set(&["status", "acceptedNames"], accepted);
    match &conflict {
        Some((reason, message)) => conditions::set(&mut new, "NamesAccepted", "False", reason, message),
        None => conditions::set(&mut new, "NamesAccepted", "True", "NoConflicts", "no conflicts found"),
    }
    if !conditions::is_true(definition, "Established") {
        let installing = conditions::is_true(definition, "NamesAccepted");
        match (&conflict, installing && compiled) {
            (Some(_), _) => {
                conditions::set(&mut new, "Established", "False", "NotAccepted", "not all names are accepted");
            }
            (None, true) => conditions::set(
                &mut new,
                "Established",
                "True",
                "InitialNamesAccepted",
                "the initial names have been accepted",
            ),
            (None, false) => {
                conditions::set(&mut new, "Established", "False", "Installing", "the initial names have been accepted")
            }
        }
    }
    approve(&mut new);
    (new != *definition).then_some(new)
}

fn short_names(wanted: &Value, accepted: &mut Value, claimed: &Claimed) -> Option<(&'static str, String)> {
    let of = |value: &Value| value.get("shortNames").cloned().unwrap_or_default();
    if of(wanted) == of(accepted) {
        return None;
    }
    let had = of(accepted);
    let had = had.as_array().unwrap_or_default();
    let taken: Vec<String> = wanted
        .array_at(&["shortNames"])
        .iter()
        .filter(|name| !had.contains(name))
        .filter_map(Value::as_str)
        .filter(|name| claimed.resources.contains(*name))
        .map(|name| format!("{name:?} is already in use"))
        .collect();
    if taken.is_empty() {
        copy(wanted, accepted, "shortNames");
        return None;
    }
    let message = if taken.len() == 1 { taken[0].clone() } else { format!("[{}]", taken.join(", ")) };
    Some(("ShortNamesConflict", message))
}

fn copy(from: &Value, to: &mut Value, field: &str) {
    match from.get(field) {
        Some(value) => to.set(&[field], value.clone()),
        None => drop(to.remove(&[field])),
    }
}

/// Whether a group belongs to the project, so that definitions in it need its approval.
pub(crate) fn is_protected(group: &str) -> bool {
    ["k8s.io", "kubernetes.io"].iter().any(|own| group == *own || group.ends_with(&format!(".{own}")))
}

/// What the annotation of approval comes to: a URL approves, a text that begins with `unapproved` is at least honest.
pub(crate) enum Approval {
    Missing,
    Bypassed,
    Approved,
    Invalid,
}

/// The approval of a definition in a protected group.
pub(crate) fn approval(definition: &Value) -> Approval {
    match definition.str_at(&["metadata", "annotations", API_APPROVED]).unwrap_or_default() {
        "" => Approval::Missing,
        text if text.starts_with("unapproved") => Approval::Bypassed,
        text if text.split_once("://").is_some_and(|(scheme, host)| !scheme.is_empty() && !host.is_empty()) => {
            Approval::Approved
        }
        _ => Approval::Invalid,
    }
}

fn approve(definition: &mut Value) {
    const KIND: &str = "KubernetesAPIApprovalPolicyConformant";
    if !is_protected(definition.str_at(&["spec", "group"]).unwrap_or_default()) {
        conditions::remove(definition, KIND);
        return;
    }
    let text = definition.str_at(&["metadata", "annotations", API_APPROVED]).unwrap_or_default().to_owned();
    let (status, reason, message) = match approval(definition) {
        Approval::Approved => ("True", "ApprovedAnnotation", format!("approved in {text}")),
        Approval::Bypassed => ("False", "UnapprovedAnnotation", format!("not approved: {text:?}")),
        Approval::Missing => (
            "False",
            "MissingAnnotation",
            format!(
                "protected groups must have approval annotation {API_APPROVED:?}, see \
                 https://github.com/kubernetes/enhancements/pull/1111"
            ),
        ),
        Approval::Invalid => (
            "False",
            "InvalidAnnotation",
            format!(
                "protected groups must have approval annotation {API_APPROVED:?} with either a URL or a reason starting \
                 with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111"
            ),
        ),
    };
    conditions::set(definition, KIND, status, reason, &message);
}

#[cfg(test)]
mod tests {
    use gantry_machinery::value;

    use super::*;

    fn definition(plural: &str, kind: &str, short: &str) -> Value {
        let list = format!("{kind}List");
        value!({
            "metadata": {"name": (format!("{plural}.example.com"))},
            "spec": {"group": "example.com", "names": {
                "plural": plural, "singular": plural, "kind": kind, "listKind": list, "shortNames": [short],
            }},
        })
    }

    fn condition<'v>(definition: &'v Value, kind: &str) -> (&'v str, &'v str) {
        let found = definition.array_at(&["status", "conditions"]).iter().find(|c| c.str_at(&["type"]) == Some(kind));
        let found = found.expect("the condition is there");
        (found.str_at(&["status"]).unwrap(), found.str_at(&["reason"]).unwrap())
    }

    #[test]
    fn names_are_accepted_and_then_the_definition_is_established() {
        let nobody = Claimed::by(std::iter::empty(), "example.com");
        let first = settled(&definition("a", "A", "x"), &nobody, true).expect("names are new");
        assert_eq!(condition(&first, "NamesAccepted"), ("True", "NoConflicts"));
        assert_eq!(condition(&first, "Established"), ("False", "Installing"));
        assert_eq!(first.at(&["status", "acceptedNames"]), first.at(&["spec", "names"]));
        let second = settled(&first, &nobody, true).expect("it is served now");
        assert_eq!(condition(&second, "Established"), ("True", "InitialNamesAccepted"));
        assert!(settled(&second, &nobody, true).is_none());
    }

    #[test]
    fn names_that_are_taken_are_waited_for() {
        let nobody = Claimed::by(std::iter::empty(), "example.com");
        let first = settled(&definition("a", "A", "x"), &nobody, true).unwrap();
        let second = definition("b", "A", "x");
        let claimed = Claimed::by([&first].into_iter(), "example.com");
        let waiting = settled(&second, &claimed, true).unwrap();
        assert_eq!(condition(&waiting, "NamesAccepted"), ("False", "ListKindConflict"));
        assert_eq!(condition(&waiting, "Established"), ("False", "NotAccepted"));
        assert_eq!(waiting.str_at(&["status", "acceptedNames", "plural"]), Some("b"));
        assert!(waiting.at(&["status", "acceptedNames", "kind"]).is_none());
        assert!(settled(&waiting, &claimed, true).is_none(), "nothing changed");
        let freed = settled(&waiting, &nobody, true).unwrap();
        assert_eq!(condition(&freed, "NamesAccepted"), ("True", "NoConflicts"));
        let elsewhere = Claimed::by([&first].into_iter(), "example.org");
        assert_eq!(condition(&settled(&second, &elsewhere, true).unwrap(), "NamesAccepted").0, "True");
    }
}
