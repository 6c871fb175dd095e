//! A file system that goes read-only under a run, as ext4 does after an error of its disk.

use std::fs::{self, File};
use std::process::Stdio;
use std::time::Duration;

use super::{Input, Told};
use crate::figures::tell;
use crate::scale::{pick, seeds};
use crate::support::history::Toll;
use crate::support::mounts::{Mount, possible};
use crate::support::place::until;
use crate::support::{Said, command};

#[test]
fn row_04_a_disk_that_turns_read_only() {
    if !possible("a disk that turns read-only") {
        return;
    }
    let (mut turns, mut stopped, mut toll) = (0, 0, Toll::default());
    for seed in seeds(1, 25) {
        let input = Input::new(seed);
        let disk = match Mount::ext4(64, "errors=remount-ro") {
            Ok(disk) => disk,
            Err(why) => return println!("skipped: a disk that turns read-only: {why}"),
        };
        let (out, err) = (input.dir.path().join("out"), input.dir.path().join("err"));
        let file = input.file();
        let mut run = command(disk.path(), &["-p", file.to_str().unwrap(), "--json", "run"]);
        run.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap()).stdin(Stdio::null());
        let mut run = crate::support::Running(run.spawn().unwrap());
        let batches = seed % 3;
        let done = || fs::read_to_string(&out).unwrap().matches("\"type\":\"batch\"").count() as u64;
        until("batches", 20, || (done() >= batches).then_some(()));
        std::thread::sleep(Duration::from_millis(seed * 37 % pick(20, 90)));
        disk.remount("abort");
        let mut story = format!("MILLRACE_SEED={seed}, read-only after {} batches", done());
        // If it had nothing left to write, it has now.
        fs::write(input.pipeline.source.path.join("more.json"), b"{}").unwrap();
        let status = until("the run ends", 20, || run.0.try_wait().unwrap());
        fs::remove_file(input.pipeline.source.path.join("more.json")).unwrap();
        let err = fs::read_to_string(&err).unwrap();
        // As text for people it is the same line.
        let lines = err.lines().map(|line| {
            let line: serde_json::Value =
                serde_json::from_str(line).unwrap_or_else(|_| panic!("{story}: {err}"));
            let text = line["error"].as_str().or(line["note"].as_str()).unwrap();
            format!("millrace: {text}\n")
        });
        let said = Said { code: status.code(), out: String::new(), err: lines.collect() };
        story += &format!(": {:?} {}", said.code, said.err);
        turns += 1;
        // ext4 answers EIO while it is being shut.
        stopped += u64::from(Told { story: &story, may_be_damage: true }.ended(&said, &mut toll));
        disk.again();
        input.ends_right(disk.path(), &story, &mut toll);
    }
    assert!(stopped > 0, "it never noticed");
    tell(4, "turned read-only", &[&[("turns", turns), ("stopped", stopped)][..], &toll.paid()].concat());
}
