//! Plugin sets: which of upstream's plugins run at which extension point, after defaults, `multiPoint` and `*`.
//!
//! The rules are those of upstream's framework: a profile's `multiPoint` set is merged into the default one, then every
//! point takes what is enabled for it by name and, unless disabled there, every multi-point plugin that implements it.

use gantry_machinery::status::FieldError;
use gantry_scheduler_core::profile::{Plugin, PluginSet, Weights};

use super::fields::Fields;

/// An extension point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    PreEnqueue,
    QueueSort,
    PreFilter,
    Filter,
    PostFilter,
    PreScore,
    Score,
    Reserve,
    Permit,
    PreBind,
    Bind,
    PostBind,
}

impl Point {
    pub(super) const ALL: [Self; 12] = [
        Self::PreEnqueue,
        Self::QueueSort,
        Self::PreFilter,
        Self::Filter,
        Self::PostFilter,
        Self::PreScore,
        Self::Score,
        Self::Reserve,
        Self::Permit,
        Self::PreBind,
        Self::Bind,
        Self::PostBind,
    ];

    /// Its field in `profiles[].plugins`.
    pub(super) const fn field(self) -> &'static str {
        match self {
            Self::PreEnqueue => "preEnqueue",
            Self::QueueSort => "queueSort",
            Self::PreFilter => "preFilter",
            Self::Filter => "filter",
            Self::PostFilter => "postFilter",
            Self::PreScore => "preScore",
            Self::Score => "score",
            Self::Reserve => "reserve",
            Self::Permit => "permit",
            Self::PreBind => "preBind",
            Self::Bind => "bind",
            Self::PostBind => "postBind",
        }
    }

    /// The interface that upstream's errors name.
    const fn interface(self) -> &'static str {
        match self {
            Self::PreEnqueue => "PreEnqueuePlugin",
            Self::QueueSort => "QueueSortPlugin",
            Self::PreFilter => "PreFilterPlugin",
            Self::Filter => "FilterPlugin",
            Self::PostFilter => "PostFilterPlugin",
            Self::PreScore => "PreScorePlugin",
            Self::Score => "ScorePlugin",
            Self::Reserve => "ReservePlugin",
            Self::Permit => "PermitPlugin",
            Self::PreBind => "PreBindPlugin",
            Self::Bind => "BindPlugin",
            Self::PostBind => "PostBindPlugin",
        }
    }

    /// Whether a plugin has something to do here.
    const fn of(self, plugin: Plugin) -> bool {
        use Plugin::{
            DefaultBinder, DefaultPreemption, DynamicResources, GangScheduling, ImageLocality, InterPodAffinity,
            NodeAffinity, NodeDeclaredFeatures, NodeName, NodePorts, NodeResourcesBalancedAllocation, NodeResourcesFit,
            NodeUnschedulable, NodeVolumeLimits, PodTopologySpread, PrioritySort, SchedulingGates, TaintToleration,
            VolumeBinding, VolumeRestrictions, VolumeZone,
        };
        match self {
            Self::PreEnqueue => {
                matches!(plugin, SchedulingGates | DefaultPreemption | DynamicResources | GangScheduling)
            }
            Self::QueueSort => matches!(plugin, PrioritySort),
            Self::PreFilter => matches!(
                plugin,
                NodeAffinity
                    | NodePorts
                    | NodeResourcesFit
                    | VolumeRestrictions
                    | NodeVolumeLimits
                    | VolumeBinding
                    | VolumeZone
                    | PodTopologySpread
                    | InterPodAffinity
                    | DynamicResources
                    | NodeDeclaredFeatures
            ),
            Self::Filter => {
                matches!(plugin, NodeUnschedulable | NodeName | TaintToleration) || Self::PreFilter.of(plugin)
            }
            Self::PostFilter => matches!(plugin, DefaultPreemption | DynamicResources),
            Self::PreScore => matches!(
                plugin,
                TaintToleration
                    | NodeAffinity
                    | NodeResourcesFit
                    | VolumeBinding
                    | PodTopologySpread
                    | InterPodAffinity
                    | NodeResourcesBalancedAllocation
            ),
            Self::Score => {
                matches!(plugin, ImageLocality | DynamicResources)
                    || (Self::PreScore.of(plugin) && !matches!(plugin, VolumeBinding))
            }
            Self::Reserve | Self::PreBind => matches!(plugin, VolumeBinding | DynamicResources),
            Self::Permit => matches!(plugin, GangScheduling),
            Self::Bind => matches!(plugin, DefaultBinder),
            Self::PostBind => false,
        }
    }
}

