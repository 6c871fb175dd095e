//! The pipeline file as a whole: what is taken, what is refused and where, and that nothing makes it panic.

use std::path::Path;

use super::model::{
    Base, ColumnSource, Limits, Mask, Pipeline, Reference, Shape, Step, Table, TableKind, Type,
};
use super::{DEFAULT, diagram, load, parse};
use crate::error::Error;

/// Small, right, and with one of everything: the wrong ones below are this with one change.
const SMALL: &str = r#"version = 1
name = "shop"
[source]
path = "in"
[event]
key = "$.id"
sequence = { path = "$.at", type = "timestamp" }
[tables.line]
each = "$.lines[*]"
owner = ["shop_id"]
key = ["shop_id", "sku"]
[tables.line.columns]
shop_id = "$.id"
sku = "@.sku"
id = { hash = ["shop_id", "sku"] }
price = { path = "@.price", type = "decimal(18,4)" }
person_id = { path = "$.person.id", references = "person.id" }
person_name = { lookup = { table = "person", match = { id = "person_id" }, take = "name" } }
[tables.person]
key = ["id"]
[tables.person.columns]
id = "$.person.id"
name = "$.person.name"
age = { path = "$.person.age", type = "int64", on_error = "null" }
"#;

fn compiled(text: &str) -> Pipeline {
    parse(text, "t.toml").unwrap_or_else(|p| panic!("{}", lines(&p)))
}

fn lines(problems: &[super::Problem]) -> String {
    problems.iter().map(|p| format!("{p}\n")).collect()
}

fn swap(from: &str, to: &str) -> String {
    assert_eq!(SMALL.matches(from).count(), 1, "{from:?} must stand once in SMALL");
    SMALL.replace(from, to)
}

/// SMALL with one change is refused with exactly these problems.
fn refused(from: &str, to: &str, problems: &[&str]) {
    refused_text(&swap(from, to), problems);
}

fn refused_text(text: &str, problems: &[&str]) {
    let found = parse(text, "t.toml").err().unwrap_or_else(|| panic!("taken:\n{text}"));
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    let wanted: Vec<String> = problems.iter().map(|p| format!("t.toml:{p}")).collect();
    assert_eq!(found, wanted, "\n{text}");
}

fn table<'p>(pipeline: &'p Pipeline, name: &str) -> &'p Table {
    pipeline.tables.iter().find(|t| t.name == name).unwrap()
}

fn index(pipeline: &Pipeline, name: &str) -> usize {
    pipeline.tables.iter().position(|t| t.name == name).unwrap()
}

// ------------------------------------------------------------------------------------------ the orders model

/// ORDERS, table by table: kind, each, key, columns. `+` marks money, `t` time, `i` int64, `f` float64.
const ORDERS: [(&str, &str, &str, &str, &str); 9] = [
    (
        "customer",
        "dimension",
        "$",
        "id",
        "id name email phone_area_code phone_country_code phone_number document type",
    ),
    (
        "delivery_address",
        "dimension",
        "$",
        "id",
        "id receiver_name street number complement neighborhood city short_state state zip_code country_code",
    ),
    ("seller", "dimension", "$.list_item_pedi[*]", "id", "id sku_id name"),
    (
        "promotion",
        "dimension",
        "$.list_prmo[*]",
        "id",
        "id name discount_type coupon_id coupon_type coupon_code +value +value_applied",
    ),
    ("warehouse", "dimension", "$.list_item_pedi[*].list_cod_loja_vend[*]", "id", "id"),
    (
        "item",
        "dimension",
        "$.list_item_pedi[*]",
        "id",
        "id product_name product_slug name slug thumbnail warehouse_id seller_id +price +original_price +unit_price \
         +unit_original_price +price_discount +unit_financial_discount +unit_reversal_value",
    ),
    (
        "shipment",
        "owned",
        "$.list_envo[*]",
        "order_id id",
        "id order_id status substatus_code substatus_reason seller_id billing_number billing_serial \
         billing_xml_content t:billing_issue_date t:tracking_send_date tracking_protocol tracking_carrier \
         tracking_delivery_method t:delivered_date",
    ),
    (
        "item_shipment",
        "owned",
        "$.list_envo[*].list_item_envo[*]",
        "order_id shipment_id item_id",
        "id order_id shipment_id item_id seller_id substatus_code substatus_reason t:created_at t:updated_at \
         i:quantity status",
    ),
    (
        "order_item",
        "fact",
        "$.list_item_pedi[*]",
        "order_id item_id",
        "id order_id item_id offer_id order_status order_substatus_code order_substatus_reason payment_status \
         +shipping_cost +shipping_discount +final_shipping_cost t:estimated_exact_date_iso i:item_quantity \
         delivery_method_name i:estimated_business_days logistics_provider_name store_id client_id f:summary_items \
         +summary_total +summary_total_price_discount +summary_total_shipping_cost \
         +summary_total_shipping_discount f:summary_max_shipping_time +summary_orders_discount \
         +summary_final_price verify_token t:created_at t:updated_at customer_id delivery_address_id promotion_id \
         item_shipment_id",
    ),
];

