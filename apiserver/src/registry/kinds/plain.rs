//! Kinds that are only kept: no defaults or rules of their own beyond their fields, no loop that must exist for the
//! record to be true. Each is a row here; one that grows rules gets a file.

use std::fmt;
use std::sync::OnceLock;

use gantry_machinery::resource::Resource;
use gantry_machinery::schema::Message;
use gantry_machinery::value::Value;

use super::cells::{age_cell, container_cells, labels_cell, name_cell, or_unset, text_cell};
use super::field::{fill, fill_with};
use super::pod::defaults;
use crate::registry::strategy::{Column, Strategy};
use crate::registry::validate::template::check_template;
use crate::registry::validate::view::Held;
use crate::registry::validate::{Errors, Path, name};

/// One such kind.
pub struct Plain {
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    columns: &'static [Column],
    row: fn(&Value, i64) -> Vec<Value>,
    default: fn(&mut Value),
    check: fn(&Value, &mut Errors),
    generation: bool,
    found: OnceLock<(&'static Resource, &'static Message)>,
}

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.group, self.version, self.resource)
    }
}

impl Plain {
    const fn new(
        group: &'static str,
        resource: &'static str,
        columns: &'static [Column],
        row: fn(&Value, i64) -> Vec<Value>,
    ) -> Self {
        const fn no_default(_: &mut Value) {}
        const fn no_check(_: &Value, _: &mut Errors) {}
        Self {
            group,
            version: "v1",
            resource,
            columns,
            row,
            default: no_default,
            check: no_check,
            generation: false,
            found: OnceLock::new(),
        }
    }

    const fn with(mut self, default: fn(&mut Value), check: fn(&Value, &mut Errors)) -> Self {
        self.default = default;
        self.check = check;
        self
    }

    const fn with_generation(mut self) -> Self {
        self.generation = true;
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

/// The kinds.
pub(super) static ALL: [Plain; 7] = [
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
        |_| {},
        |class, errors| {
            name::label(class.get("handler").text(), &Path::new("handler"), errors);
        },
    ),
    Plain::new(
        "storage.k8s.io",
        "csidrivers",
        const {
            &[
                Column::name(),
                Column::string("AttachRequired"),
                Column::string("PodInfoOnMount"),
                Column::string("StorageCapacity"),
                Column::string("TokenRequests"),
                Column::string("RequiresRepublish"),
                Column::string("Modes"),
                Column::string("Age"),
            ]
        },
        |driver, now| {
            let flag = |field: &str| Value::Bool(driver.at(&["spec", field]).truth());
            let join = |list: Vec<&str>| or_unset(&list.join(","));
            let tokens = driver.array_at(&["spec", "tokenRequests"]).iter().map(|t| t.get("audience").text()).collect();
            let modes = driver.array_at(&["spec", "volumeLifecycleModes"]).iter().filter_map(Value::as_str).collect();
            vec![
                name_cell(driver),
                flag("attachRequired"),
                flag("podInfoOnMount"),
                flag("storageCapacity"),
                join(tokens),
                flag("requiresRepublish"),
                join(modes),
                age_cell(driver, now),
            ]
        },
    )
    .with(
        |driver| {
            let spec = driver.force_object().object_entry("spec");
            for (field, default) in [
                ("attachRequired", true),
                ("podInfoOnMount", false),
                ("storageCapacity", false),
                ("requiresRepublish", false),
                ("seLinuxMount", false),
            ] {
                fill_with(spec, field, || Value::Bool(default));
            }
            fill(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
            if spec.get("volumeLifecycleModes").items().is_empty() {
                spec.insert("volumeLifecycleModes", vec!["Persistent"]);
            }
        },
        |driver, errors| {
            let at = Path::new("spec");
            let policies = &["File", "None", "ReadWriteOnceWithFSType"];
            name::one_of(driver.at(&["spec", "fsGroupPolicy"]).text(), policies, &at.child("fsGroupPolicy"), errors);
            let modes = at.child("volumeLifecycleModes");
            for mode in driver.array_at(&["spec", "volumeLifecycleModes"]) {
                name::one_of(mode.as_str().unwrap_or_default(), &["Ephemeral", "Persistent"], &modes, errors);
            }
        },
    ),
    Plain::new(
        "storage.k8s.io",
        "csinodes",
        const { &[Column::name(), Column::integer("Drivers"), Column::string("Age")] },
        |node, now| {
            let drivers = node.array_at(&["spec", "drivers"]).len();
            vec![name_cell(node), Value::Int(i64::try_from(drivers).unwrap_or(i64::MAX)), age_cell(node, now)]
        },
    ),
    Plain::new(
        "storage.k8s.io",
        "csistoragecapacities",
        const { &[Column::name(), Column::string("StorageClassName"), Column::string("Capacity")] },
        |capacity, _| {
            vec![name_cell(capacity), text_cell(capacity, &["storageClassName"]), text_cell(capacity, &["capacity"])]
        },
    ),
    Plain::new(
        "storage.k8s.io",
        "volumeattachments",
        const {
            &[
                Column::name(),
                Column::string("Attacher"),
                Column::string("PV"),
                Column::string("Node"),
                Column::string("Attached"),
                Column::string("Age"),
            ]
        },
        |attachment, now| {
            vec![
                name_cell(attachment),
                text_cell(attachment, &["spec", "attacher"]),
                text_cell(attachment, &["spec", "source", "persistentVolumeName"]),
                text_cell(attachment, &["spec", "nodeName"]),
                Value::Bool(attachment.at(&["status", "attached"]).truth()),
                age_cell(attachment, now),
            ]
        },
    ),
    Plain::new(
        "storage.k8s.io",
        "volumeattributesclasses",
        const { &[Column::name(), Column::string("DriverName"), Column::string("Age")] },
        |class, now| vec![name_cell(class), text_cell(class, &["driverName"]), age_cell(class, now)],
    ),
];

impl Strategy for Plain {
    fn resource(&self) -> &'static Resource {
        self.find().0
    }

    fn message(&self) -> &'static Message {
        self.find().1
    }

    fn default(&self, object: &mut Value) {
        (self.default)(object);
    }

    fn check(&self, object: &Value, errors: &mut Errors) {
        (self.check)(object, errors);
    }

    fn has_generation(&self) -> bool {
        self.generation
    }

    fn generation_changed(&self, new: &Value, old: &Value) -> bool {
        self.generation && new.get("template") != old.get("template")
    }

    fn columns(&self) -> &'static [Column] {
        self.columns
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        (self.row)(object, now)
    }
}
