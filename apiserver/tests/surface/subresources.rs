//! What hangs below an object, one step for each of its kinds: objects are read and written as they were read, questions
//! are asked, connections are refused for their reason. A subresource without a step here fails the walk.

use gantry_machinery::codec::json;
use gantry_machinery::value;
use gantry_machinery::value::Value;

use super::format::Format;
use super::walk::Walk;

/// How a subresource is walked.
enum Step {
    /// It shows the object, or a view of it.
    Object,
    /// It takes this and acts on the object.
    Asked(Value),
    /// It would connect to a node or to what runs there.
    Connection,
}

/// The step of a subresource below the object of a name.
fn step(subresource: &str, name: &str) -> Option<Step> {
    Some(match subresource {
        "status" | "scale" | "approval" | "resize" | "ephemeralcontainers" | "finalize" => Step::Object,
        "binding" => Step::Asked(value!({
            "apiVersion": "v1", "kind": "Binding", "metadata": {"name": (name)},
            "target": {"apiVersion": "v1", "kind": "Node", "name": "walk-node"},
        })),
        "eviction" => {
            Step::Asked(value!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": (name)}}))
        }
        "token" => Step::Asked(value!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": ["walk"]},
        })),
        "log" | "exec" | "attach" | "portforward" | "proxy" => Step::Connection,
        _ => return None,
    })
}

/// Pods are bound before they are evicted: one that runs nowhere would be gone at once.
const ORDER: [&str; 2] = ["binding", "eviction"];

impl Walk {
    pub(super) async fn subresources(&mut self, one: &str, format: Format) {
        let mut below = self.resource.subresources.clone();
        below.sort_by_key(|(name, _)| ORDER.iter().position(|later| later == name));
        for (name, verbs) in below {
            let path = format!("{one}/{name}");
            match step(&name, one.rsplit('/').next().unwrap_or_default()) {
                Some(Step::Object) => self.object_below(&path, &name, &verbs, format).await,
                Some(Step::Asked(body)) => {
                    let answered =
                        self.exchange("POST", &path, format.media_type(), format, format.write(&body), &[201]).await;
                    self.holds(answered.is_none_or(|a| a.get("status").is_some()), || {
                        format!("{path} answered without a status")
                    });
                }
                Some(Step::Connection) => self.connection(&path, &verbs, format).await,
                None => self.fault(format!("{name}: no step in tests/surface/subresources.rs")),
            }
        }
    }

    /// Read, written as it was read, and patched with nothing.
    async fn object_below(&mut self, path: &str, name: &str, verbs: &[String], format: Format) {
        let serves = |verb: &str| verbs.iter().any(|v| v == verb);
        // What cannot be read by itself is written as the whole object.
        let source = if serves("get") { path } else { path.trim_end_matches(name).trim_end_matches('/') };
        let Some(got) = self.exchange("GET", source, "", format, Vec::new(), &[200]).await else { return };
        let own = path.rsplit('/').nth(1).unwrap_or_default().to_owned();
        if name == "scale" {
            self.holds(got.str_at(&["kind"]) == Some("Scale"), || format!("{path} is {got:?}"));
            if format != Format::Protobuf {
                let answer = self.get(path, &format!("{};as=Table;v=v1;g=meta.k8s.io", format.media_type())).await;
                self.table(path, format, &answer, &own);
            }
        }
        if serves("update") {
            self.exchange("PUT", path, format.media_type(), format, format.write(&got), &[200]).await;
        }
        if serves("patch") {
            self.exchange("PATCH", path, "application/merge-patch+json", format, b"{}".to_vec(), &[200]).await;
            let nothing = json::encode(&value!([]));
            self.exchange("PATCH", path, "application/json-patch+json", format, nothing, &[200]).await;
        }
    }

    /// Refused by every verb, in the format that was asked for.
    async fn connection(&mut self, path: &str, verbs: &[String], format: Format) {
        for verb in verbs {
            let method = match verb.as_str() {
                "get" => "GET",
                "create" => "POST",
                "update" => "PUT",
                "patch" => "PATCH",
                _ => "DELETE",
            };
            let answer = self.send(method, path, &[("accept", format.media_type())], Vec::new()).await;
            let status = format.read(&answer.body).unwrap_or_default();
            let said = status.str_at(&["message"]).is_some_and(|message| !message.is_empty());
            let refused = matches!(answer.code, 400 | 501) && status.str_at(&["status"]) == Some("Failure") && said;
            if self.holds(refused, || format!("{method} {path} in {format:?}: {} {status:?}", answer.code)) {
                self.did(method, path, format);
            }
        }
    }
}
