//! Promise 4: no bad input stops the stream or vanishes. It is quarantined with its place and reason, or told as
//! unread; the good files beside it arrive.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod support;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use millrace::batch::Unread;
use millrace::report::BatchReport;
use millrace::run::{Ended, Found, Observer, Options, Places, Session, Stop, run};
use millrace::tables::LocalDisk;
use millrace::{clock, maintain, pipeline};
use support::place::{Place, age, order, until};

/// A place with good files before and after whatever is put between them.
fn place() -> Place {
    let place = Place::new();
    place.put("a.json", order("FIRST", "10:00:00", "PAID", &["A"]));
    place.put("z.json", order("LAST", "10:00:00", "PAID", &["A"]));
    place
}

#[track_caller]
fn the_good_ones_arrived(place: &Place) {
    for order in ["FIRST", "LAST"] {
        assert_eq!(place.lines(order).len(), 1, "{order}");
    }
}

/// The file is quarantined once, at this line and for this reason; a second run has nothing to do.
#[track_caller]
fn is_quarantined(name: &str, bytes: impl AsRef<[u8]>, line: i64, reason: &str) {
    let place = place();
    place.put(name, bytes);
    let said = place.run_once(3);
    assert!(said.out.contains(&format!("{name}:{line}:")), "{}", said.out);
    the_good_ones_arrived(&place);
    let found = place.quarantine();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].0.as_str(), found[0].1), (name, line));
    assert!(found[0].2.contains(reason), "{found:?}");
    assert!(place.run_once(0).out.contains("nothing new: 3 files"));
    place.expect(&["verify"], 0);
}

/// The name is told as unread for this reason, in every run.
#[track_caller]
fn is_unread(place: &Place, name: &str, reason: &str) {
    for turn in 0..2 {
        let said = place.run_once(3);
        let told = format!("not read, tried again later: {name}: {reason}");
        assert_eq!(said.out.matches(&told).count(), 1, "run {turn}: {told}\n{}\n{}", said.out, said.err);
        assert!(said.out.contains(" · 1 not read"), "{}", said.out);
        the_good_ones_arrived(place);
        assert_eq!(place.quarantine(), []);
    }
    let files = place.rows("select file from _files order by file");
    assert_eq!(files.len(), 2, "what was not read is not in the ledger: {files:?}");
}

// ----------------------------------------------------------------------------------------------- not JSON at all

#[test]
fn an_empty_file() {
    is_quarantined("m.json", "", 1, "empty file");
}

#[test]
fn a_file_of_white_space() {
    is_quarantined("m.json", " \n\t\r\n", 1, "empty file");
}

#[test]
fn a_truncated_file() {
    let whole = order("O1", "10:00:00", "PAID", &["A", "B"]);
    is_quarantined("m.json", &whole[..whole.len() / 2], 1, "ends in the middle");
}

#[test]
fn invalid_utf_8() {
    let event = order("O?1", "10:00:00", "PAID", &["A"]).replace('?', "\u{1}").into_bytes();
    let bytes: Vec<u8> = event.into_iter().map(|b| if b == 1 { 0xff } else { b }).collect();
    is_quarantined("m.json", bytes, 1, "not UTF-8");
}

#[test]
fn utf_16() {
    let bytes: Vec<u8> =
        order("O1", "10:00:00", "PAID", &["A"]).encode_utf16().flat_map(u16::to_le_bytes).collect();
    let bytes = [vec![0xff, 0xfe], bytes].concat();
    let place = place();
    place.put("m.json", bytes);
    place.run_once(3);
    the_good_ones_arrived(&place);
    assert!(place.quarantine().iter().any(|(file, _, _)| file == "m.json"));
}

#[test]
fn two_hundred_levels_of_arrays() {
    let (open, close) = ("[".repeat(200), "]".repeat(200));
    is_quarantined("m.json", format!("{open}{close}"), 1, "nested deeper than 128 levels");
}

