//! Seeded mutational fuzzing of every decoder that bytes from outside reach. Nothing may panic, and nothing may hold more
//! memory than a multiple of what it was given. What is accepted must come back the same from its own encoder.
//!
//! `GANTRY_FUZZ_ROUNDS` (per target) and `GANTRY_FUZZ_SEED` look further than the few rounds of an ordinary test run; a
//! failure prints both the seed and the input.

use std::panic::{AssertUnwindSafe, catch_unwind};

use gantry_machinery::codec::{json, protobuf, yaml};
use gantry_machinery::patch::apply::{self, Writer};
use gantry_machinery::patch::{json_patch, merge, strategic};
use gantry_machinery::quantity::Quantity;
use gantry_machinery::resource_api::FieldValidation;
use gantry_machinery::schema::{self, Message};
use gantry_machinery::selector::{FieldSelector, LabelSelector};
use gantry_machinery::time;
use gantry_machinery::value::Value;

use super::allocations::peak_of;
use super::canonical;
use super::corpus::Corpus;

const ROUNDS: usize = 1_500;
const SEED: u64 = 36;

/// A byte of `[0,0,…` becomes half a [`Value`], a list's room doubles while it grows, and faults are told with their
/// paths: a decoder may hold so many times its input, and something at the least.
const TIMES: usize = 160;
const AT_LEAST: usize = 1 << 20;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs a target on inputs mutated from its seeds. The target gives whether it took the input.
fn fuzz(name: &str, seeds: &[Vec<u8>], tokens: &[&[u8]], target: impl Fn(&[u8]) -> bool) {
    let rounds = setting("GANTRY_FUZZ_ROUNDS").map_or(ROUNDS, |n| n as usize);
    let seed = setting("GANTRY_FUZZ_SEED").unwrap_or(SEED);
    let mut mutator = Mutator { source: Corpus::new(seed), tokens };
    let mut taken = 0;
    for round in 0..seeds.len() + rounds {
        let input = match seeds.get(round) {
            Some(seed) => seed.clone(),
            None => mutator.next(seeds),
        };
        let report = || {
            format!("{name}, seed {seed}, round {round}: {}", String::from_utf8_lossy(&input[..input.len().min(4_096)]))
        };
        let (ran, peak) = peak_of(|| catch_unwind(AssertUnwindSafe(|| target(&input))));
        match ran {
            Ok(accepted) => taken += usize::from(accepted),
            Err(_) => panic!("panicked: {}", report()),
        }
        let allowed = AT_LEAST + TIMES * input.len();
        assert!(peak <= allowed, "held {peak} bytes for {}: {}", input.len(), report());
    }
    assert!(taken >= seeds.len() / 2, "{name}: only {taken} inputs were taken, the seeds are no good");
}

struct Mutator<'a> {
    source: Corpus,
    tokens: &'a [&'a [u8]],
}

impl Mutator<'_> {
    fn next(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = seeds[self.source.below(seeds.len())].clone();
        for _ in 0..=self.source.below(4) {
            self.mutate(&mut bytes, seeds);
        }
        bytes.truncate(64 << 10);
        bytes
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let source = &mut self.source;
        let at = source.below(bytes.len() + 1);
        let end = bytes.len().min(at + 1 + source.below(32));
        match source.below(10) {
            0 if at < bytes.len() => bytes[at] ^= 1 << source.below(8),
            1 if at < bytes.len() => bytes[at] = source.one_of(&[0, 0x7f, 0x80, 0xff, b'0', b'"', b'\\', b'{', b'[']),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            4 => bytes.truncate(at),
            5 => {
                let other = &seeds[source.below(seeds.len())];
                let from = source.below(other.len() + 1);
                let to = other.len().min(from + source.below(200));
                bytes.splice(at..end, other[from..to].iter().copied());
            }
            6 => {
                let token = source.one_of(self.tokens);
                bytes.splice(at..at, token.iter().copied());
            }
            7 => {
                let token = source.one_of(self.tokens);
                bytes.splice(at..end, token.iter().copied());
            }
            // Nesting and repetition.
            8 => {
                let token = source.one_of(self.tokens);
                let times = source.one_of(&[3, 40, 600, 3_000]);
                bytes.splice(at..at, token.repeat(times));
            }
            _ => {
                let number = source.number();
                bytes.splice(at..end, number.to_le_bytes());
            }
        }
    }
}

