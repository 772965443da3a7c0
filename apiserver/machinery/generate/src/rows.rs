//! Definitions and wire-only messages as `static` rows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};

use crate::facts::{Definition, Field, Presence, ProtoField, Shape};

/// Definitions that are values of their own, not objects with fields.
const SPECIAL: [(&str, &str); 11] = [
    ("io.k8s.apimachinery.pkg.api.resource.Quantity", "Type::Quantity"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Time", "Type::Time"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime", "Type::MicroTime"),
    ("io.k8s.apimachinery.pkg.util.intstr.IntOrString", "Type::IntOrString"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1", "Type::Any"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Patch", "Type::Any"),
    ("io.k8s.apimachinery.pkg.runtime.RawExtension", "Type::Any"),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON", "Type::Any"),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray", "Type::Any"),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool", "Type::Any"),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray", "Type::Any"),
];

/// The names of all rows, and where each is.
struct Names {
    /// Definition or message name → (module, identifier).
    rows: BTreeMap<String, (String, String)>,
    /// Protobuf message → the definition's name, where there is one.
    by_message: BTreeMap<String, String>,
    /// What zero values mean.
    presence: Presence,
}

/// One module's text while it is written.
#[derive(Default)]
struct Module {
    rows: String,
    elements: BTreeMap<String, String>,
    keys: BTreeMap<Vec<String>, String>,
}

/// Writes `generated.rs` and `generated/*.rs` below `dir`.
pub(crate) fn write(
    definitions: &BTreeMap<String, Definition>,
    wire_only: &BTreeMap<String, Vec<ProtoField>>,
    dir: &Path,
) -> anyhow::Result<()> {
    let mut names = Names { rows: BTreeMap::new(), by_message: BTreeMap::new(), presence: Presence::read() };
    for (name, definition) in definitions {
        names.by_message.insert(definition.message.clone(), name.clone());
        if special(name).is_none() {
            names.rows.insert(name.clone(), place(name));
        }
    }
    for name in wire_only.keys().filter(|name| !name.ends_with(".ExtraValue") && !name.ends_with(".Verbs")) {
        names.rows.insert(name.clone(), place(name));
    }
    let mut modules: BTreeMap<String, Module> = BTreeMap::new();
    for (name, definition) in definitions.iter().filter(|(name, _)| names.rows.contains_key(*name)) {
        let module = modules.entry(names.rows[name].0.clone()).or_default();
        module.definition(name, definition, &names).with_context(|| name.clone())?;
    }
    for (name, fields) in wire_only.iter().filter(|(name, _)| names.rows.contains_key(*name)) {
        let module = modules.entry(names.rows[name].0.clone()).or_default();
        module.message(name, fields, &names).with_context(|| name.clone())?;
    }
    let folder = dir.join("generated");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    for (name, module) in &modules {
        fs::write(folder.join(format!("{name}.rs")), module.text(name))?;
    }
    fs::write(dir.join("generated.rs"), index(definitions, &names, &modules))?;
    Ok(())
}

fn special(name: &str) -> Option<&'static str> {
    SPECIAL.iter().find(|(special, _)| *special == name).map(|(_, ty)| *ty)
}

/// Module and identifier of a row: `io.k8s.api.core.v1.PodSpec` is `core_v1::POD_SPEC`; messages that are no definition
/// stand beside them with a name that begins with `WIRE_`.
fn place(name: &str) -> (String, String) {
    let parts: Vec<&str> = name.split('.').collect();
    let [.., group, version, ty] = parts.as_slice() else { unreachable!("names have at least three parts: {name}") };
    let module = format!("{group}_{version}").replace('-', "_");
    let wire = if name.starts_with("io.") { "" } else { "WIRE_" };
    (module, format!("{wire}{}", screaming(ty)))
}

/// `HTTPGetAction` → `HTTP_GET_ACTION`.
fn screaming(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (i, c) in chars.iter().enumerate() {
        let begins_word = c.is_uppercase()
            && i > 0
            && (!chars[i - 1].is_uppercase() || chars.get(i + 1).is_some_and(|next| next.is_lowercase()));
        if begins_word {
            out.push('_');
        }
        out.push(c.to_ascii_uppercase());
    }
    out
}

