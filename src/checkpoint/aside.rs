//! Setting a damaged checkpoint aside: beside its place, numbered, the last three kept for whoever wants to look.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{IoContext, Result};

const KEEP: usize = 3;

/// Renames `dir/name` to `dir/name.damaged-<n>` and says where it went.
pub fn set_aside(dir: &Path, name: &str) -> Result<PathBuf> {
    let prefix = format!("{name}.damaged-");
    let mut numbers = numbers(dir, &prefix)?;
    let next = numbers.last().map_or(1, |n| n.saturating_add(1));
    let to = dir.join(format!("{prefix}{next}"));
    fs::rename(dir.join(name), &to).at("setting aside a damaged checkpoint as", &to)?;
    numbers.push(next);
    let surplus = numbers.len().saturating_sub(KEEP);
    for old in numbers.iter().take(surplus) {
        // Only tidiness: one that cannot be removed is in nobody's way.
        let _ = fs::remove_dir_all(dir.join(format!("{prefix}{old}")));
    }
    Ok(to)
}

fn numbers(dir: &Path, prefix: &str) -> Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir).at("listing", dir)? {
        let name = entry.at("listing", dir)?.file_name();
        let number = name.to_str().and_then(|n| n.strip_prefix(prefix));
        numbers.extend(number.and_then(|n| n.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_up_and_keeps_three() {
        let dir = tempfile::tempdir().unwrap();
        for i in 1..=5 {
            fs::create_dir(dir.path().join("sled")).unwrap();
            fs::write(dir.path().join("sled/db"), [i]).unwrap();
            let to = set_aside(dir.path(), "sled").unwrap();
            assert_eq!(to, dir.path().join(format!("sled.damaged-{i}")));
        }
        assert_eq!(numbers(dir.path(), "sled.damaged-").unwrap(), [3, 4, 5]);
        assert_eq!(fs::read(dir.path().join("sled.damaged-3/db")).unwrap(), [3]);
    }
}
