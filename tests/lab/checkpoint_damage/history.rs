//! Roots in the middle of their input with a checkpoint to damage, and what became of every damage.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use millrace::verify;

use crate::figures::tell;
use crate::scale::seeds;
use crate::support::place::until;
use crate::support::site::{Contents, Site, shop};
use crate::support::{Said, command, contents, folders, oracle};

/// A root in the middle of its input: some files taken, a large one half taken, some yet to come.
pub struct History {
    pub seed: u64,
    pub site: Site,
    /// The checkpoint as it was after every batch, oldest first.
    pub olds: Vec<PathBuf>,
    /// What the tables must hold in the end.
    pub expected: Contents,
    /// Files of the source.
    pub files: usize,
    pub _kept: (tempfile::TempDir, tempfile::TempDir),
}

impl History {
    /// `orders` make about 3.5 small files each; `batches` are taken, one process life each.
    pub fn new(seed: u64, orders: u64, batches: u64) -> History {
        let (source, kept) = (folders::quick(), folders::quick());
        let events = shop(seed, orders);
        // First by name, and larger than two batches: it is read in ranges.
        let large = shop(seed + 1000, 16).join(&b'\n');
        fs::write(source.path().join("0-large.ndjson"), large).unwrap();
        for (at, text) in events.iter().enumerate() {
            fs::write(source.path().join(format!("{at:05}.json")), text).unwrap();
        }
        let each = (events.len() as u64 / (2 * batches + 3)).max(1);
        let site = Site::with(source.path(), &format!("batch_files = {each}\nbatch_bytes = \"12 KiB\""));
        let mut olds = Vec::new();
        for batch in 0..batches {
            assert!(site.take(1).unwrap().stopped, "seed {seed}: batch {batch} was the last");
            let old = kept.path().join(batch.to_string());
            folders::copy(&site.checkpoint(), &old);
            olds.push(old);
        }
        let expected = site.expected();
        History { seed, site, olds, expected, files: events.len() + 1, _kept: (source, kept) }
    }

    /// Files of the checkpoint, relative to it.
    pub fn parts(&self) -> Vec<PathBuf> {
        let mut parts: Vec<PathBuf> = folders::bytes(&self.site.checkpoint()).into_keys().collect();
        parts.sort();
        parts
    }
}

/// What became of all the mutations.
#[derive(Default)]
pub struct Tally {
    pub mutations: u64,
    /// A new checkpoint was filled, said aloud.
    pub rebuilt: u64,
    /// The run went on with what there was.
    believed: u64,
    /// The run ended with a message.
    stopped: u64,
    lost: u64,
    doubled: u64,
    unopenable: u64,
    failures: Vec<String>,
}

impl Tally {
    /// Damages a copy of `history`, runs, and holds what came of it against the oracle.
    pub fn attempt(&mut self, history: &History, what: &str, damage: impl FnOnce(&Path)) {
        let site = history.site.copy();
        damage(&site.checkpoint());
        self.settle(history, &site, what, None);
    }

    /// Runs on what is damaged, as `user` if one is given.
    pub fn settle(&mut self, history: &History, site: &Site, what: &str, user: Option<u32>) {
        self.mutations += 1;
        let story = format!("MILLRACE_SEED={} {what}", history.seed);
        let said = run_once(site, user);
        let said = match said.code {
            Some(0) if said.err.contains("checkpoint set aside") => self.count(|t| &mut t.rebuilt, said),
            Some(0) => self.count(|t| &mut t.believed, said),
            Some(1) if said.err.contains("checkpoint") => {
                // What the message is about is taken away; nothing may be lost by that.
                let checkpoint = site.checkpoint();
                fs::remove_dir_all(&checkpoint).or_else(|_| fs::remove_file(&checkpoint)).unwrap();
                let again = run_once(site, user);
                if again.code != Some(0) {
                    self.unopenable += 1;
                    self.failures.push(format!("{story}: stopped for good: {again:?}"));
                }
                self.count(|t| &mut t.stopped, said)
            }
            _ => {
                self.unopenable += 1;
                return self.failures.push(format!("{story}: {said:?}"));
            }
        };
        if said.err.contains("panicked at") {
            self.failures.push(format!("{story}: a panic on the terminal: {said:?}"));
        }
        self.hold_against(history, site, &story);
    }

