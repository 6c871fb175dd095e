//! The source folder itself goes, comes back, is another one, while the process runs.

use std::fs;

use super::super::figures::tell;
use super::super::support::place::{Place, until};
use super::{Watched, does};

#[test]
fn row_08_the_source_folder_deleted_and_replaced() {
    let mut w = Watched::new("source replaced", 1);
    let source = w.place.path("input_events");
    w.folder(&source.join("sub"), 3);
    let (mut slowest, mut files) = w.all_taken(20);
    // Deleted, and made again.
    fs::remove_dir_all(&source).unwrap();
    until("it is told", 20, || w.run.out().contains("not read").then_some(()));
    w.folder(&source.join("sub"), 3);
    let mut taken = |w: &Watched| {
        let (seconds, found) = w.all_taken(20);
        (slowest, files) = (slowest.max(seconds), files + found);
    };
    taken(&w);
    // Moved away, another one moved to its place at once, and filled.
    let other = w.place.path("other");
    w.folder(&other.join("sub"), 3);
    fs::rename(&source, w.place.path("was")).unwrap();
    fs::rename(&other, &source).unwrap();
    taken(&w);
    w.folder(&source.join("later"), 3);
    taken(&w);
    // What comes into the old one is not ours.
    let stray = w.place.path("was/stray.ndjson");
    fs::write(stray, "no event").unwrap();
    // And back.
    fs::rename(&source, w.place.path("other")).unwrap();
    fs::remove_file(w.place.path("was/stray.ndjson")).unwrap();
    fs::rename(w.place.path("was"), &source).unwrap();
    w.folder(&source.join("back"), 3);
    taken(&w);
    assert!(w.run.is_running(), "{}", w.run.err());
    w.compare();
    tell(8, "source folder replaced", &[("files", files), ("missed", 0), ("slowest s", slowest)]);
}

/// Unmounted in the end, whatever happens.
struct Mount(String);

impl Drop for Mount {
    fn drop(&mut self) {
        does("umount", &["-l", &self.0]);
    }
}

#[test]
fn row_08_the_source_folder_unmounted() {
    let place = Place::quick();
    let source = place.path("input_events");
    let path = source.to_str().unwrap().to_owned();
    let mount = || does("mount", &["-t", "tmpfs", "millrace-lab", &path]).then(|| Mount(path.clone()));
    let Some(first) = mount() else {
        println!("skipped: only root may mount");
        return;
    };
    let mut w = Watched::at(place, "source unmounted", 1);
    w.folder(&source.join("sub"), 3);
    let (_, mut files) = w.all_taken(20);
    drop(first);
    // The bare mount point is a folder like any other, and then another volume is there.
    w.folder(&source.join("bare"), 3);
    let (mut slowest, found) = w.all_taken(20);
    files += found;
    let second = mount().unwrap();
    for turn in 0..2 {
        w.folder(&source.join(format!("sub-{turn}")), 3);
        let (seconds, found) = w.all_taken(20);
        (slowest, files) = (slowest.max(seconds), files + found);
    }
    assert!(w.run.is_running(), "{}", w.run.err());
    drop(second);
    w.compare();
    tell(8, "source folder unmounted", &[("files", files), ("missed", 0), ("slowest s", slowest)]);
}
