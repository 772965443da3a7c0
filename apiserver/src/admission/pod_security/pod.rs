//! What the checks look at: a pod or a pod's template, its containers of all three kinds as one sequence, and the words
//! in which those that break a rule are listed.

use gantry_machinery::value::Value;

/// A pod, or a template of one.
#[derive(Clone, Copy)]
pub(super) struct Pod<'a> {
    object: &'a Value,
}

impl<'a> Pod<'a> {
    /// An object with `metadata` and `spec` of a pod.
    pub(super) fn of(object: &'a Value) -> Self {
        Self { object }
    }

    /// A field of the spec.
    pub(super) fn spec(self, path: &[&str]) -> Option<&'a Value> {
        self.object.get("spec")?.at(path)
    }

    /// A field of the pod's security context.
    pub(super) fn security(self, path: &[&str]) -> Option<&'a Value> {
        self.spec(&["securityContext"])?.at(path)
    }

    /// The annotations.
    pub(super) fn annotations(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let annotations = self.object.at(&["metadata", "annotations"]).and_then(Value::as_object);
        annotations
            .into_iter()
            .flat_map(|all| all.iter().map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default())))
    }

    /// The containers, in the order in which upstream names them.
    pub(super) fn containers(self) -> impl Iterator<Item = Container<'a>> {
        ["initContainers", "containers", "ephemeralContainers"]
            .into_iter()
            .flat_map(move |list| self.object.array_at(&["spec", list]))
            .map(Container)
    }

    /// The volumes.
    pub(super) fn volumes(self) -> &'a [Value] {
        self.object.array_at(&["spec", "volumes"])
    }

    /// Whether the pod is for Windows, where some rules mean nothing.
    pub(super) fn is_for_windows(self) -> bool {
        self.spec(&["os", "name"]).and_then(Value::as_str) == Some("windows")
    }

    /// Whether users in it are none of the host's: root there is nobody here (KEP-127).
    pub(super) fn has_own_users(self) -> bool {
        self.spec(&["hostUsers"]).and_then(Value::as_bool) == Some(false)
    }
}

/// A container of any kind.
#[derive(Clone, Copy)]
pub(super) struct Container<'a>(&'a Value);

impl<'a> Container<'a> {
    pub(super) fn name(self) -> &'a str {
        self.0.str_at(&["name"]).unwrap_or_default()
    }

    /// One of its fields.
    pub(super) fn at(self, path: &[&str]) -> Option<&'a Value> {
        self.0.at(path)
    }

    /// A field of its security context.
    pub(super) fn security(self, path: &[&str]) -> Option<&'a Value> {
        self.0.get("securityContext")?.at(path)
    }

    /// The texts of a list in its security context.
    pub(super) fn security_texts(self, path: &[&str]) -> impl Iterator<Item = &'a str> {
        self.security(path).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }
}

/// Who breaks a rule: the pod's own settings, containers, or both.
#[derive(Default)]
pub(super) struct Offenders<'a> {
    pub(super) pod: bool,
    pub(super) containers: Vec<&'a str>,
}

impl<'a> Offenders<'a> {
    /// The containers of which this is true.
    pub(super) fn among(pod: Pod<'a>, breaks: impl FnMut(&Container<'a>) -> bool) -> Self {
        Self { pod: false, containers: pod.containers().filter(breaks).map(Container::name).collect() }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.pod && self.containers.is_empty()
    }

    /// `pod and containers "a", "b"`.
    pub(super) fn named(&self) -> String {
        match (self.pod, self.containers.is_empty()) {
            (true, true) => "pod".to_owned(),
            (true, false) => format!("pod and {}", self.containers_named()),
            (false, _) => self.containers_named(),
        }
    }

    /// `container "a"`, or `containers "a", "b"`.
    pub(super) fn containers_named(&self) -> String {
        format!("{} {}", plural("container", "containers", self.containers.len()), quoted(&self.containers))
    }
}

/// One word for one thing, another for more or none.
pub(super) fn plural(one: &'static str, more: &'static str, count: usize) -> &'static str {
    if count == 1 { one } else { more }
}

/// `"a", "b"`.
pub(super) fn quoted<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    let quoted: Vec<String> = items.into_iter().map(|item| format!("\"{}\"", item.as_ref())).collect();
    quoted.join(", ")
}

/// Whether an update of a pod changes anything that the standards speak of: containers and their images are all that an
/// update may change of it.
pub(super) fn differs(new: &Value, old: &Value) -> bool {
    let (new, old) = (Pod::of(new), Pod::of(old));
    let images = |pod: Pod<'_>| -> Vec<(String, Option<Value>)> {
        pod.containers().map(|c| (c.name().to_owned(), c.at(&["image"]).cloned())).collect()
    };
    images(new) != images(old)
}
