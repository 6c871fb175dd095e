//! Who a root is: its id, and the pipeline that it serves. One root serves one pipeline.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::commit::Paths;
use crate::error::{Error, IoContext, Result, is_there};
use crate::fault;
use crate::pipeline::model::Pipeline;
use crate::tables::Disk;

/// 2: quarantine rows say how many documents they stand for.
const FORMAT: u32 = 2;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub format: u32,
    /// 128 bits, hex. Ties the checkpoint and the mirror to these very tables.
    pub root: String,
    pub pipeline: String,
    /// Of the pipeline's tables, hex.
    pub fingerprint: String,
}

impl Identity {
    pub fn root_id(&self) -> u128 {
        u128::from_str_radix(&self.root, 16).unwrap_or_default()
    }

    /// The identity of an existing root, checked against `pipeline`; a new root gets one.
    pub fn read_or_create(disk: &dyn Disk, paths: &Paths, pipeline: &Pipeline, now: i64) -> Result<Identity> {
        let path = paths.own.join("root.json");
        if let Some(found) = Identity::read(disk, &path)? {
            found.check(pipeline, &paths.tables)?;
            return Ok(found);
        }
        if is_there(&paths.decision)? {
            return Err(Error::Corrupt(format!("{} is missing; run `millrace repair`", path.display())));
        }
        let identity = Identity {
            format: FORMAT,
            root: format!("{:032x}", new_id(&path, now)),
            pipeline: pipeline.name.clone(),
            fingerprint: format!("{:032x}", pipeline.fingerprint),
        };
        let text = serde_json::to_string_pretty(&identity).map_err(|e| Error::Bug(e.to_string()))?;
        let temp = paths.temp.join("root.json");
        disk.write(&temp, text.as_bytes()).at("writing", &temp)?;
        fault::point("create.identity_written");
        disk.replace(&temp, &path).and_then(|()| disk.sync_dir(&paths.own)).at("writing", &path)?;
        fault::point("create.identified");
        Ok(identity)
    }

    /// `None`: there is no root here yet.
    pub fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Identity>> {
        let bytes = match disk.read(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.at("reading", path)?,
        };
        let identity: Identity = serde_json::from_slice(&bytes).map_err(|e| {
            Error::Corrupt(format!("{} is damaged ({e}); run `millrace repair`", path.display()))
        })?;
        if identity.format != FORMAT {
            return Err(Error::Config(format!(
                "{} has format {}, of another version of millrace; this one knows format {FORMAT}: run it in a new folder \
                 (`-C DIR`), or move `tables`, `checkpoint` and `database` away to build anew from the input",
                path.display(),
                identity.format
            )));
        }
        Ok(Some(identity))
    }

    fn check(&self, pipeline: &Pipeline, tables: &Path) -> Result<()> {
        let tables = std::path::absolute(tables).unwrap_or_else(|_| tables.to_path_buf());
        if self.pipeline != pipeline.name {
            return Err(Error::Config(format!(
                "{} holds the tables of the pipeline `{}`, not of `{}`; give each pipeline a folder of its own (`-C DIR`)",
                tables.display(),
                self.pipeline,
                pipeline.name
            )));
        }
        if self.fingerprint != format!("{:032x}", pipeline.fingerprint) {
            return Err(Error::Config(format!(
                "the tables, keys or columns of the pipeline `{}` changed since {} was made; \
                 run it in a new folder (`-C DIR`), or move `tables`, `checkpoint` and `database` away to build anew \
                 from the input",
                pipeline.name,
                tables.display()
            )));
        }
        Ok(())
    }
}

/// Two roots must not be mistaken for each other; nothing else hangs on this id.
fn new_id(path: &Path, now: i64) -> u128 {
    let text = format!("{} {now} {}", path.display(), std::process::id());
    xxhash_rust::xxh3::xxh3_128(text.as_bytes())
}
