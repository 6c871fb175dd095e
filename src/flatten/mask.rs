//! Quarantined text: a document's own text with the values of masked columns made unreadable.
//!
//! It walks the text rather than the decoded values, because the text says more: a secret may stand under a name
//! that a later member replaced, or inside an object where a scalar was expected. Whatever stands where a masked
//! value belongs, or where the way to one leads through, becomes `"***"`.

use crate::batch::Chunk;
use crate::pipeline::model::{Base, ColumnSource, Level, Path, Pipeline, Shape, Step};
use crate::text::unescape;

/// Which places of the event's shape hold masked values, or lead to some.
#[derive(Debug)]
pub struct MaskTree {
    shape: Shape,
    /// By node of the shape.
    masked: Vec<bool>,
    /// By node: something below is masked.
    leads: Vec<bool>,
}

impl MaskTree {
    pub fn new(pipeline: &Pipeline) -> Self {
        let size = pipeline.shape.nodes.len();
        let mut tree =
            MaskTree { shape: pipeline.shape.clone(), masked: vec![false; size], leads: vec![false; size] };
        for table in &pipeline.tables {
            for column in table.columns.iter().filter(|c| c.mask.is_some()) {
                if let ColumnSource::Path { path, .. } = &column.source {
                    tree.mark(&table.each, path);
                }
            }
        }
        tree
    }

    fn mark(&mut self, each: &[Level], path: &Path) {
        let Some(nodes) = self.way(each, path) else { return };
        let (last, above) = nodes.split_last().map_or((0, &[][..]), |(l, a)| (*l, a));
        self.masked.get_mut(last).into_iter().for_each(|m| *m = true);
        for node in above {
            self.leads.get_mut(*node).into_iter().for_each(|l| *l = true);
        }
    }

    /// The value at `path` of a row of `each` is masked by some column.
    pub fn hides(&self, each: &[Level], path: &Path) -> bool {
        let node = self.way(each, path).and_then(|nodes| nodes.last().copied());
        node.is_some_and(|n| self.is_masked(n))
    }

    /// The nodes from the event to the path's end.
    fn way(&self, each: &[Level], path: &Path) -> Option<Vec<usize>> {
        let levels = match base(each.len(), path) {
            Base::Event => 0,
            Base::Parent => each.len().saturating_sub(1),
            Base::Element => each.len(),
        };
        let mut nodes = vec![0];
        for level in each.iter().take(levels) {
            self.follow(&mut nodes, &level.steps)?;
            self.follow(&mut nodes, &[Step::Index(0)])?;
        }
        self.follow(&mut nodes, &path.steps)?;
        Some(nodes)
    }

    fn follow(&self, nodes: &mut Vec<usize>, steps: &[Step]) -> Option<()> {
        for step in steps {
            let node = self.shape.nodes.get(*nodes.last()?)?;
            let next = match step {
                Step::Field(slot) => node.fields.get(*slot as usize)?.1,
                // The shape has one node for all elements: masking one of them masks all.
                Step::Index(_) => node.element?,
            };
            nodes.push(next as usize);
        }
        Some(())
    }

    fn is_masked(&self, node: usize) -> bool {
        self.masked.get(node).copied().unwrap_or(false)
    }

    /// Something at the node or below it is masked.
    fn concerns(&self, node: usize) -> bool {
        self.is_masked(node) || self.leads.get(node).copied().unwrap_or(false)
    }

    fn member(&self, node: usize, name: &[u8]) -> Option<usize> {
        let name = unescape(name).ok()?;
        let fields = &self.shape.nodes.get(node)?.fields;
        fields.iter().find(|(n, _)| **n == *name).map(|(_, n)| *n as usize)
    }

    fn element(&self, node: usize) -> Option<usize> {
        self.shape.nodes.get(node)?.element.map(|n| n as usize).filter(|n| self.concerns(*n))
    }

    fn has_members(&self, node: usize) -> bool {
        let fields = self.shape.nodes.get(node).map(|n| n.fields.as_slice()).unwrap_or_default();
        fields.iter().any(|(_, n)| self.concerns(*n as usize))
    }
}

