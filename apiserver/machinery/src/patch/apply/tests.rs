//! Ownership as upstream's users see it: who owns what after which write, and what an apply refuses.

use proptest::prelude::*;

use super::sample::message_of_sample;
use super::*;
use crate::value;

const V: &str = "example/v1";

fn writer<'a>(manager: &'a str, now: &'a str) -> Writer<'a> {
    Writer { manager, api_version: V, subresource: "", now, reset: &[&["status"]], others: None }
}

fn with_type(mut object: Value) -> Value {
    object.set(&["apiVersion"], V);
    object.set(&["kind"], "Sample");
    object.set(&["metadata", "name"], "x");
    object
}

fn created(object: Value, manager: &str) -> Value {
    let mut object = with_type(object);
    update_managed_fields(None, &mut object, &writer(manager, "2026-01-01T00:00:00Z"), message_of_sample());
    object
}

fn updated(old: &Value, manager: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut new = old.clone();
    change(&mut new);
    update_managed_fields(Some(old), &mut new, &writer(manager, "2026-01-02T00:00:00Z"), message_of_sample());
    new
}

fn applied(live: Option<&Value>, config: Value, manager: &str, force: bool) -> Result<Value, Status> {
    apply(live, &with_type(config), &writer(manager, "2026-01-03T00:00:00Z"), force, message_of_sample())
}

/// `manager/operation` and the FieldsV1 of each entry.
fn owners(object: &Value) -> Vec<(String, Value)> {
    let entries = object.array_at(&["metadata", "managedFields"]).iter();
    let owner = |e: &Value| format!("{}/{}", e.str_at(&["manager"]).unwrap(), e.str_at(&["operation"]).unwrap());
    entries.map(|e| (owner(e), e.get("fieldsV1").unwrap().clone())).collect()
}

fn owner_list(object: &Value) -> Vec<String> {
    owners(object).into_iter().map(|(owner, _)| owner).collect()
}

fn fields(object: &Value, owner: &str) -> Value {
    let found = owners(object).into_iter().find(|(o, _)| o == owner);
    found.unwrap_or_else(|| panic!("{owner} owns nothing in {object:?}")).1
}

#[test]
fn the_creator_owns_what_it_set() {
    let object = created(
        value!({
            "metadata": {"labels": {"app": "web"}, "finalizers": ["a/b"], "uid": "1"},
            "spec": {
                "replicas": 1,
                "selector": {"app": "web"},
                "strategy": {"type": "Recreate"},
                "containers": [{"name": "c", "args": ["x"], "ports": [{"containerPort": 80}]}]
            },
            "status": {"phase": "New"}
        }),
        "kubectl-create",
    );
    let entry = &object.array_at(&["metadata", "managedFields"])[0];
    let want = value!({
        "manager": "kubectl-create", "operation": "Update", "apiVersion": V, "time": "2026-01-01T00:00:00Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": {
            "f:metadata": {
                "f:finalizers": {".": {}, "v:\"a/b\"": {}},
                "f:labels": {".": {}, "f:app": {}}
            },
            "f:spec": {
                "f:containers": {"k:{\"name\":\"c\"}": {
                    ".": {}, "f:args": {}, "f:name": {},
                    "f:ports": {".": {}, "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}
                }},
                "f:replicas": {}, "f:selector": {}, "f:strategy": {"f:type": {}}
            }
        }
    });
    assert_eq!(*entry, want);
}

#[test]
fn an_update_takes_what_it_changes_and_nothing_else() {
    let first =
        created(value!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"replicas": 1, "paused": true}}), "one");
    let second = updated(&first, "two", |o| {
        o.set(&["spec", "replicas"], 2);
        o.remove(&["metadata", "labels", "b"]);
    });
    assert_eq!(
        fields(&second, "one/Update"),
        value!({"f:metadata": {"f:labels": {".": {}, "f:a": {}}}, "f:spec": {"f:paused": {}}})
    );
    assert_eq!(fields(&second, "two/Update"), value!({"f:spec": {"f:replicas": {}}}));
    // A write that changes nothing leaves times and entries alone.
    let third = updated(&second, "three", |_| {});
    assert_eq!(third, second);
    // Who loses everything is no manager any more.
    let fourth = updated(&second, "one", |o| o.set(&["spec", "replicas"], 3));
    assert_eq!(owner_list(&fourth), ["one/Update"]);
}

