//! What may happen to a root and its source folder, step by step, as proptest makes it up and makes it smaller.

use proptest::prelude::*;

/// The names that files have: few, so that files meet. By what is behind the dot they hold lines or documents.
pub const NAMES: [&str; 8] = [
    "a.json",
    "b.ndjson",
    "c.json.gz",
    "d.jsonl.zst",
    "sub/e.ndjson",
    "sub/f.json",
    "g.ndjson.gz",
    "sub/deep/h.jsonl",
];

#[derive(Debug, Clone)]
pub struct History {
    /// Which family of events it is about.
    pub salt: u64,
    pub steps: Vec<Step>,
}

#[derive(Debug, Clone)]
pub enum Step {
    Put(Put),
    /// Of a file with lines: some more at its end.
    Append {
        file: usize,
        events: Vec<u64>,
    },
    /// To a name with the same compression, which may be taken.
    Rename {
        file: usize,
        to: usize,
    },
    HardLink {
        file: usize,
        to: usize,
    },
    /// Cut off at so many thousandths.
    Truncate {
        file: usize,
        at: usize,
    },
    /// One byte at so many thousandths becomes another.
    Flip {
        file: usize,
        at: usize,
        byte: u8,
    },
    /// The same bytes at another time.
    Touch {
        file: usize,
    },
    Remove {
        file: usize,
    },
    Run {
        how: How,
        setting: Setting,
    },
    LoseCheckpoint,
    KeepCheckpoint,
    OldCheckpoint,
    LoseMirror,
    KeepMirror,
    OldMirror,
}

/// A file with these events, new or in the place of another.
#[derive(Debug, Clone)]
pub struct Put {
    pub name: usize,
    pub events: Vec<u64>,
    pub shape: Shape,
    /// Written into the file that is there, if one is; else renamed over it.
    pub in_place: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    Plain,
    /// `.json`: all in one array.
    Array,
    /// With a byte order mark and `\r\n`.
    Windows,
    /// So much white space in between that it takes several batches.
    Wide,
    /// Compressed: in two members.
    Members,
}

/// How a run goes and what becomes of it.
#[derive(Debug, Clone, Copy)]
pub enum How {
    Library,
    Binary,
    /// In the library, on a disk that fails at its n-th call.
    Faulty {
        call: u64,
        fault: usize,
    },
    /// The binary, by SIGKILL after so many milliseconds.
    Killed {
        after: u64,
    },
    /// The binary, asked to stop after so many milliseconds.
    Stopped {
        after: u64,
    },
}

/// With what a run is started.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    pub batch_files: usize,
    pub batch_bytes: u64,
    pub threads: usize,
    pub eager: bool,
    pub mirror: bool,
}

pub fn histories(steps: std::ops::Range<usize>) -> impl Strategy<Value = History> {
    let steps = proptest::collection::vec(step(), steps);
    (any::<u64>(), steps).prop_map(|(salt, steps)| History { salt, steps })
}

fn step() -> impl Strategy<Value = Step> {
    let file = 0usize..8;
    let share = 0usize..1000;
    let byte = prop_oneof![Just(1u8), Just(0xff), Just(b'\n')];
    prop_oneof![
        30 => put().prop_map(Step::Put),
        6 => (file.clone(), numbers(1..5)).prop_map(|(file, events)| Step::Append { file, events }),
        6 => (file.clone(), 0usize..8).prop_map(|(file, to)| Step::Rename { file, to }),
        2 => (file.clone(), 0usize..8).prop_map(|(file, to)| Step::HardLink { file, to }),
        4 => (file.clone(), share.clone()).prop_map(|(file, at)| Step::Truncate { file, at }),
        5 => (file.clone(), share, byte).prop_map(|(file, at, byte)| Step::Flip { file, at, byte }),
        2 => file.clone().prop_map(|file| Step::Touch { file }),
        4 => file.prop_map(|file| Step::Remove { file }),
        26 => run().prop_map(|(how, setting)| Step::Run { how, setting }),
        2 => Just(Step::LoseCheckpoint),
        2 => Just(Step::KeepCheckpoint),
        2 => Just(Step::OldCheckpoint),
        2 => Just(Step::LoseMirror),
        2 => Just(Step::KeepMirror),
        2 => Just(Step::OldMirror),
    ]
}

/// Of events of a family: see `support::generate`.
fn numbers(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u64>> {
    proptest::collection::vec(0u64..60, count)
}

fn put() -> impl Strategy<Value = Put> {
    let shape = prop_oneof![
        6 => Just(Shape::Plain),
        3 => Just(Shape::Array),
        1 => Just(Shape::Windows),
        2 => Just(Shape::Wide),
        1 => Just(Shape::Members),
    ];
    (0usize..8, numbers(0..12), shape, any::<bool>()).prop_map(|(name, events, shape, in_place)| Put {
        name,
        events,
        shape,
        in_place,
    })
}

fn run() -> impl Strategy<Value = (How, Setting)> {
    let how = prop_oneof![
        8 => Just(How::Library),
        2 => Just(How::Binary),
        6 => (0u64..160, 0usize..5).prop_map(|(call, fault)| How::Faulty { call, fault }),
        4 => (1u64..500).prop_map(|after| How::Killed { after }),
        1 => (1u64..500).prop_map(|after| How::Stopped { after }),
    ];
    let bytes = prop_oneof![Just(1u64 << 20), Just(3u64 << 20), 500u64..5000];
    let mirror = prop_oneof![9 => Just(true), 1 => Just(false)];
    (how, 1usize..6, bytes, 1usize..4, any::<bool>(), mirror).prop_map(
        |(how, batch_files, batch_bytes, threads, eager, mirror)| {
            (how, Setting { batch_files, batch_bytes, threads, eager, mirror })
        },
    )
}
