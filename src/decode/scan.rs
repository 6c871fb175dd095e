//! One JSON value (RFC 8259, strictly) from text into the arena of values, keeping what the guide asks for.
//!
//! What nobody asks for is checked all the same, so whether a document is well-formed never depends on the
//! pipeline. Nothing is copied and nothing is allocated a value: strings and numbers stay spans of the text, so
//! a number keeps its exact digits. A stack of our own instead of recursion: the depth limit is configurable, a
//! thread's stack is not.

use super::guide::Guide;
use super::simd::{blank_end, plain_end};
use crate::batch::{Kind, NONE, Value, ValueId};
use crate::text::unescape;

/// Slots one document may fill. `{}` costs two bytes of text and a slot for each column's member, so a limit on
/// text alone would let a document of 64 MiB ask for gigabytes.
const MOST_VALUES: usize = 1 << 24;

/// Why a value could not be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The text ends inside this; more text may complete it.
    Incomplete(&'static str),
    /// Not JSON, whatever follows: where, and what is wrong.
    Syntax(usize, &'static str),
    /// More containers inside each other than the limit.
    Deep(usize),
    /// More values than a document may have.
    Many(usize),
}

/// A well-formed value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scanned {
    /// The byte behind it.
    pub end: usize,
    pub root: ValueId,
    /// Members of wanted names that a later member of the same name replaced.
    pub duplicate_keys: u64,
}

/// Parses values one after another; keeps its stack.
pub struct Scanner<'g> {
    guide: &'g Guide,
    depth: usize,
    stack: Vec<Frame>,
    /// By the guide's links: the slot that came next, the last time. Documents of one kind are written by one program, so
    /// mostly it comes next again, and its name need not be looked for.
    next: Vec<u32>,
}

impl<'g> Scanner<'g> {
    pub fn new(guide: &'g Guide, depth: usize) -> Self {
        Scanner { guide, depth, stack: Vec::new(), next: vec![NONE; guide.links()] }
    }

    /// Parses the value at `at`, where no white space may stand, into `values`; spans count from the beginning
    /// of `text`. `whole` says that nothing can follow `text` (a number that touches the end is complete).
    /// On a fault `values` is as it was.
    pub fn scan(
        &mut self,
        text: &[u8],
        at: usize,
        whole: bool,
        values: &mut Vec<Value>,
    ) -> Result<Scanned, Fault> {
        self.stack.clear();
        let root = values.len();
        values.push(ABSENT);
        let target = Target { node: 0, id: root as ValueId };
        let mut run = Run {
            text,
            at,
            whole,
            guide: self.guide,
            depth: self.depth,
            stack: &mut self.stack,
            next: &mut self.next,
            values,
            root,
            duplicate_keys: 0,
            target,
        };
        match run.run() {
            Ok(()) => Ok(Scanned { end: run.at, root: root as ValueId, duplicate_keys: run.duplicate_keys }),
            Err(fault) => {
                values.truncate(root);
                Err(fault)
            }
        }
    }
}

const ABSENT: Value = Value { kind: Kind::Absent, escaped: false, start: 0, end: 0, next: NONE };

/// Where the value that comes next belongs: what is wanted of it, and its place in the arena.
#[derive(Clone, Copy)]
struct Target {
    node: u32,
    id: ValueId,
}

const NOWHERE: Target = Target { node: NONE, id: NONE };

/// A container that is open.
#[derive(Clone, Copy)]
struct Frame {
    array: bool,
    /// Object: its node; array: the node of its elements. [`NONE`] when nothing inside is wanted.
    node: u32,
    /// The array's own value, or [`NONE`].
    id: ValueId,
    /// Object: its first slot. Array: its first element, or [`NONE`].
    first: ValueId,
    /// Array: the latest element, and how many there are.
    last: ValueId,
    count: u32,
    /// Object: where it is said what comes next.
    link: usize,
}

enum Step {
    /// A value must follow, for `target`.
    Value,
    /// A value is complete: what does the container around it say?
    Complete,
    Done,
}

struct Run<'a> {
    text: &'a [u8],
    at: usize,
    whole: bool,
    guide: &'a Guide,
    depth: usize,
    stack: &'a mut Vec<Frame>,
    next: &'a mut [u32],
    values: &'a mut Vec<Value>,
    root: usize,
    duplicate_keys: u64,
    target: Target,
}

