//! What a mirror must stand: any batches, kills, damage, deletion, other writers, long readers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use rusqlite::Connection;

use super::fixture::{BOX, CUSTOMER, LINE, PACKED, V, ddl, i, origin, pipeline, rows, system, t};
use super::inspect::Inspector;
use super::*;
use crate::key::OwnerHash;

const ROOT: u128 = 42;

pub struct Place {
    _dir: tempfile::TempDir,
    pub path: PathBuf,
}

pub fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.db");
    Place { _dir: dir, path }
}

pub fn open(place: &Place) -> (Mirror, State, Vec<String>) {
    Mirror::open(&place.path, &pipeline(), &system(), ROOT).unwrap()
}

/// A mirror level with batch 1: two orders of one line each, and their customer.
pub fn filled(place: &Place) -> Mirror {
    let (mut mirror, state, _) = open(place);
    assert_eq!(state, State::Fresh);
    fill(&mut mirror, 1);
    mirror
}

pub fn fill(mirror: &mut Mirror, batch: u64) {
    let ddl = ddl();
    let lines = rows(&ddl.tables[LINE], 1, &[line("o1", "a", 162_200), line("o2", "a", 50_000)]);
    let customers = rows(&ddl.tables[CUSTOMER], 1, &[vec![t("c1"), t("Ann"), i(10_000)]]);
    let full = [(TableRef::Pipeline(LINE), [Ok(lines)]), (TableRef::Pipeline(CUSTOMER), [Ok(customers)])];
    assert_eq!(mirror.rebuild(batch, full).unwrap(), Outcome::Done);
    show(mirror);
}

pub fn show(mirror: &mut Mirror) {
    let done = if mirror.is_hidden() { Outcome::Done } else { Outcome::Already };
    assert_eq!(mirror.show().unwrap(), done);
}

fn line(order: &str, item: &str, price: i64) -> Vec<V> {
    vec![t(order), t(item), i(price), i(0), i(0), i(1), t("c1"), V::Null, V::Null]
}

pub fn change(table: usize, rows: &RecordBatch, owned: bool) -> Change {
    let replaces = if owned { every_owner(rows) } else { Replaces::Key };
    Change { table: TableRef::Pipeline(table), rows: Some(rows.clone()), replaces, emptied: Vec::new() }
}

/// More than need be: an owner may have no rows, and may be named again.
fn every_owner(rows: &RecordBatch) -> Replaces {
    Replaces::Owners((0..rows.num_rows() as u32).collect())
}

/// Order o1 gets `n` lines.
pub fn lines(n: i64) -> RecordBatch {
    let all: Vec<Vec<V>> = (0..n).map(|k| line("o1", &format!("i{k}"), k)).collect();
    rows(&ddl().tables[LINE], 2, &all)
}

pub fn inspector(place: &Place) -> Inspector {
    Inspector::open(&place.path, &pipeline(), &system()).unwrap()
}

fn contents(place: &Place, table: TableRef<'_>) -> Vec<Vec<Option<String>>> {
    let mut out = Vec::new();
    let mut visit = |row| {
        out.push(row);
        Ok(())
    };
    inspector(place).contents(table, &mut visit).unwrap();
    out
}

pub fn everything(place: &Place) -> Vec<Vec<Vec<Option<String>>>> {
    (0..4).map(|table| contents(place, TableRef::Pipeline(table))).collect()
}

// ------------------------------------------------------------------------------------------- against a model

/// The naive mirror: rows by key, owners deleted by looking at every row.
#[derive(Default)]
struct Model(BTreeMap<(usize, Vec<V>), Vec<V>>);

impl Model {
    fn delete_owner(&mut self, table: usize, owner: &[V]) {
        let columns = &ddl().tables[table].owner;
        self.0.retain(|(t, _), row| *t != table || columns.iter().zip(owner).any(|(&c, v)| row[c] != *v));
    }

    fn insert(&mut self, table: usize, row: &[V]) {
        let key = ddl().tables[table].key.iter().map(|&c| row[c].clone()).collect();
        self.0.insert((table, key), row.to_vec());
    }

    fn rows(&self, table: usize) -> Vec<Vec<V>> {
        self.0.iter().filter(|((t, _), _)| *t == table).map(|(_, row)| row.clone()).collect()
    }
}

fn text(kind: &arrow::datatypes::DataType, value: &V) -> Option<String> {
    use arrow::datatypes::DataType as D;
    match (kind, value) {
        (_, V::Null) => None,
        (_, V::Text(t)) => Some(t.clone()),
        (D::Float64, V::Int(n)) => Some(format!("{}", *n as f64 / 8.0)),
        (D::Decimal128(_, 4), V::Int(n)) => {
            let sign = if *n < 0 { "-" } else { "" };
            let digits = format!("{sign}{}.{:04}", n.abs() / 10_000, n.abs() % 10_000);
            Some(digits.trim_end_matches('0').trim_end_matches('.').to_owned())
        }
        (D::Date32, V::Int(n)) => Some(format!("1970-01-{:02}", n + 1)),
        (D::Timestamp(..), V::Int(n)) => Some(format!("1970-01-01T00:00:00.{n:06}Z")),
        (_, V::Int(n)) => Some(n.to_string()),
    }
}

