//! A hundred thousand small batches, a minute apart by their own clock: what is left on disk, and whether the last batch
//! takes longer than the thousandth.
//!
//! The thousandth is that of a second root, which takes turns with the first one's last batches: minutes lie between a
//! root's own thousandth and its last, in which the machine changes. (The process is one. Whether it gets slower as a
//! whole, the first root's own thousandth tells, as far as the machine lets it.)
//!
//! Two tables, beside the ledger and quarantine, and without waiting for the disk: what is asked is whether work and files
//! grow, not how fast the disk syncs, and each table is kept for itself.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use millrace::clock::Clock;
use millrace::maintain::Policy;
use millrace::pipeline;
use millrace::run::Session;
use millrace::tables::names;

use crate::common::{self, Dice, cpu, ms};
use crate::figures::Figure;
use crate::hasty::Hasty;
use crate::place::Place;

/// Events of a batch.
const EVENTS: u64 = 6;
/// Of a hundred events, those about orders that the tables have.
const UPDATES: u64 = 70;
const PIPELINE: &str = r#"
version = 1
name = "growth"
[source]
path = "unused"
[event]
key = "$.id"
sequence = [{ path = "$.version", type = "int64" }]
[tables.customer]
key = ["id"]
[tables.customer.columns]
id = "$.customer.id"
name = "$.customer.name"
[tables.line]
each = "$.lines[*]"
owner = ["order_id"]
key = ["order_id", "item_id"]
[tables.line.columns]
order_id = "$.id"
item_id = "@.item"
quantity = { path = "@.quantity", type = "int64" }
customer_id = { path = "$.customer.id", references = "customer.id" }
"#;
/// Batches whose times are taken together: now and then one has a compaction to take up.
const WINDOW: u64 = 500;
/// Of those, how many follow each other; and how many are not counted, while the other root's maintenance may be at work.
const TURN: u64 = 50;
const SETTLE: usize = 10;
const MINUTE: i64 = 60_000_000;

#[derive(Debug)]
struct Minutes(AtomicI64);

impl Clock for Minutes {
    fn now_micros(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

pub fn run(place: &Place) -> Vec<Figure> {
    let batches = place.size(100_000, 2_000);
    let (old_root, young_root) = (place.root(), place.root());
    let figures = grow(batches, old_root.path(), young_root.path());
    young_root.remove();
    old_root.remove();
    figures
}

fn grow(batches: u64, old: &Path, young: &Path) -> Vec<Figure> {
    let mut old = Shop::open(old);
    let (mut most, mut before) = (Size::default(), Times::default());
    while old.batch < batches - WINDOW {
        let took = old.batch();
        if old.batch.abs_diff(1_000) * 2 <= WINDOW {
            before.push(took);
        }
        if old.batch.is_multiple_of(WINDOW) {
            most = most.or(Size::of(&old.session));
        }
        if old.batch.is_multiple_of(10_000) {
            eprintln!("  {} batches", old.batch);
        }
    }
    let mut young = Shop::open(young);
    while young.batch < 1_000 - WINDOW / 2 {
        young.batch();
    }
    let (mut early, mut late) = (Times::default(), Times::default());
    for _ in 0..WINDOW / TURN {
        for (shop, times) in [(&mut young, &mut early), (&mut old, &mut late)] {
            (0..TURN).map(|_| shop.batch()).skip(SETTLE).for_each(|took| times.push(took));
        }
    }
    most = most.or(Size::of(&old.session));
    let keys: usize = old.session.root.states.iter().map(|s| s.index.len()).sum();
    let ratio = |of: fn(&Times) -> f64| of(&late) / of(&early);
    vec![
        Figure::one("batches", "", batches as f64),
        Figure::one("keys at the end", "", keys as f64),
        Figure::one("a batch, around the thousandth: median", "ms", early.median()),
        Figure::one("a batch, the last: median", "ms", late.median()),
        Figure::one("the same root's thousandth, at its time: median", "ms", before.median()),
        Figure::one("last / thousandth, median", "times", ratio(Times::median)).at_most(1.0),
        Figure::one("a batch, around the thousandth: processor", "ms", early.processor()),
        Figure::one("a batch, the last: processor", "ms", late.processor()),
        Figure::one("the same root's thousandth, at its time: processor", "ms", before.processor()),
        Figure::one("last / thousandth, processor", "times", ratio(Times::processor)),
        Figure::one("most live files of a table", "", most.live),
        Figure::one("most files of a table's folder", "", most.files),
        Figure::one("most entries of a table's log", "", most.log),
        Figure::one("most index files of a table", "", most.index),
    ]
}

/// One root, its clock, and what comes next.
struct Shop<'a> {
    root: &'a Path,
    clock: Arc<Minutes>,
    session: Session,
    orders: Orders,
    /// The last one that was run.
    batch: u64,
}

impl Shop<'_> {
    fn open(root: &Path) -> Shop<'_> {
        let clock = Arc::new(Minutes(AtomicI64::new(1_700_000_000_000_000)));
        let pipeline = Arc::new(pipeline::parse(PIPELINE, "growth.toml").unwrap());
        let disk = Arc::new(Hasty);
        let session = common::open_with(pipeline, clock.clone(), disk, root, false, Policy::default());
        Shop { root, clock, session, orders: Orders { versions: Vec::new(), dice: Dice(1) }, batch: 0 }
    }

    /// The next batch: milliseconds on the clock, and of the processor.
    fn batch(&mut self) -> (f64, f64) {
        self.batch += 1;
        let events: Vec<String> = (0..EVENTS).map(|_| self.orders.next()).collect();
        self.clock.0.fetch_add(MINUTE, Ordering::SeqCst);
        let intake = common::intake(&self.session, self.root, self.batch, &events);
        let (begin, before) = (Instant::now(), processor());
        self.session.run_batch(intake).unwrap();
        self.session.maintain().unwrap();
        (ms(begin), (processor() - before) * 1e3)
    }
}

