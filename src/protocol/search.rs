//! Every state that can be reached from some, each seen once: what the walks of both folds are made of.

use std::collections::HashMap;
use std::collections::hash_map::{DefaultHasher, Entry};
use std::fmt::Debug;
use std::hash::{Hash, Hasher};

/// What one state leads to.
pub(super) enum Moves<S> {
    /// A state at which the run may rest, and what may happen later all the same.
    End(Vec<Move<S>>),
    /// The first one is what happens if everything goes well from here: following it must lead to an end.
    On(Vec<Move<S>>),
}

/// A name for traces, and the state it leads to.
pub(super) type Move<S> = ((&'static str, usize), S);

/// What was walked.
#[derive(Debug)]
pub(super) struct Walked {
    pub(super) states: usize,
    pub(super) ends: usize,
}

struct Node {
    parent: u64,
    by: (&'static str, usize),
    /// Where it goes on well; `None` at an end.
    well: Option<u64>,
}

/// Walks everything; an error carries the way to the state that breaks a promise.
pub(super) fn walk<S: Hash + Debug>(
    start: S,
    moves: impl Fn(&S) -> Result<Moves<S>, String>,
) -> Result<Walked, String> {
    let first = id(&start);
    let mut nodes = HashMap::from([(first, Node { parent: first, by: ("start", 0), well: None })]);
    let mut open = vec![(first, start)];
    let mut ends = 0;
    while let Some((here, state)) = open.pop() {
        let broken = |why: String| format!("{why}\n{}{state:#?}", way(&nodes, here));
        let (is_end, next) = match moves(&state).map_err(broken)? {
            Moves::End(next) => (true, next),
            Moves::On(next) => (false, next),
        };
        ends += usize::from(is_end);
        if !is_end && next.is_empty() {
            return Err(broken("nothing can happen".into()));
        }
        for (nth, (by, state)) in next.into_iter().enumerate() {
            let there = id(&state);
            if nth == 0 && !is_end {
                nodes.entry(here).and_modify(|node| node.well = Some(there));
            }
            if let Entry::Vacant(unseen) = nodes.entry(there) {
                unseen.insert(Node { parent: here, by, well: None });
                open.push((there, state));
            }
        }
    }
    no_dead_end(&nodes)?;
    Ok(Walked { states: nodes.len(), ends })
}

/// Follows the good way from every state: it must reach an end, and so may not come round.
fn no_dead_end(nodes: &HashMap<u64, Node>) -> Result<(), String> {
    let mut good: HashMap<u64, bool> = HashMap::new();
    for &start in nodes.keys() {
        let mut path = Vec::new();
        let mut here = start;
        while !good.contains_key(&here) {
            good.insert(here, false);
            path.push(here);
            let Some(next) = nodes[&here].well else {
                good.insert(here, true);
                break;
            };
            here = next;
        }
        if !good[&here] {
            return Err(format!("a circle without an end\n{}", way(nodes, start)));
        }
        good.extend(path.into_iter().map(|seen| (seen, true)));
    }
    Ok(())
}

fn way(nodes: &HashMap<u64, Node>, mut here: u64) -> String {
    let mut names = Vec::new();
    while nodes[&here].parent != here {
        names.push(format!("{} {}\n", nodes[&here].by.0, nodes[&here].by.1));
        here = nodes[&here].parent;
    }
    names.reverse();
    names.concat()
}

/// 64 bits instead of the state: among a million states two collide once in 40 million walks.
fn id(state: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}
