//! NodeUnschedulable: a cordoned node takes only pods that tolerate the taint a cordon stands for.

use super::TaintToleration;
use crate::columns::{Columns, Slot};

/// The taint that `spec.unschedulable` stands for.
pub const TAINT: &str = "node.kubernetes.io/unschedulable";

/// Whether the node is cordoned and the class does not tolerate that.
#[inline]
#[must_use]
pub fn is_kept_out(columns: &Columns, slot: Slot, taints: &TaintToleration) -> bool {
    columns.unschedulable[slot as usize] != 0 && !taints.tolerates_cordon()
}
