//! One resource's walk through all that is served of it. What was done with success is noted; at the end every verb that
//! discovery names, of the resource and of what hangs below it, must have been done in every format.

use std::collections::BTreeSet;

use gantry_machinery::codec::json;
use gantry_machinery::value;
use gantry_machinery::value::Value;

use super::client::{Answer, Client};
use super::format::{Format, first_event};

/// A resource as discovery tells of it.
pub(crate) struct Served {
    /// `api/v1`, `apis/apps/v1`.
    pub(crate) path: String,
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) plural: String,
    pub(crate) kind: String,
    pub(crate) namespaced: bool,
    pub(crate) verbs: Vec<String>,
    /// Their names with their verbs.
    pub(crate) subresources: Vec<(String, Vec<String>)>,
}

impl Served {
    /// `pods`, `deployments.apps`.
    pub(crate) fn collection(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// What tells this walk's objects from those of others, versions of the same objects included.
    fn mark(&self) -> String {
        let group = self.group.split('.').next().unwrap_or_default();
        format!("{}-{group}x-{}", self.plural, self.version)
    }

    fn api_version(&self) -> &str {
        self.path.split_once('/').map_or("", |(_, rest)| rest)
    }

    fn serves(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == verb)
    }

    /// Whether there is a type in the schema table, so that protobuf and strategic merge patch work.
    fn built_in(&self) -> bool {
        gantry_machinery::schema::kind(&self.group, &self.version, &self.kind).is_some()
    }
}

pub(crate) struct Walk {
    pub(super) client: Client,
    pub(super) resource: Served,
    manifest: Value,
    faults: Vec<String>,
    /// Subresource (empty: the object itself), verb and format of what was done.
    done: BTreeSet<(String, &'static str, Format)>,
}

impl Walk {
    pub(crate) fn new(client: Client, resource: Served, mut manifest: Value) -> Self {
        if manifest.str_at(&["spec", "request"]) == Some("CSR") {
            manifest.set(&["spec", "request"], super::certificate_request());
        }
        Self { client, resource, manifest, faults: Vec::new(), done: BTreeSet::new() }
    }

    /// Walks; gives what was not as it should be.
    pub(crate) async fn all(mut self) -> Vec<String> {
        let formats: Vec<Format> =
            Format::ALL.into_iter().filter(|f| *f != Format::Protobuf || self.resource.built_in()).collect();
        if !self.resource.serves("get") {
            for format in &formats {
                self.asked_and_answered(*format).await;
            }
            return self.faults;
        }
        for format in &formats {
            self.life(*format).await;
            self.emptied(*format).await;
        }
        self.refusals().await;
        if self.faults.is_empty() {
            self.complete(&formats);
        }
        self.faults
    }

    /// Whether everything that discovery names was done.
    fn complete(&mut self, formats: &[Format]) {
        let own = (String::new(), self.resource.verbs.clone());
        let named: Vec<_> = [own].into_iter().chain(self.resource.subresources.clone()).collect();
        for (subresource, verbs) in named {
            for (verb, format) in verbs.iter().flat_map(|verb| formats.iter().map(move |format| (verb, *format))) {
                // YAML has no frames.
                let framed = verb != "watch" || format != Format::Yaml;
                let done = self.done.iter().any(|(s, v, f)| *s == subresource && v == verb && *f == format);
                self.holds(done || !framed, || format!("{verb} of /{subresource} in {format:?} was not walked"));
            }
        }
    }

    /// Notes what was done.
    pub(super) fn did(&mut self, method: &str, path: &str, format: Format) {
        let path = path.split('?').next().unwrap_or_default();
        let below = path.strip_prefix(&self.collection_path()).unwrap_or_default();
        let mut parts = below.split('/').skip(1);
        let (named, subresource) = (parts.next().is_some(), parts.next().unwrap_or_default());
        let verb = match (method, named) {
            ("POST", _) => "create",
            ("GET", false) => "list",
            ("GET", true) => "get",
            ("PUT", _) => "update",
            ("PATCH", _) => "patch",
            ("DELETE", false) => "deletecollection",
            _ => "delete",
        };
        self.done.insert((subresource.to_owned(), verb, format));
    }

