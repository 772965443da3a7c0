//! Wire formats, one file each.

pub mod table;
