//! Groups by tree.

use std::collections::BTreeMap;

use futures::executor::block_on;
use futures::{StreamExt, stream};
use proptest::prelude::*;

use super::kernel::{Reading as How, events};
use super::{check_sums, run, sample, snapshot, with_lives};
use crate::process::ProcessId;
use crate::stream::{GroupKey, GroupSample, SnapshotStreamExt, TreeRoot};
use crate::{ProcessSample, Select, Snapshot, Text};

type Trees = Vec<GroupSample<TreeRoot>>;

fn by_tree(snapshots: Vec<Snapshot<ProcessSample>>, roots: Select) -> Vec<Trees> {
    let groups = stream::iter(snapshots.into_iter().map(Ok)).group_by_tree(roots).keep_empty(true);
    block_on(groups.map(|tick| tick.unwrap().samples).collect())
}

/// The trees with members, and how many.
fn alive(trees: &Trees) -> Vec<(String, u64)> {
    trees.iter().filter(|tree| tree.alive > 0).map(|tree| (tree.key.to_string(), tree.alive)).collect()
}

#[track_caller]
fn check(snapshots: Vec<Snapshot<ProcessSample>>, expected: &[&[(&str, u64)]]) {
    let found: Vec<_> = by_tree(snapshots, Select::name("job")).iter().map(alive).collect();
    let expected: Vec<Vec<_>> =
        expected.iter().map(|tick| tick.iter().map(|(key, alive)| ((*key).to_owned(), *alive)).collect()).collect();
    assert_eq!(found, expected);
}

fn idle(pid: u32, ppid: u32, name: &str) -> ProcessSample {
    sample(pid, ppid, name, 0, 0)
}

#[test]
fn a_process_stays_in_its_tree() {
    let init = idle(1, 0, "init");
    check(
        vec![
            // A job below a job is no root, though its pid is the lower one.
            snapshot(0, [init.clone(), idle(3, 9, "job"), idle(4, 3, "sh"), idle(9, 1, "job"), idle(10, 1, "sh")]),
            // The lower job ends, and what it started is left to the first process; a shell becomes a job, and its child with it.
            with_lives(
                snapshot(
                    1,
                    [init.clone(), idle(4, 1, "sh"), idle(9, 1, "job"), idle(10, 1, "job"), idle(11, 10, "sh")],
                ),
                &[(3, Some(9))],
            ),
            // The root ends: its tree goes on. What it adopted is in the tree of the one that adopted it.
            with_lives(
                snapshot(2, [init.clone(), idle(4, 1, "sh"), idle(5, 4, "sh"), idle(10, 1, "job"), idle(11, 10, "sh")]),
                &[(9, Some(1))],
            ),
            // Neither another name nor another parent leads out of it.
            with_lives(
                snapshot(
                    3,
                    [init.clone(), idle(4, 1, "job"), idle(5, 10, "x"), idle(10, 1, "sh"), idle(11, 10, "job")],
                ),
                &[],
            ),
        ],
        &[
            &[("job[9]", 3), ("other", 2)],
            &[("job[9]", 2), ("job[10]", 2), ("other", 1)],
            &[("job[9]", 2), ("job[10]", 2), ("other", 1)],
            &[("job[9]", 2), ("job[10]", 2), ("other", 1)],
        ],
    );
}

#[test]
fn a_child_is_in_the_tree_of_a_parent_that_ended_while_they_were_read() {
    let init = idle(1, 0, "init");
    check(
        vec![
            snapshot(0, [init.clone(), idle(2, 1, "job"), idle(3, 2, "job")]),
            // It was read before its parent ended, and that was gone when it was to be read.
            snapshot(1, [init.clone(), idle(2, 1, "job"), idle(4, 3, "job")]),
            snapshot(2, [init, idle(2, 1, "job"), idle(4, 1, "job")]),
        ],
        &[&[("job[2]", 2), ("other", 1)], &[("job[2]", 2), ("other", 1)], &[("job[2]", 2), ("other", 1)]],
    );
}

#[test]
fn descendants_come_into_a_tree_with_their_ancestor() {
    let init = idle(1, 0, "init");
    check(
        vec![
            snapshot(0, [init.clone(), idle(2, 1, "sh"), idle(3, 2, "sh"), idle(4, 3, "sh")]),
            // A new job below those that come into the tree is no root.
            snapshot(1, [init.clone(), idle(2, 1, "job"), idle(3, 2, "sh"), idle(4, 3, "sh"), idle(5, 4, "job")]),
        ],
        &[&[("other", 4)], &[("job[2]", 4), ("other", 1)]],
    );
}

