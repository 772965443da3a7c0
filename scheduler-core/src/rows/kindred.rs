//! What scheduling reads of Services and of the controllers that keep pods: their selectors, which say whose pods are to
//! be spread when the pods themselves do not.

use serde::Deserialize;

use super::json::wire::{Map, Meta, SelectorJson, Text};
use super::json::{NotAnObject, selector};
use super::{Keeper, Operator, Requirement, Selector};

/// A Service or controller, as far as it says which pods belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindredRow {
    /// What it is.
    pub keeper: Keeper,
    /// `metadata.namespace`.
    pub namespace: Box<str>,
    /// `metadata.name`.
    pub name: Box<str>,
    /// `spec.selector`; without one it selects nothing.
    pub selector: Option<Selector>,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'a, S: Deserialize<'de>"))]
struct KindredJson<'a, S> {
    #[serde(default)]
    metadata: Option<Meta<'a>>,
    #[serde(default = "Option::default")]
    spec: Option<KindredSpec<S>>,
}

#[derive(Deserialize)]
struct KindredSpec<S> {
    #[serde(default = "Option::default")]
    selector: Option<S>,
}

impl KindredRow {
    /// The row of an object's stored JSON.
    ///
    /// # Errors
    /// When the bytes are no JSON of such an object.
    pub fn from_json(keeper: Keeper, body: &[u8]) -> Result<Self, NotAnObject> {
        let (meta, selector) = match keeper {
            Keeper::Service | Keeper::ReplicationController => {
                let object: KindredJson<'_, Map<'_>> = serde_json::from_slice(body)?;
                (object.metadata, object.spec.and_then(|spec| spec.selector).as_ref().map(labels))
            }
            Keeper::ReplicaSet | Keeper::StatefulSet => {
                let object: KindredJson<'_, SelectorJson<'_>> = serde_json::from_slice(body)?;
                (object.metadata, object.spec.and_then(|spec| spec.selector).as_ref().map(selector))
            }
        };
        let meta = meta.unwrap_or_default();
        let text = |text: Option<Text<'_>>| text.map(|t| t.into_owned().into()).unwrap_or_default();
        Ok(Self { keeper, namespace: text(meta.namespace), name: text(meta.name), selector })
    }
}

fn labels(map: &Map<'_>) -> Selector {
    let requirement = |(key, value): (&Text<'_>, &Text<'_>)| Requirement {
        key: (**key).into(),
        operator: Operator::In,
        values: vec![(**value).into()],
    };
    Selector { requirements: map.iter().map(requirement).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_of_both_shapes_are_read() {
        let service = br#"{"metadata":{"name":"s","namespace":"d"},"spec":{"selector":{"app":"web"},"ports":[]}}"#;
        let set = br#"{"metadata":{"name":"s","namespace":"d"},"spec":{"selector":{"matchLabels":{"app":"web"}}}}"#;
        let row = KindredRow::from_json(Keeper::Service, service).expect("valid");
        assert_eq!((&*row.namespace, &*row.name), ("d", "s"));
        let set = KindredRow::from_json(Keeper::ReplicaSet, set).expect("valid");
        assert_eq!(row.selector, set.selector);
        let bare = KindredRow::from_json(Keeper::Service, br#"{"metadata":{"name":"s"},"spec":{}}"#).expect("valid");
        assert_eq!(bare.selector, None);
    }
}
