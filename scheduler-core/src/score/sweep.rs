//! The keys of all nodes for one class in one sweep over the columns, without a branch, so that the compiler makes vector
//! code of it: filter by pods, CPU and memory, LeastAllocated, balance, tie-break. For classes that have never been seen
//! before: a millisecond of a hundred of them at 5,000 nodes.
//!
//! Equal, to the last bit, to [`resources_fit`](super::resources_fit) and
//! [`balanced_allocation`](super::balanced_allocation): everything is done in f64, where integers below 2^53 are exact;
//! columns that hold more are not [swept](Columns::may_be_swept). See [`quotient`] for the divisions.

use multiversion::multiversion;
use multiversion::target::target_cfg_f;

use super::MAX;
use crate::columns::Columns;
use crate::columns::Load;
use crate::tournament::{self, OUT, TIE_BITS};

/// What a class asks of each node and gives for it.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// What its pods ask for and take. Nothing but pods, CPU and memory.
    pub load: &'a Load,
    /// 1 for each slot whose node admits the class, whatever is on it; 0 for the others.
    pub admits: &'a [u8],
    /// The weight of NodeResourcesFit (LeastAllocated over CPU and memory).
    pub fit: u32,
    /// The weight of NodeResourcesBalancedAllocation (CPU and memory); 0 where it is silent.
    pub balance: u32,
    /// What all other rules give to every node.
    pub base: u32,
}

/// Each slot's tournament key; [`OUT`] where the class does not fit.
#[must_use]
pub fn keys(columns: &Columns, terms: &Terms<'_>) -> Vec<u64> {
    let mut keys = vec![OUT; columns.slots()];
    let (nodes, asks) = prepared(columns, terms);
    sweep(&nodes, &asks, 0, &mut keys);
    keys
}

/// The slot with the greatest key, the first of several, and its score; no keys are kept.
#[must_use]
pub fn winner(columns: &Columns, terms: &Terms<'_>) -> Option<(usize, u32)> {
    let (nodes, asks) = prepared(columns, terms);
    let mut block = [OUT; BLOCK];
    let mut best = (0, OUT);
    for first in (0..columns.slots()).step_by(BLOCK) {
        let keys = &mut block[..BLOCK.min(columns.slots() - first)];
        sweep(&nodes, &asks, first, keys);
        let greatest = greatest(keys);
        if greatest > best.1
            && let Some(at) = keys.iter().position(|key| *key == greatest)
        {
            best = (first + at, greatest);
        }
    }
    (best.1 != OUT).then(|| (best.0, tournament::score_of(best.1)))
}

/// Slots whose keys are looked at while they are at hand.
const BLOCK: usize = 512;

fn prepared<'a>(columns: &'a Columns, terms: &Terms<'a>) -> (Nodes<'a>, Asks) {
    let load = terms.load;
    // A request of nothing is not asked: let it fit even where more is used than there is.
    let wanted = |amount: i64| if amount > 0 { amount } else { i64::MIN / 4 };
    let nodes = Nodes {
        admits: terms.admits,
        pods: [&columns.pods.allocatable, &columns.pods.used],
        cpu: [&columns.cpu.allocatable, &columns.cpu.used, &columns.scored_cpu],
        memory: [&columns.memory.allocatable, &columns.memory.used, &columns.scored_memory],
        inverse: [&columns.cpu_inverse, &columns.memory_inverse],
        balance: &columns.balance,
        tie: &columns.tie,
    };
    let asks = Asks {
        wanted: [wanted(load.cpu), wanted(load.memory)],
        taken: [load.cpu, load.memory],
        scored: [load.scored_cpu, load.scored_memory],
        weights: [f64::from(terms.fit), f64::from(terms.balance)],
        base: f64::from(terms.base),
    };
    (nodes, asks)
}

