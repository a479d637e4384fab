//! The mount table, from the bytes of `/proc/PID/mountinfo`.

use std::borrow::Cow;

use crate::process::number::{decimal, octal};

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Unique among the mounts of now; used again after an unmount.
    pub(crate) id: u32,
    /// Major and minor number of the device, the same for all mounts of one file system.
    pub(crate) device: (u32, u32),
    /// Which directory of the file system is mounted.
    pub(crate) root: Vec<u8>,
    /// Where.
    pub(crate) mount_point: Vec<u8>,
    /// Options of this mount, separated by commas.
    pub(crate) options: Vec<u8>,
    /// The type of the file system: `ext4`, `proc`.
    pub(crate) fs_type: Vec<u8>,
    /// What is mounted: a device's path, or a name without a meaning.
    pub(crate) source: Vec<u8>,
    /// Options of the file system, separated by commas.
    pub(crate) super_options: Vec<u8>,
}

/// The mounts of a table, in its order: later ones on the same place hide earlier ones. Lines that are not understood
/// are left out.
pub(crate) fn parse(table: &[u8]) -> impl Iterator<Item = Mount> {
    table.split(|byte| *byte == b'\n').filter_map(line)
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = decimal(fields.next()?)?;
    let _parent = fields.next()?;
    let mut device = fields.next()?.splitn(2, |byte| *byte == b':');
    let device = (decimal(device.next()?)?, decimal(device.next()?)?);
    let root = unescape(fields.next()?).into_owned();
    let mount_point = unescape(fields.next()?).into_owned();
    let options = fields.next()?.to_vec();
    // Any number of optional fields ends with a lone dash.
    fields.find(|field| *field == b"-")?;
    Some(Mount {
        id,
        device,
        root,
        mount_point,
        options,
        fs_type: unescape(fields.next()?).into_owned(),
        source: unescape(fields.next()?).into_owned(),
        super_options: fields.next().unwrap_or_default().to_vec(),
    })
}

/// Undoes the kernel's `\040` for a space, tab, newline, backslash and `#`.
fn unescape(field: &[u8]) -> Cow<'_, [u8]> {
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
                device: (98, 0),
                root: b"/".to_vec(),
                mount_point: b"/mnt/a b\\c\xff".to_vec(),
                options: b"rw,noatime".to_vec(),
                fs_type: b"fuse.x".to_vec(),
                source: b"s#".to_vec(),
                super_options: b"rw,hidepid=2".to_vec(),
            }]
        );
    }

    #[test]
    fn what_is_not_understood_is_left_out() {
        assert_eq!(parse(b"\n36 35\n36 35 98:0 / /mnt rw no dash here\n").count(), 0);
    }

    #[test]
    fn the_live_table_has_a_root() {
        let table = std::fs::read("/proc/self/mountinfo").unwrap();
        assert!(parse(&table).any(|mount| mount.mount_point == b"/"));
    }
}
