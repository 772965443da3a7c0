//! Feature gates: what `--feature-gates` switches, for every role alike ("Feature Gates" in the Kubernetes reference).
//!
//! [`Gate`] names those that something here acts on; [`table`] knows all of 1.36, so that a command line made for
//! upstream is understood: a gate that nothing here acts on may be set, and a notice says that it has no effect. Its value
//! stays upstream's default. Read once at start; [`Gates`] is then handed to whoever acts on one.

mod table;

use std::fmt::Write as _;

use table::{DECLARED, Declared};

/// A gate that something here acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Pods may belong to a PodGroup (KEP-4671).
    GenericWorkload,
    /// The pods of a gang are placed together or not at all (KEP-4671).
    GangScheduling,
    /// Pods go only where the node declares the features they need (KEP-5328).
    NodeDeclaredFeatures,
    /// Devices stand in for extended resources that a DeviceClass names (KEP-5004).
    DRAExtendedResource,
    /// Lists and watches of a part of a collection (KEP-5866).
    ShardedListAndWatch,
}

impl Gate {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::GenericWorkload,
        Self::GangScheduling,
        Self::NodeDeclaredFeatures,
        Self::DRAExtendedResource,
        Self::ShardedListAndWatch,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::GenericWorkload => "GenericWorkload",
            Self::GangScheduling => "GangScheduling",
            Self::NodeDeclaredFeatures => "NodeDeclaredFeatures",
            Self::DRAExtendedResource => "DRAExtendedResource",
            Self::ShardedListAndWatch => "ShardedListAndWatch",
        }
    }

    /// Gates without which it means nothing.
    const fn needs(self) -> &'static [Self] {
        match self {
            Self::GangScheduling => &[Self::GenericWorkload],
            Self::GenericWorkload
            | Self::NodeDeclaredFeatures
            | Self::DRAExtendedResource
            | Self::ShardedListAndWatch => &[],
        }
    }

    const fn bit(self) -> u64 {
        1 << self as u32
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|gate| gate.name() == name)
    }
}

/// How far a feature has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Alpha,
    Beta,
    Stable,
    Deprecated,
}

impl Stage {
    /// As the metric's label says it.
    const fn label(self) -> &'static str {
        match self {
            Self::Alpha => "ALPHA",
            Self::Beta => "BETA",
            Self::Stable => "",
            Self::Deprecated => "DEPRECATED",
        }
    }
}

/// Which gates are on: of those that something here acts on, as the flag says; of all others, as by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gates {
    on: u64,
    /// `AllAlpha` and `AllBeta`, which are gates of their own.
    stages: [bool; 2],
}

/// The gates that stand for a whole stage.
const STAGES: [(&str, Stage); 2] = [("AllAlpha", Stage::Alpha), ("AllBeta", Stage::Beta)];

impl Default for Gates {
    fn default() -> Self {
        let by_default = Gate::ALL.into_iter().filter(|gate| declared(gate.name()).is_some_and(|known| known.default));
        Self { on: by_default.map(Gate::bit).sum(), stages: [false; 2] }
    }
}

impl Gates {
    /// Whether a gate is on.
    #[must_use]
    pub fn enabled(self, gate: Gate) -> bool {
        self.on & gate.bit() != 0
    }

    /// The same with a gate switched, for tests and benches.
    #[must_use]
    pub fn with(mut self, gate: Gate, on: bool) -> Self {
        self.set(gate, on);
        self
    }

    fn set(&mut self, gate: Gate, on: bool) {
        self.on = self.on & !gate.bit() | if on { gate.bit() } else { 0 };
    }

