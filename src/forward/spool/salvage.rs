//! What can be found in a file that is no database any more.
//!
//! Pages lie anywhere in the file, so where a part of it is lost, some messages are, and not the last ones alone. All pieces
//! are looked for by what they begin with. Of a page that was given up and not used again the pieces are still there too:
//! messages that had been removed since the last append are found as well, and are sent once more, with the same id.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::FileExt;

use super::failure::Failure;
use super::queue::Queue;
use super::record::{self, Assembly, HEAD, MAGIC, MOST, Names, Piece};

/// How much is read at once.
const WINDOW: usize = 1 << 20;

/// A sector that cannot be read spoils so much.
const SECTOR: usize = 4096;

/// How much is written at once.
const BATCH: usize = 1 << 20;

/// Where the pieces are that were found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// By place (the queue first), position and index: at which byte of the file.
    pieces: BTreeMap<(bool, u64, u32), u64>,
    /// Of the latest message that was found: its position, and how many there were.
    latest: Option<(u64, u64)>,
    /// What is below had been removed.
    floor: u64,
}

impl Found {
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }
}

/// Whether it may have been a spool, though nothing was found in it. What is surely something else is not touched.
pub(super) fn may_be_ours(file: &File) -> bool {
    const DATABASE: [u8; 9] = *b"redb\x1A\x0A\xA9\x0D\x0A";
    let mut start = [0; SECTOR];
    let length = read_lenient(file, 0, &mut start);
    let start = start.get(..length).unwrap_or_default();
    let equal = start.iter().zip(DATABASE).filter(|(is, was)| **is == *was).count();
    let blank = start.iter().all(|byte| *byte == 0);
    blank || equal.saturating_mul(2) > start.len().min(DATABASE.len())
}

/// Looks for all pieces. `floor` is what is known of the lowest position.
pub(super) fn scan(file: &File, floor: u64) -> Result<Found, Failure> {
    let mut found = Found { floor, ..Found::default() };
    let length = file.metadata()?.len();
    let mut window = vec![0; WINDOW];
    let mut start = 0_u64;
    while start < length {
        let filled = read_lenient(file, start, &mut window);
        let bytes = window.get(..filled).unwrap_or_default();
        if bytes.is_empty() {
            break;
        }
        // What begins in the last part is looked at with the next window, which has all of it.
        let overlap = HEAD.saturating_add(MOST);
        let whole = if filled == WINDOW { filled.saturating_sub(overlap) } else { filled };
        find(bytes, whole, start, &mut found);
        start = start.saturating_add(u64::try_from(whole.max(1)).unwrap_or(u64::MAX));
    }
    Ok(found)
}

/// Finds the pieces that begin in the first `whole` bytes.
fn find(bytes: &[u8], whole: usize, start: u64, found: &mut Found) {
    let mut at = 0_usize;
    while at < whole {
        let rest = bytes.get(at..).unwrap_or_default();
        let Some(ahead) = rest.iter().position(|byte| *byte == MAGIC[0]) else { break };
        at = at.saturating_add(ahead);
        if at >= whole {
            break;
        }
        let Some(piece) = bytes.get(at..).and_then(Piece::read) else {
            at = at.saturating_add(1);
            continue;
        };
        let offset = start.saturating_add(u64::try_from(at).unwrap_or(0));
        found.pieces.insert((piece.aside, piece.position, piece.index), offset);
        if piece.index == 0
            && let Some((floor, live)) = record::floor_and_live(piece.data)
        {
            found.floor = found.floor.max(floor);
            if found.latest.is_none_or(|(latest, _)| piece.position >= latest) {
                found.latest = Some((piece.position, live));
            }
        }
        at = at.saturating_add(piece.len());
    }
}

/// Puts what was found into a new queue, and tells how many messages are known to be lost: 1 where the number is not known.
pub(super) fn refill(queue: &mut Queue, old: &File, found: &Found) -> Result<u64, Failure> {
    let aside: BTreeSet<u64> = found.pieces.range((true, 0, 0)..).map(|((_, position, _), _)| *position).collect();
    let mut assembly = Assembly::default();
    let mut names = Names::default();
    let mut batch = Vec::new();
    let mut bytes = 0_usize;
    let mut known = 0_u64;
    for ((is_aside, position, index), offset) in &found.pieces {
        let gone = *position < found.floor || aside.contains(position);
        if !is_aside && gone {
            continue;
        }
        let mut piece = [0; HEAD + MOST];
        let length = read_lenient(old, *offset, &mut piece);
        let whole_piece = piece.get(..length).and_then(Piece::read).and_then(|read| piece.get(..read.len()));
        let Some(whole) = assembly.add((*position, *index), whole_piece.unwrap_or_default(), *is_aside) else {
            continue;
        };
        if record::decode(&whole, &mut names).is_none() {
            continue;
        }
        if !is_aside && found.latest.is_some_and(|(latest, _)| *position <= latest) {
            known = known.saturating_add(1);
        }
        bytes = bytes.saturating_add(whole.len());
        batch.push((*position, *is_aside, whole));
        if bytes >= BATCH {
            queue.restore(&batch)?;
            batch.clear();
            bytes = 0;
        }
    }
    queue.restore(&batch)?;
    queue.skip_lost();
    let were = found.latest.map_or(0, |(_, live)| live);
    Ok(were.saturating_sub(known).max(1))
}

/// Reads as much as there is; what cannot be read is zeros. Gives how much it read.
fn read_lenient(file: &File, offset: u64, buffer: &mut [u8]) -> usize {
    let mut filled = 0_usize;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let at = offset.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX));
        match file.read_at(rest, at) {
            Ok(0) => break,
            Ok(read) => filled = filled.saturating_add(read),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => {
                let sector = rest.len().min(SECTOR);
                if let Some(sector) = rest.get_mut(..sector) {
                    sector.fill(0);
                }
                filled = filled.saturating_add(sector);
            }
        }
    }
    filled
}
