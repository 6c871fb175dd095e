//! The object store that the Delta kernel sees: local files, every write through [`Disk`].
//!
//! A torn log checkpoint behind a durable `_last_checkpoint` makes a table unopenable although every commit is
//! there. So a write here is: temporary file outside the table, sync, link or rename, sync of the directory.

use std::fmt;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

use super::disk::Disk;
use crate::fault;

/// Reads like [`LocalFileSystem`]; writes durably.
#[derive(Debug, Clone)]
pub struct DurableStore {
    files: Arc<LocalFileSystem>,
    disk: Arc<dyn Disk>,
    /// Where temporary files live: same file system, never inside `_delta_log`.
    temp: PathBuf,
    next: Arc<AtomicU64>,
}

impl DurableStore {
    pub fn new(disk: Arc<dyn Disk>, temp: PathBuf) -> Self {
        DurableStore { files: Arc::new(LocalFileSystem::new()), disk, temp, next: Arc::default() }
    }

    /// Writes a file, or puts it in the place of the one that is there.
    pub fn replace(&self, url: &url::Url, bytes: &[u8]) -> Result<()> {
        let location = Path::from_url_path(url.path())?;
        self.write(&location, bytes, &PutMode::Overwrite).map(|_| ())
    }

    fn write(&self, location: &Path, bytes: &[u8], mode: &PutMode) -> Result<PutResult> {
        let target = self.files.path_to_filesystem(location)?;
        let temp = self.temp.join(format!("kernel-{}", self.next.fetch_add(1, Ordering::Relaxed)));
        let dir = target.parent().unwrap_or(FsPath::new("/"));
        let done = self.disk.write(&temp, bytes).and_then(|()| match mode {
            PutMode::Create => self.disk.publish(&temp, &target),
            _ => self.disk.replace(&temp, &target),
        });
        done.and_then(|()| self.disk.sync_dir(dir)).map_err(|e| as_store_error(e, location))?;
        fault::point("kernel.written");
        Ok(PutResult { e_tag: None, version: None })
    }
}

fn as_store_error(e: std::io::Error, location: &Path) -> object_store::Error {
    let path = location.to_string();
    match e.kind() {
        std::io::ErrorKind::AlreadyExists => object_store::Error::AlreadyExists { path, source: e.into() },
        std::io::ErrorKind::NotFound => object_store::Error::NotFound { path, source: e.into() },
        _ => object_store::Error::Generic { store: "DurableStore", source: e.into() },
    }
}

impl fmt::Display for DurableStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DurableStore")
    }
}

#[async_trait::async_trait]
impl ObjectStore for DurableStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let bytes: bytes::Bytes = payload.into();
        self.write(location, &bytes, &opts.mode)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Ok(Box::new(Upload { store: self.clone(), location: location.clone(), parts: Vec::new() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.files.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.files.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.files.copy_opts(from, to, options).await
    }
}

/// A large file in parts, kept in memory until it is whole: log checkpoints are a few megabytes at the most.
#[derive(Debug)]
struct Upload {
    store: DurableStore,
    location: Path,
    parts: Vec<u8>,
}

#[async_trait::async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        for chunk in data.iter() {
            self.parts.extend_from_slice(chunk);
        }
        Box::pin(async { Ok(()) })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.store.write(&self.location, &self.parts, &PutMode::Overwrite)
    }

    async fn abort(&mut self) -> Result<()> {
        self.parts.clear();
        Ok(())
    }
}
