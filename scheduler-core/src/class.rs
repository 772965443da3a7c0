//! Equal pods are scanned once. A class is all pods with equal [`Demand`]s; its board holds, for every node, the verdict
//! and the score, and a tournament over the scores. A placement changes one node; before the next decision the class
//! repairs just the nodes named in the columns' journal: O(log nodes), whatever the size of the cluster.
//!
//! Boards are memory that can be given up: [`Classes`] keeps the recently used ones within a budget, and a class
//! without one scans again. Written and read by `cycle` alone.

mod board;
mod table;

use std::sync::Arc;

use crate::columns::{Change, Columns, Load, Slot};
use crate::filter::tally::Tally;
use crate::filter::{self, NodeRules, Verdict, resources_fit};
use crate::neighbours::{Neighbours, Passport};
use crate::outlook::{Outlook, Outlooks};
use crate::preempt::Sitters;
use crate::preempt::prices::Prices;
use crate::profile::{Plugin, Profile, Weights};
use crate::rows::Demand;
use crate::score;
use crate::score::allocation::{Balance, Fit};
use crate::score::image_locality::ImageWorth;
use crate::score::node_affinity::Preferred;
use crate::score::sweep::{self, Terms};
use crate::tournament::{self, OUT, Tournament};
use crate::wide::chart::{Best, Chart};
use crate::wide::{Towards, WideRules};

pub use board::{Board, ClassBoard, NodeView, UNSEEN};
pub use table::{Classes, Legacy};

use board::{AFFINE, Most, TAINTED};

/// The number of a class.
pub type ClassId = u32;

/// Pods with equal demands.
#[derive(Debug)]
pub struct Class {
    /// What its pods want.
    pub demand: Arc<Demand>,
    /// What each takes from its node.
    pub load: Load,
    /// What it asks of a node, where its profile does not ask for all that it takes.
    asks: Option<Box<Load>>,
    /// How its pods are scheduled.
    pub profile: Arc<Profile>,
    /// The extenders whose business its pods are, a bit each.
    pub interests: u32,
    rules: NodeRules,
    preferred: Preferred,
    weights: Weights,
    fit: Fit,
    balance: Balance,
    /// Whether pods, CPU and memory are all it asks of a node, so that the vector scan decides alone.
    plain: bool,
    /// Its terms about other pods, if it has any; set by `cycle`, which knows the other pods.
    pub wide: Option<Box<WideRules>>,
    /// The class of the same terms that select nobody, whose chart serves while it has few pods; set by `cycle`.
    pub ground: Option<ClassId>,
    pods: u32,
    used_at: u64,
    board: Option<Box<Board>>,
    /// How many boards it has had.
    boards: u64,
    /// Its nodes as terms about other pods see them, for the bonds that others held lately; the last used first.
    charts: Vec<Chart>,
    /// What freeing each node would cost its pods, for the priorities that lately asked; the last used first.
    prices: Vec<Prices>,
    /// Whether a decision was made without a board.
    glanced: bool,
    /// Decisions made without a chart since there was one.
    passes: u32,
    /// How often it looked at a node.
    looks: u64,
}

/// Charts of one class: pods without terms of their own may differ in others' terms towards them.
const CHARTS_MAX: usize = 4;
/// So many nodes are swept in the time that it takes to repair one.
const SWEPT_PER_REPAIR: u64 = 24;
/// Fewer repairs are always made.
const REPAIRS_MIN: u64 = 32;
/// Prices of one class.
const PRICES_MAX: usize = 2;

impl Class {
    fn new(columns: &mut Columns, demand: Arc<Demand>, profile: &Arc<Profile>) -> Self {
        let load = Load {
            cpu: demand.requests.cpu,
            memory: demand.requests.memory,
            ephemeral: demand.requests.ephemeral,
            scored_cpu: demand.scored_cpu,
            scored_memory: demand.scored_memory,
            extended: demand.requests.extended.iter().map(|(n, a)| (columns.extended_id(n), *a)).collect(),
            backed: demand.backed.iter().map(|name| columns.extended_id(name)).collect(),
            ports: demand.host_ports.clone().into(),
            unasked: false,
        };
        let asks = asks(&load, &demand, profile).map(Box::new);
        Self {
            rules: NodeRules::new(columns, &demand, profile),
            preferred: Preferred::new(columns, &demand, profile),
            weights: profile.weights,
            fit: Fit::new(columns, &profile.fit, &demand),
            balance: Balance::new(columns, &profile.balanced, &demand),
            wide: None,
            ground: None,
            plain: asks.is_none() && load.ephemeral <= 0 && load.extended.is_empty() && load.ports.is_empty(),
            asks,
            profile: Arc::clone(profile),
            interests: 0,
            load,
            demand,
            pods: 0,
            used_at: 0,
            board: None,
            boards: 0,
            charts: Vec::new(),
            prices: Vec::new(),
            glanced: false,
            passes: 0,
            looks: 0,
        }
    }

