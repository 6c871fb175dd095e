//! The orders model once more, as naively as it can be written: from the texts of all events ever seen to the
//! contents of the nine tables. Written from the model's description, not from the pipeline file, and with no
//! code of the crate, so that both must be wrong in the same way before a test is fooled.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use super::json::{Json, parse};
use super::values::{float, integer, micros, money, stamp};

/// Text of a stored value: money with four decimals, times as `YYYY-MM-DDTHH:MM:SS.ffffffZ`.
pub type Cell = Option<String>;
pub type Row = Vec<Cell>;

/// What the nine tables hold, rows in the order of their keys, columns in the order of [`columns`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tables {
    pub tables: BTreeMap<&'static str, Vec<Row>>,
    /// How many *different* events go to quarantine.
    pub bad: usize,
}

/// A table: whether the order owns its rows, the columns of its key, all columns in the model's order.
struct Model {
    name: &'static str,
    owned: bool,
    key: &'static [&'static str],
    columns: &'static [&'static str],
}

const MODEL: [Model; 9] = [
    Model {
        name: "order_item",
        owned: true,
        key: &["order_id", "item_id"],
        columns: &[
            "id",
            "order_id",
            "item_id",
            "offer_id",
            "order_status",
            "order_substatus_code",
            "order_substatus_reason",
            "payment_status",
            "shipping_cost",
            "shipping_discount",
            "final_shipping_cost",
            "estimated_exact_date_iso",
            "item_quantity",
            "delivery_method_name",
            "estimated_business_days",
            "logistics_provider_name",
            "store_id",
            "client_id",
            "summary_items",
            "summary_total",
            "summary_total_price_discount",
            "summary_total_shipping_cost",
            "summary_total_shipping_discount",
            "summary_max_shipping_time",
            "summary_orders_discount",
            "summary_final_price",
            "verify_token",
            "created_at",
            "updated_at",
            "customer_id",
            "delivery_address_id",
            "promotion_id",
            "item_shipment_id",
        ],
    },
    Model {
        name: "shipment",
        owned: true,
        key: &["order_id", "id"],
        columns: &[
            "id",
            "order_id",
            "status",
            "substatus_code",
            "substatus_reason",
            "seller_id",
            "billing_number",
            "billing_serial",
            "billing_xml_content",
            "billing_issue_date",
            "tracking_send_date",
            "tracking_protocol",
            "tracking_carrier",
            "tracking_delivery_method",
            "delivered_date",
        ],
    },
    Model {
        name: "item_shipment",
        owned: true,
        key: &["order_id", "shipment_id", "item_id"],
        columns: &[
            "id",
            "order_id",
            "shipment_id",
            "item_id",
            "seller_id",
            "substatus_code",
            "substatus_reason",
            "created_at",
            "updated_at",
            "quantity",
            "status",
        ],
    },
    Model {
        name: "customer",
        owned: false,
        key: &["id"],
        columns: &[
            "id",
            "name",
            "email",
            "phone_area_code",
            "phone_country_code",
            "phone_number",
            "document",
            "type",
        ],
    },
    Model {
        name: "delivery_address",
        owned: false,
        key: &["id"],
        columns: &[
            "id",
            "receiver_name",
            "street",
            "number",
            "complement",
            "neighborhood",
            "city",
            "short_state",
            "state",
            "zip_code",
            "country_code",
        ],
    },
    Model { name: "seller", owned: false, key: &["id"], columns: &["id", "sku_id", "name"] },
    Model {
        name: "item",
        owned: false,
        key: &["id"],
        columns: &[
            "id",
            "product_name",
            "product_slug",
            "name",
            "slug",
            "thumbnail",
            "warehouse_id",
            "seller_id",
            "price",
            "original_price",
            "unit_price",
            "unit_original_price",
            "price_discount",
            "unit_financial_discount",
            "unit_reversal_value",
        ],
    },
    Model {
        name: "promotion",
        owned: false,
        key: &["id"],
        columns: &[
            "id",
            "name",
            "discount_type",
            "coupon_id",
            "coupon_type",
            "coupon_code",
            "value",
            "value_applied",
        ],
    },
    Model { name: "warehouse", owned: false, key: &["id"], columns: &["id"] },
];

