//! The mount table, from the bytes of `/proc/PID/mountinfo`.

use std::borrow::Cow;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::kind::Kind;
use crate::number::{decimal, octal};
use crate::{Text, WirePath};

/// One mount: a line of `/proc/self/mountinfo`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Mount {
    /// Its id, which is unique among the current mounts, and is used again after an unmount.
    pub id: u32,
    /// Never used again before the machine restarts: `STATX_MNT_ID_UNIQUE` of `statx(2)`, since Linux 6.8. `None` where the
    /// kernel has none, if asking for it could hang, and for a mount that is hidden below another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_id: Option<u64>,
    /// The mount this one is mounted on.
    pub parent: u32,
    /// The device, the same for all mounts of one file system.
    pub device: DeviceId,
    /// The mounted directory of the file system: `/`, unless it is a bind mount or a subvolume.
    pub root: WirePath,
    /// The path at which it is mounted.
    pub mount_point: WirePath,
    /// Options of this mount, separated by commas.
    pub options: Text,
    /// The type of the file system: `ext4`, `proc`.
    pub fs_type: Text,
    /// The mounted device: its path, or a name without a meaning.
    pub source: Text,
    /// Options of the file system, separated by commas.
    pub super_options: Text,
}

/// The major and minor number of a device. For a file system without one (`tmpfs`, `nfs`) the kernel allocates a number,
/// which distinguishes it from the others too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct DeviceId {
    /// The number of the driver.
    pub major: u32,
    /// The number of the device of this driver.
    pub minor: u32,
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

impl Mount {
    /// Whether nothing can be written through this mount: it or the file system was mounted read-only, or ext4 had stopped
    /// writing after an error when the table was read (`emergency_ro` or `shutdown`, since Linux 6.15).
    ///
    /// The kernel reports no change of the table for such an error: [`FileSystemSample::read_only`](crate::FileSystemSample) is
    /// up to date at each tick.
    #[must_use]
    pub fn read_only(&self) -> bool {
        self.is_mounted_read_only() || self.is_made_read_only() || self.is_stopped()
    }

    /// Whether nothing can be written through this mount, although other mounts of the file system may be writable.
    pub(super) fn is_mounted_read_only(&self) -> bool {
        has_option(self.options.as_bytes(), b"ro")
    }

    /// Whether the file system is read-only by its options, and so by all of its mounts.
    pub(super) fn is_made_read_only(&self) -> bool {
        has_option(self.super_options.as_bytes(), b"ro")
    }

    /// Whether the file system stopped writing by itself.
    pub(super) fn is_stopped(&self) -> bool {
        STOPPED.iter().any(|option| has_option(self.super_options.as_bytes(), option))
    }

    pub(crate) fn kind(&self) -> Kind {
        Kind::of(self.fs_type.as_bytes())
    }

    fn point(&self) -> &[u8] {
        self.mount_point.as_os_str().as_bytes()
    }
}

/// The options of a file system that stopped writing by itself.
pub(super) const STOPPED: [&[u8]; 2] = [b"emergency_ro", b"shutdown"];

fn has_option(options: &[u8], name: &[u8]) -> bool {
    options.split(|byte| *byte == b',').any(|option| option == name)
}

/// Returns the mounts of a table, in its order: later ones at the same place hide earlier ones. Lines that cannot be parsed
/// are left out.
pub(crate) fn parse(table: &[u8]) -> impl Iterator<Item = Mount> {
    table.split(|byte| *byte == b'\n').filter_map(line)
}

/// Parses a line: `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = decimal(fields.next()?)?;
    let parent = decimal(fields.next()?)?;
    let mut device = fields.next()?.splitn(2, |byte| *byte == b':');
    let device = DeviceId { major: decimal(device.next()?)?, minor: decimal(device.next()?)? };
    let root = path(fields.next()?);
    let mount_point = path(fields.next()?);
    let options = Text::from(fields.next()?);
    // Any number of optional fields ends with a lone dash.
    fields.find(|field| *field == b"-")?;
    Some(Mount {
        id,
        unique_id: None,
        parent,
        device,
        root,
        mount_point,
        options,
        fs_type: Text::from(&*unescape(fields.next()?)),
        source: Text::from(&*unescape(fields.next()?)),
        super_options: Text::from(fields.next().unwrap_or_default()),
    })
}

fn path(field: &[u8]) -> WirePath {
    WirePath::from(unescape(field).into_owned())
}

/// Undoes the kernel's `\040` for a space, tab, newline, backslash and `#`.
pub(super) fn unescape(field: &[u8]) -> Cow<'_, [u8]> {
    if !field.contains(&b'\\') {
        return Cow::Borrowed(field);
    }
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let escaped = (*first == b'\\')
            .then(|| tail.split_at_checked(3))
            .flatten()
            .and_then(|(digits, after)| Some((octal(digits)?, after)));
        let (byte, after) = escaped.unwrap_or((*first, tail));
        bytes.push(byte);
        rest = after;
    }
    Cow::Owned(bytes)
}

