//! Discovery against real folders: every rule, and the ways a folder can change under one's hands.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::time::{Duration, Instant, UNIX_EPOCH};

use super::*;
use crate::batch::FileRange;
use crate::ledger::{Known, Ledger};

const MS: u64 = 1_000_000;

struct Nothing;

impl Seen for Nothing {
    fn known(&self, _: u128) -> Option<Known> {
        None
    }
}

#[derive(Default)]
struct Book(HashMap<String, Known>);

impl Seen for Book {
    fn known(&self, key: u128) -> Option<Known> {
        self.0.iter().find(|(name, _)| file_key(name) == key).map(|(_, known)| *known)
    }
}

struct Place {
    dir: tempfile::TempDir,
    folder: Folder,
    start: Instant,
    /// Added to the real time.
    ahead_ms: u64,
}

impl Place {
    fn new() -> Self {
        Self::ignoring(&[])
    }

    fn ignoring(names: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ignore: Vec<PathBuf> = names.iter().map(|n| dir.path().join("in").join(n)).collect();
        let folder = Folder::open(&dir.path().join("in"), 1000, &ignore).unwrap();
        Place { dir, folder, start: Instant::now(), ahead_ms: 0 }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("in").join(name)
    }

    /// Written just now.
    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Written an hour ago.
    fn old(&self, name: &str, text: &str) {
        self.write(name, text);
        self.age(name, -3600);
    }

    fn age(&self, name: &str, seconds: i64) {
        let micros = crate::clock::SystemClock.now_micros() + seconds * 1_000_000;
        let time = UNIX_EPOCH + Duration::from_micros(micros as u64);
        fs::File::options().write(true).open(self.path(name)).unwrap().set_modified(time).unwrap();
    }

    fn now(&self) -> Now {
        let real = Now::read(&crate::clock::SystemClock, self.start);
        let ahead = self.ahead_ms * MS;
        Now { wall_ns: real.wall_ns + ahead as i64, mono_ns: real.mono_ns + ahead }
    }

    fn list(&mut self) -> Listing {
        self.folder.list(&Nothing, self.now())
    }

    fn look(&mut self) -> Listing {
        self.folder.look(&Nothing, self.now())
    }

    fn take(&mut self, listing: &mut Listing) -> Taken {
        let now = self.now();
        self.folder.take(&mut listing.ready, usize::MAX, u64::MAX, now)
    }

    fn fingerprint(&self, name: &str) -> Fingerprint {
        open::regular(
            std::os::fd::AsFd::as_fd(&open::root(&self.folder.root).unwrap()),
            &name::raw_path(name),
        )
        .unwrap()
        .1
    }
}

fn ready(listing: &Listing) -> Vec<&str> {
    listing.ready.iter().map(|c| &*c.name).collect()
}

fn waiting(listing: &Listing) -> Vec<&str> {
    listing.waiting.iter().map(|w| &*w.name).collect()
}

fn unread(unread: &[Unread]) -> Vec<(&str, &str)> {
    unread.iter().map(|u| (&*u.name, &*u.reason)).collect()
}

fn text(input: &Input) -> String {
    let mut text = String::new();
    input.file.try_clone().unwrap().read_to_string(&mut text).unwrap();
    text
}

#[test]
fn lists_event_files_of_all_folders_by_name() {
    let mut place = Place::new();
    for name in ["b.json", "a/z.ndjson.GZ", "a/b/c/d.JSONL", "a.json.zst", "x.json/y.json", "Z.json"] {
        place.old(name, "{}");
    }
    for name in [
        "c.csv",
        ".h.json",
        "_u.json",
        ".git/a.json",
        "_w/a.json",
        "d.tmp/a.json",
        "a.json.part",
        "json",
        "r.gz",
    ] {
        place.old(name, "{}");
    }
    let listing = place.list();
    assert_eq!(
        ready(&listing),
        ["Z.json", "a.json.zst", "a/b/c/d.JSONL", "a/z.ndjson.GZ", "b.json", "x.json/y.json"]
    );
    assert!(listing.full && listing.unread.is_empty() && listing.waiting.is_empty());
    assert_eq!((listing.files_total, listing.done, listing.changed), (6, 0, 0));
}

