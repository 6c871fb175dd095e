//! Every measurement of docs/PERFORMANCE.md, one file each: runs them, prints a table, writes JSON and the page.
//!
//! `cargo bench --bench suite [-- NAME… --quick --repeats N --json FILE --page FILE --binary FILE --list]`

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../../tests/support/hasty.rs"]
mod hasty;

mod bulk;
mod child;
mod compaction;
mod figures;
mod growth;
mod limits;
mod live;
mod machine;
mod memory;
mod merge;
mod opening;
mod packed;
mod page;
mod place;
mod reading;
mod small_files;
mod start;
mod stream;
mod threads;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Instant;

use figures::{Figure, Results};
use machine::load;
use place::Place;

/// A measurement by its name, with what it does in a few words.
struct Measurement {
    name: &'static str,
    what: &'static str,
    run: fn(&Place) -> Vec<Figure>,
}

const fn named(name: &'static str, what: &'static str, run: fn(&Place) -> Vec<Figure>) -> Measurement {
    Measurement { name, what, run }
}

/// In the order in which they are run and shown.
const ALL: [Measurement; 13] = [
    named("bulk", "101,172 events in one file of lines, 466 MB, without and with the mirror", bulk::run),
    named("threads", "the same with one thread and with two", threads::run),
    named("small-files", "10,124 files of one event, without and with the mirror", small_files::run),
    named("packed", "the bulk file as gz and as zst, against the plain one", packed::run),
    named("limits", "reading, parsing and encoding alone, against the whole", limits::run),
    named("live", "ten files a second: from rename to visible", live::run),
    named("memory", "peak memory by size of input, besides the index", memory::run),
    named("compaction", "a thousand small batches with compaction and without", compaction::run),
    named("reading", "DuckDB and Polars over those tables, against freshly written ones", reading::run),
    named("opening", "opening a table after ten thousand commits", opening::run),
    named(
        "growth",
        "a hundred thousand small batches: files, and the last batch against the thousandth",
        growth::run,
    ),
    named("start", "first batch with a million files in the ledger and ten million keys", start::run),
    named("merge", "10,000 events into tables of 100 thousand to 10 million rows", merge::run),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo bench` says `--bench`; `cargo test --benches` does not, and must not take an hour.
    if !arguments.iter().any(|a| a == "--bench") {
        return;
    }
    let asked = Asked::of(&arguments);
    if asked.list {
        ALL.iter().for_each(|m| println!("{:<12} {}", m.name, m.what));
        return;
    }
    let chosen: Vec<&Measurement> =
        ALL.iter().filter(|m| asked.names.is_empty() || asked.names.iter().any(|n| n == m.name)).collect();
    let place = Place::new(asked.quick, asked.repeats, asked.binary.clone());
    let mut results = Results::new(asked.quick);
    for measurement in chosen {
        measure(measurement, &place, &mut results);
        // After each, so that an end in the middle loses nothing.
        if let Some(file) = &asked.json {
            std::fs::write(file, results.json()).unwrap();
        }
        if let Some(file) = &asked.page {
            page::refresh(file, &results, &ALL.map(|m| m.name));
        }
    }
    results.print();
    if results.has_failed() {
        std::process::exit(1);
    }
}

fn measure(measurement: &Measurement, place: &Place, results: &mut Results) {
    eprintln!("{}: {}", measurement.name, measurement.what);
    let (begin, before) = (Instant::now(), load());
    let figures = catch_unwind(AssertUnwindSafe(|| (measurement.run)(place)));
    let load = (before, load());
    eprintln!("  {:.0} s, load {:.1} to {:.1}", begin.elapsed().as_secs_f64(), load.0, load.1);
    match figures {
        Ok(figures) => results.add(measurement.name, figures, load),
        Err(_) => results.fail(measurement.name),
    }
}

/// The command line.
#[derive(Default)]
struct Asked {
    names: Vec<String>,
    quick: bool,
    list: bool,
    repeats: Option<usize>,
    json: Option<PathBuf>,
    page: Option<PathBuf>,
    binary: Option<PathBuf>,
}

impl Asked {
    fn of(arguments: &[String]) -> Asked {
        let mut asked = Asked::default();
        let mut rest = arguments.iter();
        // Paths are those of whoever typed them, and cargo starts this in the package's folder, as they do.
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().unwrap_or_else(|| panic!("{argument} wants a value")).clone();
            match argument.as_str() {
                "--bench" => {}
                "--quick" => asked.quick = true,
                "--list" => asked.list = true,
                "--repeats" => asked.repeats = Some(value().parse().expect("a number")),
                "--json" => asked.json = Some(value().into()),
                "--page" => asked.page = Some(value().into()),
                "--binary" => asked.binary = Some(value().into()),
                name if ALL.iter().any(|m| m.name == name) => asked.names.push(name.to_owned()),
                other => panic!("{other} is no measurement and no option; --list names them"),
            }
        }
        assert!(!(asked.quick && asked.page.is_some()), "quick figures do not belong on the page");
        asked
    }
}
