//! `pluginConfig`: the arguments of plugins, read into a profile, with upstream's defaults and limits.

use std::time::Duration;

use gantry_machinery::names;
use gantry_machinery::status::FieldError;
use gantry_scheduler_core::profile::{Plugin, Profile, SEARCH_MAX, SpreadDefaults};
use gantry_scheduler_core::rows::{NodeTerm, Operator, PreferredNodeTerm, Requirement, SpreadConstraint};
use gantry_scheduler_core::score::allocation::{Kind, Strategy};

use super::fields::Fields;

/// What a millisecond of `filterTimeout` is taken for: upstream's ten seconds are the default.
const SEARCH_PER_MILLI: u64 = SEARCH_MAX / 10_000;

/// Reads `profiles[].pluginConfig` into the profile.
pub(super) fn read(fields: &Fields<'_>, profile: &mut Profile) {
    let mut seen: Vec<&str> = Vec::new();
    for entry in fields.objects("pluginConfig", &["name", "args"]) {
        let name = entry.text_or_empty("name");
        if seen.contains(&name) {
            entry.faults().wrong(FieldError::duplicate(entry.path().to_owned(), name));
        }
        seen.push(name);
        let Some(plugin) = Plugin::named(name) else {
            entry.faults().wrong(FieldError::invalid(
                entry.at("name"),
                name,
                format!("plugin {name:?} does not exist"),
            ));
            continue;
        };
        let known: &[&str] = match plugin {
            Plugin::DefaultPreemption => &["minCandidateNodesPercentage", "minCandidateNodesAbsolute"],
            Plugin::InterPodAffinity => &["hardPodAffinityWeight", "ignorePreferredTermsOfExistingPods"],
            Plugin::NodeAffinity => &["addedAffinity"],
            Plugin::NodeResourcesFit => &["ignoredResources", "ignoredResourceGroups", "scoringStrategy"],
            Plugin::NodeResourcesBalancedAllocation => &["resources"],
            Plugin::PodTopologySpread => &["defaultConstraints", "defaultingType"],
            Plugin::VolumeBinding => &["bindTimeoutSeconds", "shape"],
            Plugin::DynamicResources => &["filterTimeout", "bindingTimeout"],
            _ => &[],
        };
        let known: Vec<&str> = known.iter().copied().chain(["apiVersion", "kind"]).collect();
        let args = entry.within("args", &known);
        if !of_its_kind(&args, name) {
            continue;
        }
        match plugin {
            Plugin::DefaultPreemption => preemption(&args, profile),
            Plugin::InterPodAffinity => pod_affinity(&args, profile),
            Plugin::NodeAffinity => node_affinity(&args, profile),
            Plugin::NodeResourcesFit => fit(&args, profile),
            Plugin::NodeResourcesBalancedAllocation => balanced(&args, profile),
            Plugin::PodTopologySpread => spread(&args, profile),
            Plugin::VolumeBinding => volume_binding(&args, profile),
            Plugin::DynamicResources => dynamic_resources(&args, profile),
            _ => {}
        }
    }
}

/// Whether the arguments are those of this plugin, where they say whose they are.
fn of_its_kind(args: &Fields<'_>, name: &str) -> bool {
    let kind = args.text("kind");
    let version = args.text("apiVersion");
    let fits = kind.is_none_or(|kind| kind.strip_suffix("Args") == Some(name))
        && version.is_none_or(|version| version == super::VERSION);
    if !fits {
        let given = format!("{}, {}", version.unwrap_or(super::VERSION), kind.unwrap_or_default());
        args.faults().wrong(FieldError::invalid(args.path().to_owned(), given, "has to match plugin args"));
    }
    fits
}

/// An integer between bounds.
fn ranged(args: &Fields<'_>, key: &str, default: i64, min: i64, max: Option<i64>) -> i64 {
    let value = args.int(key).unwrap_or(default);
    if value < min || max.is_some_and(|max| value > max) {
        let text = match max {
            Some(max) => format!("not in valid range [{min}, {max}]"),
            None => format!("not in valid range [{min}, inf)"),
        };
        args.faults().wrong(FieldError::invalid(args.at(key), value, text));
    }
    value
}

