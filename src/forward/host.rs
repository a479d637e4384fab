//! The host that samples are from.

use std::fmt::{self, Write as _};
use std::io;
use std::str::FromStr;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{Error, Result};

/// The name a host has in messages.
///
/// The default is derived from `/etc/machine-id`, which must be kept confidential, by HMAC-SHA256, as systemd derives its
/// application-specific ids: 32 hexadecimal digits, the same after every start, from which the machine id cannot be computed.
/// Copies of a virtual machine share it unless each has a new machine id; name such hosts explicitly.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(Arc<str>);

/// The application's part of the derived id. Changing it changes the id of every host.
const APPLICATION: &[u8] = b"appmon host id, version 1";

impl Host {
    /// Returns a host with this name.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] when the name is empty, longer than 255 bytes, or has control characters.
    pub fn new(name: impl AsRef<str>) -> Result<Self> {
        let name = name.as_ref();
        if name.is_empty() || name.len() > 255 || name.chars().any(char::is_control) {
            let why = "it must have 1 to 255 bytes and no control characters";
            return Err(Error::config(format!("host name {name:?}: {why}")));
        }
        Ok(Self(name.into()))
    }

    /// Returns the id derived from `/etc/machine-id` (or D-Bus's copy of it), or the kernel's host name where there is no machine id.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] when there is neither a machine id nor a host name. An I/O error, with the path, when a file may exist but
    /// cannot be read (for example because no descriptor is left): a fallback would make this host appear as another one.
    pub fn this() -> Result<Self> {
        Self::found(|path| std::fs::read(path))
    }

    fn found(read: impl Fn(&str) -> io::Result<Vec<u8>>) -> Result<Self> {
        let text = |path: &str| match read(path) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).trim().to_owned()),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(String::new())
            }
            Err(error) => Err(Error::io(error).at(path)),
        };
        for path in ["/etc/machine-id", "/var/lib/dbus/machine-id"] {
            if let Some(id) = derive(&text(path)?) {
                return Ok(Self(id.into()));
            }
        }
        Self::new(text("/proc/sys/kernel/hostname")?)
            .map_err(|_| Error::config("this host has neither a machine id nor a host name: set one with `host`"))
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Parses a name, as [`Host::new`].
impl FromStr for Host {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::new(name)
    }
}

/// Returns the id of this application on the machine with that id; `None` if it is no id (`uninitialized` in early boot).
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
    fn derived_ids_differ_by_machine() {
        let one = derive("0123456789abcdef0123456789abcdef").unwrap();
        // By `printf 'appmon host id, version 1' | openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef`.
        assert_eq!(one, "c846a4375523a8f8442f8d60694d14e2");
        assert_ne!(derive("0123456789abcdef0123456789abcdee").unwrap(), one);
        assert_eq!(derive("uninitialized"), None);
        assert_eq!(derive(""), None);
    }

    #[test]
    fn an_unreadable_machine_id_is_an_error() {
        const ID: &[u8] = b"0123456789abcdef0123456789abcdef\n";
        let emfile = || io::Error::from(rustix::io::Errno::MFILE);
        let absent = || io::Error::from(io::ErrorKind::NotFound);
        let host = |etc: &dyn Fn() -> io::Result<Vec<u8>>, dbus: &dyn Fn() -> io::Result<Vec<u8>>| {
            Host::found(|path| match path {
                "/etc/machine-id" => etc(),
                "/var/lib/dbus/machine-id" => dbus(),
                _ => Ok(b"web-17\n".to_vec()),
            })
        };
        let derived = host(&|| Ok(ID.to_vec()), &|| Err(absent())).unwrap();
        assert_eq!(host(&|| Err(absent()), &|| Ok(ID.to_vec())).unwrap(), derived);
        assert_eq!(host(&|| Ok(b"uninitialized".to_vec()), &|| Ok(ID.to_vec())).unwrap(), derived);
        assert_eq!(host(&|| Err(absent()), &|| Err(absent())).unwrap().as_str(), "web-17");
        for error in [host(&|| Err(emfile()), &|| Ok(ID.to_vec())), host(&|| Err(absent()), &|| Err(emfile()))] {
            let error = error.unwrap_err();
            assert_eq!(error.errno(), Some(rustix::io::Errno::MFILE), "{error}");
            assert!(error.to_string().contains("machine-id"), "{error}");
        }
        let nothing = Host::found(|_| Err(absent())).unwrap_err();
        assert!(nothing.is_config(), "{nothing}");
    }

    #[test]
    fn names_are_checked() {
        assert_eq!("web-17".parse::<Host>().unwrap().to_string(), "web-17");
        assert_eq!(Host::new("web-17").unwrap().as_str(), "web-17");
        for wrong in ["", "a\nb", &"x".repeat(256)] {
            assert!(Host::new(wrong).unwrap_err().is_config(), "{wrong:?}");
        }
    }
}
