//! The pipeline file as typed: every value understood by itself, none yet compared with another.

use std::path::PathBuf;

use super::model::{Limits, Mask, Source, Type};
use super::path::RawPath;
use super::problem::{At, Problems, Span, quoted};
use super::reader::{
    Members, any_members, any_path, boolean, count, duration, kind, members, names, path, size, text, word,
};
use super::tree::{Node, Tree};

/// What could be read; whatever could not has been told and is missing or at its default.
#[derive(Debug)]
pub(super) struct File {
    pub name: At<String>,
    pub source: Source,
    pub limits: Limits,
    pub quarantine_raw: bool,
    pub mirror: bool,
    pub history_commits: Option<u64>,
    /// `None`: could not be read.
    pub event_key: Option<Vec<PartFile>>,
    pub sequence: Option<Vec<PartFile>>,
    pub tables: Vec<TableFile>,
    /// Name and SQL.
    pub views: Vec<(At<String>, String)>,
}

#[derive(Debug)]
pub(super) struct PartFile {
    pub path: At<RawPath>,
    /// As typed; a key part without one is text.
    pub kind: Option<Type>,
    pub optional: Option<Span>,
    pub span: Span,
}

#[derive(Debug)]
pub(super) struct TableFile {
    pub name: At<String>,
    pub each: Option<At<RawPath>>,
    /// `Some` but empty: could not be read.
    pub owner: Option<Vec<At<String>>>,
    pub key: Vec<At<String>>,
    pub columns: Vec<ColumnFile>,
    pub references: Vec<ReferenceFile>,
}

#[derive(Debug)]
pub(super) struct ColumnFile {
    pub name: At<String>,
    pub source: SourceFile,
    pub mask: Option<Mask>,
    pub null_on_error: bool,
    pub reference: Option<ReferenceFile>,
}

#[derive(Debug)]
pub(super) enum SourceFile {
    Path { path: At<RawPath>, kind: Type },
    Hash(Vec<At<String>>),
    Lookup { table: At<String>, matches: Vec<(At<String>, At<String>)>, take: At<String> },
    Unread,
}

/// `columns` (of this table) point to `to` of another.
#[derive(Debug)]
pub(super) struct ReferenceFile {
    pub span: Span,
    pub columns: Vec<At<String>>,
    pub table: At<String>,
    pub to: Vec<At<String>>,
}

/// Everything that the tree says.
pub(super) fn read(p: &mut Problems, root: &Node) -> File {
    const KEYS: [&str; 10] = [
        "version",
        "name",
        "source",
        "limits",
        "quarantine",
        "mirror",
        "history",
        "event",
        "tables",
        "views",
    ];
    let mut file = File {
        name: At::new(String::new(), 0..0),
        source: default_source(),
        limits: default_limits(),
        quarantine_raw: false,
        mirror: true,
        history_commits: None,
        event_key: None,
        sequence: None,
        tables: Vec::new(),
        views: Vec::new(),
    };
    let Some(top) = members(p, root, "the pipeline file", &KEYS) else { return file };
    version(p, &top);
    if let Some(name) = top.require(p, "name").and_then(|n| text(p, n, "\"name\"")) {
        file.name = name;
    }
    if let Some(node) = top.require(p, "source") {
        source(p, node, &mut file.source);
    }
    if let Some(node) = top.get("limits") {
        limits(p, node, &mut file.limits);
    }
    file.quarantine_raw = switch(p, &top, "quarantine", "raw", false);
    file.mirror = switch(p, &top, "mirror", "sqlite", true);
    file.history_commits = history(p, &top);
    if let Some(node) = top.require(p, "event") {
        event(p, node, &mut file);
    }
    if let Some(all) = top.require(p, "tables").and_then(|n| any_members(p, n, "[tables]")) {
        if all.iter().next().is_none() {
            p.add(&all.span, "a pipeline needs at least one table");
        }
        file.tables = all.iter().map(|(name, node)| table(p, name, node)).collect();
    }
    if let Some(all) = top.get("views").and_then(|n| any_members(p, n, "[views]")) {
        file.views =
            all.iter().filter_map(|(name, node)| Some((name.clone(), view(p, name, node)?))).collect();
    }
    file
}

