//! One file being read, range by range.

use std::fs::{File, Metadata};
use std::io::{self, Cursor};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use super::bytes::Feed;
use super::documents::{Block, Place, Stop, Terms, Walked, lines, resume, walk, weight};
use super::format::rule;
use super::guide::Guide;
use super::packed::End;
use super::parallel::{self, Blocks, Hashed};
use super::raw::Raw;
use super::skip::{Goal, Rule, Skip};
use super::spares::Spares;
use crate::batch::{Bad, Chunk, FileRange, Fingerprint, Input, Position, Resume};
use crate::pipeline::model::Limits;

/// Text of one walk: large enough to make threads and carried tails cheap, small enough that whoever looks at it next finds
/// it in the processor's cache.
const BLOCK: usize = 512 << 10;
const SMALLEST_BLOCK: usize = 64 << 10;
/// Dense text fills a block by what it holds before its end, and a larger block holds more of it. But the rest of each is
/// walked again, and places in it are counted in 32 bits: no block gets larger than twice this for that reason.
const MOST_LEFT: usize = 2 << 20;

/// What one call of [`Reader::next`] decoded.
#[derive(Debug)]
pub struct Range {
    pub chunks: Vec<Chunk>,
    pub range: FileRange,
    /// The file is not what it was when it was opened: drop this range, and the reader.
    pub changed_while_reading: bool,
}

/// A file being read. After an error it is of no use: open the file again.
pub struct Reader {
    name: Arc<str>,
    fingerprint: Fingerprint,
    changed: bool,
    limits: Limits,
    rule: Rule,
    /// To look at the file again after reading.
    file: Option<Arc<File>>,
    feed: Feed,
    spares: Arc<Spares>,
    /// Where reading stands.
    offset: u64,
    line: u64,
    place: Place,
    /// There was something besides white space.
    touched: bool,
    done: bool,
    /// Guessing where documents begin has been right so far.
    guessing: bool,
    /// The last block's.
    density: Density,
}

/// What text yields: its weight, and its bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Density {
    weight: u64,
    bytes: u64,
}

impl Density {
    /// The block of at most `size` bytes that is not full before its end (see [`Walk::has_enough`], whose figures these
    /// are): several blocks at once are of use only if each is dealt with to its end.
    fn block(self, size: usize) -> usize {
        let Density { weight, bytes } = self;
        // Full where more than a quarter of its bytes and 64 Ki; a quarter less, because no two blocks are quite alike.
        let most = match weight.saturating_mul(4).checked_sub(bytes) {
            Some(beyond) if beyond > 0 => (3u64 << 16).saturating_mul(bytes) / beyond,
            _ => u64::MAX,
        };
        usize::try_from(most).unwrap_or(usize::MAX).clamp(SMALLEST_BLOCK.min(size), size)
    }

    /// How much text has this weight.
    fn text(self, weight: u64) -> u64 {
        weight.saturating_mul(self.bytes).checked_div(self.weight).unwrap_or(u64::MAX)
    }
}

impl Reader {
    /// Goes to `input.resume`: a plain file by seeking, a compressed one by decompressing up to it.
    pub fn open(input: Input, limits: Limits) -> io::Result<Reader> {
        let file = Arc::new(input.file);
        let raw = Raw::File(Arc::clone(&file));
        let Resume { offset, line, element, in_array } = input.resume;
        let mut reader = Reader::new(input.name, raw, input.fingerprint, limits)?;
        reader.feed.skip_to(offset)?;
        reader.file = Some(file);
        reader.changed = input.changed;
        reader.place = if in_array { Place::Element(element) } else { Place::Top };
        reader.touched = offset > 0;
        Ok(Reader { offset, line, ..reader })
    }

    /// Text that stands in no file; `name` says how it is compressed and how documents are told apart.
    pub fn in_memory(name: &str, bytes: Vec<u8>, limits: Limits) -> io::Result<Reader> {
        let fingerprint = Fingerprint { size: bytes.len() as u64, ..Fingerprint::default() };
        Reader::new(name.into(), Raw::Memory(Cursor::new(bytes)), fingerprint, limits)
    }

    fn new(name: Arc<str>, raw: Raw, fingerprint: Fingerprint, limits: Limits) -> io::Result<Reader> {
        Ok(Reader {
            rule: rule(&name),
            feed: Feed::new(raw, &name, fingerprint.size, &limits)?,
            spares: Arc::default(),
            name,
            fingerprint,
            changed: false,
            limits,
            file: None,
            offset: 0,
            line: 0,
            place: Place::Top,
            touched: false,
            done: false,
            guessing: true,
            density: Density::default(),
        })
    }

