//! Text: JSON strings with their escapes undone, and anybody's text as it may be shown to people.

use std::borrow::Cow;

/// The text names half of a surrogate pair (`\ud83d` alone): well-formed JSON, but no Unicode text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an escape names half of a surrogate pair")]
pub struct LoneSurrogate;

/// The text between the quotes of a JSON string, escapes undone. Borrowed where there is nothing to undo.
///
/// `source` is text that `decode` accepted: valid UTF-8 and well-formed escapes. Anything else is mended with
/// U+FFFD rather than trusted.
pub fn unescape(source: &[u8]) -> Result<Cow<'_, str>, LoneSurrogate> {
    let Some(first) = memchr::memchr(b'\\', source) else {
        return Ok(String::from_utf8_lossy(source));
    };
    let mut out = Vec::with_capacity(source.len());
    let mut rest = source;
    let mut escape = Some(first);
    while let Some(at) = escape {
        out.extend_from_slice(rest.get(..at).unwrap_or_default());
        rest = one(rest.get(at + 1..).unwrap_or_default(), &mut out)?;
        escape = memchr::memchr(b'\\', rest);
    }
    out.extend_from_slice(rest);
    Ok(Cow::Owned(
        String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()),
    ))
}

/// Undoes the escape whose backslash stands before `rest`; returns what follows it.
fn one<'a>(rest: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], LoneSurrogate> {
    let Some((&letter, after)) = rest.split_first() else {
        push(out, char::REPLACEMENT_CHARACTER);
        return Ok(rest);
    };
    let plain = match letter {
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'u' => return unicode(after, out),
        other => other,
    };
    out.push(plain);
    Ok(after)
}

fn unicode<'a>(rest: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], LoneSurrogate> {
    let Some((unit, after)) = unit(rest) else {
        push(out, char::REPLACEMENT_CHARACTER);
        return Ok(rest);
    };
    match unit {
        0xD800..=0xDBFF => {
            let (low, after) = after.strip_prefix(b"\\u").and_then(self::unit).ok_or(LoneSurrogate)?;
            if !(0xDC00..=0xDFFF).contains(&low) {
                return Err(LoneSurrogate);
            }
            let c = 0x1_0000 + ((u32::from(unit) - 0xD800) << 10) + (u32::from(low) - 0xDC00);
            push(out, char::from_u32(c).ok_or(LoneSurrogate)?);
            Ok(after)
        }
        _ => {
            push(out, char::from_u32(u32::from(unit)).ok_or(LoneSurrogate)?);
            Ok(after)
        }
    }
}

/// Four hex digits.
fn unit(rest: &[u8]) -> Option<(u16, &[u8])> {
    let (digits, after) = rest.split_at_checked(4)?;
    let mut unit = 0;
    for d in digits {
        unit = unit << 4 | u16::try_from(char::from(*d).to_digit(16)?).ok()?;
    }
    Some((unit, after))
}

fn push(out: &mut Vec<u8>, c: char) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

fn plain(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text from events must not steer a terminal: control characters, and those that turn the writing round, appear
/// by their escapes. A line break would break the table as well.
pub fn shown(text: &str) -> String {
    if text.bytes().all(|b| b.is_ascii_graphic() || b == b' ') || text.chars().all(plain) {
        return text.to_owned();
    }
    text.chars().fold(String::new(), |mut out, c| {
        if plain(c) {
            out.push(c)
        } else {
            out.extend(c.escape_default())
        }
        out
    })
}

/// JSON with the characters that a terminal might obey written as escapes, which mean the same to any reader of JSON.
/// (Those below a space are escaped in JSON anyway.)
pub fn shown_json(json: &str) -> Cow<'_, str> {
    if json.chars().all(plain) {
        return Cow::Borrowed(json);
    }
    Cow::Owned(json.chars().fold(String::new(), |mut out, c| {
        if plain(c) || c.is_ascii_whitespace() {
            out.push(c)
        } else {
            // All of them lie in the lowest plane: four digits.
            out.push_str(&format!("\\u{:04x}", u32::from(c)))
        }
        out
    }))
}

/// A message of several lines, as [`shown`]; its line breaks are its own.
pub fn shown_lines(text: &str) -> String {
    text.split('\n').map(shown).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone() {
        let text = unescape(br#"a\"\\\/\b\f\n\r\t\u0041\u00e9\u20AC\ud83d\ude00z"#).unwrap();
        assert_eq!(text, "a\"\\/\u{8}\u{c}\n\r\tA\u{e9}\u{20ac}\u{1f600}z");
        assert!(matches!(unescape("caf\u{e9}".as_bytes()), Ok(Cow::Borrowed("caf\u{e9}"))));
        assert_eq!(unescape(b"\\u0000").unwrap(), "\0");
    }

    #[test]
    fn half_a_pair_is_no_text() {
        for lone in
            ["\\ud83d", "\\ude00", "\\ud83d\\u0041", "\\ud83dx", "\\ud83d\\ud83d", "\\ud83d\\n", "a\\uDFFFb"]
        {
            assert_eq!(unescape(lone.as_bytes()), Err(LoneSurrogate), "{lone}");
        }
    }

    #[test]
    fn nothing_is_shown_that_a_terminal_obeys() {
        let text = "a\u{1b}[2J\u{9b}1m\u{202e}\n\u{7f}é";
        assert_eq!(shown(text), "a\\u{1b}[2J\\u{9b}1m\\u{202e}\\n\\u{7f}é");
        assert_eq!(shown_lines("a\n\u{1b}b"), "a\n\\u{1b}b");
        let json = serde_json::to_string(text).unwrap();
        let tame = shown_json(&json);
        assert!(tame.chars().all(plain), "{tame}");
        assert_eq!(serde_json::from_str::<String>(&tame).unwrap(), text);
    }

    #[test]
    fn text_that_was_never_checked_is_mended() {
        for odd in [&b"\\"[..], b"\\u12", b"\\uzzzz", b"\xff", b"\\n\xff", b"\\q", b"\\ud83d\\u12"] {
            let _ = unescape(odd);
        }
        assert_eq!(unescape(b"x\\u12").unwrap(), "x\u{fffd}12");
    }

    proptest::proptest! {
        #[test]
        fn agrees_with_serde(text in "\\PC*", lone in proptest::collection::vec(proptest::num::u16::ANY, 0..4)) {
            let mut source = serde_json::to_string(&text).unwrap();
            source.pop();
            for unit in lone {
                source.push_str(&format!("\\u{unit:04x}"));
            }
            source.push('"');
            let ours = unescape(&source.as_bytes()[1..source.len() - 1]).map(Cow::into_owned).ok();
            proptest::prop_assert_eq!(ours, serde_json::from_str::<String>(&source).ok());
        }
    }
}
