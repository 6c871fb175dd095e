//! Tests of the oracle itself and of the generated events: hand-computed rows, and the situations that the model
//! describes.

mod support;

use std::collections::BTreeSet;

use millrace::simulate::{Options, Shop};
use support::generate::{Kind, events};
use support::oracle::{self, Row, Tables, cell};

/// An event of order `O1` at that time of one day, with these members.
fn event(time: &str, members: &str) -> Vec<u8> {
    let comma = if members.is_empty() { "" } else { "," };
    format!(r#"{{"txt_detl_idt_pedi_pgto":"O1","dat_atui":"2024-03-01T{time}Z"{comma}{members}}}"#)
        .into_bytes()
}

fn tables(events: &[Vec<u8>]) -> Tables {
    oracle::tables(events)
}

/// One column of a table, null as "-".
fn column(tables: &Tables, table: &str, name: &str) -> Vec<String> {
    let text = |row: &Row| cell(table, row, name).clone().unwrap_or_else(|| "-".to_owned());
    tables.tables[table].iter().map(text).collect()
}

fn one_line(value: &str) -> Vec<u8> {
    event("10:00:00", &format!(r#""list_item_pedi":[{{"cod_vrne_prod":"I1",{value}}}]"#))
}

/// What a money column makes of a value, "bad" where it does not fit.
fn as_money(value: &str) -> String {
    let t = tables(&[one_line(&format!(r#""vlr_fret":{value}"#))]);
    column(&t, "order_item", "shipping_cost").pop().unwrap_or_else(|| "bad".to_owned())
}

fn as_count(value: &str) -> String {
    let t = tables(&[one_line(&format!(r#""qtd_item_pedi":{value}"#))]);
    column(&t, "order_item", "item_quantity").pop().unwrap_or_else(|| "bad".to_owned())
}

fn as_time(value: &str) -> String {
    let t = tables(&[one_line(&format!(r#""dat_hor_esda_entg_item":{value}"#))]);
    column(&t, "order_item", "estimated_exact_date_iso").pop().unwrap_or_else(|| "bad".to_owned())
}

#[test]
fn a_whole_order_by_hand() {
    let text = event(
        "10:00:00.5",
        r#""num_ulti_vers_sist":"3","stat_pedi":"SENT","cod_aces_tokn":"secret",
        "objt_clie":{"cod_rfrc_clie":"C1","nom_clie":"SÃ£o","objt_tel_clie":{"num_tel_clie":900}},
        "objt_ende_entg_pedi":{"nom_cida_ende_entg":"Belém"},
        "list_item_pedi":[{"cod_vrne_prod":"I1","idt_venr":"S1","vlr_prod":16.81,"qtd_item_pedi":"2",
            "list_cod_loja_vend":[{"cod_loja_vend":"default"},{"cod_loja_vend":"CD1"}]}],
        "objt_des_rsum":{"num_item":1.0,"vlr_totl_pedi":"16.81"},
        "list_envo":[{"cod_tipo_entg":"SH1","cod_venr":"S1","list_item_envo":[{"cod_prod":"I1","qtd_prod":2.0}]}],
        "list_prmo":[{"cod_prmo":"P1","vlr_cnfg_desc":20}]"#,
    );
    let t = tables(&[text]);
    assert_eq!(t.bad, 0);
    let counts: Vec<(&str, usize)> = t.tables.iter().map(|(name, rows)| (*name, rows.len())).collect();
    let expected = [
        ("customer", 1),
        ("delivery_address", 1),
        ("item", 1),
        ("item_shipment", 1),
        ("order_item", 1),
        ("promotion", 1),
        ("seller", 1),
        ("shipment", 1),
        ("warehouse", 2),
    ];
    assert_eq!(counts, expected);
    let order_item = |name: &str| column(&t, "order_item", name).concat();
    // printf '2:O12:I1' | sha256sum | cut -c1-32
    assert_eq!(order_item("id"), "3d7ab365c58f9eacbb4b55101b7ac061");
    // printf secret | sha256sum
    assert_eq!(
        order_item("verify_token"),
        "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
    );
    // printf '2:O13:SH12:I1' | sha256sum | cut -c1-32
    assert_eq!(order_item("item_shipment_id"), "84760e40cdf724480d8726349f2dede4");
    assert_eq!(column(&t, "item_shipment", "id"), [order_item("item_shipment_id")]);
    // printf -- '-----6:Belém----' | sha256sum | cut -c1-32
    assert_eq!(order_item("delivery_address_id"), "5cf6cd3337d5e4a83353a41265a70893");
    assert_eq!(column(&t, "delivery_address", "id"), [order_item("delivery_address_id")]);
    assert_eq!(order_item("updated_at"), "2024-03-01T10:00:00.500000Z");
    assert_eq!((order_item("summary_items"), order_item("summary_total")), ("1".into(), "16.8100".into()));
    assert_eq!((order_item("promotion_id"), order_item("customer_id")), ("P1".into(), "C1".into()));
    assert_eq!(column(&t, "item", "warehouse_id"), ["default"]);
    assert_eq!(column(&t, "warehouse", "id"), ["CD1", "default"]);
    assert_eq!(column(&t, "customer", "phone_number"), ["900"]);
    assert_eq!(column(&t, "customer", "name"), ["SÃ£o"]);
    assert_eq!(column(&t, "item_shipment", "quantity"), ["2"]);
    assert_eq!(column(&t, "promotion", "value"), ["20.0000"]);
}

#[test]
fn money_is_exact_and_rounds_half_to_even() {
    for (value, expected) in [
        ("10", "10.0000"),
        ("10.0", "10.0000"),
        ("\"10\"", "10.0000"),
        ("1e1", "10.0000"),
        ("12345678901234.5678", "12345678901234.5678"),
        ("0.00005", "0.0000"),
        ("0.00015", "0.0002"),
        ("0.00025", "0.0002"),
        ("0.000050000000000001", "0.0001"),
        ("-1.00005", "-1.0000"),
        ("-1.00015", "-1.0002"),
        ("-0.00001", "0.0000"),
        ("5E-5", "0.0000"),
        ("0.6e-4", "0.0001"),
        ("1e-400", "0.0000"),
        ("99999999999999.99994", "99999999999999.9999"),
        ("99999999999999.99995", "bad"),
        ("1e14", "bad"),
        ("1e400", "bad"),
        ("\"\"", "bad"),
        ("\" 1\"", "bad"),
        ("\"1,5\"", "bad"),
        ("true", "bad"),
        ("[]", "bad"),
        ("null", "-"),
    ] {
        assert_eq!(as_money(value), expected, "{value}");
    }
}

#[test]
fn counts_have_no_fraction() {
    for (value, expected) in [
        ("1", "1"),
        ("1.0", "1"),
        ("\"1.00\"", "1"),
        ("10e-1", "1"),
        ("1e2", "100"),
        ("-0", "0"),
        ("9223372036854775807.0", "9223372036854775807"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("9223372036854775808", "bad"),
        ("1.5", "bad"),
        ("\"dois\"", "bad"),
        ("\"\"", "bad"),
        ("false", "bad"),
        ("{}", "bad"),
    ] {
        assert_eq!(as_count(value), expected, "{value}");
    }
}

#[test]
fn times_are_utc_microseconds() {
    for (value, expected) in [
        ("2024-02-29T23:59:59.999Z", "2024-02-29T23:59:59.999000Z"),
        ("2024-03-01T07:00:00-03:00", "2024-03-01T10:00:00.000000Z"),
        ("2024-03-01T10:00:00", "2024-03-01T10:00:00.000000Z"),
        ("2024-03-01T10:00:00.1234569Z", "2024-03-01T10:00:00.123456Z"),
        ("1969-12-31T23:59:59.9999999Z", "1969-12-31T23:59:59.999999Z"),
        ("1900-03-01T00:00:00Z", "1900-03-01T00:00:00.000000Z"),
        ("2023-02-29T00:00:00Z", "bad"),
        ("1900-02-29T00:00:00Z", "bad"),
        ("2024-03-01", "bad"),
        ("2024-00-01T00:00:00Z", "bad"),
        ("2024-03-01T24:00:00Z", "bad"),
        ("2024-03-01T10:00:00.Z", "bad"),
        ("ontem", "bad"),
        ("", "bad"),
    ] {
        assert_eq!(as_time(&format!("{value:?}")), expected, "{value}");
    }
    assert_eq!(as_time("1709287200000"), "bad");
}

#[test]
fn the_newest_event_owns_the_order() {
    let line = |id: &str| format!(r#"{{"cod_vrne_prod":"{id}"}}"#);
    let both = event("10:00:00", &format!(r#""list_item_pedi":[{},{}]"#, line("I1"), line("I2")));
    let one = event("11:00:00", &format!(r#""list_item_pedi":[{}]"#, line("I2")));
    let none = event("12:00:00", r#""list_item_pedi":null"#);
    let ids = |events: &[Vec<u8>]| column(&tables(events), "order_item", "item_id");
    assert_eq!(ids(&[one.clone(), both.clone()]), ["I2"]);
    assert_eq!(tables(&[one.clone(), both.clone()]), tables(&[both.clone(), one.clone(), both.clone()]));
    let emptied = tables(&[none, both.clone(), one]);
    assert!(emptied.tables["order_item"].is_empty());
    assert_eq!(column(&emptied, "item", "id"), ["I1", "I2"], "dimensions keep what older events said");
}

#[test]
fn versions_count_as_numbers_and_none_is_lowest() {
    let at = |version: &str, status: &str| {
        let version =
            if version.is_empty() { String::new() } else { format!(r#""num_ulti_vers_sist":{version},"#) };
        event(
            "10:00:00",
            &format!(r#"{version}"stat_pedi":"{status}","list_item_pedi":[{{"cod_vrne_prod":"I"}}]"#),
        )
    };
    let status = |events: &[Vec<u8>]| column(&tables(events), "order_item", "order_status").concat();
    assert_eq!(status(&[at("\"10\"", "ten"), at("\"9\"", "nine")]), "ten");
    assert_eq!(status(&[at("\"-3\"", "minus"), at("", "absent"), at("null", "null")]), "minus");
    // Equal in time and version: the higher xxh3-128 of the text decides, for all white space around it.
    let (a, b) = (at("1", "a"), at("1.0", "b"));
    let higher = if xxhash_rust::xxh3::xxh3_128(&a) > xxhash_rust::xxh3::xxh3_128(&b) { "a" } else { "b" };
    let padded = [b" \r\n".as_slice(), &a, b"\t\n"].concat();
    assert_eq!(status(&[a, b.clone()]), higher);
    assert_eq!(status(&[b, padded]), higher);
}

#[test]
fn a_newer_event_that_does_not_fit_competes_for_nothing() {
    let good = event("10:00:00", r#""objt_clie":{"cod_rfrc_clie":"C","nom_clie":"old"}"#);
    let bad =
        event("11:00:00", r#""objt_clie":{"cod_rfrc_clie":"C","nom_clie":"new"},"list_item_pedi":[{}]"#);
    let t = tables(&[good, bad]);
    assert_eq!((column(&t, "customer", "name").concat(), t.bad), ("old".to_owned(), 1));
}

#[test]
fn dimensions_compete_key_by_key_among_all_events() {
    let seller = |time: &str, id: &str, name: &str| {
        event(
            time,
            &format!(r#""list_item_pedi":[{{"cod_vrne_prod":"I","idt_venr":"{id}","nom_venr":"{name}"}}]"#),
        )
    };
    let t = tables(&[
        seller("12:00:00", "S2", "c"),
        seller("10:00:00", "S1", "a"),
        seller("11:00:00", "S1", "b"),
    ]);
    assert_eq!(column(&t, "seller", "name"), ["b", "c"]);
}

#[test]
fn later_rows_of_one_event_win_and_keep_their_place() {
    let parcel = |id: &str, status: &str, item: &str| {
        format!(
            r#"{{"cod_tipo_entg":"{id}","nom_stat_entg":"{status}","list_item_envo":[{{"cod_prod":"{item}","stat_entg":"{status}"}}]}}"#
        )
    };
    let parcels = [parcel("A", "1", "I"), parcel("B", "2", "I"), parcel("A", "3", "I")].join(",");
    let t = tables(&[event(
        "10:00:00",
        &format!(r#""list_envo":[{parcels}],"list_item_pedi":[{{"cod_vrne_prod":"I"}}]"#),
    )]);
    assert_eq!(column(&t, "shipment", "status"), ["3", "2"]);
    assert_eq!(column(&t, "item_shipment", "status"), ["3", "2"]);
    // The first A is gone, so the first that is left in document order is B.
    let of_b = column(&t, "item_shipment", "id").remove(1);
    assert_eq!(column(&t, "order_item", "item_shipment_id"), [of_b]);
}

#[test]
fn absent_keys() {
    let t = tables(&[event(
        "10:00:00",
        r#""objt_clie":{"nom_clie":"x"},"list_prmo":[null,{"cod_prmo":"P"}],
        "list_item_pedi":[{"cod_vrne_prod":"I","idt_venr":null}],"objt_ende_entg_pedi":{"sig_uf":null}"#,
    )]);
    assert_eq!(t.bad, 0);
    for table in ["customer", "delivery_address", "seller", "warehouse"] {
        assert!(t.tables[table].is_empty(), "{table}");
    }
    for name in ["customer_id", "delivery_address_id", "promotion_id", "item_shipment_id"] {
        assert_eq!(column(&t, "order_item", name), ["-"], "{name}");
    }
    assert_eq!(column(&t, "promotion", "id"), ["P"]);
    for owned in [
        r#""list_item_pedi":[null]"#,
        r#""list_envo":[{}]"#,
        r#""list_envo":[{"cod_tipo_entg":"A","list_item_envo":[{"qtd_prod":1}]}]"#,
    ] {
        assert_eq!(tables(&[event("10:00:00", owned)]).bad, 1, "{owned}");
    }
    assert_eq!(tables(&[br#"{"dat_atui":"2024-03-01T10:00:00Z"}"#.to_vec()]).bad, 1);
    assert_eq!(tables(&[br#"{"txt_detl_idt_pedi_pgto":"O"}"#.to_vec()]).bad, 1);
}

#[test]
fn values_of_another_shape_do_not_fit() {
    for member in [
        r#""objt_clie":"x""#,
        r#""objt_clie":[]"#,
        r#""list_envo":{}"#,
        r#""list_envo":false"#,
        r#""list_prmo":[5]"#,
        r#""list_item_pedi":[[]]"#,
        r#""list_prmo":[{"nom_prmo":{}}]"#,
        r#""list_prmo":[{"vlr_cnfg_desc":"x"}]"#,
        r#""num_ulti_vers_sist":"""#,
    ] {
        assert_eq!(tables(&[event("10:00:00", member)]).bad, 1, "{member}");
    }
    for text in ["", "{", "5", "[]", "\u{feff}{}", "{\"a\":\"\\ud800\"}"] {
        assert_eq!(tables(&[text.as_bytes().to_vec()]).bad, 1, "{text}");
    }
    let nobody_asks =
        event("10:00:00", r#""list_desc_item_pedi":5,"x":1e999,"objt_clie":1,"objt_clie":null"#);
    assert_eq!(tables(&[nobody_asks]).bad, 0);
}

#[test]
fn the_shop_fits_the_model_in_any_order_of_arrival() {
    let options = Options { orders: Some(60), items: 50, customers: 20, ..Options::default() };
    let all: Vec<Vec<u8>> = Shop::new(4, options.clone()).map(|e| e.text).collect();
    let expected = tables(&all);
    assert_eq!(expected.bad, 0);
    assert!(expected.tables.values().all(|rows| rows.len() > 5));
    let mut reversed = all.clone();
    reversed.reverse();
    assert_eq!(tables(&reversed), expected);
    let spoiled = Shop::new(4, Options { share_bad: 0.3, ..options }).map(|e| e.text).collect::<Vec<_>>();
    let with_bad = tables(&spoiled);
    assert_eq!(with_bad.tables, expected.tables);
    assert!(with_bad.bad > 10);
}

#[test]
fn generated_events_collide_as_they_should() {
    let kind = Kind { one_line: true, malformed: true };
    let (mut all, mut valid) = (0, 0);
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let set = events(seed, 20, kind);
        assert_eq!(set, events(seed, 20, kind));
        assert!(set.iter().all(|text| !text.contains(&b'\n')));
        all += set.len();
        valid += set.iter().filter(|text| oracle::is_valid(text)).count();
        let t = tables(&set);
        seen.extend(t.tables.iter().filter(|(_, rows)| rows.len() > 1).map(|(name, _)| *name));
    }
    let share = valid as f64 / all as f64;
    assert!((0.5..0.9).contains(&share), "{share} of the events are valid");
    assert_eq!(seen.len(), 9, "every table gets rows: {seen:?}");
}

#[test]
fn the_sample_events_cover_all_tables_and_awkward_cases() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("input_events");
    let texts = support::files::event_texts(&folder);
    let t = tables(&texts);
    assert_eq!(t.bad, 0, "the default run must end well");
    assert!(t.tables.values().all(|rows| rows.len() >= 3), "every table has rows");
    let of = |table: &str, order: &str, name: &str| -> Vec<String> {
        let rows = t.tables[table].iter();
        let rows = rows.filter(|row| cell(table, row, "order_id").as_deref() == Some(order));
        rows.map(|row| cell(table, row, name).clone().unwrap_or_else(|| "-".to_owned())).collect()
    };
    let order = |n: u64, name: &str| of("order_item", &format!("ORD{n:013}"), name);
    assert_eq!(order(101, "order_status"), ["DELIVERED", "DELIVERED"]);
    assert_eq!(of("shipment", "ORD0000000000102", "status"), ["DELIVERED", "SENT", "SENT"]);
    assert_eq!(of("item_shipment", "ORD0000000000102", "quantity"), ["2", "2", "1", "1"]);
    assert_eq!(order(103, "item_id"), ["MKU-000000bb9"], "the removed line is gone");
    assert_eq!(order(104, "order_substatus_code"), ["701"]);
    assert_eq!(order(105, "order_status"), ["PAID"], "version 10 is newer than 9");
    assert_eq!(order(106, "order_status"), ["SENT"], "names say nothing");
    assert_eq!(order(107, "promotion_id"), ["promo32"]);
    assert_eq!(order(108, "item_quantity"), ["2"]);
    assert_eq!(order(109, "customer_id"), ["-"]);
    assert!(order(110, "item_id").is_empty());
    assert_eq!(order(204, "order_status"), ["BILLED"], "compressed");
    assert_eq!(
        [order(205, "order_status"), order(206, "order_status")].concat(),
        ["PAID", "PAID"],
        "an array"
    );
    assert_eq!(order(207, "order_status"), ["PAID"], "concatenated");
    assert!(column(&t, "delivery_address", "city").contains(&"SÃ£o Paulo".to_owned()));
    let different: BTreeSet<&Vec<u8>> = texts.iter().collect();
    assert_eq!(texts.len() - different.len(), 1, "one event comes twice");
}
