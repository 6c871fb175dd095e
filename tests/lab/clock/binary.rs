//! The real binary under libfaketime.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use super::{YEAR_2100, nothing_lost};
use crate::figures::tell;
use crate::scale::pick;
use crate::support::generate::events;
use crate::support::place::until;
use crate::support::taking::{ONE_LINE, Taking, add};
use crate::support::{Running, command, folders};

/// The library, where it is installed and works.
fn library() -> Option<PathBuf> {
    let places = [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib64",
        "/usr/lib",
        "/usr/local/lib",
    ];
    let found =
        places.iter().map(|p| Path::new(p).join("faketime/libfaketimeMT.so.1")).find(|p| p.exists())?;
    let mut date = Command::new("date");
    date.arg("+%Y").env("LD_PRELOAD", &found).env("FAKETIME", "@2099-06-01 00:00:00");
    (String::from_utf8_lossy(&date.output().ok()?.stdout).trim() == "2099").then_some(found)
}

/// Wall clock only: no machine's monotonic clock jumps, and files keep their true times.
fn faked(mut command: Command, library: &Path, time: &Path) -> Command {
    command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", time).env("FAKETIME_NO_CACHE", "1");
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1").env("NO_FAKE_STAT", "1");
    command.env("TZ", "UTC");
    command
}

const TIMES: [&str; 8] = [
    "-1h",
    "-365d",
    "+40d",
    "@1970-01-01 00:00:01",
    "@1969-06-01 00:00:00",
    "@2100-01-01 00:00:00",
    "@2038-01-19 03:14:00",
    "+0",
];

#[test]
fn row_10_the_binary_under_a_clock_that_jumps_loses_nothing() {
    let Some(library) = library() else {
        println!("skipped: libfaketime is not installed (apt-get install faketime)");
        return;
    };
    let dir = folders::quick();
    let (folder, source) = (dir.path(), dir.path().join("input_events"));
    let time = folder.join("time");
    let (mut runs, mut jumps) = (0, 0);
    // Started at each of these times, one after the other on the same tables.
    for (at, now) in TIMES.iter().enumerate() {
        fs::write(&time, now).unwrap();
        add(&source, &format!("s{at}"), at as u64 + 1, 6, 3);
        let output = faked(command(folder, &["run", "--once"]), &library, &time).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        if now.starts_with("@1969") {
            // No kernel lets a clock be set so far back; should one, it is said, and nothing is done.
            assert!(output.status.code() == Some(2) && said.contains("before 1970"), "{said}");
            continue;
        }
        assert!(matches!(output.status.code(), Some(0 | 3)), "{now}: {said}");
        if now.starts_with("@2100") {
            let report = fs::read(folder.join("tables/_millrace/report.json")).unwrap();
            let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
            assert!(
                report["at"].as_i64() >= Some(YEAR_2100),
                "the binary did not see the faked time: {report}"
            );
        }
        runs += 1;
    }
    // And live, while it jumps.
    let out = folder.join("out.log");
    let mut live = faked(command(folder, &["run"]), &library, &time);
    live.stdout(fs::File::create(&out).unwrap()).stderr(fs::File::create(folder.join("err.log")).unwrap());
    let mut live = Running(live.spawn().unwrap());
    let said = || fs::read_to_string(&out).unwrap();
    until("it watches", 30, || said().contains("watching").then_some(()));
    for round in 0..pick(1, 6) {
        for now in TIMES {
            fs::write(&time, now).unwrap();
            let before = said().matches("batch ").count();
            fs::write(source.join(format!("l{jumps}.ndjson")), events(jumps + 50, 3, ONE_LINE).join(&b'\n'))
                .unwrap();
            until(&format!("{now}, round {round}: a batch"), 20, || {
                (said().matches("batch ").count() > before).then_some(())
            });
            jumps += 1;
        }
    }
    kill_process(Pid::from_child(&live.0), Signal::INT).unwrap();
    let code = until("it stops", 20, || live.0.try_wait().unwrap());
    assert_eq!(code.code(), Some(0));
    let lost = nothing_lost(&Taking::new(&source, 1), folder, "libfaketime");
    tell(10, "libfaketime", &[("runs", runs), ("jumps live", jumps), ("lost", lost)]);
}
