//! The strategy as a table: what most kinds differ in, as one row of functions ([`Plain`]). Kinds that need more implement
//! [`Strategy`] themselves.
//!
//! The rows here are the small kinds; a group with rules of its own has a file with its rows, named in
//! [`super::all`].

use std::fmt;
use std::sync::OnceLock;

use compact_str::CompactString;
use gantry_machinery::resource::Resource;
use gantry_machinery::schema::Message;
use gantry_machinery::value::Value;

use super::cells::{age_cell, container_cells, labels_cell, name_cell, text_cell};
use super::pod::defaults;
use crate::registry::strategy::{Column, Strategy, keep, keep_all_but_status};
use crate::registry::validate::affinity::check_tolerations;
use crate::registry::validate::labels::check_labels;
use crate::registry::validate::resources::check_overhead;
use crate::registry::validate::template::check_template;
use crate::registry::validate::view::Held;
use crate::registry::validate::{Errors, Path, name, same};

/// One such kind.
pub struct Plain {
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    columns: &'static [Column],
    row: fn(&Value, i64) -> Vec<Value>,
    prepare: fn(&mut Value),
    default: fn(&mut Value),
    check: fn(&Value, &mut Errors),
    change: Option<Change>,
    settle: fn(&mut Value, &Value, &str),
    warn: fn(&Value, Option<&Value>) -> Vec<String>,
    name: fn(&str, bool) -> Vec<String>,
    selectable: &'static [&'static str],
    generation: bool,
    versioned: bool,
    found: OnceLock<(&'static Resource, &'static Message)>,
}

/// The rules of an update: the new object, the old one, and the subresource written (empty for the object itself).
type Change = fn(&Value, &Value, &str, &mut Errors);

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.group, self.version, self.resource)
    }
}

impl Plain {
    /// A kind without rules, of version `v1` of its group.
    pub(super) const fn new(
        group: &'static str,
        resource: &'static str,
        columns: &'static [Column],
        row: fn(&Value, i64) -> Vec<Value>,
    ) -> Self {
        const fn nothing(_: &mut Value) {}
        const fn no_check(_: &Value, _: &mut Errors) {}
        const fn no_settling(_: &mut Value, _: &Value, _: &str) {}
        const fn no_warning(_: &Value, _: Option<&Value>) -> Vec<String> {
            Vec::new()
        }
        Self {
            group,
            version: "v1",
            resource,
            columns,
            row,
            prepare: nothing,
            default: nothing,
            check: no_check,
            change: None,
            settle: no_settling,
            warn: no_warning,
            name: name::subdomain_errors,
            selectable: &[],
            generation: false,
            versioned: false,
            found: OnceLock::new(),
        }
    }

    /// Its defaults, and its own rules.
    pub(super) const fn with(mut self, default: fn(&mut Value), check: fn(&Value, &mut Errors)) -> Self {
        self.default = default;
        self.check = check;
        self
    }

    /// It carries a generation, which grows with anything but metadata and status.
    pub(super) const fn with_generation(mut self) -> Self {
        self.generation = true;
        self
    }

    /// What is dropped from, or set in, a new object (beside its status, which is dropped anyway).
    pub(super) const fn prepared(mut self, prepare: fn(&mut Value)) -> Self {
        self.prepare = prepare;
        self
    }

    /// The rules of an update instead of those for new objects.
    pub(super) const fn changing(mut self, change: Change) -> Self {
        self.change = Some(change);
        self
    }

    /// What an update restores or drops, beside what every kind does.
    pub(super) const fn settled(mut self, settle: fn(&mut Value, &Value, &str)) -> Self {
        self.settle = settle;
        self
    }

    /// Its advice for writers.
    pub(super) const fn warning(mut self, warn: fn(&Value, Option<&Value>) -> Vec<String>) -> Self {
        self.warn = warn;
        self
    }

    /// Its rule for names, where they are no DNS subdomains.
    pub(super) const fn named(mut self, name: fn(&str, bool) -> Vec<String>) -> Self {
        self.name = name;
        self
    }

    /// The fields, by dotted path, that field selectors may name.
    pub(super) const fn selectable(mut self, fields: &'static [&'static str]) -> Self {
        self.selectable = fields;
        self
    }

    /// An update must name the version that it is made from.
    pub(super) const fn versioned(mut self) -> Self {
        self.versioned = true;
        self
    }

    fn find(&self) -> (&'static Resource, &'static Message) {
        let rows = || {
            let (group, version, resource) = (self.group, self.version, self.resource);
            (super::resource(group, version, resource), super::message(group, version, resource))
        };
        *self.found.get_or_init(rows)
    }
}

