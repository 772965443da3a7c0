//! Resource quantities (`500m`, `1Gi`, `2e3`): exact arithmetic, and the canonical text that upstream stores.
//!
//! A quantity is a whole number times a power of ten, never finer than a billionth. Everything within 38 digits is
//! exact; arithmetic beyond saturates. Parsing, rounding (away from zero) and the choice of suffix follow
//! apimachinery's `resource.Quantity`.

use std::cmp::Ordering;
use std::fmt;

use compact_str::CompactString;

/// How a quantity was written, which its canonical text keeps to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `12e6`.
    DecimalExponent,
    /// `12Mi`.
    BinarySi,
    /// `12M`, `12`, `120m`.
    #[default]
    DecimalSi,
}

/// An exact amount. Equality and order are of the amounts: `1` equals `1000m`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    // value = mantissa * 10^exponent, exponent >= NANO. Mantissas keep no trailing zeros above exponent 0's worth:
    // see `normal`, which makes exponents equal wherever 128 bits allow it.
    mantissa: i128,
    exponent: i32,
    format: Format,
}

/// Why a text is no quantity; the words are upstream's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// The text has not the shape of one.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// The number does not parse, or has more than 38 digits.
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    /// There is no such suffix.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

const NANO: i32 = -9;
const SUFFIXES: &[(&str, u32, i32, Format)] = &[
    ("", 10, 0, Format::DecimalSi),
    ("m", 10, -3, Format::DecimalSi),
    ("Ki", 2, 10, Format::BinarySi),
    ("Mi", 2, 20, Format::BinarySi),
    ("Gi", 2, 30, Format::BinarySi),
    ("Ti", 2, 40, Format::BinarySi),
    ("Pi", 2, 50, Format::BinarySi),
    ("Ei", 2, 60, Format::BinarySi),
    ("n", 10, -9, Format::DecimalSi),
    ("u", 10, -6, Format::DecimalSi),
    ("k", 10, 3, Format::DecimalSi),
    ("M", 10, 6, Format::DecimalSi),
    ("G", 10, 9, Format::DecimalSi),
    ("T", 10, 12, Format::DecimalSi),
    ("P", 10, 15, Format::DecimalSi),
    ("E", 10, 18, Format::DecimalSi),
];

/// A text taken apart.
struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    base: u32,
    exponent: i32,
    format: Format,
}

fn take_apart(text: &str) -> Result<Parts<'_>, QuantityError> {
    if text.is_empty() {
        return Err(QuantityError::Format);
    }
    let (negative, rest) = match text.as_bytes()[0] {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let rest = rest.trim_start_matches('0');
    let (whole, rest) = rest.split_at(digits(rest));
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(digits(rest)),
        None => ("", rest),
    };
    // Letters, then a sign, then digits: nothing else belongs in a suffix.
    let letters = suffix.bytes().take_while(|b| b"eEinumkKMGTP".contains(b)).count();
    let mut tail = &suffix.as_bytes()[letters..];
    if let Some((b'+' | b'-', after)) = tail.split_first() {
        tail = after;
    }
    if !tail.iter().all(u8::is_ascii_digit) {
        return Err(QuantityError::Format);
    }
    let (base, exponent, format) = suffix_meaning(suffix).ok_or(QuantityError::Suffix)?;
    Ok(Parts { negative, whole, fraction, base, exponent, format })
}

fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

