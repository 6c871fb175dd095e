//! The kinds of damage, each to be done to any table, and what a damaged root must come to.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use millrace::tables::names;
use millrace::verify;
use serde_json::Value;

use super::{base, cut, ending, flip, maybe_ending, newest_commit, version_of};
use crate::figures::tell;
use crate::scale::is_long;
use crate::support::folders;
use crate::support::site::{Contents, Site};

/// Damages a table of the tables in this folder. Returns what it damaged; `None`: the table has nothing of the kind.
pub type Deed = fn(&Path, &str) -> Option<PathBuf>;

pub const KINDS: [(&str, Deed); 34] = [
    ("newest commit empty", |t, table| spoil(newest_commit(t, table), |p| write(p, b""))),
    ("newest commit torn", |t, table| spoil(newest_commit(t, table), cut)),
    ("newest commit missing", |t, table| spoil(newest_commit(t, table), remove)),
    ("newest commit garbage", |t, table| spoil(newest_commit(t, table), |p| write(p, b"garbage\n"))),
    ("newest commit zeros", |t, table| spoil(newest_commit(t, table), zeros)),
    // Behind a log checkpoint the oldest may go: cleaning removes them too.
    ("first commit missing", |t, table| {
        spoil(commits(t, table).first().filter(|_| checkpoints(t, table).is_empty())?.clone(), remove)
    }),
    ("older commit missing", |t, table| spoil(older(t, table)?, remove)),
    ("older commit empty", |t, table| spoil(older(t, table)?, |p| write(p, b""))),
    ("older commit torn", |t, table| spoil(older(t, table)?, cut)),
    ("older commit garbage", |t, table| spoil(older(t, table)?, |p| write(p, b"garbage\n"))),
    ("commit after the log checkpoint missing", |t, table| spoil(after_checkpoint(t, table)?, remove)),
    ("log checkpoint torn", |t, table| spoil(checkpoints(t, table).pop()?, cut)),
    ("log checkpoint empty", |t, table| spoil(checkpoints(t, table).pop()?, |p| write(p, b""))),
    ("log checkpoint garbage", |t, table| spoil(checkpoints(t, table).pop()?, |p| write(p, b"PAR1 no PAR1"))),
    ("log checkpoint zeros", |t, table| spoil(checkpoints(t, table).pop()?, zeros)),
    ("log checkpoint missing, its hint there", |t, table| spoil(checkpoints(t, table).pop()?, remove)),
    ("older log checkpoint torn", |t, table| spoil(checkpoints(t, table).into_iter().rev().nth(1)?, cut)),
    ("_last_checkpoint torn", |t, table| spoil(hint(t, table)?, cut)),
    ("_last_checkpoint empty", |t, table| spoil(hint(t, table)?, |p| write(p, b""))),
    ("_last_checkpoint pointing nowhere", |t, table| {
        spoil(hint(t, table)?, |p| write(p, br#"{"version":4711,"size":7}"#))
    }),
    ("data file missing", |t, table| spoil(live(t, table).0.pop()?, remove)),
    ("data file truncated", |t, table| spoil(live(t, table).0.pop()?, cut)),
    ("data file flipped", |t, table| spoil(live(t, table).0.pop()?, flip)),
    ("data file of another batch", |t, table| {
        let files = live(t, table).0;
        let (first, last) = (files.first()?.clone(), files.last().filter(|_| files.len() > 1)?);
        spoil(first, |p| _ = fs::copy(last, p).unwrap())
    }),
    ("deletion vector missing", |t, table| spoil(live(t, table).1.pop()?, remove)),
    ("deletion vector torn", |t, table| spoil(live(t, table).1.pop()?, cut)),
    ("deletion vector flipped", |t, table| spoil(live(t, table).1.pop()?, flip)),
    ("index file missing", |t, table| spoil(index(t, table).pop()?, remove)),
    ("index file torn", |t, table| spoil(index(t, table).pop()?, cut)),
    ("index file flipped", |t, table| spoil(index(t, table).pop()?, flip)),
    ("index file of another batch", |t, table| {
        let files = index(t, table);
        let (first, last) = (files.first()?.clone(), files.last().filter(|_| files.len() > 1)?.clone());
        spoil(last, |p| _ = fs::copy(first, p).unwrap())
    }),
    ("index file of another version", |t, table| {
        spoil(index(t, table).pop()?, |p| {
            let name = b"millrace.index";
            let mut bytes = fs::read(p).unwrap();
            let at = bytes.windows(name.len()).position(|w| w == name).unwrap();
            let value = bytes[at..].iter().position(|b| *b == b'1').unwrap();
            bytes[at + value] = b'2';
            fs::write(p, bytes).unwrap();
        })
    }),
    ("folder missing", |t, table| spoil(t.join(table), |p| fs::remove_dir_all(p).unwrap())),
    ("log folder missing", |t, table| spoil(super::log(t, table), |p| fs::remove_dir_all(p).unwrap())),
];

/// Of the root's own files.
pub const OF_THE_ROOT: [(&str, Deed); 11] = [
    ("decision record missing", |t, _| spoil(t.join("_millrace/decision"), remove)),
    ("decision record torn", |t, _| spoil(t.join("_millrace/decision"), cut)),
    ("decision record flipped", |t, _| spoil(t.join("_millrace/decision"), flip)),
    ("decision record empty", |t, _| spoil(t.join("_millrace/decision"), |p| write(p, b""))),
    ("decision record of another root", |t, _| {
        spoil(t.join("_millrace/decision"), |p| {
            let mut body = super::record(t);
            body["root"] = Value::from("0123456789abcdef0123456789abcdef");
            let body = body.to_string();
            let sum = millrace::tables::index_file::checksum(body.as_bytes());
            fs::write(p, format!("millrace-decision 1 {sum}\n{body}\n")).unwrap();
        })
    }),
    ("identity missing", |t, _| spoil(t.join("_millrace/root.json"), remove)),
    ("identity torn", |t, _| spoil(t.join("_millrace/root.json"), cut)),
    ("identity empty", |t, _| spoil(t.join("_millrace/root.json"), |p| write(p, b""))),
    ("own folder missing", |t, _| spoil(t.join("_millrace"), |p| fs::remove_dir_all(p).unwrap())),
    ("index folder missing", |t, table| {
        spoil(t.join(table).join("_key_index"), |p| fs::remove_dir_all(p).unwrap())
    }),
    ("every table's log missing", |t, _| {
        for table in all_tables(t) {
            fs::remove_dir_all(super::log(t, &table)).unwrap();
        }
        Some(t.to_path_buf())
    }),
];

pub fn all_tables(tables: &Path) -> Vec<String> {
    let names = fs::read_dir(tables).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|n| n != names::OWN).collect();
    names.sort();
    names
}

fn spoil(path: PathBuf, deed: impl FnOnce(&Path)) -> Option<PathBuf> {
    deed(&path);
    Some(path)
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
}

fn zeros(path: &Path) {
    let length = fs::metadata(path).unwrap().len() as usize;
    fs::write(path, vec![0; length]).unwrap();
}

fn remove(path: &Path) {
    fs::remove_file(path).unwrap();
}

fn commits(tables: &Path, table: &str) -> Vec<PathBuf> {
    ending(&super::log(tables, table), ".json")
}

/// A commit in the middle, which is neither the first nor the newest.
fn older(tables: &Path, table: &str) -> Option<PathBuf> {
    let commits = commits(tables, table);
    commits
        .get(commits.len() / 2)
        .filter(|c| Some(*c) != commits.last() && Some(*c) != commits.first())
        .cloned()
}

/// A commit that only the log itself holds: newer than the newest checkpoint, and not the newest of all.
fn after_checkpoint(tables: &Path, table: &str) -> Option<PathBuf> {
    let newest = checkpoints(tables, table).pop().map_or(0, |c| version_of(&c));
    let mut commits = commits(tables, table);
    commits.pop();
    commits.retain(|c| version_of(c) > newest);
    commits.first().cloned()
}

pub fn checkpoints(tables: &Path, table: &str) -> Vec<PathBuf> {
    maybe_ending(&super::log(tables, table), ".checkpoint.parquet")
}

fn hint(tables: &Path, table: &str) -> Option<PathBuf> {
    Some(super::log(tables, table).join("_last_checkpoint")).filter(|p| p.exists())
}

fn index(tables: &Path, table: &str) -> Vec<PathBuf> {
    maybe_ending(&tables.join(table).join("_key_index"), ".arrow")
}

/// Live data files and deletion vector files, by a naive replay of a whole log.
pub fn live(tables: &Path, table: &str) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let mut files = std::collections::BTreeMap::new();
    for commit in commits(tables, table) {
        let text = fs::read_to_string(commit).unwrap();
        for action in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
            if let Some(path) = action["remove"]["path"].as_str() {
                files.remove(path);
            }
            if let Some(path) = action["add"]["path"].as_str() {
                let vector = action["add"]["deletionVector"]["pathOrInlineDv"].as_str();
                files.insert(path.to_owned(), vector.map(|v| names::dv_file_of(v).unwrap()));
            }
        }
    }
    let dir = tables.join(table);
    let vectors: BTreeSet<PathBuf> = files.values().flatten().map(|v| dir.join(v)).collect();
    (files.into_keys().map(|path| dir.join(path)).collect(), vectors.into_iter().collect())
}

