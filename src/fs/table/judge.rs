//! Judges which mounts can be read without the risk to hang, by their types and by the storage below them.

use std::path::Path;

use rustix::io::Errno;

use super::Table;
use crate::fs::backing::{self, Ground, ImageFile};
use crate::fs::mounts::{DeviceId, Mount};

/// By the index of a mount: whether it can be read without the risk to hang; `None` until that is known.
type Judged = std::cell::RefCell<Vec<Option<bool>>>;

impl Table {
    /// Judges for each mount whether it can be read without the risk to hang.
    pub(super) fn judge(&mut self, ground: &dyn Ground) {
        let judged = std::cell::RefCell::new(vec![None; self.mounts.len()]);
        // This process itself depends on the file system of `/`: if it hangs, nothing works. Its other mounts have the same
        // storage.
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
        // A mount that depends on itself, directly or not, is not known to be safe.
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

    /// Whether the storage of a block device cannot hang.
    fn lies_safely(&self, device: DeviceId, depth: u32, ground: &dyn Ground, judged: &Judged) -> bool {
        /// The limit of images in images, by loop devices: more than real machines have.
        const DEEPEST: u32 = 16;
        let Some(images) = ground.images(device).filter(|_| depth < DEEPEST) else { return false };
        images.iter().all(|image| {
            if !self.is_safe_whatever_hides(&image.path, ground, judged) {
                return false;
            }
            match ground.find(image) {
                Some(ImageFile::File) => true,
                Some(ImageFile::Device(device)) => self.lies_safely(device, depth.saturating_add(1), ground, judged),
                None => false,
            }
        })
    }

    /// Whether an open file, which has this path according to the kernel, is on a mount that cannot hang. It
    /// can be on a mount that is hidden at its path by now, so none of the mounts on the way there, hidden or not, may hang.
    fn is_safe_whatever_hides(&self, path: &Path, ground: &dyn Ground, judged: &Judged) -> bool {
        let mut on_the_way = self.mounts.iter().enumerate().filter(|(_, mount)| path.starts_with(&*mount.mount_point));
        // The path from the kernel has no symbolic links: one that exists there now does not belong to it.
        let no_link = |at: &Path, _: &Mount| match ground.read_link(at) {
            Ok(_) => Err(Errno::NOENT.into()),
            Err(error) => Err(error),
        };
        path.is_absolute()
            && on_the_way.all(|(place, _)| self.stands_safely(place, ground, judged))
            && self.walk(path, no_link, |on| self.stands_safely(on, ground, judged)).is_ok_and(|(.., seen)| seen)
    }
}