    pub(super) fn fault(&mut self, what: impl std::fmt::Display) {
        let of = format!("{} {}", self.resource.api_version(), self.resource.plural);
        self.faults.push(format!("{of}: {what}"));
    }

    /// Notes what does not hold; gives whether it does.
    pub(super) fn holds(&mut self, truth: bool, what: impl FnOnce() -> String) -> bool {
        if !truth {
            self.fault(what());
        }
        truth
    }

    fn collection_path(&self) -> String {
        let Served { path, plural, namespaced, .. } = &self.resource;
        if *namespaced { format!("/{path}/namespaces/default/{plural}") } else { format!("/{path}/{plural}") }
    }

    /// The manifest as a whole object.
    fn object(&self, name: &str) -> Value {
        let mut object = self.manifest.clone();
        object.set(&["apiVersion"], self.resource.api_version());
        object.set(&["kind"], self.resource.kind.as_str());
        if object.at(&["metadata", "name"]).is_none() {
            object.set(&["metadata", "name"], name);
        }
        object.set(&["metadata", "labels", "walk"], self.resource.mark());
        object
    }

    pub(super) async fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        self.client.send(method, path, headers, body).await
    }

    /// Sends a body and reads the answer in one format; `None`, and a fault, where the code is another.
    pub(super) async fn exchange(
        &mut self,
        method: &str,
        path: &str,
        content_type: &str,
        format: Format,
        body: Vec<u8>,
        codes: &[u16],
    ) -> Option<Value> {
        let headers = [("content-type", content_type), ("accept", format.media_type())];
        let answer = self.send(method, path, &headers, body).await;
        let said = format!("{method} {path} {content_type} as {format:?}");
        if !codes.contains(&answer.code) {
            let text = match format.read(&answer.body) {
                Ok(status) => status.str_at(&["message"]).unwrap_or_default().to_owned(),
                Err(_) => answer.text(),
            };
            self.fault(format!("{said}: {} {text}", answer.code));
            return None;
        }
        if answer.header("content-type") != format.media_type() {
            self.fault(format!("{said}: came as {:?}", answer.header("content-type")));
        }
        match format.read(&answer.body) {
            Ok(value) => {
                self.did(method, path, format);
                Some(value)
            }
            Err(why) => {
                self.fault(format!("{said}: {why}"));
                None
            }
        }
    }

    pub(super) async fn get(&mut self, path: &str, accept: &str) -> Answer {
        self.send("GET", path, &[("accept", accept)], Vec::new()).await
    }

    /// A kind that is only asked: the answer has a status.
    async fn asked_and_answered(&mut self, format: Format) {
        let (path, body) = (self.collection_path(), format.write(&self.object("")));
        let answered = self.exchange("POST", &path, format.media_type(), format, body, &[201]).await;
        if let Some(answered) = answered {
            self.holds(answered.get("status").is_some(), || format!("no status in {answered:?}"));
        }
    }

    /// From create to delete, with bodies and answers in one format.
    async fn life(&mut self, format: Format) {
        let name = format!("{}-{}", self.resource.mark(), format!("{format:?}").to_lowercase());
        let path = self.collection_path();
        let dry = format!("{path}?dryRun=All");
        let body = format.write(&self.object(&name));
        if self.exchange("POST", &dry, format.media_type(), format, body.clone(), &[201]).await.is_none() {
            return;
        }
        let Some(created) = self.exchange("POST", &path, format.media_type(), format, body, &[201]).await else {
            return;
        };
        let name = created.str_at(&["metadata", "name"]).unwrap_or_default().to_owned();
        let uid = created.str_at(&["metadata", "uid"]).unwrap_or_default();
        self.holds(uid.len() == 36, || format!("created without uid: {created:?}"));
        let one = format!("{path}/{name}");
        self.shown(&one, &name, format).await;
        self.listed(&name, format).await;
        self.watched(&name, format).await;
        self.changed(&one, format).await;
        self.subresources(&one, format).await;
        self.deleted(&one, format).await;
    }

