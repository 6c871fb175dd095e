//! Reads typed values out of the tree: each takes a node or says what it should have been.

use super::model::Type;
use super::path::{self, RawPath};
use super::problem::{At, Problems, Span, list, quoted, unknown};
use super::tree::{Node, Tree};

/// The keys of a table, of which only known ones were let through.
pub(super) struct Members<'n> {
    entries: &'n [(At<String>, Node)],
    pub span: Span,
    /// What the table is, for messages.
    what: String,
}

/// `None` if this is no table at all, which is then said.
pub(super) fn members<'n>(
    p: &mut Problems,
    node: &'n Node,
    what: &str,
    allowed: &[&str],
) -> Option<Members<'n>> {
    let all = any_members(p, node, what)?;
    for (key, _) in all.entries.iter().filter(|(k, _)| !allowed.contains(&k.value.as_str())) {
        p.add(&key.span, unknown("unknown key", &key.value, allowed.iter().copied()));
    }
    Some(all)
}

/// A table whose keys are names of the writer's own.
pub(super) fn any_members<'n>(p: &mut Problems, node: &'n Node, what: &str) -> Option<Members<'n>> {
    let Tree::Map(entries) = &node.tree else {
        return wrong(p, node, what, "a table");
    };
    Some(Members { entries, span: node.span.clone(), what: what.to_owned() })
}

impl<'n> Members<'n> {
    pub fn iter(&self) -> impl Iterator<Item = &'n (At<String>, Node)> + use<'n> {
        self.entries.iter()
    }

    pub fn get(&self, key: &str) -> Option<&'n Node> {
        self.entries.iter().find(|(k, _)| k.value == key).map(|(_, node)| node)
    }

    pub fn require(&self, p: &mut Problems, key: &str) -> Option<&'n Node> {
        let found = self.get(key);
        if found.is_none() {
            p.add(&self.span, format!("missing key {key:?} in {}", self.what));
        }
        found
    }

    /// An optional key, read by `read`, or its default.
    pub fn or<T>(
        &self,
        p: &mut Problems,
        key: &str,
        default: T,
        read: impl FnOnce(&mut Problems, &Node, &str) -> Option<T>,
    ) -> T {
        self.get(key).and_then(|node| read(p, node, &quoted(key))).unwrap_or(default)
    }
}

fn wrong<T>(p: &mut Problems, node: &Node, what: &str, should: &str) -> Option<T> {
    p.add(&node.span, format!("{what} must be {should}, not {}", node.what()));
    None
}

pub(super) fn text(p: &mut Problems, node: &Node, what: &str) -> Option<At<String>> {
    match &node.tree {
        Tree::Text(t) => Some(At::new(t.clone(), node.span.clone())),
        _ => wrong(p, node, what, "text"),
    }
}

pub(super) fn boolean(p: &mut Problems, node: &Node, what: &str) -> Option<bool> {
    match node.tree {
        Tree::Bool(b) => Some(b),
        _ => wrong(p, node, what, "true or false"),
    }
}

/// A list of names with at least one in it, none twice.
pub(super) fn names(p: &mut Problems, node: &Node, what: &str) -> Option<Vec<At<String>>> {
    let Tree::List(nodes) = &node.tree else {
        return wrong(p, node, what, "a list of names, as [\"a\", \"b\"]");
    };
    if nodes.is_empty() {
        p.add(&node.span, format!("{what} is empty: it needs at least one name"));
    }
    let mut names: Vec<At<String>> = Vec::new();
    for name in nodes.iter().filter_map(|n| text(p, n, &format!("each name in {what}"))).collect::<Vec<_>>() {
        match names.iter().any(|n| n.value == name.value) {
            true => p.add(&name.span, format!("{what} names {} twice", quoted(&name.value))),
            false => names.push(name),
        }
    }
    Some(names)
}

/// A number from 1 to `most`.
pub(super) fn count(p: &mut Problems, node: &Node, what: &str, most: u64) -> Option<u64> {
    let Tree::Int(i) = node.tree else {
        return wrong(p, node, what, "a whole number");
    };
    in_range(p, node, what, u64::try_from(i).ok(), most, &most.to_string())
}

fn in_range(
    p: &mut Problems,
    node: &Node,
    what: &str,
    n: Option<u64>,
    most: u64,
    most_text: &str,
) -> Option<u64> {
    let fits = n.filter(|n| (1..=most).contains(n));
    if fits.is_none() {
        p.add(&node.span, format!("{what} must lie between 1 and {most_text}"));
    }
    fits
}

const SIZES: [(&str, u64); 9] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];
const DURATIONS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("min", 60_000), ("h", 3_600_000)];

