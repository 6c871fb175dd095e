//! What the kernel's watching does not give: events that were dropped, folders that nobody may watch any more, and
//! very many folders at once.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use rustix::process::Signal;

use super::super::figures::tell;
use super::super::scale::{pick, seeds};
use super::super::support::BINARY;
use super::super::support::place::{Place, until};
use super::{Watched, does};

/// Files that come while the process stands still and its queue is full: of them there is no event.
#[test]
fn row_08_an_event_queue_that_overflows() {
    let (mut files, mut slowest, mut events) = (0, 0, 0);
    for seed in seeds(1, 5) {
        let mut watched = Watched::new("queue overflow", seed);
        let folder = watched.place.input("known");
        watched.folder(&folder, 2);
        watched.all_taken(20);
        watched.run.signal(Signal::STOP);
        events += fill_queue(&folder);
        // In the folder that is watched, in one that is new, and one that changes.
        watched.folder(&folder, pick(50, 500));
        watched.folder(&watched.place.input("new/deep"), pick(50, 500));
        watched.run.signal(Signal::CONT);
        let (seconds, found) = watched.all_taken(30);
        (files, slowest) = (files + found, slowest.max(seconds));
        watched.compare();
    }
    let figures = [("events before", events), ("files", files), ("missed", 0), ("slowest s", slowest)];
    tell(8, "event queue overflow", &figures);
}

/// More events than the queue holds. Two files by turns: an event that repeats the last is not queued.
fn fill_queue(folder: &Path) -> u64 {
    let most = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let most: u64 = most.trim().parse().unwrap();
    let mut noise = [".a", ".b"].map(|name| File::create(folder.join(name)).unwrap());
    for n in 0..most + 1000 {
        noise[n as usize % 2].write_all(b"x").unwrap();
    }
    most + 1000
}

/// No more folders, or none, can be watched: it is said, and everything is found by listing.
#[test]
fn row_08_watches_that_run_out() {
    let (mut files, mut slowest) = (0, 0);
    // A user namespace has limits of its own, so nobody else's are touched.
    if !does("unshare", &["-Ur", "sh", "-c", "echo 100 > /proc/sys/user/max_inotify_watches"]) {
        println!("skipped: no user namespace in which the number of watches can be limited");
        return;
    }
    for limit in ["max_inotify_watches 10", "max_inotify_watches 0", "max_inotify_instances 0"] {
        let place = Place::quick();
        let (name, count) = limit.split_once(' ').unwrap();
        let script = format!("echo {count} > /proc/sys/user/{name} && exec {BINARY} run");
        let run = place.start_program("unshare", &["-Ur", "sh", "-c", &script]);
        until("run watches", 20, || run.out().contains("watching").then_some(()));
        let mut watched = Watched { place, run, events: Vec::new(), case: limit.to_owned(), next: 0 };
        for n in 0..40 {
            watched.folder(&watched.place.input(&format!("f{n}/deep")), 1);
        }
        watched.all_taken(30);
        // Where some are watched and some are not.
        for n in 0..40 {
            watched.folder(&watched.place.input(&format!("f{n}/deep")), 2);
        }
        let (seconds, found) = watched.all_taken(30);
        (files, slowest) = (files + found, slowest.max(seconds));
        let said = watched.run.err();
        assert_eq!(said.matches("cannot be watched whole").count(), 1, "{limit}: {said}");
        watched.compare();
    }
    tell(8, "watches run out", &[("limits", 3), ("files", files), ("missed", 0), ("slowest s", slowest)]);
}

/// Fresh subfolders, nested and at once, written to before anybody can watch them.
#[test]
fn row_08_two_thousand_fresh_folders_at_once() {
    let folders = pick(2_000, 20_000);
    let mut watched = Watched::new("fresh folders", 1);
    let texts: Vec<String> = (0..folders).map(|_| watched.text(1)).collect();
    let root = watched.place.path("input_events");
    std::thread::scope(|scope| {
        for part in 0..2 {
            let (root, texts) = (&root, &texts);
            scope.spawn(move || {
                for (n, text) in texts.iter().enumerate().filter(|(n, _)| n % 2 == part) {
                    let folder = root.join(format!("{}/{}/{n}", n % 7, n % 101));
                    fs::create_dir_all(&folder).unwrap();
                    fs::write(folder.join("x.ndjson"), text).unwrap();
                }
            });
        }
    });
    let (seconds, files) = watched.all_taken(pick(60, 300));
    assert_eq!(files, folders);
    watched.compare();
    tell(8, "fresh folders at once", &[("folders", folders), ("missed", 0), ("seconds", seconds)]);
}
