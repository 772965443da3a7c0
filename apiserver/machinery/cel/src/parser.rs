//! From tokens to an expression: the grammar of CEL's language definition by recursive descent, macros expanded on the way.

use crate::ast::{DEPTH_MAX, Each, Expr, Operator};
use crate::functions::Function;
use crate::lexer::{Placed, Token, Wrong, tokens};
use crate::value::Value;
use crate::{CompileError, Parsed};

/// Names that cannot be identifiers.
const RESERVED: &[&str] = &[
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// Whether a variable may have this name.
#[must_use]
pub fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !matches!(text, "true" | "false" | "null")
        && !RESERVED.contains(&text)
}

/// How deep brackets may nest: each level takes the parser some fifteen calls.
const NESTING_MAX: usize = 64;

/// The expression of a text.
pub(crate) fn parse(text: &str) -> Result<Parsed, CompileError> {
    let root = tokens(text).and_then(|tokens| {
        let mut parser = Parser { text, tokens, at: 0, depth: 0 };
        let (root, _) = parser.expression()?;
        match parser.peek() {
            Token::End => Ok(root),
            _ => Err(parser.unexpected("<EOF>")),
        }
    });
    root.map(|root| Parsed { root }).map_err(|(why, at)| {
        let before = &text[..at];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        CompileError::Syntax { line, column, why }
    })
}

struct Parser<'t> {
    text: &'t str,
    tokens: Vec<Placed>,
    at: usize,
    /// How deep the parser itself is.
    depth: usize,
}

/// An expression and how deep it is.
type Deep = (Expr, usize);

