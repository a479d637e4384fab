//! Whether the right processes are selected.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::process::select::Knowledge;
use crate::process::select::Subject;
use crate::process::{Fields, Pattern, ProcessData, ProcessId, ProcessInfo, ProcessSample};
use crate::{Reading, Snapshot, Text, WirePath};

/// Processes by pid, all of them alive and five minutes old. Their numbers are their pids.
#[derive(Default)]
struct Table {
    processes: BTreeMap<u32, (ProcessId, u32, ProcessInfo)>,
    /// The earlier decisions about those that did not change.
    earlier: HashMap<u32, Verdict>,
}

impl Table {
    /// Adds a process that started at its pid's tick.
    fn add(&mut self, pid: u32, ppid: u32, name: &str) -> &mut ProcessInfo {
        let info = ProcessInfo { name: name.into(), ..ProcessInfo::default() };
        let id = ProcessId { pid, start_ticks: u64::from(pid) };
        self.earlier.remove(&pid);
        self.processes.insert(pid, (id, ppid, info));
        &mut self.processes.get_mut(&pid).unwrap().2
    }

    fn judge(&self, select: &Select) -> Verdicts {
        let earlier = |nth: usize| self.earlier.get(&u32::try_from(nth).unwrap());
        select.judge(self, earlier, &PidFiles::default(), &Cancel::new()).unwrap()
    }

    /// Decides about all, and keeps that.
    fn decide(&mut self, select: &Select) -> Vec<Option<bool>> {
        let verdicts = self.judge(select);
        for pid in self.processes.keys() {
            verdicts.keep(*pid as usize, self.earlier.entry(*pid).or_default());
        }
        self.processes.keys().map(|pid| verdicts.selected(*pid as usize)).collect()
    }

    fn decision(&self, select: &Select, pid: u32) -> Option<bool> {
        if select.is_tree() {
            return self.judge(select).selected(pid as usize);
        }
        select.matches(self.subject(pid as usize).unwrap(), &PidFiles::default(), &Cancel::new()).unwrap()
    }

    fn selected(&self, select: &str) -> Vec<u32> {
        let select = select.parse().unwrap();
        self.processes.keys().copied().filter(|pid| self.decision(&select, *pid) == Some(true)).collect()
    }
}

impl Family for Table {
    fn count(&self) -> usize {
        self.processes.keys().next_back().map_or(0, |last| *last as usize + 1)
    }

    fn subject(&self, nth: usize) -> Option<Subject<'_>> {
        let (id, ppid, info) = self.processes.get(&u32::try_from(nth).unwrap())?;
        Some(Subject { id: *id, ppid: *ppid, info, knowledge: Knowledge::All, age: Some(Duration::from_secs(300)) })
    }

    fn find(&self, pid: u32) -> Option<usize> {
        self.processes.contains_key(&pid).then_some(pid as usize)
    }
}

/// 1 init ─ 2 sshd ─ 3 bash ─ 4 bash ─ 5 vim, and 6 cron below 1.
fn table() -> Table {
    let mut table = Table::default();
    for (pid, ppid, name) in
        [(1, 0, "init"), (2, 1, "sshd"), (3, 2, "bash"), (4, 3, "bash"), (5, 4, "vim"), (6, 1, "cron")]
    {
        table.add(pid, ppid, name);
    }
    table
}

#[test]
fn logic() {
    let table = table();
    for (select, expected) in [
        ("all", &[1, 2, 3, 4, 5, 6][..]),
        ("none", &[]),
        ("!all", &[]),
        ("name=bash & ppid=2", &[3]),
        ("name=bash | pid=6 & !pid=6", &[3, 4]),
        ("!(name=bash | name~^.{4}$)", &[5]),
        ("!!name=vim", &[5]),
        ("!(name=bash & pid=3) & (none | name=bash)", &[4]),
    ] {
        assert_eq!(table.selected(select), expected, "{select}");
    }
}

