//! Row 12: The fuzz targets' corpora and the differential against `serde_json`, as tests.
//!
//! `fuzz/run` looks for new paths through the same bodies, guided by coverage; what it found stands in
//! `fuzz/regressions`, what it begins with in `fuzz/seeds`. Here every one of these files is run, and then changed at
//! random some thousand times.

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use crate::figures::tell;
use crate::scale::{pick, seeds};
use crate::support::spelling::Rng;

#[path = "../../fuzz/src/bodies/mod.rs"]
mod bodies;

/// The files of a target: its seeds and what once broke it.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let folders = [fuzz.join("seeds").join(target), fuzz.join("regressions").join(target)];
    let files = folders.iter().filter_map(|f| fs::read_dir(f).ok()).flatten();
    let mut paths: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn try_one(target: &str, body: bodies::Body, data: &[u8], from: &str) {
    // The body's own message has been printed by then.
    if catch_unwind(|| body(data)).is_err() {
        let path = std::env::temp_dir().join(format!("millrace-crash-{target}"));
        fs::write(&path, data).unwrap();
        panic!("{target} breaks on {from}; the input is kept as {}", path.display());
    }
}

/// Runs a target over its corpus and over changed copies of it.
fn run(target: &str, short: u64, long: u64) {
    let body = bodies::TARGETS.iter().find(|(name, _)| *name == target).unwrap().1;
    let corpus = corpus(target);
    assert!(!corpus.is_empty(), "{target} has no seeds");
    for (path, data) in &corpus {
        try_one(target, body, data, &path.display().to_string());
    }
    try_one(target, body, &[], "nothing");
    let mut mutations = 0;
    for seed in seeds(1, 4) {
        let mut rng = Rng::of(&[seed, target.len() as u64]);
        for n in 0..pick(short, long) {
            let data = changed(&corpus, &mut rng);
            try_one(target, body, &data, &format!("change {n} of MILLRACE_SEED={seed}"));
            mutations += 1;
        }
    }
    tell(12, target, &[("files", corpus.len() as u64), ("mutations", mutations), ("crashes", 0)]);
}

/// One of the files with a few bytes changed, pieces moved, doubled or cut, or joined with another file.
fn changed(corpus: &[(PathBuf, Vec<u8>)], rng: &mut Rng) -> Vec<u8> {
    let any = |rng: &mut Rng| corpus[rng.below(corpus.len() as u64) as usize].1.clone();
    let mut data = any(rng);
    for _ in 0..=rng.below(4) {
        let at = rng.below(data.len() as u64 + 1) as usize;
        let end = (at + rng.below(20) as usize).min(data.len());
        match rng.below(7) {
            0 if at < data.len() => data[at] = rng.draw() as u8,
            1 if at < data.len() => data[at] ^= 1 << rng.below(8),
            2 => data.insert(at, rng.pick(b"{}[]\",:\\\n 0-.eE'$@^\0\xff")),
            3 => drop(data.drain(at..end)),
            4 => {
                let piece = data[at..end].to_vec();
                let to = rng.below(data.len() as u64 + 1) as usize;
                data.splice(to..to, piece);
            }
            5 => {
                let other = any(rng);
                let from = rng.below(other.len() as u64 + 1) as usize;
                data.truncate(at);
                data.extend_from_slice(&other[from..]);
            }
            _ => data.truncate(at.max(1)),
        }
    }
    data.truncate(1 << 14);
    data
}

macro_rules! targets {
    ($($test:ident $target:literal $short:literal $long:literal;)*) => {
        $(#[test]
        fn $test() {
            run($target, $short, $long);
        })*

        #[test]
        fn row_12_no_target_is_left_out() {
            let tested = [$($target),*];
            let fuzzed: Vec<&str> = bodies::TARGETS.iter().map(|(name, _)| *name).collect();
            assert_eq!(fuzzed, tested);
            let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/Cargo.toml")).unwrap();
            assert!(fuzzed.iter().all(|t| manifest.contains(&format!("name = \"{t}\""))));
        }
    };
}

targets! {
    row_12_checkpoint "checkpoint" 3000 200_000;
    row_12_decode "decode" 5000 100_000;
    row_12_flatten "flatten" 3000 50_000;
    row_12_index "index" 300 20_000;
    row_12_mask "mask" 4000 100_000;
    row_12_names "names" 3000 200_000;
    row_12_path "path" 500 20_000;
    row_12_pipeline "pipeline" 300 20_000;
    row_12_query "query" 1000 20_000;
    row_12_record "record" 3000 200_000;
}
