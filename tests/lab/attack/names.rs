//! What file names, links, pipes and devices can do: be told, and nothing else.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, OFlags, makedev, mkdirat, mknodat, openat};
use serde_json::Value;

use crate::figures::tell;
use crate::support::place::{Place, age, order, until};
use crate::support::{command, folders};

/// Names that mean something to a shell, a terminal, SQL, JSON, a log or a path, with `.json` to come.
fn hostile() -> Vec<OsString> {
    let mut all: Vec<Vec<u8>> = [
        "it's",
        "\"quoted\"",
        "'); DROP TABLE order_item; --",
        "' OR '1'='1",
        "new\nline",
        "cr\rlf\r\n2026-01-01 ERROR millrace: all lost",
        "tab\tbell\u{7}backspace\u{8}\u{8}\u{8}",
        "\u{1b}[31mred\u{1b}[0m",
        "\u{1b}]0;title\u{7}",
        "\u{1b}[2J\u{1b}[H",
        "\u{9b}31mc1",
        "\u{202e}nosj.exe",
        "\u{2066}isolate\u{2069}",
        "zero\u{200b}width",
        "a..b",
        "x..",
        "back\\slash",
        "\\xff",
        "\"}\n{\"add\":{\"path\":\"x\"}}",
        "{\"a\":1}",
        "${jndi:ldap:x}",
        "$(touch pwned)",
        "`touch pwned`",
        "%s%n%n",
        "{}{0}",
        "-rf",
        "--json",
        "*",
        "?",
        "[a]",
        "~",
        "#",
        "a|b",
        "a;b",
        "a&b",
        "file:x?mode=memory",
        "São Paulo 東京 😀",
        "Sa\u{303}o Paulo 東京 😀",
        "con",
        " leading",
        "trailing ",
        "0",
        "null",
    ]
    .map(|n| n.as_bytes().to_vec())
    .into();
    all.extend([
        b"\xff\xfe".to_vec(),
        b"half\xc3".to_vec(),
        b"\x80\x9b31m".to_vec(),
        b"\x01\x02\x7f".to_vec(),
    ]);
    all.extend([vec![b'n'; 250], "é".repeat(125).into_bytes(), b"\xff".repeat(250)]);
    all.into_iter().map(|name| OsString::from_vec([name, b".json".to_vec()].concat())).collect()
}

/// Nothing that a terminal obeys.
fn is_tame(text: &str) -> bool {
    let turned = |c| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().all(|c| c == '\n' || !c.is_control() && !turned(c))
}

#[test]
fn row_15_hostile_names_are_data_and_nothing_else() {
    let place = Place::new();
    let names = hostile();
    let folder = place.path("input_events");
    for (at, name) in names.iter().enumerate() {
        place.put_at(&folder.join(name), order(&format!("N{at}"), "10:00:00", "PAID", &["A"]));
        // Once more with something bad in it, once unreadable, and as a folder's name.
        place.put_at(&folder.join("bad").join(name), "{");
        let unread = folder.join("unread").join(name);
        fs::create_dir_all(unread.parent().unwrap()).unwrap();
        symlink("/nowhere", unread).unwrap();
        place.put_at(&folder.join("d").join(name).join("in.json"), order("D", "10:00:00", "PAID", &["A"]));
    }
    let mut said = Vec::new();
    let mut tell_all = |arguments: &[&str], code: i32| {
        let output = place.expect(arguments, code);
        said.extend([output.out, output.err]);
    };
    tell_all(&["run", "--once"], 3);
    tell_all(&["status"], 0);
    tell_all(&["verify"], 0);
    tell_all(&["query", "select * from _quarantine"], 0);
    tell_all(&["query", "select file from _files"], 0);
    tell_all(&["query", "--json", "select file from _files"], 0);
    // Ten of the files by name, good, bad, and one that is not there.
    for name in names.iter().filter(|n| n.to_str().is_some()).take(20) {
        for path in [folder.join(name), folder.join("bad").join(name), folder.join("gone").join(name)] {
            let output = command(place.folder(), &["check", "--"]).arg(&path).output().unwrap();
            assert_eq!(output.status.code() == Some(0), path.parent() == Some(&folder), "{path:?}");
            said.push(String::from_utf8_lossy(&output.stdout).into_owned());
            said.push(String::from_utf8_lossy(&output.stderr).into_owned());
        }
    }
    for text in &said {
        let bad = text.lines().find(|line| !is_tame(line));
        assert!(bad.is_none(), "a terminal would obey {bad:?}");
        assert!(
            !text.lines().any(|l| l.starts_with("2026-01-01 ERROR")),
            "a line of the log was forged: {text}"
        );
    }
    let wordy = command(place.folder(), &["run", "--once"]).env("MILLRACE_LOG", "trace").output().unwrap();
    let log = String::from_utf8_lossy(&wordy.stderr).into_owned();
    assert!(is_tame(&log.replace('\t', " ")), "the log: {:?}", log.lines().find(|l| !is_tame(l)));

    // Every name is in the ledger, as it is, and every file's rows are there.
    let shown = |below: &str, name: &OsStr| format!("{below}{}", millrace::discover::display_name(name));
    let ledger: BTreeSet<String> = place
        .rows("select file from _files")
        .iter()
        .map(|row| row["file"].as_str().unwrap().to_owned())
        .collect();
    for (at, name) in names.iter().enumerate() {
        assert!(ledger.contains(&shown("", name)), "{name:?} is not in the ledger");
        assert!(
            ledger.contains(&shown("bad/", name))
                && ledger.contains(&format!("{}/in.json", shown("d/", name)))
        );
        assert_eq!(place.lines(&format!("N{at}")).len(), 1, "{name:?}");
    }
    assert_eq!(ledger.len(), names.len() * 3);
    assert_eq!(place.quarantine().len(), names.len());
    // No name has become an action of a log, and nothing was run.
    assert!(every_action_is_ours(&place.path("tables")) > 0);
    assert!(!place.path("pwned").exists() && !folder.join("pwned").exists());
    // Machines get each name whole, in lines of JSON.
    fs::remove_dir_all(place.path("tables")).unwrap();
    let json = place.expect(&["run", "--once", "--json"], 3);
    assert!(
        json.out.lines().chain(json.err.lines()).all(|l| serde_json::from_str::<Value>(l).is_ok()),
        "{json:?}"
    );
    assert!(is_tame(&json.out) && is_tame(&json.err));
    let told = said.len() as u64;
    tell(
        15,
        "file names",
        &[("names", names.len() as u64), ("files", ledger.len() as u64), ("outputs tame", told)],
    );
}

