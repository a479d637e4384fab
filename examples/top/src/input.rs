//! Keys, and what they change.

use appmon::Timestamp;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::collect::Command;
use crate::state::{Prompt, Sort, State, View};

/// What is to be done beyond the state.
#[derive(Debug, PartialEq)]
pub(crate) enum Action {
    None,
    Quit,
    Player(Command),
    /// One more tick of a recording that is paused.
    Step,
}

/// How far it goes back at once where the known ticks end.
const BACK_SECONDS: u64 = 60;

/// How many ticks `[` and `]` go.
const FAR: i64 = 60;

pub(crate) fn on_key(state: &mut State, key: KeyEvent) -> Action {
    if key.kind == KeyEventKind::Release {
        return Action::None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
        return Action::Quit;
    }
    if state.prompt.is_some() {
        in_prompt(state, key);
        return Action::None;
    }
    match key.code {
        KeyCode::Char('q') => return Action::Quit,
        KeyCode::Char('?' | 'h') | KeyCode::F(1) => state.is_help = !state.is_help,
        KeyCode::Esc if state.is_help => state.is_help = false,
        KeyCode::Esc => state.filter = None,
        KeyCode::Tab => show(state, state.view.next(1)),
        KeyCode::BackTab => show(state, state.view.next(View::ALL.len() - 1)),
        KeyCode::Char(digit @ '1'..='6') => {
            let index = digit as usize - '1' as usize;
            show(state, View::ALL[index]);
        }
        KeyCode::Char('c') => state.sort = Sort::Cpu,
        KeyCode::Char('m') => state.sort = Sort::Memory,
        KeyCode::Char('i') => state.sort = Sort::Io,
        KeyCode::Char('n') => state.sort = Sort::Name,
        KeyCode::Up | KeyCode::Char('k') => state.cursor = state.cursor.saturating_sub(1),
        KeyCode::Down | KeyCode::Char('j') => state.cursor = state.cursor.saturating_add(1),
        KeyCode::PageUp => state.cursor = state.cursor.saturating_sub(20),
        KeyCode::PageDown => state.cursor = state.cursor.saturating_add(20),
        KeyCode::Char('/') => {
            let text = state.filter.as_ref().map(|(text, _)| text.clone()).unwrap_or_default();
            state.prompt = Some(Prompt { text, error: None });
        }
        KeyCode::Char(' ') => state.toggle_pin(),
        KeyCode::Left => return back(state, 1),
        KeyCode::Char('[') => return back(state, FAR),
        KeyCode::Right => return forward(state, 1),
        KeyCode::Char(']') => return forward(state, FAR),
        KeyCode::Home | KeyCode::Char('g') => {
            if let Some((first, _)) = state.span {
                return Action::Player(Command::Seek(first));
            }
            state.travel(i64::from(i32::MIN));
        }
        KeyCode::End | KeyCode::Char('G') => {
            state.unpin();
            if let Some((_, last)) = state.span {
                return Action::Player(Command::Seek(last));
            }
        }
        KeyCode::Char('+') if state.is_replay() => return faster(state, 2.0),
        KeyCode::Char('-') if state.is_replay() => return faster(state, 0.5),
        _ => {}
    }
    Action::None
}

fn show(state: &mut State, view: View) {
    (state.view, state.cursor) = (view, 0);
}

fn faster(state: &mut State, by: f64) -> Action {
    state.speed = (state.speed * by).clamp(1.0 / 64.0, 4096.0);
    Action::Player(Command::Faster(by))
}

fn back(state: &mut State, by: i64) -> Action {
    let oldest = state.oldest();
    if !state.travel(-by)
        && let (Some((first, _)), Some(oldest)) = (state.span, oldest)
        && oldest > first
    {
        let to = oldest.as_unix_nanos().saturating_sub(BACK_SECONDS * 1_000_000_000);
        return Action::Player(Command::Seek(Timestamp::from_unix_nanos(to.max(first.as_unix_nanos()))));
    }
    Action::None
}

fn forward(state: &mut State, by: i64) -> Action {
    if !state.travel(by) && state.is_replay() { Action::Step } else { Action::None }
}

fn in_prompt(state: &mut State, key: KeyEvent) {
    let Some(prompt) = &mut state.prompt else { return };
    match key.code {
        KeyCode::Esc => state.prompt = None,
        KeyCode::Enter => state.accept_prompt(),
        KeyCode::Backspace => {
            prompt.text.pop();
            state.check_prompt();
        }
        KeyCode::Char('u') if key.modifiers.contains(KeyModifiers::CONTROL) => {
            prompt.text.clear();
            state.check_prompt();
        }
        KeyCode::Char(char) => {
            prompt.text.push(char);
            state.check_prompt();
        }
        _ => {}
    }
}