    /// Reads the flag's values, each a list of `Name=bool` with commas between; a name may stand behind `kube:`. Of two
    /// equal names the last counts; what is said of a single gate counts more than `AllAlpha` and `AllBeta`. Gives also
    /// what is worth a line in the log.
    ///
    /// # Errors
    /// What is wrong, in one line without the flag's name.
    pub fn parse<'v>(values: impl IntoIterator<Item = &'v str>) -> Result<(Self, Vec<String>), String> {
        let mut given: Vec<(&str, bool)> = Vec::new();
        for part in values.into_iter().flat_map(|value| value.split(',')).map(str::trim).filter(|part| !part.is_empty())
        {
            let (name, value) = part.split_once('=').ok_or_else(|| format!("missing bool value for {part}"))?;
            let (name, value) = (name.trim(), value.trim());
            let name = name.strip_prefix("kube:").unwrap_or(name);
            let on = parse_bool(value).map_err(|error| format!("invalid value of {name}={value}, err: {error}"))?;
            given.retain(|(other, _)| *other != name);
            given.push((name, on));
        }
        let mut gates = Self::default();
        for (at, (name, stage)) in STAGES.into_iter().enumerate() {
            let Some((_, on)) = given.iter().find(|(given, _)| *given == name) else { continue };
            gates.stages[at] = *on;
            let of_stage = |gate: &Gate| declared(gate.name()).is_some_and(|known| known.stage == stage);
            Gate::ALL.into_iter().filter(of_stage).for_each(|gate| gates.set(gate, *on));
        }
        let mut notices = Vec::new();
        for (name, on) in given {
            if STAGES.iter().any(|(stage, _)| *stage == name) {
                notices.extend(on.then(|| format!("feature gate {name}: most of these features are not built yet")));
                continue;
            }
            let known = declared(name).ok_or_else(|| format!("unrecognized feature gate: {name}"))?;
            if known.locked && on != known.default {
                let locked = known.default;
                return Err(format!("cannot set feature gate {name} to {on}, feature is locked to {locked}"));
            }
            match Gate::named(name) {
                Some(gate) => gates.set(gate, on),
                None if on != known.default => {
                    notices.push(format!("feature gate {name}={on} is accepted and has no effect here"));
                }
                None => {}
            }
        }
        for gate in Gate::ALL.into_iter().filter(|gate| gates.enabled(*gate)) {
            let missing: Vec<&str> =
                gate.needs().iter().filter(|need| !gates.enabled(**need)).map(|need| need.name()).collect();
            if !missing.is_empty() {
                let missing = missing.join(" ");
                let name = gate.name();
                return Err(format!("{name} is enabled, but depends on features that are disabled: [{missing}]"));
            }
        }
        Ok((gates, notices))
    }

    /// Appends upstream's series about all gates.
    pub fn write_metrics(self, out: &mut String) {
        const NAME: &str = "kubernetes_feature_enabled";
        let help = "[BETA] This metric records the data about the stage and enablement of a k8s feature.";
        let mut line = |text: std::fmt::Arguments<'_>| writeln!(out, "{text}").expect("a text takes all");
        line(format_args!("# HELP {NAME} {help}"));
        line(format_args!("# TYPE {NAME} gauge"));
        let stages = STAGES.into_iter().zip(self.stages).map(|((name, stage), on)| (name, stage, on));
        let single = DECLARED.iter().map(|known| {
            let on = Gate::named(known.name).map_or(known.default, |gate| self.enabled(gate));
            (known.name, known.stage, on)
        });
        for (name, stage, on) in stages.chain(single) {
            let (stage, on) = (stage.label(), u8::from(on));
            line(format_args!("{NAME}{{name=\"{name}\",stage=\"{stage}\"}} {on}"));
        }
    }
}

fn declared(name: &str) -> Option<&'static Declared> {
    DECLARED.binary_search_by_key(&name, |known| known.name).ok().map(|at| &DECLARED[at])
}

