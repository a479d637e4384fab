//! The foot: the keys, or what is typed and what is wrong with it.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::{Theme, put, put_cut};
use crate::state::State;

/// The lines it takes.
pub(super) fn height(state: &State, area: Rect) -> u16 {
    let error = state.prompt.as_ref().and_then(|prompt| prompt.error.as_ref());
    let lines = error.map_or(0, |error| u16::try_from(error.lines().count()).unwrap_or(u16::MAX));
    lines.saturating_add(1).min(area.height / 2)
}

pub(super) fn draw(state: &State, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let last = area.height.saturating_sub(1);
    if let Some(prompt) = &state.prompt {
        for (y, line) in (0..last).zip(prompt.error.iter().flat_map(|error| error.lines())) {
            put_cut(buffer, area, 0, y, area.width, line, theme.bad());
        }
        let x = put(buffer, area, 0, last, "select: ", theme.title());
        let x = put(buffer, area, x, last, &prompt.text, Style::new());
        put(buffer, area, x, last, " ", theme.chosen());
        return;
    }
    if let Some(error) = &state.error {
        put_cut(buffer, area, 0, last, area.width, error, theme.bad());
        return;
    }
    if let Some((text, _)) = &state.filter {
        let x = put(buffer, area, 0, last, "selected: ", theme.title());
        put_cut(buffer, area, x, last, area.width.saturating_sub(x), &format!("{text}  (Esc: all)"), Style::new());
        return;
    }
    let notice =
        state.tick().and_then(|tick| tick.processes.notices.iter().find(|notice| crate::collect::is_shown(notice)));
    let keys = match area.width {
        0..60 => "? help  q quit",
        _ => "? help  c/m/i/n sort  / select  space pause  ←/→ time  q quit",
    };
    let x = put(buffer, area, 0, last, keys, theme.faint());
    if let Some(notice) = notice {
        put_cut(buffer, area, x + 2, last, area.width.saturating_sub(x + 2), &notice.to_string(), theme.note());
    }
}
