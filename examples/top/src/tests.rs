//! Frames, pinned; keys; the picture.

use std::path::{Path, PathBuf};
use std::time::Instant;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::{Color, Style};

use crate::analysis::{Analysis, DiskAnalysis};
use crate::args::Args;
use crate::collect::Command;
use crate::draw::{Theme, draw};
use crate::fixture::{self, SECONDS};
use crate::input::{Action, on_key};
use crate::machine::{Machine, Memory};
use crate::picture;
use crate::player::Player;
use crate::rows::rows;
use crate::state::{Sort, State, View};

/// The state after so many seconds, with so many times the processes.
fn state(seconds: u64, times: u32) -> State {
    let rules = ["cpu.cores > 0.3 for 10s".to_owned()];
    let (mut analysis, mut disks) = (Analysis::new(&rules, true).unwrap(), DiskAnalysis::new());
    let memory = Memory { total_bytes: 16 << 30, available_bytes: 7 << 30 };
    let mut state = State::new(None, 1.0);
    let mut newest = None;
    for second in 0..seconds {
        if second % 5 == 0 {
            newest = Some(disks.push(fixture::disks(second)).unwrap());
        }
        let mut tick = analysis.push(fixture::processes(second, times)).unwrap();
        tick.machine = Machine { cpus: Some(8), load: Some(3.25), memory: Some(memory) };
        tick.disks = newest.clone();
        state.push(tick);
    }
    state
}

fn buffer(state: &State, theme: Theme, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(state, theme, frame)).unwrap();
    terminal.backend().buffer().clone()
}

fn text(state: &State, width: u16, height: u16) -> String {
    let buffer = buffer(state, Theme::Colours, width, height);
    let line = |y| (0..width).map(|x| buffer.cell((x, y)).unwrap().symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(line).collect::<Vec<_>>().join("\n")
}

fn press(state: &mut State, keys: &str) -> Action {
    let mut action = Action::None;
    for key in keys.chars() {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\x1b' => KeyCode::Esc,
            '\x08' => KeyCode::Backspace,
            '←' => KeyCode::Left,
            '→' => KeyCode::Right,
            key => KeyCode::Char(key),
        };
        action = on_key(state, KeyEvent::new(code, KeyModifiers::NONE));
    }
    action
}

#[test]
fn each_view_on_a_wide_and_a_narrow_terminal() {
    let mut state = state(50, 1);
    for view in View::ALL {
        state.view = view;
        for (width, height) in [(120, 24), (80, 16), (40, 12)] {
            insta::assert_snapshot!(format!("{}-{width}", view.name().to_lowercase()), text(&state, width, height));
        }
    }
}

#[test]
fn help_and_the_first_moment() {
    let mut state = State::default();
    insta::assert_snapshot!("waiting", text(&state, 80, 6));
    press(&mut state, "?");
    insta::assert_snapshot!("help", text(&state, 100, 20));
    press(&mut state, "\x1b");
    assert!(!state.is_help);
    // Nothing breaks on any size.
    let mut state = self::state(10, 1);
    for view in View::ALL {
        state.view = view;
        for width in (1..40).chain([500]) {
            for height in [1, 2, 3, 4, 5, 6, 9] {
                text(&state, width, height);
            }
        }
    }
}

#[test]
fn a_selection_is_typed_in_and_its_faults_are_shown_at_their_place() {
    let mut state = state(50, 1);
    press(&mut state, "2/nmae=postgres");
    insta::assert_snapshot!("prompt-with-fault", text(&state, 80, 14));
    press(&mut state, "\n");
    assert!(state.prompt.is_some() && state.filter.is_none());
    press(&mut state, &"\x08".repeat(13));
    press(&mut state, "name=postgres\n");
    insta::assert_snapshot!("selected", text(&state, 80, 14));
    // It holds in the other views too: the service, and the way to it in the tree.
    press(&mut state, "1");
    assert!(text(&state, 80, 14).contains("postgresql.service") && !text(&state, 80, 14).contains("nginx"));
    press(&mut state, "3");
    assert!(text(&state, 80, 14).contains("systemd --system") && !text(&state, 80, 14).contains("nginx"));
    press(&mut state, "\x1b");
    assert!(state.filter.is_none());
}

#[test]
fn lists_are_in_the_order_that_is_asked_for() {
    let mut state = state(48, 1);
    let first = |state: &State| text(state, 80, 6).lines().nth(4).unwrap().split("  ").next().unwrap().to_owned();
    for (key, sort, name) in
        [("m", Sort::Memory, "postgresql.service"), ("n", Sort::Name, "api.service"), ("i", Sort::Io, "backup.service")]
    {
        press(&mut state, key);
        assert_eq!((state.sort, first(&state).trim()), (sort, name));
    }
}

#[test]
fn the_tree_shows_processes_that_are_each_others_parents() {
    let mut processes = fixture::processes(0, 1);
    processes.samples.truncate(3);
    let pids: Vec<u32> = processes.samples.iter().map(|process| process.id.pid).collect();
    for (process, parent) in processes.samples.iter_mut().zip(pids.iter().cycle().skip(1)) {
        (process.ppid, process.id.start_ticks) = (*parent, 7);
    }
    let mut state = State::new(None, 1.0);
    state.view = View::Tree;
    let tick = Analysis::new(&[], true).unwrap().push(processes).unwrap();
    let depths: Vec<usize> = rows(&state, &tick).iter().map(|row| row.depth).collect();
    assert_eq!(depths, [0, 1, 2]);
}

