//! Files as upstream's users write them, and what is said of wrong ones.

use gantry_scheduler_core::profile::{Patience, Plugin, SEARCH_MAX, Weights};
use gantry_scheduler_core::score::allocation::Kind;

use super::*;

fn read(body: &str) -> Result<Configuration, String> {
    let text = format!("apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n{body}");
    Configuration::read(text.as_bytes()).map_err(|error| error.to_string())
}

#[track_caller]
fn refused(body: &str, wanted: &str) {
    assert_eq!(read(body).expect_err("must be refused"), wanted);
}

#[test]
fn an_empty_configuration_is_the_default_one() {
    let config = read("").expect("valid");
    assert_eq!(config, Configuration::default());
    // The written defaults and the core's are the same.
    let written = read("profiles:\n- schedulerName: default-scheduler\n").expect("valid");
    let (written, default) = (&written.profiles[0], Profile::default());
    assert_eq!(written.weights, Weights::default());
    for plugin in Plugin::ALL.into_iter().filter(|p| *p != Plugin::GangScheduling) {
        let has = written.filters.has(plugin);
        assert!(!has || default.filters.has(plugin));
    }
    assert!(written.filters.has(Plugin::NodeResourcesFit) && !written.filters.has(Plugin::ImageLocality));
    assert!(written.pre_enqueue.has(Plugin::SchedulingGates) && written.post_filters.has(Plugin::DefaultPreemption));
}

#[test]
fn profiles_weights_and_arguments_are_read() {
    let config = read(
        r#"
percentageOfNodesToScore: 50
podInitialBackoffSeconds: 2
podMaxBackoffSeconds: 20
leaderElection: {leaderElect: true, leaseDuration: 30s, renewDeadline: 20s, retryPeriod: 1500ms, resourceName: mine}
clientConnection: {kubeconfig: /etc/k, qps: 100.5}
profiles:
- schedulerName: one
  plugins:
    score:
      disabled: [{name: NodeResourcesBalancedAllocation}]
      enabled: [{name: ImageLocality, weight: 7}]
    multiPoint:
      disabled: [{name: PodTopologySpread}]
      enabled: [{name: TaintToleration, weight: 9}]
  pluginConfig:
  - name: NodeResourcesFit
    args:
      apiVersion: kubescheduler.config.k8s.io/v1
      kind: NodeResourcesFitArgs
      ignoredResources: [a.io/x]
      scoringStrategy:
        type: RequestedToCapacityRatio
        resources: [{name: a.io/gpu, weight: 5}, {name: cpu}]
        requestedToCapacityRatio: {shape: [{utilization: 0, score: 0}, {utilization: 100, score: 10}]}
  - name: InterPodAffinity
    args: {hardPodAffinityWeight: 5, ignorePreferredTermsOfExistingPods: true}
  - name: VolumeBinding
    args: {bindTimeoutSeconds: 30}
  - name: DynamicResources
    args: {bindingTimeout: 90s, filterTimeout: 500ms}
  - name: NodeAffinity
    args:
      addedAffinity:
        requiredDuringSchedulingIgnoredDuringExecution:
          nodeSelectorTerms: [{matchExpressions: [{key: pool, operator: In, values: [b, a]}]}]
- schedulerName: bare
  plugins:
    score: {disabled: [{name: "*"}]}
"#,
    )
    .expect("valid");
    assert_eq!(config.backoff_max, Duration::from_secs(20));
    assert_eq!((config.lease.name.as_str(), config.lease.retry), ("mine", Duration::from_millis(1500)));
    assert_eq!(config.notices.len(), 2);
    let [one, bare] = &*config.profiles else { panic!("two profiles") };
    let weights = [Plugin::ImageLocality, Plugin::TaintToleration, Plugin::NodeAffinity, Plugin::PodTopologySpread];
    assert_eq!(weights.map(|plugin| one.weights.of(plugin)), [7, 9, 2, 0]);
    assert_eq!(one.weights.of(Plugin::NodeResourcesBalancedAllocation), 0);
    assert!(!one.filters.has(Plugin::PodTopologySpread));
    assert_eq!(one.fit.kind, Kind::RequestedToCapacityRatio(vec![(0, 0), (100, 100)]));
    assert_eq!(one.fit.resources, [("a.io/gpu".into(), 5), ("cpu".into(), 1)]);
    assert!(one.ignores("a.io/x") && one.ignore_preferred_terms_of_existing_pods);
    assert_eq!(&*one.added_node_terms.as_ref().expect("given")[0].labels[0].values[0], "a");
    let (volumes, devices) = (Duration::from_secs(30), Duration::from_secs(90));
    assert_eq!((one.patience, one.search_max), (Patience { volumes, devices }, SEARCH_MAX / 20));
    assert_eq!((bare.patience, bare.search_max), (Patience::default(), SEARCH_MAX));
    assert_eq!(bare.weights, Weights::NONE);
    assert!(bare.filters.has(Plugin::PodTopologySpread));
}

