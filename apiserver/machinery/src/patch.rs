//! The four patch formats, one file each, and what the strategic one must leave behind.
//!
//! All of them change a decoded [`Value`](crate::value::Value); decoding before and validation after are the verbs'. The
//! errors are upstream's, texts included, so that clients show what their users know.

pub mod apply;
mod error;
pub mod json_patch;
pub mod merge;
pub mod strategic;
pub mod unstructured;
