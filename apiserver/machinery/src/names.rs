//! Which names, labels and keys are valid, and what is said about those that are not (apimachinery's
//! `util/validation`). Each check gives the texts that upstream gives, none when all is well; checks are byte scans, no
//! regular expressions, since every write runs several of them.

/// The longest name or DNS subdomain, in bytes.
pub const DNS_SUBDOMAIN_MAX: usize = 253;
/// The longest DNS label, label name or label value, in bytes.
pub const DNS_LABEL_MAX: usize = 63;
/// The longest `generateName` prefix that is kept, so that five random letters still fit.
pub const GENERATED_BASE_MAX: usize = 63 - 5;
/// All annotations of an object together, in bytes.
pub const ANNOTATIONS_MAX: usize = 256 * 1024;

const LABEL_RE: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const KEY_RE: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";

/// What a text longer than `max` bytes is told (upstream counts bytes and says characters, but for label keys and values).
#[must_use]
pub fn max_len_error(max: usize) -> String {
    format!("must be no more than {max} characters")
}

fn max_bytes_error(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

/// What an empty text is told.
#[must_use]
pub const fn empty_error() -> &'static str {
    "must be non-empty"
}

/// What a text that does not match is told: `MESSAGE (e.g. 'a',  or 'b', regex used for validation is 'RE')`.
#[must_use]
pub fn regex_error(message: &str, regex: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{message} (regex used for validation is '{regex}')");
    }
    let shown: Vec<String> = examples.iter().map(|e| format!("'{e}', ")).collect();
    format!("{message} (e.g. {}regex used for validation is '{regex}')", shown.join(" or "))
}

