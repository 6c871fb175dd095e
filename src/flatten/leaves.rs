//! Many columns checked at once: those that hang from the same object find it together. Events that fit, nearly all of
//! them, need nothing else; of the others, the columns are looked at one by one.

use super::value::View;
use crate::batch::{Kind, NONE, ValueId};
use crate::pipeline::model::{Base, Step, Type};

/// Columns of a table, by the object that they hang from.
#[derive(Debug, Default)]
pub struct Leaves(Vec<Twig>);

#[derive(Debug)]
struct Twig {
    base: Base,
    steps: Vec<Step>,
    /// Slot of the object, and the type that the value must fit.
    fields: Vec<(u32, Type)>,
    /// Types that the value itself must fit, where a path does not end with a member.
    whole: Vec<Type>,
}

impl Leaves {
    /// Of columns that are paths: where from, the way, and the type.
    pub fn new<'p>(paths: impl Iterator<Item = (Base, &'p [Step], Type)>) -> Self {
        let mut twigs: Vec<Twig> = Vec::new();
        for (base, steps, kind) in paths {
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
                Some(slot) => twigs[at].fields.push((slot, kind)),
                None => twigs[at].whole.push(kind),
            }
        }
        Leaves(twigs)
    }

    /// The bytes of text in all columns of a row; `None` if a value does not fit. `start` says where a path begins.
    pub fn weigh(&self, view: View<'_>, start: impl Fn(Base) -> ValueId) -> Option<u64> {
        let mut bytes = 0;
        for twig in &self.0 {
            let Some(value) = view.resolve(start(twig.base), &twig.steps).ok()? else { continue };
            for kind in &twig.whole {
                bytes += view.weigh(value, *kind).ok()?;
            }
            if twig.fields.is_empty() {
                continue;
            }
            if value.kind != Kind::Object {
                return None;
            }
            if value.start == NONE {
                continue;
            }
            for (slot, kind) in &twig.fields {
                if let Some(leaf) = view.value(value.start.wrapping_add(*slot)) {
                    bytes += view.weigh(leaf, *kind).ok()?;
                }
            }
        }
        Some(bytes)
    }
}