/// Whether two objects differ in more than metadata and status.
fn differ(new: &Value, old: &Value) -> bool {
    let written = |key: &str| !matches!(key, "metadata" | "status" | "apiVersion" | "kind");
    let lacks = |one: &Value, other: &Value| {
        Some(one).entries().any(|(key, value)| written(key) && !same(Some(value), other.get(key)))
    };
    lacks(new, old) || lacks(old, new)
}

/// The kinds.
pub(super) static ALL: [Plain; 2] = [
    Plain::new(
        "",
        "podtemplates",
        const {
            &[Column::name(), Column::string("Containers"), Column::string("Images"), Column::string("Pod Labels")]
        },
        |template, _| {
            let [containers, images] = container_cells(template.get("template"));
            let labels = labels_cell(template.at(&["template", "metadata", "labels"]));
            vec![name_cell(template), containers, images, labels]
        },
    )
    .with(
        |object| defaults::template(object.force_object().object_entry("template")),
        |object, errors| {
            let template = object.get("template").unwrap_or(&Value::Null);
            check_template(template, &Path::new("template"), errors);
        },
    )
    .with_generation(),
    Plain::new(
        "node.k8s.io",
        "runtimeclasses",
        const { &[Column::name(), Column::string("Handler"), Column::string("Age")] },
        |class, now| vec![name_cell(class), text_cell(class, &["handler"]), age_cell(class, now)],
    )
    .with(
        |class| {
            if let Some(overhead) = class.at_mut(&["overhead", "podFixed"]).and_then(Value::as_object_mut) {
                defaults::resource_list(overhead);
            }
        },
        check_runtime_class,
    )
    .changing(|new, old, _, errors| {
        check_runtime_class(new, errors);
        errors.immutable(&Path::new("handler"), new.get("handler"), old.get("handler"));
    })
    .versioned(),
];

fn check_runtime_class(class: &Value, errors: &mut Errors) {
    name::label(class.get("handler").text(), &Path::new("handler"), errors);
    if let Some(fixed) = class.at(&["overhead", "podFixed"]) {
        check_overhead(fixed, &Path::new("overhead.podFixed"), errors);
    }
    let at = Path::new("scheduling");
    check_labels(class.at(&["scheduling", "nodeSelector"]), &at.child("nodeSelector"), errors);
    let tolerations = class.array_at(&["scheduling", "tolerations"]);
    let at = at.child("tolerations");
    check_tolerations(tolerations, &at, errors);
    for (n, toleration) in tolerations.iter().enumerate() {
        if tolerations[..n].contains(toleration) {
            errors.duplicate(&at.index(n), toleration);
        }
    }
}

impl Strategy for Plain {
    fn resource(&self) -> &'static Resource {
        self.find().0
    }

    fn message(&self) -> &'static Message {
        self.find().1
    }

    fn name_errors(&self, name: &str, prefix: bool) -> Vec<String> {
        (self.name)(name, prefix)
    }

    fn prepare_for_create(&self, object: &mut Value) {
        if self.resource().subresource("status").is_some() {
            object.remove(&["status"]);
        }
        (self.prepare)(object);
    }

    fn default(&self, object: &mut Value) {
        (self.default)(object);
    }

    fn check(&self, object: &Value, errors: &mut Errors) {
        (self.check)(object, errors);
    }

    fn prepare_for_update(&self, new: &mut Value, old: &Value, subresource: &str) {
        match subresource {
            "status" => keep_all_but_status(new, old),
            "" if self.resource().subresource("status").is_some() => keep(new, old, "status"),
            _ => {}
        }
        (self.settle)(new, old, subresource);
    }

    fn check_update(&self, new: &Value, old: &Value, subresource: &str, errors: &mut Errors) {
        match self.change {
            Some(change) => change(new, old, subresource, errors),
            None if subresource.is_empty() => (self.check)(new, errors),
            None => {}
        }
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        (self.warn)(new, old)
    }

    fn has_generation(&self) -> bool {
        self.generation
    }

    fn generation_changed(&self, new: &Value, old: &Value) -> bool {
        self.generation && differ(new, old)
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        self.selectable
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, CompactString)> {
        let value = |field: &'static str| field.split('.').try_fold(object, Value::get).text();
        self.selectable.iter().map(|field| (*field, value(field).into())).collect()
    }

    fn columns(&self) -> &'static [Column] {
        self.columns
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        (self.row)(object, now)
    }

    fn unconditional_update(&self) -> bool {
        !self.versioned
    }
}
