//! The classes of the public JSONTestSuite, rebuilt: values and whole documents, right and wrong ones.

/// A text to be tried.
pub struct Case {
    /// `numbers`, `strings`, …
    pub class: &'static str,
    pub text: Vec<u8>,
    pub valid: bool,
}

/// A whole file's text in which `ID` stands for the event's id, and what becomes of it.
pub struct Whole {
    pub text: Vec<u8>,
    /// How many documents of that id it holds.
    pub documents: usize,
    /// Something of it is refused.
    pub bad: bool,
}

/// Texts that stand where a value belongs. None of the wrong ones closes what stands around it.
pub fn values() -> Vec<Case> {
    let mut all = Vec::new();
    let mut add = |class, valid, texts: Vec<Vec<u8>>| {
        all.extend(texts.into_iter().map(|text| Case { class, text, valid }));
    };
    add("numbers", true, texts(NUMBERS));
    add("numbers", true, long_numbers());
    add("numbers", false, texts(NO_NUMBERS));
    add("strings", true, texts(STRINGS));
    add("strings", true, every_code_point_class());
    add("strings", false, texts(NO_STRINGS));
    add("strings", false, control_characters());
    add("strings", false, unknown_escapes());
    add("utf-8", false, no_utf8());
    add("literals", true, texts(&["true", "false", "null"]));
    add("literals", false, texts(NO_LITERALS));
    add("structures", true, texts(STRUCTURES));
    add("structures", true, vec![nested(b"[", b"]", 120), nested(b"{\"a\":", b"}", 120)]);
    add("structures", false, texts(NO_STRUCTURES));
    // JSON, but deeper than the limit; `large` goes further down.
    add("too deep", false, vec![nested(b"[", b"]", 200), nested(b"{\"a\":", b"}", 200)]);
    add("structures", false, vec![b"[".repeat(200), b"{\"a\":".repeat(200), b"[{\"\":".repeat(100)]);
    add("white space", true, texts(&[" 1 ", "\t1\r", "\t\t[ \t]\r", "{ \"a\" : 1 }"]));
    add("white space", false, no_white_space());
    all
}

fn texts(all: &[&str]) -> Vec<Vec<u8>> {
    all.iter().map(|t| t.as_bytes().to_vec()).collect()
}

fn nested(open: &[u8], close: &[u8], depth: usize) -> Vec<u8> {
    [open.repeat(depth), b"1".to_vec(), close.repeat(depth)].concat()
}

#[rustfmt::skip]
const NUMBERS: &[&str] = &[
    "0", "-0", "1", "-1", "10", "1.5", "0.0", "-0.0", "1e5", "1E5", "1e+5", "1E-5", "0e0", "0e+1", "1e00005",
    "1e400", "-1e400", "1e-400", "-1e-400", "123123e100000", "1e99999999999999999999",
    "1e-99999999999999999999",
    "0.4e00669999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999969999999006",
    "9007199254740991", "9007199254740992", "9007199254740993", "-9007199254740993", "9223372036854775807",
    "-9223372036854775808", "9223372036854775808", "-9223372036854775809", "18446744073709551615",
    "18446744073709551616", "12345678901234.5678", "99999999999999.9999", "99999999999999.99995", "0.00005",
    "0.00015", "1.7976931348623157e308", "1.7976931348623159e308", "4.9e-324", "2.4e-324",
    "2.2250738585072011e-308", "0.1", "0.30000000000000004", "1.0", "100e-2", "5e-1", "-5E0",
];

