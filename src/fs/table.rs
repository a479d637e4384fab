//! The mount table as a tree: what a path is on, without touching what may hang.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use super::mounts::{self, Mount};
use crate::{Error, Result};

/// Our own mounts: those that our paths lead to.
const TABLE: &str = "/proc/self/mountinfo";

/// The mounts of now, and which is mounted on which.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) mounts: Vec<Mount>,
    /// By the mount that is mounted on, and where: the place in `mounts`.
    children: HashMap<(u32, PathBuf), usize>,
    root: Option<usize>,
}

/// Where a path leads to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place<'a> {
    /// The mount it is on.
    pub(crate) mount: &'a Mount,
    /// The path without symbolic links.
    pub(crate) path: PathBuf,
    /// Whether every step could be looked at. Otherwise a part of it is on a mount that may hang, and was taken as it is
    /// written.
    pub(crate) seen: bool,
}

impl Table {
    pub(crate) fn read() -> Result<Self> {
        let bytes = std::fs::read(TABLE).map_err(|error| Error::io(error).at(TABLE))?;
        Ok(Self::new(mounts::parse(&bytes).collect()))
    }

    pub(crate) fn new(mounts: Vec<Mount>) -> Self {
        let children: HashMap<_, _> = mounts
            .iter()
            .enumerate()
            .filter(|(_, mount)| mount.id != mount.parent)
            .map(|(place, mount)| ((mount.parent, mount.mount_point.to_path_buf()), place))
            .collect();
        // The root of all is mounted on what is not in the table.
        let known: std::collections::HashSet<u32> = mounts.iter().map(|mount| mount.id).collect();
        let root = mounts.iter().position(|mount| {
            *mount.mount_point == *Path::new("/") && (mount.id == mount.parent || !known.contains(&mount.parent))
        });
        let mut table = Self { mounts, children, root };
        table.root = root.map(|root| table.top(root, Path::new("/")).unwrap_or(root));
        table
    }

    /// The mounts that paths lead to: not those below others. With each, whether its path leads over nothing that may hang.
    pub(crate) fn visible(&self) -> impl Iterator<Item = (&Mount, bool)> {
        self.mounts.iter().filter_map(|mount| {
            let (reached, safe) = self.reach(&mount.mount_point)?;
            (reached.id == mount.id).then_some((mount, safe))
        })
    }

    /// The mount that a path without symbolic links is on, and whether it leads over nothing that may hang.
    pub(crate) fn reach(&self, path: &Path) -> Option<(&Mount, bool)> {
        let place = self.resolve(path, |_| Err(Errno::INVAL.into())).ok()?;
        Some((place.mount, place.seen))
    }

