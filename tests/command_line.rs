//! The command line as its help describes it: exit codes, messages, JSON, signals, one process at a time.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use millrace::pipeline;
use rustix::process::Signal;
use serde_json::Value;
use support::oracle;
use support::place::{Place, order, until};

const COMMANDS: [&str; 7] = ["run", "status", "query", "check", "verify", "repair", "simulate"];

/// Every line is a JSON object.
#[track_caller]
fn objects(text: &str) -> Vec<Value> {
    let object = |line: &str| serde_json::from_str::<Value>(line).ok().filter(Value::is_object);
    text.lines().map(|line| object(line).unwrap_or_else(|| panic!("no JSON object: {line}"))).collect()
}

fn of_type<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|o| o["type"] == kind).collect()
}

/// A place with one good order in its tables.
fn filled() -> Place {
    let place = Place::new();
    place.put("1.json", order("O1", "10:00:00", "PAID", &["A", "B"]));
    place.run_once(0);
    place
}

/// Everything the mirror holds, `_` columns included.
fn contents(place: &Place) -> BTreeMap<String, Vec<Value>> {
    let names = oracle::names().into_iter().chain(["_files", "_quarantine"]);
    names
        .map(|name| (name.to_owned(), place.rows(&format!("select * from {name} order by 1, 2, 3"))))
        .collect()
}

fn pipeline_with(place: &Place, from: &str, to: &str) {
    assert!(pipeline::DEFAULT.contains(from));
    fs::write(place.path("mine.toml"), pipeline::DEFAULT.replacen(from, to, 1)).unwrap();
}

#[test]
fn every_command_explains_itself_with_an_example() {
    let place = Place::new();
    let help = place.expect(&["--help"], 0).out;
    assert!(help.contains("Examples:") && help.contains("Exit codes:"), "{help}");
    for command in COMMANDS {
        assert!(help.contains(&format!("\n  {command} ")), "{command} is not in\n{help}");
        let own = place.expect(&[command, "--help"], 0).out;
        let example = own.split_once("Example").map(|(_, after)| after.contains("  millrace "));
        assert_eq!(example, Some(true), "{command} has no example\n{own}");
    }
    assert!(!place.path("tables").exists());
}

#[test]
fn nothing_to_do_is_said_and_is_no_failure() {
    let place = Place::new();
    assert!(place.run_once(0).out.contains("no event files in input_events"));
    place.put("1.json", order("O1", "10:00:00", "PAID", &["A"]));
    assert!(place.run_once(0).out.contains("1 file with 1 event in 1 batch"));
    assert!(place.run_once(0).out.contains("nothing new: 1 file in input_events"));
}

#[test]
fn a_missing_source_folder_is_made() {
    let place = Place::new();
    fs::remove_dir(place.path("input_events")).unwrap();
    // A mistyped name shows at once.
    let said = place.run_once(0).err;
    assert!(said.starts_with("millrace: made the source folder input_events: it was missing\n"), "{said}");
    assert!(place.path("input_events").is_dir());
    assert_eq!(place.run_once(0).err, "");
}

#[test]
fn usage_and_pipeline_mistakes_end_with_2_and_change_nothing() {
    let place = Place::new();
    for wrong in [
        vec!["frobnicate"],
        vec!["run", "--twice"],
        vec!["query"],
        vec!["simulate"],
        vec!["-p", "nowhere.toml", "run", "--once"],
        vec!["-C", "nowhere", "run", "--once"],
        vec!["status"],
        vec!["verify"],
        vec!["repair"],
        vec!["query", "select 1"],
    ] {
        let said = place.expect(&wrong, 2);
        assert!(!said.err.trim().is_empty() && said.out.is_empty(), "{wrong:?}: {said:?}");
    }
    assert!(!place.path("tables").exists() && !place.path("checkpoint").exists());
}