#[test]
fn makes_a_missing_folder_and_refuses_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("a/b");
    assert!(Folder::open(&deep, 1000, &[]).unwrap().was_made());
    assert!(deep.is_dir());
    assert!(!Folder::open(&deep, 1000, &[]).unwrap().was_made());
    fs::write(dir.path().join("f"), "").unwrap();
    let e = Folder::open(&dir.path().join("f"), 1000, &[]).unwrap_err();
    assert!(matches!(&e, Error::Config(text) if text.contains("is not a folder")), "{e}");
    assert!(Folder::open(&dir.path().join("f/below"), 1000, &[]).is_err());
}

#[test]
fn never_reads_our_own_folders() {
    let mut place = Place::ignoring(&["tables", "not/yet"]);
    for name in ["tables/x.json", "tables/t/x.json", "not/yet/x.json", "tables2/x.json", "not/x.json"] {
        place.old(name, "{}");
    }
    symlink("tables/x.json", place.path("link.json")).unwrap();
    let listing = place.list();
    assert_eq!(ready(&listing), ["not/x.json", "tables2/x.json"]);
    assert_eq!(unread(&listing.unread), [("link.json", "symlink out of the folder")]);

    let tables = place.path("tables");
    for inside in [tables.clone(), tables.join("t")] {
        let e = Folder::open(&inside, 1000, std::slice::from_ref(&tables)).unwrap_err();
        assert!(matches!(&e, Error::Config(text) if text.contains("choose another")), "{e}");
    }
}

#[test]
fn a_file_being_written_waits_until_it_rests() {
    let mut place = Place::new();
    place.write("a.json", "{");
    place.write("future.json", "{}");
    place.age("future.json", 86_400);
    let listing = place.list();
    assert_eq!((ready(&listing), waiting(&listing)), (vec![], vec!["a.json", "future.json"]));
    assert!(place.folder.wait(place.now()) <= Duration::from_millis(200));

    place.ahead_ms = 200;
    place.write("a.json", "{}");
    let listing = place.look();
    assert!(!listing.full, "only the waiting are looked at");
    assert_eq!((ready(&listing), waiting(&listing)), (vec!["future.json"], vec!["a.json"]));
    assert_eq!(listing.waiting[0].why, "being written");

    place.ahead_ms = 400;
    assert_eq!(ready(&place.look()), ["a.json"]);
    assert_eq!(ready(&place.look()), Vec::<&str>::new(), "offered once between full listings");
    assert_eq!(ready(&place.list()), ["a.json", "future.json"], "a full listing offers all");
}

#[test]
fn the_ledger_decides_what_is_new() {
    let mut place = Place::new();
    for name in ["done.json", "partial.json", "other.json", "touched.json", "new.json"] {
        place.old(name, "{}");
    }
    let resume = Resume { offset: 1, line: 2, element: 3, in_array: true };
    let mut book = Book::default();
    let mut known = |name: &str, done| {
        let resume = if done { Resume::default() } else { resume };
        book.0.insert(name.into(), Known { fingerprint: place.fingerprint(name), resume, done });
    };
    known("done.json", true);
    known("partial.json", false);
    known("other.json", true);
    known("touched.json", false);
    place.old("other.json", "{1}");
    place.age("touched.json", -1800);

    let now = place.now();
    let names = place.folder.list_names(&book, now);
    assert!(names.full);
    assert_eq!(ready(&names), ["new.json", "partial.json", "touched.json"], "what is not there whole");
    assert_eq!((names.files_total, names.done, names.by_name, names.changed), (5, 2, 2, 1));

    let mut listing = place.folder.list(&book, now);
    assert_eq!(ready(&listing), ["new.json", "other.json", "partial.json", "touched.json"]);
    assert_eq!((listing.files_total, listing.done, listing.by_name, listing.changed), (5, 1, 0, 2));
    let taken = place.take(&mut listing);
    let told: Vec<_> = taken.inputs.iter().map(|i| (i.changed, i.resume)).collect();
    let zero = Resume::default();
    assert_eq!(told, [(false, zero), (true, zero), (false, resume), (true, zero)]);
}

