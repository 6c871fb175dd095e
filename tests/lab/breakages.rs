//! The breakages themselves: each still applies, names a test that exists, and stands on the page.
//!
//! Whether the tests see them is `tests/lab/broken`'s to show; a patch that no longer applies would show nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

struct Breakage {
    path: PathBuf,
    text: String,
}

impl Breakage {
    fn head(&self, name: &str) -> &str {
        let found = self.text.lines().take(2).find_map(|l| l.strip_prefix(name));
        found.unwrap_or_else(|| panic!("{} has no line `{name}…`", self.path.display()))
    }

    fn line_of_the_page(&self) -> String {
        let name = self.path.file_name().unwrap().to_str().unwrap();
        let row: u32 = name[..2].parse().unwrap();
        format!("| {row} | {} | `{}` |", self.head("Breaks: "), self.head("Seen by: "))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn all() -> Vec<Breakage> {
    let listed = fs::read_dir(root().join("tests/lab/breakages")).unwrap();
    let mut paths: Vec<PathBuf> = listed.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| Breakage { text: fs::read_to_string(&path).unwrap(), path }).collect()
}

/// The text of every source of the laboratory, one after the other.
fn sources(dir: &Path) -> String {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let text = |path: PathBuf| match path.extension() {
        _ if path.is_dir() => sources(&path),
        Some(ending) if ending == "rs" => fs::read_to_string(&path).unwrap(),
        _ => String::new(),
    };
    entries.map(text).collect()
}

#[test]
fn row_00_every_breakage_names_a_test_and_is_listed() {
    let (all, sources) = (all(), sources(&root().join("tests/lab")));
    assert!(all.len() > 30, "only {} breakages", all.len());
    for breakage in &all {
        // Written out, or given its name by the macro that makes the tests of the fuzz targets.
        let test = breakage.head("Seen by: ");
        let there = [format!("fn {test}()"), format!("{test} \"")].iter().any(|t| sources.contains(t));
        assert!(there, "{} is seen by no test: `{test}`", breakage.path.display());
    }
    let page = fs::read_to_string(root().join("docs/RELIABILITY.md")).unwrap();
    let list = page.split_once("<!-- breakages:begin -->").unwrap().1;
    let list = list.split_once("<!-- breakages:end -->").unwrap().0;
    let listed: Vec<&str> = list.lines().filter(|l| l.starts_with("| ")).skip(1).collect();
    let wanted: Vec<String> = all.iter().map(Breakage::line_of_the_page).collect();
    assert_eq!(
        listed,
        wanted,
        "docs/RELIABILITY.md lists other breakages; it should be\n{}",
        wanted.join("\n")
    );
}

#[test]
fn row_00_every_breakage_still_applies() {
    let git = || {
        let mut git = Command::new("git");
        git.current_dir(root());
        git
    };
    if !git().args(["rev-parse", "--git-dir"]).output().is_ok_and(|said| said.status.success()) {
        eprintln!("skipped: this is no checkout of git, or there is no git");
        return;
    }
    for Breakage { path, .. } in all() {
        let said = git().args(["apply", "--check"]).arg(&path).output().unwrap();
        let why = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(said.status.success(), "{} does not apply any more: {why}", path.display());
    }
}
