//! Semantic versions (semver.org 2.0.0), as `semver()` of Kubernetes' CEL library and version attributes of devices have them.

use std::cmp::Ordering;
use std::sync::Arc;

/// A version. Order and equality are of precedence: build metadata does not count.
#[derive(Clone, Debug)]
pub struct Version {
    core: [u64; 3],
    /// The parts of the pre-release, in order.
    early: Arc<[Box<str>]>,
}

impl Version {
    /// Reads a version; `None` if the text is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
        if build.is_some_and(|build| !build.split('.').all(word)) {
            return None;
        }
        let (core, early) = text.split_once('-').map_or((text, None), |(core, early)| (core, Some(early)));
        let mut numbers = core.split('.').map(number);
        let core = [numbers.next()??, numbers.next()??, numbers.next()??];
        if numbers.next().is_some() {
            return None;
        }
        let early: Vec<Box<str>> = early.into_iter().flat_map(|early| early.split('.')).map(Box::from).collect();
        let fine = |part: &str| word(part) && (!part.bytes().all(|b| b.is_ascii_digit()) || number(part).is_some());
        early.iter().all(|part| fine(part)).then(|| Self { core, early: early.into() })
    }

    /// The same, forgiving (`semver(text, true)`): a leading `v`, missing minor and patch, leading zeros.
    #[must_use]
    pub fn parse_normalized(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
        let end = text.find(['-', '+']).unwrap_or(text.len());
        let (core, rest) = text.split_at(end);
        let mut parts: Vec<&str> = core.split('.').collect();
        if parts.len() > 3 {
            return None;
        }
        parts.resize(3, "0");
        let trimmed = |part: &str| {
            let short = part.trim_start_matches('0');
            if short.is_empty() && !part.is_empty() { "0".to_owned() } else { short.to_owned() }
        };
        let core: Vec<String> = parts.into_iter().map(trimmed).collect();
        Self::parse(&format!("{}{rest}", core.join(".")))
    }

    /// `major`, `minor` or `patch`: 0, 1 or 2.
    #[must_use]
    pub fn part(&self, at: usize) -> u64 {
        self.core[at]
    }
}

/// A number without leading zeros.
fn number(part: &str) -> Option<u64> {
    let fine = part.bytes().all(|b| b.is_ascii_digit()) && (part.len() == 1 || !part.starts_with('0'));
    part.parse().ok().filter(|_| fine)
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version {}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.core.cmp(&other.core).then_with(|| match (self.early.is_empty(), other.early.is_empty()) {
            (true, true) => Ordering::Equal,
            // A release comes after all that led to it.
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => {
                let parts = self.early.iter().zip(other.early.iter());
                let differing = parts.map(|(a, b)| compare_parts(a, b)).find(|order| order.is_ne());
                differing.unwrap_or_else(|| self.early.len().cmp(&other.early.len()))
            }
        })
    }
}

/// Numbers by size and before words, words by their bytes.
fn compare_parts(a: &str, b: &str) -> Ordering {
    match (number(a), number(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precedence_is_that_of_the_standard() {
        let order = [
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "1.0.1",
            "1.2.0",
            "10.0.0",
        ];
        for pair in order.windows(2) {
            let (a, b) = (Version::parse(pair[0]).expect("fine"), Version::parse(pair[1]).expect("fine"));
            assert!(a < b, "{pair:?}");
        }
        assert_eq!(Version::parse("1.0.0+a"), Version::parse("1.0.0+b"));
        for bad in ["1", "1.0", "01.0.0", "1.0.0-01", "1.0.0-", "v1.0.0", "1.0.0.0", "1.0.0+", "", "1.-1.0"] {
            assert_eq!(Version::parse(bad), None, "{bad}");
        }
        for (loose, strict) in [("v1", "1.0.0"), ("1.02", "1.2.0"), ("01.1.0-rc.1", "1.1.0-rc.1")] {
            assert_eq!(Version::parse_normalized(loose), Version::parse(strict), "{loose}");
        }
    }
}
