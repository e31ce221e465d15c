//! Ranges of keys, and which of them hold a given key.
//!
//! A treap over the ranges in order of their start; each node knows the
//! widest end below it, so a lookup leaves out whole subtrees that end before
//! the key. Insert and remove cost O(log n), a lookup O(log n) and a little
//! per hit. Priorities come from a counter, so that the same calls in the
//! same order give the same tree, and hits come in the order of the ranges.

use bytes::Bytes;

/// Where a range ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// Before this key.
    Before(Bytes),
    /// Nowhere: all keys from the start on. Sorts after all others.
    Open,
}

impl End {
    /// Whether keys up to and including `key` may lie before this end.
    fn is_after(&self, key: &[u8]) -> bool {
        match self {
            Self::Before(end) => end.as_ref() > key,
            Self::Open => true,
        }
    }
}

/// No node.
const NIL: u32 = u32::MAX;

struct Node {
    start: Bytes,
    end: End,
    value: u32,
    priority: u64,
    left: u32,
    right: u32,
    /// The node with the greatest end in this subtree.
    widest: u32,
}

/// Distinct ranges, each with a number that its owner chose.
pub struct Intervals {
    nodes: Vec<Node>,
    free: Vec<u32>,
    root: u32,
    inserted: u64,
}

impl Default for Intervals {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            free: Vec::new(),
            root: NIL,
            inserted: 0,
        }
    }
}

impl Intervals {
    /// The number of a range.
    pub fn get(&self, start: &[u8], end: &End) -> Option<u32> {
        let mut at = self.root;
        while at != NIL {
            let node = &self.nodes[at as usize];
            at = match (start, end).cmp(&(node.start.as_ref(), &node.end)) {
                std::cmp::Ordering::Less => node.left,
                std::cmp::Ordering::Equal => return Some(node.value),
                std::cmp::Ordering::Greater => node.right,
            };
        }
        None
    }

    /// Adds a range that is not there yet.
    pub fn insert(&mut self, start: Bytes, end: End, value: u32) {
        debug_assert!(self.get(&start, &end).is_none(), "a range is inserted once");
        let priority = scramble(self.inserted);
        self.inserted += 1;
        let node = Node {
            start,
            end,
            value,
            priority,
            left: NIL,
            right: NIL,
            widest: NIL,
        };
        let new = match self.free.pop() {
            Some(slot) => {
                self.nodes[slot as usize] = node;
                slot
            }
            None => {
                self.nodes.push(node);
                u32::try_from(self.nodes.len() - 1).expect("fewer ranges than u32::MAX")
            }
        };
        self.nodes[new as usize].widest = new;
        self.root = self.insert_below(self.root, new);
    }

    /// Removes a range; its number, if it was there.
    pub fn remove(&mut self, start: &[u8], end: &End) -> Option<u32> {
        let (root, removed) = self.remove_below(self.root, start, end);
        self.root = root;
        let slot = removed?;
        self.free.push(slot);
        let node = &mut self.nodes[slot as usize];
        node.start = Bytes::new();
        node.end = End::Open;
        Some(node.value)
    }

    /// Calls `hit` with the number of each range that holds `key`.
    pub fn for_each_holding(&self, key: &[u8], hit: &mut impl FnMut(u32)) {
        self.visit(self.root, key, hit);
    }

    fn visit(&self, at: u32, key: &[u8], hit: &mut impl FnMut(u32)) {
        if at == NIL {
            return;
        }
        let node = &self.nodes[at as usize];
        if !self.nodes[node.widest as usize].end.is_after(key) {
            return;
        }
        self.visit(node.left, key, hit);
        if node.start.as_ref() <= key {
            if node.end.is_after(key) {
                hit(node.value);
            }
            self.visit(node.right, key, hit);
        }
    }

    fn before(&self, a: u32, b: u32) -> bool {
        let (a, b) = (&self.nodes[a as usize], &self.nodes[b as usize]);
        (&a.start, &a.end) < (&b.start, &b.end)
    }

    fn insert_below(&mut self, at: u32, new: u32) -> u32 {
        if at == NIL {
            return new;
        }
        if self.nodes[new as usize].priority > self.nodes[at as usize].priority {
            let (left, right) = self.split(at, new);
            self.nodes[new as usize].left = left;
            self.nodes[new as usize].right = right;
            self.refresh(new);
            return new;
        }
        if self.before(new, at) {
            let left = self.insert_below(self.nodes[at as usize].left, new);
            self.nodes[at as usize].left = left;
        } else {
            let right = self.insert_below(self.nodes[at as usize].right, new);
            self.nodes[at as usize].right = right;
        }
        self.refresh(at);
        at
    }

    /// The ranges before `pivot`, and those after it.
    fn split(&mut self, at: u32, pivot: u32) -> (u32, u32) {
        if at == NIL {
            return (NIL, NIL);
        }
        if self.before(at, pivot) {
            let (left, right) = self.split(self.nodes[at as usize].right, pivot);
            self.nodes[at as usize].right = left;
            self.refresh(at);
            (at, right)
        } else {
            let (left, right) = self.split(self.nodes[at as usize].left, pivot);
            self.nodes[at as usize].left = right;
            self.refresh(at);
            (left, at)
        }
    }

