//! Reading ahead: files to checked events, on worker threads, while the batch before is committed.
//!
//! Needs nothing of the tables: validity comes first and asks only the pipeline.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::batch::{Bad, Chunk, Claims, Input, Unread};
use crate::decode::{Guide, Range, Reader};
use crate::flatten::{Checked, Flattener};
use crate::pipeline::model::Pipeline;
use crate::system::Rejected;

use super::Intake;

/// What stays the same from batch to batch.
pub struct Worker<'p> {
    pub pipeline: &'p Pipeline,
    pub flattener: &'p Flattener,
    pub guide: Guide,
    pub threads: usize,
}

/// Every file of a batch may give at least this much text at once.
const SHARE: u64 = 1 << 20;

/// What became of one file.
struct Read {
    at: usize,
    part: std::io::Result<Part>,
    /// The file holds more.
    more: Option<Reader>,
}

/// One range with what the pipeline says about its documents.
struct Part {
    range: Range,
    checked: Vec<Checked>,
}

impl<'p> Worker<'p> {
    pub fn new(pipeline: &'p Pipeline, flattener: &'p Flattener, threads: usize) -> Self {
        Worker { pipeline, flattener, guide: Guide::new(&pipeline.shape), threads: threads.max(1) }
    }

    /// Takes one range of about a batch's bytes from a file that is being read.
    pub fn range(&self, reader: &mut Reader, budget: u64) -> Intake {
        let begin = Instant::now();
        let name = reader.name().clone();
        let part = reader.next(&self.guide, 0, budget, self.threads).map(|range| self.check(range));
        let mut intake = self.empty();
        self.add(&mut intake, &name, part);
        intake.read_ms = begin.elapsed().as_secs_f64() * 1e3;
        intake
    }

    /// Takes several files, each on one of the threads. Most are done at once; the readers of those that hold more
    /// than their share of `budget` (a batch's bytes of text) are returned.
    pub fn files(&self, inputs: Vec<Input>, budget: u64) -> (Intake, Vec<Reader>) {
        let begin = Instant::now();
        let names: Vec<_> = inputs.iter().map(|i| i.name.clone()).collect();
        let sizes: u64 = inputs.iter().map(|i| i.fingerprint.size).sum();
        // A plain file that fits is done at once; a compressed one may hold any amount of text.
        let share = SHARE.max(budget / inputs.len().max(1) as u64);
        let whole = sizes <= budget;
        let slots: Vec<Mutex<Option<Input>>> = inputs.into_iter().map(|i| Mutex::new(Some(i))).collect();
        let next = AtomicUsize::new(0);
        let mut parts: Vec<Read> = std::thread::scope(|scope| {
            let work = || {
                let mut done = Vec::new();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(slot) = slots.get(at) else { return done };
                    let taken = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
                    if let Some(input) = taken {
                        let budget = if whole { share.max(input.fingerprint.size) } else { budget };
                        let threads = if names.len() == 1 { self.threads } else { 1 };
                        done.push(self.one(at, input, budget, threads));
                    }
                }
            };
            let threads: Vec<_> = (0..self.threads.min(slots.len())).map(|_| scope.spawn(work)).collect();
            threads.into_iter().flat_map(|t| t.join().unwrap_or_default()).collect()
        });
        parts.sort_by_key(|read| read.at);
        let mut intake = self.empty();
        let mut more = Vec::new();
        for read in parts {
            let unread = intake.unread.len();
            self.add(&mut intake, &names[read.at], read.part);
            more.extend(read.more.filter(|_| intake.unread.len() == unread));
        }
        intake.read_ms = begin.elapsed().as_secs_f64() * 1e3;
        (intake, more)
    }

    fn one(&self, at: usize, input: Input, budget: u64, threads: usize) -> Read {
        let open = || {
            let mut reader = Reader::open(input, self.pipeline.limits)?;
            let range = reader.next(&self.guide, 0, budget, threads)?;
            Ok((self.check(range), Some(reader).filter(|r| !r.is_done())))
        };
        match open() {
            Ok((part, more)) => Read { at, part: Ok(part), more },
            Err(e) => Read { at, part: Err(e), more: None },
        }
    }

    fn check(&self, range: Range) -> Part {
        let checked = range.chunks.iter().map(|chunk| self.flattener.check(chunk, 0)).collect();
        Part { range, checked }
    }

    fn empty(&self) -> Intake {
        let tables = self.pipeline.tables.len();
        let claims = Claims { tables: vec![Vec::new(); tables], duplicates: vec![0; tables], valid: 0 };
        Intake { claims, ..Intake::default() }
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
        for (mut chunk, checked) in part.range.chunks.into_iter().zip(part.checked) {
            chunk.file = file;
            range.quarantined += checked.bad.len() as u64;
            range.events -= checked.bad.len() as u64;
            for (document, bad) in checked.bad {
                let cap = self.pipeline.limits.quarantine_text_bytes;
                let text = self.flattener.masked_text(&chunk, document, cap);
                intake.rejected.push(rejected(file, bad, Some(text)));
            }
            for bad in std::mem::take(&mut chunk.bad) {
                let text = self.raw_text(&chunk, &bad);
                intake.rejected.push(rejected(file, bad, text));
            }
            let at = intake.chunks.len() as u32;
            take_claims(&mut intake.claims, checked.claims, at);
            intake.chunks.push(chunk);
        }
        intake.bytes += range.end.offset - range.start.offset;
        intake.files.push(part.range.range);
    }

    /// Text that could not be parsed cannot be masked: it is kept only if the pipeline says so.
    fn raw_text(&self, chunk: &Chunk, bad: &Bad) -> Option<String> {
        let (from, to) = bad.span.filter(|_| self.pipeline.quarantine_raw)?;
        let to = (to as usize).min(from as usize + self.pipeline.limits.quarantine_text_bytes);
        Some(String::from_utf8_lossy(chunk.text.get(from as usize..to)?).into_owned())
    }
}

fn rejected(file: u32, bad: Bad, text: Option<String>) -> Rejected {
    Rejected { file, position: bad.position, reason: bad.reason, text }
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
