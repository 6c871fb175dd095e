//! Reading ahead: files to checked events, on worker threads, while the batch before is committed.
//!
//! Needs nothing of the tables: validity comes first and asks only the pipeline.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::batch::{Bad, Chunk, Claims, Input, Unread};
use crate::decode::{Guide, Range, Reader};
use crate::flatten::{self, Checked};
use crate::pipeline::model::Pipeline;
use crate::system::Rejected;

use super::Intake;

/// What stays the same from batch to batch.
pub struct Worker<'p> {
    pub pipeline: &'p Pipeline,
    pub guide: Guide,
    pub threads: usize,
}

/// One range with what the pipeline says about its documents.
struct Part {
    range: Range,
    checked: Vec<Checked>,
}

impl<'p> Worker<'p> {
    pub fn new(pipeline: &'p Pipeline, threads: usize) -> Self {
        Worker { pipeline, guide: Guide::new(&pipeline.shape), threads: threads.max(1) }
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

    /// Takes several files whole, each on one of the threads. They are small: together about a batch.
    pub fn files(&self, inputs: Vec<Input>) -> Intake {
        let begin = Instant::now();
        let names: Vec<_> = inputs.iter().map(|i| i.name.clone()).collect();
        let slots: Vec<Mutex<Option<Input>>> = inputs.into_iter().map(|i| Mutex::new(Some(i))).collect();
        let next = AtomicUsize::new(0);
        let mut parts: Vec<(usize, std::io::Result<Part>)> = std::thread::scope(|scope| {
            let work = || {
                let mut done = Vec::new();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(slot) = slots.get(at) else { return done };
                    let taken = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
                    if let Some(input) = taken {
                        done.push((at, self.whole(input)));
                    }
                }
            };
            let threads: Vec<_> = (0..self.threads.min(slots.len())).map(|_| scope.spawn(work)).collect();
            threads.into_iter().flat_map(|t| t.join().unwrap_or_default()).collect()
        });
        parts.sort_by_key(|(at, _)| *at);
        let mut intake = self.empty();
        for (at, part) in parts {
            self.add(&mut intake, &names[at], part);
        }
        intake.read_ms = begin.elapsed().as_secs_f64() * 1e3;
        intake
    }

    fn whole(&self, input: Input) -> std::io::Result<Part> {
        let mut reader = Reader::open(input, self.pipeline.limits)?;
        let range = reader.next(&self.guide, 0, u64::MAX, 1)?;
        Ok(self.check(range))
    }

    fn check(&self, range: Range) -> Part {
        let checked = range.chunks.iter().map(|chunk| flatten::check(self.pipeline, chunk)).collect();
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
                let text = flatten::masked_text(self.pipeline, &chunk, document, cap);
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
