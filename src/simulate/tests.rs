//! What the shop promises: same seed, same bytes; every awkward case turns up; no event lost to disorder.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::*;

fn events(seed: u64, options: Options) -> Vec<Event> {
    Shop::new(seed, options).collect()
}

fn small() -> Options {
    Options { orders: Some(400), items: 200, customers: 100, ..Options::default() }
}

fn parsed(events: &[Event]) -> Vec<Value> {
    events.iter().map(|e| serde_json::from_slice(&e.text).unwrap()).collect()
}

fn list<'a>(event: &'a Value, name: &str) -> &'a [Value] {
    event[name].as_array().map_or(&[], Vec::as_slice)
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    assert_eq!(events(7, small()), events(7, small()));
    assert_ne!(events(7, small())[0].text, events(8, small())[0].text);
    let endless = Shop::new(7, Options { orders: None, ..small() });
    let first: Vec<Event> = endless.take(300).collect();
    assert_eq!(first, events(7, small())[..300]);
}

#[test]
fn events_are_as_many_and_as_long_as_the_samples() {
    let events = events(1, Options { orders: Some(2000), ..Options::default() });
    let per_order = events.len() as f64 / 2000.0;
    assert!((3.0..4.0).contains(&per_order), "{per_order} events per order");
    let bytes: usize = events.iter().map(|e| e.text.len()).sum();
    let mean = bytes / events.len();
    assert!((4200..5000).contains(&mean), "{mean} bytes per event");
}

#[test]
fn disorder_and_layout_lose_nothing() {
    let set = |o| events(3, o).into_iter().map(|e| e.text).collect::<BTreeSet<_>>();
    let in_order = set(Options { disorder: 0, repeats: 0.0, ..small() });
    assert_eq!(set(small()), in_order);
    assert_eq!(events(3, Options { repeats: 0.0, ..small() }).len(), in_order.len());
    let pretty = events(3, Options { pretty: true, ..small() });
    assert_eq!(parsed(&pretty), parsed(&events(3, small())));
    assert!(pretty[0].text.starts_with(b"{\n  \"") && pretty[0].text.ends_with(b"\n}"));
}

#[test]
fn bad_events_come_besides_the_good_ones() {
    let good = events(5, small());
    let mixed = events(5, Options { share_bad: 0.2, ..small() });
    let texts: BTreeSet<_> = good.iter().map(|e| &e.text).collect();
    let bad: Vec<&Event> = mixed.iter().filter(|e| !texts.contains(&e.text)).collect();
    let share = bad.len() as f64 / good.len() as f64;
    assert!((0.15..0.25).contains(&share), "{share}");
    assert!(texts.iter().all(|t| mixed.iter().any(|e| &e.text == *t)));
    assert!(bad.iter().any(|e| serde_json::from_slice::<Value>(&e.text).is_err()));
    assert!(bad.iter().any(|e| serde_json::from_slice::<Value>(&e.text).is_ok()));
    assert!(bad.iter().all(|e| !e.text.contains(&b'\n')));
}

#[test]
fn every_awkward_case_turns_up() {
    let all = events(11, small());
    let names: BTreeSet<_> = all.iter().map(|e| &e.name).collect();
    assert_eq!(names.len(), all.len(), "names are unique");
    let texts: BTreeSet<_> = all.iter().map(|e| &e.text).collect();
    assert!(texts.len() < all.len(), "repeats");
    let whole = all.iter().map(|e| String::from_utf8(e.text.clone()).unwrap()).collect::<String>();
    for needle in
        ["Ã", "😀", "\\u00", "\\\\ adaptador", "\\t", "CANCELLED", "\"PARTIALLY-SENT\"", "objt_cupo", "日本"]
    {
        assert!(whole.contains(needle), "{needle}");
    }
    let docs = parsed(&all);
    assert!(docs.iter().any(|d| d["num_ulti_vers_sist"].is_null()));
    assert!(docs.iter().any(|d| list(d, "list_envo").is_empty()));
    assert!(docs.iter().any(|d| list(d, "list_envo").len() > 2));
    assert!(docs.iter().any(|d| list(d, "list_item_pedi").iter().any(|l| l["qtd_item_pedi"].is_string())));
    assert!(docs.iter().any(|d| list(d, "list_item_pedi").iter().any(|l| l["qtd_item_pedi"].is_f64())));
    assert!(docs.iter().any(split_line), "a line split over two parcels");
}

