//! A small pipeline and its rows for the mirror's tests: every type, every kind of reference.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema};

use super::ddl::{Ddl, SystemTable, TableDdl};
use crate::pipeline::model::{
    Base, Column, ColumnSource, Event, Limits, Path, Pipeline, Reference, Shape, Source, Table, TableKind,
    Type, View,
};

pub const CUSTOMER: usize = 0;
pub const BOX: usize = 1;
pub const PACKED: usize = 2;
pub const LINE: usize = 3;

pub const MONEY: Type = Type::Decimal { precision: 18, scale: 4 };

fn column(name: &str, kind: Type) -> Column {
    let path = Path { base: Base::Event, steps: Vec::new(), text: "$".into() };
    let source = ColumnSource::Path { path, kind };
    Column { name: name.into(), kind, source, mask: None, null_on_error: false, reference: None }
}

fn refers(mut column: Column, table: usize, columns: &[(usize, usize)]) -> Column {
    column.reference = Some(Reference { table, columns: columns.to_vec() });
    column
}

fn table(name: &str, kind: TableKind, key: &[usize], columns: Vec<Column>) -> Table {
    Table {
        name: name.into(),
        kind,
        key: key.to_vec(),
        each: Vec::new(),
        each_text: "$".into(),
        order: (0..columns.len()).collect(),
        columns,
        fact: name == "line",
    }
}

fn tables() -> Vec<Table> {
    let mut hash = column("id", Type::Text);
    hash.source = ColumnSource::Hash(vec![1, 2, 3]);
    vec![
        table(
            "customer",
            TableKind::Dimension,
            &[0],
            vec![column("id", Type::Text), column("name", Type::Text), column("credit", MONEY)],
        ),
        table(
            "box",
            TableKind::Owned { owner: vec![0] },
            &[0, 1],
            vec![column("order_id", Type::Text), column("no", Type::Int64), column("weight", Type::Float64)],
        ),
        table(
            "packed",
            TableKind::Owned { owner: vec![1] },
            &[1, 2, 3],
            vec![
                hash,
                column("order_id", Type::Text),
                refers(column("box_no", Type::Int64), BOX, &[(1, 0), (2, 1)]),
                column("item_id", Type::Text),
            ],
        ),
        table(
            "line",
            TableKind::Owned { owner: vec![0] },
            &[0, 1],
            vec![
                column("order_id", Type::Text),
                column("item_id", Type::Text),
                column("price", MONEY),
                column("sold", Type::Timestamp),
                column("day", Type::Date),
                column("gift", Type::Bool),
                refers(column("customer_id", Type::Text), CUSTOMER, &[(6, 0)]),
                refers(column("packed_id", Type::Text), PACKED, &[(7, 0)]),
                refers(column("box_no", Type::Int64), BOX, &[(8, 1)]),
            ],
        ),
    ]
}

pub fn pipeline() -> Pipeline {
    Pipeline {
        name: "shop".into(),
        source: Source { path: "in".into(), settle_ms: 0, batch_files: 1, batch_bytes: 1 },
        limits: Limits {
            depth: 1,
            document_bytes: 1,
            file_bytes: 1,
            ratio: 1,
            quarantine_text_bytes: 1,
            quarantine_documents: 1,
        },
        event: Event { key: Vec::new(), sequence: Vec::new() },
        tables: tables(),
        views: vec![View {
            name: "orders".into(),
            sql: "SELECT order_id, count(*) AS lines, sum(price) AS total FROM line GROUP BY order_id".into(),
        }],
        shape: Shape::default(),
        quarantine_raw: false,
        mirror: true,
        history_commits: None,
        fingerprint: 7,
    }
}

pub fn system() -> Vec<SystemTable> {
    let schema = |fields: &[(&str, DataType)]| {
        let fields: Vec<Field> = fields.iter().map(|(n, k)| Field::new(*n, k.clone(), true)).collect();
        Arc::new(Schema::new(fields))
    };
    vec![
        SystemTable {
            name: "_quarantine".into(),
            schema: schema(&[
                ("file", DataType::Utf8),
                ("line", DataType::Int64),
                ("reason", DataType::Utf8),
                ("hash", DataType::Utf8),
            ]),
            key: vec![0, 3, 1],
            owner: vec![0, 3],
        },
        SystemTable {
            name: "_files".into(),
            schema: schema(&[
                ("file", DataType::Utf8),
                ("start", DataType::Int64),
                ("_batch_id", DataType::Int64),
            ]),
            key: vec![0, 1, 2],
            owner: Vec::new(),
        },
    ]
}

pub fn ddl() -> Ddl {
    Ddl::of(&pipeline(), &system())
}

/// A value in whatever type its column has: `Int` is also unscaled digits, microseconds, days and 0 or 1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum V {
    Null,
    Int(i64),
    Text(String),
}

pub fn t(text: &str) -> V {
    V::Text(text.into())
}

pub fn i(n: i64) -> V {
    V::Int(n)
}

/// Rows of the pipeline's columns (or an engine table's) as a batch; missing columns at the end (the `_` ones)
/// are filled with something that tells the rows' batch.
pub fn rows(table: &TableDdl, batch_id: i64, rows: &[Vec<V>]) -> RecordBatch {
    let mut fields = Vec::new();
    let mut arrays = Vec::new();
    for (at, column) in table.columns.iter().enumerate() {
        let values: Vec<V> = rows
            .iter()
            .map(|r| r.get(at).cloned().unwrap_or_else(|| origin(&column.name, batch_id)))
            .collect();
        fields.push(Field::new(&column.name, column.kind.clone(), true));
        arrays.push(array(&column.kind, &values));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

pub fn origin(name: &str, batch_id: i64) -> V {
    match name {
        "_source_file" => V::Text(format!("f{batch_id}.json")),
        "_sequence_version" => V::Null,
        _ => V::Int(batch_id),
    }
}

fn array(kind: &DataType, values: &[V]) -> ArrayRef {
    let ints = || values.iter().map(|v| if let V::Int(n) = v { Some(*n) } else { None });
    let texts = || values.iter().map(|v| if let V::Text(t) = v { Some(t.as_str()) } else { None });
    match kind {
        DataType::Utf8 => Arc::new(texts().collect::<StringArray>()),
        DataType::Int64 => Arc::new(ints().collect::<Int64Array>()),
        DataType::Float64 => Arc::new(ints().map(|n| n.map(|n| n as f64 / 8.0)).collect::<Float64Array>()),
        DataType::Boolean => Arc::new(ints().map(|n| n.map(|n| n != 0)).collect::<BooleanArray>()),
        DataType::Date32 => Arc::new(ints().map(|n| n.map(|n| n as i32)).collect::<Date32Array>()),
        DataType::Decimal128(p, s) => Arc::new(
            ints()
                .map(|n| n.map(i128::from))
                .collect::<Decimal128Array>()
                .with_precision_and_scale(*p, *s)
                .unwrap(),
        ),
        DataType::Timestamp(..) => {
            Arc::new(ints().collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
        }
        other => panic!("no values of {other}"),
    }
}