#[test]
fn a_subresource_is_a_manager_of_its_own() {
    let first = created(value!({"spec": {"replicas": 1}}), "m");
    let mut second = first.clone();
    second.set(&["status", "phase"], "Ready");
    let status = Writer { subresource: "status", now: "2026-01-02T00:00:00Z", reset: &[&["spec"]], ..writer("m", "") };
    update_managed_fields(Some(&first), &mut second, &status, message_of_sample());
    let entries = second.array_at(&["metadata", "managedFields"]);
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[1].str_at(&["subresource"]), Some("status"));
    assert_eq!(*entries[1].get("fieldsV1").unwrap(), value!({"f:status": {"f:phase": {}}}));
}

#[test]
fn clients_may_edit_or_reset_managed_fields() {
    let first = created(value!({"spec": {"replicas": 1}}), "one");
    // None sent: they stay.
    let kept = updated(&first, "two", |o| drop(o.remove(&["metadata", "managedFields"])));
    assert_eq!(owner_list(&kept), ["one/Update"]);
    // One empty entry: forgotten, and nothing is tracked from then on.
    let reset = updated(&first, "two", |o| o.set(&["metadata", "managedFields"], Value::Array(vec![value!({})])));
    assert!(reset.at(&["metadata", "managedFields"]).is_none());
    let later = updated(&reset, "two", |o| o.set(&["spec", "replicas"], 5));
    assert!(later.at(&["metadata", "managedFields"]).is_none());
    // Malformed: the stored ones count.
    let odd = updated(&first, "two", |o| {
        o.set(&["metadata", "managedFields"], Value::Array(vec![value!({"operation": "Odd"})]))
    });
    assert_eq!(owner_list(&odd), ["one/Update"]);
}

#[test]
fn many_updaters_merge_into_ancient_changes() {
    let mut object = created(value!({"spec": {"replicas": 1}}), "m00");
    for n in 1..30 {
        let mut new = object.clone();
        new.set(&["metadata", "labels", &format!("l{n}")], "x");
        let (name, now) = (format!("m{n:02}"), format!("2026-01-02T00:00:{n:02}Z"));
        update_managed_fields(Some(&object), &mut new, &writer(&name, &now), message_of_sample());
        object = new;
    }
    let owners = owner_list(&object);
    assert_eq!(owners.len(), managers::UPDATERS_MAX);
    assert_eq!(owners.first().map(String::as_str), Some("ancient-changes/Update"));
    assert_eq!(owners.last().map(String::as_str), Some("m29/Update"));
    let ancient = fields(&object, "ancient-changes/Update");
    assert!(
        ancient.at(&["f:spec", "f:replicas"]).is_some() && ancient.at(&["f:metadata", "f:labels", "f:l20"]).is_some()
    );
}

#[test]
fn apply_creates_owns_and_prunes() {
    let first = applied(None, value!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"replicas": 1, "containers": [{"name": "c", "image": "1"}]}}), "me", false).unwrap();
    assert_eq!(
        fields(&first, "me/Apply"),
        value!({
            "f:metadata": {"f:labels": {"f:a": {}, "f:b": {}}},
            "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}, "f:name": {}}}, "f:replicas": {}}
        })
    );
    // Somebody else adds a label and a container; what the applier stops naming goes, theirs stays.
    let second = updated(&first, "other", |o| {
        o.set(&["metadata", "labels", "x"], "9");
        o.at_mut(&["spec", "containers"]).unwrap().as_array_mut().unwrap().push(value!({"name": "side"}));
    });
    let third = applied(
        Some(&second),
        value!({"metadata": {"labels": {"a": "1"}}, "spec": {"containers": [{"name": "d"}]}}),
        "me",
        false,
    )
    .unwrap();
    assert_eq!(*third.at(&["metadata", "labels"]).unwrap(), value!({"a": "1", "x": "9"}));
    assert_eq!(*third.at(&["spec", "containers"]).unwrap(), value!([{"name": "side"}, {"name": "d"}]));
    assert!(third.at(&["spec", "replicas"]).is_none());
    assert_eq!(owner_list(&third), ["me/Apply", "other/Update"]);
}

#[test]
fn what_another_applier_also_names_stays() {
    let first = applied(None, value!({"spec": {"replicas": 1, "paused": true}}), "one", false).unwrap();
    let second = applied(Some(&first), value!({"spec": {"replicas": 1}}), "two", false).unwrap();
    let third = applied(Some(&second), value!({"spec": {"paused": true}}), "one", false).unwrap();
    assert_eq!(third.i64_at(&["spec", "replicas"]), Some(1));
    assert_eq!(fields(&third, "one/Apply"), value!({"f:spec": {"f:paused": {}}}));
    assert_eq!(fields(&third, "two/Apply"), value!({"f:spec": {"f:replicas": {}}}));
    // With its last owner it goes.
    let fourth = applied(Some(&third), value!({"spec": {}}), "two", false).unwrap();
    assert!(fourth.at(&["spec", "replicas"]).is_none());
}