impl Module {
    fn definition(&mut self, name: &str, definition: &Definition, names: &Names) -> anyhow::Result<()> {
        let mut fields: Vec<(&str, &Field)> =
            definition.fields.iter().filter_map(|field| Some((field.json.as_deref()?, field))).collect();
        fields.sort_unstable_by_key(|(json, _)| *json);
        // What is embedded is either a message inlined in JSON, or a field that JSON calls by another name altogether
        // (`$ref`, `x-kubernetes-int-or-string`), whose number goes to that field.
        let (inlined, renamed): (Vec<&ProtoField>, Vec<&ProtoField>) =
            definition.embedded.iter().partition(|field| field.json.is_none() && json_name(field, &fields).is_none());
        let mut rows = Vec::new();
        for (json, field) in &fields {
            let renamed = renamed.iter().find(|proto| json_name(proto, &fields) == Some(*json));
            let presence = names.presence.of(name, json, field);
            rows.push(self.field(json, field, renamed.map_or(field.number, |proto| proto.number), presence, names)?);
        }
        let package = package(&definition.message);
        let embedded: Vec<(u32, String)> = inlined
            .iter()
            .map(|field| Ok((field.number, self.reference(&qualify(package, &field.wire[1]), names)?)))
            .collect::<anyhow::Result<_>>()?;
        // A free-form object has no fields of its own: everything in it is kept.
        let free = definition.ty.is_some();
        self.row(name, &rows, &embedded, definition.map_type == "atomic", free, &definition.kinds, names);
        Ok(())
    }

    fn message(&mut self, name: &str, fields: &[ProtoField], names: &Names) -> anyhow::Result<()> {
        let mut fields: Vec<(String, &ProtoField)> =
            fields.iter().map(|field| (field.json.clone().unwrap_or_else(|| field.proto.clone()), field)).collect();
        fields.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let mut rows = Vec::new();
        for (json, field) in &fields {
            let (ty, wrapped) = self.wire_type(package(name), &field.wire, names)?;
            let wire = if wrapped { "Wrapped" } else { "Natural" };
            let (merge, patch, number) = ("NATURAL", "NO_PATCH", field.number);
            rows.push(Row { json, ty: &ty, required: false, merge, patch, number, wire, presence: "OMIT" }.text());
        }
        self.row(name, &rows, &[], false, false, &[], names);
        Ok(())
    }

    fn field(
        &mut self,
        json: &str,
        field: &Field,
        number: u32,
        presence: &str,
        names: &Names,
    ) -> anyhow::Result<String> {
        let ty = self.shape(&field.shape, names)?;
        let merge = match (field.list_type.as_str(), field.map_type.as_str()) {
            ("set", _) => "SET".to_owned(),
            ("map", _) => format!("by_keys(&{})", self.keys(&field.list_keys)),
            (_, "atomic") => "ATOMIC".to_owned(),
            _ => "NATURAL".to_owned(),
        };
        let patch = match (field.patch_strategy.as_str(), field.patch_merge_key.as_str()) {
            ("" | "replace", "") => "NO_PATCH".to_owned(),
            (strategy, key) => format!(
                "patched({}, {}, {key:?})",
                strategy.split(',').any(|s| s == "merge"),
                strategy.split(',').any(|s| s == "retainKeys")
            ),
        };
        let wire = match field.wire.last().map_or("", |ty| ty) {
            "ExtraValue" | "Verbs" => "Wrapped",
            "JSONSchemaPropsOrArray" => "SchemaOrArray",
            "JSONSchemaPropsOrBool" => "SchemaOrBool",
            "JSONSchemaPropsOrStringArray" => "SchemaOrStrings",
            _ => "Natural",
        };
        let row = Row { json, ty: &ty, required: field.required, merge: &merge, patch: &patch, number, wire, presence };
        Ok(row.text())
    }

    fn shape(&mut self, shape: &Shape, names: &Names) -> anyhow::Result<String> {
        if let Some(name) = &shape.reference {
            if let Some(special) = special(name) {
                return Ok(special.to_owned());
            }
            return Ok(format!("Type::Message({})", self.reference(name, names)?));
        }
        if let Some(item) = &shape.list {
            return Ok(format!("Type::List(Ref::Static(&{}))", self.element(item, names)?));
        }
        if let Some(item) = &shape.map {
            return Ok(format!("Type::Map(Ref::Static(&{}))", self.element(item, names)?));
        }
        Ok(match (shape.scalar.as_deref(), shape.format.as_str()) {
            (Some("string"), "byte") => "Type::Bytes",
            (Some("string"), "") => "Type::String",
            (Some("boolean"), _) => "Type::Bool",
            (Some("integer"), "int32") => "Type::Int32",
            (Some("integer"), "int64") => "Type::Int64",
            (Some("number"), _) => "Type::Double",
            (None, _) => "Type::Any",
            (scalar, format) => bail!("no type for {scalar:?} {format:?}"),
        }
        .to_owned())
    }

