//! Live: what happens to a folder while `run` watches it is soon in the tables, whatever happens around it.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use support::place::{Place, order, until};

fn line(item: &str, status: &str) -> (String, String) {
    (item.into(), status.into())
}

#[test]
fn a_file_renamed_in_is_soon_a_row_and_a_newer_one_changes_it() {
    let place = Place::new();
    let mut run = place.watching();

    place.rename_in("1.json", order("O1", "10:00:00", "PAID", &["A", "B"]));
    let paid = [line("A", "PAID"), line("B", "PAID")];
    until("two lines", 2, || (place.lines("O1") == paid).then_some(()));

    place.rename_in("2.json", order("O1", "11:00:00", "SENT", &["A", "B"]));
    let sent = [line("A", "SENT"), line("B", "SENT")];
    until("both sent", 2, || (place.lines("O1") == sent).then_some(()));

    place.rename_in("3.json", order("O1", "12:00:00", "SENT", &["B"]));
    until("one line is gone", 2, || (place.lines("O1") == [line("B", "SENT")]).then_some(()));

    // Late: it was true before, and is not now.
    place.rename_in("0.json", order("O1", "09:00:00", "CREATED", &["C"]));
    until("the late event is taken", 2, || run.out().contains("batch 4").then_some(()));
    assert_eq!(place.lines("O1"), [line("B", "SENT")]);
    run.stop();
    place.expect(&["verify"], 0);
}

#[test]
fn a_file_that_is_written_slowly_is_taken_when_it_is_complete() {
    use std::io::Write;
    let place = Place::new();
    let mut run = place.watching();
    let event = order("O1", "10:00:00", "PAID", &["A"]);
    let mut file = fs::File::create(place.input("slow.json")).unwrap();
    for part in event.as_bytes().chunks(event.len() / 8) {
        file.write_all(part).unwrap();
        std::thread::sleep(Duration::from_millis(30));
    }
    drop(file);
    until("the line", 3, || (place.lines("O1") == [line("A", "PAID")]).then_some(()));
    assert_eq!(place.quarantine(), []);
    run.stop();
}

#[test]
fn a_bad_file_is_told_at_once_with_its_reason_and_the_stream_goes_on() {
    let place = Place::new();
    let mut run = place.watching();
    place.rename_in("bad.json", "{\"txt_detl_idt_pedi_pgto\": ");
    until("it is told", 3, || {
        let out = run.out();
        (out.contains("1 quarantined") && out.contains("bad.json:1: ends in the middle")).then_some(())
    });
    place.rename_in("good.json", order("O1", "10:00:00", "PAID", &["A"]));
    until("the good one", 2, || (place.lines("O1").len() == 1).then_some(()));
    // Mended: nothing is left of it in quarantine.
    place.rename_in("bad.json", order("O2", "10:00:00", "PAID", &["A"]));
    until("the mended one", 2, || (place.lines("O2").len() == 1).then_some(()));
    assert_eq!(place.quarantine(), []);
    run.stop();
}

/// Packed, the first file looks small, and fills the batch by itself; what was listed with it is taken all the same.
#[test]
fn a_file_that_fills_a_batch_keeps_no_other_from_being_taken() {
    let place = Place::new();
    let pipeline = millrace::pipeline::DEFAULT.replacen("[source]", "[source]\nbatch_bytes = \"1 MiB\"", 1);
    fs::write(place.path("pipeline.toml"), pipeline).unwrap();
    let wide = [order("O1", "10:00:00", "PAID", &["A"]), order("O2", "10:00:00", "PAID", &["A"])];
    let wide = wide.join(&" ".repeat(3 << 20));
    place.put("a.json.zst", zstd::encode_all(wide.as_bytes(), 1).unwrap());
    for name in ["b.json", "c.json", "d.json"] {
        place.put(name, order(name, "10:00:00", "PAID", &["A"]));
    }
    place.expect(&["-p", "pipeline.toml", "run", "--once", "--threads", "1"], 0);
    for id in ["O1", "O2", "b.json", "c.json", "d.json"] {
        assert_eq!(place.lines(id), [line("A", "PAID")], "{id}");
    }
}

#[test]
fn a_deleted_mirror_is_made_again_while_nothing_arrives() {
    let place = Place::new();
    place.put("1.json", order("O1", "10:00:00", "PAID", &["A"]));
    let mut run = place.watching();
    for turn in 0..2 {
        fs::remove_dir_all(place.path("database")).unwrap();
        until(&format!("the mirror is back, {turn}"), 5, || (place.lines("O1").len() == 1).then_some(()));
    }
    assert!(run.err().contains("made again from the tables"), "{}", run.err());
    run.stop();
    place.expect(&["verify"], 0);
}

