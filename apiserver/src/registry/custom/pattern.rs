//! `pattern`: Go's regular expressions (RE2) on the engine at hand.
//!
//! Both are automata without backtracking and agree on nearly all syntax; [`translated`] covers where they do not. The
//! compiled form is bounded: a pattern that would take more than [`PROGRAM_BYTES_MAX`] is refused with the definition, and
//! [`Pattern::weight`] lets the definition's patterns be bounded together.
//!
//! Made by [`super::schema`], used by [`super::values`].

use regex::{Regex, RegexBuilder};

/// The largest compiled pattern.
const PROGRAM_BYTES_MAX: usize = 2 << 20;
/// Sizes that are tried in turn, to learn roughly how much memory a pattern takes.
const TIERS: [usize; 3] = [32 << 10, 256 << 10, PROGRAM_BYTES_MAX];
/// What a matcher may cache while it runs.
const CACHE_BYTES_MAX: usize = 256 << 10;
/// The deepest nesting of groups, Go's own limit being 1000.
const NESTING_MAX: u32 = 100;

/// A compiled pattern.
#[derive(Debug)]
pub(crate) struct Pattern {
    /// As the schema has it; messages show it.
    pub(crate) text: String,
    regex: Regex,
    weight: usize,
}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// What is wrong with it, as the end of Go's message.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        let syntax = translated(text);
        let mut why = String::new();
        for weight in TIERS {
            let built = RegexBuilder::new(&syntax)
                .size_limit(weight)
                .dfa_size_limit(CACHE_BYTES_MAX)
                .nest_limit(NESTING_MAX)
                .build();
            match built {
                Ok(regex) => return Ok(Self { text: text.to_owned(), regex, weight }),
                Err(regex::Error::CompiledTooBig(_)) => "expression too large".clone_into(&mut why),
                Err(error) => {
                    // The last line says what, the ones before point at where.
                    let said = error.to_string();
                    let last = said.lines().last().unwrap_or_default();
                    return Err(format!("error parsing regexp: {}", last.trim_start_matches("error: ")));
                }
            }
        }
        Err(format!("error parsing regexp: {why}"))
    }

    /// Whether some part of `text` matches.
    pub(crate) fn matches(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// At most how many bytes the compiled form takes.
    pub(crate) fn weight(&self) -> usize {
        self.weight
    }
}

/// The same pattern in the other syntax: Go's Perl classes are ASCII, its `[` inside a class is a character, and classes
/// know no set operations.
fn translated(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern.chars().peekable();
    let mut in_class = false;
    // Right after `[` or `[^`, where `]` is a character.
    let mut class_begins = false;
    while let Some(c) = rest.next() {
        let first = std::mem::replace(&mut class_begins, false);
        match c {
            '\\' => match rest.next() {
                Some('d') => out.push_str(if in_class { "0-9" } else { "[0-9]" }),
                Some('D') => out.push_str("[^0-9]"),
                Some('w') => out.push_str(if in_class { "0-9A-Za-z_" } else { "[0-9A-Za-z_]" }),
                Some('W') => out.push_str("[^0-9A-Za-z_]"),
                Some('s') => out.push_str(if in_class { "\\t\\n\\f\\r " } else { "[\\t\\n\\f\\r ]" }),
                Some('S') => out.push_str("[^\\t\\n\\f\\r ]"),
                Some('b') if !in_class => out.push_str("(?-u:\\b)"),
                Some('B') if !in_class => out.push_str("(?-u:\\B)"),
                Some('Q') => {
                    let mut quoted = String::new();
                    while let Some(c) = rest.next() {
                        if c == '\\' && rest.peek() == Some(&'E') {
                            rest.next();
                            break;
                        }
                        quoted.push(c);
                    }
                    out.push_str(&regex::escape(&quoted));
                }
                Some(other) => {
                    out.push('\\');
                    out.push(other);
                }
                None => out.push('\\'),
            },
            '[' if in_class => {
                if rest.peek() == Some(&':') {
                    out.push('[');
                    for c in rest.by_ref() {
                        out.push(c);
                        if c == ']' {
                            break;
                        }
                    }
                } else {
                    out.push_str("\\[");
                }
            }
            '[' => {
                in_class = true;
                class_begins = true;
                out.push('[');
                if rest.peek() == Some(&'^') {
                    rest.next();
                    out.push('^');
                }
            }
            ']' if in_class && first => out.push_str("\\]"),
            ']' => {
                in_class = false;
                out.push(']');
            }
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(c);
            }
            '-' if in_class && rest.peek() == Some(&'-') => out.push_str("\\-"),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern::new(pattern).unwrap_or_else(|why| panic!("{pattern}: {why}")).matches(text)
    }

    #[test]
    fn patterns_mean_what_they_mean_in_go() {
        assert!(matches(r"^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$", "* * * * */5"));
        assert!(matches(r"^[\w.-]+$", "a_b.c-d") && !matches(r"^\w+$", "é"));
        assert!(!matches(r"^\d$", "٣"), "digits are ASCII");
        assert!(matches("^[][a]$", "[") && matches("^[][a]$", "]"));
        assert!(matches("^[a&&b]+$", "a&b"));
        assert!(matches(r"^\Qa.b\E+$", "a.bb") && !matches(r"^\Qa.b\E$", "axb"));
        assert!(matches("^[[:alpha:]]+$", "abc"));
        assert!(matches("b", "abc"), "a pattern need not cover all");
    }

    #[test]
    fn what_is_no_pattern_is_refused_and_what_is_too_big_as_well() {
        for wrong in ["(", "[a", r"(?=a)", r"\1"] {
            assert!(Pattern::new(wrong).unwrap_err().starts_with("error parsing regexp: "), "{wrong}");
        }
        let huge = Pattern::new("((((a{1,100}){1,100}){1,100}){1,100})").unwrap_err();
        assert_eq!(huge, "error parsing regexp: expression too large");
        assert!(Pattern::new(&"(".repeat(5000)).is_err());
        assert_eq!(Pattern::new("^a$").unwrap().weight(), TIERS[0]);
    }
}