    /// The object by itself: as it is, as a Table, as its metadata.
    async fn shown(&mut self, one: &str, name: &str, format: Format) {
        if let Some(got) = self.exchange("GET", one, "", format, Vec::new(), &[200]).await {
            self.holds(got.str_at(&["metadata", "name"]) == Some(name), || format!("{one} shows {got:?}"));
            let kind = self.resource.kind.clone();
            self.holds(got.str_at(&["kind"]) == Some(&kind), || format!("{one} is of kind {:?}", got.get("kind")));
        }
        let media = format.media_type();
        if format != Format::Protobuf {
            let answer = self.get(one, &format!("{media};as=Table;v=v1;g=meta.k8s.io")).await;
            self.table(one, format, &answer, name);
        }
        let answer = self.get(one, &format!("{media};as=PartialObjectMetadata;v=v1;g=meta.k8s.io")).await;
        let partial = format.read(&answer.body).unwrap_or_default();
        self.holds(
            partial.str_at(&["kind"]) == Some("PartialObjectMetadata")
                && partial.str_at(&["metadata", "name"]) == Some(name)
                && partial.get("spec").is_none(),
            || format!("{one} as metadata in {format:?}: {} {partial:?}", answer.code),
        );
    }

    /// A Table has as many cells as columns, and a row for the object.
    pub(super) fn table(&mut self, path: &str, format: Format, answer: &Answer, name: &str) {
        let table = format.read(&answer.body).unwrap_or_default();
        let columns = table.array_at(&["columnDefinitions"]).len();
        let rows = table.array_at(&["rows"]);
        let sound = columns > 0 && rows.iter().all(|row| row.array_at(&["cells"]).len() == columns);
        let there = rows.iter().any(|row| row.str_at(&["object", "metadata", "name"]) == Some(name));
        let is_table = table.str_at(&["kind"]) == Some("Table");
        self.holds(is_table && sound && there, || {
            format!("{path} as a Table in {format:?}: {} {table:?}", answer.code)
        });
    }

    /// Lists, whole and selected.
    async fn listed(&mut self, name: &str, format: Format) {
        if !self.resource.serves("list") {
            return;
        }
        let path = format!("{}?labelSelector=walk%3D{}", self.collection_path(), self.resource.mark());
        let names = |list: &Value| -> Vec<String> {
            list.array_at(&["items"])
                .iter()
                .filter_map(|i| i.str_at(&["metadata", "name"]).map(str::to_owned))
                .collect()
        };
        if let Some(list) = self.exchange("GET", &path, "", format, Vec::new(), &[200]).await {
            let kind = format!("{}List", self.resource.kind);
            self.holds(list.str_at(&["kind"]) == Some(&kind), || format!("a list is of kind {:?}", list.get("kind")));
            let versioned = list.str_at(&["metadata", "resourceVersion"]).is_some_and(|v| !v.is_empty());
            self.holds(versioned, || format!("a list without a version: {list:?}"));
            self.holds(names(&list).iter().any(|n| n == name), || {
                format!("{name} is missing from a list in {format:?}")
            });
        }
        if self.resource.namespaced {
            let everywhere = path.replace("/namespaces/default/", "/");
            let answer = self.get(&everywhere, format.media_type()).await;
            let list = format.read(&answer.body).unwrap_or_default();
            self.holds(names(&list).iter().any(|n| n == name), || {
                format!("{name} is missing from the list of all namespaces in {format:?}: {}", answer.code)
            });
        }
        let media = format.media_type();
        let one = format!("{}?fieldSelector=metadata.name%3D{name}&limit=1", self.collection_path());
        if let Some(list) = self.exchange("GET", &one, "", format, Vec::new(), &[200]).await {
            self.holds(names(&list) == [name], || format!("selected by name in {format:?}: {:?}", names(&list)));
        }
        if format != Format::Protobuf {
            let answer = self.get(&path, &format!("{media};as=Table;v=v1;g=meta.k8s.io")).await;
            self.table(&path, format, &answer, name);
        }
        let answer = self.get(&path, &format!("{media};as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")).await;
        let list = format.read(&answer.body).unwrap_or_default();
        self.holds(
            list.str_at(&["kind"]) == Some("PartialObjectMetadataList") && names(&list).iter().any(|n| n == name),
            || format!("the list as metadata in {format:?}: {} {list:?}", answer.code),
        );
    }