const JSON_TOKENS: [&[u8]; 26] = [
    b"{",
    b"[",
    b"}",
    b"]",
    b"{\"a\":",
    b"[[",
    b",",
    b":",
    b"\"",
    b"\\u0000",
    b"\\ud800",
    b"\\",
    b"null",
    b"true",
    b"-0",
    b"1e999",
    b"99999999999999999999",
    b"0.1e-400",
    b"\xff\xfe",
    b"\xe2\x80\xa8",
    b"\"kind\":\"Pod\",",
    b"\"metadata\":{},",
    b"\"a\":1,",
    b"0,",
    b"{},",
    b" ",
];
const YAML_TOKENS: [&[u8]; 20] = [
    b"- ",
    b"\n",
    b"  ",
    b"? ",
    b": ",
    b"&a ",
    b"*a ",
    b"<<: *a\n",
    b"!!binary ",
    b"!!str ",
    b"--- ",
    b"...\n",
    b"| \n",
    b">-\n",
    b"[",
    b"{",
    b"'",
    b"\"",
    b"#",
    b"%YAML 1.1\n",
];
const WIRE_TOKENS: [&[u8]; 14] = [
    b"k8s\0",
    b"\x0a",
    b"\x12",
    b"\x0a\x00",
    b"\x12\x00",
    b"\x0a\x02\x0a\x00",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x80\x80\x80\x80\x80\x00",
    b"\x00",
    b"\x0b",
    b"\x0c",
    b"\x09",
    b"\x7a\xff\xff\xff\x7f",
];

/// Objects of some kinds that between them have every type of field.
fn objects() -> Vec<(&'static Message, Value)> {
    let kinds = [
        ("", "v1", "Pod"),
        ("", "v1", "ConfigMap"),
        ("", "v1", "Secret"),
        ("", "v1", "Service"),
        ("apps", "v1", "Deployment"),
        ("coordination.k8s.io", "v1", "Lease"),
        ("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
        ("resource.k8s.io", "v1", "ResourceSlice"),
    ];
    let mut corpus = Corpus::new(7);
    let object = |(group, version, kind): (&str, &str, &str)| {
        let message = schema::kind(group, version, kind).expect("these are built in");
        (message, corpus.object(message, 5))
    };
    kinds.into_iter().map(object).collect()
}

const VALIDATIONS: [FieldValidation; 3] = [FieldValidation::Strict, FieldValidation::Warn, FieldValidation::Ignore];

/// What was decoded must be written and read again as itself.
fn settles(value: &Value, message: &Message) {
    let text = json::encode(value);
    let again = json::decode(&text, message, FieldValidation::Strict);
    let again =
        again.unwrap_or_else(|e| panic!("what was accepted is refused: {e}: {}", String::from_utf8_lossy(&text)));
    assert_eq!(canonical(&again.value), canonical(value), "what was accepted reads differently");
}

#[test]
fn json_bodies() {
    let objects = objects();
    let seeds: Vec<_> = objects.iter().map(|(_, object)| json::encode(object)).collect();
    fuzz("json", &seeds, &JSON_TOKENS, |bytes| {
        if let Ok(value) = json::parse(bytes) {
            assert_eq!(json::parse(&json::encode(&value)).as_ref().map(canonical), Ok(canonical(&value)));
        }
        let mut taken = false;
        for (at, (message, _)) in objects.iter().enumerate() {
            if let Ok(decoded) = json::decode(bytes, message, VALIDATIONS[at % 3]) {
                settles(&decoded.value, message);
                taken = true;
            }
        }
        let _ = json::pick(bytes, [&["metadata", "name"], &["spec", "nodeName"]]);
        taken
    });
}

#[test]
fn yaml_bodies() {
    let objects = objects();
    let mut seeds: Vec<_> = objects.iter().map(|(_, object)| yaml::encode(object)).collect();
    seeds.push(b"a: &a [x, y]\nb: &b {<<: *a, c: *a}\nd: [*a, *b, *a, *b]\n".to_vec());
    fuzz("yaml", &seeds, &YAML_TOKENS, |bytes| {
        let mut taken = false;
        for (at, (message, _)) in objects.iter().enumerate().filter(|(at, _)| (at + bytes.len()) % 3 == 0) {
            if let Ok(decoded) = yaml::decode(bytes, message, VALIDATIONS[at % 3]) {
                settles(&decoded.value, message);
                taken = true;
            }
        }
        taken || yaml::parse(bytes).is_ok()
    });
}

#[test]
fn protobuf_bodies() {
    let objects = objects();
    let seeds: Vec<_> =
        objects.iter().map(|(m, object)| protobuf::encode(object, m).expect("the corpus fits")).collect();
    fuzz("protobuf", &seeds, &WIRE_TOKENS, |bytes| {
        let mut taken = false;
        for (message, _) in &objects {
            if let Ok(value) = protobuf::decode(bytes, message) {
                let text = json::encode(&value);
                let _ = json::decode(&text, message, FieldValidation::Strict);
                let wire = protobuf::encode(&value, message).expect("what was read can be written");
                let again = protobuf::decode(&wire, message).expect("what was written can be read");
                assert_eq!(canonical(&again), canonical(&value));
                taken = true;
            }
        }
        taken
    });
}

/// A Deployment and patches for it.
fn patches() -> Vec<Vec<u8>> {
    let mut corpus = Corpus::new(11);
    let deployment = schema::kind("apps", "v1", "Deployment").expect("deployments are built in");
    let mut seeds: Vec<Vec<u8>> = (0..4).map(|_| json::encode(&corpus.object(deployment, 6))).collect();
    for text in [
        r#"[{"op":"add","path":"/metadata/labels/a~1b","value":{"x":[1]}},{"op":"test","path":"/kind","value":"Deployment"}]"#,
        r#"[{"op":"copy","from":"/spec","path":"/spec/x"},{"op":"move","from":"/spec/x","path":"/y"},{"op":"remove","path":"/y"}]"#,
        r#"[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"i"},{"op":"add","path":"/l/-","value":null}]"#,
        r#"{"metadata":{"labels":{"a":null}},"spec":{"replicas":3,"template":{"spec":{"containers":[{"name":"c","image":"i","ports":[{"containerPort":80,"$patch":"delete"}]}],"$setElementOrder/containers":[{"name":"c"}]}}}}"#,
        r#"{"spec":{"$retainKeys":["replicas"],"strategy":{"$patch":"replace","type":"Recreate"},"template":{"spec":{"$deleteFromPrimitiveList/x":["a"],"volumes":[{"name":"v","$retainKeys":["name","emptyDir"],"emptyDir":{}}]}}}}"#,
        r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"spec":{"containers":[{"name":"c","image":"i"}]}}}}"#,
    ] {
        seeds.push(text.as_bytes().to_vec());
    }
    seeds
}

