//! What the benchmarks share: events to a batch as `run` would read it, a session over some folder, resources used.

// Each benchmark takes some of it.
#![allow(dead_code)]

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use millrace::batch::{Fingerprint, Input, Resume};
use millrace::clock::{self, Clock};
use millrace::maintain::Policy;
use millrace::pipeline::{self, model::Pipeline};
use millrace::run::intake::Worker;
use millrace::run::{Intake, Places, Session};
use millrace::tables::{Disk, LocalDisk};

pub fn pipeline() -> Arc<Pipeline> {
    Arc::new(pipeline::parse(pipeline::DEFAULT, "orders.toml").unwrap())
}

/// A session whose tables lie below `folder`, every sync done.
pub fn open(folder: &Path, mirror: bool, policy: Policy) -> Session {
    open_on(Arc::new(LocalDisk), folder, mirror, policy)
}

pub fn open_on(disk: Arc<dyn Disk>, folder: &Path, mirror: bool, policy: Policy) -> Session {
    open_with(pipeline(), clock::system(), disk, folder, mirror, policy)
}

/// The same with a pipeline and a time of its own.
pub fn open_with(
    pipeline: Arc<Pipeline>,
    clock: Arc<dyn Clock>,
    disk: Arc<dyn Disk>,
    folder: &Path,
    mirror: bool,
    policy: Policy,
) -> Session {
    let places = Places {
        tables: folder.join("tables"),
        checkpoint: folder.join("checkpoint"),
        database: mirror.then(|| folder.join("database/orders.db")),
    };
    Session::open(&places, pipeline, disk, clock, policy).unwrap()
}

/// Writes the events to a file of lines below `folder` and reads it as `run` would, under the name of file `number`.
pub fn intake<T: AsRef<[u8]>>(
    session: &Session,
    folder: &Path,
    number: u64,
    events: impl IntoIterator<Item = T>,
) -> Intake {
    let path = folder.join("events.ndjson");
    let mut out = BufWriter::new(File::create(&path).unwrap());
    let mut told = 0;
    for event in events {
        out.write_all(event.as_ref()).unwrap();
        out.write_all(b"\n").unwrap();
        told += 1;
    }
    out.flush().unwrap();
    let file = File::open(&path).unwrap();
    let fingerprint = fingerprint(&file);
    let size = fingerprint.size;
    let name = format!("{number:08}.ndjson").into();
    let input = Input { name, file, path, fingerprint, resume: Resume::default(), changed: false };
    let (intake, left) = Worker::new(&session.root.pipeline, &session.flattener, 2)
        .files(vec![input], size.max(1))
        .expect("readable");
    let whole = intake.unread.is_empty() && left.readers.is_empty() && left.inputs.is_empty();
    assert!(whole, "{:?}", intake.unread);
    assert_eq!(intake.stock.claims.valid, told);
    intake
}

pub fn fingerprint(file: &File) -> Fingerprint {
    let stat = file.metadata().unwrap();
    Fingerprint {
        size: stat.len(),
        mtime_ns: stat.mtime() * 1_000_000_000 + stat.mtime_nsec(),
        ctime_ns: stat.ctime() * 1_000_000_000 + stat.ctime_nsec(),
        inode: stat.ino(),
    }
}

/// Numbers that look random and are always the same.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

pub fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// Resident memory of a process in MB (`self`: this one), now and at its highest.
pub fn memory(process: &str) -> (f64, f64) {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let of = |name: &str| {
        let line = status.lines().find(|l| l.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
    };
    (of("VmRSS:"), of("VmHWM:"))
}

/// Processor time of a process in seconds, its own and the system's, in steps of ten milliseconds.
pub fn cpu(process: &str) -> (f64, f64) {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let mut ticks = fields.skip(11).map(|ticks| ticks.parse::<f64>().unwrap_or(0.0) / 100.0);
    (ticks.next().unwrap_or(0.0), ticks.next().unwrap_or(0.0))
}