#[test]
fn a_deleted_mirror_is_level_after_the_next_batch() {
    let place = Place::new();
    place.put("1.json", order("O1", "10:00:00", "PAID", &["A"]));
    let mut run = place.watching();
    fs::remove_dir_all(place.path("database")).unwrap();
    place.rename_in("2.json", order("O2", "10:00:00", "PAID", &["A"]));
    until("both orders", 5, || (place.lines("O1").len() == 1 && place.lines("O2").len() == 1).then_some(()));
    run.stop();
    place.expect(&["verify"], 0);
}

#[test]
fn a_mirror_that_cannot_be_made_stops_nothing_and_comes_back() {
    let place = Place::new();
    let mut run = place.watching();
    fs::remove_dir_all(place.path("database")).unwrap();
    fs::write(place.path("database"), "in the way").unwrap();
    place.rename_in("1.json", order("O1", "10:00:00", "PAID", &["A"]));
    until("the batch is in the tables", 5, || run.out().contains("batch 1").then_some(()));
    place.rename_in("2.json", order("O2", "10:00:00", "PAID", &["A"]));
    until("the next too", 5, || run.out().contains("batch 2").then_some(()));
    assert!(run.err().contains("the mirror is behind"), "{}", run.err());
    fs::remove_file(place.path("database")).unwrap();
    until("both orders", 20, || (place.lines("O1").len() == 1 && place.lines("O2").len() == 1).then_some(()));
    run.stop();
    place.expect(&["verify"], 0);
}

#[test]
fn a_mirror_locked_by_another_program_stops_nothing_and_catches_up() {
    let place = Place::new();
    place.put("1.json", order("O1", "10:00:00", "PAID", &["A"]));
    let mut run = place.watching();
    let other = rusqlite::Connection::open(place.path("database/orders.db")).unwrap();
    other.execute_batch("begin immediate").unwrap();
    place.rename_in("2.json", order("O2", "10:00:00", "PAID", &["A"]));
    until("it says who is in the way", 15, || {
        let err = run.err();
        (err.contains("the mirror is behind") && err.contains("locked by another program")).then_some(())
    });
    assert!(place.expect(&["status"], 0).out.contains("behind, at batch 1"));
    other.execute_batch("rollback").unwrap();
    until("it catches up", 15, || (place.lines("O2").len() == 1).then_some(()));
    run.stop();
    place.expect(&["verify"], 0);
}

#[test]
fn five_hundred_files_in_a_hundred_new_folders_all_arrive() {
    let place = Place::new();
    let mut run = place.watching();
    // Made elsewhere and moved in: nobody tells of what is inside. And made in place: the watcher comes late.
    for folder in 0..100 {
        let home = if folder % 2 == 0 { place.path("draft") } else { place.input(&format!("d{folder}/e")) };
        fs::create_dir_all(&home).unwrap();
        for file in 0..5 {
            let event = order(&format!("O{folder}-{file}"), "10:00:00", "PAID", &["A"]);
            fs::write(home.join(format!("{file}.json")), event).unwrap();
        }
        if folder % 2 == 0 {
            fs::rename(home, place.input(&format!("d{folder}"))).unwrap();
        }
    }
    let count = || place.rows("select count(*) as n from order_item").first().map(|r| r["n"].clone());
    until("five hundred lines", 15, || (count() == Some(500.into())).then_some(()));
    run.stop();
    place.expect(&["verify"], 0);
}

#[test]
fn a_file_that_may_be_read_later_arrives_later() {
    let place = Place::new();
    let mut run = place.watching();
    std::os::unix::fs::symlink("target", place.input("link.json")).unwrap();
    until("it is told", 5, || run.out().contains("link.json: symlink to nothing").then_some(()));
    place.put("target", order("O1", "10:00:00", "PAID", &["A"]));
    until("the line", 10, || (place.lines("O1").len() == 1).then_some(()));
    assert_eq!(run.out().matches("link.json").count(), 1, "told once\n{}", run.out());
    run.stop();
}