fn suffix_meaning(suffix: &str) -> Option<(u32, i32, Format)> {
    if let Some((_, base, exponent, format)) = SUFFIXES.iter().find(|(s, ..)| *s == suffix) {
        return Some((*base, *exponent, *format));
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?;
    Some((10, exponent.parse().ok()?, Format::DecimalExponent))
}

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self { mantissa: 0, exponent: 0, format: Format::DecimalSi };

    /// So many whole units (`3`).
    #[must_use]
    pub const fn from_units(units: i64) -> Self {
        Self { mantissa: units as i128, exponent: 0, format: Format::DecimalSi }
    }

    /// So many thousandths (`300m`).
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self { mantissa: millis as i128, exponent: -3, format: Format::DecimalSi }
    }

    /// So many bytes, written with binary suffixes (`64Mi`).
    #[must_use]
    pub const fn from_bytes(bytes: i64) -> Self {
        Self { mantissa: bytes as i128, exponent: 0, format: Format::BinarySi }
    }

    /// A quantity as users write them.
    /// # Errors
    /// [`QuantityError`], whose text is what the user is told.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let parts = take_apart(text)?;
        let mut mantissa: i128 = 0;
        for digit in parts.whole.bytes().chain(parts.fraction.bytes()) {
            mantissa = mantissa
                .checked_mul(10)
                .and_then(|m| m.checked_add(i128::from(digit - b'0')))
                .ok_or(QuantityError::Numeric)?;
        }
        let fraction_digits = i32::try_from(parts.fraction.len()).map_err(|_| QuantityError::Numeric)?;
        let mut exponent = -fraction_digits;
        if parts.base == 10 {
            exponent = exponent.checked_add(parts.exponent).ok_or(QuantityError::Numeric)?;
        } else {
            mantissa = mantissa.checked_mul(1 << parts.exponent).ok_or(QuantityError::Numeric)?;
        }
        // Rounded away from zero to a billionth: who asks for a little gets a little.
        let (mantissa, exponent) =
            if exponent < NANO { (scaled_up(mantissa, exponent, NANO), NANO) } else { (mantissa, exponent) };
        let mut quantity = Self { mantissa, exponent, format: parts.format }.normal();
        if parts.format == Format::BinarySi {
            if quantity > Self::from_units(i64::MAX) {
                quantity = Self { format: Format::BinarySi, ..Self::from_units(i64::MAX) };
            }
            if mantissa != 0 && quantity < Self::from_units(1) {
                quantity.format = Format::DecimalSi;
            }
        }
        if parts.negative {
            quantity.mantissa = -quantity.mantissa;
        }
        Ok(quantity)
    }

    /// The text that upstream stores for `text`: canonical, but for those texts that its parser keeps as they are
    /// (`1.500`, `+5`).
    /// # Errors
    /// [`QuantityError`], whose text is what the user is told.
    pub fn canonical(text: &str) -> Result<CompactString, QuantityError> {
        let quantity = Self::parse(text)?;
        if text == "0" || Self::kept_as_written(text) { Ok(text.into()) } else { Ok(quantity.to_text()) }
    }

    // Upstream's shortcut: numbers of up to 18 digits whose scale is a multiple of three and that end not in three
    // zeros are taken to be canonical already.
    fn kept_as_written(text: &str) -> bool {
        let Ok(parts) = take_apart(text) else { return false };
        let count = (parts.whole.len().max(1) + parts.fraction.len()) as i32;
        match parts.format {
            Format::BinarySi => {
                let low = parts
                    .whole
                    .bytes()
                    .rev()
                    .take(3)
                    .enumerate()
                    .fold(0, |sum, (place, digit)| sum + u32::from(digit - b'0') * 10_u32.pow(place as u32));
                parts.fraction.is_empty()
                    && 15 - count - (parts.exponent * 3 / 10) > 0
                    // A number's value modulo 8 is that of its last three digits.
                    && low % 8 != 0
            }
            Format::DecimalSi | Format::DecimalExponent => {
                let scale = parts.exponent.saturating_sub(parts.fraction.len() as i32);
                let zeros = parts.whole.bytes().chain(parts.fraction.bytes()).rev().take_while(|b| *b == b'0').count();
                count <= 18 && scale >= NANO && scale % 3 == 0 && zeros < 3 && !parts.whole.is_empty()
            }
        }
    }

    /// How it is written.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// The same amount, written otherwise.
    #[must_use]
    pub const fn with_format(self, format: Format) -> Self {
        Self { format, ..self }
    }

    /// Whether it is nothing.
    #[must_use]
    pub const fn is_zero(&self) -> bool {
        self.mantissa == 0
    }

    /// -1, 0 or 1.
    #[must_use]
    pub const fn sign(&self) -> i32 {
        self.mantissa.signum() as i32
    }

    /// Whole units, rounded up (away from zero), held to what 64 bits take.
    #[must_use]
    pub fn value(&self) -> i64 {
        self.scaled(0)
    }

    /// Thousandths, rounded up (away from zero), held to what 64 bits take.
    #[must_use]
    pub fn milli_value(&self) -> i64 {
        self.scaled(-3)
    }

    /// Multiples of 10^`exponent`, rounded away from zero, held to what 64 bits take.
    #[must_use]
    pub fn scaled(&self, exponent: i32) -> i64 {
        let exact = scaled_up(self.mantissa, self.exponent, exponent);
        i64::try_from(exact).unwrap_or(if exact < 0 { i64::MIN } else { i64::MAX })
    }

    /// As a floating-point number, which may round.
    #[must_use]
    pub fn to_f64(&self) -> f64 {
        self.mantissa as f64 * 10_f64.powi(self.exponent)
    }

    /// Whether nothing is lost in whole units.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.exponent >= 0 || self.mantissa % pow10(-self.exponent) == 0
    }

    /// The canonical text.
    #[must_use]
    pub fn to_text(&self) -> CompactString {
        use fmt::Write;
        if self.mantissa == 0 {
            return CompactString::const_new("0");
        }
        let mut out = CompactString::const_new("");
        let format = self.text_format();
        if format == Format::BinarySi {
            let mut number = scaled_up(self.mantissa, self.exponent, 0);
            let mut power = 0;
            while number % 1024 == 0 && power < 60 {
                number /= 1024;
                power += 10;
            }
            let suffix = SUFFIXES.iter().find(|s| s.1 == 2 && s.2 == power).map_or("", |s| s.0);
            write!(out, "{number}{suffix}").expect("writing to a text cannot fail");
            return out;
        }
        // The largest exponent that is a multiple of three and leaves a whole number.
        let (mut number, mut exponent) = (self.mantissa, self.exponent);
        while number % 10 == 0 {
            number /= 10;
            exponent += 1;
        }
        let down = exponent.rem_euclid(3);
        number = number.saturating_mul(pow10(down));
        exponent -= down;
        write!(out, "{number}").expect("writing to a text cannot fail");
        match format {
            Format::DecimalSi => match SUFFIXES.iter().find(|s| s.1 == 10 && s.2 == exponent) {
                Some((suffix, ..)) => out.push_str(suffix),
                // There is no suffix so large: the number is written out.
                None => (18..exponent).step_by(3).fold((), |(), _| out.push_str("000")),
            },
            _ if exponent == 0 => {}
            _ => write!(out, "e{exponent}").expect("writing to a text cannot fail"),
        }
        if format == Format::DecimalSi && exponent > 18 {
            out.push('E');
        }
        out
    }

    fn text_format(&self) -> Format {
        if self.format != Format::BinarySi {
            return self.format;
        }
        let small = *self > Self::from_units(-1024) && *self < Self::from_units(1024);
        if small || !self.is_whole() { Format::DecimalSi } else { Format::BinarySi }
    }

    /// The sum; written as this is, unless this is nothing.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        let (a, b, exponent) = aligned(self, other);
        Self { mantissa: a.saturating_add(b), exponent, format }.normal()
    }

    /// The difference; written as this is, unless this is nothing.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        self.plus(Self { mantissa: -other.mantissa, ..other })
    }

    /// A whole multiple.
    #[must_use]
    pub fn times(self, factor: i64) -> Self {
        Self { mantissa: self.mantissa.saturating_mul(factor.into()), ..self }.normal()
    }

    // One form per amount wherever it fits: exponents are multiples taken down to -9..=0 if 128 bits hold the digits.
    fn normal(self) -> Self {
        let mut out = self;
        while out.exponent > 0 {
            match out.mantissa.checked_mul(10) {
                Some(more) => {
                    out.mantissa = more;
                    out.exponent -= 1;
                }
                None => return out,
            }
            if out.mantissa == 0 {
                out.exponent = 0;
            }
        }
        while out.exponent < 0 && out.mantissa % 10 == 0 {
            out.mantissa /= 10;
            out.exponent += 1;
        }
        out
    }
}

