//! How costs grow: reads what criterion measured at several sizes and fits a power law, `cost ∝ size^exponent`.
//!
//! Benches whose ids end in a number (`place/plain/5000`) belong together; one size alone says nothing and is left out.
//! An exponent near 0 is a cost that does not depend on the size, near 1 one that is proportional to it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use serde::Deserialize;

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Where criterion left its results
    #[arg(long, default_value = "target/criterion")]
    criterion: PathBuf,
}

#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    /// Nanoseconds.
    point_estimate: f64,
}

/// Median costs in nanoseconds by size.
type Costs = BTreeMap<u64, f64>;

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let mut benches = BTreeMap::new();
    collect(&options.criterion, &options.criterion, &mut benches)
        .with_context(|| format!("cannot read criterion's results in {}", options.criterion.display()))?;
    benches.retain(|_, costs: &mut Costs| costs.len() > 1);
    if benches.is_empty() {
        bail!("{} holds no bench that was run at several sizes", options.criterion.display());
    }
    print(&benches);
    Ok(())
}

/// Finds `<name>/<size>/new/estimates.json` below a folder.
fn collect(root: &Path, folder: &Path, benches: &mut BTreeMap<String, Costs>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if !path.is_dir() {
            continue;
        }
        let estimates = path.join("new").join("estimates.json");
        let size = path.file_name().and_then(|name| name.to_str()?.parse().ok());
        if let (Some(size), true) = (size, estimates.is_file()) {
            let name = folder.strip_prefix(root).unwrap_or(folder).display().to_string();
            let read: Estimates = serde_json::from_slice(&std::fs::read(&estimates)?)
                .with_context(|| format!("{} is not what criterion writes", estimates.display()))?;
            benches.entry(name).or_default().insert(size, read.median.point_estimate);
        } else {
            collect(root, &path, benches)?;
        }
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "this is what the command is for")]
fn print(benches: &BTreeMap<String, Costs>) {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(["bench", "cost at size", "grows with size to the power of"]);
    for (name, costs) in benches {
        let at: Vec<String> = costs.iter().map(|(size, ns)| format!("{size}: {}", time(*ns))).collect();
        table.add_row([name.clone(), at.join(", "), format!("{:.2}", exponent(costs))]);
    }
    if let Some(last) = table.column_mut(2) {
        last.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
}

fn time(ns: f64) -> String {
    match ns {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{:.1} µs", ns / 1e3),
        ns => format!("{:.1} ms", ns / 1e6),
    }
}

/// The slope of the least-squares line through the logarithms.
fn exponent(costs: &Costs) -> f64 {
    let points: Vec<(f64, f64)> = costs.iter().map(|(size, ns)| ((*size as f64).ln(), ns.ln())).collect();
    let count = points.len() as f64;
    let (mean_x, mean_y) =
        (points.iter().map(|p| p.0).sum::<f64>() / count, points.iter().map(|p| p.1).sum::<f64>() / count);
    let covariance: f64 = points.iter().map(|p| (p.0 - mean_x) * (p.1 - mean_y)).sum();
    let variance: f64 = points.iter().map(|p| (p.0 - mean_x).powi(2)).sum();
    covariance / variance
}

#[cfg(test)]
mod tests {
    use super::*;

    fn costs(of: impl Fn(f64) -> f64) -> Costs {
        [1_000, 5_000, 20_000, 100_000].into_iter().map(|size| (size, of(size as f64))).collect()
    }

    #[test]
    fn power_laws_are_found() {
        for (wanted, found) in [
            (0.0, exponent(&costs(|_| 700.0))),
            (1.0, exponent(&costs(|n| 3.0 * n))),
            (2.0, exponent(&costs(|n| n * n / 7.0))),
        ] {
            assert!((wanted - found).abs() < 1e-9, "{wanted} {found}");
        }
        assert!(exponent(&costs(f64::ln)) < 0.25, "a logarithm grows slower than any power");
    }

    #[test]
    fn results_are_found_by_their_sizes() {
        let root = std::env::temp_dir().join(format!("gantry-growth-{}", std::process::id()));
        for (id, ns) in [("place/plain/1000", 10.5), ("place/plain/5000", 20.0), ("rows/one", 3.0)] {
            let folder = root.join(id).join("new");
            std::fs::create_dir_all(&folder).expect("the temporary folder can be written");
            let text = format!(r#"{{"mean":{{"point_estimate":1}},"median":{{"point_estimate":{ns}}}}}"#);
            std::fs::write(folder.join("estimates.json"), text).expect("the folder was just made");
        }
        let mut found = BTreeMap::new();
        let read = collect(&root, &root, &mut found);
        std::fs::remove_dir_all(&root).expect("it is ours");
        read.expect("all is there");
        assert_eq!(found, BTreeMap::from([("place/plain".to_owned(), Costs::from([(1000, 10.5), (5000, 20.0)]))]));
    }
}
