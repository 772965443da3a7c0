//! How many nodes there are of each verdict: what a refusal says, without looking at nodes again.

use smallvec::SmallVec;

use super::Verdict;

/// Verdicts and how many nodes have each. Few differ.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    counts: SmallVec<[(Verdict, u32); 6]>,
}

impl Tally {
    /// Of these verdicts.
    #[must_use]
    pub fn of(verdicts: &[Verdict]) -> Self {
        let mut tally = Self::default();
        let mut rest = verdicts;
        // Neighbours tend to agree.
        while let Some(first) = rest.first() {
            let alike = rest.iter().take_while(|verdict| *verdict == first).count();
            tally.add_many(*first, u32::try_from(alike).unwrap_or(u32::MAX));
            rest = &rest[alike..];
        }
        tally
    }

    /// One more node has this verdict.
    pub fn add(&mut self, verdict: Verdict) {
        self.add_many(verdict, 1);
    }

    fn add_many(&mut self, verdict: Verdict, nodes: u32) {
        match self.counts.iter_mut().find(|(known, _)| *known == verdict) {
            Some((_, count)) => *count += nodes,
            None => self.counts.push((verdict, nodes)),
        }
    }

    /// One node less has this verdict.
    ///
    /// # Panics
    /// When none had it.
    pub fn remove(&mut self, verdict: Verdict) {
        let at = self.counts.iter().position(|(known, _)| *known == verdict).expect("what is removed was added");
        self.counts[at].1 -= 1;
        if self.counts[at].1 == 0 {
            self.counts.swap_remove(at);
        }
    }

    /// One node has another verdict now.
    #[inline]
    pub fn replace(&mut self, before: Verdict, after: Verdict) {
        if before != after {
            self.remove(before);
            self.add(after);
        }
    }

    /// The verdicts that turned nodes down, with the nodes of each; slots without node are left out.
    pub fn turned_down(&self) -> impl Iterator<Item = (Verdict, u32)> + '_ {
        self.counts.iter().copied().filter(|(verdict, _)| !verdict.fits() && *verdict != Verdict::ABSENT)
    }

    /// How many nodes were turned down.
    #[must_use]
    pub fn nodes(&self) -> u32 {
        self.turned_down().map(|(_, nodes)| nodes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Rule;

    #[test]
    fn verdicts_come_and_go_and_absent_nodes_do_not_count() {
        let no = Verdict::new(Rule::Taints);
        let mut tally = Tally::of(&[no, no, Verdict::ABSENT, Verdict::FITS, no]);
        assert_eq!(tally.turned_down().collect::<Vec<_>>(), [(no, 3)]);
        tally.replace(no, Verdict::FITS);
        tally.replace(Verdict::ABSENT, Verdict::new(Rule::Ports));
        assert_eq!((tally.nodes(), tally.turned_down().count()), (3, 2));
        tally.remove(Verdict::new(Rule::Ports));
        assert_eq!(tally.turned_down().collect::<Vec<_>>(), [(no, 2)]);
    }
}