// --------------------------------------------------------------------------------------------- what must follow

/// What became of all damages.
#[derive(Default)]
pub struct Tally {
    pub damages: u64,
    by_run: u64,
    by_verify: u64,
    mended_by_run: u64,
    undetected: u64,
    repaired: u64,
    lost_or_doubled: u64,
    failures: Vec<String>,
}

impl Tally {
    /// Damages a copy of `from` and goes through what a user would: run, verify, repair.
    pub fn attempt(&mut self, from: &(Site, Contents), what: &str, table: &str, deed: Deed) {
        let what = format!("{table}: {what}");
        let (site, expected) = (from.0.copy(), &from.1);
        let Some(victim) = deed(&site.tables(), table) else { return };
        self.damages += 1;
        let damaged = folders::bytes(&site.tables());
        let said = site.does(&["run", "--once"]);
        let repairs = |text: &str| text.contains("millrace repair");
        if said.code == Some(1) && repairs(&said.err) {
            site.is_unchanged(&what, &damaged);
            self.by_run += 1;
        } else if !matches!(said.code, Some(0 | 3)) {
            return self.failures.push(format!("{what}: run said neither: {said:?}"));
        } else if self.is_mended(&site, &from.0, &victim, &said.err) {
            self.mended_by_run += 1;
            return self.is_right(&what, &site, expected, false);
        } else {
            let said = site.does(&["verify"]);
            if said.code != Some(1) || !(said.out.contains("DIFFERENCE: ") || repairs(&said.err)) {
                self.undetected += 1;
                return self.failures.push(format!("{what}: undetected: {said:?}"));
            }
            self.by_verify += 1;
        }
        let damaged = folders::bytes(&site.tables());
        let said = site.does(&["repair"]);
        // Without its ledger, a root does not know what its inputs were.
        let exact = said.code == Some(0) && said.out.contains("exact");
        let in_doubt = said.code == Some(3) && said.out.contains("the ledger cannot be read");
        let is_ledger = table == "_files" || what.contains("every table's log");
        if !said.out.contains("found: ") || !(exact || (in_doubt && is_ledger)) {
            return self.failures.push(format!("{what}: repair: {said:?}"));
        }
        self.repaired += 1;
        self.is_right(&what, &site, expected, in_doubt);
        let old = folders::bytes(&site.path().join("tables.damaged-1"));
        if let Some(lost) = damaged.keys().find(|p| !p.starts_with("_millrace") && !old.contains_key(*p)) {
            self.failures.push(format!("{what}: {} of the old tables was not kept", lost.display()));
        }
        if is_long() {
            site.verified(&what);
            let said = site.ok(&["run", "--once"]);
            assert!(said.contains("nothing new"), "{what}: {said}");
            assert!(site.ok(&["repair"]).contains("nothing to repair"), "{what}");
        }
    }

