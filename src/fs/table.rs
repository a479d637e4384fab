//! The mount table as a tree: what a path is on, without touching what may hang.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{AtFlags, CWD, FileType, StatxFlags};
use rustix::io::Errno;

use super::backing::{self, Found, Ground, Kernel};
use super::kind;
use super::mounts::{self, DeviceId, Mount};
use crate::{Error, Result};

/// Our own mounts: those that our paths lead to.
const TABLE: &str = "/proc/self/mountinfo";

/// By the place of a mount: whether it can be looked at without being held up, where that is known yet.
type Judged = std::cell::RefCell<Vec<Option<bool>>>;

/// The mounts of now, and which is mounted on which.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// After those of the table comes what `/` is on, where that is not among them.
    mounts: Vec<Mount>,
    /// By the mount that is mounted on, and where: the place in `mounts`.
    children: HashMap<(u32, PathBuf), usize>,
    root: Option<usize>,
    /// Whether the mount of `/` is not in the table: after a `chroot(2)`.
    pub(crate) is_rootless: bool,
    /// By place: whether it can be looked at without being held up, by its type and by what it stands on.
    safe: Vec<bool>,
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
        Ok(Self::new(mounts::parse(&bytes).collect(), &Kernel))
    }

    pub(in crate::fs) fn new(mut mounts: Vec<Mount>, ground: &dyn Ground) -> Self {
        // The root of all is mounted on what is not in the table.
        let known: HashSet<u32> = mounts.iter().map(|mount| mount.id).collect();
        let is_bottom = |mount: &Mount| mount.id == mount.parent || !known.contains(&mount.parent);
        let bottom = mounts.iter().position(|mount| *mount.mount_point == *Path::new("/") && is_bottom(mount));
        if bottom.is_none() {
            // What `/` is on has no line. What is mounted on it names it as its parent.
            let id = mounts.iter().find(|mount| is_bottom(mount)).map_or(0, |mount| mount.parent);
            mounts.push(Mount { id, parent: id, mount_point: "/".into(), ..Mount::default() });
        }
        let root = bottom.unwrap_or(mounts.len().saturating_sub(1));
        let children: HashMap<_, _> = mounts
            .iter()
            .enumerate()
            .filter(|(place, mount)| mount.id != mount.parent && *place != root)
            .map(|(place, mount)| ((mount.parent, mount.mount_point.to_path_buf()), place))
            .collect();
        let mut table = Self { mounts, children, root: Some(root), is_rootless: bottom.is_none(), safe: Vec::new() };
        table.root = Some(table.top(root, Path::new("/")).unwrap_or(root));
        table.judge(ground);
        table
    }

    /// The mounts, in the order of the table.
    pub(crate) fn mounts(&self) -> &[Mount] {
        let listed = self.mounts.len().saturating_sub(usize::from(self.is_rootless));
        self.mounts.get(..listed).unwrap_or_default()
    }

    /// Whether the table has this mount.
    pub(crate) fn is_listed(&self, mount: &Mount) -> bool {
        self.mounts().iter().any(|listed| std::ptr::eq(listed, mount))
    }

    /// The mounts that paths lead to: not those below others. With each, whether its path leads over nothing that may hang.
    pub(crate) fn visible(&self) -> impl Iterator<Item = (&Mount, bool)> {
        self.mounts().iter().filter_map(|mount| {
            let (reached, safe) = self.reach(&mount.mount_point)?;
            (reached.id == mount.id).then_some((mount, safe))
        })
    }

    /// The mount that a path without symbolic links is on, and whether it leads over nothing that may hang.
    pub(crate) fn reach(&self, path: &Path) -> Option<(&Mount, bool)> {
        let place = self.resolve(path, |_, _| Err(Errno::INVAL.into())).ok()?;
        Some((place.mount, place.seen))
    }

    /// Follows a path from the root. `read_link` is asked for each step that is not a mount point, with the mount it is on,
    /// unless that may hang or mounts something when it is touched; it returns `EINVAL` for what is no symbolic link.
    ///
    /// # Errors
    ///
    /// Those of `read_link`.
    pub(crate) fn resolve(
        &self,
        path: &Path,
        read_link: impl FnMut(&Path, &Mount) -> io::Result<PathBuf>,
    ) -> Result<Place<'_>> {
        let (on, path, seen) = self.walk(path, read_link, |place| self.is_safe(place))?;
        let mount = self.mounts.get(on).ok_or_else(|| Error::config("there is no mount").at(&path))?;
        Ok(Place { mount, path, seen })
    }

    fn walk(
        &self,
        path: &Path,
        mut read_link: impl FnMut(&Path, &Mount) -> io::Result<PathBuf>,
        mut is_safe: impl FnMut(usize) -> bool,
    ) -> Result<(usize, PathBuf, bool)> {
        /// As many as the kernel follows.
        const MOST_LINKS: u32 = 40;
        let Some(root) = self.root else { return Err(Error::config("there are no mounts").at(path)) };
        let mut todo: Vec<OsString> = steps(path);
        let mut reached = PathBuf::from("/");
        // The mount that each step so far is on, the root first, and whether the way there can be looked at.
        let bottom = (root, is_safe(root));
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
                        trail.push((mounted, safe && is_safe(mounted)));
                        continue;
                    }
                    let (true, Some(mount)) = (safe, self.mounts.get(on)) else {
                        trail.push((on, safe));
                        continue;
                    };
                    match read_link(&reached, mount) {
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
        Ok((on, reached, seen))
    }

    fn is_safe(&self, place: usize) -> bool {
        self.safe.get(place).copied().unwrap_or(false)
    }

    /// Finds out of each mount whether it can be looked at without being held up.
    fn judge(&mut self, ground: &dyn Ground) {
        let judged = std::cell::RefCell::new(vec![None; self.mounts.len()]);
        // This very process stands on it: nothing can be done without it. What is mounted elsewhere of the same file system
        // stands on the same.
        if let Some(root) = self.root
            && let Some(mount) = self.mounts.get(root)
            && (mount.kind().is_safe() || self.is_rootless)
        {
            let is_same = |(place, other): (usize, &Mount)| {
                place == root || (!self.is_rootless && (other.device, &other.fs_type) == (mount.device, &mount.fs_type))
            };
            *judged.borrow_mut() = self.mounts.iter().enumerate().map(|at| is_same(at).then_some(true)).collect();
        }
        self.safe = (0..self.mounts.len()).map(|place| self.stands_safely(place, ground, &judged)).collect();
    }

    fn stands_safely(&self, place: usize, ground: &dyn Ground, judged: &Judged) -> bool {
        if let Some(known) = judged.borrow().get(place).copied().flatten() {
            return known;
        }
        // What stands on itself, by whatever way, is not known to be safe.
        let put = |safe| {
            if let Some(slot) = judged.borrow_mut().get_mut(place) {
                *slot = Some(safe);
            }
        };
        put(false);
        let Some(mount) = self.mounts.get(place).filter(|mount| mount.kind().is_safe()) else { return false };
        let safe = backing::devices(mount, ground)
            .is_some_and(|devices| devices.iter().all(|device| self.lies_safely(*device, 0, ground, judged)));
        put(safe);
        safe
    }

    /// Whether a block device lies in nothing that may hang.
    fn lies_safely(&self, device: DeviceId, depth: u32, ground: &dyn Ground, judged: &Judged) -> bool {
        /// Images in images, by way of loop devices that were named by a device: more than anybody has.
        const DEEPEST: u32 = 16;
        let Some(images) = ground.images(device).filter(|_| depth < DEEPEST) else { return false };
        images.iter().all(|image| {
            if !self.is_safe_whatever_hides(&image.path, ground, judged) {
                return false;
            }
            match ground.find(image) {
                Some(Found::File) => true,
                Some(Found::Device(device)) => self.lies_safely(device, depth.saturating_add(1), ground, judged),
                None => false,
            }
        })
    }

    /// Whether a file that was opened once, and has this path according to the kernel, is on a mount that cannot hang. It
    /// can be on a mount that is hidden at its path by now, so none that was ever on the way there may hang.
    fn is_safe_whatever_hides(&self, path: &Path, ground: &dyn Ground, judged: &Judged) -> bool {
        let mut on_the_way = self.mounts.iter().enumerate().filter(|(_, mount)| path.starts_with(&*mount.mount_point));
        // The kernel's path has no symbolic links: one that is there now is not of it.
        let no_link = |at: &Path, _: &Mount| match ground.read_link(at) {
            Ok(_) => Err(Errno::NOENT.into()),
            Err(error) => Err(error),
        };
        path.is_absolute()
            && on_the_way.all(|(place, _)| self.stands_safely(place, ground, judged))
            && self.walk(path, no_link, |on| self.stands_safely(on, ground, judged)).is_ok_and(|(.., seen)| seen)
    }

    /// Asks the kernel for the ids of mounts that it never uses again, as far as that cannot hang.
    pub(crate) fn identify(&mut self) {
        let can_be_asked = |mount: &Mount, safe: bool| {
            let way = || self.reach(mount.mount_point.parent()?);
            safe || (kind::is_known_by_kernel(mount.fs_type.as_bytes()) && way().is_none_or(|(_, safe)| safe))
        };
        let found: Vec<(u32, u64)> = self
            .visible()
            .filter(|(mount, safe)| can_be_asked(mount, *safe))
            .filter_map(|(mount, _)| Some((mount.id, unique_id(&mount.mount_point)?)))
            .collect();
        for (id, unique) in found {
            if let Some(mount) = self.mounts.iter_mut().find(|mount| mount.id == id) {
                mount.unique_id = Some(unique);
            }
        }
    }

    pub(crate) fn into_mounts(mut self) -> Vec<Mount> {
        self.mounts.truncate(self.mounts().len());
        self.mounts
    }

    /// Where other mounts begin in the directory `path` of this mount: those that can be reached there.
    pub(crate) fn below<'a>(&'a self, mount: u32, path: &'a Path) -> impl Iterator<Item = (&'a Path, &'a Mount, bool)> {
        self.mounts().iter().enumerate().filter_map(move |(place, other)| {
            let point: &Path = &other.mount_point;
            let is_below = other.parent == mount && point != path && point.starts_with(path);
            // A mount hides what was mounted below its mount point before.
            let is_hidden = || {
                let above = point.ancestors().skip(1).take_while(|above| *above != path);
                above.into_iter().any(|above| self.children.contains_key(&(mount, above.to_path_buf())))
            };
            (is_below && !is_hidden()).then(|| (point, other, self.is_safe(place)))
        })
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

