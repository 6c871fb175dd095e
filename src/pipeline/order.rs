//! What comes before what: columns within a row, tables within an event, tables within a commit.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// An order of `0..needs.len()` in which everything follows what it needs, lowest first where that leaves a
/// choice. What stands in a circle, or needs what does, is missing from it.
pub(super) fn topological(needs: &[Vec<usize>]) -> Vec<usize> {
    let mut waiting: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut needed_by = vec![Vec::new(); needs.len()];
    for (i, needed) in needs.iter().enumerate() {
        for &n in needed {
            if let Some(by) = needed_by.get_mut(n) {
                by.push(i);
            }
        }
    }
    let ready = waiting.iter().enumerate().filter(|w| *w.1 == 0);
    let mut ready: BinaryHeap<Reverse<usize>> = ready.map(|w| Reverse(w.0)).collect();
    let mut order = Vec::with_capacity(needs.len());
    while let Some(Reverse(next)) = ready.pop() {
        order.push(next);
        for &i in needed_by.get(next).into_iter().flatten() {
            if let Some(count) = waiting.get_mut(i) {
                *count -= 1;
                if *count == 0 {
                    ready.push(Reverse(i));
                }
            }
        }
    }
    order
}

/// The same, but what stands in a circle follows at the end, lowest first.
pub(super) fn best_effort(needs: &[Vec<usize>]) -> Vec<usize> {
    let mut order = topological(needs);
    let mut there = vec![false; needs.len()];
    order.iter().for_each(|&i| there[i] = true);
    order.extend((0..needs.len()).filter(|&i| !there[i]));
    order
}

/// One circle, its first member repeated at the end; `None` if there is none.
pub(super) fn circle(needs: &[Vec<usize>]) -> Option<Vec<usize>> {
    let order = topological(needs);
    let mut stuck = vec![true; needs.len()];
    order.iter().for_each(|&i| stuck[i] = false);
    let mut walk = vec![stuck.iter().position(|&s| s)?];
    loop {
        // Who is stuck needs someone who is stuck, so the walk must meet itself.
        let last = *walk.last()?;
        let next = *needs.get(last)?.iter().find(|&&n| stuck.get(n) == Some(&true))?;
        let met = walk.iter().position(|&w| w == next);
        walk.push(next);
        if let Some(start) = met {
            return Some(walk.split_off(start));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_and_finds_circles() {
        assert_eq!(topological(&[vec![2], vec![], vec![1]]), [1, 2, 0]);
        assert_eq!(topological(&[vec![], vec![], vec![]]), [0, 1, 2]);
        assert_eq!(circle(&[vec![2], vec![], vec![1]]), None);
        let round = [vec![1], vec![2, 3], vec![1], vec![]];
        assert_eq!(topological(&round), [3]);
        assert_eq!(best_effort(&round), [3, 0, 1, 2]);
        assert_eq!(circle(&round), Some(vec![1, 2, 1]));
        assert_eq!(circle(&[vec![0]]), Some(vec![0, 0]));
    }
}