/// Upstream's default multi-point set. What is behind a feature gate that is off is not in it.
const DEFAULTS: [Plugin; 21] = [
    Plugin::SchedulingGates,
    Plugin::PrioritySort,
    Plugin::NodeUnschedulable,
    Plugin::NodeName,
    Plugin::TaintToleration,
    Plugin::NodeAffinity,
    Plugin::NodePorts,
    Plugin::NodeResourcesFit,
    Plugin::VolumeRestrictions,
    Plugin::NodeVolumeLimits,
    Plugin::VolumeBinding,
    Plugin::VolumeZone,
    Plugin::PodTopologySpread,
    Plugin::InterPodAffinity,
    Plugin::DynamicResources,
    Plugin::DefaultPreemption,
    Plugin::NodeResourcesBalancedAllocation,
    Plugin::ImageLocality,
    Plugin::DefaultBinder,
    Plugin::NodeDeclaredFeatures,
    // Without its gate the core knows no gangs, and it has nothing to say.
    Plugin::GangScheduling,
];

/// A set as it is written.
#[derive(Default)]
struct Written {
    path: String,
    /// In order, with the weights given.
    enabled: Vec<(Plugin, i64)>,
    disabled: Vec<Plugin>,
    all_disabled: bool,
}

impl Written {
    fn read(plugins: &Fields<'_>, field: &str) -> Self {
        let set = plugins.within(field, &["enabled", "disabled"]);
        let mut written = Self { path: set.path().to_owned(), ..Self::default() };
        for entry in set.objects("enabled", &["name", "weight"]) {
            let weight = entry.int("weight").unwrap_or(0);
            if !(0..=i64::from(i32::MAX)).contains(&weight) {
                entry.faults().wrong(FieldError::invalid(entry.at("weight"), weight, "must be a positive integer"));
            }
            if let Some(plugin) = named(&entry) {
                written.enabled.push((plugin, weight));
            }
        }
        for entry in set.objects("disabled", &["name", "weight"]) {
            if entry.text_or_empty("name") == "*" {
                written.all_disabled = true;
            } else if let Some(plugin) = named(&entry) {
                written.disabled.push(plugin);
            }
        }
        written
    }

    fn disables(&self, plugin: Plugin) -> bool {
        self.all_disabled || self.disabled.contains(&plugin)
    }

    fn enables(&self, plugin: Plugin) -> bool {
        self.enabled.iter().any(|(p, _)| *p == plugin)
    }
}

/// The plugin that an entry names.
fn named(entry: &Fields<'_>) -> Option<Plugin> {
    let name = entry.text_or_empty("name");
    let removed = ["AzureDiskLimits", "CinderLimits", "EBSLimits", "GCEPDLimits"];
    let found = Plugin::named(name);
    if found.is_none() {
        let why = if name.is_empty() {
            FieldError::required(entry.at("name"), "")
        } else if removed.contains(&name) {
            let version = super::VERSION;
            let text =
                format!("was invalid in version {version:?} (KubeSchedulerConfiguration is version {version:?})");
            FieldError::invalid(entry.path().to_owned(), name, text)
        } else {
            FieldError::invalid(entry.at("name"), name, format!("plugin {name:?} does not exist"))
        };
        entry.faults().wrong(why);
    }
    found
}

/// What one profile's plugin sets come to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Enabled {
    points: [PluginSet; 12],
    pub(super) weights: Weights,
}

impl Enabled {
    pub(super) fn at(&self, point: Point) -> PluginSet {
        self.points[point as usize]
    }