/// A boolean as Go reads it.
///
/// # Errors
/// Go's words for a text that is none.
pub fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        other => Err(format!("strconv.ParseBool: parsing {other:?}: invalid syntax")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The gates that are not as by default, and how much there is to say.
    fn parse(flag: &str) -> Result<(Vec<&'static str>, usize), String> {
        let (gates, notices) = Gates::parse([flag])?;
        let changed = |gate: &Gate| gates.enabled(*gate) != Gates::default().enabled(*gate);
        let on = Gate::ALL.into_iter().filter(changed).map(Gate::name);
        Ok((on.collect(), notices.len()))
    }

    #[test]
    fn the_table_is_sorted_and_has_every_gate_that_is_acted_on() {
        assert!(DECLARED.is_sorted_by_key(|known| known.name));
        for gate in Gate::ALL {
            assert!(declared(gate.name()).is_some(), "{gate:?}");
        }
    }

    #[test]
    fn single_gates_count_more_than_stages_in_any_order() {
        let (workload, gang, shards) = ("GenericWorkload", "GangScheduling", "ShardedListAndWatch");
        for (flag, on, notices) in [
            ("", vec![], 0),
            ("GenericWorkload=true", vec![workload], 0),
            ("kube:GenericWorkload=1, GangScheduling=T,", vec![workload, gang], 0),
            ("GenericWorkload=true,GenericWorkload=false", vec![], 0),
            ("AllAlpha=true", vec![workload, gang, shards], 1),
            ("GangScheduling=false,AllAlpha=true", vec![workload, shards], 1),
            ("AllAlpha=false,GenericWorkload=true", vec![workload], 0),
            ("AllBeta=true", vec![], 1),
            ("AllBeta=false", vec!["NodeDeclaredFeatures", "DRAExtendedResource"], 0),
            ("NodeDeclaredFeatures=false", vec!["NodeDeclaredFeatures"], 0),
            // As it is anyway: nothing to say. Otherwise, that it changes nothing.
            ("ContextualLogging=true,VolumeAttributesClass=true", vec![], 0),
            ("ContextualLogging=false,KMSv1=true", vec![], 2),
        ] {
            assert_eq!(parse(flag), Ok((on, notices)), "{flag}");
        }
    }

    #[test]
    fn mistakes_are_told_in_upstreams_words() {
        for (flag, text) in [
            ("GenericWorkload", "missing bool value for GenericWorkload"),
            (
                "GenericWorkload=yes",
                "invalid value of GenericWorkload=yes, err: strconv.ParseBool: parsing \"yes\": invalid syntax",
            ),
            ("NoSuchThing=true", "unrecognized feature gate: NoSuchThing"),
            (
                "DynamicResourceAllocation=false",
                "cannot set feature gate DynamicResourceAllocation to false, feature is locked to true",
            ),
            (
                "GangScheduling=true",
                "GangScheduling is enabled, but depends on features that are disabled: [GenericWorkload]",
            ),
        ] {
            assert_eq!(parse(flag), Err(text.to_owned()), "{flag}");
        }
    }

    #[test]
    fn the_metric_names_every_gate_with_its_stage() {
        let (gates, _) = Gates::parse(["GenericWorkload=true,ContextualLogging=false"]).unwrap();
        let mut out = String::new();
        gates.write_metrics(&mut out);
        for line in [
            r#"kubernetes_feature_enabled{name="AllAlpha",stage="ALPHA"} 0"#,
            r#"kubernetes_feature_enabled{name="GenericWorkload",stage="ALPHA"} 1"#,
            r#"kubernetes_feature_enabled{name="GangScheduling",stage="ALPHA"} 0"#,
            r#"kubernetes_feature_enabled{name="ContextualLogging",stage="BETA"} 1"#,
            r#"kubernetes_feature_enabled{name="DynamicResourceAllocation",stage=""} 1"#,
            r#"kubernetes_feature_enabled{name="KMSv1",stage="DEPRECATED"} 0"#,
        ] {
            assert!(out.lines().any(|l| l == line), "{line}");
        }
        assert_eq!(out.lines().count(), DECLARED.len() + 4);
    }
}
