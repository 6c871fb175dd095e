//! Calls into libraries that may panic: some do where they should err, and neither may end the run.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `call` of the library `whose`; a panic becomes its message. The message is the caller's to tell: without the hook the panic
/// would stand on the terminal first, as if the program had failed.
pub fn guard<T>(whose: &str, call: impl FnOnce() -> T) -> Result<T, String> {
    quiet_hook();
    let before = GUARDED.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(call));
    GUARDED.set(before);
    outcome.map_err(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        format!("{whose} panicked: {}", text.unwrap_or("no message"))
    })
}

/// Panics of every other thread, and outside `guard`, go the way they went before.
fn quiet_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                others(info);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_message() {
        assert_eq!(guard("sled", || 1), Ok(1));
        let text = guard("sled", || -> u8 { panic!("no page {}", 7) });
        assert_eq!(text, Err("sled panicked: no page 7".into()));
        let text = guard("sled", || -> u8 { panic!("plain") });
        assert_eq!(text, Err("sled panicked: plain".into()));
        assert!(!GUARDED.get());
    }
}
