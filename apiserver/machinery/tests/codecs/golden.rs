//! Upstream's filled objects in JSON and protobuf, as its own codecs write them: ours must agree byte for byte. The files
//! are not ours to ship; `GANTRY_GOLDEN` names the folder that holds them (`<group>.<version>.<Kind>.json` and `.pb`).

use std::path::PathBuf;

use gantry_machinery::codec::{json, protobuf};
use gantry_machinery::resource_api::FieldValidation;
use gantry_machinery::schema::{self, Message};

use super::{canonical, parting};

/// The type of a kind. Kinds that are never served have rows under their wire name; versions that no 1.36 server knows
/// any more are compared by the row of the version that took their place, where the type stayed the same.
fn message_of(group: &str, version: &str, kind: &str) -> Option<&'static Message> {
    let package = group.split('.').next().unwrap_or_default();
    let package = if group.is_empty() { "core" } else { package };
    let wire = |path: &str| schema::message(&format!("k8s.io.{path}.{version}.{kind}"));
    schema::kind(group, version, kind)
        .or_else(|| wire(&format!("api.{package}")))
        .or_else(|| wire("apimachinery.pkg.apis.meta"))
        .or_else(|| schema::kind(group, "v1", kind))
        .or_else(|| ["apps", "networking.k8s.io", "autoscaling"].iter().find_map(|g| schema::kind(g, "v1", kind)))
}

/// Types that no 1.36 server has any more (client libraries still carry them), unlike all that the table knows.
const GONE: [&str; 23] = [
    "admission.k8s.io.v1beta1.AdmissionReview",
    "apidiscovery.k8s.io.v2beta1.APIGroupDiscovery",
    "apps.v1beta1.Deployment",
    "apps.v1beta1.DeploymentRollback",
    "apps.v1beta1.Scale",
    "apps.v1beta2.Scale",
    "authorization.k8s.io.v1beta1.LocalSubjectAccessReview",
    "authorization.k8s.io.v1beta1.SubjectAccessReview",
    "discovery.k8s.io.v1beta1.EndpointSlice",
    "extensions.v1beta1.DaemonSet",
    "extensions.v1beta1.Deployment",
    "extensions.v1beta1.DeploymentRollback",
    "extensions.v1beta1.Ingress",
    "extensions.v1beta1.Scale",
    "flowcontrol.apiserver.k8s.io.v1beta1.PriorityLevelConfiguration",
    "flowcontrol.apiserver.k8s.io.v1beta2.PriorityLevelConfiguration",
    "imagepolicy.k8s.io.v1alpha1.ImageReview",
    "networking.k8s.io.v1beta1.Ingress",
    "node.k8s.io.v1alpha1.RuntimeClass",
    "rbac.authorization.k8s.io.v1alpha1.ClusterRole",
    "rbac.authorization.k8s.io.v1alpha1.ClusterRoleBinding",
    "rbac.authorization.k8s.io.v1alpha1.Role",
    "rbac.authorization.k8s.io.v1alpha1.RoleBinding",
];

#[test]
fn bytes_are_upstreams_for_every_kind() {
    let Some(folder) = std::env::var_os("GANTRY_GOLDEN").map(PathBuf::from) else {
        eprintln!("NOT RUN: set GANTRY_GOLDEN to the folder of upstream's filled objects");
        return;
    };
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "pb"));
    files.sort();
    let (mut compared, mut faults) = (0, Vec::new());
    for path in files {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if GONE.contains(&name.as_str()) {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let text = std::fs::read(path.with_extension("json")).unwrap();
        match compare(&name, &bytes, &text) {
            Ok(()) => compared += 1,
            Err(why) => faults.push(format!("{name}: {why}")),
        }
    }
    assert!(faults.is_empty(), "{compared} kinds agree, {} do not:\n{}", faults.len(), faults.join("\n"));
    eprintln!("{compared} kinds agree byte for byte, {} are types that 1.36 no longer has", GONE.len());
    assert!(compared + GONE.len() >= 185, "only {compared} kinds were found in {}", folder.display());
}

fn compare(name: &str, bytes: &[u8], text: &[u8]) -> Result<(), String> {
    // The envelope of a WatchEvent says nothing, the file's name always does.
    let mut parts = name.rsplitn(3, '.');
    let (kind, version, group) = (parts.next(), parts.next(), parts.next());
    let group = group.filter(|g| *g != "core").unwrap_or_default();
    let message = message_of(group, version.unwrap_or_default(), kind.unwrap_or_default());
    let message = message.ok_or("the table has no such type")?;
    let mut object = json::parse(text).map_err(|e| e.to_string())?;
    let theirs = canonical(&object);
    // Types that only the wire knows have no fields for what they are: the envelope says it.
    let named = ["kind", "apiVersion"].map(|key| (key, object.get(key).cloned()));
    if message.field("kind").is_none() {
        named.iter().for_each(|(key, _)| drop(object.remove(&[key])));
    }
    let decoded = json::decode(&json::encode(&object), message, FieldValidation::Strict);
    let mut from_json = decoded.map_err(|e| format!("JSON: {e}"))?.value;
    for (key, value) in named {
        if let Some(value) = value {
            from_json.set(&[key], value);
        }
    }
    let ours = canonical(&from_json);
    if ours != theirs {
        return Err(format!("JSON {}", parting(&ours, &theirs)));
    }
    let from_wire = canonical(&protobuf::decode(bytes, message).map_err(|e| format!("protobuf: {e}"))?);
    if from_wire != theirs {
        return Err(format!("protobuf to JSON {}", parting(&from_wire, &theirs)));
    }
    let wire = protobuf::encode(&from_json, message).map_err(|e| e.to_string())?;
    match wire.iter().zip(bytes).position(|(a, b)| a != b) {
        None if wire.len() == bytes.len() => Ok(()),
        at => Err(format!("JSON to protobuf differs at {at:?} of {} (ours {})", bytes.len(), wire.len())),
    }
}