#[test]
fn trees() {
    let table = table();
    for (select, expected) in [
        ("with_descendants(name=bash)", &[3, 4, 5][..]),
        ("with_descendants(name=sshd, 1)", &[2, 3]),
        ("with_descendants(name=sshd, 0)", &[2]),
        ("with_descendants(name=bash, 1)", &[3, 4, 5]),
        ("topmost(name=bash)", &[3]),
        ("topmost(name=bash | name=vim | name=cron)", &[3, 6]),
        ("with_descendants(topmost(name=bash), 1)", &[3, 4]),
        ("!topmost(all)", &[2, 3, 4, 5, 6]),
        ("with_descendants(name=sshd) & !with_descendants(pid=4)", &[2, 3]),
        ("topmost(with_descendants(name=sshd) & !name=sshd)", &[3]),
    ] {
        assert_eq!(table.selected(select), expected, "{select}");
    }
}

#[test]
fn a_parent_that_started_later_is_none() {
    let mut table = table();
    // The pid of sshd was reused by another process after its death.
    table.processes.get_mut(&2).unwrap().0.start_ticks = 1000;
    assert_eq!(table.selected("with_descendants(name=sshd)"), [2]);
    assert_eq!(table.selected("topmost(name=init | name=bash)"), [1, 3]);
}

#[test]
fn in_a_cycle_each_is_below_all_others() {
    let mut table = Table::default();
    for (pid, ppid) in [(1, 2), (2, 3), (3, 1), (4, 4), (5, 1)] {
        table.add(pid, ppid, "loop");
        table.processes.get_mut(&pid).unwrap().0.start_ticks = 7;
    }
    assert_eq!(table.selected("with_descendants(pid=2)"), [1, 2, 3, 5]);
    assert_eq!(table.selected("with_descendants(pid=3, 1)"), [2, 3]);
    assert_eq!(table.selected("with_descendants(pid=1, 1)"), [1, 3, 5]);
    assert_eq!(table.selected("with_descendants(pid=5)"), [5]);
    assert_eq!(table.selected("topmost(name=loop)"), [4]);
    assert_eq!(table.selected("topmost(pid=5)"), [5]);
    assert_eq!(table.selected("with_descendants(with_descendants(pid=3, 1) & !pid=3)"), [1, 2, 3, 5]);
}

/// A chain of processes, each the child of the one before, and a selection that counts its evaluations.
fn chain(count: u32) -> (Table, Select, impl Fn() -> usize) {
    let mut table = Table::default();
    for pid in 1..=count {
        table.add(pid, pid - 1, if pid == 1 { "first" } else { "chain" });
    }
    let evaluated = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&evaluated);
    let first = Select::matching(move |process| {
        counted.fetch_add(1, Ordering::Relaxed);
        process.name == "first"
    });
    (table, first, move || evaluated.swap(0, Ordering::Relaxed))
}

#[test]
fn a_long_chain_evaluates_each_process_once() {
    let count = 20_000;
    let (mut table, first, evaluated) = chain(count);
    let select = first.with_descendants();
    assert!(table.decide(&select).iter().all(|selected| *selected == Some(true)));
    assert_eq!(evaluated(), 20_000, "each condition is evaluated once for each process, however deep it is");
    // No process changed.
    assert!(table.decide(&select).iter().all(|selected| *selected == Some(true)));
    assert_eq!(evaluated(), 0);
    // One in the middle did, and it has another parent by now.
    table.add(10_000, 0, "chain");
    let decided = table.decide(&select);
    assert_eq!(evaluated(), 1);
    assert!(decided[..9_999].iter().all(|selected| *selected == Some(true)));
    assert!(decided[9_999..].iter().all(|selected| *selected == Some(false)), "all below it are decided again");
    let (table, first, _) = chain(count);
    let last = table.judge(&first.clone().with_descendants_to(count - 1)).selected(20_000);
    assert_eq!(last, Some(true), "to the last generation");
    assert_eq!(table.judge(&first.with_descendants_to(count - 2)).selected(20_000), Some(false));
}

