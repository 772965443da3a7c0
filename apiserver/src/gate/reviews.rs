//! The review APIs: what may I do, who am I, whose token is this. They are created and answered, never stored.
//!
//! Pure: an object in, the same object with its `status` filled in. [`crate::http::review`] decodes and encodes.

use gantry_machinery::status::Status;
use gantry_machinery::value;
use gantry_machinery::value::{Object, Value};

use super::authn::Authenticator;
use super::authz::{Attributes, Authorizer, Decision};
use super::rbac::Rule;
use crate::http::route::RequestInfo;
use crate::registry::request::UserInfo;

/// One of the reviews.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Review {
    /// May I?
    SelfAccess,
    /// May they?
    Access,
    /// May they, in this namespace?
    LocalAccess,
    /// What may I do in this namespace?
    SelfRules,
    /// Who am I?
    SelfSubject,
    /// Whose token is this?
    Token,
}

impl Review {
    /// The review that a request is for.
    #[must_use]
    pub fn of(info: &RequestInfo) -> Option<Self> {
        if info.version != "v1" {
            return None;
        }
        match (info.group.as_str(), info.resource.as_str()) {
            ("authorization.k8s.io", "selfsubjectaccessreviews") => Some(Self::SelfAccess),
            ("authorization.k8s.io", "subjectaccessreviews") => Some(Self::Access),
            ("authorization.k8s.io", "localsubjectaccessreviews") => Some(Self::LocalAccess),
            ("authorization.k8s.io", "selfsubjectrulesreviews") => Some(Self::SelfRules),
            ("authentication.k8s.io", "selfsubjectreviews") => Some(Self::SelfSubject),
            ("authentication.k8s.io", "tokenreviews") => Some(Self::Token),
            _ => None,
        }
    }

    /// The object's kind.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::SelfAccess => "SelfSubjectAccessReview",
            Self::Access => "SubjectAccessReview",
            Self::LocalAccess => "LocalSubjectAccessReview",
            Self::SelfRules => "SelfSubjectRulesReview",
            Self::SelfSubject => "SelfSubjectReview",
            Self::Token => "TokenReview",
        }
    }

    /// Fills in the status.
    ///
    /// # Errors
    /// 400 or 422 for a review that asks nothing.
    pub fn answer(
        self,
        mut review: Value,
        namespace: &str,
        user: &UserInfo,
        authorizer: &Authorizer,
        authenticator: &Authenticator,
        now: i64,
    ) -> Result<Value, Status> {
        let status = match self {
            Self::SelfAccess => access(&review, user, authorizer)?,
            Self::Access | Self::LocalAccess => {
                if self == Self::LocalAccess
                    && review.str_at(&["spec", "resourceAttributes", "namespace"]) != Some(namespace)
                {
                    return Err(Status::bad_request(format!(
                        "spec.resourceAttributes.namespace must match namespace: {namespace}"
                    )));
                }
                access(&review, &subject(&review)?, authorizer)?
            }
            Self::SelfRules => {
                let namespace = review.str_at(&["spec", "namespace"]).unwrap_or_default().to_owned();
                if namespace.is_empty() {
                    return Err(Status::bad_request("no namespace on request"));
                }
                rules(user, &namespace, authorizer)
            }
            Self::SelfSubject => value!({ "userInfo": (user_value(user)) }),
            Self::Token => token(&review, authenticator, now)?,
        };
        review.set(&["status"], status);
        Ok(review)
    }
}

/// Whom an access review asks about.
fn subject(review: &Value) -> Result<UserInfo, Status> {
    let text = |key: &str| review.str_at(&["spec", key]).unwrap_or_default().to_owned();
    let groups: Vec<String> =
        review.array_at(&["spec", "groups"]).iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let name = text("user");
    if name.is_empty() && groups.is_empty() {
        return Err(Status::bad_request("spec.user: at least one of user or group must be specified"));
    }
    let extra = review.object_at(&["spec", "extra"]).map(|extra| {
        let values = |v: &Value| {
            v.as_array().unwrap_or_default().iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
        };
        extra.iter().map(|(k, v)| (k.to_string(), values(v))).collect::<Vec<_>>()
    });
    Ok(UserInfo { name, uid: text("uid"), groups, extra: extra.unwrap_or_default() })
}

