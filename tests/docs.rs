//! Keeps the documents true: what README.md shows is run, what is generated is current, what is linked is there.
//!
//! `UPDATE=1 cargo test --test docs` writes anew what these tests compare with.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use millrace::mirror::Ddl;
use millrace::pipeline::{diagram, load};
use millrace::run::contents::system_tables;

/// With `UPDATE=1` two tests write README.md, and none may read it half written.
static README: Mutex<()> = Mutex::new(());

fn readme_is_mine() -> MutexGuard<'static, ()> {
    README.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

/// Compares a file with what it should be, or writes it.
fn is_current(name: &str, wanted: &str) {
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(root().join(name), wanted).unwrap();
    }
    assert_eq!(read(name), wanted, "{name}: `UPDATE=1 cargo test --test docs` writes it");
}

fn help() -> String {
    let said = Command::new(env!("CARGO_BIN_EXE_millrace")).arg("--help").output().unwrap();
    String::from_utf8(said.stdout).unwrap()
}

/// The first words of the indented lines below `heading`.
fn listed(help: &str, heading: &str) -> Vec<String> {
    let below = help.lines().skip_while(|l| *l != heading).skip(1).take_while(|l| l.starts_with(' '));
    let found: Vec<String> = below.map(|l| l.split_whitespace().next().unwrap().to_owned()).collect();
    assert!(found.len() > 3, "`--help` has no list below {heading:?}");
    found
}

// ------------------------------------------------------------------------------------------ generated parts

#[test]
fn the_diagram_in_the_readme_is_current() {
    let _mine = readme_is_mine();
    let (begin, end) = ("<!-- diagram -->\n", "<!-- /diagram -->");
    let text = read("README.md");
    let (before, rest) = text.split_once(begin).unwrap();
    let (_, after) = rest.split_once(end).unwrap();
    let drawn = diagram(&load(None).unwrap());
    is_current("README.md", &format!("{before}{begin}```mermaid\n{drawn}```\n{end}{after}"));
}

#[test]
fn the_schema_file_is_current() {
    let ddl = Ddl::of(&load(None).unwrap(), &system_tables());
    let wanted = format!(
        "-- The SQLite mirror of the built-in pipeline, as Millrace makes it: derived from\n\
         -- resources/pipelines/orders.toml, with the engine's own `_quarantine` and `_files`. Kept current by a test\n\
         -- (`UPDATE=1 cargo test --test docs` writes it).\n\n{}",
        ddl.text()
    );
    is_current("resources/schema/orders.sql", &wanted);
}

#[test]
fn the_table_in_the_readme_is_from_the_pipeline_file() {
    let _mine = readme_is_mine();
    let (readme, pipeline) = (read("README.md"), read("resources/pipelines/orders.toml"));
    let shown: Vec<&str> =
        blocks(&readme).iter().filter(|b| b.kind == "toml").map(|b| b.text(&readme)).collect();
    assert_eq!(shown.len(), 1);
    assert!(pipeline.contains(shown[0]), "not to be found in orders.toml:\n{}", shown[0]);
}

// ------------------------------------------------------------------------------------------ commands, links

#[test]
fn the_readme_has_every_command() {
    let _mine = readme_is_mine();
    let readme = read("README.md");
    let commands = listed(&help(), "Commands:");
    assert!(commands.contains(&"run".to_owned()));
    let missing: Vec<&String> =
        commands.iter().filter(|c| !readme.contains(&format!("`millrace {c}"))).collect();
    assert!(missing.is_empty(), "README.md says nothing of {missing:?}");
}

#[test]
fn the_readme_has_every_exit_code() {
    let _mine = readme_is_mine();
    let readme = read("README.md");
    let (_, after) = readme.split_once("| code | meaning |\n").unwrap();
    let rows = after.lines().take_while(|l| l.starts_with('|')).skip(1);
    let codes: Vec<String> = rows.map(|l| l.split('|').nth(1).unwrap().trim().to_owned()).collect();
    assert_eq!(codes, listed(&help(), "Exit codes:"));
}

#[test]
fn every_link_leads_somewhere() {
    let _mine = readme_is_mine();
    let mut dead = Vec::new();
    let mut links = 0;
    for name in ["README.md", "ARCHITECTURE.md", "input_events/README.md"] {
        let text = read(name);
        let targets = text.split("](").skip(1).filter_map(|after| after.split(')').next());
        for target in targets.filter(|t| !t.contains("://")) {
            links += 1;
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let file =
                if file.is_empty() { root().join(name) } else { root().join(name).with_file_name(file) };
            let led = if heading.is_empty() {
                file.exists()
            } else {
                headings(&std::fs::read_to_string(&file).unwrap_or_default()).contains(heading)
            };
            if !led {
                dead.push(format!("{name}: {target}"));
            }
        }
    }
    assert!(links > 5, "only {links} links found");
    assert!(dead.is_empty(), "{dead:#?}");
}