    /// Follows a path from the root. `read_link` is asked for each step that is not a mount point, unless it is on a mount
    /// that may hang or that mounts something when it is touched; it gives `EINVAL` for what is no symbolic link.
    ///
    /// # Errors
    ///
    /// Those of `read_link`; where there is no mount of `/` in the table (after a `chroot(2)`).
    pub(crate) fn resolve(
        &self,
        path: &Path,
        mut read_link: impl FnMut(&Path) -> io::Result<PathBuf>,
    ) -> Result<Place<'_>> {
        /// As many as the kernel follows.
        const MOST_LINKS: u32 = 40;
        let Some(root) = self.root else {
            return Err(Error::config("there is no mount of / to be seen here").at(path));
        };
        let mut todo: Vec<OsString> = steps(path);
        let mut reached = PathBuf::from("/");
        // The mount that each step so far is on, the root first, and whether the way there can be looked at.
        let bottom = (root, self.is_safe(root));
        let mut trail: Vec<(usize, bool)> = vec![bottom];
        let mut links = 0_u32;
        while let Some(step) = todo.pop() {
            let (on, safe) = trail.last().copied().unwrap_or(bottom);
            match Path::new(&step).components().next() {
                Some(Component::RootDir) => {
                    trail.truncate(1);
                    reached = PathBuf::from("/");
                }
                Some(Component::ParentDir) if trail.len() > 1 => {
                    trail.pop();
                    reached.pop();
                }
                Some(Component::Normal(name)) => {
                    reached.push(name);
                    if let Some(mounted) = self.top(on, &reached) {
                        trail.push((mounted, safe && self.is_safe(mounted)));
                        continue;
                    }
                    if !safe {
                        trail.push((on, safe));
                        continue;
                    }
                    match read_link(&reached) {
                        Ok(target) => {
                            links = links.saturating_add(1);
                            if links > MOST_LINKS {
                                return Err(Error::from(Errno::LOOP).at(path));
                            }
                            reached.pop();
                            todo.extend(steps(&target));
                        }
                        Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => trail.push((on, safe)),
                        Err(error) => return Err(Error::io(error).at(&reached)),
                    }
                }
                _ => {}
            }
        }
        let (on, seen) = trail.last().copied().unwrap_or(bottom);
        let mount = self.mounts.get(on).ok_or_else(|| Error::config("there is no mount").at(path))?;
        Ok(Place { mount, path: reached, seen })
    }

    fn is_safe(&self, place: usize) -> bool {
        self.mounts.get(place).is_some_and(|mount| mount.kind().is_safe())
    }

    /// The topmost mount on `path`, a directory of the mount `below`; none where nothing is mounted there.
    fn top(&self, below: usize, path: &Path) -> Option<usize> {
        let mut top = None;
        let mut below = below;
        // Each mount is on top of another one, so this ends, whatever the table says.
        for _ in 0..self.mounts.len() {
            let id = self.mounts.get(below)?.id;
            let Some(place) = self.children.get(&(id, path.to_path_buf())) else { break };
            top = Some(*place);
            below = *place;
        }
        top
    }
}

/// The steps of a path, the last first.
fn steps(path: &Path) -> Vec<OsString> {
    let mut steps: Vec<_> = path.components().map(|step| step.as_os_str().to_owned()).collect();
    steps.reverse();
    steps
}

/// The table, and a descriptor that tells when it changes.
#[derive(Debug)]
pub(crate) struct Watched {
    file: File,
    buffer: Vec<u8>,
}

