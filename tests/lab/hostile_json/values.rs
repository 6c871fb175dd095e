//! Values end to end: what stands in the tables and in the mirror is what the plain reader makes of the text.

use std::collections::{BTreeMap, BTreeSet};

use super::cases::values;
use super::place::Hostile;
use super::tally::Tally;
use crate::support::json::{Json, Number, parse};
use crate::support::oracle::{Cell, Row};
use crate::support::values::{float, integer, money};

/// The row that an event gives: its text, integer, float, money, bool; what does not fit is null.
fn expected(id: &str, value: Option<&Json>) -> Row {
    let (text, is_text): (Cell, bool) = match value {
        Some(Json::Number(source)) => (Some(source.clone()), false),
        Some(Json::Text(text)) => (Some(text.clone()), true),
        Some(Json::Bool(b)) => (Some(b.to_string()), false),
        _ => (None, false),
    };
    let number = text.as_deref().and_then(|t| numeric(t, is_text));
    let number = number.as_deref();
    let bool = text.clone().filter(|t| t == "true" || t == "false");
    vec![
        Some(id.to_owned()),
        text,
        number.and_then(integer).map(|n| n.to_string()),
        number.and_then(float),
        number.and_then(money),
        bool,
    ]
}

/// A numeric string may have a plus and zeros in front, which a number of JSON has not.
fn numeric(text: &str, is_text: bool) -> Option<String> {
    if Number::read(text).is_some() || !is_text {
        return Some(text.to_owned());
    }
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let zeros = rest.len() - rest.trim_start_matches('0').len();
    let digit_at = |at: usize| rest.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
    let rest = if zeros > 0 && !digit_at(zeros) { &rest[zeros - 1..] } else { &rest[zeros..] };
    Some(format!("{sign}{rest}")).filter(|t| Number::read(t).is_some())
}

#[test]
fn row_11_values_end_to_end() {
    let place = Hostile::new();
    let (mut rows, mut invalid) = (BTreeMap::new(), BTreeSet::new());
    for (n, case) in values().into_iter().enumerate() {
        // Every case is a file of its own: alone, or between two neighbours in NDJSON, by turns.
        let id = format!("case {n}");
        let event = [format!("{{\"id\":\"{id}\",\"v\":").as_bytes(), &case.text, b"}"].concat();
        let ndjson = n % 2 == 1;
        let name = format!("{n}.{}", if ndjson { "ndjson" } else { "json" });
        let neighbour = |side: &str| format!("{{\"id\":\"{side} {n}\",\"v\":{n}}}");
        if ndjson {
            let (before, after) = (neighbour("before"), neighbour("after"));
            place.put(name.as_bytes(), &[before.as_bytes(), b"\n", &event, b"\n", after.as_bytes()].concat());
            for side in ["before", "after"] {
                let id = format!("{side} {n}");
                rows.insert(id.clone(), expected(&id, Some(&Json::Number(n.to_string()))));
            }
        } else {
            place.put(name.as_bytes(), &event);
        }
        match (case.valid, parse(&event)) {
            (true, Some(Json::Object(members))) => {
                let value = members.iter().rev().find(|(name, _)| name == "v").map(|(_, v)| v);
                rows.insert(id.clone(), expected(&id, value));
            }
            // Half of a surrogate pair: JSON, but no text; the column is null.
            (true, _) => {
                rows.insert(id.clone(), expected(&id, None));
            }
            (false, _) => {
                invalid.insert(name);
            }
        }
    }
    place.run_once(3);
    let found = place.rows("value");
    let mut tally = Tally::default();
    for id in rows.keys().chain(found.keys().filter(|id| !rows.contains_key(*id))) {
        let right = rows.get(id) == found.get(id);
        tally.try_one(right, || format!("{:?} is {:?}", rows.get(id), found.get(id)));
    }
    let quarantined: BTreeSet<String> = place.quarantine().into_iter().map(|(file, _)| file).collect();
    for name in invalid.union(&quarantined) {
        let right = invalid.contains(name) && quarantined.contains(name);
        tally.try_one(right, || format!("{name}: invalid is {}", invalid.contains(name)));
    }
    mirrored(&place, &rows, &mut tally);
    place.verified();
    assert!(place.run_once(0).out.contains("nothing new"));
    tally.tell("values end to end", &[("values", rows.len() as u64), ("quarantined", invalid.len() as u64)]);
}

/// The mirror has the same.
fn mirrored(place: &Hostile, rows: &BTreeMap<String, Row>, tally: &mut Tally) {
    let db = rusqlite::Connection::open(place.database()).unwrap();
    let mut all = db.prepare("select id, t, i, f, b from value").unwrap();
    let mut found = all.query([]).unwrap();
    let mut count = 0;
    while let Some(row) = found.next().unwrap() {
        let id: String = row.get(0).unwrap();
        let expected = &rows[&id];
        let text = row.get::<_, Cell>(1).unwrap() == expected[1];
        let integer = row.get::<_, Option<i64>>(2).unwrap().map(|i| i.to_string()) == expected[2];
        // By value: SQLite knows no negative zero.
        let wanted = expected[3].as_ref().map(|f| f.parse::<f64>().unwrap());
        let float = row.get::<_, Option<f64>>(3).unwrap() == wanted;
        let bool = row.get::<_, Option<bool>>(4).unwrap().map(|b| b.to_string()) == expected[5];
        tally.try_one(text && integer && float && bool, || format!("{id} in the mirror: {expected:?}"));
        count += 1;
    }
    tally.expect(count == rows.len(), || format!("{count} rows in the mirror"));
}
