//! What process 1 gives up before the command starts, for itself and for
//! everything that comes after it.

use std::io;

use anyhow::Context;
use rustix::process::{DumpableBehavior, Signal, set_dumpable_behavior, set_parent_process_death_signal};
use rustix::thread::{CapabilitiesSecureBits, CapabilitySet, CapabilitySets};

use super::super::system;

/// Ends this process when the one that started it ends, and keeps the
/// command, which is the same user, from reading or tracing it.
pub(super) fn bind_to_parent() -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Gives up every capability, for ever, and what the filter names.
pub(super) fn give_up() -> anyhow::Result<()> {
    rustix::thread::clear_ambient_capability_set().context("clear ambient capabilities")?;
    rustix::thread::set_capabilities_secure_bits(
        CapabilitiesSecureBits::NO_ROOT
            | CapabilitiesSecureBits::NO_ROOT_LOCKED
            | CapabilitiesSecureBits::NO_SETUID_FIXUP
            | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
            | CapabilitiesSecureBits::KEEP_CAPS_LOCKED
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED,
    )
    .context("lock secure bits")?;
    for bit in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        // Bits that this kernel does not know are not in the set.
        if rustix::thread::capability_is_in_bounding_set(one).unwrap_or(false) {
            rustix::thread::remove_capability_from_bounding_set(one).context("empty the bounding set")?;
        }
    }
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .context("drop capabilities")?;
    rustix::thread::set_no_new_privs(true).context("set no_new_privs")?;
    system::install_filter(&mut filter()).context("install the system call filter")?;
    // Dropping rights made the process what it was by default.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// The filter closes what namespaces do not:
///
/// - sockets of families that know no network namespace (`AF_VSOCK` reaches
///   the hypervisor), by any way of making one (`io_uring` has its own);
/// - pushing characters into the terminal, which the shell outside would read
///   as typed there (`TIOCSTI`, `TIOCLINUX`);
/// - key rings of the user outside; files by handle, past every mount;
/// - system calls by another architecture's numbers, which would pass unseen.
fn filter() -> Vec<libc::sock_filter> {
    let mut program = vec![
        load(OFFSET_ARCHITECTURE),
        // Our own architecture: skip the answer.
        jump(libc::BPF_JEQ, ARCHITECTURE, 1, 0),
        answer(libc::ENOSYS),
        load(OFFSET_NUMBER),
    ];
    if cfg!(target_arch = "x86_64") {
        // x32 shares the architecture and sets this bit.
        program.extend([jump(libc::BPF_JGE, 0x4000_0000, 0, 1), answer(libc::ENOSYS)]);
    }
    for (number, error) in REFUSED {
        program.extend([jump(libc::BPF_JEQ, *number as u32, 0, 1), answer(*error)]);
    }
    for number in [libc::SYS_socket, libc::SYS_socketpair] {
        // 8 instructions, all of which end in an answer.
        program.push(jump(libc::BPF_JEQ, number as u32, 0, 7));
        program.push(load(OFFSET_ARGUMENTS));
        program.extend([
            jump(libc::BPF_JEQ, libc::AF_UNIX as u32, 4, 0),
            jump(libc::BPF_JEQ, libc::AF_INET as u32, 3, 0),
            jump(libc::BPF_JEQ, libc::AF_INET6 as u32, 2, 0),
            jump(libc::BPF_JEQ, libc::AF_NETLINK as u32, 1, 0),
            answer(libc::EAFNOSUPPORT),
            allow(),
        ]);
    }
    program.extend([
        jump(libc::BPF_JEQ, libc::SYS_ioctl as u32, 0, 4),
        load(OFFSET_ARGUMENTS + 8),
        jump(libc::BPF_JEQ, libc::TIOCSTI as u32, 1, 0),
        jump(libc::BPF_JEQ, TIOCLINUX, 0, 1),
        answer(libc::EPERM),
        allow(),
    ]);
    program
}

/// System calls refused whatever their arguments, and with which error.
const REFUSED: &[(libc::c_long, i32)] = &[
    (libc::SYS_io_uring_setup, libc::ENOSYS),
    (libc::SYS_io_uring_enter, libc::ENOSYS),
    (libc::SYS_io_uring_register, libc::ENOSYS),
    (libc::SYS_add_key, libc::ENOSYS),
    (libc::SYS_request_key, libc::ENOSYS),
    (libc::SYS_keyctl, libc::ENOSYS),
    (libc::SYS_open_by_handle_at, libc::EPERM),
];

