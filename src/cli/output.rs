//! What the commands print: text for people on a terminal or in a log, JSON for machines.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::io::{IsTerminal, Write};

use serde::Serialize;
use tracing_subscriber::EnvFilter;

use crate::error::Error;
use crate::text::{shown_json, shown_lines};

/// Log lines go to stderr; `MILLRACE_LOG` filters them (default: warnings).
pub fn tracing(json: bool) {
    let filter = EnvFilter::try_from_env("MILLRACE_LOG")
        .unwrap_or_else(|_| EnvFilter::new("warn,delta_kernel=off,sled=off"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Colours are for eyes: a file gets none.
    let log = log.with_ansi(std::io::stderr().is_terminal());
    // Set once; a second call (tests in one process) keeps the first.
    let _ = if json { log.json().try_init() } else { log.with_target(false).try_init() };
}

pub fn error(e: &Error, json: bool) {
    let text = match e.advice() {
        Some(advice) => format!("{e}; {advice}"),
        None => e.to_string(),
    };
    if json {
        let error = serde_json::json!({ "error": text, "exit_code": e.exit_code() });
        eprintln!("{}", shown_json(&error.to_string()));
    } else {
        // It may name a file, and a file may be named anything.
        eprintln!("millrace: {}", shown_lines(&text));
    }
}

/// Where a command's results go.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    pub json: bool,
    pub terminal: bool,
}

impl Output {
    pub fn new(json: bool) -> Self {
        Output { json, terminal: !json && std::io::stderr().is_terminal() }
    }

    /// A line for people; nothing with `--json`.
    pub fn say(&self, line: &str) {
        if !self.json {
            print(&shown_lines(line));
        }
    }

    /// A line for machines; nothing without `--json`.
    pub fn object(&self, kind: &str, value: &impl Serialize) {
        if self.json {
            let mut object = serde_json::json!({ "type": kind });
            if let (Ok(serde_json::Value::Object(from)), Some(into)) =
                (serde_json::to_value(value), object.as_object_mut())
            {
                into.extend(from);
            }
            print(&shown_json(&object.to_string()));
        }
    }

    /// A remark that is neither a result nor an error.
    pub fn note(&self, line: &str) {
        if self.json {
            eprintln!("{}", shown_json(&serde_json::json!({ "note": line }).to_string()));
        } else {
            eprintln!("millrace: {}", shown_lines(line));
        }
    }
}

/// A reader that closed the pipe (`| head`) is no error.
fn print(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
