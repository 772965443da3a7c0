//! A projection turns a stored object into a small row of its hot fields, once per event, on the shard that owns it.

use rkyv::util::AlignedVec;

use crate::object::StoredObject;

/// A function from a stored object to an rkyv-archived row. Rows are kept in copy-on-write chunks, read in place from
/// snapshots, written to checkpoints, and sent to schedulers in other processes.
pub trait Projection: Send + Sync + 'static {
    /// Names the projection and its layout (`scheduling.nodes/1`): another name makes checkpoints rebuild their rows.
    fn name(&self) -> &'static str;
    /// The collection whose objects are projected.
    fn collection(&self) -> &'static str;
    /// Appends the archived row of `object` to `out`; nothing appended means the object has no row.
    fn project(&self, object: &StoredObject, out: &mut AlignedVec);
}
