//! The result: one JSON line on standard output, and an HTML page with percentile plots that needs nothing else.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;

use anyhow::Context;
use serde::Serialize;

use crate::Common;

const COLOURS: [&str; 4] = ["#1f77b4", "#d62728", "#2ca02c", "#9467bd"];
const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 420.0;
const MARGIN: f64 = 60.0;

/// A named latency distribution: (quantile, microseconds).
type Curve = (&'static str, Vec<(f64, u64)>);

/// Prints the outcome as one JSON line and writes the HTML report if one is wanted.
pub(crate) fn publish(common: &Common, outcome: &impl Serialize, curves: &[Curve]) -> anyhow::Result<()> {
    let line = serde_json::to_string(outcome)?;
    writeln!(std::io::stdout(), "{line}")?;
    if let Some(path) = &common.report {
        fs::write(path, page(&line, curves)?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn page(line: &str, curves: &[Curve]) -> anyhow::Result<String> {
    let facts: serde_json::Value = serde_json::from_str(line)?;
    let mut rows = String::new();
    flatten("", &facts, &mut rows);
    Ok(format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>gantry-perf</title>\
         <style>body{{font:15px system-ui;margin:2em;max-width:960px}}td{{padding:.1em 1em .1em 0}}\
         td+td{{text-align:right;font-variant-numeric:tabular-nums}}</style>\
         <h1>gantry-perf</h1><h2>Latency by percentile</h2>{}<h2>Figures</h2><table>{rows}</table></html>",
        plot(curves)
    ))
}

fn flatten(prefix: &str, value: &serde_json::Value, rows: &mut String) {
    if let serde_json::Value::Object(fields) = value {
        for (key, value) in fields {
            let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            flatten(&name, value, rows);
        }
        return;
    }
    let text = match value {
        serde_json::Value::Number(n) if n.is_f64() => format!("{:.1}", n.as_f64().unwrap_or_default()),
        serde_json::Value::String(text) => text.replace('&', "&amp;").replace('<', "&lt;"),
        serde_json::Value::Null => "not measured".to_owned(),
        other => other.to_string(),
    };
    let _ = write!(rows, "<tr><td>{prefix}</td><td>{text}</td></tr>");
}

/// Percentiles on a scale of nines (50, 90, 99, 99.9, 99.99) against milliseconds on a logarithmic scale.
fn plot(curves: &[Curve]) -> String {
    let most_us = curves.iter().flat_map(|(_, c)| c).map(|(_, us)| *us).max().unwrap_or(1).max(10) as f64;
    let least_us = curves.iter().flat_map(|(_, c)| c).map(|(_, us)| *us).min().unwrap_or(1).max(1) as f64;
    let nines = |quantile: f64| -(1.0 - quantile.min(0.99999)).log10();
    let x = |quantile: f64| MARGIN + nines(quantile) / 5.0 * (WIDTH - 2.0 * MARGIN);
    let scale = (most_us / least_us).ln().max(0.1);
    let y = |us: f64| HEIGHT - MARGIN - (us / least_us).max(1.0).ln() / scale * (HEIGHT - 2.0 * MARGIN);
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" style=\"width:100%;font:12px system-ui\">");
    for (quantile, name) in
        [(0.0, "0"), (0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"), (0.9999, "99.99 %")]
    {
        let at = x(quantile);
        let _ = write!(
            svg,
            "<line x1=\"{at}\" x2=\"{at}\" y1=\"{MARGIN}\" y2=\"{}\" stroke=\"#ddd\"/>\
             <text x=\"{at}\" y=\"{}\" text-anchor=\"middle\">{name}</text>",
            HEIGHT - MARGIN,
            HEIGHT - MARGIN + 18.0
        );
    }
    for step in 0..=4 {
        let us = least_us * (scale * f64::from(step) / 4.0).exp();
        let at = y(us);
        let _ = write!(
            svg,
            "<line x1=\"{MARGIN}\" x2=\"{}\" y1=\"{at}\" y2=\"{at}\" stroke=\"#ddd\"/>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{:.2} ms</text>",
            WIDTH - MARGIN,
            MARGIN - 6.0,
            at + 4.0,
            us / 1000.0
        );
    }
    for (i, (name, curve)) in curves.iter().enumerate() {
        let colour = COLOURS[i % COLOURS.len()];
        let points: Vec<String> = curve.iter().map(|(q, us)| format!("{:.1},{:.1}", x(*q), y(*us as f64))).collect();
        let _ = write!(
            svg,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>\
             <text x=\"{}\" y=\"{}\" fill=\"{colour}\">{name}</text>",
            points.join(" "),
            MARGIN + 8.0,
            MARGIN + 16.0 * (i as f64 + 1.0)
        );
    }
    svg.push_str("</svg>");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_every_figure_and_curve() {
        let line = r#"{"scenario":"schedule","label":"a<b","bound":{"p50_us":120},"control_plane_resident_mb":null}"#;
        let page = page(line, &[("bound", vec![(0.0, 10), (0.5, 120), (0.99, 900)])]).unwrap();
        for part in ["a&lt;b", "bound.p50_us", "120", "not measured", "<polyline", "99.9 %"] {
            assert!(page.contains(part), "{part} is missing");
        }
    }
}