fn preemption(args: &Fields<'_>, profile: &mut Profile) {
    const PERCENTAGE: &str = "minCandidateNodesPercentage";
    const ABSOLUTE: &str = "minCandidateNodesAbsolute";
    let percentage = ranged(args, PERCENTAGE, 10, 0, Some(100));
    let absolute = ranged(args, ABSOLUTE, 100, 0, None);
    if percentage == 0 && absolute == 0 {
        for (at, other) in [(PERCENTAGE, ABSOLUTE), (ABSOLUTE, PERCENTAGE)] {
            let text = format!("cannot be zero at the same time as {other}");
            args.faults().wrong(FieldError::invalid(args.at(at), 0i64, text));
        }
    }
    profile.min_candidate_nodes_percentage = u32::try_from(percentage).unwrap_or(0);
    profile.min_candidate_nodes_absolute = u32::try_from(absolute).unwrap_or(0);
}

fn pod_affinity(args: &Fields<'_>, profile: &mut Profile) {
    let weight = ranged(args, "hardPodAffinityWeight", 1, 0, Some(100));
    profile.hard_pod_affinity_weight = i32::try_from(weight).unwrap_or(1);
    profile.ignore_preferred_terms_of_existing_pods =
        args.boolean("ignorePreferredTermsOfExistingPods").unwrap_or(false);
}

fn node_affinity(args: &Fields<'_>, profile: &mut Profile) {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    let added = args.within("addedAffinity", &[REQUIRED, PREFERRED]);
    let required = added.within(REQUIRED, &["nodeSelectorTerms"]);
    if required.is_there() {
        let terms = required.objects("nodeSelectorTerms", TERM_FIELDS);
        profile.added_node_terms = Some(terms.iter().map(node_term).collect());
    }
    for preferred in added.objects(PREFERRED, &["weight", "preference"]) {
        let weight = i32::try_from(preferred.int("weight").unwrap_or(0)).unwrap_or(0);
        let term = node_term(&preferred.within("preference", TERM_FIELDS));
        profile.added_preferred_node_terms.push(PreferredNodeTerm { weight, term });
    }
}

const TERM_FIELDS: &[&str] = &["matchExpressions", "matchFields"];

fn node_term(term: &Fields<'_>) -> NodeTerm {
    let all = |key: &str, is_field: bool| -> Vec<Requirement> {
        let entries = term.objects(key, &["key", "operator", "values"]);
        entries.iter().map(|entry| requirement(entry, is_field)).collect()
    };
    NodeTerm { labels: all("matchExpressions", false), fields: all("matchFields", true) }
}

fn requirement(entry: &Fields<'_>, is_field: bool) -> Requirement {
    let key = entry.text_or_empty("key");
    let given = entry.text_or_empty("operator");
    let mut values: Vec<Box<str>> = entry.texts("values").iter().map(|(_, text)| Box::from(*text)).collect();
    let wrong = |error| entry.faults().wrong(error);
    if is_field {
        if key != "metadata.name" {
            wrong(FieldError::invalid(entry.at("key"), key, "not a valid field selector key"));
        }
    } else {
        for text in names::qualified_name(key) {
            wrong(FieldError::invalid(entry.at("key"), key, text));
        }
    }
    let (operator, complaint) = match given {
        "In" => (Operator::In, values.is_empty().then_some("for 'in', 'notin' operators, values set can't be empty")),
        "NotIn" => {
            (Operator::NotIn, values.is_empty().then_some("for 'in', 'notin' operators, values set can't be empty"))
        }
        "Exists" if !is_field => {
            let complaint = "values set must be empty for exists and does not exist";
            (Operator::Exists, (!values.is_empty()).then_some(complaint))
        }
        "DoesNotExist" if !is_field => {
            let complaint = "values set must be empty for exists and does not exist";
            (Operator::DoesNotExist, (!values.is_empty()).then_some(complaint))
        }
        "Gt" | "Lt" if !is_field => {
            let one = values.len() == 1 && values[0].parse::<i64>().is_ok();
            let operator = if given == "Gt" { Operator::Gt } else { Operator::Lt };
            (operator, (!one).then_some("for 'Gt', 'Lt' operators, exactly one integer value is required"))
        }
        _ => {
            let all = ["DoesNotExist", "Exists", "Gt", "In", "Lt", "NotIn"];
            let supported = if is_field { &["In", "NotIn"][..] } else { &all[..] };
            wrong(FieldError::not_supported(entry.at("operator"), given, supported));
            (Operator::In, None)
        }
    };
    if let Some(text) = complaint {
        let shown: Vec<&str> = values.iter().map(|value| &**value).collect();
        wrong(FieldError::invalid(entry.at("values"), format!("[{}]", shown.join(" ")), text));
    }
    values.sort_unstable();
    values.dedup();
    Requirement { key: key.into(), operator, values }
}

