//! Where reading goes on after something that could not be taken.
//!
//! Two rules, by file name, because they fail differently. `.ndjson` and `.jsonl` promise a document a line, so
//! any next line may begin one. `.json` promises nothing: the lines of a broken pretty document are no documents,
//! but the next one begins at a line's first byte, where pretty-printers indent everything inside.

use memchr::memchr;

/// How documents are told apart once one of them is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// On with the next line.
    Lines,
    /// On with the next line whose first byte opens a container.
    Braces,
}

/// What a skip looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// The next line.
    Line,
    /// The next line that begins with `{` or `[`.
    Opening,
    /// Inside a top-level array: the next line that begins with `{` (an element) or `]` (the array's end).
    Element,
    /// The end of the file.
    End,
}

/// Searches for its goal through text that arrives in pieces.
#[derive(Debug, Clone, Copy)]
pub struct Skip {
    pub goal: Goal,
    line_start: bool,
}

impl Skip {
    /// From within a line: the goal is on a later one.
    pub fn new(goal: Goal) -> Self {
        Skip { goal, line_start: false }
    }

    /// Index of the goal in the next piece of text, or `None` if it lies beyond.
    pub fn feed(&mut self, text: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            if self.line_start {
                if self.goal.met(*text.get(at)?) {
                    return Some(at);
                }
                self.line_start = false;
            }
            at += memchr(b'\n', text.get(at..)?)? + 1;
            self.line_start = self.goal != Goal::End;
        }
    }
}

impl Goal {
    fn met(self, first: u8) -> bool {
        match self {
            Goal::Line => true,
            Goal::Opening => matches!(first, b'{' | b'['),
            Goal::Element => matches!(first, b'{' | b']'),
            Goal::End => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_goal_is_met_at_a_line_start() {
        let text = b"{a\n \n]\n[\n{";
        let found = |goal| Skip::new(goal).feed(text);
        assert_eq!(found(Goal::Line), Some(3));
        assert_eq!(found(Goal::Opening), Some(7));
        assert_eq!(found(Goal::Element), Some(5));
        assert_eq!(found(Goal::End), None);
    }

    #[test]
    fn pieces_do_not_matter() {
        let text = b"xx\nyy\n{\n[";
        for goal in [Goal::Line, Goal::Opening, Goal::Element, Goal::End] {
            let whole = Skip::new(goal).feed(text);
            for cut in 0..=text.len() {
                let mut skip = Skip::new(goal);
                let parts = skip.feed(&text[..cut]).or_else(|| skip.feed(&text[cut..]).map(|at| at + cut));
                assert_eq!(parts, whole, "{goal:?} cut at {cut}");
            }
        }
    }
}
