//! Too few open files, from hardly enough to start to just enough: for a new root and for one that is there.

use super::{Input, Told};
use crate::figures::tell;
use crate::scale::{pick, seeds};
use crate::support::folders;
use crate::support::history::Toll;

#[test]
fn row_04_too_many_open_files_at_any_step() {
    let (mut limits, mut stopped, mut toll) = (0, 0, Toll::default());
    for seed in seeds(1, 1) {
        let input = Input::new(seed);
        for limit in (5..50).step_by(pick(14, 1)) {
            let folder = folders::quick();
            let limited = format!("ulimit -n {limit}; exec \"$@\"");
            let wrapper = ["sh", "-c", &limited, "sh"];
            let story = format!("MILLRACE_SEED={seed}, {limit} open files");
            let told = Told { story: &story, may_be_damage: false };
            let said = input.run(folder.path(), &wrapper);
            // The loader needs some before the program has any.
            if said.err.contains("error while loading shared libraries") {
                continue;
            }
            limits += 2;
            stopped += u64::from(told.ended(&said, &mut toll));
            input.ends_right(folder.path(), &story, &mut toll);
            let said = input.run(folder.path(), &wrapper);
            stopped += u64::from(told.ended(&said, &mut toll));
            let repair = input.runs(folder.path(), &wrapper, &["repair"]);
            told.ended(&repair, &mut toll);
            // It finds nothing to repair, or cannot look; it never repairs what is sound.
            if folder.path().join("tables.damaged-1").exists() {
                toll.other(&format!("{story}: sound tables were repaired: {repair:?}"));
            }
        }
    }
    assert!(stopped > 0, "no limit was too low");
    tell(4, "open files", &[&[("limits", limits), ("stopped", stopped)][..], &toll.paid()].concat());
}