/// The SQL of a view, without the semicolon that one might end it with.
fn view(p: &mut Problems, name: &At<String>, node: &Node) -> Option<String> {
    let m = members(p, node, &format!("view {}", quoted(&name.value)), &["sql"])?;
    let sql = m.require(p, "sql").and_then(|n| text(p, n, "\"sql\""))?;
    let trimmed = sql.value.trim().trim_end_matches(';').trim_end();
    if trimmed.is_empty() {
        p.add(&sql.span, "\"sql\" must be one SELECT over the tables");
        return None;
    }
    Some(trimmed.to_owned())
}

fn version(p: &mut Problems, top: &Members) {
    match top.require(p, "version") {
        Some(Node { tree: Tree::Int(1), .. }) | None => {}
        Some(other) => p.add(&other.span, "unknown version: this millrace reads version = 1"),
    }
}

/// `[table] key = true`, of which both may be left out.
fn switch(p: &mut Problems, top: &Members, table: &str, key: &str, default: bool) -> bool {
    let inner = top.get(table).and_then(|node| members(p, node, &format!("[{table}]"), &[key]));
    inner.map_or(default, |m| m.or(p, key, default, boolean))
}

/// `[history] commits = 1000`, of which both may be left out.
fn history(p: &mut Problems, top: &Members) -> Option<u64> {
    let inner = top.get("history").and_then(|node| members(p, node, "[history]", &["commits"]))?;
    let commits = inner.get("commits")?;
    count(p, commits, "\"commits\"", 1 << 40)
}

fn default_source() -> Source {
    Source { path: PathBuf::new(), settle_ms: 1_000, batch_files: 10_000, batch_bytes: 64 << 20 }
}

fn source(p: &mut Problems, node: &Node, source: &mut Source) {
    const KEYS: [&str; 4] = ["path", "settle", "batch_files", "batch_bytes"];
    let Some(m) = members(p, node, "[source]", &KEYS) else { return };
    if let Some(path) = m.require(p, "path").and_then(|n| text(p, n, "\"path\"")) {
        if path.value.is_empty() || path.value.contains('\0') {
            p.add(&path.span, "\"path\" must name a folder");
        }
        source.path = path.value.into();
    }
    source.settle_ms = m.or(p, "settle", source.settle_ms, duration);
    source.batch_files = narrow(m.or(p, "batch_files", 10_000, |p, n, w| count(p, n, w, 1_000_000)));
    source.batch_bytes = m.or(p, "batch_bytes", source.batch_bytes, |p, n, w| size(p, n, w, 1 << 40));
}

fn default_limits() -> Limits {
    Limits {
        depth: 128,
        document_bytes: 64 << 20,
        file_bytes: 64 << 30,
        ratio: 200,
        quarantine_text_bytes: 4 << 10,
        quarantine_documents: 10_000,
    }
}

fn limits(p: &mut Problems, node: &Node, limits: &mut Limits) {
    const KEYS: [&str; 6] =
        ["depth", "document_bytes", "file_bytes", "ratio", "quarantine_text_bytes", "quarantine_documents"];
    let Some(m) = members(p, node, "[limits]", &KEYS) else { return };
    // A decoder may use a stack frame a level, and 1,024 levels fit any thread's stack.
    limits.depth = narrow(m.or(p, "depth", 128, |p, n, w| count(p, n, w, 1_024)));
    // Positions inside a document are 32 bits wide.
    limits.document_bytes =
        m.or(p, "document_bytes", limits.document_bytes, |p, n, w| size(p, n, w, 1 << 30));
    limits.file_bytes = m.or(p, "file_bytes", limits.file_bytes, |p, n, w| size(p, n, w, 1 << 60));
    limits.ratio = m.or(p, "ratio", limits.ratio, |p, n, w| count(p, n, w, 1_000_000));
    limits.quarantine_text_bytes =
        narrow(m.or(p, "quarantine_text_bytes", 4 << 10, |p, n, w| size(p, n, w, 1 << 30)));
    limits.quarantine_documents =
        m.or(p, "quarantine_documents", limits.quarantine_documents, |p, n, w| count(p, n, w, 1_000_000_000));
}