#[test]
fn orders_has_its_nine_tables_in_commit_order() {
    let pipeline = load(None).unwrap();
    let found: Vec<_> = pipeline.tables.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(found, ORDERS.map(|t| t.0));
    for (table, (_, kind, each, key, columns)) in pipeline.tables.iter().zip(ORDERS) {
        let found = match (&table.kind, table.fact) {
            (TableKind::Dimension, false) => "dimension",
            (TableKind::Owned { .. }, false) => "owned",
            (TableKind::Owned { .. }, true) => "fact",
            (TableKind::Dimension, true) => "a dimension cannot be a fact",
        };
        let names =
            |columns: &[usize]| columns.iter().map(|&c| table.columns[c].name.as_str()).collect::<Vec<_>>();
        assert_eq!(found, kind, "{}", table.name);
        assert_eq!(table.each_text, each);
        assert_eq!(names(&table.key).join(" "), key);
        let owner = if kind == "dimension" { key } else { "order_id" };
        assert_eq!(names(table.owner_columns()).join(" "), owner);
        let found: Vec<String> =
            table.columns.iter().map(|c| format!("{}{}", sign(c.kind), c.name)).collect();
        assert_eq!(found.join(" "), columns, "{}", table.name);
    }
}

fn sign(kind: Type) -> &'static str {
    match kind {
        Type::Text => "",
        Type::Decimal { precision: 18, scale: 4 } => "+",
        Type::Timestamp => "t:",
        Type::Int64 => "i:",
        Type::Float64 => "f:",
        other => panic!("orders has no {other}"),
    }
}

#[test]
fn orders_columns_come_from_where_the_model_says() {
    let pipeline = load(None).unwrap();
    let from = |name: &str, column: &str| {
        let table = table(&pipeline, name);
        match &table.columns[table.column(column).unwrap()].source {
            ColumnSource::Path { path, .. } => path.text.to_string(),
            ColumnSource::Hash(columns) => {
                columns.iter().map(|&c| table.columns[c].name.as_str()).collect::<Vec<_>>().join("+")
            }
            ColumnSource::Lookup(l) => format!("{}[{}]", pipeline.tables[l.table].name, l.take),
        }
    };
    assert_eq!(from("order_item", "id"), "order_id+item_id");
    assert_eq!(from("order_item", "promotion_id"), "$.list_prmo[0].cod_prmo");
    assert_eq!(from("order_item", "delivery_address_id"), "delivery_address[0]");
    assert_eq!(from("order_item", "item_shipment_id"), "item_shipment[0]");
    assert_eq!(from("order_item", "updated_at"), "$.dat_atui");
    assert_eq!(from("item_shipment", "shipment_id"), "^.cod_tipo_entg");
    assert_eq!(from("item", "warehouse_id"), "@.list_cod_loja_vend[0].cod_loja_vend");
    assert_eq!(from("customer", "phone_number"), "$.objt_clie.objt_tel_clie.num_tel_clie");
    assert_eq!(from("delivery_address", "id").split('+').count(), 10);
    let token = &table(&pipeline, "order_item").columns[26];
    assert_eq!((token.name.as_str(), token.mask), ("verify_token", Some(Mask::Sha256)));
    let masked = pipeline.tables.iter().flat_map(|t| &t.columns).filter(|c| c.mask.is_some());
    assert_eq!(masked.count(), 1);
}

