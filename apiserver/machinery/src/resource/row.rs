//! Constructors of rows, for the generated table: everything is a constant.

use std::borrow::Cow;

use super::{GroupVersionResource, Resource, Subresource};

type Words = &'static [Cow<'static, str>];

#[allow(clippy::too_many_arguments, reason = "a row is what it is")]
pub(super) const fn resource(
    group: &'static str,
    version: &'static str,
    name: &'static str,
    kind: &'static str,
    singular: &'static str,
    namespaced: bool,
    verbs: Words,
    short_names: Words,
    categories: Words,
    subresources: &'static [Subresource],
) -> Resource {
    Resource {
        gvr: GroupVersionResource::of(group, version, name),
        kind: Cow::Borrowed(kind),
        singular: Cow::Borrowed(singular),
        namespaced,
        verbs: Cow::Borrowed(verbs),
        short_names: Cow::Borrowed(short_names),
        categories: Cow::Borrowed(categories),
        subresources: Cow::Borrowed(subresources),
    }
}

pub(super) const fn subresource(
    name: &'static str,
    kind: &'static str,
    kind_group: Option<&'static str>,
    kind_version: Option<&'static str>,
    verbs: Words,
) -> Subresource {
    Subresource {
        name: Cow::Borrowed(name),
        kind: Cow::Borrowed(kind),
        kind_group: match kind_group {
            Some(group) => Some(Cow::Borrowed(group)),
            None => None,
        },
        kind_version: match kind_version {
            Some(version) => Some(Cow::Borrowed(version)),
            None => None,
        },
        verbs: Cow::Borrowed(verbs),
    }
}
