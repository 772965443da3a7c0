//! What is counted of ResourceClaims, under upstream's names (`resourceclaim_controller_*`): those that were made, and
//! those that are there. The latter are counted when somebody asks.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use gantry_machinery::value::Value;
use gantry_scheduler_core::devices::extended::ANNOTATION;

use super::POD_CLAIM;

/// Attempts to make claims: by success, by whether they ask for admin access.
#[derive(Debug, Default)]
pub(super) struct Creations([[AtomicU64; 2]; 2]);

impl Creations {
    pub(super) fn count(&self, success: bool, is_admin: bool) {
        self.0[usize::from(success)][usize::from(is_admin)].fetch_add(1, Relaxed);
    }

    pub(super) fn write(&self, out: &mut String) {
        let name = "resourceclaim_controller_creates_total";
        let _ =
            writeln!(out, "# HELP {name} [ALPHA] Claims asked for, by whether they were made.\n# TYPE {name} counter");
        for (status, by_access) in ["failure", "success"].iter().zip(&self.0) {
            for (is_admin, count) in [false, true].iter().zip(by_access) {
                let count = count.load(Relaxed);
                if count > 0 {
                    let _ = writeln!(out, "{name}{{admin_access=\"{is_admin}\",status=\"{status}\"}} {count}");
                }
            }
        }
    }
}

/// Appends how many claims there are, by what they are for and whether they have devices.
pub(super) fn write_standing(out: &mut String, claims: impl Iterator<Item = Value>) {
    let mut counts: BTreeMap<(bool, bool, &str), u64> = BTreeMap::new();
    for claim in claims {
        let is_allocated = claim.at(&["status", "allocation"]).is_some_and(|allocation| *allocation != Value::Null);
        *counts.entry((has_admin_access(&claim), is_allocated, source(&claim))).or_default() += 1;
    }
    let name = "resourceclaim_controller_resource_claims";
    let _ = writeln!(out, "# HELP {name} [ALPHA] Claims there are, by their devices and origin.\n# TYPE {name} gauge");
    for ((is_admin, is_allocated, source), count) in counts {
        let labels = format!("admin_access=\"{is_admin}\",allocated=\"{is_allocated}\",source=\"{source}\"");
        let _ = writeln!(out, "{name}{{{labels}}} {count}");
    }
}

/// Whether any request of a claim asks for admin access; alternatives cannot.
pub(super) fn has_admin_access(claim: &Value) -> bool {
    let requests = claim.array_at(&["spec", "devices", "requests"]);
    requests.iter().any(|request| request.at(&["exactly", "adminAccess"]) == Some(&Value::Bool(true)))
}

/// Upstream's word for who made a claim; none for a person.
fn source(claim: &Value) -> &'static str {
    let annotation = |name: &str| claim.str_at(&["metadata", "annotations", name]);
    if annotation(POD_CLAIM).is_some() {
        "resource_claim_template"
    } else if annotation(ANNOTATION) == Some("true") {
        "extended_resource"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use gantry_machinery::value;

    use super::*;

    #[test]
    fn claims_are_counted_by_devices_access_and_origin() {
        let by_hand = || {
            value!({"metadata": {"name": "a"}, "spec": {"devices": {"requests": [
            {"name": "r", "exactly": {"deviceClassName": "c", "adminAccess": true}}]}}})
        };
        let mut allocated = by_hand();
        allocated.set(&["status", "allocation"], value!({"devices": {}}));
        let mut made = value!({"metadata": {"name": "b"}});
        made.set(&["metadata", "annotations", POD_CLAIM], Value::from("gpu"));
        let mut implied = value!({"metadata": {"name": "c"}});
        implied.set(&["metadata", "annotations", ANNOTATION], Value::from("true"));
        let mut text = String::new();
        write_standing(&mut text, [by_hand(), allocated, made, implied, by_hand()].into_iter());
        let creations = Creations::default();
        [(true, false), (true, false), (false, true)].iter().for_each(|(ok, admin)| creations.count(*ok, *admin));
        creations.write(&mut text);
        let claims = "resourceclaim_controller_resource_claims";
        let creates = "resourceclaim_controller_creates_total";
        for line in [
            format!("{claims}{{admin_access=\"true\",allocated=\"false\",source=\"\"}} 2"),
            format!("{claims}{{admin_access=\"true\",allocated=\"true\",source=\"\"}} 1"),
            format!("{claims}{{admin_access=\"false\",allocated=\"false\",source=\"resource_claim_template\"}} 1"),
            format!("{claims}{{admin_access=\"false\",allocated=\"false\",source=\"extended_resource\"}} 1"),
            format!("{creates}{{admin_access=\"false\",status=\"success\"}} 2"),
            format!("{creates}{{admin_access=\"true\",status=\"failure\"}} 1"),
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\nin\n{text}");
        }
    }
}