    fn element(&mut self, shape: &Shape, names: &Names) -> anyhow::Result<String> {
        let ty = self.shape(shape, names)?;
        Ok(self.element_of(ty))
    }

    fn element_of(&mut self, ty: String) -> String {
        let next = self.elements.len();
        self.elements.entry(ty).or_insert_with(|| format!("ITEM_{next}")).clone()
    }

    fn keys(&mut self, keys: &[String]) -> String {
        let next = self.keys.len();
        self.keys.entry(keys.to_vec()).or_insert_with(|| format!("KEYS_{next}")).clone()
    }

    /// The JSON type of a protobuf field, and whether its list is wrapped in a message.
    fn wire_type(&mut self, package: &str, wire: &[String], names: &Names) -> anyhow::Result<(String, bool)> {
        let ty = wire.last().context("a wire type names its type")?;
        let wrapped = ty.ends_with("ExtraValue") || ty.ends_with("Verbs");
        let item = match ty.as_str() {
            "string" => "Type::String".to_owned(),
            "bool" => "Type::Bool".to_owned(),
            "int32" => "Type::Int32".to_owned(),
            "int64" | "uint64" | "uint32" => "Type::Int64".to_owned(),
            "double" => "Type::Double".to_owned(),
            "bytes" => "Type::Bytes".to_owned(),
            _ if wrapped => format!("Type::List(Ref::Static(&{}))", self.element_of("Type::String".to_owned())),
            message => {
                let name = qualify(package, message);
                let definition = names.by_message.get(&name);
                match definition.and_then(|definition| special(definition)) {
                    Some(special) => special.to_owned(),
                    None => format!("Type::Message({})", self.reference(&name, names)?),
                }
            }
        };
        Ok(match wire[0].as_str() {
            "repeated" => (format!("Type::List(Ref::Static(&{}))", self.element_of(item)), wrapped),
            "map" => (format!("Type::Map(Ref::Static(&{}))", self.element_of(item)), wrapped),
            _ => (item, wrapped),
        })
    }

    fn reference(&self, name: &str, names: &Names) -> anyhow::Result<String> {
        let name = names.by_message.get(name).map_or(name, |definition| definition);
        let row = names.rows.get(name).or_else(|| names.rows.get(&in_v1(name)));
        let (module, row) = row.with_context(|| format!("no row {name}"))?;
        Ok(format!("Ref::Static(&super::{module}::{row})"))
    }

    #[allow(clippy::too_many_arguments, reason = "a row is what it is")]
    fn row(
        &mut self,
        name: &str,
        fields: &[String],
        embedded: &[(u32, String)],
        atomic: bool,
        free: bool,
        kinds: &[String],
        names: &Names,
    ) {
        let row = &names.rows[name].1;
        let out = &mut self.rows;
        let _ = writeln!(out, "static {row}_FIELDS: [Field; {}] = [{}];", fields.len(), fields.concat());
        if !embedded.is_empty() {
            let _ = writeln!(out, "static {row}_EMBEDDED: [Embedded; {}] = [", embedded.len());
            for (number, message) in embedded {
                let _ = writeln!(out, "Embedded {{ number: {number}, message: {message} }},");
            }
            out.push_str("];\n");
        }
        // Types that every group repeats (DeleteOptions, WatchEvent) belong to meta: their own version is enough.
        let kinds: Vec<String> = kinds.iter().map(|kind| kind.trim_start_matches('/').to_owned()).collect();
        let kinds = if kinds.len() > 8 { &kinds[..1] } else { &kinds[..] };
        if !kinds.is_empty() {
            let list: String = kinds.iter().map(|kind| format!("Cow::Borrowed({kind:?}),")).collect();
            let _ = writeln!(out, "static {row}_KINDS: [Cow<'static, str>; {}] = [{list}];", kinds.len());
        }
        let parts: Vec<&str> = name.split('.').collect();
        let go_name = parts[parts.len() - 2..].join(".");
        let borrowed = |present: bool, what: &str| {
            if present { format!("Cow::Borrowed(&{row}_{what})") } else { "Cow::Borrowed(&[])".to_owned() }
        };
        let _ = writeln!(
            out,
            "/// `{go_name}`\npub(crate) static {row}: Message = Message {{ name: Cow::Borrowed({name:?}), \
             go_name: Cow::Borrowed({go_name:?}), fields: Cow::Borrowed(&{row}_FIELDS), embedded: {}, \
             atomic: {atomic}, preserve_unknown: {free}, kinds: {} }};\n",
            borrowed(!embedded.is_empty(), "EMBEDDED"),
            borrowed(!kinds.is_empty(), "KINDS"),
        );
    }

