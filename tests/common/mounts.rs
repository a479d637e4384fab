//! What the tests mount.

#![allow(clippy::unwrap_used, reason = "a panic is the report of a test")]

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, FileAttr, FileHandle, FileType, Filesystem, INodeNo, MountOption, ReplyAttr,
    ReplyDirectory, ReplyStatfs, Request,
};

use crate::{Helper, inside, is_root, require};

/// Runs a test in a mount namespace of its own, with what it mounts. Gives whether this is inside of it.
#[track_caller]
pub fn alone(test: &str) -> bool {
    require(is_root(), "root, to mount") && inside(test, &["unshare", "--mount", "--propagation", "private"])
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[track_caller]
pub fn mount(arguments: &[&str], at: &Path) {
    run(Command::new("mount").args(arguments).arg(at));
}

#[track_caller]
pub fn remount(options: &str, at: &Path) {
    run(Command::new("mount").arg("-o").arg(format!("remount,{options}")).arg(at));
}

#[track_caller]
pub fn unmount(at: &Path) {
    run(Command::new("umount").arg(at));
}

/// A directory for the mounts of a test, which go with it.
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mounted =
            table.lines().filter_map(|line| line.split(' ').nth(4)).filter(|at| Path::new(at).starts_with(self.path()));
        // The last first: those on top of others.
        for at in mounted.collect::<Vec<_>>().into_iter().rev() {
            let _ = Command::new("umount").arg("-l").arg(at).status();
        }
    }
}

/// An ext4 of 32 MiB in a file; its loop device goes when it is unmounted.
#[track_caller]
pub fn loop_ext4(image: &Path, at: &Path) {
    std::fs::File::create(image).unwrap().set_len(32 << 20).unwrap();
    run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "5"]).arg(image));
    mount(&["-o", "loop", image.to_str().unwrap()], at);
}

/// A file system that answers when it is let.
pub struct Frozen {
    gate: Arc<Gate>,
    _session: BackgroundSession,
}

#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    figures: bool,
    directories: bool,
    held: usize,
}

impl Frozen {
    /// Mounts one that is not frozen; `None` where there is no FUSE.
    pub fn mount(at: &Path) -> Option<Self> {
        let gate = Arc::new(Gate::default());
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("frozen".to_owned())];
        // One thread may be held up by a scan while another one answers for the figures.
        config.n_threads = Some(4);
        let session = fuser::spawn_mount(Served(Arc::clone(&gate)), at, &config);
        require(session.is_ok(), "FUSE");
        Some(Self { gate, _session: session.ok()? })
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.gate.state.lock().unwrap());
        self.gate.changed.notify_all();
    }

    /// From now on nothing is answered.
    pub fn freeze(&self) {
        self.set(|state| (state.figures, state.directories) = (true, true));
    }

    /// From now on no directory is read.
    pub fn freeze_directories(&self) {
        self.set(|state| state.directories = true);
    }

    /// Answers what was asked, and all else.
    pub fn thaw(&self) {
        self.set(|state| (state.figures, state.directories) = (false, false));
    }

    /// How many questions wait for an answer.
    pub fn held(&self) -> usize {
        self.gate.state.lock().unwrap().held
    }
}

/// Mounts a file system of the type `fuse.` and `subtype` that has never answered. It ends with the helper; `None` where there
/// is no FUSE.
pub fn mount_silent(subtype: &str, at: &Path) -> Option<Helper> {
    const SCRIPT: &str = "\
import ctypes, os, sys
fd = os.open('/dev/fuse', os.O_RDWR)
options = b'fd=%d,rootmode=40000,user_id=0,group_id=0' % fd
done = ctypes.CDLL(None).mount(b'silent', sys.argv[2].encode(), b'fuse.' + sys.argv[1].encode(), 0, options)
print('mounted' if done == 0 else 'refused', flush=True)
sys.stdin.read()";
    let mut helper = Helper::python(SCRIPT, &[subtype, at.to_str().unwrap()]);
    let mounted = helper.line() == "mounted";
    require(mounted, "FUSE").then_some(helper)
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.thaw();
    }
}

impl Gate {
    fn pass(&self, is_shut: impl Fn(&State) -> bool) {
        let mut state = self.state.lock().unwrap();
        state.held = state.held.wrapping_add(1);
        while is_shut(&state) {
            state = self.changed.wait(state).unwrap();
        }
        state.held = state.held.wrapping_sub(1);
    }
}

struct Served(Arc<Gate>);

impl Filesystem for Served {
    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        self.0.pass(|state| state.figures);
        reply.statfs(1000, 400, 300, 0, 0, 512, 255, 4096);
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.0.pass(|state| state.figures);
        // The kernel keeps nothing of it: it asks whenever it is asked.
        reply.attr(&Duration::ZERO, &directory(inode));
    }

    /// Two empty directories are in it, a symbolic link to one of them, and one that leads out of it.
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: fuser::ReplyEntry) {
        self.0.pass(|state| state.figures);
        let inode = match name.as_encoded_bytes() {
            b"one" if parent == INodeNo::ROOT => 2,
            b"two" if parent == INodeNo::ROOT => 3,
            b"link" if parent == INodeNo::ROOT => LINK,
            b"away" if parent == INodeNo::ROOT => AWAY,
            _ => return reply.error(fuser::Errno::ENOENT),
        };
        reply.entry(&Duration::ZERO, &directory(INodeNo(inode)), fuser::Generation(0));
    }

    fn readlink(&self, _: &Request, inode: INodeNo, reply: fuser::ReplyData) {
        self.0.pass(|state| state.figures);
        reply.data(if inode == INodeNo(LINK) { b"one" } else { b"../beside" });
    }

    fn readdir(&self, _: &Request, inode: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        self.0.pass(|state| state.directories);
        if offset == 0 {
            let _ = reply.add(inode, 1, FileType::Directory, ".");
        }
        reply.ok();
    }
}

const LINK: u64 = 4;
const AWAY: u64 = 5;

fn directory(inode: INodeNo) -> FileAttr {
    let is_link = matches!(inode.0, LINK | AWAY);
    FileAttr {
        ino: inode,
        size: 4096,
        blocks: 8,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: if is_link { FileType::Symlink } else { FileType::Directory },
        perm: 0o755,
        nlink: 2,
        uid: 0,
        gid: 0,
        rdev: 0,
        flags: 0,
        blksize: 4096,
    }
}
