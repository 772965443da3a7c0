//! From a method and a path to what is asked: the verb, the resource and the object, or a path outside the API's resources.
//!
//! Called first for every request; authentication, flow control, authorization and dispatch all look at the
//! [`RequestInfo`] made here. Follows upstream's rules ("API concepts", "Resource URIs"), the old `/watch/` prefix
//! included. Whether the resource exists is not decided here.

use std::borrow::Cow;

use compact_str::CompactString;
use http::Method;

/// What a request asks, in the words that authorization and metrics use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// The method: HEAD reads as a get to authorization, and is one only where no resource is asked for.
    pub method: Method,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; for paths that are no
    /// resource, the method in lower case.
    pub verb: &'static str,
    /// Whether the path names a resource.
    pub resource_request: bool,
    /// The path as it came, without the query.
    pub path: CompactString,
    /// The API group, empty for core.
    pub group: CompactString,
    /// The version.
    pub version: CompactString,
    /// The namespace; for a Namespace itself, its name.
    pub namespace: CompactString,
    /// The resource.
    pub resource: CompactString,
    /// What hangs below the object (`status`).
    pub subresource: CompactString,
    /// The object's name; empty for a collection.
    pub name: CompactString,
    /// Whether the name is not in the path but pinned down by the field selector.
    pub name_selected: bool,
    /// What follows the subresource (`proxy/…`), without the leading slash.
    pub rest: CompactString,
}

impl RequestInfo {
    /// Whether the answer goes on until somebody ends it: such requests have a lane and limits of their own.
    #[must_use]
    pub fn long_running(&self) -> bool {
        self.resource_request
            && (self.verb == "watch"
                || matches!(self.subresource.as_str(), "exec" | "attach" | "portforward" | "proxy" | "log"))
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn read_only(&self) -> bool {
        matches!(self.verb, "get" | "list" | "watch" | "head" | "options")
    }

    /// What metrics call the reach of the request.
    #[must_use]
    pub fn scope(&self) -> &'static str {
        if !self.resource_request {
            ""
        } else if !self.name.is_empty() || self.verb == "create" {
            "resource"
        } else if !self.namespace.is_empty() {
            "namespace"
        } else {
            "cluster"
        }
    }
}

/// Reads a request line. `query` is looked at only for `watch` and for a field selector that names one object.
#[must_use]
pub fn route(method: &Method, path: &str, query: &str) -> RequestInfo {
    let mut info =
        RequestInfo { method: method.clone(), path: path.into(), verb: method_verb(method), ..RequestInfo::default() };
    let mut parts = path.split('/').filter(|p| !p.is_empty());
    let grouped = match parts.next() {
        Some("api") => false,
        Some("apis") => true,
        _ => return info,
    };
    let group = if grouped { parts.next() } else { Some("") };
    let (Some(group), Some(version), Some(mut first)) = (group, parts.next(), parts.next()) else { return info };
    info.resource_request = true;
    info.group = decode(group);
    info.version = decode(version);
    info.verb = resource_verb(method);
    if first == "watch" {
        let Some(next) = parts.next() else {
            info.resource = "watch".into();
            return info;
        };
        info.verb = "watch";
        first = next;
    }
    let mut resource = first;
    let mut name = parts.next();
    let mut subresource = parts.next();
    if resource == "namespaces"
        && let Some(namespace) = name
    {
        info.namespace = decode(namespace);
        // What follows a namespace is a resource inside it, unless it is one of the Namespace's own subresources.
        if let Some(inner) = subresource.filter(|s| !matches!(*s, "status" | "finalize")) {
            resource = inner;
            name = parts.next();
            subresource = parts.next();
        }
    }
    info.resource = decode(resource);
    info.name = name.map(decode).unwrap_or_default();
    info.subresource = subresource.map(decode).unwrap_or_default();
    if !info.subresource.is_empty() {
        for part in parts {
            if !info.rest.is_empty() {
                info.rest.push('/');
            }
            info.rest.push_str(part);
        }
    }
    let asked_to_watch = || parameter(query, "watch").is_some_and(|v| truth(&v));
    match info.verb {
        "get" if info.name.is_empty() => info.verb = if asked_to_watch() { "watch" } else { "list" },
        // Old clients watch one object by `?watch` on its own path.
        "get" if info.subresource.is_empty() && asked_to_watch() => info.verb = "watch",
        "delete" if info.name.is_empty() => info.verb = "deletecollection",
        _ => {}
    }
    if info.name.is_empty()
        && matches!(info.verb, "list" | "watch" | "deletecollection")
        && let Some(selector) = parameter(query, "fieldSelector")
        && let Some(name) = selected_name(&selector)
    {
        info.name = name.into();
        info.name_selected = true;
    }
    info
}

fn method_verb(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "get",
        "HEAD" => "head",
        "POST" => "post",
        "PUT" => "put",
        "PATCH" => "patch",
        "DELETE" => "delete",
        "OPTIONS" => "options",
        _ => "",
    }
}

fn resource_verb(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" | "HEAD" => "get",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "",
    }
}

/// A boolean parameter as upstream reads it: anything but `false` and `0` is true, the bare name included.
pub(super) fn truth(value: &str) -> bool {
    !(value == "0" || value.eq_ignore_ascii_case("false"))
}