const fn pow10(power: i32) -> i128 {
    10_i128.pow(power as u32)
}

/// `mantissa * 10^from` as a multiple of `10^to`, rounded away from zero, saturating.
fn scaled_up(mantissa: i128, from: i32, to: i32) -> i128 {
    if from >= to {
        let mut out = mantissa;
        for _ in to..from {
            if out == 0 || out == i128::MAX || out == i128::MIN {
                break;
            }
            out = out.saturating_mul(10);
        }
        return out;
    }
    let down = i64::from(to) - i64::from(from);
    if down > 38 {
        return mantissa.signum();
    }
    let unit = pow10(down as i32);
    let whole = mantissa / unit;
    if mantissa % unit == 0 { whole } else { whole + mantissa.signum() }
}

/// Both mantissas at the smaller exponent; saturating.
fn aligned(a: Quantity, b: Quantity) -> (i128, i128, i32) {
    let exponent = a.exponent.min(b.exponent);
    (scaled_up(a.mantissa, a.exponent, exponent), scaled_up(b.mantissa, b.exponent, exponent), exponent)
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        if self.exponent == other.exponent {
            return self.mantissa.cmp(&other.mantissa);
        }
        let (a, b, _) = aligned(*self, *other);
        match a.cmp(&b) {
            // Both beyond 38 digits on the same side: the one with the larger exponent is further out.
            Ordering::Equal if a == i128::MAX => self.exponent.cmp(&other.exponent),
            Ordering::Equal if a == i128::MIN => other.exponent.cmp(&self.exponent),
            order => order,
        }
    }
}