/// Every line of every commit is one action of ours. How many.
fn every_action_is_ours(tables: &Path) -> u64 {
    const KNOWN: [&str; 7] = ["commitInfo", "txn", "protocol", "metaData", "add", "remove", "domainMetadata"];
    let mut actions = 0;
    for (path, bytes) in folders::bytes(tables) {
        if path.extension() == Some(OsStr::new("json")) && path.iter().any(|p| p == "_delta_log") {
            for line in String::from_utf8(bytes).unwrap().lines() {
                let action: Value = serde_json::from_str(line).unwrap();
                let keys: Vec<&String> = action.as_object().unwrap().keys().collect();
                assert!(keys.len() == 1 && KNOWN.contains(&keys[0].as_str()), "{}: {line}", path.display());
                assert!(action["add"]["path"].as_str().is_none_or(|p| p.ends_with(".parquet")), "{line}");
                actions += 1;
            }
        }
    }
    actions
}

/// Runs once, in good time; what it told, and that the good file beside is taken.
#[track_caller]
fn told_in_time(place: &Place, seconds: u64) -> String {
    place.put("good.json", order("GOOD", "10:00:00", "PAID", &["A"]));
    let begin = Instant::now();
    let mut run = place.start(&["run", "--once"]);
    let status = run.ended(seconds);
    assert_eq!(status.code(), Some(3), "{}\n{}", run.out(), run.err());
    assert!(begin.elapsed() < Duration::from_secs(seconds));
    assert_eq!(place.lines("GOOD").len(), 1);
    run.out()
}

#[test]
fn row_15_links_lead_nowhere_but_into_the_folder() {
    let place = Place::new();
    place.put_at(&place.path("secret.json"), order("SECRET", "10:00:00", "PAID", &["A"]));
    place.put_at(&place.path("secrets/s.json"), order("SECRET", "10:00:00", "PAID", &["A"]));
    place.put("real/in.json", order("IN", "10:00:00", "PAID", &["A"]));
    let out = place.path("secret.json");
    let mut refused = Vec::new();
    let mut link = |target: &Path, name: &str, told: bool| {
        symlink(target, place.input(name)).unwrap();
        refused.extend(told.then(|| name.to_owned()));
    };
    link(&out, "absolute.json", true);
    link(Path::new("../secret.json"), "relative.json", true);
    link(Path::new("real/../../secret.json"), "winding.json", true);
    link(Path::new("chain2.json"), "chain1.json", true);
    link(Path::new("../secret.json"), "chain2.json", true);
    link(Path::new("self.json"), "self.json", true);
    link(Path::new("b.json"), "a.json", true);
    link(Path::new("a.json"), "b.json", true);
    link(Path::new("/etc/passwd"), "passwd.json", true);
    link(Path::new("/proc/self/environ"), "environ.json", true);
    link(Path::new("/dev/zero"), "zero.json", true);
    link(Path::new("/dev/stdin"), "stdin.json", true);
    link(&place.path("secrets"), "folder.json", true);
    link(Path::new("/"), "root.json", true);
    link(&place.path("tables/_millrace/root.json"), "own.json", true);
    // Folders that are no event file's name: passed by, whatever they lead to.
    link(&place.path("secrets"), "folder", false);
    link(Path::new("."), "loop", false);
    link(Path::new(".."), "up", false);
    link(Path::new("/"), "all", false);
    symlink("..", place.input("real/loop")).unwrap();
    symlink("../real/in.json", place.input("real/fine.json")).unwrap();
    let said = told_in_time(&place, 20);
    for name in &refused {
        assert!(said.contains(&format!("{name}: symlink ")), "{name}: {said}");
    }
    assert!(said.contains(&format!(" · {} not read", refused.len())), "{said}");
    assert_eq!(place.lines("SECRET"), []);
    assert_eq!(place.lines("IN").len(), 1);
    let files = place.rows("select file from _files order by file");
    assert_eq!(files.len(), 3, "{files:?}");
    tell(15, "links", &[("refused", refused.len() as u64), ("passed by", 5)]);
}