#[test]
fn orders_references_and_sequence() {
    let pipeline = load(None).unwrap();
    let mut found = Vec::new();
    for table in &pipeline.tables {
        for reference in table.columns.iter().filter_map(|c| c.reference.as_ref()) {
            let other = &pipeline.tables[reference.table];
            let pair =
                |&(a, b): &(usize, usize)| format!("{}={}", table.columns[a].name, other.columns[b].name);
            let pairs: Vec<String> = reference.columns.iter().map(pair).collect();
            found.push(format!("{} {} {}", table.name, other.name, pairs.join(",")));
        }
    }
    let wanted = [
        "item warehouse warehouse_id=id",
        "item seller seller_id=id",
        "shipment seller seller_id=id",
        "item_shipment shipment order_id=order_id,shipment_id=id",
        "item_shipment item item_id=id",
        "item_shipment seller seller_id=id",
        "order_item item item_id=id",
        "order_item customer customer_id=id",
        "order_item delivery_address delivery_address_id=id",
        "order_item promotion promotion_id=id",
        "order_item item_shipment item_shipment_id=id",
    ];
    assert_eq!(found, wanted);
    let sequence: Vec<_> =
        pipeline.event.sequence.iter().map(|p| (&*p.path.text, p.kind, p.optional)).collect();
    let version = ("$.num_ulti_vers_sist", Type::Int64, true);
    assert_eq!(sequence, [("$.dat_atui", Type::Timestamp, false), version]);
    assert_eq!(pipeline.event.key[0].kind, Type::Text);
    assert_eq!((pipeline.source.settle_ms, pipeline.source.batch_files), (1_000, 10_000));
    assert_eq!(
        (pipeline.source.batch_bytes, pipeline.source.path.as_path()),
        (64 << 20, Path::new("input_events"))
    );
    assert!(pipeline.mirror && !pipeline.quarantine_raw);
    let limits = Limits {
        depth: 128,
        document_bytes: 64 << 20,
        file_bytes: 64 << 30,
        ratio: 200,
        quarantine_text_bytes: 4096,
    };
    assert_eq!(pipeline.limits, limits);
}

#[test]
fn commented_out_defaults_in_orders_are_the_defaults() {
    // Every line of TOML behind a `# ` is switched on; the result must be the same pipeline.
    let on = |line: &str| match line.strip_prefix("# ") {
        Some(rest) if rest.starts_with('[') || rest.contains(" = ") => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    let text: String = DEFAULT.lines().map(on).collect();
    assert!(text.contains("\n[limits]") && text.contains("\nsettle") && text.contains("\nsqlite"));
    let (on, off) = (compiled(&text), compiled(DEFAULT));
    assert_eq!(format!("{on:?}"), format!("{off:?}"));
}

#[test]
fn diagram_file_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("resources/diagrams/orders.mmd");
    let wanted = diagram(&load(None).unwrap());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap();
    assert_eq!(found, wanted, "run the tests with UPDATE=1 to write {}", path.display());
}

// --------------------------------------------------------------------------------------------- what compiles

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

/// The member names that the steps lead through.
fn resolve(shape: &Shape, from: u32, steps: &[Step]) -> String {
    let (mut node, mut text) = (from as usize, String::new());
    for step in steps {
        match step {
            Step::Field(slot) => {
                let (name, child) = &shape.nodes[node].fields[*slot as usize];
                text.push_str(&format!(".{name}"));
                node = *child as usize;
            }
            Step::Index(i) => {
                text.push_str(&format!("[{i}]"));
                node = shape.nodes[node].element.unwrap() as usize;
            }
        }
    }
    text
}

#[test]
fn every_orders_path_leads_through_the_shape_as_written() {
    let pipeline = load(None).unwrap();
    for table in &pipeline.tables {
        let mut elements = vec![0];
        for level in &table.each {
            let mut node = *elements.last().unwrap() as usize;
            for step in &level.steps {
                let Step::Field(slot) = step else { panic!("orders has fields only") };
                node = pipeline.shape.nodes[node].fields[*slot as usize].1 as usize;
            }
            elements.push(pipeline.shape.nodes[node].element.unwrap());
        }
        for column in &table.columns {
            let ColumnSource::Path { path, .. } = &column.source else { continue };
            let from = match path.base {
                Base::Event => 0,
                Base::Element => elements[elements.len() - 1],
                Base::Parent => elements[elements.len() - 2],
            };
            assert_eq!(resolve(&pipeline.shape, from, &path.steps), path.text[1..], "{}", column.name);
        }
    }
}