    /// Buffers come from here; without it, from the system.
    pub fn share(&mut self, spares: &Arc<Spares>) {
        self.spares = Arc::clone(spares);
        self.feed.share(Arc::clone(spares));
    }

    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The last range has been read.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Reads and decodes the next range: whole documents, about `budget` bytes of text; at least one document or
    /// bad part, unless the file ends. With `threads` > 1 large ranges are decoded by several at once, with the
    /// same result. `file` becomes [`Chunk::file`].
    ///
    /// An error means that the file could not be read: try again later, from the last range that was kept.
    pub fn next(&mut self, guide: &Guide, file: u32, budget: u64, threads: usize) -> io::Result<Range> {
        self.next_with(guide, file, budget, threads, &|_| ()).map(|(range, _)| range)
    }

    /// As [`Reader::next`], and shows every chunk to `look` on the thread that decoded it, while it is still in the
    /// processor's cache. What `look` says of each chunk is returned beside the range. It must not depend on positions in
    /// the file: they are settled only afterwards. Text that turns out to be cut wrongly is shown in vain.
    pub fn next_with<T: Send>(
        &mut self,
        guide: &Guide,
        file: u32,
        budget: u64,
        threads: usize,
        look: &(impl Fn(&Chunk) -> T + Sync),
    ) -> io::Result<(Range, Vec<T>)> {
        let size = usize::try_from(budget).unwrap_or(BLOCK).clamp(SMALLEST_BLOCK, BLOCK);
        self.in_blocks(guide, file, budget, Blocks { size, threads }, look)
    }

    /// `size`: bytes of a block. The result does not depend on it, which tests and the fuzz target try.
    #[doc(hidden)]
    pub fn next_in_blocks(
        &mut self,
        guide: &Guide,
        file: u32,
        budget: u64,
        size: usize,
        threads: usize,
    ) -> io::Result<Range> {
        self.in_blocks(guide, file, budget, Blocks { size, threads }, &|_| ()).map(|(range, _)| range)
    }

    fn in_blocks<T: Send>(
        &mut self,
        guide: &Guide,
        file: u32,
        budget: u64,
        Blocks { size, threads }: Blocks,
        look: &(impl Fn(&Chunk) -> T + Sync),
    ) -> io::Result<(Range, Vec<T>)> {
        let mut draft = Draft::new(file, self.resume(), budget);
        if self.offset == 0 && !self.done {
            self.byte_order_mark(size.max(3), &mut draft, look)?;
        }
        let spares = self.spares.clone();
        let terms = Terms { guide, spares: &spares, limits: self.limits, rule: self.rule };
        let mut left = 0;
        while !self.done && !draft.enough {
            let size = self.density.block(size);
            // A document that needs more text gets twice as much, so that all tries together cost two.
            let want = size.max(left * 2);
            left = self.round(terms, want, Blocks { size, threads }, &mut draft, look)?;
        }
        self.finish(draft)
    }

    #[cfg(test)]
    pub(super) fn is_guessing(&self) -> bool {
        self.guessing
    }

    /// Decodes a block or several. Returns the bytes at hand that ask for a larger block.
    fn round<T: Send>(
        &mut self,
        terms: Terms<'_>,
        want: usize,
        Blocks { size, threads }: Blocks,
        draft: &mut Draft<T>,
        look: &(impl Fn(&Chunk) -> T + Sync),
    ) -> io::Result<usize> {
        let text = self.feed.take(want)?;
        let block = Block {
            offset: self.offset,
            line: self.line,
            place: self.place,
            whole: self.feed.is_done(),
            enough: usize::try_from(draft.until.saturating_sub(self.offset)).unwrap_or(usize::MAX),
            taken: draft.taken,
            text,
        };
        let many = threads > 1
            && self.guessing
            && !draft.stuck
            && want == size
            && !block.whole
            && block.enough > size;
        draft.stuck = false;
        if !many {
            let walked = walk(terms, block);
            let seen = look(&walked.chunk);
            return self.accept(walked, seen, draft, look);
        }
        let before = self.offset;
        // What is walked beyond the weight of a range would be handed back.
        let rest = self.density.text(draft.most_weight.saturating_sub(draft.weight));
        let until = draft.until.min(self.offset.saturating_add(rest));
        let mut hashed = Hashed { hash: draft.hash.clone(), blocks: 0 };
        let blocks = Blocks { size, threads };
        let (walks, right) = parallel::walks(terms, &mut self.feed, block, until, blocks, &mut hashed, look)?;
        self.guessing = right;
        let whole = |(walked, _): &(Walked, T)| walked.at == walked.chunk.text.len();
        let holds = walks.iter().take(hashed.blocks).filter(|walk| whole(walk)).count() == hashed.blocks;
        if holds {
            draft.hash = hashed.hash;
            draft.hashed = hashed.blocks;
        }
        let mut left = 0;
        for (i, (mut walked, seen)) in walks.into_iter().enumerate() {
            if i > 0 {
                parallel::settle(&mut walked, self.line, self.place);
            }
            left = self.accept(walked, seen, draft, look)?;
        }
        draft.stuck = self.offset == before;
        Ok(left)
    }