    fn text(&self, name: &str) -> String {
        let mut out = format!("//! Generated by `machinery/generate`: the object types of `{name}`. Do not edit.\n\n");
        out.push_str("#[allow(unused_imports, reason = \"every file uses its own part of the constructors\")]\n");
        out.push_str("use crate::schema::row::*;\n\n");
        for (ty, row) in &self.elements {
            let _ = writeln!(out, "static {row}: Type = {ty};");
        }
        for (keys, row) in &self.keys {
            let list: String = keys.iter().map(|key| format!("Cow::Borrowed({key:?}),")).collect();
            let _ = writeln!(out, "static {row}: [Cow<'static, str>; {}] = [{list}];", keys.len());
        }
        out.push('\n');
        out.push_str(&self.rows);
        out
    }
}

/// The JSON field that a protobuf field of another spelling stands for: the same letters in the same order.
fn json_name<'a>(proto: &ProtoField, fields: &[(&'a str, &Field)]) -> Option<&'a str> {
    let letters = |name: &str| name.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase();
    fields.iter().map(|(json, _)| *json).find(|json| letters(json) == letters(&proto.proto))
}

/// One field's row.
struct Row<'a> {
    json: &'a str,
    ty: &'a str,
    required: bool,
    merge: &'a str,
    patch: &'a str,
    number: u32,
    wire: &'a str,
    presence: &'a str,
}

impl Row<'_> {
    fn text(&self) -> String {
        let Self { json, ty, required, merge, patch, number, wire, presence } = self;
        if *merge == "NATURAL" && *patch == "NO_PATCH" && *wire == "Natural" {
            match (required, *presence) {
                (false, "OMIT") => return format!("plain({json:?}, {ty}, {number}),\n"),
                (false, "DISTINCT") => return format!("distinct({json:?}, {ty}, {number}),\n"),
                (true, "ALWAYS") => return format!("always({json:?}, {ty}, {number}),\n"),
                _ => {}
            }
        }
        format!("field({json:?}, {ty}, {required}, {merge}, {patch}, {number}, ProtoWire::{wire}, {presence}),\n")
    }
}

/// The same message in `v1`: the facts hold wire-only messages of beta versions only where they differ.
fn in_v1(name: &str) -> String {
    let mut parts: Vec<&str> = name.split('.').collect();
    let at = parts.len() - 2;
    parts[at] = "v1";
    parts.join(".")
}

fn package(message: &str) -> &str {
    message.rsplit_once('.').map_or("", |(package, _)| package)
}

fn qualify(package: &str, ty: &str) -> String {
    ty.strip_prefix('.').map_or_else(|| format!("{package}.{ty}"), ToOwned::to_owned)
}

fn index(definitions: &BTreeMap<String, Definition>, names: &Names, modules: &BTreeMap<String, Module>) -> String {
    let mut out =
        String::from("//! Generated by `machinery/generate`: all object types by name and by kind. Do not edit.\n\n");
    for module in modules.keys() {
        let _ = writeln!(out, "pub(crate) mod {module};");
    }
    out.push_str("\nuse super::Message;\n\n");
    let _ = writeln!(
        out,
        "/// Every object type by its name, sorted.\npub(super) static MESSAGES: [(&str, &Message); {}] = [",
        names.rows.len()
    );
    for (name, (module, row)) in &names.rows {
        let _ = writeln!(out, "({name:?}, &{module}::{row}),");
    }
    out.push_str("];\n\n");
    let mut kinds: BTreeSet<(String, String)> = BTreeSet::new();
    for (name, definition) in definitions {
        let Some((module, row)) = names.rows.get(name) else { continue };
        for kind in &definition.kinds {
            kinds.insert((kind.trim_start_matches('/').to_owned(), format!("{module}::{row}")));
        }
    }
    let _ = writeln!(
        out,
        "/// Every kind as `group/version/Kind` (`v1/Pod` in the core group), sorted.\npub(super) static KINDS: [(&str, &Message); {}] = [",
        kinds.len()
    );
    for (kind, row) in kinds {
        let _ = writeln!(out, "({kind:?}, &{row}),");
    }
    out.push_str("];\n");
    out
}
