//! Reading ahead: files to checked events, on worker threads, while the batch before is committed.
//!
//! Needs nothing of the tables: validity comes first and asks only the pipeline.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::batch::{Bad, Chunk, Claims, Input, Position, Resume, Unread};
use crate::decode::{self, Guide, Range, Reader, Spares};
use crate::error::Result;
use crate::fault;
use crate::flatten::{Checked, Flattener};
use crate::pipeline::model::Pipeline;
use crate::system::Rejected;
use crate::threads;

use super::Intake;
use super::cap::Rest;

/// What stays the same from batch to batch.
pub struct Worker<'p> {
    pub pipeline: &'p Pipeline,
    pub flattener: &'p Flattener,
    pub guide: Guide,
    pub threads: usize,
    spares: Arc<Spares>,
}

/// A file gives at least this much text at once, however many threads share a batch.
const LEAST: u64 = 1 << 20;
/// What the rows of a batch may take in memory. An event's own values stand in each of its rows, so a little text
/// can ask for a lot; what goes beyond is left for the next batch.
const ROW_BYTES: u64 = 512 << 20;
/// What something bad takes on its way to quarantine besides its reason: its place, text and key.
const REJECTED_BYTES: u64 = 1 << 10;

/// What became of one file.
struct Read {
    at: usize,
    part: std::io::Result<Part>,
    /// The file holds more.
    more: Option<Reader>,
}

/// What reading some files left for the batches after.
#[derive(Default)]
pub struct Left {
    /// Files that hold more.
    pub readers: Vec<Reader>,
    /// Not begun: the batch was full before.
    pub inputs: Vec<Input>,
}

/// How much of a batch is still free, seen by all threads.
struct Room {
    text: AtomicI64,
    rows: AtomicI64,
}

impl Room {
    fn new(text: u64) -> Self {
        let signed = |n: u64| AtomicI64::new(i64::try_from(n).unwrap_or(i64::MAX));
        Room { text: signed(text), rows: signed(ROW_BYTES) }
    }

    fn is_left(&self) -> bool {
        self.text.load(Ordering::Relaxed) > 0 && self.rows.load(Ordering::Relaxed) > 0
    }

    fn take(&self, part: &Part) {
        self.text.fetch_sub(part.text_bytes().max(part.decoded_bytes()), Ordering::Relaxed);
        self.rows.fetch_sub(part.row_bytes, Ordering::Relaxed);
    }
}

/// One range with what the pipeline says about its documents.
struct Part {
    range: Range,
    checked: Vec<Checked>,
    /// The rest of the range was dropped, to be read again.
    cut: bool,
    /// What the rows of it will take in memory.
    row_bytes: i64,
}

impl Part {
    /// Documents were checked before it was known where in the file they stand.
    fn settle(&mut self) {
        for (chunk, checked) in self.range.chunks.iter().zip(&mut self.checked) {
            for (document, bad) in &mut checked.bad {
                bad.position = chunk.documents.get(*document as usize).map_or(bad.position, |d| d.position);
            }
        }
    }

    fn text_bytes(&self) -> i64 {
        let range = &self.range.range;
        i64::try_from(range.end.offset - range.start.offset).unwrap_or(i64::MAX)
    }

    /// What decoding made of the text, told as bytes of the densest text that a range takes.
    fn decoded_bytes(&self) -> i64 {
        let values: usize = self.range.chunks.iter().map(decode::weight).sum();
        i64::try_from(values.saturating_mul(4)).unwrap_or(i64::MAX)
    }

    /// `most`: bad documents that become rows.
    fn weigh(&mut self, most: u64) {
        let sum = self.checked.iter().flat_map(|c| &c.bytes).fold(0, |a: u64, b| a.saturating_add(*b));
        let unfit = self.checked.iter().flat_map(|c| &c.bad).map(|(_, bad)| bad);
        let bad = self.range.chunks.iter().flat_map(|c| &c.bad);
        let told = unfit.chain(bad).take(usize::try_from(most).unwrap_or(usize::MAX));
        let rejected: u64 = told.map(|bad| REJECTED_BYTES + bad.reason.len() as u64).sum();
        self.row_bytes = i64::try_from(sum.saturating_add(rejected)).unwrap_or(i64::MAX);
    }

    /// Drops what comes after the document whose rows go beyond `limit` bytes, and ends the range before it. The
    /// file is taken up there again. The first document always stays: one event alone fits (flatten sees to it).
    fn cut_at(&mut self, limit: u64, flattener: &Flattener) {
        let mut sum = 0u64;
        let weights =
            self.checked.iter().enumerate().flat_map(|(c, checked)| {
                checked.bytes.iter().enumerate().map(move |(d, bytes)| (c, d, *bytes))
            });
        let beyond = weights.skip_while(|(_, _, bytes)| {
            let first = sum == 0;
            sum = sum.saturating_add(*bytes).max(1);
            first || sum <= limit
        });
        let Some((c, d, _)) = beyond.into_iter().next() else { return };
        let Some(at) = self.range.chunks.get(c).and_then(|k| k.documents.get(d)).map(|d| d.position) else {
            return;
        };
        self.range.chunks.truncate(c + 1);
        self.checked.truncate(c + 1);
        if let (Some(chunk), Some(checked)) = (self.range.chunks.last_mut(), self.checked.last_mut()) {
            chunk.documents.truncate(d);
            chunk.bad.retain(|b| b.position.offset < at.offset);
            *checked = flattener.check(chunk, 0);
        }
        self.end_at(at);
    }

