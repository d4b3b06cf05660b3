//! Whether the rings of the shards can be had here, and if not, why.

use std::io;

use io_uring::{IoUring, Probe};

use super::kernel::{Capability, Kernel, OLDEST};
use crate::failure::Failure;

/// The system calls that a filter must let through.
const CALLS: &str = "io_uring_setup, io_uring_enter and io_uring_register";

/// Makes a small ring of the kind that the shards use, and uses it once. The error says
/// why the shards cannot have one.
pub(crate) fn probe(kernel: &Kernel) -> Result<(), Failure> {
    attempt().map_err(|error| explain(&error, kernel))
}

/// Sets up a ring, enters it, and registers something with it.
fn attempt() -> io::Result<()> {
    let ring: IoUring = IoUring::builder()
        .setup_single_issuer()
        .setup_coop_taskrun()
        .setup_defer_taskrun()
        .build(8)?;
    ring.submitter().submit()?;
    ring.submitter().register_probe(&mut Probe::new())
}

/// What the kernel's refusal means.
fn explain(error: &io::Error, kernel: &Kernel) -> Failure {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => forbidden(kernel),
        Some(libc::ENOSYS) => missing(kernel),
        Some(libc::EINVAL) => too_old(kernel),
        Some(libc::ENOMEM) => Failure::new("io_uring cannot be used: not enough memory")
            .command("sudo prlimit --pid $$ --memlock=unlimited:unlimited")
            .advise(
                "in a systemd unit: LimitMEMLOCK=infinity; in a container: --ulimit memlock=-1",
            ),
        Some(libc::EMFILE | libc::ENFILE) => Failure::new(format!(
            "io_uring cannot be used: no open file is left ({error})"
        ))
        .command("sudo prlimit --pid $$ --nofile=1048576:1048576"),
        _ => Failure::new(format!("io_uring cannot be used: {error}")),
    }
}

/// The kernel has it and does not give it.
fn forbidden(kernel: &Kernel) -> Failure {
    let allow = "sudo sysctl -w kernel.io_uring_disabled=0";
    match kernel.uring_disabled {
        Some(2) => {
            Failure::new("io_uring is disabled: kernel.io_uring_disabled = 2").command(allow)
        }
        Some(1) if !kernel.may(Capability::SysAdmin) => Failure::new(
            "io_uring is disabled for unprivileged processes: kernel.io_uring_disabled = 1",
        )
        .command(allow)
        .advise("or allow only a group: sudo sysctl -w kernel.io_uring_group=$(id -g)"),
        _ if kernel.filtered => filtered(),
        _ => Failure::new("io_uring is forbidden by a security module (SELinux, AppArmor)")
            .advise("See what it says: sudo dmesg | grep -i denied"),
    }
}

/// A seccomp filter refuses the calls.
fn filtered() -> Failure {
    Failure::new("io_uring is forbidden by a seccomp filter, of a container or of a service")
        .advise(format!(
            "Docker, Podman: --security-opt seccomp=FILE, which must allow {CALLS}"
        ))
        .advise("Kubernetes: securityContext.seccompProfile with the same")
        .advise("systemd: SystemCallFilter=@system-service @aio")
}

/// The system call is not there, or seems not to be.
fn missing(kernel: &Kernel) -> Failure {
    // The sysctl is there only if the kernel was built with io_uring.
    let built = kernel.uring_disabled.is_some() || kernel.version() >= Some(OLDEST);
    if kernel.filtered && built {
        return filtered();
    }
    if kernel.version() < Some(OLDEST) {
        return too_old(kernel);
    }
    let release = &kernel.release;
    Failure::new(format!("the kernel ({release}) was built without io_uring"))
        .advise("Use a kernel with CONFIG_IO_URING=y, as those of the distributions are")
}

/// The kernel does not know the flags.
fn too_old(kernel: &Kernel) -> Failure {
    Failure::new(format!(
        "the kernel ({}) is too old for io_uring as it is used here (IORING_SETUP_DEFER_TASKRUN)",
        kernel.release
    ))
    .advise(format!(
        "Install Linux {}.{} or later, and start it",
        OLDEST.major, OLDEST.minor
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(errno: i32, kernel: &Kernel) -> String {
        explain(&io::Error::from_raw_os_error(errno), kernel).what
    }

    fn kernel(release: &str) -> Kernel {
        Kernel {
            release: release.to_owned(),
            ..Kernel::default()
        }
    }

    #[test]
    fn a_refusal_is_put_down_to_the_sysctl_first() {
        let host = Kernel {
            uring_disabled: Some(2),
            filtered: true,
            ..kernel("6.18.0")
        };
        assert!(explained(libc::EPERM, &host).ends_with("kernel.io_uring_disabled = 2"));
        let host = Kernel {
            uring_disabled: Some(1),
            ..host
        };
        assert!(explained(libc::EPERM, &host).ends_with("kernel.io_uring_disabled = 1"));
    }

    #[test]
    fn a_refusal_without_the_sysctl_is_the_filter_or_a_security_module() {
        let host = Kernel {
            uring_disabled: Some(0),
            filtered: true,
            ..kernel("6.18.0")
        };
        assert!(explained(libc::EPERM, &host).contains("seccomp"));
        assert!(explained(libc::EPERM, &kernel("6.18.0")).contains("security module"));
    }

    #[test]
    fn a_missing_call_is_the_filter_the_age_or_the_build() {
        let filtered = Kernel {
            filtered: true,
            ..kernel("6.18.0")
        };
        assert!(explained(libc::ENOSYS, &filtered).contains("seccomp"));
        assert!(explained(libc::ENOSYS, &kernel("4.19.0")).contains("too old"));
        assert!(explained(libc::ENOSYS, &kernel("6.18.0")).contains("built without io_uring"));
    }

    #[test]
    fn an_unknown_flag_is_the_age() {
        assert!(explained(libc::EINVAL, &kernel("5.15.0-91-generic")).contains("too old"));
    }
}
