//! Rules of the source that no compiler keeps: imports go down, no files import each other in a circle, and some words have one
//! home.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

/// The layers from the ground up, each with its modules; `x::*` is all below `x` that no other line names. A module imports
/// from its own layer and from those before it.
const LAYERS: [(&str, &[&str]); 13] = [
    (
        "ground",
        &[
            "error",
            "fault",
            "time",
            "text",
            "reading",
            "number",
            "glob",
            "inotify",
            "spelling",
            "scanner",
            "own_file",
            "process::id",
            "events::method",
        ],
    ),
    (
        "parsers",
        &[
            "cgroup::identity",
            "process::args",
            "process::exit_status",
            "process::cgroup",
            "process::fields",
            "process::io",
            "process::limits",
            "process::namespaces",
            "process::oom",
            "process::schedstat",
            "process::smaps_rollup",
            "process::stat",
            "process::state",
            "process::statm",
            "process::status",
            "events::netlink",
            "events::log",
            "fs::kind",
            "fs::mounts",
        ],
    ),
    (
        "ticks",
        &[
            "lives",
            "snapshot",
            "counters",
            "measured",
            "measured::*",
            "quantity",
            "source",
            "cached",
            "metered",
            "events::connector",
        ],
    ),
    ("wire", &["wire", "wire::*"]),
    ("sources", &["process", "process::*", "fs", "fs::*", "cgroup", "cgroup::*"]),
    ("sources of sources", &["events", "events::*", "own", "own::*", "machine", "machine::*"]),
    ("sampler", &["sampler", "sampler::*", "source_ext", "async_process"]),
    ("combinators", &["stream", "stream::*"]),
    ("export", &["export", "export::*"]),
    ("forward", &["forward", "forward::*"]),
    ("brokers", &["broker", "broker::*"]),
    ("settings", &["config", "config::*"]),
    ("front", &["lib", "schema", "cookbook"]),
];

/// Words that belong to few files.
const WORDS: [(&[&str], &[&str]); 2] =
    [(&["tokio", "task"], &["sampler", "broker::blocking"]), (&["spawn_blocking"], &["sampler", "broker::blocking"])];

#[test]
fn imports_go_down() {
    let house = House::new(source());
    assert!(house.rooms.len() > 40, "where is the source?");
    assert_eq!(house.imports_that_go_up(), [""; 0]);
}

#[test]
fn no_files_import_each_other() {
    assert_eq!(House::new(source()).circles(), [""; 0]);
}

#[test]
fn words_have_one_home() {
    assert_eq!(House::new(source()).words_out_of_place(), [""; 0]);
}

