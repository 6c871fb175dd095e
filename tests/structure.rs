//! Keeps the map in ARCHITECTURE.md true: who may import whom, what is pure, where the clock is, what every file says.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// In the order of the flow. None imports another.
const STEPS: [&str; 8] = ["discover", "decode", "flatten", "merge", "stage", "commit", "mirror", "report"];

/// What anybody may import. They import only each other, and what [`ARROWS`] adds.
const LEAVES: [&str; 13] = [
    "batch", "cell", "clock", "dense", "error", "fault", "guard", "key", "ledger", "origin", "system",
    "text", "threads",
];

/// Beside the steps: they serve them, and import none of them.
const SERVANTS: [&str; 4] = ["checkpoint", "pipeline", "simulate", "tables"];

/// Where the steps meet: these import what they put together.
const MEETINGS: [&str; 7] = ["cli", "main", "maintain", "repair", "root", "run", "verify"];

/// Every arrow to something that is no leaf.
const ARROWS: [(&str, &str); 6] = [
    ("decode", "pipeline"),
    ("flatten", "pipeline"),
    ("mirror", "pipeline"),
    ("origin", "pipeline"),
    ("stage", "tables"),
    ("commit", "tables"),
];

/// The steps that only compute, and what would end that.
const PURE: [&str; 2] = ["flatten", "merge"];
const IMPURE: [&str; 10] = [
    "std::fs",
    "std::io",
    "std::net",
    "std::env",
    "std::time",
    "std::thread",
    "tokio",
    "crate::clock",
    "crate::threads",
    "crate::tables",
];

/// Ways to ask the wall clock. `Instant` only measures how long something took.
const WALL_CLOCK: [&str; 4] = ["SystemTime::now", "UNIX_EPOCH.elapsed", "Utc::now", "Local::now"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

struct Source {
    /// Below `src`.
    path: PathBuf,
    text: String,
}

impl Source {
    /// The folder or file directly below `src` that this belongs to.
    fn module(&self) -> String {
        let first = self.path.iter().next().unwrap().to_str().unwrap();
        first.strip_suffix(".rs").unwrap_or(first).to_owned()
    }

    /// Without comments, so that these may name what the code may not use.
    fn code(&self) -> String {
        let code = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
        self.text.lines().map(code).collect::<Vec<_>>().join("\n")
    }

    /// Modules at the top of the crate that the code names.
    fn imports(&self) -> BTreeSet<String> {
        let code = self.code();
        let mut found: BTreeSet<String> = after(&code, "crate::").into_iter().map(first_name).collect();
        // A file directly in the module's folder reaches the top by `super` too.
        let climbed = after(&code, "super::").into_iter().filter(|p| !p.starts_with('{')).map(first_name);
        found.extend(climbed.filter(|name| STEPS.contains(&name.as_str())));
        found.remove(&self.module());
        found
    }
}

/// What follows each `marker` that begins a path.
fn after<'a>(code: &'a str, marker: &str) -> Vec<&'a str> {
    let begins = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
    code.match_indices(marker)
        .filter(|(at, _)| begins(*at))
        .map(|(at, _)| &code[at + marker.len()..])
        .collect()
}

fn first_name(path: &str) -> String {
    assert!(
        !path.starts_with('{'),
        "write one `use crate::` a line, so that this test can read it: {path:.40}"
    );
    path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn sources() -> Vec<Source> {
    let src = root().join("src");
    let mut found = Vec::new();
    let mut folders = vec![src.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push(Source { path: path.strip_prefix(&src).unwrap().to_owned(), text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 50, "the sources are not where this test looks");
    found
}

fn complain(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn every_file_says_what_it_is_for() {
    let says = |s: &&Source| !s.text.lines().next().is_some_and(|l| l.starts_with("//! ") && l.len() > 10);
    let silent: Vec<String> = sources().iter().filter(says).map(|s| s.path.display().to_string()).collect();
    complain(&silent);
}

#[test]
fn every_module_has_its_place() {
    let mut places: BTreeMap<&str, u32> = BTreeMap::new();
    let all = STEPS.iter().chain(&LEAVES).chain(&SERVANTS).chain(&MEETINGS);
    all.for_each(|name| *places.entry(name).or_default() += 1);
    assert!(places.values().all(|n| *n == 1), "a module has two places: {places:?}");
    let modules: BTreeSet<String> = sources().iter().map(Source::module).collect();
    let expected: BTreeSet<String> = places.keys().chain(&["lib"]).map(|s| (*s).to_owned()).collect();
    assert_eq!(modules, expected, "a new module takes a place in this file, and a line in ARCHITECTURE.md");
}

#[test]
fn nothing_imports_sideways() {
    let mut used: BTreeSet<&(&str, &str)> = BTreeSet::new();
    let mut problems = Vec::new();
    for source in sources() {
        let module = source.module();
        if MEETINGS.contains(&module.as_str()) || module == "lib" {
            continue;
        }
        for import in source.imports() {
            let arrow = ARROWS.iter().find(|(from, to)| *from == module && *to == import);
            used.extend(arrow);
            if arrow.is_none() && !LEAVES.contains(&import.as_str()) {
                problems.push(format!("{}: {module} may not import {import}", source.path.display()));
            }
        }
    }
    complain(&problems);
    let unused: Vec<String> = ARROWS
        .iter()
        .filter(|a| !used.contains(*a))
        .map(|a| format!("nobody needs {a:?} any more"))
        .collect();
    complain(&unused);
    let sideways = ARROWS.iter().filter(|(from, to)| STEPS.contains(from) && STEPS.contains(to));
    assert_eq!(sideways.count(), 0, "a step never imports a step");
}

#[test]
fn nothing_imports_the_command_line() {
    let asks = |s: &&Source| !["cli", "main"].contains(&s.module().as_str()) && s.imports().contains("cli");
    complain(&sources().iter().filter(asks).map(|s| s.path.display().to_string()).collect::<Vec<_>>());
}

#[test]
fn flatten_and_merge_only_compute() {
    let mut problems = Vec::new();
    for source in sources().iter().filter(|s| PURE.contains(&s.module().as_str())) {
        let code = source.code();
        let found = IMPURE.iter().filter(|word| !after(&code, word).is_empty());
        problems.extend(found.map(|word| format!("{} uses {word}", source.path.display())));
    }
    complain(&problems);
}

#[test]
fn one_file_asks_the_wall_clock() {
    let mut asking = Vec::new();
    for source in sources() {
        let code = source.code();
        if WALL_CLOCK.iter().any(|word| code.contains(word)) {
            asking.push(source.path.display().to_string());
        }
    }
    assert_eq!(asking, ["clock.rs"]);
}

#[test]
fn every_pipeline_file_is_right() {
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(root().join("resources/pipelines")).unwrap() {
        let path = entry.unwrap().path();
        let pipeline = millrace::pipeline::load(Some(&path)).unwrap_or_else(|e| panic!("{e}"));
        assert!(names.insert(pipeline.name.clone()), "two pipelines are called {}", pipeline.name);
    }
    assert!(names.contains("orders"));
}

#[test]
fn the_architecture_names_every_module() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let all = STEPS.iter().chain(&LEAVES).chain(&SERVANTS).chain(&MEETINGS).filter(|name| **name != "main");
    let named = |name: &str| text.contains(&format!("`{name}`")) || text.contains(&format!("`src/{name}"));
    let missing: Vec<String> = all.filter(|n| !named(n)).map(|n| format!("{n} is not on the map")).collect();
    complain(&missing);
}