/// What a number outside its bounds is told.
#[must_use]
pub fn inclusive_range_error(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

const fn lower_or_digit(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9')
}

/// One or more bytes, the inner ones also `-`, the first and last alphanumeric.
fn label_shape(text: &[u8]) -> bool {
    match text {
        [] => false,
        [one] => lower_or_digit(*one),
        [first, inner @ .., last] => {
            lower_or_digit(*first) && lower_or_digit(*last) && inner.iter().all(|b| lower_or_digit(*b) || *b == b'-')
        }
    }
}

fn subdomain_shape(text: &str) -> bool {
    text.split('.').all(|part| label_shape(part.as_bytes()))
}

fn key_shape(text: &str) -> bool {
    match text.as_bytes() {
        [] => false,
        [one] => one.is_ascii_alphanumeric(),
        [first, inner @ .., last] => {
            first.is_ascii_alphanumeric()
                && last.is_ascii_alphanumeric()
                && inner.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        }
    }
}

/// A DNS label by RFC 1123 (namespaces, container names).
#[must_use]
pub fn dns_label(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > DNS_LABEL_MAX {
        errors.push(max_len_error(DNS_LABEL_MAX));
    }
    if !label_shape(text.as_bytes()) {
        if subdomain_shape(text) {
            errors.push("must not contain dots".to_owned());
        } else {
            errors.push(regex_error(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start \
                 and end with an alphanumeric character",
                LABEL_RE,
                &["my-name", "123-abc"],
            ));
        }
    }
    errors
}

/// A DNS subdomain by RFC 1123 (most names).
#[must_use]
pub fn dns_subdomain(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > DNS_SUBDOMAIN_MAX {
        errors.push(max_len_error(DNS_SUBDOMAIN_MAX));
    }
    if !subdomain_shape(text) {
        errors.push(subdomain_shape_error());
    }
    errors
}

fn subdomain_shape_error() -> String {
    regex_error(
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start \
         and end with an alphanumeric character",
        &format!("{LABEL_RE}(\\.{LABEL_RE})*"),
        &["example.com"],
    )
}

/// A DNS label by RFC 1035, which may not begin with a digit (services).
#[must_use]
pub fn dns_1035_label(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > DNS_LABEL_MAX {
        errors.push(max_len_error(DNS_LABEL_MAX));
    }
    if !label_shape(text.as_bytes()) || !text.starts_with(|c: char| c.is_ascii_lowercase()) {
        errors.push(regex_error(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
             character, and end with an alphanumeric character",
            "[a-z]([-a-z0-9]*[a-z0-9])?",
            &["my-name", "abc-123"],
        ));
    }
    errors
}

/// `*.` and a DNS subdomain (Ingress hosts).
#[must_use]
pub fn wildcard_dns_subdomain(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > DNS_SUBDOMAIN_MAX {
        errors.push(max_len_error(DNS_SUBDOMAIN_MAX));
    }
    if !text.strip_prefix("*.").is_some_and(subdomain_shape) {
        errors.push(regex_error(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist \
             of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
            &format!("\\*\\.{LABEL_RE}(\\.{LABEL_RE})*"),
            &["*.example.com"],
        ));
    }
    errors
}

/// A label key, annotation key, finalizer or resource name: an optional DNS prefix, `/`, a name.
#[must_use]
pub fn qualified_name(text: &str) -> Vec<String> {
    const WHAT: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                        alphanumeric character";
    const EXAMPLES: &[&str] = &["MyName", "my.name", "123-abc"];
    let mut errors = Vec::new();
    let name = match text.split_once('/') {
        None => text,
        Some((_, rest)) if rest.contains('/') => {
            let shape = regex_error(WHAT, KEY_RE, EXAMPLES);
            errors.push(format!(
                "a valid label key {shape} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            ));
            return errors;
        }
        Some(("", name)) => {
            errors.push(format!("prefix part {}", empty_error()));
            name
        }
        Some((prefix, name)) => {
            if prefix.len() > DNS_SUBDOMAIN_MAX {
                errors.push(format!("prefix part {}", max_bytes_error(DNS_SUBDOMAIN_MAX)));
            }
            if !subdomain_shape(prefix) {
                errors.push(format!("prefix part {}", subdomain_shape_error()));
            }
            name
        }
    };
    if name.is_empty() {
        errors.push(format!("name part {}", empty_error()));
    } else if name.len() > DNS_LABEL_MAX {
        errors.push(format!("name part {}", max_bytes_error(DNS_LABEL_MAX)));
    }
    if !key_shape(name) {
        errors.push(format!("name part {}", regex_error(WHAT, KEY_RE, EXAMPLES)));
    }
    errors
}

/// A label's value: empty, or alphanumeric at both ends.
#[must_use]
pub fn label_value(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > DNS_LABEL_MAX {
        errors.push(max_bytes_error(DNS_LABEL_MAX));
    }
    if !text.is_empty() && !key_shape(text) {
        errors.push(regex_error(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
             start and end with an alphanumeric character",
            &format!("({KEY_RE})?"),
            &["MyValue", "my_value", "12345"],
        ));
    }
    errors
}

/// A name that is one segment of a path (RBAC objects and others whose names are otherwise free). A `prefix` (of a
/// generateName) may be `.` or `..`, since more follows.
#[must_use]
pub fn path_segment(text: &str, prefix: bool) -> Vec<String> {
    let mut errors = Vec::new();
    if !prefix && (text == "." || text == "..") {
        errors.push(format!("may not be '{text}'"));
    }
    for illegal in ['/', '%'] {
        if text.contains(illegal) {
            errors.push(format!("may not contain '{illegal}'"));
        }
    }
    errors
}

/// The part of a generateName that is checked: a trailing `-` is masked, as more follows.
#[must_use]
pub fn mask_trailing_dash(text: &str) -> std::borrow::Cow<'_, str> {
    // Upstream's very rule: two bytes at least, the last a dash; it becomes a letter.
    match text.strip_suffix('-') {
        Some(rest) if !rest.is_empty() => std::borrow::Cow::Owned(format!("{rest}a")),
        _ => std::borrow::Cow::Borrowed(text),
    }
}

/// A number that can be a port.
#[must_use]
pub fn port_number(port: i64) -> Vec<String> {
    if (1..=65535).contains(&port) { Vec::new() } else { vec![inclusive_range_error(1, 65535)] }
}

/// A port's name by RFC 6335.
#[must_use]
pub fn port_name(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > 15 {
        errors.push(max_len_error(15));
    }
    if text.is_empty() || !text.bytes().all(|b| lower_or_digit(b) || b == b'-') {
        errors.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !text.bytes().any(|b| b.is_ascii_lowercase()) {
        errors.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        errors.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        errors.push("must not begin or end with a hyphen".to_owned());
    }
    errors
}

/// The name of an environment variable (the relaxed rule, on since 1.34: printable ASCII but `=`).
#[must_use]
pub fn env_var_name(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.is_empty() {
        errors.push(format!("environment variable name {}", empty_error()));
    }
    if text.bytes().any(|b| !(0x20..0x7f).contains(&b) || b == b'=') {
        errors.push(
            "a valid environment variable name must consist only of printable ASCII characters other than '='"
                .to_owned(),
        );
    }
    errors
}

/// A C identifier.
#[must_use]
pub fn c_identifier(text: &str) -> Vec<String> {
    let good = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if good {
        return Vec::new();
    }
    vec![regex_error(
        "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric \
         characters or '_'",
        "[A-Za-z_][A-Za-z0-9_]*",
        &["my_name", "MY_NAME", "MyName"],
    )]
}

/// A key of a ConfigMap or Secret.
#[must_use]
pub fn config_map_key(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > DNS_SUBDOMAIN_MAX {
        errors.push(max_len_error(DNS_SUBDOMAIN_MAX));
    }
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        errors.push(regex_error(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    if text == "." {
        errors.push("must not be '.'".to_owned());
    } else if text == ".." {
        errors.push("must not be '..'".to_owned());
    } else if text.starts_with("..") {
        errors.push("must not start with '..'".to_owned());
    }
    errors
}

/// `10%` and the like.
#[must_use]
pub fn percent(text: &str) -> Vec<String> {
    match text.strip_suffix('%') {
        Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => Vec::new(),
        _ => vec![regex_error(
            "a valid percent string must be a numeric string followed by an ending '%'",
            "[0-9]+%",
            &["1%", "93%"],
        )],
    }
}

/// The name of an HTTP header.
#[must_use]
pub fn http_header_name(text: &str) -> Vec<String> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Vec::new();
    }
    vec![regex_error(
        "a valid HTTP header must consist of alphanumeric characters or '-'",
        "[-A-Za-z0-9]+",
        &["X-Header-Name"],
    )]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names_pass() {
        for check in [dns_label, dns_subdomain, dns_1035_label, qualified_name, label_value] {
            assert_eq!(check("web-1"), Vec::<String>::new());
        }
        assert!(dns_subdomain("a.b-c.d").is_empty());
        assert!(qualified_name("example.com/My_Name.x").is_empty());
        assert!(label_value("").is_empty());
        assert!(path_segment("system:node", false).is_empty());
    }

    #[test]
    fn bad_names_get_upstreams_words() {
        assert_eq!(
            dns_label("Web"),
            [
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and \
              end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
              '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
            ]
        );
        assert_eq!(dns_label("a.b"), ["must not contain dots"]);
        assert_eq!(dns_subdomain(&"a".repeat(254)), ["must be no more than 253 characters"]);
        assert_eq!(
            dns_subdomain("a..b"),
            [
                "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
              start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
              '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
            ]
        );
        assert_eq!(qualified_name("/x"), ["prefix part must be non-empty"]);
        assert_eq!(qualified_name("").len(), 2);
        assert_eq!(path_segment("..", false), ["may not be '..'"]);
        assert_eq!(path_segment("a/b%", false), ["may not contain '/'", "may not contain '%'"]);
        assert_eq!(port_name("-a--b-").len(), 2);
        assert_eq!(config_map_key("..x"), ["must not start with '..'"]);
    }

    #[test]
    fn generated_names_may_end_in_a_dash() {
        assert_eq!(mask_trailing_dash("web-"), "weba");
        assert_eq!(mask_trailing_dash("-"), "-");
    }
}
