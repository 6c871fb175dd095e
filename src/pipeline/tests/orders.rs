//! The built-in pipeline against the orders model, table by table.

use std::path::Path;

use super::{compiled, resolve, table};
use crate::pipeline::model::{Base, ColumnSource, Limits, Mask, Step, TableKind, Type};
use crate::pipeline::{DEFAULT, diagram, load};

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
        quarantine_documents: 10_000,
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
