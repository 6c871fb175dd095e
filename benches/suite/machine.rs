//! What the figures were measured on: processor, memory, disk, load, commit, date.

use std::fs::read_to_string;
use std::process::Command;

use serde_json::{Value, json};

/// Processes that wanted to run, on average of the last minute.
pub fn load() -> f64 {
    let text = read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0.0)
}

pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

pub fn describe() -> Value {
    json!({ "cores": cores(), "processor": processor(), "memory_gb": memory_gb(), "disk": disk(),
            "system": system() })
}

/// One line for people.
pub fn line() -> String {
    format!("{} cores of {}, {} GB of memory, {}, {}", cores(), processor(), memory_gb(), disk(), system())
}

pub fn date() -> String {
    said("date", &["-u", "+%F"])
}

/// The commit that is measured; `+` marks changes that it does not have.
pub fn commit() -> String {
    let clean = Command::new("git").args(["diff", "--quiet", "HEAD", "--", "src", "Cargo.lock"]).status();
    let changed = if clean.is_ok_and(|s| s.success()) { "" } else { "+" };
    said("git", &["rev-parse", "--short", "HEAD"]) + changed
}

fn said(program: &str, arguments: &[&str]) -> String {
    let said = Command::new(program).args(arguments).output();
    said.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default()
}

/// The kernel, without what a distribution calls its build.
fn system() -> String {
    let release = said("uname", &["-sr"]);
    release.split('-').next().unwrap_or_default().to_owned()
}

fn processor() -> String {
    let text = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|l| l.strip_prefix("model name")).and_then(|l| l.split_once(':'));
    name.map_or_else(|| "an unknown processor".into(), |(_, name)| name.trim().to_owned())
}

fn memory_gb() -> u64 {
    let text = read_to_string("/proc/meminfo").unwrap_or_default();
    let kb = text.lines().find_map(|l| l.strip_prefix("MemTotal:")).and_then(|l| l.split_whitespace().next());
    kb.and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) / 1_000_000
}

/// File system and device below the target folder, and whether the device says that it spins.
fn disk() -> String {
    let mount = said("findmnt", &["-no", "FSTYPE,SOURCE", "-T", env!("CARGO_TARGET_TMPDIR")]);
    let device = mount.split_whitespace().last().and_then(|d| d.strip_prefix("/dev/")).unwrap_or_default();
    let whole = device.trim_end_matches(|c: char| c.is_ascii_digit());
    let queue = |name: &str| read_to_string(format!("/sys/block/{name}/queue/rotational"));
    let kind = match queue(device).or_else(|_| queue(whole)).as_deref().map(str::trim) {
        Ok("0") => "solid state",
        Ok("1") if device.starts_with("vd") => "virtual disk",
        Ok("1") => "spinning disk",
        _ => "unknown disk",
    };
    format!("{} on {kind}", mount.split_whitespace().next().unwrap_or("an unknown file system"))
}