const LIVE: &str = r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d","labels":{"a":"1"},"managedFields":[{"manager":"m","operation":"Apply","apiVersion":"apps/v1","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"f:replicas":{},"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{},"f:name":{}}}}}}}}]},"l":[1],"spec":{"replicas":1,"template":{"spec":{"containers":[{"name":"c","image":"a","ports":[{"containerPort":80,"protocol":"TCP"}]}],"volumes":[{"name":"v","secret":{"secretName":"s"}}]}}}}"#;

#[test]
fn patches_of_every_kind() {
    const TOKENS: [&[u8]; 15] = [
        b"{",
        b"[",
        b"\"$patch\":\"delete\",",
        b"\"$patch\":\"x\",",
        b"null",
        b"\"$retainKeys\":[\"a\"],",
        b"\"$setElementOrder/containers\":[{\"name\":\"z\"}],",
        b"\"$setElementOrder/\":1,",
        b"{\"op\":\"copy\",\"from\":\"/spec\",\"path\":\"/spec/a\"},",
        b"{\"op\":\"move\",\"from\":\"/spec\",\"path\":\"/spec\"},",
        b"/-1",
        b"/99999999999999999999",
        b"\"name\":\"c\",",
        b"{},",
        b"\"f:x\":{},",
    ];
    let deployment = schema::kind("apps", "v1", "Deployment").expect("deployments are built in");
    let live = json::parse(LIVE.as_bytes()).expect("this is JSON");
    fuzz("patches", &patches(), &TOKENS, |bytes| {
        let Ok(patch) = json::parse(bytes) else { return false };
        let patched = |work: &dyn Fn(&mut Value) -> bool| {
            let mut object = live.clone();
            if !work(&mut object) {
                return false;
            }
            assert!(!object.deeper_than(json::MAX_DEPTH), "a patch nested deeper than any body may");
            let _ = json::encode(&object);
            let _ = json::decode_value(&object, deployment, FieldValidation::Warn);
            true
        };
        let taken = [
            patched(&|object| json_patch::apply(object, &patch).is_ok()),
            patched(&|object| merge::apply(object, patch.clone()).is_ok()),
            patched(&|object| strategic::apply(object, patch.clone(), deployment).is_ok()),
        ];
        let writer = Writer {
            manager: "m",
            api_version: "apps/v1",
            subresource: "",
            now: "2026-11-22T10:00:00Z",
            reset: &[&["status"]],
            others: None,
        };
        let mut applied = patch.clone();
        if applied.as_object().is_some() {
            applied.set(&["apiVersion"], "apps/v1");
        }
        for force in [false, true] {
            let _ = apply::apply(Some(&live), &applied, &writer, force, deployment);
        }
        // An update by an ordinary write, whatever ownership it claims.
        if let Ok(decoded) = json::decode_value(&patch, deployment, FieldValidation::Ignore) {
            let mut new = decoded.value;
            apply::update_managed_fields(Some(&live), &mut new, &Writer { manager: "n", ..writer }, deployment);
        }
        taken.contains(&true)
    });
}