    fn end_at(&mut self, at: Position) {
        let range = &mut self.range.range;
        range.end = Resume {
            offset: at.offset,
            line: at.line.saturating_sub(1),
            element: at.element.unwrap_or(0),
            in_array: at.element.is_some(),
        };
        range.last = false;
        let mut hash = xxhash_rust::xxh3::Xxh3::new();
        range.events = 0;
        range.quarantined = 0;
        range.duplicate_keys = 0;
        for chunk in &self.range.chunks {
            range.events += chunk.documents.len() as u64;
            range.quarantined += chunk.bad.len() as u64;
            range.duplicate_keys += chunk.duplicate_keys();
            chunk.documents.iter().for_each(|d| hash.update(&d.hash.to_be_bytes()));
        }
        range.content_hash = hash.digest128();
        self.cut = true;
    }
}

/// The reader, if its file holds more and can be read on where the part ended.
fn more(reader: Reader, part: &std::io::Result<Part>) -> Option<Reader> {
    let goes_on = part.as_ref().is_ok_and(|p| !p.cut && !p.range.changed_while_reading);
    (goes_on && !reader.is_done()).then_some(reader)
}

impl<'p> Worker<'p> {
    pub fn new(pipeline: &'p Pipeline, flattener: &'p Flattener, threads: usize) -> Self {
        let (guide, spares) = (Guide::new(&pipeline.shape), Arc::default());
        Worker { pipeline, flattener, guide, threads: threads.max(1), spares }
    }

    /// Takes one range of about a batch's bytes from a file that is being read.
    pub fn range(&self, mut reader: Reader, budget: u64) -> (Intake, Left) {
        let begin = Instant::now();
        let name = reader.name().clone();
        let part = self.next(&mut reader, budget, self.threads, ROW_BYTES);
        let read = Read { at: 0, more: more(reader, &part), part };
        self.gather(vec![read], &[name], Left::default(), begin)
    }

    /// Takes several files, each on one of the threads, until there is about `budget` text. Most are done at once;
    /// what is left is returned.
    pub fn files(&self, inputs: Vec<Input>, budget: u64) -> Result<(Intake, Left)> {
        let begin = Instant::now();
        let names: Vec<_> = inputs.iter().map(|i| i.name.clone()).collect();
        let slots: Vec<Mutex<Option<Input>>> = inputs.into_iter().map(|i| Mutex::new(Some(i))).collect();
        let (next, room) = (AtomicUsize::new(0), Room::new(budget));
        let work = |_| {
            let mut done = Vec::new();
            while room.is_left() {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(slot) = slots.get(at) else { break };
                if let Some(input) = threads::take(slot) {
                    done.push(self.one(at, input, budget, &room));
                }
            }
            Ok(done)
        };
        let done = threads::each(0..self.threads.min(names.len()), work)?;
        let left = Left { inputs: slots.iter().filter_map(threads::take).collect(), readers: Vec::new() };
        Ok(self.gather(done.into_iter().flatten().collect(), &names, left, begin))
    }

    fn gather(
        &self,
        mut parts: Vec<Read>,
        names: &[Arc<str>],
        mut left: Left,
        begin: Instant,
    ) -> (Intake, Left) {
        fault::point("intake.decoded");
        parts.sort_by_key(|read| read.at);
        let mut intake = self.empty();
        for read in parts {
            self.add(&mut intake, &names[read.at], read.part);
            left.readers.extend(read.more);
        }
        intake.read_ms = begin.elapsed().as_secs_f64() * 1e3;
        fault::point("intake.checked");
        (intake, left)
    }

    fn one(&self, at: usize, input: Input, budget: u64, room: &Room) -> Read {
        // A plain file has as much text as bytes; a compressed one may have any amount.
        let threads = if input.fingerprint.size * 2 > budget { self.threads } else { 1 };
        let share = LEAST.max(budget / self.threads as u64).max(input.fingerprint.size.min(budget));
        // A file whose events are cut off is read again, so a part must not be small where few files share.
        let rows = if threads > 1 { ROW_BYTES } else { ROW_BYTES / self.threads.min(8) as u64 };
        let opened = Reader::open(input, self.pipeline.limits);
        let (part, more) = match opened {
            Err(e) => (Err(e), None),
            Ok(mut reader) => {
                reader.share(&self.spares);
                let part = self.next(&mut reader, share, threads, rows);
                let more = more(reader, &part);
                (part, more)
            }
        };
        if let Ok(part) = &part {
            room.take(part);
        }
        Read { at, part, more }
    }

