//! Which host samples are from.

use std::fmt::Write as _;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{Error, Result};

/// The name a host has in messages.
///
/// The default is derived from `/etc/machine-id`, which is to be kept confidential, by HMAC-SHA256, as systemd derives its
/// application specific ids: 32 hexadecimal digits, the same after every start, from which the machine id cannot be told.
/// Copies of one virtual machine share it unless the id is made anew; give such hosts a name of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host(Arc<str>);

/// The application's part of the derived id; another one makes other ids.
const APPLICATION: &[u8] = b"appmon host id, version 1";

impl Host {
    /// A host of this name.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] when the name is empty, longer than 255 bytes, or has control characters.
    pub fn new(name: impl AsRef<str>) -> Result<Self> {
        let name = name.as_ref();
        Self::check(name).map_err(|why| Error::config(format!("host name {name:?}: {why}")))?;
        Ok(Self(name.into()))
    }

    /// Whether it can be the name of a host; the error says what it must be.
    pub(crate) fn check(name: &str) -> std::result::Result<(), &'static str> {
        if name.is_empty() || name.len() > 255 || name.chars().any(char::is_control) {
            return Err("it must have 1 to 255 bytes and no control characters");
        }
        Ok(())
    }

    /// The id derived from `/etc/machine-id` (or D-Bus's copy of it); the host name of the kernel where there is none.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] when there is neither a machine id nor a host name.
    pub fn this() -> Result<Self> {
        for path in ["/etc/machine-id", "/var/lib/dbus/machine-id"] {
            if let Ok(text) = std::fs::read_to_string(path)
                && let Some(id) = derive(text.trim())
            {
                return Ok(Self(id.into()));
            }
        }
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self::new(name.trim()).map_err(|_| Error::config("this host has no machine id and no name: give it one"))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

/// The id of this application on the machine of that id; `None` where it is none (`uninitialized` in early boot).
fn derive(machine_id: &str) -> Option<String> {
    if machine_id.len() != 32 || !machine_id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(machine_id.to_ascii_lowercase().as_bytes()).ok()?;
    mac.update(APPLICATION);
    let mut id = String::with_capacity(32);
    for byte in mac.finalize().into_bytes().into_iter().take(16) {
        let _ = write!(id, "{byte:02x}");
    }
    Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_ids_tell_machines_apart_and_nothing_else() {
        let one = derive("0123456789abcdef0123456789abcdef").unwrap();
        // By `printf 'appmon host id, version 1' | openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef`.
        assert_eq!(one, "c846a4375523a8f8442f8d60694d14e2");
        assert_ne!(derive("0123456789abcdef0123456789abcdee").unwrap(), one);
        assert_eq!(derive("uninitialized"), None);
        assert_eq!(derive(""), None);
    }

    #[test]
    fn names_are_checked() {
        assert_eq!(Host::new("web-17").unwrap().as_str(), "web-17");
        for wrong in ["", "a\nb", &"x".repeat(256)] {
            assert!(Host::new(wrong).unwrap_err().is_config(), "{wrong:?}");
        }
    }
}
