//! What check and build say together of small events, rule by rule.

use arrow::array::{Array, ArrayRef};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::testing::{MONEY, Pipe, chunk};
use super::*;
use crate::batch::{Chunk, Claim, Claims, KeyPart, TableRows};
use crate::cell::{Cell, content_of};
use crate::key::{OwnerHash, StoredHash, owner_of};
use crate::pipeline::model::{Mask, Pipeline, Type};

const LINE: usize = 2;
const PARCEL: usize = 1;
const PERSON: usize = 0;

/// A small shop: every kind of table, level and column source.
fn shop() -> Pipeline {
    Pipe::new()
        .key("$.id")
        .sequence("$.at")
        .sequence_of("$.version", Type::Int64, true)
        .dimension("person", "", "id")
        .hash("id", &[])
        .column("name", "$.person.name", Type::Text)
        .column("city", "$.person.city", Type::Text)
        .masked("token", "$.person.token", Type::Text, Mask::Sha256)
        .owned("parcel", "$.parcels[*].items[*]", "order_id", "order_id parcel_id sku")
        .column("order_id", "$.id", Type::Text)
        .column("parcel_id", "^.id", Type::Text)
        .column("sku", "@.sku", Type::Text)
        .hash("id", &["order_id", "parcel_id", "sku"])
        .column("sent", "^.sent", Type::Timestamp)
        .owned("line", "$.lines[*]", "order_id", "order_id sku")
        .column("order_id", "$.id", Type::Text)
        .column("sku", "@.sku", Type::Text)
        .column("price", "@.price", MONEY)
        .column("count", "@.count", Type::Int64)
        .lenient("weight", "@.weight", Type::Float64)
        .masked("code", "@.code", Type::Int64, Mask::Redact)
        .column("gift", "@.options[1].gift", Type::Bool)
        .column("due", "$.due", Type::Date)
        .lookup("parcel_id", "parcel", &[("sku", "sku")], "id")
        .lookup("first_parcel", "parcel", &[], "parcel_id")
        .dimension("product", "$.lines[*]", "sku")
        .column("sku", "@.sku", Type::Text)
        .column("title", "@.title", Type::Text)
        .build()
        .with_person_key()
}

trait PersonKey {
    fn with_person_key(self) -> Self;
}

impl PersonKey for Pipeline {
    /// The person's id is a hash of columns that stand behind it: computed after them.
    fn with_person_key(mut self) -> Self {
        let person = &mut self.tables[PERSON];
        person.columns[0].source = crate::pipeline::model::ColumnSource::Hash(vec![1, 2]);
        person.order = vec![1, 2, 3, 0];
        self
    }
}

fn chunk_of(texts: &[&str]) -> Chunk {
    chunk(&shop().shape, texts)
}

fn reasons(texts: &[&str]) -> Vec<String> {
    let checked = Flattener::new(&shop()).check(&chunk_of(texts), 0);
    checked.bad.into_iter().map(|(_, bad)| bad.reason).collect()
}

