//! NodeResourcesFit: the node has what the pod requests, of every resource.
//!
//! A verdict says in a mask which resources do not suffice: bit 0 pods, 1 CPU, 2 memory, 3 ephemeral storage, from 4 on
//! the extended resources in the order of the demand.

use multiversion::multiversion;
use smallvec::SmallVec;

use super::Verdict;
use crate::columns::{Columns, Load, ResourceColumn, Slot};
use crate::rows::Demand;

const PODS: u32 = 1;
const CPU: u32 = 1 << 1;
const MEMORY: u32 = 1 << 2;
const EPHEMERAL: u32 = 1 << 3;
const EXTENDED_AT: u32 = 4;
/// A verdict has room for this many bits; extended resources beyond share the last.
const BITS: u32 = 23;

/// The verdict on one node.
#[inline]
#[must_use]
pub fn verdict(columns: &Columns, slot: Slot, load: &Load) -> Verdict {
    verdict_after(columns, slot, load, &Shift::default())
}

/// By how much what is used on a node would differ, were some pods gone or come.
#[derive(Clone, Debug, Default)]
pub struct Shift {
    /// Pods.
    pub pods: i64,
    /// Milli-CPU.
    pub cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes.
    pub ephemeral: i64,
    /// The extended resources in the order of the load that is asked about; empty for no difference.
    pub extended: SmallVec<[i64; 2]>,
}

impl Shift {
    /// Adds a pod that takes so much CPU, memory and ephemeral storage; takes it away with a `sign` of -1.
    #[inline]
    pub fn take(&mut self, [cpu, memory, ephemeral]: [i64; 3], sign: i64) {
        self.pods += sign;
        self.cpu += sign * cpu;
        self.memory += sign * memory;
        self.ephemeral += sign * ephemeral;
    }

    /// Adds what a pod takes, as far as `asked` looks at it; takes it away with a `sign` of -1.
    #[inline]
    pub fn add(&mut self, asked: &Load, load: &Load, sign: i64) {
        self.pods += sign;
        self.cpu += sign * load.cpu;
        self.memory += sign * load.memory;
        self.ephemeral += sign * load.ephemeral;
        if !asked.extended.is_empty() && !load.extended.is_empty() {
            self.extended.resize(asked.extended.len(), 0);
            for (sum, (id, _)) in self.extended.iter_mut().zip(&asked.extended) {
                let taken = load.extended.iter().filter(|(other, _)| other == id).map(|(_, amount)| amount);
                *sum += sign * taken.sum::<i64>();
            }
        }
    }
}

/// The verdict on one node, as if what is used there differed.
#[inline]
#[must_use]
pub fn verdict_after(columns: &Columns, slot: Slot, load: &Load, shift: &Shift) -> Verdict {
    if load.unasked {
        return Verdict::FITS;
    }
    let at = slot as usize;
    let mut mask = 0;
    if columns.pods.used[at] + shift.pods + 1 > columns.pods.allocatable[at] {
        mask |= PODS;
    }
    let mut beyond = false;
    let mut ask = |column: &ResourceColumn, shift: i64, amount: i64, bit: u32| {
        if amount > 0 && amount > column.allocatable[at] - column.used[at] - shift {
            mask |= bit;
            beyond |= amount > column.allocatable[at];
        }
    };
    ask(&columns.cpu, shift.cpu, load.cpu, CPU);
    ask(&columns.memory, shift.memory, load.memory, MEMORY);
    ask(&columns.ephemeral, shift.ephemeral, load.ephemeral, EPHEMERAL);
    for (at, (id, amount)) in load.extended.iter().enumerate() {
        if columns.extended[*id as usize].allocatable[slot as usize] == 0 && load.backed.contains(id) {
            // That is for the devices to say.
            continue;
        }
        let shift = shift.extended.get(at).copied().unwrap_or(0);
        ask(&columns.extended[*id as usize], shift, *amount, extended_bit(at));
    }
    if mask == 0 { Verdict::FITS } else { Verdict::resources(mask, beyond) }
}

fn extended_bit(at: usize) -> u32 {
    1 << (EXTENDED_AT + u32::try_from(at).unwrap_or(u32::MAX)).min(BITS - 1)
}

