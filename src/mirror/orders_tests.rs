//! The orders pipeline's mirror: SQLite takes its schema, its views answer.

use rusqlite::Connection;

use super::ddl::Ddl;
use crate::pipeline;

/// As resources/schema/orders.sql has it, which tests/docs.rs keeps current.
fn schema() -> String {
    Ddl::of(&pipeline::load(None).unwrap(), &[]).text()
}

fn made() -> Connection {
    let db = Connection::open_in_memory().unwrap();
    db.execute_batch(&schema()).unwrap();
    db
}

#[test]
fn every_foreign_key_has_a_unique_target() {
    let db = made();
    assert!(!db.prepare("PRAGMA foreign_key_check").unwrap().exists([]).unwrap());
    let declared: i64 = db
        .query_row(
            "SELECT count(*) FROM sqlite_master AS t, pragma_foreign_key_list(t.name) AS f
             WHERE t.type = 'table'",
            [],
            |r| r.get(0),
        )
        .unwrap();
    // order_item 5, shipment 1, item_shipment 2 + 1 of two columns, item 2.
    assert_eq!(declared, 12);
}

/// One answer as text, `|` between columns.
fn ask(db: &Connection, sql: &str) -> Vec<String> {
    let mut statement = db.prepare(sql).unwrap();
    let width = statement.column_count();
    let row = |r: &rusqlite::Row<'_>| {
        let value = |i| super::bind::text_of(r.get_ref(i).unwrap()).unwrap_or("-".into()).into_owned();
        Ok((0..width).map(value).collect::<Vec<_>>().join("|"))
    };
    statement.query_map([], row).unwrap().map(Result::unwrap).collect()
}

#[test]
fn the_views_answer() {
    let db = made();
    db.execute_batch(
        "PRAGMA foreign_keys = off;
         INSERT INTO customer (id, name) VALUES ('c', 'Ann');
         INSERT INTO item (id, name, seller_id) VALUES ('i1', 'Cup', 'v1'), ('i2', 'Pot', 'v1');
         INSERT INTO seller (id, name) VALUES ('v1', 'Shop'), ('v2', 'Other shop');
         INSERT INTO order_item (order_id, item_id, order_status, item_quantity, summary_total, customer_id)
         VALUES ('o1', 'i1', 'SENT', 2, 30.5, 'c'), ('o1', 'i2', 'SENT', 1, 30.5, 'c'), ('o2', 'i1', 'NEW', 1, 9, 'x');
         INSERT INTO shipment (order_id, id, status, seller_id, delivered_date)
         VALUES ('o1', 's1', 'DELIVERED', 'v2', '2024-05-01'), ('o1', 's2', 'OPEN', NULL, NULL), ('o9', 's1', 'X', 'v1', NULL);
         INSERT INTO item_shipment (id, order_id, shipment_id, item_id, quantity)
         VALUES ('h1', 'o1', 's1', 'i1', 1), ('h2', 'o1', 's2', 'i1', 1);",
    )
    .unwrap();
    let sql =
        "SELECT order_id, status, lines, items, total, customer, city, shipments, delivered, last_delivered
               FROM orders ORDER BY order_id";
    assert_eq!(ask(&db, sql), ["o1|SENT|2|3|30.5|Ann|-|2|1|2024-05-01", "o2|NEW|1|1|9|-|-|0|0|-"]);
    let sql = "SELECT order_id, item, ordered, in_shipment, shipment_id, shipment_status, seller
               FROM items_with_shipment ORDER BY order_id, item, shipment_id";
    let expected = [
        "o1|Cup|2|1|s1|DELIVERED|Other shop",
        "o1|Cup|2|1|s2|OPEN|Shop",
        "o1|Pot|1|-|-|-|Shop",
        "o2|Cup|1|-|-|-|Shop",
    ];
    assert_eq!(ask(&db, sql), expected);
}

#[test]
fn the_views_find_one_order_by_its_key() {
    let db = made();
    for view in ["orders", "items_with_shipment"] {
        let plan = ask(&db, &format!("EXPLAIN QUERY PLAN SELECT * FROM {view} WHERE order_id = 'o1'"));
        let scans: Vec<&String> =
            plan.iter().filter(|l| l.contains("SCAN") && !l.ends_with("SCAN o")).collect();
        assert!(scans.is_empty(), "{plan:#?}");
    }
}
