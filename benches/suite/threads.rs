//! What a second thread brings.

use crate::bulk::EVENTS;
use crate::figures::Figure;
use crate::place::{Layout, Place};

pub fn run(place: &Place) -> Vec<Figure> {
    let input = place.input(place.size(EVENTS, 5_000), Layout::Lines);
    let (mut one, mut two) = (Vec::new(), Vec::new());
    for _ in 0..place.repeats(5) {
        one.push(place.root().once(&input, &["--no-mirror", "--threads", "1"]));
        two.push(place.root().once(&input, &["--no-mirror", "--threads", "2"]));
    }
    vec![
        Figure::new("--threads 1", "s", one.iter().map(|r| r.wall).collect()),
        Figure::new("--threads 2", "s", two.iter().map(|r| r.wall).collect()),
        Figure::new("one / two", "times", one.iter().zip(&two).map(|(a, b)| a.wall / b.wall).collect()),
        Figure::new("--threads 1, processor", "s", one.iter().map(|r| r.cpu()).collect()),
        Figure::new("--threads 2, processor", "s", two.iter().map(|r| r.cpu()).collect()),
    ]
}
