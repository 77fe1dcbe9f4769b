//! What a plain (unquoted) scalar means, to each of three readers.
//!
//! YAML 1.1, YAML 1.2 (core schema) and `kubectl` (whose YAML library follows 1.1 with exceptions of its own) disagree
//! on words such as `on`, `010` or `1_000`. A manifest is read as `kubectl` reads it; where the three differ, the
//! scalar is marked, so that the typed reading can refuse it instead of taking a side.
//!
//! The patterns of YAML 1.1 are those of its type repository, with the one correction that every implementation
//! makes: a float has at most one point (by the letter of the repository `192.0.2.1` would be a number).
// Long because: three readers of one grammar are compared line by line; apart they would drift.

use std::fmt;

use serde_json::{Number, Value};

/// The value that one reader gives to a plain scalar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reading {
    /// No value: an empty scalar, `~`, `null`.
    Null,
    /// True or false.
    Bool(bool),
    /// An integer that fits 64 bits with sign.
    Int(i64),
    /// An integer above the former that fits 64 bits without sign.
    Unsigned(u64),
    /// A number with a fraction or exponent, or one too large for the two above; infinite or not a number too.
    Float(f64),
    /// A date or time; text to `kubectl` and to YAML 1.2.
    Timestamp,
    /// The merge key `<<` or the default key `=` of YAML 1.1; text to the others (a merge *key* is refused elsewhere).
    Special,
    /// Text: the characters themselves.
    Text,
}

impl Reading {
    /// Whether two readers mean the same value.
    #[allow(clippy::float_cmp)] // why: the same characters, read by two readers; nothing was computed
    fn same(self, other: Self) -> bool {
        match (self, other) {
            (Self::Float(a), Self::Float(b)) => a == b || (a.is_nan() && b.is_nan()),
            (a, b) => a == b,
        }
    }

    /// The JSON value, or `None` where JSON has no such value (infinity, not a number). `text` is the scalar as written.
    pub fn to_json(self, text: &str) -> Option<Value> {
        Some(match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Int(value) => Value::from(value),
            Self::Unsigned(value) => Value::from(value),
            Self::Float(value) => Value::Number(json_number(value)?),
            Self::Timestamp | Self::Special | Self::Text => Value::from(text),
        })
    }

    /// Whether the value is a number.
    pub fn is_number(self) -> bool {
        matches!(self, Self::Int(_) | Self::Unsigned(_) | Self::Float(_))
    }

    /// Whether the value is text for JSON.
    pub fn is_text(self) -> bool {
        matches!(self, Self::Timestamp | Self::Special | Self::Text)
    }
}

/// A float as JSON carries it: whole numbers below 10^21 without fraction, as Go's encoder writes them, so that `1e3`
/// is accepted where an integer is wanted. `None` for what is not finite.
fn json_number(value: f64) -> Option<Number> {
    // why: 2^53; above it a float no longer names one integer, and the float itself is the honest value.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= EXACT {
        #[allow(clippy::cast_possible_truncation)] // why: whole, and within ±2^53
        return Some(Number::from(value as i64));
    }
    Number::from_f64(value)
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "the number {value}"),
            Self::Unsigned(value) => write!(f, "the number {value}"),
            Self::Float(value) => write!(f, "the number {value}"),
            Self::Timestamp => f.write_str("a timestamp"),
            Self::Special => f.write_str("a special key"),
            Self::Text => f.write_str("text"),
        }
    }
}

/// The three readings of one plain scalar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Readings {
    /// By the YAML 1.1 type repository.
    pub yaml11: Reading,
    /// By `kubectl`; this is the one that counts.
    pub kubectl: Reading,
    /// By the YAML 1.2 core schema.
    pub yaml12: Reading,
}

impl Readings {
    /// What a quoted scalar is to everyone: text.
    pub fn text() -> Self {
        Self {
            yaml11: Reading::Text,
            kubectl: Reading::Text,
            yaml12: Reading::Text,
        }
    }

    /// Reads `text`, a plain scalar after line folding.
    pub fn of(text: &str) -> Self {
        // why: most scalars are words or sentences, which all three take as text; this spares them the patterns.
        let first = text.bytes().next();
        if !matches!(
            first,
            None | Some(b'+' | b'-' | b'.' | b'~' | b'=' | b'<' | b'0'..=b'9')
        ) && text.len() > 5
        {
            return Self::text();
        }
        Self {
            yaml11: yaml11(text),
            kubectl: kubectl(text),
            yaml12: yaml12(text),
        }
    }

