//! `millrace run`: replay what is there, then watch.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

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
use crate::text::shown;

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
    let policy = maintain::Policy::of_run();
    let session = Session::open(&places, pipeline, Arc::new(LocalDisk), clock::system(), policy)?;
    let options = Options { source, once: args.once, threads: args.threads.unwrap_or_else(cores) };
    let mut teller = Teller::new(Output::new(global.json), args.once);
    let ended = run::run(session, &options, &stop, &mut teller)?;
    teller.end(&ended);
    Ok(if args.once && ended.unclean() { EXIT_UNCLEAN } else { 0 })
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// tokio panics where it gets no descriptor for its signals: more than it needs must be free before it is asked.
fn descriptors_are_left() -> std::io::Result<()> {
    let pairs = [(); 4].map(|()| std::os::unix::net::UnixStream::pair());
    pairs.into_iter().try_for_each(|pair| pair.map(drop))
}

/// The first SIGINT or SIGTERM asks to stop after the batch; the second ends the process.
fn catch_signals() -> Result<Stop> {
    let stop = Stop::default();
    let told = stop.clone();
    let seen = AtomicU32::new(0);
    let refused = |source| Error::System { doing: "waiting for signals", source };
    descriptors_are_left().map_err(refused)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(refused)?;
    let waiting = move || {
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
    };
    std::thread::Builder::new().spawn(waiting).map_err(refused)?;
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
    /// When the last line about a batch was printed.
    spoke: Instant,
}

/// How long a log may stay silent while batches are replayed.
const QUIET: Duration = Duration::from_secs(5);

impl Teller {
    fn new(out: Output, once: bool) -> Self {
        let (replayed, spoke) = (BatchReport::default(), Instant::now());
        Teller { out, once, bar: None, live: false, replayed, batches: 0, spoke }
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
        for (name, why) in &ended.waiting {
            self.out.note(&format!("left for the next run: {}: {why}", shown(name)));
        }
        if ended.stopped {
            self.out.say("stopped; every finished batch is kept");
        }
    }

    fn summary(&self, ended: &run::Ended) {
        if self.batches > 0 {
            self.say_replayed(ended);
        } else if !ended.stopped {
            self.out.say(&nothing_new(ended));
        }
    }

    fn say_replayed(&self, ended: &run::Ended) {
        let r = &self.replayed;
        self.out.say(&format!(
            "{} with {} in {} · {:.2} s · {}{}",
            lines::count(r.files, "file"),
            lines::count(r.events, "event"),
            if self.batches == 1 { "1 batch".into() } else { format!("{} batches", self.batches) },
            ended.seconds,
            if r.quarantined == 0 {
                "nothing quarantined".into()
            } else {
                format!("{} quarantined", lines::thousands(r.quarantined))
            },
            not_read(ended),
        ));
        if !self.is_wordy() {
            lines::quarantined(r).iter().for_each(|line| self.out.say(line));
        }
        self.out.say(lines::tables(r).trim_end());
    }

    /// Every batch gets its line: it is live, or nobody is waiting at a terminal for the end.
    fn is_wordy(&self) -> bool {
        self.live || !(self.out.terminal || self.once)
    }

    /// A long `--once` in a log shows now and then that it lives.
    fn is_quiet_for_long(&self) -> bool {
        !self.out.terminal && self.spoke.elapsed() > QUIET
    }
}

/// The end of a sentence: how many files could not be read.
fn not_read(ended: &run::Ended) -> String {
    match ended.unread.len() as u64 {
        0 => String::new(),
        n => format!(" · {} not read", lines::thousands(n)),
    }
}

fn nothing_new(ended: &run::Ended) -> String {
    let source = ended.source.display();
    if ended.files_seen == 0 && ended.unread.is_empty() {
        return format!("nothing new: no event files in {source}");
    }
    let files = lines::count(ended.files_seen, "file");
    match ended.unread.is_empty() && ended.waiting.is_empty() {
        true => format!("nothing new: {files} in {source}, all in the tables already"),
        false => format!("nothing new: {files} in {source}{}", not_read(ended)),
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
        if self.is_wordy() || self.is_quiet_for_long() {
            self.say(&lines::batch(report));
            self.spoke = Instant::now();
        }
        if self.is_wordy() {
            lines::quarantined(report).iter().for_each(|line| self.say(line));
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
            self.say(&format!("not read, tried again later: {}: {}", shown(&u.name), shown(&u.reason)));
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
            self.out.object("caught_up", ended);
            self.out.say(&format!("watching {} (Ctrl-C to stop)", ended.source.display()));
        }
    }
}