    pub fn count(&mut self, which: impl Fn(&mut Tally) -> &mut u64, said: Said) -> Said {
        *which(self) += 1;
        said
    }

    pub fn hold_against(&mut self, history: &History, site: &Site, story: &str) {
        let root = site.root();
        let differences = verify::tables_only(&root).unwrap().differences;
        if !differences.is_empty() {
            self.failures.push(format!("{story}: verify: {differences:?}"));
        }
        let mut taken: BTreeMap<String, u64> = BTreeMap::new();
        for (_, range) in root.ledger_rows(0).unwrap() {
            *taken.entry(range.name.to_string()).or_default() += u64::from(range.last);
        }
        let done = taken.values().filter(|n| **n > 0).count();
        let again: u64 = taken.values().map(|n| n.saturating_sub(1)).sum();
        self.lost += (history.files - done) as u64;
        self.doubled += again;
        if done < history.files || again > 0 {
            self.failures.push(format!("{story}: {done} of {} files taken, {again} twice", history.files));
        }
        let (missing, surplus) = oracle_difference(&history.expected, &contents::tables(&root));
        self.lost += missing;
        self.doubled += surplus;
        if missing + surplus > 0 {
            self.failures.push(format!("{story}: {missing} rows missing, {surplus} too many"));
        }
    }

    #[track_caller]
    pub fn end(self, part: &str) {
        let figures = [
            ("mutations", self.mutations),
            ("rebuilt aloud", self.rebuilt),
            ("believed and true", self.believed),
            ("stopped with a message", self.stopped),
            ("lost", self.lost),
            ("doubled", self.doubled),
            ("unopenable", self.unopenable),
        ];
        tell(5, part, &figures);
        assert!(self.failures.is_empty(), "{part}:\n{}", self.failures.join("\n"));
        assert_eq!((self.lost, self.doubled, self.unopenable), (0, 0, 0), "{part}");
        assert_eq!(self.mutations, self.rebuilt + self.believed + self.stopped, "{part}");
    }
}

/// Rows that should be there and are not, and the other way round.
fn oracle_difference(expected: &Contents, found: &Contents) -> (u64, u64) {
    let beyond = |a: &Contents, b: &Contents| -> u64 {
        let of = |name: &str| -> u64 {
            let mut counts: BTreeMap<&oracle::Row, i64> = BTreeMap::new();
            a[name].iter().for_each(|row| *counts.entry(row).or_default() += 1);
            b[name].iter().for_each(|row| *counts.entry(row).or_default() -= 1);
            counts.into_values().filter(|n| *n > 0).sum::<i64>() as u64
        };
        a.keys().map(|name| of(name)).sum()
    };
    (beyond(expected, found), beyond(found, expected))
}

/// The binary, which may neither hang nor die by a signal.
fn run_once(site: &Site, user: Option<u32>) -> Said {
    let (out, err) = (site.path().join("out.log"), site.path().join("err.log"));
    let mut command = command(site.path(), &["-p", "pipeline.toml", "run", "--once", "--no-mirror"]);
    command.stdout(fs::File::create(&out).unwrap()).stderr(fs::File::create(&err).unwrap());
    user.map(|user| command.uid(user).gid(user));
    let mut child = command.spawn().unwrap();
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        until("the run ends", 60, || child.try_wait().unwrap())
    }));
    // Only where it hangs.
    let _ = child.kill();
    let code = ended.ok().and_then(|status| status.code());
    Said { code, out: fs::read_to_string(out).unwrap(), err: fs::read_to_string(err).unwrap() }
}

/// Histories of several lengths: sled's files differ with the number of batches, lives and keys.
pub fn histories() -> Vec<History> {
    let shapes = [(12, 3), (60, 9), (250, 3)];
    let seeds: Vec<u64> = seeds(1, 2).collect();
    seeds
        .iter()
        .map(|seed| (*seed, shapes[(*seed as usize - 1) % 3]))
        .map(|(s, (o, b))| History::new(s, o, b))
        .collect()
}
