//! Folders and files that the user who runs the binary may not write to, or not read.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Input, Told};
use crate::figures::tell;
use crate::scale::{pick, seeds};
use crate::support::history::Toll;
use crate::support::place::until;
use crate::support::{BINARY, Said};

pub const NOBODY: u32 = 65534;

/// Where, and which rights are left.
const DENIED: [(&str, u32); 15] = [
    ("tables/_millrace", 0o555),
    ("tables/item", 0o555),
    ("database", 0o555),
    ("", 0o555),
    ("tables/item", 0),
    ("tables", 0o444),
    ("tables/item/_delta_log", 0o444),
    ("tables/_millrace/tmp", 0o555),
    ("tables/item/_delta_log", 0o555),
    ("tables/item/_key_index", 0o555),
    ("checkpoint/sled", 0o555),
    ("checkpoint/sled/db", 0),
    ("database/orders.db", 0o444),
    ("tables/_millrace/decision", 0),
    ("tables/item/_delta_log/00000000000000000001.json", 0),
];

/// The binary where everybody may get at it.
pub fn open_binary(dir: &Path) -> PathBuf {
    fs::set_permissions(dir, PermissionsExt::from_mode(0o755)).unwrap();
    let binary = dir.join("millrace");
    if fs::hard_link(BINARY, &binary).is_err() {
        fs::copy(BINARY, &binary).unwrap();
    }
    binary
}

/// Gives everything in the folder to a user.
pub fn give(folder: &Path, user: u32) {
    let mut found = vec![folder.to_path_buf()];
    while let Some(path) = found.pop() {
        chown(&path, Some(user), Some(user)).unwrap();
        if path.is_dir() {
            found.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        }
    }
}

/// As somebody who is not root; `words` start the binary.
pub fn run_as(user: u32, words: &[&str], input: &Input, folder: &Path) -> Said {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg("-p").arg(input.file()).args(["run", "--once"]);
    command.current_dir(folder).stdin(Stdio::null()).uid(user).gid(user);
    // A process that another test was just starting may still hold the copy open for writing.
    let output = until("the binary may be run", 10, || match command.output() {
        Err(e) if e.kind() == std::io::ErrorKind::ExecutableFileBusy => None,
        done => Some(done.unwrap()),
    });
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

#[test]
fn row_04_folders_and_files_that_are_denied() {
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: denied folders: only root can run it as somebody else");
    }
    let (mut denied, mut stopped, mut toll) = (0, 0, Toll::default());
    let own = tempfile::tempdir().unwrap();
    let binary = open_binary(own.path());
    for seed in seeds(1, 1) {
        let input = Input::new(seed);
        fs::set_permissions(input.dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let late = input.pipeline.source.path.join("part-5.ndjson");
        let bytes = fs::read(&late).unwrap();
        for (path, rights) in &DENIED[..pick(5, DENIED.len())] {
            let story = format!("MILLRACE_SEED={seed}, {path:?} has rights {rights:o}");
            let folder = tempfile::tempdir().unwrap();
            if !path.is_empty() {
                // There are tables already, and one file more to take.
                fs::remove_file(&late).unwrap();
                assert!(matches!(input.run(folder.path(), &[]).code, Some(0 | 3)), "{story}");
                fs::write(&late, &bytes).unwrap();
            }
            give(folder.path(), NOBODY);
            let target = folder.path().join(path);
            let before = fs::metadata(&target).unwrap().permissions();
            fs::set_permissions(&target, PermissionsExt::from_mode(*rights)).unwrap();
            denied += 1;
            let said = run_as(NOBODY, &[binary.to_str().unwrap()], &input, folder.path());
            stopped += u64::from(Told { story: &story, may_be_damage: false }.ended(&said, &mut toll));
            fs::set_permissions(&target, before).unwrap();
            input.ends_right(folder.path(), &story, &mut toll);
        }
    }
    assert!(stopped > 0, "nothing was denied");
    tell(4, "rights", &[&[("denied", denied), ("stopped", stopped)][..], &toll.paid()].concat());
}
