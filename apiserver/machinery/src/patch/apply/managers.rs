//! `metadata.managedFields`: its entries, how they come out of an object and go back in.

use compact_str::CompactString;

use super::set;
use crate::value::{Object, Value};

/// At most this many entries of operation `Update`; the oldest merge into one named [`ANCIENT`] per version.
pub(super) const UPDATERS_MAX: usize = 10;

/// Who owns what so many others wrote before.
const ANCIENT: &str = "ancient-changes";

/// How a manager came to own its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Apply,
    Update,
}

/// What one manager owns.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) manager: CompactString,
    pub(super) operation: Operation,
    pub(super) api_version: CompactString,
    pub(super) subresource: CompactString,
    /// When it last took a field, RFC 3339; empty if unknown.
    pub(super) time: CompactString,
    pub(super) fields: Object,
}

impl Entry {
    /// Whether the entry is this manager's. Appliers are one manager whatever version they apply.
    pub(super) fn is(&self, manager: &str, operation: Operation, api_version: &str, subresource: &str) -> bool {
        self.operation == operation
            && self.manager == manager
            && self.subresource == subresource
            && (operation == Operation::Apply || self.api_version == api_version)
    }

    fn decode(value: Value) -> Option<Self> {
        let Value::Object(entry) = value else { return None };
        let mut out = Self {
            manager: CompactString::const_new(""),
            operation: Operation::Update,
            api_version: CompactString::const_new(""),
            subresource: CompactString::const_new(""),
            time: CompactString::const_new(""),
            fields: Object::new(),
        };
        let (mut operation, mut typed) = (None, true);
        for (key, value) in entry {
            match (key.as_str(), value) {
                ("manager", Value::String(text)) => out.manager = text,
                ("operation", Value::String(text)) => {
                    operation = match text.as_str() {
                        "Apply" => Some(Operation::Apply),
                        "Update" => Some(Operation::Update),
                        _ => None,
                    };
                }
                ("apiVersion", Value::String(text)) => out.api_version = text,
                ("subresource", Value::String(text)) => out.subresource = text,
                ("time", Value::String(text)) => out.time = text,
                ("fieldsType", Value::String(text)) => typed = text == "FieldsV1",
                ("fieldsV1", Value::Object(fields)) => out.fields = fields,
                _ => {}
            }
        }
        out.operation = operation?;
        typed.then_some(out)
    }

    fn encode(self) -> Value {
        let mut entry = Object::with_capacity(7);
        let mut put = |key: &'static str, value: Value| entry.push_unchecked(CompactString::const_new(key), value);
        put("manager", Value::String(self.manager));
        let operation = match self.operation {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        };
        put("operation", Value::String(CompactString::const_new(operation)));
        put("apiVersion", Value::String(self.api_version));
        if !self.time.is_empty() {
            put("time", Value::String(self.time));
        }
        put("fieldsType", Value::String(CompactString::const_new("FieldsV1")));
        put("fieldsV1", Value::Object(self.fields));
        if !self.subresource.is_empty() {
            put("subresource", Value::String(self.subresource));
        }
        Value::Object(entry)
    }
}

/// The entries of a `managedFields` value; `None` if one is malformed: then the whole list counts as absent.
pub(super) fn decode(value: Option<Value>, from_client: bool) -> Option<Vec<Entry>> {
    let Some(Value::Array(items)) = value else { return Some(Vec::new()) };
    let mut entries: Vec<Entry> = items.into_iter().map(Entry::decode).collect::<Option<_>>()?;
    if from_client {
        for entry in &mut entries {
            set::sort(&mut entry.fields);
        }
    }
    Some(entries)
}

/// Whether a client asks for managedFields to be forgotten: a list of one empty entry.
pub(super) fn is_reset(value: Option<&Value>) -> bool {
    matches!(value.and_then(Value::as_array), Some([Value::Object(only)]) if only.is_empty())
}

/// Sets `metadata.managedFields` from the entries: appliers first, then by time.
pub(super) fn encode_into(object: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|e| !e.fields.is_empty());
    if entries.is_empty() {
        object.remove(&["metadata", "managedFields"]);
        return;
    }
    // RFC 3339 in UTC with whole seconds: the order of the texts is the order of the times.
    entries.sort_by(|a, b| {
        (a.operation, &a.time, &a.manager, &a.api_version, &a.subresource).cmp(&(
            b.operation,
            &b.time,
            &b.manager,
            &b.api_version,
            &b.subresource,
        ))
    });
    let list = Value::Array(entries.into_iter().map(Entry::encode).collect());
    let metadata = object.force_object().object_entry(CompactString::const_new("metadata"));
    metadata.insert(CompactString::const_new("managedFields"), list);
}

/// Merges the oldest updaters while there are too many.
pub(super) fn cap(entries: &mut Vec<Entry>) {
    let mut updaters = entries.iter().filter(|e| e.operation == Operation::Update).count();
    if updaters <= UPDATERS_MAX {
        return;
    }
    let (mut old, appliers): (Vec<Entry>, Vec<Entry>) =
        std::mem::take(entries).into_iter().partition(|e| e.operation == Operation::Update);
    old.sort_by(|a, b| {
        (&a.time, &a.manager, &a.api_version, &a.subresource).cmp(&(
            &b.time,
            &b.manager,
            &b.api_version,
            &b.subresource,
        ))
    });
    let mut kept: Vec<Entry> = Vec::with_capacity(old.len());
    // Of each version, where the first (then the bucket) stands in `kept`.
    let mut first: Vec<(CompactString, usize)> = Vec::new();
    for entry in old {
        if updaters <= UPDATERS_MAX {
            kept.push(entry);
            continue;
        }
        match first.iter().find(|(version, _)| *version == entry.api_version) {
            None => {
                first.push((entry.api_version.clone(), kept.len()));
                kept.push(entry);
            }
            Some((_, at)) => {
                let bucket = &mut kept[*at];
                bucket.manager = CompactString::const_new(ANCIENT);
                bucket.subresource = CompactString::const_new("");
                set::unite(&mut bucket.fields, &entry.fields);
                bucket.time = entry.time;
                updaters -= 1;
            }
        }
    }
    kept.extend(appliers);
    *entries = kept;
}