/// The name that a field selector pins down, if it does: `metadata.name=x`.
fn selected_name(selector: &str) -> Option<&str> {
    selector.split(',').find_map(|term| {
        let rest = term.trim().strip_prefix("metadata.name")?;
        let name = rest.strip_prefix("==").or_else(|| rest.strip_prefix('='))?;
        (!name.is_empty() && !name.contains(['/', '%'])).then_some(name)
    })
}

/// The first value of a query parameter.
pub(super) fn parameter<'q>(query: &'q str, name: &str) -> Option<Cow<'q, str>> {
    parameters(query).find(|(key, _)| key == name).map(|(_, value)| value)
}

/// The parameters of a query, decoded, in order.
pub(super) fn parameters(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    query.split('&').filter(|p| !p.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (percent_decode(key, true), percent_decode(value, true))
    })
}

fn decode(part: &str) -> CompactString {
    match percent_decode(part, false) {
        Cow::Borrowed(text) => text.into(),
        Cow::Owned(text) => text.into(),
    }
}

/// Undoes percent encoding; what is not valid stays as it came. `plus`: `+` is a space, as in queries.
pub(crate) fn percent_decode(text: &str, plus: bool) -> Cow<'_, str> {
    if !text.bytes().any(|b| b == b'%' || (plus && b == b'+')) {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |i: usize| bytes.get(i).and_then(|b| char::from(*b).to_digit(16));
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
                continue;
            }
            (b'+', ..) if plus => out.push(b' '),
            (byte, ..) => out.push(byte),
        }
        at += 1;
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(method: &str, path: &str, query: &str) -> String {
        let info = route(&method.parse().unwrap(), path, query);
        if !info.resource_request {
            return format!("{} {}", info.verb, info.path);
        }
        let RequestInfo { verb, group, version, namespace, resource, name, subresource, .. } = info;
        format!("{verb} {group}/{version} ns={namespace} {resource}/{name}/{subresource}")
    }

    #[test]
    fn paths_are_read_as_upstream_reads_them() {
        for (method, path, query, expected) in [
            ("GET", "/api/v1/pods", "", "list /v1 ns= pods//"),
            ("GET", "/api/v1/pods", "watch=true", "watch /v1 ns= pods//"),
            ("GET", "/api/v1/pods", "watch=0", "list /v1 ns= pods//"),
            ("GET", "/api/v1/namespaces/a/pods", "watch", "watch /v1 ns=a pods//"),
            ("GET", "/api/v1/namespaces/a/pods/x", "", "get /v1 ns=a pods/x/"),
            ("GET", "/api/v1/namespaces/a/pods/x", "watch=1", "watch /v1 ns=a pods/x/"),
            ("GET", "/api/v1/watch/namespaces/a/pods/x", "", "watch /v1 ns=a pods/x/"),
            ("GET", "/apis/apps/v1/watch/deployments", "", "watch apps/v1 ns= deployments//"),
            ("GET", "/api/v1/namespaces", "", "list /v1 ns= namespaces//"),
            ("GET", "/api/v1/namespaces/a", "", "get /v1 ns=a namespaces/a/"),
            ("PUT", "/api/v1/namespaces/a/finalize", "", "update /v1 ns=a namespaces/a/finalize"),
            ("PUT", "/api/v1/namespaces/a/status", "", "update /v1 ns=a namespaces/a/status"),
            ("POST", "/api/v1/namespaces/a/pods/x/binding", "", "create /v1 ns=a pods/x/binding"),
            ("DELETE", "/api/v1/namespaces/a/pods", "", "deletecollection /v1 ns=a pods//"),
            ("DELETE", "/api/v1/nodes/n%201", "", "delete /v1 ns= nodes/n 1/"),
            ("PATCH", "/apis/apps/v1/namespaces/a/deployments/d/scale", "", "patch apps/v1 ns=a deployments/d/scale"),
            ("GET", "/api/v1/pods", "fieldSelector=metadata.name%3Dx", "list /v1 ns= pods/x/"),
            ("GET", "/api/v1", "", "get /api/v1"),
            ("GET", "/apis/apps/v1", "", "get /apis/apps/v1"),
            ("GET", "/apis", "", "get /apis"),
            ("POST", "/healthz", "", "post /healthz"),
            ("GET", "//api//v1//pods/", "", "list /v1 ns= pods//"),
        ] {
            assert_eq!(summary(method, path, query), expected, "{method} {path}?{query}");
        }
    }

    #[test]
    fn what_follows_proxy_is_kept() {
        let info = route(&Method::GET, "/api/v1/namespaces/a/services/s:80/proxy/x/y", "");
        assert_eq!((info.name.as_str(), info.subresource.as_str(), info.rest.as_str()), ("s:80", "proxy", "x/y"));
        assert!(info.long_running());
    }

    #[test]
    fn broken_percent_encoding_stays_as_it_came() {
        assert_eq!(percent_decode("%zz%4", false), "%zz%4");
        assert_eq!(percent_decode("a+b%2Bc", true), "a b+c");
        assert_eq!(percent_decode("%ff", false), "\u{fffd}");
    }
}