#[test]
fn the_changelog_has_this_version() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let version = manifest.lines().find_map(|line| line.strip_prefix("version = ")).unwrap().trim_matches('"');
    let changelog = std::fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    let heading = format!("## [{version}]");
    assert!(changelog.lines().any(|line| line.starts_with(&heading)), "CHANGELOG.md has no line {heading}");
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The text of each file by its path as a module.
fn source() -> BTreeMap<String, String> {
    fn walk(folder: &Path, prefix: &str, files: &mut BTreeMap<String, String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = format!("{prefix}{}", path.file_stem().unwrap().to_str().unwrap());
            if path.is_dir() {
                walk(&path, &format!("{name}::"), files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.insert(name, std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut files = BTreeMap::new();
    walk(&root().join("src"), "", &mut files);
    // Tests may import what they like.
    files.retain(|name, _| !name.split("::").any(|part| part == "tests"));
    files
}

/// The files, and who imports what of whom.
struct House {
    rooms: BTreeMap<String, Room>,
    /// From a file to another: the names it takes.
    arrows: BTreeMap<(String, String), BTreeSet<String>>,
}

/// One file, as far as it is of interest here.
#[derive(Default)]
struct Room {
    /// Names that are given on from elsewhere, and from where; `*` for a glob.
    given_on: Vec<(String, Vec<String>)>,
    /// Paths that lead to other files.
    paths: BTreeSet<Vec<String>>,
    /// First names of all paths, and all names: to see whether what is given on is used here too.
    names: BTreeSet<String>,
    words: BTreeSet<String>,
    paths_of_words: BTreeSet<Vec<String>>,
}

impl House {
    fn new(files: BTreeMap<String, String>) -> Self {
        let modules: BTreeSet<String> = files.keys().cloned().collect();
        let rooms: BTreeMap<String, Room> =
            files.iter().map(|(name, text)| (name.clone(), Room::read(name, text, &modules))).collect();
        let mut house = Self { rooms, arrows: BTreeMap::new() };
        for (name, room) in &house.rooms {
            let used = room.given_on.iter().filter(|(alias, _)| room.names.contains(alias)).map(|(_, path)| path);
            for path in room.paths.iter().chain(used) {
                if let Some((target, item)) = house.resolve(name, path)
                    && target != *name
                {
                    house.arrows.entry((name.clone(), target)).or_default().insert(item);
                }
            }
        }
        house
    }

    /// The file that defines what a path leads to, through what files give on from each other, and the name there.
    fn resolve(&self, from: &str, path: &[String]) -> Option<(String, String)> {
        self.resolve_within(from, path, 0)
    }

    fn resolve_within(&self, from: &str, path: &[String], depth: usize) -> Option<(String, String)> {
        if depth > 20 {
            return None;
        }
        let join = |at: &str, name: &str| if at == "lib" { name.to_owned() } else { format!("{at}::{name}") };
        let mut at = from.to_owned();
        for (index, name) in path.iter().enumerate() {
            at = match name.as_str() {
                "crate" => "lib".to_owned(),
                "self" => at,
                "super" => at.rsplit_once("::").map_or("lib", |(parent, _)| parent).to_owned(),
                name if self.rooms.contains_key(&join(&at, name)) => join(&at, name),
                name => {
                    let given_on = &self.rooms.get(&at)?.given_on;
                    if let Some((_, further)) = given_on.iter().find(|(alias, _)| alias == name) {
                        let rest = path.get(index + 1..).unwrap_or_default();
                        let further: Vec<String> = further.iter().chain(rest).cloned().collect();
                        return self.resolve_within(&at, &further, depth + 1);
                    }
                    return Some((at, name.to_owned()));
                }
            };
        }
        // A file as a whole; what is taken out of it is in other paths, or in this one's last part.
        Some((at, "self".to_owned()))
    }

    fn imports_that_go_up(&self) -> Vec<String> {
        let mut faults = BTreeSet::new();
        for name in self.rooms.keys() {
            if layer(name).is_none() {
                faults.insert(format!("{name} is in no layer: say in tests/library/house.rs which it belongs to"));
            }
        }
        for ((from, to), items) in &self.arrows {
            let (Some(above), Some(below)) = (layer(from), layer(to)) else { continue };
            if below <= above || (to == "lib" && items.iter().all(|item| item == "self")) {
                continue;
            }
            let items = items.iter().cloned().collect::<Vec<_>>().join(", ");
            let [(above, _), (below, _)] = [LAYERS[above], LAYERS[below]];
            faults.insert(format!("{from} ({above}) imports {items} of {to} ({below}), which is above it"));
        }
        faults.into_iter().collect()
    }

    /// The circles, each with the imports that make it.
    fn circles(&self) -> Vec<String> {
        let mut to: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (from, target) in self.arrows.keys() {
            if target != "lib" {
                to.entry(from).or_default().push(target);
            }
        }
        let reach = |start: &str| {
            let mut seen = BTreeSet::new();
            let mut left = to.get(start).cloned().unwrap_or_default();
            while let Some(next) = left.pop() {
                if seen.insert(next) {
                    left.extend(to.get(next).into_iter().flatten());
                }
            }
            seen
        };
        let reached: BTreeMap<&str, BTreeSet<&str>> = to.keys().map(|from| (*from, reach(from))).collect();
        let mut circles: BTreeSet<BTreeSet<&str>> = BTreeSet::new();
        for (from, all) in &reached {
            if all.contains(from) {
                circles.insert(
                    all.iter().copied().filter(|to| reached.get(to).is_some_and(|all| all.contains(from))).collect(),
                );
            }
        }
        let show = |circle: &BTreeSet<&str>| {
            let arrows =
                self.arrows.iter().filter(|((from, to), _)| circle.contains(&**from) && circle.contains(&**to));
            let arrows = arrows.map(|((from, to), items)| {
                format!("{from} -> {to}: {}", items.iter().cloned().collect::<Vec<_>>().join(", "))
            });
            arrows.collect::<Vec<_>>().join("\n  ")
        };
        circles.iter().map(show).collect()
    }

    fn words_out_of_place(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, room) in &self.rooms {
            for (word, homes) in WORDS {
                let found = match word {
                    [word] => room.words.contains(*word),
                    path => room.paths_of_words.iter().any(|found| {
                        found.windows(path.len()).any(|window| window.iter().zip(path).all(|(a, b)| a == b))
                    }),
                };
                if found && !homes.contains(&name.as_str()) {
                    faults.push(format!("{name} has {}, which belongs to {}", word.join("::"), homes.join(", ")));
                }
            }
        }
        faults
    }
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

impl Room {
    fn read(name: &str, text: &str, modules: &BTreeSet<String>) -> Self {
        let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut reader = Reader { name, modules, room: Self::default(), within: 0 };
        reader.visit_file(&file);
        reader.room
    }
}

struct Reader<'a> {
    name: &'a str,
    modules: &'a BTreeSet<String>,
    room: Room,
    /// In how many modules within the file: there `super` may be the file itself.
    within: usize,
}

impl Reader<'_> {
    fn path(&mut self, path: Vec<String>) {
        self.room.words.extend(path.iter().cloned());
        self.room.paths_of_words.insert(path.clone());
        let Some(first) = path.first().cloned() else { return };
        self.room.names.insert(first.clone());
        if let Some(path) = self.outward(path) {
            self.room.paths.insert(path);
        }
    }

    /// The path as seen from the file, if it leads out of it.
    fn outward(&self, mut path: Vec<String>) -> Option<Vec<String>> {
        for _ in 0..self.within {
            if path.first().is_some_and(|first| first == "super") {
                path.remove(0);
            }
        }
        let child = |name: &str| {
            let name = if self.name == "lib" { name.to_owned() } else { format!("{}::{name}", self.name) };
            self.modules.contains(&name)
        };
        let first = path.first()?;
        let leads_out = matches!(first.as_str(), "crate" | "super" | "self") || (path.len() > 1 && child(first));
        leads_out.then_some(path)
    }

    fn uses(&mut self, tree: &syn::UseTree, prefix: &[String], given_on: bool) {
        let with = |name: &syn::Ident| prefix.iter().cloned().chain([name.to_string()]).collect::<Vec<_>>();
        match tree {
            syn::UseTree::Path(path) => self.uses(&path.tree, &with(&path.ident), given_on),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.uses(tree, prefix, given_on)),
            syn::UseTree::Glob(_) => self.import("*", prefix.to_vec(), given_on),
            syn::UseTree::Name(name) if name.ident == "self" => {
                let alias = prefix.last().cloned().unwrap_or_default();
                self.import(&alias, prefix.to_vec(), given_on);
            }
            syn::UseTree::Name(name) => self.import(&name.ident.to_string(), with(&name.ident), given_on),
            syn::UseTree::Rename(rename) => self.import(&rename.rename.to_string(), with(&rename.ident), given_on),
        }
    }

    fn import(&mut self, alias: &str, path: Vec<String>, given_on: bool) {
        self.room.words.extend(path.iter().cloned());
        self.room.paths_of_words.insert(path.clone());
        let Some(path) = self.outward(path) else { return };
        if given_on {
            self.room.given_on.push((alias.to_owned(), path));
        } else {
            self.room.paths.insert(path);
        }
    }
}

fn is_of_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else { return false };
        list.path.is_ident("cfg") && matches!(list.tokens.to_string().as_str(), "test" | "doctest")
    })
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let attributes = match item {
            syn::Item::Mod(item) => &item.attrs,
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            syn::Item::Use(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !is_of_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.content.is_some() {
            self.within += 1;
            visit::visit_item_mod(self, item);
            self.within -= 1;
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let given_on = !matches!(item.vis, syn::Visibility::Inherited);
        self.uses(&item.tree, &[], given_on);
    }

    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.path(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    fn visit_ident(&mut self, ident: &'ast syn::Ident) {
        self.room.words.insert(ident.to_string());
    }

    /// What stands in a macro is no path to the parser: names joined by `::` are one here.
    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        fn read(tokens: TokenStream, reader: &mut Reader<'_>) {
            let mut path: Vec<String> = Vec::new();
            let mut colons = 0;
            for token in tokens {
                match token {
                    TokenTree::Ident(name) => {
                        if colons != 2 {
                            reader.path(std::mem::take(&mut path));
                        }
                        path.push(name.to_string());
                        colons = 0;
                    }
                    TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                    TokenTree::Group(group) => {
                        reader.path(std::mem::take(&mut path));
                        colons = 0;
                        read(group.stream(), reader);
                    }
                    _ => {
                        reader.path(std::mem::take(&mut path));
                        colons = 0;
                    }
                }
            }
            reader.path(path);
        }
        read(item.tokens.clone(), self);
        visit::visit_macro(self, item);
    }
}

// The checker is checked too.

fn house(files: &[(&str, &str)]) -> House {
    House::new(files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect())
}

#[test]
fn an_import_that_goes_up_is_found() {
    fn with(module: &str, text: &str) -> Vec<String> {
        let lib = "pub use process::Processes;\npub use snapshot::Snapshot;\npub use sampler::Sampler;";
        let process = "mod processes;\nmod stat;\npub use processes::Processes;";
        house(&[
            ("lib", lib),
            ("process", process),
            ("snapshot", "pub struct Snapshot;"),
            ("sampler", "pub struct Sampler;"),
            ("process::processes", "pub struct Processes;"),
            (module, text),
        ])
        .imports_that_go_up()
    }
    assert_eq!(with("process::scan", "use super::{Processes, stat::Stat};\nuse crate::Snapshot;"), [""; 0]);
    let up = "process::stat (parsers) imports Snapshot of snapshot (ticks), which is above it";
    assert_eq!(with("process::stat", "use crate::{\n    Snapshot,\n};"), [up]);
    assert_eq!(with("process::stat", "fn f() -> crate::Snapshot { loop {} }"), [up]);
    assert_eq!(with("process::stat", "fn f() { g!(crate::Snapshot::new()) }"), [up], "within a macro");
    let up = "process::stat (parsers) imports Processes of process::processes (sources), which is above it";
    assert_eq!(with("process::stat", "use super::Processes;"), [up], "through what its parent gives on");
    let up = "process::scan (sources) imports Sampler of sampler (sampler), which is above it";
    assert_eq!(with("process::scan", "use crate::Sampler;"), [up]);
    assert_eq!(with("process::scan", "// use crate::Sampler;\n/// [`crate::Sampler`]\nfn f() {}"), [""; 0]);
    assert_eq!(with("source_ext", "use crate::Sampler;"), [""; 0], "of its own layer");
    assert_eq!(with("other", "").len(), 1, "a module of no layer");
    let within = "pub(crate) mod x {\n    use super::Y;\n}\nstruct Y;\n";
    assert_eq!(with("process::stat", within), [""; 0], "that is its own");
    assert_eq!(with("process::stat", &format!("{within}use super::Processes;")).len(), 1);
    assert_eq!(with("process::stat", "#[cfg(test)]\nmod tests {\n    use crate::Snapshot;\n}"), [""; 0]);
}

#[test]
fn a_circle_is_found() {
    let house = |a, b, parent| house(&[("fs", parent), ("fs::a", a), ("fs::b", b)]).circles();
    assert_eq!(house("use super::b::B;", "pub struct B;", "mod a;\nmod b;"), [""; 0]);
    let circle = "fs::a -> fs::b: B\n  fs::b -> fs::a: A";
    assert_eq!(house("use super::b::B;\nstruct A;", "use super::a::A;\nstruct B;", "mod a;\nmod b;"), [circle]);
    let given_on = "mod a;\nmod b;\npub use a::A;\npub use b::B;";
    assert_eq!(house("use super::B;\nstruct A;", "use super::A;\nstruct B;", given_on), [circle], "by their parent");
    assert_eq!(house("use super::X;\nstruct A;", "", "mod a;\npub use a::A;\nstruct X;"), [""; 0], "it only gives on");
    let circle = "fs -> fs::a: A\n  fs::a -> fs: X";
    assert_eq!(
        house("use super::X;\nstruct A;", "", "mod a;\npub use a::A;\nstruct X(A);"),
        [circle],
        "it uses it too"
    );
    assert_eq!(house("use super::X;\nstruct A;", "", "mod a;\nstruct X(a::A);"), [circle]);
}

#[test]
fn words_out_of_place_are_found() {
    let words = |module, text| house(&[(module, text)]).words_out_of_place();
    assert_eq!(words("sampler", "fn f() { tokio::task::spawn_blocking(f) }"), [""; 0]);
    assert_eq!(words("source", "fn f() { tokio::task::spawn_blocking(f) }").len(), 2);
    assert_eq!(words("source", "use tokio::task::JoinHandle;").len(), 1);
    assert_eq!(words("source", "tokio::task_local!();"), [""; 0]);
}
