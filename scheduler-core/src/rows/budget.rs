//! What scheduling reads of a PodDisruptionBudget: whom it protects and how many of them may go.

use serde::Deserialize;

use super::Selector;
use super::json::wire::{Meta, SelectorJson, Text};
use super::json::{NotAnObject, selector};

/// A PodDisruptionBudget, as preemption counts its violations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BudgetRow {
    /// `metadata.namespace`.
    pub namespace: Box<str>,
    /// `metadata.name`.
    pub name: Box<str>,
    /// Whom it protects; neither `None` nor an empty selector protects anybody here, as upstream has it.
    pub selector: Option<Selector>,
    /// `status.disruptionsAllowed`.
    pub allowed: i32,
    /// The names in `status.disruptedPods`: those whose going is counted already. Sorted.
    pub disrupted: Vec<Box<str>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct BudgetJson<'a> {
    metadata: Option<Meta<'a>>,
    spec: Option<BudgetSpec<'a>>,
    status: Option<BudgetStatus<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct BudgetSpec<'a> {
    selector: Option<SelectorJson<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
struct BudgetStatus<'a> {
    disruptions_allowed: Option<i32>,
    disrupted_pods: Option<std::collections::BTreeMap<Text<'a>, serde::de::IgnoredAny>>,
}

impl BudgetRow {
    /// The row of a PodDisruptionBudget's stored JSON.
    ///
    /// # Errors
    /// When the bytes are no JSON of a PodDisruptionBudget.
    pub fn from_json(body: &[u8]) -> Result<Self, NotAnObject> {
        let budget: BudgetJson<'_> = serde_json::from_slice(body)?;
        let (meta, status) = (budget.metadata.unwrap_or_default(), budget.status.unwrap_or_default());
        let text = |text: Option<Text<'_>>| text.map(|t| t.into_owned().into()).unwrap_or_default();
        Ok(Self {
            namespace: text(meta.namespace),
            name: text(meta.name),
            selector: budget.spec.and_then(|spec| spec.selector).as_ref().map(selector),
            allowed: status.disruptions_allowed.unwrap_or(0),
            disrupted: status.disrupted_pods.into_iter().flatten().map(|(name, _)| name.into_owned().into()).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_read_with_its_counts() {
        let row = BudgetRow::from_json(
            br#"{"metadata":{"name":"b","namespace":"d"},"spec":{"selector":{"matchLabels":{"app":"web"}}},
                 "status":{"disruptionsAllowed":2,"disruptedPods":{"p1":"2026-11-23T09:00:00Z"}}}"#,
        )
        .expect("valid");
        assert_eq!((&*row.namespace, &*row.name, row.allowed), ("d", "b", 2));
        assert_eq!(row.disrupted, [Box::from("p1")]);
        assert_eq!(row.selector.expect("given").requirements.len(), 1);
        let bare = BudgetRow::from_json(br#"{"metadata":{"name":"b"},"spec":{}}"#).expect("valid");
        assert_eq!((bare.selector, bare.allowed), (None, 0));
    }
}
