//! What scheduling reads of a PodGroup (`scheduling.k8s.io/v1alpha2`, KEP-4671): how many of its pods must run together.

use serde::Deserialize;

use super::json::NotAnObject;
use super::json::wire::Meta;

/// A PodGroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodGroupRow {
    /// `metadata.namespace`.
    pub namespace: Box<str>,
    /// `metadata.name`.
    pub name: Box<str>,
    /// `spec.schedulingPolicy.gang.minCount`; `None` for a group that is no gang.
    pub min_count: Option<i32>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct PodGroupJson<'a> {
    metadata: Option<Meta<'a>>,
    spec: Option<PodGroupSpec>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct PodGroupSpec {
    scheduling_policy: Option<Policy>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Policy {
    gang: Option<GangPolicy>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct GangPolicy {
    min_count: Option<i32>,
}

impl PodGroupRow {
    /// The row of a PodGroup's stored JSON.
    ///
    /// # Errors
    /// When the bytes are no JSON of a PodGroup.
    pub fn from_json(body: &[u8]) -> Result<Self, NotAnObject> {
        let group: PodGroupJson<'_> = serde_json::from_slice(body)?;
        let meta = group.metadata.unwrap_or_default();
        let gang = group.spec.and_then(|spec| spec.scheduling_policy).and_then(|policy| policy.gang);
        Ok(Self {
            namespace: meta.namespace.map(|text| text.into_owned().into()).unwrap_or_default(),
            name: meta.name.map(|text| text.into_owned().into()).unwrap_or_default(),
            min_count: gang.map(|gang| gang.min_count.unwrap_or(0)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_a_gang_or_it_is_not() {
        let read = |policy: &str| {
            let group = format!(
                r#"{{"metadata":{{"name":"g","namespace":"d","uid":"u"}},"spec":{{"schedulingPolicy":{policy}}}}}"#
            );
            PodGroupRow::from_json(group.as_bytes()).expect("it is one")
        };
        assert_eq!(
            read(r#"{"gang":{"minCount":3}}"#),
            PodGroupRow { namespace: "d".into(), name: "g".into(), min_count: Some(3) }
        );
        assert_eq!(read(r#"{"basic":{}}"#).min_count, None);
        assert_eq!(read("null").min_count, None);
        assert!(PodGroupRow::from_json(b"7").is_err());
    }
}