    /// The verdict on one node, straight from the columns.
    #[must_use]
    pub fn verdict(&self, columns: &Columns, slot: Slot) -> Verdict {
        let verdict = self.rules.verdict(columns, slot);
        if verdict.fits() { filter::usage_verdict(columns, slot, self.asks()) } else { verdict }
    }

    /// The verdict on one node itself, whatever is on it. The class must have [learned](Self::learn) of it.
    #[must_use]
    pub fn node_verdict(&self, columns: &Columns, slot: Slot) -> Verdict {
        self.rules.verdict(columns, slot)
    }

    /// Whether a node's pods count for a spread constraint of such policies.
    #[must_use]
    pub fn includes(&self, columns: &Columns, slot: Slot, ignores_affinity: bool, honors_taints: bool) -> bool {
        let flags = self.flags(columns, slot);
        (ignores_affinity || flags & AFFINE != 0) && (!honors_taints || flags & TAINTED == 0)
    }

    /// What it asks of a node: what it takes, but for what its profile leaves out.
    #[inline]
    #[must_use]
    pub fn asks(&self) -> &Load {
        self.asks.as_deref().unwrap_or(&self.load)
    }

    /// What a rule's score counts for it.
    #[inline]
    #[must_use]
    pub fn weight(&self, plugin: Plugin) -> u32 {
        self.weights.of(plugin)
    }

    /// Answers taint lists that are new. Must precede [`verdict`](Self::verdict) after node changes.
    pub fn learn(&mut self, columns: &Columns) {
        self.rules.taints.learn(columns.taint_sets());
    }

    /// Whether its node terms contradict each other, so that no node can ever match; never where its profile does not ask
    /// for them.
    #[must_use]
    pub fn conflicts(&self) -> bool {
        self.profile.filters.has(Plugin::NodeAffinity) && self.rules.affinity.conflicts()
    }

    /// Its board, brought up to date: scanned anew, or repaired where the journal says so.
    fn board(&mut self, columns: &Columns, outlooks: &mut Outlooks) -> &Board {
        self.learn(columns);
        let mut board = self.board.take();
        let behind = board.as_deref().map_or(0, |board| columns.journal.head() - board.cursor);
        let repaired = board.as_deref_mut().is_some_and(|board| self.repair(board, columns));
        let board = match board {
            Some(board) if repaired => {
                self.looks += behind;
                board
            }
            _ => {
                self.boards += 1;
                self.looks += columns.slots() as u64;
                Box::new(self.scan(columns, outlooks.of(self, columns)))
            }
        };
        self.board.insert(board)
    }

    /// Tells its board from those it had before.
    #[must_use]
    pub fn board_serial(&self) -> u64 {
        self.boards
    }

    /// The best node for a pod, by a chart. The outer `None` says that there is none: a few decisions must have been made
    /// by a pass over the nodes first, because a chart takes as long as several of them. The board must be up to date.
    fn by_chart(
        &mut self,
        columns: &Columns,
        neighbours: &Neighbours,
        towards: &Towards,
        passes: u32,
    ) -> Option<Option<Best>> {
        let known = self.charts.iter().position(|chart| chart.is_for(towards));
        let mut known = known.map(|at| self.charts.remove(at));
        match known.as_mut().map(|chart| chart.repair(self, columns, neighbours)) {
            Some(Some(looks)) => self.looks += looks,
            Some(None) => (known, self.passes) = (None, 0),
            None => {}
        }
        if known.is_none() {
            self.looks += columns.slots() as u64;
            if self.passes < passes {
                self.passes += 1;
                return None;
            }
            known = Some(Chart::new(self, columns, neighbours, towards));
        }
        let mut chart = known?;
        let itself = || self.matches_itself(neighbours);
        let best = chart.best(self, itself);
        self.charts.insert(0, chart);
        if self.charts.len() > CHARTS_MAX {
            self.charts.pop();
            self.passes = 0;
        }
        Some(best)
    }

