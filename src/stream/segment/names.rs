//! The names of the files of a recording: `last-night.ndjson.zst` is written to, `last-night.000001.ndjson.zst` is the oldest.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::own_file::folder;

/// Endings that stay behind the number.
const ENDINGS: [&[u8]; 4] = [b".zst", b".ndjson", b".jsonl", b".json"];

/// The digits of a number; more are allowed.
const DIGITS: usize = 6;

/// Splits a file name into what is before the number and what is behind it.
fn split(name: &OsStr) -> (&[u8], &[u8]) {
    let name = name.as_bytes();
    let mut stem = name;
    for ending in ENDINGS {
        stem = match stem.strip_suffix(ending) {
            Some(rest) if !rest.is_empty() => rest,
            _ => stem,
        };
    }
    name.split_at_checked(stem.len()).unwrap_or((name, &[]))
}

/// Returns the path of the file of this number.
pub(crate) fn with_number(path: &Path, number: u64) -> PathBuf {
    let (stem, ending) = split(path.file_name().unwrap_or_default());
    let mut name = stem.to_vec();
    name.extend_from_slice(format!(".{number:0DIGITS$}").as_bytes());
    name.extend_from_slice(ending);
    path.with_file_name(OsString::from_vec(name))
}

/// Returns the numbered files beside this path, the oldest first. Whether each is one of a recording is not known by its name.
pub(crate) fn numbered(path: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let (stem, ending) = split(path.file_name().unwrap_or_default());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder(path))? {
        let name = entry?.file_name();
        let digits = name.as_bytes().strip_prefix(stem).and_then(|rest| rest.strip_suffix(ending));
        let digits = digits.and_then(|rest| rest.strip_prefix(b".")).filter(|digits| digits.len() >= DIGITS);
        let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_digit));
        if let Some(number) = digits.and_then(|digits| str::from_utf8(digits).ok()?.parse().ok()) {
            files.push((number, path.with_file_name(name)));
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_before_the_endings() {
        let with = |name: &str| with_number(Path::new(name), 7).display().to_string();
        assert_eq!(with("/var/log/night.ndjson.zst"), "/var/log/night.000007.ndjson.zst");
        assert_eq!(with("night"), "night.000007");
        assert_eq!(with("a.b.zst"), "a.b.000007.zst");
        assert_eq!(with(".zst"), ".zst.000007");
    }

    #[test]
    fn numbered_files_come_by_their_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let names =
            ["n.000002.zst", "n.1000000.zst", "n.000001.zst", "n.zst", "n.1.zst", "n.00000x.zst", "m.000001.zst"];
        for name in names {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let found = numbered(&folder.path().join("n.zst")).unwrap();
        assert_eq!(found.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2, 1_000_000]);
    }
}
