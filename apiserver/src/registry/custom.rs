//! Custom resources: kinds that are defined while the server runs (Kubernetes, "Custom Resources").
//!
//! ```text
//!  stored definition ─ follow ─▶ definition (compiled) ─▶ rows in the table ─▶ verbs, discovery, OpenAPI
//!                         └────▶ naming, finalize ─▶ the definition's status, its end
//!  rows in the table ─ announce ─▶ APIServices
//! ```
//!
//! A version compiles to a [`kind::CustomKind`], a strategy like those of built-in kinds: its [`schema`] prunes, defaults
//! and checks values, its [`fields`] are rows of the schema table for apply. All of it is counted: rows that were replaced
//! are freed when the last request on them ends. What is refused of a definition is in
//! [`validate::definition`](super::validate::definition).

mod announce;
pub(crate) mod conditions;
mod definition;
mod fields;
mod finalize;
mod follow;
mod formats;
mod json_path;
pub mod kind;
pub(crate) mod naming;
pub(crate) mod pattern;
pub(crate) mod prune;
pub mod publish;
pub(crate) mod schema;
pub(crate) mod values;

pub(crate) use self::finalize::FINALIZER;
pub(crate) use self::json_path::JsonPath;
pub(crate) use self::schema::{Schema, Ty};
