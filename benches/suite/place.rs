//! Where a measurement finds what it needs: the installed binary, inputs that are made once, a fresh root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use millrace::pipeline;
use millrace::simulate::{Compression, Options, Output, Shop, Writer};

use crate::child::{self, Ran};

/// The seed of every input.
const SEED: u64 = 5;

pub struct Place {
    pub quick: bool,
    pub binary: PathBuf,
    /// Inputs, kept from run to run.
    cache: PathBuf,
    /// Everything else, gone at the end.
    pub scratch: tempfile::TempDir,
    repeats: Option<usize>,
}

/// How events are laid out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Layout {
    /// One file of lines.
    Lines,
    Gz,
    Zst,
    /// A file an event.
    Files,
}

impl Place {
    pub fn new(quick: bool, repeats: Option<usize>, binary: Option<PathBuf>) -> Place {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let scratch = tempfile::Builder::new().prefix("suite-").tempdir_in(folder).unwrap();
        let built = binary.unwrap_or_else(build);
        // A copy: cargo may put another in its place while this runs.
        let binary = scratch.path().join("millrace");
        fs::copy(built, &binary).unwrap();
        Place { quick, binary, cache: folder.join("suite-inputs"), scratch, repeats }
    }

    /// A size: the real one, or one for trying the suite.
    pub fn size(&self, full: u64, quick: u64) -> u64 {
        if self.quick { quick } else { full }
    }

    pub fn repeats(&self, full: usize) -> usize {
        self.repeats.unwrap_or(if self.quick { 1 } else { full })
    }

    /// A folder with `events` events, made if it is not there, and in the page cache afterwards.
    pub fn input(&self, events: u64, layout: Layout) -> PathBuf {
        let folder = self.cache.join(format!("{layout:?}-{events}").to_lowercase());
        if !folder.exists() {
            let making = self.cache.join("making");
            let _ = fs::remove_dir_all(&making);
            write(&making, events, layout);
            fs::rename(&making, &folder).unwrap();
            // Whoever is measured next must not wait for these bytes, nor for the file to settle.
            rustix::fs::sync();
            std::thread::sleep(Duration::from_millis(1500));
        }
        for entry in fs::read_dir(&folder).unwrap() {
            let _ = std::io::copy(&mut fs::File::open(entry.unwrap().path()).unwrap(), &mut std::io::sink());
        }
        folder
    }

    /// Removes an input that is too large to be kept.
    pub fn forget(&self, input: &Path) {
        fs::remove_dir_all(input).unwrap();
    }

    /// A root of its own, gone when everything is measured: whoever makes files within minutes of removing hundreds
    /// waits for ext4, which spares their inodes (a twelfth of a bulk run).
    pub fn root(&self) -> Root<'_> {
        let folder = tempfile::Builder::new().prefix("root-").tempdir_in(self.scratch.path()).unwrap();
        Root { place: self, folder: folder.keep() }
    }
}

/// An empty folder to run in.
pub struct Root<'p> {
    place: &'p Place,
    folder: PathBuf,
}

impl Root<'_> {
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Makes room, where it is much.
    pub fn remove(self) {
        fs::remove_dir_all(self.folder).unwrap();
    }

    /// `millrace` in this folder, reading the events of `input`.
    pub fn command(&self, input: &Path) -> Command {
        let text = pipeline::DEFAULT.replacen("\"input_events\"", &format!("{input:?}"), 1);
        let file = self.path().join("bench.toml");
        fs::write(&file, text).unwrap();
        let mut command = Command::new(&self.place.binary);
        command.arg("-C").arg(self.path()).arg("-p").arg(file);
        command
    }

    /// Takes all of `input` and ends.
    pub fn once(&self, input: &Path, arguments: &[&str]) -> Ran {
        child::run(self.command(input).args(["run", "--once"]).args(arguments))
    }
}

/// The binary as it is installed: the one that cargo builds for benchmarks has the laboratory's kill points.
fn build() -> PathBuf {
    let built = cargo("build").args(["--profile", "dist", "--bin", "millrace"]).status();
    assert!(built.unwrap().success(), "the binary to install was not built");
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("dist").join("millrace")
}

/// cargo on this package. It sees none of what cargo told this process about itself: some dependency would be built anew
/// for it.
pub fn cargo(command: &str) -> Command {
    let ours = [
        "CARGO_PKG_",
        "CARGO_MANIFEST_",
        "CARGO_BIN_",
        "CARGO_CRATE_",
        "CARGO_PRIMARY_",
        "CARGO_TARGET_TMPDIR",
    ];
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        if ours.iter().any(|o| name.to_string_lossy().starts_with(o)) {
            cargo.env_remove(name);
        }
    }
    cargo.arg(command).arg("--manifest-path").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
    cargo
}

fn write(folder: &Path, events: u64, layout: Layout) {
    let lines = |compression| Output::Ndjson { events_per_file: usize::MAX, compression };
    let output = match layout {
        Layout::Lines => lines(Compression::None),
        Layout::Gz => lines(Compression::Gz),
        Layout::Zst => lines(Compression::Zst),
        Layout::Files => Output::Files { pretty: true },
    };
    let options = Options { pretty: output.pretty(), ..Options::default() };
    let mut writer = Writer::new(folder, output, &format!("sim_{SEED}")).unwrap();
    for event in Shop::new(SEED, options).take(events as usize) {
        writer.write(&event).unwrap();
    }
    writer.finish().unwrap();
}