#[test]
fn one_that_ends_and_one_that_begins_are_decided_about_alone() {
    let count = 20_000;
    let (mut table, first, evaluated) = chain(count);
    let select = first.with_descendants();
    table.decide(&select);
    assert_eq!(evaluated(), 20_000);
    let again = |table: &Table, changed: &[usize], left: &[u32]| {
        let kept = |nth: usize| &table.earlier[&u32::try_from(nth).unwrap()];
        select.rejudge(table, changed, left, kept, &PidFiles::default(), &Cancel::new()).unwrap()
    };
    table.processes.remove(&count);
    table.add(count + 1, count - 1, "chain");
    table.earlier.insert(count + 1, Verdict::default());
    let decided = again(&table, &[count as usize + 1], &[count]).unwrap();
    assert_eq!(
        decided.iter().map(|(nth, verdict)| (*nth, verdict.selected)).collect::<Vec<_>>(),
        [(20_001, Some(true))]
    );
    assert_eq!(evaluated(), 1);
    // One in the middle is another program, which changes nothing for those below it.
    let decided = again(&table, &[10_000], &[]).unwrap();
    assert_eq!(decided.len(), 2, "it and its child");
    // It is below nobody now, and so are thousands: all are decided about at once.
    table.processes.get_mut(&10_000).unwrap().1 = 0;
    assert!(again(&table, &[10_000], &[]).is_none());
    let cancel = Cancel::new();
    cancel.cancel();
    let kept = |nth: usize| &table.earlier[&u32::try_from(nth).unwrap()];
    let error = select.rejudge(&table, &[10_000], &[], kept, &PidFiles::default(), &cancel).unwrap_err();
    assert!(error.is_cancelled());
}

#[test]
fn a_decision_can_be_cancelled() {
    let (table, _, _) = chain(20_000);
    let cancel = Cancel::new();
    let stop = cancel.clone();
    let evaluated = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&evaluated);
    let select = Select::matching(move |_| {
        if counted.fetch_add(1, Ordering::Relaxed) == 100 {
            stop.cancel();
        }
        false
    });
    let error = select.with_descendants().judge(&table, |_| None, &PidFiles::default(), &cancel).unwrap_err();
    assert!(error.is_cancelled());
    assert_eq!(evaluated.load(Ordering::Relaxed), 101);
}

#[test]
fn an_unknown_field_is_neither() {
    let mut table = Table::default();
    let exe = |reading| {
        let mut info = ProcessInfo { name: "x".into(), ..ProcessInfo::default() };
        info.exe = reading;
        info
    };
    let readings = [
        (1, Reading::Value(WirePath::from("/bin/sh"))),
        (2, Reading::Denied),
        (3, Reading::NotApplicable),
        (4, Reading::Unsupported),
        (5, Reading::Skipped),
        (6, Reading::NotRequested),
        (7, Reading::Failed),
    ];
    for (pid, reading) in readings {
        *table.add(pid, 0, "x") = exe(reading);
    }
    let decisions = |text: &str| {
        let select = text.parse().unwrap();
        (1..=7).map(|pid| table.decision(&select, pid)).collect::<Vec<_>>()
    };
    let (yes, no) = (Some(true), Some(false));
    assert_eq!(decisions("exe=/bin/sh"), [yes, no, no, no, None, None, no]);
    assert_eq!(decisions("!exe=/bin/sh"), [no, yes, yes, yes, None, None, yes]);
    assert_eq!(decisions("exe=/bin/sh | name=x"), [yes; 7]);
    assert_eq!(decisions("exe=/bin/sh & name=y"), [no; 7]);
    assert_eq!(decisions("!(exe=/bin/sh & name=x) & name=x"), [no, yes, yes, yes, None, None, yes]);
    table.add(8, 5, "child");
    assert_eq!(table.decision(&"with_descendants(exe=/bin/sh)".parse().unwrap(), 8), None);
    assert_eq!(table.decision(&"topmost(exe=/bin/sh | name=child)".parse().unwrap(), 8), None);
    assert_eq!(table.decision(&"with_descendants(exe=/bin/sh | name=child)".parse().unwrap(), 8), Some(true));
}

