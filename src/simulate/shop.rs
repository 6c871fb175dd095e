//! The shop: decides which order speaks next, and when it is late, repeats itself or sends something broken.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::catalog::Catalog;
use super::damage::spoil;
use super::life::Life;
use super::rng::Rng;
use super::telling::{order_id, tell};

/// 2024-01-01T00:00:00Z, and one new order every ten minutes.
const OPENING_MS: i64 = 1_704_067_200_000;
const BETWEEN_ORDERS_MS: i64 = 600_000;

#[derive(Debug, Clone)]
pub struct Options {
    /// Orders in all; `None` = the shop never closes.
    pub orders: Option<u64>,
    /// Events of an order, on average (without repeats); at least 1, and an order has about 9 things to tell.
    pub events_per_order: f64,
    pub customers: u64,
    pub sellers: u64,
    pub items: u64,
    pub warehouses: u64,
    pub promotions: u64,
    /// Share of events that come a second time: the same bytes under another name.
    pub repeats: f64,
    /// How many events late an event may come; 0 = every order in its own order.
    pub disorder: u64,
    /// Broken events for a hundred good ones is 0.01. They come besides the good ones and replace none.
    pub share_bad: f64,
    /// Indented by two, one line a member, instead of one line an event.
    pub pretty: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            orders: None,
            events_per_order: 3.5,
            customers: 5_000,
            sellers: 300,
            items: 10_000,
            warehouses: 12,
            promotions: 60,
            repeats: 0.03,
            disorder: 100,
            share_bad: 0.0,
            pretty: false,
        }
    }
}

/// One event as the producer would send it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The order it is about (of a broken one: was to be about).
    pub order: String,
    /// JSON text; of a broken event any bytes, even none that are UTF-8.
    pub text: Vec<u8>,
    /// A file name that no other event of this shop has. It says nothing about which event is newer.
    pub name: String,
}

/// Something to say: when, which order, which of its moments, and whether again or broken.
type Due = Reverse<(u64, u64, usize, Manner)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Manner {
    Plain,
    Again,
    Broken,
}

/// An endless (or [`Options::orders`] long) run of events; the same seed and options give the same bytes.
#[derive(Debug)]
pub struct Shop {
    seed: u64,
    options: Options,
    catalog: Catalog,
    due: BinaryHeap<Due>,
    /// The next order to be opened.
    next_order: u64,
    /// Events told so far.
    told: u64,
}

impl Shop {
    pub fn new(seed: u64, options: Options) -> Shop {
        let catalog = Catalog {
            seed,
            customers: options.customers.max(1),
            sellers: options.sellers.max(1),
            items: options.items.max(1),
            warehouses: options.warehouses.max(1),
            promotions: options.promotions.max(1),
        };
        Shop { seed, options, catalog, due: BinaryHeap::new(), next_order: 0, told: 0 }
    }

    /// `None` once every order has told all it has to tell.
    pub fn next_event(&mut self) -> Option<Event> {
        self.open_orders();
        let Reverse((_, order, step, manner)) = self.due.pop()?;
        let good = self.moment(order, step)?;
        let text = match manner {
            Manner::Broken => spoil(&good, &mut Rng::of(&[self.seed, 400, order, step as u64])),
            Manner::Plain | Manner::Again => good.into_bytes(),
        };
        self.told += 1;
        let order = order_id(order);
        let name = format!("{order}_{:x}_{:08}.json", self.seed, self.told);
        Some(Event { order, text, name })
    }

    /// The text of one event, out of turn: moment `step` of order number `order`, `None` beyond its last.
    pub fn moment(&self, order: u64, step: usize) -> Option<String> {
        let life = self.life(order);
        let moment = life.told.get(step)?;
        Some(tell(&self.catalog, &life, moment, self.options.pretty))
    }

    fn life(&self, order: u64) -> Life {
        let jitter = Rng::of(&[self.seed, 500, order]).below(BETWEEN_ORDERS_MS as u64) as i64;
        let created = OPENING_MS + (order % (1 << 40)) as i64 * BETWEEN_ORDERS_MS + jitter;
        Life::of(&self.catalog, order, created, self.options.events_per_order)
    }

    /// Opens every order whose turn comes before the next event that is due.
    fn open_orders(&mut self) {
        while self.options.orders.is_none_or(|orders| self.next_order < orders) {
            let opens = (self.next_order as f64 * self.options.events_per_order.max(1.0)) as u64;
            if self.due.peek().is_some_and(|Reverse((at, ..))| *at < opens) {
                return;
            }
            self.open(self.next_order, opens);
            self.next_order += 1;
        }
    }

    /// An order speaks every few turns, each time up to `disorder` turns late.
    fn open(&mut self, order: u64, opens: u64) {
        let mut rng = Rng::of(&[self.seed, 600, order]);
        let late = self.options.disorder.saturating_add(1);
        for step in 0..self.life(order).told.len() {
            let turn = opens + 20 * step as u64;
            self.due.push(Reverse((turn + rng.below(late), order, step, Manner::Plain)));
            if rng.chance(self.options.repeats) {
                let again = turn + rng.below(2 * late + 50);
                self.due.push(Reverse((again, order, step, Manner::Again)));
            }
            if rng.chance(self.options.share_bad) {
                self.due.push(Reverse((turn + rng.below(late), order, step, Manner::Broken)));
            }
        }
    }
}

impl Iterator for Shop {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        self.next_event()
    }
}