    /// Has a chart for pods towards whom nobody holds a bond, up to date; for others to stand on.
    fn keep_chart(&mut self, columns: &Columns, neighbours: &Neighbours) {
        let mut known = self.charts.pop();
        match known.as_mut().map(|chart| chart.repair(self, columns, neighbours)) {
            Some(Some(looks)) => self.looks += looks,
            Some(None) => known = None,
            None => {}
        }
        let chart = known.unwrap_or_else(|| {
            self.looks += columns.slots() as u64;
            Chart::new(self, columns, neighbours, &Towards::default())
        });
        self.charts.push(chart);
    }

    /// What freeing each node would cost its pods of a priority. The board must be up to date.
    fn prices(&mut self, priority: i32, columns: &Columns, sitters: Sitters<'_>) -> &mut Prices {
        let known = self.prices.iter().position(|prices| prices.priority == priority);
        let mut known = known.map(|at| self.prices.remove(at));
        match known.as_mut().map(|prices| prices.repair(self, columns, sitters)) {
            Some(Some(looks)) => self.looks += looks,
            Some(None) => known = None,
            None => {}
        }
        let prices = known.unwrap_or_else(|| {
            self.looks += columns.slots() as u64;
            Prices::new(self, priority, columns, sitters)
        });
        self.prices.truncate(PRICES_MAX - 1);
        self.prices.insert(0, prices);
        &mut self.prices[0]
    }

    /// Whether its pods satisfy their own required affinity.
    #[must_use]
    pub fn matches_itself(&self, neighbours: &Neighbours) -> bool {
        let (Some(own), Some(pods)) = (&self.demand.own, &self.demand.pods) else { return false };
        let passport = Passport { namespace: &own.namespace, labels: &own.labels, leaving: false };
        pods.required.iter().all(|term| neighbours.selects(term, passport))
    }

    /// What is kept for it, in bytes.
    fn bytes(&self) -> usize {
        self.board.as_ref().map_or(0, |board| board.bytes())
            + self.charts.iter().map(Chart::bytes).sum::<usize>()
            + self.prices.iter().map(Prices::bytes).sum::<usize>()
    }

    /// A board from scratch.
    fn scan(&self, columns: &Columns, outlook: &Outlook) -> Board {
        let slots = columns.slots();
        let mut board = Board {
            cursor: columns.journal.head(),
            views: Vec::with_capacity(slots),
            verdicts: Vec::with_capacity(slots),
            tally: Tally::default(),
            tree: Tournament::default(),
            unwelcome: Most::default(),
            preferred: Most::default(),
            images: ImageWorth::new(columns, &self.demand.images),
            image_stamp: (columns.image_epoch(), columns.count()),
        };
        let mut roomy = vec![0; slots];
        if self.plain {
            resources_fit::scan(columns, &self.load, &mut roomy);
        }
        board.views.extend_from_slice(outlook.views());
        for ((slot, roomy), view) in (0..).zip(roomy).zip(outlook.views()) {
            let verdict = if !view.verdict.fits() {
                view.verdict
            } else if roomy != 0 {
                Verdict::FITS
            } else {
                filter::usage_verdict(columns, slot, self.asks())
            };
            if verdict.fits() {
                board.unwelcome.add(view.unwelcome);
                board.preferred.add(view.preferred);
            }
            board.verdicts.push(verdict);
        }
        board.tally = Tally::of(&board.verdicts);
        match self.terms(columns, outlook) {
            Some(terms) => board.tree = Tournament::new(sweep::keys(columns, &terms)),
            None => self.rekey(&mut board, columns),
        }
        board
    }

    /// What a [sweep](crate::score::sweep) needs to know, if a sweep can say how good each node is.
    fn terms<'a>(&'a self, columns: &Columns, outlook: &'a Outlook) -> Option<Terms<'a>> {
        let balance = match self.balance {
            Balance::Silent => 0,
            Balance::Standard => self.weight(Plugin::NodeResourcesBalancedAllocation),
            Balance::General(_) => return None,
        };
        let sound = self.plain && columns.may_be_swept() && outlook.is_flat() && matches!(self.fit, Fit::Standard);
        sound.then(|| Terms {
            load: &self.load,
            admits: outlook.admits(),
            fit: self.weight(Plugin::NodeResourcesFit),
            balance,
            base: self.weight(Plugin::TaintToleration) * score::taint_toleration::score(0, 0)
                + self.weight(Plugin::NodeAffinity) * score::node_affinity::score(0, 0),
        })
    }

