//! The storage below a mount: the file of its loop device, and all devices of a file system with several.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::mounts::{self, DeviceId, Mount};

/// The questions about storage that the kernel answers.
pub(super) trait Ground {
    /// Reads a symbolic link as `readlink(2)` does: `EINVAL` if it is none.
    fn read_link(&self, path: &Path) -> io::Result<PathBuf>;

    /// Returns the number of the block device with this name of the kernel.
    fn device(&self, name: &[u8]) -> Option<DeviceId>;

    /// Returns all devices of the btrfs with this source. `None` if they are not known.
    fn btrfs(&self, source: &[u8]) -> Option<Vec<DeviceId>>;

    /// Returns the images below a block device: none for a disk. `None` if it needs a server, or they are not known.
    fn images(&self, device: DeviceId) -> Option<Vec<Image>>;

    /// Returns the file at the path of an image, if it can be the image. Called only if the path cannot hang.
    fn find(&self, image: &Image) -> Option<ImageFile>;
}

/// The file of a loop device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Image {
    /// Its current path. The kernel computes the path when it is read, so a file that was moved or whose mount was moved
    /// has its new one. Another mount can hide the file there, and the file can be on a mount of another namespace.
    pub(super) path: PathBuf,
    /// The size of the file, as far as the device shows it. `None` if the kernel has no figures of it.
    size: Option<Size>,
}

impl Image {
    #[cfg(test)]
    pub(super) fn at(path: &str) -> Self {
        Self { path: path.into(), size: None }
    }
}

/// Figures of a loop device, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    device: u64,
    offset: u64,
    /// 0 means that there is none.
    limit: u64,
}

impl Size {
    /// Whether a device of this size can have a file of `bytes`.
    fn fits(self, bytes: u64) -> bool {
        let left = bytes.saturating_sub(self.offset);
        let used = if self.limit > 0 { left.min(self.limit) } else { left };
        used / SECTOR == self.device / SECTOR
    }
}

/// The file at the path of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ImageFile {
    File,
    Device(DeviceId),
}

/// The running kernel.
pub(super) struct Kernel;

/// Returns the block devices of a mount; none for a file system in memory. `None` if it needs a server, or they are not
/// known.
///
/// The texts of the mount table are never used as paths. The source is an arbitrary text of the mounting program, and the
/// layers of an overlay are those at their paths when it was mounted, in that mount namespace: nothing shows that the paths
/// still lead there, as the file systems of the layers stay in use after they were unmounted or hidden.
pub(super) fn devices(mount: &Mount, ground: &dyn Ground) -> Option<Vec<DeviceId>> {
    match mount.fs_type.as_bytes() {
        b"overlay" | b"ecryptfs" => None,
        // The log and the realtime files can be on devices of their own.
        b"xfs" if mount.device.major > 0 => {
            let others = mount
                .super_options
                .as_bytes()
                .split(|byte| *byte == b',')
                .filter_map(|option| option.strip_prefix(b"logdev=").or_else(|| option.strip_prefix(b"rtdev=")));
            let device = |text| ground.device(mounts::unescape(text).strip_prefix(b"/dev/")?);
            std::iter::once(Some(mount.device)).chain(others.map(device)).collect()
        }
        _ if mount.device.major > 0 => Some(vec![mount.device]),
        // A btrfs has a device number of its own, which is none of its devices.
        b"btrfs" => ground.btrfs(mount.source.as_bytes()),
        b"bcachefs" => None,
        // Either an image that is mounted without a loop device, or the content comes from a server.
        b"erofs" => None,
        _ => Some(Vec::new()),
    }
}

fn path(bytes: &[u8]) -> PathBuf {
    OsString::from_vec(bytes.to_vec()).into()
}

