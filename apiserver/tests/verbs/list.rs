//! LIST: chunks, versions, selectors.

use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::{Collection, DeleteOptions, ListOptions, ResourceApi, Target, VersionRule};
use gantry_machinery::selector::{FieldSelector, LabelSelector};
use gantry_store_cache::revision::Revision;

use crate::support::{Cluster, config_map, pod, told, value};

const MAPS: Collection<'static> = Collection { resource: &gvr::CONFIG_MAPS, namespace: "default" };
const PODS: Collection<'static> = Collection { resource: &gvr::PODS, namespace: "" };

async fn filled(maps: usize) -> Cluster {
    let cluster = Cluster::with(|config| config.window_events_max = 64).await;
    for n in 0..maps {
        cluster.create(&gvr::CONFIG_MAPS, "default", config_map(&format!("m{n:03}"))).await.unwrap();
    }
    cluster
}

fn page(limit: u64, continue_token: &str) -> ListOptions {
    ListOptions { limit, continue_token: continue_token.to_owned(), ..ListOptions::default() }
}

#[tokio::test]
async fn chunks_show_one_state_whatever_is_written_meanwhile() {
    let cluster = filled(25).await;
    let first = cluster.api.list(&MAPS, &page(10, "")).await.unwrap();
    assert_eq!((first.items.len(), first.remaining), (10, Some(15)));
    cluster.create(&gvr::CONFIG_MAPS, "default", config_map("m0125")).await.unwrap();
    let gone = Target::object(&gvr::CONFIG_MAPS, "default", "m020");
    cluster.api.delete(&gone, &DeleteOptions::default()).await.unwrap();

    let second = cluster.api.list(&MAPS, &page(10, &first.continue_token)).await.unwrap();
    assert_eq!((second.revision, second.remaining), (first.revision, Some(5)));
    let third = cluster.api.list(&MAPS, &page(10, &second.continue_token)).await.unwrap();
    assert_eq!((third.continue_token.as_str(), third.remaining), ("", None));
    let names: Vec<String> =
        [first, second, third].iter().flat_map(|l| &l.items).map(|o| o.key.name().to_owned()).collect();
    let expected: Vec<String> = (0..25).map(|n| format!("m{n:03}")).collect();
    assert_eq!(names, expected);
}

#[tokio::test]
async fn an_expired_chunk_says_so_and_offers_to_go_on_inconsistently() {
    let cluster = filled(10).await;
    let first = cluster.api.list(&MAPS, &page(4, "")).await.unwrap();
    for n in 0..200 {
        let mut map = config_map("m009");
        map.set(&["data", "n"], n.to_string());
        cluster.update(&gvr::CONFIG_MAPS, map).await.unwrap();
    }
    let status = cluster.api.list(&MAPS, &page(4, &first.continue_token)).await.unwrap_err();
    assert_eq!((status.code, status.reason), (410, "Expired"));
    assert!(status.message.starts_with("The provided continue parameter is too old"), "{}", status.message);
    let token = status.to_value().str_at(&["metadata", "continue"]).unwrap().to_owned();
    let rest = cluster.api.list(&MAPS, &page(0, &token)).await.unwrap();
    assert_eq!(rest.items.len(), 6);
    assert_eq!(rest.items[0].key.name(), "m004");
    let exact = ListOptions { version: VersionRule::Exact(first.revision), ..ListOptions::default() };
    let (code, reason, message) = told(cluster.api.list(&MAPS, &exact).await);
    assert_eq!((code, reason), (410, "Expired"));
    assert_eq!(message, "The resourceVersion for the provided list is too old.");
}

#[tokio::test(start_paused = true)]
async fn versions_choose_the_state() {
    let cluster = filled(3).await;
    let three = cluster.revision();
    cluster.create(&gvr::CONFIG_MAPS, "default", config_map("m003")).await.unwrap();
    let count = async |version| {
        let options = ListOptions { version, ..ListOptions::default() };
        cluster.api.list(&MAPS, &options).await.map(|l| l.items.len())
    };
    assert_eq!(count(VersionRule::MostRecent).await, Ok(4));
    assert_eq!(count(VersionRule::Any).await, Ok(4));
    assert_eq!(count(VersionRule::NotOlderThan(Revision(three))).await, Ok(4));
    assert_eq!(count(VersionRule::Exact(Revision(three))).await, Ok(3));
    let status = count(VersionRule::NotOlderThan(Revision(three + 100))).await.unwrap_err();
    assert_eq!((status.code, status.reason), (504, "Timeout"));
    let text = format!("Timeout: Too large resource version: {}, current: {}", three + 100, three + 1);
    assert_eq!(status.message, text);
    assert!(status.has_cause("ResourceVersionTooLarge"));
}