impl Parser<'_> {
    fn peek(&self) -> &Token {
        &self.tokens[self.at].0
    }

    fn next(&mut self) -> Token {
        let token = self.tokens[self.at].0.clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn wrong<T>(&self, why: impl Into<String>) -> Result<T, Wrong> {
        Err((why.into(), self.tokens[self.at].1))
    }

    fn unexpected(&self, expected: &str) -> Wrong {
        let (token, at) = &self.tokens[self.at];
        let shown = token.shown(self.text, *at);
        let why = match expected {
            "<EOF>" => format!("extraneous input '{shown}' expecting <EOF>"),
            _ => format!("mismatched input '{shown}' expecting {expected}"),
        };
        (why, *at)
    }

    fn takes(&mut self, sign: &str) -> bool {
        let is = matches!(self.peek(), Token::Sign(here) if *here == sign);
        if is {
            self.next();
        }
        is
    }

    fn expect(&mut self, sign: &str) -> Result<(), Wrong> {
        if self.takes(sign) { Ok(()) } else { Err(self.unexpected(&format!("'{sign}'"))) }
    }

    /// One level up, if that is not too many.
    fn over(&self, depth: usize, expr: Expr) -> Result<Deep, Wrong> {
        if depth >= DEPTH_MAX {
            return self.wrong(format!("expression recursion limit exceeded: {DEPTH_MAX}"));
        }
        Ok((expr, depth + 1))
    }

    /// `condition ? this : that`, or less.
    fn expression(&mut self) -> Result<Deep, Wrong> {
        self.depth += 1;
        if self.depth > NESTING_MAX {
            return self.wrong(format!("expression recursion limit exceeded: {DEPTH_MAX}"));
        }
        let (condition, depth) = self.or()?;
        let found = if self.takes("?") {
            let (this, a) = self.or()?;
            self.expect(":")?;
            let (that, b) = self.expression()?;
            self.over(depth.max(a).max(b), Expr::Choose(Box::new([condition, this, that])))
        } else {
            Ok((condition, depth))
        };
        self.depth -= 1;
        found
    }

    fn or(&mut self) -> Result<Deep, Wrong> {
        self.chain("||", Self::and, Expr::Or)
    }

    fn and(&mut self) -> Result<Deep, Wrong> {
        self.chain("&&", Self::relation, Expr::And)
    }

    /// A chain of one operator, as one list.
    fn chain(
        &mut self,
        sign: &str,
        part: fn(&mut Self) -> Result<Deep, Wrong>,
        all: fn(Vec<Expr>) -> Expr,
    ) -> Result<Deep, Wrong> {
        let (first, mut depth) = part(self)?;
        let mut parts = vec![first];
        while self.takes(sign) {
            let (next, deep) = part(self)?;
            depth = depth.max(deep);
            parts.push(next);
        }
        match parts.len() {
            1 => Ok((parts.remove(0), depth)),
            _ => self.over(depth, all(parts)),
        }
    }

    fn relation(&mut self) -> Result<Deep, Wrong> {
        self.binary(Self::sum, |token| {
            Some(match token {
                Token::Sign("==") => Operator::Equal,
                Token::Sign("!=") => Operator::NotEqual,
                Token::Sign("<") => Operator::Less,
                Token::Sign("<=") => Operator::LessOrEqual,
                Token::Sign(">") => Operator::Greater,
                Token::Sign(">=") => Operator::GreaterOrEqual,
                Token::Name(name) if &**name == "in" => Operator::In,
                _ => return None,
            })
        })
    }

    fn sum(&mut self) -> Result<Deep, Wrong> {
        self.binary(Self::product, |token| {
            Some(match token {
                Token::Sign("+") => Operator::Add,
                Token::Sign("-") => Operator::Subtract,
                _ => return None,
            })
        })
    }

    fn product(&mut self) -> Result<Deep, Wrong> {
        self.binary(Self::unary, |token| {
            Some(match token {
                Token::Sign("*") => Operator::Multiply,
                Token::Sign("/") => Operator::Divide,
                Token::Sign("%") => Operator::Remainder,
                _ => return None,
            })
        })
    }

    fn binary(
        &mut self,
        part: fn(&mut Self) -> Result<Deep, Wrong>,
        operator: fn(&Token) -> Option<Operator>,
    ) -> Result<Deep, Wrong> {
        let (mut left, mut depth) = part(self)?;
        while let Some(operator) = operator(self.peek()) {
            self.next();
            let (right, deep) = part(self)?;
            (left, depth) = self.over(depth.max(deep), Expr::Binary(operator, Box::new(left), Box::new(right)))?;
        }
        Ok((left, depth))
    }

    fn unary(&mut self) -> Result<Deep, Wrong> {
        let mut signs = Vec::new();
        while let Token::Sign(sign @ ("!" | "-")) = *self.peek() {
            self.next();
            signs.push(sign);
        }
        if signs.windows(2).any(|pair| pair[0] != pair[1]) {
            return self.wrong("'!' and '-' do not mix");
        }
        // The sign of the least whole number belongs to it.
        if let (Some(&"-"), Token::Int(digits)) = (signs.last(), self.peek()) {
            let least = 0_i64.checked_sub_unsigned(*digits);
            let Some(value) = least else { return self.wrong("invalid int literal") };
            signs.pop();
            self.next();
            let deep = self.members((Expr::Literal(Value::Int(value)), 1))?;
            return self.signed(deep, &signs);
        }
        let deep = self.member()?;
        self.signed(deep, &signs)
    }

    /// Signs cancel in pairs.
    fn signed(&self, (operand, depth): Deep, signs: &[&str]) -> Result<Deep, Wrong> {
        match signs {
            [] => Ok((operand, depth)),
            signs if signs.len() % 2 == 0 => {
                // Twice, so that what it is applied to must still be of the right type.
                let inner = self.signed((operand, depth), &signs[..1])?;
                self.signed(inner, &signs[..1])
            }
            ["!", ..] => self.over(depth, Expr::Not(Box::new(operand))),
            _ => self.over(depth, Expr::Negate(Box::new(operand))),
        }
    }

    fn member(&mut self) -> Result<Deep, Wrong> {
        let primary = self.primary()?;
        self.members(primary)
    }

    fn members(&mut self, (mut operand, mut depth): Deep) -> Result<Deep, Wrong> {
        loop {
            if self.takes(".") {
                let optional = self.takes("?");
                let field: Box<str> = match self.next() {
                    Token::Name(name) if !matches!(&*name, "true" | "false" | "null" | "in") => name,
                    Token::Quoted(name) => name,
                    _ => {
                        self.at = self.at.saturating_sub(1);
                        return Err(self.unexpected("IDENTIFIER"));
                    }
                };
                (operand, depth) = if !optional && self.takes("(") {
                    let (arguments, deep) = self.arguments(")")?;
                    let call = self.method(operand, &field, arguments)?;
                    self.over(depth.max(deep), call)?
                } else {
                    self.over(depth, Expr::Select { operand: Box::new(operand), field, optional })?
                };
            } else if self.takes("[") {
                let optional = self.takes("?");
                let (key, deep) = self.expression()?;
                self.expect("]")?;
                let index = Expr::Index { operand: Box::new(operand), key: Box::new(key), optional };
                (operand, depth) = self.over(depth.max(deep), index)?;
            } else if let Some(name) = type_name(&operand)
                && self.takes("{")
            {
                let (fields, deep) = self.fields()?;
                let made = Expr::Call { name: format!("{name}{{}}").into(), function: None, arguments: fields };
                (operand, depth) = self.over(depth.max(deep), made)?;
            } else {
                return Ok((operand, depth));
            }
        }
    }

    /// What a message is made of, `field: value` by `field: value`: the values. No environment here has messages, so what
    /// is parsed is a call of something that is declared nowhere; policies, which have them, are parsed alone.
    fn fields(&mut self) -> Result<(Vec<Expr>, usize), Wrong> {
        let (mut values, mut depth) = (Vec::new(), 0);
        while !self.takes("}") {
            self.takes("?");
            let (Token::Name(_) | Token::Quoted(_)) = self.next() else {
                self.at = self.at.saturating_sub(1);
                return Err(self.unexpected("IDENTIFIER"));
            };
            self.expect(":")?;
            let (value, deep) = self.expression()?;
            depth = depth.max(deep);
            values.push(value);
            if !self.takes(",") {
                self.expect("}")?;
                break;
            }
        }
        Ok((values, depth))
    }

    fn arguments(&mut self, end: &str) -> Result<(Vec<Expr>, usize), Wrong> {
        let (mut all, mut depth) = (Vec::new(), 0);
        if self.takes(end) {
            return Ok((all, depth));
        }
        loop {
            let (argument, deep) = self.expression()?;
            depth = depth.max(deep);
            all.push(argument);
            if !self.takes(",") {
                self.expect(end)?;
                return Ok((all, depth));
            }
        }
    }

    fn primary(&mut self) -> Result<Deep, Wrong> {
        if let Some(literal) = self.peek().literal() {
            self.next();
            return Ok((Expr::Literal(literal), 1));
        }
        match self.peek().clone() {
            Token::Int(digits) => {
                let Ok(value) = i64::try_from(digits) else { return self.wrong("invalid int literal") };
                self.next();
                Ok((Expr::Literal(Value::Int(value)), 1))
            }
            Token::Sign("(") => {
                self.next();
                let inner = self.expression()?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Sign("[") => {
                self.next();
                self.list()
            }
            Token::Sign("{") => {
                self.next();
                self.map()
            }
            // A leading dot names from the root, which is where names are looked up anyway.
            Token::Sign(".") => {
                self.next();
                self.name()
            }
            Token::Name(_) => self.name(),
            _ => Err(self.unexpected("{'[', '{', '(', '.', '-', '!', LITERAL, IDENTIFIER}")),
        }
    }

    fn name(&mut self) -> Result<Deep, Wrong> {
        let Token::Name(name) = self.peek().clone() else { return Err(self.unexpected("IDENTIFIER")) };
        if RESERVED.contains(&&*name) {
            return self.wrong(format!("reserved identifier: {name}"));
        }
        self.next();
        if !self.takes("(") {
            return Ok((Expr::Name(name), 1));
        }
        let (mut arguments, depth) = self.arguments(")")?;
        let call = if &*name == "has" && arguments.len() == 1 {
            match arguments.remove(0) {
                Expr::Select { operand, field, optional: false } => Expr::Has { operand, field },
                _ => return self.wrong("invalid argument to has() macro"),
            }
        } else {
            Expr::Call { function: Function::find(&name, false, arguments.len()), name, arguments }
        };
        self.over(depth, call)
    }

    fn list(&mut self) -> Result<Deep, Wrong> {
        let (mut items, mut depth) = (Vec::new(), 0);
        while !self.takes("]") {
            let optional = self.takes("?");
            let (item, deep) = self.expression()?;
            depth = depth.max(deep);
            items.push((optional, item));
            if !self.takes(",") {
                self.expect("]")?;
                break;
            }
        }
        self.over(depth, Expr::List(items))
    }

    fn map(&mut self) -> Result<Deep, Wrong> {
        let (mut entries, mut depth) = (Vec::new(), 0);
        while !self.takes("}") {
            let optional = self.takes("?");
            let (key, a) = self.expression()?;
            self.expect(":")?;
            let (value, b) = self.expression()?;
            depth = depth.max(a).max(b);
            entries.push((optional, key, value));
            if !self.takes(",") {
                self.expect("}")?;
                break;
            }
        }
        self.over(depth, Expr::Map(entries))
    }

    /// A call on something: a macro, a function of a library's name space, or a method.
    fn method(&self, operand: Expr, name: &str, mut arguments: Vec<Expr>) -> Result<Expr, Wrong> {
        let variable = |argument: &Expr| match argument {
            Expr::Name(name) => Ok(name.clone()),
            _ => self.wrong("argument must be a simple name"),
        };
        let each = match (name, arguments.len()) {
            ("all", 2) => Some(Each::All),
            ("exists", 2) => Some(Each::Exists),
            ("exists_one" | "existsOne", 2) => Some(Each::ExistsOne),
            ("map", 2 | 3) => Some(Each::Map),
            ("filter", 2) => Some(Each::Filter),
            _ => None,
        };
        if let Some(kind) = each {
            let variable = variable(&arguments[0])?;
            let body = Box::new(arguments.pop().unwrap_or(Expr::Literal(Value::Null)));
            let filter = (arguments.len() == 2).then(|| arguments.pop().map(Box::new)).flatten();
            return Ok(Expr::Each { kind, range: Box::new(operand), variable, filter, body });
        }
        if let ("optMap" | "optFlatMap", [named, body]) = (name, &*arguments) {
            let flat = name == "optFlatMap";
            let (name, body) = (variable(named)?, Box::new(body.clone()));
            return Ok(Expr::OptionalMap { operand: Box::new(operand), name, body, flat });
        }
        if let Expr::Name(space) = &operand {
            if let ("cel", "bind", [named, value, body]) = (&**space, name, &*arguments) {
                let (value, body) = (Box::new(value.clone()), Box::new(body.clone()));
                return Ok(Expr::Bind { name: variable(named)?, value, body });
            }
            let full = format!("{space}.{name}");
            if let Some(function) = Function::find(&full, false, arguments.len()) {
                return Ok(Expr::Call { name: full.into(), function: Some(function), arguments });
            }
        }
        arguments.insert(0, operand);
        let function = Function::find(name, true, arguments.len());
        Ok(Expr::Call { name: name.into(), function, arguments })
    }
}

/// The name of a type, with its dots, if that is what an expression may be.
fn type_name(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Name(name) => Some(name.to_string()),
        Expr::Select { operand, field, optional: false } => Some(format!("{}.{field}", type_name(operand)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_an_expression_parses_and_what_is_none_does_not() {
        for good in [
            "true",
            "device.attributes['a.example'].size == \"(\" && x[0] in [1, 2]",
            r#"r"\" + 'it\'s' + """a "quoted" text""" // a comment ("#,
            "{'a': 1}.a > 0 ? '#' : \"$\"",
            "has(a.b.c) || !a.all(x, x > -9223372036854775808)",
            "a.?b[?0].orValue({?'x': y}) == .z.`odd-name`",
            "- -1 == 0x1F + 1.5e-3 + 2u + b'\\x00'.size()",
            "cel.bind(d, device.attributes['x'], d.a && d.b)",
            "a ? b : c ? d : e",
            "[1, 2,]",
            r#"Object{spec: Object.spec{replicas: 1, ?x: optional.of(2)}}"#,
            r#"[JSONPatch{op: "add", path: "/a", value: "b"}]"#,
        ] {
            assert!(parse(good).is_ok(), "{good}: {:?}", parse(good).err());
        }
        for bad in [
            "",
            "  \n",
            "(a",
            "a)",
            "[1, 2)",
            "'open",
            "\"a\nb\"",
            "a # b",
            "'''x''",
            "a b",
            "1 +",
            "has(a)",
            "a.all(1, b)",
            "9223372036854775808",
            "a..b",
            "for",
            "'\\q'",
            "!-a",
            "{1}",
            "a ? b",
            "'\\xZZ'",
            "'\\ud800'",
            "0x",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let error = parse("a &&\n  )").unwrap_err().to_string();
        assert!(
            error.starts_with("compilation failed: ERROR: <input>:2:3: Syntax error: mismatched input ')'"),
            "{error}"
        );
    }

    #[test]
    fn however_deep_a_text_nests_the_parser_does_not() {
        let levels = 5000;
        for (open, middle, close) in [
            ("(", "a", ")"),
            ("[", "", "]"),
            ("!", "a", ""),
            ("a ? b : ", "c", ""),
            ("a.b(", "c", ")"),
            ("{1:", "a", "}"),
        ] {
            let _ = parse(&format!("{}{middle}{}", open.repeat(levels), close.repeat(levels)));
        }
        assert!(parse(&format!("a{}", ".b".repeat(levels))).is_err());
        assert!(parse(&format!("a{}", " + 1".repeat(levels))).is_err());
        assert!(parse(&format!("a{}", " && a".repeat(levels))).is_ok(), "a chain is flat");
    }
}
