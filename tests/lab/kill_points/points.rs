//! Every named point, by a loop over the names that stand in the source.
//!
//! A story is a scene and some kills, one start after the other on the same folder; then a start that nothing
//! disturbs, and a look at everything. The short form tells long stories, so that each name comes up once; the long
//! one kills at the first, a middle and the last passing of the points of each scene, once deep and twice.

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use crate::figures::tell;
use crate::scale::{is_long, pick, seeds};
use crate::support::trial::Verdict;

use super::scenes::{self, Passed, Scene};

/// Stories at the same time: they wait for processes most of the time.
const AT_ONCE: usize = 3;

/// Every name in the source. None stands at two places: a test could take the one for the other.
fn names() -> BTreeSet<String> {
    let (mut found, mut folders) = (BTreeSet::new(), vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            for after in text.split("fault::point(\"").skip(1) {
                let name = after.split('"').next().unwrap();
                assert!(found.insert(name.to_owned()), "two kill points are called {name}");
            }
        }
    }
    assert!(found.len() > 100, "the kill points are not where this test looks");
    found
}

/// A kill to come.
#[derive(Clone)]
struct Kill {
    point: String,
    n: u64,
    /// What dies is a plain start, whatever the scene is about.
    by_run: bool,
}

impl Kill {
    fn new(point: &str, n: u64) -> Kill {
        Kill { point: point.to_owned(), n, by_run: false }
    }
}

/// Kills to come, one start each.
struct Story<'a> {
    scene: &'a Scene,
    kills: Vec<Kill>,
}

/// What came of all stories.
#[derive(Default)]
struct Sum {
    stories: u64,
    kills: u64,
    /// Kills of a start that found what a kill had left.
    in_recovery: u64,
    /// The process ended before the point was passed so often.
    ended_before: u64,
    verdict: Verdict,
    killed_at: BTreeSet<String>,
    wrong: Vec<String>,
}

fn tell_story(story: &Story<'_>, sum: &Mutex<Sum>) {
    let folder = story.scene.copy();
    let (mut died, mut before) = (Vec::new(), 0);
    let mut failed = None;
    for Kill { point, n, by_run } in &story.kills {
        match story.scene.kill(folder.path(), point, *n, *by_run) {
            Ok(true) => died.push(format!("{point}:{n}")),
            Ok(false) => before += 1,
            Err(how) => failed = Some(how),
        }
    }
    let verdict = story.scene.finish(folder.path());
    let mut sum = sum.lock().unwrap();
    sum.stories += 1;
    sum.kills += died.len() as u64;
    sum.in_recovery += died.len().saturating_sub(1) as u64;
    sum.ended_before += before;
    sum.verdict.add(&verdict);
    sum.verdict.unopenable += u64::from(failed.is_some());
    if failed.is_some() || !verdict.is_clean() {
        let scene = story.scene.name;
        sum.wrong.push(format!("{scene}: killed at {}: {failed:?} {verdict:#?}", died.join(", ")));
    }
    sum.killed_at.extend(died.iter().map(|at| at.rsplit_once(':').unwrap().0.to_owned()));
}

fn tell_all(stories: Vec<Story<'_>>, sum: &Mutex<Sum>) {
    let left = Mutex::new(VecDeque::from(stories));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = left.lock().unwrap().pop_front();
                    let Some(story) = next else { break };
                    tell_story(&story, sum);
                }
            });
        }
    });
}

/// How many names a story of the short form kills at, one start after the other.
const CHAIN: usize = 8;

/// Every name in the first scene that passes it, in the order of passing: what comes before a name is done again after
/// a kill, so that the next name is reached. After every other kill the start that finds what it left dies too, at a
/// name that every start passes.
fn short<'a>(scenes: &'a [Scene], idle: &'a Passed) -> Vec<Story<'a>> {
    let mut stories = Vec::new();
    let mut done: BTreeSet<&String> = idle.iter().map(|(name, _)| name).collect();
    let mut starts = idle.iter().map(|(name, _)| Kill { by_run: true, ..Kill::new(name, 1) });
    for scene in scenes {
        let own: Vec<&String> =
            scene.passed.iter().map(|(name, _)| name).filter(|name| done.insert(name)).collect();
        for names in own.chunks(CHAIN) {
            let mut kills = Vec::new();
            for (at, name) in names.iter().enumerate() {
                kills.push(Kill::new(name, 1));
                kills.extend(if at % 2 == 0 { starts.next() } else { None });
            }
            stories.push(Story { scene, kills });
        }
    }
    stories
}

