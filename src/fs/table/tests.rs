//! The table as a tree, of mounts that are made up, and the live one.

use super::*;
use crate::fs::backing::{Image, ImageFile};
use crate::fs::mounts::{self, DeviceId};
use rustix::fs::{AtFlags, CWD, StatxFlags};

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

    fn find(&self, image: &Image) -> Option<ImageFile> {
        match image.path.to_str().unwrap() {
            "/dev/nbd0" => Some(ImageFile::Device(DeviceId { major: 43, minor: 0 })),
            "/dev/sda" => Some(ImageFile::Device(DeviceId { major: 8, minor: 0 })),
            "/srv/small" => None,
            path => {
                assert!(!path.starts_with("/net/") && !path.starts_with("/cover/"), "touched {path}");
                Some(ImageFile::File)
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
fn mounts_that_may_hang_are_not_touched() {
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
fn the_storage_of_a_mount_makes_it_safe_or_not() {
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

/// The id of the mount that the kernel finds at a path, as the table has it.
fn mount_id(path: &Path) -> u64 {
    let statx = rustix::fs::statx(CWD, path, AtFlags::NO_AUTOMOUNT, StatxFlags::MNT_ID).unwrap();
    statx.stx_mnt_id
}

#[test]
fn the_live_table_leads_where_the_kernel_does() {
    let mut watched = WatchedTable::open().unwrap();
    let table = Table::of(watched.list().unwrap());
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
