//! Files whose times lie in the future, before 1970, or at the ends of what a file system can say.

use std::fs::{self, File};
use std::path::Path;

use rustix::fs::{Timespec, Timestamps, futimens};

use super::nothing_lost;
use crate::figures::tell;
use crate::support::generate::events;
use crate::support::taking::{ONE_LINE, Taking, Told};
use crate::support::{files, folders, oracle};

const SECONDS: [i64; 14] = [
    i64::MIN,
    -62_135_596_800, // year 1
    -2_208_988_800,  // 1900
    -2_147_483_649,
    -1,
    0,
    1,
    2_147_483_647,
    2_147_483_648, // 2038
    4_102_444_800, // 2100
    9_223_372_036, // the last second that nanoseconds in 64 bits can say
    9_223_372_037,
    253_402_300_799, // year 9999
    i64::MAX,
];

/// What the file system made of it; a kernel that refuses leaves the file as it is.
fn set(path: &Path, seconds: i64) -> bool {
    let moment = Timespec { tv_sec: seconds, tv_nsec: 999_999_999 };
    let file = File::options().append(true).open(path).unwrap();
    futimens(&file, &Timestamps { last_access: moment, last_modification: moment }).is_ok()
}

#[test]
fn row_10_files_of_any_time_are_taken_once() {
    let (mut tried, mut set_times, mut lost) = (0, 0, 0);
    for place in [folders::quick(), tempfile::tempdir().unwrap()] {
        let (folder, source) = (place.path(), place.path().join("input_events"));
        fs::create_dir(&source).unwrap();
        let mut taking = Taking::new(&source, 3);
        let mut pipeline = (*taking.pipeline).clone();
        // Long enough that only a second look takes what seems to be from the future.
        pipeline.source.settle_ms = 1000;
        taking.pipeline = std::sync::Arc::new(pipeline);
        let name = |at: usize| source.join(format!("{at:02}.ndjson"));
        for (at, seconds) in SECONDS.iter().enumerate() {
            fs::write(name(at), events(at as u64 + 1, 3, ONE_LINE).join(&b'\n')).unwrap();
            set_times += u64::from(set(&name(at), *seconds));
            tried += 1;
        }
        let mut told = Told::default();
        let ended = taking.take(folder, &mut told).unwrap();
        assert!(ended.waiting.is_empty() && ended.unread.is_empty(), "{ended:?}");
        lost += nothing_lost(&taking, folder, "times of all kinds");
        // Nothing is new afterwards, also by a ledger that is read from the tables.
        for gone in [false, true] {
            if gone {
                fs::remove_dir_all(folder.join("checkpoint")).unwrap();
            }
            assert_eq!(
                taking.take(folder, &mut Told::default()).unwrap().batches,
                0,
                "checkpoint gone: {gone}"
            );
        }
        // Written anew under the same modification time: the inode's own time tells, and nothing changes by it.
        for (at, seconds) in SECONDS.iter().enumerate() {
            let text = fs::read(name(at)).unwrap();
            fs::write(name(at), text).unwrap();
            set(&name(at), *seconds);
        }
        assert!(taking.take(folder, &mut Told::default()).unwrap().batches > 0);
        let expected = oracle::tables(&files::event_texts(&source)).tables;
        assert!(taking.look(folder).0 == expected, "read again: other contents");
    }
    tell(10, "files of any time", &[("files", tried), ("times set", set_times), ("lost or doubled", lost)]);
}
