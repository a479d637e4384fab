//! Rules of the source that no compiler keeps: imports go down, and few files know tokio.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The layers from the ground up, each with its modules; `x::*` is all below `x` that no other line names. A module imports
/// from its own layer and from those before it.
const LAYERS: [(&str, &[&str]); 9] = [
    ("ground", &["error", "time", "text", "reading", "process::id"]),
    (
        "parsers",
        &[
            "process::args",
            "process::cgroup",
            "process::fields",
            "process::io",
            "process::limits",
            "process::namespaces",
            "process::number",
            "process::oom",
            "process::schedstat",
            "process::smaps_rollup",
            "process::stat",
            "process::state",
            "process::statm",
            "process::status",
            "fs::kind",
            "fs::mounts",
        ],
    ),
    ("ticks", &["snapshot", "counters", "source", "cached"]),
    ("sources", &["process", "process::*", "fs", "fs::*"]),
    ("sampler", &["sampler", "async_process", "mount_changes"]),
    ("combinators", &["stream_ext", "stream_ext::*"]),
    ("forward", &["forward", "forward::*"]),
    ("brokers", &["broker", "broker::*"]),
    ("front", &["lib", "schema"]),
];

/// Imports that go up all the same, and why.
const EXCEPTIONS: [(&str, &str, &str); 3] = [
    ("source", "sampler", "`SourceExt::every` is a provided method, so its signature names what it makes"),
    ("fs::watch::tests", "lib", "what all tests share is declared at the root"),
    ("forward::spool::tests", "lib", "what all tests share is declared at the root"),
];

/// Words that belong to one file, or to none.
const WORDS: [(&str, &str); 3] = [("tokio::task", "sampler"), ("spawn_blocking", "sampler"), ("unsafe", "nowhere")];

#[test]
fn imports_go_down() {
    assert_eq!(check(&source()), [""; 0]);
}

#[test]
fn the_changelog_has_this_version() {
    let changelog = std::fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    let heading = format!("## [{}]", env!("CARGO_PKG_VERSION"));
    assert!(changelog.lines().any(|line| line.starts_with(&heading)), "CHANGELOG.md has no line {heading}");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The code of each module by its path, comments left out.
fn source() -> BTreeMap<String, String> {
    fn walk(folder: &Path, prefix: &str, modules: &mut BTreeMap<String, String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = format!("{prefix}{}", path.file_stem().unwrap().to_str().unwrap());
            if path.is_dir() {
                walk(&path, &format!("{name}::"), modules);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                modules.insert(name, code(&std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut modules = BTreeMap::new();
    walk(&root().join("src"), "", &mut modules);
    assert!(modules.len() > 40, "where is the source?");
    modules
}

/// Without comments and tests. In a module within the file, `super` is the file itself, and is left out.
fn code(text: &str) -> String {
    let mut within = false;
    let mut code = String::new();
    for line in text.lines().map(|line| line.split("//").next().unwrap_or_default()) {
        if line == "mod tests {" {
            break;
        }
        within = if line == "}" { false } else { within || (line.contains("mod ") && line.ends_with(" {")) };
        code.push_str(&if within { line.replacen("super::", "", 1) } else { line.to_owned() });
        code.push('\n');
    }
    code
}

fn check(modules: &BTreeMap<String, String>) -> Vec<String> {
    let mut faults = BTreeSet::new();
    let mut unused: BTreeSet<_> = EXCEPTIONS.iter().map(|(from, to, _)| (*from, *to)).collect();
    for (module, code) in modules {
        let Some(layer) = layer(module) else {
            faults.insert(format!("{module} is in no layer: say in tests/layers.rs which it belongs to"));
            continue;
        };
        for path in paths(code) {
            let target = resolve(modules, module, &path);
            let Some(below) = self::layer(&target) else { continue };
            if below <= layer {
                continue;
            }
            match EXCEPTIONS.iter().find(|(from, to, _)| from == module && *to == target) {
                Some((from, to, _)) => {
                    unused.remove(&(*from, *to));
                }
                None => {
                    let [(from, _), (to, _)] = [LAYERS[layer], LAYERS[below]];
                    let path = path.join("::");
                    faults.insert(format!("{module} ({from}) imports {path} of {target} ({to}), which is above it"));
                }
            }
        }
        for (word, owner) in WORDS {
            if owner != module && has_word(code, word) {
                faults.insert(format!("{module} has the word {word}, which belongs to: {owner}"));
            }
        }
    }
    if modules.len() > 40 {
        faults.extend(unused.iter().map(|(from, to)| format!("nothing of {from} imports {to}: end that exception")));
    }
    faults.into_iter().collect()
}

fn layer(module: &str) -> Option<usize> {
    let of = |name: &str| LAYERS.iter().position(|(_, modules)| modules.contains(&name));
    // The nearest that is named: itself, what it is a part of, or all below one of them.
    let mut name = module;
    let mut found = of(name);
    while found.is_none() {
        let (parent, _) = name.rsplit_once("::")?;
        found = of(&format!("{parent}::*")).or_else(|| of(parent));
        name = parent;
    }
    found
}

fn has_word(code: &str, word: &str) -> bool {
    let part = |letter: char| letter.is_alphanumeric() || letter == '_';
    code.match_indices(word).any(|(at, _)| !code[..at].ends_with(part) && !code[at + word.len()..].starts_with(part))
}

/// All paths in the code that start with `crate` or `super`, in `use` or elsewhere, groups taken apart.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for root in ["crate::", "super::"] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back();
            if !before.is_some_and(|before| before.is_alphanumeric() || before == '_' || before == ':') {
                tree(&code[at..], &mut Vec::new(), &mut paths);
            }
        }
    }
    paths
}

/// Reads one tree such as `a::{b, c::d}` into the paths it stands for, and returns what is after it.
fn tree<'a>(text: &'a str, prefix: &mut Vec<String>, paths: &mut Vec<Vec<String>>) -> &'a str {
    let depth = prefix.len();
    let mut text = text;
    loop {
        text = text.trim_start();
        if let Some(group) = text.strip_prefix('{') {
            text = group;
            loop {
                text = tree(text, prefix, paths).trim_start();
                match text.strip_prefix(',') {
                    Some(next) => text = next,
                    None => break,
                }
            }
            text = text.strip_prefix('}').unwrap_or(text);
            break;
        }
        let end = text.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        if !name.is_empty() && name != "self" {
            prefix.push(name.to_owned());
        }
        match rest.strip_prefix("::") {
            Some(next)
                if next.starts_with(|letter: char| letter.is_alphanumeric() || letter == '_' || letter == '{') =>
            {
                text = next;
            }
            _ => {
                if prefix.len() > depth || name == "self" {
                    paths.push(prefix.clone());
                }
                // A new name: `a as b`.
                let renamed = rest.trim_start().strip_prefix("as ").map(str::trim_start);
                text = renamed.map_or(rest, |rest| {
                    rest.trim_start_matches(|letter: char| letter.is_alphanumeric() || letter == '_')
                });
                break;
            }
        }
    }
    prefix.truncate(depth);
    text
}

