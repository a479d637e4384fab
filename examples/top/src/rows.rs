//! The rows of a table: selected, sorted, and as a tree with sums.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

use appmon::process::{ProcessId, Service};
use appmon::stream::{GroupKey, GroupSample};
use appmon::{ProcessSample, ProcessTree, Rated, Sample};

use crate::analysis::Tick;
use crate::state::{Sort, State, View};

/// A row of services, processes or the tree.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// The index of the sample in its tick.
    pub(crate) index: usize,
    /// How deep it is in the tree.
    pub(crate) depth: usize,
    pub(crate) figures: Figures,
}

/// What rows are sorted by. In the tree it is of all below, too.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    pub(crate) cores: Option<f64>,
    pub(crate) memory: f64,
    pub(crate) read: Option<f64>,
    pub(crate) written: Option<f64>,
}

impl Figures {
    pub(crate) fn of_process(process: &Rated<ProcessSample>) -> Self {
        let io = process.rates.as_ref().and_then(|rates| rates.io.value());
        Self {
            cores: process.rates.as_ref().map(|rates| rates.cpu.cores),
            memory: process.memory.rss_bytes as f64,
            read: io.map(|io| io.read_bytes),
            written: io.map(|io| io.write_bytes),
        }
    }

    pub(crate) fn of_service(service: &Rated<GroupSample<Service>>) -> Self {
        let io = service.rates.as_ref().and_then(|rates| rates.io.value());
        Self {
            cores: service.rates.as_ref().map(|rates| rates.cpu.cores),
            memory: service.memory.rss_bytes as f64,
            read: io.map(|io| io.read_bytes),
            written: io.map(|io| io.write_bytes),
        }
    }

    fn add(&mut self, more: &Self) {
        let add = |sum: Option<f64>, more: Option<f64>| match (sum, more) {
            (None, more) => more,
            (sum, more) => sum.map(|sum| sum + more.unwrap_or(0.0)),
        };
        self.cores = add(self.cores, more.cores);
        self.memory += more.memory;
        self.read = add(self.read, more.read);
        self.written = add(self.written, more.written);
    }

    /// The value of a column; what is not known is below all.
    fn value(&self, sort: Sort) -> f64 {
        match sort {
            Sort::Cpu => self.cores.unwrap_or(-1.0),
            Sort::Io => self.read.map_or(-1.0, |read| read + self.written.unwrap_or(0.0)),
            Sort::Memory | Sort::Name => self.memory,
        }
    }
}

/// All of these together.
pub(crate) fn sum(rows: impl Iterator<Item = Figures>) -> Figures {
    let mut sum = Figures::default();
    rows.for_each(|figures| sum.add(&figures));
    sum
}

/// The rows of this view, in their order.
pub(crate) fn rows(state: &State, tick: &Tick) -> Vec<Row> {
    let selected = selected(state, tick);
    let is_selected = |process: &Rated<ProcessSample>| selected.as_ref().is_none_or(|ids| ids.contains(&process.id));
    match state.view {
        View::Services => services(state.sort, tick, selected.as_ref()),
        View::Processes => {
            let samples = tick.processes.samples.iter().enumerate().filter(|(_, process)| is_selected(process));
            let mut rows: Vec<Row> = samples
                .map(|(index, process)| Row { index, depth: 0, figures: Figures::of_process(process) })
                .collect();
            let name = |row: &Row| &tick.processes.samples[row.index].info.name;
            rows.sort_by(|a, b| order(state.sort, &a.figures, &b.figures, || name(a).cmp(name(b))));
            rows
        }
        View::Tree => tree(state.sort, tick, selected.as_ref()),
        View::Disks | View::Events | View::Alerts => Vec::new(),
    }
}

fn order(sort: Sort, a: &Figures, b: &Figures, names: impl Fn() -> Ordering) -> Ordering {
    match sort {
        Sort::Name => names(),
        sort => b.value(sort).total_cmp(&a.value(sort)).then(b.memory.total_cmp(&a.memory)).then_with(names),
    }
}

