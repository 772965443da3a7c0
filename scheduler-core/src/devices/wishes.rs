//! Selectors, compiled once and asked once per device. The selectors of a class and of a request together are a wish; many
//! claims have the same, and the answers of a wish are kept as long as the slices stay as they are.

use std::sync::Arc;

use gantry_cel::EvaluateError;
use gantry_cel::device::Selector;

use super::pools::Slice;
use crate::rows::devices::DeviceClassRow;

/// Wishes kept; the one not asked for longest makes room.
const WISHES_MAX: usize = 64;

/// Whether a device is what a wish wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Yes,
    No,
    /// A selector failed: of the class or of the request, which, and why.
    Failed {
        of_class: bool,
        selector: usize,
        why: EvaluateError,
    },
}

/// The stamp of a slice, and the answers for its devices.
type Answered = (u64, Arc<[Answer]>);

/// A class, with its selectors, and those of a request.
#[derive(Debug)]
pub(super) struct Wish {
    class: Arc<DeviceClassRow>,
    expressions: Vec<Box<str>>,
    selectors: Vec<Selector>,
    answers: Vec<Option<Answered>>,
    asked: u64,
}

impl Wish {
    /// The answers for the devices of a slice.
    pub(super) fn answers(&self, id: u32) -> &[Answer] {
        self.answers.get(id as usize).and_then(Option::as_ref).map_or(&[], |(_, answers)| answers)
    }

    fn answer(&self, slice: &Slice) -> Arc<[Answer]> {
        let of_class = self.class.selectors.len();
        let answers = slice.devices.iter().map(|device| {
            for (at, selector) in self.selectors.iter().enumerate() {
                match selector.matches(&device.seen) {
                    Ok(true) => {}
                    Ok(false) => return Answer::No,
                    Err(why) => {
                        let of_class = at < of_class;
                        let selector = if of_class { at } else { at - self.class.selectors.len() };
                        return Answer::Failed { of_class, selector, why };
                    }
                }
            }
            Answer::Yes
        });
        answers.collect()
    }
}

/// A selector that does not compile: of the class or of the request, which, and why.
pub(super) struct Uncompiled {
    pub(super) of_class: bool,
    pub(super) selector: usize,
    pub(super) why: String,
}

/// All wishes.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    all: Vec<Arc<Wish>>,
    turn: u64,
}

impl Wishes {
    /// A wish with its answers for all slices as they are now.
    ///
    /// # Errors
    /// When an expression does not compile.
    pub(super) fn get(
        &mut self,
        class: &Arc<DeviceClassRow>,
        expressions: &[Box<str>],
        slices: &[Option<Slice>],
    ) -> Result<Arc<Wish>, Uncompiled> {
        self.turn += 1;
        let same = |wish: &Arc<Wish>| *wish.expressions == *expressions && Arc::ptr_eq(&wish.class, class);
        let at = match self.all.iter().position(same) {
            Some(at) => at,
            None => {
                let wish = compile(class, expressions)?;
                if self.all.len() >= WISHES_MAX {
                    let oldest = (0..self.all.len()).min_by_key(|at| self.all[*at].asked);
                    self.all.swap_remove(oldest.unwrap_or(0));
                }
                self.all.push(Arc::new(wish));
                self.all.len() - 1
            }
        };
        let known = |wish: &Wish| {
            let mut answers = wish.answers.iter().zip(slices);
            let fresh = |(answer, slice): (&Option<Answered>, &Option<Slice>)| match (answer, slice) {
                (_, None) => true,
                (answer, Some(slice)) => answer.as_ref().is_some_and(|(stamp, _)| *stamp == slice.stamp),
            };
            wish.answers.len() == slices.len() && answers.all(fresh)
        };
        if !known(&self.all[at]) {
            // Who still holds the old answers keeps them.
            let old = &self.all[at];
            let answers = slices.iter().enumerate().map(|(id, slice)| {
                let slice = slice.as_ref()?;
                let known = old.answers.get(id).cloned().flatten().filter(|(stamp, _)| *stamp == slice.stamp);
                Some(known.unwrap_or_else(|| (slice.stamp, old.answer(slice))))
            });
            let answers = answers.collect();
            match Arc::get_mut(&mut self.all[at]) {
                Some(wish) => wish.answers = answers,
                None => {
                    let fresh = compile(class, expressions)?;
                    self.all[at] = Arc::new(Wish { answers, ..fresh });
                }
            }
        }
        let turn = self.turn;
        if let Some(wish) = Arc::get_mut(&mut self.all[at]) {
            wish.asked = turn;
        }
        Ok(Arc::clone(&self.all[at]))
    }
}

fn compile(class: &Arc<DeviceClassRow>, expressions: &[Box<str>]) -> Result<Wish, Uncompiled> {
    let of_class = class.selectors.iter().enumerate().map(|(at, text)| (true, at, text));
    let all = of_class.chain(expressions.iter().enumerate().map(|(at, text)| (false, at, text)));
    let compiled = all.map(|(of_class, selector, text)| {
        Selector::compile(text).map_err(|why| Uncompiled { of_class, selector, why: why.to_string() })
    });
    Ok(Wish {
        class: Arc::clone(class),
        expressions: expressions.to_vec(),
        selectors: compiled.collect::<Result<_, _>>()?,
        answers: Vec::new(),
        asked: 0,
    })
}
