//! Paths: a subset of JSONPath (RFC 9535), from text to segments.
//!
//! `$` the event, `@` the row's element, `^` the element that encloses it; then `.name`, `['name']`, `["name"]`,
//! `[n]`, and `[*]` where rows come from. Filters, slices, unions and `..` would name several values; a column
//! holds one.

use std::sync::Arc;

use super::model::Base;

/// A path as typed, understood but not yet tied to a shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RawPath {
    pub base: Base,
    pub segments: Vec<Segment>,
    pub text: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    Name(String),
    Index(u32),
    /// `[*]`
    Each,
}

/// A mistake in a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    /// Byte of the path's text; may be its end.
    pub at: usize,
    pub message: String,
}

type Result<T> = std::result::Result<T, Mistake>;

/// `each`: the path says where rows come from, so `[*]` is welcome.
pub(super) fn parse(text: &str, each: bool) -> Result<RawPath> {
    let mut parser = Parser { text, at: 0, each };
    let base = parser.base()?;
    let mut segments = Vec::new();
    while let Some(segment) = parser.segment()? {
        segments.push(segment);
    }
    Ok(RawPath { base, segments, text: text.into() })
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    each: bool,
}

impl Parser<'_> {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at..).and_then(|rest| rest.chars().next())
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn wrong<T>(&self, at: usize, message: impl Into<String>) -> Result<T> {
        Err(Mistake { at, message: message.into() })
    }

    /// What stands here instead of `wanted`.
    fn expected<T>(&self, wanted: &str) -> Result<T> {
        match self.peek() {
            Some(c) => self.wrong(self.at, format!("expected {wanted}, found {c:?}")),
            None => self.wrong(self.at, format!("expected {wanted}, but the path ends")),
        }
    }

    fn base(&mut self) -> Result<Base> {
        let base = match self.peek() {
            Some('$') => Base::Event,
            Some('@') => Base::Element,
            Some('^') => Base::Parent,
            _ => return self.expected("$ (the event), @ (the row's element) or ^ (the enclosing element)"),
        };
        self.next();
        Ok(base)
    }

    fn segment(&mut self) -> Result<Option<Segment>> {
        match self.peek() {
            None => Ok(None),
            Some('.') => self.dotted().map(Some),
            Some('[') => self.bracket().map(Some),
            Some(_) => self.expected(". or ["),
        }
    }

    fn dotted(&mut self) -> Result<Segment> {
        let dot = self.at;
        self.next();
        match self.peek() {
            Some('.') => self.wrong(dot, ".. is not supported: a path names one place"),
            Some('*') => self.wrong(self.at, ".* is not supported: elements of an array are [*]"),
            Some(c) if first_of_name(c) => Ok(Segment::Name(self.name())),
            _ => self.expected("a name (one with other characters is written ['…'])"),
        }
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.peek().filter(|&c| first_of_name(c) || c.is_ascii_digit()) {
            name.push(c);
            self.next();
        }
        name
    }

    fn bracket(&mut self) -> Result<Segment> {
        self.next();
        self.blanks();
        let segment = match self.peek() {
            Some(quote @ ('\'' | '"')) => Segment::Name(self.quoted(quote)?),
            Some('*') => self.star()?,
            Some('0'..='9') => Segment::Index(self.index()?),
            Some('-') => return self.wrong(self.at, "counting from the end of an array is not supported"),
            Some('?') => return self.wrong(self.at, "filters are not supported"),
            _ => return self.expected("a number, a quoted name or *"),
        };
        self.blanks();
        match self.peek() {
            Some(']') => self.next(),
            Some(':') => return self.wrong(self.at, "slices are not supported"),
            Some(',') => {
                return self.wrong(self.at, "lists of names are not supported: a path names one place");
            }
            _ => return self.expected("]"),
        };
        Ok(segment)
    }

    fn blanks(&mut self) {
        while let Some(' ' | '\t' | '\n' | '\r') = self.peek() {
            self.next();
        }
    }

    fn star(&mut self) -> Result<Segment> {
        if !self.each {
            return self.wrong(self.at, "[*] belongs in \"each\": a column takes one value, as by [0]");
        }
        self.next();
        Ok(Segment::Each)
    }

    fn index(&mut self) -> Result<u32> {
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.next();
        }
        let digits = self.text.get(start..self.at).unwrap_or_default();
        if digits.len() > 1 && digits.starts_with('0') {
            return self.wrong(start, "a number in brackets has no leading zero");
        }
        match digits.parse() {
            Ok(index) if index < u32::MAX => Ok(index),
            _ => self.wrong(start, "this number is too large"),
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String> {
        let start = self.at;
        self.next();
        let mut name = String::new();
        loop {
            let at = self.at;
            match self.next() {
                None => return self.wrong(start, format!("the name in {quote} does not end")),
                Some(c) if c == quote => return Ok(name),
                Some('\\') => name.push(self.escape(quote, at)?),
                Some(c) if c < ' ' => return self.wrong(at, "a control character must be escaped"),
                Some(c) => name.push(c),
            }
        }
    }

    /// After the backslash at `at`.
    fn escape(&mut self, quote: char, at: usize) -> Result<char> {
        Ok(match self.next() {
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some(c @ ('/' | '\\')) => c,
            Some(c) if c == quote => c,
            Some('u') => return self.unicode(at),
            _ => {
                return self
                    .wrong(at, "unknown escape; valid: \\b \\f \\n \\r \\t \\/ \\\\ \\uXXXX and the quote");
            }
        })
    }

    fn unicode(&mut self, at: usize) -> Result<char> {
        let high = self.hex()?;
        let code = match high {
            0xD800..0xDC00 if self.next() == Some('\\') && self.next() == Some('u') => match self.hex()? {
                low @ 0xDC00..0xE000 => 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00),
                _ => high,
            },
            _ => high,
        };
        match char::from_u32(code) {
            Some(c) => Ok(c),
            None => self.wrong(at, "half of a surrogate pair"),
        }
    }

    fn hex(&mut self) -> Result<u32> {
        let mut code = 0;
        for _ in 0..4 {
            match self.peek().and_then(|c| c.to_digit(16)) {
                Some(digit) => code = code * 16 + digit,
                None => return self.expected("four hex digits"),
            }
            self.next();
        }
        Ok(code)
    }
}