/// The processes of the filter; `None` where there is no filter.
fn selected(state: &State, tick: &Tick) -> Option<HashSet<ProcessId>> {
    let (_, select) = state.filter.as_ref()?;
    let mut snapshot = tick.processes.clone();
    // Too deep a selection was refused when it was read.
    let _ = select.apply(&mut snapshot);
    Some(snapshot.samples.iter().map(|process| process.id).collect())
}

fn services(sort: Sort, tick: &Tick, selected: Option<&HashSet<ProcessId>>) -> Vec<Row> {
    let of_selected: Option<HashSet<Service>> = selected.map(|ids| {
        let processes = tick.processes.samples.iter().filter(|process| ids.contains(&process.id));
        processes.map(|process| Service::of(process)).collect()
    });
    let is_shown = |service: &Rated<GroupSample<Service>>| match (&of_selected, &service.key) {
        (Some(selected), GroupKey::Key(key)) => selected.contains(key),
        (Some(_), GroupKey::Other) => false,
        // What ended and used nothing since is no news.
        (None, _) => service.alive > 0 || service.rates.as_ref().is_some_and(|rates| rates.cpu.cores > 0.0),
    };
    let samples = tick.services.samples.iter().enumerate().filter(|(_, service)| is_shown(service));
    let mut rows: Vec<Row> =
        samples.map(|(index, service)| Row { index, depth: 0, figures: Figures::of_service(service) }).collect();
    let key = |row: &Row| tick.services.samples[row.index].key();
    rows.sort_by(|a, b| order(sort, &a.figures, &b.figures, || key(a).cmp(&key(b))));
    rows
}

/// Parents before their children, siblings in order of what they and all below used.
fn tree(sort: Sort, tick: &Tick, selected: Option<&HashSet<ProcessId>>) -> Vec<Row> {
    let samples = &tick.processes.samples;
    let places: HashMap<ProcessId, usize> =
        samples.iter().enumerate().map(|(index, process)| (process.id, index)).collect();
    let place = |process: &Rated<ProcessSample>| places.get(&process.id).copied();
    let tree = ProcessTree::new(&tick.processes);
    let mut children: Vec<Vec<usize>> =
        samples.iter().map(|process| tree.children(process.id).filter_map(place).collect()).collect();
    let mut roots: Vec<usize> = tree.roots().filter_map(place).collect();
    // Parents first, so that backwards each child is summed before its parent.
    let (mut order_of_visit, mut waiting) = (Vec::with_capacity(samples.len()), roots.clone());
    while let Some(index) = waiting.pop() {
        order_of_visit.push(index);
        waiting.extend(&children[index]);
    }
    let mut sums: Vec<Figures> = samples.iter().map(Figures::of_process).collect();
    let mut shown: Vec<bool> =
        samples.iter().map(|process| selected.is_none_or(|ids| ids.contains(&process.id))).collect();
    for index in order_of_visit.into_iter().rev() {
        for child in &children[index] {
            let sum = sums[*child];
            sums[index].add(&sum);
            // The ancestors of what is selected show where it is.
            shown[index] |= shown[*child];
        }
    }
    let by =
        |a: &usize, b: &usize| order(sort, &sums[*a], &sums[*b], || samples[*a].info.name.cmp(&samples[*b].info.name));
    children.iter_mut().for_each(|children| children.sort_by(by));
    roots.sort_by(by);
    let mut rows = Vec::with_capacity(samples.len());
    let mut waiting: Vec<(usize, usize)> = roots.into_iter().rev().map(|root| (root, 0)).collect();
    while let Some((index, depth)) = waiting.pop() {
        if shown[index] {
            rows.push(Row { index, depth, figures: sums[index] });
            waiting.extend(children[index].iter().rev().map(|child| (*child, depth + 1)));
        }
    }
    rows
}
