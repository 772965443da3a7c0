//! A request for a resource, handed to the registry's verb and answered in the form the client asked for.
//!
//! By now the user is known and allowed. What is checked here is what upstream's installed routes check: that the path
//! and the method exist (404, 405), that body and answer have a format we speak (415, 406), that options make sense.

use std::sync::Arc;

use gantry_machinery::feature::Gate;
use gantry_machinery::resource::{GroupVersionResource, Subresource};
use gantry_machinery::resource_api::{Collection, Deleted, PatchBody, PatchKind, ResourceApi, Target};
use gantry_machinery::selector::{FieldSelector, ShardSelector};
use gantry_machinery::status::Status;
use gantry_store_cache::key::ObjectKey;
use http::{HeaderMap, Method, Response};

use super::compress::accepts_gzip;
use super::form::Form;
use super::negotiate::{Format, Offer, body_format, content_type};
use super::payload::{Payload, Rope};
use super::query::{Query, WriteVerb};
use super::route::RequestInfo;
use super::service::{Asked, Service};
use super::{aggregated, answer, body, negotiate, watch_stream};
use crate::gate::authz::Attributes;
use crate::gate::reviews;
use crate::registry::handle::{BodyFormat, Handle, RequestBody, Written};
use crate::registry::table::Row;

/// What bodies may come in.
const BODIES: [&str; 3] = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
/// What patches may come in.
const PATCHES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];
/// What patches of custom resources may come in: without a Go type there is no strategy to merge by.
const CUSTOM_PATCHES: [&str; 3] =
    ["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"];
/// Kinds whose delete answers with the object instead of a Status, as upstream's registries are set.
const RETURN_DELETED: [&str; 15] = [
    "pods",
    "services",
    "serviceaccounts",
    "persistentvolumes",
    "persistentvolumeclaims",
    "podtemplates",
    "resourcequotas",
    "csidrivers.storage.k8s.io",
    "csinodes.storage.k8s.io",
    "csistoragecapacities.storage.k8s.io",
    "storageclasses.storage.k8s.io",
    "volumeattachments.storage.k8s.io",
    "volumeattributesclasses.storage.k8s.io",
    "deviceclasses.resource.k8s.io",
    "resourceslices.resource.k8s.io",
];

/// The answer to a resource's request.
pub(super) async fn answer(service: &Arc<Service>, mut asked: Asked) -> Result<Response<Payload>, Status> {
    let info = &asked.info;
    if service.registry.table().serves_unstored(&info.group, &info.version, &info.resource) {
        if let Some(review) = reviews::Review::of(info) {
            return super::review::answer(service, review, asked).await;
        }
        if is_binding(info) {
            return bind(service, asked).await;
        }
    }
    let (row, subresource) = match meant(service, info) {
        Ok(meant) => meant,
        Err(refusal) => {
            body::discard(&mut asked.body, body::BODY_BYTES_MAX).await;
            return *refusal;
        }
    };
    let request =
        ResourceRequest { service, row, subresource, handle: service.registry.as_user(asked.context.clone()), asked };
    request.answer().await
}

/// An answer that needs nothing of the request's body.
type Refusal = Box<Result<Response<Payload>, Status>>;

