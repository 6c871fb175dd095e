//! `millrace run`: replay what is there, then watch.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::{EXIT_SECOND_INTERRUPT, EXIT_UNCLEAN, Global, Output, database, load_pipeline};
use crate::batch::Unread;
use crate::clock;
use crate::error::{Error, Result};
use crate::maintain;
use crate::report::{BatchReport, lines};
use crate::run::{self, Found, Observer, Options, Places, Session, Stop};
use crate::tables::LocalDisk;

/// Replay the source folder, then watch it (the default command).
///
/// Takes every new or changed event file, merges it into the tables and brings the mirror level. Ctrl-C finishes
/// the batch and leaves; a second one leaves at once; both are safe.
#[derive(Debug, Args, Default)]
#[command(after_help = "\
Examples:
  millrace run --once          replay what is there and leave (exit code 3: something was quarantined or unread)
  millrace run --no-mirror     Delta tables only")]
pub struct RunArgs {
    /// Take what the first listing sees, then leave.
    #[arg(long)]
    once: bool,
    /// Write no SQLite mirror.
    #[arg(long)]
    no_mirror: bool,
    /// Threads that decode; the number of cores if not given.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

pub fn exec(global: &Global, args: RunArgs) -> Result<u8> {
    let pipeline = load_pipeline(global)?;
    let stop = catch_signals()?;
    let mirror = pipeline.mirror && !args.no_mirror;
    let places = Places {
        tables: super::paths().tables,
        checkpoint: "checkpoint".into(),
        database: mirror.then(|| database(&pipeline)),
    };
    let source = pipeline.source.path.clone();
    let session =
        Session::open(&places, pipeline, Arc::new(LocalDisk), clock::system(), maintain::Policy::default())?;
    let options = Options { source, once: args.once, threads: args.threads.unwrap_or_else(cores) };
    let mut teller = Teller::new(Output::new(global.json), args.once);
    let ended = run::run(session, &options, &stop, &mut teller)?;
    teller.end(&ended);
    Ok(if args.once && ended.unclean() { EXIT_UNCLEAN } else { 0 })
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The first SIGINT or SIGTERM asks to stop after the batch; the second ends the process.
fn catch_signals() -> Result<Stop> {
    let stop = Stop::default();
    let told = stop.clone();
    let seen = AtomicU32::new(0);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::Bug(format!("waiting for signals: {e}")))?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let (Ok(mut int), Ok(mut term)) =
                (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
            else {
                return;
            };
            loop {
                tokio::select! { _ = int.recv() => {}, _ = term.recv() => {} }
                told.set();
                if seen.fetch_add(1, Ordering::SeqCst) > 0 {
                    std::process::exit(i32::from(EXIT_SECOND_INTERRUPT));
                }
            }
        });
    });
    Ok(stop)
}

/// Tells a person or a machine what happens: a bar while replaying, a line per live batch.
struct Teller {
    out: Output,
    once: bool,
    bar: Option<ProgressBar>,
    /// The first replay is over: batches are live.
    live: bool,
    replayed: BatchReport,
    batches: u64,
}

impl Teller {
    fn new(out: Output, once: bool) -> Self {
        Teller { out, once, bar: None, live: false, replayed: BatchReport::default(), batches: 0 }
    }

    fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.out.say(line)),
            None => self.out.say(line),
        }
    }

    fn end(&mut self, ended: &run::Ended) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        if !self.live {
            self.summary(ended);
        }
        self.out.object("end", ended);
        for w in &ended.waiting {
            self.out.note(&format!("left for the next run: {w}"));
        }
        if ended.stopped {
            self.out.say("stopped; every finished batch is kept");
        }
    }

    fn summary(&self, ended: &run::Ended) {
        if self.batches == 0 {
            self.out.say(&format!(
                "nothing new: {} in the source folder, all in the tables already",
                lines::count(ended.files_seen, "file")
            ));
            return;
        }
        let r = &self.replayed;
        self.out.say(&format!(
            "{} with {} in {} · {:.2} s · {}",
            lines::count(r.files, "file"),
            lines::count(r.events, "event"),
            if self.batches == 1 { "1 batch".into() } else { format!("{} batches", self.batches) },
            ended.seconds,
            if r.quarantined == 0 {
                "nothing quarantined".into()
            } else {
                format!(
                    "{} quarantined (millrace query 'select file, line, reason from _quarantine')",
                    r.quarantined
                )
            },
        ));
        self.out.say(lines::tables(r).trim_end());
    }
}

impl Observer for Teller {
    fn found(&mut self, found: &Found) {
        if self.live || !self.out.terminal {
            return;
        }
        let bar = ProgressBar::with_draw_target(Some(found.bytes), ProgressDrawTarget::stderr());
        let style = "{bar:30} {bytes}/{total_bytes}  {bytes_per_sec}  {msg}";
        bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(200));
        self.bar = Some(bar);
    }

    fn batch(&mut self, report: &BatchReport, source_bytes: u64) {
        self.batches += 1;
        self.replayed.add(report);
        self.out.object("batch", report);
        if self.live || !(self.out.terminal || self.once) {
            self.say(&lines::batch(report));
        }
        if let Some(bar) = &self.bar {
            bar.inc(source_bytes);
            bar.set_message(format!(
                "{} events, {} quarantined",
                lines::thousands(self.replayed.events),
                self.replayed.quarantined
            ));
        }
    }

    fn unread(&mut self, unread: &[Unread]) {
        for u in unread {
            self.say(&format!("could not read {}: {}; it is tried again", u.name, u.reason));
            self.out.object("unread", &json!({ "file": u.name, "reason": u.reason }));
        }
    }

    fn note(&mut self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.out.note(line)),
            None => self.out.note(line),
        }
    }

    fn caught_up(&mut self, ended: &run::Ended) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        if !self.live {
            self.summary(ended);
            self.live = true;
            self.out.say(&format!("watching {} (Ctrl-C to stop)", ended.source.display()));
        }
    }
}
