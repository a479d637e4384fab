//! `/proc/PID/smaps_rollup`: memory as the page tables have it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::number::{key_value, kib, lines};
use crate::{Error, Result, Text};

/// `/proc/PID/smaps_rollup`: the sums over all mappings of a process; since Linux 4.14.
///
/// Exact, but expensive: the kernel walks all page tables of the process for it. Every kernel writes the lines without a version; a
/// directory that only looks like a /proc may lack some. Those are `None`.
///
/// ```
/// # let file = std::fs::read("/proc/self/smaps_rollup").unwrap();
/// use appmon::process::SmapsRollup;
///
/// let rollup = SmapsRollup::parse(&file).unwrap();
/// assert!(rollup.pss_bytes <= rollup.rss_bytes);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SmapsRollup {
    /// Resident: in memory (`Rss`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rss_bytes: Option<u64>,
    /// Proportional: each page divided by how many processes map it (`Pss`). The sum over all processes is the memory
    /// they use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pss_bytes: Option<u64>,
    /// The dirty part of it (`Pss_Dirty`); since Linux 6.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pss_dirty_bytes: Option<u64>,
    /// The anonymous part of it (`Pss_Anon`); since Linux 5.4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pss_anon_bytes: Option<u64>,
    /// The part of it that files back (`Pss_File`); since Linux 5.4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pss_file_bytes: Option<u64>,
    /// The part of it that is shared memory (`Pss_Shmem`); since Linux 5.4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pss_shmem_bytes: Option<u64>,
    /// Mapped by others too, and as on disk (`Shared_Clean`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_clean_bytes: Option<u64>,
    /// Mapped by others too, and changed (`Shared_Dirty`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_dirty_bytes: Option<u64>,
    /// Mapped by this process alone, and as on disk (`Private_Clean`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_clean_bytes: Option<u64>,
    /// Mapped by this process alone, and changed (`Private_Dirty`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_dirty_bytes: Option<u64>,
    /// Marked as used recently (`Referenced`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub referenced_bytes: Option<u64>,
    /// Belonging to no file (`Anonymous`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anonymous_bytes: Option<u64>,
    /// Merged with pages of the same content (`KSM`); since Linux 6.6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ksm_bytes: Option<u64>,
    /// Given back by `MADV_FREE` and not yet taken (`LazyFree`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lazy_free_bytes: Option<u64>,
    /// In anonymous huge pages (`AnonHugePages`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anon_huge_pages_bytes: Option<u64>,
    /// Shared memory mapped in huge pages (`ShmemPmdMapped`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shmem_pmd_mapped_bytes: Option<u64>,
    /// Files mapped in huge pages (`FilePmdMapped`); since Linux 5.4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_pmd_mapped_bytes: Option<u64>,
    /// Of hugetlbfs, mapped by others too (`Shared_Hugetlb`). Not in `rss_bytes` or `pss_bytes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_hugetlb_bytes: Option<u64>,
    /// Of hugetlbfs, mapped by this process alone (`Private_Hugetlb`). Not in `rss_bytes` or `pss_bytes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_hugetlb_bytes: Option<u64>,
    /// Anonymous memory swapped out (`Swap`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_bytes: Option<u64>,
    /// The proportional share of it (`SwapPss`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_pss_bytes: Option<u64>,
    /// Locked in memory, proportionally (`Locked`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked_bytes: Option<u64>,
    /// Lines that this version does not know, or whose value it cannot parse.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub other: BTreeMap<String, Text>,
}

impl SmapsRollup {
    /// Parses the file: its lines in any order, among others. A value that is missing or not a size is `None`.
    ///
    /// # Errors
    ///
    /// [`is_malformed`](Error::is_malformed), when none of the known lines is there.
    pub fn parse(file: &[u8]) -> Result<Self> {
        let mut rollup = Self::default();
        // The first line is the range of addresses.
        for line in lines(file).filter(|line| !line.ends_with(b"[rollup]")) {
            let (key, value) = key_value(line).unwrap_or((line, b""));
            let mut unknown = None;
            let field = match key {
                b"Rss" => &mut rollup.rss_bytes,
                b"Pss" => &mut rollup.pss_bytes,
                b"Pss_Dirty" => &mut rollup.pss_dirty_bytes,
                b"Pss_Anon" => &mut rollup.pss_anon_bytes,
                b"Pss_File" => &mut rollup.pss_file_bytes,
                b"Pss_Shmem" => &mut rollup.pss_shmem_bytes,
                b"Shared_Clean" => &mut rollup.shared_clean_bytes,
                b"Shared_Dirty" => &mut rollup.shared_dirty_bytes,
                b"Private_Clean" => &mut rollup.private_clean_bytes,
                b"Private_Dirty" => &mut rollup.private_dirty_bytes,
                b"Referenced" => &mut rollup.referenced_bytes,
                b"Anonymous" => &mut rollup.anonymous_bytes,
                b"KSM" => &mut rollup.ksm_bytes,
                b"LazyFree" => &mut rollup.lazy_free_bytes,
                b"AnonHugePages" => &mut rollup.anon_huge_pages_bytes,
                b"ShmemPmdMapped" => &mut rollup.shmem_pmd_mapped_bytes,
                b"FilePmdMapped" => &mut rollup.file_pmd_mapped_bytes,
                b"Shared_Hugetlb" => &mut rollup.shared_hugetlb_bytes,
                b"Private_Hugetlb" => &mut rollup.private_hugetlb_bytes,
                b"Swap" => &mut rollup.swap_bytes,
                b"SwapPss" => &mut rollup.swap_pss_bytes,
                b"Locked" => &mut rollup.locked_bytes,
                _ => &mut unknown,
            };
            *field = kib(value);
            if field.is_none() || unknown.is_some() {
                rollup.other.insert(String::from_utf8_lossy(key).into_owned(), value.into());
            }
        }
        let other = std::mem::take(&mut rollup.other);
        if rollup == Self::default() {
            return Err(Error::malformed("smaps_rollup: no known line"));
        }
        Ok(Self { other, ..rollup })
    }

    /// Returns the memory that would be free if the process ended: memory that it alone maps (unique set size). `None` where a part of it
    /// is missing.
    #[must_use]
    pub fn uss_bytes(&self) -> Option<u64> {
        Some(self.private_clean_bytes?.saturating_add(self.private_dirty_bytes?))
    }
}
