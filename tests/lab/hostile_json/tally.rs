//! What was tried and what went wrong with it: counted, told, and none of it accepted.

use std::cell::Cell;

use crate::figures::tell;

thread_local! {
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

/// The product panicked on this thread.
pub fn panicked() {
    PANICS.set(PANICS.get() + 1);
}

#[derive(Default)]
pub struct Tally {
    inputs: u64,
    wrong: Vec<String>,
}

impl Tally {
    /// Another input was tried; if it did not go as it should, `say` what it was.
    pub fn try_one(&mut self, right: bool, say: impl FnOnce() -> String) {
        self.inputs += 1;
        self.expect(right, say);
    }

    pub fn expect(&mut self, right: bool, say: impl FnOnce() -> String) {
        if !right {
            self.wrong.push(say());
        }
    }

    /// Tells the figures, then fails if anything was wrong.
    #[track_caller]
    pub fn tell(self, part: &str, more: &[(&str, u64)]) {
        let (wrong, panics) = (self.wrong.len() as u64, PANICS.replace(0));
        let figures = [&[("inputs", self.inputs)], more, &[("wrong", wrong), ("panics", panics)]].concat();
        tell(11, part, &figures);
        let first: Vec<&String> = self.wrong.iter().take(5).collect();
        assert!(wrong == 0 && panics == 0, "{wrong} wrong, the first: {first:#?}");
    }
}
