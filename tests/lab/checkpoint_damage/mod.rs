//! Row 5, the checkpoint damaged in every way: it is only a cache, so a run either fills a new one and says so, or
//! stops and says why; every file is taken exactly once, whatever sled makes of its own pages.

mod history;

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use history::{History, Tally, histories};

use crate::scale::{is_long, pick, seeds};
use crate::support::site::{Site, shop};
use crate::support::{command, folders};

const PAGE: usize = 4096;

// ---------------------------------------------------------------------------------------------- the mutations

/// A byte of every page that has something written in it, `rounds` times another one; and one of every empty page, when
/// all are wanted.
fn places(history: &History) -> Vec<(PathBuf, u64)> {
    let (mut written, mut empty) = (Vec::new(), Vec::new());
    for part in history.parts() {
        let bytes = fs::read(history.site.checkpoint().join(&part)).unwrap();
        for (page, bytes) in bytes.chunks(PAGE).enumerate() {
            let used = bytes.iter().rposition(|b| *b != 0).map(|last| last + 1);
            let pages = if used.is_some() { &mut written } else { &mut empty };
            pages.push((part.clone(), page * PAGE, used.unwrap_or(bytes.len())));
        }
    }
    let all = written.iter().cycle().take(written.len().max(1) * 16);
    let place = |(at, (part, begin, used)): (usize, &(PathBuf, usize, usize))| {
        (part.clone(), (begin + (at * 7919 + history.seed as usize * 104_729) % used) as u64)
    };
    let mut places: Vec<_> = all.enumerate().map(place).collect();
    if is_long() {
        places.truncate(written.len());
        places.extend(empty.iter().enumerate().map(place));
    } else {
        places.truncate(26);
        places.extend(empty.iter().step_by((empty.len() / 4).max(1)).enumerate().map(place));
    }
    places
}

#[test]
fn row_05_any_flipped_page_is_noticed_or_harmless() {
    let mut tally = Tally::default();
    for history in histories() {
        for (turn, (part, place)) in places(&history).into_iter().enumerate() {
            let bit = 1u8 << (turn % 8);
            let what = format!("{} byte {place} ^ {bit:#x}", part.display());
            tally.attempt(&history, &what, |checkpoint| {
                let file = fs::File::options().read(true).write(true).open(checkpoint.join(part)).unwrap();
                let mut byte = [0];
                file.read_exact_at(&mut byte, place).unwrap();
                file.write_all_at(&[byte[0] ^ bit], place).unwrap();
            });
        }
    }
    tally.end("flipped pages");
}

#[test]
fn row_05_truncated_deleted_and_replaced_files() {
    let mut tally = Tally::default();
    for history in histories() {
        for part in history.parts() {
            let bytes = fs::read(history.site.checkpoint().join(&part)).unwrap();
            let used = bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
            for length in lengths(used, bytes.len()) {
                let what = format!("{} cut to {length}", part.display());
                tally.attempt(&history, &what, |checkpoint| cut(&checkpoint.join(&part), length));
            }
            let mut put = |what: &str, damage: &dyn Fn(&Path)| {
                tally.attempt(&history, &format!("{} {what}", part.display()), |checkpoint| {
                    fs::remove_file(checkpoint.join(&part)).unwrap();
                    damage(&checkpoint.join(&part));
                });
            };
            put("deleted", &|_| {});
            put("a folder", &|path| fs::create_dir(path).unwrap());
            if is_long() {
                put("a full folder", &|path| {
                    fs::create_dir(path).unwrap();
                    fs::write(path.join("x"), "x").unwrap();
                });
                put("a link to nowhere", &|path| symlink("nowhere", path).unwrap());
                put("text", &|path| fs::write(path, "not what sled wrote\n".repeat(1000)).unwrap());
            }
        }
        let mut whole = |what: &str, damage: &dyn Fn(&Path)| {
            tally.attempt(&history, what, |checkpoint| {
                fs::remove_dir_all(checkpoint).unwrap();
                damage(checkpoint);
            });
        };
        whole("checkpoint/ deleted", &|_| {});
        whole("checkpoint/ empty", &|path| fs::create_dir(path).unwrap());
        whole("checkpoint/ a file", &|path| fs::write(path, "x").unwrap());
        whole("checkpoint/ a link to nowhere", &|path| symlink("nowhere", path).unwrap());
        whole("checkpoint/sled a file", &|path| {
            fs::create_dir(path).unwrap();
            fs::write(path.join("sled"), "x").unwrap();
        });
    }
    tally.end("truncated, deleted, replaced");
}