fn model(table: &str) -> &'static Model {
    MODEL.iter().find(|m| m.name == table).unwrap()
}

/// Names of all tables.
pub fn names() -> Vec<&'static str> {
    MODEL.iter().map(|m| m.name).collect()
}

/// Names of a table's columns, in order.
pub fn columns(table: &str) -> &'static [&'static str] {
    model(table).columns
}

/// The columns that identify a row.
pub fn key_columns(table: &str) -> &'static [&'static str] {
    model(table).key
}

/// The cell of a column.
pub fn cell<'a>(table: &str, row: &'a Row, column: &str) -> &'a Cell {
    &row[columns(table).iter().position(|c| *c == column).unwrap()]
}

fn key(table: &str, row: &Row) -> Vec<Cell> {
    key_columns(table).iter().map(|c| cell(table, row, c).clone()).collect()
}

/// What the tables hold after these events, however often and in whatever order they came: valid events are told
/// again from the oldest to the newest, each overwriting what it speaks of.
pub fn tables(events: &[Vec<u8>]) -> Tables {
    let different: BTreeSet<&[u8]> = events.iter().map(|e| trimmed(e)).collect();
    let mut valid: Vec<Event> = different.iter().filter_map(|text| Event::read(text).ok()).collect();
    let bad = different.len() - valid.len();
    valid.sort_by_key(|e| (e.time, e.version, e.hash));
    let tables = MODEL.iter().map(|table| (table.name, rows_of(table, &valid))).collect();
    Tables { tables, bad }
}

/// The text is an event that fits the model.
pub fn is_valid(event: &[u8]) -> bool {
    Event::read(trimmed(event)).is_ok()
}

fn rows_of(table: &Model, events: &[Event]) -> Vec<Row> {
    let mut told: BTreeMap<Vec<Cell>, &[Row]> = BTreeMap::new();
    for event in events {
        let rows = event.rows[table.name].as_slice();
        if table.owned {
            told.insert(vec![Some(event.order.clone())], rows);
        } else {
            told.extend(rows.iter().map(|row| (key(table.name, row), std::slice::from_ref(row))));
        }
    }
    let mut rows: Vec<Row> = told.into_values().flatten().cloned().collect();
    rows.sort_by_key(|row| key(table.name, row));
    rows
}

/// White space as JSON knows it.
fn trimmed(text: &[u8]) -> &[u8] {
    let white = |b: &u8| b" \t\r\n".contains(b);
    let Some(from) = text.iter().position(|b| !white(b)) else { return &[] };
    let to = text.iter().rposition(|b| !white(b)).unwrap();
    &text[from..=to]
}

// ---------------------------------------------------------------------------------------------- one event

/// The event does not fit the model: it is quarantined whole.
#[derive(Debug)]
struct Unfit;

struct Event {
    order: String,
    time: i64,
    version: i64,
    hash: u128,
    rows: BTreeMap<&'static str, Vec<Row>>,
}

impl Event {
    fn read(text: &[u8]) -> Result<Event, Unfit> {
        let event = parse(text).ok_or(Unfit)?;
        let mut rows = BTreeMap::new();
        for table in MODEL {
            rows.insert(table.name, Vec::new());
        }
        read_rows(&event, &mut rows)?;
        Ok(Event {
            order: text_at(&event, "txt_detl_idt_pedi_pgto")?.ok_or(Unfit)?,
            time: micros_at(&event, "dat_atui")?.ok_or(Unfit)?,
            version: int_at(&event, "num_ulti_vers_sist")?.unwrap_or(i64::MIN),
            hash: xxhash_rust::xxh3::xxh3_128(text),
            rows,
        })
    }
}

type Rows = BTreeMap<&'static str, Vec<Row>>;