    /// Whether the readers differ.
    pub fn differ(self) -> bool {
        !self.yaml11.same(self.yaml12) || (!self.kubectl.same(self.yaml12) && !self.both_text())
    }

    /// Whether two readers see two different numbers.
    pub fn numbers_differ(self) -> bool {
        let readings = [self.yaml11, self.kubectl, self.yaml12];
        let mut numbers = readings
            .iter()
            .filter(|reading| reading.is_number())
            .map(|reading| reading.to_json(""));
        numbers.next().is_some_and(|first| numbers.any(|other| other != first))
    }

    /// A timestamp of 1.1 is text to kubectl; the difference between 1.1 and 1.2 has been looked at already.
    fn both_text(self) -> bool {
        self.kubectl.is_text() && self.yaml12.is_text()
    }

    /// Who reads what, for a message: `true in YAML 1.1, text in YAML 1.2`.
    pub fn describe(self) -> String {
        let old = if self.yaml11.same(self.yaml12) {
            self.kubectl
        } else {
            self.yaml11
        };
        let who = if self.yaml11.same(self.yaml12) {
            "to kubectl"
        } else {
            "in YAML 1.1"
        };
        format!("{old} {who}, {} in YAML 1.2", self.yaml12)
    }
}

/// The words that mean something to both versions.
fn shared_word(text: &str) -> Option<Reading> {
    Some(match text {
        "" | "~" | "null" | "Null" | "NULL" => Reading::Null,
        "true" | "True" | "TRUE" => Reading::Bool(true),
        "false" | "False" | "FALSE" => Reading::Bool(false),
        ".nan" | ".NaN" | ".NAN" => Reading::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Reading::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Reading::Float(f64::NEG_INFINITY),
        _ => return None,
    })
}

/// The words that mean something to YAML 1.1 alone.
fn old_word(text: &str) -> Option<Reading> {
    Some(match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Reading::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Reading::Bool(false),
        _ => return None,
    })
}

fn yaml12(text: &str) -> Reading {
    if let Some(word) = shared_word(text) {
        return word;
    }
    let radix = text
        .strip_prefix("0o")
        .map(|d| (d, 8))
        .or_else(|| text.strip_prefix("0x").map(|d| (d, 16)));
    if let Some((digits, radix)) = radix {
        return integer(false, digits, radix).unwrap_or(Reading::Text);
    }
    let (negative, body) = sign(text);
    integer(negative, body, 10)
        .or_else(|| float(text))
        .unwrap_or(Reading::Text)
}

fn yaml11(text: &str) -> Reading {
    if let Some(word) = shared_word(text).or_else(|| old_word(text)) {
        return word;
    }
    if matches!(text, "<<" | "=") {
        return Reading::Special;
    }
    let (negative, body) = sign(text);
    old_integer(negative, body)
        .or_else(|| old_float(negative, body))
        .or_else(|| sexagesimal(negative, body))
        .unwrap_or_else(|| {
            if is_timestamp(text) {
                Reading::Timestamp
            } else {
                Reading::Text
            }
        })
}

/// Integers of YAML 1.1: `0b1`, `0x1F`, `017`, `1_000`.
fn old_integer(negative: bool, body: &str) -> Option<Reading> {
    let starts_with_digit = body.starts_with(|c: char| c.is_ascii_digit());
    if !starts_with_digit || !body.bytes().all(|b| b.is_ascii_hexdigit() || matches!(b, b'_' | b'x')) {
        return None;
    }
    let bare: String = body.chars().filter(|&c| c != '_').collect();
    if let Some(digits) = bare.strip_prefix("0b") {
        return integer(negative, digits, 2);
    }
    if let Some(digits) = bare.strip_prefix("0x") {
        return integer(negative, digits, 16);
    }
    if bare.len() > 1 && bare.starts_with('0') {
        return integer(negative, &bare, 8);
    }
    integer(negative, &bare, 10)
}