    /// It is as it was, or it was put aside with a word about it.
    fn is_mended(&self, site: &Site, from: &Site, victim: &Path, said: &str) -> bool {
        let name = victim.strip_prefix(site.tables()).unwrap();
        let original = fs::read(from.tables().join(name));
        let is_back = original.is_ok_and(|bytes| fs::read(victim).is_ok_and(|found| found == bytes));
        is_back || (said.contains("is now in") && !victim.exists())
    }

    /// Rows, quarantine and ledger are what they were, and everything agrees. `in_doubt`: the new ledger knows of some
    /// files only that they were taken.
    fn is_right(&mut self, what: &str, site: &Site, expected: &Contents, in_doubt: bool) {
        let root = site.root();
        let differences = verify::tables_only(&root).unwrap().differences;
        if !differences.is_empty() {
            self.failures.push(format!("{what}: verify: {differences:?}"));
        }
        let rows = crate::support::contents::tables(&root) == *expected;
        let mut system = system(&root);
        if in_doubt {
            system.0.retain(|(_, hash, _)| *hash != 0);
        }
        if !rows || system != *base_system() {
            self.lost_or_doubled += 1;
            self.failures.push(format!("{what}: other contents"));
        }
    }

    #[track_caller]
    pub fn end(self, part: &str) {
        tell(
            6,
            part,
            &[
                ("damages", self.damages),
                ("seen by run", self.by_run),
                ("seen by verify", self.by_verify),
                ("mended by run", self.mended_by_run),
                ("undetected", self.undetected),
                ("repaired", self.repaired),
                ("lost or doubled", self.lost_or_doubled),
            ],
        );
        assert!(self.failures.is_empty(), "{part}:\n{}", self.failures.join("\n"));
        assert_eq!(self.damages, self.by_run + self.by_verify + self.mended_by_run, "{part}");
        assert_eq!(self.by_run + self.by_verify, self.repaired, "{part}");
    }
}

/// What the ledger and quarantine say, without what hangs on when it was read.
type System = (BTreeSet<(String, u128, bool)>, BTreeSet<(String, i64, i64)>);

fn system(root: &millrace::root::Root) -> System {
    let files = root.ledger_rows(0).unwrap().into_iter();
    let bad = root.quarantined(&|_| true).unwrap().into_iter();
    (
        files.map(|(_, r)| (r.name.to_string(), r.content_hash, r.last)).collect(),
        bad.map(|k| (k.file.to_string(), k.byte_offset, k.reason_id)).collect(),
    )
}

fn base_system() -> &'static System {
    static SYSTEM: std::sync::OnceLock<System> = std::sync::OnceLock::new();
    SYSTEM.get_or_init(|| system(&base().0.copy().root()))
}
