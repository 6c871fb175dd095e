//! Compressed files: many members, garbage behind them, cut at every byte, bombs, wide windows.

use std::io::Write;

use super::place::{Hostile, peak_of};
use super::taken;
use super::tally::Tally;
use crate::figures::tell;
use crate::scale::pick;
use crate::support::spelling::Rng;

/// The text as a file of this name has it.
pub fn packed(name: &str, text: &[u8]) -> Vec<u8> {
    match name.rsplit('.').next() {
        Some("gz") => gz(text),
        Some("zst") => zst(text),
        _ => text.to_vec(),
    }
}

fn gz(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// With a checksum, as the `zstd` command writes it.
fn zst(text: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// Incompressible enough that damage hits the text itself.
fn lines(from: u64, to: u64) -> String {
    let noise = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (n << 17);
    (from..to).map(|n| format!("{{\"id\":\"{n}\",\"v\":\"{:016x}\"}}\n", noise(n))).collect()
}

fn ids(from: u64, to: u64) -> Vec<String> {
    (from..to).map(|n| n.to_string()).collect()
}

#[test]
fn row_11_members_and_frames_are_one_text() {
    let (one, two, all) = (lines(0, 50), lines(50, 90), ids(0, 90));
    let skippable = b"\x50\x2a\x4d\x18\x05\x00\x00\x00aaaaa\x5f\x2a\x4d\x18\x00\x00\x00\x00";
    let mut tally = Tally::default();
    // Also cut inside a document, inside a character, and with empty members.
    let text = format!("{one}{two}");
    for cut in (0..=text.len()).step_by(pick(97, 3)) {
        let (a, b) = text.as_bytes().split_at(cut);
        for (name, bytes) in [
            ("x.ndjson.gz", [gz(a), gz(b), gz(b"")].concat()),
            ("x.ndjson.gz", [gz(b""), gz(a), gz(b)].concat()),
            ("x.ndjson.zst", [zst(a), zst(b), zst(b"")].concat()),
            ("x.ndjson.zst", [&skippable[..], &zst(a), skippable, &zst(b), skippable].concat()),
        ] {
            let taken = taken(name, &bytes);
            let right = taken.ids == all && taken.bad.is_empty();
            tally.try_one(right, || format!("{name} cut at {cut}: {:?}", taken.bad));
        }
    }
    // A file a member, as log rotation makes them.
    let members: Vec<u8> = (0..1000).flat_map(|n| gz(lines(n, n + 1).as_bytes())).collect();
    tally.try_one(taken("x.ndjson.gz", &members).ids == ids(0, 1000), || "1,000 members".into());
    let frames: Vec<u8> = (0..1000).flat_map(|n| zst(lines(n, n + 1).as_bytes())).collect();
    tally.try_one(taken("x.ndjson.zst", &frames).ids == ids(0, 1000), || "1,000 frames".into());
    tally.tell("members and frames", &[]);
}

/// What arrived before the damage is a beginning of what was there, and the damage is told.
#[test]
fn row_11_archives_cut_and_changed_at_every_byte() {
    let (mut tally, mut harmless_ones) = (Tally::default(), 0);
    let all = ids(0, 40);
    for name in ["x.ndjson.gz", "x.json.zst"] {
        let whole = packed(name, lines(0, 40).as_bytes());
        for cut in 0..whole.len() {
            let taken = taken(name, &whole[..cut]);
            let right = all.starts_with(&taken.ids) && !taken.bad.is_empty();
            tally.try_one(right, || format!("{name} cut at {cut}: {taken:?}"));
        }
        for at in 0..whole.len() {
            for change in pick(&[0x01][..], &[0x01, 0x10, 0x80, 0xff]) {
                let mut changed = whole.clone();
                changed[at] ^= change;
                let taken = taken(name, &changed);
                // Bytes that carry nothing may change: gzip's time and system, say.
                let harmless = taken.ids == all && taken.bad.is_empty();
                let right = all.starts_with(&taken.ids) && (harmless || !taken.bad.is_empty());
                tally.try_one(right, || format!("{name} changed at {at}: {taken:?}"));
                harmless_ones += u64::from(harmless);
            }
        }
    }
    tally.tell("archives cut and changed", &[("harmless", harmless_ones)]);
}

/// The documents before it arrive; whatever stands behind the last member is told.
#[test]
fn row_11_garbage_behind_an_archive() {
    let text = lines(0, 20);
    let mut tally = Tally::default();
    for (name, whole) in [("x.ndjson.gz", gz(text.as_bytes())), ("x.ndjson.zst", zst(text.as_bytes()))] {
        for tail in [
            &b"\0"[..],
            &[0; 1000],
            b"x",
            b"garbage",
            b"{\"id\":\"plain\"}\n",
            b"\x1f",
            b"\x1f\x8b",
            b"\x28\xb5\x2f",
        ] {
            let taken = taken(name, &[&whole[..], tail].concat());
            let told = taken.bad.len() == 1 && taken.bad[0].contains("damaged");
            tally.try_one(taken.ids == ids(0, 20) && told, || format!("{name} and {tail:?}: {taken:?}"));
        }
    }
    // Packed twice is not what the name says.
    for (name, bytes) in [
        ("x.ndjson.gz", gz(&gz(text.as_bytes()))),
        ("x.ndjson.zst", zst(&zst(text.as_bytes()))),
        ("x.ndjson.gz", zst(text.as_bytes())),
        ("x.ndjson.zst", gz(text.as_bytes())),
        ("x.ndjson", gz(text.as_bytes())),
        ("x.ndjson.gz", text.clone().into_bytes()),
    ] {
        let taken = taken(name, &bytes);
        let right = taken.ids.is_empty() && !taken.bad.is_empty();
        tally.try_one(right, || format!("{name}: {taken:?}"));
    }
    tally.tell("garbage behind an archive", &[]);
}

/// Little that asks for much: each is defused in bounded memory, and the good files beside it arrive.
#[test]
fn row_11_bombs_and_wide_windows_in_bounded_memory() {
    let place = Hostile::new();
    let size = pick(48 << 20, 2 << 30);
    let bombs = [
        ("brackets.json.gz", bomb_gz(size, b"", b"[")),
        ("string.json.gz", bomb_gz(size, b"{\"id\":\"", b"a")),
        ("nothing.json.gz", bomb_gz(size, b"", b" ")),
        ("lines.ndjson.gz", bomb_gz(size, b"", b"\n")),
        ("string.ndjson.zst", bomb_zst(size, b"{\"id\":\"", b"a", 20)),
        ("window27.json.zst", bomb_zst(size, b"", b" ", 27)),
        ("window30.json.zst", bomb_zst(size, b"", b" ", 30)),
        ("nested.json.gz", gz(&bomb_gz(size, b"", b"["))),
    ];
    for (name, bytes) in &bombs {
        assert!(bytes.len() < 4 << 20, "{name}: {} bytes are no bomb", bytes.len());
        place.put(name.as_bytes(), bytes);
    }
    // What is wide but honest is read: a window of 128 MiB, in the long form one that is used to its end.
    let far = lines(0, 10);
    let again = far.replace("\"id\":\"", "\"id\":\"far ");
    let honest = window_zst(27, &[far.as_bytes(), &blanks(pick(20 << 20, 130 << 20)), again.as_bytes()]);
    place.put(b"wide.ndjson.zst", &honest);
    place.put(b"good.json", b"{\"id\":\"good\"}");
    let mut run = place.start(&["run", "--once", "--no-mirror"]);
    let peak = peak_of(&mut run);
    assert_eq!(run.ended(1).code(), Some(3), "{}\n{}", run.out(), run.err());
    let found = place.quarantine();
    for (name, _) in &bombs {
        assert!(found.iter().any(|(file, _)| file == name), "{name} is not in quarantine: {found:?}");
    }
    assert!(found.len() < 3 * bombs.len(), "{found:?}");
    let ids = place.ids();
    assert!(ids.iter().any(|id| id == "good"), "{ids:?}");
    tell(11, "bombs", &[("inputs", bombs.len() as u64 + 1), ("peak MB", peak)]);
    // Two at once, each with a window of 128 MiB and a document of 64 MiB in the making.
    assert!(peak < 900, "{peak} MB");
    assert!(!found.iter().any(|(file, _)| file == "wide.ndjson.zst"), "{found:?}");
    assert_eq!(ids.len(), 21, "{ids:?}");
}

/// White space that does not shrink to less than a hundredth.
fn blanks(size: usize) -> Vec<u8> {
    let mut rng = Rng::of(&[7]);
    let mut all = vec![b' '; size];
    for block in all.chunks_mut(1 << 12) {
        block.iter_mut().take(256).for_each(|b| *b = rng.pick(b" \t\r\n"));
    }
    all
}

fn bomb_gz(size: usize, head: &[u8], fill: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(head).unwrap();
    let block = fill.repeat(1 << 20);
    (0..size >> 20).for_each(|_| encoder.write_all(&block).unwrap());
    encoder.finish().unwrap()
}

fn bomb_zst(size: usize, head: &[u8], fill: &[u8], window: u32) -> Vec<u8> {
    let block = fill.repeat(1 << 20);
    let parts: Vec<&[u8]> = std::iter::once(head).chain((0..size >> 20).map(|_| &block[..])).collect();
    window_zst(window, &parts)
}

/// A frame that says nothing of its size, so that its reader has to believe in its window.
fn window_zst(log: u32, parts: &[&[u8]]) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(log).unwrap();
    parts.iter().for_each(|part| encoder.write_all(part).unwrap());
    encoder.finish().unwrap()
}
