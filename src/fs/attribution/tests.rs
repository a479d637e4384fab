//! Any places, hidden by anything, scanned at any time, beside a naive count of each file.

#![allow(clippy::arithmetic_side_effects, reason = "tests: an overflow is a failure")]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::Result;
use crate::fs::nesting::{Nested, Nesting};
use crate::fs::plan::Location;
use crate::fs::survey::{Subject, Survey};
use crate::fs::usage::MeasuredTree;

/// The files of a file system, with their sizes.
type Files = BTreeMap<PathBuf, u64>;

#[derive(Debug)]
struct Registered {
    id: u64,
    location: Location,
    exclude: Arc<Globs>,
    value: Option<Value>,
}

#[derive(Clone, Debug)]
enum Step {
    /// A directory is registered by a way of its own, on which these places in it are hidden.
    Register {
        at: String,
        hidden: Vec<String>,
    },
    Remove(prop::sample::Index),
    /// It is scanned, with all in it.
    Scan(prop::sample::Index),
    /// Other places in it are hidden.
    Hide(prop::sample::Index, Vec<String>),
    /// It has another path in its file system: the mounted directory was renamed.
    Rename(prop::sample::Index),
}

struct World {
    files: Files,
    registered: Vec<Registered>,
    last_id: u64,
}

fn spot(at: &str, hidden: &[String]) -> Arc<Spot> {
    // Nothing hides the directory itself.
    let hidden = hidden.iter().filter(|below| !below.is_empty()).map(|below| Path::new(at).join(below));
    Arc::new(Spot::new(at.into(), hidden))
}

impl World {
    fn register(&mut self, at: &str, hidden: &[String]) {
        self.last_id += 1;
        let location = Location {
            target: 0,
            mount: 1,
            identity: None,
            device: crate::fs::DeviceId::default(),
            is_bound: false,
            spot: spot(at, hidden),
            // It is seen by a way of its own.
            path: PathBuf::from(format!("/way{}", self.last_id)),
            safe: true,
            reported: true,
        };
        self.registered.push(Registered { id: self.last_id, location, exclude: Arc::default(), value: None });
    }

    fn scan(&mut self, place: usize) {
        let all = &self.registered;
        let nesting = Nesting::new(all.iter().map(|registered| {
            let (spot, value) = (&registered.location.spot, registered.value.as_ref());
            let earlier = value.filter(|value| value.spot != *spot).map(|value| &*value.spot);
            let pieces = value.map(Value::places).into_iter().flatten().collect();
            Some(Nested { key: (), id: registered.id, spot, earlier, pieces })
        }));
        let (number, ..) = nesting.iter().find(|(_, of, _)| *of == place).unwrap();
        let subjects: Vec<_> = nesting
            .with_all_in(number)
            .map(|number| {
                let registered = &all[nesting.place(number).unwrap()];
                Subject { number, id: registered.id, location: &registered.location, exclude: &registered.exclude }
            })
            .collect();
        let survey = Survey::new(&subjects, nesting.cuts(number), Default::default());
        let found = self.walk(&survey.walk.marks);
        let values = survey.values(found, Monotonic::from_nanos(1), Duration::ZERO);
        for (member, value) in survey.members.iter().zip(values) {
            let registered = self.registered.iter_mut().find(|registered| registered.id == member.id).unwrap();
            let value = value.unwrap();
            let own: u64 = value.pieces.iter().filter(|piece| piece.is_own).map(|piece| piece.bytes).sum();
            assert_eq!(own, value.usage.allocated_bytes);
            registered.value = Some(value);
        }
    }

    /// Returns the result of a scan of these marks: each is read by its own path, and ends where another one begins.
    fn walk(&self, marks: &[PathBuf]) -> Vec<Result<MeasuredTree>> {
        let places: Vec<(PathBuf, &Spot)> = marks
            .iter()
            .map(|mark| {
                let of = self.registered.iter().find(|registered| mark.starts_with(&registered.location.path)).unwrap();
                let spot = &of.location.spot;
                (nesting::move_below(mark, &of.location.path, spot.location()), &**spot)
            })
            .collect();
        let found = |(nth, (place, spot)): (usize, &(PathBuf, &Spot))| {
            let stops = |file: &Path| {
                let mut others = places.iter().enumerate().filter(|(other, _)| *other != nth);
                others.any(|(_, (other, _))| other.starts_with(place) && other != place && file.starts_with(other))
            };
            let files =
                self.files.iter().filter(|(file, _)| file.starts_with(place) && spot.sees(file) && !stops(file));
            let usage = Usage { allocated_bytes: files.map(|(_, bytes)| bytes).sum(), ..Usage::default() };
            Ok(MeasuredTree { usage, at: None, watch: None })
        };
        places.iter().enumerate().map(found).collect()
    }

