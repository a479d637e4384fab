//! The text form of a selection.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use appmon::process::Pattern;
use appmon::{Select, Text};
use proptest::prelude::*;

/// Reads, and shows in its one form.
#[track_caller]
fn check(text: &str, shown: &str) {
    let select: Select = text.parse().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(select.to_string(), shown);
    assert_eq!(shown.parse::<Select>().expect(shown), select);
}

/// Is refused, with this error.
#[track_caller]
fn refuse(text: &str, error: &str) {
    let refused = text.parse::<Select>().expect_err(text);
    assert!(refused.is_config());
    assert_eq!(refused.to_string(), error);
}

#[test]
fn precedence() {
    check("pid=1|pid=2&pid=3", "pid=1 | pid=2 & pid=3");
    check("(pid=1|pid=2)&pid=3", "(pid=1 | pid=2) & pid=3");
    check("pid=1|(pid=2&pid=3)", "pid=1 | pid=2 & pid=3");
    check("!pid=1&pid=2", "!pid=1 & pid=2");
    check("!(pid=1&pid=2)|pid=3", "!(pid=1 & pid=2) | pid=3");
    check("!(pid=1|pid=2)|pid=3", "!(pid=1 | pid=2) | pid=3");
    check("((pid=1)|((pid=2)|pid=3))", "pid=1 | pid=2 | pid=3");
    check("not pid=1 and pid=2 or pid=3", "!pid=1 & pid=2 | pid=3");
    check("pid=1&&pid=2||pid=3", "pid=1 & pid=2 | pid=3");
    check("!!!pid=1", "!pid=1");
    check("not(pid=1)", "!pid=1");
    check(" \tpid = 1\n", "pid=1");
}

#[test]
fn constants() {
    check("all", "all");
    check("none", "none");
    check("!all", "none");
    check("!none", "all");
    check("all & pid=1", "pid=1");
    check("pid=1 | none", "pid=1");
    check("none & pid=1", "none & pid=1");
    check("!(all | pid=1)", "!(all | pid=1)");
    assert_eq!(Select::default().to_string(), "all");
}

#[test]
fn conditions() {
    check("name=nginx", "name=nginx");
    check("name==nginx", "name=nginx");
    check("name!=nginx", "!name=nginx");
    check("name=ng*x", "name=ng*x");
    check("name==ng*x", "name==ng*x");
    check("name!~^a", "!name~^a");
    check("!name!~^a", "name~^a");
    check("cmdline*='-D FOREGROUND'", "cmdline*=\"-D FOREGROUND\"");
    check("exe=/usr/lib/postgresql/*/bin/postgres", "exe=/usr/lib/postgresql/*/bin/postgres");
    check("cwd='/srv/app{,/**}'", "cwd=\"/srv/app{,/**}\"");
    check("user=www-data|group=adm|cgroup=/system.slice/**", "user=www-data | group=adm | cgroup=/system.slice/**");
    check("uid=0 & gid!=4294967295 & pid=007 & ppid=1", "uid=0 & !gid=4294967295 & pid=7 & ppid=1");
    check("container=4f1c*|pod!=0f3c", "container=4f1c* | !pod=0f3c");
    check("unit=nginx", "unit=nginx.service");
    check("unit=user@1000.service | unit=-.slice", "unit=user@1000.service | unit=-.slice");
    check("unit!=a.b", "!unit=a.b.service");
    check("pid_file=/run/nginx.pid", "pid_file=/run/nginx.pid");
    check("age>5m & age<'1h 30m'", "age>5m & age<1h30m");
    check("!kernel_thread", "!kernel_thread");
    check("with_descendants(name=a)", "with_descendants(name=a)");
    check("with_descendants ( name=a , 2 )", "with_descendants(name=a, 2)");
    check("!topmost(name=a|name=b)", "!topmost(name=a | name=b)");
    check("topmost(with_descendants(name=a, 1) & !name=b)", "topmost(with_descendants(name=a, 1) & !name=b)");
    check("with_descendants(name=a, 4294967295)", "with_descendants(name=a)");
}

