//! Services, processes and the tree.

use appmon::Sample;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::{Theme, first_row, put, put_cut, put_right};
use crate::analysis::Tick;
use crate::rows::{Figures, Row, rows};
use crate::state::{Sort, State, View};
use crate::units::{bar, percent, size, size_or_dash, spark};

/// The columns of the sparklines.
const SPARK: usize = 12;

/// A column behind the name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Column {
    Pid,
    Members,
    User,
    Cpu,
    Spark,
    Share,
    Memory,
    Read,
    Written,
}

impl Column {
    fn width(self) -> u16 {
        match self {
            Self::Pid => 8,
            Self::Members => 12,
            Self::User | Self::Share => 10,
            Self::Cpu => 7,
            Self::Spark => SPARK as u16 + 1,
            Self::Memory => 8,
            Self::Read | Self::Written => 9,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Pid => "PID",
            Self::Members => "ALIVE/ENDED",
            Self::User => "USER",
            Self::Cpu => "CPU%",
            Self::Spark => "",
            Self::Share => "SHARE",
            Self::Memory => "MEMORY",
            Self::Read => "READ/s",
            Self::Written => "WRITE/s",
        }
    }

    fn is_sorted_by(self, sort: Sort) -> bool {
        matches!((self, sort), (Self::Cpu, Sort::Cpu) | (Self::Memory, Sort::Memory))
            || (matches!(self, Self::Read | Self::Written) && sort == Sort::Io)
    }
}

/// What there is room for: the less is left out the more it is asked for.
fn columns(view: View, width: u16, has_shares: bool) -> Vec<Column> {
    let first = if view == View::Services { Column::Members } else { Column::Pid };
    let wanted = [
        (0, Column::Cpu),
        (0, Column::Memory),
        (48, first),
        (64, Column::Read),
        (64, Column::Written),
        (80, Column::Spark),
        (100, Column::Share),
    ];
    let mut columns: Vec<Column> =
        wanted.iter().filter(|(least, _)| width >= *least).map(|(_, column)| *column).collect();
    if width >= 116 && view != View::Services {
        columns.push(Column::User);
    }
    // The figures there are of all below, and a line of the process alone beside them would be of something else.
    columns.retain(|column| view != View::Tree || *column != Column::Spark);
    columns.retain(|column| has_shares || *column != Column::Share);
    let order = [
        Column::Pid,
        Column::Members,
        Column::User,
        Column::Cpu,
        Column::Spark,
        Column::Share,
        Column::Memory,
        Column::Read,
        Column::Written,
    ];
    columns.sort_by_key(|column| order.iter().position(|other| other == column));
    columns
}

pub(super) fn draw(state: &State, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let Some(tick) = state.tick() else { return };
    let has_shares = tick.machine.cpus.is_some() || tick.machine.memory.is_some();
    let columns = columns(state.view, area.width, has_shares);
    let name_width = area.width.saturating_sub(columns.iter().map(|column| column.width()).sum());
    let title = if state.view == View::Services { "SERVICE" } else { "PROCESS" };
    let style = |is_sorted| if is_sorted { theme.strong().patch(theme.title()) } else { theme.faint() };
    put(buffer, area, 0, 0, title, style(state.sort == Sort::Name));
    let mut end = name_width;
    for column in &columns {
        end += column.width();
        put_right(buffer, area, end, 0, column.title(), style(column.is_sorted_by(state.sort)));
    }
    let rows = rows(state, tick);
    let height = usize::from(area.height.saturating_sub(1));
    let first = first_row(state.cursor, rows.len(), height);
    let cursor = state.cursor.min(rows.len().saturating_sub(1));
    for (line, (nth, row)) in rows.iter().enumerate().skip(first).take(height).enumerate() {
        let y = u16::try_from(line).unwrap_or(u16::MAX).saturating_add(1);
        draw_row(&Line { state, tick, row, y, theme }, &columns, name_width, area, buffer);
        if nth == cursor {
            let name = Rect { x: area.x, y: area.y + y, width: name_width.saturating_sub(1), height: 1 };
            buffer.set_style(name.intersection(area), theme.chosen());
        }
    }
    if rows.is_empty() {
        put(buffer, area, 0, 1, "nothing is selected", theme.faint());
    }
}