fn expected(model: &Model, table: usize) -> Vec<Vec<Option<String>>> {
    let columns = &ddl().tables[table].columns;
    let row = |r: Vec<V>| columns.iter().zip(&r).map(|(c, v)| text(&c.kind, v)).collect();
    model.rows(table).into_iter().map(row).collect()
}

#[derive(Debug, Clone)]
enum Act {
    /// Whole sets per owner; an empty one empties.
    Owned {
        table: usize,
        owners: BTreeMap<u8, Vec<(u8, i64)>>,
    },
    Upsert(BTreeMap<u8, i64>),
    Again,
    Reopen,
    Rebuild,
    /// The model changes behind the mirror's back; then the mirror catches up.
    Behind {
        table: usize,
        owners: BTreeMap<u8, Vec<(u8, i64)>>,
    },
}

fn act() -> impl Strategy<Value = Act> {
    let owners = || {
        let set = prop::collection::btree_map(0u8..6, -99_999_999i64..99_999_999, 0..40)
            .prop_map(|m| m.into_iter().collect::<Vec<_>>());
        prop::collection::btree_map(0u8..8, set, 0..5)
    };
    prop_oneof![
        6 => (prop::sample::select(vec![BOX, PACKED, LINE]), owners())
            .prop_map(|(table, owners)| Act::Owned { table, owners }),
        3 => prop::collection::btree_map(0u8..60, 0i64..999_999, 0..40).prop_map(Act::Upsert),
        1 => Just(Act::Again),
        1 => Just(Act::Reopen),
        1 => Just(Act::Rebuild),
        2 => (prop::sample::select(vec![BOX, PACKED, LINE]), owners())
            .prop_map(|(table, owners)| Act::Behind { table, owners }),
    ]
}

fn owned_row(table: usize, owner: u8, key: u8, n: i64, batch: i64) -> Vec<V> {
    let order = t(&format!("o'{owner}\0é"));
    let item = t(&format!("i{key}"));
    let mut row = match table {
        BOX => vec![order, i(key.into()), i(n)],
        PACKED => vec![t(&format!("{owner}-{key}")), order, i(key.into()), item],
        _ => vec![
            order,
            item,
            i(n),
            i(n.abs() % 1_000_000),
            i(n.abs() % 28),
            if n % 3 == 0 { V::Null } else { i(n.abs() % 2) },
            if n % 2 == 0 { V::Null } else { t("c1") },
            V::Null,
            i(n),
        ],
    };
    let width = row.len();
    row.extend(ddl().tables[table].columns[width..].iter().map(|c| origin(&c.name, batch)));
    row
}

fn replace(
    model: &mut Model,
    table: usize,
    owners: &BTreeMap<u8, Vec<(u8, i64)>>,
    batch: i64,
) -> Vec<Vec<V>> {
    let mut all = Vec::new();
    for (&owner, set) in owners {
        model.delete_owner(table, &[t(&format!("o'{owner}\0é"))]);
        for &(key, n) in set {
            let row = owned_row(table, owner, key, n, batch);
            model.insert(table, &row);
            all.push(row);
        }
    }
    all
}

