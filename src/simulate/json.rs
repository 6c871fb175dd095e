//! Writes JSON text straight into one buffer, compact or indented by two, with the spellings that producers use:
//! `10`, `10.0` and `"10"`, `ã` and `\u00e3`.

use super::rng::Rng;

pub struct Json {
    out: String,
    pretty: bool,
    /// Letters beyond ASCII as `\uXXXX`, as some producers do.
    ascii: bool,
    depth: usize,
    /// Nothing has been written into the innermost container yet.
    fresh: bool,
    spelling: Rng,
}

impl Json {
    pub fn new(pretty: bool, ascii: bool, spelling: Rng) -> Json {
        Json { out: String::with_capacity(8192), pretty, ascii, depth: 0, fresh: true, spelling }
    }

    pub fn finish(self) -> String {
        self.out
    }

    /// `{ … }` as an element or as the document.
    pub fn object(&mut self, inner: impl FnOnce(&mut Json)) {
        self.separate();
        self.container('{', inner, '}');
    }

    pub fn object_in(&mut self, key: &str, inner: impl FnOnce(&mut Json)) {
        self.key(key);
        self.container('{', inner, '}');
    }

    pub fn array_in(&mut self, key: &str, inner: impl FnOnce(&mut Json)) {
        self.key(key);
        self.container('[', inner, ']');
    }

    pub fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        self.quoted(value);
    }

    /// A whole number: mostly `10`, sometimes `10.0` or `"10"`.
    pub fn count(&mut self, key: &str, n: u64) {
        self.key(key);
        let mut digits = [0; 20];
        let digits = decimal(n, &mut digits);
        match self.spelling.below(24) {
            0 => self.pieces(&["\"", digits, "\""]),
            1 => self.pieces(&[digits, ".0"]),
            _ => self.out.push_str(digits),
        }
    }

    /// A whole number as the producer writes its floats: `10.0`, seldom `10`.
    pub fn float(&mut self, key: &str, n: u64) {
        self.key(key);
        let mut digits = [0; 20];
        let digits = decimal(n, &mut digits);
        match self.spelling.below(24) {
            0 => self.out.push_str(digits),
            _ => self.pieces(&[digits, ".0"]),
        }
    }

    /// Money in cents: mostly `16.2`, as a float prints; sometimes `"16.20"` or `16.2000`.
    pub fn money(&mut self, key: &str, cents: i64) {
        self.key(key);
        let spelling = self.spelling.below(32);
        let quote = if spelling == 0 { "\"" } else { "" };
        let sign = if cents < 0 { "-" } else { "" };
        let (whole, part) = (cents.unsigned_abs() / 100, cents.unsigned_abs() % 100);
        let mut digits = [0; 20];
        self.pieces(&[quote, sign, decimal(whole, &mut digits), "."]);
        self.digit(part / 10);
        if part % 10 != 0 || spelling < 2 {
            self.digit(part % 10);
        }
        self.out.push_str(if spelling == 1 { "00" } else { quote });
    }

    fn container(&mut self, open: char, inner: impl FnOnce(&mut Json), close: char) {
        self.out.push(open);
        self.depth += 1;
        self.fresh = true;
        inner(self);
        self.depth -= 1;
        if !self.fresh {
            self.new_line();
        }
        self.out.push(close);
        self.fresh = false;
    }

    fn key(&mut self, key: &str) {
        self.separate();
        self.pieces(&["\"", key, if self.pretty { "\": " } else { "\":" }]);
    }

    fn separate(&mut self) {
        if !self.fresh {
            self.out.push(',');
        }
        self.fresh = false;
        if self.depth > 0 {
            self.new_line();
        }
    }

    fn new_line(&mut self) {
        if self.pretty {
            self.out.push('\n');
            for _ in 0..self.depth {
                self.out.push_str("  ");
            }
        }
    }

    fn quoted(&mut self, value: &str) {
        self.out.push('"');
        if value.bytes().all(|b| b >= b' ' && b != b'"' && b != b'\\' && (b < 128 || !self.ascii)) {
            self.out.push_str(value);
        } else {
            value.chars().for_each(|c| self.escaped(c));
        }
        self.out.push('"');
    }

    fn escaped(&mut self, c: char) {
        match c {
            '"' => self.out.push_str("\\\""),
            '\\' => self.out.push_str("\\\\"),
            '\n' => self.out.push_str("\\n"),
            '\t' => self.out.push_str("\\t"),
            c if c < ' ' || (self.ascii && !c.is_ascii()) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    self.out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => self.out.push(c),
        }
    }

    fn pieces(&mut self, pieces: &[&str]) {
        pieces.iter().for_each(|p| self.out.push_str(p));
    }

    fn digit(&mut self, d: u64) {
        self.out.push(char::from(b'0' + (d % 10) as u8));
    }
}

/// Digits without the machinery of `format!`: a third of an event is numbers.
fn decimal(mut n: u64, buf: &mut [u8; 20]) -> &str {
    let mut at = buf.len();
    while at > 0 {
        at -= 1;
        buf[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    std::str::from_utf8(&buf[at..]).unwrap_or("0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(pretty: bool, ascii: bool) -> String {
        let mut j = Json::new(pretty, ascii, Rng::of(&[1]));
        j.object(|j| {
            j.text("a", "x\"\\\té😀");
            j.array_in("b", |_| {});
            j.array_in("c", |j| {
                j.object(|j| j.text("d", ""));
                j.object(|_| {});
            });
        });
        j.finish()
    }

    #[test]
    fn compact_and_pretty_are_the_same_document() {
        let compact = sample(false, false);
        assert_eq!(compact, r#"{"a":"x\"\\\té😀","b":[],"c":[{"d":""},{}]}"#);
        let pretty = sample(true, false);
        assert_eq!(
            pretty,
            "{\n  \"a\": \"x\\\"\\\\\\té😀\",\n  \"b\": [],\n  \"c\": [\n    {\n      \"d\": \"\"\n    },\n    {}\n  ]\n}"
        );
        let parse = |t: &str| serde_json::from_str::<serde_json::Value>(t).unwrap();
        assert_eq!(parse(&compact), parse(&pretty));
        assert_eq!(parse(&compact), parse(&sample(false, true)));
        assert!(sample(false, true).is_ascii());
    }

    #[test]
    fn every_spelling_of_a_number_has_its_value() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..500 {
            let mut j = Json::new(false, false, Rng::of(&[seed]));
            j.object(|j| {
                j.money("m", 1620);
                j.count("n", 10);
                j.float("f", 10);
                j.money("neg", -5);
            });
            let text = j.finish();
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            let number = |k: &str| {
                let v = &value[k];
                v.as_f64().or_else(|| v.as_str().and_then(|s| s.parse().ok())).unwrap()
            };
            assert_eq!((number("m"), number("n"), number("f"), number("neg")), (16.2, 10.0, 10.0, -0.05));
            seen.insert(text.split(',').next().unwrap().to_owned());
        }
        let spellings: Vec<&str> = seen.iter().map(String::as_str).collect();
        assert_eq!(spellings, [r#"{"m":"16.20""#, r#"{"m":16.2"#, r#"{"m":16.2000"#]);
    }
}
