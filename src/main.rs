//! The `millrace` binary: arguments, tracing, exit code. Everything else is the library's.

use std::process::ExitCode;

use clap::Parser;
use millrace::cli::Cli;

fn main() -> ExitCode {
    few_arenas();
    ExitCode::from(millrace::cli::exec(Cli::parse()))
}

/// glibc gives threads heaps of their own, up to eight a core, and what is free in one serves no other: of 2 GB of input that
/// was 570 MB at most instead of 450. One a core is as fast.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn few_arenas() {
    let cores = millrace::threads::cores().max(2);
    // SAFETY: a plain call into libc that takes two numbers; no other thread runs yet.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, i32::try_from(cores).unwrap_or(i32::MAX)) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn few_arenas() {}