#[test]
fn what_happens_after_names_were_listed_is_found_by_the_listing_that_follows() {
    let mut place = Place::new();
    for name in ["changed.json", "gone.json", "later.json", "link.json", "same.json"] {
        place.old(name, "{}");
    }
    let mut book = Book::default();
    let mut listing = place.list();
    for input in place.take(&mut listing).inputs {
        let known = Known { fingerprint: input.fingerprint, resume: Resume::default(), done: true };
        book.0.insert(input.name.to_string(), known);
        place.folder.release(&input.name);
    }
    let mut wake = place.folder.watch();
    place.old("changed.json", "{1}");
    place.old("new.json", "{}");
    fs::remove_file(place.path("link.json")).unwrap();
    symlink("/", place.path("link.json")).unwrap();

    let now = place.now();
    let mut names = place.folder.list_names(&book, now);
    assert_eq!((ready(&names), names.by_name, names.unread.len()), (vec!["new.json"], 5, 0));
    let taken = place.take(&mut names);
    assert_eq!(taken.inputs.len(), 1);

    // Just written and closed: complete before it is a second old, for whoever heard of it.
    place.write("later.json", "{2}");
    fs::remove_file(place.path("gone.json")).unwrap();
    until_heard(&mut wake);
    let again = place.folder.list_names(&book, now);
    assert_eq!((ready(&again), again.by_name), (vec![], 4), "new.json is in hand");

    let listing = place.folder.list(&book, now);
    assert_eq!(ready(&listing), ["changed.json", "later.json"]);
    assert_eq!((listing.files_total, listing.done, listing.changed), (5, 1, 2));
    assert_eq!(unread(&listing.news), [("link.json", "symlink out of the folder")]);
}

fn until_heard(wake: &mut Receiver<u64>) {
    let until = Instant::now() + Duration::from_secs(10);
    while !wake.has_changed().unwrap() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
    wake.mark_unchanged();
}

#[test]
fn follows_no_symlink_out_of_the_folder() {
    let mut place = Place::new();
    let outside = place.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret.json"), "{}").unwrap();
    place.old("sub/real.json", "real");
    symlink("sub/real.json", place.path("relative.json")).unwrap();
    symlink(place.path("sub/real.json"), place.path("absolute.json")).unwrap();
    symlink(outside.join("secret.json"), place.path("out.json")).unwrap();
    symlink("../outside/secret.json", place.path("up.json")).unwrap();
    symlink("nowhere", place.path("broken.json")).unwrap();
    symlink("loop.json", place.path("loop.json")).unwrap();
    symlink(&outside, place.path("folder")).unwrap();
    symlink(&outside, place.path("folder.json")).unwrap();
    symlink("sub", place.path("inside.json")).unwrap();
    symlink("/dev/zero", place.path("zero.json")).unwrap();

    let mut listing = place.list();
    assert_eq!(ready(&listing), ["absolute.json", "relative.json", "sub/real.json"]);
    let out = "symlink out of the folder";
    let told: HashMap<_, _> = unread(&listing.unread).into_iter().collect();
    assert_eq!(told.len(), 6, "{told:?}");
    for name in ["out.json", "up.json", "folder.json", "zero.json"] {
        assert_eq!(told[name], out);
    }
    assert!(told["broken.json"].starts_with("symlink to nothing"));
    assert!(told["loop.json"].starts_with("symlink to nothing"));
    let taken = place.take(&mut listing);
    assert!(taken.inputs.iter().all(|i| text(i) == "real" && still_same(i)));
    assert_eq!(taken.inputs.len(), 3);
}

#[test]
fn a_folder_swapped_for_a_symlink_is_not_followed() {
    let mut place = Place::new();
    place.old("sub/a.json", "ours");
    let mut listing = place.list();
    let outside = place.dir.path().join("outside");
    fs::rename(place.path("sub"), &outside).unwrap();
    symlink(&outside, place.path("sub")).unwrap();
    let taken = place.take(&mut listing);
    assert!(taken.inputs.is_empty());
    assert_eq!(taken.unread.len(), 1, "{taken:?}");
}

