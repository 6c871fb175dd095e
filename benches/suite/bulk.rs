//! One large file of lines to nine tables, without and with the mirror.

use crate::figures::Figure;
use crate::place::{Layout, Place};

pub const EVENTS: u64 = 101_172;

pub fn run(place: &Place) -> Vec<Figure> {
    let events = place.size(EVENTS, 5_000);
    let input = place.input(events, Layout::Lines);
    let (mut tables, mut mirror) = (Vec::new(), Vec::new());
    for _ in 0..place.repeats(5) {
        // In turns, so that what else the machine does hits both alike.
        tables.push(place.root().once(&input, &["--no-mirror"]));
        mirror.push(place.root().once(&input, &[]));
    }
    let ratios = tables.iter().zip(&mirror);
    vec![
        Figure::new("tables", "s", tables.iter().map(|r| r.wall).collect()),
        Figure::new("tables, processor", "s", tables.iter().map(|r| r.cpu()).collect()),
        Figure::new("tables, rate", "events/s", tables.iter().map(|r| events as f64 / r.wall).collect()),
        Figure::new("tables and mirror", "s", mirror.iter().map(|r| r.wall).collect()),
        Figure::new("tables and mirror, processor", "s", mirror.iter().map(|r| r.cpu()).collect()),
        Figure::new("mirror on / off", "times", ratios.clone().map(|(t, m)| m.wall / t.wall).collect())
            .at_most(1.5),
        Figure::new("mirror on / off, processor", "times", ratios.map(|(t, m)| m.cpu() / t.cpu()).collect()),
    ]
}
