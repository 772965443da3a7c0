//! Wire formats, one file each.

pub mod json;
pub mod protobuf;
pub mod table;
pub mod yaml;
