//! Row 13, the whole against a naive model: whatever happens to files, caches and runs, in any order, at every quiet
//! state the tables, the mirror, the ledger and quarantine are what the model says.
//!
//! A case is a history of steps (`model/history.rs`); what counts as seen is said in `model/expected.rs`. A failing
//! case is made smaller and prints its seed: `MILLRACE_SEED=n` plays it again, `MILLRACE_CASES=n` plays n cases.

mod expected;
mod history;
mod mirror;
mod source;
mod world;

use std::cell::Cell;
use std::time::Instant;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::{figures, scale};
use world::Done;

#[test]
fn row_13_any_history_ends_as_the_model_says() {
    let begin = Instant::now();
    let cases = std::env::var("MILLRACE_CASES").ok().map(|n| n.parse().unwrap());
    let cases = cases.unwrap_or(scale::pick(12, 150));
    let (mut played, mut sum, mut failures) = (0, Done::default(), Vec::new());
    for seed in scale::seeds(cases, cases) {
        played += 1;
        match one(seed) {
            Ok(done) => add(&mut sum, &done),
            Err(failure) => failures.push(failure),
        }
        // One is enough to work on; more only cost time to make smaller.
        if failures.len() == 3 {
            break;
        }
    }
    println!("{played} cases in {:.1} s", begin.elapsed().as_secs_f64());
    let many = failures.is_empty() && played > 10;
    assert!(!many || (sum.kills > 0 && sum.faults > 0), "nothing was killed: this test tests little");
    let figures = [
        ("cases", played),
        ("steps", sum.steps),
        ("runs", sum.runs),
        ("kills", sum.kills),
        ("failed calls", sum.faults),
        ("comparisons", sum.compared),
        ("rows compared", sum.rows),
        ("ledger rows compared", sum.claims),
        ("quarantine rows compared", sum.quarantined),
        ("failures", failures.len() as u64),
    ];
    figures::tell(13, "histories", &figures);
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// One case; a failure is made smaller first.
fn one(seed: u64) -> Result<Done, String> {
    let config = Config {
        cases: 1,
        max_shrink_iters: scale::pick(120, 400),
        failure_persistence: None,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let done = Cell::new(Done::default());
    let steps = scale::pick(6..18, 6..40);
    let failed = runner.run(&history::histories(steps), |history| {
        let (did, played) = world::play(&history);
        done.set(did);
        played.map_err(TestCaseError::fail)
    });
    match failed {
        Ok(()) => Ok(done.get()),
        Err(TestError::Fail(why, history)) => {
            Err(format!("MILLRACE_SEED={seed}, in the smallest history found: {why}\n{history:#?}"))
        }
        Err(TestError::Abort(why)) => Err(format!("MILLRACE_SEED={seed}: {why}")),
    }
}

fn add(sum: &mut Done, one: &Done) {
    sum.steps += one.steps;
    sum.runs += one.runs;
    sum.kills += one.kills;
    sum.faults += one.faults;
    sum.compared += one.compared;
    sum.claims += one.claims;
    sum.rows += one.rows;
    sum.quarantined += one.quarantined;
}
