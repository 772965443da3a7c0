//! All classes: who belongs to which, and what may be kept for them within the budget.

use std::sync::Arc;

use ahash::RandomState;
use hashbrown::HashMap;

use super::{Board, Class, ClassId};
use crate::columns::{Columns, Slot};
use crate::cycle::consult::Interest;
use crate::intern::fixed_hasher;
use crate::neighbours::Neighbours;
use crate::outlook::Outlooks;
use crate::preempt::Sitters;
use crate::preempt::prices::Prices;
use crate::profile::Profile;
use crate::rows::Demand;
use crate::wide::chart::Best;
use crate::wide::{Towards, WideRules};

/// All classes that pods belong to, and some that pods belonged to lately.
#[derive(Debug)]
pub struct Classes {
    profiles: Box<[Arc<Profile>]>,
    interests: Box<[Interest]>,
    ids: HashMap<Arc<Demand>, ClassId, RandomState>,
    classes: Vec<Option<Class>>,
    free: Vec<ClassId>,
    idle: usize,
    clock: u64,
    board_bytes: usize,
    board_bytes_max: usize,
    looks: u64,
    outlooks: Outlooks,
}

/// What a class referred to.
#[derive(Debug)]
pub struct Legacy {
    /// Its terms about other pods.
    pub terms: Option<Box<WideRules>>,
    /// The class that it stood on.
    pub ground: Option<ClassId>,
}

/// How many classes without pods are kept for the next pod of their kind.
const IDLE_MAX: usize = 1024;

impl Classes {
    /// None yet. Boards are kept within `board_bytes_max`, but for the one in use.
    #[must_use]
    pub fn new(profiles: &[Arc<Profile>], interests: &[Interest], board_bytes_max: usize) -> Self {
        Self {
            profiles: profiles.into(),
            interests: interests.into(),
            ids: HashMap::with_hasher(fixed_hasher()),
            classes: Vec::new(),
            free: Vec::new(),
            idle: 0,
            clock: 0,
            board_bytes: 0,
            board_bytes_max,
            looks: 0,
            outlooks: Outlooks::default(),
        }
    }

    /// Boards may take so many bytes from now on.
    pub fn allow(&mut self, board_bytes_max: usize) {
        self.board_bytes_max = board_bytes_max;
    }

    /// The class of a demand, joined by one more pod.
    ///
    /// # Panics
    /// When its profile is none of those given at the start.
    pub fn join(&mut self, columns: &mut Columns, demand: Demand) -> ClassId {
        if let Some(id) = self.ids.get(&demand) {
            let class = self.classes[*id as usize].as_mut().expect("an id in the table has its class");
            self.idle -= usize::from(class.pods == 0);
            class.pods += 1;
            return *id;
        }
        let demand = Arc::new(demand);
        let mut class = Class::new(columns, Arc::clone(&demand), &self.profiles[usize::from(demand.profile)]);
        class.pods = 1;
        let interested = (0u32..).zip(&self.interests).filter(|(_, interest)| interest.has(&demand));
        class.interests = interested.map(|(at, _)| 1 << at).sum();
        let id = match self.free.pop() {
            Some(id) => {
                self.classes[id as usize] = Some(class);
                id
            }
            None => {
                self.classes.push(Some(class));
                ClassId::try_from(self.classes.len() - 1).expect("fewer than 2^32 classes")
            }
        };
        self.ids.insert(demand, id);
        id
    }

    /// Takes one pod out of a class. Gives back what classes referred to that were forgotten over it, to be released.
    pub fn leave(&mut self, id: ClassId) -> Vec<Legacy> {
        let class = self.get_mut(id);
        class.pods -= 1;
        if class.pods == 0 {
            self.idle += 1;
            if self.idle > IDLE_MAX {
                return self.drop_idle();
            }
        }
        Vec::new()
    }

    /// Forgets the idle classes that were not used for longest: half of them, so that this is rare.
    fn drop_idle(&mut self) -> Vec<Legacy> {
        let mut legacies = Vec::new();
        let mut idle: Vec<(u64, ClassId)> = (0..)
            .zip(&self.classes)
            .filter_map(|(id, class)| class.as_ref().filter(|c| c.pods == 0).map(|c| (c.used_at, id)))
            .collect();
        idle.sort_unstable();
        for (_, id) in idle.into_iter().take(IDLE_MAX / 2) {
            if let Some(class) = self.classes[id as usize].take() {
                self.ids.remove(&class.demand);
                self.free.push(id);
                self.idle -= 1;
                self.board_bytes -= class.bytes();
                legacies.push(Legacy { terms: class.wide, ground: class.ground });
            }
        }
        legacies
    }

    /// A class.
    ///
    /// # Panics
    /// For an id that no pod belongs to.
    #[must_use]
    pub fn get(&self, id: ClassId) -> &Class {
        self.classes[id as usize].as_ref().expect("a class with pods is kept")
    }

    /// A class, to use.
    ///
    /// # Panics
    /// For an id that no pod belongs to.
    pub fn get_mut(&mut self, id: ClassId) -> &mut Class {
        self.classes[id as usize].as_mut().expect("a class with pods is kept")
    }

