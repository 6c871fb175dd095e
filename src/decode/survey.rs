//! A look through a compressed file before anything of it is believed.
//!
//! A checksum stands behind the text that it vouches for. Documents taken from a member whose checksum then fails
//! would be events that nobody sent, and nothing could take them back. So the file is decompressed once to learn how
//! far it is sound; a small one stays in memory, and costs nothing more.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;

use super::format::Packing;
use super::raw::{COMPRESSED, DECOMPRESSED, Failure, Raw, Steady};

/// What is decompressed to at most this is kept.
const KEPT: usize = 256 << 10;

/// What a compressed file is.
#[derive(Debug, PartialEq, Eq)]
pub enum Survey {
    /// Sound, and this is all of it.
    Small(Vec<u8>),
    /// Sound, or more than there may be: what its decompressor gives can be taken.
    Sound,
    /// Damaged, or cut off, which damage can look like: only so many decompressed bytes stand in members (frames) that are sound.
    Damaged { sound: u64, why: String },
}

/// Reads `raw` from where it stands; the caller rewinds it. An error is one of reading.
pub fn survey(raw: &mut Raw, packing: Packing, most: u64) -> io::Result<Survey> {
    let failure = Failure::default();
    let mut input = BufReader::with_capacity(COMPRESSED, Steady::new(raw, &failure));
    let mut seen = Seen { most, made: 0, kept: Vec::new(), buffer: vec![0; DECOMPRESSED] };
    let mut sound = 0;
    loop {
        let member = match packing {
            Packing::Zstd => zstd::stream::read::Decoder::with_buffer(&mut input)
                .and_then(|d| seen.member(d.single_frame())),
            _ => seen.member(GzDecoder::new(&mut input)),
        };
        match member {
            Err(e) => {
                failure.take()?;
                return Ok(Survey::Damaged { sound, why: e.to_string() });
            }
            Ok(()) if seen.made > most => return Ok(Survey::Sound),
            Ok(()) => sound = seen.made,
        }
        if input.fill_buf()?.is_empty() {
            let small = seen.made == seen.kept.len() as u64;
            return Ok(if small { Survey::Small(seen.kept) } else { Survey::Sound });
        }
    }
}

struct Seen {
    most: u64,
    made: u64,
    kept: Vec<u8>,
    buffer: Vec<u8>,
}

impl Seen {
    /// Decompresses one member to its end, or until there is more than there may be.
    fn member(&mut self, mut decoder: impl Read) -> io::Result<()> {
        while self.made <= self.most {
            let n = decoder.read(&mut self.buffer)?;
            if n == 0 {
                break;
            }
            if self.made == self.kept.len() as u64 && self.kept.len() + n <= KEPT {
                self.kept.extend_from_slice(self.buffer.get(..n).unwrap_or_default());
            }
            self.made += n as u64;
        }
        Ok(())
    }
}
