//! VolumeBinding, per node: are the bound volumes reachable, is there a volume for each claim that waits for its first
//! consumer, or can one be made?
//!
//! Compiled once per decision from the claims of a pod ([`storage`](crate::storage)); the nodes are then asked one by
//! one. Volumes bound to labels of nodes (local disks above all) are looked up by the label's value, so a node is
//! answered without walking all volumes of a class.

use ahash::RandomState;
use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::columns::{Columns, Slot};
use crate::intern::{NO_TEXT, TextId, fixed_hasher};
use crate::rows::storage::{ClaimRef, VolumeRow};
use crate::rows::{NodeTerm, Operator, Selector};
use crate::selector::{CompiledTerm, NodeRequirement};

/// The bits of a verdict: which reasons a node has.
const NODE_CONFLICT: u32 = 1;
const BIND_CONFLICT: u32 = 1 << 1;
const NOT_ENOUGH_SPACE: u32 = 1 << 2;
const NO_SUCH_VOLUME: u32 = 1 << 3;

/// Upstream's texts of a verdict's bits.
pub fn texts(mask: u32) -> impl Iterator<Item = String> {
    let all = [
        (NODE_CONFLICT, "node(s) had volume node affinity conflict"),
        (BIND_CONFLICT, "node(s) didn't find available persistent volumes to bind"),
        (NOT_ENOUGH_SPACE, "node(s) did not have enough free storage"),
        (NO_SUCH_VOLUME, "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"),
    ];
    all.into_iter().filter(move |(bit, _)| mask & bit != 0).map(|(_, text)| text.to_owned())
}

/// The nodes that can reach a volume.
#[derive(Debug)]
pub enum Reach {
    /// All.
    Everywhere,
    /// Those that match any of these terms.
    Terms(Vec<CompiledTerm>),
    /// There is no such volume.
    NoVolume,
}

impl Reach {
    /// Compiles a volume's node affinity. Its terms see the labels of nodes only, no fields.
    pub fn new(columns: &mut Columns, terms: Option<&[NodeTerm]>) -> Self {
        let Some(terms) = terms else { return Self::Everywhere };
        let terms = terms.iter().filter(|term| term.fields.is_empty());
        Self::Terms(terms.map(|term| CompiledTerm::new(columns, term)).collect())
    }

    fn holds(&self, columns: &Columns, slot: Slot) -> bool {
        match self {
            Self::Everywhere => true,
            Self::Terms(terms) => terms.iter().any(|term| term.holds(columns, slot)),
            Self::NoVolume => false,
        }
    }
}

/// A volume that a claim may be bound to.
#[derive(Debug)]
struct Candidate {
    volume: Box<str>,
    reach: Reach,
}

/// The volumes that suit a claim, best first.
#[derive(Debug)]
pub struct Candidates {
    /// Meant for this claim by somebody: taken if it can be reached, and then no other will do.
    own: Option<Candidate>,
    rest: Vec<Candidate>,
    /// Those of `rest` that one label decides, by its column and value.
    by_label: HashMap<(usize, TextId), SmallVec<[u32; 2]>, RandomState>,
    columns: SmallVec<[usize; 2]>,
    /// The others.
    anywhere: Vec<u32>,
}

impl Candidates {
    /// Those of `volumes` (in order of preference) that are not `own`.
    pub fn new<'v>(
        columns: &mut Columns,
        own: Option<&VolumeRow>,
        volumes: impl Iterator<Item = &'v VolumeRow>,
    ) -> Self {
        let mut candidate = |volume: &VolumeRow| Candidate {
            volume: volume.name.clone(),
            reach: Reach::new(columns, volume.terms.as_deref()),
        };
        let own = own.map(&mut candidate);
        let mut all = Self {
            own,
            rest: Vec::new(),
            by_label: HashMap::with_hasher(fixed_hasher()),
            columns: SmallVec::new(),
            anywhere: Vec::new(),
        };
        for volume in volumes {
            let at = u32::try_from(all.rest.len()).expect("fewer than 2^32 volumes");
            match volume.terms.as_deref() {
                Some([NodeTerm { labels, fields }])
                    if fields.is_empty() && labels.len() == 1 && labels[0].operator == Operator::In =>
                {
                    let column = columns.label_column(&labels[0].key);
                    if !all.columns.contains(&column) {
                        all.columns.push(column);
                    }
                    for value in &labels[0].values {
                        all.by_label.entry((column, columns.texts.id(value))).or_default().push(at);
                    }
                    all.rest.push(Candidate { volume: volume.name.clone(), reach: Reach::Everywhere });
                }
                terms => {
                    all.anywhere.push(at);
                    all.rest.push(Candidate { volume: volume.name.clone(), reach: Reach::new(columns, terms) });
                }
            }
        }
        all
    }

    /// The best for a node that is not among `taken`.
    fn best(&self, columns: &Columns, slot: Slot, taken: &[&str]) -> Option<&str> {
        let free = |c: &&Candidate| !taken.contains(&&*c.volume);
        if let Some(own) = self.own.as_ref().filter(free) {
            return own.reach.holds(columns, slot).then_some(&*own.volume);
        }
        let local = self.columns.iter().filter_map(|column| {
            let value = columns.label(*column, slot);
            let here = self.by_label.get(&(*column, value)).filter(|_| value != NO_TEXT)?;
            here.iter().copied().find(|at| free(&&self.rest[*at as usize]))
        });
        let local = local.min();
        let sooner = self.anywhere.iter().copied().take_while(|at| local.is_none_or(|local| *at < local));
        let mut sooner = sooner.map(|at| (at, &self.rest[at as usize]));
        let found = sooner.find(|(_, c)| free(c) && c.reach.holds(columns, slot)).map(|(at, _)| at).or(local)?;
        Some(&self.rest[found as usize].volume)
    }
}

