//! Where a scan stops: at other file systems, or at other mounts.

use serde::{Deserialize, Serialize};

use super::entry::EntryStat;

/// The treatment of file systems that are mounted below the directory of a [`Scan`](crate::fs::Scan).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum Boundary {
    /// Leave out entries on another device, as `du -x` does. A bind mount of the same file system is scanned, and the
    /// subvolumes of btrfs are not.
    #[default]
    SameDevice,
    /// Leave out entries on another mount, bind mounts too. On kernels before 5.8, which do not report the mount of an
    /// entry, leave out entries on another device.
    SameMount,
    /// Scan across all mounts. A file system that is mounted at two places counts at both, and a mount that does not answer
    /// delays the scan until it does.
    Cross,
}

/// The boundary of one tree, with its root.
#[derive(Clone, Copy, Debug)]
pub(in crate::fs) enum Fence {
    Device(u64),
    Mount(u64),
    None,
}

impl Fence {
    /// Returns the boundary of the tree with this root.
    pub(in crate::fs) fn new(boundary: Boundary, root: &EntryStat) -> Self {
        match (boundary, root.mount) {
            (Boundary::Cross, _) => Self::None,
            (Boundary::SameMount, Some(mount)) => Self::Mount(mount),
            (Boundary::SameMount, None) | (Boundary::SameDevice, _) => Self::Device(root.id.device),
        }
    }

    /// Whether the tree ends at every other mount.
    pub(in crate::fs) fn is_mount(self) -> bool {
        matches!(self, Self::Mount(_))
    }

    /// Whether an entry is outside of the tree.
    pub(in crate::fs) fn excludes(self, entry: &EntryStat) -> bool {
        match self {
            Self::None => false,
            Self::Device(device) => {
                // The files of an overlay may have the device number of a layer; only a mount is another file system.
                entry.id.device != device && (entry.is_dir() || entry.mount_root != Some(false))
            }
            Self::Mount(mount) => entry.mount != Some(mount),
        }
    }
}
