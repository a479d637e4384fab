//! The head: the machine, the time, and the views.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{Theme, put, put_right};
use crate::rows::{Figures, sum};
use crate::state::{State, View};
use crate::units::{bar, date_and_time, percent, size, time_of_day};

/// Returns the number of lines.
pub(super) fn draw(state: &State, theme: Theme, area: Rect, buffer: &mut Buffer) -> u16 {
    let x = put(buffer, area, 0, 0, "appmon", theme.title());
    let Some(tick) = state.tick() else {
        put(buffer, area, x + 2, 0, "waiting for the first tick", theme.faint());
        views(state, theme, area, buffer);
        return 3;
    };
    let used = sum(tick.processes.samples.iter().map(Figures::of_process));
    let machine = &tick.machine;
    let mut x = x + 2;
    if let Some(cpus) = machine.cpus {
        let share = used.cores.unwrap_or(0.0) / cpus as f64;
        x = put(buffer, area, x, 0, &format!("{cpus} CPUs "), theme.faint());
        x = put(buffer, area, x, 0, &bar(share, 8), theme.share(share));
    } else {
        x = put(buffer, area, x, 0, "CPU", theme.faint());
    }
    x = put(buffer, area, x, 0, &format!(" {}%", percent(used.cores)), theme.strong());
    if let Some(load) = machine.load {
        x = put(buffer, area, x, 0, &format!("  load {load:.2}"), theme.faint());
    }
    if let Some(memory) = machine.memory {
        let used = memory.total_bytes.saturating_sub(memory.available_bytes) as f64;
        let share = used / (memory.total_bytes as f64).max(1.0);
        x = put(buffer, area, x, 0, "  memory ", theme.faint());
        x = put(buffer, area, x, 0, &bar(share, 8), theme.share(share));
        let text = format!(" {} of {}", size(used), size(memory.total_bytes as f64));
        x = put(buffer, area, x, 0, &text, theme.strong());
    } else {
        x = put(buffer, area, x, 0, "  memory ", theme.faint());
        x = put(buffer, area, x, 0, &size(used.memory), theme.strong());
    }
    put(buffer, area, x, 0, &format!("  {} processes", tick.processes.len()), theme.faint());

    let clock = if state.is_replay() { date_and_time(tick.time) } else { time_of_day(tick.time) };
    put_right(buffer, area, area.width, 1, &clock, theme.strong());
    let end = area.width.saturating_sub(u16::try_from(clock.len()).unwrap_or(0) + 1);
    put_right(buffer, area, end, 1, &place(state), theme.note());
    views(state, theme, area, buffer);
    3
}

/// Where in time this is, if it is not now.
fn place(state: &State) -> String {
    let behind = match state.behind() {
        0 => String::new(),
        behind => format!(" -{behind}"),
    };
    let speed = if state.is_replay() { format!(" ×{}", state.speed) } else { String::new() };
    match (state.is_pinned(), state.is_at_end, state.is_replay()) {
        (true, ..) => format!("paused{behind}"),
        (false, true, _) => "end".to_owned(),
        (false, false, true) => format!("▶{speed}"),
        (false, false, false) => String::new(),
    }
}

/// The names of the views, by room in full or as numbers.
fn views(state: &State, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let is_wide = area.width >= 92;
    let mut x = 0;
    for (index, view) in View::ALL.into_iter().enumerate() {
        let is_shown = view == state.view;
        let text = match view.name() {
            name if is_wide || is_shown => format!(" {} {name} ", index + 1),
            _ => format!(" {} ", index + 1),
        };
        x = put(buffer, area, x, 1, &text, if is_shown { theme.chosen() } else { theme.faint() });
    }
    if let Some(tick) = state.tick().filter(|tick| !tick.active.is_empty()) {
        put(buffer, area, x + 1, 1, &format!("! {}", tick.active.len()), theme.bad());
    }
}