/// As GitHub names them: lower case, spaces as `-`, other marks left out.
fn headings(text: &str) -> BTreeSet<String> {
    let titles = text.lines().filter_map(|l| l.strip_prefix('#')).map(|l| l.trim_start_matches('#').trim());
    let anchor = |title: &str| {
        let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    titles.map(anchor).collect()
}

// ------------------------------------------------------------------------------------------ what it shows

/// A fenced block.
struct Block {
    kind: String,
    from: usize,
    to: usize,
}

impl Block {
    fn text<'a>(&self, document: &'a str) -> &'a str {
        &document[self.from..self.to]
    }
}

fn blocks(document: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let (mut at, mut open) = (0, false);
    for line in document.split_inclusive('\n') {
        if let Some(kind) = line.strip_prefix("```") {
            if open {
                found.last_mut().unwrap().to = at;
            } else {
                let from = at + line.len();
                found.push(Block { kind: kind.trim().to_owned(), from, to: from });
            }
            open = !open;
        }
        at += line.len();
    }
    assert!(!open, "a block is not closed");
    found
}

/// A newcomer's folder: the samples, the pipelines, and what running makes of them.
struct Shop {
    folder: tempfile::TempDir,
    watcher: Option<Child>,
}

impl Shop {
    fn new() -> Shop {
        let folder = tempfile::tempdir().unwrap();
        for name in ["input_events", "resources"] {
            copy(&root().join(name), &folder.path().join(name));
        }
        Shop { folder, watcher: None }
    }

    fn command(&self, program: &str) -> Command {
        let bin = Path::new(env!("CARGO_BIN_EXE_millrace")).parent().unwrap();
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).env("PATH", path).stdin(Stdio::null());
        command
    }

    /// What `script` prints, on either stream.
    fn run(&self, script: &str) -> String {
        let script = script.replace("cargo run --release -- ", "millrace ");
        let said = self.command("bash").arg("-c").arg(format!("exec 2>&1\n{script}")).output().unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        said.lines().map(|l| l.trim_end().to_owned() + "\n").collect()
    }

    fn watch(&mut self, on: bool) {
        if on {
            let watcher = self.command("millrace").stdout(Stdio::null()).stderr(Stdio::null()).spawn();
            self.watcher.get_or_insert(watcher.unwrap());
        } else if let Some(mut watcher) = self.watcher.take() {
            // As Ctrl-C does: it finishes what it is at.
            let asked = Command::new("kill").args(["-INT", &watcher.id().to_string()]).status();
            assert!(asked.is_ok_and(|s| s.success()) || std::thread::panicking());
            let _ = watcher.wait();
        }
    }

    /// Runs `script`. While somebody watches the folder, its last line is asked again until it answers as expected.
    fn show(&self, script: &str, expected: &str) -> String {
        let mut said = self.run(script);
        let again = format!("{}\n", script.lines().last().unwrap());
        let begin = Instant::now();
        while self.watcher.is_some() && !alike(&said, expected) && begin.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(200));
            said = self.run(&again);
        }
        said
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.watch(false);
    }
}

/// The copies are an hour old: nobody is still writing them.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (from, to): (PathBuf, PathBuf) = entry.map(|e| (e.path(), to.join(e.file_name()))).unwrap();
        if from.is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(&from, &to).unwrap();
            let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
            std::fs::File::options().write(true).open(&to).unwrap().set_modified(old).unwrap();
        }
    }
}

/// Equal but for the seconds it took.
fn alike(said: &str, shown: &str) -> bool {
    let timeless = |text: &str| -> String {
        let is_time = |part: &&str| {
            part.strip_suffix(" s").is_some_and(|n| n.chars().all(|c| c.is_ascii_digit() || c == '.'))
        };
        text.split(" · ").filter(|part| !is_time(part)).collect::<Vec<_>>().join(" · ")
    };
    timeless(said) == timeless(shown)
}

/// Every `text` block is what the `sh` block before it prints, all of them run in turn in one folder.
#[test]
fn the_readme_shows_what_happens() {
    let _mine = readme_is_mine();
    let readme = read("README.md");
    let blocks = blocks(&readme);
    let mut shop = Shop::new();
    let (mut written, mut copied, mut shown) = (String::new(), 0, 0);
    for pair in blocks.windows(2) {
        let (script, output) = (&pair[0], &pair[1]);
        if script.kind != "sh" || output.kind != "text" {
            continue;
        }
        let before = &readme[..script.from];
        shop.watch(before.contains("<!-- watching -->") && !before.contains("<!-- stopped -->"));
        let expected = output.text(&readme);
        let said = shop.show(script.text(&readme), expected);
        written += &readme[copied..output.from];
        written += if alike(&said, expected) { expected } else { &said };
        copied = output.to;
        shown += 1;
    }
    written += &readme[copied..];
    assert!(shown > 8, "only {shown} outputs found");
    assert_eq!(
        shown,
        blocks.iter().filter(|b| b.kind == "text").count(),
        "a `text` block follows no `sh` block"
    );
    is_current("README.md", &written);
}