/// Lengths to cut a file to.
fn lengths(used: usize, length: usize) -> Vec<usize> {
    let mut lengths = vec![0, used / 2, used.saturating_sub(1)];
    if is_long() {
        lengths.extend([1, 4, 8, 9, 20, 21, used, length / 2, length - 1]);
        lengths.extend((1..24).map(|n| used * n / 24));
    }
    lengths.sort_unstable();
    lengths.dedup();
    lengths.retain(|l| *l < length);
    lengths
}

fn cut(path: &Path, length: usize) {
    fs::File::options().write(true).open(path).unwrap().set_len(length as u64).unwrap();
}

#[test]
fn row_05_old_copies_mixed_copies_and_torn_snapshots() {
    let mut tally = Tally::default();
    for history in histories() {
        let restore = |from: &Path, to: &Path| {
            fs::remove_dir_all(to).unwrap();
            folders::copy(from, to);
        };
        for (batch, old) in history.olds.iter().enumerate() {
            tally.attempt(&history, &format!("copy {batch} restored"), |checkpoint| restore(old, checkpoint));
        }
        // Single files of another time: what a restore that was broken off leaves.
        for (batch, old) in history.olds.iter().enumerate().step_by(pick(2, 1)) {
            for part in ["sled/db", "snap"] {
                tally.attempt(&history, &format!("{part} of copy {batch}"), |checkpoint| {
                    let is_one = |name: &Path| name.to_string_lossy().contains(part);
                    folders::bytes(checkpoint).into_keys().filter(|n| is_one(n)).for_each(|name| {
                        fs::remove_file(checkpoint.join(name)).unwrap();
                    });
                    for (name, bytes) in folders::bytes(old).into_iter().filter(|(n, _)| is_one(n)) {
                        fs::write(checkpoint.join(name), bytes).unwrap();
                    }
                });
            }
        }
        let other = History::new(history.seed + 50, 12, 2);
        tally.attempt(&history, "a copy from another root", |c| restore(&other.site.checkpoint(), c));
        for length in [0, 3, 60] {
            tally.attempt(&history, &format!("a torn snapshot of {length} bytes"), |checkpoint| {
                let snapshot = history.parts().into_iter().find(|p| p.to_string_lossy().contains("snap."));
                let bytes = fs::read(checkpoint.join(snapshot.unwrap())).unwrap();
                let torn = checkpoint.join("sled/snap.00000000000FFFFF.generating");
                fs::write(torn, &bytes[..length.min(bytes.len())]).unwrap();
            });
        }
    }
    tally.end("old, mixed, foreign copies, torn snapshots");
}

/// sled itself is sound, but what it gives back is not what was put in: its own checksums do not see that.
#[test]
fn row_05_values_that_rot_inside_a_sound_sled_are_not_believed() {
    let mut tally = Tally::default();
    for history in histories() {
        for turn in 0..pick(7, 90) {
            tally.attempt(&history, &format!("value {turn} changed"), |checkpoint| {
                let db = sled::open(checkpoint.join("sled")).unwrap();
                let items: Vec<_> = db.iter().map(|item| item.unwrap()).collect();
                let (key, value) = &items[turn * 31 % items.len()];
                let mut bytes = value.to_vec();
                // Size, times and inode; where reading goes on; the batch. Then the checksum itself.
                let place = 1 + turn * 11 % (bytes.len() - 1);
                bytes[place] ^= 1 << (turn % 8);
                db.insert(key, bytes).unwrap();
                drop(db);
            });
        }
        assert_eq!(tally.rebuilt, tally.mutations, "a changed value was believed");
    }
    tally.end("values changed inside a sound sled");
}