#[rustfmt::skip]
const NO_NUMBERS: &[&str] = &[
    "+1", "++1", "+-1", "-+1", "--1", "-", "+", ".", ".5", "-.5", "1.", "-1.", "1.e1", "1.e+", "1e", "1E",
    "1e+", "1e-", "0e", "0e+", "2.e3", "01", "-01", "00", "007", "01.5", "1.2.3", "1e1.5", "1e1e1", "1ea",
    "0x1", "0X1F", "0x", "-0x1", "0b1", "0o7", "1_000", "1 000", "1,5", "NaN", "nan", "-NaN", "Infinity",
    "-Infinity", "+Infinity", "Inf", "-Inf", "inf", "1f", "1.0d", "1L", "1n", "-1x", "1/2", "1%", "$1",
    "\u{ff11}", "\u{2168}", "\u{661}", "-foo", "- 1", "0.", "1e\u{ff11}", "1\u{0}", "(1)",
];

#[rustfmt::skip]
const STRINGS: &[&str] = &[
    "\"\"", "\" \"", "\"a\"", r#""\"""#, r#""\\""#, r#""\/""#, r#""/""#, r#""\b\f\n\r\t""#, r#""\u0041""#,
    r#""\u00e9\u00E9""#, r#""\u0000""#, r#""a\u0000b""#, r#""\u001f\u007f""#, "\"\u{7f}\"",
    r#""\u2028\u2029""#, "\"\u{2028}\u{2029}\"", r#""\ud83d\ude00""#, r#""\uD83D\uDE00""#, "\"\u{1f600}\"",
    r#""\uFFFE\uFFFF\uFDD0""#, "\"\u{fffe}\u{ffff}\"", r#""\uDBFF\uDFFF""#, "\"\u{10ffff}\"", r#""\\u0041""#,
    r#""\\\u0041""#, r#""\\\\\"""#, "\"\u{feff}\"", r#""\ufeff""#, "\"\u{202e}abc\"", "\"e\u{301}\"",
    "\"\u{e9}\"", "\"\u{80}\u{9f}\"", "\"'\"", r#""{\"a\":[1,2]}""#, "\"/* no comment */\"",
    "\"// neither\"", "\"\u{a0}\"", r#""\u0022\u005c""#, "\"1e400\"", "\"010\"", "\"+1\"", "\"NaN\"",
    "\"true\"", "\"null\"", "\"''; drop table value; --\"", "\"\u{1f468}\u{200d}\u{1f469}\"",
];

#[rustfmt::skip]
const NO_STRINGS: &[&str] = &[
    "'a'", "`a`", "\u{201c}a\u{201d}", "a", "\"a", "a\"", "\"", "\"\\\"", "\"\\", "\"\\u\"", "\"\\u1\"",
    "\"\\u12\"", "\"\\u123\"", "\"\\u12G4\"", "\"\\uD83D\\u\"", "\"\\uD83D\\u12\"", "\"\\u 041\"",
    "\"\\u{41}\"", "\"\\U0041\"", "\"\\u+041\"", "\"\\x41\"", "\"\\0\"", "\"\\101\"", "\"\\'\"", "\"\\a\"",
    "\"\\v\"", "\"\\e\"", "\"\\ \"", "\"\\\u{e9}\"", "\"\\\u{1f600}\"", "\"a\" \"b\"", "\"a\"b\"",
    "\"a\"+\"b\"", "\\\"a\\\"", "\\u0022a\\u0022",
];

#[rustfmt::skip]
const NO_LITERALS: &[&str] = &[
    "True", "TRUE", "tru", "truee", "tr ue", "False", "fals", "falsee", "Null", "NULL", "nul", "nulll",
    "nil", "None", "undefined", "yes", "true false", "null null", "\\u0074rue", "t", "n\u{0}ll",
    "\u{ff4e}ull", "<null>", "*", "&1", "!",
];

#[rustfmt::skip]
const STRUCTURES: &[&str] = &[
    "[]", "[ ]", "[[]]", "[1]", "[1,2]", "[1,\"a\",null,true,{}]", "[[],[[]],{}]", "{}", "{ }", "{\"\":0}",
    "{\"a\":1}", "{\"a\":1,\"b\":2}", "{\"a\":1,\"a\":2}", "{\"a\":1,\"\\u0061\":2}", "{\"a\":{},\"a\":[]}",
    "{\"a\":[{\"b\":{}}]}", "{\"\\u0000\":1}", "{\"a\\nb\":1}", "{\"\u{1f600}\":1}", "{\"\\ud800\":1}",
    "[\"\\ud800\"]", "{\"v\":1,\"id\":\"inner\"}", "[{\"id\":\"inner\"}]", "[0,-0,0.0,1e400]",
];

