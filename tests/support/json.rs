//! A slow, plain JSON reader for the oracle: recursive, keeps every number as it was written, and shares no code
//! with the crate.

/// A value. Members stay in their order, duplicates included: who reads them says which one counts.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    /// The source text.
    Number(String),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// The deepest nesting that still counts as JSON here.
const DEPTH: usize = 128;

/// The document that `text` is, or `None` if it is not exactly one.
pub fn parse(text: &[u8]) -> Option<Json> {
    let mut reader = Reader { text: std::str::from_utf8(text).ok()?.chars().collect(), at: 0 };
    let value = reader.value(0)?;
    reader.white();
    (reader.at == reader.text.len()).then_some(value)
}

/// The documents that stand one after another in `text` (one document, NDJSON, concatenated), or the elements of
/// the arrays among them, each as its own bytes. `None` if something in between is no JSON.
pub fn documents(text: &str) -> Option<Vec<Vec<u8>>> {
    let mut reader = Reader { text: text.strip_prefix('\u{feff}').unwrap_or(text).chars().collect(), at: 0 };
    let mut found = Vec::new();
    loop {
        reader.white();
        if reader.at == reader.text.len() {
            return Some(found);
        }
        if reader.text[reader.at] == '[' {
            reader.elements(0, |reader, from| found.push(reader.since(from)))?;
        } else {
            let from = reader.at;
            reader.value(0)?;
            found.push(reader.since(from));
        }
    }
}

/// Finds where values end in bytes that may be anything: a byte counts as a character, so places are bytes.
pub struct Bytes(Reader);

impl Bytes {
    pub fn new(bytes: &[u8]) -> Bytes {
        Bytes(Reader { text: bytes.iter().map(|b| char::from(*b)).collect(), at: 0 })
    }

    /// The byte behind the value that begins at `from`, or `None` if none does. Whether its texts are UTF-8 is
    /// not looked at.
    pub fn value_end(&mut self, from: usize) -> Option<usize> {
        self.0.at = from;
        self.0.value(0)?;
        Some(self.0.at)
    }
}

struct Reader {
    text: Vec<char>,
    at: usize,
}

impl Reader {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    fn take(&mut self) -> Option<char> {
        self.at += 1;
        self.text.get(self.at - 1).copied()
    }

    fn since(&self, from: usize) -> Vec<u8> {
        self.text[from..self.at].iter().collect::<String>().into_bytes()
    }

