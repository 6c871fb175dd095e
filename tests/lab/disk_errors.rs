//! Row 4: the disk says no. Whatever step it hits, the process ends with one clean line that says what happened where
//! and what to do, or goes on where the mirror or the checkpoint alone is concerned; nothing is lost, and once the
//! cause is gone, the next start completes.

mod calls;
mod denied;
mod descriptors;
mod full;
mod injected;
mod read_only;
mod threads;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use millrace::pipeline::{self, model::Pipeline};

use crate::support::history::{Contents, Toll, add, pipeline_text};
use crate::support::{BINARY, Said, contents, files, folders, oracle};

/// A source, a pipeline file, and what the tables must hold in the end; the tables lie elsewhere.
struct Input {
    dir: tempfile::TempDir,
    pipeline: Arc<Pipeline>,
    expected: Contents,
}

impl Input {
    /// Three batches.
    fn new(seed: u64) -> Input {
        let dir = folders::quick();
        let source = dir.path().join("input_events");
        add(&source, "part", seed, 18, 3);
        let text = pipeline_text(&source, 2);
        fs::write(dir.path().join("orders.toml"), &text).unwrap();
        let mut pipeline = pipeline::parse(&text, "orders.toml").unwrap();
        pipeline.source.path = source.clone();
        let expected = oracle::tables(&files::event_texts(&source)).tables;
        Input { dir, pipeline: Arc::new(pipeline), expected }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("orders.toml")
    }

    /// Runs the binary in `folder` by way of `wrapper`: the words before its own.
    fn run(&self, folder: &Path, wrapper: &[&str]) -> Said {
        self.runs(folder, wrapper, &["run", "--once"])
    }

    fn runs(&self, folder: &Path, wrapper: &[&str], arguments: &[&str]) -> Said {
        let file = self.file();
        let words = [wrapper, &[BINARY, "-p", file.to_str().unwrap()], arguments].concat();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).current_dir(folder).stdin(Stdio::null()).env("RUST_BACKTRACE", "1");
        let output = command.output().unwrap_or_else(|e| panic!("{words:?}: {e}"));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// The cause is gone: the next start takes the rest, tables and mirror are as if nothing had happened.
    fn ends_right(&self, folder: &Path, story: &str, toll: &mut Toll) {
        let said = self.run(folder, &[]);
        if !matches!(said.code, Some(0 | 3)) {
            return toll.unopenable(&format!("{story}: the next start: {:?} {}", said.code, said.err));
        }
        toll.compare(&self.expected, &contents::of_folder(folder, &self.pipeline), story);
        let said = self.runs(folder, &[], &["verify"]);
        if said.code != Some(0) {
            toll.other(&format!("{story}: verify: {said:?}"));
        }
    }
}

/// What a process may say about a disk that says no.
struct Told<'a> {
    story: &'a str,
    /// The cause could be damage: then it may ask for a repair.
    may_be_damage: bool,
}

impl Told<'_> {
    /// Whether it ended with an error; how it said so is held against the rules.
    fn ended(&self, said: &Said, toll: &mut Toll) -> bool {
        let mut wrong =
            |what: &str| toll.other(&format!("{}: {what}: {:?}\n{}", self.story, said.code, said.err));
        if !matches!(said.code, Some(0 | 1 | 3)) {
            wrong("exit code");
        }
        if ["panicked", "backtrace", "bug:"].iter().any(|word| said.err.contains(word)) {
            wrong("a panic");
        }
        if said.err.lines().any(|line| !line.starts_with("millrace: ")) {
            wrong("not one line each");
        }
        if said.code != Some(1) {
            return false;
        }
        let last = said.err.lines().last().unwrap_or_default();
        let places = ["tables", "database", "checkpoint", "input_events", "waiting for", "starting the"];
        if !places.iter().any(|place| last.contains(place)) {
            wrong("no path");
        }
        let repair = last.contains("millrace repair");
        if !(last.contains("(os error ") || repair) {
            wrong("no cause");
        }
        if !(last.contains("tart again") || last.contains("tart it again") || repair) {
            wrong("not what to do");
        }
        if repair && !self.may_be_damage {
            wrong("calls damage what is none");
        }
        true
    }
}
