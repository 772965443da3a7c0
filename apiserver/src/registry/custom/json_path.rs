//! The JSONPath of printer columns, selectable fields and scale: `.spec.replicas`, `.status.conditions[?(@.type=="Ready")].status`,
//! `.metadata.labels['a\.b/c']`, `.spec.hosts[*]`, `.spec.ports[0].port`. A subset of kubectl's: what it does not know (ranges
//! of slices, `..`) gives no result, as a missing field does.

use gantry_machinery::value::Value;

/// The longest path.
const STEPS_MAX: usize = 64;
/// The most values that one path may lead to.
const FOUND_MAX: usize = 1000;

/// A parsed path.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct JsonPath {
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    /// `[*]`
    All,
    /// `[?(@.a.b=="c")]`
    Where {
        path: JsonPath,
        compare: Compare,
        with: Value,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Compare {
    Exists,
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl JsonPath {
    /// Reads a path, which begins with a dot.
    ///
    /// # Errors
    /// What of it cannot be read.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser { rest: text };
        let path = parser.path()?;
        if parser.rest.is_empty() { Ok(path) } else { Err(format!("unexpected {:?}", parser.rest)) }
    }

    /// The values that the path leads to.
    pub(crate) fn find<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        let mut found = vec![value];
        for step in &self.steps {
            let mut next = Vec::new();
            for value in found {
                step.take(value, &mut next);
                if next.len() >= FOUND_MAX {
                    break;
                }
            }
            found = next;
        }
        found
    }

    /// The names of a path that consists of fields alone.
    pub(crate) fn fields(&self) -> Option<Vec<String>> {
        let name = |step: &Step| match step {
            Step::Field(name) => Some(name.clone()),
            _ => None,
        };
        self.steps.iter().map(name).collect()
    }
}

impl Step {
    fn take<'v>(&self, value: &'v Value, found: &mut Vec<&'v Value>) {
        match (self, value) {
            (Self::Field(name), Value::Object(fields)) => found.extend(fields.get(name)),
            (Self::Index(index), Value::Array(items)) => {
                let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
                let at = if *index < 0 { length + index } else { *index };
                found.extend(usize::try_from(at).ok().and_then(|at| items.get(at)));
            }
            (Self::All, Value::Array(items)) => found.extend(items),
            (Self::All, Value::Object(fields)) => found.extend(fields.iter().map(|(_, value)| value)),
            (Self::Where { path, compare, with }, Value::Array(items)) => {
                found.extend(items.iter().filter(|item| path.find(item).iter().any(|held| compare.holds(held, with))));
            }
            (Self::Where { path, compare, with }, Value::Object(fields)) => {
                let values = fields.iter().map(|(_, value)| value);
                found.extend(values.filter(|item| path.find(item).iter().any(|held| compare.holds(held, with))));
            }
            _ => {}
        }
    }
}

impl Compare {
    fn holds(self, held: &Value, with: &Value) -> bool {
        use std::cmp::Ordering;
        let order = match (held, with) {
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            _ => super::schema::number(held).zip(super::schema::number(with)).and_then(|(a, b)| a.partial_cmp(&b)),
        };
        match self {
            Self::Exists => true,
            Self::Equal => order == Some(Ordering::Equal),
            Self::Unequal => order.is_some_and(Ordering::is_ne),
            Self::Less => order.is_some_and(Ordering::is_lt),
            Self::LessOrEqual => order.is_some_and(Ordering::is_le),
            Self::Greater => order.is_some_and(Ordering::is_gt),
            Self::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
        }
    }
}

struct Parser<'t> {
    rest: &'t str,
}

