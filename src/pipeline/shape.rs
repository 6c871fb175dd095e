//! The union of all paths: what to keep of a document, and which slots each path follows.

use std::rc::Rc;

use super::model::{Shape, ShapeNode, Step};
use super::path::Segment;
use super::problem::{Problems, Span};

/// Grows the shape path by path, and refuses a place that would have to be two things at once.
#[derive(Debug)]
pub(super) struct Places {
    shape: Shape,
    uses: Vec<Vec<(Use, Rc<str>)>>,
}

/// What a path takes a place for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Object,
    Array,
    Value,
}

impl Use {
    fn what(self) -> &'static str {
        match self {
            Use::Object => "an object",
            Use::Array => "an array",
            Use::Value => "a single value",
        }
    }
}

/// Whose path it is, for messages.
#[derive(Debug, Clone)]
pub(super) struct Who {
    pub label: Rc<str>,
    pub span: Span,
}

impl Places {
    pub fn new() -> Self {
        Places { shape: Shape { nodes: vec![ShapeNode::default()] }, uses: vec![Vec::new()] }
    }

    pub fn finish(self) -> Shape {
        self.shape
    }

    /// Follows `segments` from a node, adding what is not there. Returns the node reached; `[*]` gives no step.
    pub fn walk(&mut self, p: &mut Problems, from: u32, segments: &[Segment], who: &Who) -> (u32, Vec<Step>) {
        let mut node = from;
        let mut steps = Vec::with_capacity(segments.len());
        for segment in segments {
            match segment {
                Segment::Name(name) => {
                    self.take(p, node, Use::Object, who);
                    let (slot, child) = self.field(node, name);
                    steps.push(Step::Field(slot));
                    node = child;
                }
                Segment::Index(index) => {
                    node = self.element(p, node, who);
                    steps.push(Step::Index(*index));
                }
                Segment::Each => node = self.element(p, node, who),
            }
        }
        (node, steps)
    }

    /// The path ends here: its column wants this very value.
    pub fn value(&mut self, p: &mut Problems, node: u32, who: &Who) {
        self.take(p, node, Use::Value, who);
        if let Some(node) = self.node(node) {
            node.scalar = true;
        }
    }

    fn node(&mut self, id: u32) -> Option<&mut ShapeNode> {
        self.shape.nodes.get_mut(id as usize)
    }

    fn add(&mut self) -> u32 {
        self.shape.nodes.push(ShapeNode::default());
        self.uses.push(Vec::new());
        // A node costs at least two bytes of the file, so their number fits.
        u32::try_from(self.shape.nodes.len() - 1).unwrap_or(u32::MAX)
    }

    /// Slot and node of a member.
    fn field(&mut self, id: u32, name: &str) -> (u32, u32) {
        let fields = self.node(id).map(|n| &n.fields);
        let found =
            fields.and_then(|f| f.iter().position(|(n, _)| **n == *name).map(|slot| (slot, f[slot].1)));
        let (slot, child) = found.unwrap_or_else(|| {
            let child = self.add();
            let fields = self.node(id).map(|n| &mut n.fields);
            let slot = fields.map_or(0, |f| {
                f.push((name.into(), child));
                f.len() - 1
            });
            (slot, child)
        });
        (u32::try_from(slot).unwrap_or(u32::MAX), child)
    }

    fn element(&mut self, p: &mut Problems, id: u32, who: &Who) -> u32 {
        self.take(p, id, Use::Array, who);
        if let Some(element) = self.node(id).and_then(|n| n.element) {
            return element;
        }
        let element = self.add();
        if let Some(node) = self.node(id) {
            node.element = Some(element);
        }
        element
    }

    /// A document gives one thing at one place; whoever asks for another would never be served.
    fn take(&mut self, p: &mut Problems, id: u32, wanted: Use, who: &Who) {
        let Some(uses) = self.uses.get_mut(id as usize) else { return };
        if uses.iter().any(|u| u.0 == wanted) {
            return;
        }
        if let Some((other, label)) = uses.first() {
            let (want, has) = (wanted.what(), other.what());
            p.add(&who.span, format!("{} needs {want} where {label} needs {has}", who.label));
        }
        uses.push((wanted, who.label.clone()));
    }
}
