//! What the API's types and fields mean, in the words of the Kubernetes API reference: the `description`s in OpenAPI, which
//! `kubectl explain` prints.
//!
//! The build script takes the texts from `k8s-openapi`; they are carried compressed and unpacked only while a document is
//! made, so that an idle server pays nothing for them.

use std::collections::HashMap;
use std::io::Read;

static PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptions.z"));

/// The descriptions, unpacked: 1.5 MB, to be dropped after use.
pub struct Descriptions(HashMap<String, HashMap<String, String>>);

impl Descriptions {
    /// Unpacks them; takes some 10 ms.
    #[must_use]
    pub fn unpack() -> Self {
        let mut text = String::new();
        flate2::read::ZlibDecoder::new(PACKED).read_to_string(&mut text).expect("the build script packed valid UTF-8");
        let mut found: HashMap<String, HashMap<String, String>> = HashMap::new();
        for entry in text.lines() {
            let mut parts = entry.splitn(3, '\0').map(str::to_owned);
            let (Some(definition), Some(field), Some(text)) = (parts.next(), parts.next(), parts.next()) else {
                continue;
            };
            found.entry(definition).or_default().insert(field, unescape(&text));
        }
        Self(found)
    }

    /// What a type is for, by its definition's name (`io.k8s.api.core.v1.Pod`).
    #[must_use]
    pub fn definition(&self, name: &str) -> Option<&str> {
        self.field(name, "")
    }

    /// What a field of a type means, by its JSON name.
    #[must_use]
    pub fn field(&self, definition: &str, field: &str) -> Option<&str> {
        self.0.get(definition)?.get(field).map(String::as_str)
    }
}

/// Newlines are escaped in the packed form, where they end an entry.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => out.extend(letters.next().map(|escaped| if escaped == 'n' { '\n' } else { escaped })),
            _ => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_fields_and_several_lines_are_described() {
        let texts = Descriptions::unpack();
        assert!(texts.definition("io.k8s.api.core.v1.Pod").unwrap().starts_with("Pod is a collection of containers"));
        assert!(texts.field("io.k8s.api.core.v1.PodSpec", "containers").is_some());
        assert!(texts.field("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "labels").is_some());
        let affinity = texts.field("io.k8s.api.core.v1.PodSpec", "restartPolicy").unwrap();
        assert!(!affinity.contains('\0'));
        assert!(texts.0.values().flat_map(HashMap::values).any(|text| text.contains('\n')));
        assert_eq!(texts.field("io.k8s.api.core.v1.PodSpec", "noSuchField"), None);
    }

    #[test]
    fn escapes_are_undone() {
        assert_eq!(unescape(r"one\ntwo \\n"), "one\ntwo \\n");
    }
}
