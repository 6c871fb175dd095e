//! The guard against getting slower: instructions of decoding with flattening, and of merging, on a small fixed input,
//! counted by callgrind and held against `benches/instructions/figures.json`.
//!
//! `cargo test --bench instructions` (the profile that CI has built anyway), `cargo bench --bench instructions` (release);
//! `-- --write` writes the figures anew. Instructions do not depend on what else the machine does, unlike time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

mod work;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use serde::{Deserialize, Serialize};

/// Percent more than the committed figure that fails, and less that asks for a new one.
const TOLERANCE: f64 = 5.0;

/// What is counted, by the name of the function below `work` that does it and nothing else.
const COUNTED: [&str; 2] = ["counted_decode_and_flatten", "counted_merge"];

/// The committed figures, and what else they hang on besides the code.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Figures {
    /// The compiler.
    rustc: String,
    /// By profile (`dev`, `release`) and function.
    instructions: BTreeMap<String, BTreeMap<String, u64>>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = arguments.iter().position(|a| a == "--one") {
        work::run(&arguments[at + 1]);
        return ExitCode::SUCCESS;
    }
    if let Some(why) = cannot() {
        println!("instructions: NOT COUNTED: {why}");
        return ExitCode::SUCCESS;
    }
    let counted: BTreeMap<String, u64> =
        COUNTED.iter().map(|name| ((*name).to_owned(), count(name))).collect();
    let mut figures: Figures =
        std::fs::read(file()).map(|text| serde_json::from_slice(&text).unwrap()).unwrap_or_default();
    let same_compiler = figures.rustc == rustc();
    let mut failed = false;
    for (name, now) in &counted {
        let committed = figures.instructions.get(profile()).and_then(|of| of.get(name)).copied();
        failed |= tell(name, *now, committed, same_compiler);
    }
    if arguments.iter().any(|a| a == "--write") {
        if !same_compiler {
            // Of another compiler; the other profile has to be counted anew too.
            figures = Figures { rustc: rustc(), ..Figures::default() };
        }
        figures.instructions.insert(profile().to_owned(), counted);
        std::fs::write(file(), serde_json::to_string_pretty(&figures).unwrap() + "\n").unwrap();
        println!("written to {}", file().display());
        return ExitCode::SUCCESS;
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Says how `now` compares; whether it fails.
fn tell(name: &str, now: u64, committed: Option<u64>, same_compiler: bool) -> bool {
    let (what, write) = (name.trim_start_matches("counted_"), "`-- --write` writes it");
    let Some(committed) = committed else {
        println!("instructions: {what}: {now}, of {} there is no figure yet: {write}", profile());
        return false;
    };
    let percent = 100.0 * (now as f64 / committed as f64 - 1.0);
    let said = format!("instructions: {what}: {now}, committed {committed}, {percent:+.2} %");
    if percent.abs() <= TOLERANCE {
        println!("{said}");
    } else if !same_compiler {
        println!("{said}: not comparable, the figures are of another compiler: {write}");
    } else if percent < 0.0 {
        println!("{said}: better, commit the new figure: {write}");
    } else {
        println!("{said}: FAILED, more than {TOLERANCE} % slower; if that is meant, {write}");
    }
    same_compiler && percent > TOLERANCE
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions/figures.json")
}

fn profile() -> &'static str {
    if cfg!(debug_assertions) { "dev" } else { "release" }
}

fn rustc() -> String {
    let said = Command::new("rustc").arg("-V").output();
    said.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default()
}

/// Why nothing can be counted here.
fn cannot() -> Option<String> {
    let valgrind = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    if !valgrind.is_ok_and(|s| s.success()) {
        return Some("valgrind is not installed".into());
    }
    // Some libraries choose by the processor which code they run. Under valgrind they see what it emulates, which is
    // AVX2 at most, and that only where the machine has it.
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = cpu.lines().find(|l| l.starts_with("flags")).unwrap_or_default();
    let has_avx2 = flags.split_whitespace().any(|f| f == "avx2");
    (!has_avx2).then(|| "the figures are of processors with AVX2".into())
}

/// Runs this program under callgrind, which counts inside the function alone.
fn count(function: &str) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("callgrind.out");
    let done = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--collect-atstart=no"])
        .arg(format!("--toggle-collect=*{function}*"))
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe().unwrap())
        .args(["--one", function])
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let text = std::fs::read_to_string(&out).unwrap();
    let totals =
        text.lines().find_map(|l| l.strip_prefix("totals: ").or_else(|| l.strip_prefix("summary: ")));
    let counted = totals.and_then(|n| n.split_whitespace().next()?.parse().ok()).unwrap_or(0);
    assert!(counted > 0, "callgrind saw nothing of {function}");
    counted
}