#[tokio::test]
async fn selectors_select() {
    let cluster = Cluster::new().await;
    for n in 0..6 {
        let mut pod = pod(&format!("p{n}"));
        pod.set(&["metadata", "labels", "n"], n.to_string());
        pod.set(&["spec", "nodeName"], if n < 2 { "n1" } else { "n2" });
        cluster.create(&gvr::PODS, "default", pod).await.unwrap();
    }
    let names = async |labels: &str, fields: &str| {
        let options = ListOptions {
            labels: LabelSelector::parse(labels).unwrap(),
            fields: FieldSelector::parse(fields).unwrap(),
            ..ListOptions::default()
        };
        let list = cluster.api.list(&PODS, &options).await?;
        Ok::<_, gantry_machinery::status::Status>(
            list.items.iter().map(|o| o.key.name().to_owned()).collect::<Vec<_>>().join(" "),
        )
    };
    assert_eq!(names("", "spec.nodeName=n1").await.unwrap(), "p0 p1");
    assert_eq!(names("n in (1,4)", "spec.nodeName=n1").await.unwrap(), "p1");
    assert_eq!(names("app=web,n notin (1,4)", "").await.unwrap(), "p0 p2 p3 p5");
    assert_eq!(names("!n", "").await.unwrap(), "");
    assert_eq!(names("", "metadata.name=p3").await.unwrap(), "p3");
    assert_eq!(names("", "metadata.name!=p3,metadata.namespace=default,spec.nodeName=n2").await.unwrap(), "p2 p4 p5");
    assert_eq!(names("", "metadata.namespace=other").await.unwrap(), "");
    let status = names("", "spec.color=red").await.unwrap_err();
    assert_eq!((status.code, status.message.as_str()), (400, "field label not supported: spec.color"));
    let maps = ListOptions { fields: FieldSelector::parse("data.k=v").unwrap(), ..ListOptions::default() };
    let status = cluster.api.list(&MAPS, &maps).await.unwrap_err();
    assert_eq!(
        status.message,
        "\"data.k\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
    );
}

#[tokio::test]
async fn indexed_chunks_go_on_where_they_ended() {
    let cluster = Cluster::new().await;
    for n in 0..9 {
        let mut pod = pod(&format!("p{n}"));
        pod.set(&["spec", "nodeName"], if n % 3 == 0 { "n1" } else { "n2" });
        cluster.create(&gvr::PODS, "default", pod).await.unwrap();
    }
    let mut options =
        ListOptions { fields: FieldSelector::parse("spec.nodeName=n2").unwrap(), limit: 4, ..Default::default() };
    let first = cluster.api.list(&PODS, &options).await.unwrap();
    assert_eq!((first.items.len(), first.remaining), (4, None), "no count with selectors");
    options.continue_token = first.continue_token;
    let second = cluster.api.list(&PODS, &options).await.unwrap();
    let names: Vec<&str> = second.items.iter().map(|o| o.key.name()).collect();
    assert_eq!((names, second.continue_token.as_str()), (vec!["p7", "p8"], ""));
}

#[tokio::test]
async fn facets_survive_the_way_through_bytes() {
    use gantry_apiserver::registry::describe::FacetReader;
    use gantry_apiserver::registry::kinds;
    use gantry_apiserver::registry::table::Table;
    use gantry_store_cache::store::Describe;

    let cluster = Cluster::new().await;
    let mut object = pod("p");
    object.set(&["spec", "nodeName"], "n1");
    object.set(&["metadata", "labels", "escaped"], "a-b");
    cluster.create(&gvr::PODS, "default", object).await.unwrap();
    cluster.create(&gvr::NODES, "", gantry_machinery::value!({"metadata": {"name": "n1"}})).await.unwrap();
    let reader = FacetReader::new(Table::new(kinds::all()));
    let view = cluster.registry.store().view();
    for collection in ["pods", "nodes", "namespaces", "serviceaccounts"] {
        for stored in view.scan(collection, None, None) {
            let mut read = reader.facets(&stored.key, &stored.body);
            let mut written = stored.facets.clone();
            // An absent field and an empty one are the same to every selector.
            for facets in [&mut read, &mut written] {
                let mut fields: Vec<_> = facets.fields.iter().filter(|(_, v)| !v.is_empty()).cloned().collect();
                fields.sort_unstable();
                facets.fields = fields.into();
            }
            assert_eq!(read, written, "{} {:?}", stored.key, value(&stored));
        }
    }
}

#[tokio::test]
async fn readers_of_a_deprecated_kind_are_told() {
    let advice = ["v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"];
    let cluster = filled(1).await;
    let all = Collection { resource: &gvr::ENDPOINTS, namespace: "default" };
    cluster.api.list(&all, &ListOptions::default()).await.unwrap();
    assert_eq!(cluster.api.request().warnings.take(), advice);
    assert_eq!(told(cluster.get(&gvr::ENDPOINTS, "none").await).0, 404);
    assert_eq!(cluster.api.request().warnings.take(), advice);
    let none = Target::object(&gvr::ENDPOINTS, "default", "none");
    assert_eq!(told(cluster.api.delete(&none, &DeleteOptions::default()).await).0, 404);
    assert_eq!(cluster.api.request().warnings.take(), advice);

    cluster.api.list(&MAPS, &ListOptions::default()).await.unwrap();
    assert!(cluster.api.request().warnings.take().is_empty());
}
