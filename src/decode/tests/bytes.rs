//! Compressed files, their limits, and files on disk.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt;

use super::super::{Guide, Reader, is_event_file};
use super::{Item, LIMITS, briefs, decode, items, shape};
use crate::batch::{Fingerprint, Input, Resume};
use crate::pipeline::model::Limits;

pub fn gz(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

pub fn zst(text: &[u8]) -> Vec<u8> {
    zstd::encode_all(text, 1).unwrap()
}

#[test]
fn names() {
    for yes in
        ["a.json", "x/b.ndjson", "c.jsonl", "a.json.gz", "a.ndjson.zst", "a.JSON", "a.jsonl.GZ", "é.json"]
    {
        assert!(is_event_file(yes), "{yes}");
    }
    for no in ["a", "json", "a.json.bz2", "a.gz", "a.json.gz.zst", "a.json.tmp", "a.jsonx", "", "é"] {
        assert!(!is_event_file(no), "{no}");
    }
}

#[test]
fn several_members_and_frames() {
    let (one, two) = (b"{\"a\":1}\n{\"a\":", b"2}\n");
    let expected = ["{\"a\":1}", "{\"a\":2}"];
    assert_eq!(briefs("x.json.gz", &[gz(one), gz(b""), gz(two)].concat()), expected);
    assert_eq!(briefs("x.ndjson.zst", &[zst(one), zst(b""), zst(two)].concat()), expected);
    for name in ["x.json.gz", "x.json.zst"] {
        assert_eq!(briefs(name, b""), ["! empty file"]);
    }
    assert_eq!(briefs("x.json.gz", &gz(b"")), ["! empty file"]);
    assert_eq!(briefs("x.json.zst", &zst(b" ")), ["! empty file"]);
}

#[test]
fn a_file_that_is_cut_off_ends_before_the_member_that_is_not_whole() {
    let text: Vec<u8> = (0..60_000).flat_map(|i| format!("{{\"a\":{}}}\n", i * 7919).into_bytes()).collect();
    for (name, pack) in [("x.ndjson.gz", gz as fn(&[u8]) -> Vec<u8>), ("x.ndjson.zst", zst)] {
        let packed = [pack(b"{\"a\":1}\n{\"a\":2}\n"), pack(&text)].concat();
        let range = decode(name, &packed[..packed.len() * 3 / 4], LIMITS);
        let found = items(&range.chunks);
        assert_eq!(found.len(), 3, "{name}");
        let last = found.last().unwrap();
        assert!(last.brief().starts_with("! damaged"), "{}", last.brief());
        assert_eq!(last.position().offset, range.range.end.offset);
        assert!(range.range.last);
    }
    assert!(briefs("x.json.gz", b"{\"a\":1}")[0].starts_with("! damaged gzip data"));
    assert!(briefs("x.json.zst", b"{\"a\":1}")[0].starts_with("! damaged zstd data"));
}

/// A checksum notices what decompresses well but wrong. Nothing of its member is taken, but what stands before it is.
#[test]
fn of_a_damaged_member_nothing_is_believed() {
    let lines = |from: u32, to: u32| -> Vec<u8> {
        (from..to).flat_map(|i| format!("{{\"a\":{}}}\n", i * 7919).into_bytes()).collect()
    };
    // The large ones do not fit what is kept in memory.
    for (first, second) in [(10, 20), (10, 60_000), (60_000, 120_000)] {
        for (name, pack) in [("x.ndjson.gz", gz as fn(&[u8]) -> Vec<u8>), ("x.ndjson.zst", checked_zst)] {
            let (good, mut bad) = (pack(&lines(0, first)), pack(&lines(first, second)));
            assert_eq!(decode(name, &[&good[..], &bad].concat(), LIMITS).range.events, u64::from(second));
            let middle = bad.len() / 2;
            bad[middle] ^= 0x10;
            let range = decode(name, &[&good[..], &bad, &good].concat(), LIMITS);
            assert_eq!(
                (range.range.events, range.range.quarantined),
                (u64::from(first), 1),
                "{name} {second}"
            );
            let last = items(&range.chunks).pop().unwrap();
            assert!(last.brief().starts_with("! damaged"), "{}", last.brief());
            assert_eq!(range.range.end.offset, lines(0, first).len() as u64);
        }
    }
}

fn checked_zst(text: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn growth_has_limits() {
    let text = b"{\"a\":1}\n".repeat(4 << 20);
    let packed = zst(&text);
    let range = decode("x.ndjson.zst", &packed, LIMITS);
    assert_eq!(range.range.end.offset, 16 << 20);
    assert_eq!(range.range.events, 2 << 20);
    let last = items(&range.chunks).pop().unwrap();
    assert_eq!(last.brief(), "! decompresses to more than 200 times its size");
    let limits = Limits { file_bytes: 20, ..LIMITS };
    let found = items(&decode("x.ndjson.gz", &gz(&text[..80]), limits).chunks);
    let brief: Vec<_> = found.iter().map(Item::brief).collect();
    let excess = "! decompresses to more than 20 bytes";
    assert_eq!(brief, ["{\"a\":1}", "{\"a\":1}", "! ends in the middle of an object", excess]);
    let exact = Limits { file_bytes: 80, ..LIMITS };
    assert_eq!(decode("x.ndjson.gz", &gz(&text[..80]), exact).range.events, 10);
}

#[test]
fn a_run_of_brackets_is_skipped_without_keeping_it() {
    let brackets = gz(&vec![b'['; 60 << 20]);
    for name in ["x.json.gz", "x.jsonl.gz"] {
        let range = decode(name, &brackets, Limits { ratio: 2000, ..LIMITS });
        let found = items(&range.chunks);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].brief(), "! nested deeper than 16 levels at byte 17");
        assert_eq!(range.range.end.offset, 60 << 20);
        let kept: usize = range.chunks.iter().map(|c| c.text.capacity()).sum();
        assert!(kept < 200, "{kept}");
    }
}