#[test]
fn two_hundred_levels_of_objects_in_a_value_that_nobody_asks_for() {
    let deep = format!("{}1{}", "{\"a\":".repeat(200), "}".repeat(200));
    let event = order("O1", "10:00:00", "PAID", &["A"]).replacen('{', &format!("{{\"x\":{deep},"), 1);
    is_quarantined("m.json", event, 1, "nested deeper than 128 levels");
}

#[test]
fn a_broken_line_among_good_ones_costs_only_itself() {
    let place = place();
    let good = |id: &str| order(id, "10:00:00", "PAID", &["A"]);
    place.put(
        "m.ndjson",
        format!("{}\n{{\"broken\": tru\n{}\nnonsense\n{}", good("O1"), good("O2"), good("O3")),
    );
    place.run_once(3);
    the_good_ones_arrived(&place);
    for order in ["O1", "O2", "O3"] {
        assert_eq!(place.lines(order).len(), 1, "{order}");
    }
    let lines: Vec<i64> = place.quarantine().iter().map(|(_, line, _)| *line).collect();
    assert_eq!(lines, [2, 4]);
}

#[test]
fn compressed_files_that_are_not_or_not_whole() {
    let place = place();
    let mut gz = GzEncoder::new(Vec::new(), Compression::default());
    gz.write_all(order("O1", "10:00:00", "PAID", &["A", "B", "C"]).as_bytes()).unwrap();
    let gz = gz.finish().unwrap();
    place.put("cut.json.gz", &gz[..gz.len() / 2]);
    place.put("plain.json.gz", order("O2", "10:00:00", "PAID", &["A"]));
    place.put("plain.json.zst", order("O3", "10:00:00", "PAID", &["A"]));
    let mut damaged = gz.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    place.put("damaged.json.gz", damaged);
    place.run_once(3);
    the_good_ones_arrived(&place);
    let found = place.quarantine();
    for file in ["cut.json.gz", "plain.json.gz", "plain.json.zst", "damaged.json.gz"] {
        assert!(found.iter().any(|(f, _, why)| f == file && why.contains("damaged")), "{file}: {found:?}");
    }
    place.run_once(0);
}

// ----------------------------------------------------------------------------------------- JSON, but not an event

#[test]
fn an_event_without_its_key() {
    is_quarantined(
        "m.json",
        "\n\n{\"dat_atui\":\"2024-03-01T10:00:00Z\"}",
        3,
        "event key $.txt_detl_idt_pedi_pgto is missing",
    );
}

#[test]
fn a_text_where_a_number_belongs_names_every_such_column() {
    let event = r#"{"txt_detl_idt_pedi_pgto":"O1","dat_atui":"2024-03-01T10:00:00Z",
        "list_item_pedi":[{"cod_vrne_prod":"A","qtd_item_pedi":"many","vlr_fret":"a lot"}]}"#;
    is_quarantined(
        "m.json",
        event,
        1,
        "shipping_cost (order_item[0], $.list_item_pedi[0].vlr_fret): \"a lot\"",
    );
    is_quarantined("m.json", event, 1, "\"many\" is not int64");
}

#[test]
fn a_sequence_that_is_no_time() {
    is_quarantined("m.json", order("O1", "10:00:00", "PAID", &["A"]).replace("2024-", "20x4-"), 1, "20x4-");
}

#[test]
fn a_scalar_and_an_array_of_scalars() {
    is_quarantined("m.json", "42", 1, "");
    is_quarantined("m.json", "[\"event\"]", 1, "");
}

// ----------------------------------------------------------------------------------------------------- too large

/// Writes a gz file that holds `head` and then a gibibyte of `byte`.
fn gibibyte_of(head: &[u8], byte: u8, path: &Path) {
    let mut gz = GzEncoder::new(File::create(path).unwrap(), Compression::new(6));
    gz.write_all(head).unwrap();
    let mebibyte = vec![byte; 1 << 20];
    (0..1024).for_each(|_| gz.write_all(&mebibyte).unwrap());
    gz.finish().unwrap();
    age(path);
}

