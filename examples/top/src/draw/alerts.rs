//! The alerts that are active.

use std::time::Duration;

use appmon::stream::AlertState;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::{Theme, first_row, put, put_cut};
use crate::analysis::state as state_name;
use crate::state::State;
use crate::units::about;

pub(super) fn draw(state: &State, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let Some(tick) = state.tick() else { return };
    if tick.active.is_empty() {
        put(buffer, area, 0, 0, "no alert is active", theme.faint());
        return;
    }
    put(buffer, area, 0, 0, "STATE     SINCE  SUBJECT", theme.faint());
    let height = usize::from(area.height.saturating_sub(1));
    let first = first_row(state.cursor, tick.active.len(), height);
    for (line, edge) in tick.active.iter().skip(first).take(height).enumerate() {
        let y = u16::try_from(line + 1).unwrap_or(u16::MAX);
        let style = if edge.state == AlertState::Firing { theme.bad() } else { theme.note() };
        put(buffer, area, 0, y, state_name(edge.state), style);
        let since = tick.processes.at.since(edge.since).unwrap_or(Duration::ZERO);
        put(buffer, area, 10, y, &about(since), Style::new());
        let value = edge.value.map_or_else(String::new, |value| format!(", now {value:.3}"));
        let text = format!("{}: {}{value}", edge.subject, edge.rule);
        put_cut(buffer, area, 17, y, area.width.saturating_sub(17), &text, Style::new());
    }
}