#[test]
fn the_parser_follows_the_grammar() {
    let (lines, rest) = Select::GRAMMAR.split_once("\n\n").unwrap();
    assert!(Select::GRAMMAR.lines().all(|line| line.chars().count() <= 100), "for a terminal");
    let mut read = 0;
    for line in lines.lines().filter(|line| !line.starts_with(' ')) {
        let (written, _) = line.split_once("  ").expect("two columns");
        // What stands for expressions, and the comma of a function.
        let written =
            written.replace(", 1)", "\u{1})").replace('X', "pid=1").replace('Y', "pid=2").replace('Z', "pid=3");
        for example in written.split(", ").map(|example| example.trim().replace('\u{1}', ", 1")) {
            example.parse::<Select>().unwrap_or_else(|error| panic!("{line}: {error}"));
            read += 1;
        }
    }
    assert!(read > 25, "{read}");
    for name in [
        "name",
        "exe",
        "cmdline",
        "cwd",
        "user",
        "group",
        "cgroup",
        "container",
        "pod",
        "pid",
        "ppid",
        "uid",
        "gid",
        "unit",
        "pid_file",
    ] {
        assert!(Select::GRAMMAR.contains(name), "{name}");
    }
    for (escapes, text) in [(r#""\"\\\x41""#, r#""\A"#), ("'|'", "|")] {
        assert_eq!(format!("name={escapes}").parse::<Select>().unwrap(), Select::name(text), "{rest}");
    }
}

#[test]
fn equal_texts_are_equal_patterns() {
    let closure = Select::matching(|_| true);
    assert_eq!(closure, closure.clone());
    assert_ne!(closure, Select::matching(|_| true), "another function");
    assert_ne!(Select::name("a*"), Select::name(Pattern::glob("a*").unwrap()));
    assert_ne!(Select::name("a"), Select::exe("a"));
    assert_ne!(Select::pid(1) & Select::pid(2), Select::pid(1) | Select::pid(2));
    assert_ne!(Select::pid(1).with_descendants(), Select::pid(1).with_descendants_to(1));
    assert_eq!(!!Select::pid(1), Select::pid(1));
    let patterns = [Pattern::exact("a"), Pattern::contains("a"), Pattern::regex("a").unwrap(), Pattern::exact("b")];
    for (nth, pattern) in patterns.iter().enumerate() {
        assert_eq!(patterns.iter().position(|other| other == pattern), Some(nth), "{pattern:?}");
    }
}

#[test]
fn a_pattern_is_text_too() {
    for (text, pattern) in [
        ("=nginx", Pattern::exact("nginx")),
        ("=ng*", Pattern::glob("ng*").unwrap()),
        ("==ng*", Pattern::exact("ng*")),
        ("*=\"a b\"", Pattern::contains("a b")),
        ("~^a$", Pattern::regex("^a$").unwrap()),
    ] {
        assert_eq!(pattern.to_string(), text);
        assert_eq!(text.parse::<Pattern>().unwrap(), pattern);
    }
    assert_eq!(" = nginx ".parse::<Pattern>().unwrap(), Pattern::exact("nginx"));
    for (text, what) in [
        ("nginx", "pattern, column 1: expected an operator: `a pattern` takes `=`, `==`, `*=`, `~`\n  nginx\n  ^"),
        (
            "=a b",
            "pattern, column 4: expected the end; a value with white space or any of `& | ( ) ,` in it must be in quotes\n  =a b\n     ^",
        ),
        (
            "=[a",
            "pattern, column 2: not a glob: unclosed character class; missing ']'; `==` compares it as it is\n  =[a\n   ^^",
        ),
    ] {
        assert_eq!(text.parse::<Pattern>().unwrap_err().to_string(), what);
    }
}

#[test]
fn values() {
    check("name=\"\"", "name=\"\"");
    check("name=''", "name=\"\"");
    check("name='a b'", "name=\"a b\"");
    check(r"cmdline~\.py$", r"cmdline~\.py$");
    check(r"cmdline~'\.(py|sh)$'", r"cmdline~'\.(py|sh)$'");
    check(r#"cmdline~"\\.(py|sh)$""#, r"cmdline~'\.(py|sh)$'");
    check(r#"name="it's \"so\"""#, r#"name="it's \"so\"""#);
    check(r#"name="\x41\x20\xFF""#, r#"name="A \xff""#);
    check(r#"name="\x0a""#, r#"name="\x0a""#);
    check("name==\"=x\"", "name=\"=x\"");
    check("cmdline*==x", "cmdline*=\"=x\"");
    check("name=or|name=not", "name=or | name=not");
    check("name=über", "name=über");
}

#[test]
fn the_longest_age_is_written_and_read() {
    for age in [Duration::MAX, Duration::from_secs(u64::MAX), Duration::from_nanos(u64::MAX)] {
        let select = Select::older_than(age);
        assert_eq!(select.to_string().parse::<Select>().unwrap(), select);
    }
}

#[test]
fn built_and_written_are_the_same() {
    let dir = OsString::from_vec(b"/srv/\xff*".to_vec());
    for (built, shown) in [
        (Select::exe(std::path::Path::new(&dir)), r#"exe=="/srv/\xff*""#),
        (Select::pid_file(dir), r#"pid_file="/srv/\xff*""#),
        (Select::name(Text::from("[x]")), "name==[x]"),
        (Select::name(Pattern::glob("[x]").unwrap()), "name=[x]"),
        (Select::name(Pattern::glob(r"a\b").unwrap()), r"name=a\b"),
        (Select::user(Pattern::regex("^a|b").unwrap()), "user~\"^a|b\""),
        (Select::older_than(Duration::from_millis(90_500)), "age>1m30s500ms"),
        (Select::younger_than(Duration::ZERO), "age<0s"),
        (Select::name("a\u{9b}\u{202e}\u{7f}"), r#"name="a\xc2\x9b\xe2\x80\xae\x7f""#),
        (Select::container("4f1c") & Select::pod(Pattern::glob("0f*").unwrap()), "container=4f1c & pod=0f*"),
        (!(Select::unit("a") | Select::kernel_threads()), "!(unit=a.service | kernel_thread)"),
        ((1..4).map(Select::pid).fold(Select::none(), |all, pid| all | pid), "pid=1 | pid=2 | pid=3"),
        ((1..3).rev().fold(Select::pid(3), |all, pid| Select::pid(pid) | all), "pid=1 | pid=2 | pid=3"),
        (Select::pid(1) & (Select::pid(2) & Select::pid(3)), "pid=1 & pid=2 & pid=3"),
        (Select::uid(0).with_descendants_to(3).topmost(), "topmost(with_descendants(uid=0, 3))"),
    ] {
        assert_eq!(built.to_string(), shown);
        assert_eq!(format!("{built:?}"), format!("Select({shown})"));
        assert_eq!(shown.parse::<Select>().unwrap(), built);
        check(shown, shown);
    }
}

#[test]
fn errors_point_at_the_place() {
    refuse(
        "name=postgres & usr=root",
        "selection, column 17: there is no field `usr`; did you mean `user`?\n  name=postgres & usr=root\n                  ^^^",
    );
    refuse(
        "command=x",
        "selection, column 1: there is no field `command`; there are name, exe, cmdline, cwd, user, group, cgroup, \
         container, pod, pid, ppid, uid, gid, unit, pid_file, age, kernel_thread, all, none, with_descendants, topmost\n  command=x\n  ^^^^^^^",
    );
    // Only what is near is suggested.
    for (word, near) in [("cmd", Some("cmdline")), ("Name", Some("name")), ("cpu", None), ("rss", None), ("io", None)] {
        let error = format!("{word}=x").parse::<Select>().unwrap_err().to_string();
        match near {
            Some(near) => assert!(error.contains(&format!("did you mean `{near}`?")), "{error}"),
            None => assert!(error.contains(&format!("no field `{word}`; there are name, exe,")), "{error}"),
        }
    }
    refuse("  ", "selection, column 3: it is empty; `all` selects every process, `none` selects none\n    \n    ^");
    refuse(
        "name=a &",
        "selection, column 9: expected a condition, such as `name=nginx`, or `(`\n  name=a &\n          ^",
    );
    refuse(
        "pid=1 pid=2",
        "selection, column 7: expected `&`, `|` or the end; a value with white space or any of `& | ( ) ,` in it must be in quotes\n  pid=1 pid=2\n        ^",
    );
    refuse("(pid=1", "selection, column 1: this `(` is not closed\n  (pid=1\n  ^");
    refuse("pid=1)", "selection, column 6: this `)` closes nothing\n  pid=1)\n       ^");
    refuse(
        "(pid=1 pid=2)",
        "selection, column 8: expected `&`, `|` or `)`; a value with white space or any of `& | ( ) ,` in it must be in quotes\n  (pid=1 pid=2)\n         ^",
    );
    refuse("name='a", "selection, column 6: this `'` is not closed\n  name='a\n       ^");
    refuse(
        "name=& all",
        "selection, column 6: expected a value; an empty one is written `\"\"`, and a value with white space or any of `& | ( ) ,` in it must be in quotes\n  name=& all\n       ^",
    );
    refuse(
        "name",
        "selection, column 5: expected an operator: `name` takes `=`, `==`, `!=`, `*=`, `~`, `!~`\n  name\n      ^",
    );
    refuse("uid>=5", "selection, column 4: expected an operator: `uid` takes `=`, `==`, `!=`\n  uid>=5\n     ^^");
    refuse("pid=-1", "selection, column 5: expected a number from 0 to 4294967295\n  pid=-1\n      ^^");
    refuse("topmost name=a", "selection, column 9: expected `(` after `topmost`\n  topmost name=a\n          ^");
    refuse(
        "all | name~a[ | all",
        "selection, column 12: not a regular expression: unclosed character class\n  all | name~a[ | all\n             ^^",
    );
    refuse(
        "name=[a",
        "selection, column 6: not a glob: unclosed character class; missing ']'; `==` compares it as it is\n  name=[a\n       ^^",
    );
    refuse(
        r#"name="a\n""#,
        "selection, column 8: in `\"…\"` a backslash is written `\\\\`, a quote `\\\"`, a byte `\\xHH`; in `'…'` nothing is \
         escaped\n  name=\"a\\n\"\n         ^^",
    );
    refuse(
        "age>5",
        "selection, column 5: expected a duration, such as `5m` or `1h30m`: time unit needed, for example 5sec or \
         5ms\n  age>5\n      ^",
    );
    refuse(
        "unit=getty@*",
        "selection, column 6: the name of a unit is no glob; `cgroup=` takes one, as in `cgroup=/**/getty@*`\n  \
         unit=getty@*\n       ^^^^^^^",
    );
}

#[test]
fn errors_of_long_texts_show_the_line_around_the_place() {
    refuse(
        "name=a |\n\tname=ü & nam e",
        "selection, line 2, column 11: there is no field `nam`; did you mean `name`?\n   name=ü & nam e\n            ^^^",
    );
    let long = format!("{}oops{}", "pid=1 | ".repeat(1000), " | pid=1".repeat(1000));
    let error = long.parse::<Select>().unwrap_err().to_string();
    assert!(error.len() < 600, "{error}");
    assert!(error.contains("column 8001"), "{error}");
    let mut lines = error.lines().skip(1);
    let (text, marks) = (lines.next().unwrap(), lines.next().unwrap());
    let place: String = text.chars().skip(marks.find('^').unwrap()).take(4).collect();
    assert_eq!((place.as_str(), marks.trim()), ("oops", "^^^^"));
}

#[test]
fn depth_is_bounded() {
    let nested = |depth: usize| format!("{}pid=1{}", "(".repeat(depth), ")".repeat(depth));
    check(&nested(128), "pid=1");
    assert!(nested(129).parse::<Select>().unwrap_err().to_string().contains("128 deep"));
    assert!(nested(1_000_000).parse::<Select>().is_err());
    assert!("topmost(".repeat(1_000_000).parse::<Select>().is_err());
    check(&format!("{}pid=1", "!".repeat(1_000_000)), "pid=1");
    check(&format!("{}pid=1", "not ".repeat(100_001)), "!pid=1");
    // Two groups in each pair of parentheses.
    let groups = |depth: usize| format!("{}pid=1 | pid=4{}", "pid=2 | pid=3 & (".repeat(depth), ")".repeat(depth));
    check(&groups(63), &groups(63));
    let error = groups(64).parse::<Select>().unwrap_err().to_string();
    assert!(error.starts_with("selection, column 1: groups and functions go 128 deep at most"), "{error}");
}

#[test]
fn the_wire_form_is_the_text() {
    let select: Select = serde_json::from_str(r#""name=a & !exe~'\\.py$'""#).unwrap();
    assert_eq!(serde_json::to_string(&select).unwrap(), r#""name=a & !exe~\\.py$""#);
    let error = serde_json::from_str::<Select>(r#""nam=a""#).unwrap_err().to_string();
    assert!(error.starts_with("selection, column 1: there is no field `nam`; did you mean `name`?"), "{error}");
    assert!(serde_json::from_str::<Select>("5").is_err());
}

#[test]
fn a_function_has_no_text_form() {
    let select = Select::matching(|process| process.uid >= 1000) | Select::pid(1);
    assert_eq!(select.to_string(), "<closure> | pid=1");
    assert!(select.to_string().parse::<Select>().is_err());
    assert!(serde_json::to_string(&select).unwrap_err().to_string().contains("Select::matching"));
}

#[test]
fn auto_traits() {
    fn check<T: Send + Sync + Clone + Unpin + 'static>() {}
    fn equal<T: Eq + std::str::FromStr + std::fmt::Display + std::fmt::Debug>() {}
    check::<Select>();
    check::<Pattern>();
    equal::<Select>();
    equal::<Pattern>();
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[a-z/.*?{}=!~<>\\\\\\[\\]-]{0,12}".prop_map(String::into_bytes),
        "\\PC{0,8}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..8),
    ]
}

fn pattern() -> impl Strategy<Value = Pattern> {
    prop_oneof![
        bytes().prop_map(Pattern::exact),
        bytes().prop_map(Pattern::contains),
        "[a-z*?/' \\\\]{1,8}".prop_map(|glob| Pattern::glob(&glob).expect("a glob")),
        "[a-z.^$|\"' &=]{0,8}(\\\\\\.)?".prop_map(|regex| Pattern::regex(&regex).expect("a regular expression")),
    ]
}

fn select() -> impl Strategy<Value = Select> {
    let field = prop::sample::select(vec![
        Select::name as fn(Pattern) -> Select,
        Select::exe,
        Select::cmdline,
        Select::cwd,
        Select::user,
        Select::group,
        Select::cgroup,
        Select::container,
        Select::pod,
    ]);
    let number = prop::sample::select(vec![Select::pid, Select::ppid, Select::uid, Select::gid]);
    let age = prop::sample::select(vec![Select::older_than, Select::younger_than]);
    let leaf = prop_oneof![
        8 => (field, pattern()).prop_map(|(field, pattern)| field(pattern)),
        2 => (number, any::<u32>()).prop_map(|(field, number)| field(number)),
        2 => (age, any::<u64>(), 0..1_000_000_000u32).prop_map(|(field, seconds, nanos)| field(Duration::new(seconds, nanos))),
        1 => "[a-z0-9@\\\\:.-]{0,8}(\\.slice)?".prop_map(Select::unit),
        1 => bytes().prop_map(|path| Select::pid_file(OsString::from_vec(path))),
        1 => Just(Select::kernel_threads()),
        1 => Just(Select::all()),
        1 => Just(Select::none()),
    ];
    leaf.prop_recursive(6, 40, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(left, right)| left & right),
            (inner.clone(), inner.clone()).prop_map(|(left, right)| left | right),
            inner.clone().prop_map(|of| !of),
            inner.clone().prop_map(Select::with_descendants),
            (inner.clone(), any::<u32>()).prop_map(|(of, depth)| of.with_descendants_to(depth)),
            inner.prop_map(Select::topmost),
        ]
    })
}

proptest! {
    #[test]
    fn the_text_form_can_be_parsed(select in select()) {
        let shown = select.to_string();
        let read: Select = match shown.parse() {
            Ok(read) => read,
            Err(error) => return Err(TestCaseError::fail(format!("{error}"))),
        };
        prop_assert_eq!(read.to_string(), shown);
        prop_assert_eq!(&read, &select);
        let json = serde_json::to_string(&select).unwrap();
        prop_assert_eq!(serde_json::from_str::<Select>(&json).unwrap(), select);
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        let _ = text.parse::<Select>().map_err(|error| error.to_string());
    }

    #[test]
    fn almost_a_selection_is_read_or_refused(
        parts in prop::collection::vec(prop::sample::select(vec![
            "name", "exe", "=", "==", "!=", "~", "*=", "age", ">", "<", "pid", "5m", "1", "(", ")", ",", "&", "|", "!", "and", "or",
            "not", " ", "\n", "\"", "'", "\\", "\\x4", "all", "topmost(", "with_descendants(", "*", "[", "{", "ü", "\u{1b}",
        ]), 0..24),
    ) {
        let text = parts.concat();
        match text.parse::<Select>() {
            Ok(select) => {
                prop_assert_eq!(select.to_string().parse::<Select>().unwrap(), select);
            }
            Err(error) => prop_assert!(error.is_config()),
        }
    }
}
