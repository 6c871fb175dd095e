//! Values against serde_json: what is accepted, and what is kept of it.

use proptest::prelude::*;
use serde_json::Value as Json;

use super::super::guide::Guide;
use super::super::scan::Scanner;
use super::super::simd::blank_end;
use super::{projected, shape};
use crate::batch::Chunk;
use crate::pipeline::model::Shape;

/// The text as one document: its kept values, if it is one.
fn ours(text: &[u8]) -> Option<String> {
    std::str::from_utf8(text).ok()?;
    let mut chunk = Chunk { text: text.to_vec(), ..Chunk::default() };
    let guide = Guide::new(&shape());
    let start = blank_end(text, 0);
    let scanned = Scanner::new(&guide, 100).scan(text, start, true, &mut chunk.values).ok()?;
    (blank_end(text, scanned.end) == text.len()).then(|| projected(&chunk, scanned.root, 0))
}

/// The same by serde_json, which refuses lone surrogates and numbers beyond a float: not asked about those.
fn theirs(text: &[u8]) -> Option<String> {
    serde_json::from_slice::<Json>(text).ok().map(|v| kept(&v, &shape(), 0))
}

fn kept(value: &Json, shape: &Shape, node: u32) -> String {
    let node = &shape.nodes[node as usize];
    match value {
        Json::Null => "null".into(),
        Json::Bool(b) => b.to_string(),
        Json::Number(n) => n.to_string(),
        Json::String(s) => format!("{:?}", Some(s)),
        Json::Object(_) if node.fields.is_empty() => "{..}".into(),
        Json::Object(members) => {
            let slot = |(name, node): &(Box<str>, u32)| match members.get(&**name) {
                None => "{-}".into(),
                Some(v) => format!("{{{}}}", kept(v, shape, *node)),
            };
            node.fields.iter().map(slot).collect()
        }
        Json::Array(elements) => {
            let inside = |node| elements.iter().map(|v| format!("[{}]", kept(v, shape, node))).collect();
            let inside: String = node.element.map(inside).unwrap_or_default();
            format!("{inside}*{}", elements.len())
        }
    }
}

/// Pieces that JSON texts are made of, right and wrong ones.
const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    " ",
    "\n",
    "\t",
    "\r",
    "\"a\"",
    "\"b\"",
    "\"c\"",
    "\"l\"",
    "\"m\"",
    "\"x\"",
    "\"\\u0061\"",
    "\"\u{e9}\\\"n\"",
    "\"z\"",
    "\"\"",
    "1",
    "0",
    "-1",
    "10",
    "12.5",
    "-0",
    "true",
    "false",
    "null",
    "\"text\"",
    "\"\\n\\t\\/\"",
    "\"\\ud83d\\ude00\"",
    "{\"a\":1}",
    "[1,2]",
    "{\"x\":2}",
    "\"",
    "\\",
    "01",
    "1.",
    ".5",
    "-",
    "+1",
    "1e",
    "1e+",
    "tru",
    "nul",
    "\u{0}",
    "\u{1f}",
    "\u{7f}",
    "\u{a0}",
    "\u{feff}",
    "'a'",
    "NaN",
    "\"\\x\"",
    "\"\\u12\"",
    "//",
    "\u{c}",
    "\"\n\"",
    "\"\t\"",
];

fn document() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        "\\PC{0,20}".prop_map(Json::from),
    ];
    let name = prop::sample::select(vec!["a", "b", "c", "d", "l", "x", "m", "z", "\u{e9}\"n", ""]);
    leaf.prop_recursive(5, 60, 6, move |inner| {
        let members = prop::collection::vec((name.clone(), inner.clone()), 0..6)
            .prop_map(|m| Json::Object(m.into_iter().map(|(k, v)| (k.to_string(), v)).collect()));
        prop_oneof![2 => members, 1 => prop::collection::vec(inner, 0..5).prop_map(Json::from)]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn documents_are_kept_as_serde_has_them(value in document(), pretty: bool) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
        let text = text.unwrap();
        prop_assert_eq!(ours(text.as_bytes()), Some(kept(&value, &shape(), 0)));
    }

    #[test]
    fn mutated_documents_are_accepted_when_serde_does(
        value in document(),
        pretty: bool,
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..3usize, prop::sample::select(PIECES)), 0..4),
    ) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
        let mut text = text.unwrap().into_bytes();
        for (at, remove, piece) in changes {
            let at = at.index(text.len() + 1);
            let end = (at + remove).min(text.len());
            text.splice(at..end, piece.bytes());
        }
        prop_assume!(!known_difference(&text));
        prop_assert_eq!(ours(&text).is_some(), theirs(&text).is_some(), "{}", String::from_utf8_lossy(&text));
        if !unlike_text(&text) {
            prop_assert_eq!(ours(&text), theirs(&text));
        }
    }

    #[test]
    fn pieces_are_accepted_when_serde_does(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..9)) {
        let text = pieces.concat();
        prop_assume!(!known_difference(text.as_bytes()));
        prop_assert_eq!(ours(text.as_bytes()).is_some(), theirs(text.as_bytes()).is_some(), "{}", text);
    }

    #[test]
    fn bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = ours(&bytes);
        let _ = super::decode("x.json", &bytes, super::LIMITS);
        let _ = super::decode("x.ndjson", &bytes, super::LIMITS);
        let _ = super::decode("x.json.gz", &bytes, super::LIMITS);
        let _ = super::decode("x.json.zst", &bytes, super::LIMITS);
    }
}