#[test]
fn the_source_folder_may_go_and_come_back() {
    let place = Place::new();
    let mut run = place.watching();
    fs::remove_dir(place.path("input_events")).unwrap();
    until("it is told", 10, || run.out().contains("not read").then_some(()));
    assert!(run.is_running());
    place.put("1.json", order("O1", "10:00:00", "PAID", &["A"]));
    until("the line", 10, || (place.lines("O1").len() == 1).then_some(()));
    run.stop();
}

/// Its indexes, by name.
fn indexes(place: &Place) -> Vec<String> {
    let sql = "select name from sqlite_master where type = 'index' and sql is not null order by name";
    place.rows(sql).iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect()
}

/// How many the schema has.
fn declared() -> usize {
    let schema = include_str!("../resources/schema/orders.sql").lines();
    schema.filter(|l| l.starts_with("CREATE INDEX") || l.starts_with("CREATE UNIQUE INDEX")).count()
}

/// A file a batch, so that the mirror works beside the batches.
fn one_by_one(place: &Place) -> [&'static str; 2] {
    let pipeline = millrace::pipeline::DEFAULT.replacen("[source]", "[source]\nbatch_files = 1", 1);
    fs::write(place.path("pipeline.toml"), pipeline).unwrap();
    ["-p", "pipeline.toml"]
}

#[test]
fn after_a_backlog_the_mirror_has_every_row_and_every_index() {
    let place = Place::new();
    let [flag, file] = one_by_one(&place);
    for n in 0..9 {
        place.put(
            &format!("{n}.json"),
            order(&format!("O{}", n % 4), &format!("1{n}:00:00"), "PAID", &["A", "B"]),
        );
    }
    let said = place.expect(&[flag, file, "run", "--once", "--json"], 0);
    let lines = said.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let told: Vec<u64> = lines.filter_map(|line| line["batch"].as_u64()).collect();
    // A compaction has a number of its own.
    assert!(told.len() == 9 && told.is_sorted(), "each is told, in order: {told:?}");
    for n in 0..4 {
        assert_eq!(place.lines(&format!("O{n}")).len(), 2);
    }
    assert_eq!(indexes(&place).len(), declared());
    place.expect(&[flag, file, "verify"], 0);
}

#[test]
fn a_backlog_that_is_stopped_or_killed_ends_with_every_index_all_the_same() {
    for kill in [false, true] {
        let place = Place::new();
        let [flag, file] = one_by_one(&place);
        for n in 0..80 {
            place.put(&format!("{n:03}.json"), order(&format!("O{n}"), "10:00:00", "PAID", &["A"]));
        }
        let mut run = place.start(&[flag, file, "run"]);
        until("some batches", 20, || run.out().contains("batch 3 ").then_some(()));
        if kill {
            run.signal(Signal::KILL);
            run.ended(5);
        } else {
            run.stop();
        }
        assert!(place.rows("select * from _files").len() < 80, "it was to be cut short");
        place.expect(&[flag, file, "run", "--once"], 0);
        assert_eq!(indexes(&place).len(), declared(), "killed: {kill}");
        assert_eq!(place.rows("select count(*) as n from order_item")[0]["n"], 80);
        place.expect(&[flag, file, "verify"], 0);
    }
}

/// The version of the newest log checkpoint of a table, and how many there are.
fn log_checkpoints(place: &Place, table: &str) -> (Option<u64>, usize) {
    let names = fs::read_dir(place.path("tables").join(table).join("_delta_log")).unwrap();
    let names = names.map(|e| e.unwrap().file_name().into_string().unwrap());
    let all: Vec<u64> =
        names.filter_map(|n| n.strip_suffix(".checkpoint.parquet").and_then(|v| v.parse().ok())).collect();
    (all.iter().max().copied(), all.len())
}

/// So many batches, one after the other.
fn trickle(place: &Place, run: &support::place::Live, from: usize, batches: usize) {
    for n in from..from + batches {
        place.rename_in(&format!("{n}.json"), order(&format!("O{n}"), "10:00:00", "PAID", &["A", "B"]));
        let line = format!("batch {n}");
        until(&line, 5, || run.out().lines().any(|l| l.contains(&line)).then_some(()));
    }
}

