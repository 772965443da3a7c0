//! The four patch formats, one file each.