#[test]
fn a_control_group_that_was_removed_counts_by_the_path_it_had() {
    let mut table = Table::default();
    table.add(1, 0, "a").cgroup = Reading::Value("/system.slice/web.service (deleted)".into());
    table.add(2, 0, "b").cgroup = Reading::Value("/system.slice/web.service".into());
    table.add(3, 0, "c").cgroup = Reading::Value("/system.slice (deleted)/web.service".into());
    for (select, expected) in [
        ("unit=web", &[1, 2, 3][..]),
        ("unit=system.slice", &[1, 2]),
        ("cgroup=/system.slice/web.service", &[1, 2]),
        ("cgroup=/system.slice/*.service", &[1, 2]),
        ("cgroup~'web\\.service$'", &[1, 2, 3]),
        ("cgroup~deleted", &[1, 3]),
        ("cgroup='/system.slice/web.service (deleted)'", &[1]),
        ("!unit=system.slice", &[3]),
    ] {
        assert_eq!(table.selected(select), expected, "{select}");
    }
}

#[test]
fn containers_and_pods() {
    let (docker, pod) = ("4f".repeat(32), "0f3c1b3e-5d7a-4c1e-9b1a-2d3e4f5a6b7c");
    let mut table = Table::default();
    let mut add = |pid: u32, path: &str| {
        let info = table.add(pid, 0, "a");
        info.cgroup = Reading::Value(path.into());
        info.container = crate::cgroup::Identity::of(path.as_bytes()).container;
    };
    add(1, &format!("/system.slice/docker-{docker}.scope"));
    add(2, &format!("/kubepods/burstable/pod{pod}/{}", "5a".repeat(32)));
    add(3, "/system.slice/web.service");
    table.add(4, 0, "a").cgroup = Reading::NotApplicable;
    table.add(5, 0, "a").cgroup = Reading::Skipped;
    for (select, expected) in [
        (format!("container={docker}"), &[1][..]),
        ("container=4f4f*".to_owned(), &[1]),
        ("container~'^(4f|5a)'".to_owned(), &[1, 2]),
        ("container=4f".to_owned(), &[]),
        ("!container=4f*".to_owned(), &[2, 3, 4]),
        ("container!=*".to_owned(), &[3, 4]),
        (format!("pod={pod}"), &[2]),
        ("pod=*".to_owned(), &[2]),
        ("!pod=*".to_owned(), &[1, 3, 4]),
        ("pod='' | container=''".to_owned(), &[]),
    ] {
        assert_eq!(table.selected(&select), expected, "{select}");
    }
}

#[test]
fn every_field() {
    let mut table = Table::default();
    let info = table.add(40, 7, "worker");
    info.exe = Reading::Value("/usr/bin/python3.12 (deleted)".into());
    info.cmdline = Reading::Value(vec!["python3".into(), "-m".into(), Text::from(&b"a\xff"[..])]);
    info.cwd = Reading::Value("/srv/app".into());
    (info.uid, info.gid) = (1000, 100);
    info.user = Reading::Value("anna".into());
    info.group = Reading::Value("users".into());
    info.cgroup = Reading::Value("/system.slice/web.slice/_cpu.service/nested".into());
    for yes in [
        "name=worker",
        "name=w*r",
        "name*=ork",
        "exe=/usr/bin/python3.12",
        "exe=/usr/bin/python3.??",
        "exe~'(deleted|removed)'",
        "exe*=/bin/",
        r#"cmdline="python3 -m a\xff""#,
        r"cmdline~'(?-u)\xff$'",
        "cwd=/srv/app",
        "cwd='/srv/app{,/**}'",
        "user=anna",
        "group~^users$",
        "cgroup=/system.slice/**",
        "unit=web.slice",
        "unit=cpu",
        "unit=cpu.service",
        "uid=1000",
        "gid=100",
        "pid=40",
        "ppid=7",
        "age>4m",
        "age<6m",
        "!kernel_thread",
    ] {
        assert_eq!(table.decision(&yes.parse().unwrap(), 40), Some(true), "{yes}");
    }
    for no in
        ["name=work", "exe=/usr/*", "unit=system", "unit=web", "age>5m", "age<5m", "cgroup=/system.slice/*", "cwd=/srv"]
    {
        assert_eq!(table.decision(&no.parse().unwrap(), 40), Some(false), "{no}");
    }
    let adult = Select::matching(|process| process.uid >= 1000) & Select::user(Pattern::glob("a*").unwrap());
    assert_eq!(table.decision(&adult, 40), Some(true));
}

