//! Impersonation: acting as somebody else, for those who may (`kubectl --as`).
//!
//! Each thing asked for (user, groups, uid, extra) needs the verb `impersonate` on it; a refusal names it.

use gantry_machinery::status::Status;
use http::HeaderMap;

use super::authn::{AUTHENTICATED, UNAUTHENTICATED, prefixed_extra};
use super::authz::{Attributes, Authorizer};
use crate::registry::request::UserInfo;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";

/// The user that the request acts as, if it asks to be somebody else.
///
/// # Errors
/// 403 when `user` may not impersonate one of the things asked for; 500, as upstream has it, when groups or extra are
/// asked for without a user.
pub fn impersonated(authorizer: &Authorizer, user: &UserInfo, headers: &HeaderMap) -> Result<Option<UserInfo>, Status> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let name = text(USER);
    let uid = text(UID);
    let mut groups: Vec<String> =
        headers.get_all(GROUP).iter().filter_map(|v| v.to_str().ok()).map(String::from).collect();
    let extra = prefixed_extra(headers, EXTRA);
    if name.is_empty() {
        if groups.is_empty() && extra.is_empty() && uid.is_empty() {
            return Ok(None);
        }
        return Err(Status::internal("requested impersonation of groups or extra without a user"));
    }
    let may = |group: &str, resource: &str, subresource: &str, namespace: &str, name: &str| {
        let wanted =
            Attributes { subresource, namespace, ..Attributes::on(user, "impersonate", group, resource, name) };
        authorizer.check(&wanted)
    };
    let account = name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    match account {
        Some((namespace, account)) => may("", "serviceaccounts", "", namespace, account)?,
        None => may("", "users", "", "", name)?,
    }
    for group in &groups {
        may("", "groups", "", "", group)?;
    }
    if !uid.is_empty() {
        may("authentication.k8s.io", "uids", "", "", uid)?;
    }
    for (key, values) in &extra {
        for value in values {
            may("authentication.k8s.io", "userextras", key, "", value)?;
        }
    }
    if let Some((namespace, _)) = account
        && groups.is_empty()
    {
        groups = vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
    }
    let known = if name == "system:anonymous" { UNAUTHENTICATED } else { AUTHENTICATED };
    if !groups.iter().any(|g| g == AUTHENTICATED || g == UNAUTHENTICATED) {
        groups.push(known.to_owned());
    }
    Ok(Some(UserInfo { name: name.to_owned(), uid: uid.to_owned(), groups, extra }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::gate::authz::{MASTERS, Mode};

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (http::HeaderName::from_static(k), http::HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn only_who_may_becomes_somebody_else() {
        let authorizer = Authorizer::new(vec![Mode::Rbac], Arc::default());
        let root = UserInfo::new("root", &[MASTERS]);
        let asked = headers(&[(USER, "jane"), (GROUP, "dev"), ("impersonate-extra-scopes", "a")]);
        let jane = impersonated(&authorizer, &root, &asked).unwrap().unwrap();
        assert_eq!((jane.name.as_str(), jane.groups.len(), jane.extra.len()), ("jane", 2, 1));
        assert!(!jane.is_in(MASTERS));
        let joe = UserInfo::new("joe", &[AUTHENTICATED]);
        let refused = impersonated(&authorizer, &joe, &asked).unwrap_err();
        assert_eq!(
            refused.message,
            r#"users "jane" is forbidden: User "joe" cannot impersonate resource "users" in API group "" at the cluster scope"#
        );
        assert_eq!(impersonated(&authorizer, &joe, &HeaderMap::new()).unwrap(), None);
        assert_eq!(impersonated(&authorizer, &root, &headers(&[(GROUP, "dev")])).unwrap_err().code, 500);
    }

    #[test]
    fn an_account_gets_its_groups() {
        let authorizer = Authorizer::new(vec![Mode::AlwaysAllow], Arc::default());
        let asked = headers(&[(USER, "system:serviceaccount:a:robot")]);
        let robot = impersonated(&authorizer, &UserInfo::default(), &asked).unwrap().unwrap();
        assert!(robot.is_in("system:serviceaccounts:a") && robot.is_in(AUTHENTICATED));
    }
}
