//! What strace wrote down of a run: the calls that make, name, sync and remove files, in the order in which they began
//! and ended.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::BINARY;

const CALLS: &str = "openat,write,pwrite64,writev,fsync,fdatasync,link,linkat,rename,renameat,renameat2,unlink,\
                     unlinkat,mkdir,mkdirat,ftruncate";

/// A system call that succeeded.
#[derive(Debug, Clone)]
pub struct Call {
    pub name: String,
    /// The paths it names, absolute.
    pub paths: Vec<PathBuf>,
    /// The file behind its descriptor.
    pub file: Option<PathBuf>,
    pub descriptor: i32,
    /// The text between the brackets.
    pub text: String,
    /// Line numbers.
    pub begun: usize,
    pub ended: usize,
}

/// Runs the binary below strace, in `folder`; what strace wrote. `Err`: why that cannot be.
pub fn of_run(folder: &Path, arguments: &[&str]) -> Result<String, String> {
    let log = folder.join("strace.log");
    let mut strace = Command::new("strace");
    strace.args(["-f", "--seccomp-bpf", "-y", "-s", "1000000", "-e", "signal=none", "-e"]);
    strace.arg(format!("trace={CALLS}")).arg("-o").arg(&log).arg(BINARY).args(arguments);
    strace.current_dir(folder).stdin(Stdio::null());
    let output = strace.output().map_err(|e| format!("strace: {e}"))?;
    let text = std::fs::read_to_string(&log).unwrap_or_default();
    if !text.contains("+++ exited with") {
        return Err(format!("strace: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    assert!(matches!(output.status.code(), Some(0 | 3)), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(text)
}

/// The calls of a log, in the order in which they began. A run's working folder was `folder`.
pub fn calls(log: &str, folder: &Path) -> Vec<Call> {
    let mut open: HashMap<&str, (String, usize)> = HashMap::new();
    let mut calls = Vec::new();
    for (at, line) in log.lines().enumerate() {
        let Some((pid, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(begin) = rest.strip_suffix("<unfinished ...>") {
            open.insert(pid, (begin.to_owned(), at));
        } else if let Some((_, end)) = rest.strip_prefix("<... ").and_then(|r| r.split_once(" resumed>")) {
            let Some((begin, begun)) = open.remove(pid) else { continue };
            calls.extend(call(&format!("{begin}{end}"), folder, begun, at));
        } else {
            calls.extend(call(rest, folder, at, at));
        }
    }
    calls.sort_by_key(|call| call.begun);
    calls
}

/// `None`: no call, or one that failed.
fn call(line: &str, folder: &Path, begun: usize, ended: usize) -> Option<Call> {
    let (name, rest) = line.split_once('(')?;
    let (text, result) =
        rest.rsplit_once(')').and_then(|(t, r)| Some((t, r.trim_start().strip_prefix("= ")?)))?;
    if result.starts_with(['-', '?']) || !name.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let descriptor = text.split(['<', ',']).next().and_then(|d| d.parse().ok()).unwrap_or(-1);
    let file = match descriptor {
        -1 => None,
        _ => text.split_once('<').and_then(|(_, p)| p.split_once('>')).map(|(path, _)| PathBuf::from(path)),
    };
    let names_paths = !matches!(name, "write" | "pwrite64" | "writev");
    let paths =
        if names_paths { quoted(text).into_iter().map(|p| folder.join(p)).collect() } else { Vec::new() };
    Some(Call { name: name.to_owned(), paths, file, descriptor, text: text.to_owned(), begun, ended })
}

/// The quoted parts; the paths of these tests need no escapes.
fn quoted(text: &str) -> Vec<&str> {
    text.split('"').skip(1).step_by(2).collect()
}
