//! CertificateSigningRequests: who asks, and who may approve, sign, and ask for what (API docs "Certificate Signing
//! Requests", "Authorization"). Upstream's plugins CertificateApproval, CertificateSigning and
//! CertificateSubjectRestriction; the requester's fields are what upstream's strategy fills in.

use gantry_machinery::status::Status;
use gantry_machinery::value::{Object, Value};

use super::{Attributes, Operation, Plugin};
use crate::gate::authz;
use crate::registry::kinds::certificate::groups_asked;

const COLLECTION: &str = "certificatesigningrequests.certificates.k8s.io";
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

fn concerns(attributes: &Attributes<'_>) -> bool {
    attributes.operation != Operation::Delete && attributes.call.row.collection == COLLECTION
}

/// A new request says who made it, whatever it said itself.
pub(crate) struct CertificateRequester;

impl Plugin for CertificateRequester {
    fn name(&self) -> &'static str {
        "CertificateRequester"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.creates(COLLECTION)
    }

    fn mutate(&self, attributes: &Attributes<'_>, new: &mut Value, _old: Option<&Value>) -> Result<(), Status> {
        let user = &attributes.call.request.user;
        let spec = new.force_object().object_entry("spec");
        for field in ["username", "uid", "groups", "extra"] {
            spec.remove(field);
        }
        spec.insert("username", user.name.as_str());
        if !user.uid.is_empty() {
            spec.insert("uid", user.uid.as_str());
        }
        let list = |texts: &[String]| Value::Array(texts.iter().map(|t| Value::from(t.as_str())).collect());
        if !user.groups.is_empty() {
            spec.insert("groups", list(&user.groups));
        }
        if !user.extra.is_empty() {
            let extra: Object = user.extra.iter().map(|(key, values)| (key.as_str(), list(values))).collect();
            spec.insert("extra", Value::from(extra));
        }
        Ok(())
    }
}

/// Whether the caller may do `verb` for the request's signer, by name or for its whole domain.
fn may(attributes: &Attributes<'_>, verb: &str, signer: &str) -> bool {
    let Some(authorizer) = attributes.registry.authorizer() else { return true };
    let user = &attributes.call.request.user;
    let domain = signer.split('/').next().unwrap_or_default();
    [signer.to_owned(), format!("{domain}/*")].iter().any(|name| {
        let wanted = authz::Attributes::on(user, verb, "certificates.k8s.io", "signers", name);
        authorizer.decide(&authz::Attributes { version: "*", ..wanted }).allowed()
    })
}

/// `approval` needs the right to approve for the signer, `status` the right to sign for it.
pub(crate) struct CertificateAuthorization;

impl Plugin for CertificateAuthorization {
    fn name(&self) -> &'static str {
        "CertificateApproval"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        concerns(attributes) && matches!(attributes.call.subresource, "approval" | "status")
    }

    fn validate(&self, attributes: &Attributes<'_>, new: Option<&Value>, old: Option<&Value>) -> Result<(), Status> {
        let (Some(new), Some(old)) = (new, old) else { return Ok(()) };
        let signer = old.str_at(&["spec", "signerName"]).unwrap_or_default();
        let changes = ["certificate", "conditions"].iter().any(|f| new.at(&["status", f]) != old.at(&["status", f]));
        let verb = match attributes.call.subresource {
            "approval" => "approve",
            _ if changes => "sign",
            _ => return Ok(()),
        };
        if may(attributes, verb, signer) {
            return Ok(());
        }
        Err(attributes.forbidden(new, format!("user not permitted to {verb} requests with signerName {signer:?}")))
    }
}

/// Nobody becomes a member of `system:masters` by asking.
pub(crate) struct CertificateSubjectRestriction;

impl Plugin for CertificateSubjectRestriction {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.creates(COLLECTION)
    }

    fn validate(&self, attributes: &Attributes<'_>, new: Option<&Value>, _old: Option<&Value>) -> Result<(), Status> {
        let Some(new) = new.filter(|n| n.str_at(&["spec", "signerName"]) == Some(CLIENT_SIGNER)) else { return Ok(()) };
        // What cannot be read was refused by validation.
        let groups = groups_asked(new.str_at(&["spec", "request"]).unwrap_or_default());
        if groups.is_ok_and(|groups| groups.iter().any(|group| group == authz::MASTERS)) {
            let why = format!("use of {CLIENT_SIGNER} signer with {} group is not allowed", authz::MASTERS);
            return Err(attributes.forbidden(new, why));
        }
        Ok(())
    }
}