    fn next(&self, reader: &mut Reader, budget: u64, threads: usize, rows: u64) -> std::io::Result<Part> {
        let look = |chunk: &Chunk| self.flattener.check(chunk, 0);
        let (range, checked) = reader.next_with(&self.guide, 0, budget, threads, &look)?;
        let mut part = Part { range, checked, cut: false, row_bytes: 0 };
        part.settle();
        part.cut_at(rows, self.flattener);
        part.weigh(self.pipeline.limits.quarantine_documents);
        Ok(part)
    }

    fn empty(&self) -> Intake {
        let tables = self.pipeline.tables.len();
        let claims = Claims { tables: vec![Vec::new(); tables], duplicates: vec![0; tables], valid: 0 };
        let mut intake = Intake::default();
        (intake.stock.claims, intake.stock.spares) = (claims, Arc::clone(&self.spares));
        intake
    }

    /// Adds a file's part, or says why it could not be read. A file that changed while it was read is read again.
    fn add(&self, intake: &mut Intake, name: &std::sync::Arc<str>, part: std::io::Result<Part>) {
        let unread = |reason: String| Unread { name: name.clone(), reason };
        let mut part = match part {
            Err(e) => return intake.unread.push(unread(e.to_string())),
            Ok(part) if part.range.changed_while_reading => {
                return intake.unread.push(unread("it changed while it was read".into()));
            }
            Ok(part) => part,
        };
        let file = intake.files.len() as u32;
        let range = &mut part.range.range;
        let most = self.pipeline.limits.quarantine_documents;
        let (mut told, mut rest) = (0, None);
        for (table, claims) in intake.stock.claims.tables.iter_mut().enumerate() {
            claims
                .reserve(part.checked.iter().filter_map(|c| c.claims.tables.get(table)).map(Vec::len).sum());
        }
        for (mut chunk, checked) in part.range.chunks.into_iter().zip(part.checked) {
            chunk.file = file;
            range.quarantined += checked.bad.len() as u64;
            range.events -= checked.bad.len() as u64;
            for (document, bad) in in_order(&mut chunk.bad, checked.bad) {
                if told == most {
                    let new = Rest { file, from: bad.position, documents: 0 };
                    rest.get_or_insert(new).documents += 1;
                    continue;
                }
                told += 1;
                intake.rejected.push(self.rejected(file, &chunk, document, bad));
            }
            let at = intake.stock.chunks.len() as u32;
            take_claims(&mut intake.stock.claims, checked.claims, at);
            intake.stock.chunks.push(chunk);
        }
        intake.rest.extend(rest);
        if part.cut {
            intake.cut.push(name.clone());
        }
        intake.bytes += range.end.offset - range.start.offset;
        intake.files.push(part.range.range);
    }

    fn rejected(&self, file: u32, chunk: &Chunk, document: Option<u32>, bad: Bad) -> Rejected {
        let (hash, text) = match document {
            None => self.raw_text(chunk, &bad),
            Some(document) => {
                let cap = self.pipeline.limits.quarantine_text_bytes;
                let hash = chunk.documents.get(document as usize).map(|d| d.hash);
                (hash, Some(self.flattener.masked_text(chunk, document, cap)))
            }
        };
        Rejected { file, position: bad.position, reason: bad.reason, hash, text, rest: None }
    }

    /// Text that could not be parsed cannot be masked: it is kept only if the pipeline says so, else its hash.
    fn raw_text(&self, chunk: &Chunk, bad: &Bad) -> (Option<u128>, Option<String>) {
        let text = bad.span.and_then(|(from, to)| chunk.text.get(from as usize..to as usize));
        let hash = text.map(xxhash_rust::xxh3::xxh3_128);
        let kept = text.filter(|_| self.pipeline.quarantine_raw);
        let cap = self.pipeline.limits.quarantine_text_bytes;
        (hash, kept.map(|t| String::from_utf8_lossy(t.get(..cap).unwrap_or(t)).into_owned()))
    }
}

/// What is wrong in a chunk, in the order of the file and each once: what is no document, and the documents that do
/// not fit (with their number).
fn in_order(bad: &mut Vec<Bad>, unfit: Vec<(u32, Bad)>) -> Vec<(Option<u32>, Bad)> {
    let malformed = std::mem::take(bad).into_iter().map(|bad| (None, bad));
    let mut all: Vec<_> = malformed.chain(unfit.into_iter().map(|(at, bad)| (Some(at), bad))).collect();
    all.sort_by(|(_, a), (_, b)| (a.position.offset, &a.reason).cmp(&(b.position.offset, &b.reason)));
    all.dedup_by(|(_, a), (_, b)| (a.position.offset, &a.reason) == (b.position.offset, &b.reason));
    all
}

fn take_claims(all: &mut Claims, more: Claims, chunk: u32) {
    all.valid += more.valid;
    for (duplicates, more) in all.duplicates.iter_mut().zip(more.duplicates) {
        *duplicates += more;
    }
    for (claims, more) in all.tables.iter_mut().zip(more.tables) {
        claims.extend(more.into_iter().map(|mut claim| {
            claim.event.chunk = chunk;
            claim
        }));
    }
}
