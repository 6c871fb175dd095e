//! Opening a table that has ten thousand commits.

use std::sync::Arc;
use std::time::Instant;

use millrace::maintain::Policy;

use crate::common::{self, ms};
use crate::figures::Figure;
use crate::hasty::Hasty;
use crate::place::Place;
use crate::stream::Stream;

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