fn step(place: &Place, mirror: &mut Mirror, model: &mut Model, act: &Act, batch: u64) {
    let ddl = ddl();
    let id = batch as i64;
    let done = match act {
        Act::Owned { table, owners } => {
            let all = replace(model, *table, owners, id);
            let batch_rows = rows(&ddl.tables[*table], id, &all);
            let emptied: Vec<Vec<KeyPart>> = owners
                .iter()
                .filter(|(_, set)| set.is_empty())
                .map(|(o, _)| vec![KeyPart::Text(format!("o'{o}\0é"))])
                .collect();
            let change = Change {
                table: TableRef::Pipeline(*table),
                replaces: every_owner(&batch_rows),
                rows: Some(batch_rows).filter(|b| b.num_rows() > 0),
                emptied,
            };
            mirror.apply(batch, &[change])
        }
        Act::Upsert(customers) => {
            let row = |(k, n): (&u8, &i64)| {
                let mut row = vec![t(&format!("c{k}")), t("Ann"), i(*n)];
                row.extend(ddl.tables[CUSTOMER].columns[3..].iter().map(|c| origin(&c.name, id)));
                row
            };
            let all: Vec<Vec<V>> = customers.iter().map(row).collect();
            all.iter().for_each(|row| model.insert(CUSTOMER, row));
            mirror.apply(batch, &[change(CUSTOMER, &rows(&ddl.tables[CUSTOMER], id, &all), false)])
        }
        Act::Again => {
            let nothing = rows(&ddl.tables[CUSTOMER], id, &[vec![t("no"), t("no"), i(0)]]);
            let again = mirror.apply(batch - 1, &[change(CUSTOMER, &nothing, false)]).unwrap();
            assert_eq!(again, Outcome::Already);
            return;
        }
        Act::Reopen => {
            *mirror = Mirror::closed(&place.path, &pipeline(), &system(), ROOT).unwrap();
            assert_eq!(mirror.restore().unwrap(), (State::Level(batch - 1), Vec::new()));
            return;
        }
        Act::Rebuild => {
            let full = (0..4).map(|at| {
                let all = model.rows(at);
                let cut: Vec<Result<RecordBatch>> =
                    all.chunks(7).map(|c| Ok(rows(&ddl.tables[at], id, c))).collect();
                (TableRef::Pipeline(at), cut)
            });
            mirror.rebuild(batch, full)
        }
        Act::Behind { table, owners } => {
            let all = replace(model, *table, owners, id);
            let hash = |owner: &u8| {
                let mut h = OwnerHash::new();
                h.part(format!("o'{owner}\0é").as_bytes());
                h.finish()
            };
            let changed: Vec<u128> = owners.keys().map(hash).collect();
            mirror.catch_up(
                batch,
                [CatchUp {
                    table: TableRef::Pipeline(*table),
                    changed: Changed::Owners(&|h| changed.contains(&h)),
                    rows: Box::new(std::iter::once(Ok(rows(&ddl.tables[*table], id, &all)))),
                }],
            )
        }
    };
    assert_eq!(done.unwrap(), Outcome::Done);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_batches_leave_what_a_naive_model_has(
        acts in prop::collection::vec(act(), 1..12), hidden in 0_usize..6,
    ) {
        let place = place();
        let (mut mirror, _, _) = open(&place);
        let none: [(TableRef<'_>, [Result<RecordBatch>; 0]); 0] = [];
        assert_eq!(mirror.rebuild(1, none).unwrap(), Outcome::Done);
        let (mut model, mut batch) = (Model::default(), 1);
        for (n, act) in acts.iter().enumerate() {
            // One that is in the making is not found again.
            if n >= hidden || matches!(act, Act::Reopen) {
                show(&mut mirror);
            }
            step(&place, &mut mirror, &mut model, act, batch + 1);
            batch += u64::from(!matches!(act, Act::Again | Act::Reopen));
            if mirror.is_hidden() && n + 1 < acts.len() {
                continue;
            }
            show(&mut mirror);
            prop_assert_eq!(inspector(&place).batch().unwrap(), Some(batch));
            for table in 0..4 {
                prop_assert_eq!(contents(&place, TableRef::Pipeline(table)), expected(&model, table), "{} {:?}", n, act);
            }
        }
        prop_assert_eq!(inspector(&place).integrity().unwrap(), Vec::<String>::new());
    }
}

#[test]
fn contents_are_what_canonical_says_of_the_rows() {
    let place = place();
    let mut mirror = filled(&place);
    let odd = rows(
        &ddl().tables[LINE],
        2,
        &[vec![
            t("o9"),
            t("\0\"'"),
            i(123_456_789_012_345_678),
            i(i64::MIN),
            i(-1),
            i(0),
            V::Null,
            t(""),
            i(-5),
        ]],
    );
    assert_eq!(mirror.apply(2, &[change(LINE, &odd, true)]).unwrap(), Outcome::Done);
    let mut scratch = String::new();
    let row: Vec<Option<String>> =
        odd.columns().iter().map(|a| canonical(&Column::new(a).unwrap(), 0, &mut scratch)).collect();
    assert_eq!(contents(&place, TableRef::Pipeline(LINE))[2], row);
}

#[test]
fn of_many_rows_each_has_its_own_values_and_those_that_all_share() {
    let place = place();
    let mut mirror = filled(&place);
    let ddl = ddl();
    let customer = |k: i64| match k {
        // The last differs in what all others share.
        999 => vec![t("k999"), t("Bob"), V::Null],
        _ => vec![t(&format!("k{:03}", (k * 7) % 999)), t("Ann"), i(k % 3)],
    };
    let shared = |k: i64| vec![t(&format!("s{k:04}")), V::Null, i(5)];
    for (batch, all) in [
        (2, (0..1_000).map(customer).collect::<Vec<_>>()),
        (3, (0..1_003).map(shared).collect()),
        (4, (0..1_000).map(|k| vec![t(&format!("s{k:04}")), t("Eve"), V::Null]).collect()),
    ] {
        let batch_rows = rows(&ddl.tables[CUSTOMER], batch, &all);
        let outcome = mirror.apply(batch as u64, &[change(CUSTOMER, &batch_rows, false)]);
        assert_eq!(outcome.unwrap(), Outcome::Done);
        let columns: Vec<Column<'_>> = batch_rows.columns().iter().map(|a| Column::new(a).unwrap()).collect();
        let mut scratch = String::new();
        let mut wanted: Vec<Vec<Option<String>>> = (0..batch_rows.num_rows())
            .map(|row| columns.iter().map(|c| canonical(c, row, &mut scratch)).collect())
            .collect();
        wanted.sort();
        let mut there = contents(&place, TableRef::Pipeline(CUSTOMER));
        there.retain(|row| wanted.binary_search(row).is_ok());
        there.sort();
        assert_eq!(there, wanted, "batch {batch}");
    }
    assert_eq!(inspector(&place).count(TableRef::Pipeline(CUSTOMER)).unwrap(), 1 + 1_000 + 1_003);
}

fn indexes(mirror: &Mirror) -> Vec<String> {
    let conn = mirror.connection().unwrap();
    let sql = "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY name";
    let mut all = conn.prepare(sql).unwrap();
    let names = all.query_map([], |row| row.get(0)).unwrap();
    names.map(Result::unwrap).collect()
}

#[test]
fn rows_that_another_program_gave_to_an_owner_go_when_ours_come() {
    let place = place();
    let mut mirror = filled(&place);
    let other = Connection::open(&place.path).unwrap();
    other.execute_batch("INSERT INTO line (order_id, item_id) VALUES ('o7', 'theirs')").unwrap();
    let ours = rows(&ddl().tables[LINE], 2, &[line("o7", "ours", 1)]);
    // The merge knows of no rows that o7 had.
    let change = Change {
        table: TableRef::Pipeline(LINE),
        rows: Some(ours),
        replaces: Replaces::Owners(Vec::new()),
        emptied: Vec::new(),
    };
    assert_eq!(mirror.apply(2, &[change]).unwrap(), Outcome::Done);
    let there = contents(&place, TableRef::Pipeline(LINE));
    let of_o7: Vec<_> = there.iter().filter(|row| row[0].as_deref() == Some("o7")).collect();
    assert!(of_o7.len() == 1 && of_o7[0][1].as_deref() == Some("ours"), "{of_o7:?}");
}

#[test]
fn while_many_batches_come_into_an_empty_mirror_readers_indexes_wait() {
    let place = place();
    let (mut mirror, _, _) = open(&place);
    let nothing: [(TableRef<'_>, Vec<crate::error::Result<RecordBatch>>); 0] = [];
    assert_eq!(mirror.rebuild(1, nothing).unwrap(), Outcome::Done);
    let all = indexes(&mirror);
    mirror.expect_many();
    for batch in 2..5 {
        let lines = lines(batch as i64 * 100);
        assert_eq!(mirror.apply(batch, &[change(LINE, &lines, true)]).unwrap(), Outcome::Done);
    }
    let needed = indexes(&mirror);
    assert!(needed.len() < all.len(), "{needed:?} of {all:?}");
    for table in &ddl().tables {
        // Deleting an owner's rows must not become a walk over the table.
        let by_key = table.key.starts_with(&table.owner);
        assert!(by_key || table.owner_index.is_some_and(|at| needed.contains(&table.indexes[at].name)));
    }
    // Asked for with another batch, nothing happens; the same goes for a second time.
    let (go_on, pause) = (AtomicBool::new(false), AtomicBool::new(true));
    assert!(mirror.lacks_indexes());
    assert_eq!(mirror.index(3, &go_on).unwrap(), Outcome::Already);
    assert_eq!(indexes(&mirror), needed);
    // One by one, if somebody waits.
    assert_eq!(mirror.index(4, &pause).unwrap(), Outcome::Done);
    assert_eq!(indexes(&mirror).len(), needed.len() + 1);
    assert!(mirror.lacks_indexes());
    for _ in 0..2 {
        assert_eq!(mirror.index(4, &go_on).unwrap(), Outcome::Done);
        assert_eq!(indexes(&mirror), all);
        assert!(!mirror.lacks_indexes());
    }
    // A mirror with rows keeps them.
    mirror.expect_many();
    assert_eq!(mirror.apply(5, &[change(LINE, &lines(3), true)]).unwrap(), Outcome::Done);
    assert_eq!(indexes(&mirror), all);
    show(&mut mirror);
    assert_eq!(inspector(&place).count(TableRef::Pipeline(LINE)).unwrap(), 3);
}

#[test]
fn quarantine_is_replaced_by_file_and_content_and_files_are_added() {
    let place = place();
    let mut mirror = filled(&place);
    let ddl = ddl();
    let (quarantine, files) = (&ddl.tables[4], &ddl.tables[5]);
    let bad = |n: i64| vec![t("a.json"), i(n), t("not JSON"), t("hash")];
    let apply = |mirror: &mut Mirror, batch: u64, all: &[Vec<V>]| {
        let bad = rows(quarantine, 1, all);
        let read = rows(files, 1, &[vec![t("a.json"), i(0), i(batch as i64)]]);
        let changes = [
            Change {
                table: TableRef::System("_quarantine"),
                replaces: every_owner(&bad),
                rows: Some(bad),
                emptied: Vec::new(),
            },
            Change {
                table: TableRef::System("_files"),
                rows: Some(read),
                replaces: Replaces::Key,
                emptied: Vec::new(),
            },
        ];
        assert_eq!(mirror.apply(batch, &changes).unwrap(), Outcome::Done);
    };
    apply(&mut mirror, 2, &[bad(1), bad(2), bad(3)]);
    apply(&mut mirror, 3, &[bad(2)]);
    assert_eq!(inspector(&place).count(TableRef::System("_quarantine")).unwrap(), 1);
    assert_eq!(inspector(&place).count(TableRef::System("_files")).unwrap(), 2);
}

// ----------------------------------------------------------------------------------------- kills and mistakes

/// What a kill at this very moment would leave.
fn image(place: &Place) -> Place {
    let copy = self::place();
    for suffix in ["", "-wal"] {
        let from = super::open::beside(&place.path, suffix);
        std::fs::copy(from, super::open::beside(&copy.path, suffix)).unwrap();
    }
    copy
}

#[test]
fn a_kill_within_a_transaction_leaves_the_batch_before() {
    let place = place();
    let mut mirror = filled(&place);
    mirror.connection().unwrap().pragma_update(None, "cache_size", 10).unwrap();
    let before = everything(&place);
    let ddl = ddl();
    let mut left = Vec::new();
    let part = |k: i64| {
        let all: Vec<Vec<V>> = (0..400).map(|n| line(&format!("o{k}"), &format!("i{n}"), n)).collect();
        rows(&ddl.tables[LINE], 2, &all)
    };
    let parts = (0..20).map(|k| {
        left.push(image(&place));
        Ok(part(k))
    });
    let done = mirror.catch_up(
        2,
        [CatchUp { table: TableRef::Pipeline(LINE), changed: Changed::All, rows: Box::new(parts) }],
    );
    assert_eq!(done.unwrap(), Outcome::Done);
    assert_ne!(everything(&place), before);
    // The small cache made SQLite write unfinished pages to the log.
    let logs: Vec<u64> =
        left.iter().map(|p| std::fs::metadata(super::open::beside(&p.path, "-wal")).unwrap().len()).collect();
    assert!(logs.last() > logs.first(), "{logs:?}");
    for left in &left {
        let (mirror, state, notes) = open(left);
        assert_eq!((state, notes), (State::Level(1), Vec::new()));
        assert_eq!(everything(left), before);
        drop(mirror);
    }
    let (_, state, _) = open(&image(&place));
    assert_eq!(state, State::Level(2));
}

#[test]
fn a_kill_within_a_rebuild_leaves_what_was_there() {
    let place = place();
    let mut mirror = filled(&place);
    let before = everything(&place);
    let mut left = Vec::new();
    let parts = (0..3).map(|_| {
        left.push(image(&place));
        Ok(lines(1))
    });
    // The second part has the first one's key.
    let full = [(TableRef::Pipeline(LINE), parts)];
    assert!(
        matches!(mirror.rebuild(5, full), Err(Error::Corrupt(text)) if text.contains("two rows with one key"))
    );
    assert_eq!(everything(&place), before);
    let stop = || Err(Error::Busy("stop".into()));
    let full = [(TableRef::Pipeline(LINE), vec![Ok(lines(3)), stop()])];
    assert!(matches!(mirror.rebuild(5, full), Err(Error::Busy(_))));
    assert_eq!(everything(&place), before);
    for left in &left {
        assert_eq!(open(left).1, State::Level(1));
        assert_eq!(everything(left), before);
    }
    assert_eq!(mirror.apply(2, &[change(LINE, &lines(2), true)]).unwrap(), Outcome::Done);
}

#[test]
fn rows_that_do_not_fit_change_nothing() {
    let place = place();
    let mut mirror = filled(&place);
    let before = everything(&place);
    let good = lines(3);
    let strange = good.project(&[0, 1]).unwrap();
    let both = [change(LINE, &good, true), change(LINE, &strange, true)];
    assert!(
        matches!(mirror.apply(2, &both), Err(Error::Bug(text)) if text.contains("without column `price`"))
    );
    assert_eq!(everything(&place), before);
    assert!(matches!(mirror.apply(2, &[change(99, &good, true)]), Err(Error::Bug(_))));
    assert_eq!(inspector(&place).batch().unwrap(), Some(1));
}

#[test]
fn a_fresh_mirror_wants_to_be_filled_first() {
    let place = place();
    let (mut mirror, state, notes) = open(&place);
    assert_eq!((state, notes), (State::Fresh, Vec::new()));
    assert!(matches!(mirror.apply(1, &[]), Err(Error::Bug(_))));
    drop(mirror);
    assert_eq!(open(&place).1, State::Fresh);
}

// ----------------------------------------------------------------------------------------- damage and deletion

pub fn aside(place: &Place, name: &str) -> PathBuf {
    place.path.with_file_name(name)
}

#[test]
fn a_damaged_file_is_moved_aside() {
    let place = place();
    let garbage = b"no database at all, and longer than a header ".repeat(200);
    std::fs::write(&place.path, &garbage).unwrap();
    let mut mirror = filled(&place);
    assert_eq!(std::fs::read(aside(&place, "shop.db.damaged-1")).unwrap(), garbage);
    let many = lines(2_000);
    assert_eq!(mirror.apply(2, &[change(LINE, &many, true)]).unwrap(), Outcome::Done);
    drop(mirror);
    let whole = std::fs::read(&place.path).unwrap();
    let mut holed = whole.clone();
    for byte in &mut holed[20_000..60_000] {
        *byte ^= 0x5a;
    }
    for (n, damaged) in [(2, whole[..whole.len() / 2].to_vec()), (3, whole[..50].to_vec()), (4, holed)] {
        std::fs::write(&place.path, &damaged).unwrap();
        let (mirror, state, notes) = open(&place);
        let kept = aside(&place, &format!("shop.db.damaged-{n}"));
        assert_eq!(state, State::Fresh);
        assert!(
            notes[0].contains("is damaged") && notes[0].contains(&kept.display().to_string()),
            "{notes:?}"
        );
        assert_eq!(std::fs::read(kept).unwrap(), damaged);
        drop(mirror);
    }
}

#[test]
fn damage_while_running_is_lost_and_restored() {
    let place = place();
    let mut mirror = filled(&place);
    let many = lines(2_000);
    assert_eq!(mirror.apply(2, &[change(LINE, &many, true)]).unwrap(), Outcome::Done);
    let conn = mirror.connection().unwrap();
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    conn.execute_batch("PRAGMA shrink_memory").unwrap();
    let mut bytes = std::fs::read(&place.path).unwrap();
    bytes[4_096..].fill(0x5a);
    std::fs::write(&place.path, &bytes).unwrap();
    let outcome = mirror.apply(3, &[change(LINE, &many, true)]).unwrap();
    assert!(matches!(&outcome, Outcome::Lost(why) if why.contains("is damaged")), "{outcome:?}");
    let (state, notes) = mirror.restore().unwrap();
    assert_eq!((state, notes.len()), (State::Fresh, 1));
    assert!(aside(&place, "shop.db.damaged-1").exists());
    fill(&mut mirror, 3);
    assert_eq!(inspector(&place).batch().unwrap(), Some(3));
}

#[test]
fn a_mirror_that_was_deleted_while_running_is_made_again() {
    let place = place();
    let mut mirror = filled(&place);
    assert!(mirror.present());
    for what in [vec![""], vec!["", "-wal", "-shm"]] {
        for suffix in what {
            std::fs::remove_file(super::open::beside(&place.path, suffix)).unwrap();
        }
        assert!(!mirror.present());
        assert!(matches!(mirror.apply(2, &[]).unwrap(), Outcome::Lost(_)));
        assert_eq!(mirror.restore().unwrap(), (State::Fresh, Vec::new()));
        fill(&mut mirror, 1);
        assert_eq!(inspector(&place).count(TableRef::Pipeline(LINE)).unwrap(), 2);
    }
}

#[test]
fn a_mirror_that_lost_its_log_is_not_trusted() {
    let place = place();
    let mut mirror = filled(&place);
    assert_eq!(mirror.apply(2, &[change(LINE, &lines(5), true)]).unwrap(), Outcome::Done);
    std::fs::remove_file(super::open::beside(&place.path, "-wal")).unwrap();
    assert!(matches!(mirror.apply(3, &[]).unwrap(), Outcome::Lost(_)));
    let (state, notes) = mirror.restore().unwrap();
    assert_eq!(state, State::Fresh);
    assert!(notes[0].contains("damaged-1"), "{notes:?}");
}

#[test]
fn an_older_copy_in_its_place_says_so() {
    let place = place();
    let mut mirror = filled(&place);
    let old = image(&place);
    assert_eq!(mirror.apply(2, &[change(LINE, &lines(5), true)]).unwrap(), Outcome::Done);
    std::fs::rename(&old.path, &place.path).unwrap();
    assert!(matches!(mirror.apply(3, &[]).unwrap(), Outcome::Lost(_)));
    assert_eq!(mirror.restore().unwrap(), (State::Level(1), Vec::new()));
    assert_eq!(mirror.apply(2, &[change(LINE, &lines(5), true)]).unwrap(), Outcome::Done);
    assert_eq!(inspector(&place).integrity().unwrap(), Vec::<String>::new());
}

#[test]
fn tables_changed_by_hand_are_noticed() {
    let place = place();
    let mut mirror = filled(&place);
    Connection::open(&place.path)
        .unwrap()
        .execute_batch("PRAGMA foreign_keys = off; DROP TABLE line")
        .unwrap();
    assert!(matches!(mirror.apply(2, &[change(LINE, &lines(5), true)]).unwrap(), Outcome::Lost(_)));
    assert_eq!(mirror.restore().unwrap().0, State::Fresh);
    show(&mut mirror);
    drop(mirror);
    Connection::open(&place.path).unwrap().execute_batch("ALTER TABLE line ADD COLUMN mine").unwrap();
    let (_, state, notes) = open(&place);
    assert_eq!(state, State::Fresh);
    assert!(
        notes[0].contains("another table `line`") && aside(&place, "shop.db.old-1").exists(),
        "{notes:?}"
    );
}

#[test]
fn what_mirrors_something_else_is_moved_aside() {
    let place = place();
    drop(filled(&place));
    let mut other = pipeline();
    other.fingerprint = 8;
    let (_, state, notes) = Mirror::open(&place.path, &other, &system(), ROOT).unwrap();
    assert!(state == State::Fresh && notes[0].contains("earlier form of the pipeline"), "{notes:?}");
    let (_, state, notes) = Mirror::open(&place.path, &other, &system(), ROOT + 1).unwrap();
    assert!(state == State::Fresh && notes[0].contains("another root"), "{notes:?}");
    let theirs = place.path.with_file_name("theirs.db");
    Connection::open(&theirs).unwrap().execute_batch("CREATE TABLE precious (a)").unwrap();
    let (_, state, notes) = Mirror::open(&theirs, &other, &system(), ROOT).unwrap();
    assert!(state == State::Fresh && notes[0].contains("theirs.db.old-1"), "{notes:?}");
}

#[test]
fn a_mirror_behind_a_link_works_alike() {
    let (place, target) = (place(), place());
    std::os::unix::fs::symlink(&target.path, &place.path).unwrap();
    drop(open(&place));
    let mut mirror = filled(&place);
    assert!(mirror.log_bytes() == 0 && mirror.present());
    assert_eq!(mirror.apply(2, &[change(LINE, &lines(2), true)]).unwrap(), Outcome::Done);
    assert!(mirror.log_bytes() > 0);
    std::fs::remove_file(&target.path).unwrap();
    assert!(matches!(mirror.apply(3, &[]).unwrap(), Outcome::Lost(_)));
    assert_eq!(mirror.restore().unwrap().0, State::Fresh);
}

#[test]
fn a_file_that_lost_its_state_row_is_moved_aside() {
    let place = place();
    for sql in ["DELETE FROM _millrace", "UPDATE _millrace SET format = 'x'"] {
        drop(filled(&place));
        Connection::open(&place.path).unwrap().execute_batch(sql).unwrap();
        let (_, state, notes) = open(&place);
        assert!(state == State::Fresh && notes[0].contains("does not say what it mirrors"), "{notes:?}");
    }
}

#[test]
fn views_and_indexes_are_mended_in_place() {
    let place = place();
    drop(filled(&place));
    let mut other = pipeline();
    other.views[0].sql = "SELECT 1 AS one".into();
    Connection::open(&place.path).unwrap().execute_batch("DROP INDEX \"line.customer_id\"").unwrap();
    let (mirror, state, notes) = Mirror::open(&place.path, &other, &system(), ROOT).unwrap();
    assert_eq!((state, notes), (State::Level(1), Vec::new()));
    let conn = mirror.connection().unwrap();
    assert_eq!(conn.query_row("SELECT one FROM orders", [], |r| r.get::<_, i64>(0)).unwrap(), 1);
    conn.execute_batch("DROP INDEX \"line.customer_id\"").unwrap();
}

#[test]
fn a_view_that_does_not_work_is_the_pipelines_mistake() {
    let place = place();
    for (sql, said) in [
        ("SELECT nope FROM line", "no such column: nope"),
        ("SELECT 1; DROP TABLE line", "Multiple statements"),
        ("DELETE FROM line", "syntax error"),
    ] {
        let mut wrong = pipeline();
        wrong.views[0].sql = sql.into();
        let error = Mirror::open(&place.path, &wrong, &system(), ROOT).err().unwrap();
        assert!(
            matches!(&error, Error::Config(text) if text.contains("view `orders`") && text.contains(said)),
            "{error}"
        );
        assert!(!place.path.exists());
    }
}

// --------------------------------------------------------------------------------------------- other programs

#[test]
fn another_writer_is_named_and_waited_for() {
    let place = place();
    let mut mirror = filled(&place);
    let other = Connection::open(&place.path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    mirror.connection().unwrap().busy_timeout(Duration::from_millis(50)).unwrap();
    assert!(matches!(mirror.apply(2, &[]), Err(Error::Busy(text)) if text.contains("another program")));
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(mirror.apply(2, &[]).unwrap(), Outcome::Done);
}

#[test]
fn a_long_reader_keeps_its_view_and_the_log_is_cut_once_it_ends() {
    let place = place();
    let mut mirror = filled(&place);
    let reader = Connection::open(&place.path).unwrap();
    let count = || reader.query_row("SELECT count(*) FROM line", [], |r| r.get::<_, i64>(0)).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    assert_eq!(count(), 2);
    for batch in 2..8 {
        assert_eq!(mirror.apply(batch, &[change(LINE, &lines(500), true)]).unwrap(), Outcome::Done);
    }
    mirror.cut_log(Duration::from_millis(10)).unwrap();
    assert_eq!(count(), 2);
    assert!(mirror.log_bytes() > 0);
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(count(), 501);
    mirror.cut_log(Duration::from_millis(10)).unwrap();
    assert_eq!(mirror.log_bytes(), 0);
    assert_eq!(mirror.apply(9, &[]).unwrap(), Outcome::Done);
}

#[test]
fn a_log_that_a_reader_keeps_is_bounded() {
    let place = place();
    let mut mirror = filled(&place);
    mirror.most_log = 1 << 20;
    let reader = Connection::open(&place.path).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM line").unwrap();
    let mut batch = 2;
    let refused = loop {
        match mirror.apply(batch, &[change(LINE, &lines(2_000), true)]) {
            Ok(outcome) => assert_eq!(outcome, Outcome::Done),
            Err(e) => break e.to_string(),
        }
        batch += 1;
    };
    assert!(refused.contains("has read") && refused.contains("in one transaction"), "{refused}");
    assert!(mirror.log_bytes() < 3 << 20, "{}", mirror.log_bytes());
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(mirror.apply(batch, &[change(LINE, &lines(2_000), true)]).unwrap(), Outcome::Done);
    assert!(mirror.log_bytes() < 1 << 20);
}

#[test]
fn what_another_program_commits_is_noticed_and_a_rebuild_puts_it_right() {
    let place = place();
    let mut mirror = filled(&place);
    assert_eq!(mirror.apply(2, &[change(LINE, &lines(3), true)]).unwrap(), Outcome::Done);
    let other = Connection::open(&place.path).unwrap();
    other.query_row("SELECT count(*) FROM line", [], |_| Ok(())).unwrap();
    other.execute_batch("BEGIN IMMEDIATE; DELETE FROM packed; ROLLBACK").unwrap();
    assert!(!mirror.is_touched());
    other.execute_batch("PRAGMA foreign_keys = off; DELETE FROM customer").unwrap();
    assert!(mirror.is_touched());
    assert_eq!(mirror.apply(3, &[change(LINE, &lines(4), true)]).unwrap(), Outcome::Done);
    assert!(mirror.is_touched());
    fill(&mut mirror, 4);
    assert!(!mirror.is_touched());
    assert_eq!(mirror.count_if_small(TableRef::Pipeline(CUSTOMER)).unwrap(), Some(1));
}

#[test]
fn a_trigger_of_somebody_else_does_not_survive() {
    let place = place();
    let mut mirror = filled(&place);
    let trigger = "CREATE TRIGGER \"t\"\"r\" AFTER INSERT ON line BEGIN DELETE FROM customer; END";
    Connection::open(&place.path).unwrap().execute_batch(trigger).unwrap();
    assert!(mirror.is_touched());
    fill(&mut mirror, 2);
    assert_eq!(mirror.count_if_small(TableRef::Pipeline(CUSTOMER)).unwrap(), Some(1));
    drop(mirror);
    Connection::open(&place.path).unwrap().execute_batch(trigger).unwrap();
    let (_, state, notes) = open(&place);
    assert!(state == State::Fresh && notes[0].contains("a trigger `t\"r` on `line`"), "{notes:?}");
}

#[test]
fn two_mirrors_never_share_a_file() {
    let place = place();
    let mirror = filled(&place);
    let other = Mirror::open(&place.path, &pipeline(), &system(), ROOT + 1);
    assert!(matches!(other, Err(Error::Busy(text)) if text.contains("the mirror of another root")));
    drop(mirror);
    assert_eq!(Mirror::open(&place.path, &pipeline(), &system(), ROOT + 1).unwrap().1, State::Fresh);
}

#[test]
fn what_is_no_file_is_moved_aside() {
    let place = place();
    std::fs::create_dir(&place.path).unwrap();
    drop(filled(&place));
    assert!(aside(&place, "shop.db.old-1").is_dir());
    for log in ["-wal", "-shm"] {
        std::fs::create_dir(super::open::beside(&place.path, log)).unwrap();
        drop(filled(&place));
    }
    assert!(aside(&place, "shop.db.damaged-1-wal").is_dir());
}

#[test]
fn the_log_is_cut_between_readers_who_are_never_all_away() {
    let place = place();
    let mut mirror = filled(&place);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for hold in [300, 170] {
            let (path, stop) = (&place.path, &stop);
            scope.spawn(move || {
                let conn = Connection::open(path).unwrap();
                while !stop.load(Ordering::SeqCst) {
                    conn.execute_batch("BEGIN; SELECT count(*) FROM line").unwrap();
                    std::thread::sleep(Duration::from_millis(hold));
                    conn.execute_batch("COMMIT").unwrap();
                }
            });
        }
        for batch in 2..12 {
            assert_eq!(mirror.apply(batch, &[change(LINE, &lines(50), true)]).unwrap(), Outcome::Done);
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(mirror.log_bytes() > 0);
        mirror.cut_log(Duration::from_secs(5)).unwrap();
        let left = mirror.log_bytes();
        stop.store(true, Ordering::SeqCst);
        assert_eq!(left, 0);
    });
}

#[test]
fn a_log_that_readers_need_is_cut_seldom_and_with_growing_patience() {
    let mut cutting = super::write::Cutting::default();
    let (mut waited, mut tries) = (Duration::ZERO, 0);
    // A gigabyte, a mebibyte a batch, while one reader stays.
    for bytes in (0..1024).map(|n: u64| n << 20) {
        if let Some(patience) = cutting.due(bytes) {
            waited += patience;
            tries += 1;
            cutting.tried(bytes);
        }
    }
    assert!((8..16).contains(&tries), "{tries} tries");
    assert!(waited < Duration::from_secs(40), "{waited:?}");
    assert_eq!(cutting.due(1 << 20), None);
    cutting.tried(0);
    assert_eq!(cutting.due(65 << 20), Some(Duration::from_millis(50)), "as at first once it was cut");
    // A process that was killed left a long one: the next must not begin with little patience again.
    assert_eq!(super::write::Cutting::default().due(512 << 20), Some(Duration::from_secs(5)));
}

#[test]
fn readers_see_whole_batches_only() {
    let place = place();
    let mut mirror = filled(&place);
    let path = place.path.clone();
    let reader = std::thread::spawn(move || {
        let conn = Connection::open(&path).unwrap();
        let sql =
            "SELECT (SELECT batch_id FROM _millrace), (SELECT count(*) FROM line WHERE order_id = 'o1')";
        for _ in 0..100_000 {
            let (batch, n): (i64, i64) = conn.query_row(sql, [], |r| Ok((r.get(0)?, r.get(1)?))).unwrap();
            assert_eq!(n, if batch == 1 { 1 } else { batch * 10 });
            if batch == 30 {
                return;
            }
        }
    });
    for batch in 2..=30 {
        assert_eq!(
            mirror.apply(batch, &[change(LINE, &lines(batch as i64 * 10), true)]).unwrap(),
            Outcome::Done
        );
    }
    reader.join().unwrap();
}

#[test]
fn orphans_are_counted_and_the_schema_has_no_mismatch() {
    let place = place();
    let mut mirror = filled(&place);
    let ddl = ddl();
    let mut lost = line("o3", "a", 1);
    lost[6] = t("nobody");
    let line = rows(&ddl.tables[LINE], 2, &[lost]);
    let packed = rows(&ddl.tables[PACKED], 2, &[vec![t("h"), t("o3"), i(1), t("a")]]);
    assert_eq!(
        mirror.apply(2, &[change(LINE, &line, true), change(PACKED, &packed, true)]).unwrap(),
        Outcome::Done
    );
    let found: Vec<(String, String, u64)> =
        mirror.orphans().unwrap().into_iter().map(|o| (o.table, o.columns.join(","), o.count)).collect();
    let expected = [
        ("packed", "order_id,box_no", 1),
        ("line", "customer_id", 1),
        ("line", "packed_id", 0),
        ("line", "box_no", 0),
    ];
    assert_eq!(found, expected.map(|(a, b, n)| (a.to_owned(), b.to_owned(), n)));
    let conn = mirror.connection().unwrap();
    let mut check = conn.prepare("PRAGMA foreign_key_check").unwrap();
    let rows: Vec<String> = check.query_map([], |r| r.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(rows, ["packed", "line"]);
}