#[rustfmt::skip]
const NO_STRUCTURES: &[&str] = &[
    "[1,]", "[,1]", "[,]", "[1,,2]", "[1 2]", "[1;2]", "[1:2]", "[\"a\":1]", "[a]", "[-]", "[*]", "[1",
    "[1,", "[", "[[1]", "[1}", "(1,2)", "<1>", "[1]]", "[1]x", "[\"a\"", "[\"a", "[\"a\",", "[1,\"a\"", "[[",
    "[{", "[{}", "[{},", "[null", "[tru]", "[1e]", "[01]", "[+1]", "[.5]", "[NaN]", "['a']", "[\"\t\"]",
    "[\"\\x\"]", "[1,2,]", "[{},]", "[[],]", "{\"a\"}", "{\"a\":}", "{:1}", "{:}", "{\"a\":1,}",
    "{,\"a\":1}", "{,}", "{\"a\" 1}", "{\"a\"::1}", "{\"a\":1:2}", "{a:1}", "{'a':1}", "{`a`:1}", "{1:1}",
    "{null:1}", "{true:1}", "{[]:1}", "{{}:1}", "{\"a\":1 \"b\":2}", "{\"a\":1;\"b\":2}", "{\"a\"=1}",
    "{\"a\"=>1}", "{\"a\",1}", "{\"a\":1,,\"b\":2}", "{\"a\":1,\"b\"}", "{\"a\":1,\"b\":}", "{\"a\":1]",
    "{\"a\":1", "{\"a\":1,", "{\"a\":", "{\"a\"", "{\"a", "{\"", "{", "{\"a\":[}", "{\"a\":[1}", "{\"a\":{]",
    "{\"a\":/**/1}", "{\"a\":1/**/}", "/**/1", "1/**/", "//1", "1//", "#1", "1#", "--1", "<!-- -->1", "1;",
    "1:", ":1", ",", ",1", "1,,", "", " ", "{\"a\\x\":1}", "{\"\t\":1}", "{\"a\":undefined}", "{...1}",
    "{\"a\":1}{\"b\":2}", "[1][2]", "{\"a\":1} x", "new Date()", "function(){}", "@1", "{\"a\":\"b\"\"c\"}",
    "[\"a\"\"b\"]", "{\"a\" \"b\"}",
];

fn long_numbers() -> Vec<Vec<u8>> {
    let digits = "1234567890".repeat(100);
    let all = [
        digits.clone(),
        format!("-{digits}"),
        format!("0.{digits}"),
        format!("{digits}.{digits}e-{digits}"),
        format!("1e{digits}"),
        format!("0.{}1", "0".repeat(400)),
        format!("1{}", "0".repeat(400)),
        format!("1{}e-400", "0".repeat(400)),
        format!("0.{}1e401", "0".repeat(400)),
        format!("0e{digits}"),
    ];
    all.into_iter().map(String::into_bytes).collect()
}

/// A character of every length and from the edges of every range, raw and as escapes.
fn every_code_point_class() -> Vec<Vec<u8>> {
    let edges = [
        0x20, 0x21, 0x23, 0x5b, 0x5d, 0x7e, 0x7f, 0x80, 0x7ff, 0x800, 0xfff, 0x1000, 0xd7ff, 0xe000, 0xfdcf,
        0xfeff, 0xfffd, 0xffff, 0x1_0000, 0x1_ffff, 0xf_ffff, 0x10_0000, 0x10_ffff,
    ];
    let characters = edges.into_iter().filter_map(char::from_u32);
    let both = characters.flat_map(|c| {
        let escaped: String = c.encode_utf16(&mut [0; 2]).iter().map(|u| format!("\\u{u:04x}")).collect();
        [format!("\"{c}\""), format!("\"{escaped}\"")]
    });
    both.map(String::into_bytes).collect()
}

