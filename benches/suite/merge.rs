//! Merging into tables of growing size: `benches/merge.rs`, whose figures this takes up.

use std::collections::BTreeMap;
use std::process::Stdio;

use crate::figures::Figure;
use crate::place::{Place, cargo};

type Times = Vec<BTreeMap<String, f64>>;

/// Tables of the built-in pipeline.
const TABLES: f64 = 9.0;

pub fn run(place: &Place) -> Vec<Figure> {
    let sizes = if place.quick { "10000,50000" } else { "100000,1000000,5000000,10000000" };
    let batches = place.size(40, 3).to_string();
    let said = cargo("bench")
        .args(["--bench", "merge", "--", "--json", "--rows", sizes, "--batches", &batches])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(said.status.success(), "the merge benchmark failed");
    let text = String::from_utf8(said.stdout).unwrap();
    let line = text.lines().rfind(|l| l.starts_with('{')).expect("figures");
    let told: BTreeMap<String, Times> = serde_json::from_str(line).unwrap();
    let sizes: Vec<(&str, &Times)> = sizes.split(',').map(|n| (n, &told[n])).collect();
    let steps = |times: &Times, step: &str| times.iter().map(|t| t[step]).collect::<Vec<f64>>();
    let mut figures = Vec::new();
    for (rows, times) in &sizes {
        let rows: f64 = rows.parse().unwrap();
        let rows = crate::figures::short(rows);
        let a_table = steps(times, "work").iter().map(|ms| ms / TABLES).collect();
        figures.push(Figure::new(format!("{rows} rows: all tables"), "ms", steps(times, "work")));
        figures.push(Figure::new(format!("{rows} rows: a table"), "ms", a_table).at_most(100.0));
        figures.push(Figure::new(
            format!("{rows} rows: processor, all of the batch"),
            "ms",
            steps(times, "cpu"),
        ));
    }
    let median = |times: &Times, step: &str| Figure::new("", "", steps(times, step)).median();
    let (small, large) = (sizes[0].1, sizes[sizes.len() - 1].1);
    let ratio = |step: &str| median(large, step) / median(small, step);
    figures.push(Figure::one("largest / smallest", "times", ratio("work")).at_most(1.3));
    figures.push(Figure::one("largest / smallest, processor", "times", ratio("cpu")));
    figures
}