#[test]
fn element_and_parent_without_levels_are_the_event() {
    let text = SMALL
        .replace("\"$.person.name\"", "\"@.person.name\"")
        .replace("\"$.person.id\",", "\"^.person.id\",");
    let pipeline = compiled(&text);
    let bases = |t: &Table| -> Vec<Base> {
        let base = |c: &super::model::Column| match &c.source {
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
                 document_bytes = 4096\nfile_bytes = \"2 TiB\"\n[quarantine]\nraw = true\n[mirror]\nsqlite = false\n";
    let pipeline = compiled(&swap("path = \"in\"\n", extra));
    let source = &pipeline.source;
    assert_eq!((source.settle_ms, source.batch_files, source.batch_bytes), (200, 7, 1_000_000));
    let limits = pipeline.limits;
    assert_eq!((limits.depth, limits.document_bytes, limits.file_bytes), (9, 4096, 2 << 40));
    assert!(pipeline.quarantine_raw && !pipeline.mirror);
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

// ----------------------------------------------------------------------------------------------- fingerprint

#[test]
fn fingerprint_is_frozen() {
    // Existing roots carry these: a change here refuses every one of them.
    assert_eq!(format!("{:032x}", compiled(SMALL).fingerprint), FROZEN_SMALL);
    assert_eq!(format!("{:032x}", compiled(DEFAULT).fingerprint), FROZEN_ORDERS);
}

const FROZEN_SMALL: &str = "";
const FROZEN_ORDERS: &str = "";

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

// ---------------------------------------------------------------------------------------------- wrong files

#[test]
fn syntax_errors_have_a_place() {
    refused_text("version = 1\nname = \"x\nkey", &["2:10: invalid basic string, expected `\"`"]);
    refused("name = \"shop\"", "name = \"shop\"\nname = \"shop\"", &["3:1: duplicate key"]);
}

#[test]
fn all_mistakes_are_told_at_once_and_in_order() {
    let text = SMALL
        .replace("version = 1", "version = 3")
        .replace("[source]", "[sauce]")
        .replace("owner = [\"shop_id\"]", "owner = [\"shopid\"]")
        .replace("decimal(18,4)", "decimal(18,40)")
        .replace("\"$.person.name\"", "\"$.person[name]\"");
    refused_text(
        &text,
        &[
            "1:1: missing key \"source\" in the pipeline file",
            "1:11: unknown version: this millrace reads version = 1",
            "3:2: unknown key \"sauce\"; did you mean \"source\"?",
            "10:10: table \"line\" has no column \"shopid\"; did you mean \"shop_id\"?",
            "16:36: a decimal is decimal(p,s): p digits from 1 to 38, s of them after the point, 0 to p",
            "23:18: path \"$.person[name]\": expected a number, a quoted name or *, found 'n'",
        ],
    );
}

#[test]
fn unknown_keys_are_refused_everywhere() {
    refused("[source]\n", "[source]\npaht = \"x\"\n", &["4:1: unknown key \"paht\"; did you mean \"path\"?"]);
    refused(
        "[tables.line.columns]",
        "[tables.line.colums]",
        &[
            "8:1: missing key \"columns\" in table \"line\"",
            "10:10: table \"line\" has no column \"shop_id\"",
            "11:8: table \"line\" has no column \"shop_id\"",
            "11:19: table \"line\" has no column \"sku\"",
            "12:14: unknown key \"colums\"; did you mean \"columns\"?",
        ],
    );
    let valid = "; valid: \"path\", \"type\", \"mask\", \"on_error\", \"hash\", \"lookup\", \"references\"";
    refused(
        "type = \"decimal(18,4)\"",
        "é = 1, kind_of = \"text\"",
        &[&format!("16:28: unknown key \"é\"{valid}"), &format!("16:35: unknown key \"kind_of\"{valid}")],
    );
    refused(
        ", take = \"name\"",
        ", take = \"name\", took = 1",
        &["18:95: unknown key \"took\"; did you mean \"take\"?"],
    );
    refused(
        "type = \"timestamp\"",
        "type = \"timestamp\", option = true",
        &["7:50: unknown key \"option\"; did you mean \"optional\"?"],
    );
    refused(
        "[event]",
        "[limits]\ndeep = 1\n[quarantine]\nrow = true\n[mirror]\nsql = true\n[event]\nkeys = 1",
        &[
            "6:1: unknown key \"deep\"; did you mean \"depth\"?",
            "8:1: unknown key \"row\"; did you mean \"raw\"?",
            "10:1: unknown key \"sql\"; did you mean \"sqlite\"?",
            "12:1: unknown key \"keys\"; did you mean \"key\"?",
        ],
    );
}

#[test]
fn missing_keys_are_named() {
    refused("version = 1\n", "", &["1:1: missing key \"version\" in the pipeline file"]);
    refused("path = \"in\"\n", "", &["3:1: missing key \"path\" in [source]"]);
    refused("key = \"$.id\"\n", "", &["5:1: missing key \"key\" in [event]"]);
    refused("key = [\"id\"]\n", "", &["19:1: missing key \"key\" in table \"person\""]);
    refused(", take = \"name\"", "", &["18:26: missing key \"take\" in \"lookup\""]);
    refused_text(
        "",
        &[
            "1:1: missing key \"event\" in the pipeline file",
            "1:1: missing key \"name\" in the pipeline file",
            "1:1: missing key \"source\" in the pipeline file",
            "1:1: missing key \"tables\" in the pipeline file",
            "1:1: missing key \"version\" in the pipeline file",
        ],
    );
}

#[test]
fn no_tables() {
    let (head, _) = SMALL.split_once("[tables.line]").unwrap();
    refused_text(&format!("{head}[tables]\n"), &["8:1: a pipeline needs at least one table"]);
}

#[test]
fn wrong_shapes() {
    refused("name = \"shop\"", "name = 1", &["2:8: \"name\" must be text, not a number"]);
    refused(
        "key = [\"id\"]",
        "key = \"id\"",
        &["20:7: \"key\" must be a list of names, as [\"a\", \"b\"], not text"],
    );
    refused("[\"id\"]", "[]", &["20:7: \"key\" is empty: it needs at least one name"]);
    refused("[\"id\"]", "[\"id\", \"id\"]", &["20:14: \"key\" names \"id\" twice"]);
    refused(
        "[\"id\"]",
        "[\"id\", 1.5]",
        &["20:14: each name in \"key\" must be text, not a number with a fraction"],
    );
    refused("\"$.person.name\"", "7", &["23:8: column \"name\" must be a table, not a number"]);
    refused(
        "\"$.person.name\"",
        "{ type = \"text\" }",
        &["23:8: a column comes from exactly one of \"path\", \"hash\" and \"lookup\""],
    );
    refused(
        "hash = [\"shop_id\", \"sku\"]",
        "hash = [\"sku\"], path = \"$.x\"",
        &["15:6: a column comes from exactly one of \"path\", \"hash\" and \"lookup\""],
    );
    refused(
        "hash = [\"shop_id\", \"sku\"]",
        "hash = [\"sku\"], mask = \"sha256\", type = \"text\"",
        &[
            "15:25: \"mask\" goes with \"path\" only: a hash is text made of other columns as they are stored",
            "15:42: \"type\" goes with \"path\" only: a hash is text made of other columns as they are stored",
        ],
    );
}

#[test]
fn wrong_words_and_units() {
    refused("decimal(18,4)", "decmal", &["16:36: unknown type \"decmal\"; did you mean \"decimal(18,4)\"?"]);
    refused(
        "\"timestamp\"",
        "\"timestmp\"",
        &["7:33: unknown type \"timestmp\"; did you mean \"timestamp\"?"],
    );
    for range in ["decimal(0,0)", "decimal(39,1)", "decimal(4,5)", "decimal(4,-1)", "decimal(4)", "decimal"] {
        refused(
            "decimal(18,4)",
            range,
            &["16:36: a decimal is decimal(p,s): p digits from 1 to 38, s of them after the point, 0 to p"],
        );
    }
    refused(
        "on_error = \"null\"",
        "on_error = \"nul\"",
        &["24:59: unknown \"on_error\" \"nul\"; did you mean \"null\"?"],
    );
    refused(
        "on_error = \"null\"",
        "mask = \"sha-256\"",
        &["24:55: unknown mask \"sha-256\"; did you mean \"sha256\"?"],
    );
    let source = |line: &str, problem: &str| {
        refused("path = \"in\"\n", &format!("path = \"in\"\n{line}\n"), &[problem]);
    };
    source(
        "settle = \"1 sec\"",
        "5:10: unknown unit in \"settle\": \"sec\"; valid: \"ms\", \"s\", \"min\", \"h\"",
    );
    source("settle = 1", "5:10: \"settle\" must be a time with its unit, as \"1s\", not a number");
    source("settle = \"25h\"", "5:10: \"settle\" must be at most 24h");
    source(
        "batch_bytes = \"64 Mib\"",
        "5:15: unknown unit in \"batch_bytes\": \"Mib\"; did you mean \"MiB\"?",
    );
    source(
        "batch_bytes = \"99999999999999999999 GiB\"",
        "5:15: \"batch_bytes\" must lie between 1 and 1 TiB",
    );
    source("batch_bytes = -1", "5:15: \"batch_bytes\" must lie between 1 and 1 TiB");
    source(
        "batch_bytes = \"MiB\"",
        "5:15: \"batch_bytes\" must be a whole number and a unit; units: \"B\", \"KiB\", \
        \"MiB\", \"GiB\", \"TiB\", \"KB\", \"MB\", \"GB\", \"TB\"",
    );
    source("batch_files = 0", "5:15: \"batch_files\" must lie between 1 and 1000000");
    source("[limits]\ndepth = 5000", "6:9: \"depth\" must lie between 1 and 1024");
    source("[limits]\ndocument_bytes = \"2 GiB\"", "6:18: \"document_bytes\" must lie between 1 and 1 GiB");
}

#[test]
fn names_keep_the_pattern() {
    let pattern = "must be lower-case letters, digits and _, and begin with a letter";
    let reserved = "begins with _, which is reserved for millrace's own";
    refused("\"shop\"", "\"Shop\"", &[&format!("2:8: pipeline name \"Shop\" {pattern}")]);
    refused("\"shop\"", "\"\"", &[&format!("2:8: pipeline name \"\" {pattern}")]);
    refused("\"shop\"", "\"../x\"", &[&format!("2:8: pipeline name \"../x\" {pattern}")]);
    refused("\"shop\"", "\"_shop\"", &[&format!("2:8: pipeline name \"_shop\" {reserved}")]);
    refused("age =", "_age =", &[&format!("24:1: column name \"_age\" {reserved}")]);
    refused("age =", "\"a ge\" =", &[&format!("24:1: column name \"a ge\" {pattern}")]);
    let long = "a".repeat(64);
    refused(
        "age =",
        &format!("{long} ="),
        &[&format!("24:1: column name \"{long}\" is longer than 63 characters")],
    );
    let tables = "[tables._t]\nkey = [\"a\"]\ncolumns = { a = \"$.a\" }\n";
    refused_text(&format!("{SMALL}{tables}"), &[&format!("25:9: table name \"_t\" {reserved}")]);
}

#[test]
fn names_that_differ_only_by_case() {
    let pattern = "must be lower-case letters, digits and _, and begin with a letter";
    refused(
        "age =",
        "Name =",
        &[
            &format!("24:1: column name \"Name\" {pattern}"),
            "24:1: columns \"name\" and \"Name\" differ only by case",
        ],
    );
    refused_text(
        &format!("{SMALL}[tables.Person]\nkey = [\"a\"]\ncolumns = {{ a = \"$.a\" }}\n"),
        &[
            &format!("25:9: table name \"Person\" {pattern}"),
            "25:9: tables \"person\" and \"Person\" differ only by case",
        ],
    );
}

#[test]
fn paths_are_placed_by_character() {
    refused(
        "\"@.sku\"",
        "\"@.é..x\"",
        &["14:11: path \"@.é..x\": .. is not supported: a path names one place"],
    );
    refused(
        "\"@.sku\"",
        "\"@\\u002e.x\"",
        &["14:7: path \"@..x\": .. is not supported: a path names one place"],
    );
    refused(
        "\"@.sku\"",
        "\"sku\"",
        &[
            "14:8: path \"sku\": expected $ (the event), @ (the row's element) or ^ (the enclosing element), found 's'",
        ],
    );
    refused(
        "\"@.sku\"",
        "\"@.a[*]\"",
        &["14:12: path \"@.a[*]\": [*] belongs in \"each\": a column takes one value, as by [0]"],
    );
    refused(
        "\"$.lines[*]\"",
        "\"$.lines\"",
        &[
            "9:8: \"each\" ends with [*]: one row for each element of that array",
            "14:7: line.sku (@.sku) needs an object where line.each ($.lines) needs an array",
        ][..1],
    );
    refused("\"$.lines[*]\"", "\"@.lines[*]\"", &["9:8: \"each\" begins with $, the event"]);
}

#[test]
fn one_place_is_one_thing() {
    refused(
        "\"$.person.name\"",
        "\"$.person[0]\"",
        &["23:8: person.name ($.person[0]) needs an array where person.id ($.person.id) needs an object"],
    );
    refused(
        "\"$.person.name\"",
        "\"$.person\"",
        &["23:8: person.name ($.person) needs a single value where person.id ($.person.id) needs an object"],
    );
    refused(
        "\"@.sku\"",
        "\"$.id.sku\"",
        &["14:7: line.sku ($.id.sku) needs an object where the event's key ($.id) needs a single value"],
    );
}

#[test]
fn names_that_name_nothing() {
    refused("[\"id\"]", "[\"ide\"]", &["20:8: table \"person\" has no column \"ide\"; did you mean \"id\"?"]);
    refused(
        "hash = [\"shop_id\", \"sku\"]",
        "hash = [\"skku\"]",
        &["15:16: table \"line\" has no column \"skku\"; did you mean \"sku\"?"],
    );
    refused(
        "table = \"person\"",
        "table = \"persons\"",
        &["18:36: unknown table \"persons\"; did you mean \"person\"?"],
    );
    refused(
        "take = \"name\"",
        "take = \"nam\"",
        &["18:86: table \"person\" has no column \"nam\"; did you mean \"name\"?"],
    );
    refused(
        "match = { id = \"person_id\" }",
        "match = { di = \"persn_id\" }",
        &[
            "18:56: table \"person\" has no column \"di\"; valid: \"id\", \"name\", \"age\"",
            "18:61: table \"line\" has no column \"persn_id\"; did you mean \"person_id\"?",
        ],
    );
    refused("\"person.id\"", "\"people.id\"", &["17:51: unknown table \"people\"; did you mean \"person\"?"]);
    refused(
        "\"person.id\"",
        "\"person.key\"",
        &["17:51: table \"person\" has no column \"key\"; valid: \"id\", \"name\", \"age\""],
    );
    refused("\"person.id\"", "\"person\"", &["17:51: \"references\" of a column is \"table.column\""]);
}

#[test]
fn keys_can_be_told_apart() {
    refused(
        "key = [\"shop_id\", \"sku\"]",
        "key = [\"shop_id\", \"price\"]",
        &["11:19: key column \"price\" is decimal(18,4); a key is text or int64"],
    );
    refused(
        "sku = \"@.sku\"",
        "sku = { path = \"@.sku\", type = \"float64\" }",
        &["11:19: key column \"sku\" is float64; a key is text or int64"],
    );
    compiled(&swap("sku = \"@.sku\"", "sku = { path = \"@.sku\", mask = \"sha256\" }"));
    compiled(&swap("sku = \"@.sku\"", "sku = { path = \"@.sku\", type = \"float64\", mask = \"sha256\" }"));
    for mask in ["redact", "drop"] {
        let why =
            format!("cannot use \"sku\": by mask = \"{mask}\" all its values look the same; use sha256");
        refused(
            "sku = \"@.sku\"",
            &format!("sku = {{ path = \"@.sku\", mask = \"{mask}\" }}"),
            &[&format!("11:19: a key {why}"), &format!("15:27: a hash {why}")],
        );
    }
}

#[test]
fn owners_hold_the_event_key() {
    refused(
        "key = [\"shop_id\", \"sku\"]",
        "key = [\"sku\"]",
        &["10:10: owner column \"shop_id\" must be part of the table's key"],
    );
    refused(
        "owner = [\"shop_id\"]",
        "owner = [\"shop_id\", \"sku\"]",
        &["10:21: \"owner\" holds the event's key part by part: 1 in [event], 2 here"],
    );
    refused(
        "shop_id = \"$.id\"",
        "shop_id = \"$.id2\"",
        &["10:10: owner column \"shop_id\" must read the event's key: $.id, as text"],
    );
    refused(
        "shop_id = \"$.id\"",
        "shop_id = { path = \"$.id\", type = \"int64\" }",
        &["10:10: owner column \"shop_id\" must read the event's key: $.id, as text"],
    );
    refused(
        "owner = [\"shop_id\"]",
        "owner = [\"id\"]",
        &[
            "10:10: owner column \"id\" must be part of the table's key",
            "10:10: owner column \"id\" must read the event's key: $.id, as text",
        ],
    );
    compiled(&swap("shop_id = \"$.id\"", "shop_id = \"^['id']\""));
    refused(
        "\"$.id\"\nsequence",
        "[\"$.id\", { path = \"$.n\", type = \"int64\" }]\nsequence",
        &["10:10: \"owner\" holds the event's key part by part: 2 in [event], 1 here"],
    );
}

#[test]
fn the_event_has_a_key_and_a_sequence() {
    let key = |to: &str, problem: &str| {
        let text = swap("key = \"$.id\"", &format!("key = {to}"));
        let found = parse(&text, "t").unwrap_err();
        assert!(lines(&found).contains(problem), "{}", lines(&found));
    };
    key(
        "{ path = \"$.id\", optional = true }",
        "6:36: a part of the event's key cannot be optional: without it nobody owns the event",
    );
    key("{ path = \"$.id\", type = \"float64\" }", "6:7: a part of the event's key is text or int64");
    key("\"@.id\"", "6:7: the event's key and sequence are read from the event: begin with $");
    key("[]", "6:7: \"key\" is empty: it needs at least one path");
    let sequence = "{ path = \"$.at\", type = \"timestamp\" }";
    refused(sequence, "\"$.at\"", &["7:12: a part of the sequence needs type = \"timestamp\" or \"int64\""]);
    let part = |name: &str| format!("{{ path = \"$.{name}\", type = \"int64\" }}");
    refused(
        sequence,
        &format!("[{}, {}, {}]", part("a"), part("b"), part("c")),
        &["7:79: a sequence has one or two parts"],
    );
    refused(sequence, "[]", &["7:12: \"sequence\" is empty: it needs at least one path"]);
}

#[test]
fn nothing_needs_itself() {
    refused("hash = [\"shop_id\", \"sku\"]", "hash = [\"id\"]", &["15:1: column needs itself: id -> id"]);
    refused(
        "price = { path = \"@.price\", type = \"decimal(18,4)\" }",
        "price = { hash = [\"id\"] }",
        &[].as_slice().get(..0).filter(|_| false).unwrap_or(&[]),
    );
}

#[test]
fn lookups_do_not_go_in_circles() {
    let back = format!("{SMALL}line = {{ lookup = {{ table = \"line\", take = \"id\" }} }}\n");
    refused_text(&back, &["25:29: lookups go in a circle: person -> line -> person"]);
    refused(
        "table = \"person\", match = { id = \"person_id\" }",
        "table = \"line\"",
        &["18:36: a lookup goes to another table, not to its own"],
    );
}

#[test]
fn what_is_tied_has_one_type() {
    refused(
        "\"person.id\"",
        "\"person.age\"",
        &["17:51: a reference ties \"person_id\" to person.age: their types differ (text, int64)"],
    );
    refused(
        "match = { id = \"person_id\" }",
        "match = { age = \"person_id\" }",
        &["18:62: a lookup ties \"person_id\" to person.age: their types differ (text, int64)"],
    );
    refused(
        "references = \"person.id\"",
        "mask = \"sha256\", references = \"person.id\"",
        &[
            "17:68: a reference ties \"person_id\" to person.id: one is stored as SHA-256, the other is not, so they never meet",
            "18:61: a lookup ties \"person_id\" to person.id: one is stored as SHA-256, the other is not, so they never meet",
        ],
    );
    let long = |columns: &str, to: &str| {
        format!(
            "{SMALL}[[tables.line.references]]\ncolumns = {columns}\nto = {{ table = \"person\", columns = {to} }}\n"
        )
    };
    compiled(&long("[\"sku\", \"id\"]", "[\"id\", \"name\"]"));
    refused_text(
        &long("[\"sku\", \"id\"]", "[\"id\"]"),
        &["25:1: a reference pairs columns one to one: 2 here, 1 there"],
    );
    refused_text(
        &long("[\"person_id\"]", "[\"id\"]"),
        &["25:1: each of these columns already has a reference"],
    );
}

// -------------------------------------------------------------------------------------------- load and robust

#[test]
fn load_lists_every_problem_and_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    let message = |path: &Path| match load(Some(path)).unwrap_err() {
        error @ Error::Config(_) => (error.exit_code(), error.to_string()),
        other => panic!("{other}"),
    };
    let (code, text) = message(&path);
    assert!(code == 2 && text.contains("mine.toml"), "{text}");
    std::fs::write(&path, b"version = 1\n\xff").unwrap();
    assert!(message(&path).1.ends_with("mine.toml: not UTF-8 in line 2"));
    std::fs::write(&path, "").unwrap();
    let text = message(&path).1;
    assert!(
        text.lines().count() == 5 && text.lines().all(|l| l.contains("mine.toml:1:1: missing key")),
        "{text}"
    );
    std::fs::write(&path, SMALL).unwrap();
    assert_eq!(load(Some(&path)).unwrap().name, "shop");
}

#[test]
fn cut_anywhere_it_never_panics() {
    // The small file at every character; the large one, which costs far more, at every 37th.
    let cuts =
        |text: &'static str, step: usize| text.char_indices().step_by(step).map(move |(at, _)| &text[..at]);
    for text in cuts(SMALL, 1).chain(cuts(DEFAULT, 37)) {
        for problem in parse(text, "t").err().unwrap_or_default() {
            assert!(problem.line >= 1 && problem.line <= text.split('\n').count(), "{problem}");
            let line = text.split('\n').nth(problem.line - 1).unwrap();
            assert!(problem.column >= 1 && problem.column <= line.chars().count() + 1, "{problem}: {line}");
        }
    }
}

#[test]
fn deep_nesting_is_refused() {
    for deep in [format!("x = {}", "[".repeat(100_000)), format!("[{}a]", "a.".repeat(100_000))] {
        assert!(parse(&deep, "t").is_err());
    }
}

mod mutated {
    use proptest::prelude::*;

    use super::{SMALL, parse};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        /// Some bytes replaced, some pieces moved: whatever it is, it is an answer and no panic.
        #[test]
        fn never_panics(
            bytes in prop::collection::vec((0..SMALL.len(), any::<u8>()), 0..6),
            (from, to, len) in (0..SMALL.len(), 0..SMALL.len(), 0..40usize),
        ) {
            let mut text = SMALL.as_bytes().to_vec();
            for (at, byte) in bytes {
                text[at] = byte;
            }
            let piece: Vec<u8> = text[from..].iter().take(len).copied().collect();
            text.splice(to..to, piece);
            let _ = parse(&String::from_utf8_lossy(&text), "t");
        }
    }
}