/// Somebody without rights: root is refused nothing.
const NOBODY: u32 = 65534;

#[test]
fn row_05_files_that_may_not_be_read_or_written() {
    let is_root = rustix::process::geteuid().is_root();
    let user = is_root.then_some(NOBODY);
    if is_root && !can_run(NOBODY) {
        println!("skipped: the binary cannot be run by an unprivileged user from where it lies");
        return;
    }
    let mut tally = Tally::default();
    for history in histories() {
        fs::set_permissions(history.site.source(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut parts = history.parts();
        parts.extend(["sled", ""].map(PathBuf::from));
        for part in &parts {
            for mode in [0, 0o500] {
                let site = history.site.copy();
                if let Some(user) = user {
                    give(site.path(), user);
                }
                let path = site.checkpoint().join(part);
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
                let what = format!("checkpoint/{} with mode {mode:o}", part.display());
                tally.settle(&history, &site, &what, user);
                // So that the folder can be removed, and by others than root.
                let _ = fs::set_permissions(&path, fs::Permissions::from_mode(0o700));
            }
        }
    }
    tally.end("unreadable and unwritable");
}

fn can_run(user: u32) -> bool {
    let mut command = command(Path::new("/"), &["--version"]);
    command.uid(user).gid(user).output().is_ok_and(|o| o.status.success())
}

fn give(path: &Path, user: u32) {
    chown(path, Some(user), Some(user)).unwrap();
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path(), user));
    }
}

// ------------------------------------------------------------------------------------------- another history

/// The tables were put back to an older state and went on from there another way, while the checkpoint still knows
/// the way they went before: the same root, a lower or the same batch, other files.
#[test]
fn row_05_a_checkpoint_of_another_history_hides_no_file() {
    let mut tally = Tally::default();
    for seed in seeds(1, 12) {
        for (first, second) in [(1, 1), (1, 2), (2, 3), (3, 1)] {
            let source = folders::quick();
            let put = |folder: &str, events: &[Vec<u8>]| {
                fs::create_dir_all(source.path().join(folder)).unwrap();
                for (at, text) in events.iter().enumerate() {
                    fs::write(source.path().join(folder).join(format!("{at:03}.json")), text).unwrap();
                }
            };
            let events = shop(seed, 8);
            let (common, rest) = events.split_at(6);
            let (one, other) = rest.split_at(rest.len() / 2);
            put("0", common);
            let site = Site::with(source.path(), "batch_files = 3");
            site.take(100).unwrap();
            let other_way = site.copy();
            // One way: some batches of the files in `1`. Hidden by renaming the folder, which leaves the files' own
            // times alone.
            put("1", one);
            site.take(first).unwrap();
            let hidden = folders::quick();
            fs::rename(source.path().join("1"), hidden.path().join("1")).unwrap();
            // The other way: some of those in `2`.
            put("2", other);
            other_way.take(second).unwrap();
            fs::rename(hidden.path().join("1"), source.path().join("1")).unwrap();
            fs::remove_dir_all(other_way.checkpoint()).unwrap();
            folders::copy(&site.checkpoint(), &other_way.checkpoint());
            let (expected, files) = (other_way.expected(), events.len());
            let history = History { seed, site, olds: Vec::new(), expected, files, _kept: (source, hidden) };
            tally.settle(&history, &other_way, &format!("{first} batches one way, {second} the other"), None);
        }
    }
    tally.end("another history of the same root");
}