/// The most memory the process had at any time, in MB; looked at until it ends.
fn peak_of(run: &mut support::place::Live) -> u64 {
    let mut peak = None;
    let path = format!("/proc/{}/status", run.pid());
    until("the run ends", 60, || {
        let status = fs::read_to_string(&path).unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        let kb: Option<u64> = line.and_then(|l| l.trim().trim_end_matches(" kB").parse().ok());
        // Gone with the process's memory: the last look counts.
        peak = kb.or(peak);
        (!run.is_running()).then_some(())
    });
    peak.unwrap() / 1024
}

/// A bomb costs neither memory nor the files beside it, and is quarantined in a few rows.
#[track_caller]
fn is_defused(head: &[u8], byte: u8, reason: &str) {
    let place = place();
    gibibyte_of(head, byte, &place.input("m.json.gz"));
    let size = fs::metadata(place.input("m.json.gz")).unwrap().len();
    assert!(size < 2 << 20, "{size} bytes: nothing like a bomb");
    let mut run = place.start(&["run", "--once"]);
    let peak = peak_of(&mut run);
    assert_eq!(run.ended(1).code(), Some(3), "{}\n{}", run.out(), run.err());
    assert!(peak < 400, "{peak} MB");
    the_good_ones_arrived(&place);
    let found = place.quarantine();
    assert!(found.len() < 10 && found.iter().any(|(_, _, why)| why.contains(reason)), "{found:?}");
    place.run_once(0);
}

#[test]
fn a_gibibyte_of_brackets_from_a_small_gz() {
    is_defused(b"", b'[', "nested deeper than 128 levels");
}

#[test]
fn a_gibibyte_of_one_string_that_never_ends_from_a_small_gz() {
    is_defused(b"{\"a\":\"", b'a', "larger than 67108864 bytes");
}

#[test]
fn a_gibibyte_of_nothing_from_a_small_gz() {
    is_defused(b"", b' ', "decompresses to more than 200 times its size");
}

#[test]
fn a_bomb_of_bad_documents_from_a_small_gz() {
    let place = place();
    let mut gz = GzEncoder::new(File::create(place.input("m.ndjson.gz")).unwrap(), Compression::new(6));
    (0..60).for_each(|_| gz.write_all(&b"1\n".repeat(10_000)).unwrap());
    gz.finish().unwrap();
    age(&place.input("m.ndjson.gz"));
    assert!(fs::metadata(place.input("m.ndjson.gz")).unwrap().len() < 8 << 10);
    let mut run = place.start(&["run", "--once"]);
    let peak = peak_of(&mut run);
    assert_eq!(run.ended(1).code(), Some(3), "{}\n{}", run.out(), run.err());
    assert!(run.out().contains("600,000 quarantined"), "{}", run.out());
    assert!(peak < 400, "{peak} MB");
    the_good_ones_arrived(&place);
    let found = place.quarantine();
    assert_eq!(found.len(), 10_001);
    assert_eq!(found[10_000].1, 10_001, "the line where the rest begins");
    assert!(found[10_000].2.starts_with("590000 more from byte 20000 on"), "{}", found[10_000].2);
    place.run_once(0);
}

// ------------------------------------------------------------------------------------------ no file, or not ours

#[test]
fn a_directory_named_like_a_file_is_told_and_what_is_in_it_is_read() {
    let place = place();
    place.put("x.json/m.json", order("O1", "10:00:00", "PAID", &["A"]));
    let said = place.run_once(0);
    assert!(said.err.contains("x.json is a folder named like an event file"), "{}", said.err);
    the_good_ones_arrived(&place);
    assert_eq!(place.lines("O1").len(), 1);
}

#[test]
fn a_pipe_is_never_waited_for() {
    let place = place();
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    let (here, fifo) = (rustix::fs::CWD, rustix::fs::FileType::Fifo);
    rustix::fs::mknodat(here, place.input("m.json"), fifo, mode, 0).unwrap();
    is_unread(&place, "m.json", "not a regular file");
}