    /// The best node by a sweep over all of them, and no board kept: for a class that is new, and for one that so much
    /// has changed for since its board was made that repairing it takes longer. The outer `None` where a board is called
    /// for.
    fn glance(&mut self, columns: &Columns, outlooks: &mut Outlooks) -> Option<(Slot, u32)> {
        let behind = match &self.board {
            Some(board) => {
                let worth_a_sweep = (columns.slots() as u64 / SWEPT_PER_REPAIR).max(REPAIRS_MIN);
                columns.journal.head() - board.cursor > worth_a_sweep
            }
            None => !std::mem::replace(&mut self.glanced, true),
        };
        if !behind || !self.plain {
            return None;
        }
        self.learn(columns);
        let terms = self.terms(columns, outlooks.of(self, columns))?;
        let winner = sweep::winner(columns, &terms);
        self.looks += columns.slots() as u64;
        winner.map(|(at, score)| (at as Slot, score))
    }

    /// Brings a board up to date; `false` when it must be scanned anew.
    fn repair(&self, board: &mut Board, columns: &Columns) -> bool {
        let stamp = (columns.image_epoch(), columns.count());
        if board.image_stamp != stamp {
            if !self.demand.images.is_empty() {
                let worth = ImageWorth::new(columns, &self.demand.images);
                if worth != board.images {
                    return false;
                }
            }
            board.image_stamp = stamp;
        }
        let Some(changes) = columns.journal.since(board.cursor) else { return false };
        if columns.slots() > board.views.len() {
            (board.verdicts.len()..columns.slots()).for_each(|_| board.tally.add(Verdict::ABSENT));
            board.views.resize(columns.slots(), UNSEEN);
            board.verdicts.resize(columns.slots(), Verdict::ABSENT);
        }
        for (slot, change) in changes {
            self.resettle(board, columns, slot, change);
        }
        board.cursor = columns.journal.head();
        if board.unwelcome.greatest() != board.unwelcome.applied
            || board.preferred.greatest() != board.preferred.applied
        {
            self.rekey(board, columns);
        }
        true
    }

    /// One node anew.
    fn resettle(&self, board: &mut Board, columns: &Columns, slot: Slot, change: Change) {
        let at = slot as usize;
        let before = board.views[at];
        if board.verdicts[at].fits() {
            board.unwelcome.remove(before.unwelcome);
            board.preferred.remove(before.preferred);
        }
        let view = match change {
            Change::Usage => before,
            Change::Node => self.view(columns, slot, &board.images),
        };
        let verdict =
            if view.verdict.fits() { filter::usage_verdict(columns, slot, self.asks()) } else { view.verdict };
        if verdict.fits() {
            board.unwelcome.add(view.unwelcome);
            board.preferred.add(view.preferred);
        }
        board.views[at] = view;
        board.tally.replace(board.verdicts[at], verdict);
        board.verdicts[at] = verdict;
        let key = self.key(board, columns, at);
        board.tree.set(at, key);
    }

    /// What it thinks of one node. It must have [learned](Self::learn) of it.
    #[must_use]
    pub fn view(&self, columns: &Columns, slot: Slot, images: &ImageWorth) -> NodeView {
        let verdict = self.rules.verdict(columns, slot);
        let flags = self.flags(columns, slot);
        if !verdict.fits() {
            return NodeView { verdict, flags, ..UNSEEN };
        }
        let images = match columns.row(slot) {
            Some(row) if !images.is_nothing() => images.score(row),
            _ => 0,
        };
        NodeView {
            verdict,
            preferred: if self.preferred.is_empty() { 0 } else { self.preferred.raw(columns, slot) },
            unwelcome: self.rules.taints.unwelcome(columns.taint_set[slot as usize]),
            images: images as u8,
            flags,
        }
    }

    fn flags(&self, columns: &Columns, slot: Slot) -> u8 {
        let affine = self.rules.affinity.matches(columns, slot);
        let tainted = self.rules.taints.keeps_out(columns.taint_set[slot as usize]);
        (if affine { AFFINE } else { 0 }) | (if tainted { TAINTED } else { 0 })
    }

