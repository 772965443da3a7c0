//! The grammar of label selectors in queries: a scanner and a parser by descent, with upstream's words where they fail.

use compact_str::CompactString;

use super::{Operator, Requirement, SelectorError};
use crate::names;
use crate::status::quote;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    End,
    Identifier,
    In,
    NotIn,
    Open,
    Close,
    Comma,
    Not,
    Equals,
    DoubleEquals,
    NotEquals,
    Greater,
    Less,
    /// Special signs that mean nothing together.
    Bad,
}

/// In what place a word stands: `in` and `notin` are words of the grammar only where an operator is expected.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    Values,
    Operator,
}

struct Parser<'a> {
    items: Vec<(Token, &'a str)>,
    at: usize,
}

/// The requirements of a selector, in the order written.
pub(super) fn requirements(text: &str) -> Result<Vec<Requirement>, SelectorError> {
    let mut parser = Parser { items: scan(text), at: 0 };
    let mut found = Vec::new();
    loop {
        let (token, literal) = parser.peek(Expect::Values);
        match token {
            Token::Identifier | Token::Not => {
                let requirement =
                    parser.requirement().map_err(|e| SelectorError(format!("unable to parse requirement: {}", e.0)))?;
                found.push(requirement);
                match parser.take(Expect::Values) {
                    (Token::End, _) => return Ok(found),
                    (Token::Comma, _) => {
                        let (next, literal) = parser.peek(Expect::Values);
                        if !matches!(next, Token::Identifier | Token::Not) {
                            return fail(literal, "identifier after ','");
                        }
                    }
                    (_, literal) => return fail(literal, "',' or 'end of string'"),
                }
            }
            Token::End => return Ok(found),
            _ => return fail(literal, "!, identifier, or 'end of string'"),
        }
    }
}

fn fail<T>(found: &str, expected: &str) -> Result<T, SelectorError> {
    Err(SelectorError(format!("found '{found}', expected: {expected}")))
}

impl<'a> Parser<'a> {
    fn peek(&self, expect: Expect) -> (Token, &'a str) {
        let (token, literal) = self.items.get(self.at).copied().unwrap_or((Token::End, ""));
        match token {
            Token::In | Token::NotIn if expect == Expect::Values => (Token::Identifier, literal),
            _ => (token, literal),
        }
    }

    fn take(&mut self, expect: Expect) -> (Token, &'a str) {
        let item = self.peek(expect);
        self.at += 1;
        item
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let (mut token, mut literal) = self.take(Expect::Values);
        let negated = token == Token::Not;
        if negated {
            (token, literal) = self.take(Expect::Values);
        }
        if token != Token::Identifier {
            return fail(literal, "identifier");
        }
        let key = literal;
        let wrong = names::qualified_name(key);
        if !wrong.is_empty() {
            // Upstream prints the path of a selector that stands in a query as Go prints nil.
            return Err(SelectorError(format!("<nil>: Invalid value: {}: {}", quote(key), wrong.join("; "))));
        }
        if negated {
            return Requirement::new(key, Operator::DoesNotExist, [""; 0]);
        }
        if matches!(self.peek(Expect::Values).0, Token::End | Token::Comma) {
            return Requirement::new(key, Operator::Exists, [""; 0]);
        }
        let operator = match self.take(Expect::Operator) {
            (Token::In, _) => Operator::In,
            (Token::NotIn, _) => Operator::NotIn,
            (Token::Equals, _) => Operator::Equals,
            (Token::DoubleEquals, _) => Operator::DoubleEquals,
            (Token::NotEquals, _) => Operator::NotEquals,
            (Token::Greater, _) => Operator::GreaterThan,
            (Token::Less, _) => Operator::LessThan,
            (_, literal) => return fail(literal, "in, notin, =, ==, !=, gt, lt"),
        };
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => self.exact_value()?,
        };
        Requirement::new(key, operator, values)
    }

    fn values(&mut self) -> Result<Vec<CompactString>, SelectorError> {
        let (token, literal) = self.take(Expect::Values);
        if token != Token::Open {
            return fail(literal, "'('");
        }
        match self.peek(Expect::Values) {
            (Token::Identifier | Token::Comma, _) => {
                let values = self.value_list()?;
                let (token, literal) = self.take(Expect::Values);
                if token != Token::Close {
                    return fail(literal, "')'");
                }
                Ok(values)
            }
            (Token::Close, _) => {
                self.take(Expect::Values);
                Ok(vec![CompactString::const_new("")])
            }
            (_, literal) => fail(literal, "',', ')' or identifier"),
        }
    }

    /// `a,b`; a comma with nothing beside it stands for the empty value.
    fn value_list(&mut self) -> Result<Vec<CompactString>, SelectorError> {
        let mut values: Vec<CompactString> = Vec::new();
        loop {
            match self.take(Expect::Values) {
                (Token::Identifier, literal) => {
                    values.push(literal.into());
                    match self.peek(Expect::Values) {
                        (Token::Comma, _) => {}
                        (Token::Close, _) => return Ok(values),
                        (_, literal) => return fail(literal, "',' or ')'"),
                    }
                }
                (Token::Comma, _) => {
                    if values.is_empty() {
                        values.push(CompactString::const_new(""));
                    }
                    match self.peek(Expect::Values).0 {
                        Token::Close => {
                            values.push(CompactString::const_new(""));
                            return Ok(values);
                        }
                        Token::Comma => {
                            self.take(Expect::Values);
                            values.push(CompactString::const_new(""));
                        }
                        _ => {}
                    }
                }
                (_, literal) => return fail(literal, "',', or identifier"),
            }
        }
    }

    fn exact_value(&mut self) -> Result<Vec<CompactString>, SelectorError> {
        match self.peek(Expect::Values) {
            (Token::End | Token::Comma, _) => Ok(vec![CompactString::const_new("")]),
            (Token::Identifier, literal) => {
                self.take(Expect::Values);
                Ok(vec![literal.into()])
            }
            (_, literal) => fail(literal, "identifier"),
        }
    }
}

fn scan(text: &str) -> Vec<(Token, &str)> {
    let bytes = text.as_bytes();
    let mut items = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if matches!(bytes[at], b' ' | b'\t' | b'\r' | b'\n') {
            at += 1;
            continue;
        }
        let from = at;
        if special(bytes[at]) {
            // The longest run of signs that is one of the grammar's.
            let two = bytes.get(at..at + 2).unwrap_or_default();
            let token = match (two, bytes[at]) {
                (b"==", _) => Token::DoubleEquals,
                (b"!=", _) => Token::NotEquals,
                (_, b'=') => Token::Equals,
                (_, b'!') => Token::Not,
                (_, b'(') => Token::Open,
                (_, b')') => Token::Close,
                (_, b',') => Token::Comma,
                (_, b'>') => Token::Greater,
                (_, b'<') => Token::Less,
                _ => Token::Bad,
            };
            at += if matches!(token, Token::DoubleEquals | Token::NotEquals) { 2 } else { 1 };
            items.push((token, &text[from..at]));
            continue;
        }
        while at < bytes.len() && !special(bytes[at]) && !matches!(bytes[at], b' ' | b'\t' | b'\r' | b'\n') {
            at += 1;
        }
        let word = &text[from..at];
        let token = match word {
            "in" => Token::In,
            "notin" => Token::NotIn,
            _ => Token::Identifier,
        };
        items.push((token, word));
    }
    items
}

const fn special(byte: u8) -> bool {
    matches!(byte, b'=' | b'!' | b'(' | b')' | b',' | b'>' | b'<')
}
