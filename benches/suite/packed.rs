//! The same events in compressed files.

use crate::bulk::EVENTS;
use crate::figures::Figure;
use crate::place::{Layout, Place};

pub fn run(place: &Place) -> Vec<Figure> {
    let events = place.size(EVENTS, 5_000);
    let layouts = [Layout::Lines, Layout::Gz, Layout::Zst];
    let inputs = layouts.map(|layout| place.input(events, layout));
    let mut ran = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..place.repeats(3) {
        for (input, ran) in inputs.iter().zip(&mut ran) {
            ran.push(place.root().once(input, &["--no-mirror"]));
        }
    }
    let [plain, gz, zst] = ran;
    let mut figures = vec![Figure::new("plain", "s", plain.iter().map(|r| r.wall).collect())];
    for (name, packed) in [("gz", gz), ("zst", zst)] {
        let ratio = |of: fn(&crate::child::Ran) -> f64| {
            packed.iter().zip(&plain).map(|(a, b)| of(a) / of(b)).collect()
        };
        figures.push(Figure::new(name, "s", packed.iter().map(|r| r.wall).collect()));
        figures.push(Figure::new(format!("{name} / plain"), "times", ratio(|r| r.wall)));
        figures.push(Figure::new(format!("{name} / plain, processor"), "times", ratio(|r| r.cpu())));
    }
    figures
}