    /// Watches begin with the object, in every shape that has frames.
    async fn watched(&mut self, name: &str, format: Format) {
        if !self.resource.serves("watch") {
            return;
        }
        let path = format!("{}?watch=1&fieldSelector=metadata.name%3D{name}&timeoutSeconds=60", self.collection_path());
        if format == Format::Yaml {
            let answer = self.get(&path, format.media_type()).await;
            self.holds(answer.code == 406, || format!("a watch in YAML: {}", answer.code));
            return;
        }
        self.done.insert((String::new(), "watch", format));
        let mut shapes = vec![("", self.resource.kind.clone())];
        shapes.push((";as=PartialObjectMetadata;v=v1;g=meta.k8s.io", "PartialObjectMetadata".to_owned()));
        if format != Format::Protobuf {
            shapes.push((";as=Table;v=v1;g=meta.k8s.io", "Table".to_owned()));
        }
        for (shape, kind) in shapes {
            let accept = format!("{}{shape}", format.media_type());
            let enough = |read: &[u8]| first_event(format, read).is_some();
            let answer = self.client.beginning(&path, &[("accept", &accept)], enough).await;
            let event = if answer.code == 200 { first_event(format, &answer.body) } else { None };
            let right = event
                .as_ref()
                .is_some_and(|(event, object)| event == "ADDED" && object.str_at(&["kind"]) == Some(&kind));
            self.holds(right, || format!("watch {accept}: {} {event:?}", answer.code));
            let stream = if format == Format::Json {
                "application/json"
            } else {
                "application/vnd.kubernetes.protobuf;stream=watch"
            };
            self.holds(answer.header("content-type") == stream, || {
                format!("a watch came as {:?}", answer.header("content-type"))
            });
        }
    }

    /// PUT, the four patches, and a dry run that changes nothing.
    async fn changed(&mut self, one: &str, format: Format) {
        let Some(mut object) = self.exchange("GET", one, "", format, Vec::new(), &[200]).await else { return };
        let label = |object: &Value, key: &str| object.str_at(&["metadata", "labels", key]).map(str::to_owned);
        if self.resource.serves("update") {
            object.set(&["metadata", "labels", "put"], "1");
            let body = format.write(&object);
            let answered = self.exchange("PUT", one, format.media_type(), format, body, &[200]).await;
            if let Some(updated) = answered {
                self.holds(label(&updated, "put").as_deref() == Some("1"), || format!("PUT gave {updated:?}"));
            }
        }
        if !self.resource.serves("patch") {
            return;
        }
        let merge = |key: &str| json::encode(&value!({"metadata": {"labels": {(key): "1"}}}));
        let mut applied = Value::object();
        applied.set(&["apiVersion"], self.resource.api_version());
        applied.set(&["kind"], self.resource.kind.as_str());
        applied.set(&["metadata", "name"], one.rsplit('/').next().unwrap_or_default());
        applied.set(&["metadata", "labels", "apply"], "1");
        let patches = [
            (
                "json",
                "application/json-patch+json",
                br#"[{"op":"add","path":"/metadata/labels/json","value":"1"}]"#.to_vec(),
            ),
            ("merge", "application/merge-patch+json", merge("merge")),
            ("strategic", "application/strategic-merge-patch+json", merge("strategic")),
            ("apply", "application/apply-patch+yaml", json::encode(&applied)),
        ];
        for (key, content_type, body) in patches {
            if key == "strategic" && !self.resource.built_in() {
                let headers = [("content-type", content_type)];
                let answer = self.send("PATCH", one, &headers, body).await;
                self.holds(answer.code == 415, || format!("a strategic merge patch: {}", answer.code));
                continue;
            }
            let manager = if key == "apply" { "&fieldManager=walk" } else { "" };
            let dry = format!("{one}?dryRun=All{manager}");
            let path = format!("{one}?fieldValidation=Strict{manager}");
            let tried = self.exchange("PATCH", &dry, content_type, format, body.clone(), &[200]).await;
            if tried.is_some()
                && let Some(now) = self.exchange("GET", one, "", format, Vec::new(), &[200]).await
            {
                self.holds(label(&now, key).is_none(), || format!("a dry {key} patch changed the object"));
            }
            if let Some(patched) = self.exchange("PATCH", &path, content_type, format, body, &[200]).await {
                self.holds(label(&patched, key).as_deref() == Some("1"), || format!("{key} patch gave {patched:?}"));
            }
        }
    }

