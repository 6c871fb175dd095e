//! The first batch after a start with a million files in the ledger and ten million keys in the index.
//!
//! The files are really there, so listing them is part of it; they are empty, so that they fit on the disk.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use millrace::batch::{FileRange, Plan, Resume};
use millrace::maintain::Policy;
use millrace::simulate::{Options, Shop};

use crate::common::fingerprint;
use crate::figures::Figure;
use crate::place::{Place, Root};
use crate::stream::Stream;

/// Events of a batch that fills, and files of a folder.
const FILL: u64 = 20_000;
const FOLDER: u64 = 1_000;

pub fn run(place: &Place) -> Vec<Figure> {
    let (files, keys) = (place.size(1_000_000, 5_000), place.size(10_000_000, 50_000));
    let root = place.root();
    let source = root.path().join("live");
    fs::create_dir(&source).unwrap();
    let begin = Instant::now();
    let mut stream = Stream::open(root.path(), Policy::default());
    while (stream.keys() as u64) < keys {
        let events = stream.new_orders(FILL.min(keys / 5));
        stream.commit(&events);
    }
    eprintln!("  {} keys in {:.0} s", stream.keys(), begin.elapsed().as_secs_f64());
    for folder in 0..files / FOLDER {
        let session = &mut stream.session;
        let (batch, ranges) = (session.root.next_batch, empty_files(&source, folder));
        let plans = vec![Plan::default(); session.root.states.len() - 1];
        session.seed(&plans, &ranges, batch, session.root.clock.now_micros()).unwrap();
        session.maintain().unwrap();
    }
    stream.session.finish().unwrap();
    let (ledger, keys) = (stream.session.ledger.len(), stream.keys());
    drop(stream);
    rustix::fs::sync();
    eprintln!("  {ledger} files in the ledger after {:.0} s", begin.elapsed().as_secs_f64());
    let mut shop = Shop::new(99, Options::default());
    let (mut first, mut peak) = (Vec::new(), Vec::new());
    for _ in 0..place.repeats(5) {
        let event = shop.next_event().unwrap();
        fs::write(source.join(&event.name), &event.text).unwrap();
        let (seconds, mb) = first_batch(&root, &source);
        first.push(seconds);
        peak.push(mb);
    }
    root.remove();
    vec![
        Figure::one("files in the ledger", "", ledger as f64),
        Figure::one("keys", "", keys as f64),
        Figure::new("first batch", "s", first).at_most(3.0),
        Figure::new("peak memory", "MB", peak),
    ]
}

/// A folder of empty files, and their ledger rows.
fn empty_files(source: &Path, folder: u64) -> Vec<FileRange> {
    let dir = source.join(format!("{folder:04}"));
    fs::create_dir(&dir).unwrap();
    let file = |at: u64| {
        let name = format!("{at:04}.json");
        let made = File::create(dir.join(&name)).unwrap();
        let name = format!("{folder:04}/{name}").into();
        FileRange {
            name,
            fingerprint: fingerprint(&made),
            end: Resume::default(),
            last: true,
            ..FileRange::default()
        }
    };
    (0..FOLDER).map(file).collect()
}

/// Seconds from the start of the process until it tells of its first batch, and its peak memory by then.
fn first_batch(root: &Root<'_>, source: &Path) -> (f64, f64) {
    let begin = Instant::now();
    let mut command = root.command(source);
    let mut child =
        command.args(["--json", "run", "--once", "--no-mirror"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut seconds = None;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        if seconds.is_none() && line.unwrap().contains("\"type\":\"batch\"") {
            let peak = crate::common::memory(&child.id().to_string()).1;
            seconds = Some((begin.elapsed().as_secs_f64(), peak));
        }
    }
    assert!(child.wait().unwrap().success());
    seconds.expect("there was no batch")
}
