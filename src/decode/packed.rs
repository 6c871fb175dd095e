//! A compressed file's text: gzip (many members) or zstd (many frames), with limits.

use std::io::{self, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

use super::format::Packing;
use super::raw::{COMPRESSED, DECOMPRESSED, Failure, Raw, Steady};
use super::survey::{Survey, survey};
use crate::pipeline::model::Limits;

/// The ratio of decompressed to compressed bytes is not looked at below this.
const RATIO_FREE: u64 = 16 << 20;

/// Why there are no more bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Clean,
    /// Damaged, or beyond a limit.
    Broken(String),
}

pub struct Packed {
    decoder: Box<dyn Read + Send>,
    failure: Failure,
    what: &'static str,
    /// Everything was made ready at once.
    whole: bool,
    /// Decompressed but not handed out: `ready[used..]`.
    ready: Vec<u8>,
    used: usize,
    /// Decompressed bytes so far, and how many there may be.
    made: u64,
    most: u64,
    /// What to say beyond `most`.
    excess: String,
}

impl Packed {
    pub fn new(mut raw: Raw, packing: Packing, size: u64, limits: &Limits) -> io::Result<Self> {
        let what = if packing == Packing::Zstd { "zstd" } else { "gzip" };
        let (mut most, mut excess) = bound(size, limits);
        let (mut ready, mut whole) = (Vec::new(), false);
        match survey(&mut raw, packing, most)? {
            Survey::Small(text) => (ready, whole) = (text, true),
            Survey::Damaged { sound, why } => (most, excess) = (sound, damaged(what, why)),
            Survey::Sound => {}
        }
        raw.rewind()?;
        let failure = Failure::default();
        let input = BufReader::with_capacity(COMPRESSED, Steady::new(raw, &failure));
        let decoder: Box<dyn Read + Send> = match packing {
            Packing::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(input)?),
            _ => Box::new(MultiGzDecoder::new(input)),
        };
        Ok(Packed { decoder, failure, what, whole, ready, used: 0, made: 0, most, excess })
    }

    /// Makes more bytes ready; the end, if there are none.
    fn refill(&mut self) -> io::Result<Option<End>> {
        if self.whole {
            return Ok(Some(End::Clean));
        }
        if self.made > self.most {
            return Ok(Some(End::Broken(self.excess.clone())));
        }
        self.ready.resize(DECOMPRESSED, 0);
        self.used = 0;
        match self.decoder.read(&mut self.ready) {
            Ok(0) => {
                self.ready.clear();
                Ok(Some(End::Clean))
            }
            Ok(n) => {
                let allowed = (n as u64).min(self.most - self.made);
                self.ready.truncate(allowed as usize);
                self.made += n as u64;
                Ok(None)
            }
            Err(e) => {
                self.ready.clear();
                self.damage(e).map(Some)
            }
        }
    }

    /// The reader's own failure, or else damaged data.
    fn damage(&mut self, error: io::Error) -> io::Result<End> {
        self.failure.take()?;
        Ok(End::Broken(damaged(self.what, error)))
    }

    pub fn read_into(&mut self, text: &mut Vec<u8>, most: usize) -> io::Result<Option<End>> {
        while text.len() < most {
            if self.used >= self.ready.len()
                && let Some(end) = self.refill()?
            {
                return Ok(Some(end));
            }
            let rest = self.ready.get(self.used..).unwrap_or_default();
            let part = rest.get(..most - text.len()).unwrap_or(rest);
            text.extend_from_slice(part);
            self.used += part.len();
        }
        Ok(None)
    }
}

fn damaged(what: &str, why: impl std::fmt::Display) -> String {
    format!("damaged {what} data: {why}")
}

/// How many bytes a compressed file of this size may decompress to, and what to say when there are more.
fn bound(size: u64, limits: &Limits) -> (u64, String) {
    let by_ratio = limits.ratio.saturating_mul(size).max(RATIO_FREE);
    if limits.file_bytes <= by_ratio {
        return (limits.file_bytes, format!("decompresses to more than {} bytes", limits.file_bytes));
    }
    (by_ratio, format!("decompresses to more than {} times its size", limits.ratio))
}
