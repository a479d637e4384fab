//! The keys.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::{Theme, put};

const KEYS: [(&str, &str); 14] = [
    ("1 … 6, Tab", "services, processes, tree, disks, events, alerts"),
    ("c m i n", "sort by CPU, memory, I/O, name"),
    ("↑ ↓ PgUp PgDn", "move in the list"),
    ("/", "show what a selection selects, such as name=postgres & age>1h"),
    ("Esc", "show all again"),
    ("Space", "pause, and go on"),
    ("← →", "a tick back, or forward"),
    ("[ ]", "60 ticks back, or forward"),
    ("Home", "the oldest tick; of a recording its beginning"),
    ("End", "now; of a recording its end"),
    ("+ -", "a recording twice as fast, or half"),
    ("?", "this help"),
    ("q, Ctrl-C", "leave"),
    ("", "Shares are of the machine, CPU% is of one core. A dot is nothing, a dash is not known."),
];

pub(super) fn draw(theme: Theme, area: Rect, buffer: &mut Buffer) {
    let column = if area.width < 50 { 11 } else { 16 };
    for (y, (keys, text)) in (0..).zip(KEYS) {
        put(buffer, area, 1, y, keys, theme.title());
        put(buffer, area, if keys.is_empty() { 1 } else { column }, y, text, Style::new());
    }
}