// struct seccomp_data (linux/seccomp.h); arguments are 64 bits wide, and the
// kernel looks at the low half of a socket family and of an ioctl's number.
const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCHITECTURE: u32 = 4;
#[cfg(target_endian = "little")]
const OFFSET_ARGUMENTS: u32 = 16;

/// AUDIT_ARCH_X86_64 (linux/audit.h).
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
/// AUDIT_ARCH_AARCH64.
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// asm-generic/ioctls.h
const TIOCLINUX: u32 = 0x541c;

fn load(offset: u32) -> libc::sock_filter {
    libc::sock_filter { code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, jt: 0, jf: 0, k: offset }
}

fn jump(test: u32, value: u32, yes: u8, no: u8) -> libc::sock_filter {
    libc::sock_filter { code: (libc::BPF_JMP | test | libc::BPF_K) as u16, jt: yes, jf: no, k: value }
}

fn answer(error: i32) -> libc::sock_filter {
    let k = libc::SECCOMP_RET_ERRNO | (error as u32 & libc::SECCOMP_RET_DATA);
    libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k }
}

fn allow() -> libc::sock_filter {
    libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel does.
    fn evaluate(number: libc::c_long, arguments: [u64; 2], architecture: u32) -> u32 {
        let program = filter();
        let word = |offset: u32| match offset {
            OFFSET_NUMBER => number as u32,
            OFFSET_ARCHITECTURE => architecture,
            OFFSET_ARGUMENTS => arguments[0] as u32,
            _ => arguments[1] as u32,
        };
        let (mut at, mut register) = (0, 0);
        loop {
            let step = program[at];
            let code = u32::from(step.code);
            at += 1;
            match code & 0x07 {
                libc::BPF_LD => register = word(step.k),
                libc::BPF_RET => return step.k,
                _ => {
                    let holds = if code & 0xf0 == libc::BPF_JEQ { register == step.k } else { register >= step.k };
                    at += usize::from(if holds { step.jt } else { step.jf });
                }
            }
        }
    }

    fn refusal(error: i32) -> u32 {
        libc::SECCOMP_RET_ERRNO | error as u32
    }

    #[test]
    fn only_four_socket_families_pass() {
        for call in [libc::SYS_socket, libc::SYS_socketpair] {
            for family in 0..64 {
                let allowed = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK].contains(&family);
                let expected = if allowed { libc::SECCOMP_RET_ALLOW } else { refusal(libc::EAFNOSUPPORT) };
                assert_eq!(evaluate(call, [family as u64, 0], ARCHITECTURE), expected, "family {family}");
            }
        }
    }

    #[test]
    fn terminal_input_is_not_forged_and_other_requests_pass() {
        let ioctl = |request: u64| evaluate(libc::SYS_ioctl, [0, request], ARCHITECTURE);
        assert_eq!(ioctl(libc::TIOCSTI), refusal(libc::EPERM));
        assert_eq!(ioctl(libc::TIOCSTI | 1 << 32), refusal(libc::EPERM));
        assert_eq!(ioctl(u64::from(TIOCLINUX)), refusal(libc::EPERM));
        assert_eq!(ioctl(libc::TIOCGWINSZ), libc::SECCOMP_RET_ALLOW);
    }

    #[test]
    fn other_doors_and_other_numberings_are_closed() {
        for (call, error) in REFUSED {
            assert_eq!(evaluate(*call, [0, 0], ARCHITECTURE), refusal(*error));
        }
        assert_eq!(evaluate(libc::SYS_read, [0, 0], ARCHITECTURE), libc::SECCOMP_RET_ALLOW);
        assert_eq!(evaluate(libc::SYS_read, [0, 0], 0x4000_0003), refusal(libc::ENOSYS));
        #[cfg(target_arch = "x86_64")]
        assert_eq!(evaluate(0x4000_0000 + libc::SYS_socket, [40, 0], ARCHITECTURE), refusal(libc::ENOSYS));
    }
}
