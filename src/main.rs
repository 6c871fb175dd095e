//! The `millrace` binary: arguments, tracing, exit code. Everything else is the library's.

use std::process::ExitCode;

use clap::Parser;
use millrace::cli::Cli;

fn main() -> ExitCode {
    ExitCode::from(millrace::cli::exec(Cli::parse()))
}