#[test]
fn an_item_goes_with_its_last_owner() {
    let config = value!({"spec": {"containers": [{"name": "c", "image": "1"}]}});
    let first = applied(None, config.clone(), "me", false).unwrap();
    // A field inside the item does not hold the item, as upstream has it.
    let second = updated(&first, "other", |o| {
        let items = o.at_mut(&["spec", "containers"]).unwrap().as_array_mut().unwrap();
        items[0].set(&["args"], Value::Array(vec!["x".into()]));
    });
    let third = applied(Some(&second), value!({"spec": {}}), "me", false).unwrap();
    assert_eq!(third.at(&["spec", "containers"]), None);
    assert_eq!(owner_list(&third), ["me/Apply"]);
    // Another applier of the item does.
    let shared = applied(Some(&first), config.clone(), "too", false).unwrap();
    let kept = applied(Some(&shared), value!({"spec": {}}), "me", false).unwrap();
    assert_eq!(kept.at(&["spec", "containers"]), config.at(&["spec", "containers"]));
}

#[test]
fn conflicts_name_managers_and_fields() {
    let live = created(
        value!({"spec": {"replicas": 1, "paused": true, "containers": [{"name": "c", "image": "1"}]}}),
        "kubectl-client-side-apply",
    );
    let error = applied(Some(&live), value!({"spec": {"replicas": 2}}), "me", false).unwrap_err();
    assert_eq!((error.code, error.reason), (409, "Conflict"));
    assert_eq!(
        error.message,
        r#"Apply failed with 1 conflict: conflict with "kubectl-client-side-apply" using example/v1: .spec.replicas"#
    );
    let cause = &error.details.unwrap().causes[0];
    assert_eq!(cause.reason, "FieldManagerConflict");
    assert_eq!(cause.message, r#"conflict with "kubectl-client-side-apply" using example/v1"#);
    assert_eq!(cause.field, ".spec.replicas");

    let many = applied(
        Some(&live),
        value!({"spec": {"replicas": 2, "containers": [{"name": "c", "image": "2"}]}}),
        "me",
        false,
    );
    assert_eq!(
        many.unwrap_err().message,
        "Apply failed with 2 conflicts: conflicts with \"kubectl-client-side-apply\" using example/v1:\n\
         - .spec.containers[name=\"c\"].image\n- .spec.replicas"
    );
    // The same value is no conflict: both own it then. By force, the field changes hands.
    let shared = applied(Some(&live), value!({"spec": {"replicas": 1}}), "me", false).unwrap();
    assert!(fields(&shared, "kubectl-client-side-apply/Update").at(&["f:spec", "f:replicas"]).is_some());
    let taken = applied(Some(&live), value!({"spec": {"replicas": 2}}), "me", true).unwrap();
    assert!(fields(&taken, "kubectl-client-side-apply/Update").at(&["f:spec", "f:replicas"]).is_none());
    assert_eq!(taken.i64_at(&["spec", "replicas"]), Some(2));
}

#[test]
fn kubectl_takes_over_from_its_client_side_apply() {
    let last = r#"{"apiVersion":"example/v1","kind":"Sample","metadata":{"name":"x"},"spec":{"replicas":1}}"#;
    let live = created(
        value!({"metadata": {"annotations": {LAST_APPLIED: last}}, "spec": {"replicas": 1}}),
        "kubectl-client-side-apply",
    );
    assert!(applied(Some(&live), value!({"spec": {"replicas": 2}}), "else", false).is_err());
    let taken = applied(Some(&live), value!({"spec": {"replicas": 2}}), "kubectl", false).unwrap();
    assert_eq!(taken.i64_at(&["spec", "replicas"]), Some(2));
    let kept = taken.str_at(&["metadata", "annotations", LAST_APPLIED]).unwrap();
    assert!(kept.contains(r#""spec":{"replicas":2}"#) && kept.ends_with('\n'), "{kept}");
    // What somebody changed since is a conflict after all.
    let moved = updated(&live, "scaler", |o| o.set(&["spec", "replicas"], 7));
    assert!(applied(Some(&moved), value!({"spec": {"replicas": 2}}), "kubectl", false).is_err());
}

#[test]
fn an_object_without_managed_fields_belongs_to_before_first_apply() {
    let live = with_type(value!({"spec": {"replicas": 1, "paused": true}}));
    let error = applied(Some(&live), value!({"spec": {"replicas": 2}}), "me", false).unwrap_err();
    assert!(error.message.contains(r#""before-first-apply" using example/v1: .spec.replicas"#), "{}", error.message);
    let object = applied(Some(&live), value!({"spec": {"replicas": 1}}), "me", false).unwrap();
    assert_eq!(owner_list(&object), ["me/Apply", "before-first-apply/Update"]);
}

#[test]
fn a_configuration_is_checked() {
    let cases = [
        (
            value!({"spec": {"replica": 1}}),
            "failed to create typed patch object (/x; example/v1, Kind=Sample): .spec.replica: field not declared in schema",
        ),
        (
            value!({"spec": {"containers": [{"image": "1"}]}}),
            "failed to create typed patch object (/x; example/v1, Kind=Sample): .spec.containers: element 0: associative list with keys has an element that omits key field \"name\" (and doesn't have default value)",
        ),
        (
            value!({"spec": {"containers": [{"name": "c"}, {"name": "c"}]}}),
            "failed to create typed patch object (/x; example/v1, Kind=Sample): .spec.containers: duplicate entries for key [name=\"c\"]",
        ),
        (
            value!({"spec": {"replicas": "many"}}),
            "failed to create typed patch object (/x; example/v1, Kind=Sample): .spec.replicas: expected numeric (int or float), got \"many\"",
        ),
        (value!({"metadata": {"managedFields": []}}), "metadata.managedFields must be nil"),
    ];
    for (config, message) in cases {
        assert_eq!(applied(None, config, "me", false).unwrap_err().message, message);
    }
    let mut other = with_type(value!({}));
    other.set(&["apiVersion"], "example/v2");
    let error = apply(None, &other, &writer("me", ""), false, message_of_sample()).unwrap_err();
    assert_eq!(
        (error.code, error.message.as_str()),
        (400, "Incorrect version specified in apply patch. Specified patch version: example/v2, expected: example/v1")
    );
}

#[test]
fn applying_the_same_again_changes_nothing() {
    let config =
        value!({"metadata": {"labels": {"a": "1"}}, "spec": {"containers": [{"name": "c"}], "selector": {"a": "b"}}});
    let first = applied(None, config.clone(), "me", false).unwrap();
    let again =
        apply(Some(&first), &with_type(config), &writer("me", "2027-01-01T00:00:00Z"), false, message_of_sample());
    assert_eq!(again.unwrap(), first);
}

#[test]
fn only_times_are_no_change() {
    let old = created(value!({"spec": {"replicas": 1}}), "one");
    let mut new = old.clone();
    let time = |object: &mut Value| {
        let entries = object.at_mut(&["metadata", "managedFields"]).unwrap().as_array_mut().unwrap();
        entries[0].set(&["time"], "2030-01-01T00:00:00Z");
    };
    time(&mut new);
    assert!(keep_times_of_noop(&old, &mut new));
    assert_eq!(new, old);
    // With another change, the time stands.
    time(&mut new);
    new.set(&["spec", "replicas"], 2);
    let moved = new.clone();
    assert!(!keep_times_of_noop(&old, &mut new));
    assert_eq!(new, moved);
}

#[test]
fn user_agents_name_managers() {
    assert_eq!(manager_of_user_agent("kubectl/v1.36.0 (linux/amd64)"), "kubectl");
    assert_eq!(manager_of_user_agent(""), "");
    assert_eq!(manager_of_user_agent(&"x".repeat(200)).len(), 128);
}

/// What upstream 1.36 records for `kubectl create deployment nginx --image=nginx --port=80`.
#[test]
fn a_deployment_is_owned_as_upstream_has_it() {
    let message = crate::schema::kind("apps", "v1", "Deployment").unwrap();
    let mut object = value!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "nginx", "namespace": "default", "uid": "u", "labels": {"app": "nginx"}, "generation": 1},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "nginx"}},
            "template": {
                "metadata": {"labels": {"app": "nginx"}},
                "spec": {
                    "containers": [{
                        "name": "nginx", "image": "nginx", "imagePullPolicy": "Always", "resources": {},
                        "ports": [{"containerPort": 80, "protocol": "TCP"}]
                    }],
                    "restartPolicy": "Always", "securityContext": {}
                }
            },
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}
        },
        "status": {}
    });
    let writer = Writer { manager: "kubectl-create", api_version: "apps/v1", ..writer("", "2026-01-01T00:00:00Z") };
    update_managed_fields(None, &mut object, &writer, message);
    let want = value!({
        "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
        "f:spec": {
            "f:replicas": {}, "f:selector": {},
            "f:strategy": {
                "f:rollingUpdate": {".": {}, "f:maxSurge": {}, "f:maxUnavailable": {}}, "f:type": {}
            },
            "f:template": {
                "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
                "f:spec": {
                    "f:containers": {"k:{\"name\":\"nginx\"}": {
                        ".": {}, "f:image": {}, "f:imagePullPolicy": {}, "f:name": {},
                        "f:ports": {".": {}, "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {
                            ".": {}, "f:containerPort": {}, "f:protocol": {}
                        }},
                        "f:resources": {}
                    }},
                    "f:restartPolicy": {}, "f:securityContext": {}
                }
            }
        }
    });
    assert_eq!(fields(&object, "kubectl-create/Update"), want);
    let text = crate::codec::json::to_string(&object.array_at(&["metadata", "managedFields"])[0]);
    let start =
        r#"{"manager":"kubectl-create","operation":"Update","apiVersion":"apps/v1","time":"2026-01-01T00:00:00Z","#;
    assert!(text.starts_with(start), "{text}");
    assert!(
        text.contains(r#""fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:labels":{".":{},"f:app":{}}},"f:spec""#),
        "{text}"
    );
}

