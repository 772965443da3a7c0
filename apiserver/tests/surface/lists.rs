//! The rules of lists and watches: every combination of resourceVersion, resourceVersionMatch, limit, continue,
//! sendInitialEvents and allowWatchBookmarks, against the documented answers (API concepts, "Resource versions").

use super::Server;
use super::format::{Format, first_event};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

impl Server {
    async fn map(&mut self, method: &str, name: &str, data: &str) -> u64 {
        let path = if method == "POST" { MAPS.to_owned() } else { format!("{MAPS}/{name}") };
        let body =
            format!(r#"{{"metadata":{{"name":"{name}","labels":{{"rule":"{data}"}}}},"data":{{"d":"{data}"}}}}"#);
        let answer = self.client.send(method, &path, &[], body).await;
        assert!(answer.code < 300, "{}", answer.text());
        answer.json()["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
    }

    /// The code and what was said: the names listed, or the message.
    async fn listed(&mut self, query: &str) -> (u16, String) {
        let answer = self.client.get(&format!("{MAPS}?labelSelector=rule&{query}")).await;
        let json = answer.json();
        let said = match json["items"].as_array() {
            Some(items) => items.iter().map(|i| i["metadata"]["name"].as_str().unwrap()).collect::<Vec<_>>().join(" "),
            None => json["message"].as_str().unwrap().to_owned(),
        };
        (answer.code, said)
    }
}

/// What the documentation says of one combination of a list's options, the state being certain.
fn expected(version: &str, matching: &str, limit: bool, token: &str) -> Result<&'static str, (u16, &'static str)> {
    let (is_set, is_zero) = (!version.is_empty(), version == "0");
    if !matching.is_empty() {
        let senseless = !is_set
            || !token.is_empty()
            || !matches!(matching, "Exact" | "NotOlderThan")
            || (matching == "Exact" && is_zero);
        if senseless {
            return Err((422, "ListOptions.meta.k8s.io \"\" is invalid: "));
        }
    }
    match (token, version) {
        (_, "x") => Err((400, "resourceVersion: Invalid value: \"x\"")),
        ("", _) => match (version, matching) {
            // A revision that is only to come: reads wait for it, then say how far they are.
            ("future", _) => Err((504, "Timeout: Too large resource version: ")),
            // A limit makes the bare revision an exact one, as it has always been.
            ("old", "Exact") => Ok("a"),
            ("old", "") if limit => Ok("a"),
            _ if limit => Ok("a"),
            _ => Ok("a b"),
        },
        (_, version) if is_set && version != "0" => {
            Err((400, "specifying resource version is not allowed when using continue"))
        }
        ("bad", _) => Err((400, "invalid continue token: continue key is not valid: ")),
        _ => Ok("b"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_combination_of_a_lists_options_gets_its_documented_answer() {
    let mut server = Server::start().await;
    let old = server.map("POST", "a", "1").await;
    let now = server.map("POST", "b", "1").await;
    let chunk = server.client.get(&format!("{MAPS}?labelSelector=rule&limit=1")).await.json();
    let token = chunk["metadata"]["continue"].as_str().unwrap().to_owned();
    let mut faults = Vec::new();
    for version in ["", "0", "old", "now", "future", "x"] {
        for matching in ["", "Exact", "NotOlderThan", "Later"] {
            for limit in [false, true] {
                for continued in ["", "good", "bad"] {
                    let wanted = expected(version, matching, limit, continued);
                    // Waiting for the future takes its time: once for each rule is enough.
                    if version == "future"
                        && wanted.is_err_and(|(code, _)| code == 504)
                        && (limit || !continued.is_empty())
                    {
                        continue;
                    }
                    let number = match version {
                        "old" => old.to_string(),
                        "now" => now.to_string(),
                        "future" => (now + 1_000_000).to_string(),
                        other => other.to_owned(),
                    };
                    let mut query = format!("resourceVersion={number}&resourceVersionMatch={matching}");
                    query.push_str(if limit { "&limit=1" } else { "" });
                    query.push_str("&continue=");
                    query.push_str(match continued {
                        "good" => &token,
                        "bad" => "AAAA",
                        _ => "",
                    });
                    let (code, said) = server.listed(&query).await;
                    let right = match wanted {
                        Ok(names) => code == 200 && said == names,
                        Err((wanted, text)) => code == wanted && said.starts_with(text),
                    };
                    if !right {
                        faults.push(format!("{query}: {code} {said}, not {wanted:?}"));
                    }
                }
            }
        }
    }
    let (code, said) = server.listed("sendInitialEvents=true").await;
    if (code, said.as_str())
        != (
            422,
            "ListOptions.meta.k8s.io \"\" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list",
        )
    {
        faults.push(format!("sendInitialEvents: {code} {said}"));
    }
    assert!(faults.is_empty(), "{} combinations:\n{}", faults.len(), faults.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_count_what_is_left_and_survive_compaction_inconsistently() {
    let mut server = Server::remembering(32).await;
    for name in ["a", "b", "c", "d"] {
        server.map("POST", name, "1").await;
    }
    // The namespace's own objects are there as well: all without a selector.
    let first = server.client.get(&format!("{MAPS}?limit=2")).await.json();
    let all = server.client.get(MAPS).await.json()["items"].as_array().unwrap().len();
    assert_eq!(first["metadata"]["remainingItemCount"], all - 2);
    let selected = server.client.get(&format!("{MAPS}?limit=2&labelSelector=rule")).await.json();
    assert!(selected["metadata"]["remainingItemCount"].is_null(), "what a selector leaves is not counted");
    let token = selected["metadata"]["continue"].as_str().unwrap().to_owned();
    for round in 0..200 {
        server.map("PUT", "a", &round.to_string()).await;
    }
    let path = format!("{MAPS}?labelSelector=rule&limit=1&continue={token}");
    let expired = server.client.get(&path).await;
    let status = expired.json();
    assert_eq!((expired.code, status["reason"].as_str()), (410, Some("Expired")), "{status}");
    let fresh = status["metadata"]["continue"].as_str().unwrap();
    let rest = server.client.get(&format!("{MAPS}?labelSelector=rule&limit=1&continue={fresh}")).await.json();
    assert_eq!(rest["items"][0]["metadata"]["name"], "c");
    let newer =
        |value: &serde_json::Value| value["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap();
    assert!(newer(&rest) > newer(&selected), "the rest is of the present");
    let last = rest["metadata"]["continue"].as_str().unwrap();
    let end = server.client.get(&format!("{MAPS}?labelSelector=rule&limit=1&continue={last}")).await.json();
    assert_eq!(end["items"][0]["metadata"]["name"], "d");
    assert!(end["metadata"]["continue"].is_null());
    assert!(server.store.view().revision().0 >= 200);

    // A watch from before the window begins, and says so in an event, as upstream's does.
    let old = format!("{MAPS}?watch=1&resourceVersion={}", newer(&selected));
    for format in [Format::Json, Format::Protobuf] {
        let accept = [("accept", format.media_type())];
        let answer = server.client.beginning(&old, &accept, |read| first_event(format, read).is_some()).await;
        let (kind, status) = first_event(format, &answer.body).unwrap();
        assert_eq!((answer.code, kind.as_str(), status.i64_at(&["code"])), (200, "ERROR", Some(410)), "{status:?}");
        assert_eq!(status.str_at(&["reason"]), Some("Expired"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_combination_of_a_watchs_options_begins_as_documented() {
    let mut server = Server::start().await;
    let before = server.map("POST", "a", "1").await;
    let now = server.map("PUT", "a", "2").await;
    let refused = "ListOptions.meta.k8s.io \"\" is invalid: ";
    let mut faults = Vec::new();
    for version in ["", "0", "before", "now"] {
        for matching in ["", "NotOlderThan", "Exact"] {
            for initial in ["", "true", "false"] {
                for bookmarks in [false, true] {
                    let number = match version {
                        "before" => before.to_string(),
                        "now" => now.to_string(),
                        other => other.to_owned(),
                    };
                    let mut query =
                        format!("{MAPS}?watch=1&labelSelector=rule&timeoutSeconds=1&resourceVersion={number}");
                    query.push_str(&format!("&resourceVersionMatch={matching}&allowWatchBookmarks={bookmarks}"));
                    if !initial.is_empty() {
                        query.push_str(&format!("&sendInitialEvents={initial}"));
                    }
                    // The initial events (or those since), then what ends them; a later change shows the end of both.
                    let sensible = (matching == "NotOlderThan") != initial.is_empty() && matching != "Exact";
                    let shown = match (initial, version) {
                        ("true", _) if bookmarks => vec!["ADDED", "BOOKMARK"],
                        ("true", _) | ("", "" | "0") => vec!["ADDED"],
                        (_, "before") => vec!["MODIFIED"],
                        _ => vec![],
                    };
                    let lines = shown.len();
                    let enough = |read: &[u8]| lines > 0 && read.iter().filter(|b| **b == b'\n').count() >= lines;
                    let answer = server.client.beginning(&query, &[], enough).await;
                    if !sensible {
                        let message = answer.json()["message"].as_str().unwrap_or_default().to_owned();
                        if answer.code != 422 || !message.starts_with(refused) {
                            faults.push(format!("{query}: {} {message}", answer.code));
                        }
                        continue;
                    }
                    let events: Vec<serde_json::Value> =
                        answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
                    let mut kinds: Vec<&str> = events.iter().map(|e| e["type"].as_str().unwrap()).collect();
                    // Who waited for the end of a quiet watch may have been told once how far it came.
                    if lines == 0 {
                        kinds.retain(|kind| *kind != "BOOKMARK");
                    }
                    if answer.code != 200 || kinds != shown {
                        faults.push(format!("{query}: {} {kinds:?}, not {shown:?}", answer.code));
                    }
                    if shown.contains(&"BOOKMARK") {
                        let mark = &events[1]["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"];
                        if mark != "true" {
                            faults.push(format!("{query}: the bookmark is {}", events[1]));
                        }
                    }
                }
            }
        }
    }
    assert!(faults.is_empty(), "{} combinations:\n{}", faults.len(), faults.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_come_and_go_at_the_edge_of_a_selector() {
    let mut server = Server::start().await;
    let begin = server.map("POST", "edge", "in").await;
    for data in ["in", "out", "out", "in"] {
        server.map("PUT", "edge", data).await;
    }
    let deleted = server.client.send("DELETE", &format!("{MAPS}/edge"), &[], "").await;
    assert_eq!(deleted.code, 200);
    let path = format!("{MAPS}?watch=1&labelSelector=rule%3Din&resourceVersion={}", begin - 1);
    let enough = |read: &[u8]| read.iter().filter(|b| **b == b'\n').count() >= 4;
    let answer = server.client.beginning(&path, &[], enough).await;
    let events: Vec<serde_json::Value> = answer.text().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let kinds: Vec<&str> = events.iter().map(|e| e["type"].as_str().unwrap()).collect();
    // The second PUT with the same content writes nothing, so there is no event of it.
    assert_eq!(kinds, ["ADDED", "DELETED", "ADDED", "DELETED"]);
    let version =
        |n: usize| events[n]["object"]["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap();
    assert!(version(1) > version(0) && version(3) > version(2), "what leaves carries the revision it left at");
    assert_eq!(events[1]["object"]["data"]["d"], "in", "what leaves is shown as it last matched");
}