    fn remove_below(&mut self, at: u32, start: &[u8], end: &End) -> (u32, Option<u32>) {
        if at == NIL {
            return (NIL, None);
        }
        let node = &self.nodes[at as usize];
        let (left, right) = (node.left, node.right);
        let removed = match (start, end).cmp(&(node.start.as_ref(), &node.end)) {
            std::cmp::Ordering::Equal => return (self.merge(left, right), Some(at)),
            std::cmp::Ordering::Less => {
                let (left, removed) = self.remove_below(left, start, end);
                self.nodes[at as usize].left = left;
                removed
            }
            std::cmp::Ordering::Greater => {
                let (right, removed) = self.remove_below(right, start, end);
                self.nodes[at as usize].right = right;
                removed
            }
        };
        self.refresh(at);
        (at, removed)
    }

    /// Joins two trees; all of `left` sorts before all of `right`.
    fn merge(&mut self, left: u32, right: u32) -> u32 {
        if left == NIL || right == NIL {
            return if left == NIL { right } else { left };
        }
        if self.nodes[left as usize].priority > self.nodes[right as usize].priority {
            let joined = self.merge(self.nodes[left as usize].right, right);
            self.nodes[left as usize].right = joined;
            self.refresh(left);
            left
        } else {
            let joined = self.merge(left, self.nodes[right as usize].left);
            self.nodes[right as usize].left = joined;
            self.refresh(right);
            right
        }
    }

    /// Finds the widest end of a subtree anew from its two halves.
    fn refresh(&mut self, at: u32) {
        let node = &self.nodes[at as usize];
        let mut widest = at;
        for child in [node.left, node.right] {
            if child != NIL {
                let candidate = self.nodes[child as usize].widest;
                if self.nodes[candidate as usize].end > self.nodes[widest as usize].end {
                    widest = candidate;
                }
            }
        }
        self.nodes[at as usize].widest = widest;
    }
}

/// Spreads a counter over all 64 bits (the finalizer of SplitMix64).
fn scramble(count: u64) -> u64 {
    let mut mixed = count.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Clone, Debug)]
    enum Op {
        Insert(Bytes, End),
        Remove(usize),
        Lookup(Bytes),
    }

    fn key() -> impl Strategy<Value = Bytes> {
        prop::collection::vec(0u8..4, 1..4).prop_map(Bytes::from)
    }

    fn op() -> impl Strategy<Value = Op> {
        let end = prop_oneof![4 => key().prop_map(End::Before), 1 => Just(End::Open)];
        prop_oneof![
            3 => (key(), end).prop_map(|(start, end)| Op::Insert(start, end)),
            2 => any::<usize>().prop_map(Op::Remove),
            3 => key().prop_map(Op::Lookup),
        ]
    }

    fn holds(start: &Bytes, end: &End, key: &[u8]) -> bool {
        start.as_ref() <= key
            && match end {
                End::Before(end) => key < end.as_ref(),
                End::Open => true,
            }
    }

    proptest! {
        /// Whatever was inserted and removed: a lookup finds what a walk over
        /// all ranges finds, in the same order.
        #[test]
        fn same_as_a_walk_over_all(ops in prop::collection::vec(op(), 1..200)) {
            let mut model = BTreeMap::new();
            let mut tree = Intervals::default();
            for (number, op) in (0u32..).zip(ops) {
                match op {
                    Op::Insert(start, end) => {
                        prop_assert_eq!(tree.get(&start, &end), model.get(&(start.clone(), end.clone())).copied());
                        if model.insert((start.clone(), end.clone()), number).is_some() {
                            prop_assert!(tree.remove(&start, &end).is_some());
                        }
                        tree.insert(start, end, number);
                    }
                    Op::Remove(which) if !model.is_empty() => {
                        let (start, end) = model.keys().nth(which % model.len()).expect("in range").clone();
                        prop_assert_eq!(tree.remove(&start, &end), model.remove(&(start.clone(), end.clone())));
                        prop_assert_eq!(tree.remove(&start, &end), None);
                    }
                    Op::Remove(_) => {}
                    Op::Lookup(key) => {
                        let mut found = Vec::new();
                        tree.for_each_holding(&key, &mut |value| found.push(value));
                        let expected: Vec<_> =
                            model.iter().filter(|((start, end), _)| holds(start, end, &key)).map(|(_, value)| *value).collect();
                        prop_assert_eq!(found, expected);
                    }
                }
            }
        }
    }

    /// Ten thousand ranges in order, the worst case of an unbalanced tree.
    #[test]
    fn stays_shallow() {
        fn depth(tree: &Intervals, at: u32) -> usize {
            if at == NIL {
                return 0;
            }
            let node = &tree.nodes[at as usize];
            1 + depth(tree, node.left).max(depth(tree, node.right))
        }
        let mut tree = Intervals::default();
        for number in 0u32..10_000 {
            let start = Bytes::from(format!("/registry/{number:08}/"));
            let end = End::Before(Bytes::from(format!("/registry/{number:08}0")));
            tree.insert(start, end, number);
        }
        assert!(depth(&tree, tree.root) < 64);
    }
}