impl Parser<'_> {
    fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, text: &str) -> Result<(), String> {
        if self.eat(text) { Ok(()) } else { Err(format!("expected {text:?} before {:?}", self.rest)) }
    }

    fn path(&mut self) -> Result<JsonPath, String> {
        let mut steps = Vec::new();
        loop {
            if steps.len() > STEPS_MAX {
                return Err(format!("more than {STEPS_MAX} steps"));
            }
            if self.eat("..") {
                return Err("recursive descent is not known".to_owned());
            } else if self.eat("[") {
                steps.push(self.bracket()?);
            } else if self.eat(".") {
                if self.eat("*") {
                    steps.push(Step::All);
                } else if !self.rest.starts_with('[') {
                    let name = self.name();
                    if !name.is_empty() {
                        steps.push(Step::Field(name));
                    }
                }
            } else {
                return Ok(JsonPath { steps });
            }
        }
    }

    /// A field's name; a backslash takes the next character as it is.
    fn name(&mut self) -> String {
        let mut name = String::new();
        let mut chars = self.rest.char_indices();
        let mut end = self.rest.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => name.extend(chars.next().map(|(_, c)| c)),
                '.' | '[' | ']' | ')' | '=' | '!' | '<' | '>' | ' ' => {
                    end = at;
                    break;
                }
                _ => name.push(c),
            }
        }
        self.rest = &self.rest[end..];
        name
    }

    fn bracket(&mut self) -> Result<Step, String> {
        if self.eat("*]") {
            return Ok(Step::All);
        }
        if self.eat("?(") {
            let step = self.filter()?;
            self.expect(")]")?;
            return Ok(step);
        }
        if self.rest.starts_with(['\'', '"']) {
            let Value::String(name) = self.literal()? else { return Err("expected a name".to_owned()) };
            self.expect("]")?;
            return Ok(Step::Field(name.to_string()));
        }
        let end = self.rest.find(']').ok_or("expected ]")?;
        let index = self.rest[..end].trim().parse().map_err(|_| format!("unknown index {:?}", &self.rest[..end]))?;
        self.rest = &self.rest[end + 1..];
        Ok(Step::Index(index))
    }

    fn filter(&mut self) -> Result<Step, String> {
        self.spaces();
        self.expect("@")?;
        let path = self.path()?;
        self.spaces();
        let compare = [
            ("==", Compare::Equal),
            ("!=", Compare::Unequal),
            ("<=", Compare::LessOrEqual),
            (">=", Compare::GreaterOrEqual),
            ("<", Compare::Less),
            (">", Compare::Greater),
        ]
        .into_iter()
        .find_map(|(text, compare)| self.eat(text).then_some(compare));
        let Some(compare) = compare else {
            return Ok(Step::Where { path, compare: Compare::Exists, with: Value::Null });
        };
        self.spaces();
        let with = self.literal()?;
        self.spaces();
        Ok(Step::Where { path, compare, with })
    }

    fn spaces(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn literal(&mut self) -> Result<Value, String> {
        if let Some(quote) = self.rest.chars().next().filter(|c| matches!(c, '\'' | '"')) {
            let mut text = String::new();
            let mut chars = self.rest[1..].char_indices();
            while let Some((at, c)) = chars.next() {
                match c {
                    '\\' => text.extend(chars.next().map(|(_, c)| c)),
                    c if c == quote => {
                        self.rest = &self.rest[1 + at + c.len_utf8()..];
                        return Ok(text.into());
                    }
                    c => text.push(c),
                }
            }
            return Err("a text without end".to_owned());
        }
        let end = self.rest.find([')', ' ']).unwrap_or(self.rest.len());
        let word = &self.rest[..end];
        self.rest = &self.rest[end..];
        match word {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ => word
                .parse()
                .map(Value::Int)
                .or_else(|_| word.parse().map(Value::Float))
                .map_err(|_| format!("unknown value {word:?}")),
        }
    }
}

/// Values as a column of texts shows them: objects and lists as JSON, several with spaces between.
pub(crate) fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.to_string(),
        Value::Null => "<nil>".to_owned(),
        other => gantry_machinery::codec::json::to_string(other),
    }
}

#[cfg(test)]
mod tests {
    use gantry_machinery::value;

    use super::*;

    #[test]
    fn paths_lead_where_kubectl_s_lead() {
        let object = value!({
            "metadata": {"labels": {"a.b/c": "dotted"}},
            "spec": {"replicas": 3, "hosts": ["x", "y"], "ports": [{"port": 80}, {"port": 443}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}]},
        });
        let find = |path: &str| -> Vec<String> {
            JsonPath::parse(path)
                .unwrap_or_else(|e| panic!("{path}: {e}"))
                .find(&object)
                .into_iter()
                .map(as_text)
                .collect()
        };
        assert_eq!(find(".spec.replicas"), ["3"]);
        assert_eq!(find(r".metadata.labels.a\.b/c"), ["dotted"]);
        assert_eq!(find(".metadata.labels['a.b/c']"), ["dotted"]);
        assert_eq!(find(".spec.hosts[*]"), ["x", "y"]);
        assert_eq!(find(".spec.ports[1].port"), ["443"]);
        assert_eq!(find(".spec.ports[-1].port"), ["443"]);
        assert_eq!(find(r#".status.conditions[?(@.type=="Ready")].status"#), ["True"]);
        assert_eq!(find(".status.conditions[?(@.type == 'Other')].status"), ["False"]);
        assert_eq!(find(".spec.ports[?(@.port>100)].port"), ["443"]);
        assert_eq!(find(".spec.hosts"), [r#"["x","y"]"#]);
        assert!(find(".spec.nothing.below").is_empty());
        assert_eq!(JsonPath::parse(".spec.a").unwrap().fields().unwrap(), ["spec", "a"]);
    }

    #[test]
    fn broken_paths_are_errors_and_nothing_panics() {
        for path in [".a[", ".a[x]", ".a[?(", ".a[?(@.b==)]", ".a['x", "..a", ".a]", ".a[?(@.b=='é)]"] {
            assert!(JsonPath::parse(path).is_err(), "{path}");
        }
    }
}
