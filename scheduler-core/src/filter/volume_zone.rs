//! VolumeZone: a bound volume that says its zone or region in labels is used there. Nodes without any such label are
//! taken to be in a cluster of one zone.

use smallvec::SmallVec;

use crate::columns::{Columns, Slot};
use crate::intern::{NO_TEXT, TextId};

const ZONE: &str = "topology.kubernetes.io/zone";
const REGION: &str = "topology.kubernetes.io/region";
const ZONE_BETA: &str = "failure-domain.beta.kubernetes.io/zone";
const REGION_BETA: &str = "failure-domain.beta.kubernetes.io/region";

/// The labels that count, and what each was renamed to.
const LABELS: [(&str, &str); 4] = [(ZONE_BETA, ZONE), (REGION_BETA, REGION), (ZONE, ZONE), (REGION, REGION)];

/// Where a pod's bound volumes are.
#[derive(Debug, Default)]
pub struct Zones {
    /// Label column, the column of its new name, and the values that will do.
    wanted: Vec<(usize, usize, SmallVec<[TextId; 2]>)>,
    /// The columns of all these labels.
    any: SmallVec<[usize; 4]>,
}

impl Zones {
    /// Adds what a volume's labels say.
    pub fn add(&mut self, columns: &mut Columns, labels: &[(Box<str>, Box<str>)]) {
        for (label, renamed) in LABELS {
            let Some((_, value)) = labels.iter().find(|(key, _)| **key == *label) else { continue };
            // A volume may be in several zones: `a__b`.
            let values: SmallVec<[TextId; 2]> = value.split("__").map(|v| columns.texts.id(v.trim())).collect();
            if value.split("__").any(|v| v.trim().is_empty()) {
                continue;
            }
            let entry = (columns.label_column(label), columns.label_column(renamed), values);
            self.wanted.push(entry);
            if self.any.is_empty() {
                self.any = LABELS.iter().map(|(label, _)| columns.label_column(label)).collect();
            }
        }
    }

    /// Whether the node is where the volumes are.
    #[must_use]
    pub fn holds(&self, columns: &Columns, slot: Slot) -> bool {
        if self.any.iter().all(|column| columns.label(*column, slot) == NO_TEXT) {
            return true;
        }
        self.wanted.iter().all(|(column, renamed, values)| {
            let value = columns.label(*column, slot);
            let value = if value == NO_TEXT { columns.label(*renamed, slot) } else { value };
            value != NO_TEXT && values.contains(&value)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::NodeRow;

    #[test]
    fn old_and_new_labels_match_and_nodes_without_any_pass() {
        let mut columns = Columns::new(0);
        let pair = |k: &str, v: &str| (Box::from(k), Box::from(v));
        for (name, labels) in [
            ("new", vec![pair(ZONE, "a")]),
            ("old", vec![pair(ZONE_BETA, "b")]),
            ("none", vec![]),
            ("region", vec![pair(REGION, "r")]),
        ] {
            columns.set_node(NodeRow { name: name.into(), labels, ..NodeRow::default() });
        }
        let holds = |columns: &mut Columns, label: &str, value: &str| {
            let mut zones = Zones::default();
            zones.add(columns, &[pair(label, value)]);
            (0..4).map(|slot| zones.holds(columns, slot)).collect::<Vec<bool>>()
        };
        assert_eq!(holds(&mut columns, ZONE_BETA, "a__b"), [true, true, true, false]);
        // A volume with the new label does not match a node with the old one only.
        assert_eq!(holds(&mut columns, ZONE, "b"), [false, false, true, false]);
        assert_eq!(holds(&mut columns, "other", "x"), [true; 4]);
    }
}
