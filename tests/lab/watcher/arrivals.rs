//! Every way that a file comes, changes and goes, all at once, on a folder that is watched.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread::{Scope, sleep};
use std::time::Duration;

use super::super::figures::tell;
use super::super::scale::seeds;
use super::super::support::place::{age, order};
use super::Watched;

const PAUSES: [u64; 4] = [30, 300, 700, 1200];

fn pause(milliseconds: u64) {
    sleep(Duration::from_millis(milliseconds));
}

#[test]
fn row_08_every_way_that_a_file_comes() {
    let (mut files, mut slowest, mut ways) = (0, 0, 0);
    for seed in seeds(2, 20) {
        let mut watched = Watched::new("ways to come", seed);
        // What may or may not be read before it goes is in here as well, so that both are right.
        let mut cover = String::new();
        std::thread::scope(|scope| {
            ways = quick(&mut watched, &mut cover, seed) + slow(scope, &mut watched, seed);
        });
        watched.place.rename_in("cover.ndjson", cover);
        let (seconds, found) = watched.all_taken(30);
        (files, slowest) = (files + found, slowest.max(seconds));
        watched.compare();
    }
    let seeds = seeds(2, 20).count() as u64;
    let figures = [("ways", ways), ("seeds", seeds), ("files", files), ("missed", 0), ("slowest s", slowest)];
    tell(8, "ways to come and go", &figures);
}

/// A file made elsewhere, whole.
fn draft(watched: &mut Watched, name: &str) -> PathBuf {
    let path = watched.place.path(name);
    let text = watched.text(3);
    fs::write(&path, text).unwrap();
    path
}

/// Ways that take no time. Returns how many there are.
fn quick(w: &mut Watched, cover: &mut String, seed: u64) -> u64 {
    fs::create_dir_all(w.place.input("a")).unwrap();
    fs::create_dir_all(w.place.input("b")).unwrap();
    // Renamed in; linked in, the draft gone at once; linked in, long after it was written; a symlink.
    fs::rename(draft(w, "d1"), w.place.input("a/renamed.ndjson")).unwrap();
    let path = draft(w, "d2");
    fs::hard_link(&path, w.place.input("a/linked.ndjson")).unwrap();
    fs::remove_file(path).unwrap();
    let path = draft(w, "d3");
    age(&path);
    fs::hard_link(&path, w.place.input("a/linked-late.ndjson")).unwrap();
    fs::rename(draft(w, "d4"), w.place.input("b/target")).unwrap();
    symlink("target", w.place.input("b/symlink.ndjson")).unwrap();
    // Replaced by rename, before and after it was read; overwritten in place with more.
    fs::write(w.place.input("a/replaced.ndjson"), first_line(cover, w)).unwrap();
    fs::rename(draft(w, "d5"), w.place.input("a/replaced.ndjson")).unwrap();
    fs::write(w.place.input("a/overwritten.ndjson"), first_line(cover, w)).unwrap();
    let text = w.text(3);
    fs::write(w.place.input("a/overwritten.ndjson"), text).unwrap();
    truncated(w, cover);
    same_size(w, cover, seed);
    // Removed before anybody can have read it, or not.
    fs::write(w.place.input("b/removed.ndjson"), first_line(cover, w)).unwrap();
    fs::remove_file(w.place.input("b/removed.ndjson")).unwrap();
    folders(w, cover);
    // Names that are one on other systems.
    for name in ["Twin.ndjson", "twin.ndjson", "tw\u{ed}n.ndjson", "twi\u{301}n.ndjson"] {
        let text = w.text(2);
        fs::write(w.place.input(name), text).unwrap();
    }
    14
}

/// An event that must be found, whatever becomes of the file that it is written to.
fn first_line(cover: &mut String, w: &mut Watched) -> String {
    let text = w.text(1);
    cover.push_str(&text);
    text
}

fn truncated(w: &mut Watched, cover: &mut String) {
    let kept = w.text(1);
    let lost = first_line(cover, w);
    let path = w.place.input("b/truncated.ndjson");
    fs::write(&path, kept.clone() + &lost).unwrap();
    File::options().write(true).open(&path).unwrap().set_len(kept.len() as u64).unwrap();
}

/// Other content of the same size under the old time, as `cp -p` and `rsync` may leave it; and once more at once.
fn same_size(w: &mut Watched, cover: &mut String, seed: u64) {
    let version = |n: u64| order(&format!("S{}-{n}", seed % 10), "10:00:00", "PAID", &["A"]) + "\n";
    for n in 0..3 {
        cover.push_str(&version(n));
        w.events.push(version(n).trim_end().into());
    }
    let path = w.place.input("b/same-size.ndjson");
    w.place.put_at(&path, version(0));
    for n in 1..3 {
        pause(if n == 1 { 300 } else { 0 });
        fs::write(&path, version(n)).unwrap();
        age(&path);
    }
    // And at once: an earlier version must not stand, nor does it matter once the last is there.
    let version =
        |n: u64| order(&format!("T{}", seed % 10), &format!("10:00:0{n}"), &format!("PAID {n}"), &["A"]);
    (1..=9).for_each(|n| fs::write(w.place.input("b/last.ndjson"), version(n)).unwrap());
    w.events.push(version(9).into());
}