#[test]
fn the_roots_of_a_snapshot_are_those_of_its_tree() {
    let snapshots =
        vec![snapshot(0, [idle(2, 0, "kthreadd"), idle(5, 2, "worker"), idle(7, 6, "sh"), idle(8, 7, "sh")])];
    let trees = by_tree(snapshots.clone(), Select::all());
    assert_eq!(alive(&trees[0]), [("kthreadd[2]".to_owned(), 2), ("sh[7]".to_owned(), 2)]);
    let tree = crate::ProcessTree::new(&snapshots[0]);
    let roots: Vec<ProcessId> = tree.roots().map(|root| root.id).collect();
    let keys: Vec<ProcessId> = trees[0].iter().filter_map(|tree| Some(tree.key.key()?.id)).collect();
    assert_eq!(keys, roots);
}

#[test]
fn parents_that_are_their_own_children_have_an_end() {
    let circle = vec![snapshot(0, [idle(2, 3, "sh"), idle(3, 2, "job"), idle(4, 3, "sh"), idle(5, 5, "job")])];
    let trees = by_tree(circle, Select::name("job"));
    assert_eq!(trees[0].iter().map(|tree| tree.alive).sum::<u64>(), 4);
}

#[test]
fn the_wire_form_of_a_root() {
    let root = TreeRoot { id: ProcessId { pid: 7, start_ticks: 9 }, name: "job".into() };
    let text = serde_json::to_string(&root).unwrap();
    assert_eq!(text, r#"{"id":{"pid":7,"start_ticks":9},"name":"job"}"#);
    assert_eq!(serde_json::from_str::<TreeRoot>(&text).unwrap(), root);
}

/// The same, as it is defined, at whatever cost.
#[derive(Default)]
struct Model {
    trees: BTreeMap<ProcessId, Option<ProcessId>>,
    /// The last snapshot.
    before: BTreeMap<ProcessId, (u32, Text)>,
}

impl Model {
    fn read(&mut self, snapshot: &Snapshot<ProcessSample>) {
        let now: BTreeMap<ProcessId, (u32, Text)> =
            snapshot.samples.iter().map(|process| (process.id, (process.ppid, process.info.name.clone()))).collect();
        let is_selected = |id: &ProcessId| now.get(id).is_some_and(|it| it.1 == "a" && self.before.get(id) != Some(it));
        // A child that was read while its parent was there is that one's, though the parent ended before it was read itself.
        let parents: BTreeMap<ProcessId, u32> =
            self.before.iter().chain(&now).map(|(id, (ppid, _))| (*id, *ppid)).collect();
        let parent = |of: ProcessId| {
            let mut there = parents.keys().filter(|parent| parent.pid == parents[&of]);
            there.rfind(|parent| parent.may_be_parent_of(of)).copied()
        };
        let mut trees = BTreeMap::new();
        for process in now.keys() {
            let (mut root, mut at) = (None, Some(*process));
            while let Some(ancestor) = at {
                match self.trees.get(&ancestor).copied().flatten() {
                    Some(tree) => (root, at) = (Some(tree), None),
                    None => {
                        root = if is_selected(&ancestor) { Some(ancestor) } else { root };
                        at = parent(ancestor);
                    }
                }
            }
            trees.insert(*process, root);
        }
        (self.trees, self.before) = (trees, now);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn trees_are_as_defined(events in events(true), lives: bool) {
        let (kernel, snapshots) = run(&events, How { lives, usage: false });
        let ticks = by_tree(snapshots.clone(), Select::name("a"));
        let mut model = Model::default();
        for (snapshot, trees) in snapshots.iter().zip(&ticks) {
            model.read(snapshot);
            let mut expected: BTreeMap<Option<ProcessId>, u64> = BTreeMap::new();
            model.trees.values().for_each(|root| *expected.entry(*root).or_default() += 1);
            let key = |key: &GroupKey<TreeRoot>| key.key().map(|root| root.id);
            let there = trees.iter().filter(|tree| tree.alive > 0);
            let found: BTreeMap<_, _> = there.map(|tree| (key(&tree.key), tree.alive)).collect();
            prop_assert_eq!(found, expected);
        }
        let last = ticks.into_iter().next_back().unwrap();
        check_sums(&kernel, lives, last.iter().map(|tree| tree.cpu.total_ns).sum())?;
    }
}
