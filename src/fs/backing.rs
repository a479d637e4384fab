//! What a mount stands on besides its device: the layers of an overlay, the file that a loop device lies in.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::mounts::{self, DeviceId, Mount};

/// What is asked of the kernel about it.
pub(super) trait Ground {
    /// As `readlink(2)`: `EINVAL` for what is no symbolic link.
    fn read_link(&self, path: &Path) -> io::Result<PathBuf>;

    /// The number of the block device at `path`, if there is one.
    fn device(&self, path: &Path) -> Option<DeviceId>;

    /// The files that a block device lies in: none for a disk. `None` where it needs a server, or that is not known.
    fn files(&self, device: DeviceId) -> Option<Vec<PathBuf>>;
}

/// The running one.
pub(super) struct Kernel;

/// The directories and files that a mount stands on. `None` where it needs a server, or that is not known.
pub(super) fn files(mount: &Mount, ground: &dyn Ground) -> Option<Vec<PathBuf>> {
    match mount.fs_type.as_bytes() {
        b"overlay" => layers(mount.super_options.as_bytes()),
        b"ecryptfs" => Some(vec![path(mount.source.as_bytes())]),
        // An image that is mounted without a loop device; otherwise it is got from a server.
        b"erofs" if mount.device.major == 0 => Some(vec![path(mount.source.as_bytes())]),
        _ => {
            let source = mount.source.as_bytes();
            let device = if mount.device.major > 0 {
                Some(mount.device)
            } else if source.starts_with(b"/dev/") {
                // Those with several devices have a number of their own.
                ground.device(&path(source))
            } else {
                None
            };
            device.map_or(Some(Vec::new()), |device| ground.files(device))
        }
    }
}

fn path(bytes: &[u8]) -> PathBuf {
    OsString::from_vec(bytes.to_vec()).into()
}

/// The layers of an overlay, from its options; `None` where it names none.
fn layers(options: &[u8]) -> Option<Vec<PathBuf>> {
    let mut layers = Vec::new();
    for option in options.split(|byte| *byte == b',') {
        let Some(at) = option.iter().position(|byte| *byte == b'=') else { continue };
        let (name, value) = option.split_at(at);
        let value = mounts::unescape(value.get(1..).unwrap_or_default());
        match name {
            b"lowerdir" => layers.extend(split(&value).filter(|layer| !layer.is_empty()).map(|layer| path(&layer))),
            b"upperdir" | b"lowerdir+" | b"datadir+" => layers.push(path(&value)),
            _ => {}
        }
    }
    (!layers.is_empty()).then_some(layers)
}

/// The parts between colons, of which there can be two; one after a backslash is of the part.
fn split(text: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let mut parts = vec![Vec::new()];
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        let (byte, after) = match (first, tail.split_first()) {
            (b'\\', Some((next, after))) => (*next, after),
            (b':', _) => {
                parts.push(Vec::new());
                rest = tail;
                continue;
            }
            _ => (*first, tail),
        };
        if let Some(part) = parts.last_mut() {
            part.push(byte);
        }
        rest = after;
    }
    parts.into_iter()
}

impl Ground for Kernel {
    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        std::fs::read_link(path)
    }

    fn device(&self, path: &Path) -> Option<DeviceId> {
        let number = std::fs::metadata(path).ok()?.rdev();
        Some(DeviceId { major: rustix::fs::major(number), minor: rustix::fs::minor(number) })
    }

    fn files(&self, device: DeviceId) -> Option<Vec<PathBuf>> {
        let mut files = Vec::new();
        below(device, 0, &mut files).then_some(files)
    }
}

/// The driver of loop devices.
const LOOP: u32 = 7;

/// Collects the files below a block device; `false` where it needs a server, or that is not known.
fn below(device: DeviceId, depth: u32, files: &mut Vec<PathBuf>) -> bool {
    /// Devices on devices: more than anybody has.
    const DEEPEST: u32 = 16;
    let dir = PathBuf::from(format!("/sys/dev/block/{device}"));
    // Without a /sys only loop devices are known to lie in a file.
    let Ok(link) = std::fs::read_link(&dir) else { return device.major != LOOP };
    // A partition is in the directory of its disk.
    let dir = if dir.join("partition").exists() { dir.join("..") } else { dir };
    let is_served = |name: &[u8]| [b"nbd".as_slice(), b"rbd"].iter().any(|driver| name.starts_with(driver));
    if link.components().any(|step| is_served(step.as_os_str().as_bytes())) || depth > DEEPEST {
        return false;
    }
    if let Ok(file) = std::fs::read(dir.join("loop/backing_file")) {
        files.push(path(file.strip_suffix(b"\n").unwrap_or(&file)));
        return true;
    }
    let slaves = std::fs::read_dir(dir.join("slaves")).into_iter().flatten().flatten();
    slaves
        .map(|slave| number(&slave.path()))
        .all(|slave| slave.is_some_and(|slave| below(slave, depth.saturating_add(1), files)))
}

/// The number of a device, from its directory in /sys.
fn number(dir: &Path) -> Option<DeviceId> {
    let text = std::fs::read_to_string(dir.join("dev")).ok()?;
    let (major, minor) = text.trim_end().split_once(':')?;
    Some(DeviceId { major: major.parse().ok()?, minor: minor.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_of_an_overlay() {
        let check = |options: &str, expected: &[&str]| {
            let found = layers(options.as_bytes()).unwrap_or_default();
            assert_eq!(found, expected.iter().map(PathBuf::from).collect::<Vec<_>>(), "{options}");
        };
        check("rw,lowerdir=/a:/b,upperdir=/u,workdir=/w", &["/a", "/b", "/u"]);
        check("rw,lowerdir=/a::/data", &["/a", "/data"]);
        check("rw,lowerdir+=/a:b,datadir+=/c", &["/a:b", "/c"]);
        check(r"rw,lowerdir=/a\134:b:/c\040d:/e\134\134", &["/a:b", "/c d", r"/e\"]);
        check("rw,xino=off", &[]);
    }

    #[test]
    fn a_disk_lies_in_no_file() {
        let root = std::fs::metadata("/").unwrap().dev();
        let device = DeviceId { major: rustix::fs::major(root), minor: rustix::fs::minor(root) };
        if device.major > 0 && device.major != LOOP {
            assert_eq!(Kernel.files(device), Some(Vec::new()));
        }
        assert_eq!(Kernel.files(DeviceId { major: LOOP, minor: 1 << 19 }), None, "no such loop device");
    }
}