    /// Takes over what a walk found, and hands back what it left. Returns how much of that asks for a larger block.
    fn accept<T>(
        &mut self,
        walked: Walked,
        seen: T,
        draft: &mut Draft<T>,
        look: &impl Fn(&Chunk) -> T,
    ) -> io::Result<usize> {
        let Walked { mut chunk, at, line, place, stop, touched } = walked;
        match draft.hashed.checked_sub(1) {
            Some(others) => draft.hashed = others,
            None => draft.hash.update(chunk.text.get(..at).unwrap_or_default()),
        }
        let left = if at == 0 { std::mem::take(&mut chunk.text) } else { chunk.text.split_off(at) };
        let most = if matches!(stop, Stop::More) { usize::MAX } else { MOST_LEFT };
        let rest = left.len().min(most);
        self.feed.hand_back(left);
        self.offset += at as u64;
        self.line = line;
        self.place = place;
        self.touched |= touched;
        if at > 0 {
            self.density = Density { weight: weight(&chunk) as u64, bytes: at as u64 };
        }
        draft.push(chunk, seen);
        match stop {
            Stop::More => {}
            // A block may also be full before its text is dealt with.
            Stop::Enough => draft.enough = draft.weight >= draft.most_weight || self.offset >= draft.until,
            Stop::Skip(skip) => self.skip(skip, draft, look)?,
            Stop::End => self.end(draft, look),
        }
        Ok(rest)
    }

    /// Runs over the rest of a bad part without keeping it.
    fn skip<T>(
        &mut self,
        mut skip: Skip,
        draft: &mut Draft<T>,
        look: &impl Fn(&Chunk) -> T,
    ) -> io::Result<()> {
        loop {
            let mut text = self.feed.piece(SMALLEST_BLOCK)?;
            let found = skip.feed(&text);
            if let Some(at) = found {
                let (place, end) = resume(skip.goal, self.place, text.get(at).copied(), at);
                self.place = place;
                self.feed.hand_back(text.split_off(end));
            }
            self.pass(&text, draft);
            if found.is_some() {
                return Ok(());
            }
            if self.feed.is_done() {
                self.place = Place::Top;
                self.end(draft, look);
                return Ok(());
            }
        }
    }

    /// Leaves text behind that no chunk holds.
    fn pass<T>(&mut self, text: &[u8], draft: &mut Draft<T>) {
        draft.hash.update(text);
        self.offset += text.len() as u64;
        self.line += lines(text);
    }

    fn byte_order_mark<T>(
        &mut self,
        size: usize,
        draft: &mut Draft<T>,
        look: &impl Fn(&Chunk) -> T,
    ) -> io::Result<()> {
        let mut text = self.feed.take(size)?;
        if text.starts_with(b"\xFF\xFE") || text.starts_with(b"\xFE\xFF") {
            draft.push_bad(self.position(), "UTF-16, where UTF-8 is read".into(), look);
            self.touched = true;
            self.feed.hand_back(text);
            return self.skip(Skip::new(Goal::End), draft, look);
        }
        if text.starts_with(b"\xEF\xBB\xBF") {
            let rest = text.split_off(3);
            self.pass(&text, draft);
            text = rest;
        }
        self.feed.hand_back(text);
        Ok(())
    }

