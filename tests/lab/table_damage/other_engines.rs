//! Commits of delta-rs itself: what it may do to our tables is noticed and repaired, or takes nothing from them.

use std::path::{Path, PathBuf};
use std::process::Command;

use millrace::verify;

use super::{base, decided, unpublish};
use crate::figures::tell;
use crate::scale::{is_long, pick};
use crate::support::contents;
use crate::support::site::Site;

/// One deed a line: a table's folder and what to do to it. Answers with the deed and what came of it.
const SCRIPT: &str = r#"
import sys
from deltalake import DeltaTable, QueryBuilder, write_deltalake

def rows(table):
    # to_pyarrow_table refuses tables with deletion vectors; the engine behind queries does not.
    return QueryBuilder().register("t", table).execute("select * from t limit 3")

def do(path, deed):
    table = DeltaTable(path)
    if deed == "append":
        write_deltalake(path, rows(table), mode="append")
    elif deed == "overwrite":
        write_deltalake(path, rows(table), mode="overwrite")
    elif deed == "delete all":
        table.delete()
    elif deed == "delete some":
        table.delete("_batch_id > 2")
    elif deed == "update":
        table.update(updates={"_batch_id": "1"})
    elif deed == "compact":
        table.optimize.compact()
    elif deed == "z-order":
        table.optimize.z_order(["_batch_id"])
    elif deed == "vacuum":
        table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    elif deed == "checkpoint":
        table.create_checkpoint()
    elif deed == "cleanup":
        table.cleanup_metadata()
    elif deed == "property":
        table.alter.set_table_properties({"delta.logRetentionDuration": "interval 9 days"})
    elif deed == "restore":
        table.restore(1)
    elif deed == "column":
        from deltalake import Field
        from deltalake.schema import PrimitiveType
        table.alter.add_columns([Field("mine", PrimitiveType("string"))])
    return DeltaTable(path).version() - table_version

for line in sys.stdin:
    path, deed = line.rstrip("\n").split("\t")
    try:
        table_version = DeltaTable(path).version()
        print(deed, "done", do(path, deed), sep="\t", flush=True)
    except BaseException as e:
        print(deed, "refused", str(e).replace("\n", " ")[:200], sep="\t", flush=True)
"#;

const DEEDS: [&str; 13] = [
    "append",
    "compact",
    "delete some",
    "vacuum",
    "checkpoint",
    "property",
    "overwrite",
    "delete all",
    "update",
    "z-order",
    "cleanup",
    "restore",
    "column",
];

/// The Python that the checks against other readers use.
fn python() -> Option<PathBuf> {
    let place = |variable| std::env::var_os(variable).map(PathBuf::from);
    let caches = || place("XDG_CACHE_HOME").or_else(|| Some(place("HOME")?.join(".cache")));
    let venv = place("MILLRACE_VENV").or_else(|| Some(caches()?.join("millrace-ci/venv")))?;
    let python = venv.join("bin/python");
    let imports = Command::new(&python).args(["-c", "import deltalake"]).output();
    imports.is_ok_and(|o| o.status.success()).then_some(python)
}

fn answers(python: &Path, deeds: &[(PathBuf, &str)]) -> Vec<(String, String)> {
    use std::io::Write;
    let mut child = Command::new(python)
        .args(["-c", SCRIPT])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let asked: String = deeds.iter().map(|(path, deed)| format!("{}\t{deed}\n", path.display())).collect();
    child.stdin.take().unwrap().write_all(asked.as_bytes()).unwrap();
    let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    let line = |l: &str| {
        let mut parts = l.split('\t').skip(1).map(str::to_owned);
        (parts.next().unwrap(), parts.next().unwrap())
    };
    let answers: Vec<_> = said.lines().map(line).collect();
    assert_eq!(answers.len(), deeds.len(), "{said}");
    answers
}

#[test]
fn row_06_what_delta_rs_does_to_a_table_is_noticed_or_takes_nothing() {
    let Some(python) = python() else {
        println!("skipped: no Python with deltalake in MILLRACE_VENV or ~/.cache/millrace-ci/venv");
        return;
    };
    let (tables, deeds) = (["item", "order_item", "customer", "_files"], &DEEDS[..pick(5, DEEDS.len())]);
    let mut cases: Vec<(Site, &str, &str)> = Vec::new();
    for (at, deed) in deeds.iter().enumerate() {
        for table in tables.iter().cycle().skip(at).take(pick(1, tables.len())) {
            // Between two runs, and between a kill in the middle of the commits and the restart.
            let sites = [base().0.copy(), base().0.copy()];
            let commits = decided(&sites[1].tables());
            unpublish(&sites[1].tables(), &commits[commits.len() / 2..]);
            let chosen = sites.into_iter().enumerate().filter(|(moment, _)| is_long() || at % 2 == *moment);
            cases.extend(chosen.map(|(_, site)| (site, *table, *deed)));
        }
    }
    let asked: Vec<(PathBuf, &str)> =
        cases.iter().map(|(site, table, deed)| (site.tables().join(table), *deed)).collect();
    let (mut commits, mut noticed, mut harmless, mut refused) = (0, 0, 0, 0);
    for ((site, table, deed), (outcome, detail)) in cases.iter().zip(answers(&python, &asked)) {
        let what = format!("delta-rs: {deed} on {table} ({outcome} {detail})");
        println!("{what}");
        if outcome == "refused" {
            refused += 1;
        } else if detail != "0" {
            commits += 1;
        }
        let said = site.does(&["run", "--once"]);
        if said.code == Some(1) && said.err.contains("millrace repair") {
            noticed += 1;
            assert!(site.ok(&["repair"]).contains("exact"), "{what}");
        } else {
            assert_eq!(said.code, Some(0), "{what}: {said:?}");
            assert!(outcome == "refused" || detail == "0", "{what}: not noticed: {said:?}");
            harmless += 1;
        }
        let root = site.root();
        assert!(contents::tables(&root) == base().1, "{what}: other contents");
        assert_eq!(verify::tables_only(&root).unwrap().differences, Vec::<String>::new(), "{what}");
    }
    let figures = [
        ("deeds", cases.len() as u64),
        ("commits", commits),
        ("refused by delta-rs", refused),
        ("noticed and repaired", noticed),
        ("took nothing", harmless),
        ("lost or doubled", 0),
    ];
    tell(6, "delta-rs", &figures);
}