#[test]
fn a_mistake_in_the_pipeline_file_is_told_with_line_column_and_the_nearest_name() {
    let place = Place::new();
    pipeline_with(&place, "[source]\npath =", "[source]\npaht =");
    let at = pipeline::DEFAULT.lines().position(|l| l == "[source]").unwrap() + 2;
    for command in [vec!["check"], vec!["run", "--once"], vec!["query", "select 1"]] {
        let arguments = [vec!["-p", "mine.toml"], command].concat();
        let said = place.expect(&arguments, 2);
        let expected = format!("mine.toml:{at}:1: unknown key \"paht\"; did you mean \"path\"?");
        assert!(said.err.contains(&expected), "{expected}\n{}", said.err);
    }
    let said = place.expect(&["-p", "mine.toml", "--json", "check"], 2);
    assert_eq!(objects(&said.err)[0]["exit_code"], 2);
    assert!(!place.path("tables").exists());
}

#[test]
fn c_changes_the_folder_for_everything_relative() {
    let place = Place::new();
    let put = place.path("elsewhere/input_events/1.json");
    place.put_at(&put, order("O1", "10:00:00", "PAID", &["A"]));
    fs::write(place.path("elsewhere/mine.toml"), pipeline::DEFAULT).unwrap();
    place.expect(&["-C", "elsewhere", "-p", "mine.toml", "run", "--once"], 0);
    let said = place.expect(&["query", "--csv", "select order_id from order_item", "-C", "elsewhere"], 0);
    assert_eq!(said.out.replace('\r', ""), "order_id\nO1\n");
    assert!(place.path("elsewhere/tables").is_dir() && !place.path("tables").exists());
}

#[test]
fn with_json_every_command_prints_json_and_nothing_else() {
    let place = Place::new();
    place.put("1.json", order("O1", "10:00:00", "PAID", &["A", "B"]));
    place.put("bad.json", "{");
    let said = place.expect(&["run", "--once", "--json"], 3);
    let lines = objects(&said.out);
    let batch = of_type(&lines, "batch")[0];
    assert_eq!((&batch["batch"], &batch["files"], &batch["events"]), (&1.into(), &2.into(), &1.into()));
    assert_eq!(batch["tables"]["order_item"]["inserted"], 2);
    assert_eq!(batch["rejected"][0]["file"], "bad.json");
    assert!(batch["ms"]["commit"].as_f64().unwrap() > 0.0);
    assert_eq!(of_type(&lines, "end")[0]["quarantined"], 1);

    let status = objects(&place.expect(&["status", "--json"], 0).out);
    assert_eq!((&status[0]["batch"], &status[0]["running_pid"]), (&1.into(), &Value::Null));
    assert_eq!(status[0]["mirror"]["rows"]["order_item"], 2);

    let verify = objects(&place.expect(&["verify", "--json"], 0).out);
    assert_eq!(verify[0]["differences"], Value::Array(vec![]));

    let tables = objects(&place.expect(&["check", "--json"], 0).out);
    assert_eq!(tables[0]["tables"].as_array().unwrap().len(), 9);
    let check = ["check", "--json", "input_events/1.json", "input_events/bad.json"];
    let rows = objects(&place.expect(&check, 3).out);
    assert_eq!(of_type(&rows, "quarantine")[0]["file"], "input_events/bad.json");
    let items: Vec<_> = of_type(&rows, "row").into_iter().filter(|r| r["table"] == "order_item").collect();
    assert_eq!(items.len(), 2);
    assert_eq!(items[0]["row"]["item_id"], "A");

    let rows: Value =
        serde_json::from_str(&place.expect(&["query", "--json", "select 1 as n, 'x' as t"], 0).out).unwrap();
    assert_eq!(rows, serde_json::json!([{ "n": 1, "t": "x" }]));
    assert_eq!(objects(&place.expect(&["repair", "--json"], 0).out)[0]["outcome"], "sound");
    let simulated = objects(&place.expect(&["simulate", "-n", "3", "--json"], 0).out);
    assert_eq!(simulated[0]["events"], 3);
    let refused = place.expect(&["query", "--json", "select nope"], 2);
    assert!(objects(&refused.err)[0]["error"].as_str().unwrap().contains("no such column"));
}