/// The readers' bounds keep these far below `usize::MAX` even on 32 bits.
fn narrow(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

fn event(p: &mut Problems, node: &Node, file: &mut File) {
    let Some(m) = members(p, node, "[event]", &["key", "sequence"]) else { return };
    file.event_key = m.require(p, "key").and_then(|n| parts(p, n, "\"key\""));
    file.sequence = m.require(p, "sequence").and_then(|n| parts(p, n, "\"sequence\""));
}

/// One part or a list of them; `None` if any could not be read.
fn parts(p: &mut Problems, node: &Node, what: &str) -> Option<Vec<PartFile>> {
    let nodes = match &node.tree {
        Tree::List(nodes) => nodes.as_slice(),
        _ => std::slice::from_ref(node),
    };
    if nodes.is_empty() {
        p.add(&node.span, format!("{what} is empty: it needs at least one path"));
    }
    let read: Vec<Option<PartFile>> = nodes.iter().map(|n| part(p, n, what)).collect();
    read.into_iter().collect::<Option<Vec<_>>>().filter(|parts| !parts.is_empty())
}

fn part(p: &mut Problems, node: &Node, what: &str) -> Option<PartFile> {
    let span = node.span.clone();
    if let Tree::Text(_) = node.tree {
        return Some(PartFile { path: path(p, node, what)?, kind: None, optional: None, span });
    }
    let m = members(p, node, &format!("a part of {what}"), &["path", "type", "optional"])?;
    let path = m.require(p, "path").and_then(|n| path(p, n, "\"path\""));
    let kind = m.get("type").map(|n| kind(p, n, "\"type\""));
    let optional = m.or(p, "optional", false, boolean);
    let optional = m.get("optional").filter(|_| optional).map(|n| n.span.clone());
    match kind {
        Some(None) => None,
        kind => Some(PartFile { path: path?, kind: kind.flatten().map(|k| k.value), optional, span }),
    }
}

fn table(p: &mut Problems, name: &At<String>, node: &Node) -> TableFile {
    const KEYS: [&str; 5] = ["each", "owner", "key", "columns", "references"];
    let mut table = TableFile {
        name: name.clone(),
        each: None,
        owner: None,
        key: Vec::new(),
        columns: Vec::new(),
        references: Vec::new(),
    };
    let what = format!("table {}", quoted(&name.value));
    let Some(m) = members(p, node, &what, &KEYS) else { return table };
    table.each = m.get("each").and_then(|n| any_path(p, n, "\"each\"", true));
    table.owner = m.get("owner").map(|n| names(p, n, "\"owner\"").unwrap_or_default());
    table.key = m.require(p, "key").and_then(|n| names(p, n, "\"key\"")).unwrap_or_default();
    if let Some(all) = m.require(p, "columns").and_then(|n| any_members(p, n, "\"columns\"")) {
        table.columns = all.iter().map(|(name, node)| column(p, name, node)).collect();
    }
    if let Some(node) = m.get("references") {
        table.references = references(p, node);
    }
    table
}

fn column(p: &mut Problems, name: &At<String>, node: &Node) -> ColumnFile {
    const KEYS: [&str; 7] = ["path", "type", "mask", "on_error", "hash", "lookup", "references"];
    const MASKS: [(&str, Mask); 3] =
        [("sha256", Mask::Sha256), ("redact", Mask::Redact), ("drop", Mask::Drop)];
    let mut column = ColumnFile {
        name: name.clone(),
        source: SourceFile::Unread,
        mask: None,
        null_on_error: false,
        reference: None,
    };
    if let Tree::Text(_) = node.tree {
        column.source = path_source(path(p, node, "a path"), Some(Type::Text));
        return column;
    }
    let Some(m) = members(p, node, &format!("column {}", quoted(&name.value)), &KEYS) else { return column };
    column.source = column_source(p, &m);
    column.mask = m.get("mask").and_then(|n| word(p, n, "mask", &MASKS));
    column.null_on_error = m.or(p, "on_error", false, |p, n, _| word(p, n, "on_error", &[("null", true)]));
    column.reference = m.get("references").and_then(|n| short_reference(p, name, n));
    column
}

fn path_source(path: Option<At<RawPath>>, kind: Option<Type>) -> SourceFile {
    match (path, kind) {
        (Some(path), Some(kind)) => SourceFile::Path { path, kind },
        _ => SourceFile::Unread,
    }
}

fn column_source(p: &mut Problems, m: &Members) -> SourceFile {
    let found: Vec<&str> = ["path", "hash", "lookup"].into_iter().filter(|k| m.get(k).is_some()).collect();
    let [source] = found[..] else {
        p.add(&m.span, "a column comes from exactly one of \"path\", \"hash\" and \"lookup\"");
        return SourceFile::Unread;
    };
    if source != "path" {
        only_with_path(p, m, source);
    }
    let read = match (source, m.get(source)) {
        ("path", Some(n)) => {
            let kind = m.get("type").map_or(Some(Type::Text), |n| Some(kind(p, n, "\"type\"")?.value));
            Some(path_source(path(p, n, "\"path\""), kind))
        }
        ("hash", Some(n)) => names(p, n, "\"hash\"").map(SourceFile::Hash),
        (_, Some(n)) => lookup(p, n),
        (_, None) => None,
    };
    read.unwrap_or(SourceFile::Unread)
}

fn only_with_path(p: &mut Problems, m: &Members, source: &str) {
    for (key, _) in m.iter().filter(|(k, _)| ["type", "mask", "on_error"].contains(&k.value.as_str())) {
        let why = match source {
            "hash" => "a hash is text made of other columns as they are stored",
            _ => "a lookup takes another column as it is stored",
        };
        p.add(&key.span, format!("{:?} goes with \"path\" only: {why}", key.value));
    }
}

fn lookup(p: &mut Problems, node: &Node) -> Option<SourceFile> {
    let m = members(p, node, "\"lookup\"", &["table", "match", "take"])?;
    let table = m.require(p, "table").and_then(|n| text(p, n, "\"table\""));
    let take = m.require(p, "take").and_then(|n| text(p, n, "\"take\""));
    let mut matches = Vec::new();
    if let Some(pairs) = m.get("match").and_then(|n| any_members(p, n, "\"match\"")) {
        let pair = |(theirs, ours): &(At<String>, Node)| {
            Some((theirs.clone(), text(p, ours, "our column in \"match\"")?))
        };
        matches = pairs.iter().filter_map(pair).collect();
    }
    Some(SourceFile::Lookup { table: table?, matches, take: take? })
}

/// `references = "table.column"` on a column.
fn short_reference(p: &mut Problems, column: &At<String>, node: &Node) -> Option<ReferenceFile> {
    let target = text(p, node, "\"references\"")?;
    let Some((table, to)) = target.value.split_once('.').filter(|(_, to)| !to.contains('.')) else {
        p.add(&target.span, "\"references\" of a column is \"table.column\"");
        return None;
    };
    let at = |name: &str| At::new(name.to_owned(), target.span.clone());
    Some(ReferenceFile {
        span: target.span.clone(),
        columns: vec![column.clone()],
        table: at(table),
        to: vec![at(to)],
    })
}

fn references(p: &mut Problems, node: &Node) -> Vec<ReferenceFile> {
    let Tree::List(nodes) = &node.tree else {
        p.add(&node.span, "\"references\" of a table is a list: write [[tables.NAME.references]]");
        return Vec::new();
    };
    nodes.iter().filter_map(|n| long_reference(p, n)).collect()
}

fn long_reference(p: &mut Problems, node: &Node) -> Option<ReferenceFile> {
    let m = members(p, node, "\"references\"", &["columns", "to"])?;
    let columns = m.require(p, "columns").and_then(|n| names(p, n, "\"columns\""));
    let to = m.require(p, "to").and_then(|n| members(p, n, "\"to\"", &["table", "columns"]));
    let table = to.as_ref()?.require(p, "table").and_then(|n| text(p, n, "\"table\""));
    let theirs = to.as_ref()?.require(p, "columns").and_then(|n| names(p, n, "\"columns\""));
    Some(ReferenceFile { span: m.span, columns: columns?, table: table?, to: theirs? })
}