    /// Its board as [`Classes::board`] left it.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    pub fn last_board(&self) -> ClassBoard<'_> {
        ClassBoard(self.board.as_ref().expect("the caller asked for the board just before"), &self.weights)
    }

    /// Whether the nodes must be looked at for each of its pods.
    #[must_use]
    pub fn is_wide(&self) -> bool {
        self.wide.as_ref().is_some_and(|rules| rules.decides())
    }

    /// All keys anew: after a scan, or when what raw scores are scaled by has changed.
    fn rekey(&self, board: &mut Board, columns: &Columns) {
        board.unwelcome.applied = board.unwelcome.greatest();
        board.preferred.applied = board.preferred.greatest();
        let keys = (0..board.views.len()).map(|at| self.key(board, columns, at)).collect();
        board.tree = Tournament::new(keys);
    }

    #[inline]
    fn key(&self, board: &Board, columns: &Columns, at: usize) -> u64 {
        if board.verdicts[at].fits() {
            tournament::key(self.score(board, columns, at), columns.standing(at))
        } else {
            OUT
        }
    }

    /// The score of a feasible node: the rules that do not look at other pods.
    #[inline]
    fn score(&self, board: &Board, columns: &Columns, at: usize) -> u32 {
        let view = &board.views[at];
        let weigh = |plugin| self.weights.of(plugin);
        weigh(Plugin::TaintToleration) * score::taint_toleration::score(view.unwelcome, board.unwelcome.applied)
            + weigh(Plugin::NodeAffinity) * score::node_affinity::score(view.preferred, board.preferred.applied)
            + weigh(Plugin::ImageLocality) * u32::from(view.images)
            + weigh(Plugin::NodeResourcesFit) * self.fit.score(columns, at, &self.load)
            + weigh(Plugin::NodeResourcesBalancedAllocation) * self.balance.score(columns, at, &self.load)
    }

    /// What each rule about the node gives it, where the worst feasible node has `worst` taints that are not tolerated and
    /// the dearest `dearest` of preferred terms: for those who ask why.
    #[must_use]
    pub fn scores(&self, columns: &Columns, slot: Slot, worst: u16, dearest: i32) -> [(Plugin, u32); 5] {
        let (at, board) = (slot as usize, self.last_board());
        [
            (Plugin::TaintToleration, score::taint_toleration::score(board.unwelcome(slot), worst)),
            (Plugin::NodeAffinity, score::node_affinity::score(board.preferred(slot), dearest)),
            (Plugin::ImageLocality, board.0.views[at].images.into()),
            (Plugin::NodeResourcesFit, self.fit.score(columns, at, &self.load)),
            (Plugin::NodeResourcesBalancedAllocation, self.balance.score(columns, at, &self.load)),
        ]
    }

    /// How many more of its pods a node could take, by the amounts alone; at least 1 for a feasible node.
    #[must_use]
    pub fn room(&self, columns: &Columns, slot: Slot) -> u32 {
        let (at, asks) = (slot as usize, self.asks());
        if asks.unasked {
            return u32::MAX;
        }
        let mut room = columns.pods.allocatable[at] - columns.pods.used[at];
        for (column, amount) in [(&columns.cpu, asks.cpu), (&columns.memory, asks.memory)] {
            if amount > 0 {
                room = room.min((column.allocatable[at] - column.used[at]) / amount);
            }
        }
        u32::try_from(room.max(1)).unwrap_or(u32::MAX)
    }
}

/// What a class asks of a node, if its profile does not ask for all that it takes.
fn asks(load: &Load, demand: &Demand, profile: &Profile) -> Option<Load> {
    let (amounts, ports) = (profile.filters.has(Plugin::NodeResourcesFit), profile.filters.has(Plugin::NodePorts));
    let mut asks = load.clone();
    if !ports {
        asks.ports = Box::default();
    }
    asks.unasked = !amounts;
    // Left in their places, which the verdict's bits go by, but asked for nothing.
    for ((name, _), (_, amount)) in demand.requests.extended.iter().zip(&mut asks.extended) {
        if profile.ignores(name) {
            *amount = 0;
        }
    }
    let same = amounts && (ports || load.ports.is_empty()) && asks.extended == load.extended;
    (!same).then_some(asks)
}
