//! The kernel's version, and what this process may do.

use super::{number, text};

/// The oldest kernel that has what the shards' rings need: `IORING_SETUP_DEFER_TASKRUN`.
pub(crate) const OLDEST: Version = Version { major: 6, minor: 1 };

/// Bits of `CapEff` in `/proc/self/status`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Capability {
    /// `CAP_IPC_LOCK`: locked memory is not counted.
    IpcLock = 14,
    /// `CAP_SYS_ADMIN`.
    SysAdmin = 21,
    /// `CAP_SYS_RESOURCE`: hard limits may be raised.
    SysResource = 24,
}

/// A kernel version as far as it matters.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Version {
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

impl Version {
    /// Reads the beginning of a release such as `6.18.44-cloud`.
    pub(crate) fn parse(release: &str) -> Option<Self> {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        Some(Self {
            major: numbers.next()?.ok()?,
            minor: numbers.next()?.ok()?,
        })
    }
}

/// What of the kernel's state matters for a ring that was refused.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Kernel {
    /// The release, such as `6.18.44-cloud`.
    pub(crate) release: String,
    /// `kernel.io_uring_disabled`, where the kernel has that (since 6.6): 0 for nobody,
    /// 1 for the unprivileged, 2 for everybody.
    pub(crate) uring_disabled: Option<u64>,
    /// Whether a seccomp filter is on this process.
    pub(crate) filtered: bool,
    /// The bits of `CapEff`.
    pub(crate) capabilities: u64,
}

impl Kernel {
    /// That of this machine, for this process.
    pub(crate) fn of_this_host() -> Self {
        let status = text("/proc/self/status").unwrap_or_default();
        Self {
            release: text("/proc/sys/kernel/osrelease").unwrap_or_default(),
            uring_disabled: number("/proc/sys/kernel/io_uring_disabled"),
            filtered: field(&status, "Seccomp").is_some_and(|mode| mode != "0"),
            capabilities: field(&status, "CapEff")
                .and_then(|bits| u64::from_str_radix(bits, 16).ok())
                .unwrap_or_default(),
        }
    }

    /// The version, if the release begins with one.
    pub(crate) fn version(&self) -> Option<Version> {
        Version::parse(&self.release)
    }

    /// Whether this process has a capability.
    pub(crate) fn may(&self, capability: Capability) -> bool {
        self.capabilities >> (capability as u32) & 1 == 1
    }
}

/// A field of `/proc/self/status`.
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_distributions_are_read() {
        let version = |release| Version::parse(release).map(|v| (v.major, v.minor));
        assert_eq!(version("6.18.44-fc-v657"), Some((6, 18)));
        assert_eq!(version("6.1.0-13-amd64"), Some((6, 1)));
        assert_eq!(version("5.14.0-427.el9.x86_64"), Some((5, 14)));
        assert_eq!(version("six"), None);
        assert!(Version::parse("5.19") < Some(OLDEST));
        assert!(Version::parse("6.10") > Some(OLDEST));
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let status = "Seccomp_filters:\t3\nSeccomp:\t2\nCapEff:\t0000000000004000\n";
        assert_eq!(field(status, "Seccomp"), Some("2"));
        assert_eq!(field(status, "CapEff"), Some("0000000000004000"));
        assert_eq!(field(status, "Nothing"), None);
    }

    #[test]
    fn a_capability_is_a_bit() {
        let kernel = Kernel {
            capabilities: 0x4000,
            ..Kernel::default()
        };
        assert!(kernel.may(Capability::IpcLock));
        assert!(!kernel.may(Capability::SysAdmin));
    }
}
