//! The screen: a pure function of the state.

mod alerts;
mod disks;
mod events;
mod foot;
mod head;
mod help;
mod table;
mod theme;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::state::{State, View};

pub(crate) use theme::Theme;

/// Below this the screen has no room for anything.
const LEAST: (u16, u16) = (20, 5);

/// Draws the state.
pub(crate) fn draw(state: &State, theme: Theme, frame: &mut Frame<'_>) {
    let area = frame.area();
    let buffer = frame.buffer_mut();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        put(buffer, area, 0, 0, "too small", Style::new());
        return;
    }
    let head = head::draw(state, theme, area, buffer);
    let foot = foot::height(state, area);
    let body = Rect { y: area.y + head, height: area.height.saturating_sub(head + foot), ..area };
    match state.view {
        _ if state.is_help => help::draw(theme, body, buffer),
        View::Services | View::Processes | View::Tree => table::draw(state, theme, body, buffer),
        View::Disks => disks::draw(state, theme, body, buffer),
        View::Events => events::draw(state, theme, body, buffer),
        View::Alerts => alerts::draw(state, theme, body, buffer),
    }
    foot::draw(state, theme, Rect { y: area.y + area.height - foot, height: foot, ..area }, buffer);
}

/// Writes a text at a place of the area, as far as there is room. Returns the column behind it.
fn put(buffer: &mut Buffer, area: Rect, x: u16, y: u16, text: &str, style: Style) -> u16 {
    if x >= area.width || y >= area.height {
        return x;
    }
    let (end, _) = buffer.set_stringn(area.x + x, area.y + y, text, usize::from(area.width - x), style);
    end - area.x
}

/// Writes a text that ends before this column.
fn put_right(buffer: &mut Buffer, area: Rect, end: u16, y: u16, text: &str, style: Style) {
    let width = u16::try_from(text.chars().count()).unwrap_or(u16::MAX);
    put(buffer, area, end.saturating_sub(width), y, text, style);
}

/// Writes a text into so many columns; one that is cut ends with a sign of it.
fn put_cut(buffer: &mut Buffer, area: Rect, x: u16, y: u16, columns: u16, text: &str, style: Style) {
    let columns = columns.min(area.width.saturating_sub(x));
    if columns == 0 || y >= area.height {
        return;
    }
    let width = ratatui::text::Span::raw(text).width();
    if width <= usize::from(columns) {
        put(buffer, area, x, y, text, style);
    } else {
        buffer.set_stringn(area.x + x, area.y + y, text, usize::from(columns - 1), style);
        buffer.set_string(area.x + x + columns - 1, area.y + y, "…", style);
    }
}

/// The first row of a list, so that the cursor is in sight.
fn first_row(cursor: usize, rows: usize, height: usize) -> usize {
    let cursor = cursor.min(rows.saturating_sub(1));
    cursor.saturating_sub(height.saturating_sub(1)).min(rows.saturating_sub(height))
}