#[test]
fn a_decided_group_evaluates_no_further() {
    let evaluated = Arc::new(AtomicUsize::new(0));
    let counted = {
        let evaluated = evaluated.clone();
        Select::matching(move |_| evaluated.fetch_add(1, Ordering::Relaxed) == usize::MAX)
    };
    let table = table();
    assert_eq!(table.decision(&(Select::name("x") & counted.clone()), 5), Some(false));
    assert_eq!(table.decision(&(Select::name("vim") | counted.clone()), 5), Some(true));
    assert_eq!(evaluated.load(Ordering::Relaxed), 0);
    // Once of each of the six, whatever the nesting.
    let nested = (0..50).fold(counted, |select, _| select.with_descendants().topmost());
    assert_eq!(table.decision(&nested, 5), Some(false));
    assert_eq!(evaluated.load(Ordering::Relaxed), 6);
}

#[test]
fn a_list_is_one_group() {
    let table = table();
    let pids = (10..10_010).map(Select::pid).fold(Select::none(), |all, pid| all | pid);
    assert_eq!(pids.conditions().len(), 10_000);
    assert_eq!(table.decision(&pids, 5), Some(false));
    assert_eq!(pids.to_string().parse::<Select>().unwrap(), pids);
    let (front, back) = ((0..100).map(Select::pid), (0..100).rev().map(Select::pid));
    let group = front.fold(Select::all(), |all, pid| all & pid);
    assert_eq!(group, back.fold(Select::all(), |all, pid| pid & all));
}

#[test]
fn a_too_deep_expression_is_an_error_and_no_overflow() {
    let deep = |levels: u32| {
        (0..levels).fold(Select::pid(5), |deep, nth| match nth % 3 {
            0 => !(deep | Select::pid(nth)),
            1 => !(deep & Select::name("vim")),
            _ => deep.with_descendants(),
        })
    };
    let table = table();
    let deepest = deep(128);
    assert!(deepest.check().is_ok() && table.decision(&deepest, 5).is_some());
    assert_eq!(deepest.to_string().parse::<Select>().unwrap(), deepest, "whatever can be built can be read");
    for levels in [129, 130, 131, 1_000_000] {
        let deep = deep(levels);
        let error = deep.check().unwrap_err();
        assert!(error.is_config());
        assert_eq!(error.to_string(), "selection: groups and functions go 128 deep at most");
        assert_eq!(table.decision(&deep, 5), None);
        assert_eq!(deep.to_string(), "<too deep>");
        assert!(deep.to_string().parse::<Select>().is_err());
        assert!(serde_json::to_string(&deep).unwrap_err().to_string().contains("128 deep"));
        // It stays one, whatever is made of it.
        assert_eq!(!((deep.clone() & Select::pid(1)) | Select::none()).topmost(), deep);
    }
}

