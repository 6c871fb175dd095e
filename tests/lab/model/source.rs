//! The source folder and every version of every file that was ever in it.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use millrace::batch::Fingerprint;

use super::history::{NAMES, Put, Shape};
use crate::support::generate::{Kind, event};
use crate::support::pieces::Contents;

/// A file as it once was. Two versions of a name never look alike: what a run has read is older than the tick of the
/// file system's clock in which the next step writes.
pub type Version = (String, Stat);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stat {
    size: u64,
    mtime_ns: i64,
    ctime_ns: i64,
    inode: u64,
}

impl From<Fingerprint> for Stat {
    fn from(f: Fingerprint) -> Stat {
        Stat { size: f.size, mtime_ns: f.mtime_ns, ctime_ns: f.ctime_ns, inode: f.inode }
    }
}

pub struct Source {
    pub folder: PathBuf,
    salt: u64,
    pub versions: HashMap<Version, Contents>,
    pub present: BTreeMap<String, Stat>,
    touches: u64,
}

impl Source {
    pub fn new(folder: PathBuf, salt: u64) -> Source {
        fs::create_dir_all(folder.join("sub/deep")).unwrap();
        Source { folder, salt, versions: HashMap::new(), present: BTreeMap::new(), touches: 0 }
    }

    /// Takes note of what is there now: also a rename or a link changes how a file looks.
    pub fn observe(&mut self) {
        self.present.clear();
        for name in NAMES {
            let path = self.folder.join(name);
            let Ok(meta) = fs::metadata(&path) else { continue };
            let nanoseconds = |s: i64, ns: i64| s * 1_000_000_000 + ns;
            let stat = Stat {
                size: meta.size(),
                mtime_ns: nanoseconds(meta.mtime(), meta.mtime_nsec()),
                ctime_ns: nanoseconds(meta.ctime(), meta.ctime_nsec()),
                inode: meta.ino(),
            };
            self.present.insert(name.to_owned(), stat);
            let contents = Contents::of(name, &fs::read(&path).unwrap());
            self.versions.insert((name.to_owned(), stat), contents);
        }
    }

    /// Name and path of the n-th file that is there.
    pub fn nth(&self, n: usize) -> Option<(&str, PathBuf)> {
        let name = self.present.keys().nth(n % self.present.len().max(1))?;
        Some((name, self.folder.join(name)))
    }

    /// A name with the compression of `name`.
    pub fn other(&self, name: &str, n: usize) -> Option<PathBuf> {
        let packing =
            |name: &str| name.rsplit('.').next().filter(|e| ["gz", "zst"].contains(e)).map(str::to_owned);
        let alike: Vec<_> = NAMES.iter().filter(|n| packing(n) == packing(name) && **n != name).collect();
        (!alike.is_empty()).then(|| self.folder.join(alike[n % alike.len()]))
    }

    pub fn put(&self, put: &Put) {
        let name = NAMES[put.name];
        let path = self.folder.join(name);
        let bytes = self.bytes(name, put);
        if put.in_place {
            return fs::write(&path, bytes).unwrap();
        }
        let draft = self.folder.join(".draft");
        fs::write(&draft, bytes).unwrap();
        fs::rename(draft, path).unwrap();
    }

    pub fn append(&self, path: &Path, events: &[u64]) {
        let lines: Vec<Vec<u8>> = events.iter().map(|n| event(self.salt, *n, LINES)).collect();
        let mut file = File::options().append(true).open(path).unwrap();
        file.write_all(&[b"\n".to_vec(), lines.join(&b'\n')].concat()).unwrap();
    }

    /// Truncates or overwrites in place.
    pub fn damage(&self, path: &Path, at: usize, byte: Option<u8>) {
        let mut bytes = fs::read(path).unwrap();
        let at = bytes.len() * at / 1000;
        match (byte, bytes.get_mut(at)) {
            (Some(byte), Some(found)) => *found = byte,
            (None, _) => bytes.truncate(at),
            _ => {}
        }
        fs::write(path, bytes).unwrap();
    }

    pub fn touch(&mut self, path: &Path) {
        self.touches += 1;
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000 + self.touches);
        File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
    }

    fn bytes(&self, name: &str, put: &Put) -> Vec<u8> {
        let is_lines = !name.contains(".json") || name.contains(".jsonl");
        let kind = if is_lines { LINES } else { DOCUMENTS };
        let events: Vec<Vec<u8>> = put.events.iter().map(|n| event(self.salt, *n, kind)).collect();
        let wide = [b"\n".as_slice(), &b" ".repeat(400_000), b"\n"].concat();
        let text = match put.shape {
            Shape::Array if !is_lines => [b"[\n", events.join(b",\n".as_slice()).as_slice(), b"\n]"].concat(),
            Shape::Windows => [b"\xEF\xBB\xBF", events.join(b"\r\n".as_slice()).as_slice(), b"\r\n"].concat(),
            Shape::Wide => events.join(wide.as_slice()),
            _ => [events.join(&b'\n'), b"\n".to_vec()].concat(),
        };
        let middle = if put.shape == Shape::Members { text.len() / 2 } else { 0 };
        let pack = |part: &[u8]| match name.rsplit('.').next() {
            Some("gz") => {
                let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                packed.write_all(part).unwrap();
                packed.finish().unwrap()
            }
            Some("zst") => zstd::encode_all(part, 1).unwrap(),
            _ => part.to_vec(),
        };
        match middle {
            0 => pack(&text),
            middle => [pack(&text[..middle]), pack(&text[middle..])].concat(),
        }
    }
}

/// One line an event, and some of them are no JSON.
const LINES: Kind = Kind { one_line: true, malformed: true };
const DOCUMENTS: Kind = Kind { one_line: false, malformed: true };
