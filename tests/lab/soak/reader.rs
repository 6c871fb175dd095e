//! Somebody who looks at the mirror all the time: what he sees in one transaction is one batch, and none is undone.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

#[derive(Debug, Default, Clone)]
pub struct Seen {
    pub reads: u64,
    /// Times at which the mirror showed what no batch has left.
    pub wrong: Vec<String>,
}

pub struct Reader {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

impl Reader {
    /// Holds each of its transactions for so long.
    pub fn start(database: PathBuf, hold: Duration) -> Reader {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = stop.clone();
        let thread = std::thread::spawn(move || {
            let (mut seen, mut before) = (Seen::default(), 0);
            while !asked.load(Ordering::SeqCst) {
                // It may not be there yet, or just be made again.
                if let Ok(now) = look(&database, hold, before, &mut seen) {
                    before = now;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            seen
        });
        Reader { stop, thread }
    }

    pub fn stop(self) -> Seen {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

/// Returns the batch that the mirror is at.
fn look(database: &PathBuf, hold: Duration, before: u64, seen: &mut Seen) -> rusqlite::Result<u64> {
    let mut conn = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    conn.busy_timeout(Duration::from_secs(1))?;
    let read = conn.transaction()?;
    let first = state(&read)?;
    std::thread::sleep(hold);
    let second = state(&read)?;
    seen.reads += 1;
    let Some(batch) = first[0] else { return Ok(before) };
    if first != second {
        seen.wrong.push(format!("within one transaction {first:?} became {second:?}"));
    }
    if batch < before {
        seen.wrong.push(format!("batch {batch} after {before}"));
    }
    if first[1..].iter().flatten().any(|row| *row > batch) {
        seen.wrong.push(format!("rows of later batches than {batch}: {first:?}"));
    }
    Ok(batch)
}

/// The batch that the mirror says it is at, then the newest batch that some tables have rows of, and how many rows.
fn state(read: &Connection) -> rusqlite::Result<Vec<Option<u64>>> {
    let mut all = vec![read.query_row("select batch_id from _millrace", [], |r| r.get(0))?];
    for table in ["order_item", "item", "_files"] {
        all.push(read.query_row(&format!("select max(_batch_id) from {table}"), [], |r| r.get(0))?);
    }
    Ok(all)
}
