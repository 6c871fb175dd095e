//! How fast other engines read tables that a thousand small batches wrote, against freshly written ones.

use std::path::{Path, PathBuf};
use std::process::Command;

use millrace::maintain::Policy;
use serde_json::Value;

use crate::figures::Figure;
use crate::place::Place;
use crate::stream::Stream;

/// Events of a small batch.
const EVENTS: u64 = 100;

pub fn run(place: &Place) -> Vec<Figure> {
    let Some(python) = python() else {
        eprintln!(
            "  skipped: MILLRACE_VENV names no environment with duckdb and polars (benches/peers/run makes one)"
        );
        return Vec::new();
    };
    let batches = place.size(1_000, 20);
    let (small, fresh) = (place.root(), place.root());
    let all = write_small(small.path(), batches);
    let mut stream = Stream::open(fresh.path(), Policy::default());
    stream.commit(&all);
    drop(stream);
    let said = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/read.py"))
        .args([small.path().join("tables"), fresh.path().join("tables")])
        .output()
        .unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let told: Value = serde_json::from_slice(&said.stdout).unwrap();
    told.as_array().unwrap().iter().flat_map(figures).collect()
}

/// All events, in their order.
fn write_small(folder: &Path, batches: u64) -> Vec<String> {
    let mut stream = Stream::open(folder, Policy::default());
    let mut all = Vec::new();
    for _ in 0..batches {
        let events = stream.next(EVENTS);
        stream.commit(&events);
        all.extend(events);
    }
    stream.session.finish().unwrap();
    all
}

fn figures(told: &Value) -> Vec<Figure> {
    let times =
        |of: &str| -> Vec<f64> { told[of].as_array().unwrap().iter().filter_map(Value::as_f64).collect() };
    let what = format!("{}, {}", told["engine"].as_str().unwrap(), told["question"].as_str().unwrap());
    let (small, fresh) = (times("small"), times("fresh"));
    let ratios = small.iter().zip(&fresh).map(|(a, b)| a / b).collect();
    let ratio = Figure::new(format!("{what}: small batches / fresh"), "times", ratios);
    let counts = told["question"] == "count";
    vec![
        Figure::new(format!("{what}: after small batches"), "ms", small),
        Figure::new(format!("{what}: freshly written"), "ms", fresh),
        if counts { ratio.at_most(1.5) } else { ratio },
    ]
}

pub fn python() -> Option<PathBuf> {
    let venv = PathBuf::from(std::env::var_os("MILLRACE_VENV")?);
    Some(venv.join("bin/python")).filter(|p| p.exists())
}
