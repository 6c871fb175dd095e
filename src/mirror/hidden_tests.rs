//! A mirror in the making: who sees it, and what becomes of it when things go wrong.

use std::path::PathBuf;

use rusqlite::Connection;

use super::fixture::{LINE, ddl, i, rows, t};
use super::tests::{Place, aside, change, everything, fill, filled, inspector, lines, open, place};
use super::*;

fn making(place: &Place) -> PathBuf {
    hidden::beside(&place.path)
}

/// In the making, level with batch 2: three lines.
fn begun(place: &Place) -> Mirror {
    let (mut mirror, state, notes) = open(place);
    assert_eq!((state, notes), (State::Fresh, Vec::new()));
    let nothing: [(TableRef<'_>, Vec<Result<RecordBatch>>); 0] = [];
    assert_eq!(mirror.rebuild(1, nothing).unwrap(), Outcome::Done);
    assert_eq!(mirror.apply(2, &[change(LINE, &lines(3), true)]).unwrap(), Outcome::Done);
    mirror
}

#[test]
fn it_is_seen_once_it_is_shown() {
    let place = place();
    let mut mirror = begun(&place);
    assert!(mirror.is_hidden() && mirror.present());
    assert!(making(&place).exists() && !place.path.exists());
    let told = reader::open(&place.path);
    assert!(matches!(&told, Err(Error::Config(text)) if text.contains("is being made")), "{told:?}");
    assert_eq!(mirror.show().unwrap(), Outcome::Done);
    assert!(!mirror.is_hidden() && mirror.present());
    assert!(!making(&place).exists());
    assert_eq!(inspector(&place).count(TableRef::Pipeline(LINE)).unwrap(), 3);
    assert_eq!(inspector(&place).integrity().unwrap(), Vec::<String>::new());
    // From here on readers come in between.
    let reader = Connection::open(&place.path).unwrap();
    let mode: String = reader.query_row("PRAGMA journal_mode", [], |r| r.get(0)).unwrap();
    assert_eq!(mode, "wal");
    let all = || -> i64 { reader.query_row("SELECT count(*) FROM line", [], |r| r.get(0)).unwrap() };
    reader.execute_batch("BEGIN").unwrap();
    assert_eq!(all(), 3);
    assert_eq!(mirror.apply(3, &[change(LINE, &lines(5), true)]).unwrap(), Outcome::Done);
    assert_eq!(all(), 3);
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(all(), 5);
    assert!(!mirror.is_touched());
    assert_eq!(mirror.show().unwrap(), Outcome::Already);
}

/// A folder of that name is somebody's; there is another way.
#[test]
fn where_it_cannot_grow_it_is_made_in_its_place() {
    let place = place();
    std::fs::create_dir(making(&place)).unwrap();
    let (mut mirror, state, _) = open(&place);
    assert!(state == State::Fresh && !mirror.is_hidden());
    fill(&mut mirror, 1);
    drop(mirror);
    assert_eq!(open(&place).1, State::Level(1));
    assert!(making(&place).is_dir());
}

#[test]
fn of_one_that_a_kill_left_nothing_stays() {
    let place = place();
    let mirror = begun(&place);
    let left = self::place();
    std::fs::copy(making(&place), making(&left)).unwrap();
    std::fs::write(open::beside(&making(&left), "-journal"), "torn").unwrap();
    drop(mirror);
    let (mut mirror, state, notes) = open(&left);
    assert_eq!((state, notes), (State::Fresh, Vec::new()));
    assert!(!open::beside(&making(&left), "-journal").exists());
    fill(&mut mirror, 4);
    assert_eq!(inspector(&left).batch().unwrap(), Some(4));
    assert!(!making(&left).exists());
    // Nor beside one that is there.
    drop(mirror);
    std::fs::write(making(&left), "torn").unwrap();
    assert_eq!(open(&left).1, State::Level(4));
    assert!(!making(&left).exists());
}

#[test]
fn what_takes_its_place_meanwhile_is_not_overwritten() {
    let place = place();
    let mut mirror = begun(&place);
    std::fs::write(&place.path, "somebody's notes").unwrap();
    let outcome = mirror.show().unwrap();
    assert!(
        matches!(&outcome, Outcome::Lost(how) if how.contains("another file has its place")),
        "{outcome:?}"
    );
    assert!(mirror.is_hidden());
    let (state, notes) = mirror.restore().unwrap();
    assert_eq!(state, State::Fresh);
    assert!(notes[0].contains("damaged-1"), "{notes:?}");
    assert_eq!(std::fs::read(aside(&place, "shop.db.damaged-1")).unwrap(), b"somebody's notes");
    fill(&mut mirror, 3);
    assert_eq!(inspector(&place).batch().unwrap(), Some(3));
    assert!(!making(&place).exists());
}

#[test]
fn a_sound_mirror_that_takes_its_place_is_taken_up() {
    let (place, other) = (place(), self::place());
    drop(filled(&other));
    let mut mirror = begun(&place);
    std::fs::copy(&other.path, &place.path).unwrap();
    assert!(matches!(mirror.show().unwrap(), Outcome::Lost(_)));
    assert_eq!(mirror.restore().unwrap(), (State::Level(1), Vec::new()));
    assert_eq!(everything(&place), everything(&other));
}

/// SQLite would replay it into the new file.
#[test]
fn a_log_of_another_database_is_never_taken_for_its_own() {
    let (place, other) = (place(), self::place());
    let mut theirs = filled(&other);
    assert_eq!(theirs.apply(2, &[change(LINE, &lines(40), true)]).unwrap(), Outcome::Done);
    let log = |place: &Place| open::beside(&place.path, "-wal");
    // Before it is made, and while it is.
    for before in [true, false] {
        let begun = |place: &Place| if before { None } else { Some(begun(place)) };
        let mut mirror = begun(&place);
        std::fs::copy(log(&other), log(&place)).unwrap();
        std::fs::write(open::beside(&place.path, "-journal"), "torn").unwrap();
        let mut mirror = mirror.take().unwrap_or_else(|| open(&place).0);
        assert_eq!(mirror.is_hidden(), !before);
        fill(&mut mirror, 3);
        assert_eq!(inspector(&place).batch().unwrap(), Some(3));
        assert_eq!(inspector(&place).count(TableRef::Pipeline(LINE)).unwrap(), 2);
        assert_eq!(inspector(&place).integrity().unwrap(), Vec::<String>::new());
        drop(mirror);
        std::fs::remove_file(&place.path).unwrap();
        open::remove_orphaned_log(&place.path).unwrap();
    }
}

#[test]
fn one_that_is_deleted_is_begun_anew() {
    let place = place();
    let mut mirror = begun(&place);
    for _ in 0..2 {
        std::fs::remove_file(making(&place)).unwrap();
        assert!(!mirror.present());
        assert!(matches!(mirror.apply(9, &[]).unwrap(), Outcome::Lost(_)));
        assert!(matches!(mirror.show().unwrap(), Outcome::Lost(_)));
        assert_eq!(mirror.restore().unwrap(), (State::Fresh, Vec::new()));
        assert!(mirror.is_hidden() && mirror.present());
    }
    fill(&mut mirror, 1);
    assert_eq!(inspector(&place).count(TableRef::Pipeline(LINE)).unwrap(), 2);
}

/// Somebody waits for the file and takes its folder away at once.
#[test]
fn one_whose_folder_goes_as_it_is_shown_is_not_there() {
    for _ in 0..100 {
        let place = place();
        let mut mirror = begun(&place);
        let (path, folder) = (place.path.clone(), place.path.parent().unwrap().to_path_buf());
        let mine = folder.with_extension("mine");
        let other = std::thread::spawn({
            let (folder, mine) = (folder.clone(), mine.clone());
            move || {
                let begin = std::time::Instant::now();
                while !path.exists() && begin.elapsed().as_secs() < 10 {}
                std::fs::rename(folder, mine).unwrap();
            }
        });
        let _ = mirror.show();
        other.join().unwrap();
        assert!(!mirror.present());
        drop(mirror);
        std::fs::rename(mine, folder).unwrap();
    }
}

#[test]
fn without_a_log_too_a_batch_that_fails_changes_nothing() {
    let place = place();
    let mut mirror = begun(&place);
    // Pages that were changed leave the cache before the end.
    mirror.connection().unwrap().pragma_update(None, "cache_size", 10).unwrap();
    let full = (0..2).map(|_| Ok(lines(2_000)));
    let full = [(TableRef::Pipeline(LINE), full)];
    assert!(matches!(mirror.rebuild(3, full), Err(Error::Corrupt(_))));
    let odd =
        rows(&ddl().tables[LINE], 3, &[vec![t("o1"), t("x"), i(1), i(0), i(0), i(1), t("c1"), t(""), t("")]]);
    let odd = odd.project(&[0, 1]).unwrap();
    assert!(matches!(
        mirror.apply(3, &[change(LINE, &lines(9), true), change(LINE, &odd, true)]),
        Err(Error::Bug(_))
    ));
    assert_eq!(mirror.show().unwrap(), Outcome::Done);
    assert_eq!(inspector(&place).batch().unwrap(), Some(2));
    assert_eq!(inspector(&place).count(TableRef::Pipeline(LINE)).unwrap(), 3);
    assert_eq!(inspector(&place).integrity().unwrap(), Vec::<String>::new());
}

#[test]
fn behind_a_link_that_leads_nowhere_it_is_made_where_the_link_leads() {
    let place = place();
    let elsewhere = place.path.with_file_name("elsewhere.db");
    std::os::unix::fs::symlink(&elsewhere, &place.path).unwrap();
    let mut mirror = {
        let (mirror, state, _) = open(&place);
        assert_eq!(state, State::Fresh);
        mirror
    };
    fill(&mut mirror, 1);
    assert_eq!(inspector(&place).batch().unwrap(), Some(1));
    assert!(elsewhere.exists());
}

/// The system tells of pages that it could not write once: a later sync without an error says nothing.
#[test]
fn one_that_could_not_be_synced_is_not_shown() {
    let place = place();
    let mut mirror = begun(&place);
    let syncing = mirror.begin_sync();
    assert_eq!(mirror.end_sync(syncing), None);
    let failed = std::thread::spawn(|| Err(std::io::Error::other("no room")));
    let lost = mirror.end_sync(Some(failed));
    assert!(matches!(&lost, Some(Outcome::Lost(why)) if why.contains("no room")), "{lost:?}");
    assert_eq!(mirror.restore().unwrap(), (State::Fresh, Vec::new()));
    fill(&mut mirror, 4);
    assert_eq!(inspector(&place).batch().unwrap(), Some(4));
}