#[test]
fn query_cannot_write_attach_or_run_two_statements() {
    let place = filled();
    for sql in [
        "delete from order_item",
        "insert into warehouse (id) values ('x')",
        "drop table order_item",
        "create table t (a)",
        "attach 'other.db' as other",
        "vacuum into 'copy.db'",
        "pragma journal_mode = delete",
        "begin",
        "select 1; delete from order_item",
        "select load_extension('x')",
        "",
    ] {
        let said = place.expect(&["query", sql], 2);
        assert!(said.out.is_empty() && !said.err.is_empty(), "{sql}: {said:?}");
    }
    assert_eq!(place.lines("O1").len(), 2);
    assert!(!place.path("other.db").exists() && !place.path("copy.db").exists());
}

#[test]
fn query_prints_a_table_or_csv_and_lists_the_ledger() {
    let place = filled();
    let said = place.expect(&["query", "select item_id, order_status from order_item order by 1"], 0);
    assert_eq!(
        said.out,
        "item_id  order_status\n-------  ------------\nA        PAID\nB        PAID\n(2 rows)\n"
    );
    let said = place.expect(&["query", "--csv", "select file, events from _files"], 0);
    assert_eq!(said.out.replace('\r', ""), "file,events\n1.json,1\n");
}

#[test]
fn without_a_mirror_query_says_how_to_get_one_and_the_next_run_fills_it() {
    let place = Place::new();
    place.put("1.json", order("O1", "10:00:00", "PAID", &["A", "B"]));
    place.put("bad.json", "{");
    place.expect(&["run", "--once", "--no-mirror"], 3);
    assert!(!place.path("database").exists());
    let said = place.expect(&["query", "select 1"], 2);
    assert!(said.err.contains("no mirror") && said.err.contains("millrace run --once"), "{}", said.err);
    assert!(place.expect(&["status"], 0).out.contains("mirror      none"));
    place.run_once(0);
    assert_eq!((place.lines("O1").len(), place.quarantine().len()), (2, 1));

    place.put("2.json", order("O1", "11:00:00", "SENT", &["B"]));
    place.expect(&["run", "--once", "--no-mirror"], 0);
    assert!(place.expect(&["status"], 0).out.contains("behind, at batch 1"));
    place.run_once(0);
    assert_eq!(place.lines("O1"), [("B".into(), "SENT".into())]);
    place.expect(&["verify"], 0);
}

#[test]
fn check_shows_the_rows_of_a_file_and_writes_nothing() {
    let place = Place::new();
    place.put("1.json", order("O1", "10:00:00", "PAID", &["A", "B"]));
    let said = place.expect(&["check", "input_events/1.json"], 0);
    assert!(
        said.out.contains("order_item: 2 rows\n") && said.out.contains("order_id=O1  item_id=A"),
        "{}",
        said.out
    );
    place.put("bad.json", "{\"txt_detl_idt_pedi_pgto\": 1,}");
    let said = place.expect(&["check", "input_events/bad.json"], 3);
    assert!(said.out.contains("input_events/bad.json:1: would be quarantined: "), "{}", said.out);
    assert!(place.expect(&["check"], 0).out.contains("pipeline `orders` is right: 9 tables"));
    assert!(place.expect(&["check", "nowhere.json"], 1).err.contains("nowhere.json"));
    let left: Vec<_> = fs::read_dir(place.folder()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["input_events"]);
}

#[test]
fn looking_works_while_run_is_running_and_a_second_run_is_refused_within_a_second() {
    let place = Place::new();
    place.put("1.json", order("O1", "10:00:00", "PAID", &["A", "B"]));
    let mut run = place.watching();
    assert_eq!(place.lines("O1").len(), 2);
    let status = place.expect(&["status"], 0).out;
    assert!(status.contains(&format!("yes, process {}", run.pid())), "{status}");
    place.expect(&["check", "input_events/1.json"], 0);

    for second in [vec!["run"], vec!["run", "--once"], vec!["verify"], vec!["repair"]] {
        let begin = Instant::now();
        let said = place.expect(&second, 1);
        assert!(begin.elapsed() < Duration::from_secs(1), "{second:?} took {:?}", begin.elapsed());
        assert!(said.err.contains(&format!("process {} is working on", run.pid())), "{}", said.err);
        assert!(said.err.contains("stop it first"), "{}", said.err);
    }
    assert!(run.is_running());
    run.stop();
    place.expect(&["verify"], 0);
}

