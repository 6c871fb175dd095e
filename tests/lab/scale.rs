//! How much is tried: the short form of `cargo test`, or the long one of `tests/lab/long`.

#![allow(dead_code)]

/// `MILLRACE_LAB=long` is set.
pub fn is_long() -> bool {
    std::env::var("MILLRACE_LAB").is_ok_and(|form| form == "long")
}

pub fn pick<T>(short: T, long: T) -> T {
    if is_long() { long } else { short }
}

/// The seeds to try: the one in `MILLRACE_SEED`, or `count` of them from 1 on.
pub fn seeds(short: u64, long: u64) -> impl Iterator<Item = u64> {
    let one = std::env::var("MILLRACE_SEED").ok().map(|seed| seed.parse().unwrap());
    one.map_or(1..=pick(short, long), |seed: u64| seed..=seed)
}