#[test]
fn row_15_what_is_no_file_is_never_opened_to_wait() {
    let place = Place::new();
    let mode = Mode::from_raw_mode(0o666);
    let mut refused = vec!["fifo.json".to_owned(), "socket.ndjson".into(), "fifo.json.gz".into()];
    for name in ["fifo.json", "fifo.json.gz"] {
        mknodat(CWD, place.input(name), FileType::Fifo, mode, 0).unwrap();
    }
    let _socket = UnixListener::bind(place.input("socket.ndjson")).unwrap();
    let devices = [
        ("null", FileType::CharacterDevice, 1, 3),
        ("zero", FileType::CharacterDevice, 1, 5),
        ("random", FileType::CharacterDevice, 1, 9),
        ("tty", FileType::CharacterDevice, 5, 0),
        ("disk", FileType::BlockDevice, 7, 0),
    ];
    for (name, kind, major, minor) in devices {
        let name = format!("{name}.json");
        match mknodat(CWD, place.input(&name), kind, mode, makedev(major, minor)) {
            Ok(()) => refused.push(name),
            Err(e) => println!("skipped: a device named {name}: {e}"),
        }
    }
    symlink("fifo.json", place.input("link.json")).unwrap();
    refused.push("link.json".into());
    let said = told_in_time(&place, 20);
    for name in &refused {
        assert!(said.contains(&format!("{name}: not a regular file")), "{name}: {said}");
    }
    // `check`, too, with a pattern that finds them all.
    let mut checked = 0;
    for name in &refused {
        let mut child = place.start(&["check", &format!("input_events/{name}")]);
        assert_eq!(child.ended(10).code(), Some(2), "{name}: {}", child.err());
        assert!(child.err().contains("not a regular file"), "{name}: {}", child.err());
        checked += 1;
    }
    // Live: one that comes later, under a name that was a file before.
    let mut run = place.watching();
    fs::remove_file(place.input("good.json")).unwrap();
    mknodat(CWD, place.input("good.json"), FileType::Fifo, mode, 0).unwrap();
    place.rename_in("after.json", order("AFTER", "10:00:00", "PAID", &["A"]));
    until("what comes after", 20, || (place.lines("AFTER").len() == 1).then_some(()));
    run.stop();
    let n = refused.len() as u64;
    tell(15, "pipes, sockets, devices", &[("refused", n + 1), ("refused by check", checked)]);
}

#[test]
fn row_15_folders_deeper_than_a_path_can_be_are_told() {
    let place = Place::new();
    let part = "d".repeat(200);
    let mode = Mode::from_raw_mode(0o755);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut here = rustix::fs::open(place.path("input_events"), flags, Mode::empty()).unwrap();
    let (mut readable, mut beyond) = (0, 0);
    for depth in 1..=24 {
        mkdirat(&here, part.as_str(), mode).unwrap();
        here = openat(&here, part.as_str(), flags, Mode::empty()).unwrap();
        let file =
            openat(&here, "x.json", OFlags::CREATE | OFlags::WRONLY, Mode::from_raw_mode(0o644)).unwrap();
        rustix::io::write(&file, order(&format!("D{depth}"), "10:00:00", "PAID", &["A"]).as_bytes()).unwrap();
        // As far as a path from the folder goes; what lies deeper is beyond.
        if depth * 201 + "x.json".len() < 4096 { readable += 1 } else { beyond += 1 }
    }
    std::thread::sleep(Duration::from_millis(1100));
    let said = told_in_time(&place, 30);
    let orders = place.rows("select distinct order_id from order_item where order_id like 'D%'").len();
    assert!(said.contains("cannot be read: File name too long"), "{}", said.len());
    // The path that is opened begins at the source folder; a few levels may be lost to what stands before it.
    assert!(orders <= readable && orders + 2 >= readable, "{orders} of {readable}");
    assert!(beyond > 0);
    // A deep folder of short names is no matter.
    let deep = place.path("input_events").join("s/".repeat(300)).join("x.json");
    place.put_at(&deep, order("SHORT", "10:00:00", "PAID", &["A"]));
    age(&deep);
    place.run_once(3);
    assert_eq!(place.lines("SHORT").len(), 1);
    tell(
        15,
        "deep folders",
        &[("levels", 24), ("files read", orders as u64), ("files beyond a path", beyond)],
    );
}