#[test]
fn time_goes_back_and_forth() {
    let mut state = state(50, 1);
    press(&mut state, "←←←");
    assert_eq!((state.behind(), state.tick().unwrap().time), (3, fixture::time(46)));
    // It stays while others come.
    let mut analysis = Analysis::new(&[], true).unwrap();
    state.push(analysis.push(fixture::processes(50, 1)).unwrap());
    assert_eq!((state.behind(), state.tick().unwrap().time), (4, fixture::time(46)));
    press(&mut state, "→");
    assert_eq!(state.tick().unwrap().time, fixture::time(47));
    insta::assert_snapshot!("paused", text(&state, 80, 8));
    press(&mut state, "[[");
    assert_eq!(state.tick().unwrap().time, fixture::time(0));
    press(&mut state, " ");
    assert_eq!(state.behind(), 0);
    // Of a recording there is more before it.
    state.span = Some((fixture::time(0), fixture::time(SECONDS)));
    assert_eq!(press(&mut state, "["), Action::None);
    let mut later = State::new(state.span, 1.0);
    let mut analysis = Analysis::new(&[], true).unwrap();
    later.push(analysis.push(fixture::processes(50, 1)).unwrap());
    assert_eq!(press(&mut later, "←"), Action::Player(Command::Seek(fixture::time(0))));
    assert_eq!(press(&mut later, "→"), Action::Step);
}

#[test]
fn colours_are_those_of_the_terminal_and_left_out_where_they_are_not_wanted() {
    let mut state = state(50, 1);
    for view in View::ALL {
        state.view = view;
        let plain = buffer(&state, Theme::Plain, 120, 24);
        assert!(plain.content.iter().all(|cell| (cell.fg, cell.bg) == (Color::Reset, Color::Reset)));
        for cell in buffer(&state, Theme::Colours, 120, 24).content {
            // Neither white nor black, nor a background: both would be invisible to somebody.
            assert_eq!(cell.bg, Color::Reset);
            assert!(!matches!(cell.fg, Color::White | Color::Black | Color::Gray | Color::Rgb(..) | Color::Indexed(_)));
        }
    }
    assert_eq!(Theme::Plain.good(), Style::new());
}

#[test]
fn a_recording_is_played_and_drawn_as_the_same_picture_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let paths = [folder.path().join("processes.ndjson.zst"), folder.path().join("disks.ndjson.zst")];
    fixture::record(&paths[0], &paths[1]).unwrap();
    let args = |at| Args { replay: paths.to_vec(), at, ..Args::default() };
    let first = picture::of(&args(Some(fixture::time(45))), (100, 24)).unwrap();
    assert_eq!(picture::of(&args(Some(fixture::time(45))), (100, 24)).unwrap(), first);
    // From the beginning it is what a jump leads to.
    let mut player = Player::open(&args(None)).unwrap();
    let mut ticks = 0;
    while let Some(tick) = player.next().unwrap() {
        assert!(tick.disks.is_some());
        ticks += 1;
    }
    assert_eq!(ticks, SECONDS);
}

/// The recording and the picture of the README. `UPDATE_PICTURE=1` makes both anew.
#[test]
fn the_picture_is_that_of_its_recording() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let paths: [PathBuf; 2] = ["processes", "disks"].map(|name| folder.join(format!("fixture/{name}.ndjson.zst")));
    let update = std::env::var_os("UPDATE_PICTURE").is_some();
    if update {
        paths.iter().for_each(|path| drop(std::fs::remove_file(path)));
        fixture::record(&paths[0], &paths[1]).unwrap();
    }
    let args = Args { replay: paths.to_vec(), at: Some(fixture::time(45)), ..Args::default() };
    let svg = picture::of(&args, (100, 22)).unwrap();
    let path = folder.join("top.svg");
    if update {
        std::fs::write(&path, &svg).unwrap();
    }
    assert!(std::fs::read_to_string(path).unwrap() == svg, "make it anew: examples/top/picture");
}

/// What it takes from a key to its frame, printed: it may depend on nothing but the number of processes.
#[test]
fn a_key_and_its_frame_with_2000_processes() {
    let mut state = state(20, 67);
    let processes = state.tick().unwrap().processes.len();
    assert!((1_800..3_000).contains(&processes), "{processes}");
    let mut terminal = Terminal::new(TestBackend::new(160, 50)).unwrap();
    press(&mut state, "/pid>1 & !kernel_thread\n");
    for keys in ["1", "2", "m", "3", "i", "j"] {
        let began = Instant::now();
        for _ in 0..10 {
            press(&mut state, keys);
            terminal.draw(|frame| draw(&state, Theme::Colours, frame)).unwrap();
        }
        eprintln!("{keys:?} and its frame, {processes} processes: {:?}", began.elapsed() / 10);
    }
}