    fn white(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\n' | '\r')) {
            self.at += 1;
        }
    }

    fn word(&mut self, word: &str) -> Option<()> {
        word.chars().all(|c| self.take() == Some(c)).then_some(())
    }

    fn value(&mut self, depth: usize) -> Option<Json> {
        self.white();
        match self.peek()? {
            'n' => self.word("null").map(|()| Json::Null),
            't' => self.word("true").map(|()| Json::Bool(true)),
            'f' => self.word("false").map(|()| Json::Bool(false)),
            '"' => self.string().map(Json::Text),
            '[' => {
                let mut all = Vec::new();
                self.elements_of(depth, |_, _, value| all.push(value))?;
                Some(Json::Array(all))
            }
            '{' => self.object(depth),
            _ => self.number().map(Json::Number),
        }
    }

    fn elements(&mut self, depth: usize, mut each: impl FnMut(&Reader, usize)) -> Option<()> {
        self.elements_of(depth, |reader, from, _| each(reader, from))
    }

    /// `each` sees where an element began, and the element, while the reader stands behind it.
    fn elements_of(&mut self, depth: usize, mut each: impl FnMut(&Reader, usize, Json)) -> Option<()> {
        if depth >= DEPTH {
            return None;
        }
        self.word("[")?;
        self.white();
        if self.peek()? == ']' {
            return self.word("]");
        }
        loop {
            self.white();
            let from = self.at;
            let value = self.value(depth + 1)?;
            each(self, from, value);
            self.white();
            match self.take()? {
                ',' => {}
                ']' => return Some(()),
                _ => return None,
            }
        }
    }

    fn object(&mut self, depth: usize) -> Option<Json> {
        if depth >= DEPTH {
            return None;
        }
        self.word("{")?;
        self.white();
        let mut members = Vec::new();
        if self.peek()? == '}' {
            self.at += 1;
            return Some(Json::Object(members));
        }
        loop {
            self.white();
            let name = self.string()?;
            self.white();
            self.word(":")?;
            members.push((name, self.value(depth + 1)?));
            self.white();
            match self.take()? {
                ',' => {}
                '}' => return Some(Json::Object(members)),
                _ => return None,
            }
        }
    }

    fn string(&mut self) -> Option<String> {
        self.word("\"")?;
        let mut out = String::new();
        loop {
            match self.take()? {
                '"' => return Some(out),
                '\\' => out.push(self.escape()?),
                c if c < ' ' => return None,
                c => out.push(c),
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        Some(match self.take()? {
            c @ ('"' | '\\' | '/') => c,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let first = self.four()?;
                if !(0xd800..0xdc00).contains(&first) {
                    return char::from_u32(first); // `None` for a lone low surrogate
                }
                self.word("\\u")?;
                let second = self.four()?;
                if !(0xdc00..0xe000).contains(&second) {
                    return None;
                }
                char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))?
            }
            _ => return None,
        })
    }

    fn four(&mut self) -> Option<u32> {
        (0..4).try_fold(0, |n, _| Some(n * 16 + self.take()?.to_digit(16)?))
    }

    fn number(&mut self) -> Option<String> {
        let from = self.at;
        while matches!(self.peek(), Some('0'..='9' | '+' | '-' | '.' | 'e' | 'E')) {
            self.at += 1;
        }
        let text: String = self.text[from..self.at].iter().collect();
        Number::read(&text).map(|_| text)
    }
}

/// A number as JSON writes it, taken apart. `"010"`, `"+1"`, `".5"` and `" 1"` are none.
#[derive(Debug, Clone, PartialEq)]
pub struct Number {
    pub negative: bool,
    /// All digits before and after the point.
    pub digits: String,
    /// How many places the point stands before the end of `digits`; negative: zeros are missing.
    pub places: i64,
}

impl Number {
    /// As a numeric string may write it: with a plus, and with zeros before it.
    pub fn in_text(text: &str) -> Option<Number> {
        let (sign, rest) = match text.strip_prefix(['+', '-']) {
            Some(rest) if text.starts_with('-') => ("-", rest),
            Some(rest) => ("", rest),
            None => ("", text),
        };
        let without = rest.trim_start_matches('0');
        let zero = if without.starts_with(|c: char| c.is_ascii_digit()) || without.len() == rest.len() {
            ""
        } else {
            "0"
        };
        Number::read(&format!("{sign}{zero}{without}"))
    }

    pub fn read(text: &str) -> Option<Number> {
        let negative = text.starts_with('-');
        let text = text.strip_prefix('-').unwrap_or(text);
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, Some(exponent)),
            None => (text, None),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (mantissa, None),
        };
        let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
        let exponent_digits = exponent.map(|e| e.strip_prefix(['+', '-']).unwrap_or(e));
        let fits = digits(whole)
            && (whole == "0" || !whole.starts_with('0'))
            && fraction.is_none_or(digits)
            && exponent_digits.is_none_or(digits);
        if !fits {
            return None;
        }
        let fraction = fraction.unwrap_or("");
        // An exponent beyond a million says "far too large" or "far too small" as well as its true value does.
        let size: i64 = exponent_digits.map_or(0, |e| e.parse().unwrap_or(1_000_000)).min(1_000_000);
        let sign = if exponent.is_some_and(|e| e.starts_with('-')) { -1 } else { 1 };
        Some(Number {
            negative,
            digits: format!("{whole}{fraction}"),
            places: fraction.len() as i64 - sign * size,
        })
    }
}
