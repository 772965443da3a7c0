//! CertificateSigningRequests (`certificates.k8s.io`): somebody asks, somebody approves, a signer answers.
//!
//! Who asked is filled in by admission ([`crate::admission::certificates`]), which also asks whether the caller may approve
//! or sign for the signer. The three parts are written apart: the request by creation alone, conditions of approval through
//! `approval`, the certificate and further conditions through `status`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gantry_machinery::value::Value;
use gantry_machinery::{names, time};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use super::cells::{age_cell, name_cell, or_none, text_cell};
use super::plain::Plain;
use crate::registry::strategy::{Column, keep};
use crate::registry::validate::difference::difference;
use crate::registry::validate::view::Held;
use crate::registry::validate::{Errors, Path, name};

/// A domain, a slash, and a path that holds a label beside a subdomain.
const SIGNER_MAX: usize = 253 + 1 + (253 + 63 + 1);
const APPROVED: &str = "Approved";
const DENIED: &str = "Denied";
const FAILED: &str = "Failed";
const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// The kind.
pub(super) static ALL: [Plain; 1] = [Plain::new(
    "certificates.k8s.io",
    "certificatesigningrequests",
    const {
        &[
            Column::name(),
            Column::string("Age"),
            Column::string("SignerName"),
            Column::string("Requestor"),
            Column::string("RequestedDuration"),
            Column::string("Condition"),
        ]
    },
    |request, now| {
        let duration = request.at(&["spec", "expirationSeconds"]).int();
        vec![
            name_cell(request),
            age_cell(request, now),
            or_none(request.at(&["spec", "signerName"]).text()),
            text_cell(request, &["spec", "username"]),
            or_none(&duration.map(|s| time::human_duration(s).to_string()).unwrap_or_default()),
            Value::from(condition_text(request)),
        ]
    },
)
.with(|_| {}, check_new)
.settled(settle)
.changing(check_change)
.named(names::path_segment)
.selectable(&["spec.signerName"])];

fn conditions(request: &Value) -> &[Value] {
    request.array_at(&["status", "conditions"])
}

fn has(request: &Value, kind: &str) -> bool {
    conditions(request).iter().any(|c| c.get("type").text() == kind)
}

fn condition_text(request: &Value) -> String {
    let decided = match (has(request, DENIED), has(request, APPROVED)) {
        (true, _) => DENIED,
        (_, true) => APPROVED,
        _ => "Pending",
    };
    let failed = if has(request, FAILED) { ",Failed" } else { "" };
    let issued = if request.at(&["status", "certificate"]).text().is_empty() { "" } else { ",Issued" };
    format!("{decided}{failed}{issued}")
}

/// The request never changes; `approval` writes conditions alone; new and changed conditions are dated.
fn settle(new: &mut Value, old: &Value, subresource: &str) {
    keep(new, old, "spec");
    if subresource == "approval" {
        let given = conditions(new).to_vec();
        keep(new, old, "status");
        if given.is_empty() {
            new.remove(&["status", "conditions"]);
        } else {
            new.set(&["status", "conditions"], Value::Array(given));
        }
    }
    if subresource.is_empty() {
        return;
    }
    let now = time::now();
    let Some(all) = new.at_mut(&["status", "conditions"]).and_then(Value::as_array_mut) else { return };
    for condition in all.iter_mut().filter_map(Value::as_object_mut) {
        let was = conditions(old).iter().find(|c| c.get("type") == condition.get("type"));
        if condition.get("lastUpdateTime").text().is_empty() {
            condition.insert("lastUpdateTime", now.as_str());
        }
        if condition.get("lastTransitionTime").text().is_empty() {
            let same = was.filter(|was| was.get("status") == condition.get("status"));
            let since = same.map(|was| was.get("lastTransitionTime").text()).filter(|t| !t.is_empty());
            condition.insert("lastTransitionTime", since.unwrap_or(&now).to_owned());
        }
    }
}

fn check_new(request: &Value, errors: &mut Errors) {
    let null = Value::Null;
    let (spec, at) = (request.get("spec").unwrap_or(&null), Path::new("spec"));
    if let Err(why) = groups_asked(spec.get("request").text()) {
        errors.invalid(&at.child("request"), spec.get("request"), why);
    }
    let usages = spec.get("usages").items();
    let list = at.child("usages");
    if usages.is_empty() {
        errors.required(&list, "");
    }
    for (n, usage) in usages.iter().enumerate() {
        let text = Some(usage).text();
        if !USAGES.contains(&text) {
            errors.not_supported(&list.index(n), text, USAGES);
        }
    }
    for (n, usage) in usages.iter().enumerate().filter(|(n, usage)| usages[..*n].contains(usage)) {
        errors.duplicate(&list.index(n), Some(usage).text());
    }
    let signer_at = at.child("signerName");
    match spec.get("signerName").text() {
        legacy @ "kubernetes.io/legacy-unknown" => {
            errors.invalid(&signer_at, legacy, "the legacy signerName is not allowed via this API version");
        }
        signer => check_signer(signer, &signer_at, errors),
    }
    if let Some(seconds) = spec.get("expirationSeconds").int().filter(|s| *s < 600) {
        let detail = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.invalid(&at.child("expirationSeconds"), seconds, detail);
    }
}