/// But for the line's end, which ends more than the string.
fn control_characters() -> Vec<Vec<u8>> {
    (0..0x20u8).filter(|b| *b != b'\n').map(|b| vec![b'"', b'a', b, b'b', b'"']).collect()
}

fn unknown_escapes() -> Vec<Vec<u8>> {
    let known = b"\"\\/bfnrtu";
    (0x20..0x7fu8).filter(|b| !known.contains(b)).map(|b| vec![b'"', b'\\', b, b'"']).collect()
}

fn no_utf8() -> Vec<Vec<u8>> {
    #[rustfmt::skip]
    let parts: [&[u8]; 28] = [
        b"\x80", b"\xbf", b"\xfe", b"\xff", b"\xc0\x80", b"\xc0\xaf", b"\xc1\xbf", b"\xe0\x80\x80",
        b"\xe0\x80\xaf", b"\xe0\x9f\xbf", b"\xf0\x80\x80\x80", b"\xf0\x80\x80\xaf", b"\xf0\x8f\xbf\xbf",
        b"\xf8\x87\xbf\xbf\xbf", b"\xfc\x83\xbf\xbf\xbf\xbf", b"\xed\xa0\x80", b"\xed\xbf\xbf",
        b"\xed\xa0\xbd\xed\xb8\x80", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xf7\xbf\xbf\xbf", b"\xc3",
        b"\xe2\x82", b"\xf0\x9f\x98", b"\xc3\xc3\xa9", b"\xc3(", b"\xe2(\xa1", b"\xe9",
    ];
    let string = |part: &[u8]| [b"\"a", part, b"b\""].concat();
    let name = |part: &[u8]| [b"{\"a", part, b"\":1}"].concat();
    let bare = |part: &[u8]| part.to_vec();
    parts.iter().flat_map(|p| [string(p), name(p), bare(p)]).collect()
}

fn no_white_space() -> Vec<Vec<u8>> {
    let all = [
        "\u{c}", "\u{b}", "\u{0}", "\u{1a}", "\u{a0}", "\u{85}", "\u{2028}", "\u{3000}", "\u{200b}",
        "\u{feff}", "\\n",
    ];
    all.iter()
        .flat_map(|w| [format!("{w}1"), format!("1{w}"), format!("[{w}]"), format!("[1{w},2]")])
        .map(String::into_bytes)
        .collect()
}