fn read_rows(event: &Json, rows: &mut Rows) -> Result<(), Unfit> {
    let order = text_at(event, "txt_detl_idt_pedi_pgto")?;
    add(rows, "customer", customer(event)?)?;
    add(rows, "delivery_address", delivery_address(event)?)?;
    for parcel in list_at(event, "list_envo")? {
        add(rows, "shipment", shipment(&order, parcel)?)?;
        for content in list_at(parcel, "list_item_envo")? {
            add(rows, "item_shipment", item_shipment(&order, parcel, content)?)?;
        }
    }
    for promotion in list_at(event, "list_prmo")? {
        add(rows, "promotion", self::promotion(promotion)?)?;
    }
    for line in list_at(event, "list_item_pedi")? {
        add(rows, "seller", seller(line)?)?;
        add(rows, "item", item(line)?)?;
        for place in list_at(line, "list_cod_loja_vend")? {
            add(rows, "warehouse", vec![text_at(place, "cod_loja_vend")?])?;
        }
        let row = order_item(&order, event, line, &rows["item_shipment"])?;
        add(rows, "order_item", row)?;
    }
    Ok(())
}

/// Adds a row of this event: a later one with the same key replaces an earlier one. Without a key there is no row
/// in a dimension, and no valid event for an owned table.
fn add(rows: &mut Rows, table: &'static str, row: Row) -> Result<(), Unfit> {
    assert_eq!(row.len(), columns(table).len(), "{table}");
    if key(table, &row).iter().any(Option::is_none) {
        return if model(table).owned { Err(Unfit) } else { Ok(()) };
    }
    let rows = rows.get_mut(table).unwrap();
    rows.retain(|old| key(table, old) != key(table, &row));
    rows.push(row);
    Ok(())
}

// ------------------------------------------------------------------------------------------ the nine tables

fn order_item(order: &Cell, event: &Json, line: &Json, item_shipments: &[Row]) -> Result<Row, Unfit> {
    let item = text_at(line, "cod_vrne_prod")?;
    let shipped = item_shipments.iter().find(|row| cell("item_shipment", row, "item_id") == &item);
    Ok(vec![
        hash(&[order, &item]),
        order.clone(),
        item.clone(),
        text_at(line, "cod_ofrt_ineo_requ")?,
        text_at(event, "stat_pedi")?,
        text_at(event, "objt_sub_stat_pedi.cod_sub_stat_pedi")?,
        text_at(event, "objt_sub_stat_pedi.nom_sub_stat_pedi")?,
        text_at(event, "stat_pgto")?,
        money_at(line, "vlr_fret")?,
        money_at(line, "vlr_desc_envo")?,
        money_at(line, "vlr_totl_fret")?,
        time_at(line, "dat_hor_esda_entg_item")?,
        integer_at(line, "qtd_item_pedi")?,
        text_at(line, "des_moda_entg_item")?,
        integer_at(line, "qtd_dia_prz_entg")?,
        text_at(line, "nom_oped_empr")?,
        text_at(event, "idt_loja")?,
        text_at(event, "cod_idef_clie")?,
        float_at(event, "objt_des_rsum.num_item")?,
        money_at(event, "objt_des_rsum.vlr_totl_pedi")?,
        money_at(event, "objt_des_rsum.vlr_totl_desc")?,
        money_at(event, "objt_des_rsum.vlr_cust_totl_envo")?,
        money_at(event, "objt_des_rsum.vlr_desc_totl_envo")?,
        float_at(event, "objt_des_rsum.qtd_maxi_temp_envo")?,
        money_at(event, "objt_des_rsum.vlr_desc_conc_pedi")?,
        money_at(event, "objt_des_rsum.vlr_fina_pedi")?,
        text_at(event, "cod_aces_tokn")?.map(|secret| sha256(secret.as_bytes())),
        time_at(event, "dat_hor_tran")?,
        time_at(event, "dat_atui")?,
        text_at(event, "objt_clie.cod_rfrc_clie")?,
        delivery_address(event)?[0].clone(),
        text_at(first_at(event, "list_prmo")?, "cod_prmo")?,
        shipped.and_then(|row| cell("item_shipment", row, "id").clone()),
    ])
}

