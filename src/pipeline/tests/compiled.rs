//! What a right file compiles to, and what its fingerprint sees.

use super::{SMALL, compiled, index, refused_text, resolve, swap, table};
use crate::pipeline::DEFAULT;
use crate::pipeline::model::{Base, Column, ColumnSource, Reference, Table};

#[test]
fn every_source_column_and_place_is_compiled() {
    let pipeline = compiled(SMALL);
    let line = table(&pipeline, "line");
    let column = |name: &str| &line.columns[line.column(name).unwrap()];
    assert_eq!(pipeline.tables[0].name, "person");
    assert!(matches!(&column("id").source, ColumnSource::Hash(c) if *c == [0, 1]));
    assert!(matches!(&column("person_name").source, ColumnSource::Lookup(l)
        if l.table == 0 && l.matches == [(0, 4)] && l.take == 1));
    assert_eq!(column("person_id").reference, Some(Reference { table: 0, columns: vec![(4, 0)] }));
    assert!(table(&pipeline, "person").columns[2].null_on_error);
    assert_eq!(line.order, [0, 1, 2, 3, 4, 5]);
    assert_eq!(pipeline.flatten_order(), [0, 1]);
    assert_eq!(resolve(&pipeline.shape, 0, &pipeline.event.key[0].path.steps), ".id");
    assert_eq!(resolve(&pipeline.shape, 0, &line.each[0].steps), ".lines");
}

#[test]
fn element_and_parent_without_levels_are_the_event() {
    let text = SMALL
        .replace("\"$.person.name\"", "\"@.person.name\"")
        .replace("\"$.person.id\",", "\"^.person.id\",");
    let pipeline = compiled(&text);
    let bases = |t: &Table| -> Vec<Base> {
        let base = |c: &Column| match &c.source {
            ColumnSource::Path { path, .. } => Some(path.base),
            _ => None,
        };
        t.columns.iter().filter_map(base).collect()
    };
    assert_eq!(bases(&pipeline.tables[0]), [Base::Event; 3]);
    assert_eq!(bases(&pipeline.tables[1]), [Base::Event, Base::Element, Base::Element, Base::Event]);
    assert_eq!(pipeline.fingerprint, compiled(SMALL).fingerprint, "the spelling of a path does not count");
}

#[test]
fn columns_are_computed_after_what_they_need() {
    let pipeline =
        compiled(&swap("shop_id = \"$.id\"\nsku", "first = { hash = [\"id\"] }\nshop_id = \"$.id\"\nsku"));
    let line = table(&pipeline, "line");
    assert_eq!(line.order, [1, 2, 3, 0, 4, 5, 6]);
}

#[test]
fn tables_are_flattened_after_what_they_look_up() {
    // A dimension that looks up a fact: committed before it, flattened after it.
    let text = SMALL.replace("person_name = { lookup = { table = \"person\", match = { id = \"person_id\" }, take = \"name\" } }\n", "")
        + "line = { lookup = { table = \"line\", take = \"id\" } }\n";
    let pipeline = compiled(&text);
    assert_eq!(pipeline.flatten_order(), [index(&pipeline, "line"), index(&pipeline, "person")]);
    assert_eq!(index(&pipeline, "person"), 0);
}

#[test]
fn units_and_switches() {
    let extra = "path = \"in\"\nsettle = \"200 ms\"\nbatch_files = 7\nbatch_bytes = \"1MB\"\n[limits]\ndepth = 9\n\
                 document_bytes = 4096\nfile_bytes = \"2 TiB\"\n[quarantine]\nraw = true\n[mirror]\nsqlite = false\n\
                 [history]\ncommits = 500\n";
    let pipeline = compiled(&swap("path = \"in\"\n", extra));
    let source = &pipeline.source;
    assert_eq!((source.settle_ms, source.batch_files, source.batch_bytes), (200, 7, 1_000_000));
    let limits = pipeline.limits;
    assert_eq!((limits.depth, limits.document_bytes, limits.file_bytes), (9, 4096, 2 << 40));
    assert!(pipeline.quarantine_raw && !pipeline.mirror);
    assert_eq!(pipeline.history_commits, Some(500));
}

#[test]
fn byte_order_mark_and_crlf_are_taken() {
    compiled(&format!("\u{feff}{SMALL}"));
    compiled(&SMALL.replace('\n', "\r\n"));
    refused_text(
        &format!("\u{feff}{}", SMALL.replace('\n', "\r\n").replace("version = 1", "version = 2")),
        &["1:11: unknown version: this millrace reads version = 1"],
    );
}

#[test]
fn fingerprint_is_frozen() {
    // Existing roots carry these: a change here refuses every one of them.
    assert_eq!(format!("{:032x}", compiled(SMALL).fingerprint), FROZEN_SMALL);
    assert_eq!(format!("{:032x}", compiled(DEFAULT).fingerprint), FROZEN_ORDERS);
}

const FROZEN_SMALL: &str = "20d22b83fb0a66ea8b130df9f3bacaf1";
const FROZEN_ORDERS: &str = "670596856b9ada15015b4731878e5d02";

#[test]
fn fingerprint_forgets_what_does_not_decide() {
    let same = |text: String| assert_eq!(compiled(&text).fingerprint, compiled(SMALL).fingerprint, "{text}");
    same(swap("path = \"in\"", "path = \"elsewhere\" # a comment\nbatch_files = 3"));
    same(SMALL.to_owned() + "[limits]\ndepth = 3\n[mirror]\nsqlite = false\n[quarantine]\nraw = true\n");
    same(swap("{ path = \"$.person.id\", references = \"person.id\" }", "\"$['person'].id\""));
    let (head, tables) = SMALL.split_once("[tables.line]").unwrap();
    let (line, person) = tables.split_once("[tables.person]").unwrap();
    same(format!("{head}[tables.person]{person}[tables.line]{line}"));
}

#[test]
fn fingerprint_sees_what_decides() {
    let changes = [
        ("name = \"shop\"", "name = \"shoq\""),
        ("type = \"timestamp\"", "type = \"int64\""),
        ("type = \"timestamp\"", "type = \"timestamp\", optional = true"),
        ("\"$.at\"", "\"$.at2\""),
        ("\"$.lines[*]\"", "\"$.rows[*]\""),
        ("key = [\"shop_id\", \"sku\"]", "key = [\"sku\", \"shop_id\"]"),
        ("shop_id = \"$.id\"\nsku = \"@.sku\"\n", "sku = \"@.sku\"\nshop_id = \"$.id\"\n"),
        ("\"@.sku\"", "\"^.sku\""),
        ("hash = [\"shop_id\", \"sku\"]", "hash = [\"sku\", \"shop_id\"]"),
        ("decimal(18,4)", "decimal(18,3)"),
        (", match = { id = \"person_id\" }", ""),
        ("take = \"name\"", "take = \"id\""),
        ("\"$.person.name\"", "{ path = \"$.person.name\", mask = \"sha256\" }"),
        (", on_error = \"null\"", ""),
        ("age =", "years ="),
    ];
    let mut seen = vec![compiled(SMALL).fingerprint];
    for (from, to) in changes {
        let changed = compiled(&swap(from, to)).fingerprint;
        assert!(!seen.contains(&changed), "{from} -> {to}");
        seen.push(changed);
    }
}