/// Where a volume can be made for a claim.
#[derive(Debug, Default)]
pub struct Provision {
    /// Whether the class has somebody who makes volumes.
    pub possible: bool,
    /// Any of these, each all of its requirements; empty for everywhere.
    topologies: Vec<Vec<NodeRequirement>>,
    /// Where there is room for so large a volume; `None` where nobody says.
    room: Option<Vec<Vec<NodeRequirement>>>,
}

impl Provision {
    /// Compiles the topologies of a class and of the capacities that suffice.
    pub fn new<'s>(
        columns: &mut Columns,
        topologies: &[Selector],
        room: Option<impl Iterator<Item = &'s Selector>>,
    ) -> Self {
        let mut all = |s: &Selector| -> Vec<NodeRequirement> {
            s.requirements.iter().map(|r| NodeRequirement::on_label(columns, r)).collect()
        };
        let topologies = topologies.iter().map(&mut all).collect();
        Self { possible: true, topologies, room: room.map(|room| room.map(all).collect()) }
    }

    fn is_allowed(&self, columns: &Columns, slot: Slot) -> bool {
        // A term without requirements matches no node.
        let holds = |term: &Vec<NodeRequirement>| !term.is_empty() && term.iter().all(|r| r.holds(columns, slot));
        self.possible && (self.topologies.is_empty() || self.topologies.iter().any(holds))
    }

    fn has_room(&self, columns: &Columns, slot: Slot) -> bool {
        let holds = |term: &Vec<NodeRequirement>| term.iter().all(|r| r.holds(columns, slot));
        self.room.as_ref().is_none_or(|room| room.iter().any(holds))
    }
}

/// A claim that waits for its first consumer.
#[derive(Debug)]
pub struct OpenClaim {
    /// Which.
    pub claim: ClaimRef,
    /// The node it is promised to already, as the number of its name.
    pub node: Option<TextId>,
    /// The volumes that suit it.
    pub candidates: Candidates,
    /// Or where one can be made.
    pub provision: Provision,
}

/// The claims of one pod.
#[derive(Debug, Default)]
pub struct Claims {
    /// Where the bound volumes can be reached, in the order of the pod's volumes.
    pub bound: Vec<Reach>,
    /// Those to bind, the smallest first.
    pub open: Vec<OpenClaim>,
}

/// What is to be bound and made for a pod on one node; indexes into [`Claims::open`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Choice<'a> {
    /// Claims and their volumes.
    pub bind: SmallVec<[(usize, &'a str); 2]>,
    /// Claims whose volumes are to be made.
    pub provision: SmallVec<[usize; 2]>,
}

impl Claims {
    /// The reasons against a node; 0 for none.
    #[must_use]
    pub fn verdict(&self, columns: &Columns, slot: Slot) -> u32 {
        let mut mask = 0;
        // The first that fails says why.
        for reach in &self.bound {
            if !reach.holds(columns, slot) {
                mask |= if matches!(reach, Reach::NoVolume) { NO_SUCH_VOLUME } else { NODE_CONFLICT };
                break;
            }
        }
        mask | self.choose(columns, slot).err().unwrap_or(0)
    }

    /// What to do on a node for the claims to bind.
    ///
    /// # Errors
    /// The reason why it cannot be done.
    pub fn choose(&self, columns: &Columns, slot: Slot) -> Result<Choice<'_>, u32> {
        let name = columns.name_id(slot);
        if self.open.iter().any(|claim| claim.node.is_some_and(|node| node != name)) {
            return Err(BIND_CONFLICT);
        }
        let mut choice = Choice::default();
        let mut taken: SmallVec<[&str; 2]> = SmallVec::new();
        let promised = (0..self.open.len()).filter(|at| self.open[*at].node.is_some());
        choice.provision.extend(promised);
        for (at, claim) in self.open.iter().enumerate().filter(|(_, claim)| claim.node.is_none()) {
            match claim.candidates.best(columns, slot, &taken) {
                Some(volume) => {
                    taken.push(volume);
                    choice.bind.push((at, volume));
                }
                None => choice.provision.push(at),
            }
        }
        for at in &choice.provision {
            let provision = &self.open[*at].provision;
            if !provision.is_allowed(columns, slot) {
                return Err(BIND_CONFLICT);
            }
            if !provision.has_room(columns, slot) {
                return Err(NOT_ENOUGH_SPACE);
            }
        }
        Ok(choice)
    }
}
