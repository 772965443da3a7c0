//! CEL expressions, as far as they can be checked without compiling them: brackets pair up, texts end, there is something
//! to evaluate. What passes is stored; types, names and costs are checked by whoever evaluates it.

use super::{Errors, Path};

/// An expression at its field. Upstream's own words for what its parser finds differ from case to case; they begin alike.
pub fn check(expression: &str, at: &Path<'_>, errors: &mut Errors) {
    if let Err(why) = scan(expression) {
        errors.invalid(at, expression, format!("compilation failed: ERROR: <input>: Syntax error: {why}"));
    }
}

/// What is plainly wrong with an expression.
///
/// # Errors
/// The reason.
pub fn scan(expression: &str) -> Result<(), String> {
    let mut open: Vec<char> = Vec::new();
    let mut rest = expression;
    let mut empty = true;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = match c {
            '"' | '\'' => {
                // `r"..."` takes backslashes as they are.
                let before = &expression[..expression.len() - rest.len()];
                let raw = before.ends_with(['r', 'R']);
                skip_text(rest, c, raw).ok_or("a text does not end")?
            }
            '/' if after.starts_with('/') => {
                rest = after.split_once('\n').map_or("", |(_, rest)| rest);
                continue;
            }
            '(' | '[' | '{' => {
                open.push(c);
                after
            }
            ')' | ']' | '}' => {
                let wants = match c {
                    ')' => '(',
                    ']' => '[',
                    _ => '{',
                };
                if open.pop() != Some(wants) {
                    return Err(format!("extraneous input '{c}'"));
                }
                after
            }
            '#' | '$' | '@' | '`' | ';' | '\\' => return Err(format!("token recognition error at: '{c}'")),
            _ => after,
        };
        empty &= c.is_whitespace();
    }
    if let Some(open) = open.pop() {
        return Err(format!("'{open}' is not closed"));
    }
    if empty {
        return Err("mismatched input '<EOF>'".to_owned());
    }
    Ok(())
}

/// What follows the text that begins here; `None` if it does not end.
fn skip_text(text: &str, quote: char, raw: bool) -> Option<&str> {
    let triple = [quote; 3].iter().collect::<String>();
    let (end, body) = match text.strip_prefix(triple.as_str()) {
        Some(body) => (triple.as_str(), body),
        None => (&triple[..1], &text[1..]),
    };
    let mut rest = body;
    while !rest.starts_with(end) {
        let c = rest.chars().next().filter(|c| *c != '\n' || end.len() == 3)?;
        rest = &rest[c.len_utf8()..];
        if c == '\\' && !raw {
            rest = &rest[rest.chars().next()?.len_utf8()..];
        }
    }
    Some(&rest[end.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_plainly_is_no_expression_is_refused() {
        for good in [
            "true",
            "device.attributes['a.example'].size == \"(\" && x[0] in [1, 2]",
            r#"r"\" + 'it\'s' + """a "quoted" text""" // a comment ("#,
            "{'a': 1}.a > 0 ? '#' : \"$\"",
        ] {
            assert_eq!(scan(good), Ok(()), "{good}");
        }
        for bad in ["", "  \n", "(a", "a)", "[1, 2)", "'open", "\"a\nb\"", "a # b", "'''x''"] {
            assert!(scan(bad).is_err(), "{bad}");
        }
    }
}