fn folders(w: &mut Watched, cover: &mut String) {
    // Moved in with what is in it; then renamed, with a file that comes after.
    let path = w.place.path("draft-folder");
    w.folder(&path.join("deep/er"), 4);
    fs::rename(path, w.place.input("moved-in")).unwrap();
    fs::rename(w.place.input("moved-in/deep"), w.place.input("moved-on")).unwrap();
    let text = w.text(2);
    fs::write(w.place.input("moved-on/er/after.ndjson"), text).unwrap();
    // Removed and made again.
    let again = w.place.input("again/deep");
    fs::create_dir_all(&again).unwrap();
    fs::write(again.join("old.ndjson"), first_line(cover, w)).unwrap();
    fs::remove_dir_all(w.place.input("again")).unwrap();
    w.folder(&again, 3);
    // A file that goes from one folder to the other.
    let text = w.text(2);
    fs::write(w.place.input("a/goes.ndjson"), text).unwrap();
    fs::rename(w.place.input("a/goes.ndjson"), w.place.input("b/gone.ndjson")).unwrap();
}

/// Ways that take their time, each on a thread. Returns how many there are.
fn slow<'s>(scope: &'s Scope<'s, '_>, w: &mut Watched, seed: u64) -> u64 {
    let pauses = move |n: usize| PAUSES[(seed as usize + n) % PAUSES.len()];
    for n in 0..3 {
        let (text, path) = (w.text(4), w.place.input(&format!("b/slow-{n}.ndjson")));
        scope.spawn(move || match n {
            0 => in_pieces(&path, &text, pauses(n), Writer::Holds),
            1 => in_pieces(&path, &text, pauses(n), Writer::Opens),
            _ => in_pieces(&path, &text, pauses(n), Writer::NeverCloses),
        });
    }
    // From one subfolder to the next and back, taken meanwhile or not.
    let (text, a, b) = (w.text(2), w.place.input("a/roams.ndjson"), w.place.input("b/roams.ndjson"));
    scope.spawn(move || {
        fs::write(&a, text).unwrap();
        for n in 0..4 {
            pause(pauses(n) / 2);
            let (from, to) = if n % 2 == 0 { (&a, &b) } else { (&b, &a) };
            fs::rename(from, to).unwrap();
        }
    });
    4
}

#[derive(PartialEq)]
enum Writer {
    Holds,
    Opens,
    NeverCloses,
}

/// Eight pieces, cut anywhere, with a pause after each.
fn in_pieces(path: &Path, text: &str, milliseconds: u64, writer: Writer) {
    let mut file = File::create(path).unwrap();
    for piece in text.as_bytes().chunks(text.len().div_ceil(8)) {
        if writer == Writer::Opens {
            file = File::options().append(true).open(path).unwrap();
        }
        file.write_all(piece).unwrap();
        pause(milliseconds);
    }
    if writer == Writer::NeverCloses {
        // To the end of the process.
        std::mem::forget(file);
    }
}

/// A large file is rewritten in place until a reading was disturbed by it; what stands in the end is what counts.
#[test]
fn row_08_a_file_that_changes_while_it_is_read() {
    let (mut rewritten, mut noticed) = (0, 0);
    for seed in seeds(1, 10) {
        let mut watched = Watched::new("changes while read", seed);
        let path = watched.place.input("large.ndjson");
        let version = |n: u64| -> Vec<String> {
            let time = format!("{:02}:{:02}:00", n / 60, n % 60);
            (0..10_000).map(|o| order(&format!("O{o}"), &time, &format!("S{n}"), &["A", "B"])).collect()
        };
        let disturbed = |w: &Watched| w.run.out().matches("it changed while it was read").count() as u64;
        let mut n = 0;
        while disturbed(&watched) == 0 {
            n += 1;
            assert!(n < 1000, "{}: no reading was ever disturbed\n{}", watched.case, watched.run.out());
            let text = version(n).join("\n") + "\n";
            // What was there before is written over: a reader may meet both versions.
            let mut file = File::options().write(true).create(true).truncate(false).open(&path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file.set_len(text.len() as u64).unwrap();
            drop(file);
            pause(20 + 10 * ((n + seed) % 7));
        }
        watched.all_taken(60);
        // Every line of every order as the last version has it: too many for the oracle, and simple enough without.
        let sql = "select order_status as s, count(*) as n, count(distinct order_id) as o from order_item group by 1";
        let expected = serde_json::json!([{ "s": format!("S{n}"), "n": 20_000, "o": 10_000 }]);
        assert_eq!(serde_json::Value::from(watched.place.rows(sql)), expected, "{}", watched.case);
        (rewritten, noticed) = (rewritten + n, noticed + disturbed(&watched));
        watched.run.stop();
        watched.place.expect(&["verify"], 0);
    }
    let figures = [("rewritings", rewritten), ("disturbed readings", noticed), ("missed", 0)];
    tell(8, "rewritten while read", &figures);
}