#[test]
fn a_symlink_out_of_the_folder_is_not_followed() {
    let place = place();
    place.put_at(&place.path("secret.json"), order("SECRET", "10:00:00", "PAID", &["A"]));
    symlink("../secret.json", place.input("m.json")).unwrap();
    is_unread(&place, "m.json", "symlink out of the folder");
    assert_eq!(place.lines("SECRET"), []);
}

#[test]
fn a_symlink_to_nothing_and_one_to_itself() {
    let place = place();
    symlink("nowhere.json", place.input("m.json")).unwrap();
    is_unread(&place, "m.json", "symlink to nothing");
    fs::remove_file(place.input("m.json")).unwrap();
    symlink("m.json", place.input("m.json")).unwrap();
    let said = place.run_once(3);
    assert!(said.out.contains("m.json: symlink to nothing: Too many levels"), "{}", said.out);
}

/// Runs the binary as somebody who is not root, in a folder that is theirs.
fn run_as_nobody(place: &Place) -> std::process::Output {
    const NOBODY: u32 = 65534;
    let mine = |path: &Path| chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    let input = place.path("input_events");
    let mut theirs = vec![place.folder().to_owned(), input.clone()];
    theirs.extend(fs::read_dir(input).unwrap().map(|e| e.unwrap().path()));
    if !rustix::process::geteuid().is_root() {
        return support::command(place.folder(), &["run", "--once"]).output().unwrap();
    }
    theirs.iter().for_each(|path| mine(path));
    // The target folder may be closed to others: they get the binary in their own.
    let binary = place.path("millrace");
    let built = env!("CARGO_BIN_EXE_millrace");
    if !binary.exists() && fs::hard_link(built, &binary).is_err() {
        fs::copy(built, &binary).unwrap();
    }
    let mut command = std::process::Command::new(binary);
    command.args(["run", "--once"]).current_dir(place.folder()).uid(NOBODY).gid(NOBODY);
    // A process that another test was just starting may still hold the copy open for writing.
    until("the binary may be run", 10, || match command.output() {
        Err(e) if e.kind() == std::io::ErrorKind::ExecutableFileBusy => None,
        done => Some(done.unwrap()),
    })
}

#[test]
fn a_file_and_a_folder_that_may_not_be_read() {
    let place = place();
    place.put("m.json", order("O1", "10:00:00", "PAID", &["A"]));
    place.put("shut/n.json", order("O2", "10:00:00", "PAID", &["A"]));
    let mode =
        |name: &str, bits| fs::set_permissions(place.input(name), PermissionsExt::from_mode(bits)).unwrap();
    mode("m.json", 0);
    mode("shut", 0);
    for turn in 0..2 {
        let output = run_as_nobody(&place);
        let out = String::from_utf8_lossy(&output.stdout);
        assert_eq!(
            output.status.code(),
            Some(3),
            "run {turn}: {out}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        for name in ["m.json", "shut"] {
            let told = format!("{name}: cannot be read: Permission denied");
            assert_eq!(out.matches(&told).count(), 1, "run {turn}: {told}\n{out}");
        }
        assert!(out.contains(" · 2 not read"), "{out}");
    }
    the_good_ones_arrived(&place);
    assert_eq!((place.lines("O1"), place.quarantine()), (vec![], vec![]));
    // Permission given: it is taken, and nothing is left to tell.
    mode("m.json", 0o644);
    mode("shut", 0o755);
    assert_eq!(run_as_nobody(&place).status.code(), Some(0));
    assert_eq!((place.lines("O1").len(), place.lines("O2").len()), (1, 1));
}