impl MaskTree {
    /// The text of a whole, well-formed document with masked values as `"***"` (null stays), cut to at most `cap`
    /// bytes. Empty if the chunk has no such document.
    pub fn masked_text(&self, chunk: &Chunk, document: u32, cap: usize) -> String {
        let document = chunk.documents.get(document as usize);
        let text = document.and_then(|d| chunk.text.get(d.start as usize..d.end as usize));
        let mut walk = Walk { tree: self, text: text.unwrap_or_default(), at: 0, out: Vec::new(), cap };
        walk.value(Some(0));
        cut(walk.out, cap)
    }
}

/// Where a path really starts: `@` is the event where there is no level, `^` where there is only one.
pub(super) fn base(levels: usize, path: &Path) -> Base {
    match (path.base, levels) {
        (Base::Event, _) | (_, 0) | (Base::Parent, 1) => Base::Event,
        (base, _) => base,
    }
}

/// At most `cap` bytes, ending with a whole character.
fn cut(mut text: Vec<u8>, cap: usize) -> String {
    if text.len() > cap {
        let whole = (0..=cap).rev().find(|at| text.get(*at).is_none_or(|b| b & 0xC0 != 0x80));
        text.truncate(whole.unwrap_or(0));
    }
    String::from_utf8(text).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

/// Copies JSON text value by value. The text was parsed before; on any other it stops early, but never fails.
struct Walk<'a> {
    tree: &'a MaskTree,
    text: &'a [u8],
    at: usize,
    out: Vec<u8>,
    cap: usize,
}

impl Walk<'_> {
    /// Copies the value that comes next; `node` is its place in the shape. Recursion ends where the shape does.
    fn value(&mut self, node: Option<usize>) {
        self.space();
        let Some(node) = node.filter(|n| self.tree.concerns(*n)) else {
            let end = self.value_end();
            return self.copy_to(end);
        };
        let end = self.value_end();
        let null = self.text.get(self.at..end) == Some(b"null");
        match self.peek() {
            _ if null => self.copy_to(end),
            Some(b'{') if !self.tree.is_masked(node) && self.tree.has_members(node) => self.object(node),
            Some(b'[') if !self.tree.is_masked(node) && self.tree.element(node).is_some() => self.array(node),
            _ => {
                self.out.extend_from_slice(b"\"***\"");
                self.at = end;
            }
        }
    }

    fn object(&mut self, node: usize) {
        self.copy_to(self.at + 1);
        while self.more(b'}') {
            let end = self.value_end();
            let name = self.text.get(self.at + 1..end.saturating_sub(1)).unwrap_or_default();
            let member = self.tree.member(node, name);
            self.copy_to(end);
            self.space();
            self.copy_to(self.at + 1);
            self.value(member);
        }
    }

    fn array(&mut self, node: usize) {
        let element = self.tree.element(node);
        self.copy_to(self.at + 1);
        while self.more(b']') {
            self.value(element);
        }
    }

    /// Copies up to the next member or element; false behind the container's end, or when enough was copied.
    fn more(&mut self, close: u8) -> bool {
        self.space();
        if self.peek() == Some(b',') {
            self.copy_to(self.at + 1);
            self.space();
        }
        let ended = self.peek() == Some(close);
        if ended {
            self.copy_to(self.at + 1);
        }
        !ended && self.peek().is_some() && self.out.len() <= self.cap
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn space(&mut self) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = rest.iter().take_while(|b| b.is_ascii_whitespace()).count();
        self.copy_to(self.at + length);
    }

    fn copy_to(&mut self, end: usize) {
        let end = end.min(self.text.len());
        let copied = self.text.get(self.at..end).unwrap_or_default();
        // No more than what the cap lets show, and one byte that says there was more.
        let room = (self.cap + 1).saturating_sub(self.out.len());
        self.out.extend(copied.iter().take(room));
        self.at = end;
    }

    /// Where the value that begins here ends: at least one byte on, so that every loop moves.
    fn value_end(&self) -> usize {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = match rest.first() {
            Some(b'"') => string_length(rest),
            Some(b'{' | b'[') => container_length(rest),
            _ => rest.iter().position(|b| b",]}: \t\r\n".contains(b)).unwrap_or(rest.len()),
        };
        self.at + length.max(1)
    }
}

