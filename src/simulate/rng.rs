//! A small seeded generator (splitmix64): the same seed gives the same shop on every machine, for ever.

/// Not for secrets. Passes no state between events: each event makes its own from its numbers.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// A generator of its own for these numbers, independent of any other list of numbers.
    pub fn of(numbers: &[u64]) -> Rng {
        let mut rng = Rng(0x6d69_6c6c_7261_6365);
        for n in numbers {
            rng.0 ^= *n;
            rng.0 = rng.draw();
        }
        rng
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In `0..n`; 0 where `n` is 0. The bias of the multiplication does not matter to a shop.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.draw()) * u128::from(n)) >> 64) as u64
    }

    /// In `0..n`, small numbers far more often: a few things sell well.
    pub fn skewed(&mut self, n: u64) -> u64 {
        let once = self.below(n.saturating_add(1));
        self.below(once).min(n.saturating_sub(1))
    }

    /// True in this share of the cases (0 = never, 1 = always).
    pub fn chance(&mut self, share: f64) -> bool {
        ((self.draw() >> 11) as f64) < share * (1u64 << 53) as f64
    }

    /// One of them; the default where there is none.
    pub fn pick<T: Copy + Default>(&mut self, of: &[T]) -> T {
        let i = self.below(of.len() as u64) as usize;
        of.get(i).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frozen_and_in_bounds() {
        let mut rng = Rng(0);
        // The published first output of splitmix64 for state 0.
        assert_eq!(rng.draw(), 0xe220_a839_7b1d_cdaf);
        assert!((0..1000).all(|_| rng.below(7) < 7 && rng.skewed(7) < 7));
        assert_eq!((rng.below(0), rng.skewed(0)), (0, 0));
        assert_eq!((rng.chance(0.0), rng.chance(1.0)), (false, true));
    }
}