/// Orders of one to four lines, new and told again.
struct Orders {
    versions: Vec<u32>,
    dice: Dice,
}

impl Orders {
    fn next(&mut self) -> String {
        let known = self.versions.len() as u64;
        let order = if known > 0 && self.dice.below(100) < UPDATES { self.dice.below(known) } else { known };
        if order == known {
            self.versions.push(0);
        }
        let version = &mut self.versions[order as usize];
        *version += 1;
        let item = |line: u64| format!(r#"{{"item":"i{}","quantity":{version}}}"#, order % 997 + line);
        let lines: Vec<String> = (0..order % 4 + 1).map(item).collect();
        let (customer, lines) = (order % 5_000, lines.join(","));
        format!(
            r#"{{"id":"o{order}","version":{version},"customer":{{"id":"c{customer}","name":"n{customer}"}},"lines":[{lines}]}}"#
        )
    }
}

/// Seconds of this process.
fn processor() -> f64 {
    let (user, system) = cpu("self");
    user + system
}

/// Milliseconds of batches: on the clock, and of the processor.
#[derive(Default)]
struct Times(Vec<(f64, f64)>);

impl Times {
    fn push(&mut self, took: (f64, f64)) {
        self.0.push(took);
    }

    fn median(&self) -> f64 {
        let mut wall: Vec<f64> = self.0.iter().map(|(wall, _)| *wall).collect();
        wall.sort_by(f64::total_cmp);
        wall.get(wall.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// The mean: the system counts in steps that are as long as a batch.
    fn processor(&self) -> f64 {
        self.0.iter().map(|(_, cpu)| cpu).sum::<f64>() / self.0.len() as f64
    }
}

/// What one table has at most.
#[derive(Default)]
struct Size {
    live: f64,
    files: f64,
    log: f64,
    index: f64,
}

impl Size {
    fn of(session: &Session) -> Size {
        session.root.states.iter().fold(Size::default(), |most, state| {
            let dir = &state.table.def.dir;
            most.or(Size {
                live: state.table.files.len() as f64,
                files: entries(dir),
                log: entries(&names::log_dir(dir)),
                index: entries(&names::index_dir(dir)),
            })
        })
    }

    fn or(self, o: Size) -> Size {
        Size {
            live: self.live.max(o.live),
            files: self.files.max(o.files),
            log: self.log.max(o.log),
            index: self.index.max(o.index),
        }
    }
}

fn entries(dir: &Path) -> f64 {
    fs::read_dir(dir).unwrap().count() as f64
}
