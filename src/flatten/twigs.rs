//! Path columns by the object that they hang from, so that those of one object find it together: it is the way to the
//! values that takes the time, not the values.

use std::borrow::Cow;

use super::scope::mask;
use super::value::{Misfit, View};
use crate::batch::{Kind, NONE, Value, ValueId};
use crate::cell::Cell;
use crate::pipeline::model::{Base, Mask, Step, Type};

/// A column that is a path, but for the way to it.
#[derive(Debug)]
pub struct Leaf {
    pub column: usize,
    pub kind: Type,
    pub mask: Option<Mask>,
    pub null_on_error: bool,
}

/// Columns of a table, by the object that they hang from.
#[derive(Debug, Default)]
pub struct Twigs(Vec<Twig>);

#[derive(Debug)]
struct Twig {
    base: Base,
    steps: Vec<Step>,
    /// By their slot in the object.
    fields: Vec<(u32, Leaf)>,
    /// Columns that are the value itself: their paths do not end with a member.
    whole: Vec<Leaf>,
}

/// Where a path leads: nowhere is `None`; `Err` where something stands in its way.
type Found<'c> = Result<Option<&'c Value>, Misfit>;

impl Twigs {
    /// Of columns that are paths: where from, the way, and the rest.
    pub fn new<'p>(paths: impl Iterator<Item = (Base, &'p [Step], Leaf)>) -> Self {
        let mut twigs: Vec<Twig> = Vec::new();
        for (base, steps, leaf) in paths {
            let (steps, slot) = match steps.split_last() {
                Some((Step::Field(slot), before)) => (before, Some(*slot)),
                _ => (steps, None),
            };
            let known = twigs.iter().position(|t| t.base == base && t.steps == steps);
            let at = known.unwrap_or(twigs.len());
            if known.is_none() {
                let (fields, whole) = (Vec::new(), Vec::new());
                twigs.push(Twig { base, steps: steps.to_vec(), fields, whole });
            }
            match slot {
                Some(slot) => twigs[at].fields.push((slot, leaf)),
                None => twigs[at].whole.push(leaf),
            }
        }
        Twigs(twigs)
    }

    /// Hands over every column with the value that it leads to. `start` says where a path begins.
    #[inline]
    pub fn each<'c>(
        &self,
        view: View<'c>,
        start: impl Fn(Base) -> ValueId,
        mut take: impl FnMut(&Leaf, Found<'c>),
    ) {
        for twig in &self.0 {
            let found = view.resolve(start(twig.base), &twig.steps);
            twig.whole.iter().for_each(|leaf| take(leaf, found));
            match found {
                Ok(Some(object)) if object.kind == Kind::Object && object.start != NONE => {
                    for (slot, leaf) in &twig.fields {
                        take(leaf, Ok(view.present(object.start.wrapping_add(*slot))));
                    }
                }
                Ok(Some(other)) if other.kind != Kind::Object => {
                    let blocked = Misfit::Blocked { found: other.kind, wanted: Kind::Object };
                    twig.fields.iter().for_each(|(_, leaf)| take(leaf, Err(blocked)));
                }
                Ok(_) => twig.fields.iter().for_each(|(_, leaf)| take(leaf, Ok(None))),
                Err(misfit) => twig.fields.iter().for_each(|(_, leaf)| take(leaf, Err(misfit))),
            }
        }
    }

    /// The bytes of text in all columns of a row; `None` if a value does not fit. Events that fit, nearly all of them,
    /// need nothing else; of the others, the columns are looked at one by one.
    #[inline]
    pub fn weigh(&self, view: View<'_>, start: impl Fn(Base) -> ValueId) -> Option<u64> {
        let (mut bytes, mut fits) = (0, true);
        self.each(view, start, |leaf, found| {
            let weight = found.and_then(|value| value.map_or(Ok(0), |v| view.weigh(v, leaf.kind)));
            bytes += weight.unwrap_or(0);
            fits &= weight.is_ok();
        });
        fits.then_some(bytes)
    }
}

impl Leaf {
    /// Puts the value into `cell` as the column stores it. False if it does not fit; the cell is null then.
    #[inline]
    pub fn put<'c>(&self, view: View<'c>, found: Found<'c>, cell: &mut Cell<'c>, buf: &mut Vec<u8>) -> bool {
        // Most values: text as it stands.
        if let (Ok(Some(value)), Type::Text, None) = (found, self.kind, self.mask)
            && value.kind == Kind::String
            && !value.escaped
        {
            *cell = Cell::Text(Cow::Borrowed(view.source(value)));
            return true;
        }
        self.put_other(view, found, cell, buf)
    }

    fn put_other<'c>(
        &self,
        view: View<'c>,
        found: Found<'c>,
        cell: &mut Cell<'c>,
        buf: &mut Vec<u8>,
    ) -> bool {
        let fit = |value: Option<&'c Value>| value.map_or(Ok(Cell::Null), |v| view.fit(v, self.kind));
        let (stored, fits) = match found.and_then(fit) {
            Ok(fitting) => (mask(self.mask, fitting, buf), true),
            Err(_) => (Cell::Null, self.null_on_error),
        };
        *cell = stored;
        fits
    }
}
