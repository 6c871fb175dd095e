//! How fast other engines read tables that a thousand small batches wrote, against freshly written ones: by one run over
//! all of the events, and, beyond what a run does with that much input, in one commit a table.

use std::fs;
use std::io::Write;
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
    let (small, fresh, one) = (place.root(), place.root(), place.root());
    let all = write_small(small.path(), batches);
    fresh.once(&lines(&place.scratch.path().join("reading"), &all), &["--no-mirror"]);
    let mut stream = Stream::open(one.path(), Policy::default());
    stream.commit(&all);
    drop(stream);
    let said = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/read.py"))
        .args([&small, &fresh, &one].map(|root| root.path().join("tables")))
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

/// A folder with one file of all events.
fn lines(folder: &Path, events: &[String]) -> PathBuf {
    fs::create_dir_all(folder).unwrap();
    let mut file = fs::File::create(folder.join("all.ndjson")).unwrap();
    events.iter().for_each(|event| writeln!(file, "{event}").unwrap());
    folder.to_path_buf()
}

fn figures(told: &Value) -> Vec<Figure> {
    let times =
        |of: &str| -> Vec<f64> { told[of].as_array().unwrap().iter().filter_map(Value::as_f64).collect() };
    let what = format!("{}, {}", told["engine"].as_str().unwrap(), told["question"].as_str().unwrap());
    let (small, fresh, one) = (times("small"), times("fresh"), times("one"));
    let ratio = |of: &str, to: &[f64]| {
        let ratios = small.iter().zip(to).map(|(a, b)| a / b).collect();
        Figure::new(format!("{what}: small batches / {of}"), "times", ratios)
    };
    let (to_fresh, to_one) = (ratio("fresh", &fresh), ratio("one commit", &one));
    let counts = told["question"] == "count";
    vec![
        Figure::new(format!("{what}: after small batches"), "ms", small),
        Figure::new(format!("{what}: freshly written"), "ms", fresh),
        Figure::new(format!("{what}: written in one commit"), "ms", one),
        if counts { to_fresh.at_most(1.5) } else { to_fresh },
        to_one,
    ]
}

pub fn python() -> Option<PathBuf> {
    let venv = PathBuf::from(std::env::var_os("MILLRACE_VENV")?);
    Some(venv.join("bin/python")).filter(|p| p.exists())
}