impl Watched {
    pub(crate) fn open() -> Result<Self> {
        let file = File::open(TABLE).map_err(|error| Error::io(error).at(TABLE))?;
        Ok(Self { file, buffer: Vec::new() })
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Whether something was mounted or unmounted since the last time it was asked, or since it was opened.
    pub(crate) fn has_changed(&self) -> bool {
        let mut fds = [PollFd::new(&self.file, PollFlags::PRI)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        // What cannot be asked is read.
        rustix::event::poll(&mut fds, Some(&now)).map_or(true, |ready| ready > 0)
    }

    /// Reads the table.
    pub(crate) fn read(&mut self) -> Result<Table> {
        /// A table that never stands still is taken as it is.
        const TRIES: usize = 8;
        for _ in 0..TRIES {
            self.fill().map_err(|error| Error::io(error).at(TABLE))?;
            // It is read in pieces: it may have changed in between.
            if !self.has_changed() {
                break;
            }
        }
        Ok(Table::new(mounts::parse(&self.buffer).collect()))
    }

    fn fill(&mut self) -> io::Result<()> {
        const PIECE: usize = 16 << 10;
        let mut filled = 0_usize;
        loop {
            if self.buffer.len() < filled.saturating_add(PIECE) {
                self.buffer.resize(filled.saturating_add(PIECE), 0);
            }
            let Some(free) = self.buffer.get_mut(filled..) else { return Ok(()) };
            match self.file.read_at(free, filled as u64) {
                Ok(0) => break,
                Ok(count) => filled = filled.saturating_add(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.buffer.truncate(filled);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
        27 1 254:0 / / rw - ext4 /dev/vda rw\n\
        25 27 0:23 / /dev/shm rw - tmpfs tmpfs rw\n\
        30 25 0:27 / /dev/shm rw - tmpfs tmpfs rw\n\
        40 27 0:40 / /net rw - autofs auto rw\n\
        41 40 0:41 / /net/a rw - nfs4 a:/ rw\n\
        42 41 8:9 / /net/a/disk rw - ext4 /dev/sdz rw\n\
        50 27 0:50 / /old rw - tmpfs tmpfs rw\n\
        51 50 0:51 / /old/hidden rw - tmpfs tmpfs rw\n\
        52 27 0:52 / /srv rw - tmpfs tmpfs rw\n\
        53 50 0:53 / /old rw - tmpfs tmpfs rw\n";

    fn table() -> Table {
        Table::new(mounts::parse(MOUNTS.as_bytes()).collect())
    }

    /// A world in which these are all the symbolic links.
    fn links(path: &Path) -> io::Result<PathBuf> {
        match path.to_str().unwrap() {
            "/var/log" => Ok(PathBuf::from("../srv/./log")),
            "/shm" => Ok(PathBuf::from("/dev/shm/x")),
            "/loop" => Ok(PathBuf::from("loop")),
            "/none" => Err(Errno::NOENT.into()),
            "/net" => panic!("touched an automount"),
            path if path.starts_with("/net/a/") => panic!("touched {path}"),
            _ => Err(Errno::INVAL.into()),
        }
    }

    #[track_caller]
    fn check(path: &str, id: u32, canonical: &str, seen: bool) {
        let table = table();
        let place = table.resolve(Path::new(path), links).unwrap();
        assert_eq!((place.mount.id, place.path.to_str().unwrap(), place.seen), (id, canonical, seen), "{path}");
    }

    #[test]
    fn paths_lead_to_mounts() {
        check("/", 27, "/", true);
        check("/var/lib", 27, "/var/lib", true);
        check("/srv", 52, "/srv", true);
        check("/srvx", 27, "/srvx", true);
        check("/dev/shm/a", 30, "/dev/shm/a", true);
        check("/old/hidden", 53, "/old/hidden", true);
        check("/srv/..", 27, "/", true);
        check("/../..", 27, "/", true);
    }

    #[test]
    fn symbolic_links_are_followed() {
        check("/var/log/app", 52, "/srv/log/app", true);
        check("/shm", 30, "/dev/shm/x", true);
        assert!(table().resolve(Path::new("/loop"), links).is_err());
        let error = table().resolve(Path::new("/none/x"), links).unwrap_err();
        assert!(error.is_not_found());
        assert_eq!(error.path(), Some(Path::new("/none")));
    }

    #[test]
    fn what_may_hang_is_not_touched() {
        check("/net/b", 40, "/net/b", false);
        check("/net/a/b", 41, "/net/a/b", false);
        check("/net/a/disk/c", 42, "/net/a/disk/c", false);
        check("/net/../srv", 52, "/srv", true);
        check("/shm/../../../net/a/b/../c", 41, "/net/a/c", false);
    }

    #[test]
    fn hidden_mounts_are_not_visible() {
        let table = table();
        let visible: Vec<_> = table.visible().map(|(mount, safe)| (mount.id, safe)).collect();
        assert_eq!(visible, [(27, true), (30, true), (40, false), (41, false), (42, false), (52, true), (53, true)]);
    }

    #[test]
    fn the_live_table_leads_everywhere() {
        let mut watched = Watched::open().unwrap();
        let table = watched.read().unwrap();
        let place = table.resolve(Path::new("/proc/self/cwd"), |path| std::fs::read_link(path)).unwrap();
        assert_eq!(place.path, std::fs::canonicalize("/proc/self/cwd").unwrap());
        assert_eq!(Table::read().unwrap().mounts.is_empty(), table.mounts.is_empty());
    }
}