/// The resource, and the subresource, that a request means; else the refusal.
fn meant(service: &Service, info: &RequestInfo) -> Result<(Row, Option<Subresource>), Refusal> {
    let table = service.registry.table();
    let row = table.find(&info.group, &info.version, &info.resource).map(|row| (*row).clone());
    let Some(row) = row else {
        let unserved = aggregated::unserved(&service.registry, &info.group, &info.version);
        // Upstream routes by groups that it has: what lies outside of them is no API's path to answer with a Status.
        let known = info.group.is_empty()
            || table.rows().iter().any(|row| row.group() == info.group)
            || table.custom_rows().iter().any(|row| row.group() == info.group);
        let refusal = if known || unserved.code != 404 { Err(unserved) } else { Ok(answer::no_such_path()) };
        return Err(Box::new(refusal));
    };
    if info.method == Method::HEAD {
        return Err(Box::new(Err(Status::method_not_allowed())));
    }
    if row.resource.namespaced {
        // Collections may be asked for across namespaces; single objects and creations may not.
        let across = info.namespace.is_empty();
        if across && !matches!(info.verb, "list" | "watch") {
            let named = !info.subresource.is_empty() || path_name(info).is_some();
            let refusal = if named { Status::no_such_resource() } else { Status::method_not_allowed() };
            return Err(Box::new(Err(refusal)));
        }
    } else if !info.namespace.is_empty() && info.resource != "namespaces" {
        return Err(Box::new(Err(Status::no_such_resource())));
    }
    let subresource = match info.subresource.as_str() {
        "" => None,
        name => Some(row.resource.subresource(name).ok_or_else(|| Box::new(Err(Status::no_such_resource())))?.clone()),
    };
    let served = match &subresource {
        None => row.serves(info.verb),
        Some(sub) => sub.verbs.iter().any(|v| v == info.verb),
    };
    // A collection is created in, listed and emptied; an object is everything else.
    let named = !info.name.is_empty();
    let fits = match info.verb {
        "create" => named == subresource.is_some(),
        "get" | "update" | "patch" | "delete" => named,
        _ => true,
    };
    if !served || !fits {
        return Err(Box::new(Err(Status::method_not_allowed())));
    }
    Ok((row, subresource))
}

/// Whether the request is for the old way to bind a pod: `POST .../bindings`.
fn is_binding(info: &RequestInfo) -> bool {
    info.group.is_empty() && info.version == "v1" && info.resource == "bindings"
}

/// Binds a pod that the body names; answers a Status.
async fn bind(service: &Arc<Service>, mut asked: Asked) -> Result<Response<Payload>, Status> {
    static BINDINGS: GroupVersionResource = GroupVersionResource::of("", "v1", "bindings");
    if asked.info.verb != "create" || asked.info.namespace.is_empty() || !asked.info.name.is_empty() {
        return Err(Status::method_not_allowed());
    }
    let options = Query::new(&asked.query).write_options(WriteVerb::Create)?;
    let mut accepted =
        negotiate::accept(&asked.headers, negotiate::Offer::Plain).map_err(|refused| refused.status(""))?;
    accepted.pretty |= negotiate::pretty(&asked.headers, &asked.query);
    let format = request_format(&asked.headers)?;
    let bytes = body::read(&asked.headers, &mut asked.body).await?;
    let target = Target { resource: &BINDINGS, namespace: &asked.info.namespace, name: "", subresource: "" };
    let handle = service.registry.as_user(asked.context.clone());
    let written = handle.create_body(&target, RequestBody { format, bytes }, &options).await?;
    let bound = super::form::parse(&written.object.body)?;
    let text = super::form::encode(&accepted, &bound, "", "v1", "Status")?;
    Ok(answer::response(201, accepted.format.media_type(), Payload::whole(text)))
}

/// The name in the path.
fn path_name(info: &RequestInfo) -> Option<&str> {
    (!info.name.is_empty() && !info.name_selected).then_some(info.name.as_str())
}

struct ResourceRequest<'a> {
    service: &'a Arc<Service>,
    row: Row,
    subresource: Option<Subresource>,
    handle: Handle,
    asked: Asked,
}