/// `STATX_MNT_ID_UNIQUE`, which the kernel never uses again. Since Linux 6.8; before, it is ignored.
pub(in crate::fs) const MNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// What is at a path: which file, and on which mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::fs) struct Look {
    pub(in crate::fs) kind: FileType,
    pub(in crate::fs) device: (u32, u32),
    pub(in crate::fs) inode: u64,
    /// The id of the mount: that which is never used again, where the kernel has one.
    pub(in crate::fs) mount: u64,
    pub(in crate::fs) is_unique: bool,
}

impl Look {
    /// Looks at what a path leads to. No server is asked by that, and nothing mounted.
    pub(in crate::fs) fn follow(path: &Path) -> io::Result<Self> {
        Self::at(path, AtFlags::empty())
    }

    /// Looks at what is at a path, a symbolic link as well.
    pub(in crate::fs) fn no_follow(path: &Path) -> io::Result<Self> {
        Self::at(path, AtFlags::SYMLINK_NOFOLLOW)
    }

    fn at(path: &Path, flags: AtFlags) -> io::Result<Self> {
        let flags = flags | AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
        let wanted = StatxFlags::TYPE | StatxFlags::INO | StatxFlags::MNT_ID | MNT_ID_UNIQUE;
        let statx = rustix::io::retry_on_intr(|| rustix::fs::statx(CWD, path, flags, wanted))?;
        Ok(Self {
            kind: FileType::from_raw_mode(statx.stx_mode.into()),
            device: (statx.stx_dev_major, statx.stx_dev_minor),
            inode: statx.stx_ino,
            mount: statx.stx_mnt_id,
            is_unique: statx.stx_mask & MNT_ID_UNIQUE.bits() != 0,
        })
    }