/// Every point of every scene, and in the first scenes, which take the most batches, at its first, a middle and its
/// last passing. Every other one is followed by a kill in the start that finds what it left: at a point that every
/// start passes, or at one that only some have reason to pass. The next seed swaps which ones.
fn long<'a>(scenes: &'a [Scene], idle: &'a Passed, seed: u64) -> Vec<Story<'a>> {
    let is_idle = |name: &String| idle.iter().any(|(known, _)| known == name);
    let passings = |(name, times): &'a (String, u64)| (1..=(*times).min(12)).map(move |n| (name, n));
    let starts = idle.iter().flat_map(passings).map(|(name, n)| Kill { by_run: true, ..Kill::new(name, n) });
    let besides = scenes.iter().flat_map(|s| &s.passed).filter(|(name, _)| !is_idle(name));
    let mut besides = besides.map(|(name, _)| Kill::new(name, 1)).cycle();
    let mut starts = starts.cycle();
    let mut stories: Vec<Story<'a>> = Vec::new();
    for (at, scene) in scenes.iter().enumerate() {
        for (name, times) in &scene.passed {
            let later = if at < 3 { [times.div_ceil(2), *times] } else { [1, 1] };
            for n in BTreeSet::from([1, later[0], later[1]]) {
                let turn = stories.len() as u64 + seed;
                let second = match turn % 4 {
                    0 => starts.next(),
                    2 => besides.next(),
                    _ => None,
                };
                let kills = std::iter::once(Kill::new(name, n)).chain(second).collect();
                stories.push(Story { scene, kills });
            }
        }
    }
    stories
}

#[test]
fn row_01_a_kill_at_any_point_loses_and_doubles_nothing() {
    let names = names();
    let mut sum = Mutex::new(Sum::default());
    let mut passed: BTreeSet<String> = BTreeSet::new();
    let mut tried = 0;
    for seed in seeds(1, 1) {
        tried += 1;
        let (scenes, idle) = scenes::all(seed, pick(4, 6));
        passed.extend(scenes.iter().flat_map(|s| s.passed.iter().map(|(name, _)| name.clone())));
        let never: Vec<&String> = names.difference(&passed).collect();
        assert!(never.is_empty(), "no scene passes {never:?}: a scene has to be made that does");
        let stories = if is_long() { long(&scenes, &idle, seed) } else { short(&scenes, &idle) };
        tell_all(stories, &sum);
        for turn in 0..4 {
            let missed = names.difference(&sum.get_mut().unwrap().killed_at).cloned().collect();
            tell_all(alone(&scenes, &missed, turn), &sum);
        }
        let so_far = sum.get_mut().unwrap();
        assert!(so_far.wrong.is_empty(), "MILLRACE_SEED={seed}\n{}", so_far.wrong.join("\n"));
    }
    let sum = sum.into_inner().unwrap();
    let missed: Vec<&String> = names.difference(&sum.killed_at).collect();
    assert!(missed.is_empty(), "passed, but never died at {missed:?}");
    assert!(sum.in_recovery > 0);
    let figures = [
        ("points", names.len() as u64),
        ("seeds", tried),
        ("stories", sum.stories),
        ("kills", sum.kills),
        ("of these in a recovery", sum.in_recovery),
        ("ended before", sum.ended_before),
        ("lost", sum.verdict.lost),
        ("doubled", sum.verdict.doubled),
        ("unopenable", sum.verdict.unopenable),
    ];
    tell(1, "every named point", &figures);
}

/// The names that were not reached, each at its first passing in one of the scenes that pass it.
fn alone<'a>(scenes: &'a [Scene], missed: &BTreeSet<String>, turn: usize) -> Vec<Story<'a>> {
    let story = |name: &String| {
        let able: Vec<&Scene> =
            scenes.iter().filter(|s| s.passed.iter().any(|(passed, _)| passed == name)).collect();
        Story { scene: able[turn % able.len()], kills: vec![Kill::new(name, 1)] }
    };
    missed.iter().map(story).collect()
}
