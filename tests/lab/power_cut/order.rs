//! The order of syncs, names and acknowledgements, read off the system calls of the real binary: whatever is given a
//! name in a table was synced before, the names were synced before anything was built on them, and nothing was reported
//! as done before all of that.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::trace::{self, Call};
use crate::figures::tell;
use crate::scale::{pick, seeds};
use crate::support::history::{add, pipeline_text};
use crate::support::{folders, millrace};

/// What is known of the files below one folder, and what was found wrong.
#[derive(Default)]
struct Order {
    root: PathBuf,
    files: BTreeMap<PathBuf, usize>,
    next: usize,
    /// Files written to since they were synced, and the line of the last write.
    dirty: BTreeMap<usize, usize>,
    /// Names made since their folder was synced, and the line.
    pending: BTreeMap<PathBuf, usize>,
    /// The last decision record's text.
    record: String,
    named: u64,
    decided: u64,
    published: u64,
    acknowledged: u64,
    problems: Vec<String>,
}

impl Order {
    fn of(log: &str, root: &Path) -> Order {
        let mut order = Order { root: root.to_path_buf(), ..Order::default() };
        let calls = trace::calls(log, root);
        // A sync counts from where it ended, everything else from where it began.
        let mut steps: Vec<(usize, &Call)> = calls
            .iter()
            .map(|call| (if call.name.ends_with("sync") { call.ended } else { call.begun }, call))
            .collect();
        steps.sort_by_key(|(line, _)| *line);
        for (line, call) in steps {
            order.step(line, call);
        }
        order.is_quiet("the end", &|_| true);
        order
    }

    fn step(&mut self, line: usize, call: &Call) {
        match call.name.as_str() {
            "openat" if call.text.contains("O_CREAT") => self.opened(line, call),
            "write" | "pwrite64" | "writev" | "ftruncate" => self.written(line, call),
            "fsync" | "fdatasync" => self.synced(call),
            "mkdir" | "mkdirat" => _ = self.pending.insert(call.paths[0].clone(), line),
            "link" | "linkat" | "rename" | "renameat" | "renameat2" => self.renamed(line, call),
            "unlink" | "unlinkat" => self.removed(&call.paths[0]),
            _ => {}
        }
    }

    fn opened(&mut self, line: usize, call: &Call) {
        let path = &call.paths[0];
        if path.ends_with("_millrace/repaired") {
            self.is_quiet("the mark of a repair", &|path| {
                path.to_string_lossy().contains("tables.repairing")
            });
        }
        if !self.files.contains_key(path) {
            self.pending.insert(path.clone(), line);
        }
        let file = self.file(path);
        if call.text.contains("O_TRUNC") || call.text.contains("O_EXCL") {
            self.dirty.insert(file, line);
        }
    }

    fn written(&mut self, line: usize, call: &Call) {
        if call.descriptor == 1 {
            if call.text.contains(r#"\"type\":\"batch\""#) {
                self.acknowledged += 1;
                self.is_quiet("an acknowledged batch", &|path| is_of_a_batch(path));
            }
            return;
        }
        let Some(path) = &call.file else { return };
        if path.ends_with("_millrace/tmp/decision") {
            self.record = call.text.clone();
        }
        let file = self.file(path);
        self.dirty.insert(file, line);
    }

    fn synced(&mut self, call: &Call) {
        let Some(path) = &call.file else { return };
        match self.files.get(path) {
            Some(file) => {
                if self.dirty.get(file).is_some_and(|line| *line < call.begun) {
                    self.dirty.remove(file);
                }
            }
            None => self.pending.retain(|name, line| name.parent() != Some(path) || *line > call.begun),
        }
    }

    fn renamed(&mut self, line: usize, call: &Call) {
        let [from, to] = &call.paths[..] else { panic!("{call:?}") };
        let is_file = self.files.contains_key(from);
        if is_file && self.counts(to) {
            self.named += 1;
            let file = self.file(from);
            if self.dirty.contains_key(&file) {
                self.problem(format!("{} was named before it was synced", self.short(to)));
            }
        }
        if to.ends_with("_millrace/decision") {
            self.decided += 1;
            self.is_quiet("a decision", &|path| is_of_a_batch(path) && !path.ends_with("decision"));
        }
        if is_commit(to) && !to.ends_with("00000000000000000000.json") {
            self.published += 1;
            self.is_quiet("a published commit", &|path| path.ends_with("_millrace/decision"));
        }
        if !is_file {
            self.is_quiet("an exchange of tables", &|path| path.starts_with(from));
            return self.moved(from, to, line);
        }
        let file = self.file(from);
        self.files.insert(to.clone(), file);
        self.pending.insert(to.clone(), line);
        if call.name.starts_with("rename") {
            self.files.remove(from);
            self.pending.remove(from);
        }
    }

    /// A whole folder under another name.
    fn moved(&mut self, from: &Path, to: &Path, line: usize) {
        for (path, file) in self.files.clone().into_iter().filter(|(path, _)| path.starts_with(from)) {
            self.files.remove(&path);
            self.files.insert(to.join(path.strip_prefix(from).unwrap()), file);
        }
        for (path, line) in self.pending.clone().into_iter().filter(|(path, _)| path.starts_with(from)) {
            self.pending.remove(&path);
            self.pending.insert(to.join(path.strip_prefix(from).unwrap()), line);
        }
        self.pending.insert(to.to_path_buf(), line);
    }

