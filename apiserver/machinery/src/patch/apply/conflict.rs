//! What a refused apply says: who owns the fields it would change.

use std::fmt::Write;

use super::managers::{Entry, Operation};
use super::set;
use crate::status::{Cause, Details, Status};
use crate::value::Object;

/// Fields that another manager owns and the apply would change.
pub(super) struct Conflict {
    /// The other's entry, without fields of interest.
    pub(super) who: String,
    /// The fields.
    pub(super) fields: Object,
}

/// A manager as conflicts name it: `"kubectl-client-side-apply" using apps/v1`.
pub(super) fn who(entry: &Entry) -> String {
    let mut text = format!("{:?}", entry.manager.as_str());
    if !entry.subresource.is_empty() {
        let _ = write!(text, " with subresource {:?}", entry.subresource.as_str());
    }
    if entry.operation == Operation::Update {
        let _ = write!(text, " using {}", entry.api_version);
    }
    text
}

/// A part of a path as people read it: `.spec`, `[name="nginx"]`, `[="finalizer"]`.
pub(super) fn part_text(name: &str) -> String {
    if let Some(field) = name.strip_prefix("f:") {
        return format!(".{field}");
    }
    if let Some(scalar) = name.strip_prefix("v:") {
        return format!("[={scalar}]");
    }
    if let Some(keys) = name.strip_prefix("k:")
        && let Ok(serde_json::Value::Object(keys)) = serde_json::from_str(keys)
    {
        let keys: Vec<String> = keys.iter().map(|(k, v)| format!("{k}={v}")).collect();
        return format!("[{}]", keys.join(","));
    }
    format!("[{}]", name.strip_prefix("i:").unwrap_or(name))
}

/// 409 with one cause per field.
pub(super) fn status(mut conflicts: Vec<Conflict>) -> Status {
    conflicts.sort_by(|a, b| a.who.cmp(&b.who));
    let mut found: Vec<(&str, Vec<String>)> = Vec::new();
    for conflict in &conflicts {
        let mut paths = Vec::new();
        set::paths(&conflict.fields, &mut Vec::new(), &mut |path| {
            paths.push(path.iter().map(|p| part_text(p)).collect::<String>());
        });
        found.push((&conflict.who, paths));
    }
    let count: usize = found.iter().map(|(_, paths)| paths.len()).sum();
    let message = if let ([(who, paths)], 1) = (found.as_slice(), count) {
        format!("Apply failed with 1 conflict: conflict with {who}: {}", paths[0])
    } else {
        let mut message = format!("Apply failed with {count} conflicts: ");
        for (at, (who, paths)) in found.iter().enumerate() {
            let _ = write!(message, "{}conflicts with {who}:", if at > 0 { "\n" } else { "" });
            for path in paths {
                let _ = write!(message, "\n- {path}");
            }
        }
        message
    };
    let causes = found.into_iter().flat_map(|(who, paths)| {
        paths.into_iter().map(move |field| Cause {
            reason: "FieldManagerConflict".into(),
            message: format!("conflict with {who}"),
            field,
        })
    });
    let details = Details { causes: causes.collect(), ..Details::default() };
    Status { code: 409, reason: "Conflict", message, details: Some(Box::new(details)) }
}
