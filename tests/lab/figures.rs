//! What a row has measured: printed, and kept for the page when `MILLRACE_LAB_FIGURES` names a file.

#![allow(dead_code)]

use std::fs::File;
use std::io::Write;

/// One line of figures of a row: `tell(5, "flipped pages", &[("mutations", 812), ("lost", 0), ("doubled", 0)])`.
pub fn tell(row: u8, part: &str, figures: &[(&str, u64)]) {
    let figures: Vec<String> = figures.iter().map(|(name, n)| format!("{name} {n}")).collect();
    let line = format!("{row}\t{part}\t{}", figures.join(", "));
    println!("lab: {line}");
    if let Some(path) = std::env::var_os("MILLRACE_LAB_FIGURES") {
        let mut file = File::options().append(true).create(true).open(path).unwrap();
        // One write: tests of several rows may end at the same time.
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}
