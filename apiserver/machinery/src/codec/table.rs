//! Documents that wrap stored objects without decoding them: `Table`, `PartialObjectMetadata` and their lists
//! (API concepts, "Receiving resources as Tables"). Written by the HTTP layer for `as=Table` and
//! `as=PartialObjectMetadata(List)`; cells come from the kind's strategy, everything else is copied bytes.

use std::borrow::Cow;

use super::json;
use crate::value::Value;

/// A column of a Table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The heading (`Ready`).
    pub name: Cow<'static, str>,
    /// `name` for the name column, else mostly empty.
    pub format: Cow<'static, str>,
    /// `string`, `integer`, `date`.
    pub kind: Cow<'static, str>,
    /// What it means; empty for what [`describe`] says of columns that every kind has.
    pub description: Cow<'static, str>,
    /// 0 is shown always, more by `-o wide` only.
    pub priority: i32,
}

impl Column {
    const fn of(name: &'static str, format: &'static str, kind: &'static str) -> Self {
        Self {
            name: Cow::Borrowed(name),
            format: Cow::Borrowed(format),
            kind: Cow::Borrowed(kind),
            description: Cow::Borrowed(""),
            priority: 0,
        }
    }

    /// The column that names the object.
    #[must_use]
    pub const fn name() -> Self {
        Self::of("Name", "name", "string")
    }

    /// A column of texts.
    #[must_use]
    pub const fn string(name: &'static str) -> Self {
        Self::of(name, "", "string")
    }

    /// A column of dates, which clients show as ages.
    #[must_use]
    pub const fn date(name: &'static str) -> Self {
        Self::of(name, "", "date")
    }

    /// A column of integers.
    #[must_use]
    pub const fn integer(name: &'static str) -> Self {
        Self::of(name, "", "integer")
    }

    /// The same column, shown by `-o wide` only.
    #[must_use]
    pub const fn wide(mut self) -> Self {
        self.priority = 1;
        self
    }
}

/// How much of each object a Table carries (`includeObject`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IncludeObject {
    /// Only the cells.
    None,
    /// Its metadata: the default.
    #[default]
    Metadata,
    /// All of it.
    Object,
}

impl IncludeObject {
    /// Reads the query parameter; `None` for a value that is none of the three.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Metadata" => Some(Self::Metadata),
            "None" => Some(Self::None),
            "Object" => Some(Self::Object),
            _ => None,
        }
    }
}

/// The metadata of a list.
#[derive(Clone, Copy, Debug, Default)]
pub struct ListMeta<'a> {
    /// The state the list shows; 0 leaves it out.
    pub revision: u64,
    /// The token for the next chunk; empty at the end.
    pub continue_token: &'a str,
    /// How many follow, where it is known.
    pub remaining: Option<u64>,
    /// The shard selector that the list was made by; empty for a whole collection.
    pub shard: &'a str,
}

impl ListMeta<'_> {
    /// Appends the JSON object.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        let mut separator = "";
        if self.revision != 0 {
            put(out, &["\"resourceVersion\":\"", itoa::Buffer::new().format(self.revision), "\""]);
            separator = ",";
        }
        if !self.continue_token.is_empty() {
            put(out, &[separator, "\"continue\":"]);
            json::push_string(self.continue_token, out);
            separator = ",";
        }
        if let Some(remaining) = self.remaining {
            put(out, &[separator, "\"remainingItemCount\":", itoa::Buffer::new().format(remaining)]);
            separator = ",";
        }
        if !self.shard.is_empty() {
            put(out, &[separator, "\"shardInfo\":{\"selector\":"]);
            json::push_string(self.shard, out);
            out.push(b'}');
        }
        out.push(b'}');
    }
}

/// A Table being written, row by row, into a buffer that the caller may send piece by piece.
pub struct TableWriter<'a> {
    version: &'a str,
    include: IncludeObject,
    rows: usize,
}

impl<'a> TableWriter<'a> {
    /// Begins a Table of `meta.k8s.io/<version>`. Later Tables of one watch go without columns.
    pub fn begin(
        out: &mut Vec<u8>,
        version: &'a str,
        meta: &ListMeta<'_>,
        columns: Option<&[Column]>,
        include: IncludeObject,
    ) -> Self {
        put(out, &["{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/", version, "\",\"metadata\":"]);
        meta.write(out);
        put(out, &[",\"columnDefinitions\":"]);
        match columns {
            None => put(out, &["null"]),
            Some(columns) => {
                out.push(b'[');
                for (at, column) in columns.iter().enumerate() {
                    let separator = if at > 0 { "," } else { "" };
                    put(out, &[separator, "{\"name\":"]);
                    json::push_string(&column.name, out);
                    put(
                        out,
                        &[",\"type\":\"", &column.kind, "\",\"format\":\"", &column.format, "\",\"description\":"],
                    );
                    json::push_string(describe(column), out);
                    put(out, &[",\"priority\":", itoa::Buffer::new().format(column.priority), "}"]);
                }
                out.push(b']');
            }
        }
        put(out, &[",\"rows\":["]);
        Self { version, include, rows: 0 }
    }

