//! Names of files, held against the ledger many at a time and in the order of their keys: one by one, each would wait for
//! memory that no cache has, for a million files longer than it takes to list them.

use rustix::fs::FileType;

use crate::ledger::file_key;

/// So many at a time; they take a few megabytes.
const MANY: usize = 1 << 16;

#[derive(Debug, Default)]
pub(super) struct Held {
    text: String,
    names: Vec<Name>,
}

#[derive(Debug)]
struct Name {
    key: u128,
    /// Where it stands in the text.
    from: u32,
    length: u32,
    kind: FileType,
}

impl Held {
    pub fn push(&mut self, name: &str, kind: FileType) {
        // A name is a path: some thousand bytes at most.
        let (from, length) = (self.text.len() as u32, name.len() as u32);
        self.names.push(Name { key: file_key(name), from, length, kind });
        self.text.push_str(name);
    }

    pub fn is_many(&self) -> bool {
        self.names.len() >= MANY
    }

    /// Forgets those whose key `knows` says yes to, and returns how many there were.
    pub fn forget(&mut self, knows: impl Fn(u128) -> bool) -> u64 {
        let all = self.names.len();
        self.names.sort_unstable_by_key(|name| name.key);
        self.names.retain(|name| !knows(name.key));
        // As they were listed: that is how disks and servers like to be asked.
        self.names.sort_unstable_by_key(|name| name.from);
        (all - self.names.len()) as u64
    }

    /// Name and kind of each.
    pub fn iter(&self) -> impl Iterator<Item = (&str, FileType)> {
        self.names.iter().map(|name| {
            let from = name.from as usize;
            (self.text.get(from..from + name.length as usize).unwrap_or_default(), name.kind)
        })
    }

    pub fn clear(&mut self) {
        self.text.clear();
        self.names.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_forgotten_and_the_rest_stays_in_its_order() {
        let kind = |at: usize| if at.is_multiple_of(3) { FileType::RegularFile } else { FileType::Symlink };
        let mut held = Held::default();
        let names: Vec<String> = (0..MANY).map(|n| format!("{}/{n}.json", n % 7)).collect();
        for (at, name) in names.iter().enumerate() {
            assert!(!held.is_many(), "{at}");
            held.push(name, kind(at));
        }
        assert!(held.is_many());
        let kept = [3, 4_000, 65_535];
        let unknown = kept.map(|at: usize| file_key(&names[at]));
        assert_eq!(held.forget(|key| !unknown.contains(&key)), (MANY - kept.len()) as u64);
        let left: Vec<(&str, FileType)> = held.iter().collect();
        assert_eq!(left, kept.map(|at| (names[at].as_str(), kind(at))));
        held.clear();
        assert_eq!((held.iter().count(), held.is_many()), (0, false));
    }
}