/// A signer's name: `example.com/signer`.
fn check_signer(signer: &str, at: &Path<'_>, errors: &mut Errors) {
    if signer.is_empty() {
        return errors.required(at, "");
    }
    let parts: Vec<&str> = signer.split('/').collect();
    let [domain, path] = parts.as_slice() else {
        let detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return errors.invalid(at, signer, detail);
    };
    if domain.len() > 253 {
        errors.too_long(at, 253);
    }
    // Of several wrong labels the first is told.
    if let Some((label, wrong)) = first_wrong(domain, names::dns_label) {
        for wrong in wrong {
            errors.invalid(at, *domain, format!("validating label {label:?}: {wrong}"));
        }
    }
    if !domain.contains('.') {
        errors.invalid(at, *domain, "should be a domain with at least two segments separated by dots");
    }
    if let Some((label, wrong)) = first_wrong(path, names::dns_subdomain) {
        for wrong in wrong {
            errors.invalid(at, *path, format!("validating label {label:?}: {wrong}"));
        }
    }
    if signer.len() > SIGNER_MAX {
        errors.too_long(at, SIGNER_MAX);
    }
}

fn first_wrong(text: &str, check: fn(&str) -> Vec<String>) -> Option<(&str, Vec<String>)> {
    text.split('.').map(|label| (label, check(label))).find(|(_, wrong)| !wrong.is_empty())
}

fn check_change(new: &Value, old: &Value, subresource: &str, errors: &mut Errors) {
    if subresource.is_empty() {
        return;
    }
    let at = Path::new("status.conditions");
    check_conditions(new, old, &at, errors);
    let (given, was) = (new.at(&["status", "certificate"]).text(), old.at(&["status", "certificate"]).text());
    let written = subresource == "status" && given != was;
    if written {
        check_certificate(given, errors);
    }
    let of = |request: &Value, kind: &str| -> Vec<Value> {
        conditions(request).iter().filter(|c| c.get("type").text() == kind).cloned().collect()
    };
    for kind in [APPROVED, DENIED, FAILED] {
        if of(new, kind).len() < of(old, kind).len() {
            errors.forbidden(&at, format!("updates may not remove a condition of type {kind:?}"));
        }
    }
    // Approval is nobody's business but the approver's.
    for kind in [APPROVED, DENIED].into_iter().filter(|_| subresource == "status") {
        let (is, was) = (of(new, kind), of(old, kind));
        if is.len() > was.len() {
            errors.forbidden(&at, format!("updates may not add a condition of type {kind:?}"));
        } else if is.len() == was.len() && is != was {
            let difference = difference(&Value::Array(was), &Value::Array(is));
            errors.forbidden(&at, format!("updates may not modify a condition of type {kind:?}\n{difference}"));
        }
    }
    if written && !was.is_empty() {
        let detail = "updates may not modify existing certificate content";
        errors.forbidden(&Path::new("status.certificate"), detail);
    }
}

fn check_conditions(request: &Value, old: &Value, at: &Path<'_>, errors: &mut Errors) {
    let all = conditions(request);
    let both = has(old, APPROVED) && has(old, DENIED);
    for (n, condition) in all.iter().enumerate() {
        let at = at.index(n);
        let (kind, status) = (condition.get("type").text(), condition.get("status").text());
        let allowed: &[&str] =
            if matches!(kind, APPROVED | DENIED | FAILED) { &["True"] } else { &["False", "True", "Unknown"] };
        if kind.is_empty() {
            errors.required(&at.child("type"), "");
        }
        name::one_of(status, allowed, &at.child("status"), errors);
        let before = |kind: &str| all[..n].iter().any(|c| c.get("type").text() == kind);
        let opposite = [(APPROVED, DENIED), (DENIED, APPROVED)].into_iter().find(|(own, _)| *own == kind);
        if !both && opposite.is_some_and(|(_, other)| before(other)) {
            errors.invalid(&at.child("type"), kind, "Approved and Denied conditions are mutually exclusive");
        }
        if before(kind) {
            errors.duplicate(&at.child("type"), kind);
        }
    }
}

/// Certificates (base64 of PEM blocks, and of no others).
fn check_certificate(base64: &str, errors: &mut Errors) {
    const HIDDEN: &str = "<certificate data>";
    let at = Path::new("status.certificate");
    let pem = STANDARD.decode(base64).unwrap_or_default();
    if pem.is_empty() {
        return;
    }
    let mut found = 0;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let sound = certificate.is_ok_and(|der| X509Certificate::from_der(&der).is_ok());
        if !sound {
            return errors.invalid(&at, HIDDEN, "a CERTIFICATE PEM block cannot be parsed");
        }
        found += 1;
    }
    if found == 0 {
        errors.invalid(&at, HIDDEN, "must contain at least one CERTIFICATE PEM block");
    }
}

