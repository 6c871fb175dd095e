//! Several blocks of one file at once, with the result of one walk after another.
//!
//! A block is cut behind a line's end where the next line begins with `{`: almost always between documents. The
//! walk over it begins on that guess. It counts only if the walk before it ended exactly there; otherwise the
//! block's text is handed back and walked again from where the truth is.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::Builder;

use memchr::memmem;
use xxhash_rust::xxh3::Xxh3;

use super::bytes::Feed;
use super::documents::{Block, Place, Stop, Terms, Walked, resume, walk};
use super::skip::Goal;
use crate::batch::Chunk;

/// Elements counted from an unknown one, by walks that begin inside an array.
const UNKNOWN_ELEMENT: u64 = 1 << 63;

/// How text is cut and shared.
#[derive(Clone, Copy)]
pub struct Blocks {
    /// Bytes of one.
    pub size: usize,
    pub threads: usize,
}

/// A hash that goes on over blocks while they are cut, and their text is at hand.
pub struct Hashed {
    pub hash: Xxh3,
    /// How many blocks are in it.
    pub blocks: usize,
}

/// Cuts the text from `first` on into blocks of about that size up to byte `until` of the file, and walks them on several
/// threads, each of which also takes a `look` at what it walked; `hashed` goes on over all blocks but the last. Returns the
/// walks that hold, in order (the first always does), and whether every guess was right; text that was walked in vain is
/// back in `feed`.
pub fn walks<T: Send>(
    terms: Terms<'_>,
    feed: &mut Feed,
    first: Block,
    until: u64,
    Blocks { size, threads }: Blocks,
    hashed: &mut Hashed,
    look: &(impl Fn(&Chunk) -> T + Sync),
) -> io::Result<(Vec<(Walked, T)>, bool)> {
    let guess = guess(&first);
    let (jobs, queue) = channel();
    let (queue, done) = (Mutex::new(queue), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 1..threads {
            // Without another thread, this one does it all.
            if Builder::new().spawn_scoped(scope, || work(terms, &queue, &done, look)).is_err() {
                break;
            }
        }
        let cut = cut_blocks(feed, first, size, until, guess, &jobs, hashed);
        drop(jobs);
        work(terms, &queue, &done, look);
        cut
    })?;
    let mut walks = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    walks.sort_by_key(|(i, _)| *i);
    let mut walks: Vec<(Walked, T)> = walks.into_iter().map(|(_, walk)| walk).collect();
    for i in 1..walks.len() {
        if let [(before, _), (after, _)] = &mut walks[i - 1..=i] {
            end_skip(before, &after.chunk.text);
        }
    }
    let held = 1 + walks.windows(2).take_while(|w| follows(w, guess)).count();
    let vain = walks.split_off(held.min(walks.len()));
    // A bad part or a full range that ends the chain says nothing against guessing.
    let right = vain.is_empty() || !matches!(walks.last().map(|(w, _)| w.stop), Some(Stop::More));
    for (walked, _) in vain.into_iter().rev() {
        feed.hand_back(walked.chunk.text);
    }
    Ok((walks, right))
}

/// Where blocks after the first are taken to begin.
fn guess(first: &Block) -> Place {
    let opening = first.text.trim_ascii_start().first();
    match (first.place, opening) {
        (Place::Top, Some(b'[')) => Place::Element(UNKNOWN_ELEMENT),
        (Place::Top, _) => Place::Top,
        _ => Place::Element(UNKNOWN_ELEMENT),
    }
}

/// What is bad at a block's end is over where the block was cut: behind a line's end, and the next line begins with `{`,
/// which ends every such part. (Where there was no such place the first block is not cut, and this says nothing.)
fn end_skip(walked: &mut Walked, next: &[u8]) {
    let Stop::Skip(skip) = walked.stop else { return };
    if skip.goal != Goal::End && walked.chunk.text.ends_with(b"\n") && next.starts_with(b"{") {
        (walked.place, _) = resume(skip.goal, walked.place, Some(b'{'), 0);
        walked.stop = Stop::More;
    }
}

/// The first of two neighbouring walks ended where, and as, the second began.
fn follows<T>(pair: &[(Walked, T)], guess: Place) -> bool {
    let Some((before, _)) = pair.first() else { return false };
    let as_guessed = match before.place {
        Place::Top => guess == Place::Top,
        // The first element may be missing, so it is not like the others.
        Place::Element(element) => guess != Place::Top && element > 0,
        Place::After { .. } => false,
    };
    matches!(before.stop, Stop::More) && before.at == before.chunk.text.len() && as_guessed
}

fn work<T>(
    terms: Terms<'_>,
    queue: &Mutex<Receiver<(usize, Block)>>,
    done: &Mutex<Vec<(usize, (Walked, T))>>,
    look: &impl Fn(&Chunk) -> T,
) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((i, block)) = job else { return };
        let walked = walk(terms, block);
        let seen = look(&walked.chunk);
        done.lock().unwrap_or_else(PoisonError::into_inner).push((i, (walked, seen)));
    }
}

/// Reads while others walk.
fn cut_blocks(
    feed: &mut Feed,
    first: Block,
    size: usize,
    until: u64,
    guess: Place,
    jobs: &Sender<(usize, Block)>,
    hashed: &mut Hashed,
) -> io::Result<()> {
    let mut block = first;
    for i in 0.. {
        if !block.whole {
            match cut(&block.text) {
                Some(at) => feed.hand_back(block.text.split_off(at)),
                None if i > 0 => {
                    feed.hand_back(block.text);
                    break;
                }
                None => {}
            }
        }
        let offset = block.offset + block.text.len() as u64;
        let last = block.whole || offset >= until;
        if !last {
            hashed.hash.update(&block.text);
            hashed.blocks += 1;
        }
        if jobs.send((i, block)).is_err() || last {
            break;
        }
        let text = feed.take(size)?;
        let enough = usize::try_from(until - offset).unwrap_or(usize::MAX);
        let whole = feed.is_done();
        block = Block { text, offset, line: 0, place: guess, whole, enough, taken: true };
    }
    Ok(())
}

/// The last line start that looks like the beginning of a document.
fn cut(text: &[u8]) -> Option<usize> {
    memmem::rfind(text, b"\n{").map(|at| at + 1)
}

/// Makes a walk that began on a guess know the line and the element it began with.
pub fn settle(walked: &mut Walked, line: u64, place: Place) {
    let first = match place {
        Place::Element(element) | Place::After { element, .. } => element,
        Place::Top => 0,
    };
    let known = |element: &mut u64| {
        if *element >= UNKNOWN_ELEMENT {
            *element = *element - UNKNOWN_ELEMENT + first;
        }
    };
    let documents = walked.chunk.documents.iter_mut().map(|d| &mut d.position);
    for position in documents.chain(walked.chunk.bad.iter_mut().map(|b| &mut b.position)) {
        position.line += line;
        position.element.iter_mut().for_each(known);
    }
    walked.line += line;
    if let Place::Element(element) | Place::After { element, .. } = &mut walked.place {
        known(element);
    }
}
