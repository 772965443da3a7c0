//! What a class knows of every node: the verdict, the raw scores, and a tournament over the scores.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use crate::columns::Slot;
use crate::filter::Verdict;
use crate::filter::tally::Tally;
use crate::profile::{Plugin, Weights};
use crate::score;
use crate::score::image_locality::ImageWorth;
use crate::tournament::{self, OUT, Tournament};

/// What is known of one node apart from its usage.
#[derive(Clone, Copy, Debug)]
pub struct NodeView {
    /// What the rules about the node say.
    pub verdict: Verdict,
    pub(super) preferred: i32,
    pub(super) unwelcome: u16,
    pub(super) images: u8,
    /// [`AFFINE`] and [`TAINTED`].
    pub(super) flags: u8,
}

impl NodeView {
    /// Whether a node that admits the class has a raw score of any kind.
    #[must_use]
    pub fn is_special(&self) -> bool {
        self.preferred != 0 || self.unwelcome != 0 || self.images != 0
    }
}

/// The node matches the class's node selector and affinity, whatever else is wrong with it.
pub(super) const AFFINE: u8 = 1;
/// The node has a taint that keeps the class out.
pub(super) const TAINTED: u8 = 2;

/// Of a slot without node.
pub const UNSEEN: NodeView = NodeView { verdict: Verdict::ABSENT, preferred: 0, unwelcome: 0, images: 0, flags: 0 };

/// One class's view of all nodes, as of a place in the journal.
#[derive(Debug)]
pub struct Board {
    pub(super) cursor: u64,
    pub(super) views: Vec<NodeView>,
    pub(super) verdicts: Vec<Verdict>,
    pub(super) tally: Tally,
    pub(super) tree: Tournament,
    pub(super) unwelcome: Most<u16>,
    pub(super) preferred: Most<i32>,
    pub(super) images: ImageWorth,
    pub(super) image_stamp: (u64, u32),
}

/// How many feasible nodes have each raw score: tells the greatest, which scores are scaled by.
#[derive(Debug, Default)]
pub(super) struct Most<T: Ord> {
    counts: BTreeMap<T, u32>,
    /// What the keys in the tree are scaled by.
    pub(super) applied: T,
}

impl<T: Ord + Copy + Default> Most<T> {
    pub(super) fn add(&mut self, raw: T) {
        // Most classes have raw scores of 0 throughout; 0 is what an empty map stands for.
        if raw != T::default() {
            *self.counts.entry(raw).or_default() += 1;
        }
    }

    pub(super) fn remove(&mut self, raw: T) {
        if raw == T::default() {
            return;
        }
        let count = self.counts.get_mut(&raw).expect("what is removed was added");
        *count -= 1;
        if *count == 0 {
            self.counts.remove(&raw);
        }
    }

    pub(super) fn greatest(&self) -> T {
        self.counts.last_key_value().map_or(T::default(), |(raw, _)| *raw)
    }
}

impl Board {
    /// The best feasible node and its score.
    #[must_use]
    pub fn winner(&self) -> Option<(Slot, u32)> {
        let (slot, key) = self.tree.winner()?;
        Some((slot as Slot, tournament::score_of(key)))
    }

    /// The verdict on every slot.
    #[must_use]
    pub fn verdicts(&self) -> &[Verdict] {
        &self.verdicts
    }

    /// Whether scores are what they are whichever nodes are feasible: nothing is scaled by the others.
    #[must_use]
    pub fn is_unscaled(&self) -> bool {
        self.unwelcome.applied == 0 && self.preferred.applied == 0
    }

    /// The score of a feasible slot.
    #[must_use]
    pub fn score(&self, slot: Slot) -> u32 {
        tournament::score_of(self.tree.leaf(slot as usize))
    }

    /// The best feasible node that is not taken, where [nothing is scaled](Self::is_unscaled), so that scores stay what
    /// they are. `taken` is asked about few.
    pub fn winner_beside(&mut self, mut taken: impl FnMut(Slot) -> bool) -> Option<(Slot, u32)> {
        let mut aside: SmallVec<[(usize, u64); 4]> = SmallVec::new();
        let found = loop {
            match self.tree.winner() {
                Some((at, key)) if taken(at as Slot) => {
                    self.tree.set(at, OUT);
                    aside.push((at, key));
                }
                found => break found,
            }
        };
        aside.into_iter().for_each(|(at, key)| self.tree.set(at, key));
        found.map(|(at, key)| (at as Slot, tournament::score_of(key)))
    }

    pub(super) fn bytes(&self) -> usize {
        self.tree.bytes() + self.views.len() * size_of::<NodeView>() + self.verdicts.len() * size_of::<Verdict>()
    }
}

/// A board, to look at in decisions that scale and add up anew.
#[derive(Clone, Copy)]
pub struct ClassBoard<'a>(pub(super) &'a Board, pub(super) &'a Weights);

impl<'a> ClassBoard<'a> {
    /// The verdicts without terms about other pods.
    #[must_use]
    pub fn verdicts(&self) -> &'a [Verdict] {
        &self.0.verdicts
    }

    /// The same, counted.
    #[must_use]
    pub fn tally(&self) -> &'a Tally {
        &self.0.tally
    }

    /// Whether the node matches node selector and affinity.
    #[inline]
    #[must_use]
    pub fn is_affine(&self, at: usize) -> bool {
        self.0.views[at].flags & AFFINE != 0
    }

    /// Whether the node's taints keep the class out.
    #[inline]
    #[must_use]
    pub fn is_tainted(&self, at: usize) -> bool {
        self.0.views[at].flags & TAINTED != 0
    }

    /// `PreferNoSchedule` taints of the node that are not tolerated.
    #[inline]
    #[must_use]
    pub fn unwelcome(&self, slot: Slot) -> u16 {
        self.0.views[slot as usize].unwelcome
    }

    /// Weights of the preferred node terms that match.
    #[inline]
    #[must_use]
    pub fn preferred(&self, slot: Slot) -> i32 {
        self.0.views[slot as usize].preferred
    }

    /// The score of a feasible node without the rules that are scaled over all feasible nodes.
    #[inline]
    #[must_use]
    pub fn own_score(&self, slot: Slot) -> u32 {
        let (board, weights) = (self.0, self.1);
        let taints = score::taint_toleration::score(self.unwelcome(slot), board.unwelcome.applied);
        let affinity = score::node_affinity::score(self.preferred(slot), board.preferred.applied);
        let scaled = weights.of(Plugin::TaintToleration) * taints + weights.of(Plugin::NodeAffinity) * affinity;
        board.score(slot) - scaled
    }
}
