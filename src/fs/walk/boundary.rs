//! Where a scan stops: at other file systems, or at other mounts.

use super::entry::Entry;

/// What to do about file systems that are mounted below the directory of a [`Scan`](crate::fs::Scan).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Boundary {
    /// Leave out what is on another device, as `du -x` does. A bind mount of the same file system is scanned, and the
    /// subvolumes of btrfs are not.
    #[default]
    SameDevice,
    /// Leave out what is on another mount, bind mounts too. On kernels before 5.8, which do not tell, what is on
    /// another device.
    SameMount,
    /// Scan whatever there is. What is mounted at two places counts at both, and a mount that does not answer holds up the
    /// scan for as long.
    Cross,
}

/// The boundary of one tree.
#[derive(Clone, Copy, Debug)]
pub(in crate::fs) enum Fence {
    Device(u64),
    Mount(u64),
    None,
}

impl Fence {
    /// Around the tree with this root.
    pub(in crate::fs) fn new(boundary: Boundary, root: &Entry) -> Self {
        match (boundary, root.mount) {
            (Boundary::Cross, _) => Self::None,
            (Boundary::SameMount, Some(mount)) => Self::Mount(mount),
            (Boundary::SameMount, None) | (Boundary::SameDevice, _) => Self::Device(root.id.device),
        }
    }

    /// Whether nothing on another mount is inside.
    pub(in crate::fs) fn is_mount(self) -> bool {
        matches!(self, Self::Mount(_))
    }

    /// Whether an entry is outside.
    pub(in crate::fs) fn excludes(self, entry: &Entry) -> bool {
        match self {
            Self::None => false,
            Self::Device(device) => {
                // The files of an overlay may show the device of a layer; only a mount is another file system.
                entry.id.device != device && (entry.is_dir() || entry.mount_root != Some(false))
            }
            Self::Mount(mount) => entry.mount != Some(mount),
        }
    }
}
