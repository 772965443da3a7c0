//! Makes `machinery/src/schema/generated/` and `machinery/src/resource/table.rs` anew from facts about the API:
//! `cargo run -p gantry-schema-generate -- <kubernetes-data> apiserver/machinery/src`, then `cargo fmt`.
//!
//! One file per API group and version; every object type becomes a `static` row that costs nothing at start.

mod facts;
mod resources;
mod rows;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::facts::{Definition, ProtoField};

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(data), Some(out), None) = (args.next(), args.next(), args.next()) else {
        bail!("usage: gantry-schema-generate <kubernetes-data> <machinery/src>");
    };
    let (data, out) = (PathBuf::from(data), PathBuf::from(out));
    let definitions: BTreeMap<String, Definition> = read(&data.join("schema-1.36.json"))?;
    let wire_only: BTreeMap<String, Vec<ProtoField>> = read(&data.join("wire-only-messages-1.36.json"))?;
    rows::write(&definitions, &wire_only, &out.join("schema"))?;
    let resources: Vec<facts::Resource> = read(&data.join("resources-1.36.json"))?;
    resources::write(&resources, &out.join("resource"))
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is not as expected", path.display()))
}