fn shipment(order: &Cell, parcel: &Json) -> Result<Row, Unfit> {
    Ok(vec![
        text_at(parcel, "cod_tipo_entg")?,
        order.clone(),
        text_at(parcel, "nom_stat_entg")?,
        text_at(parcel, "objt_sub_stat_envo.cod_sub_stat_entg")?,
        text_at(parcel, "objt_sub_stat_envo.nom_sub_stat_entg")?,
        text_at(parcel, "cod_venr")?,
        text_at(parcel, "objt_carg_fatm.cod_nota_fisc")?,
        text_at(parcel, "objt_carg_fatm.cod_srie")?,
        text_at(parcel, "objt_carg_fatm.txt_xml_oper")?,
        time_at(parcel, "objt_carg_fatm.dat_emis_nail")?,
        time_at(parcel, "objt_des_stat_rtmt.dat_envo_rtmt")?,
        text_at(parcel, "objt_des_stat_rtmt.prco_rtmt")?,
        text_at(parcel, "objt_des_stat_rtmt.nom_trtd")?,
        text_at(parcel, "objt_des_stat_rtmt.des_moda_entg")?,
        time_at(parcel, "dat_emis_cpvt")?,
    ])
}

fn item_shipment(order: &Cell, parcel: &Json, content: &Json) -> Result<Row, Unfit> {
    let shipment = text_at(parcel, "cod_tipo_entg")?;
    let item = text_at(content, "cod_prod")?;
    Ok(vec![
        hash(&[order, &shipment, &item]),
        order.clone(),
        shipment,
        item,
        text_at(parcel, "cod_venr")?,
        text_at(content, "objt_sub_stat_item.cod_sub_stat_item")?,
        text_at(content, "objt_sub_stat_item.nom_sub_stat_item")?,
        time_at(content, "dat_hor_cria_item_entg")?,
        time_at(content, "dat_hor_atui_item_entg")?,
        integer_at(content, "qtd_prod")?,
        text_at(content, "stat_entg")?,
    ])
}

fn customer(event: &Json) -> Result<Row, Unfit> {
    Ok(vec![
        text_at(event, "objt_clie.cod_rfrc_clie")?,
        text_at(event, "objt_clie.nom_clie")?,
        text_at(event, "objt_clie.nom_ende_emai_clie")?,
        text_at(event, "objt_clie.objt_tel_clie.cod_area_tel")?,
        text_at(event, "objt_clie.objt_tel_clie.cod_pais_tel")?,
        text_at(event, "objt_clie.objt_tel_clie.num_tel_clie")?,
        text_at(event, "objt_clie.nom_tipo_docm")?,
        text_at(event, "objt_clie.cod_tipo_pess")?,
    ])
}

fn delivery_address(event: &Json) -> Result<Row, Unfit> {
    let attributes = [
        text_at(event, "objt_ende_entg_pedi.nom_pess")?,
        text_at(event, "objt_ende_entg_pedi.nom_logr_ende_entg")?,
        text_at(event, "objt_ende_entg_pedi.num_logr_ende_entg")?,
        text_at(event, "objt_ende_entg_pedi.nom_cmpl_ende_entg")?,
        text_at(event, "objt_ende_entg_pedi.nom_bair_ende_entg")?,
        text_at(event, "objt_ende_entg_pedi.nom_cida_ende_entg")?,
        text_at(event, "objt_ende_entg_pedi.sig_uf")?,
        text_at(event, "objt_ende_entg_pedi.nom_estd")?,
        text_at(event, "objt_ende_entg_pedi.cod_cep")?,
        text_at(event, "objt_ende_entg_pedi.cod_pais_resd")?,
    ];
    let id = hash(&attributes.iter().collect::<Vec<_>>());
    Ok([id].into_iter().chain(attributes).collect())
}

fn seller(line: &Json) -> Result<Row, Unfit> {
    Ok(vec![text_at(line, "idt_venr")?, text_at(line, "idt_vrne_venr")?, text_at(line, "nom_venr")?])
}

fn item(line: &Json) -> Result<Row, Unfit> {
    Ok(vec![
        text_at(line, "cod_vrne_prod")?,
        text_at(line, "nom_prod_orig")?,
        text_at(line, "txt_plae_otmz_url_prod")?,
        text_at(line, "nom_item")?,
        text_at(line, "txt_plae_otmz_url_item")?,
        text_at(line, "nom_url_img_oril")?,
        text_at(first_at(line, "list_cod_loja_vend")?, "cod_loja_vend")?,
        text_at(line, "idt_venr")?,
        money_at(line, "vlr_prod")?,
        money_at(line, "vlr_oril")?,
        money_at(line, "vlr_prec_unit_brut")?,
        money_at(line, "vlr_oril_prod_unit_vrne")?,
        money_at(line, "vlr_prod_ofrt_desc")?,
        money_at(line, "vlr_desc_finn_unit_item")?,
        money_at(line, "vlr_fina_esto_item")?,
    ])
}