/// Bytes, from 1 to `most`: `"64 MiB"`, or a bare number of bytes.
pub(super) fn size(p: &mut Problems, node: &Node, what: &str, most: u64) -> Option<u64> {
    let bytes = match &node.tree {
        Tree::Int(i) => u64::try_from(*i).ok(),
        Tree::Text(t) => measure(p, node, what, t, &SIZES)?,
        _ => return wrong(p, node, what, "a size, as \"64 MiB\""),
    };
    let unit = SIZES.iter().take(5).rev().find(|(_, n)| most.is_multiple_of(*n));
    let most_text = unit.map_or_else(|| most.to_string(), |(unit, n)| format!("{} {unit}", most / n));
    in_range(p, node, what, bytes, most, &most_text)
}

/// Milliseconds, at most a day: `"1s"`, `"200 ms"`.
pub(super) fn duration(p: &mut Problems, node: &Node, what: &str) -> Option<u64> {
    let Tree::Text(t) = &node.tree else {
        return wrong(p, node, what, "a time with its unit, as \"1s\"");
    };
    let ms = measure(p, node, what, t, &DURATIONS)?;
    let fits = ms.filter(|ms| *ms <= 86_400_000);
    if fits.is_none() {
        p.add(&node.span, format!("{what} must be at most 24h"));
    }
    fits
}

/// A number and its unit. `None` has been told; `Some(None)` is a number too large to hold.
fn measure(
    p: &mut Problems,
    node: &Node,
    what: &str,
    text: &str,
    units: &[(&str, u64)],
) -> Option<Option<u64>> {
    let text = text.trim();
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let names = units.iter().map(|u| u.0);
    if digits.is_empty() {
        let units: Vec<&str> = names.collect();
        p.add(&node.span, format!("{what} must be a whole number and a unit; units: {}", list(&units)));
        return None;
    }
    let Some((_, factor)) = units.iter().find(|u| u.0 == unit.trim()) else {
        p.add(&node.span, unknown(&format!("unknown unit in {what}:"), unit.trim(), names));
        return None;
    };
    Some(digits.parse::<u64>().ok().and_then(|n| n.checked_mul(*factor)))
}

pub(super) fn path(p: &mut Problems, node: &Node, what: &str) -> Option<At<RawPath>> {
    any_path(p, node, what, false)
}

/// `each`: the path may hold `[*]`.
pub(super) fn any_path(p: &mut Problems, node: &Node, what: &str, each: bool) -> Option<At<RawPath>> {
    let text = text(p, node, what)?;
    match path::parse(&text.value, each) {
        Ok(path) => Some(At::new(path, text.span)),
        Err(mistake) => {
            let at = inside(p, &text, mistake.at);
            p.add(&at, format!("path {}: {}", quoted(&text.value), mistake.message));
            None
        }
    }
}

/// Where byte `at` of a text stands in the file; the text's beginning where TOML escapes hide it.
fn inside(p: &Problems, text: &At<String>, at: usize) -> Span {
    let first = text.span.start.saturating_add(1);
    let plain = p.text(first..first.saturating_add(text.value.len())) == Some(text.value.as_str());
    let start = if plain { first.saturating_add(at) } else { text.span.start };
    start..start
}

pub(super) fn kind(p: &mut Problems, node: &Node, what: &str) -> Option<At<Type>> {
    let text = text(p, node, what)?;
    match parse_kind(&text.value) {
        Ok(kind) => Some(At::new(kind, text.span)),
        Err(message) => {
            p.add(&text.span, message);
            None
        }
    }
}

fn parse_kind(text: &str) -> Result<Type, String> {
    const NAMES: [&str; 7] = ["text", "int64", "float64", "bool", "date", "timestamp", "decimal(18,4)"];
    Ok(match text {
        "text" => Type::Text,
        "int64" => Type::Int64,
        "float64" => Type::Float64,
        "bool" => Type::Bool,
        "date" => Type::Date,
        "timestamp" => Type::Timestamp,
        _ => match text.strip_prefix("decimal") {
            Some(arguments) => decimal(arguments.trim()).ok_or(
                "a decimal is decimal(p,s): p digits from 1 to 38, s of them after the point, 0 to p",
            )?,
            None => return Err(unknown("unknown type", text, NAMES)),
        },
    })
}

fn decimal(arguments: &str) -> Option<Type> {
    let (precision, scale) = arguments.strip_prefix('(')?.strip_suffix(')')?.split_once(',')?;
    let (precision, scale): (u8, i8) = (precision.trim().parse().ok()?, scale.trim().parse().ok()?);
    let fits = (1..=38).contains(&precision) && scale >= 0 && scale.unsigned_abs() <= precision;
    fits.then_some(Type::Decimal { precision, scale })
}

/// One of a few words.
pub(super) fn word<T: Copy>(p: &mut Problems, node: &Node, what: &str, words: &[(&str, T)]) -> Option<T> {
    let text = text(p, node, what)?;
    let found = words.iter().find(|w| w.0 == text.value).map(|w| w.1);
    if found.is_none() {
        p.add(&text.span, unknown(&format!("unknown {what}"), &text.value, words.iter().map(|w| w.0)));
    }
    found
}
