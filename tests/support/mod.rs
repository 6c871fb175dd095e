//! What the integration tests share: the oracle, its JSON reader, generated events, the built binary, input files.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

pub mod cells;
pub mod contents;
pub mod faults;
pub mod files;
pub mod folders;
pub mod generate;
pub mod hasty;
pub mod history;
pub mod json;
pub mod mirror;
pub mod mounts;
pub mod oracle;
pub mod pieces;
pub mod place;
pub mod power;
pub mod site;
pub mod spelling;
pub mod taking;
pub mod trial;
pub mod values;

use std::path::Path;
use std::process::{Child, Command, Stdio};

/// What a run of the binary said.
#[derive(Debug)]
pub struct Said {
    /// `None` when a signal ended it.
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// The binary under test. It has the kill points of `millrace::fault`.
pub const BINARY: &str = env!("CARGO_BIN_EXE_millrace");

/// The built binary, ready to run in `folder`, without the caller's environment for it.
pub fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.current_dir(folder).args(arguments).stdin(Stdio::null()).env_remove("RUST_LOG");
    command
}

/// Runs the binary to its end.
pub fn millrace(folder: &Path, arguments: &[&str]) -> Said {
    let output = command(folder, arguments).output().unwrap();
    Said {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs the binary and insists that it ended well; what it printed.
pub fn millrace_ok(folder: &Path, arguments: &[&str]) -> String {
    let said = millrace(folder, arguments);
    assert_eq!(said.code, Some(0), "millrace {arguments:?}\n{}\n{}", said.out, said.err);
    said.out
}

/// A running binary, killed when the test lets go of it.
pub struct Running(pub Child);

pub fn start(folder: &Path, arguments: &[&str]) -> Running {
    Running(command(folder, arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
