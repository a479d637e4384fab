//! The terminal: taken, given back whatever happens, and the loop between keys and ticks.

use std::io::IsTerminal;
use std::time::Duration;

use appmon::{Error, Result};
use ratatui::crossterm::event::{self, Event};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{self, Receiver, Sender};

use crate::args::Args;
use crate::collect::{self, Command, Message};
use crate::draw::{Theme, draw};
use crate::input::{Action, on_key};
use crate::player::Player;
use crate::state::State;

/// Shows what there is until somebody leaves.
pub(crate) async fn run(args: Args) -> Result<()> {
    if !std::io::stdout().is_terminal() {
        return Err(Error::config("standard output is no terminal; `--replay FILE --svg 100x30` prints a picture"));
    }
    let mut state = State::new(None, args.speed);
    let (sender, messages) = mpsc::channel(4);
    let (commands, command_receiver) = mpsc::channel(16);
    let collector = if args.replay.is_empty() {
        tokio::spawn(collect::live(args, sender))
    } else {
        // Errors of the arguments are for the shell, not for a screen.
        let player = Player::open(&args)?;
        state.span = player.span()?;
        tokio::spawn(collect::replay(player, args, command_receiver, sender))
    };
    let keys = keys();
    // It restores the terminal on a panic too.
    let mut terminal = ratatui::try_init()?;
    let shown = show(&mut terminal, &mut state, keys, messages, &commands).await;
    ratatui::restore();
    shown?;
    if collector.is_finished() {
        return collector.await.map_err(|error| Error::io(std::io::Error::other(error)))?;
    }
    collector.abort();
    Ok(())
}

/// Keys come by a thread: reading a terminal blocks.
fn keys() -> Receiver<Event> {
    let (sender, receiver) = mpsc::channel(64);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if sender.blocking_send(event).is_err() {
                break;
            }
        }
    });
    receiver
}

async fn show(
    terminal: &mut ratatui::DefaultTerminal,
    state: &mut State,
    mut keys: Receiver<Event>,
    mut messages: Receiver<Message>,
    commands: &Sender<Command>,
) -> Result<()> {
    let theme = Theme::from_env();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // A recording that is paused waits for a step.
    let mut steps = 0_u32;
    loop {
        terminal.draw(|frame| draw(state, theme, frame))?;
        let is_waiting = state.is_replay() && state.is_pinned() && steps == 0;
        tokio::select! {
            biased;
            _ = terminate.recv() => return Ok(()),
            _ = hangup.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            event = keys.recv() => match event {
                Some(Event::Key(key)) => match on_key(state, key) {
                    Action::None => {}
                    Action::Quit => return Ok(()),
                    Action::Step => steps += 1,
                    Action::Player(command) => {
                        // More keys than it can follow are left out.
                        let _ = commands.try_send(command);
                        if matches!(command, Command::Seek(_)) {
                            state.unpin();
                        }
                    }
                },
                Some(_) => {}
                // The terminal is gone.
                None => return Ok(()),
            },
            message = messages.recv(), if !is_waiting => match message {
                Some(message) => {
                    let is_tick = matches!(message, Message::Tick(_));
                    take(state, message);
                    if is_tick && steps > 0 {
                        steps -= 1;
                        state.travel(1);
                    }
                    // Those that came at once are one frame.
                    while steps == 0 && !(state.is_replay() && state.is_pinned()) {
                        let Ok(message) = messages.try_recv() else { break };
                        take(state, message);
                    }
                }
                None => return Ok(()),
            },
            () = tokio::time::sleep(Duration::from_secs(3600)) => {}
        }
    }
}

fn take(state: &mut State, message: Message) {
    match message {
        Message::Tick(tick) => state.push(*tick),
        Message::Jumped => state.jumped(),
        Message::End => state.is_at_end = true,
        Message::Error(error) => state.error = Some(error),
    }
}