fn fit(args: &Fields<'_>, profile: &mut Profile) {
    let wrong = |error| args.faults().wrong(error);
    for (path, name) in args.texts("ignoredResources") {
        names::qualified_name(name).into_iter().for_each(|why| wrong(FieldError::invalid(path.clone(), name, why)));
        profile.ignored_resources.push(name.into());
    }
    for (path, group) in args.texts("ignoredResourceGroups") {
        if group.contains('/') {
            wrong(FieldError::invalid(path.clone(), group, "resource group name can't contain '/'"));
        }
        names::qualified_name(group).into_iter().for_each(|why| wrong(FieldError::invalid(path.clone(), group, why)));
        profile.ignored_resource_groups.push(group.into());
    }
    let strategy = args.within("scoringStrategy", &["type", "resources", "requestedToCapacityRatio"]);
    if !strategy.is_there() {
        return;
    }
    let ratio = strategy.within("requestedToCapacityRatio", &["shape"]);
    let kind = match strategy.text_or_empty("type") {
        "LeastAllocated" => Kind::LeastAllocated,
        "MostAllocated" => Kind::MostAllocated,
        "RequestedToCapacityRatio" => {
            if !ratio.is_there() {
                let text = "must be specified when type is RequestedToCapacityRatio";
                wrong(FieldError::required(ratio.path().to_owned(), text));
            }
            Kind::RequestedToCapacityRatio(shape(&ratio, "shape"))
        }
        other => {
            let all = ["LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"];
            wrong(FieldError::not_supported(strategy.at("type"), other, &all));
            Kind::LeastAllocated
        }
    };
    if ratio.is_there() && !matches!(kind, Kind::RequestedToCapacityRatio(_)) {
        let text = "must be nil when type is not RequestedToCapacityRatio";
        wrong(FieldError::forbidden(ratio.path().to_owned(), text));
    }
    let mut resources = Vec::new();
    for entry in strategy.objects("resources", &["name", "weight"]) {
        let name = entry.text_or_empty("name");
        // A weight of 0 is one that was not given.
        let weight = entry.int("weight").filter(|weight| *weight != 0).unwrap_or(1);
        if !(1..=100).contains(&weight) {
            let text = format!("resource weight of {name} not in valid range (0, 100]");
            wrong(FieldError::invalid(entry.at("weight"), weight, text));
        }
        resources.push((name.into(), weight));
    }
    if resources.is_empty() {
        resources = Strategy::default().resources;
    }
    profile.fit = Strategy { kind, resources };
}

/// A shape's points; scores of 0 to 10 become 0 to 100.
fn shape(fields: &Fields<'_>, key: &str) -> Vec<(i64, i64)> {
    let points = fields.objects(key, &["utilization", "score"]);
    let wrong = |error| fields.faults().wrong(error);
    if points.is_empty() && fields.is_there() {
        wrong(FieldError::required(fields.at(key), "at least one point must be specified"));
    }
    let mut shape: Vec<(i64, i64)> = Vec::new();
    let mut sorted = true;
    for point in &points {
        let (utilization, score) = (point.int("utilization").unwrap_or(0), point.int("score").unwrap_or(0));
        if sorted && shape.last().is_some_and(|(before, _)| *before >= utilization) {
            sorted = false;
            let text = "values must be sorted in increasing order";
            wrong(FieldError::invalid(point.at("utilization"), utilization, text));
        }
        ranged(point, "utilization", 0, 0, Some(100));
        ranged(point, "score", 0, 0, Some(10));
        shape.push((utilization, score * 10));
    }
    shape
}

fn balanced(args: &Fields<'_>, profile: &mut Profile) {
    let mut resources: Vec<Box<str>> = Vec::new();
    for entry in args.objects("resources", &["name", "weight"]) {
        let name = entry.text_or_empty("name");
        if resources.iter().any(|known| **known == *name) {
            args.faults().wrong(FieldError::duplicate(entry.at("name"), name));
        }
        let weight = entry.int("weight").filter(|weight| *weight != 0).unwrap_or(1);
        if weight != 1 {
            args.faults().wrong(FieldError::invalid(entry.at("weight"), weight, "must be 1"));
        }
        resources.push(name.into());
    }
    if !resources.is_empty() {
        profile.balanced = resources;
    }
}

