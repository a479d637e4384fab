//! `/proc/PID/smaps_rollup`: memory as the page tables have it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::number::{key_value, kib, lines};
use crate::{Error, Result, Text};

/// `/proc/PID/smaps_rollup`: the sums over all mappings of a process; since Linux 4.14.
///
/// Exact, but expensive: the kernel walks all page tables of the process for it.
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
    pub rss_bytes: u64,
    /// Proportional: each page divided by how many processes map it (`Pss`). The sum over all processes is the memory
    /// they use.
    pub pss_bytes: u64,
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
    pub shared_clean_bytes: u64,
    /// Mapped by others too, and changed (`Shared_Dirty`).
    pub shared_dirty_bytes: u64,
    /// Mapped by this process alone, and as on disk (`Private_Clean`).
    pub private_clean_bytes: u64,
    /// Mapped by this process alone, and changed (`Private_Dirty`).
    pub private_dirty_bytes: u64,
    /// Marked as used recently (`Referenced`).
    pub referenced_bytes: u64,
    /// Belonging to no file (`Anonymous`).
    pub anonymous_bytes: u64,
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
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// [`is_malformed`](Error::is_malformed), with a text that names the line that is missing or not a size, of those that
    /// every kernel has.
    pub fn parse(file: &[u8]) -> Result<Self> {
        let mut rollup = Self::default();
        let mut required = [None; 8];
        let [rss, pss, shared_clean, shared_dirty, private_clean, private_dirty, referenced, anonymous] = &mut required;
        // The first line is the range of addresses.
        for line in lines(file).filter(|line| !line.ends_with(b"[rollup]")) {
            let (key, value) = key_value(line).unwrap_or((line, b""));
            let mut unknown = None;
            let field = match key {
                b"Rss" => &mut *rss,
                b"Pss" => &mut *pss,
                b"Pss_Dirty" => &mut rollup.pss_dirty_bytes,
                b"Pss_Anon" => &mut rollup.pss_anon_bytes,
                b"Pss_File" => &mut rollup.pss_file_bytes,
                b"Pss_Shmem" => &mut rollup.pss_shmem_bytes,
                b"Shared_Clean" => &mut *shared_clean,
                b"Shared_Dirty" => &mut *shared_dirty,
                b"Private_Clean" => &mut *private_clean,
                b"Private_Dirty" => &mut *private_dirty,
                b"Referenced" => &mut *referenced,
                b"Anonymous" => &mut *anonymous,
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
        let require = |value: Option<u64>, key: &str| {
            value.ok_or_else(|| Error::malformed(format!("smaps_rollup: no valid {key}")))
        };
        rollup.rss_bytes = require(*rss, "Rss")?;
        rollup.pss_bytes = require(*pss, "Pss")?;
        rollup.shared_clean_bytes = require(*shared_clean, "Shared_Clean")?;
        rollup.shared_dirty_bytes = require(*shared_dirty, "Shared_Dirty")?;
        rollup.private_clean_bytes = require(*private_clean, "Private_Clean")?;
        rollup.private_dirty_bytes = require(*private_dirty, "Private_Dirty")?;
        rollup.referenced_bytes = require(*referenced, "Referenced")?;
        rollup.anonymous_bytes = require(*anonymous, "Anonymous")?;
        Ok(rollup)
    }

    /// Returns the memory that would be free if the process ended: memory that it alone maps (unique set size).
    #[must_use]
    pub fn uss_bytes(&self) -> u64 {
        self.private_clean_bytes.saturating_add(self.private_dirty_bytes)
    }
}