fn some_config() -> impl Strategy<Value = Value> {
    let labels = prop::collection::btree_map(
        prop::sample::select(vec!["a", "b", "c"]),
        prop::sample::select(vec!["1", "2"]),
        0..3,
    );
    let containers = prop::collection::btree_map(
        prop::sample::select(vec!["x", "y", "z"]),
        prop::sample::select(vec!["i", "j"]),
        0..3,
    );
    (labels, containers, prop::option::of(0..3i64)).prop_map(|(labels, containers, replicas)| {
        let mut config = value!({"spec": {}});
        if !labels.is_empty() {
            config.set(&["metadata", "labels"], labels.into_iter().collect::<Object>());
        }
        if !containers.is_empty() {
            let items = containers.into_iter().map(|(name, image)| value!({"name": name, "image": image}));
            config.set(&["spec", "containers"], Value::Array(items.collect()));
        }
        if let Some(replicas) = replicas {
            config.set(&["spec", "replicas"], replicas);
        }
        config
    })
}

fn without_managed_fields(mut object: Value) -> Value {
    object.remove(&["metadata", "managedFields"]);
    // What held nothing but pruned items is gone; an empty spec was there from the start.
    object.force_object().object_entry("spec");
    object
}

fn normal(object: Value) -> Value {
    let mut object = without_managed_fields(object);
    if let Some(items) = object.at_mut(&["spec", "containers"]).and_then(Value::as_array_mut) {
        items.sort_by(|a, b| a.str_at(&["name"]).cmp(&b.str_at(&["name"])));
    }
    object
}

