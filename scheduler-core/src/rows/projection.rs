//! The rows as projections of the store cache: computed once per change by the shard that owns the object, archived
//! with rkyv, read in place from snapshots and checkpoints or sent to schedulers in other processes.

use gantry_store_cache::object::StoredObject;
use gantry_store_cache::projection::Projection;
use rkyv::util::AlignedVec;

use super::{NodeRow, PodRow};

/// What the rows of nodes are called; another layout is another name.
pub const NODES: &str = "scheduling.nodes/2";
/// The same of pods.
pub const PODS: &str = "scheduling.pods/5";

/// Nodes as [`NodeRow`]s.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeProjection;

/// Pods as [`PodRow`]s.
#[derive(Clone, Copy, Debug, Default)]
pub struct PodProjection;

impl Projection for NodeProjection {
    fn name(&self) -> &'static str {
        NODES
    }

    fn collection(&self) -> &'static str {
        "nodes"
    }

    fn project(&self, object: &StoredObject, out: &mut AlignedVec) {
        if let Ok(row) = NodeRow::from_json(&object.body) {
            append(out, |out| rkyv::api::high::to_bytes_in::<_, rkyv::rancor::Error>(&row, out));
        }
    }
}

impl Projection for PodProjection {
    fn name(&self) -> &'static str {
        PODS
    }

    fn collection(&self) -> &'static str {
        "pods"
    }

    fn project(&self, object: &StoredObject, out: &mut AlignedVec) {
        if let Ok(row) = PodRow::from_json(&object.body) {
            append(out, |out| rkyv::api::high::to_bytes_in::<_, rkyv::rancor::Error>(&row, out));
        }
    }
}

/// Archives into `out`, or leaves it as it was: half a row must not be read.
fn append(out: &mut AlignedVec, write: impl FnOnce(&mut AlignedVec) -> Result<&mut AlignedVec, rkyv::rancor::Error>) {
    let before = out.len();
    if write(out).is_err() {
        out.resize(before, 0);
    }
}

/// A pod row back from its archived form, checked.
///
/// # Errors
/// When the bytes are no archived row of this layout.
pub fn read_pod(bytes: &[u8]) -> Result<PodRow, rkyv::rancor::Error> {
    rkyv::from_bytes(bytes)
}

/// A node row back from its archived form, checked.
///
/// # Errors
/// When the bytes are no archived row of this layout.
pub fn read_node(bytes: &[u8]) -> Result<NodeRow, rkyv::rancor::Error> {
    rkyv::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use gantry_store_cache::key::ObjectKey;
    use gantry_store_cache::object::Facets;
    use gantry_store_cache::revision::Revision;
    use rkyv::Archived;

    use super::*;
    use crate::rows::{Demand, Needs, NodeImage, Taint};

    fn stored(collection: &str, body: &'static str) -> StoredObject {
        let revision = Revision::default();
        StoredObject::new(
            ObjectKey::new(collection, "", "x"),
            revision,
            revision,
            Bytes::from_static(body.as_bytes()),
            Facets::default(),
        )
    }

    #[test]
    fn rows_survive_the_archive() {
        let body = r#"{"metadata":{"name":"n","labels":{"a":"b"}},"status":{"allocatable":{"cpu":"4","x.y/z":"2"}}}"#;
        let mut bytes = AlignedVec::new();
        NodeProjection.project(&stored("nodes", body), &mut bytes);
        assert_eq!(read_node(&bytes).expect("valid"), NodeRow::from_json(body.as_bytes()).expect("valid"));

        let body = r#"{"metadata":{"name":"p","namespace":"d","uid":"u"},"spec":{"containers":[{"name":"c"}]}}"#;
        let mut bytes = AlignedVec::new();
        PodProjection.project(&stored("pods", body), &mut bytes);
        assert_eq!(read_pod(&bytes).expect("valid"), PodRow::from_json(body.as_bytes()).expect("valid"));
    }

    #[test]
    fn what_is_no_object_has_no_row() {
        let mut bytes = AlignedVec::new();
        PodProjection.project(&stored("pods", "[1"), &mut bytes);
        assert!(bytes.is_empty());
    }

    /// Whoever changes a row changes its name, too: older checkpoints, and schedulers of another version, must not read
    /// one for the other.
    #[test]
    fn another_layout_has_another_name() {
        let nodes = [size_of::<Archived<NodeRow>>(), size_of::<Archived<Taint>>(), size_of::<Archived<NodeImage>>()];
        assert_eq!((NODES, nodes), ("scheduling.nodes/2", [96, 20, 16]));
        let pods = [size_of::<Archived<PodRow>>(), size_of::<Archived<Demand>>(), size_of::<Archived<Needs>>()];
        assert_eq!((PODS, pods), ("scheduling.pods/5", [288, 152, 40]));
    }
}
