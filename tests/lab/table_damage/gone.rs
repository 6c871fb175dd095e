//! Damage where inputs are gone: what only the old tables knew is kept, and what they do not know any more is said.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use millrace::simulate::{Options as ShopOptions, Shop};

use super::{Damage, cut, ending, live_data_file, live_vector, newest_commit};
use crate::figures::tell;
use crate::scale::pick;
use crate::support::oracle::Row;
use crate::support::site::{Contents, Site, simulate};
use crate::support::{files, folders, oracle};

/// Tables whose inputs are partly gone: a third of the files deleted, one changed in place, one quarantined file
/// deleted and one still there.
pub struct Gone {
    pub site: Site,
    source: tempfile::TempDir,
    pub before: Contents,
    quarantine: BTreeSet<String>,
    /// Texts of the events that are gone, oldest first.
    gone: Vec<Vec<u8>>,
}

const QUARANTINE: &str = "select file, content_hash, byte_offset, line, reason from _quarantine";

impl Gone {
    pub fn new() -> Gone {
        let source = folders::quick();
        let paths = simulate(source.path(), 7, pick(8, 30));
        fs::write(source.path().join("bad-gone.json"), b"{\"nothing\": 1}").unwrap();
        fs::write(source.path().join("bad-there.json"), b"{\"nothing\": 2").unwrap();
        let folder = Site::new(source.path());
        assert_eq!(folder.does(&["run", "--once"]).code, Some(3));
        let (before, quarantine) = (folder.contents(), folder.query(QUARANTINE));
        assert_eq!(quarantine.len(), 2, "{quarantine:?}");
        let mut gone = Vec::new();
        for path in paths.iter().step_by(3) {
            gone.push(fs::read(path).unwrap());
            fs::remove_file(path).unwrap();
        }
        fs::remove_file(source.path().join("bad-gone.json")).unwrap();
        // Another event of another order stands in this file now; its old content is gone.
        gone.push(fs::read(&paths[1]).unwrap());
        let other = ShopOptions { orders: Some(1), items: 40, customers: 20, ..ShopOptions::default() };
        let mut event = Shop::new(99, other).next().unwrap().text;
        event =
            String::from_utf8(event).unwrap().replacen("pedi_pgto\":\"", "pedi_pgto\":\"changed-", 1).into();
        fs::write(&paths[1], event).unwrap();
        Gone { site: folder, source, before, quarantine, gone }
    }

    /// Every key that the tables had is there with the same values; those of the changed file may be new.
    pub fn nothing_is_lost(&self, what: &str) {
        let after = self.site.contents();
        let there = oracle::tables(&files::event_texts(&self.good_files())).tables;
        for (name, rows) in &self.before {
            let after: BTreeSet<&Row> = after[name].iter().collect();
            let newer: BTreeSet<&Row> = there[name].iter().collect();
            for row in rows {
                let key = |r: &Row| -> Vec<_> {
                    let at = |k: &&str| oracle::columns(name).iter().position(|c| c == k).unwrap();
                    oracle::key_columns(name).iter().map(|k| r[at(k)].clone()).collect()
                };
                let replaced = || after.iter().any(|r| key(r) == key(row) && newer.contains(*r));
                assert!(after.contains(row) || replaced(), "{what}: {name} lost {row:?}");
            }
            assert!(after.len() >= rows.len(), "{what}: {name}");
        }
        let quarantine = self.site.query(QUARANTINE);
        assert_eq!(quarantine, self.quarantine, "{what}");
        let names = self.site.query("select distinct file from _files");
        assert!(names.contains("bad-gone.json") && names.contains("0000.json"), "{what}: {names:?}");
    }

    /// The source without its bad file, which the oracle's reader would not take.
    fn good_files(&self) -> PathBuf {
        let good = self.site.path().join("good");
        if !good.exists() {
            folders::copy(self.source.path(), &good);
            fs::remove_file(good.join("bad-there.json")).unwrap();
        }
        good
    }