#[test]
fn a_document_beyond_its_limit_is_skipped() {
    let long = format!("{{\"a\":\"{}\"}}\n{{\"a\":2}}\n", "x".repeat(3 << 20));
    for name in ["x.json", "x.ndjson"] {
        let range = decode(name, long.as_bytes(), LIMITS);
        let found = items(&range.chunks);
        let brief: Vec<_> = found.iter().map(Item::brief).collect();
        assert_eq!(brief, ["! larger than 1048576 bytes", "{\"a\":2}"]);
        assert_eq!(found[1].position().line, 2);
    }
}

#[test]
fn empty_objects_do_not_fill_the_memory() {
    let text = format!("{{\"l\":[{}{{}}]}}", "{},".repeat(200_000));
    let many = text.repeat(3);
    let ranges = super::ranges("x.json", many.as_bytes(), LIMITS, 1 << 20, 1);
    assert_eq!(ranges.len(), 3);
    assert_eq!(decode("x.json", many.as_bytes(), LIMITS).range.events, 3);
}

#[test]
fn a_chunk_ends_when_it_is_full_of_values() {
    let line = format!("{{\"l\":[{}{{}}]}}\n", "{},".repeat(200));
    let text = line.repeat(8000);
    let guide = Guide::new(&shape());
    let mut reader = Reader::in_memory("x.json", text.into_bytes(), LIMITS).unwrap();
    let range = reader.next(&guide, 0, 1 << 26, 1).unwrap();
    assert_eq!((range.range.events, range.range.last), (8000, true));
    assert!(range.chunks.len() > 2);
    assert!(range.chunks.iter().all(|c| c.values.len() < (4 << 20) / 4 + (1 << 16) + 1000));
    let mut reader = Reader::in_memory("x.json", line.repeat(8000).into_bytes(), LIMITS).unwrap();
    assert!(!reader.next(&guide, 0, 1 << 22, 1).unwrap().range.last, "a range is full of values as well");
}

#[test]
fn a_range_is_full_of_bad_parts_or_of_tiny_documents_long_before_its_text_is_read() {
    let guide = Guide::new(&shape());
    for unit in ["{]\n", "{}\n"] {
        let mut reader = Reader::in_memory("x.ndjson", unit.repeat(1 << 20).into_bytes(), LIMITS).unwrap();
        let (mut ranges, mut all) = (0, 0);
        while !reader.is_done() {
            let range = reader.next(&guide, 0, 4 << 20, 2).unwrap().range;
            let taken = range.events + range.quarantined;
            assert!(taken < 70_000, "{unit:?}: {taken} at once");
            (ranges, all) = (ranges + 1, all + taken);
        }
        assert_eq!(all, 1 << 20);
        assert!(ranges > 10, "{ranges}");
    }
}

fn input(path: &std::path::Path, resume: Resume) -> Input {
    let file = File::open(path).unwrap();
    let m = file.metadata().unwrap();
    let fingerprint = Fingerprint {
        size: m.size(),
        mtime_ns: m.mtime() * 1_000_000_000 + m.mtime_nsec(),
        ctime_ns: m.ctime() * 1_000_000_000 + m.ctime_nsec(),
        inode: m.ino(),
    };
    let name = path.file_name().unwrap().to_str().unwrap().into();
    Input { name, path: path.to_path_buf(), file, fingerprint, resume, changed: true }
}

#[test]
fn files_are_taken_up_where_they_were_left() {
    let folder = tempfile::tempdir().unwrap();
    let guide = Guide::new(&shape());
    let text: String = (0..3000).map(|i| format!("{{\"a\":{i}}},\n")).collect();
    let text = format!("[\n{}{{}}]\n{{\"a\":\"end\"}}\n", text);
    let whole = items(&decode("x.json", text.as_bytes(), LIMITS).chunks);
    assert_eq!(whole.len(), 3002);
    for (name, bytes) in [
        ("x.json", text.clone().into_bytes()),
        ("x.json.gz", gz(text.as_bytes())),
        ("x.json.zst", zst(text.as_bytes())),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let (mut resume, mut found) = (Resume::default(), Vec::new());
        loop {
            let mut reader = Reader::open(input(&path, resume), LIMITS).unwrap();
            let range = reader.next(&guide, 0, 5000, 1).unwrap();
            assert!(!range.changed_while_reading && range.range.changed);
            assert_eq!(range.range.start, resume);
            found.extend(items(&range.chunks));
            resume = range.range.end;
            if range.range.last {
                break;
            }
        }
        assert_eq!(found, whole, "{name}");
    }
}

#[test]
fn a_file_that_changes_while_it_is_read_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.json");
    std::fs::write(&path, "{\"a\":1}").unwrap();
    let guide = Guide::new(&shape());
    let still = input(&path, Resume::default());
    assert!(!Reader::open(still, LIMITS).unwrap().next(&guide, 0, 100, 1).unwrap().changed_while_reading);
    let growing = input(&path, Resume::default());
    File::options().append(true).open(&path).unwrap().write_all(b"{\"a\":2}").unwrap();
    let range = Reader::open(growing, LIMITS).unwrap().next(&guide, 0, 100, 1).unwrap();
    assert!(range.changed_while_reading);
    assert!(
        Reader::open(input(folder.path(), Resume::default()), LIMITS).unwrap().next(&guide, 0, 1, 1).is_err()
    );
}