    fn rename(&mut self, place: usize) {
        // All that is there moves, whatever way it was registered by.
        let from = self.registered[place].location.spot.location().to_path_buf();
        let to = PathBuf::from(format!("/moved{}", self.files.len() + from.components().count()));
        if from == *Path::new("/") || self.files.keys().any(|file| file.starts_with(&to)) {
            return;
        }
        self.files = self.files.iter().map(|(file, bytes)| (nesting::move_below(file, &from, &to), *bytes)).collect();
        for registered in &mut self.registered {
            let old = registered.location.spot.location().to_path_buf();
            if old.starts_with(&from) {
                let new = nesting::move_below(&old, &from, &to);
                registered.location.spot = Arc::new(registered.location.spot.moved(&new));
                if let Some(value) = &mut registered.value {
                    value.moved(&new);
                }
            } else {
                // Their content moved: they are scanned again.
                registered.value = None;
            }
        }
    }

    /// Each file is that directory's which is the innermost of those that see it, as far as anything is known of them.
    fn check(&self) {
        let mut all: Vec<&Registered> = self.registered.iter().collect();
        let spot = |registered: &&Registered| -> Arc<Spot> {
            Arc::clone(registered.value.as_ref().map_or(&registered.location.spot, |value| &value.spot))
        };
        all.sort_by(|a, b| nesting::order((&spot(a), a.id), (&spot(b), b.id)));
        let spots: Vec<Arc<Spot>> = all.iter().map(spot).collect();
        let claimants: Vec<Claimant<'_>> = all
            .iter()
            .zip(&spots)
            .map(|(registered, spot)| Claimant { spot, value: registered.value.as_ref(), exclude: &registered.exclude })
            .collect();
        let mut expected = vec![0; all.len()];
        for (file, bytes) in &self.files {
            let of = claimants.iter().rposition(|claimant| claimant.value.is_some() && claimant.spot.sees(file));
            if let Some(of) = of {
                expected[of] += bytes;
            }
        }
        let owns = attribute(&claimants, &nesting::parents(spots.iter().map(|spot| ((), &**spot))));
        let found: Vec<u64> = owns.iter().map(|own| own.bytes).collect();
        assert_eq!(found, expected, "{claimants:#?}");
        for (own, claimant) in owns.iter().zip(&claimants) {
            if own.is_measured {
                assert_eq!(own.bytes, claimant.value.unwrap().usage.allocated_bytes);
            }
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Register { at, hidden } => self.register(at, hidden),
            Step::Remove(nth) if !self.registered.is_empty() => {
                _ = self.registered.remove(nth.index(self.registered.len()))
            }
            Step::Scan(nth) if !self.registered.is_empty() => self.scan(nth.index(self.registered.len())),
            Step::Hide(nth, hidden) if !self.registered.is_empty() => {
                let nth = nth.index(self.registered.len());
                let at = self.registered[nth].location.spot.location().to_str().unwrap().to_owned();
                self.registered[nth].location.spot = spot(&at, hidden);
            }
            Step::Rename(nth) if !self.registered.is_empty() => self.rename(nth.index(self.registered.len())),
            _ => {}
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let at = "/|(/[ab]){1,3}";
    let hidden = || prop::collection::vec("[ab](/[ab]){0,2}", 0..3);
    prop_oneof![
        3 => (at, hidden()).prop_map(|(at, hidden)| Step::Register { at, hidden }),
        1 => any::<prop::sample::Index>().prop_map(Step::Remove),
        5 => any::<prop::sample::Index>().prop_map(Step::Scan),
        1 => (any::<prop::sample::Index>(), hidden()).prop_map(|(nth, hidden)| Step::Hide(nth, hidden)),
        1 => any::<prop::sample::Index>().prop_map(Step::Rename),
    ]
}

/// A file in each directory of three levels, with a size of its own.
fn files() -> Files {
    let mut files = Files::new();
    let mut level = vec![PathBuf::from("/")];
    for _ in 0..4 {
        for directory in std::mem::take(&mut level) {
            files.insert(directory.join("f"), 1 << files.len());
            level.extend(["a", "b"].map(|name| directory.join(name)));
        }
    }
    files
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn each_file_is_in_exactly_one_directory(steps in prop::collection::vec(step(), 1..24)) {
        let mut world = World { files: files(), registered: Vec::new(), last_id: 0 };
        for step in &steps {
            world.take(step);
            world.check();
        }
    }
}
