//! Ticks on their way to the screen: of this machine as they come, of a recording at its speed.

use std::time::Duration;

use appmon::events::{ProcessEvent, ProcessEventKind, ProcessEvents};
use appmon::snapshot::Notice;
use appmon::{FileSystemSample, FileSystems, ProcessSample, Processes, Result, Snapshot};
use appmon::{SnapshotStreamExt, SourceExt, Timestamp};
use futures::stream::{BoxStream, select_all};
use futures::{StreamExt, TryStreamExt};
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::Instant;

use crate::analysis::{Analysis, DiskAnalysis, Event, EventKind, Tick};
use crate::args::Args;
use crate::machine::Machine;
use crate::player::Player;

/// From whoever collects to the screen.
pub(crate) enum Message {
    Tick(Box<Tick>),
    /// The ticks that follow are of another time.
    Jumped,
    /// The recording ends here.
    End,
    Error(String),
}

/// From the screen to the player.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Command {
    Seek(Timestamp),
    /// The speed times this.
    Faster(f64),
}

/// Disks seldom change fast: they are read at every so many ticks.
const DISKS_EVERY: u32 = 5;

/// What the sources of this machine yield.
enum Part {
    Processes(Snapshot<ProcessSample>),
    Disks(Snapshot<FileSystemSample>),
    Events(Snapshot<ProcessEvent>),
}

/// Reads this machine until nobody listens.
pub(crate) async fn live(args: Args, sender: Sender<Message>) -> Result<()> {
    let processes = Processes::new().select(args.select.clone()).lives(true).every(args.every);
    let processes: BoxStream<'_, _> = match args.record.clone() {
        Some(path) => processes.record(path).map_ok(Part::Processes).boxed(),
        None => processes.map_ok(Part::Processes).boxed(),
    };
    let disks = FileSystems::mounted().every(args.every.saturating_mul(DISKS_EVERY));
    let disks: BoxStream<'_, _> = match args.record_disks.clone() {
        Some(path) => disks.record(path).map_ok(Part::Disks).boxed(),
        None => disks.map_ok(Part::Disks).boxed(),
    };
    let events = ProcessEvents::new().select(args.select.clone()).every(args.every).map_ok(Part::Events).boxed();
    let mut parts = select_all([processes, disks, events]);
    let (mut analysis, mut disk_analysis) = (Analysis::new(&args.rules(), false)?, DiskAnalysis::new());
    let (mut disks, mut events) = (None, Vec::new());
    while let Some(part) = parts.next().await {
        let message = match part {
            Ok(Part::Disks(snapshot)) => {
                disks = Some(disk_analysis.push(snapshot)?);
                continue;
            }
            Ok(Part::Events(snapshot)) => {
                events.extend(of_events(&snapshot));
                continue;
            }
            Ok(Part::Processes(snapshot)) => {
                let mut tick = analysis.push(snapshot)?;
                (tick.disks, tick.machine) = (disks.clone(), Machine::read());
                tick.events.append(&mut events);
                Message::Tick(Box::new(tick))
            }
            Err(error) => Message::Error(format!("{error:?}")),
        };
        if sender.send(message).await.is_err() {
            break;
        }
    }
    Ok(())
}

fn of_events(snapshot: &Snapshot<ProcessEvent>) -> Vec<Event> {
    let time = snapshot.time;
    let mut events: Vec<Event> = snapshot.samples.iter().filter_map(|event| of_event(time, event)).collect();
    if snapshot.skipped.lost > 0 {
        events.push(Event { time, kind: EventKind::Note, text: format!("{} events were lost", snapshot.skipped.lost) });
    }
    events
}

fn of_event(time: Timestamp, event: &ProcessEvent) -> Option<Event> {
    let kind = match event.kind {
        ProcessEventKind::Started { .. } => EventKind::Began,
        ProcessEventKind::Execed { .. } => EventKind::Changed,
        ProcessEventKind::Exited { .. } => EventKind::Ended,
        _ => return None,
    };
    Some(Event { time, kind, text: event.to_string() })
}

/// Whether a notice is worth a line: by which method events are found is not.
pub(crate) fn is_shown(notice: &Notice) -> bool {
    !matches!(notice, Notice::ProcessEvents { .. })
}

/// Plays a recording until nobody listens.
pub(crate) async fn replay(
    player: Player,
    args: Args,
    mut commands: Receiver<Command>,
    sender: Sender<Message>,
) -> Result<()> {
    let (mut player, mut speed) = (player, args.speed);
    // All before this time comes at once: it is the history of what is shown first.
    let mut fast_until = args.at;
    // When the last tick was shown, and its time.
    let mut shown: Option<(Instant, Timestamp)> = None;
    loop {
        let result;
        (player, result) = blocking(player, Player::next).await?;
        let tick = match result {
            Ok(Some(tick)) => tick,
            Ok(None) => {
                if sender.send(Message::End).await.is_err() {
                    return Ok(());
                }
                let Some(command) = commands.recv().await else { return Ok(()) };
                player = obey(command, player, &mut speed, &mut fast_until, &sender).await?;
                shown = None;
                continue;
            }
            Err(error) => {
                if sender.send(Message::Error(format!("{error:?}"))).await.is_err() {
                    return Ok(());
                }
                continue;
            }
        };
        let is_fast = fast_until.is_some_and(|until| tick.time < until);
        if let (false, Some((when, time))) = (is_fast, shown) {
            let apart = Duration::from_nanos(tick.time.as_unix_nanos().saturating_sub(time.as_unix_nanos()));
            let due = when + Duration::try_from_secs_f64(apart.as_secs_f64() / speed).unwrap_or(apart);
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                command = commands.recv() => {
                    let Some(command) = command else { return Ok(()) };
                    player = obey(command, player, &mut speed, &mut fast_until, &sender).await?;
                    shown = None;
                    if matches!(command, Command::Seek(_)) {
                        continue;
                    }
                }
            }
        }
        if !is_fast {
            (fast_until, shown) = (None, Some((Instant::now(), tick.time)));
        }
        tokio::select! {
            sent = sender.send(Message::Tick(Box::new(tick))) => {
                if sent.is_err() {
                    return Ok(());
                }
            }
            // The screen is paused, and takes nothing.
            command = commands.recv() => {
                let Some(command) = command else { return Ok(()) };
                player = obey(command, player, &mut speed, &mut fast_until, &sender).await?;
                shown = None;
            }
        }
    }
}

async fn obey(
    command: Command,
    player: Player,
    speed: &mut f64,
    fast_until: &mut Option<Timestamp>,
    sender: &Sender<Message>,
) -> Result<Player> {
    match command {
        Command::Faster(by) => {
            *speed = (*speed * by).clamp(1.0 / 64.0, 4096.0);
            Ok(player)
        }
        Command::Seek(time) => {
            let (player, result) = blocking(player, move |player| player.seek(time)).await?;
            result?;
            *fast_until = Some(time);
            // It is gone when the screen is.
            let _ = sender.send(Message::Jumped).await;
            Ok(player)
        }
    }
}

/// The player goes to the pool of blocking threads, and comes back.
async fn blocking<T: Send + 'static>(
    mut player: Player,
    run: impl FnOnce(&mut Player) -> T + Send + 'static,
) -> Result<(Player, T)> {
    let back = tokio::task::spawn_blocking(move || {
        let result = run(&mut player);
        (player, result)
    });
    back.await.map_err(|error| appmon::Error::io(std::io::Error::other(error)))
}