    /// Deletes with options in the format; gone, or on its way out where finalizers hold it.
    async fn deleted(&mut self, one: &str, format: Format) {
        let options = value!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0});
        let body = format.write(&options);
        let answered = self.exchange("DELETE", one, format.media_type(), format, body, &[200, 202]).await;
        if answered.is_none() {
            return;
        }
        let answer = self.get(one, "application/json").await;
        let leaving = answer.code == 200 && answer.json()["metadata"]["deletionTimestamp"].is_string();
        self.holds(answer.code == 404 || leaving, || format!("still there after its deletion: {}", answer.text()));
        if leaving {
            self.released(one).await;
        }
    }

    /// Takes the finalizers off: nobody else is there to do it.
    async fn released(&mut self, one: &str) {
        let release = json::encode(&value!({"metadata": {"finalizers": null}, "spec": {"finalizers": null}}));
        self.send("PATCH", one, &[("content-type", "application/merge-patch+json")], release).await;
    }

    /// deletecollection with a selector.
    async fn emptied(&mut self, format: Format) {
        if !self.resource.serves("deletecollection") || !self.faults.is_empty() {
            return;
        }
        let path = self.collection_path();
        let media = format.media_type();
        let name = format!("walk-last-{}", format!("{format:?}").to_lowercase());
        let body = format.write(&self.object(&name));
        self.exchange("POST", &path, media, format, body, &[201, 409]).await;
        let selected = format!("{path}?labelSelector=walk%3D{}", self.resource.mark());
        if self.exchange("DELETE", &selected, media, format, Vec::new(), &[200]).await.is_none() {
            return;
        }
        if let Some(list) = self.exchange("GET", &selected, "", format, Vec::new(), &[200]).await {
            let leaving = |item: &Value| item.at(&["metadata", "deletionTimestamp"]).is_some();
            self.holds(list.array_at(&["items"]).iter().all(leaving), || {
                format!("left after deletecollection: {list:?}")
            });
        }
        // Nobody else is there to take finalizers off what the next format will make again.
        for item in self
            .exchange("GET", &selected, "", format, Vec::new(), &[200])
            .await
            .iter()
            .flat_map(|l| l.array_at(&["items"]))
        {
            let one = format!("{path}/{}", item.str_at(&["metadata", "name"]).unwrap_or_default());
            self.released(&one).await;
        }
    }

    /// What is refused, in the form the client asked for.
    async fn refusals(&mut self) {
        let path = self.collection_path();
        let missing = format!("{path}/walk-none");
        for format in Format::ALL {
            let answer = self.get(&missing, format.media_type()).await;
            let status = format.read(&answer.body).unwrap_or_default();
            let spoken = format != Format::Protobuf || self.resource.built_in();
            let (code, reason) = if spoken { (404, "NotFound") } else { (406, "NotAcceptable") };
            let right = answer.code == code && status.str_at(&["reason"]) == Some(reason);
            self.holds(right, || format!("a missing object in {format:?}: {} {status:?}", answer.code));
        }
        let html = self.get(&missing, "text/html").await;
        self.holds(html.code == 406, || format!("Accept: text/html gave {}", html.code));
        let headers = [("content-type", "text/plain")];
        let typed = self.send("POST", &path, &headers, b"{}".to_vec()).await;
        self.holds(typed.code == 415, || format!("Content-Type: text/plain gave {}", typed.code));
        let head = self.send("HEAD", &path, &[], Vec::new()).await;
        self.holds(head.code == 405, || format!("HEAD gave {}", head.code));
        let other = self.send("POST", &missing, &[], b"{}".to_vec()).await;
        self.holds(other.code == 405, || format!("POST on an object gave {}", other.code));
    }
}
