//! File names: any bytes are shown as text that leads back to them; table files are known by names of ours only.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use millrace::decode::is_event_file;
use millrace::discover::{display_name, raw_path};
use millrace::tables::names;
use millrace::text::{shown, unescape};

pub fn run(data: &[u8]) {
    let name = display_name(OsStr::from_bytes(data));
    assert_eq!(raw_path(&name).as_os_str().as_bytes(), data, "{name}");
    let text = String::from_utf8_lossy(data);
    raw_path(&text);
    is_event_file(&text);
    assert!(!shown(&text).chars().any(char::is_control), "control characters reach the terminal");
    // A name that is taken for one of ours is spelled as ours are.
    if let Some(id) = names::data_file_id(&text) {
        assert_eq!(names::data_file(id), text);
    }
    if let Some(id) = names::dv_file_id(&text) {
        assert_eq!(names::dv_file(id), text);
    }
    if let Some(version) = names::commit_version(&text) {
        assert_eq!(names::commit_file(version), text);
    }
    if let Some((batch, level)) = names::index_file_id(&text) {
        assert_eq!(names::index_file(batch, level), text);
    }
    names::dv_file_of(&text);
    let quoted = format!("\"{text}\"");
    if let Ok(expected) = serde_json::from_str::<String>(&quoted) {
        assert_eq!(unescape(text.as_bytes()).unwrap(), expected);
    } else {
        let _ = unescape(data);
    }
}
