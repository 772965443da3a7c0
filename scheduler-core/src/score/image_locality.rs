//! ImageLocality: the more bytes of the pod's images are on the node already, the better; an image that few nodes have
//! counts less, lest they be overrun.

use super::MAX;
use crate::columns::Columns;
use crate::rows::NodeRow;

const MIB: i64 = 1 << 20;
const LEAST: i64 = 23 * MIB;
const MOST_PER_IMAGE: i64 = 1000 * MIB;

/// What each image of a class is worth on a node that has it, as of one image epoch and node count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageWorth {
    /// Image name and worth, for the images that some node has.
    worth: Vec<(Box<str>, i64)>,
    images: usize,
}

impl ImageWorth {
    /// The worth of a class's images now.
    #[must_use]
    pub fn new(columns: &Columns, images: &[Box<str>]) -> Self {
        let known = images.iter().filter_map(|name| {
            let (size, nodes) = columns.image(name)?;
            Some((name.clone(), scaled(size, nodes, columns.count())))
        });
        Self { worth: known.collect(), images: images.len() }
    }

    /// Whether no node has any of the images.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.worth.is_empty()
    }

    /// The score of a node.
    #[must_use]
    pub fn score(&self, node: &NodeRow) -> u32 {
        if self.worth.is_empty() {
            return 0;
        }
        let has = |name: &str| node.images.iter().any(|i| i.names.iter().any(|n| **n == *name));
        let sum = self.worth.iter().filter(|(name, _)| has(name)).map(|(_, worth)| worth).sum();
        score(sum, self.images)
    }
}

/// An image's size, scaled by the share of nodes that have it.
#[must_use]
pub fn scaled(size: i64, nodes: u32, all: u32) -> i64 {
    let spread = f64::from(nodes) / f64::from(all);
    (size as f64 * spread) as i64
}

/// The score of a sum of worths, for a pod of so many images.
#[must_use]
pub fn score(sum: i64, images: usize) -> u32 {
    let most = MOST_PER_IMAGE * i64::try_from(images).unwrap_or(1).max(1);
    let sum = sum.clamp(LEAST, most);
    u32::try_from(MAX * (sum - LEAST) / (most - LEAST)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_runs_between_the_thresholds() {
        assert_eq!(score(0, 1), 0);
        assert_eq!(score(23 * MIB, 1), 0);
        assert_eq!(score(1000 * MIB, 1), 100);
        assert_eq!(score(5000 * MIB, 2), 100);
        assert_eq!(score(1000 * MIB, 2), 100 * (1000 - 23) as u32 / (2000 - 23));
        assert_eq!(scaled(100, 1, 4), 25);
    }
}