#[test]
fn another_pipeline_or_other_columns_are_refused_with_what_to_do() {
    let place = filled();
    let before = contents(&place);
    pipeline_with(&place, "name = \"orders\"", "name = \"other\"");
    let said = place.expect(&["-p", "mine.toml", "run", "--once"], 2);
    assert!(said.err.contains("`orders`, not of `other`") && said.err.contains("-C DIR"), "{}", said.err);
    pipeline_with(&place, "offer_id = \"@.cod_ofrt_ineo_requ\"\n", "");
    let said = place.expect(&["-p", "mine.toml", "run", "--once"], 2);
    assert!(said.err.contains("changed since") && said.err.contains("build anew"), "{}", said.err);
    // Another order of batches is no other model.
    pipeline_with(&place, "[source]", "[source]\nbatch_files = 1");
    place.expect(&["-p", "mine.toml", "run", "--once"], 0);
    assert_eq!(contents(&place), before);
}

#[test]
fn sigint_and_sigterm_stop_the_watch_gracefully() {
    let place = filled();
    for signal in [Signal::INT, Signal::TERM] {
        let mut run = place.watching();
        run.signal(signal);
        assert_eq!(run.ended(5).code(), Some(0), "{}", run.err());
        assert!(run.out().contains("stopped; every finished batch is kept"), "{}", run.out());
    }
    place.expect(&["verify"], 0);
}

#[test]
fn a_second_sigint_leaves_at_once_and_harms_nothing() {
    let place = filled();
    let mut run = place.watching();
    // Somebody else's transaction holds the mirror, so the batch in hand takes seconds to finish.
    let other = rusqlite::Connection::open(place.path("database/orders.db")).unwrap();
    other.execute_batch("begin immediate").unwrap();
    place.rename_in("2.json", order("O1", "11:00:00", "SENT", &["B"]));
    let committed = || place.expect(&["status", "--json"], 0).out.contains("\"batch\":2,\"last\"");
    until("the batch is committed", 4, || committed().then_some(()));
    run.signal(Signal::INT);
    std::thread::sleep(Duration::from_millis(300));
    assert!(run.is_running(), "the batch was over too soon for this test");
    run.signal(Signal::INT);
    assert_eq!(run.ended(2).code(), Some(130));
    other.execute_batch("rollback").unwrap();
    place.run_once(0);
    assert_eq!(place.lines("O1"), [("B".into(), "SENT".into())]);
    place.expect(&["verify"], 0);
}

#[test]
fn a_deleted_checkpoint_or_mirror_changes_nothing() {
    let place = Place::new();
    place.expect(&["simulate", "-n", "60"], 0);
    place.put("bad.json", "{");
    place.run_once(3);
    let before = contents(&place);
    for gone in [vec!["checkpoint"], vec!["database"], vec!["checkpoint", "database"]] {
        gone.iter().for_each(|folder| fs::remove_dir_all(place.path(folder)).unwrap());
        let said = place.run_once(0);
        assert!(said.out.contains("nothing new: 61 files"), "{gone:?} deleted\n{}", said.out);
        assert!(contents(&place) == before, "{gone:?} deleted: other contents");
        place.expect(&["verify"], 0);
    }
}

#[test]
fn verify_finds_a_row_that_somebody_changed_in_the_mirror() {
    let place = filled();
    let other = rusqlite::Connection::open(place.path("database/orders.db")).unwrap();
    other.execute("update order_item set order_status = 'LOST' where item_id = 'A'", []).unwrap();
    drop(other);
    let said = place.expect(&["verify"], 1);
    assert!(said.out.contains("DIFFERENCE") && said.out.contains("order_item"), "{}", said.out);
}

#[test]
fn simulated_events_of_one_seed_are_the_same_and_all_good() {
    let place = Place::new();
    for folder in ["a", "b"] {
        place.expect(&["simulate", "-n", "20", "--seed", "7", "--into", folder], 0);
    }
    let texts = |folder: &str| support::files::event_texts(&place.path(folder));
    assert_eq!(texts("a").len(), 20);
    assert!(texts("a") == texts("b"));
    place.expect(&["simulate", "-n", "20"], 0);
    assert!(place.run_once(0).out.contains("20 files with 20 events"));
}
