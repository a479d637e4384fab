//! What is on the screen, without the screen.

use std::collections::VecDeque;

use appmon::{Select, Timestamp};

use crate::analysis::Tick;

/// So many samples of processes are kept of the past: some hundred bytes each.
const MOST_SAMPLES: usize = 200_000;

/// So many ticks at most.
const MOST_TICKS: usize = 3_600;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum View {
    #[default]
    Services,
    Processes,
    Tree,
    Disks,
    Events,
    Alerts,
}

impl View {
    pub(crate) const ALL: [Self; 6] =
        [Self::Services, Self::Processes, Self::Tree, Self::Disks, Self::Events, Self::Alerts];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Services => "Services",
            Self::Processes => "Processes",
            Self::Tree => "Tree",
            Self::Disks => "Disks",
            Self::Events => "Events",
            Self::Alerts => "Alerts",
        }
    }

    /// The view so many further to the right.
    pub(crate) fn next(self, by: usize) -> Self {
        let at = Self::ALL.iter().position(|view| *view == self).unwrap_or_default();
        Self::ALL[(at + by) % Self::ALL.len()]
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sort {
    #[default]
    Cpu,
    Memory,
    Io,
    Name,
}

/// The line in which a selection is typed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Prompt {
    pub(crate) text: String,
    /// Why it is no selection yet: the text with the place, in lines.
    pub(crate) error: Option<String>,
}

#[derive(Default)]
pub(crate) struct State {
    ticks: VecDeque<Tick>,
    /// The number of the first of them.
    first: u64,
    /// The number of the tick that is shown; `None` for the newest.
    pinned: Option<u64>,
    pub(crate) view: View,
    pub(crate) sort: Sort,
    /// The row at the cursor, and the first row that is shown.
    pub(crate) cursor: usize,
    pub(crate) filter: Option<(String, Select)>,
    pub(crate) prompt: Option<Prompt>,
    pub(crate) is_help: bool,
    /// The times of a recording.
    pub(crate) span: Option<(Timestamp, Timestamp)>,
    pub(crate) speed: f64,
    pub(crate) is_at_end: bool,
    pub(crate) error: Option<String>,
}

impl State {
    /// Without a tick yet, live or of a recording of this span.
    pub(crate) fn new(span: Option<(Timestamp, Timestamp)>, speed: f64) -> Self {
        let mut state = Self::default();
        (state.span, state.speed) = (span, speed);
        state
    }

    /// A new tick. What is shown stays where it is while it is pinned.
    pub(crate) fn push(&mut self, tick: Tick) {
        self.error = None;
        self.is_at_end = false;
        self.ticks.push_back(tick);
        let samples = |ticks: &VecDeque<Tick>| ticks.iter().map(|tick| tick.processes.len()).sum::<usize>();
        let mut many = samples(&self.ticks);
        while self.ticks.len() > 2 && (many > MOST_SAMPLES || self.ticks.len() > MOST_TICKS) {
            many -= self.ticks.pop_front().map_or(0, |tick| tick.processes.len());
            self.first += 1;
        }
        // What was shown is forgotten: the oldest is there instead.
        self.pinned = self.pinned.map(|pinned| pinned.max(self.first));
    }

    /// The ticks that follow are of another time.
    pub(crate) fn jumped(&mut self) {
        self.first += self.ticks.len() as u64;
        self.ticks.clear();
        self.pinned = None;
    }

    fn index(&self) -> Option<usize> {
        let last = self.ticks.len().checked_sub(1)?;
        Some(self.pinned.map_or(last, |pinned| usize::try_from(pinned - self.first).unwrap_or(last).min(last)))
    }

    /// The tick that is shown.
    pub(crate) fn tick(&self) -> Option<&Tick> {
        self.ticks.get(self.index()?)
    }

    /// The ticks up to the one that is shown, the newest first.
    pub(crate) fn past(&self) -> impl Iterator<Item = &Tick> {
        let shown = self.index().map_or(0, |index| index + 1);
        self.ticks.range(..shown).rev()
    }

    /// How many newer ticks there are than the one that is shown.
    pub(crate) fn behind(&self) -> usize {
        self.index().map_or(0, |index| self.ticks.len() - 1 - index)
    }

    pub(crate) fn is_pinned(&self) -> bool {
        self.pinned.is_some()
    }

    pub(crate) fn is_replay(&self) -> bool {
        self.span.is_some()
    }

    /// The oldest tick that is known.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        self.ticks.front().map(|tick| tick.time)
    }

    /// Shows always the newest again, or stays with this tick.
    pub(crate) fn toggle_pin(&mut self) {
        self.pinned = match self.pinned {
            Some(_) => None,
            None => self.index().map(|index| self.first + index as u64),
        };
    }

    pub(crate) fn unpin(&mut self) {
        self.pinned = None;
    }

    /// Goes so many ticks forward, or back. Returns false where there are none.
    pub(crate) fn travel(&mut self, by: i64) -> bool {
        let Some(index) = self.index() else { return false };
        let to = index as i64 + by;
        let last = self.ticks.len() as i64 - 1;
        self.pinned = Some(self.first + to.clamp(0, last) as u64);
        (0..=last).contains(&to)
    }

    /// The selection as it is typed so far.
    pub(crate) fn check_prompt(&mut self) {
        let Some(prompt) = &mut self.prompt else { return };
        let text = prompt.text.trim();
        prompt.error = if text.is_empty() { None } else { text.parse::<Select>().err().map(|error| error.to_string()) };
    }

    /// The prompt becomes the filter, unless it is wrong.
    pub(crate) fn accept_prompt(&mut self) {
        let Some(prompt) = &mut self.prompt else { return };
        let text = prompt.text.trim().to_owned();
        match text.parse::<Select>() {
            _ if text.is_empty() => (self.filter, self.prompt) = (None, None),
            Ok(select) => (self.filter, self.prompt) = (Some((text, select)), None),
            Err(error) => prompt.error = Some(error.to_string()),
        }
        self.cursor = 0;
    }
}
