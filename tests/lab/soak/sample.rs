//! What a running root takes: the process by /proc, the rest by looking into its folders.

use std::fs;
use std::path::Path;

#[derive(Debug, Clone, Copy, Default)]
pub struct Sample {
    pub second: f64,
    /// Of the process that runs; 0 when none does.
    pub pid: u32,
    pub rss: u64,
    pub handles: u64,
    pub threads: u64,
    /// Bytes below `checkpoint/`.
    pub sled: u64,
    pub mirror: u64,
    pub wal: u64,
    /// Of all tables: commits so far, entries of the logs, log checkpoints and their bytes, files, index files; of
    /// the latter also the most of one table.
    pub commits: u64,
    pub log: u64,
    pub log_checkpoints: u64,
    pub log_checkpoint_bytes: u64,
    pub files: u64,
    pub index: u64,
    pub most_index: u64,
    /// Left over below `_millrace/tmp`.
    pub temporary: u64,
    /// Files that were put into the source folder.
    pub inputs: u64,
}

impl Sample {
    pub fn take(folder: &Path, second: f64, pid: u32) -> Sample {
        let mut s = Sample { second, pid, ..Sample::default() };
        s.process();
        s.sled = bytes(&folder.join("checkpoint"));
        s.mirror = size(&folder.join("database/orders.db"));
        s.wal = size(&folder.join("database/orders.db-wal"));
        let tables = folder.join("tables");
        for table in names(&tables).into_iter().filter(|name| name != "_millrace") {
            s.table(&tables.join(table));
        }
        s.inputs = names(&folder.join("input_events")).len() as u64;
        s.temporary = names(&tables.join("_millrace/tmp")).len() as u64;
        s
    }

    fn process(&mut self) {
        let proc = Path::new("/proc").join(self.pid.to_string());
        let status = fs::read_to_string(proc.join("status")).unwrap_or_default();
        let of = |key: &str| -> u64 {
            let line = status.lines().find_map(|l| l.strip_prefix(key));
            line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        self.rss = of("VmRSS:") << 10;
        self.threads = of("Threads:");
        self.handles = names(&proc.join("fd")).len() as u64;
        if self.rss == 0 {
            self.pid = 0;
        }
    }

    fn table(&mut self, dir: &Path) {
        let log = names(&dir.join("_delta_log"));
        let newest = log.iter().filter_map(|n| n.strip_suffix(".json")?.parse::<u64>().ok()).max();
        self.commits += newest.unwrap_or(0);
        self.log += log.len() as u64;
        let checkpoints = log.iter().filter(|n| n.contains(".checkpoint"));
        for name in checkpoints {
            self.log_checkpoints += 1;
            self.log_checkpoint_bytes += size(&dir.join("_delta_log").join(name));
        }
        let index = names(&dir.join("_key_index")).len() as u64;
        self.index += index;
        self.most_index = self.most_index.max(index);
        // Without the folders of the log and of the index.
        self.files += (names(dir).len() as u64).saturating_sub(2);
    }
}

/// What is in a folder; nothing if it is not there.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect()
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |m| m.len())
}

fn bytes(dir: &Path) -> u64 {
    names(dir)
        .iter()
        .map(|name| dir.join(name))
        .map(|path| if path.is_dir() { bytes(&path) } else { size(&path) })
        .sum()
}