/// An event with the usual key and sequence, and `rest`.
fn event(rest: &str) -> String {
    format!(r#"{{"id":"o1","at":"2024-01-01T00:00:00Z"{}{rest}}}"#, if rest.is_empty() { "" } else { "," })
}

fn reason(rest: &str) -> String {
    reasons(&[&event(rest)]).pop().unwrap_or_default()
}

/// All claims as winners: every table's rows.
fn build_all(flattener: &Flattener, chunks: &[Chunk], claims: &Claims) -> Vec<TableRows> {
    claims.tables.iter().enumerate().map(|(t, all)| flattener.build(t, chunks, all).unwrap()).collect()
}

fn rows_of(rest: &str) -> Vec<TableRows> {
    let (flattener, chunks) = (Flattener::new(&shop()), [chunk_of(&[&event(rest)])]);
    let checked = flattener.check(&chunks[0], 0);
    assert_eq!(checked.bad, []);
    build_all(&flattener, &chunks, &checked.claims)
}

fn texts(column: &ArrayRef) -> Vec<String> {
    let mut buf = Vec::new();
    let mut text = |row| {
        let cell = Cell::read(column, row);
        cell.text(&mut buf).map_or("-".to_owned(), |t| String::from_utf8(t.to_vec()).unwrap())
    };
    (0..column.len()).map(&mut text).collect()
}

/// The values of a column, canonical; null is `-`.
fn column(rows: &TableRows, name: &str) -> Vec<String> {
    texts(rows.rows.column_by_name(name).unwrap())
}

fn stored_hash(parts: &[Option<&str>]) -> String {
    let mut hash = StoredHash::new();
    parts.iter().for_each(|p| hash.part(p.map(str::as_bytes)));
    hash.finish().map_or("-".to_owned(), |h| String::from_utf8(h.to_vec()).unwrap())
}

#[test]
fn values_reach_their_columns() {
    let rows = rows_of(
        r#""due":"2024-02-29","lines":[{"sku":"a","price":10,"count":"3","weight":1.5,"code":"42",
           "options":[null,{"gift":"true"}],"title":"caf\u00e9"},{"sku":7,"price":"0.00015","options":[]}]"#,
    );
    let line = &rows[LINE];
    assert_eq!(column(line, "order_id"), ["o1", "o1"]);
    assert_eq!(column(line, "sku"), ["a", "7"]);
    assert_eq!(column(line, "price"), ["10.0000", "0.0002"]);
    assert_eq!(column(line, "count"), ["3", "-"]);
    assert_eq!(column(line, "weight"), ["1.5", "-"]);
    assert_eq!(column(line, "code"), ["***", "-"]);
    assert_eq!(column(line, "gift"), ["true", "-"]);
    assert_eq!(column(line, "due"), ["2024-02-29", "2024-02-29"]);
    assert_eq!(column(&rows[3], "title"), ["caf\u{e9}", "-"]);
    assert_eq!(line.rows.schema(), shop().tables[LINE].schema());
}