fn split_line(event: &Value) -> bool {
    let mut seen = BTreeSet::new();
    let parcels = list(event, "list_envo").iter();
    parcels.flat_map(|p| list(p, "list_item_envo")).any(|i| !seen.insert(i["cod_prod"].as_str()))
}

#[test]
fn orders_shrink_tie_and_come_out_of_order() {
    let all = events(11, Options { repeats: 0.0, ..small() });
    let mut orders: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for e in &all {
        orders.entry(&e.order).or_default().push(serde_json::from_slice(&e.text).unwrap());
    }
    let version = |v: &Value| v["num_ulti_vers_sist"].as_str().map_or(-1, |n| n.parse::<i64>().unwrap());
    let time = |v: &Value| v["dat_atui"].as_str().unwrap().to_owned();
    let (mut shrunk, mut late, mut tied, mut only_version) = (0, 0, 0, 0);
    for events in orders.values() {
        late += usize::from(!events.is_sorted_by_key(|v| (time(v), version(v))));
        let mut events = events.clone();
        events.sort_by_key(|v| (time(v), version(v)));
        for pair in events.windows(2) {
            let [old, new] = pair else { continue };
            shrunk += usize::from(list(new, "list_item_pedi").len() < list(old, "list_item_pedi").len());
            tied += usize::from(time(old) == time(new));
            let mut same = new.clone();
            same["num_ulti_vers_sist"] = old["num_ulti_vers_sist"].clone();
            only_version += usize::from(version(old) >= 0 && *old == same);
        }
    }
    assert!(
        shrunk > 5 && late > 50 && tied > 20 && only_version > 5,
        "{shrunk} {late} {tied} {only_version}"
    );
}

#[test]
fn shared_things_drift() {
    let docs = parsed(&events(2, small()));
    let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in docs.iter().flat_map(|d| list(d, "list_item_pedi")) {
        let item = names.entry(line["cod_vrne_prod"].to_string()).or_default();
        item.insert(line["vlr_oril"].to_string());
    }
    assert!(names.values().filter(|prices| prices.len() > 2).count() > 5);
}

#[test]
fn files_appear_whole_under_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(folder.path(), Output::Files { pretty: false }, "x").unwrap();
    let all: Vec<Event> = Shop::new(1, small()).take(5).collect();
    all.iter().for_each(|e| writer.write(e).unwrap());
    assert_eq!(writer.finish().unwrap(), 5);
    let found = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(found, 5, "no temporary file is left");
    assert_eq!(std::fs::read(folder.path().join(&all[3].name)).unwrap(), all[3].text);
}

#[test]
fn ndjson_holds_the_same_lines_however_compressed() {
    let all: Vec<Event> = Shop::new(1, small()).take(7).collect();
    let expected: Vec<u8> = all.iter().flat_map(|e| [e.text.as_slice(), b"\n"].concat()).collect();
    for (compression, extension) in
        [(Compression::None, "ndjson"), (Compression::Gz, "ndjson.gz"), (Compression::Zst, "ndjson.zst")]
    {
        let folder = tempfile::tempdir().unwrap();
        let output = Output::Ndjson { events_per_file: 3, compression };
        let mut writer = Writer::new(folder.path(), output, "shop").unwrap();
        all.iter().for_each(|e| writer.write(e).unwrap());
        assert_eq!(writer.finish().unwrap(), 3);
        let lines: Vec<u8> = (1..=3)
            .flat_map(|n| {
                std::fs::read(folder.path().join(format!("shop_{n:06}.{extension}")))
                    .map(unpacked(compression))
                    .unwrap()
            })
            .collect();
        assert_eq!(lines, expected);
    }
}

fn unpacked(compression: Compression) -> impl Fn(Vec<u8>) -> Vec<u8> {
    move |bytes| match compression {
        Compression::None => bytes,
        Compression::Zst => zstd::decode_all(bytes.as_slice()).unwrap(),
        Compression::Gz => {
            let mut out = Vec::new();
            std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(bytes.as_slice()), &mut out)
                .unwrap();
            out
        }
    }
}