/// Of the string that `text` begins with, quotes included.
fn string_length(text: &[u8]) -> usize {
    let mut at = 1;
    while let Some(b) = text.get(at) {
        match b {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

/// Of the object or array that `text` begins with.
fn container_length(text: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0usize);
    while let Some(b) = text.get(at) {
        match b {
            b'"' => at += string_length(text.get(at..).unwrap_or_default()) - 1,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::flatten::Flattener;
    use crate::flatten::testing::{Pipe, chunk};
    use crate::pipeline::model::{Mask, Type};

    fn pipeline() -> Pipeline {
        Pipe::new()
            .key("$.id")
            .sequence("$.at")
            .dimension("person", "", "id")
            .column("id", "$.id", Type::Text)
            .masked("token", "$.auth.token", Type::Text, Mask::Sha256)
            .dimension("line", "$.lines[*]", "sku")
            .column("sku", "@.sku", Type::Text)
            .masked("card", "@.card.number", Type::Int64, Mask::Drop)
            .masked("first", "@.tags[0]", Type::Text, Mask::Redact)
            .build()
    }

    fn masked(text: &str, cap: usize) -> String {
        let pipeline = pipeline();
        Flattener::new(&pipeline).masked_text(&chunk(&pipeline.shape, &[text]), 0, cap)
    }

    #[test]
    fn masked_values_are_replaced_and_nothing_else() {
        for (text, expected) in [
            (
                r#"{"id": "a", "auth": {"token": "s3cret", "x": 1}}"#,
                r#"{"id": "a", "auth": {"token": "***", "x": 1}}"#,
            ),
            (r#"{"auth":{"token":null}}"#, r#"{"auth":{"token":null}}"#),
            (r#"{"auth":{"t\u006fken":"s"}}"#, r#"{"auth":{"t\u006fken":"***"}}"#),
            (
                r#"{"lines":[{"sku":"x","card":{"number": 42 },"tags":["s","t"]},null]}"#,
                r#"{"lines":[{"sku":"x","card":{"number": "***" },"tags":["***","***"]},null]}"#,
            ),
            (r#"{"other":{"token":"shown"}, "b":"}\"{"}"#, r#"{"other":{"token":"shown"}, "b":"}\"{"}"#),
        ] {
            assert_eq!(masked(text, 1000), expected);
        }
    }

    /// What the decoded values do not hold must not show either.
    #[test]
    fn misplaced_secrets_do_not_show() {
        for (text, expected) in [
            (r#"{"auth":{"token":"first","token":"last"}}"#, r#"{"auth":{"token":"***","token":"***"}}"#),
            (r#"{"auth":{"token":{"deep":["s"]}},"id":1}"#, r#"{"auth":{"token":"***"},"id":1}"#),
            (r#"{"auth":"s","id":1}"#, r#"{"auth":"***","id":1}"#),
            (r#"{"auth":[{"token":"s"}]}"#, r#"{"auth":"***"}"#),
            (r#"{"lines":{"sku":1,"card":{"number":42}}}"#, r#"{"lines":"***"}"#),
            (r#"["s"]"#, r#""***""#),
        ] {
            assert_eq!(masked(text, 1000), expected);
        }
    }

    #[test]
    fn the_cap_falls_between_characters() {
        let text = "{\"id\":\"\u{e9}\u{e9}\u{e9}\",\"auth\":{\"token\":\"s\"}}";
        let whole = masked(text, 1000);
        for cap in 0..whole.len() + 2 {
            let part = masked(text, cap);
            assert!(part.len() <= cap && part.len() + 2 > cap.min(whole.len()), "{cap}: {part}");
            assert!(whole.starts_with(&part), "{cap}: {part}");
        }
    }

    proptest! {
        /// Text that was never parsed cannot make the walk fail or run on.
        #[test]
        fn no_text_panics(text in r#"[\[\]{}:,"\\ a0-9]{0,60}|\{"auth":.{0,30}"#, cap in 0..100usize) {
            let pipeline = pipeline();
            let mut odd = chunk(&pipeline.shape, &["{}"]);
            odd.text = text.into_bytes();
            odd.documents[0].end = odd.text.len() as u32;
            prop_assert!(Flattener::new(&pipeline).masked_text(&odd, 0, cap).len() <= cap);
        }
    }
}
