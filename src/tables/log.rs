//! The actions of a Delta commit, as bytes.
//!
//! Written here and not by the kernel's transaction, because the decision record needs the very bytes before
//! anything is visible, a batch's bytes must be a pure function of what it does, and a scan of the log for every
//! deletion vector update (1-7 ms a table) is saved: the live files are in memory anyway.
//! Source: the Delta protocol, "Actions" and "Deletion Vector Descriptor Schema".

use arrow::datatypes::{DataType, SchemaRef};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A deletion vector's place, as the protocol writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DvDescriptor {
    pub storage_type: String,
    pub path_or_inline_dv: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<i32>,
    pub size_in_bytes: i32,
    pub cardinality: i64,
}

/// What a log says of one data file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileAction {
    /// Relative to the table, as it stands in the log (URL-encoded where needed; our own names never need it).
    pub path: String,
    pub size: i64,
    /// Milliseconds since the epoch.
    pub modification_time: i64,
    /// JSON text, as in the log.
    pub stats: String,
    pub dv: Option<DvDescriptor>,
    /// xxh3-128 of the file, hex: a flipped byte of a Parquet file need not make it unreadable. Not in the files of
    /// others.
    pub checksum: Option<String>,
}

/// The tag of an add action that holds [`FileAction::checksum`].
pub const CHECKSUM_TAG: &str = "millrace.xxh3";

impl FileAction {
    pub fn add(&self, data_change: bool) -> Value {
        let mut add = json!({
            "path": self.path, "partitionValues": {}, "size": self.size,
            "modificationTime": self.modification_time, "dataChange": data_change, "stats": self.stats,
        });
        self.with_dv(&mut add);
        if let Some(checksum) = &self.checksum {
            add["tags"] = json!({ CHECKSUM_TAG: checksum });
        }
        json!({ "add": add })
    }

    /// Without the time of deletion, which the protocol leaves open: so the tombstone is in the commit alone, and log
    /// checkpoints, which every reader reads, do not fill with them. Tombstones with a time keep a vacuum from what
    /// was removed of late; here files are removed by [`crate::maintain::clean`], which asks the log.
    pub fn remove(&self, data_change: bool) -> Value {
        let mut remove = json!({
            "path": self.path, "dataChange": data_change, "extendedFileMetadata": true, "partitionValues": {},
            "size": self.size,
        });
        self.with_dv(&mut remove);
        json!({ "remove": remove })
    }

    fn with_dv(&self, action: &mut Value) {
        if let Some(dv) = &self.dv {
            action["deletionVector"] = json!(dv);
        }
    }
}

/// `{"txn":…}`: progress that rides in the table's own commit.
pub fn txn(app_id: &str, version: u64, now_ms: i64) -> Value {
    json!({ "txn": { "appId": app_id, "version": version, "lastUpdated": now_ms } })
}

pub fn commit_info(operation: &str, batch: u64, now_ms: i64) -> Value {
    json!({ "commitInfo": {
        "timestamp": now_ms, "operation": operation, "operationParameters": {},
        "engineInfo": concat!("millrace/", env!("CARGO_PKG_VERSION")), "isBlindAppend": false,
        "txnId": format!("millrace-batch-{batch}"),
    } })
}

/// Reader 3, writer 7 with deletion vectors and nothing else: the least that every reader of today understands.
pub fn protocol() -> Value {
    json!({ "protocol": {
        "minReaderVersion": 3, "minWriterVersion": 7,
        "readerFeatures": ["deletionVectors"], "writerFeatures": ["deletionVectors"],
    } })
}

/// `id` is a UUID. `properties` become the table's configuration.
pub fn metadata(
    id: &str,
    name: &str,
    schema: &SchemaRef,
    properties: &[(&str, String)],
    now_ms: i64,
) -> Value {
    let configuration: Map<String, Value> =
        properties.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
    json!({ "metaData": {
        "id": id, "name": name, "format": { "provider": "parquet", "options": {} },
        "schemaString": schema_json(schema).to_string(), "partitionColumns": [],
        "configuration": configuration, "createdTime": now_ms,
    } })
}

fn schema_json(schema: &SchemaRef) -> Value {
    let fields: Vec<Value> = schema
        .fields()
        .iter()
        .map(|f| json!({ "name": f.name(), "type": delta_type(f.data_type()), "nullable": true, "metadata": {} }))
        .collect();
    json!({ "type": "struct", "fields": fields })
}

fn delta_type(kind: &DataType) -> String {
    match kind {
        DataType::Utf8 => "string".into(),
        DataType::Int64 => "long".into(),
        DataType::Float64 => "double".into(),
        DataType::Boolean => "boolean".into(),
        DataType::Date32 => "date".into(),
        DataType::Timestamp(_, _) => "timestamp".into(),
        DataType::Decimal128(p, s) => format!("decimal({p},{s})"),
        other => format!("{other}"),
    }
}

/// One action a line, as the log wants it.
pub fn to_bytes(actions: &[Value]) -> String {
    let mut text = String::new();
    for action in actions {
        text.push_str(&action.to_string());
        text.push('\n');
    }
    text
}
