//! Batches of a shop's events into a session of this process, one after the other, as `run` commits them.

use std::path::Path;
use std::time::Instant;

use millrace::maintain::Policy;
use millrace::run::Session;
use millrace::simulate::{Options, Shop};

use crate::common::{self, Dice, ms};

/// Of a hundred events, those about orders that the tables have.
const UPDATES: u64 = 70;

pub struct Stream<'f> {
    folder: &'f Path,
    pub session: Session,
    shop: Shop,
    /// Of every order, the moment that was told last.
    told: Vec<u8>,
    dice: Dice,
    files: u64,
}

impl<'f> Stream<'f> {
    pub fn new(folder: &'f Path, session: Session) -> Stream<'f> {
        let options = Options { customers: 50_000, items: 20_000, sellers: 2_000, ..Options::default() };
        Stream { folder, session, shop: Shop::new(1, options), told: Vec::new(), dice: Dice(1), files: 0 }
    }

    pub fn open(folder: &'f Path, policy: Policy) -> Stream<'f> {
        Stream::new(folder, common::open(folder, false, policy))
    }

    /// The next events: two of the same number after the same calls are the same.
    pub fn next(&mut self, events: u64) -> Vec<String> {
        let mut texts = Vec::new();
        while (texts.len() as u64) < events {
            let known = self.told.len() as u64;
            let (order, step) = if known > 0 && self.dice.below(100) < UPDATES {
                let order = self.dice.below(known);
                (order, usize::from(self.told[order as usize]) + 1)
            } else {
                self.told.push(0);
                (known, 0)
            };
            if let Some(text) = self.shop.moment(order, step) {
                self.told[order as usize] = step as u8;
                texts.push(text);
            }
        }
        texts
    }

    /// First moments of orders that nobody knows yet.
    pub fn new_orders(&mut self, orders: u64) -> Vec<String> {
        let from = self.told.len() as u64;
        self.told.resize(self.told.len() + orders as usize, 0);
        (from..from + orders).map(|order| self.shop.moment(order, 0).unwrap()).collect()
    }

    /// Commits the events as one batch, with the maintenance after it. Milliseconds, without reading the events.
    pub fn commit(&mut self, events: &[String]) -> f64 {
        self.files += 1;
        let intake = common::intake(&self.session, self.folder, self.files, events);
        let begin = Instant::now();
        self.session.run_batch(intake).unwrap();
        self.session.maintain().unwrap();
        ms(begin)
    }

    pub fn keys(&self) -> usize {
        self.session.root.states.iter().map(|s| s.index.len()).sum()
    }
}
