//! Where the shop's events go: a file an event, or many events to an NDJSON file, each file appearing whole.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::shop::Event;
use crate::error::{IoContext, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Gz,
    Zst,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// One event a file, under the event's own name.
    Files { pretty: bool },
    /// One event a line; `events_per_file` of 0 counts as 1.
    Ndjson { events_per_file: usize, compression: Compression },
}

impl Output {
    /// How the shop has to write its events ([`super::Options::pretty`]): NDJSON cannot hold line breaks.
    pub fn pretty(&self) -> bool {
        matches!(self, Output::Files { pretty: true })
    }
}

/// Writes events into a folder. [`Writer::finish`] writes what is left of a started NDJSON file.
#[derive(Debug)]
pub struct Writer {
    folder: PathBuf,
    output: Output,
    /// Begins the names of NDJSON files.
    prefix: String,
    lines: Vec<u8>,
    events: usize,
    files: usize,
}

impl Writer {
    /// Makes the folder. NDJSON files are called `<prefix>_000001.ndjson` and so on.
    pub fn new(folder: &Path, output: Output, prefix: &str) -> Result<Writer> {
        fs::create_dir_all(folder).at("making", folder)?;
        let (folder, prefix) = (folder.to_path_buf(), prefix.to_owned());
        Ok(Writer { folder, output, prefix, lines: Vec::new(), events: 0, files: 0 })
    }

    pub fn write(&mut self, event: &Event) -> Result<()> {
        match self.output {
            Output::Files { .. } => {
                self.files += 1;
                write_atomically(&self.folder, &event.name, &event.text)
            }
            Output::Ndjson { events_per_file, .. } => {
                self.lines.extend_from_slice(&event.text);
                self.lines.push(b'\n');
                self.events += 1;
                if self.events >= events_per_file { self.close_file() } else { Ok(()) }
            }
        }
    }

    /// How many files were written in all.
    pub fn finish(mut self) -> Result<usize> {
        self.close_file()?;
        Ok(self.files)
    }

    fn close_file(&mut self) -> Result<()> {
        let Output::Ndjson { compression, .. } = self.output else { return Ok(()) };
        if self.lines.is_empty() {
            return Ok(());
        }
        self.files += 1;
        let extension = match compression {
            Compression::None => "ndjson",
            Compression::Gz => "ndjson.gz",
            Compression::Zst => "ndjson.zst",
        };
        let name = format!("{}_{:06}.{extension}", self.prefix, self.files);
        let bytes = compressed(&self.lines, compression).at("compressing", self.folder.join(&name))?;
        write_atomically(&self.folder, &name, bytes.as_deref().unwrap_or(&self.lines))?;
        self.lines.clear();
        self.events = 0;
        Ok(())
    }
}

/// `None` where the lines go out as they are. No file name or time goes into the header: same lines, same bytes.
fn compressed(lines: &[u8], compression: Compression) -> std::io::Result<Option<Vec<u8>>> {
    match compression {
        Compression::None => Ok(None),
        Compression::Gz => {
            let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            gz.write_all(lines)?;
            gz.finish().map(Some)
        }
        Compression::Zst => zstd::encode_all(lines, 3).map(Some),
    }
}

/// Writes `.<name>.tmp` in the same folder and renames it, so that a watcher never sees half a file. Not synced:
/// the shop's events can be made again.
pub fn write_atomically(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let (temporary, path) = (folder.join(format!(".{name}.tmp")), folder.join(name));
    fs::write(&temporary, bytes).at("writing", &temporary)?;
    fs::rename(&temporary, &path).at("renaming to", &path)
}