/// RFC 9535 `name-first`.
fn first_of_name(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::Segment::{Each, Index, Name};
    use super::*;

    fn name(n: &str) -> Segment {
        Name(n.into())
    }

    fn segments(text: &str) -> Vec<Segment> {
        parse(text, true).unwrap().segments
    }

    #[test]
    fn understands_the_subset() {
        assert_eq!(segments("$"), []);
        assert_eq!(segments("$.a.b_1"), [name("a"), name("b_1")]);
        assert_eq!(segments("$[*][0][4294967294]"), [Each, Index(0), Index(u32::MAX - 1)]);
        assert_eq!(segments("$['a b'][ \"c\" ]"), [name("a b"), name("c")]);
        assert_eq!(segments("$.é['']"), [name("é"), name("")]);
        assert_eq!(segments(r"$['\'\n\\\/']"), [name("'\n\\/")]);
        assert_eq!(segments(r#"$["\"\u00e9\uD83D\uDE00"]"#), [name("\"é😀")]);
        assert_eq!(parse("@", false).unwrap().base, Base::Element);
        assert_eq!(parse("^.a", false).unwrap().base, Base::Parent);
    }

    #[test]
    fn says_where_and_what() {
        let wrong = |text: &str, at: usize, part: &str| {
            let mistake = parse(text, true).unwrap_err();
            assert_eq!(mistake.at, at, "{text}: {}", mistake.message);
            assert!(mistake.message.contains(part), "{text}: {}", mistake.message);
        };
        wrong("", 0, "expected $");
        wrong("order_id", 0, "expected $");
        wrong("$x", 1, "expected . or [");
        wrong("$.", 2, "expected a name");
        wrong("$.1", 2, "expected a name");
        wrong("$..a", 1, ".. is not supported");
        wrong("$.*", 2, "[*]");
        wrong("$.a-b", 3, "expected . or [");
        wrong("$[", 2, "expected a number");
        wrong("$[1", 3, "expected ]");
        wrong("$[01]", 2, "leading zero");
        wrong("$[-1]", 2, "from the end");
        wrong("$[1:2]", 3, "slices");
        wrong("$['a','b']", 5, "one place");
        wrong("$[?@.a]", 2, "filters");
        wrong("$[4294967295]", 2, "too large");
        wrong("$[99999999999999999999]", 2, "too large");
        wrong("$['a", 2, "does not end");
        wrong("$['a\u{1}']", 4, "control");
        wrong(r"$['\x']", 3, "unknown escape");
        wrong(r#"$['\"']"#, 3, "unknown escape");
        wrong(r"$['\u12']", 7, "hex");
        wrong(r"$['\uD800']", 3, "surrogate");
        wrong(r"$['\uD800\u0041']", 3, "surrogate");
        let star = parse("$.a[*]", false).unwrap_err();
        assert_eq!((star.at, star.message.contains("each")), (4, true));
    }
}