#[test]
fn what_an_extender_manages_is_left_to_it() {
    let config = read(
        r#"
extenders:
- urlPrefix: http://127.0.0.1:9/ext/
  filterVerb: filter
  prioritizeVerb: prioritize
  weight: 3
  httpTimeout: 200ms
  nodeCacheCapable: true
  managedResources: [{name: a.io/gpu, ignoredByScheduler: true}]
"#,
    )
    .expect("valid");
    let extender = &config.extenders[0];
    assert_eq!(
        (extender.url_prefix.as_str(), extender.timeout),
        ("http://127.0.0.1:9/ext", Duration::from_millis(200))
    );
    assert!(config.profiles[0].ignores("a.io/gpu"));
    assert_eq!((extender.preempt_verb.as_str(), config.core().preempting), ("", 0));
}

#[test]
fn extenders_have_a_say_in_preemption_if_they_name_a_verb() {
    let config = read(
        r#"
extenders:
- {urlPrefix: 'http://127.0.0.1:9/a', filterVerb: filter}
- {urlPrefix: 'http://127.0.0.1:9/b', preemptVerb: preempt}
- {urlPrefix: 'http://127.0.0.1:9/c', preemptVerb: victims, managedResources: [{name: a.io/gpu}]}
"#,
    )
    .expect("valid");
    let verbs: Vec<&str> = config.extenders.iter().map(|extender| extender.preempt_verb.as_str()).collect();
    assert_eq!(verbs, ["", "preempt", "victims"]);
    assert_eq!(config.core().preempting, 0b110);
    assert_eq!(config.shown()["extenders"][1]["preemptVerb"], "preempt");
}

#[test]
fn what_is_wrong_is_said_where() {
    refused("profils: []", "strict decoding error: unknown field \"profils\"");
    refused("profiles: [{schedulerNam: x}]", "strict decoding error: unknown field \"profiles[0].schedulerNam\"");
    refused("parallelism: many", "parallelism: Invalid value: \"many\": must be an integer");
    refused("parallelism: 0", "parallelism: Invalid value: 0: should be an integer value greater than zero");
    refused(
        "percentageOfNodesToScore: 101",
        "percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100]",
    );
    refused(
        "podInitialBackoffSeconds: 20",
        "podMaxBackoffSeconds: Invalid value: 10: must be greater than or equal to PodInitialBackoffSeconds",
    );
    refused(
        "profiles: [{schedulerName: a}, {schedulerName: a}]",
        "profiles[1].schedulerName: Duplicate value: \"profiles[0].schedulerName\"",
    );
    refused("profiles: [{schedulerName: a}, {}]", "profiles[1].schedulerName: Required value");
    refused(
        "profiles: [{plugins: {score: {enabled: [{name: Mine}]}}}]",
        "profiles[0].plugins.score.enabled[0].name: Invalid value: \"Mine\": plugin \"Mine\" does not exist",
    );
    refused(
        "profiles: [{plugins: {filter: {enabled: [{name: ImageLocality}]}}}]",
        "profiles[0].plugins.filter.enabled[0]: Invalid value: \"default-scheduler\": plugin \"ImageLocality\" does not extend FilterPlugin plugin",
    );
    refused(
        "profiles: [{plugins: {bind: {disabled: [{name: '*'}]}}}]",
        "profiles[0].plugins: Invalid value: \"default-scheduler\": at least one bind plugin is needed for profile with scheduler name \"default-scheduler\"",
    );
    refused(
        "profiles: [{pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {type: Best}}}]}]",
        "profiles[0].pluginConfig[0].args.scoringStrategy.type: Unsupported value: \"Best\": supported values: \
         \"LeastAllocated\", \"MostAllocated\", \"RequestedToCapacityRatio\"",
    );
    refused(
        "profiles: [{pluginConfig: [{name: InterPodAffinity, args: {hardPodAffinityWeight: 101}}, {name: InterPodAffinity}]}]",
        "[profiles[0].pluginConfig[0].args.hardPodAffinityWeight: Invalid value: 101: not in valid range [0, 100], \
         profiles[0].pluginConfig[1]: Duplicate value: \"InterPodAffinity\"]",
    );
    refused(
        "extenders: [{urlPrefix: 'http://x', prioritizeVerb: p}]",
        "extenders[0].weight: Invalid value: 0: must have a positive weight applied to it",
    );
    refused(
        "leaderElection: {renewDeadline: 5x}",
        "leaderElection.renewDeadline: Invalid value: \"5x\": must be a duration such as \"15s\" or \"1m30s\"",
    );
    let other =
        Configuration::read(b"apiVersion: kubescheduler.config.k8s.io/v1beta3\nkind: KubeSchedulerConfiguration");
    assert!(
        other
            .expect_err("old")
            .to_string()
            .starts_with("no kind \"KubeSchedulerConfiguration\" is registered for version")
    );
    assert!(Configuration::read(b"a: [").expect_err("no YAML").to_string().lines().count() == 1);
    assert!(Configuration::read(b"kind: a\nkind: b").is_err());
}