#[derive(Clone, Copy)]
struct Nodes<'a> {
    admits: &'a [u8],
    pods: [&'a [i64]; 2],
    cpu: [&'a [i64]; 3],
    memory: [&'a [i64]; 3],
    inverse: [&'a [f64]; 2],
    balance: &'a [u8],
    tie: &'a [u64],
}

struct Asks {
    wanted: [i64; 2],
    taken: [i64; 2],
    scored: [i64; 2],
    weights: [f64; 2],
    base: f64,
}

/// 2^52: added to a smaller whole number, it leaves that number in the lower bits of the sum.
const LIFT: f64 = 4_503_599_627_370_496.0;
const LOWER: u64 = (1 << 52) - 1;

/// A number from 0 up to 2^52 as f64; there is no vector instruction for that below AVX-512.
#[inline(always)]
fn float(number: i64) -> f64 {
    f64::from_bits(number.cast_unsigned() | LIFT.to_bits()) - LIFT
}

/// `number / by`, correctly rounded, for whole numbers below 2^53 and 2^45, from the correctly rounded `inverse` of `by`.
/// With fused multiplication it takes no division: the product with the inverse is at most 2 units in the last place off
/// (ulp), its remainder is exact, and adding what that comes to leaves less than 2^-51 ulp to the quotient before it is
/// rounded. No quotient of such numbers is nearer than 2^-46 ulp to the middle between two floats without being there.
#[inline(always)]
fn quotient(number: f64, by: f64, inverse: f64, fused: bool) -> f64 {
    if fused {
        let near = number * inverse;
        (-near).mul_add(by, number).mul_add(inverse, near)
    } else {
        number / by
    }
}

/// The percentage left of `all` when `used` is used, rounded down; 0 where there is nothing.
#[inline(always)]
fn left(all: i64, used: i64, inverse: f64, fused: bool) -> f64 {
    let left = float(all - if used > all { all } else { used }) * MAX as f64;
    let percentage = quotient(left, float(all), inverse, fused).floor();
    if all > 0 { percentage } else { 0.0 }
}

#[inline(always)]
fn fraction(all: i64, used: i64, inverse: f64, fused: bool) -> f64 {
    quotient(float(if used > all { all } else { used }), float(all), inverse, fused)
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+fma", "x86_64+avx2+fma"))]
fn sweep(nodes: &Nodes<'_>, asks: &Asks, first: usize, keys: &mut [u64]) {
    let fused = target_cfg_f!(target_feature = "fma");
    let n = keys.len();
    let (admits, balance, tie) = (&nodes.admits[first..][..n], &nodes.balance[first..][..n], &nodes.tie[first..][..n]);
    let [pods_all, pods_used] = nodes.pods.map(|column| &column[first..][..n]);
    let [cpu_all, cpu_used, cpu_scored] = nodes.cpu.map(|column| &column[first..][..n]);
    let [mem_all, mem_used, mem_scored] = nodes.memory.map(|column| &column[first..][..n]);
    let [cpu_inverse, mem_inverse] = nodes.inverse.map(|column| &column[first..][..n]);
    for at in 0..n {
        let fits = (admits[at] != 0)
            & (pods_all[at] > pods_used[at])
            & (cpu_all[at] - cpu_used[at] >= asks.wanted[0])
            & (mem_all[at] - mem_used[at] >= asks.wanted[1]);
        let cpu_left = left(cpu_all[at], cpu_scored[at] + asks.scored[0], cpu_inverse[at], fused);
        let mem_left = left(mem_all[at], mem_scored[at] + asks.scored[1], mem_inverse[at], fused);
        let both = (cpu_all[at] != 0) & (mem_all[at] != 0);
        let fit = if both { ((cpu_left + mem_left) * 0.5).floor() } else { cpu_left + mem_left };
        let cpu_part = fraction(cpu_all[at], cpu_used[at] + asks.taken[0], cpu_inverse[at], fused);
        let mem_part = fraction(mem_all[at], mem_used[at] + asks.taken[1], mem_inverse[at], fused);
        let with = ((1.0 - ((cpu_part - mem_part) / 2.0).abs()) * MAX as f64).floor();
        let with = if both { with } else { MAX as f64 };
        let change = 50.0 + ((50.0 + with - f64::from(balance[at])) * 0.5).floor();
        let score = asks.base + asks.weights[0] * fit + asks.weights[1] * change;
        let score = (score + 1.0 + LIFT).to_bits() & LOWER;
        let crowd = if pods_used[at] > 0xFFFF { 0xFFFF } else { pods_used[at].cast_unsigned() };
        // As `columns::standing`, shortened as `tournament::key` does it.
        let standing = ((0xFFFF - crowd) << (TIE_BITS - 16)) | (tie[at] >> (80 - TIE_BITS));
        keys[at] = if fits { (score << TIE_BITS) | standing } else { OUT };
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+fma", "x86_64+avx2+fma"))]
fn greatest(keys: &[u64]) -> u64 {
    keys.iter().fold(OUT, |best, key| if *key > best { *key } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::resources_fit;
    use crate::rows::{Amounts, NodeRow};
    use crate::score::{balanced_allocation, resources_fit as least_allocated};

    /// Numbers that repeat.
    fn numbers() -> impl FnMut(i64) -> i64 {
        let mut state = 88_172_645_463_325_252u64;
        move |below| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below.cast_unsigned()).cast_signed()
        }
    }

    #[test]
    fn a_sweep_finds_what_the_rules_find_one_by_one() {
        let mut number = numbers();
        for round in 0..200 {
            let mut columns = Columns::new(7);
            for node in 0..if round == 0 { 1_300 } else { 40 } {
                let memory = [0, 1000, 1 << 30, (1 << 44) - 1 - number(1000), 3 + number(50)][number(5) as usize];
                let cpu = [0, 1, 4000, 32_000, 7 + number(100)][number(5) as usize];
                let allocatable = Amounts { cpu, memory, pods: number(6), ..Amounts::default() };
                columns.set_node(NodeRow { name: format!("n{node}").into(), allocatable, ..NodeRow::default() });
                for _ in 0..number(4) {
                    let (cpu, memory) = (number(cpu.max(1)), number(memory.max(1)));
                    let more = if number(3) == 0 { 100 } else { 0 };
                    let scored_memory = memory + more;
                    columns
                        .occupy(node, &Load { cpu, memory, scored_cpu: cpu + more, scored_memory, ..Load::default() });
                }
            }
            assert!(columns.may_be_swept());
            let (cpu, memory) = (number(500), if round % 2 == 0 { number(1 << 40) } else { number(50) });
            let load = Load { cpu, memory, scored_cpu: cpu.max(100), scored_memory: memory, ..Load::default() };
            let admits: Vec<u8> = (0..columns.slots()).map(|_| u8::from(number(5) > 0)).collect();
            let terms = Terms { load: &load, admits: &admits, fit: 1, balance: 3, base: 300 };
            let found = keys(&columns, &terms);
            let mut best: Option<(usize, u64)> = None;
            for (at, key) in found.iter().enumerate() {
                let fits = admits[at] != 0 && resources_fit::verdict(&columns, at as u32, &load).fits();
                let fit = least_allocated::score(
                    columns.cpu.allocatable[at],
                    columns.scored_cpu[at] + load.scored_cpu,
                    columns.memory.allocatable[at],
                    columns.scored_memory[at] + load.scored_memory,
                );
                let [cpu, memory] = [columns.cpu.used[at], columns.memory.used[at]];
                let balance = balanced_allocation::score(
                    columns.cpu.allocatable[at],
                    (cpu, cpu + load.cpu),
                    columns.memory.allocatable[at],
                    (memory, memory + load.memory),
                );
                let expected = tournament::key(300 + fit + 3 * balance, columns.standing(at));
                assert_eq!(*key, if fits { expected } else { OUT }, "{round} {at}");
                if fits && best.is_none_or(|(_, known)| expected > known) {
                    best = Some((at, expected));
                }
            }
            assert_eq!(winner(&columns, &terms), best.map(|(at, key)| (at, tournament::score_of(key))));
        }
    }
}
