//! Protobuf's rules one by one; `tests/codecs` holds it to every message of the table and to upstream's bytes.

use super::*;
use crate::codec::json;
use crate::schema;

#[test]
fn zero_values_are_dropped_where_go_does_not_tell_them_from_none() {
    let pod = schema::kind("", "v1", "Pod").unwrap();
    let text = crate::value!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {"name": "", "generation": 0, "creationTimestamp": null},
        "spec": {"nodeName": "", "hostNetwork": false, "terminationGracePeriodSeconds": 0, "containers": [{"name": ""}]},
    });
    let decoded = decode(&encode(&text, pod).unwrap(), pod).unwrap();
    assert_eq!(
        decoded,
        crate::value!({
            "kind": "Pod", "apiVersion": "v1", "metadata": {},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": ""}]},
        })
    );
}

#[test]
fn of_map_entries_with_one_key_the_last_counts() {
    let config_map = schema::kind("", "v1", "ConfigMap").unwrap();
    let mut bytes = Vec::new();
    for (at, key) in ["a", "b", "a"].into_iter().chain(std::iter::repeat_n("c", 20)).enumerate() {
        let mut entry = Vec::new();
        wire::push_bytes(1, key.as_bytes(), &mut entry);
        wire::push_bytes(2, at.to_string().as_bytes(), &mut entry);
        wire::push_bytes(2, &entry, &mut bytes);
    }
    assert_eq!(decode_raw(&bytes, config_map).unwrap(), crate::value!({"data": {"a": "2", "b": "1", "c": "22"}}));
}

#[test]
fn lists_and_watch_frames_have_upstreams_layout() {
    let pod = schema::kind("", "v1", "Pod").unwrap();
    let list = schema::kind("", "v1", "PodList").unwrap();
    let one = crate::value!({"metadata": {"name": "a"}});
    let two = crate::value!({"metadata": {"name": "b"}});
    let mut items = Vec::new();
    push_item(&one, pod, &mut items).unwrap();
    push_item(&two, pod, &mut items).unwrap();
    let mut bytes = list_head("v1", "PodList", &crate::value!({"resourceVersion": "7"}), items.len()).unwrap();
    bytes.extend_from_slice(&items);
    bytes.extend_from_slice(TAIL);
    let expected = crate::value!({
        "kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}, "items": [(one.clone()), (two)],
    });
    assert_eq!(decode(&bytes, list).unwrap(), expected);
    assert_eq!(encode(&expected, list).unwrap(), bytes);

    let object = encode(&one, pod).unwrap();
    let frame = watch_frame("ADDED", &object);
    assert_eq!(u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize, frame.len() - 4);
    assert_eq!(&frame[4..11], b"\x0a\x05ADDED");
    assert!(frame.ends_with(&object));
}

#[test]
fn an_item_of_a_list_is_an_object_once_enveloped() {
    let config_map = schema::kind("", "v1", "ConfigMap").unwrap();
    // Lengths of one, two and three bytes.
    for size in [1, 200, 20_000] {
        let object = crate::value!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": ("x".repeat(size))}});
        let mut item = Vec::new();
        push_item(&object, config_map, &mut item).unwrap();
        let message = message_of_item(&item.into());
        let bytes = [&object_head("v1", "ConfigMap", message.len())[..], &message, TAIL].concat();
        assert_eq!(bytes, encode(&object, config_map).unwrap());
    }
}

#[test]
fn stored_json_goes_out_and_comes_back() {
    let list = schema::kind("", "v1", "PodList").unwrap();
    let partial = schema::message("k8s.io.apimachinery.pkg.apis.meta.v1.PartialObjectMetadata").unwrap();
    for (text, message) in [
        (
            r#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[{"metadata":{"name":"a"}}]}"#,
            list,
        ),
        (r#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"a"}}"#, partial),
    ] {
        let value = json::parse(text.as_bytes()).unwrap();
        assert_eq!(decode(&encode(&value, message).unwrap(), message).unwrap(), value);
    }
}

#[test]
fn broken_bytes_are_refused() {
    let pod = schema::kind("", "v1", "Pod").unwrap();
    let whole = encode(&crate::value!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"}}), pod).unwrap();
    let expected = ("", "v1", "Pod");
    assert!(decode_body(&whole, pod, expected).is_ok());
    for cut in 0..whole.len() {
        // Cut at the end of a field it may still be a message; it never panics.
        let _ = decode(&whole[..cut], pod);
    }
    assert_eq!(decode_body(b"{}", pod, expected).unwrap_err().code, 400);
    let mut broken = whole.clone();
    broken.truncate(whole.len() - 6);
    assert_eq!(decode_body(&broken, pod, expected).unwrap_err().code, 400);
    assert_eq!(decode_body(&whole, schema::kind("", "v1", "Node").unwrap(), ("", "v1", "Node")).unwrap_err().code, 400);
}