/// Whole texts: what may stand around a document, and what stands there instead of one.
pub fn wholes() -> Vec<Whole> {
    let mut all = Vec::new();
    let mut add = |documents, bad, texts: &[&str]| {
        let whole = |t: &&str| Whole { text: t.as_bytes().to_vec(), documents, bad };
        all.extend(texts.iter().map(whole));
    };
    let doc = "{\"id\":\"ID\"}";
    add(
        1,
        false,
        &[doc, " {\"id\":\"ID\"} ", "{\t\"id\"\r:\t\"ID\"\t}", "[{\"id\":\"ID\"}]", "{\"\\u0069d\":\"ID\"}"],
    );
    add(
        1,
        false,
        &["{\"id\":\"no\",\"id\":\"ID\"}", "{\"id\":\"no\",\"\\u0069d\":\"ID\"}", "{\"id\":1,\"id\":\"ID\"}"],
    );
    add(
        2,
        false,
        &[
            "{\"id\":\"ID\"}{\"id\":\"ID\"}",
            "{\"id\":\"ID\"}\r{\"id\":\"ID\"}",
            "[{\"id\":\"ID\"},{\"id\":\"ID\"}]",
        ],
    );
    add(2, false, &["[{\"id\":\"ID\"}][{\"id\":\"ID\"}]", "[{\"id\":\"ID\"}] {\"id\":\"ID\"}"]);
    // Garbage after a document costs only itself.
    for tail in [
        "}", "]", ",", ":", "#", " x", "\"x\"", "1", "null", "true", ";", "//", "/**/", "\u{0}", "{", "\"",
        "\u{feff}", "\u{a0}",
    ] {
        add(1, true, &[&format!("{doc}{tail}")]);
    }
    add(
        1,
        true,
        &[
            "[{\"id\":\"ID\"},]",
            "[{\"id\":\"ID\"},1]",
            "[{\"id\":\"ID\"}",
            "[{\"id\":\"ID\"},",
            "[{\"id\":\"ID\"}}",
        ],
    );
    add(1, true, &["[1,{\"id\":\"ID\"}]", "[[],{\"id\":\"ID\"}]", "[null,\"x\",{\"id\":\"ID\"}]"]);
    add(0, false, &["[]", "[ ]", "[][]"]);
    // JSON, but no event.
    add(
        0,
        true,
        &[
            "\"ID\"",
            "1",
            "-0",
            "1e400",
            "null",
            "true",
            "false",
            "\"\"",
            "[1]",
            "[[]]",
            "[[{\"id\":\"ID\"}]]",
            "[\"ID\"]",
        ],
    );
    // Broken before there is a document.
    #[rustfmt::skip]
    let broken = [
        "{", "}", "[", "]", ",", ":", "\"", "\\", "/", "#", "-", "{{", "{\"id\"", "{\"id\":", "{\"id\":\"ID",
        "{\"id\":\"ID\"", "{\"id\":\"ID\",", "{\"id\":\"ID\",}", "{\"id\":\"ID\"]", "{\"id\" \"ID\"}",
        "{id:\"ID\"}", "{'id':'ID'}", "{{\"id\":\"ID\"}}", "(\u{7b}\"id\":\"ID\"})",
        "var x = {\"id\":\"ID\"};", "callback({\"id\":\"ID\"})", ")]}',{\"id\":\"ID\"}",
        "/**/{\"id\":\"ID\"}", "// {\"id\":\"ID\"}", "# {\"id\":\"ID\"}", "id: ID", "id,ID", "<id>ID</id>",
        "<html>", "\u{feff}\u{feff}{\"id\":\"ID\"}", "\u{a0}{\"id\":\"ID\"}", "\u{0}{\"id\":\"ID\"}",
        "x{\"id\":\"ID\"}", ",{\"id\":\"ID\"}", "]{\"id\":\"ID\"}", "tru{\"id\":\"ID\"}",
        "{\"id\":\"ID\"/**/}", "{/**/\"id\":\"ID\"}", "{\"id\"\u{c}:\"ID\"}", "{\"id\":\"I\tD\"}",
        "[\u{feff}{\"id\":\"ID\"}",
    ];
    add(0, true, &broken);
    all.extend(other_encodings(doc));
    all
}

/// No event file is written in these.
fn other_encodings(doc: &str) -> Vec<Whole> {
    let units = || doc.encode_utf16();
    let little: Vec<u8> = units().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = units().flat_map(u16::to_be_bytes).collect();
    let wide: Vec<u8> = doc.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect();
    let texts = [
        little.clone(),
        big.clone(),
        [b"\xff\xfe", &little[..]].concat(),
        [b"\xfe\xff", &big[..]].concat(),
        wide.clone(),
        [b"\xff\xfe\0\0", &wide[..]].concat(),
        b"\xff\xfe".to_vec(),
        b"\xef\xbb".to_vec(),
        [b"\xef\xbb", doc.as_bytes()].concat(),
        // EBCDIC's `{`
        b"\xc0\x7f".to_vec(),
    ];
    texts.into_iter().map(|text| Whole { text, documents: 0, bad: true }).collect()
}