    fn removed(&mut self, path: &Path) {
        if path.extension().is_some_and(|e| e == "arrow") {
            // It was folded into another: a record that still names it must not come back.
            self.is_quiet("removing a folded index file", &|path| path.ends_with("_millrace/decision"));
        }
        self.files.remove(path);
        self.pending.remove(path);
    }

    /// Nothing that `of` names is unsynced, neither bytes nor name.
    fn is_quiet(&mut self, when: &str, of: &dyn Fn(&Path) -> bool) {
        let counts = |path: &Path| {
            let folded = path.extension().is_some_and(|e| e == "arrow")
                && !self.record.contains(path.file_name().unwrap().to_str().unwrap());
            self.counts(path) && of(path) && !(folded && when != "the end")
        };
        let unsynced = self.files.iter().filter(|(path, file)| self.dirty.contains_key(file) && counts(path));
        let unnamed = self.pending.keys().filter(|path| counts(path));
        let bytes = unsynced.map(|(path, _)| format!("{when}: {} was not synced", self.short(path)));
        let names = unnamed.map(|path| format!("{when}: the folder of {} was not synced", self.short(path)));
        let found: Vec<String> = bytes.chain(names).collect();
        found.into_iter().for_each(|problem| self.problem(problem));
    }

    fn problem(&mut self, problem: String) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    fn file(&mut self, path: &Path) -> usize {
        let next = &mut self.next;
        *self.files.entry(path.to_path_buf()).or_insert_with(|| {
            *next += 1;
            *next
        })
    }

    /// Part of the tables: not a lock, a cache, the last report, or a file on its way.
    fn counts(&self, path: &Path) -> bool {
        let Ok(inside) = path.strip_prefix(&self.root) else { return false };
        let mut parts = inside.iter().map(|p| p.to_str().unwrap());
        let in_tables = parts.next().is_some_and(|top| top == "tables" || top.starts_with("tables."));
        let rest: Vec<&str> = parts.collect();
        in_tables && !matches!(rest[..], ["_millrace", "lock" | "report.json" | "checkpoint" | "tmp", ..])
    }

    fn short(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }
}

fn is_commit(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "json") && path.parent().is_some_and(|p| p.ends_with("_delta_log"))
}

/// Log checkpoints are written beside the batches; everything else of a table belongs to one.
fn is_of_a_batch(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_str().unwrap();
    !name.ends_with(".checkpoint.parquet") && name != "_last_checkpoint"
}

/// A folder with events in files, and the arguments that make batches of `batch_files` of them.
fn place(seed: u64, events: usize, batch_files: u64) -> tempfile::TempDir {
    let folder = folders::quick();
    let source = folder.path().join("input_events");
    add(&source, "first", seed, events, 2);
    fs::write(folder.path().join("orders.toml"), pipeline_text(&source, batch_files)).unwrap();
    folder
}

const RUN: [&str; 5] = ["-p", "orders.toml", "--json", "run", "--once"];

fn traced(folder: &Path, arguments: &[&str], test: &str) -> Option<String> {
    match trace::of_run(folder, arguments) {
        Ok(log) => Some(log),
        Err(why) => {
            println!("skipped: {test}: {why}");
            None
        }
    }
}

#[test]
fn row_03_every_name_is_synced_before_anything_is_built_on_it() {
    let (mut named, mut decided, mut published, mut acknowledged, mut problems) = (0, 0, 0, 0, Vec::new());
    for seed in seeds(1, 2) {
        let folder = place(seed, pick(16, 140), 2);
        let Some(log) = traced(folder.path(), &RUN, "order of syncs") else { return };
        let run = Order::of(&log, folder.path());
        assert!(run.decided > 4 && run.published > 10 && run.acknowledged >= 4, "it hardly ran");
        fs::write(folder.path().join("tables/_millrace/root.json"), b"{").unwrap();
        let log_of_repair = trace::of_run(folder.path(), &["-p", "orders.toml", "repair"]).unwrap();
        let repair = Order::of(&log_of_repair, folder.path());
        assert_eq!(millrace(folder.path(), &["-p", "orders.toml", "verify"]).code, Some(0));
        for order in [run, repair] {
            (named, decided) = (named + order.named, decided + order.decided);
            (published, acknowledged) = (published + order.published, acknowledged + order.acknowledged);
            problems.extend(order.problems.iter().map(|p| format!("MILLRACE_SEED={seed}: {p}")));
        }
        every_sync_is_needed(&log, folder.path());
    }
    let figures = [
        ("names checked", named),
        ("decisions", decided),
        ("commits", published),
        ("acknowledged", acknowledged),
        ("out of order", problems.len() as u64),
    ];
    tell(3, "order of system calls", &figures);
    assert_eq!(problems, Vec::<String>::new());
}

/// The check can fail: with any of these syncs taken out of the log, it does.
fn every_sync_is_needed(log: &str, root: &Path) {
    let kinds =
        [".parquet>", ".arrow>", "/tmp/decision>", "/_millrace>", "/_delta_log>", "/item>", "/_key_index>"];
    for kind in kinds {
        let of_kind = |line: &str| line.contains("sync(") && line.contains(kind);
        let Some(last) = log.lines().filter(|l| of_kind(l)).count().checked_sub(2) else {
            panic!("no sync of a file like {kind}")
        };
        let mut seen = 0;
        let without: Vec<&str> = log
            .lines()
            .filter(|line| {
                seen += usize::from(of_kind(line));
                !(of_kind(line) && seen > last)
            })
            .collect();
        let order = Order::of(&without.join("\n"), root);
        assert!(!order.problems.is_empty(), "without the last syncs of {kind} nothing is found wrong");
    }
}
