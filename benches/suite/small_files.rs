//! Many files of one event each.

use crate::figures::Figure;
use crate::place::{Layout, Place};

pub const FILES: u64 = 10_124;

pub fn run(place: &Place) -> Vec<Figure> {
    let files = place.size(FILES, 1_000);
    let input = place.input(files, Layout::Files);
    let (mut tables, mut mirror) = (Vec::new(), Vec::new());
    for _ in 0..place.repeats(5) {
        tables.push(place.root().once(&input, &["--no-mirror"]));
        mirror.push(place.root().once(&input, &[]));
    }
    vec![
        Figure::new("tables", "files/s", tables.iter().map(|r| files as f64 / r.wall).collect())
            .at_least(10_000.0),
        Figure::new("tables, processor", "s", tables.iter().map(|r| r.cpu()).collect()),
        Figure::new("tables and mirror", "files/s", mirror.iter().map(|r| files as f64 / r.wall).collect()),
        Figure::new("tables and mirror, processor", "s", mirror.iter().map(|r| r.cpu()).collect()),
    ]
}