#[test]
fn names_of_any_kind() {
    let place = place();
    let names: [&[u8]; 8] = [
        b"it's \"quoted\".json",
        b"new\nline.json",
        b"\x1b[31mred.json",
        b"not\xffutf8.json",
        b"a..b.json",
        b"back\\slash.json",
        b"'); drop table order_item; --.json",
        "São Paulo 東京.json".as_bytes(),
    ];
    for (at, name) in names.iter().enumerate() {
        let name = OsStr::from_bytes(name);
        let folder = place.path("input_events");
        place.put_at(&folder.join(name), order(&format!("N{at}"), "10:00:00", "PAID", &["A"]));
        // The same name once more, with something bad in it.
        place.put_at(&folder.join("bad").join(name), "{");
    }
    let said = place.run_once(3);
    assert!(!said.out.contains('\u{1b}') && !said.out.contains("new\nline"), "{}", said.out);
    the_good_ones_arrived(&place);
    for at in 0..names.len() {
        assert_eq!(place.lines(&format!("N{at}")).len(), 1, "{at}");
    }
    let files: Vec<String> = place.quarantine().into_iter().map(|(file, _, _)| file).collect();
    assert_eq!(files.len(), names.len());
    assert!(files.iter().any(|f| f == "bad/not\\xffutf8.json"), "{files:?}");
    assert!(files.iter().any(|f| f == "bad/new\nline.json"), "{files:?}");
    let sources = place.rows("select distinct _source_file as f from order_item");
    assert_eq!(sources.len(), names.len() + 2);
    assert!(place.run_once(0).out.contains("nothing new"));
    place.expect(&["verify"], 0);
}

// ------------------------------------------------------------------------------------- what changes meanwhile

/// Does something to the folder between listing and reading, once.
struct Meddler<F: FnMut()> {
    meddle: Option<F>,
    told: Vec<String>,
}

impl<F: FnMut()> Observer for Meddler<F> {
    fn found(&mut self, _: &Found) {
        if let Some(mut meddle) = self.meddle.take() {
            meddle();
        }
    }
    fn batch(&mut self, _: &BatchReport, _: u64) {}
    fn unread(&mut self, unread: &[Unread]) {
        self.told.extend(unread.iter().map(|u| format!("{}: {}", u.name, u.reason)));
    }
    fn note(&mut self, _: &str) {}
    fn caught_up(&mut self, _: &Ended) {}
}

fn run_with(place: &Place, meddle: impl FnMut()) -> (Ended, Vec<String>) {
    let mut pipeline = pipeline::parse(pipeline::DEFAULT, "orders.toml").unwrap();
    pipeline.source.path = place.path("input_events");
    let source = pipeline.source.path.clone();
    let places = Places {
        tables: place.path("tables"),
        checkpoint: place.path("checkpoint"),
        database: Some(place.path("database/orders.db")),
    };
    let policy = maintain::Policy::default();
    let session =
        Session::open(&places, Arc::new(pipeline), Arc::new(LocalDisk), clock::system(), policy).unwrap();
    let options = Options { source, once: true, threads: 2 };
    let mut meddler = Meddler { meddle: Some(meddle), told: Vec::new() };
    let ended = run(session, &options, &Stop::default(), &mut meddler).unwrap();
    (ended, meddler.told)
}

#[test]
fn a_file_that_vanishes_between_listing_and_reading() {
    let place = place();
    place.put("m.json", order("O1", "10:00:00", "PAID", &["A"]));
    let gone = place.input("m.json");
    let (ended, told) = run_with(&place, || fs::remove_file(&gone).unwrap());
    assert_eq!(told, ["m.json: vanished before it was read"]);
    assert_eq!(ended.unread["m.json"], "vanished before it was read");
    assert!(ended.unclean());
    the_good_ones_arrived(&place);
    // It is not there, so there is nothing left to tell.
    assert!(place.run_once(0).out.contains("nothing new: 2 files"));
}

#[test]
fn a_file_that_grows_between_listing_and_reading_is_taken_whole() {
    let place = place();
    let (one, two) = (order("O1", "10:00:00", "PAID", &["A"]), order("O2", "10:00:00", "PAID", &["A"]));
    place.put("m.ndjson", &one);
    let grows = place.input("m.ndjson");
    let (ended, told) = run_with(&place, || fs::write(&grows, format!("{one}\n{two}")).unwrap());
    assert!(!ended.unclean() && told.is_empty(), "{ended:?} {told:?}");
    the_good_ones_arrived(&place);
    assert_eq!((place.lines("O1").len(), place.lines("O2").len()), (1, 1));
    let ranges = place.rows("select * from _files where file = 'm.ndjson'");
    assert_eq!(ranges.len(), 1, "read once, as it was in the end");
}

