//! What the API's types and fields mean, in the words of the Kubernetes API reference: the `description`s in OpenAPI, which
//! `kubectl explain` prints.
//!
//! The build script takes the texts from `k8s-openapi`; they are carried compressed and unpacked only while a document is
//! made, so that an idle server pays nothing for them.

use std::io::Read;
use std::ops::Range;

static PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptions.z"));

/// The descriptions, unpacked: 2 MB in two pieces, to be dropped after use. Thousands of small texts would leave the heap
/// in holes.
pub struct Descriptions {
    words: String,
    /// In the order of definitions, then fields.
    entries: Vec<Entry>,
}

/// Where in the words something is.
struct Entry {
    definition: Range<u32>,
    field: Range<u32>,
    text: Range<u32>,
}

impl Descriptions {
    /// Unpacks them; takes some 10 ms.
    #[must_use]
    pub fn unpack() -> Self {
        let mut packed = String::new();
        flate2::read::ZlibDecoder::new(PACKED)
            .read_to_string(&mut packed)
            .expect("the build script packed valid UTF-8");
        let mut words = String::with_capacity(packed.len());
        let mut entries = Vec::with_capacity(packed.lines().count());
        for entry in packed.lines() {
            let mut parts = entry.splitn(3, '\0');
            let (Some(definition), Some(field), Some(text)) = (parts.next(), parts.next(), parts.next()) else {
                continue;
            };
            let mut add = |part: &str| {
                let begin = words.len() as u32;
                unescape(part, &mut words);
                begin..words.len() as u32
            };
            entries.push(Entry { definition: add(definition), field: add(field), text: add(text) });
        }
        let mut unpacked = Self { words, entries: Vec::new() };
        entries.sort_unstable_by(|a, b| unpacked.key(a).cmp(&unpacked.key(b)));
        unpacked.entries = entries;
        unpacked
    }

    /// What a type is for, by its definition's name (`io.k8s.api.core.v1.Pod`).
    #[must_use]
    pub fn definition(&self, name: &str) -> Option<&str> {
        self.field(name, "")
    }

    /// What a field of a type means, by its JSON name.
    #[must_use]
    pub fn field(&self, definition: &str, field: &str) -> Option<&str> {
        let at = self.entries.binary_search_by(|entry| self.key(entry).cmp(&(definition, field))).ok()?;
        Some(self.words_at(&self.entries[at].text))
    }

    fn key(&self, entry: &Entry) -> (&str, &str) {
        (self.words_at(&entry.definition), self.words_at(&entry.field))
    }

    fn words_at(&self, range: &Range<u32>) -> &str {
        &self.words[range.start as usize..range.end as usize]
    }
}

/// Newlines are escaped in the packed form, where they end an entry.
fn unescape(text: &str, out: &mut String) {
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => out.extend(letters.next().map(|escaped| if escaped == 'n' { '\n' } else { escaped })),
            _ => out.push(letter),
        }
    }
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
        assert!(texts.entries.iter().any(|entry| texts.words_at(&entry.text).contains('\n')));
        assert_eq!(texts.field("io.k8s.api.core.v1.PodSpec", "noSuchField"), None);
    }

    #[test]
    fn escapes_are_undone() {
        let mut out = String::new();
        unescape(r"one\ntwo \\n", &mut out);
        assert_eq!(out, "one\ntwo \\n");
    }
}