/// serde_json refuses numbers beyond a float.
fn known_difference(text: &[u8]) -> bool {
    serde_json::from_slice::<Json>(text).is_err_and(|e| {
        let e = e.to_string();
        e.contains("surrogate") || e.contains("number out of range") || e.contains("hex escape")
    })
}

/// Numbers that serde_json writes otherwise than they were.
fn unlike_text(text: &[u8]) -> bool {
    let long = text.split(|b| !b.is_ascii_digit()).any(|digits| digits.len() > 18);
    long || text.iter().any(|b| matches!(b, b'.' | b'e' | b'E')) || text.windows(2).any(|w| w == b"-0")
}

#[test]
fn the_corners_of_the_grammar() {
    for yes in [
        "0",
        "-0",
        "1e5",
        "1E-5",
        "1.5e+5",
        "1e400",
        "-1.0",
        "123456789012345678901234567890",
        "\"\"",
        "\"\u{7f}\"",
        "\"\\u0000\"",
        "\"\\ud800\"",
        "\"\\udc00\\ud800\"",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
        "[]",
        "{}",
        " [ ] ",
        "{\"\":0}",
        "{\"a\":1,\"a\":1}",
        "[[],[[]]]",
        "\"\u{2028}\"",
        "\t\n\r true",
        "\"\u{ffff}\"",
    ] {
        assert!(ours(yes.as_bytes()).is_some(), "{yes}");
    }
    for no in [
        "",
        " ",
        "01",
        "-",
        "-a",
        "1.",
        ".1",
        "+1",
        "1e",
        "1e+",
        "1.e1",
        "0x1",
        "1 2",
        "tru",
        "True",
        "nulll",
        "NaN",
        "Infinity",
        "'a'",
        "\"",
        "\"\\",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u\"",
        "\"\\u12g4\"",
        "\"\\U0000\"",
        "\"\n\"",
        "\"\u{1f}\"",
        "\"\0\"",
        "[",
        "]",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1,,2]",
        "[1:2]",
        "{",
        "}",
        "{]",
        "[}",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,",
        "{\"a\":1,}",
        "{,}",
        "{a:1}",
        "{1:1}",
        "{\"a\" 1}",
        "{\"a\"::1}",
        "{\"a\":1 \"b\":2}",
        "{\"a\":1:2}",
        "[1]]",
        "{}}",
        "\u{c}1",
        "\u{a0}1",
        "[1]//x",
        "/**/1",
        "[\u{feff}]",
        "*",
        "\u{0}",
        "1\u{0}",
        "[-]",
        "[1.2.3]",
        "[1ee2]",
        "- 1",
        "[\"a\" \"b\"]",
    ] {
        assert!(ours(no.as_bytes()).is_none(), "{no}");
    }
    assert!(ours(b"\"\xff\"").is_none());
}

#[test]
fn kinds_that_nobody_expects_keep_their_kind() {
    let one = |text: &str| ours(text.as_bytes()).unwrap();
    assert_eq!(one(r#"{"a":{"q":1},"b":[1,{}],"l":"x"}"#), "{{..}}{*2}{Some(\"x\")}{-}");
    assert_eq!(
        one(r#"{"l":[1,null,{"m":[[],{}]}],"b":null}"#),
        "{-}{null}{[1][null][{-}{[*0][{..}]*2}]*3}{-}"
    );
    assert_eq!(one(r#"{"l":[],"b":{},"a":""}"#), "{Some(\"\")}{{-}{-}}{*0}{-}");
    assert_eq!(one(r#"{"a":1.50,"a":{"a":2}, "\u00e9\"n":1E2}"#), "{{..}}{-}{-}{1E2}");
    assert_eq!(one(r#"{"a":"\ud800"}"#), "{None}{-}{-}{-}");
}

#[test]
fn every_prefix_is_incomplete_or_wrong_but_never_done() {
    let text = br#"{"a":-12.5e+3,"b":{"c":"x\u00e9\\y","d":[true,false,null]},"l":[{"x":1},{"m":["\n"]}]}"#;
    let guide = Guide::new(&shape());
    for cut in 0..text.len() {
        let mut values = Vec::new();
        let found = Scanner::new(&guide, 100).scan(&text[..cut], 0, false, &mut values);
        assert!(matches!(found, Err(super::super::scan::Fault::Incomplete(_))), "{cut}: {found:?}");
        assert!(values.is_empty());
    }
}
