//! What the Delta tables of a root hold, in the oracle's spelling and order.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use millrace::clock;
use millrace::commit::Paths;
use millrace::pipeline::model::Pipeline;
use millrace::root::Root;
use millrace::tables::LocalDisk;

use super::cells;
use super::oracle::{self, Row};

/// The nine tables without their `_` columns.
pub fn tables(root: &Root) -> BTreeMap<&'static str, Vec<Row>> {
    oracle::names().into_iter().map(|name| (name, table(root, name))).collect()
}

/// Opens the root below `folder` to look at it; it must not be in use.
pub fn of_folder(folder: &Path, pipeline: &Arc<Pipeline>) -> BTreeMap<&'static str, Vec<Row>> {
    let paths = Paths::new(folder.join("tables"));
    let root = Root::open(paths, pipeline.clone(), Arc::new(LocalDisk), clock::system()).unwrap();
    tables(&root)
}

fn table(root: &Root, name: &str) -> Vec<Row> {
    let state = root.states.iter().find(|s| s.table.def.name == name).unwrap();
    let mut rows: Vec<Row> = Vec::new();
    for &file in state.table.files.keys() {
        for batch in state.table.read(file).unwrap() {
            rows.extend(cells::rows(name, &batch.unwrap().rows));
        }
    }
    cells::sort(name, &mut rows);
    rows
}