/// Upstream's texts of a mask's bits.
pub fn texts(mask: u32, demand: &Demand) -> impl Iterator<Item = String> + '_ {
    let plain = [(PODS, "Too many pods"), (CPU, "Insufficient cpu"), (MEMORY, "Insufficient memory")];
    let plain = plain.into_iter().chain([(EPHEMERAL, "Insufficient ephemeral-storage")]);
    let plain = plain.filter(move |(bit, _)| mask & bit != 0).map(|(_, text)| text.to_owned());
    let extended = demand.requests.extended.iter().enumerate();
    let extended = extended.filter(move |(at, _)| mask & extended_bit(*at) != 0);
    plain.chain(extended.map(|(_, (name, _))| format!("Insufficient {name}")))
}

/// Which nodes have room for a pod, its CPU and its memory: 1 or 0 for each slot of `fits`. What [`verdict`] says, without
/// the details, for a class without other resources; a loop the compiler turns into vector code.
pub fn scan(columns: &Columns, load: &Load, fits: &mut [u8]) {
    scan_plain(
        [&columns.pods.allocatable, &columns.pods.used],
        [&columns.cpu.allocatable, &columns.cpu.used],
        [&columns.memory.allocatable, &columns.memory.used],
        // A request of nothing is not asked: let it fit even where more is used than there is.
        if load.cpu > 0 { load.cpu } else { i64::MIN / 4 },
        if load.memory > 0 { load.memory } else { i64::MIN / 4 },
        fits,
    );
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn scan_plain(
    pods: [&[i64]; 2],
    cpu: [&[i64]; 2],
    memory: [&[i64]; 2],
    want_cpu: i64,
    want_memory: i64,
    fits: &mut [u8],
) {
    let n = fits.len();
    let [pods_all, pods_used] = pods.map(|c| &c[..n]);
    let [cpu_all, cpu_used] = cpu.map(|c| &c[..n]);
    let [memory_all, memory_used] = memory.map(|c| &c[..n]);
    for at in 0..n {
        let room = (pods_all[at] > pods_used[at])
            & (cpu_all[at] - cpu_used[at] >= want_cpu)
            & (memory_all[at] - memory_used[at] >= want_memory);
        fits[at] = u8::from(room);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{Amounts, NodeRow};

    fn columns(cpu: i64, memory: i64, pods: i64) -> Columns {
        let mut columns = Columns::new(0);
        let allocatable = Amounts { cpu, memory, pods, ..Amounts::default() };
        columns.set_node(NodeRow { name: "n".into(), allocatable, ..NodeRow::default() });
        columns
    }

    #[test]
    fn every_resource_that_does_not_suffice_is_named() {
        let mut columns = columns(1000, 100, 1);
        let gpu = columns.extended_id("x.y/gpu");
        let load = Load { cpu: 2000, memory: 50, extended: [(gpu, 1)].into_iter().collect(), ..Load::default() };
        columns.occupy(0, &Load { memory: 60, ..Load::default() });
        let verdict = verdict(&columns, 0, &load);
        let demand = Demand {
            requests: Amounts { extended: vec![("x.y/gpu".into(), 1)], ..Amounts::default() },
            ..Demand::default()
        };
        let texts: Vec<String> = texts(verdict.mask(), &demand).collect();
        assert_eq!(texts, ["Too many pods", "Insufficient cpu", "Insufficient memory", "Insufficient x.y/gpu"]);
        assert!(verdict.is_unresolvable());
    }

    #[test]
    fn nothing_requested_fits_where_too_much_is_used() {
        let mut columns = columns(1000, 100, 5);
        columns.occupy(0, &Load { cpu: 3000, ..Load::default() });
        assert!(verdict(&columns, 0, &Load::default()).fits());
        assert!(!verdict(&columns, 0, &Load { cpu: 1, ..Load::default() }).is_unresolvable());
        let mut fits = [0];
        scan(&columns, &Load::default(), &mut fits);
        assert_eq!(fits, [1]);
        scan(&columns, &Load { cpu: 1, ..Load::default() }, &mut fits);
        assert_eq!(fits, [0]);
    }
}
