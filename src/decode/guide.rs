//! The shape, made quick to follow: which slot a member's name belongs to.

use crate::batch::NONE;
use crate::pipeline::model::{Shape, ShapeNode};

/// A [`Shape`] with a lookup table a node. Made once a pipeline, shared by all threads.
#[derive(Debug)]
pub struct Guide {
    nodes: Vec<Node>,
    /// Of all nodes together: see [`Node::links`].
    links: usize,
}

/// What columns want of one value.
#[derive(Debug)]
pub struct Node {
    fields: Vec<Field>,
    /// Open addressing at a quarter full: slot + 1, or 0. Most unwanted names meet an empty place at once.
    table: Vec<u32>,
    /// Node of the elements, or [`NONE`].
    pub element: u32,
    /// Where this node's links begin among those of the guide: one for an object's beginning, one a slot. What they say
    /// is the scanner's: which member came next, the last time.
    pub links: usize,
}

#[derive(Debug)]
struct Field {
    name: Box<[u8]>,
    /// The name as it mostly stands in a document: in quotes, its colon behind. A name that must be written with escapes has
    /// no such form.
    quoted: Option<Box<[u8]>>,
    node: u32,
}

impl Guide {
    pub fn new(shape: &Shape) -> Self {
        let mut nodes: Vec<Node> = shape.nodes.iter().map(Node::new).collect();
        if nodes.is_empty() {
            nodes.push(Node::new(&ShapeNode::default()));
        }
        let mut links = 0;
        for node in &mut nodes {
            node.links = links;
            links += 1 + node.slots();
        }
        Guide { nodes, links }
    }

    pub fn links(&self) -> usize {
        self.links
    }

    /// The node with this number; [`NONE`] and what does not exist want nothing.
    #[inline(always)]
    pub fn node(&self, id: u32) -> Option<&Node> {
        self.nodes.get(id as usize)
    }
}

impl Node {
    fn new(shape: &ShapeNode) -> Self {
        let fields: Vec<Field> = shape.fields.iter().map(|(name, node)| Field::new(name, *node)).collect();
        let mut table = vec![0; (fields.len() * 4).next_power_of_two()];
        for (slot, field) in (1..).zip(&fields) {
            let mut at = place(&field.name, table.len());
            while table.get(at).is_some_and(|taken| *taken != 0) {
                at = (at + 1) & (table.len() - 1);
            }
            if let Some(free) = table.get_mut(at) {
                *free = slot;
            }
        }
        Node { fields, table, element: shape.element.unwrap_or(NONE), links: 0 }
    }

    /// How many slots an object of this node has.
    #[inline(always)]
    pub fn slots(&self) -> usize {
        self.fields.len()
    }

    /// The node of this slot's value, and the byte behind name and colon, if that is the member at `at`.
    #[inline(always)]
    pub fn follow(&self, slot: u32, text: &[u8], at: usize) -> Option<(u32, usize)> {
        let field = self.fields.get(slot as usize)?;
        let quoted = field.quoted.as_deref()?;
        let end = at + quoted.len();
        same(quoted, text.get(at..end)?).then_some((field.node, end))
    }

    /// The slot of the member with this (unescaped) name, and the node of its value.
    #[inline(always)]
    pub fn find(&self, name: &[u8]) -> Option<(u32, u32)> {
        let mut at = place(name, self.table.len());
        loop {
            let slot = self.table.get(at)?.checked_sub(1)?;
            let field = self.fields.get(slot as usize)?;
            if same(&field.name, name) {
                return Some((slot, field.node));
            }
            at = (at + 1) & (self.table.len() - 1);
        }
    }
}

impl Field {
    fn new(name: &str, node: u32) -> Self {
        let plain = !name.bytes().any(|b| b == b'"' || b == b'\\' || b < b' ');
        let quoted = plain.then(|| [b"\"", name.as_bytes(), b"\":"].concat().into());
        Field { name: name.as_bytes().into(), quoted, node }
    }
}

/// Whether both are the same, without a call where they are as short as names are.
#[inline(always)]
fn same(a: &[u8], b: &[u8]) -> bool {
    match (a.first_chunk::<16>(), a.last_chunk::<16>(), a.first_chunk::<8>(), a.last_chunk::<8>()) {
        _ if a.len() != b.len() => false,
        (Some(head), Some(tail), ..) if a.len() <= 32 => {
            b.first_chunk() == Some(head) && b.last_chunk() == Some(tail)
        }
        (None, None, Some(head), Some(tail)) => b.first_chunk() == Some(head) && b.last_chunk() == Some(tail),
        _ => a == b,
    }
}

/// Length and both ends of a name tell most names of one object apart; the rest is settled by comparing.
#[inline(always)]
fn place(name: &[u8], size: usize) -> usize {
    let (head, tail) = match (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        (Some(head), Some(tail)) => (u64::from_le_bytes(*head), u64::from_le_bytes(*tail)),
        _ => (short(name), 0),
    };
    let mixed = (head ^ tail.rotate_left(29) ^ name.len() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 40) as usize & (size - 1)
}

#[inline(always)]
fn short(name: &[u8]) -> u64 {
    name.iter().fold(0, |n, b| n << 8 | u64::from(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_only_what_stands_there() {
        let fields = vec![("id".into(), 3), ("a\"b".into(), 4), ("".into(), 5)];
        let node = Node::new(&ShapeNode { fields, element: None, scalar: false });
        assert_eq!(node.follow(0, br#"{"id":1}"#, 1), Some((3, 6)));
        for text in [r#"{"id" :1}"#, r#"{"ie":1}"#, r#"{"id""#, r#"{"#, ""] {
            assert_eq!(node.follow(0, text.as_bytes(), 1), None, "{text}");
        }
        // It is no JSON, so nothing of it may be run over.
        assert_eq!(node.follow(1, br#"{"a"b":1}"#, 1), None);
        assert_eq!(node.follow(2, br#"{"":1}"#, 1), Some((5, 4)));
        assert_eq!(node.follow(3, br#"{"id":1}"#, 1), None);
    }

    #[test]
    fn the_same_is_what_compares_equal() {
        let text: Vec<u8> = (0..40).collect();
        for length in 0..40 {
            let a = &text[..length];
            assert!(same(a, a));
            assert!(!same(a, &text[..length + 1]) && !same(&text[..length + 1], a));
            for at in 0..length {
                let mut b = a.to_vec();
                b[at] ^= 0x80;
                assert!(!same(a, &b), "{length} {at}");
            }
        }
    }

    #[test]
    fn finds_each_name_and_no_other() {
        let names: Vec<String> = (0..300).map(|i| format!("{}member{i}", "x".repeat(i % 11))).collect();
        let fields = names.iter().zip(7..).map(|(n, i)| (n.as_str().into(), i)).collect();
        let node = Node::new(&ShapeNode { fields, element: None, scalar: false });
        for (i, name) in names.iter().enumerate() {
            assert_eq!(node.find(name.as_bytes()), Some((i as u32, i as u32 + 7)));
            assert_eq!(node.find(format!("{name}?").as_bytes()), None);
        }
        assert_eq!(node.find(b""), None);
        assert_eq!(Guide::new(&Shape::default()).node(0).unwrap().find(b"a"), None);
        let empty = Node::new(&ShapeNode { fields: vec![("".into(), 1)], element: None, scalar: false });
        assert_eq!(empty.find(b""), Some((0, 1)));
    }
}
