//! `millrace simulate`: a shop that writes order events, to see Millrace work.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;

use super::{Global, load_pipeline};
use crate::error::{Error, IoContext, Result};
use crate::report::lines::count;
use crate::simulate::{Compression, Options, Output, Shop, Writer};

/// Write realistic order events into the source folder, at a rate or many at once.
///
/// Synthetic life cycles: out of order, repeated, with lines removed, partly shipped, cancelled. The same seed
/// writes the same bytes. Each file is renamed in complete.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  millrace simulate -n 1000              a thousand event files at once
  millrace simulate --rate 10            ten a second until Ctrl-C
  millrace simulate -n 50 --bad 0.1      a bad one after every tenth or so")]
pub struct SimulateArgs {
    /// How many events; without it, on and on.
    #[arg(short = 'n', long, value_name = "N")]
    events: Option<u64>,
    /// Events a second; without it, as fast as can be (and -n is needed).
    #[arg(long, value_name = "R", allow_negative_numbers = true)]
    rate: Option<f64>,
    /// Same seed, same events, in files of the same names: for more, give another.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many bad events follow each good one, 0 to 1.
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true, value_name = "SHARE")]
    bad: f64,
    /// Folder to write into instead of the pipeline's source.
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// Write one NDJSON file instead of a file per event.
    #[arg(long, requires = "events")]
    ndjson: bool,
}

/// The pipeline that the shop's events are for.
const ORDERS: &str = "orders";

/// Events a second: one in some eleven days, and more than any machine writes.
const SLOWEST: f64 = 1e-6;
const FASTEST: f64 = 1e9;

pub fn exec(global: &Global, args: SimulateArgs) -> Result<u8> {
    if args.events.is_none() && args.rate.is_none() {
        return Err(Error::Config("say how many (-n N) or how fast (--rate R)".into()));
    }
    if let Some(rate) = args.rate.filter(|r| !(SLOWEST..=FASTEST).contains(r)) {
        return Err(Error::Config(format!("--rate {rate}: give events a second, {SLOWEST} to {FASTEST}")));
    }
    if !(0.0..=1.0).contains(&args.bad) {
        return Err(Error::Config(format!("--bad {}: give a share, 0 to 1", args.bad)));
    }
    let folder = match &args.into {
        Some(dir) => dir.clone(),
        None => source(global)?,
    };
    std::fs::create_dir_all(&folder).at("making", &folder)?;
    let output = if args.ndjson {
        Output::Ndjson { events_per_file: usize::MAX, compression: Compression::None }
    } else {
        Output::Files { pretty: true }
    };
    let options = Options { share_bad: args.bad, pretty: output.pretty(), ..Options::default() };
    let mut shop = Shop::new(args.seed, options);
    let mut writer = Writer::new(&folder, output, &format!("sim_{}", args.seed))?;
    let written = write(&mut shop, &mut writer, &args)?;
    let files = writer.finish()?;
    let out = super::Output::new(global.json);
    out.say(&format!(
        "{} written into {} ({})",
        count(written, "event"),
        folder.display(),
        count(files as u64, "file")
    ));
    out.object("simulated", &serde_json::json!({ "events": written, "files": files }));
    Ok(0)
}

/// The pipeline's source folder, if the pipeline reads what this writes.
fn source(global: &Global) -> Result<PathBuf> {
    let pipeline = load_pipeline(global)?;
    if pipeline.name == ORDERS {
        return Ok(pipeline.source.path.clone());
    }
    let what = "simulate writes events of the built-in pipeline `orders`";
    Err(Error::Config(format!("{what}, not of `{}`; name a folder for them: --into DIR", pipeline.name)))
}

fn write(shop: &mut Shop, writer: &mut Writer, args: &SimulateArgs) -> Result<u64> {
    let begin = Instant::now();
    let mut written = 0;
    while args.events.is_none_or(|n| written < n) {
        let Some(event) = shop.next_event() else { break };
        if let Some(rate) = args.rate {
            let due = Duration::from_secs_f64(written as f64 / rate);
            std::thread::sleep(due.saturating_sub(begin.elapsed()));
        }
        writer.write(&event)?;
        written += 1;
    }
    Ok(written)
}