    /// Appends a row: the cells, and of the stored `body` what was asked for.
    pub fn row(&mut self, out: &mut Vec<u8>, cells: &[Value], body: &[u8]) {
        put(out, &[if self.rows > 0 { "," } else { "" }, "{\"cells\":["]);
        self.rows += 1;
        for (at, cell) in cells.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            json::encode_into(cell, out);
        }
        out.push(b']');
        match self.include {
            IncludeObject::None => put(out, &[",\"object\":null"]),
            IncludeObject::Metadata => {
                put(out, &[",\"object\":"]);
                write_partial_metadata(out, self.version, body);
            }
            IncludeObject::Object => {
                put(out, &[",\"object\":"]);
                out.extend_from_slice(body);
            }
        }
        out.push(b'}');
    }

    /// Ends the Table.
    pub fn end(self, out: &mut Vec<u8>) {
        put(out, &["]}"]);
    }
}

/// Appends the `PartialObjectMetadata` of a stored object.
pub fn write_partial_metadata(out: &mut Vec<u8>, version: &str, body: &[u8]) {
    put(out, &["{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/", version, "\",\"metadata\":"]);
    let [metadata] = json::pick(body, [&["metadata"]]);
    out.extend_from_slice(metadata.map_or("{}", json::Raw::json).as_bytes());
    out.push(b'}');
}

/// Appends a `PartialObjectMetadataList` of stored objects.
pub fn write_partial_metadata_list<'b>(
    out: &mut Vec<u8>,
    version: &str,
    meta: &ListMeta<'_>,
    bodies: impl IntoIterator<Item = &'b [u8]>,
) {
    put(out, &["{\"kind\":\"PartialObjectMetadataList\",\"apiVersion\":\"meta.k8s.io/", version, "\",\"metadata\":"]);
    meta.write(out);
    put(out, &[",\"items\":["]);
    for (at, body) in bodies.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_partial_metadata(out, version, body);
    }
    put(out, &["]}"]);
}

/// What the columns that every kind has mean.
fn describe(column: &Column) -> &str {
    match (&*column.name, &*column.kind) {
        _ if !column.description.is_empty() => &column.description,
        ("Name", _) => "Name must be unique within a namespace.",
        ("Age" | "Created At", _) => "When the object was created on the server.",
        _ => "",
    }
}

fn put(out: &mut Vec<u8>, pieces: &[&str]) {
    for piece in pieces {
        out.extend_from_slice(piece.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    const POD: &[u8] = br#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","labels":{"x":"\"}{"}},"spec":{}}"#;

    fn parsed(out: &[u8]) -> Json {
        serde_json::from_slice(out).unwrap()
    }

    #[test]
    fn a_table_holds_columns_rows_and_what_was_asked_for() {
        let columns = [Column::name(), Column::string("IP").wide()];
        let object = |include| {
            let mut out = Vec::new();
            let meta = ListMeta { revision: 7, continue_token: "t", remaining: Some(3), shard: "" };
            let mut table = TableWriter::begin(&mut out, "v1", &meta, Some(&columns), include);
            table.row(&mut out, &[Value::from("a"), Value::Null], POD);
            table.row(&mut out, &[Value::from("b"), Value::from(1)], POD);
            table.end(&mut out);
            let table = parsed(&out);
            assert_eq!(table["metadata"], json!({"resourceVersion": "7", "continue": "t", "remainingItemCount": 3}));
            assert_eq!(table["columnDefinitions"][1]["priority"], 1);
            assert_eq!(table["columnDefinitions"][0]["format"], "name");
            assert_eq!(table["rows"][1]["cells"], json!(["b", 1]));
            table["rows"][0]["object"].clone()
        };
        assert_eq!(object(IncludeObject::None), Json::Null);
        assert_eq!(object(IncludeObject::Object), parsed(POD));
        assert_eq!(
            object(IncludeObject::Metadata),
            json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
                "metadata": {"name": "a", "labels": {"x": "\"}{"}}
            })
        );
    }

    #[test]
    fn later_tables_of_a_watch_have_no_columns() {
        let mut out = Vec::new();
        TableWriter::begin(&mut out, "v1", &ListMeta::default(), None, IncludeObject::None).end(&mut out);
        assert_eq!(
            parsed(&out),
            json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "columnDefinitions": null, "rows": []})
        );
    }

    #[test]
    fn metadata_lists_are_copied_from_bodies() {
        let mut out = Vec::new();
        write_partial_metadata_list(&mut out, "v1", &ListMeta::default(), [POD, POD]);
        let list = parsed(&out);
        assert_eq!(list["kind"], "PartialObjectMetadataList");
        assert_eq!(list["items"].as_array().unwrap().len(), 2);
        assert_eq!(list["items"][1]["metadata"]["name"], "a");
    }
}
