//! A folder of its own for one test: files put into its `input_events`, the binary run in it, its mirror asked.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{Said, command, millrace};

pub struct Place {
    folder: tempfile::TempDir,
}

/// An order of these lines as it stood at that time of 2024-03-01.
pub fn order(id: &str, time: &str, status: &str, lines: &[&str]) -> String {
    let lines: Vec<String> = lines.iter().map(|l| format!(r#"{{"cod_vrne_prod":"{l}"}}"#)).collect();
    format!(
        r#"{{"txt_detl_idt_pedi_pgto":"{id}","dat_atui":"2024-03-01T{time}Z","stat_pedi":"{status}","list_item_pedi":[{}]}}"#,
        lines.join(",")
    )
}

impl Place {
    pub fn new() -> Place {
        Place::within(tempfile::tempdir().unwrap())
    }

    /// In memory, where the disk is not what is tried.
    pub fn quick() -> Place {
        Place::within(super::folders::quick())
    }

    fn within(folder: tempfile::TempDir) -> Place {
        fs::create_dir(folder.path().join("input_events")).unwrap();
        Place { folder }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    pub fn input(&self, name: &str) -> PathBuf {
        self.path("input_events").join(name)
    }

    /// Puts a file that was complete long ago.
    pub fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        self.put_at(&self.input(name), bytes);
    }

    pub fn put_at(&self, path: &Path, bytes: impl AsRef<[u8]>) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        age(path);
    }

    /// Renames a complete file in, as a careful producer does.
    pub fn rename_in(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let draft = self.path("draft");
        fs::write(&draft, bytes).unwrap();
        fs::create_dir_all(self.input(name).parent().unwrap()).unwrap();
        fs::rename(draft, self.input(name)).unwrap();
    }

    pub fn millrace(&self, arguments: &[&str]) -> Said {
        millrace(self.folder(), arguments)
    }

    /// Runs until everything is taken; fails the test if it ends otherwise than with `code`.
    #[track_caller]
    pub fn run_once(&self, code: i32) -> Said {
        self.expect(&["run", "--once"], code)
    }

    #[track_caller]
    pub fn expect(&self, arguments: &[&str], code: i32) -> Said {
        let said = self.millrace(arguments);
        assert_eq!(said.code, Some(code), "millrace {arguments:?}\n{}\n{}", said.out, said.err);
        said
    }

    /// The rows that `query` gives; an empty answer also where there is no mirror yet.
    pub fn rows(&self, sql: &str) -> Vec<Value> {
        let said = self.millrace(&["query", "--json", sql]);
        serde_json::from_str(&said.out).unwrap_or_default()
    }

    /// Item and status of every line of an order.
    pub fn lines(&self, order: &str) -> Vec<(String, String)> {
        let sql = format!(
            "select item_id, order_status from order_item where order_id = '{order}' order by item_id"
        );
        let text = |row: &Value, name: &str| row[name].as_str().unwrap_or("-").to_owned();
        self.rows(&sql).iter().map(|r| (text(r, "item_id"), text(r, "order_status"))).collect()
    }

    /// File, line and reason of everything in quarantine.
    pub fn quarantine(&self) -> Vec<(String, i64, String)> {
        let rows = self.rows("select file, line, reason from _quarantine order by file, byte_offset");
        let text = |v: &Value| v.as_str().unwrap().to_owned();
        rows.iter().map(|r| (text(&r["file"]), r["line"].as_i64().unwrap(), text(&r["reason"]))).collect()
    }

    /// Starts the binary and lets it run; what it says goes to files.
    pub fn start(&self, arguments: &[&str]) -> Live {
        self.start_command(command(self.folder(), arguments))
    }

    /// Another program, which will become the binary.
    pub fn start_program(&self, program: &str, arguments: &[&str]) -> Live {
        let mut command = Command::new(program);
        command.current_dir(self.folder()).args(arguments);
        self.start_command(command)
    }

    fn start_command(&self, mut command: Command) -> Live {
        let (out, err) = (self.path("out.log"), self.path("err.log"));
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        // Ctrl-C in a terminal must end the tests, not be taken by what they run.
        let child = command.process_group(0).spawn().unwrap();
        Live { child, out, err }
    }

    /// Starts `run` and waits until it watches.
    pub fn watching(&self) -> Live {
        let live = self.start(&["run"]);
        until("run watches", 10, || live.out().contains("watching").then_some(()));
        live
    }
}

/// Makes a file look untouched for ten seconds.
pub fn age(path: &Path) {
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    File::options().append(true).open(path).unwrap().set_modified(long_ago).unwrap();
}

/// A running binary, killed when the test lets go of it.
pub struct Live {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Live {
    pub fn out(&self) -> String {
        fs::read_to_string(&self.out).unwrap()
    }

    pub fn err(&self) -> String {
        fs::read_to_string(&self.err).unwrap()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end; fails the test if it does not come.
    #[track_caller]
    pub fn ended(&mut self, seconds: u64) -> ExitStatus {
        until("the process ends", seconds, || self.child.try_wait().unwrap())
    }

    /// Asks it to stop and insists that it ends well.
    #[track_caller]
    pub fn stop(&mut self) {
        self.signal(Signal::INT);
        assert_eq!(self.ended(10).code(), Some(0), "{}\n{}", self.out(), self.err());
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks again and again until there is an answer; how long it took is the caller's to say.
#[track_caller]
pub fn until<T>(what: &str, seconds: u64, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < Duration::from_secs(seconds), "{what}: not within {seconds} s");
        std::thread::sleep(Duration::from_millis(10));
    }
}