    /// Reads `profiles[].plugins` of a profile of this name.
    pub(super) fn read(profile: &Fields<'_>, scheduler: &str) -> Self {
        let mut fields = vec!["multiPoint"];
        fields.extend(Point::ALL.map(Point::field));
        let plugins = profile.within("plugins", &fields);
        let faults = plugins.faults();
        let multi = merged(&Written::read(&plugins, "multiPoint"));
        let wrong = |path: &str, text: String| {
            faults.wrong(FieldError::invalid(path.to_owned(), scheduler, text));
        };
        let mut points = [PluginSet::default(); 12];
        let mut weights = Weights::NONE;
        for point in Point::ALL {
            let written = Written::read(&plugins, point.field());
            let mut set = PluginSet::default();
            for (at, (plugin, _)) in written.enabled.iter().enumerate() {
                let (name, path) = (plugin.name(), format!("{}.enabled[{at}]", written.path));
                if !point.of(*plugin) {
                    wrong(&path, format!("plugin {name:?} does not extend {} plugin", point.interface()));
                } else if set.has(*plugin) {
                    wrong(&path, format!("plugin {name:?} already registered as {:?}", point.interface()));
                }
                set = set.with(*plugin);
            }
            let everywhere = multi.iter().map(|(plugin, _)| *plugin);
            set = everywhere
                .filter(|plugin| point.of(*plugin) && !written.disables(*plugin) && !written.enables(*plugin))
                .fold(set, PluginSet::with);
            points[point as usize] = set;
            if point == Point::Score {
                let given = written.enabled.iter().chain(&multi).filter(|(plugin, _)| set.has(*plugin));
                for (plugin, weight) in given {
                    // A named weight for scoring goes before the multi-point one; none at all is 1.
                    if weights.of(*plugin) == 0 {
                        weights.set(*plugin, u32::try_from(*weight).unwrap_or(0).max(1));
                    }
                }
            }
        }
        let enabled = Self { points, weights };
        enabled.check(plugins.path(), wrong, scheduler);
        enabled
    }

    /// What upstream's framework refuses, and what this scheduler cannot do.
    fn check(&self, path: &str, wrong: impl Fn(&str, String), scheduler: &str) {
        if !self.at(Point::QueueSort).has(Plugin::PrioritySort) {
            let text = "only one queue sort plugin required for profile with scheduler name";
            wrong(path, format!("{text} {scheduler:?}, but got 0"));
        }
        if !self.at(Point::Bind).has(Plugin::DefaultBinder) {
            wrong(path, format!("at least one bind plugin is needed for profile with scheduler name {scheduler:?}"));
        }
        if self.weights.sum() > u64::from(Weights::SUM_MAX) {
            let max = Weights::SUM_MAX;
            wrong(path, format!("total score of Score plugins could overflow: weights may add up to {max}"));
        }
        let half = |point: Point, before: Point, plugin: Plugin| {
            self.at(point).has(plugin) && before.of(plugin) && !self.at(before).has(plugin)
        };
        for plugin in Plugin::ALL {
            let name = plugin.name();
            // Upstream starts and then fails every pod: what the plugin looks at was never worked out.
            if half(Point::Filter, Point::PreFilter, plugin) {
                wrong(path, format!("plugin {name:?} cannot filter without its preFilter"));
            }
            let needs = matches!(plugin, Plugin::PodTopologySpread | Plugin::InterPodAffinity);
            if needs && half(Point::Score, Point::PreScore, plugin) {
                wrong(path, format!("plugin {name:?} cannot score without its preScore"));
            }
        }
    }
}

/// The multi-point set: the default one, changed as written.
fn merged(written: &Written) -> Vec<(Plugin, i64)> {
    let given = |plugin: Plugin| written.enabled.iter().find(|(p, _)| *p == plugin).copied();
    let mut set: Vec<(Plugin, i64)> = DEFAULTS
        .into_iter()
        .filter(|plugin| !written.disables(*plugin))
        .map(|plugin| given(plugin).unwrap_or((plugin, plugin.default_weight().into())))
        .collect();
    for (plugin, weight) in &written.enabled {
        if !set.iter().any(|(p, _)| p == plugin) {
            set.push((*plugin, *weight));
        }
    }
    set
}
