//! TOML text to a plain tree in which every key and value knows where it stands.

use toml_edit::{Document, Item, Table, TableLike, Value};

use super::problem::{At, Problems, Span};

#[derive(Debug)]
pub(super) struct Node {
    pub tree: Tree,
    pub span: Span,
}

#[derive(Debug)]
pub(super) enum Tree {
    Text(String),
    Int(i64),
    Bool(bool),
    List(Vec<Node>),
    /// In the order of the file.
    Map(Vec<(At<String>, Node)>),
    /// What no key of a pipeline file takes; says what it is.
    Other(&'static str),
}

impl Node {
    /// What this is, for "… must be text, not a list".
    pub fn what(&self) -> &'static str {
        match self.tree {
            Tree::Text(_) => "text",
            Tree::Int(_) => "a number",
            Tree::Bool(_) => "true or false",
            Tree::List(_) => "a list",
            Tree::Map(_) => "a table",
            Tree::Other(what) => what,
        }
    }
}

/// The whole document, or its first syntax error in `problems`.
pub(super) fn parse(text: &str, problems: &mut Problems) -> Option<Node> {
    match Document::parse(text) {
        Ok(document) => Some(map(document.as_table(), 0..0)),
        Err(error) => {
            let end = text.trim_end().len();
            problems.add(&error.span().unwrap_or(end..end), error.message().replace('\n', " "));
            None
        }
    }
}

/// `near` stands in for the place of what has none of its own, as a table that only its children name.
fn map(table: &dyn TableLike, near: Span) -> Node {
    let entry = |(name, item): (&str, &Item)| {
        let span = table.key(name).and_then(|k| k.span()).or(item.span()).unwrap_or(near.clone());
        Some((At::new(name.to_owned(), span.clone()), node(item, span)?))
    };
    Node { tree: Tree::Map(table.iter().filter_map(entry).collect()), span: near.clone() }
}

fn node(item: &Item, key: Span) -> Option<Node> {
    let table = |t: &Table| map(t, t.span().unwrap_or(key.clone()));
    Some(match item {
        Item::None => return None,
        Item::Value(v) => value(v, key),
        Item::Table(t) => table(t),
        Item::ArrayOfTables(a) => {
            Node { tree: Tree::List(a.iter().map(table).collect()), span: a.span().unwrap_or(key.clone()) }
        }
    })
}

fn value(v: &Value, near: Span) -> Node {
    let span = v.span().unwrap_or(near);
    let tree = match v {
        Value::String(s) => Tree::Text(s.value().clone()),
        Value::Integer(i) => Tree::Int(*i.value()),
        Value::Boolean(b) => Tree::Bool(*b.value()),
        Value::Float(_) => Tree::Other("a number with a fraction"),
        Value::Datetime(_) => Tree::Other("a date or time"),
        Value::Array(a) => Tree::List(a.iter().map(|v| value(v, span.clone())).collect()),
        Value::InlineTable(t) => return map(t, span),
    };
    Node { tree, span }
}
