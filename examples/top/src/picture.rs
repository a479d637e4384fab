//! A frame as a picture: the same frame is the same picture, byte for byte.

use std::fmt::Write;

use appmon::Result;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};

use crate::args::Args;
use crate::draw::{Theme, draw};
use crate::player::Player;
use crate::state::State;

/// The size of a cell, of a monospaced font of 14 pixels.
const CELL: (f64, f64) = (8.43, 17.0);

const MARGIN: f64 = 10.0;

const FOREGROUND: &str = "#d8dee9";
const BACKGROUND: &str = "#1d2129";

/// Draws a recording at its time, or its end.
pub(crate) fn of(args: &Args, size: (u16, u16)) -> Result<String> {
    let mut player = Player::open(args)?;
    let mut state = State::new(player.span()?, args.speed);
    while let Some(tick) = player.next()? {
        let is_there = args.at.is_some_and(|at| tick.time >= at);
        state.push(tick);
        if is_there {
            break;
        }
    }
    frame(&state, size).map(|buffer| svg(&buffer))
}

/// Draws the state into a buffer.
pub(crate) fn frame(state: &State, size: (u16, u16)) -> Result<Buffer> {
    let mut terminal = Terminal::new(TestBackend::new(size.0, size.1))?;
    terminal.draw(|frame| draw(state, Theme::Colours, frame))?;
    Ok(terminal.backend().buffer().clone())
}

/// Draws a buffer.
pub(crate) fn svg(buffer: &Buffer) -> String {
    let area = buffer.area;
    let width = f64::from(area.width) * CELL.0 + 2.0 * MARGIN;
    let height = f64::from(area.height) * CELL.1 + 2.0 * MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.2} {height:.2}\" \
         font-family=\"'DejaVu Sans Mono','Liberation Mono',Menlo,Consolas,monospace\" font-size=\"14\" fill=\"{FOREGROUND}\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{BACKGROUND}\"/>\n"
    );
    for y in 0..area.height {
        let cells: Vec<&Cell> = (0..area.width).filter_map(|x| buffer.cell((area.x + x, area.y + y))).collect();
        let mut x = 0;
        while x < cells.len() {
            let look = |cell: &Cell| (cell.fg, cell.modifier);
            let len = cells[x..].iter().take_while(|cell| look(cell) == look(cells[x])).count();
            run(&mut svg, &cells[x..x + len], x, usize::from(y));
            x += len;
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// Cells of the same look.
fn run(svg: &mut String, cells: &[&Cell], x: usize, y: usize) {
    let Some(first) = cells.first() else { return };
    let text: String = cells.iter().map(|cell| cell.symbol()).collect();
    let is_reversed = first.modifier.contains(Modifier::REVERSED);
    let (left, top) = (MARGIN + x as f64 * CELL.0, MARGIN + y as f64 * CELL.1);
    let width = cells.len() as f64 * CELL.0;
    let mut colour = colour(first.fg);
    // Writing to a string cannot fail.
    if is_reversed {
        let _ = writeln!(
            svg,
            "<rect x=\"{left:.2}\" y=\"{top:.2}\" width=\"{width:.2}\" height=\"{:.2}\" fill=\"{colour}\"/>",
            CELL.1
        );
        colour = BACKGROUND;
    }
    let trimmed = text.trim_end();
    if trimmed.trim_start().is_empty() {
        return;
    }
    let columns = trimmed.chars().count() as f64;
    let bold = if first.modifier.contains(Modifier::BOLD) { " font-weight=\"bold\"" } else { "" };
    let dim = if first.modifier.contains(Modifier::DIM) { " opacity=\"0.6\"" } else { "" };
    let _ = writeln!(
        svg,
        "<text x=\"{left:.2}\" y=\"{:.2}\" textLength=\"{:.2}\" lengthAdjust=\"spacingAndGlyphs\" fill=\"{colour}\"{bold}{dim} xml:space=\"preserve\">{}</text>",
        top + 13.0,
        columns * CELL.0,
        escaped(trimmed)
    );
}

fn colour(colour: Color) -> &'static str {
    match colour {
        Color::Red => "#e06c75",
        Color::Green => "#8fbf6f",
        Color::Yellow => "#e5c07b",
        Color::Blue => "#6a9fe0",
        Color::Magenta => "#c58fd6",
        Color::Cyan => "#5fbccb",
        _ => FOREGROUND,
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
