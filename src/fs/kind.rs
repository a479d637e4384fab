//! Kinds of file systems, by the name of their type.

/// The behaviour of a file system, by its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Answers by itself: asked on the calling thread.
    Local,
    /// Needs a server, or a program, that may not answer: asked on another thread.
    Remote,
    /// Stores no files: not asked.
    Pseudo,
    /// Stores no files either, but is served by a program that may not answer: not asked, and never touched.
    Served,
    /// Mounts something when it is touched: never touched.
    Automount,
}

impl Kind {
    /// Returns the kind of a type in the mount table; an unknown type is taken to be remote, which is safe.
    pub(crate) fn of(fs_type: &[u8]) -> Self {
        match fs_type {
            b"autofs" => Self::Automount,
            b"bdev" | b"binder" | b"binfmt_misc" | b"bpf" | b"cgroup" | b"cgroup2" | b"configfs" | b"cpuset"
            | b"debugfs" | b"devpts" | b"fusectl" | b"mqueue" | b"nfsd" | b"nsfs" | b"pipefs" | b"proc" | b"pstore"
            | b"resctrl" | b"rpc_pipefs" | b"securityfs" | b"selinuxfs" | b"smackfs" | b"sockfs" | b"sysfs"
            | b"tracefs" | b"xenfs" => Self::Pseudo,
            b"fuse.gvfsd-fuse" | b"fuse.lxcfs" | b"fuse.portal" => Self::Served,
            b"adfs" | b"affs" | b"bcachefs" | b"befs" | b"bfs" | b"btrfs" | b"cramfs" | b"devtmpfs" | b"ecryptfs"
            | b"efivarfs" | b"efs" | b"erofs" | b"exfat" | b"ext2" | b"ext3" | b"ext4" | b"f2fs" | b"hfs"
            | b"hfsplus" | b"hpfs" | b"hugetlbfs" | b"iso9660" | b"jffs2" | b"jfs" | b"minix" | b"msdos"
            | b"nilfs2" | b"ntfs" | b"ntfs3" | b"omfs" | b"overlay" | b"qnx4" | b"qnx6" | b"ramfs" | b"reiserfs"
            | b"romfs" | b"rootfs" | b"squashfs" | b"sysv" | b"tmpfs" | b"ubifs" | b"udf" | b"ufs" | b"vfat"
            | b"xfs" | b"zfs" | b"zonefs" => Self::Local,
            _ => Self::Remote,
        }
    }

    /// Whether the kernel reports all changes of a file system of this type: those that are made by calls of programs to a
    /// file system of this machine. It does not report changes of files that the kernel generates, changes made by the firmware or
    /// a page fault, and, on a file system with layers, changes made directly to a layer.
    pub(crate) fn reports_changes(fs_type: &[u8]) -> bool {
        Self::of(fs_type).is_local() && !matches!(fs_type, b"ecryptfs" | b"efivarfs" | b"hugetlbfs" | b"overlay")
    }

    pub(crate) fn is_local(self) -> bool {
        self == Self::Local
    }

    /// Whether reading a path on it can neither hang nor trigger a mount, as far as the type determines it: the storage below
    /// it is judged from the mount table.
    pub(crate) fn is_safe(self) -> bool {
        matches!(self, Self::Local | Self::Pseudo)
    }
}

/// Whether the kernel itself answers questions about the root of a mount, though the file system may hang: not if the
/// root is revalidated whenever a path leads to it, as NFS does.
pub(crate) fn is_known_by_kernel(fs_type: &[u8]) -> bool {
    fs_type == b"fuse" || fs_type == b"fuseblk" || fs_type.starts_with(b"fuse.") || Kind::of(fs_type).is_safe()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_that_may_hang_are_never_local() {
        for remote in ["nfs", "nfs4", "cifs", "smb3", "fuse", "fuse.sshfs", "fuseblk", "ceph", "9p", "virtiofs", "new"]
        {
            assert_eq!(Kind::of(remote.as_bytes()), Kind::Remote, "{remote}");
        }
        for local in ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "squashfs", "vfat", "devtmpfs", "zfs"] {
            assert_eq!(Kind::of(local.as_bytes()), Kind::Local, "{local}");
        }
        for unreported in ["overlay", "ecryptfs", "hugetlbfs", "proc", "nfs"] {
            assert!(!Kind::reports_changes(unreported.as_bytes()), "{unreported}");
        }
        assert!(Kind::reports_changes(b"ext4"));
        assert!(!Kind::of(b"autofs").is_safe());
        assert!(Kind::of(b"proc").is_safe());
        for served in ["fuse.lxcfs", "fuse.gvfsd-fuse", "fuse.portal"] {
            assert_eq!(Kind::of(served.as_bytes()), Kind::Served, "{served}");
            assert!(!Kind::of(served.as_bytes()).is_safe(), "{served}");
        }
    }
}