/// Every check of upstream's `pkg/scheduler/apis/config/validation`, each answered with the path of its field.
#[test]
fn each_of_upstreams_checks_names_its_field() {
    const ARGS: &str = "profiles: [{pluginConfig: [{name: NAME, args: {ARGS}}]}]";
    let args = |name: &str, args: &str| ARGS.replace("NAME", name).replace("{ARGS}", args);
    let spread = |constraint: &str| {
        args("PodTopologySpread", &format!("{{defaultingType: List, defaultConstraints: [{constraint}]}}"))
    };
    let strategy = |strategy: &str| args("NodeResourcesFit", &format!("{{scoringStrategy: {strategy}}}"));
    let ratio = |points: &str| {
        strategy(&format!("{{type: RequestedToCapacityRatio, requestedToCapacityRatio: {{shape: [{points}]}}}}"))
    };
    for (body, path) in [
        ("parallelism: -1".to_owned(), "parallelism"),
        ("percentageOfNodesToScore: -1".to_owned(), "percentageOfNodesToScore"),
        ("profiles: [{percentageOfNodesToScore: 101}]".to_owned(), "profiles[0].percentageOfNodesToScore"),
        ("podInitialBackoffSeconds: 0".to_owned(), "podInitialBackoffSeconds"),
        ("podMaxBackoffSeconds: 0".to_owned(), "podMaxBackoffSeconds"),
        ("healthzBindAddress: 0.0.0.0:10251".to_owned(), "healthzBindAddress"),
        ("metricsBindAddress: 0.0.0.0:10251".to_owned(), "metricsBindAddress"),
        ("clientConnection: {burst: -1}".to_owned(), "clientConnection.burst"),
        ("leaderElection: {leaseDuration: 5s}".to_owned(), "leaderElection.leaseDuration"),
        ("leaderElection: {renewDeadline: -5s}".to_owned(), "leaderElection.renewDeadline"),
        ("leaderElection: {retryPeriod: -1s}".to_owned(), "leaderElection.retryPeriod"),
        ("leaderElection: {resourceLock: endpoints}".to_owned(), "leaderElection.resourceLock"),
        ("profiles: [{schedulerName: a}, {schedulerName: ''}]".to_owned(), "profiles[1].schedulerName"),
        ("profiles: [{schedulerName: a}, {schedulerName: a}]".to_owned(), "profiles[1].schedulerName"),
        ("profiles: [{plugins: {multiPoint: {disabled: [{name: PrioritySort}]}}}]".to_owned(), "profiles[0].plugins"),
        ("extenders: [{urlPrefix: 'http://x', prioritizeVerb: p, weight: -1}]".to_owned(), "extenders[0].weight"),
        ("extenders: [{filterVerb: f}]".to_owned(), "extenders[0].urlPrefix"),
        ("extenders: [{urlPrefix: 'ftp://x'}]".to_owned(), "extenders[0].urlPrefix"),
        (
            "extenders: [{urlPrefix: 'http://a', bindVerb: b}, {urlPrefix: 'http://b', bindVerb: b}]".to_owned(),
            "extenders",
        ),
        (
            "extenders: [{urlPrefix: 'http://x', managedResources: [{name: cpu}]}]".to_owned(),
            "extenders[0].managedResources[0].name",
        ),
        (
            "extenders: [{urlPrefix: 'http://x', managedResources: [{name: a.io/x}, {name: a.io/x}]}]".to_owned(),
            "extenders[0].managedResources[1].name",
        ),
        (
            "extenders: [{urlPrefix: 'https://x', enableHTTPS: true, tlsConfig: {caFile: /no/such/file}}]".to_owned(),
            "extenders[0].tlsConfig.caFile",
        ),
        (
            "extenders: [{urlPrefix: 'https://x', enableHTTPS: true, tlsConfig: {caData: '%'}}]".to_owned(),
            "extenders[0].tlsConfig.caData",
        ),
        (
            "extenders: [{urlPrefix: 'https://x', enableHTTPS: true, tlsConfig: {keyData: QQ==}}]".to_owned(),
            "extenders[0].tlsConfig.keyFile",
        ),
        (args("DefaultPreemption", "{minCandidateNodesPercentage: 101}"), "minCandidateNodesPercentage"),
        (args("DefaultPreemption", "{minCandidateNodesAbsolute: -1}"), "minCandidateNodesAbsolute"),
        (
            args("DefaultPreemption", "{minCandidateNodesPercentage: 0, minCandidateNodesAbsolute: 0}"),
            "minCandidateNodesPercentage",
        ),
        (args("InterPodAffinity", "{hardPodAffinityWeight: -1}"), "hardPodAffinityWeight"),
        (args("NodeResourcesFit", "{ignoredResources: ['a b']}"), "ignoredResources[0]"),
        (args("NodeResourcesFit", "{ignoredResourceGroups: ['a/b']}"), "ignoredResourceGroups[0]"),
        (strategy("{type: LeastAllocated, resources: [{name: cpu, weight: 101}]}"), "resources[0].weight"),
        (strategy("{type: RequestedToCapacityRatio}"), "scoringStrategy.requestedToCapacityRatio"),
        (ratio("{utilization: 101, score: 1}"), "shape[0].utilization"),
        (ratio("{utilization: 1, score: 11}"), "shape[0].score"),
        (ratio("{utilization: 9, score: 1}, {utilization: 9, score: 2}"), "shape[1].utilization"),
        (ratio(""), "requestedToCapacityRatio.shape"),
        (args("NodeResourcesBalancedAllocation", "{resources: [{name: cpu, weight: 2}]}"), "resources[0].weight"),
        (args("NodeResourcesBalancedAllocation", "{resources: [{name: cpu}, {name: cpu}]}"), "resources[1].name"),
        (spread("{maxSkew: 0, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}"), "defaultConstraints[0].maxSkew"),
        (spread("{maxSkew: 1, whenUnsatisfiable: ScheduleAnyway}"), "defaultConstraints[0].topologyKey"),
        (
            spread("{maxSkew: 1, topologyKey: 'a b', whenUnsatisfiable: ScheduleAnyway}"),
            "defaultConstraints[0].topologyKey",
        ),
        (
            spread("{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: Never}"),
            "defaultConstraints[0].whenUnsatisfiable",
        ),
        (
            spread("{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway, labelSelector: {}}"),
            "defaultConstraints[0].labelSelector",
        ),
        (args("PodTopologySpread", "{defaultingType: Mine}"), "defaultingType"),
        (args("VolumeBinding", "{bindTimeoutSeconds: -1}"), "bindTimeoutSeconds"),
        (args("VolumeBinding", "{shape: [{utilization: 0, score: 0}]}"), "shape"),
        (args("DynamicResources", "{filterTimeout: -1s}"), "filterTimeout"),
        (
            args(
                "NodeAffinity",
                "{addedAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: \
                 [{matchExpressions: [{key: pool, operator: Is, values: [a]}]}]}}}",
            ),
            "matchExpressions[0].operator",
        ),
        (args("NodeAffinity", "{apiVersion: v1, kind: Pod}"), "profiles[0].pluginConfig[0].args"),
        (args("Mine", "{}"), "profiles[0].pluginConfig[0].name"),
    ] {
        let said = read(&body).expect_err(&body);
        assert_eq!(said.lines().count(), 1, "{body}: {said}");
        let fits = said.trim_start_matches('[').split(", ").any(|part| {
            let field = part.split(": ").next().unwrap_or_default();
            field == path || field.ends_with(&format!(".{path}"))
        });
        assert!(fits, "{body} should be refused at {path}: {said}");
    }
}
