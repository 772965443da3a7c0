//! `serviceaccounts/token`: the TokenRequest subresource. The registry checks the account and the object that the
//! token is to be bound to; the signing is the gate's ([`TokenIssuer`]).

use gantry_machinery::resource::gvr;
use gantry_machinery::status::Status;
use gantry_machinery::time;
use gantry_machinery::value::Value;
use gantry_store_cache::key::ObjectKey;
use gantry_store_cache::object::Facets;
use gantry_store_cache::revision::Revision;

use super::call::Call;
use super::handle::Written;
use super::validate::{Errors, Path};
use super::{Registry, body, metadata};

/// What a token is to say. Everything in it has been checked.
#[derive(Clone, Debug)]
pub struct TokenClaims {
    /// The account's namespace.
    pub namespace: String,
    /// The account's name.
    pub account: String,
    /// The account's uid.
    pub account_uid: String,
    /// Whom the token is for; empty means the API server itself.
    pub audiences: Vec<String>,
    /// For how long it is asked; the issuer may say less.
    pub expiration_seconds: i64,
    /// The object whose deletion ends the token.
    pub bound_to: Option<BoundObject>,
}

/// An object that a token is bound to.
#[derive(Clone, Debug)]
pub struct BoundObject {
    /// `Pod`, `Secret` or `Node`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// For pods: the node they run on, if any, and its uid.
    pub node: Option<(String, String)>,
}

/// A signed token.
#[derive(Clone, Debug)]
pub struct IssuedToken {
    /// The token.
    pub token: String,
    /// Whom it is for, defaults filled in.
    pub audiences: Vec<String>,
    /// How long it holds.
    pub expiration_seconds: i64,
    /// When it ends, Unix seconds.
    pub expires_at: i64,
}

/// Signs ServiceAccount tokens.
pub trait TokenIssuer: Send + Sync + 'static {
    /// A token that says this.
    ///
    /// # Errors
    /// What the client is to be told, when the key or an audience does not allow it.
    fn issue(&self, claims: &TokenClaims) -> Result<IssuedToken, Status>;
}

/// Bounds that upstream sets for `expirationSeconds`.
const EXPIRATION_SECONDS: std::ops::RangeInclusive<i64> = 600..=1 << 32;

impl Registry {
    /// `POST .../serviceaccounts/NAME/token`: a token for the account.
    pub(super) fn create_token(&self, call: &Call<'_>, mut request: Value) -> Result<Written, Status> {
        let stored =
            self.store.get(&call.key(call.name)).ok_or_else(|| Status::not_found(call.row.gvr(), call.name))?;
        let account = body::decode(&stored)?;
        let said = metadata::text(&request, "name");
        if !said.is_empty() && said != call.name {
            return Err(Status::bad_request(format!(
                "service account name in request ({said}) does not match the name on the URL ({})",
                call.name
            )));
        }
        let mut errors = Errors::new();
        let spec = Path::new("spec");
        let seconds = request.i64_at(&["spec", "expirationSeconds"]).unwrap_or(3600);
        if seconds < *EXPIRATION_SECONDS.start() {
            errors.invalid(
                &spec.child("expirationSeconds"),
                seconds,
                "may not specify a duration less than 10 minutes",
            );
        }
        if seconds > *EXPIRATION_SECONDS.end() {
            errors.invalid(
                &spec.child("expirationSeconds"),
                seconds,
                "may not specify a duration larger than 2^32 seconds",
            );
        }
        if !errors.is_empty() {
            let errors = errors.into_vec();
            return Err(Status::invalid("authentication.k8s.io", "TokenRequest", call.name, &errors));
        }
        let audiences: Vec<String> =
            request.array_at(&["spec", "audiences"]).iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect();
        let bound_to = match request.at(&["spec", "boundObjectRef"]).filter(|r| !r.is_null()) {
            Some(reference) => Some(self.bound_object(call, reference)?),
            None => None,
        };
        let claims = TokenClaims {
            namespace: call.namespace.to_owned(),
            account: call.name.to_owned(),
            account_uid: metadata::text(&account, "uid").to_owned(),
            audiences,
            expiration_seconds: seconds,
            bound_to,
        };
        let issuer =
            self.tokens.get().ok_or_else(|| Status::service_unavailable("no issuer of tokens is configured"))?;
        let issued = issuer.issue(&claims)?;

        request.set(&["kind"], "TokenRequest");
        request.set(&["apiVersion"], "authentication.k8s.io/v1");
        request.set(&["metadata", "name"], call.name);
        request.set(&["metadata", "namespace"], call.namespace);
        request.set(&["metadata", "creationTimestamp"], time::now());
        request.set(&["spec", "audiences"], issued.audiences);
        request.set(&["spec", "expirationSeconds"], issued.expiration_seconds);
        request.set(&["status", "token"], issued.token);
        request.set(&["status", "expirationTimestamp"], time::time(issued.expires_at));
        let key = ObjectKey::new("tokenrequests", call.namespace, call.name);
        Ok(Written { object: body::answer(key, Revision(0), &request, Facets::default()), created: true })
    }

    /// The object a token is to be bound to, which must exist as the caller knows it.
    fn bound_object(&self, call: &Call<'_>, reference: &Value) -> Result<BoundObject, Status> {
        let text = |field: &str| reference.str_at(&[field]).unwrap_or_default();
        let (kind, name) = (text("kind"), text("name"));
        let (resource, namespace) = match (text("apiVersion"), kind) {
            ("v1" | "", "Pod") => (&gvr::PODS, call.namespace),
            ("v1" | "", "Secret") => (&gvr::SECRETS, call.namespace),
            ("v1" | "", "Node") => (&gvr::NODES, ""),
            (version, kind) => {
                return Err(Status::bad_request(format!(
                    "cannot bind token for object of type {version}, Kind={kind}"
                )));
            }
        };
        let stored = self.store.get(&ObjectKey::new(&resource.collection(), namespace, name));
        let stored = stored.ok_or_else(|| Status::not_found(resource, name))?;
        let object = body::decode(&stored)?;
        let uid = metadata::text(&object, "uid").to_owned();
        let asked = text("uid");
        if !asked.is_empty() && asked != uid {
            return Err(Status::conflict(
                resource,
                name,
                format_args!(
                    "the UID in the bound object reference ({asked}) does not match the UID in record. The object might \
                     have been deleted and then recreated"
                ),
            ));
        }
        if kind == "Pod" && object.str_at(&["spec", "serviceAccountName"]) != Some(call.name) {
            return Err(Status::bad_request(format!(
                "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                call.name
            )));
        }
        let node = object.str_at(&["spec", "nodeName"]).filter(|n| kind == "Pod" && !n.is_empty()).map(|node| {
            let stored = self.store.get(&ObjectKey::new("nodes", "", node));
            let uid = stored.and_then(|s| body::decode(&s).ok()).map(|n| metadata::text(&n, "uid").to_owned());
            (node.to_owned(), uid.unwrap_or_default())
        });
        Ok(BoundObject { kind: kind.to_owned(), name: name.to_owned(), uid, node })
    }
}