impl Run<'_> {
    fn run(&mut self) -> Result<(), Fault> {
        let mut step = Step::Value;
        loop {
            step = match step {
                Step::Value => self.value()?,
                Step::Complete => self.follow()?,
                Step::Done => return Ok(()),
            }
        }
    }

    #[inline(always)]
    fn value(&mut self) -> Result<Step, Fault> {
        match self.skip_blank("a document")? {
            b'"' => {
                let (start, end, escaped) = self.string()?;
                self.set(Kind::String, start, end, escaped);
            }
            b'{' => return self.open_object(),
            b'[' => return self.open_array(),
            b'-' | b'0'..=b'9' => self.number()?,
            b't' => self.literal(b"true", Kind::Bool)?,
            b'f' => self.literal(b"false", Kind::Bool)?,
            b'n' => self.literal(b"null", Kind::Null)?,
            _ => return self.wrong("expected a value"),
        }
        Ok(Step::Complete)
    }

    /// After a complete value: what its container goes on with.
    #[inline(always)]
    fn follow(&mut self) -> Result<Step, Fault> {
        let Some(frame) = self.stack.last() else { return Ok(Step::Done) };
        if frame.array {
            match self.skip_blank("an array")? {
                b',' => {
                    self.at += 1;
                    self.element()
                }
                b']' => self.close_array(),
                _ => self.wrong("expected `,` or `]`"),
            }
        } else {
            match self.skip_blank("an object")? {
                b',' => {
                    self.at += 1;
                    self.skip_blank("an object")?;
                    self.member()
                }
                b'}' => self.close(),
                _ => self.wrong("expected `,` or `}`"),
            }
        }
    }

    #[inline(always)]
    fn open_object(&mut self) -> Result<Step, Fault> {
        self.deeper()?;
        let (slots, link) = self.guide.node(self.target.node).map_or((0, 0), |n| (n.slots(), n.links));
        let (node, first) = if slots == 0 { (NONE, NONE) } else { (self.target.node, self.grow(slots)?) };
        self.set(Kind::Object, first as usize, 0, false);
        self.stack.push(Frame { array: false, node, id: NONE, first, last: NONE, count: 0, link });
        match self.skip_blank("an object")? {
            b'}' => self.close(),
            _ => self.member(),
        }
    }

    #[inline(always)]
    fn open_array(&mut self) -> Result<Step, Fault> {
        self.deeper()?;
        let node = self.guide.node(self.target.node).map_or(NONE, |n| n.element);
        let id = self.target.id;
        self.stack.push(Frame { array: true, node, id, first: NONE, last: NONE, count: 0, link: 0 });
        match self.skip_blank("an array")? {
            b']' => self.close_array(),
            _ => self.element(),
        }
    }

    /// Steps over the bracket of a container that has yet to be pushed.
    fn deeper(&mut self) -> Result<(), Fault> {
        if self.stack.len() >= self.depth {
            return Err(Fault::Deep(self.at));
        }
        self.at += 1;
        Ok(())
    }

    fn close(&mut self) -> Result<Step, Fault> {
        self.at += 1;
        self.stack.pop();
        Ok(Step::Complete)
    }

    fn close_array(&mut self) -> Result<Step, Fault> {
        if let Some(Frame { id, first, count, .. }) = self.stack.last().copied() {
            self.target.id = id;
            self.set(Kind::Array, first as usize, count as usize, false);
        }
        self.close()
    }

    /// The name of a member and its colon; aims at the value.
    #[inline(always)]
    fn member(&mut self) -> Result<Step, Fault> {
        if self.expected() {
            return Ok(Step::Value);
        }
        if self.text.get(self.at) != Some(&b'"') {
            return self.wrong("expected a member name");
        }
        let (start, end, escaped) = self.string()?;
        match self.skip_blank("an object")? {
            b':' => self.at += 1,
            _ => return self.wrong("expected `:`"),
        }
        self.target = NOWHERE;
        if let Some(frame) = self.stack.last_mut()
            && let Some(node) = self.guide.node(frame.node)
        {
            let name = self.text.get(start..end).unwrap_or_default();
            let found = if escaped { find_escaped(node, name) } else { node.find(name) };
            if let Some((slot, value)) = found {
                if let Some(next) = self.next.get_mut(frame.link) {
                    *next = slot;
                }
                frame.link = node.links + 1 + slot as usize;
                self.target = Target { node: value, id: frame.first + slot };
                self.count_duplicate();
            }
        }
        Ok(Step::Value)
    }

    /// The member is the one that came next the last time: aims at its value.
    #[inline(always)]
    fn expected(&mut self) -> bool {
        let Some(frame) = self.stack.last_mut() else { return false };
        let Some(node) = self.guide.node(frame.node) else { return false };
        let Some(&slot) = self.next.get(frame.link) else { return false };
        let Some((value, end)) = node.follow(slot, self.text, self.at) else { return false };
        frame.link = node.links + 1 + slot as usize;
        self.target = Target { node: value, id: frame.first + slot };
        self.at = end;
        self.count_duplicate();
        true
    }

    #[inline(always)]
    fn count_duplicate(&mut self) {
        if self.values.get(self.target.id as usize).is_some_and(|v| v.kind != Kind::Absent) {
            self.duplicate_keys += 1;
        }
    }

    /// Makes room for the next element and aims at it.
    #[inline(always)]
    fn element(&mut self) -> Result<Step, Fault> {
        let Some(frame) = self.stack.last_mut() else { return Ok(Step::Done) };
        frame.count += 1;
        self.target = NOWHERE;
        if frame.node != NONE {
            let (node, last) = (frame.node, frame.last);
            let id = self.grow(1)?;
            if let Some(before) = self.values.get_mut(last as usize) {
                before.next = id;
            }
            if let Some(frame) = self.stack.last_mut() {
                frame.last = id;
                if frame.first == NONE {
                    frame.first = id;
                }
            }
            self.target = Target { node, id };
        }
        Ok(Step::Value)
    }

    /// Adds absent values; the id of the first.
    #[inline(always)]
    fn grow(&mut self, by: usize) -> Result<ValueId, Fault> {
        let first = self.values.len();
        if first - self.root > MOST_VALUES {
            return Err(Fault::Many(self.at));
        }
        self.values.resize(first + by, ABSENT);
        Ok(first as ValueId)
    }

    #[inline(always)]
    fn set(&mut self, kind: Kind, start: usize, end: usize, escaped: bool) {
        if let Some(value) = self.values.get_mut(self.target.id as usize) {
            *value = Value { kind, escaped, start: start as u32, end: end as u32, next: NONE };
        }
    }

    /// The span between the quotes, and whether there are escapes in it.
    #[inline(always)]
    fn string(&mut self) -> Result<(usize, usize, bool), Fault> {
        let start = self.at + 1;
        let mut end = plain_end(self.text, start);
        let mut escaped = false;
        while self.text.get(end) != Some(&b'"') {
            end = plain_end(self.text, self.escape(end)?);
            escaped = true;
        }
        self.at = end + 1;
        Ok((start, end, escaped))
    }

    /// What interrupts a string at `at` and is no quote: the byte behind the escape, if it is one.
    #[cold]
    fn escape(&self, at: usize) -> Result<usize, Fault> {
        match self.text.get(at) {
            None => Err(Fault::Incomplete("a string")),
            Some(b'\\') => match self.text.get(at + 1) {
                None => Err(Fault::Incomplete("a string")),
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
                Some(b'u') => self.hex(at + 2),
                Some(_) => Err(Fault::Syntax(at, "unknown escape in a string")),
            },
            Some(b'\n' | b'\r') => Err(Fault::Syntax(at, "the line ends in the middle of a string")),
            Some(_) => Err(Fault::Syntax(at, "control character in a string")),
        }
    }

    fn hex(&self, at: usize) -> Result<usize, Fault> {
        for i in at..at + 4 {
            match self.text.get(i) {
                None => return Err(Fault::Incomplete("a string")),
                Some(b) if b.is_ascii_hexdigit() => {}
                Some(_) => return Err(Fault::Syntax(i, "expected four hex digits after `\\u`")),
            }
        }
        Ok(at + 4)
    }

    #[inline(always)]
    fn number(&mut self) -> Result<(), Fault> {
        let start = self.at;
        let mut at = start + usize::from(self.text.get(start) == Some(&b'-'));
        if self.text.get(at) == Some(&b'0') {
            at += 1;
            if self.text.get(at).is_some_and(u8::is_ascii_digit) {
                return Err(Fault::Syntax(at, "a number may not begin with a zero"));
            }
        } else {
            at = self.digits(at)?;
        }
        if self.text.get(at) == Some(&b'.') {
            at = self.digits(at + 1)?;
        }
        if let Some(b'e' | b'E') = self.text.get(at) {
            at += 1 + usize::from(matches!(self.text.get(at + 1), Some(b'+' | b'-')));
            at = self.digits(at)?;
        }
        if at >= self.text.len() && !self.whole {
            return Err(Fault::Incomplete("a number"));
        }
        self.at = at;
        self.set(Kind::Number, start, at, false);
        Ok(())
    }

    /// The byte behind one or more digits.
    #[inline(always)]
    fn digits(&self, from: usize) -> Result<usize, Fault> {
        let mut at = from;
        while self.text.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        match self.text.get(at) {
            _ if at > from => Ok(at),
            None => Err(Fault::Incomplete("a number")),
            Some(_) => Err(Fault::Syntax(at, "expected a digit")),
        }
    }

    fn literal(&mut self, word: &'static [u8], kind: Kind) -> Result<(), Fault> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        if rest.starts_with(word) {
            let start = self.at;
            self.at += word.len();
            self.set(kind, start, self.at, false);
            return Ok(());
        }
        if word.starts_with(rest) {
            return Err(Fault::Incomplete("a literal"));
        }
        self.wrong("expected a value").map(|_| ())
    }

    /// Goes to the next byte that is no white space and returns it; `inside` is what the end would cut.
    #[inline(always)]
    fn skip_blank(&mut self, inside: &'static str) -> Result<u8, Fault> {
        self.at = blank_end(self.text, self.at);
        self.text.get(self.at).copied().ok_or(Fault::Incomplete(inside))
    }

    #[cold]
    fn wrong(&self, what: &'static str) -> Result<Step, Fault> {
        Err(Fault::Syntax(self.at, what))
    }
}

/// A name written with escapes is the name it means.
#[cold]
fn find_escaped(node: &super::guide::Node, name: &[u8]) -> Option<(u32, u32)> {
    node.find(unescape(name).ok()?.as_bytes())
}
