//! The life of one order: what was bought, how it was parcelled, and the moments that the shop tells of it.
//! A function of the seed and the order's number alone.

use super::catalog::Catalog;
use super::rng::Rng;

const HOUR_MS: u64 = 3_600_000;

/// How far an order has come. `Part…`: only its early parcels have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    PreOrder,
    InProcessing,
    Paid,
    PartBilled,
    Billed,
    PartSent,
    Sent,
    PartDelivered,
    Delivered,
}

/// How far a parcel has come; its index in lists of three is one less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    Billed = 1,
    Sent = 2,
    Delivered = 3,
}

/// The order as it stood at one moment: what one event tells.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub stage: Stage,
    pub cancelled: bool,
    /// The line that is taken out has been taken out.
    pub shortened: bool,
    /// Milliseconds since the epoch; two moments of an order can share it.
    pub ms: i64,
    pub version: Option<u64>,
}

#[derive(Debug, Clone)]
pub struct Line {
    pub item: u64,
    pub quantity: u64,
    /// Cents.
    pub freight: i64,
    pub freight_discount: i64,
    pub days: u64,
}

#[derive(Debug, Clone)]
pub struct Parcel {
    pub seller: u64,
    /// (index of the line, quantity): a line can be split over two parcels.
    pub contents: Vec<(usize, u64)>,
    pub early: bool,
}

#[derive(Debug, Clone)]
pub struct Life {
    pub order: u64,
    pub created_ms: i64,
    pub customer: u64,
    pub store: u64,
    pub promotion: Option<u64>,
    pub lines: Vec<Line>,
    /// Index of a line that a later event no longer has.
    pub taken_out: Option<usize>,
    pub parcels: Vec<Parcel>,
    /// What the shop tells, oldest first; never empty.
    pub told: Vec<Moment>,
    /// All that happened, told or not.
    happened: Vec<Moment>,
}

impl Life {
    /// `mean` is the events told of an order, on average.
    pub fn of(catalog: &Catalog, order: u64, created_ms: i64, mean: f64) -> Life {
        let mut rng = Rng::of(&[catalog.seed, 100, order]);
        let lines = lines(catalog, &mut rng);
        let parcels = parcels(catalog, &lines, &mut rng);
        let taken_out = (lines.len() > 1 && rng.chance(0.12)).then(|| rng.below(lines.len() as u64) as usize);
        let happened = happened(created_ms, parcels.len() > 1, taken_out.is_some(), &mut rng);
        let told = told(&happened, mean, &mut rng);
        Life {
            order,
            created_ms,
            customer: rng.skewed(catalog.customers),
            store: 1 + rng.below(3),
            promotion: rng.chance(0.2).then(|| 1 + rng.skewed(catalog.promotions)),
            lines,
            taken_out,
            parcels,
            told,
            happened,
        }
    }

    /// How far this parcel has come at that moment; `None` before it is billed.
    pub fn progress(&self, parcel: &Parcel, stage: Stage) -> Option<Progress> {
        use Progress::*;
        match (stage, parcel.early) {
            (Stage::PreOrder | Stage::InProcessing | Stage::Paid, _) | (Stage::PartBilled, false) => None,
            (Stage::PartBilled | Stage::Billed, _) | (Stage::PartSent, false) => Some(Billed),
            (Stage::PartSent | Stage::Sent, _) | (Stage::PartDelivered, false) => Some(Sent),
            (Stage::PartDelivered | Stage::Delivered, _) => Some(Delivered),
        }
    }

    /// When the parcel came so far.
    pub fn reached_ms(&self, parcel: &Parcel, progress: Progress) -> i64 {
        let there = |m: &&Moment| self.progress(parcel, m.stage) >= Some(progress);
        self.happened.iter().find(there).map_or(self.created_ms, |m| m.ms)
    }

    /// Line `i` is still part of the order.
    pub fn keeps(&self, i: usize, at: &Moment) -> bool {
        !(at.shortened && self.taken_out == Some(i))
    }
}

fn lines(catalog: &Catalog, rng: &mut Rng) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for _ in 0..1 + rng.below(4) {
        let item = rng.skewed(catalog.items);
        if lines.iter().all(|l| l.item != item) {
            let freight = 499 + rng.below(4000) as i64;
            let freight_discount = if rng.chance(0.1) { freight / 2 } else { 0 };
            let (quantity, days) = (1 + rng.skewed(4), 2 + rng.below(20));
            lines.push(Line { item, quantity, freight, freight_discount, days });
        }
    }
    lines
}

/// One parcel a seller, and a second one where a line is split.
fn parcels(catalog: &Catalog, lines: &[Line], rng: &mut Rng) -> Vec<Parcel> {
    let mut parcels: Vec<Parcel> = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let seller = catalog.item(line.item, 0).seller;
        let held_back = if line.quantity > 1 && rng.chance(0.3) { 1 } else { 0 };
        let now = (i, line.quantity - held_back);
        match parcels.iter_mut().find(|p| p.seller == seller) {
            Some(parcel) => parcel.contents.push(now),
            None => parcels.push(Parcel { seller, contents: vec![now], early: false }),
        }
        if held_back > 0 {
            parcels.push(Parcel { seller, contents: vec![(i, held_back)], early: false });
        }
    }
    let early = parcels.len().div_ceil(2);
    parcels.iter_mut().take(early).for_each(|p| p.early = true);
    parcels
}

fn happened(created_ms: i64, several: bool, shortened: bool, rng: &mut Rng) -> Vec<Moment> {
    use Stage::*;
    let all = [PreOrder, InProcessing, Paid, PartBilled, Billed, PartSent, Sent, PartDelivered, Delivered];
    let parts = [PartBilled, PartSent, PartDelivered];
    let cancelled_after = rng.chance(0.08).then(|| rng.below(6));
    let shortened_after = 2 + rng.below(4);
    let mut moments: Vec<Moment> = Vec::with_capacity(12);
    let mut now =
        Moment { stage: PreOrder, cancelled: false, shortened: false, ms: created_ms, version: None };
    for stage in all.into_iter().filter(|s| several || !parts.contains(s)) {
        let step = moments.len() as u64;
        if step > 0 {
            now.version = if rng.chance(0.03) { None } else { Some(step) };
        }
        // One in twelve has the very time of the one before it: only the version tells them apart.
        if step == 0 || !rng.chance(1.0 / 12.0) {
            now.ms += 1 + rng.below(30 * HOUR_MS) as i64;
        }
        now.cancelled = cancelled_after.is_some_and(|after| step > after);
        now.shortened = shortened && step > shortened_after;
        if !now.cancelled {
            now.stage = stage;
        }
        moments.push(now);
        if now.cancelled {
            break;
        }
        if rng.chance(0.05) {
            // Said again with a higher version and nothing else changed.
            now.version = Some(step + 1);
            moments.push(now);
        }
    }
    moments
}

/// Between one and all of them, the mean as asked (as far as there are so many), in their order.
fn told(happened: &[Moment], mean: f64, rng: &mut Rng) -> Vec<Moment> {
    let most = (2.0 * mean).round().max(2.0) as u64 - 1;
    let wanted = 1 + rng.below(most) as usize;
    let mut told = happened.to_vec();
    while told.len() > wanted {
        told.remove(rng.below(told.len() as u64) as usize);
    }
    told
}