#[test]
fn ownership_that_clients_claim() {
    const TOKENS: [&[u8]; 9] = [
        b"\"f:a\":{},",
        b"\"k:{}\":{},",
        b"\"k:{\\\"name\\\":1}\":{},",
        b"\"v:1\":{},",
        b"\"i:0\":{},",
        b"\".\":{},",
        b"{",
        b"\"x\":1,",
        b"null",
    ];
    let deployment = schema::kind("apps", "v1", "Deployment").expect("deployments are built in");
    let live = json::parse(LIVE.as_bytes()).expect("this is JSON");
    fuzz("managedFields", &[LIVE.as_bytes().to_vec()], &TOKENS, |bytes| {
        let Ok(mut object) = json::parse(bytes) else { return false };
        let writer = Writer {
            manager: "n",
            api_version: "apps/v1",
            subresource: "",
            now: "2026-11-22T10:00:00Z",
            reset: &[],
            others: None,
        };
        if object.as_object().is_none() {
            return false;
        }
        let _ = apply::apply(Some(&object), &live, &writer, false, deployment);
        apply::update_managed_fields(Some(&live), &mut object, &writer, deployment);
        let _ = json::encode(&object);
        true
    });
}

#[test]
fn selectors() {
    const TOKENS: [&[u8]; 16] = [
        b"(",
        b")",
        b",",
        b"=",
        b"==",
        b"!=",
        b"!",
        b" in ",
        b" notin ",
        b"\\",
        b"\\,",
        b"a/b",
        b"<",
        b">",
        b"metadata.name=",
        b"\xf0\x9f\x8f\x97",
    ];
    let seeds: Vec<Vec<u8>> = [
        "a=b,c!=d,e in (f,g),h notin (i),!j,k",
        "app.kubernetes.io/name in (web,api),tier>3,x<9",
        "metadata.name=x,status.phase!=Running,spec.nodeName=",
        "a\\,b=c\\=d,metadata.namespace==y",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    fuzz("selectors", &seeds, &TOKENS, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let labels = LabelSelector::parse(&text);
        if let Ok(selector) = &labels {
            let printed = selector.to_string();
            let again = LabelSelector::parse(&printed).unwrap_or_else(|e| panic!("{printed:?} is refused: {e}"));
            assert_eq!(again.to_string(), printed);
            selector.matches_with(|key| (key.len() % 2 == 0).then_some("b"));
        }
        let fields = FieldSelector::parse(&text);
        if let Ok(selector) = &fields {
            let printed = selector.to_string();
            assert_eq!(FieldSelector::parse(&printed).map(|s| s.to_string()).ok(), Some(printed));
        }
        labels.is_ok() || fields.is_ok()
    });
}

#[test]
fn quantities_and_times() {
    const TOKENS: [&[u8]; 14] = [
        b"0",
        b"9",
        b".",
        b"e",
        b"E",
        b"-",
        b"+",
        b"Ki",
        b"n",
        b"Ei",
        b"e999999999",
        b"T",
        b"Z",
        b"99999999999999999999999999999999",
    ];
    let seeds: Vec<Vec<u8>> = [
        "1",
        "1500m",
        "0.5Gi",
        "12e6",
        "-3Ei",
        "1E",
        "100n",
        "2026-11-22T10:00:00Z",
        "2026-11-22T10:00:00.123456+01:00",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    fuzz("quantities", &seeds, &TOKENS, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let quantity = Quantity::parse(&text);
        if let Ok(quantity) = quantity {
            let printed = quantity.to_text();
            let again = Quantity::parse(&printed).unwrap_or_else(|e| panic!("{printed:?} is refused: {e}"));
            assert_eq!(again.to_text(), printed, "of {text:?}");
            let _ = (
                quantity.value(),
                quantity.milli_value(),
                quantity.to_f64(),
                quantity.plus(again),
                quantity.minus(again),
            );
            let _ = quantity.times(i64::MAX);
        }
        if let Some(seconds) = time::parse(&text) {
            assert_eq!(time::time(seconds).len(), 20);
        }
        if let Some(micros) = time::parse_micros(&text) {
            assert_eq!(time::micro_time(micros).len(), 27);
        }
        quantity.is_ok() || time::parse(&text).is_some()
    });
}