#[test]
fn functions_over_trees_are_numbered_inner_ones_first() {
    let tree = |pid| Select::pid(pid).with_descendants();
    let select = (tree(1) & !tree(2).topmost()) | (Select::pid(3) & (tree(4) | tree(5))).topmost();
    let trees = select.0.trees();
    assert_eq!(trees.iter().map(|tree| tree.number).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    assert_eq!(select.to_string().parse::<Select>().unwrap(), select);
}

#[test]
fn a_command_line_is_compared_as_it_is_joined() {
    let mut table = Table::default();
    let arguments = ["nginx: worker", "", "-c", "/etc/a b"];
    table.add(1, 0, "a").cmdline = Reading::Value(arguments.into_iter().map(Text::from).collect());
    table.add(2, 0, "b").cmdline = Reading::Value(vec!["nginx: worker".into()]);
    table.add(3, 0, "c").cmdline = Reading::Value(Vec::new());
    table.add(4, 0, "d").cmdline = Reading::NotApplicable;
    for (select, expected) in [
        ("cmdline='nginx: worker  -c /etc/a b'", &[1][..]),
        ("cmdline='nginx: worker'", &[2]),
        ("cmdline=\"\"", &[3]),
        ("cmdline*='worker  -c'", &[1]),
        ("cmdline*='' & !cmdline*=nginx", &[3]),
        ("cmdline='nginx*b' | cmdline~'r$'", &[1, 2]),
        ("cmdline*=nginx & cmdline*=etc & cmdline~worker", &[1]),
    ] {
        assert_eq!(table.selected(select), expected, "{select}");
    }
}

#[test]
fn an_expression_can_be_cancelled_within_a_process() {
    let (table, cancel, evaluated) = (table(), Cancel::new(), Arc::new(AtomicUsize::new(0)));
    let stop = || {
        let (stop, evaluated) = (cancel.clone(), Arc::clone(&evaluated));
        Select::matching(move |_| {
            evaluated.fetch_add(1, Ordering::Relaxed);
            stop.cancel();
            false
        })
    };
    let select = stop() | stop() | stop();
    let error = select.matches(table.subject(5).unwrap(), &PidFiles::default(), &cancel).unwrap_err();
    assert!(error.is_cancelled());
    assert_eq!(evaluated.load(Ordering::Relaxed), 1);
}

#[test]
fn needs() {
    for (select, fields) in [
        ("name=a & uid=1 & age>1s & kernel_thread & pid_file=/x", Fields::empty()),
        ("user=a | !exe=/b", Fields::USER | Fields::EXE),
        ("with_descendants(unit=a & cmdline*=b)", Fields::CGROUP | Fields::CMDLINE),
        ("topmost(group=a) & cwd=/", Fields::USER | Fields::CWD),
    ] {
        assert_eq!(select.parse::<Select>().unwrap().needs(), fields, "{select}");
    }
    assert_eq!(Select::matching(|_| true).needs(), Fields::INFO);
    assert!(Select::default().is_all() && (!Select::none() & Select::all()).is_all());
    assert!(!Select::none().is_all() && !Select::pid(1).is_all());
    assert!(Select::pid(1).topmost().is_tree() && !Select::pid(1).is_tree());
    assert!((!Select::younger_than(Duration::ZERO)).uses_age() && !Select::all().uses_age());
}

/// The same expression as a tree, for a reading that is obviously right.
#[derive(Clone, Debug)]
enum Plain {
    Name(u8),
    Exe,
    Not(Box<Plain>),
    And(Vec<Plain>),
    Or(Vec<Plain>),
    Below(Box<Plain>, u32),
    Topmost(Box<Plain>),
}

impl Plain {
    fn select(&self) -> Select {
        match self {
            Self::Name(name) => Select::name(name.to_string()),
            Self::Exe => Select::exe("/e"),
            Self::Not(of) => !of.select(),
            Self::And(of) => of.iter().map(Self::select).fold(Select::all(), |a, b| a & b),
            Self::Or(of) => of.iter().map(Self::select).fold(Select::none(), |a, b| a | b),
            Self::Below(of, depth) => of.select().with_descendants_to(*depth),
            Self::Topmost(of) => of.select().topmost(),
        }
    }

    /// For the first of a line: the process itself, its parent, …
    fn value(&self, line: &[(u8, Option<bool>)]) -> Option<bool> {
        let any = |values: &mut dyn Iterator<Item = Option<bool>>| {
            let values: Vec<_> = values.collect();
            if values.contains(&Some(true)) { Some(true) } else { (!values.contains(&None)).then_some(false) }
        };
        let not = |value: Option<bool>| value.map(|value| !value);
        let ancestors = (0..line.len()).map(|above| &line[above..]);
        match self {
            Self::Name(name) => Some(line[0].0 == *name),
            Self::Exe => line[0].1,
            Self::Not(of) => not(of.value(line)),
            Self::And(of) => not(any(&mut of.iter().map(|of| not(of.value(line))))),
            Self::Or(of) => any(&mut of.iter().map(|of| of.value(line))),
            Self::Below(of, depth) => {
                any(&mut ancestors.take((*depth as usize).saturating_add(1)).map(|line| of.value(line)))
            }
            Self::Topmost(of) => {
                let above = any(&mut ancestors.skip(1).map(|line| of.value(line)));
                not(any(&mut [not(of.value(line)), above].into_iter()))
            }
        }
    }
}

fn plain() -> impl Strategy<Value = Plain> {
    let leaf = prop_oneof![(0..3u8).prop_map(Plain::Name), Just(Plain::Exe)];
    leaf.prop_recursive(5, 24, 3, |of| {
        prop_oneof![
            of.clone().prop_map(|of| Plain::Not(of.into())),
            prop::collection::vec(of.clone(), 0..4).prop_map(Plain::And),
            prop::collection::vec(of.clone(), 0..4).prop_map(Plain::Or),
            (of.clone(), 0..4u32).prop_map(|(of, depth)| Plain::Below(of.into(), depth)),
            of.prop_map(|of| Plain::Topmost(of.into())),
        ]
    })
}

proptest! {
    #[test]
    fn agrees_with_a_plain_tree(
        plain in plain(),
        line in prop::collection::vec((0..3u8, prop::option::of(any::<bool>())), 1..6),
    ) {
        let mut table = Table::default();
        for (ppid, (name, exe)) in (0u32..).zip(line.iter().rev()) {
            let info = table.add(ppid.saturating_add(1), ppid, &name.to_string());
            info.exe = exe.map_or(Reading::Skipped, |is| Reading::Value(if is { "/e" } else { "/f" }.into()));
        }
        let select = plain.select();
        let pid = u32::try_from(line.len()).unwrap();
        prop_assert_eq!(table.decision(&select, pid), plain.value(&line), "{}", &select);
        let read: Select = select.to_string().parse().unwrap();
        prop_assert_eq!(table.decision(&read, pid), plain.value(&line), "{}", &select);
        prop_assert_eq!(read, select);
    }

    #[test]
    fn a_kept_verdict_equals_a_new_one(
        plain in plain(),
        parents in prop::collection::vec((0..8u32, 0..3u8, prop::option::of(any::<bool>())), 1..8),
        changes in prop::collection::vec((0..8usize, 0..8u32, 0..3u8, prop::option::of(any::<bool>())), 0..6),
    ) {
        let select = plain.select().with_descendants_to(2);
        let mut table = Table::default();
        let set = |table: &mut Table, pid: u32, (ppid, name, exe): (u32, u8, Option<bool>)| {
            let info = table.add(pid, ppid, &name.to_string());
            info.exe = exe.map_or(Reading::Skipped, |is| Reading::Value(if is { "/e" } else { "/f" }.into()));
            // Cycles are possible.
            table.processes.get_mut(&pid).unwrap().0.start_ticks = 7;
        };
        let count = parents.len();
        for (pid, process) in (1u32..).zip(parents) {
            set(&mut table, pid, process);
        }
        table.decide(&select);
        for (nth, ppid, name, exe) in changes {
            set(&mut table, u32::try_from(nth % count).unwrap() + 1, (ppid, name, exe));
            let kept = table.decide(&select);
            table.earlier.clear();
            prop_assert_eq!(kept, table.decide(&select), "{}", &select);
        }
    }

    #[test]
    fn who_is_decided_about_again_is_decided_about_as_all_are(
        plain in plain(),
        histories in prop::collection::vec(
            prop::collection::vec((0..5u8, 0..12u32, 0..12u32, 0..3u8, prop::option::of(any::<bool>()), 0..20u64), 1..5),
            1..12,
        ),
    ) {
        let select = plain.select().with_descendants_to(3);
        let (mut table, mut kept) = (Table::default(), HashMap::<usize, Verdict>::new());
        let (mut all_are_due, nothing) = (true, Verdict::default());
        for tick in histories {
            let (mut changed, mut left) = (BTreeSet::new(), Vec::new());
            for (what, pid, ppid, name, exe, start_ticks) in tick {
                let exe = exe.map_or(Reading::Skipped, |is| Reading::Value(if is { "/e" } else { "/f" }.into()));
                match table.processes.get_mut(&(pid + 1)) {
                    // It ends, it is renamed, it has another parent; else it is born, or another one has its pid by now.
                    Some(_) if what == 0 => {
                        table.processes.remove(&(pid + 1));
                        changed.remove(&(pid as usize + 1));
                        kept.remove(&(pid as usize + 1));
                        left.push(pid + 1);
                        continue;
                    }
                    Some((_, _, info)) if what == 1 => (info.name, info.exe) = (name.to_string().as_str().into(), exe),
                    Some((_, of, _)) if what == 2 => *of = ppid,
                    _ => {
                        table.add(pid + 1, ppid, &name.to_string()).exe = exe;
                        table.processes.get_mut(&(pid + 1)).unwrap().0.start_ticks = start_ticks;
                    }
                }
                changed.insert(pid as usize + 1);
            }
            let all = table.judge(&select);
            let changed: Vec<usize> = changed.into_iter().collect();
            let again = if all_are_due { None } else {
                let kept = |nth| kept.get(&nth).unwrap_or(&nothing);
                select.rejudge(&table, &changed, &left, kept, &PidFiles::default(), &Cancel::new()).unwrap()
            };
            match again {
                Some(again) => kept.extend(again),
                None => for pid in table.processes.keys() {
                    all.keep(*pid as usize, kept.entry(*pid as usize).or_default());
                }
            }
            all_are_due = all.has_cycle();
            for pid in table.processes.keys() {
                let mut expected = Verdict::default();
                all.keep(*pid as usize, &mut expected);
                prop_assert_eq!(kept.get(&(*pid as usize)), Some(&expected), "{} of {}", pid, &select);
            }
        }
    }

    #[test]
    fn a_snapshot_is_decided_as_the_processes_are(
        plain in plain(),
        parents in prop::collection::vec((0..8u32, 0..3u8, prop::option::of(any::<bool>()), 5..9u64), 1..8),
        flat: bool,
    ) {
        let mut table = Table::default();
        for (pid, (ppid, name, exe, start_ticks)) in (1u32..).zip(parents) {
            let info = table.add(pid, ppid, &name.to_string());
            info.exe = exe.map_or(Reading::Skipped, |is| Reading::Value(if is { "/e" } else { "/f" }.into()));
            // Cycles are possible, and strangers with a parent's pid.
            table.processes.get_mut(&pid).unwrap().0.start_ticks = start_ticks;
        }
        let select = if flat { plain.select() } else { plain.select().with_descendants_to(2) };
        let mut snapshot: Snapshot<ProcessSample> = table
            .processes
            .values()
            .map(|(id, ppid, info)| {
                let info = Arc::new(info.clone());
                ProcessSample::from(ProcessData { id: *id, ppid: *ppid, info, ..ProcessData::default() })
            })
            .collect();
        snapshot.skipped.fields = snapshot.samples.iter().map(|sample| sample.missing_fields()).sum();
        select.apply(&mut snapshot).unwrap();
        let decided: Vec<(u32, Option<bool>)> = table.processes.keys().map(|pid| (*pid, table.decision(&select, *pid))).collect();
        let selected = decided.iter().filter(|(_, is)| *is == Some(true)).map(|(pid, _)| *pid);
        prop_assert_eq!(snapshot.samples.iter().map(|sample| sample.id.pid).collect::<Vec<_>>(), selected.collect::<Vec<_>>());
        prop_assert_eq!(snapshot.skipped.undecided, decided.iter().filter(|(_, is)| is.is_none()).count() as u64);
        prop_assert_eq!(snapshot.skipped.fields, snapshot.samples.iter().map(|sample| sample.missing_fields()).sum::<u64>());
    }
}
