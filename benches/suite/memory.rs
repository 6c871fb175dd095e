//! Peak memory of bulk runs of several sizes, with and without what the index takes.

use millrace::maintain::Policy;

use crate::common;
use crate::figures::Figure;
use crate::place::{Layout, Place};

/// Events of about 50 MB, 466 MB and 2 GB.
const SIZES: [(u64, &str); 3] = [(10_900, "50 MB"), (101_172, "466 MB"), (434_000, "2 GB")];

pub fn run(place: &Place) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (events, name) in SIZES {
        let input = place.input(place.size(events, events / 50), Layout::Lines);
        let (mut peaks, mut besides) = (Vec::new(), Vec::new());
        let (mut keys, mut bytes) = (0, 0);
        for _ in 0..place.repeats(3) {
            let root = place.root();
            let ran = root.once(&input, &["--no-mirror"]);
            let session = common::open(root.path(), false, Policy::default());
            let states = &session.root.states;
            keys = states.iter().map(|s| s.index.len()).sum();
            bytes = states.iter().map(|s| s.index.bytes()).sum();
            peaks.push(ran.peak);
            besides.push(ran.peak - bytes as f64 / 1e6);
        }
        figures.push(Figure::new(format!("{name}: peak"), "MB", peaks));
        figures.push(Figure::new(format!("{name}: peak besides the index"), "MB", besides).at_most(512.0));
        figures.push(Figure::one(format!("{name}: keys"), "", keys as f64));
        figures.push(
            Figure::one(format!("{name}: index"), "bytes/key", bytes as f64 / keys as f64).at_most(100.0),
        );
        if events > 200_000 && !place.quick {
            place.forget(&input);
        }
    }
    figures
}
