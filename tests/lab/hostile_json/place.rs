//! A folder with the hostile pipeline: files of any name put in, the binary run, tables and mirror looked at.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millrace::commit::Paths;
use millrace::root::Root;
use millrace::tables::LocalDisk;
use millrace::{clock, pipeline};

use crate::support::Said;
use crate::support::cells::cell;
use crate::support::oracle::Row;
use crate::support::place::{Live, Place, until};

pub struct Hostile {
    place: Place,
    text: String,
}

impl Hostile {
    pub fn new() -> Hostile {
        Hostile::with(super::PIPELINE)
    }

    pub fn with(text: &str) -> Hostile {
        let place = Place::quick();
        fs::write(place.path("hostile.toml"), text).unwrap();
        Hostile { place, text: text.to_owned() }
    }

    /// Puts a file of any name, folders before it included.
    pub fn put(&self, name: &[u8], bytes: &[u8]) {
        self.place.put_at(&self.input(name), bytes);
    }

    pub fn input(&self, name: &[u8]) -> PathBuf {
        self.place.path("input_events").join(Path::new(OsStr::from_bytes(name)))
    }

    pub fn start(&self, arguments: &[&str]) -> Live {
        self.place.start(&[&["-p", "hostile.toml"], arguments].concat())
    }

    pub fn said(&self, arguments: &[&str]) -> Said {
        self.place.millrace(&[&["-p", "hostile.toml"], arguments].concat())
    }

    #[track_caller]
    pub fn run_once(&self, code: i32) -> Said {
        self.place.expect(&["-p", "hostile.toml", "run", "--once"], code)
    }

    #[track_caller]
    pub fn verified(&self) {
        self.place.expect(&["-p", "hostile.toml", "verify"], 0);
    }

    pub fn mirror(&self, sql: &str) -> Vec<serde_json::Value> {
        let said = self.place.expect(&["-p", "hostile.toml", "query", "--json", sql], 0);
        serde_json::from_str(&said.out).unwrap()
    }

    pub fn database(&self) -> PathBuf {
        self.place.path("database/hostile.db")
    }

    /// The rows of a Delta table by the text of their first column, cells in the oracle's spelling.
    pub fn rows(&self, table: &str) -> BTreeMap<String, Row> {
        let pipeline =
            Arc::new(pipeline::parse(&self.text, "hostile.toml").unwrap_or_else(|p| panic!("{}", p[0])));
        let paths = Paths::new(self.place.path("tables"));
        let root = Root::open(paths, pipeline, Arc::new(LocalDisk), clock::system()).unwrap();
        let mut rows = BTreeMap::new();
        let state = root.states.iter().find(|s| s.table.def.name == table).unwrap();
        for &file in state.table.files.keys() {
            for batch in state.table.read(file).unwrap() {
                let batch = batch.unwrap().rows;
                let own = batch.schema().fields().iter().filter(|f| !f.name().starts_with('_')).count();
                for row in 0..batch.num_rows() {
                    let cells: Row = batch.columns()[..own].iter().map(|c| cell(c, row)).collect();
                    let twice = rows.insert(cells[0].clone().unwrap(), cells);
                    assert!(twice.is_none(), "two rows with one key: {twice:?}");
                }
            }
        }
        rows
    }

    pub fn ids(&self) -> Vec<String> {
        self.rows("value").into_keys().collect()
    }

    /// File and reason of what is in quarantine, by the Delta table.
    pub fn quarantine(&self) -> Vec<(String, String)> {
        let pipeline =
            Arc::new(pipeline::parse(&self.text, "hostile.toml").unwrap_or_else(|p| panic!("{}", p[0])));
        let paths = Paths::new(self.place.path("tables"));
        let root = Root::open(paths, pipeline, Arc::new(LocalDisk), clock::system()).unwrap();
        let state = root.states.iter().find(|s| s.table.def.name == "_quarantine").unwrap();
        let mut all = Vec::new();
        for &file in state.table.files.keys() {
            for batch in state.table.read(file).unwrap() {
                let batch = batch.unwrap().rows;
                let text = |name: &str, row| cell(batch.column_by_name(name).unwrap(), row).unwrap();
                all.extend((0..batch.num_rows()).map(|row| (text("file", row), text("reason", row))));
            }
        }
        all
    }
}

/// The most memory the process had at any time, in MB; looked at until it ends.
pub fn peak_of(run: &mut Live) -> u64 {
    let mut peak = None;
    let path = format!("/proc/{}/status", run.pid());
    until("the run ends", 300, || {
        let status = fs::read_to_string(&path).unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        let kb: Option<u64> = line.and_then(|l| l.trim().trim_end_matches(" kB").parse().ok());
        // Gone with the process's memory: the last look counts.
        peak = kb.or(peak);
        (!run.is_running()).then_some(())
    });
    peak.unwrap() / 1024
}
