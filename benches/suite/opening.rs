//! Opening a table that has ten thousand commits.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use millrace::maintain::Policy;
use millrace::tables::{Disk, LocalDisk};

use crate::common::{self, ms};
use crate::figures::Figure;
use crate::place::Place;
use crate::stream::Stream;

/// The local disk without waiting for it. Only to make the table: nothing is measured on it.
#[derive(Debug)]
struct Hasty;

impl Disk for Hasty {
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        fs::write(path, bytes)
    }
    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn sync_file(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn publish(&self, temp: &Path, target: &Path) -> io::Result<()> {
        LocalDisk.publish(temp, target)
    }
    fn replace(&self, temp: &Path, target: &Path) -> io::Result<()> {
        LocalDisk.replace(temp, target)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        LocalDisk.remove(path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        LocalDisk.create_dir(path)
    }
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        LocalDisk.read(path)
    }
}

pub fn run(place: &Place) -> Vec<Figure> {
    let batches = place.size(10_000, 200);
    let root = place.root();
    let session = common::open_on(Arc::new(Hasty), root.path(), false, Policy::default());
    let mut stream = Stream::new(root.path(), session);
    for _ in 0..batches {
        let events = stream.next(2);
        stream.commit(&events);
    }
    stream.session.finish().unwrap();
    drop(stream);
    rustix::fs::sync();
    let (mut table, mut whole) = (Vec::new(), Vec::new());
    let mut commits = 0;
    for _ in 0..place.repeats(9) {
        let begin = Instant::now();
        let session = common::open(root.path(), false, Policy::default());
        whole.push(ms(begin));
        let state = session.root.states.iter().find(|s| s.table.def.name == "order_item").unwrap();
        let begin = Instant::now();
        commits = session.root.kernel.open(&state.table.def.dir).unwrap().version;
        table.push(ms(begin));
    }
    vec![
        Figure::one("commits of order_item", "", commits as f64),
        Figure::new("opening order_item", "ms", table).at_most(200.0),
        Figure::new("opening everything", "ms", whole),
    ]
}