#[test]
fn events_without_key_or_sequence() {
    for (text, expected) in [
        (r#"{"at":"2024-01-01T00:00:00Z"}"#, "event key $.id is missing"),
        (r#"{"id":null,"at":"2024-01-01T00:00:00Z"}"#, "event key $.id is missing"),
        (r#"{"id":{},"at":"2024-01-01T00:00:00Z"}"#, "event key ($.id): an object is not text"),
        (r#"{"id":"o"}"#, "sequence $.at is missing"),
        (r#"{"id":"o","at":5}"#, "sequence ($.at): 5 is not timestamp"),
        (
            r#"{"id":"o","at":"2024-01-01T00:00:00Z","version":"x"}"#,
            r#"sequence ($.version): "x" is not int64"#,
        ),
    ] {
        assert_eq!(reasons(&[text]), [expected]);
    }
}

#[test]
fn a_document_that_is_no_object_fits_nowhere() {
    let found = reasons(&["17"]).pop().unwrap();
    let subjects: Vec<_> = found.split("; ").map(|p| p.split(" (").next().unwrap()).collect();
    assert_eq!(
        subjects,
        ["event key", "sequence", "sequence", "name", "city", "token", "parcel", "line", "product"]
    );
    assert!(found.split("; ").all(|p| p.ends_with(": a number stands where an object belongs")));
}

#[test]
fn a_missing_optional_part_is_the_lowest() {
    let flattener = Flattener::new(&shop());
    let with = event(r#""version":"7.0""#);
    let claims = flattener.check(&chunk_of(&[&event(""), &with]), 3).claims;
    let orders: Vec<_> = claims.tables[LINE].iter().map(|c| c.order.sequence).collect();
    assert_eq!(orders, [[1_704_067_200_000_000, i64::MIN], [1_704_067_200_000_000, 7]]);
    assert_eq!(claims.tables[LINE][1].event, crate::batch::EventRef { chunk: 3, document: 1 });
    assert_eq!(claims.tables[LINE][1].order.hash, xxhash_rust::xxh3::xxh3_128(with.as_bytes()));
}

#[test]
fn every_misfit_is_named() {
    let found = reason(
        r#""due":"2024-02-30","person":{"token":["x"]},"parcels":[{"id":"p","items":[]},{"id":"q","sent":1,"items":
           [{"sku":"a"}]}],"lines":[null,{"sku":"a","price":"abc","count":1.5,"weight":"heavy","code":"secret",
           "options":[0,{"gift":0}]}]"#,
    );
    let expected = [
        "token (person, $.person.token): an array is not text",
        "sent (parcel[0], $.parcels[1].sent): 1 is not timestamp",
        r#"due (line, $.due): "2024-02-30" is not date"#,
        "sku (line[0], $.lines[0].sku): the key is missing",
        r#"price (line[1], $.lines[1].price): "abc" is not decimal(18,4)"#,
        "count (line[1], $.lines[1].count): 1.5 is not int64",
        "code (line[1], $.lines[1].code): *** is not int64",
        "gift (line[1], $.lines[1].options[1].gift): 0 is not bool",
    ];
    assert_eq!(found.split("; ").collect::<Vec<_>>(), expected);
}

#[test]
fn structure_must_fit() {
    for (rest, expected) in [
        (
            r#""person":"x""#,
            "name (person, $.person.name): a string stands where an object belongs; city (person, $.person.city): a \
             string stands where an object belongs; token (person, $.person.token): a string stands where an object \
             belongs",
        ),
        (
            r#""lines":{"sku":"a"}"#,
            "line ($.lines[*]): an object stands where an array belongs; product ($.lines[*]): an object stands where \
             an array belongs",
        ),
        (
            r#""parcels":[null,{"items":true}]"#,
            "parcel ($.parcels[1].items[*]): a bool stands where an array belongs",
        ),
        (
            r#""lines":[{"sku":"a","options":{"gift":true}}]"#,
            "gift (line[0], $.lines[0].options[1].gift): an object stands where an array belongs",
        ),
    ] {
        assert_eq!(reason(rest), expected);
    }
    for rest in [r#""person":null"#, r#""lines":null,"parcels":[]"#, r#""parcels":[null,{"items":null}]"#] {
        assert_eq!(reason(rest), "", "{rest}");
    }
}

#[test]
fn keys_that_do_not_fit_are_named_once() {
    assert_eq!(
        reason(r#""lines":[{"sku":[]}]"#),
        "sku (line[0], $.lines[0].sku): an array is not text; sku (product[0], $.lines[0].sku): an array is not text"
    );
    let no_key = reasons(&[r#"{"at":"2024-01-01T00:00:00Z","lines":[{"sku":"a"}]}"#]);
    assert_eq!(no_key, ["event key $.id is missing"]);
}

#[test]
fn long_values_and_reasons_are_capped() {
    let long = format!(r#""lines":[{{"sku":"a","price":"{}"}}]"#, "\u{e9}".repeat(500));
    let shown = format!("\"{}\u{2026}\" is not decimal", "\u{e9}".repeat(100));
    assert!(reason(&long).contains(&shown));
    let many = format!(r#""lines":[{}]"#, vec!["{}"; 5000].join(","));
    let found = reason(&many);
    let (told, more) = found.strip_suffix(" more").unwrap().rsplit_once("; and ").unwrap();
    assert_eq!(told.split("; ").count() + more.parse::<usize>().unwrap(), 5000);
    assert!(found.len() < 5000, "{}", found.len());
}

/// Nobody is told why the ten thousandth document of a file does not fit, so nobody works it out.
#[test]
fn reasons_beyond_those_that_are_told_are_not_worked_out() {
    let mut pipeline = shop();
    pipeline.limits.quarantine_documents = 2;
    let checked = Flattener::new(&pipeline).check(&chunk_of(&["{}", "{}", "{}", "{}"]), 0);
    let reasons: Vec<&str> = checked.bad.iter().map(|(_, bad)| bad.reason.as_str()).collect();
    assert!(reasons[..2].iter().all(|reason| reason.contains("is missing")), "{reasons:?}");
    assert_eq!(reasons[2..], ["does not fit the pipeline"; 2]);
}

#[test]
fn small_documents_cannot_ask_for_much_memory() {
    let lines: Vec<String> = (0..3000).map(|i| format!(r#"{{"sku":{i}}}"#)).collect();
    let text = format!(
        r#"{{"id":"{}","at":"2024-01-01T00:00:00Z","lines":[{}]}}"#,
        "x".repeat(100_000),
        lines.join(",")
    );
    assert_eq!(reasons(&[&text]), ["line: the rows of this event would take 286 MiB"]);
}

#[test]
fn of_duplicates_the_later_wins_at_its_place() {
    let rest = r#""lines":[{"sku":"a","count":1,"title":"x"},{"sku":"b","count":2},{"sku":"a","count":3,"title":"y"}]"#;
    let rows = rows_of(rest);
    assert_eq!(column(&rows[LINE], "sku"), ["b", "a"]);
    assert_eq!(column(&rows[LINE], "count"), ["2", "3"]);
    assert_eq!(column(&rows[3], "title"), ["-", "y"]);
    let claims =
        Flattener::new(&shop()).check(&chunk_of(&[&event(rest), &event(r#""lines":[{}]"#)]), 0).claims;
    assert_eq!((claims.duplicates, claims.valid), (vec![0, 0, 1, 1], 1));
    assert_eq!(claims.tables[3].iter().map(|c| c.element).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn an_owned_table_is_claimed_even_without_rows() {
    let rows = rows_of("");
    for table in [PARCEL, LINE] {
        let owner = &rows[table].owners[0];
        assert_eq!((owner.count, rows[table].rows.num_rows()), (0, 0));
        assert_eq!(owner.key, [KeyPart::Text("o1".to_owned())]);
        let mut hash = OwnerHash::new();
        hash.part(b"o1");
        assert_eq!(owner.owner, hash.finish());
    }
    assert!(rows[PERSON].owners.is_empty() && rows[3].owners.is_empty());
}

#[test]
fn what_only_rows_would_hold_is_not_asked_for_without_rows() {
    assert_eq!(reason(r#""due":"never""#), "");
    assert_eq!(rows_of(r#""due":"never""#)[LINE].owners[0].count, 0);
}

#[test]
fn dimension_rows_without_a_key_are_not_made() {
    let rows = rows_of(r#""person":{"token":"t"}"#);
    assert_eq!(rows[PERSON].rows.num_rows(), 0);
    let rows = rows_of(r#""person":{"city":"","token":"t"}"#);
    assert_eq!(column(&rows[PERSON], "id"), [stored_hash(&[None, Some("")])]);
    let token: String = Sha256::digest("t").iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(column(&rows[PERSON], "token"), [token]);
}

#[test]
fn lookups_find_the_first_surviving_row() {
    let rows = rows_of(
        r#""parcels":[{"id":"p","items":[{"sku":"a"},{"sku":"c"}]},{"id":"q","items":[{"sku":"b"},{"sku":"a"}]},
           {"id":"p","items":[{"sku":"a"}]}],"lines":[{"sku":"a"},{"sku":"b"},{"sku":"z"}]"#,
    );
    // p/a is stated twice: the later stands behind q/a.
    assert_eq!(column(&rows[PARCEL], "parcel_id"), ["p", "q", "q", "p"]);
    let id = |parcel, sku| stored_hash(&[Some("o1"), Some(parcel), Some(sku)]);
    assert_eq!(column(&rows[LINE], "parcel_id"), [id("q", "a"), id("q", "b"), "-".to_owned()]);
    assert_eq!(column(&rows[LINE], "first_parcel"), ["p", "p", "p"]);
}

#[test]
fn content_tells_sets_apart_and_nothing_else() {
    let content = |rest: &str| rows_of(rest)[LINE].owners[0].content;
    let base = content(r#""lines":[{"sku":"a","price":1}]"#);
    assert_eq!(base, content(r#""other":1,"lines":[{"price":"1.00","sku":"a","title":"x"}]"#));
    for other in [
        "",
        r#""lines":[{"sku":"a"}]"#,
        r#""lines":[{"sku":"a","price":1},{"sku":"b"}]"#,
        r#""lines":[{"sku":"a","price":2}]"#,
    ] {
        assert_ne!(base, content(other), "{other}");
    }
    let title = |t: &str| rows_of(&format!(r#""lines":[{{"sku":"a","title":{t}}}]"#))[3].owners[0].content;
    assert_ne!(title("null"), title(r#""""#));
}

#[test]
fn claims_keep_their_file_and_order_whatever_way_they_are_mixed() {
    let flattener = Flattener::new(&shop());
    let text = |id: &str, skus: &[&str]| {
        let lines: Vec<_> = skus.iter().map(|s| format!(r#"{{"sku":"{s}","title":"{id}{s}"}}"#)).collect();
        format!(r#"{{"id":"{id}","at":"2024-01-01T00:00:00Z","lines":[{}]}}"#, lines.join(","))
    };
    let mut chunks =
        [chunk_of(&[&text("x", &["1", "2"]), &text("y", &["3"])]), chunk_of(&[&text("z", &["4", "5"])])];
    (chunks[0].file, chunks[1].file) = (8, 9);
    let parts: Vec<_> = chunks.iter().zip(0..).map(|(c, i)| flattener.check(c, i).claims).collect();
    let mut claims = gather(parts);
    assert_eq!((claims.valid, claims.tables[LINE].len()), (3, 3));
    let winners: &mut Vec<Claim> = &mut claims.tables[3];
    winners.sort_by_key(|c| (std::cmp::Reverse(c.element), c.event));
    let rows = flattener.build(3, &chunks, winners).unwrap();
    assert_eq!(column(&rows, "title"), ["x2", "z5", "x1", "y3", "z4"]);
    assert_eq!(rows.owners.iter().map(|o| o.file).collect::<Vec<_>>(), [8, 9, 8, 8, 9]);
    assert_eq!(
        rows.owners.iter().map(|o| (o.first, o.count)).collect::<Vec<_>>(),
        [(0, 1), (1, 1), (2, 1), (3, 1), (4, 1)]
    );
}

#[test]
fn claims_of_nothing_are_bugs_not_panics() {
    let flattener = Flattener::new(&shop());
    let chunks = [chunk_of(&[&event(r#""lines":[{"sku":"a","count":"x"}]"#)])];
    let order = crate::batch::EventOrder { sequence: [0, 0], hash: 0 };
    let claim = |document, element, twins| Claim {
        twins,
        owner: 0,
        order,
        event: crate::batch::EventRef { chunk: 0, document },
        element,
    };
    for (table, document, element) in [(9, 0, 0), (LINE, 1, 0), (3, 0, 1), (LINE, 0, 0)] {
        for twins in [false, true] {
            assert!(flattener.build(table, &chunks, &[claim(document, element, twins)]).is_err());
        }
    }
}

#[test]
fn an_int_key_is_the_same_however_it_is_written() {
    let pipeline = Pipe::new()
        .key_of("$.id", Type::Int64)
        .sequence_of("$.n", Type::Int64, false)
        .owned("line", "$.lines[*]", "id", "id sku")
        .column("id", "$.id", Type::Int64)
        .column("sku", "@", Type::Text)
        .build();
    let flattener = Flattener::new(&pipeline);
    let chunks =
        [chunk(&pipeline.shape, &[r#"{"id":"010","n":1,"lines":["a","b"]}"#, r#"{"id":10.0,"n":2}"#])];
    let claims = flattener.check(&chunks[0], 0).claims;
    assert_eq!(claims.tables[0][0].owner, claims.tables[0][1].owner);
    let rows = flattener.build(0, &chunks, &claims.tables[0]).unwrap();
    assert_eq!(rows.owners[1].key, [KeyPart::Int(10)]);
    assert_eq!(column(&rows, "sku"), ["a", "b"]);
    assert_eq!(owner_of(&rows.rows.columns()[..1], 0), claims.tables[0][1].owner);
}

fn scalar() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("{}".to_owned()),
        Just("[]".to_owned()),
        Just(r#""""#.to_owned()),
        Just(r#""\ud83d""#.to_owned()),
        "[abc]{1,2}".prop_map(|s| format!("\"{s}\"")),
        any::<i16>().prop_map(|n| n.to_string()),
        "[0-9]{1,3}[.][0-9]{1,5}e-?[0-9]",
    ]
}

/// Mostly well-formed events, with anything in any place now and then.
fn any_event() -> impl Strategy<Value = String> {
    let sku = prop_oneof![5 => "[abc]".prop_map(|s| format!("\"{s}\"")), 1 => scalar()];
    let line = (sku.clone(), prop_oneof![3 => Just("1.5".to_owned()), 1 => scalar()], scalar())
        .prop_map(|(s, p, t)| format!(r#"{{"sku":{s},"price":{p},"weight":{t},"title":"t"}}"#));
    let list = |item: BoxedStrategy<String>| {
        prop_oneof![
            9 => prop::collection::vec(item, 0..4).prop_map(|v| format!("[{}]", v.join(","))),
            1 => scalar()
        ]
    };
    let parcel = (sku.clone(), list(sku.prop_map(|s| format!(r#"{{"sku":{s}}}"#)).boxed()))
        .prop_map(|(id, items)| format!(r#"{{"id":{id},"items":{items}}}"#));
    (list(line.boxed()), list(parcel.boxed()), prop_oneof![3 => Just("\"x\"".to_owned()), 1 => scalar()])
        .prop_map(|(lines, parcels, city)| {
            event(&format!(r#""lines":{lines},"parcels":{parcels},"person":{{"city":{city}}}"#))
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever comes: an event is valid or bad; what is valid builds; and the rows alone give the same owners and
    /// content hashes as the events did.
    #[test]
    fn rows_agree_with_their_claims(events in prop::collection::vec(any_event(), 1..6)) {
        let pipeline = shop();
        let flattener = Flattener::new(&pipeline);
        let texts: Vec<&str> = events.iter().map(String::as_str).collect();
        let chunks = [chunk(&pipeline.shape, &texts)];
        let checked = flattener.check(&chunks[0], 0);
        prop_assert_eq!(checked.claims.valid as usize + checked.bad.len(), events.len());
        prop_assert!(checked.bad.iter().all(|(_, b)| !b.reason.is_empty() && !b.reason.contains("does not fit")));
        for (t, rows) in build_all(&flattener, &chunks, &checked.claims).iter().enumerate() {
            let columns = rows.rows.columns();
            let owner_columns: Vec<ArrayRef> =
                pipeline.tables[t].owner_columns().iter().map(|c| columns[*c].clone()).collect();
            let mut next = 0;
            for (owner, claim) in rows.owners.iter().zip(&checked.claims.tables[t]) {
                prop_assert_eq!((owner.owner, owner.first), (claim.owner, next));
                next += owner.count;
                for row in owner.first..next {
                    prop_assert_eq!(owner_of(&owner_columns, row as usize), owner.owner);
                }
                prop_assert_eq!(content_of(columns, owner.first as usize, owner.count as usize), owner.content);
                prop_assert_eq!(owner.key.is_empty(), owner.count > 0);
            }
            prop_assert_eq!(next as usize, rows.rows.num_rows());
        }
    }
}

#[test]
fn a_masked_owner_is_the_same_from_events_and_from_rows() {
    let pipeline = Pipe::new()
        .key("$.id")
        .sequence_of("$.n", Type::Int64, false)
        .owned("line", "$.lines[*]", "id", "id sku")
        .masked("id", "$.id", Type::Text, Mask::Sha256)
        .column("sku", "@", Type::Text)
        .build();
    let flattener = Flattener::new(&pipeline);
    let texts = [
        r#"{"id":"s3cret","n":1,"lines":["a"]}"#,
        r#"{"id":"s3cret","n":2}"#,
        r#"{"id":["s3cret"],"n":"x"}"#,
    ];
    let chunks = [chunk(&pipeline.shape, &texts)];
    let checked = flattener.check(&chunks[0], 0);
    assert_eq!(
        checked.bad[0].1.reason,
        r#"event key ($.id): an array is not text; sequence ($.n): "x" is not int64"#
    );
    let rows = flattener.build(0, &chunks, &checked.claims.tables[0]).unwrap();
    let id = &column(&rows, "id")[0];
    assert_eq!((id.len(), &rows.owners[1].key), (64, &vec![KeyPart::Text(id.clone())]));
    assert_eq!(owner_of(&rows.rows.columns()[..1], 0), rows.owners[1].owner);
}