    /// A class's board, up to date. Others' boards may be given up to stay within the budget.
    pub fn board(&mut self, id: ClassId, columns: &Columns) -> &Board {
        self.clock += 1;
        let clock = self.clock;
        let class = self.get_mut(id);
        class.used_at = clock;
        let mut outlooks = std::mem::take(&mut self.outlooks);
        self.within_budget(id, |class| {
            class.board(columns, &mut outlooks);
        });
        self.outlooks = outlooks;
        self.get(id).board.as_ref().expect("made above")
    }

    /// The best node for a pod of a class, where a glance at all nodes is cheaper than a board; `None` also where none is
    /// found: a board says why.
    pub fn glance(&mut self, id: ClassId, columns: &Columns) -> Option<(Slot, u32)> {
        self.clock += 1;
        let class = self.classes[id as usize].as_mut()?;
        class.used_at = self.clock;
        let looks = class.looks;
        let found = class.glance(columns, &mut self.outlooks);
        self.looks += class.looks - looks;
        found
    }

    /// The best node for a pod of a class with terms about other pods, if there is a [chart](Chart) for it; see
    /// [`Class::by_chart`]. Its [board](Self::board) must be up to date.
    pub fn by_chart(
        &mut self,
        id: ClassId,
        columns: &Columns,
        neighbours: &Neighbours,
        towards: &Towards,
        passes: u32,
    ) -> Option<Option<Best>> {
        self.within_budget(id, |class| class.by_chart(columns, neighbours, towards, passes))
    }

    /// The best node for a pod of a class with terms about other pods and few pods that count for them, by the chart of its
    /// [ground](Class::ground). The outer `None` where that does not serve: they are on more than `nodes_max` nodes.
    pub fn by_ground(
        &mut self,
        id: ClassId,
        columns: &Columns,
        neighbours: &Neighbours,
        towards: &Towards,
        nodes_max: usize,
    ) -> Option<Option<Best>> {
        let class = self.get(id);
        let ground = class.ground?;
        let slots = class.wide.as_deref()?.few_slots(neighbours, towards, nodes_max)?;
        self.board(ground, columns);
        self.within_budget(ground, |ground| ground.keep_chart(columns, neighbours));
        let mut chart = self.get_mut(ground).charts.pop()?;
        let best = chart.best_upon(self.get(id), self.get(ground), columns, neighbours, towards, &slots);
        self.get_mut(ground).charts.push(chart);
        self.looks += slots.len() as u64;
        best
    }

    /// What freeing each node would cost a class's pods of a priority. Its [board](Self::board) must be up to date.
    pub fn prices(&mut self, id: ClassId, priority: i32, columns: &Columns, sitters: Sitters<'_>) -> &mut Prices {
        self.within_budget(id, |class| {
            class.prices(priority, columns, sitters);
        });
        &mut self.get_mut(id).prices[0]
    }

    /// The best feasible node that is not taken: [`Board::winner_beside`]. Its [board](Self::board) must be up to date.
    pub fn winner_beside(&mut self, id: ClassId, taken: impl FnMut(Slot) -> bool) -> Option<(Slot, u32)> {
        self.get_mut(id).board.as_mut()?.winner_beside(taken)
    }

    /// How often classes looked at a node: what decisions cost, whatever the machine.
    #[must_use]
    pub fn looks(&self) -> u64 {
        self.looks
    }

    /// Counts looks at nodes that were made elsewhere.
    pub fn count_looks(&mut self, nodes: usize) {
        self.looks += nodes as u64;
    }

    /// Lets a class change what is kept for it; others may have to give theirs up.
    fn within_budget<T>(&mut self, id: ClassId, change: impl FnOnce(&mut Class) -> T) -> T {
        let class = self.get_mut(id);
        let (before, looks) = (class.bytes(), class.looks);
        let result = change(class);
        let (after, looks) = (class.bytes(), class.looks - looks);
        self.looks += looks;
        self.board_bytes = self.board_bytes - before + after;
        if self.board_bytes > self.board_bytes_max {
            self.make_room(id);
        }
        result
    }

    /// Gives up the boards that were not used for longest, but for one.
    fn make_room(&mut self, keep: ClassId) {
        let mut held: Vec<(u64, ClassId, usize)> = (0..)
            .zip(&self.classes)
            .filter_map(|(id, class)| {
                let class = class.as_ref()?;
                class.board.as_ref()?;
                Some((class.used_at, id, class.bytes()))
            })
            .filter(|(_, id, _)| *id != keep)
            .collect();
        held.sort_unstable();
        // Down to three quarters, so that the next new board does not come here again.
        for (_, id, freed) in held {
            if self.board_bytes <= self.board_bytes_max / 4 * 3 {
                break;
            }
            let class = self.get_mut(id);
            class.board = None;
            class.charts.clear();
            class.prices.clear();
            class.passes = 0;
            self.board_bytes -= freed;
        }
    }
}
