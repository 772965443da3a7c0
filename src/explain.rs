//! `gantry explain pod NAME`: why a pod is where it is, or nowhere, for a person at a terminal or, with `-o json`, for a
//! program. Asks any Kubernetes API server and thinks for itself; no scheduler needs to run.

use std::fmt::Write as _;

use gantry_controllers::scheduling::explain::{Answer, explain};
use gantry_machinery::client::Client;
use gantry_machinery::client::kubeconfig::Kubeconfig;
use gantry_scheduler_core::cycle::explain::{Explanation, Scored, Standing};

use crate::flags::{ExplainPod, Output};
use crate::serve::runtime;
use crate::{log, remote, say};

/// Answers.
pub(crate) fn pod(flags: &ExplainPod) -> anyhow::Result<()> {
    log::start(&flags.remote.logging);
    let config = remote::configuration(&flags.scheduling)?;
    let access = Kubeconfig::load(&flags.remote.kubeconfig)?.access(None)?;
    let own = Some(access.namespace.clone()).filter(|namespace| !namespace.is_empty());
    let namespace = flags.namespace.clone().or(own).unwrap_or_else(|| "default".to_owned());
    let answer = runtime()?.block_on(async {
        let api = Client::new(access, "gantry-explain");
        explain(api, &config, &namespace, &flags.name, flags.nodes).await
    });
    let answer = answer.map_err(|status| anyhow::anyhow!("{}", status.message))?;
    let names: Vec<&str> = config.profiles.iter().map(|profile| &*profile.name).collect();
    match flags.output {
        Output::Text => say(text(&answer, &names).trim_end()),
        Output::Json => say(&serde_json::to_string_pretty(&json(&answer))?),
    }
}

/// As a person reads it.
fn text(answer: &Answer, names: &[&str]) -> String {
    let Answer { pod, explanation } = answer;
    let Explanation { nodes, feasible, .. } = *explanation;
    let mut out = String::new();
    let place = match &explanation.standing {
        Standing::On(node) => format!("is on node {node}"),
        Standing::Gated => "is held back by its scheduling gates (spec.schedulingGates)".to_owned(),
        Standing::Leaving => "is being deleted and will not be scheduled".to_owned(),
        Standing::Pending => "has no node".to_owned(),
    };
    let _ = writeln!(out, "Pod {}/{} {place}.", pod.namespace, pod.name);
    let _ = writeln!(out, "Scheduler {}, priority {}.", pod.scheduler, pod.priority);
    if !pod.group.is_empty() {
        let group = &pod.group;
        let _ = writeln!(
            out,
            "It is of PodGroup {group}: a gang is placed together or not at all, here it is looked at alone."
        );
    }
    if let Some(because) = pod.refused_because.as_ref().filter(|_| explanation.standing == Standing::Pending) {
        let _ = writeln!(out, "It was last told: {because}");
    }
    if explanation.profile.is_none() {
        let _ = writeln!(out, "That scheduler is not one of {}: what follows goes by the first.", names.join(", "));
    }
    if let Some(obstacle) = &explanation.obstacle {
        let _ = writeln!(out, "\n{obstacle}");
        return out;
    }
    let could = if feasible == 1 { "1 could".to_owned() } else { format!("{feasible} could") };
    let nodes = if nodes == 1 { "1 node".to_owned() } else { format!("{nodes} nodes") };
    let _ = writeln!(out, "\nAs the cluster is now, without this pod: {nodes}, {could} take it.");
    if !explanation.turned_down.is_empty() {
        let width = explanation.turned_down.iter().map(|t| t.plugin.len()).max().unwrap_or(0);
        let _ = writeln!(out, "\n{:>7}  {:width$}  WHY NOT", "NODES", "PLUGIN");
        for turned in &explanation.turned_down {
            let more = if turned.nodes as usize > turned.examples.len() { ", ..." } else { "" };
            let examples = turned.examples.join(", ");
            let (count, plugin, reason) = (turned.nodes, turned.plugin, &turned.reason);
            let _ = writeln!(out, "{count:>7}  {plugin:width$}  {reason} ({examples}{more})");
        }
    }
    if !explanation.best.is_empty() {
        scores(&mut out, &explanation.best, &explanation.standing);
    }
    out
}

/// One row per plugin, one column per node.
fn scores(out: &mut String, best: &[Scored], standing: &Standing) {
    let is_here = |scored: &Scored| matches!(standing, Standing::On(node) if *node == scored.node);
    let heads: Vec<String> =
        best.iter().map(|s| if is_here(s) { format!("{}*", s.node) } else { s.node.to_string() }).collect();
    let plugins = best[0].scores.iter().map(|(plugin, ..)| plugin.name());
    let width = plugins.map(str::len).max().unwrap_or(0).max("TOTAL (SCORE x WEIGHT)".len());
    let _ = write!(out, "\n{:width$}  WEIGHT", "SCORE (0 TO 100)");
    for head in &heads {
        let _ = write!(out, "  {head:>7}");
    }
    for (at, (plugin, _, weight)) in best[0].scores.iter().enumerate() {
        let _ = write!(out, "\n{:width$}  {weight:>6}", plugin.name());
        for (scored, head) in best.iter().zip(&heads) {
            let column = head.len().max(7);
            let score = scored.scores.get(at).map_or(0, |(_, score, _)| *score);
            let _ = write!(out, "  {score:>column$}");
        }
    }
    let _ = write!(out, "\n{:width$}  {:>6}", "TOTAL (SCORE x WEIGHT)", "");
    for (scored, head) in best.iter().zip(&heads) {
        let column = head.len().max(7);
        let _ = write!(out, "  {:>column$}", scored.total);
    }
    let _ = writeln!(out);
    if best.iter().any(is_here) {
        let _ = writeln!(out, "\n* where the pod is. Others may score better today than when it was placed.");
    }
}

/// As a program reads it.
fn json(answer: &Answer) -> serde_json::Value {
    let Answer { pod, explanation } = answer;
    let (standing, node) = match &explanation.standing {
        Standing::On(node) => ("Placed", Some(&**node)),
        Standing::Gated => ("Gated", None),
        Standing::Leaving => ("Leaving", None),
        Standing::Pending => ("Pending", None),
    };
    let turned_down: Vec<_> = explanation
        .turned_down
        .iter()
        .map(|t| serde_json::json!({"plugin": t.plugin, "reason": t.reason, "nodes": t.nodes, "examples": t.examples}))
        .collect();
    let best: Vec<_> = explanation
        .best
        .iter()
        .map(|s| {
            let scores: Vec<_> = s
                .scores
                .iter()
                .map(|(plugin, score, weight)| serde_json::json!({"plugin": plugin.name(), "score": score, "weight": weight}))
                .collect();
            serde_json::json!({"node": s.node, "total": s.total, "scores": scores})
        })
        .collect();
    serde_json::json!({
        "pod": {"namespace": pod.namespace, "name": pod.name, "uid": pod.uid, "schedulerName": pod.scheduler, "priority": pod.priority},
        "profile": explanation.profile,
        "standing": standing,
        "node": node,
        "nodes": explanation.nodes,
        "feasible": explanation.feasible,
        "turnedDown": turned_down,
        "best": best,
        "obstacle": explanation.obstacle,
    })
}