struct Line<'a> {
    state: &'a State,
    tick: &'a Tick,
    row: &'a Row,
    y: u16,
    theme: Theme,
}

fn draw_row(line: &Line<'_>, columns: &[Column], name_width: u16, area: Rect, buffer: &mut Buffer) {
    let Line { state, tick, row, y, theme } = *line;
    let name = name(state.view, tick, row);
    put_cut(buffer, area, 0, y, name_width.saturating_sub(1), &name, Style::new());
    let figures = &row.figures;
    let share = share(tick, figures);
    let mut end = name_width;
    for column in columns {
        end += column.width();
        let (text, style) = match column {
            Column::Pid => (tick.processes.samples[row.index].id.pid.to_string(), theme.faint()),
            Column::Members => {
                let service = &tick.services.samples[row.index];
                (format!("{}/{}", service.alive, service.exited), theme.faint())
            }
            Column::User => {
                let info = &tick.processes.samples[row.index].info;
                let user = info.user.value().map_or_else(|| info.uid.to_string(), ToString::to_string);
                (user.chars().take(9).collect(), theme.faint())
            }
            Column::Cpu => (percent(figures.cores), theme.share(figures.cores.unwrap_or(0.0))),
            Column::Spark => {
                let values: Vec<Option<f64>> = history(state, tick, row);
                let most = values.iter().flatten().copied().fold(0.1, f64::max);
                (spark(values.into_iter(), most, SPARK), theme.good())
            }
            Column::Share => (share.map_or_else(String::new, |share| bar(share, 9)), theme.share(share.unwrap_or(0.0))),
            Column::Memory => (size(figures.memory), theme.strong()),
            Column::Read => (size_or_dash(figures.read), Style::new()),
            Column::Written => (size_or_dash(figures.written), Style::new()),
        };
        put_right(buffer, area, end, y, &text, style);
    }
}

/// The larger of its shares of the CPUs and of the memory of the machine, where those are known.
fn share(tick: &Tick, figures: &Figures) -> Option<f64> {
    let cpu = tick.machine.cpus.zip(figures.cores).map(|(cpus, cores)| cores / cpus as f64);
    let memory = tick.machine.memory.map(|memory| figures.memory / memory.total_bytes.max(1) as f64);
    match (cpu, memory) {
        (Some(cpu), Some(memory)) => Some(cpu.max(memory)),
        (cpu, memory) => cpu.or(memory),
    }
}

fn name(view: View, tick: &Tick, row: &Row) -> String {
    if view == View::Services {
        return tick.services.samples[row.index].key.to_string();
    }
    let info = &tick.processes.samples[row.index].info;
    let mut name = "  ".repeat(row.depth.min(40));
    name.push_str(&info.name.to_string());
    let arguments = info.cmdline.value().map_or(&[][..], |cmdline| cmdline.get(1..).unwrap_or_default());
    for argument in arguments.iter().take(20) {
        name.push(' ');
        name.push_str(&argument.to_string());
    }
    name
}

/// The cores of the same subject at the ticks before, the oldest first.
fn history(state: &State, tick: &Tick, row: &Row) -> Vec<Option<f64>> {
    let past = state.past().take(SPARK);
    let mut values: Vec<Option<f64>> = if state.view == View::Services {
        let key = &tick.services.samples[row.index].key;
        past.map(|tick| {
            let samples = &tick.services.samples;
            let found = samples.binary_search_by(|service| service.key.cmp(key)).ok()?;
            samples[found].rates.as_ref().map(|rates| rates.cpu.cores)
        })
        .collect()
    } else {
        let key = tick.processes.samples[row.index].key();
        past.map(|tick| {
            let samples = &tick.processes.samples;
            let found = samples.binary_search_by(|process| process.key().cmp(&key)).ok()?;
            samples[found].rates.as_ref().map(|rates| rates.cpu.cores)
        })
        .collect()
    };
    values.reverse();
    values
}
