//! VolumeRestrictions: disks that two pods of a node cannot share. (That a `ReadWriteOncePod` claim has one pod at a time
//! is asked once for the whole cluster, in [`storage`](crate::storage).)

use crate::rows::storage::{Disk, DiskKind};

/// Whether any of `wanted` clashes with one in use.
#[must_use]
pub fn is_taken<'a>(mut used: impl Iterator<Item = &'a Disk>, wanted: &[Disk]) -> bool {
    used.any(|u| wanted.iter().any(|w| clash(u, w)))
}

fn clash(a: &Disk, b: &Disk) -> bool {
    if a.kind != b.kind || a.name != b.name {
        return false;
    }
    let both_read = a.read_only && b.read_only;
    match a.kind {
        DiskKind::Ebs => true,
        DiskKind::Gce | DiskKind::Iscsi => !both_read,
        DiskKind::Rbd => !both_read && a.pool == b.pool && a.monitors.iter().any(|m| b.monitors.contains(m)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(kind: DiskKind, read_only: bool, monitors: &[&str]) -> Disk {
        let monitors = monitors.iter().map(|m| Box::from(*m)).collect();
        Disk { kind, name: "x".into(), pool: "p".into(), monitors, read_only }
    }

    #[test]
    fn readers_share_all_but_ebs_and_rbd_needs_a_common_monitor() {
        for (used, wanted, taken) in [
            (disk(DiskKind::Gce, true, &[]), disk(DiskKind::Gce, true, &[]), false),
            (disk(DiskKind::Gce, true, &[]), disk(DiskKind::Gce, false, &[]), true),
            (disk(DiskKind::Ebs, true, &[]), disk(DiskKind::Ebs, true, &[]), true),
            (disk(DiskKind::Ebs, true, &[]), disk(DiskKind::Gce, true, &[]), false),
            (disk(DiskKind::Rbd, false, &["a", "b"]), disk(DiskKind::Rbd, true, &["b"]), true),
            (disk(DiskKind::Rbd, false, &["a"]), disk(DiskKind::Rbd, true, &["b"]), false),
        ] {
            assert_eq!(is_taken(std::iter::once(&used), std::slice::from_ref(&wanted)), taken, "{used:?} {wanted:?}");
        }
        let other = Disk { name: "y".into(), ..disk(DiskKind::Ebs, false, &[]) };
        assert!(!is_taken(std::iter::once(&other), &[disk(DiskKind::Ebs, false, &[])]));
    }
}
