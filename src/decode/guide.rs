//! The shape, made quick to follow: which slot a member's name belongs to.

use crate::batch::NONE;
use crate::pipeline::model::{Shape, ShapeNode};

/// A [`Shape`] with a lookup table a node. Made once a pipeline, shared by all threads.
#[derive(Debug)]
pub struct Guide {
    nodes: Vec<Node>,
}

/// What columns want of one value.
#[derive(Debug)]
pub struct Node {
    fields: Vec<(Box<[u8]>, u32)>,
    /// Open addressing at a quarter full: slot + 1, or 0. Most unwanted names meet an empty place at once.
    table: Vec<u32>,
    /// Node of the elements, or [`NONE`].
    pub element: u32,
}

impl Guide {
    pub fn new(shape: &Shape) -> Self {
        let mut nodes: Vec<Node> = shape.nodes.iter().map(Node::new).collect();
        if nodes.is_empty() {
            nodes.push(Node::new(&ShapeNode::default()));
        }
        Guide { nodes }
    }

    /// The node with this number; [`NONE`] and what does not exist want nothing.
    #[inline(always)]
    pub fn node(&self, id: u32) -> Option<&Node> {
        self.nodes.get(id as usize)
    }
}

impl Node {
    fn new(shape: &ShapeNode) -> Self {
        let fields: Vec<(Box<[u8]>, u32)> =
            shape.fields.iter().map(|(name, node)| (Box::from(name.as_bytes()), *node)).collect();
        let mut table = vec![0; (fields.len() * 4).next_power_of_two()];
        for (slot, (name, _)) in (1..).zip(&fields) {
            let mut at = place(name, table.len());
            while table.get(at).is_some_and(|taken| *taken != 0) {
                at = (at + 1) & (table.len() - 1);
            }
            if let Some(free) = table.get_mut(at) {
                *free = slot;
            }
        }
        Node { fields, table, element: shape.element.unwrap_or(NONE) }
    }

    /// How many slots an object of this node has.
    #[inline(always)]
    pub fn slots(&self) -> usize {
        self.fields.len()
    }

    /// The slot of the member with this (unescaped) name, and the node of its value.
    #[inline(always)]
    pub fn find(&self, name: &[u8]) -> Option<(u32, u32)> {
        let mut at = place(name, self.table.len());
        loop {
            let slot = self.table.get(at)?.checked_sub(1)?;
            let (known, node) = self.fields.get(slot as usize)?;
            if **known == *name {
                return Some((slot, *node));
            }
            at = (at + 1) & (self.table.len() - 1);
        }
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
