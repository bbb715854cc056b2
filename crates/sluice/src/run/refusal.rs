//! Why a kernel would not isolate, and what to change.

use std::fs;
use std::io;

/// What `error` from making or using namespaces means on this machine.
pub(crate) fn of_namespaces(error: &io::Error) -> String {
    let mut message = format!("the kernel refused to make namespaces for the command ({error})");
    let advice = SWITCHES
        .iter()
        .find(|switch| fs::read_to_string(switch.file).is_ok_and(|value| value.trim() == switch.closed))
        .map_or(FALLBACK, |switch| switch.advice);
    message.push_str(": ");
    message.push_str(advice);
    message
}

/// A setting that closes user namespaces, and the words for it.
struct Switch {
    file: &'static str,
    closed: &'static str,
    advice: &'static str,
}

const SWITCHES: [Switch; 3] = [
    Switch {
        file: "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        closed: "1",
        advice: "AppArmor restricts user namespaces here; allow them with an AppArmor profile for this program (`userns,`), or `sysctl kernel.apparmor_restrict_unprivileged_userns=0`, or run as root",
    },
    Switch {
        file: "/proc/sys/kernel/unprivileged_userns_clone",
        closed: "0",
        advice: "`sysctl kernel.unprivileged_userns_clone=1` allows them for ordinary users, or run as root",
    },
    Switch {
        file: "/proc/sys/user/max_user_namespaces",
        closed: "0",
        advice: "`sysctl user.max_user_namespaces=10000` allows them; inside another `sluice run` they stay closed",
    },
];

const FALLBACK: &str = "inside a container, its seccomp profile or procMount may forbid it (Docker: `--security-opt seccomp=unconfined --security-opt systempaths=unconfined`); `--no-isolation` runs the command without any";