/// While batches come nothing is put in order, once they have ceased it is; and not again until there is something.
#[test]
fn left_alone_a_run_makes_its_tables_ready_to_be_read() {
    let place = Place::new();
    let mut run = place.watching();
    trickle(&place, &run, 1, 6);
    assert_eq!(log_checkpoints(&place, "order_item"), (None, 0), "six short pauses");
    let (version, _) = until("a log checkpoint", 20, || {
        let found = log_checkpoints(&place, "order_item");
        found.0.map(|version| (version, found.1))
    });
    // Six batches, then the commit that made one file of six.
    assert_eq!(version, 7);
    std::thread::sleep(Duration::from_millis(6000));
    assert_eq!(log_checkpoints(&place, "order_item"), (Some(7), 1));
    place.rename_in("last.json", order("O9", "10:00:00", "PAID", &["A"]));
    until("the last", 5, || (place.lines("O9") == [line("A", "PAID")]).then_some(()));
    run.stop();
    place.expect(&["verify"], 0);
}

/// Whoever stops a run does not wait for anything but the batch in hand.
#[test]
fn a_stop_puts_nothing_in_order() {
    let place = Place::new();
    let mut run = place.watching();
    trickle(&place, &run, 1, 6);
    run.stop();
    assert_eq!(log_checkpoints(&place, "order_item"), (None, 0));
    // Neither does the end of a run, which somebody waits for, where there is so little.
    place.run_once(0);
    assert_eq!(log_checkpoints(&place, "order_item"), (None, 0));
    place.expect(&["verify"], 0);
}

/// Files, and how many of them had changed, of every batch; and how many files were seen in all.
fn batches(out: &str) -> (Vec<(u64, u64)>, u64) {
    let said: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kind: &'static str| said.iter().filter(move |said| said["type"] == kind);
    let number = |said: &Value, name: &str| said[name].as_u64().unwrap();
    let each = of("batch").map(|batch| (number(batch, "files"), number(batch, "changed"))).collect();
    (each, of("end").map(|end| number(end, "files_seen")).sum())
}

/// Two files that are known, then changed, and two new ones: by name, the changed ones would come first.
fn changed_and_new() -> Place {
    let place = Place::new();
    for id in ["A", "B", "C"] {
        place.put(&format!("{id}.json"), order(id, "10:00:00", "PAID", &["1"]));
    }
    place.run_once(0);
    for id in ["A", "B", "Y", "Z"] {
        place.put(&format!("{id}.json"), order(id, "11:00:00", "SENT", &["1"]));
    }
    place
}

#[track_caller]
fn all_are_taken(place: &Place) {
    for id in ["A", "B", "Y", "Z"] {
        assert_eq!(place.lines(id), [line("1", "SENT")], "{id}");
    }
    assert_eq!(place.lines("C"), [line("1", "PAID")]);
}

#[test]
fn a_start_takes_new_files_first_and_changed_ones_all_the_same() {
    let place = changed_and_new();
    let said = place.expect(&["--json", "run", "--once"], 0);
    assert_eq!(batches(&said.out), (vec![(2, 0), (2, 2)], 5), "{}", said.out);
    all_are_taken(&place);
    // Nothing new, only changed; then nothing at all.
    place.put("C.json", order("C", "11:00:00", "SENT", &["1"]));
    let said = place.expect(&["--json", "run", "--once"], 0);
    assert_eq!(batches(&said.out), (vec![(1, 1)], 5), "{}", said.out);
    assert_eq!(place.lines("C"), [line("1", "SENT")]);
    let said = place.expect(&["--json", "run", "--once"], 0);
    assert_eq!(batches(&said.out), (vec![], 5), "{}", said.out);
    place.expect(&["verify"], 0);
}

#[test]
fn a_file_written_just_before_a_start_is_new_and_comes_first_too() {
    let place = Place::new();
    place.put("A.json", order("A", "10:00:00", "PAID", &["1"]));
    place.run_once(0);
    place.put("A.json", order("A", "11:00:00", "SENT", &["1"]));
    fs::write(place.input("Z.json"), order("Z", "11:00:00", "SENT", &["1"])).unwrap();
    let said = place.expect(&["--json", "run", "--once"], 0);
    assert_eq!(batches(&said.out), (vec![(1, 0), (1, 1)], 2), "{}", said.out);
    assert_eq!((place.lines("A"), place.lines("Z")), (vec![line("1", "SENT")], vec![line("1", "SENT")]));
}

#[test]
fn a_run_that_watches_has_caught_up_when_the_changed_files_are_taken_too() {
    let place = changed_and_new();
    let mut run = place.watching();
    all_are_taken(&place);
    run.stop();
    assert!(run.out().contains("4 files with 4 events in 2 batches"), "{}", run.out());
    place.expect(&["verify"], 0);
}