    /// The file's end, and what it says about the file.
    fn end<T>(&mut self, draft: &mut Draft<T>, look: &impl Fn(&Chunk) -> T) {
        self.done = true;
        match self.feed.end() {
            Some(End::Broken(reason)) => draft.push_bad(self.position(), reason.clone(), look),
            _ if !self.touched => {
                draft.push_bad(Position { line: 1, ..Position::default() }, "empty file".into(), look)
            }
            _ => {}
        }
    }

    fn position(&self) -> Position {
        Position { offset: self.offset, line: self.line + 1, element: None }
    }

    fn resume(&self) -> Resume {
        let (element, in_array) = match self.place {
            Place::Top => (0, false),
            Place::Element(element) | Place::After { element, .. } => (element, true),
        };
        Resume { offset: self.offset, line: self.line, element, in_array }
    }

    fn finish<T>(&self, draft: Draft<T>) -> io::Result<(Range, Vec<T>)> {
        let count = |of: fn(&Chunk) -> u64| draft.chunks.iter().map(of).sum();
        let range = FileRange {
            name: Arc::clone(&self.name),
            fingerprint: self.fingerprint,
            start: draft.start,
            end: self.resume(),
            last: self.done,
            content_hash: draft.hash.digest128(),
            changed: self.changed,
            events: count(|c| c.documents.len() as u64),
            quarantined: count(|c| c.bad.len() as u64),
            duplicate_keys: count(Chunk::duplicate_keys),
        };
        let changed_while_reading = match &self.file {
            Some(file) => fingerprint(&file.metadata()?) != self.fingerprint,
            None => false,
        };
        Ok((Range { chunks: draft.chunks, range, changed_while_reading }, draft.seen))
    }
}

/// What the file system says about a file now.
fn fingerprint(of: &Metadata) -> Fingerprint {
    let nanoseconds = |s: i64, ns: i64| s.saturating_mul(1_000_000_000).saturating_add(ns);
    Fingerprint {
        size: of.size(),
        mtime_ns: nanoseconds(of.mtime(), of.mtime_nsec()),
        ctime_ns: nanoseconds(of.ctime(), of.ctime_nsec()),
        inode: of.ino(),
    }
}

/// A range in the making.
struct Draft<T> {
    file: u32,
    start: Resume,
    chunks: Vec<Chunk>,
    /// What was said of each chunk.
    seen: Vec<T>,
    hash: Xxh3,
    /// So many of the next walks are in `hash` already.
    hashed: usize,
    /// The byte of the file from which on nothing more is wanted, and how much weight is enough too.
    until: u64,
    most_weight: u64,
    weight: u64,
    /// There is a document or a bad part in it.
    taken: bool,
    enough: bool,
    /// The first of several blocks was cut inside its first document: cut the same way again, it would stay so.
    stuck: bool,
}

impl<T> Draft<T> {
    fn new(file: u32, start: Resume, budget: u64) -> Self {
        Draft {
            file,
            start,
            chunks: Vec::new(),
            seen: Vec::new(),
            hash: Xxh3::new(),
            hashed: 0,
            until: start.offset.saturating_add(budget.max(1)),
            most_weight: budget / 4,
            weight: 0,
            taken: false,
            enough: false,
            stuck: false,
        }
    }

    fn push(&mut self, mut chunk: Chunk, seen: T) {
        if chunk.documents.is_empty() && chunk.bad.is_empty() {
            return;
        }
        chunk.file = self.file;
        // After a bad part that goes on, most of the text is nobody's; after a small range, most of the buffer.
        let documents = chunk.documents.last().map(|d| d.end);
        let bad = chunk.bad.iter().filter_map(|b| b.span).map(|(_, end)| end).max();
        chunk.text.truncate(documents.max(bad).unwrap_or(0) as usize);
        if chunk.text.capacity() / 2 > chunk.text.len() {
            chunk.text.shrink_to_fit();
        }
        self.taken = true;
        self.weight += weight(&chunk) as u64;
        self.chunks.push(chunk);
        self.seen.push(seen);
    }

    /// A bad part without text.
    fn push_bad(&mut self, position: Position, reason: String, look: &impl Fn(&Chunk) -> T) {
        self.taken = true;
        if self.chunks.is_empty() {
            let chunk = Chunk { file: self.file, ..Chunk::default() };
            self.seen.push(look(&chunk));
            self.chunks.push(chunk);
        }
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.bad.push(Bad { position, reason, span: None, parsed: false });
        }
    }
}