fn access(review: &Value, user: &UserInfo, authorizer: &Authorizer) -> Result<Value, Status> {
    let text = |part: &str, key: &str| review.str_at(&["spec", part, key]).unwrap_or_default().to_owned();
    let resource = review.at(&["spec", "resourceAttributes"]).filter(|v| !v.is_null());
    let path = review.at(&["spec", "nonResourceAttributes"]).filter(|v| !v.is_null());
    let decision = match (resource, path) {
        (Some(_), None) => {
            let of = |key| text("resourceAttributes", key);
            let (verb, group, version, resource, subresource, namespace, name) = (
                of("verb"),
                of("group"),
                of("version"),
                of("resource"),
                of("subresource"),
                of("namespace"),
                of("name"),
            );
            authorizer.decide(&Attributes {
                version: &version,
                subresource: &subresource,
                namespace: &namespace,
                ..Attributes::on(user, &verb, &group, &resource, &name)
            })
        }
        (None, Some(_)) => {
            let (verb, path) = (text("nonResourceAttributes", "verb"), text("nonResourceAttributes", "path"));
            let wanted = Attributes { resource_request: false, path: &path, ..Attributes::on(user, &verb, "", "", "") };
            authorizer.decide(&wanted)
        }
        _ => {
            return Err(Status::bad_request(
                "exactly one of nonResourceAttributes or resourceAttributes must be specified",
            ));
        }
    };
    let mut status = Object::new();
    status.insert("allowed", decision.allowed());
    if matches!(decision, Decision::Deny(_)) {
        status.insert("denied", true);
    }
    if !decision.reason().is_empty() {
        status.insert("reason", decision.reason());
    }
    Ok(Value::Object(status))
}

/// What `kubectl auth can-i --list` shows.
fn rules(user: &UserInfo, namespace: &str, authorizer: &Authorizer) -> Value {
    let (mut resources, mut paths): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
    let mut add = |rule: &Rule| {
        let texts = |list: &[compact_str::CompactString]| Value::from(list.to_vec());
        let mut entry = Object::new();
        entry.insert("verbs", texts(&rule.verbs));
        if rule.non_resource_urls.is_empty() {
            entry.insert("apiGroups", texts(&rule.api_groups));
            entry.insert("resources", texts(&rule.resources));
            if !rule.resource_names.is_empty() {
                entry.insert("resourceNames", texts(&rule.resource_names));
            }
            resources.push(entry.into());
        } else {
            entry.insert("nonResourceURLs", texts(&rule.non_resource_urls));
            paths.push(entry.into());
        }
        true
    };
    if user.is_in(super::authz::MASTERS) {
        let all = || vec!["*".into()];
        add(&Rule { verbs: all(), api_groups: all(), resources: all(), ..Rule::default() });
        add(&Rule { verbs: all(), non_resource_urls: all(), ..Rule::default() });
    }
    authorizer.rbac().rules_for(user, namespace, add);
    value!({ "resourceRules": (Value::Array(resources)), "nonResourceRules": (Value::Array(paths)), "incomplete": false })
}

fn user_value(user: &UserInfo) -> Value {
    let mut out = Object::new();
    out.insert("username", user.name.as_str());
    if !user.uid.is_empty() {
        out.insert("uid", user.uid.as_str());
    }
    out.insert("groups", user.groups.clone());
    if !user.extra.is_empty() {
        let extra: Object = user.extra.iter().map(|(k, v)| (k.as_str(), Value::from(v.clone()))).collect();
        out.insert("extra", extra);
    }
    out.into()
}

fn token(review: &Value, authenticator: &Authenticator, now: i64) -> Result<Value, Status> {
    let token = review.str_at(&["spec", "token"]).unwrap_or_default();
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let audiences: Vec<String> =
        review.array_at(&["spec", "audiences"]).iter().filter_map(Value::as_str).map(str::to_owned).collect();
    Ok(match authenticator.token(token, &audiences, now) {
        Ok((user, met)) => {
            let mut status = value!({ "authenticated": true, "user": (user_value(&user)) });
            if !met.is_empty() {
                status.set(&["audiences"], met);
            }
            status
        }
        Err(why) => value!({ "authenticated": false, "user": {}, "error": (why.to_string()) }),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::gate::authz::{MASTERS, Mode};

    fn decide(review: Value, user: &UserInfo) -> Result<Value, Status> {
        access(&review, user, &Authorizer::new(vec![Mode::Rbac], Arc::default()))
    }

    #[test]
    fn access_reviews_ask_exactly_one_thing() {
        let root = UserInfo::new("root", &[MASTERS]);
        let asks = value!({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "a"}}});
        assert_eq!(decide(asks.clone(), &root).unwrap().bool_at(&["allowed"]), Some(true));
        let joe = UserInfo::new("joe", &[]);
        assert_eq!(decide(asks, &joe).unwrap().bool_at(&["allowed"]), Some(false));
        assert_eq!(decide(value!({"spec": {}}), &root).unwrap_err().code, 400);
        let path = value!({"spec": {"nonResourceAttributes": {"verb": "get", "path": "/metrics"}}});
        assert_eq!(decide(path, &root).unwrap().bool_at(&["allowed"]), Some(true));
    }

    #[test]
    fn masters_are_shown_everything() {
        let root = UserInfo::new("root", &[MASTERS]);
        let shown = rules(&root, "default", &Authorizer::new(vec![Mode::Rbac], Arc::default()));
        assert_eq!(shown.array_at(&["resourceRules"])[0].array_at(&["verbs"]), [Value::from("*")]);
        assert_eq!(shown.array_at(&["nonResourceRules"]).len(), 1);
    }
}
