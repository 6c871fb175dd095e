//! Compaction under load: how long the stream of batches ever stands still for it, and what it costs.

use millrace::maintain::{Policy, compact};

use crate::figures::Figure;
use crate::place::Place;
use crate::stream::Stream;

/// Events of a batch.
const EVENTS: u64 = 200;

/// Files are never many enough to be joined.
fn never() -> Policy {
    let compact = compact::Policy { fan_in: 1 << 40, step_rows: u64::MAX / 4, ..compact::Policy::default() };
    Policy { compact, ..Policy::default() }
}

pub fn run(place: &Place) -> Vec<Figure> {
    let batches = place.size(1_000, 40);
    let (one, other) = (place.root(), place.root());
    let mut with = Stream::open(one.path(), Policy::default());
    let mut without = Stream::open(other.path(), never());
    let (mut took_with, mut took_without) = (Vec::new(), Vec::new());
    for _ in 0..batches {
        // In turns; both are told the same.
        let events = with.next(EVENTS);
        without.next(EVENTS);
        took_with.push(with.commit(&events));
        took_without.push(without.commit(&events));
    }
    let rate = |took: &[f64]| 1e3 * took.len() as f64 / took.iter().sum::<f64>();
    let (rate_with, rate_without) = (rate(&took_with), rate(&took_without));
    let files = |stream: &Stream<'_>| stream.session.root.states.iter().map(|s| s.table.files.len()).max();
    let (files_with, files_without) = (files(&with), files(&without));
    let with = Figure::new("a batch, with compaction", "ms", took_with);
    let without = Figure::new("a batch, without", "ms", took_without);
    vec![
        Figure::one("longest gap, with compaction", "ms", with.max()),
        Figure::one("longest gap, without", "ms", without.max()),
        Figure::one("batches a second, with compaction", "", rate_with),
        Figure::one("batches a second, without", "", rate_without),
        Figure::one("batches a second, with / without", "times", rate_with / rate_without),
        Figure::one("most files of a table, with compaction", "", files_with.unwrap_or(0) as f64),
        Figure::one("most files of a table, without", "", files_without.unwrap_or(0) as f64),
        with,
        without,
    ]
}