proptest! {
    /// A single applier gets what it configures, whatever it configured before.
    #[test]
    fn the_last_configuration_of_a_single_applier_wins(a in some_config(), b in some_config()) {
        let first = applied(None, a, "me", false).unwrap();
        let second = applied(Some(&first), b.clone(), "me", false).unwrap();
        prop_assert_eq!(normal(second), normal(with_type(b)));
    }

    /// By force every configured value ends up in the object, and each owner of an entry owns at least one field.
    #[test]
    fn force_always_gets_its_values(a in some_config(), b in some_config()) {
        let first = applied(None, a, "one", false).unwrap();
        let second = applied(Some(&first), b.clone(), "two", true).unwrap();
        let mut merged = second.clone();
        merge::merge(&mut merged, &with_type(b), Shape::Fields(message_of_sample()));
        prop_assert_eq!(&merged, &second);
        for (owner, fields) in owners(&second) {
            prop_assert!(fields.as_object().is_some_and(|f| !f.is_empty()), "{} owns nothing", owner);
        }
    }

    /// After any update, the managers together own exactly the fields of the object.
    #[test]
    fn every_field_has_an_owner(a in some_config(), b in some_config()) {
        let first = created(a, "one");
        let second = updated(&first, "two", |o| {
            let kept = o.at(&["metadata", "managedFields"]).cloned();
            *o = with_type(b.clone());
            if let Some(kept) = kept {
                o.set(&["metadata", "managedFields"], kept);
            }
        });
        if first.at(&["metadata", "managedFields"]).is_some() {
            let mut all = Object::new();
            for (_, fields) in owners(&second) {
                set::unite(&mut all, fields.as_object().unwrap());
            }
            let whole = diff::between(None, &second, message_of_sample()).changed;
            prop_assert_eq!(all, whole);
        }
    }
}