/// The worst that a body of this size can be made of: deep, wide, repeated.
#[test]
fn worst_bodies_are_read_or_refused_within_bounds() {
    const BYTES: usize = 256 << 10;
    let config_map = schema::kind("", "v1", "ConfigMap").expect("config maps are built in");
    let pod = schema::kind("", "v1", "Pod").expect("pods are built in");
    let wide = |open: &str, item: &dyn Fn(usize) -> String, close: &str| {
        let mut text = open.to_owned();
        for at in 0.. {
            text.push_str(&item(at));
            if text.len() > BYTES {
                break;
            }
        }
        text.pop();
        text + close
    };
    let texts = [
        "[".repeat(BYTES),
        "{\"a\":".repeat(BYTES / 5),
        wide("[", &|_| "0,".to_owned(), "]"),
        wide("{\"data\":{", &|at| format!("\"{at:x}\":\"\","), "}}"),
        wide("{\"data\":{", &|_| "\"a\":\"\",".to_owned(), "}}"),
        wide("{\"spec\":{\"containers\":[", &|_| "{},".to_owned(), "]}}"),
        wide("{\"spec\":{\"containers\":[", &|at| format!("{{\"name\":\"{at:x}\"}},"), "]}}"),
        wide("{", &|at| format!("\"unknown{at}\":0,"), "}"),
        format!("{{\"data\":{{\"a\":\"{}\"}}}}", "\\u0001".repeat(BYTES / 6)),
        format!("{{\"spec\":{{\"priority\":{}}}}}", "9".repeat(BYTES)),
        format!("{{\"metadata\":{{\"generation\":1e{}}}}}", "9".repeat(BYTES)),
    ];
    for text in &texts {
        let begin = &text[..40];
        for message in [config_map, pod] {
            let (read, peak) = peak_of(|| json::decode(text.as_bytes(), message, FieldValidation::Warn));
            assert!(peak < AT_LEAST + TIMES * text.len(), "JSON {begin}: held {peak}");
            drop(read);
        }
        let (read, peak) = peak_of(|| yaml::parse(text.as_bytes()));
        assert!(peak < AT_LEAST + TIMES * text.len(), "YAML {begin}: held {peak}");
        drop(read);
    }
    // The same in protobuf: a map of many keys, a list of nothings, messages in each other.
    let mut wire = Vec::new();
    for at in 0_u32.. {
        let key = format!("{at:x}");
        wire.extend_from_slice(&[0x12, key.len() as u8 + 2, 0x0a, key.len() as u8]);
        wire.extend_from_slice(key.as_bytes());
        if wire.len() > BYTES {
            break;
        }
    }
    let (read, peak) = peak_of(|| protobuf::decode_raw(&wire, config_map));
    assert!(read.is_ok_and(|v| v.object_at(&["data"]).is_some_and(|d| d.len() > 20_000)));
    assert!(peak < AT_LEAST + TIMES * wire.len(), "protobuf map: held {peak}");
    let nothings = [vec![0x12, 0x80, 0x80, 0x10], [0x12, 0x00].repeat((256 << 10) / 2)].concat();
    let (read, peak) = peak_of(|| protobuf::decode_raw(&nothings, pod));
    assert!(read.is_ok());
    assert!(peak < AT_LEAST + TIMES * nothings.len(), "protobuf list: held {peak}");
}

/// Aliases that multiply ("billion laughs"), and nesting by every means that YAML has.
#[test]
fn yaml_that_explodes_is_refused_early() {
    let mut bombs = Vec::new();
    for width in [2, 10, 100] {
        let mut bomb = format!("a0: &a0 [{}]\n", vec!["x"; width].join(","));
        for level in 1..30 {
            let items = vec![format!("*a{}", level - 1); width].join(",");
            bomb.push_str(&format!("a{level}: &a{level} [{items}]\n"));
        }
        bombs.push(bomb);
    }
    bombs.push(format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), vec!["*a"; 20_000].join(",")));
    bombs.push("- ".repeat(50_000));
    bombs.push("? ".repeat(50_000));
    bombs.push((0..3_000).map(|at| format!("{}a:\n", " ".repeat(at))).collect());
    for bomb in &bombs {
        let (read, peak) = peak_of(|| yaml::parse(bomb.as_bytes()));
        let begin: String = bomb.chars().take(60).collect();
        assert!(read.is_err(), "{begin} was taken");
        assert!(peak < (32 << 20) + 16 * bomb.len(), "{begin}: held {peak} bytes for {}", bomb.len());
    }
}