/// The groups (organizations) that a request (base64 of PEM) asks for, if it is one and its signature holds.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn groups_asked(base64: &str) -> Result<Vec<String>, String> {
    subject_asked(base64, |subject| subject.iter_organization().map(text_of).collect())
}

/// The user (common name) that a request asks for, if it is one and its signature holds.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn common_name_asked(base64: &str) -> Result<String, String> {
    subject_asked(base64, |subject| subject.iter_common_name().map(text_of).last().unwrap_or_default())
}

fn text_of(value: &AttributeTypeAndValue<'_>) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn subject_asked<T>(base64: &str, read: impl Fn(&X509Name<'_>) -> T) -> Result<T, String> {
    const NOT_PEM: &str = "PEM block type must be CERTIFICATE REQUEST";
    let pem = STANDARD.decode(base64).map_err(|e| e.to_string())?;
    let der = CertificateSigningRequestDer::from_pem_slice(&pem).map_err(|_| NOT_PEM.to_owned())?;
    let (_, request) =
        X509CertificationRequest::from_der(&der).map_err(|e| format!("cannot parse the request: {e}"))?;
    request.verify_signature().map_err(|e| format!("the request's signature does not hold: {e}"))?;
    Ok(read(&request.certification_request_info.subject))
}

#[cfg(test)]
pub(crate) mod tests {
    use gantry_machinery::value;
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;
    use crate::registry::strategy::Strategy;

    /// A request (base64 of PEM) of a user in a group.
    pub(crate) fn request(user: &str, group: &str) -> String {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, user);
        params.distinguished_name.push(DnType::OrganizationName, group);
        STANDARD.encode(params.serialize_request(&key).unwrap().pem().unwrap())
    }

    fn csr() -> Value {
        value!({"metadata": {"name": "jane"}, "spec": {
            "request": (request("jane", "devs")), "signerName": "kubernetes.io/kube-apiserver-client",
            "usages": ["client auth"], "username": "someone", "expirationSeconds": 7200}})
    }

    fn causes(errors: Vec<gantry_machinery::status::FieldError>) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_request_is_read_and_refused_with_the_field() {
        let [requests] = &ALL;
        let good = csr();
        assert_eq!(causes(requests.validate(&good)), Vec::<String>::new());
        assert_eq!(groups_asked(good.at(&["spec", "request"]).text()), Ok(vec!["devs".to_owned()]));
        let row = requests.row(&good, 0);
        assert_eq!(row[2..], ["kubernetes.io/kube-apiserver-client", "someone", "120m", "Pending"].map(Value::from));

        let bad = value!({"spec": {"request": "aGVsbG8=", "usages": ["dance", "client auth", "client auth"],
            "signerName": "me", "expirationSeconds": 1}});
        let found = causes(requests.validate(&bad));
        assert_eq!(found[0], "spec.request: Invalid value: \"aGVsbG8=\": PEM block type must be CERTIFICATE REQUEST");
        assert!(found[1].starts_with("spec.usages[0]: Unsupported value: \"dance\": supported values: \"any\","));
        assert_eq!(
            found[2..],
            [
                "spec.usages[2]: Duplicate value: \"client auth\"",
                "spec.signerName: Invalid value: \"me\": must be a fully qualified domain and path of the form \
                 'example.com/signer-name'",
                "spec.expirationSeconds: Invalid value: 1: may not specify a duration less than 600 seconds (10 minutes)",
            ]
        );
    }

    #[test]
    fn each_part_is_written_through_its_own_door() {
        let [requests] = &ALL;
        let old = csr();
        let approval = value!([{"type": "Approved", "status": "True", "reason": "r"}]);
        let mut new = old.clone();
        new.set(&["status", "conditions"], approval.clone());
        new.set(&["status", "certificate"], "xxxx");
        new.set(&["spec", "signerName"], "a.example/other");
        let mut approved = new.clone();
        requests.prepare_for_update(&mut approved, &old, "approval");
        assert_eq!(approved.get("spec"), old.get("spec"));
        assert_eq!(approved.at(&["status", "certificate"]), None);
        assert!(!conditions(&approved)[0].get("lastUpdateTime").text().is_empty());
        assert_eq!(causes(requests.validate_update(&approved, &old, "approval")), Vec::<String>::new());
        assert_eq!(requests.row(&approved, 0)[5], Value::from("Approved"));

        requests.prepare_for_update(&mut new, &old, "status");
        assert_eq!(
            causes(requests.validate_update(&new, &old, "status")),
            [
                "status.certificate: Invalid value: \"<certificate data>\": must contain at least one CERTIFICATE PEM \
                 block",
                "status.conditions: Forbidden: updates may not add a condition of type \"Approved\"",
            ]
        );
        let mut both = approved.clone();
        both.set(&["status", "conditions"], value!([{"type": "Denied", "status": "False"}]));
        let fields: Vec<String> =
            requests.validate_update(&both, &approved, "approval").into_iter().map(|e| e.to_string()).collect();
        assert_eq!(
            fields,
            [
                "status.conditions[0].status: Unsupported value: \"False\": supported values: \"True\"",
                "status.conditions: Forbidden: updates may not remove a condition of type \"Approved\"",
            ]
        );
    }
}