fn spread(args: &Fields<'_>, profile: &mut Profile) {
    let wrong = |error| args.faults().wrong(error);
    let kinds = [
        "maxSkew",
        "topologyKey",
        "whenUnsatisfiable",
        "labelSelector",
        "minDomains",
        "nodeAffinityPolicy",
        "nodeTaintsPolicy",
        "matchLabelKeys",
    ];
    let mut constraints: Vec<SpreadConstraint> = Vec::new();
    for entry in args.objects("defaultConstraints", &kinds) {
        let skew = entry.int("maxSkew").unwrap_or(0);
        if skew <= 0 {
            wrong(FieldError::invalid(entry.at("maxSkew"), skew, "not in valid range (0, inf)"));
        }
        let key = entry.text_or_empty("topologyKey");
        if key.is_empty() {
            wrong(FieldError::required(entry.at("topologyKey"), "can not be empty"));
        } else {
            let complaints = names::qualified_name(key).into_iter();
            complaints.for_each(|why| wrong(FieldError::invalid(entry.at("topologyKey"), key, why)));
        }
        let when = entry.text_or_empty("whenUnsatisfiable");
        match when {
            "DoNotSchedule" | "ScheduleAnyway" => {}
            "" => wrong(FieldError::required(entry.at("whenUnsatisfiable"), "can not be empty")),
            other => {
                let all = ["DoNotSchedule", "ScheduleAnyway"];
                wrong(FieldError::not_supported(entry.at("whenUnsatisfiable"), other, &all));
            }
        }
        if entry.value("labelSelector").is_some() {
            let text = "constraint must not define a selector, as they deduced for each pod";
            wrong(FieldError::forbidden(entry.at("labelSelector"), text));
        }
        let hard = when == "DoNotSchedule";
        if constraints.iter().any(|c| *c.topology_key == *key && c.hard == hard) {
            wrong(FieldError::duplicate(entry.path().to_owned(), format!("{{{key}, {when}}}")));
        }
        constraints.push(SpreadConstraint {
            max_skew: i32::try_from(skew).unwrap_or(i32::MAX),
            topology_key: key.into(),
            hard,
            selector: None,
            min_domains: i32::try_from(entry.int("minDomains").unwrap_or(0)).unwrap_or(0),
            ignores_affinity: entry.text_or_empty("nodeAffinityPolicy") == "Ignore",
            honors_taints: entry.text_or_empty("nodeTaintsPolicy") == "Honor",
        });
    }
    let at = args.at("defaultingType");
    match args.text("defaultingType").unwrap_or("System") {
        "System" if constraints.is_empty() => profile.spread_defaults = SpreadDefaults::System,
        "System" => wrong(FieldError::invalid(at, "System", "when .defaultConstraints are not empty")),
        "List" => profile.spread_defaults = SpreadDefaults::List(constraints),
        other => wrong(FieldError::not_supported(at, other, &["System", "List"])),
    }
}

fn volume_binding(args: &Fields<'_>, profile: &mut Profile) {
    let timeout = args.int("bindTimeoutSeconds").unwrap_or(600);
    if timeout < 0 {
        let text = "invalid BindTimeoutSeconds, should not be a negative value";
        args.faults().wrong(FieldError::invalid(args.at("bindTimeoutSeconds"), timeout, text));
    }
    profile.patience.volumes = Duration::from_secs(u64::try_from(timeout).unwrap_or(0));
    if let Some(shape) = args.value("shape") {
        let text = "unexpected field `shape`, remove it or turn on the feature gate StorageCapacityScoring";
        args.faults().wrong(FieldError::invalid(args.at("shape"), shape, text));
    }
}

fn dynamic_resources(args: &Fields<'_>, profile: &mut Profile) {
    if let Some((timeout, negative)) = args.duration("filterTimeout") {
        if negative {
            let given = args.text_or_empty("filterTimeout");
            args.faults().wrong(FieldError::invalid(args.at("filterTimeout"), given, "must be zero or positive"));
        }
        profile.search_max = if timeout.is_zero() {
            u64::MAX
        } else {
            u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).saturating_mul(SEARCH_PER_MILLI).max(1)
        };
    }
    if let Some((timeout, negative)) = args.duration("bindingTimeout") {
        if negative || timeout.as_secs() < 1 {
            let given = args.text_or_empty("bindingTimeout");
            args.faults().wrong(FieldError::invalid(args.at("bindingTimeout"), given, "must be at least 1 second"));
        }
        profile.patience.devices = timeout;
    }
}