impl Ground for Kernel {
    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        std::fs::read_link(path)
    }

    fn device(&self, name: &[u8]) -> Option<DeviceId> {
        // A name with a slash is that of a link of udev, which may lead to another device by now.
        let is_name = !name.is_empty() && !name.contains(&b'/') && !name.starts_with(b".");
        is_name.then(|| number(&Path::new("/sys/class/block").join(path(name)))).flatten()
    }

    fn btrfs(&self, source: &[u8]) -> Option<Vec<DeviceId>> {
        const ALL: &str = "/sys/fs/btrfs";
        let name = source.strip_prefix(b"/dev/").map(path);
        let mut devices = Vec::new();
        for file_system in std::fs::read_dir(ALL).ok()?.flatten() {
            let dir = file_system.path().join("devices");
            // Other entries there are no file systems.
            let Ok(entries) = std::fs::read_dir(&dir) else { continue };
            let links: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
            let own: Option<Vec<DeviceId>> = links.iter().map(|link| number(link)).collect();
            // The source is one of the devices. If it is a link of udev, the devices of all btrfs are returned.
            let is_it =
                |link: &PathBuf| name.is_some() && link.file_name() == name.as_ref().map(|name| name.as_os_str());
            if links.iter().any(is_it) {
                return own;
            }
            devices.extend(own?);
        }
        (!devices.is_empty()).then_some(devices)
    }

    fn images(&self, device: DeviceId) -> Option<Vec<Image>> {
        let mut images = Vec::new();
        below(device, 0, &mut images).then_some(images)
    }

    fn find(&self, image: &Image) -> Option<ImageFile> {
        let found = std::fs::symlink_metadata(&image.path).ok()?;
        if found.file_type().is_block_device() {
            let (major, minor) = (rustix::fs::major(found.rdev()), rustix::fs::minor(found.rdev()));
            return Some(ImageFile::Device(DeviceId { major, minor }));
        }
        let fits = found.is_file() && image.size.is_some_and(|size| size.fits(found.size()));
        fits.then_some(ImageFile::File)
    }
}

/// The bytes of a sector in these figures, independent of the device.
const SECTOR: u64 = 512;

/// The major number of loop devices.
const LOOP: u32 = 7;

/// Collects the images below a block device; returns `false` if it needs a server, or they are not known.
fn below(device: DeviceId, depth: u32, images: &mut Vec<Image>) -> bool {
    /// The limit of devices on devices: more than real machines have.
    const DEEPEST: u32 = 16;
    let dir = PathBuf::from(format!("/sys/dev/block/{device}"));
    // Without /sys only loop devices are known to have a file.
    let Ok(link) = std::fs::read_link(&dir) else { return device.major != LOOP };
    // A partition is in the directory of its disk.
    let dir = if dir.join("partition").exists() { dir.join("..") } else { dir };
    let is_served = |name: &[u8]| [b"nbd".as_slice(), b"rbd"].iter().any(|driver| name.starts_with(driver));
    if link.components().any(|step| is_served(step.as_os_str().as_bytes())) || depth > DEEPEST {
        return false;
    }
    if let Ok(file) = std::fs::read(dir.join("loop/backing_file")) {
        let figure = |name: &str| std::fs::read_to_string(dir.join(name)).ok()?.trim_end().parse::<u64>().ok();
        let size = || {
            let device = figure("size")?.saturating_mul(SECTOR);
            Some(Size { device, offset: figure("loop/offset")?, limit: figure("loop/sizelimit")? })
        };
        images.push(Image { path: path(file.strip_suffix(b"\n").unwrap_or(&file)), size: size() });
        return true;
    }
    let slaves = std::fs::read_dir(dir.join("slaves")).into_iter().flatten().flatten();
    slaves
        .map(|slave| number(&slave.path()))
        .all(|slave| slave.is_some_and(|slave| below(slave, depth.saturating_add(1), images)))
}

/// Returns the number of a device, from its directory in /sys.
fn number(dir: &Path) -> Option<DeviceId> {
    let text = std::fs::read_to_string(dir.join("dev")).ok()?;
    let (major, minor) = text.trim_end().split_once(':')?;
    Some(DeviceId { major: major.parse().ok()?, minor: minor.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_as_large_as_its_device() {
        let size = |device, offset, limit| Size { device, offset, limit };
        assert!(size(1024, 0, 0).fits(1024) && size(1024, 0, 0).fits(1535));
        assert!(!size(1024, 0, 0).fits(1536) && !size(1024, 0, 0).fits(1023));
        assert!(size(1024, 512, 0).fits(1536) && !size(1024, 512, 0).fits(1024));
        assert!(size(1024, 512, 1024).fits(9000) && !size(2048, 512, 1024).fits(9000));
    }

    #[test]
    fn a_disk_lies_in_no_file() {
        let root = std::fs::metadata("/").unwrap().dev();
        let device = DeviceId { major: rustix::fs::major(root), minor: rustix::fs::minor(root) };
        if device.major > 0 && device.major != LOOP {
            assert_eq!(Kernel.images(device), Some(Vec::new()));
        }
        assert_eq!(Kernel.images(DeviceId { major: LOOP, minor: 1 << 19 }), None, "no such loop device");
    }
}