    pub(in crate::fs) fn unique_id(&self) -> Option<u64> {
        self.is_unique.then_some(self.mount)
    }
}

/// The unique id of the mount at `path`.
pub(crate) fn unique_id(path: &Path) -> Option<u64> {
    Look::no_follow(path).ok()?.unique_id()
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
    /// What was read before.
    earlier: Vec<u8>,
    /// Whether what was read last may be torn: it is to be read again.
    torn: bool,
}

impl Watched {
    pub(crate) fn open() -> Result<Self> {
        let file = File::open(TABLE).map_err(|error| Error::io(error).at(TABLE))?;
        Ok(Self { file, buffer: Vec::new(), earlier: Vec::new(), torn: false })
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Whether something was mounted or unmounted since the last time it was asked, or since it was opened; or the last
    /// reading did not get hold of a table that stood still.
    pub(crate) fn has_changed(&self) -> bool {
        // Both, as asking makes the kernel forget.
        self.is_told() | self.torn
    }

    /// Whether it is another one than was read last, though nothing was mounted: of that no change is reported, as when a
    /// directory is renamed that is mounted elsewhere.
    pub(crate) fn is_other(&mut self) -> bool {
        std::mem::swap(&mut self.buffer, &mut self.earlier);
        // What cannot be read now is to be read later.
        self.fill().is_err() || self.buffer != self.earlier
    }

    /// Whether the last reading did not get hold of a table that stood still.
    pub(crate) fn is_torn(&self) -> bool {
        self.torn
    }

    fn is_told(&self) -> bool {
        let mut fds = [PollFd::new(&self.file, PollFlags::PRI)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        // What cannot be asked is read.
        rustix::event::poll(&mut fds, Some(&now)).map_or(true, |ready| ready > 0)
    }

    /// Reads the table.
    pub(crate) fn read(&mut self) -> Result<Table> {
        Ok(Table::new(self.list()?, &Kernel))
    }

    /// Reads the mounts alone.
    pub(crate) fn list(&mut self) -> Result<Vec<Mount>> {
        self.list_while(Self::is_told)
    }

    fn list_while(&mut self, mut has_changed: impl FnMut(&Self) -> bool) -> Result<Vec<Mount>> {
        /// A table that never stands still is taken as it is, and read again at the next opportunity.
        const TRIES: usize = 8;
        self.torn = true;
        for _ in 0..TRIES {
            self.fill().map_err(|error| Error::io(error).at(TABLE))?;
            // It is read in pieces: it may have changed in between.
            if !has_changed(self) {
                self.torn = false;
                break;
            }
        }
        Ok(mounts::parse(&self.buffer).collect())
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
    use crate::fs::backing::Image;

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
        Table::new(mounts::parse(MOUNTS.as_bytes()).collect(), &World)
    }

    /// A world in which all files are there but those in `/gone`, and one loop device lies in a file of a server.
    struct World;

    impl Ground for World {
        fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
            assert!(!path.starts_with("/net/"), "touched {}", path.display());
            Err(if path.starts_with("/gone") { Errno::NOENT } else { Errno::INVAL }.into())
        }

        fn device(&self, name: &[u8]) -> Option<DeviceId> {
            let minor = std::str::from_utf8(name.strip_prefix(b"loop")?).unwrap().parse().unwrap();
            Some(DeviceId { major: 7, minor })
        }

        fn btrfs(&self, source: &[u8]) -> Option<Vec<DeviceId>> {
            let disk = |minor| DeviceId { major: 7, minor };
            match source {
                b"/dev/loop1" => Some(vec![disk(1)]),
                b"/dev/loop2" => Some(vec![disk(2)]),
                b"/dev/mapper/both" => Some(vec![disk(2), disk(1)]),
                _ => None,
            }
        }

        fn images(&self, device: DeviceId) -> Option<Vec<Image>> {
            match (device.major, device.minor) {
                (7, 1) => Some(vec![Image::at("/net/a/image")]),
                (7, 3) => Some(vec![Image::at("/old/image")]),
                (7, 4) => Some(vec![Image::at("/dev/nbd0")]),
                (7, 5) => Some(vec![Image::at("/dev/sda")]),
                (7, 6) => Some(vec![Image::at("/srv/small")]),
                (7, 7) => Some(vec![Image::at("/gone/image")]),
                (7, 8) => Some(vec![Image::at("/cover/image")]),
                (7, _) => Some(vec![Image::at("/srv/image")]),
                (43, _) => None,
                _ => Some(Vec::new()),
            }
        }

        fn find(&self, image: &Image) -> Option<Found> {
            match image.path.to_str().unwrap() {
                "/dev/nbd0" => Some(Found::Device(DeviceId { major: 43, minor: 0 })),
                "/dev/sda" => Some(Found::Device(DeviceId { major: 8, minor: 0 })),
                "/srv/small" => None,
                path => {
                    assert!(!path.starts_with("/net/") && !path.starts_with("/cover/"), "touched {path}");
                    Some(Found::File)
                }
            }
        }
    }

    /// A world in which these are all the symbolic links.
    fn links(path: &Path, _: &Mount) -> io::Result<PathBuf> {
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

    #[track_caller]
    fn check_safe(line: &str, safe: bool) {
        let text = format!("{MOUNTS}90 27 {line}\n");
        let table = Table::new(mounts::parse(text.as_bytes()).collect(), &World);
        let (mount, found) = table.reach(Path::new("/x/y")).unwrap();
        assert_eq!((mount.id, found), (90, safe), "{line}");
    }

    #[test]
    fn what_a_mount_stands_on_makes_it_safe_or_not() {
        let overlay = |options: &str| format!("0:90 / /x rw - overlay over rw,{options}");
        // Whether the paths lead to the layers of then, nothing shows.
        check_safe(&overlay("lowerdir=/srv/a:/b,upperdir=/u,workdir=/w"), false);
        check_safe(&overlay("lowerdir=/srv/a:/net/a/b"), false);
        check_safe("0:90 / /x rw - ecryptfs /srv/secret rw", false);
        check_safe("7:2 / /x rw - ext4 /dev/loop2 rw", true);
        check_safe("7:1 / /x rw - ext4 /dev/loop1 rw", false);
        // In a block device that lies on a server, in one that does not; another file than its own is there; none is there.
        check_safe("7:4 / /x rw - ext4 /dev/loop4 rw", false);
        check_safe("7:5 / /x rw - ext4 /dev/loop5 rw", true);
        check_safe("7:6 / /x rw - ext4 /dev/loop6 rw", false);
        check_safe("7:7 / /x rw - ext4 /dev/loop7 rw", false);
        check_safe("0:90 / /x rw - btrfs /dev/loop1 rw", false);
        check_safe("0:90 / /x rw - btrfs /dev/mapper/both rw", false);
        check_safe("0:90 / /x rw - btrfs /net/a/file rw", false);
        check_safe("0:90 / /x rw - bcachefs /dev/sda:/dev/sdb rw", false);
        check_safe("0:90 / /x rw - btrfs /dev/loop2 rw", true);
        check_safe("43:0 / /x rw - xfs /dev/nbd0 rw", false);
        check_safe("8:3 / /x rw - xfs /dev/sda3 rw,logbufs=8,logdev=/dev/loop2,rtdev=/dev/loop5,noquota", true);
        check_safe("8:3 / /x rw - xfs /dev/sda3 rw,logdev=/dev/loop1", false);
        check_safe("8:3 / /x rw - xfs /dev/sda3 rw,logdev=/dev/loop2,rtdev=/dev/loop1", false);
        check_safe("8:3 / /x rw - xfs /dev/sda3 rw,logdev=/dev/mapper/log", false);
        check_safe("8:3 / /x rw - xfs /dev/sda3 rw,logdev=/net/a/log", false);
        check_safe("0:90 / /x ro - erofs /srv/image ro", false);
        check_safe("0:90 / /x ro - erofs none ro,fsid=x", false);
        check_safe("8:4 / /x ro - erofs /dev/sda4 ro", true);
        check_safe("0:90 / /x rw - tmpfs /net/a rw", true);
        check_safe("0:90 / /x rw - tmpfs /dev/../net/a/x rw", true);
        check_safe("8:3 / /x rw - xfs /dev/sda3 rw", true);
        check_safe("0:90 / /x rw - fuse.lxcfs lxcfs rw", false);
    }

    #[test]
    fn an_image_may_be_on_a_mount_that_is_hidden() {
        let table = |below: &str| {
            let text = format!(
                "{MOUNTS}80 27 0:80 / /cover rw - {below} b rw\n81 80 0:81 / /cover rw - tmpfs c rw\n90 27 7:8 / /x rw - ext4 /dev/loop8 rw\n\
                 91 27 7:3 / /y rw - ext4 /dev/loop3 rw\n"
            );
            Table::new(mounts::parse(text.as_bytes()).collect(), &World)
        };
        assert!(!table("fuse").reach(Path::new("/x/a")).unwrap().1);
        assert!(table("fuse").reach(Path::new("/y/a")).unwrap().1, "one tmpfs or the other");
    }

    #[test]
    fn the_root_and_what_is_mounted_of_it_elsewhere_is_stood_on() {
        // This process stands on it, whatever that is.
        let table = Table::new(mounts::parse(b"1 0 0:9 / / rw - overlay o rw,lowerdir=/gone/b\n").collect(), &World);
        assert!(table.reach(Path::new("/a")).unwrap().1);
        let text = b"1 0 0:9 / / rw - overlay o rw\n2 1 0:9 /b /c rw - overlay o rw\n3 1 0:8 / /d rw - overlay o rw\n";
        let table = Table::new(mounts::parse(text).collect(), &World);
        assert!(table.reach(Path::new("/c/a")).unwrap().1);
        assert!(!table.reach(Path::new("/d/a")).unwrap().1);
        assert!(
            !Table::new(mounts::parse(b"1 0 0:9 / / rw - nfs4 h:/ rw\n").collect(), &World)
                .reach(Path::new("/a"))
                .unwrap()
                .1
        );
    }

    #[test]
    fn below_another_root_what_is_mounted_can_be_reached() {
        let text = b"90 33 0:9 / /proc rw - proc proc rw\n91 33 0:50 / /data rw - tmpfs d rw\n92 91 0:51 / /data/x rw - nfs4 h:/ rw\n";
        let table = Table::new(mounts::parse(text).collect(), &World);
        assert!(table.is_rootless);
        let visible: Vec<_> = table.visible().map(|(mount, safe)| (mount.id, safe)).collect();
        assert_eq!(visible, [(90, true), (91, true), (92, false)]);
        let (mount, safe) = table.reach(Path::new("/etc")).unwrap();
        assert_eq!((mount.id, safe), (33, true));
        assert_eq!(table.mounts().len(), 3);
        let empty = Table::new(Vec::new(), &World);
        assert!(empty.is_rootless && empty.visible().next().is_none());
        assert_eq!(empty.into_mounts(), []);
    }

    #[test]
    fn mounts_below_a_directory_but_for_those_in_others() {
        let text = format!("{MOUNTS}60 27 0:60 / /old/other/deep rw - tmpfs x rw\n");
        let table = Table::new(mounts::parse(text.as_bytes()).collect(), &World);
        let below = |mount, path: &str| {
            let found: Vec<_> = table
                .below(mount, Path::new(path))
                .map(|(at, mount, safe)| (at.to_str().unwrap().to_owned(), mount.id, safe))
                .collect();
            found
        };
        let expected = [("/dev/shm", 25, true), ("/net", 40, false), ("/old", 50, true), ("/srv", 52, true)];
        assert_eq!(below(27, "/"), expected.map(|(at, id, safe)| (at.to_owned(), id, safe)), "not what /old hides");
        assert_eq!(below(27, "/dev"), [("/dev/shm".to_owned(), 25, true)]);
        assert_eq!(below(27, "/srv"), []);
        assert_eq!(below(40, "/net"), [("/net/a".to_owned(), 41, false)]);
    }

    #[test]
    fn a_table_that_never_stood_still_has_changed() {
        let mut watched = Watched::open().unwrap();
        let mut tries = 0;
        watched
            .list_while(|_| {
                tries += 1;
                true
            })
            .unwrap();
        assert_eq!(tries, 8);
        assert!(watched.has_changed() && watched.has_changed(), "until it is read");
        let mut tries = 0;
        watched
            .list_while(|_| {
                tries += 1;
                tries < 3
            })
            .unwrap();
        assert!(!watched.torn);
    }

    /// The id of the mount that the kernel finds at a path, as the table has it.
    fn mount_id(path: &Path) -> u64 {
        let statx = rustix::fs::statx(CWD, path, AtFlags::NO_AUTOMOUNT, StatxFlags::MNT_ID).unwrap();
        statx.stx_mnt_id
    }

    #[test]
    fn the_live_table_leads_where_the_kernel_does() {
        let mut watched = Watched::open().unwrap();
        let table = watched.read().unwrap();
        let place = table.resolve(Path::new("/proc/self/cwd"), |path, _| std::fs::read_link(path)).unwrap();
        assert_eq!(place.path, std::fs::canonicalize("/proc/self/cwd").unwrap());
        assert_eq!(u64::from(place.mount.id), mount_id(&place.path));
        let ours = ["/", "/proc", "/proc/self", "/dev", "/dev/shm", "/sys/fs/cgroup", "/etc"];
        for path in ours.map(Path::new).into_iter().filter(|path| path.exists()) {
            let place = table.resolve(path, |path, _| std::fs::read_link(path)).unwrap();
            assert_eq!(u64::from(place.mount.id), mount_id(path), "{}", path.display());
        }
        assert!(table.visible().any(|(mount, _)| *mount.mount_point == *Path::new("/proc")));
    }
}