fn promotion(promotion: &Json) -> Result<Row, Unfit> {
    Ok(vec![
        text_at(promotion, "cod_prmo")?,
        text_at(promotion, "nom_prmo")?,
        text_at(promotion, "nom_tipo_desc")?,
        text_at(promotion, "objt_cupo.cod_idef_cupo")?,
        text_at(promotion, "objt_cupo.nom_tipo_cupo")?,
        text_at(promotion, "objt_cupo.cod_cupo")?,
        money_at(promotion, "vlr_cnfg_desc")?,
        money_at(promotion, "vlr_aplc_desc")?,
    ])
}

// ------------------------------------------------------------------------------------------ paths and types

/// The value at a dotted path. Absent and null are the same and lead on to null; a path goes into nothing but
/// objects; of members with one name the last counts.
fn at<'a>(value: &'a Json, path: &str) -> Result<&'a Json, Unfit> {
    path.split('.').try_fold(value, |value, name| match value {
        Json::Null => Ok(&Json::Null),
        Json::Object(members) => {
            Ok(members.iter().rev().find(|(n, _)| n == name).map_or(&Json::Null, |(_, v)| v))
        }
        _ => Err(Unfit),
    })
}

fn list_at<'a>(value: &'a Json, path: &str) -> Result<&'a [Json], Unfit> {
    match at(value, path)? {
        Json::Null => Ok(&[]),
        Json::Array(all) => Ok(all),
        _ => Err(Unfit),
    }
}

fn first_at<'a>(value: &'a Json, path: &str) -> Result<&'a Json, Unfit> {
    Ok(list_at(value, path)?.first().unwrap_or(&Json::Null))
}

fn text_at(value: &Json, path: &str) -> Result<Cell, Unfit> {
    match at(value, path)? {
        Json::Null => Ok(None),
        Json::Bool(b) => Ok(Some(b.to_string())),
        Json::Number(source) => Ok(Some(source.clone())),
        Json::Text(text) => Ok(Some(text.clone())),
        Json::Array(_) | Json::Object(_) => Err(Unfit),
    }
}

/// The source of a number, written as a number or as a string.
fn number_at(value: &Json, path: &str) -> Result<Cell, Unfit> {
    match at(value, path)? {
        Json::Null => Ok(None),
        Json::Number(source) | Json::Text(source) => Ok(Some(source.clone())),
        _ => Err(Unfit),
    }
}

fn int_at(value: &Json, path: &str) -> Result<Option<i64>, Unfit> {
    number_at(value, path)?.map(|source| integer(&source).ok_or(Unfit)).transpose()
}

fn integer_at(value: &Json, path: &str) -> Result<Cell, Unfit> {
    Ok(int_at(value, path)?.map(|n| n.to_string()))
}

fn money_at(value: &Json, path: &str) -> Result<Cell, Unfit> {
    number_at(value, path)?.map(|source| money(&source).ok_or(Unfit)).transpose()
}

fn float_at(value: &Json, path: &str) -> Result<Cell, Unfit> {
    number_at(value, path)?.map(|source| float(&source).ok_or(Unfit)).transpose()
}

fn micros_at(value: &Json, path: &str) -> Result<Option<i64>, Unfit> {
    match at(value, path)? {
        Json::Null => Ok(None),
        Json::Text(text) => micros(text).map(Some).ok_or(Unfit),
        _ => Err(Unfit),
    }
}

fn time_at(value: &Json, path: &str) -> Result<Cell, Unfit> {
    Ok(micros_at(value, path)?.map(stamp))
}

// -------------------------------------------------------------------------------------------------- hashes

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// The stored hash of natural parts; all parts null = no key.
fn hash(parts: &[&Cell]) -> Cell {
    if parts.iter().all(|p| p.is_none()) {
        return None;
    }
    let text: String =
        parts.iter().map(|p| p.as_ref().map_or("-".to_owned(), |t| format!("{}:{t}", t.len()))).collect();
    Some(sha256(text.as_bytes())[..32].to_owned())
}