/// The module that a path is about, through what modules give on from each other.
fn resolve(modules: &BTreeMap<String, String>, from: &str, path: &[String]) -> String {
    let join = |at: &str, name: &str| if at == "lib" { name.to_owned() } else { format!("{at}::{name}") };
    let mut at = from.to_owned();
    for name in path {
        at = match name.as_str() {
            "crate" => "lib".to_owned(),
            "super" => at.rsplit_once("::").map_or("lib", |(parent, _)| parent).to_owned(),
            name if modules.contains_key(&join(&at, name)) => join(&at, name),
            name => {
                let given_on = modules.get(&at).and_then(|code| {
                    uses(code).into_iter().find(|path| path.last().is_some_and(|last| last == name) && path.len() > 1)
                });
                return match given_on {
                    Some(path) => resolve(modules, &at, &path),
                    None => at,
                };
            }
        };
    }
    at
}

/// The paths of all `use`.
fn uses(code: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("use ") {
        if code[..at].lines().next_back().is_none_or(|line| line.trim().is_empty() || line.trim().starts_with("pub")) {
            tree(&code[at + "use ".len()..], &mut Vec::new(), &mut paths);
        }
    }
    paths
}

// The checker is checked too.

fn faults(modules: &[(&str, &str)]) -> Vec<String> {
    check(&modules.iter().map(|(name, text)| ((*name).to_owned(), code(text))).collect())
}

#[test]
fn trees_are_taken_apart() {
    let code =
        "use crate::{A, b::{C as D, self}, e};\nfn f(x: super::super::g::H) -> crate::Result<u8> { crate::i!(7) }";
    let paths: BTreeSet<String> = paths(code).iter().map(|path| path.join("::")).collect();
    let expected =
        ["crate::A", "crate::b::C", "crate::b", "crate::e", "super::super::g::H", "crate::Result", "crate::i"];
    assert_eq!(paths, expected.map(str::to_owned).into());
}

#[test]
fn an_import_that_goes_up_is_found() {
    let lib = "pub use process::Processes;\npub use snapshot::Snapshot;\npub use sampler::Sampler;";
    let process = "mod processes;\nmod stat;\npub use processes::Processes;";
    let with = |module, text| {
        faults(&[
            ("lib", lib),
            ("process", process),
            ("snapshot", ""),
            ("sampler", ""),
            ("process::processes", ""),
            (module, text),
        ])
    };
    assert_eq!(with("process::scan", "use super::{Processes, stat::Stat};\nuse crate::Snapshot;"), [""; 0]);
    let up = "process::stat (parsers) imports crate::Snapshot of snapshot (ticks), which is above it";
    assert_eq!(with("process::stat", "use crate::{\n    Snapshot,\n};"), [up]);
    assert_eq!(with("process::stat", "fn f() -> crate::Snapshot {}"), [up]);
    let up = "process::stat (parsers) imports super::Processes of process::processes (sources), which is above it";
    assert_eq!(with("process::stat", "use super::Processes;"), [up], "through what its parent gives on");
    let up = "process::scan (sources) imports crate::Sampler of sampler (sampler), which is above it";
    assert_eq!(with("process::scan", "use crate::Sampler;"), [up]);
    assert_eq!(with("process::scan", "// use crate::Sampler;\n/// [`crate::Sampler`]"), [""; 0]);
    assert_eq!(with("source", "use crate::Sampler;"), [""; 0], "an exception");
    assert_eq!(with("cached", "use crate::Sampler;").len(), 1, "of that module alone");
    assert_eq!(with("other", "").len(), 1, "a module of no layer");
    let within = "pub(crate) mod x {\n    use super::Processes;\n}\n";
    assert_eq!(with("process::stat", within), [""; 0], "that is its own");
    assert_eq!(with("process::stat", &format!("{within}use super::Processes;")).len(), 1);
}

#[test]
fn words_out_of_place_are_found() {
    assert_eq!(faults(&[("sampler", "tokio::task::spawn_blocking(f)")]), [""; 0]);
    assert_eq!(faults(&[("source", "tokio::task::spawn_blocking(f)")]).len(), 2);
    assert_eq!(faults(&[("source", "tokio::task_local!()")]), [""; 0]);
    assert_eq!(faults(&[("source", "unsafe { f() }")]).len(), 1);
    assert_eq!(faults(&[("source", "#![forbid(unsafe_code)] // unsafe")]), [""; 0]);
}