/// Floats of YAML 1.1: one point at least, underscores anywhere after the first digit, an exponent with its sign.
fn old_float(negative: bool, body: &str) -> Option<Reading> {
    let (mantissa, exponent) = match body.find(['e', 'E']) {
        Some(at) => (&body[..at], Some(&body[at + 1..])),
        None => (body, None),
    };
    let (whole, fraction) = mantissa.split_once('.')?;
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    let signed = |e: &str| e.strip_prefix(['+', '-']).is_some_and(|d| !d.is_empty() && decimal(d));
    let has_digit = mantissa.bytes().any(|b| b.is_ascii_digit());
    if !has_digit
        || whole.starts_with('_')
        || !digits(whole)
        || !digits(fraction)
        || exponent.is_some_and(|e| !signed(e))
    {
        return None;
    }
    let bare: String = body.chars().filter(|&c| c != '_').collect();
    parse_float(negative, &bare)
}

/// Numbers to base 60 of YAML 1.1: `12:30:45`, `190:20:30.15`.
fn sexagesimal(negative: bool, body: &str) -> Option<Reading> {
    let (whole, fraction) = body
        .split_once('.')
        .map_or((body, None), |(whole, fraction)| (whole, Some(fraction)));
    let mut parts = whole.split(':');
    let first = parts.next()?;
    let leading = if fraction.is_some() { b'0'..=b'9' } else { b'1'..=b'9' };
    let opens = first.bytes().next().is_some_and(|b| leading.contains(&b));
    if !opens || !first.bytes().all(|b| b.is_ascii_digit() || b == b'_') {
        return None;
    }
    let mut value: f64 = first.replace('_', "").parse().ok()?;
    let mut places = 0;
    for part in parts {
        if part.is_empty() || part.len() > 2 || !decimal(part) || (part.len() == 2 && part.as_bytes()[0] > b'5') {
            return None;
        }
        value = value * 60.0 + part.parse::<f64>().ok()?;
        places += 1;
    }
    let fraction_fits = fraction.is_none_or(|f| f.bytes().all(|b| b.is_ascii_digit() || b == b'_'));
    if places == 0 || !fraction_fits {
        return None;
    }
    Some(Reading::Float(if negative { -value } else { value }))
}

/// Dates and times of YAML 1.1: `2001-12-14`, `2001-12-14t21:59:43.10-05:00`, `2001-12-14 21:59:43.10 -5`.
fn is_timestamp(text: &str) -> bool {
    let Some((date, rest)) = split_date(text) else {
        return false;
    };
    if rest.is_empty() {
        return date.len() == 10;
    }
    let clock = rest
        .strip_prefix(['t', 'T'])
        .unwrap_or_else(|| rest.trim_start_matches([' ', '\t']));
    if clock.len() == rest.len() {
        return false;
    }
    let Some(zone) = split_clock(clock) else { return false };
    let zone = zone.trim_start_matches([' ', '\t']);
    zone.is_empty() || zone == "Z" || is_zone(zone)
}

/// `YYYY-M-D` with one or two digits for month and day, and what follows.
fn split_date(text: &str) -> Option<(&str, &str)> {
    let (year, rest) = digits_at_most(text, 4)?;
    let (_, rest) = digits_at_most(rest.strip_prefix('-')?, 2)?;
    let (_, rest) = digits_at_most(rest.strip_prefix('-')?, 2)?;
    (year.len() == 4).then(|| text.split_at(text.len() - rest.len()))
}

/// `H:MM:SS` with a fraction or none; what follows.
fn split_clock(text: &str) -> Option<&str> {
    let (_, rest) = digits_at_most(text, 2)?;
    let (minutes, rest) = digits_at_most(rest.strip_prefix(':')?, 2)?;
    let (seconds, rest) = digits_at_most(rest.strip_prefix(':')?, 2)?;
    let rest = rest
        .strip_prefix('.')
        .map_or(rest, |f| f.trim_start_matches(|c: char| c.is_ascii_digit()));
    (minutes.len() == 2 && seconds.len() == 2).then_some(rest)
}

/// `-5`, `+05:30`.
fn is_zone(text: &str) -> bool {
    let Some(rest) = text.strip_prefix(['+', '-']) else {
        return false;
    };
    let Some((_, rest)) = digits_at_most(rest, 2) else {
        return false;
    };
    rest.is_empty() || rest.strip_prefix(':').is_some_and(|m| m.len() == 2 && decimal(m))
}