    /// The gone events come again, under new names: they are known, and nothing changes.
    fn known_events_change_nothing(&self, what: &str) {
        let before = self.site.contents();
        for (at, text) in self.gone.iter().enumerate() {
            fs::write(self.source.path().join(format!("again-{at}.json")), text).unwrap();
        }
        self.site.ok(&["run", "--once"]);
        assert!(self.site.contents() == before, "{what}: events that were known changed something");
    }
}

fn repaired_from_rows(what: &str, damage: fn(&Path)) -> (Gone, String) {
    let gone = Gone::new();
    damage(&gone.site.tables());
    gone.site.is_stopped(what);
    let said = gone.site.ok(&["repair"]);
    assert!(said.contains("inputs are gone"), "{what}: {said}");
    gone.site.verified(what);
    let run = gone.site.ok(&["run", "--once"]);
    assert!(run.contains("nothing new"), "{what}: {run}");
    (gone, said)
}

#[test]
fn row_06_rows_of_gone_inputs_are_kept_exactly_where_the_index_is_sound() {
    let damages: [Damage; 4] = [
        ("identity damaged", |t| cut(&t.join("_millrace/root.json"))),
        ("deletion vector missing", |t| fs::remove_file(live_vector(t, "order_item")).unwrap()),
        ("newest commit torn", |t| cut(&newest_commit(t, "order_item"))),
        ("log deleted", |t| fs::remove_dir_all(t.join("item/_delta_log")).unwrap()),
    ];
    let mut roots = 0;
    for (what, damage) in damages.into_iter().take(pick(1, 4)) {
        let (gone, said) = repaired_from_rows(what, damage);
        assert!(!said.contains("cannot know"), "{what}: {said}");
        gone.nothing_is_lost(what);
        gone.known_events_change_nothing(what);
        roots += 1;
    }
    tell(6, "inputs gone, index sound", &[("damaged roots", roots), ("lost", 0)]);
}

#[test]
fn row_06_rows_of_gone_inputs_are_kept_without_an_index() {
    let damages: [Damage; 2] = [
        ("decision record deleted", |t| fs::remove_file(t.join("_millrace/decision")).unwrap()),
        ("index file missing", |t| {
            fs::remove_file(&ending(&t.join("item/_key_index"), ".arrow")[1]).unwrap()
        }),
    ];
    let mut roots = 0;
    for (what, damage) in damages.into_iter().take(pick(1, 4)) {
        let (gone, said) = repaired_from_rows(what, damage);
        assert!(said.contains("cannot know") && said.contains("item"), "{what}: {said}");
        gone.nothing_is_lost(what);
        gone.known_events_change_nothing(what);
        roots += 1;
    }
    tell(6, "inputs gone, no index", &[("damaged roots", roots), ("lost", 0)]);
}

#[test]
fn row_06_what_is_lost_with_a_data_file_or_a_ledger_is_said() {
    let gone = Gone::new();
    let lost = live_data_file(&gone.site.tables(), "order_item");
    fs::remove_file(&lost).unwrap();
    let said = gone.site.ok(&["repair"]);
    assert!(said.contains("keys of order_item whose inputs may be gone"), "{said}");
    assert!(said.contains(lost.file_name().unwrap().to_str().unwrap()), "{said}");
    gone.site.verified("data file lost");
    let after = gone.site.contents();
    assert_eq!(gone.before["customer"].len(), after["customer"].len().min(gone.before["customer"].len()));
    let there = oracle::tables(&files::event_texts(&gone.good_files())).tables;
    assert!(after["order_item"].len() >= there["order_item"].len(), "what is there was not read");

    let gone = Gone::new();
    fs::remove_dir_all(gone.site.tables().join("_files")).unwrap();
    let said = gone.site.ok(&["repair"]);
    assert!(said.contains("which files were taken"), "{said}");
    gone.site.verified("ledger lost");
    let after = gone.site.contents();
    for (name, rows) in &gone.before {
        assert!(after[name].len() >= rows.len(), "{name} has fewer rows");
    }
    gone.site.ok(&["run", "--once"]);
}