/// Selects one mount for each file system among `mounts`, as GNU `df` does: a mount with the path of a device as its source
/// wins over one with a name; then the mount point with the shorter path wins, unless only a part of the file system is
/// mounted there; a later mount at the same place wins. Two mounts of remote file systems from different sources stay two.
///
/// Returns the selected mounts in the order of the table, each with the ids of all mounts that it represents.
pub(crate) fn fold<'a>(mounts: impl IntoIterator<Item = &'a Mount>) -> Vec<(&'a Mount, Vec<u32>)> {
    let mut chosen: Vec<(&Mount, Vec<u32>)> = Vec::new();
    let mut places: std::collections::HashMap<DeviceId, Vec<usize>> = std::collections::HashMap::new();
    for mount in mounts {
        let same_device = places.entry(mount.device).or_default();
        let same = same_device.iter().copied().find(|place| {
            chosen.get(*place).is_some_and(|(kept, _)| {
                let both_remote = !mount.kind().is_local() && !kept.kind().is_local();
                !(both_remote && kept.source != mount.source)
            })
        });
        match same.and_then(|place| chosen.get_mut(place)) {
            Some((kept, ids)) => {
                if beats(mount, kept) {
                    *kept = mount;
                }
                ids.push(mount.id);
            }
            None => {
                same_device.push(chosen.len());
                chosen.push((mount, vec![mount.id]));
            }
        }
    }
    chosen
}

fn beats(new: &Mount, kept: &Mount) -> bool {
    let is_path = |mount: &Mount| mount.source.as_bytes().contains(&b'/');
    let length = |path: &Path| path.as_os_str().len();
    let nearer_root = length(&new.mount_point) < length(&kept.mount_point);
    let part_of_it = length(&new.root) > length(&kept.root);
    (is_path(new) && !is_path(kept))
        || (nearer_root && !part_of_it)
        || (new.source != kept.source && new.point() == kept.point())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_escapes_and_optional_fields() {
        let text = b"36 35 98:0 / /mnt/a\\040b\\134c\xff rw,noatime master:1 shared:2 - fuse.x s\\043 rw,hidepid=2\n";
        let mounts: Vec<_> = parse(text).collect();
        assert_eq!(
            mounts,
            [Mount {
                id: 36,
                unique_id: None,
                parent: 35,
                device: DeviceId { major: 98, minor: 0 },
                root: WirePath::from("/"),
                mount_point: WirePath::from(&b"/mnt/a b\\c\xff"[..]),
                options: Text::from("rw,noatime"),
                fs_type: Text::from("fuse.x"),
                source: Text::from("s#"),
                super_options: Text::from("rw,hidepid=2"),
            }]
        );
    }

    #[test]
    fn lines_that_cannot_be_parsed_are_left_out() {
        assert_eq!(parse(b"\n36 35\n36 35 98:0 / /mnt rw no dash here\n").count(), 0);
    }

    #[test]
    fn read_only_by_the_mount_or_by_the_file_system() {
        let read_only = |options: &str, super_options: &str| {
            let text = format!("1 0 0:1 / / {options} - ext4 /dev/x {super_options}\n");
            parse(text.as_bytes()).next().unwrap().read_only()
        };
        assert!(read_only("ro,relatime", "rw"));
        assert!(read_only("rw,relatime", "ro,errors=remount-ro"));
        assert!(!read_only("rw,relatime", "rw,errors=remount-ro,ro_fs=1"));
        assert!(read_only("rw,relatime", "rw,errors=remount-ro,emergency_ro"));
        assert!(read_only("rw,relatime", "rw,shutdown"));
    }

    #[track_caller]
    fn check_fold(table: &str, expected: &[(&str, &[u32])]) {
        let mounts: Vec<_> = parse(table.as_bytes()).collect();
        let folded = fold(&mounts);
        let folded: Vec<_> = folded.iter().map(|(m, ids)| (m.mount_point.to_str().unwrap(), ids.as_slice())).collect();
        assert_eq!(folded, expected);
    }

    #[test]
    fn bind_mounts_are_the_same_file_system() {
        check_fold(
            "1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 8:1 /srv /b rw - ext4 /dev/sda rw\n3 1 8:2 / /c rw - ext4 /dev/sdb rw\n",
            &[("/", &[1, 2]), ("/c", &[3])],
        );
    }

    #[test]
    fn the_shorter_mount_point_wins_unless_it_is_only_a_part() {
        check_fold("1 0 8:1 / /long rw - ext4 /dev/a rw\n2 0 8:1 / /l rw - ext4 /dev/a rw\n", &[("/l", &[1, 2])]);
        check_fold("1 0 8:1 / /long rw - ext4 /dev/a rw\n2 0 8:1 /x /l rw - ext4 /dev/a rw\n", &[("/long", &[1, 2])]);
    }

    #[test]
    fn a_device_beats_a_name_and_a_later_mount_the_one_below_it() {
        check_fold("1 0 0:9 / /a rw - zfs none rw\n2 0 0:9 / /abc rw - zfs /dev/x rw\n", &[("/abc", &[1, 2])]);
        check_fold("1 0 0:9 / /a rw - zfs /dev/y rw\n2 0 0:9 /y /a rw - zfs /dev/x rw\n", &[("/a", &[1, 2])]);
    }

    #[test]
    fn remote_mounts_of_different_sources_stay() {
        check_fold(
            "1 0 0:9 / /a rw - nfs4 h:/a rw\n2 0 0:9 / /b rw - nfs4 h:/b rw\n3 0 0:9 / /b2 rw - nfs4 h:/b rw\n",
            &[("/a", &[1]), ("/b", &[2, 3])],
        );
    }
}