impl std::ops::Add for Quantity {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        self.plus(other)
    }
}

impl std::ops::Sub for Quantity {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self.minus(other)
    }
}

impl std::iter::Sum for Quantity {
    fn sum<I: Iterator<Item = Self>>(items: I) -> Self {
        items.fold(Self::ZERO, Self::plus)
    }
}

impl std::str::FromStr for Quantity {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        Self::parse(text)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        Quantity::canonical(text).unwrap().to_string()
    }

    #[test]
    fn canonical_texts_are_upstreams() {
        for (text, expected) in [
            ("0", "0"),
            ("0m", "0"),
            ("1000m", "1"),
            ("1500m", "1500m"),
            ("0.5", "500m"),
            ("1.5", "1500m"),
            ("1.500", "1.500"),
            ("100", "100"),
            ("1000", "1k"),
            ("1000k", "1M"),
            ("1024Ki", "1Mi"),
            ("1025Ki", "1025Ki"),
            ("1.5Gi", "1536Mi"),
            ("512Ki", "512Ki"),
            ("1Ki", "1Ki"),
            ("0.5Ki", "512"),
            ("0.1Ki", "102400m"),
            ("123456789", "123456789"),
            ("1e3", "1e3"),
            ("1000e0", "1e3"),
            ("12e7", "120e6"),
            ("1E", "1E"),
            ("0.1n", "1n"),
            ("-0.1n", "-1n"),
            ("-5Gi", "-5Gi"),
            ("100E", "100E"),
            ("2Ei", "2Ei"),
            ("9223372036854775807", "9223372036854775807"),
            ("128974848", "128974848"),
            ("123Mi", "123Mi"),
        ] {
            assert_eq!(canonical(text), expected, "{text}");
        }
        // Binary amounts are capped at 2^63-1.
        assert_eq!(Quantity::parse("100Ei").unwrap(), Quantity::from_units(i64::MAX));
    }

    #[test]
    fn what_is_no_quantity_is_told_why() {
        for (text, error) in [
            ("", QuantityError::Format),
            ("1.5.3", QuantityError::Format),
            ("1x", QuantityError::Format),
            ("1 Gi", QuantityError::Format),
            ("1Kii", QuantityError::Suffix),
            ("1mi", QuantityError::Suffix),
            ("1K", QuantityError::Suffix),
            ("abc", QuantityError::Format),
        ] {
            assert_eq!(Quantity::parse(text).unwrap_err(), error, "{text}");
        }
    }

    #[test]
    fn values_round_up() {
        let cpu = Quantity::parse("1500m").unwrap();
        assert_eq!((cpu.value(), cpu.milli_value()), (2, 1500));
        assert_eq!(Quantity::parse("-1500m").unwrap().value(), -2);
        assert_eq!(Quantity::parse("1n").unwrap().milli_value(), 1);
        assert_eq!(Quantity::parse("1Gi").unwrap().value(), 1 << 30);
        assert_eq!(Quantity::parse("100E").unwrap().value(), i64::MAX);
    }

    #[test]
    fn sums_keep_the_first_format_and_order_is_by_amount() {
        let sum = Quantity::parse("1Gi").unwrap() + Quantity::parse("512M").unwrap();
        assert_eq!(sum, Quantity::from_units((1 << 30) + 512_000_000));
        assert_eq!((Quantity::ZERO + Quantity::parse("1Mi").unwrap()).to_string(), "1Mi");
        assert_eq!((Quantity::parse("2").unwrap() - Quantity::parse("500m").unwrap()).to_string(), "1500m");
        assert!(Quantity::parse("1Gi").unwrap() > Quantity::parse("1G").unwrap());
        assert_eq!(Quantity::parse("1").unwrap(), Quantity::parse("1000m").unwrap());
        assert!(Quantity::parse("1e30").unwrap() > Quantity::parse("1e29").unwrap());
        assert!(Quantity::parse("1e60").unwrap() > Quantity::parse("1e50").unwrap());
        assert!(Quantity::parse("-1e60").unwrap() < Quantity::parse("-1e50").unwrap());
        assert_eq!(Quantity::from_millis(120), Quantity::parse("0.12").unwrap());
    }
}