/// One to `most` leading digits, and what follows them.
fn digits_at_most(text: &str, most: usize) -> Option<(&str, &str)> {
    let length = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    (length > 0).then(|| text.split_at(length))
}

/// `kubectl`: the words of 1.1, Go's integer literals with underscores anywhere, decimal floats; no base 60.
fn kubectl(text: &str) -> Reading {
    if let Some(word) = shared_word(text).or_else(|| old_word(text)) {
        return word;
    }
    match text.bytes().next() {
        Some(b'.') => finite(float(text)),
        Some(b'0'..=b'9' | b'+' | b'-') => {
            if is_timestamp(text) {
                return Reading::Timestamp;
            }
            let bare: String = text.chars().filter(|&c| c != '_').collect();
            go_integer(&bare).unwrap_or_else(|| finite(float(&bare)))
        }
        _ => Reading::Text,
    }
}

/// Go's float parser refuses what overflows; such a scalar stays text.
fn finite(reading: Option<Reading>) -> Reading {
    match reading {
        Some(Reading::Float(value)) if value.is_finite() => Reading::Float(value),
        _ => Reading::Text,
    }
}

/// Integers as Go's `strconv.ParseInt(text, 0, 64)` reads them, a prefix telling the base; a leading 0 is octal.
fn go_integer(bare: &str) -> Option<Reading> {
    let (negative, body) = sign(bare);
    let prefix = body.get(..2).map(str::to_ascii_lowercase);
    match prefix.as_deref() {
        Some("0x") => integer(negative, &body[2..], 16),
        Some("0o") => integer(negative, &body[2..], 8),
        Some("0b") => {
            // why: the library retries `0b` with what follows as a number of its own, which may have a sign.
            let (inner, digits) = if bare.starts_with("0b") {
                sign(&body[2..])
            } else {
                (false, &body[2..])
            };
            integer(negative || inner, digits, 2)
        }
        _ if body.len() > 1 && body.starts_with('0') => integer(negative, body, 8),
        _ => integer(negative, body, 10),
    }
}

/// The sign in front, and the rest.
fn sign(text: &str) -> (bool, &str) {
    match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    }
}

/// A number that follows the grammar of JSON.
pub fn json_literal(text: &str) -> Option<Reading> {
    let (negative, body) = sign(text);
    integer(negative, body, 10).or_else(|| parse_float(negative, body))
}

/// Digits of one base, nothing else; an integer above 64 bits becomes a float, as it does on its way through JSON.
fn integer(negative: bool, digits: &str, radix: u32) -> Option<Reading> {
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let mut exact: Option<i128> = Some(0);
    let mut rough = 0.0_f64;
    for digit in digits.chars().filter_map(|c| c.to_digit(radix)) {
        exact = exact.and_then(|v| v.checked_mul(i128::from(radix))?.checked_add(i128::from(digit)));
        rough = rough * f64::from(radix) + f64::from(digit);
    }
    let exact = exact.map(|v| if negative { -v } else { v });
    Some(match exact {
        Some(value) => i64::try_from(value)
            .map(Reading::Int)
            .or_else(|_| u64::try_from(value).map(Reading::Unsigned))
            .unwrap_or(Reading::Float(if negative { -rough } else { rough })),
        None => Reading::Float(if negative { -rough } else { rough }),
    })
}

/// Decimal floats of YAML 1.2: `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`.
fn float(text: &str) -> Option<Reading> {
    let (negative, body) = sign(text);
    let (mantissa, exponent) = match body.find(['e', 'E']) {
        Some(at) => (&body[..at], Some(&body[at + 1..])),
        None => (body, None),
    };
    let fits = match mantissa.split_once('.') {
        Some(("", fraction)) => !fraction.is_empty() && decimal(fraction),
        Some((whole, fraction)) => decimal(whole) && decimal(fraction),
        None => !mantissa.is_empty() && decimal(mantissa),
    };
    let exponent_fits = exponent.is_none_or(|e| {
        let (_, digits) = sign(e);
        !digits.is_empty() && decimal(digits)
    });
    (fits && exponent_fits).then(|| parse_float(negative, body)).flatten()
}

fn parse_float(negative: bool, body: &str) -> Option<Reading> {
    let value: f64 = body.parse().ok()?;
    Some(Reading::Float(if negative { -value } else { value }))
}

fn decimal(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests;