#[test]
fn files_that_come_and_go_while_run_watches() {
    let place = place();
    let mut run = place.watching();
    for turn in 0..300 {
        let name = format!("m{}.json", turn % 7);
        place.rename_in(&name, order("O1", "10:00:00", "PAID", &["A"]));
        if turn % 3 != 0 {
            fs::remove_file(place.input(&name)).unwrap();
        }
        std::thread::sleep(Duration::from_millis(3));
    }
    place.rename_in("n.json", order("O2", "10:00:00", "PAID", &["A"]));
    until("the last file", 10, || (place.lines("O2").len() == 1).then_some(()));
    assert_eq!(place.quarantine(), []);
    run.stop();
    the_good_ones_arrived(&place);
    place.expect(&["verify"], 0);
}

// ------------------------------------------------------------------------------------------------------- secrets

#[test]
fn a_secret_reaches_neither_tables_nor_mirror_nor_output() {
    const SECRET: &str = "tok-5ecre7";
    let place = place();
    let with = |token: &str, rest: &str| {
        format!(r#"{{"txt_detl_idt_pedi_pgto":"O1","dat_atui":"2024-03-01T10:00:00Z",{token}{rest}}}"#)
    };
    let token = format!(r#""cod_aces_tokn":"{SECRET}""#);
    let line = r#","list_item_pedi":[{"cod_vrne_prod":"A"}]"#;
    let misfit = r#","list_item_pedi":[{"cod_vrne_prod":"A","qtd_item_pedi":"many"}]"#;
    place.put("good.json", with(&token, line));
    place.put("misfit.json", with(&token, misfit));
    place.put("nokey.json", format!("{{{token}}}"));
    place.put("object.json", with(&format!(r#""cod_aces_tokn":{{"is":"{SECRET}"}}"#), line));
    place.put("array.json", with(&format!(r#""cod_aces_tokn":["{SECRET}"]"#), line));
    place.put("escaped.json", with(&token.replace("tokn", "\\u0074okn"), misfit));
    place.put("twice.json", with(&format!(r#"{token},"cod_aces_tokn":"other""#), misfit));
    place.put("truncated.json", with(&token, line).trim_end_matches('}'));
    place.put(
        "broken.ndjson",
        format!("{}\nnot json {SECRET}\n{{\"cod_aces_tokn\":{SECRET}}}", with(&token, line)),
    );
    place.put("surrogate.json", with(&token.replace(SECRET, &format!("{SECRET}\\ud800")), line));
    let said = place.run_once(3);
    the_good_ones_arrived(&place);

    let found = place.quarantine();
    for file in ["misfit", "nokey", "object", "array", "escaped", "twice", "truncated", "surrogate"] {
        assert!(found.iter().any(|(f, _, _)| *f == format!("{file}.json")), "{file}: {found:?}");
    }
    let texts = place.rows("select text from _quarantine where file = 'misfit.json'");
    assert!(texts[0]["text"].as_str().unwrap().contains("qtd_item_pedi"), "the rest is kept: {texts:?}");

    let check = place.expect(&["check", "input_events/misfit.json", "input_events/object.json"], 3);
    let names = support::oracle::names().into_iter().chain(["_quarantine", "_files"]);
    let mut shown: Vec<String> =
        names.map(|n| format!("{:?}", place.rows(&format!("select * from {n}")))).collect();
    shown.extend([said.out, said.err, check.out, check.err]);
    shown.push(place.expect(&["status", "--json"], 0).out);
    for text in shown {
        assert!(!text.contains(SECRET), "{text}");
    }
    // Delta agrees with the mirror, so it has none either; small texts would stand there readable.
    place.expect(&["verify"], 0);
    let database = fs::read(place.path("database/orders.db")).unwrap();
    assert!(!database.windows(SECRET.len()).any(|w| w == SECRET.as_bytes()));
}
