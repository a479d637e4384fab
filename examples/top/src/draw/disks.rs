//! Disks: bars of their parts, how fast they grow, and when they are full.

use appmon::fs::{FileSystemRates, PartKind};
use appmon::{FileSystemSample, Rated};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::{Theme, first_row, put, put_cut, put_right};
use crate::state::State;
use crate::units::{about, size};

pub(super) fn draw(state: &State, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let Some(disks) = state.tick().and_then(|tick| tick.disks.clone()) else {
        let text = match state.is_replay() {
            true => "no recording of disks: give one with a second --replay",
            false => "waiting for the disks",
        };
        put(buffer, area, 0, 0, text, theme.faint());
        return;
    };
    // Those of the kernel have no size.
    let disks: Vec<_> = disks.samples.iter().filter(|disk| disk.total_bytes > 0).collect();
    put(buffer, area, 0, 0, "DISK", theme.faint());
    let is_wide = area.width >= 72;
    put_right(
        buffer,
        area,
        area.width,
        0,
        if is_wide { "USED OF TOTAL    GROWTH/s   FULL IN" } else { "USED   FULL IN" },
        theme.faint(),
    );
    let height = usize::from(area.height.saturating_sub(1)) / 2;
    let first = first_row(state.cursor, disks.len(), height.max(1));
    for (line, disk) in disks.iter().skip(first).take(height).enumerate() {
        let y = u16::try_from(line * 2 + 1).unwrap_or(u16::MAX);
        draw_disk(disk, theme, Rect { y: area.y + y, height: 2, ..area }, buffer, is_wide);
    }
}

fn draw_disk(disk: &Rated<FileSystemSample>, theme: Theme, area: Rect, buffer: &mut Buffer, is_wide: bool) {
    let figures_width: u16 = if is_wide { 38 } else { 17 };
    let names = area.width.saturating_sub(figures_width);
    let name = format!("{} ({})", disk.mount_point, disk.fs_type);
    put_cut(buffer, area, 0, 0, names, &name, theme.strong());
    let full = disk.fullness().unwrap_or(0.0);
    let rates: Option<&FileSystemRates> = disk.rates.as_ref();
    let until_full = rates.and_then(|rates| rates.time_to_full).map_or_else(|| "-".to_owned(), about);
    let growth = match rates.map(|rates| rates.used_bytes) {
        None => "-".to_owned(),
        Some(growth) if growth.abs() < 0.5 => "·".to_owned(),
        Some(growth) if growth < 0.0 => format!("-{}", size(-growth)),
        Some(growth) => format!("+{}", size(growth)),
    };
    put_right(buffer, area, area.width, 0, &until_full, if until_full == "-" { theme.faint() } else { theme.bad() });
    if is_wide {
        put_right(buffer, area, area.width - 9, 0, &growth, Style::new());
        let used =
            format!("{:.0}% {} of {}", full * 100.0, size(disk.used_bytes as f64), size(disk.total_bytes as f64));
        put_right(buffer, area, area.width - 19, 0, &used, theme.share(full));
    } else {
        put_right(buffer, area, area.width - 9, 0, &format!("{:.0}%", full * 100.0), theme.share(full));
    }
    draw_parts(disk, theme, area, buffer);
}

/// A bar of the parts, each with as much of it as it has of the disk, and its name where there is room.
fn draw_parts(disk: &Rated<FileSystemSample>, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let width = f64::from(area.width);
    let (mut before, mut x, mut nth) = (0.0, 0, 0);
    for part in &disk.parts {
        before += part.fraction;
        let end = (before.min(1.0) * width).round() as u16;
        let columns = usize::from(end.saturating_sub(x));
        let (fill, style) = match part.kind {
            PartKind::Free => ("·", theme.faint()),
            PartKind::Reserved => ("×", theme.faint()),
            PartKind::Other => ("▒", Style::new()),
            _ => {
                nth += 1;
                ("█", theme.part(nth - 1))
            }
        };
        put(buffer, area, x, 1, &fill.repeat(columns), style);
        let label = format!(" {} {} ", part.name, size(part.bytes as f64));
        if label.chars().count() < columns {
            put(buffer, area, x + 1, 1, &label, style);
        }
        x = end;
    }
}
