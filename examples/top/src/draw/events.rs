//! What happened up to the time that is shown, the newest first.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::{Theme, put, put_cut};
use crate::analysis::EventKind;
use crate::state::State;
use crate::units::time_of_day;

pub(super) fn draw(state: &State, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let events = state.past().flat_map(|tick| tick.events.iter().rev()).skip(state.cursor);
    let mut y = 0;
    for event in events.take(usize::from(area.height)) {
        let x = put(buffer, area, 0, y, &time_of_day(event.time), theme.faint());
        let (sign, style) = match event.kind {
            EventKind::Began => ("+", theme.good()),
            EventKind::Changed => ("~", theme.good()),
            EventKind::Ended => ("-", theme.note()),
            EventKind::Alert => ("!", theme.bad()),
            EventKind::Note => ("i", theme.strong()),
        };
        put(buffer, area, x + 1, y, sign, style);
        put_cut(buffer, area, x + 3, y, area.width.saturating_sub(x + 3), &event.text, Style::new());
        y += 1;
    }
    if y == 0 {
        put(buffer, area, 0, 0, "nothing happened yet", theme.faint());
    }
}