impl ResourceRequest<'_> {
    async fn answer(self) -> Result<Response<Payload>, Status> {
        if matches!(self.asked.info.subresource.as_str(), "log" | "exec" | "attach" | "portforward" | "proxy") {
            return Err(self.handle.connection_refused(&self.target()));
        }
        match self.asked.info.verb {
            "get" => self.get().await,
            "list" => self.list().await,
            "watch" => self.watch().await,
            "create" => self.write(WriteVerb::Create).await,
            "update" => self.write(WriteVerb::Update).await,
            "patch" => self.patch().await,
            "delete" => self.delete().await,
            "deletecollection" => self.delete_collection().await,
            _ => Err(Status::method_not_allowed()),
        }
    }

    fn form(&self, offer: Offer) -> Result<Form, Status> {
        // Columns are the kind's own, or those of a Scale: an Eviction has none.
        let shaped =
            self.subresource.as_ref().is_none_or(|sub| sub.kind == self.row.resource.kind || sub.kind == "Scale");
        let offer = if shaped { offer } else { Offer::Plain };
        let (headers, query) = (&self.asked.headers, &self.asked.query);
        let translations = self.service.registry.store().translations();
        Form::negotiate(headers, query, offer, &self.row, self.subresource.as_ref(), translations)
    }

    fn compress(&self) -> bool {
        accepts_gzip(&self.asked.headers)
    }

    fn target(&self) -> Target<'_> {
        let info = &self.asked.info;
        Target {
            resource: self.row.gvr(),
            namespace: self.namespace(),
            name: &info.name,
            subresource: &info.subresource,
        }
    }

    /// The namespace of the objects; a Namespace itself lies in none.
    fn namespace(&self) -> &str {
        if self.row.resource.namespaced { &self.asked.info.namespace } else { "" }
    }

    fn collection(&self) -> Collection<'_> {
        Collection { resource: self.row.gvr(), namespace: self.namespace() }
    }

    async fn get(self) -> Result<Response<Payload>, Status> {
        let form = self.form(Offer::Object)?;
        let version = Query::new(&self.asked.query).get_version()?;
        let object = self.handle.get_at(&self.target(), version).await?;
        answer::object(200, &object, &form, self.compress())
    }

    async fn list(self) -> Result<Response<Payload>, Status> {
        let form = self.form(Offer::List)?;
        let mut options = Query::new(&self.asked.query).list_options()?;
        self.select(&mut options.fields)?;
        options.shard = self.shard()?;
        let list = self.handle.list(&self.collection(), &options).await?;
        answer::list(200, list, &form.of_shard(options.shard.as_ref()), self.compress())
    }

    async fn watch(self) -> Result<Response<Payload>, Status> {
        let form = self.form(Offer::Watch)?;
        let mut wanted = Query::new(&self.asked.query).watch_options()?;
        self.select(&mut wanted.options.fields)?;
        wanted.options.shard = self.shard()?;
        if wanted.from_now {
            wanted.options.after = Some(self.service.registry.store().view().revision());
        }
        let content_type = form.watch_content_type();
        let feed = match self.handle.subscribe(&self.collection(), &wanted.options).await {
            // What is wrong with the revision is told as an event: upstream's watches have begun when they find out.
            Err(status) if status.is_expired() || status.has_cause("ResourceVersionTooLarge") => {
                let mut frame = Rope::new();
                form.push_error(&mut frame, &status);
                return Ok(answer::response(200, content_type, Payload::whole(frame)));
            }
            feed => feed?,
        };
        let frames = watch_stream::frames(feed, form, self.service.shutdown.clone(), self.asked.counted);
        Ok(answer::response(200, content_type, Payload::stream(frames)))
    }

    /// The shard asked for; while the gate is off the parameter means nothing, as upstream.
    fn shard(&self) -> Result<Option<ShardSelector>, Status> {
        let gates = self.service.registry.table().gates();
        if gates.enabled(Gate::ShardedListAndWatch) { Query::new(&self.asked.query).shard() } else { Ok(None) }
    }

    /// The field selector as the kind knows it, and with the name that the path says.
    fn select(&self, fields: &mut FieldSelector) -> Result<(), Status> {
        if self.row.collection == "pods" {
            // The name that v1 had for the field before it was called after what it holds.
            fields.rename("spec.host", "spec.nodeName");
        }
        if let Some(name) = path_name(&self.asked.info) {
            if fields.is_everything() {
                *fields = FieldSelector::equals("metadata.name", name);
            } else if fields.exact("metadata.name") != Some(name) {
                return Err(Status::bad_request("fieldSelector metadata.name doesn't match requested name"));
            }
        }
        Ok(())
    }

    async fn write(mut self, verb: WriteVerb) -> Result<Response<Payload>, Status> {
        let form = self.form(Offer::Object)?;
        let options = Query::new(&self.asked.query).write_options(verb)?;
        let format = request_format(&self.asked.headers)?;
        let bytes = body::read(&self.asked.headers, &mut self.asked.body).await?;
        let sent = RequestBody { format, bytes };
        let written = match verb {
            WriteVerb::Create => self.handle.create_body(&self.target(), sent, &options).await?,
            _ => {
                self.may_create_by_writing(self.row.strategy.create_on_update())?;
                self.handle.update_body(&self.target(), sent, &options).await?
            }
        };
        self.written(&written, &form, verb)
    }

    async fn patch(mut self) -> Result<Response<Payload>, Status> {
        let form = self.form(Offer::Object)?;
        let kind = match content_type(&self.asked.headers) {
            "application/json-patch+json" => PatchKind::Json,
            "application/merge-patch+json" => PatchKind::Merge,
            "application/strategic-merge-patch+json" if !self.row.strategy.is_custom() => PatchKind::Strategic,
            "application/apply-patch+yaml" => PatchKind::Apply,
            _ if self.row.strategy.is_custom() => return Err(Status::unsupported_media_type(&CUSTOM_PATCHES)),
            _ => return Err(Status::unsupported_media_type(&PATCHES)),
        };
        let verb = if kind == PatchKind::Apply { WriteVerb::Apply } else { WriteVerb::Patch };
        let options = Query::new(&self.asked.query).write_options(verb)?;
        self.may_create_by_writing(kind == PatchKind::Apply)?;
        let body = body::read(&self.asked.headers, &mut self.asked.body).await?;
        let written = self.handle.patch_body(&self.target(), PatchBody { kind, body }, &options).await?;
        self.written(&written, &form, verb)
    }

    /// Apply, and PUT of some kinds, create what is not there: that needs the right to create.
    fn may_create_by_writing(&self, creates: bool) -> Result<(), Status> {
        let info = &self.asked.info;
        if !creates || !info.subresource.is_empty() {
            return Ok(());
        }
        let attributes = Attributes { verb: "create", ..Attributes::of(&self.asked.context.user, info) };
        let key = ObjectKey::new(&self.row.collection, self.namespace(), &info.name);
        if self.service.registry.store().get(&key).is_some() {
            return Ok(());
        }
        self.service.authorizer.check(&attributes)
    }

    fn written(&self, written: &Written, form: &Form, verb: WriteVerb) -> Result<Response<Payload>, Status> {
        let code = if written.created || verb == WriteVerb::Create { 201 } else { 200 };
        answer::object(code, &written.object, form, self.compress())
    }

    async fn delete(mut self) -> Result<Response<Payload>, Status> {
        let form = self.form(Offer::Object)?;
        let options = self.delete_options().await?;
        match self.handle.delete(&self.target(), &options).await? {
            Deleted::Gone(object) if RETURN_DELETED.contains(&self.row.collection.as_str()) => {
                answer::object(200, &object, &form, self.compress())
            }
            Deleted::Gone(object) => {
                let uid = crate::registry::body::uid(&object);
                Ok(answer::status(&Status::success(self.row.gvr(), object.key.name(), &uid), &form.accepted()))
            }
            Deleted::Marked(object) => answer::object(200, &object, &form, self.compress()),
        }
    }

    async fn delete_collection(mut self) -> Result<Response<Payload>, Status> {
        let form = self.form(Offer::List)?;
        let mut list = Query::new(&self.asked.query).list_options()?;
        self.select(&mut list.fields)?;
        list.shard = self.shard()?;
        let options = self.delete_options().await?;
        let gone = self.handle.delete_collection(&self.collection(), &list, &options).await?;
        answer::list(200, gone, &form, self.compress())
    }

    async fn delete_options(&mut self) -> Result<gantry_machinery::resource_api::DeleteOptions, Status> {
        let bytes = body::read(&self.asked.headers, &mut self.asked.body).await?;
        let query = Query::new(&self.asked.query);
        if bytes.is_empty() {
            return query.delete_options(None);
        }
        let format = request_format(&self.asked.headers)?;
        query.delete_options(Some(&super::form::decode(format, &bytes, "", "v1", "DeleteOptions")?))
    }
}

/// The body's format for the registry.
pub(super) fn request_format(headers: &HeaderMap) -> Result<BodyFormat, Status> {
    match body_format(headers) {
        Some(Format::Json) => Ok(BodyFormat::Json),
        Some(Format::Yaml) => Ok(BodyFormat::Yaml),
        Some(Format::Protobuf) => Ok(BodyFormat::Protobuf),
        None => Err(Status::unsupported_media_type(&BODIES)),
    }
}