#[test]
fn what_is_no_regular_file_is_told_and_never_waited_for() {
    let mut place = Place::new();
    place.old("good.json", "{}");
    let fifo = rustix::fs::FileType::Fifo;
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    rustix::fs::mknodat(rustix::fs::CWD, place.path("pipe.json"), fifo, mode, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(place.path("sock.json")).unwrap();
    let mut listing = place.list();
    let why = "not a regular file";
    assert_eq!(unread(&listing.unread), [("pipe.json", why), ("sock.json", why)]);

    // Swapped after it was listed.
    fs::remove_file(place.path("good.json")).unwrap();
    fs::rename(place.path("pipe.json"), place.path("good.json")).unwrap();
    let taken = place.take(&mut listing);
    assert_eq!(unread(&taken.unread), [("good.json", "cannot be read: not a regular file")]);
}

#[test]
fn a_folder_named_like_a_file_is_told_once_and_read() {
    let mut place = Place::new();
    place.old("x.json/a.json", "{}");
    let listing = place.list();
    let folders = listing.folders.clone();
    assert_eq!((ready(&listing), folders), (vec!["x.json/a.json"], vec!["x.json".into()]));
    assert!(place.list().folders.is_empty());
}

#[test]
fn tells_news_once_and_shows_the_standing_each_time() {
    let mut place = Place::new();
    symlink("nowhere", place.path("a.json")).unwrap();
    assert_eq!(place.list().news.len(), 1);
    let again = place.list();
    assert_eq!((again.news.len(), again.unread.len()), (0, 1));
    fs::remove_file(place.path("a.json")).unwrap();
    assert_eq!(place.list().unread.len(), 0);
    symlink("nowhere", place.path("a.json")).unwrap();
    assert_eq!(place.list().news.len(), 1);
}

#[test]
fn cuts_a_batch_by_files_and_bytes() {
    let mut place = Place::new();
    for (name, size) in [("a.json", 10), ("b.json", 10), ("c.json", 100), ("d.json", 0), ("e.json", 5)] {
        place.old(name, &"x".repeat(size));
    }
    let mut queue = place.list().ready;
    let now = place.now();
    let mut cut = |files, bytes| {
        let taken = place.folder.take(&mut queue, files, bytes, now);
        taken.inputs.iter().map(|i| i.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(cut(0, 0), ["a.json"], "at least one, however small the limits");
    assert_eq!(cut(9, 50), ["b.json"]);
    assert_eq!(cut(9, 50), ["c.json"], "larger than a batch: alone");
    assert_eq!(cut(1, 50), ["d.json"]);
    assert_eq!(cut(9, 50), ["e.json"]);
    assert_eq!(cut(9, 50), Vec::<String>::new());
}

#[test]
fn a_batch_keeps_to_the_files_that_may_be_open() {
    let mut place = Place::new();
    (0..9).for_each(|i| place.old(&format!("{i}.json"), "{}"));
    place.folder.open_files = 4;
    let mut listing = place.list();
    let (first, second) = (place.take(&mut listing), place.take(&mut listing));
    assert_eq!((first.inputs.len(), second.inputs.len(), listing.ready.len()), (4, 4, 1));
    assert!(open::budget() >= 16);
}

#[test]
fn what_changes_between_listing_and_taking_is_not_taken() {
    let mut place = Place::new();
    for name in ["gone.json", "grown.json", "new.json", "same.json"] {
        place.old(name, "{}");
    }
    let mut listing = place.list();
    fs::remove_file(place.path("gone.json")).unwrap();
    let mut grown = fs::File::options().append(true).open(place.path("grown.json")).unwrap();
    grown.write_all(b"{").unwrap();
    place.old("draft", "{}");
    fs::rename(place.path("draft"), place.path("new.json")).unwrap();
    let taken = place.take(&mut listing);
    assert_eq!(taken.inputs.iter().map(|i| &*i.name).collect::<Vec<_>>(), ["same.json"]);
    assert_eq!(unread(&taken.unread), [("gone.json", "vanished before it was read")]);
    let names: Vec<_> = taken.waiting.iter().map(|w| &*w.name).collect();
    assert_eq!(names, ["grown.json", "new.json"]);
    let listing = place.look();
    assert_eq!((ready(&listing), waiting(&listing)), (vec!["new.json"], vec!["grown.json"]));
    assert!(place.list().unread.is_empty(), "what is gone is no news later");
}

#[test]
fn a_file_is_opened_a_tick_after_its_last_change() {
    let mut place = Place::new();
    place.write("a.json", "1");
    let changed = place.fingerprint("a.json").ctime_ns;
    let mut listing = place.list();
    while listing.ready.is_empty() {
        place.ahead_ms += 100;
        listing = place.list();
    }
    // As an event does it: at once.
    place.write("a.json", "2");
    let fresh = place.fingerprint("a.json");
    assert!(fresh.ctime_ns > changed);
    listing.ready[0].fingerprint = fresh;
    place.ahead_ms = 0;
    assert_eq!(place.take(&mut listing).inputs.len(), 1);
    let waited = place.now().wall_ns - fresh.ctime_ns;
    assert!(waited >= 10_000_000, "{waited} ns");
}

#[test]
fn notices_what_happens_while_reading() {
    let mut place = Place::new();
    for name in ["append.json", "replace.json", "remove.json", "keep.json"] {
        place.old(name, "{}");
    }
    let mut listing = place.list();
    let taken = place.take(&mut listing);
    assert!(taken.inputs.iter().all(still_same));
    fs::File::options().append(true).open(place.path("append.json")).unwrap().write_all(b" ").unwrap();
    place.old("draft", "{}");
    fs::rename(place.path("draft"), place.path("replace.json")).unwrap();
    fs::remove_file(place.path("remove.json")).unwrap();
    let same: Vec<_> = taken.inputs.iter().filter(|i| still_same(i)).map(|i| &*i.name).collect();
    assert_eq!(same, ["keep.json"]);
}

#[test]
fn what_is_in_hand_is_not_offered_again() {
    let mut place = Place::new();
    place.old("a.json", "{}");
    place.old("b.json", "{}");
    let mut listing = place.list();
    let taken = place.take(&mut listing);
    assert_eq!(taken.inputs.len(), 2);
    assert_eq!(ready(&place.list()), Vec::<&str>::new());
    place.old("b.json", "{{}}");
    let listing = place.list();
    assert_eq!((ready(&listing), waiting(&listing)), (vec![], vec!["b.json"]));
    place.folder.release("a.json");
    place.folder.release("b.json");
    assert_eq!(ready(&place.list()), ["a.json", "b.json"]);
}

#[test]
fn the_rest_of_a_range_is_offered_at_once() {
    let mut place = Place::new();
    place.old("a.json", "0123456789");
    let mut listing = place.list();
    let input = place.take(&mut listing).inputs.remove(0);
    let mut ledger = Ledger::default();
    let end = Resume { offset: 4, ..Resume::default() };
    let range = FileRange {
        name: input.name.clone(),
        fingerprint: input.fingerprint,
        start: Resume::default(),
        end,
        last: false,
        content_hash: 0,
        changed: false,
        events: 1,
        quarantined: 0,
        duplicate_keys: 0,
    };
    ledger.apply(1, &[range]);
    place.folder.release_partial(&input.name);
    place.ahead_ms = 300;
    let now = place.now();
    assert_eq!(place.folder.wait(now), Duration::ZERO);
    let listing = place.folder.look(&ledger, now);
    assert!(!listing.full);
    assert_eq!((ready(&listing), listing.ready[0].resume), (vec!["a.json"], end));
}

#[test]
fn an_unread_file_is_tried_again_when_due() {
    let mut place = Place::new();
    place.old("a.json", "{}");
    let mut listing = place.list();
    let unreadable =
        Unread { name: place.take(&mut listing).inputs[0].name.clone(), reason: "I/O error".into() };
    place.folder.put_off(&unreadable, place.now());
    let listing = place.list();
    assert_eq!((ready(&listing), &listing.unread[..]), (vec![], std::slice::from_ref(&unreadable)));
    assert!(listing.news.is_empty(), "the caller told it");
    place.ahead_ms = 1100;
    let mut listing = place.list();
    assert_eq!((ready(&listing), listing.unread.len()), (vec!["a.json"], 1));
    assert_eq!(place.take(&mut listing).inputs.len(), 1);
    place.folder.put_off(&unreadable, place.now());
    place.ahead_ms = 2200;
    assert_eq!(ready(&place.list()), Vec::<&str>::new(), "two seconds this time");
    place.old("a.json", "{ }");
    assert_eq!(ready(&place.list()), ["a.json"], "changed: at once");
}

#[test]
fn what_may_not_be_read_is_told_and_the_rest_goes_on() {
    if rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: root may read everything; run this test as another user");
        return;
    }
    let mut place = Place::new();
    for name in ["good.json", "shut.json", "closed/a.json", "open/a.json"] {
        place.old(name, "{}");
    }
    let root = place.path("");
    let mode = |name: &str, bits| fs::set_permissions(root.join(name), fs::Permissions::from_mode(bits));
    mode("shut.json", 0).unwrap();
    mode("closed", 0).unwrap();
    let mut listing = place.folder.list(&Nothing, place.now());
    let denied = "cannot be read: Permission denied";
    assert_eq!(unread(&listing.unread), [("closed", denied)]);
    assert_eq!(ready(&listing), ["good.json", "open/a.json", "shut.json"]);
    let now = place.now();
    let taken = place.folder.take(&mut listing.ready, 9, 9, now);
    assert_eq!(taken.inputs.len(), 2);
    assert_eq!(unread(&taken.unread), [("shut.json", denied)]);
    let listing = place.folder.list(&Nothing, place.now());
    assert_eq!(unread(&listing.unread), [("closed", denied), ("shut.json", denied)]);
    assert!(listing.news.is_empty());
    mode("shut.json", 0o644).unwrap();
    mode("closed", 0o755).unwrap();
    let listing = place.folder.list(&Nothing, place.now());
    assert_eq!(ready(&listing), ["closed/a.json", "shut.json"], "permission given: at once");
}

#[test]
fn any_name_is_read_by_its_bytes() {
    let mut place = Place::new();
    let names: [&[u8]; 4] = [b"caf\xe9.json", b"a\\b.json", b"a\\xe9.json", "caf\u{e9}\n.json".as_bytes()];
    for raw in names {
        let path = place.path("").join(OsStr::from_bytes(raw));
        fs::write(&path, raw).unwrap();
    }
    place.ahead_ms = 5000;
    let mut listing = place.list();
    assert_eq!(ready(&listing), ["a\\\\b.json", "a\\\\xe9.json", "caf\\xe9.json", "café\n.json"]);
    let taken = place.take(&mut listing);
    for input in &taken.inputs {
        let mut bytes = Vec::new();
        input.file.try_clone().unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!(Some(OsStr::from_bytes(&bytes)), input.path.file_name());
    }
    assert_eq!(taken.inputs.len(), 4);
}

#[test]
fn a_source_that_goes_away_is_told_and_found_again() {
    let mut place = Place::new();
    place.old("a.json", "{}");
    let mut listing = place.list();
    fs::rename(place.path(""), place.dir.path().join("away")).unwrap();
    let taken = place.take(&mut listing);
    assert_eq!((taken.inputs.len(), taken.unread.len(), listing.ready.len()), (0, 1, 0));
    let gone = place.list();
    assert_eq!(unread(&gone.unread), [(".", "cannot be read: No such file or directory")]);
    fs::rename(place.dir.path().join("away"), place.path("")).unwrap();
    assert_eq!(ready(&place.list()), ["a.json"]);
}

#[test]
fn listings_rest_in_proportion() {
    let mut place = Place::new();
    place.list();
    let wait = place.folder.wait(place.now());
    assert!(wait > Duration::from_millis(1500) && wait < Duration::from_secs(10), "{wait:?}");
    assert!(!place.look().full);
    place.ahead_ms = 10_000;
    assert!(place.look().full);
    place.folder.plan_next(Now { wall_ns: 0, mono_ns: 0 }, 1000 * MS);
    assert_eq!((place.folder.next_full_ns, place.folder.hurried_full_ns), (21_000 * MS, 5000 * MS));
    place.folder.plan_next(Now { wall_ns: 0, mono_ns: u64::MAX }, u64::MAX);
}

/// Waits for the watcher, then looks: what a run does. Gives up after some seconds.
fn until<T>(place: &mut Place, wake: &mut Receiver<u64>, mut enough: impl FnMut(Listing) -> Option<T>) -> T {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(20) {
        if wake.has_changed().unwrap() || place.folder.wait(place.now()).is_zero() {
            wake.mark_unchanged();
            if let Some(found) = enough(place.look()) {
                return found;
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("no event for 20 s");
}

fn watched(names: &[&str]) -> (Place, Receiver<u64>) {
    let mut place = Place::ignoring(names);
    let wake = place.folder.watch();
    place.list();
    // Only events count in these tests: no full listing for an hour.
    place.folder.next_full_ns = 3_600_000 * MS;
    (place, wake)
}

fn has(listing: &Listing, name: &str) -> Option<()> {
    ready(listing).contains(&name).then_some(())
}

#[test]
fn a_closed_or_renamed_file_is_ready_at_once() {
    let (mut place, mut wake) = watched(&[]);
    place.write("closed.json", "{}");
    until(&mut place, &mut wake, |l| has(&l, "closed.json"));
    place.write("draft.tmp", "{}");
    fs::rename(place.path("draft.tmp"), place.path("renamed.json")).unwrap();
    until(&mut place, &mut wake, |l| has(&l, "renamed.json"));
    let age = place.now().wall_ns - place.fingerprint("renamed.json").mtime_ns;
    assert!(age < 1_000_000_000, "not because it settled: {age} ns");
}

#[test]
fn a_hard_link_is_ready_soon() {
    let (mut place, mut wake) = watched(&[]);
    place.write("../draft", "{}");
    fs::hard_link(place.path("../draft"), place.path("linked.json")).unwrap();
    fs::remove_file(place.path("../draft")).unwrap();
    until(&mut place, &mut wake, |l| has(&l, "linked.json").filter(|()| !l.full));
}

#[test]
fn new_and_moved_folders_are_followed() {
    let (mut place, mut wake) = watched(&[]);
    place.write("new/deep/a.json", "{}");
    until(&mut place, &mut wake, |l| has(&l, "new/deep/a.json"));
    assert_eq!(place.folder.watch.watched(), 3);
    place.write("new/deep/b.json", "{}");
    until(&mut place, &mut wake, |l| has(&l, "new/deep/b.json"));

    fs::rename(place.path("new"), place.path("moved")).unwrap();
    until(&mut place, &mut wake, |l| has(&l, "moved/deep/b.json"));
    assert_eq!(place.folder.watch.watched(), 3);
    place.write("moved/deep/c.json", "{}");
    until(&mut place, &mut wake, |l| has(&l, "moved/deep/c.json"));

    fs::remove_dir_all(place.path("moved")).unwrap();
    place.write("moved/deep/d.json", "{}");
    until(&mut place, &mut wake, |l| has(&l, "moved/deep/d.json"));
    place.write("moved/deep/e.json", "{}");
    until(&mut place, &mut wake, |l| has(&l, "moved/deep/e.json"));
}

#[test]
fn our_own_folders_and_hidden_ones_wake_nobody() {
    let (mut place, mut wake) = watched(&["tables"]);
    place.write("tables/t/x.json", "{}");
    place.write(".work/x.json", "{}");
    place.write("a.json.tmp", "{}");
    std::thread::sleep(Duration::from_millis(200));
    assert!(!wake.has_changed().unwrap());
    place.write("a.json", "{}");
    until(&mut place, &mut wake, |l| has(&l, "a.json"));
}

#[test]
fn lost_events_lead_to_a_listing() {
    let (mut place, mut wake) = watched(&[]);
    place.folder.watch.deafen();
    place.old("sub/a.json", "{}");
    assert!(ready(&place.look()).is_empty());
    place.folder.watch.overflow();
    assert!(wake.has_changed().unwrap());
    wake.mark_unchanged();
    assert!(place.folder.wait(place.now()) < Duration::from_secs(5), "hurried");
    place.ahead_ms = 5000;
    let listing = place.look();
    assert!(listing.full);
    assert_eq!(ready(&listing), ["sub/a.json"]);
    assert!(place.folder.wait(place.now()) > Duration::from_secs(1), "the debt is paid");
}

#[test]
fn without_a_watcher_listing_finds_everything() {
    let mut place = Place::new();
    let wake = Watch::new(&place.folder.root, &[]).receiver();
    place.old("a/b.json", "{}");
    assert_eq!(ready(&place.list()), ["a/b.json"]);
    drop(wake);
}

#[test]
fn two_thousand_new_folders_at_once_lose_nothing() {
    let mut place = Place::new();
    let mut wake = place.folder.watch();
    place.list();
    let root = place.path("");
    let writer = std::thread::spawn(move || {
        for i in 0..2000 {
            let folder = root.join(format!("d{}/e{i}", i % 7));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("x.json"), "{}").unwrap();
        }
    });
    let mut found = BTreeSet::new();
    let mut ledger = Ledger::default();
    let started = Instant::now();
    let mut batch = 0;
    while found.len() < 2000 && started.elapsed() < Duration::from_secs(60) {
        let now = place.now();
        let mut listing = place.folder.look(&ledger, now);
        let taken = place.folder.take(&mut listing.ready, 1000, 1 << 20, now);
        assert!(taken.unread.is_empty() && listing.unread.is_empty(), "{taken:?}");
        batch += 1;
        for input in &taken.inputs {
            assert_eq!(text(input), "{}");
            ledger.apply(batch, &[whole(input)]);
            place.folder.release(&input.name);
            assert!(found.insert(input.name.to_string()), "{} twice", input.name);
        }
        let until = Instant::now() + place.folder.wait(place.now());
        while Instant::now() < until && !wake.has_changed().unwrap() {
            std::thread::sleep(Duration::from_millis(1));
        }
        wake.mark_unchanged();
    }
    writer.join().unwrap();
    assert_eq!(found.len(), 2000, "after {:?}", started.elapsed());
    let listing = place.folder.list(&ledger, place.now());
    assert_eq!((listing.ready.len(), listing.done), (0, 2000));
}

fn whole(input: &Input) -> FileRange {
    FileRange {
        name: input.name.clone(),
        fingerprint: input.fingerprint,
        start: Resume::default(),
        end: Resume { offset: input.fingerprint.size, ..Resume::default() },
        last: true,
        content_hash: 0,
        changed: false,
        events: 1,
        quarantined: 0,
        duplicate_keys: 0,
    }
}

/// `MILLRACE_FILES=1000000 cargo test --lib million -- --ignored --nocapture`
#[test]
#[ignore = "a measurement: makes many files"]
fn a_million_files_in_one_folder() {
    let files: u64 = std::env::var("MILLRACE_FILES").map_or(200_000, |n| n.parse().unwrap());
    let mut place = Place::new();
    (0..files).for_each(|i| fs::write(place.path(&format!("order-{i:08}.json")), "{}").unwrap());
    place.ahead_ms = 5000;
    let timed = Instant::now();
    let mut listing = place.list();
    println!("{files} files: first listing {:?}", timed.elapsed());
    assert_eq!(listing.ready.len() as u64, files);
    let mut ledger = Ledger::default();
    let timed = Instant::now();
    for (i, c) in listing.ready.iter().enumerate() {
        let print = c.fingerprint;
        let entry = crate::ledger::LedgerEntry {
            fingerprint: print,
            resume: Resume::default(),
            done: true,
            batch: i as u64,
        };
        ledger.insert(crate::ledger::file_key(&c.name), entry);
    }
    println!("ledger filled in {:?}", timed.elapsed());
    let timed = Instant::now();
    let again = place.folder.list(&ledger, place.now());
    println!("listing with all of them done: {:?}", timed.elapsed());
    assert_eq!((again.ready.len(), again.done), (0, files));
    let timed = Instant::now();
    let now = place.now();
    let taken = place.folder.take(&mut listing.ready, 10_000, u64::MAX, now).inputs.len();
    println!("{taken} files opened in {:?}", timed.elapsed());
}
