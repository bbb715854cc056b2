//! End-to-end tests of the gateway: the real program between real clients and
//! a real API server (`make cluster`), or a server of the test's own where a
//! real one cannot be asked to misbehave.
//!
//! Every test runs from two seats: as root on IPv4, and as an ordinary user on
//! IPv6. Each owns its gateway, ports, folder and namespace.

/// Makes the two tests of a function that takes a seat.
macro_rules! seats {
    ($($name:ident),+ $(,)?) => {
        $(mod $name {
            #[test]
            fn as_root_on_v4() -> anyhow::Result<()> {
                super::$name(sluice_testkit::Seat::RootV4)
            }

            #[test]
            fn as_ordinary_user_on_v6() -> anyhow::Result<()> {
                super::$name(sluice_testkit::Seat::OrdinaryV6)
            }
        })+
    };
}

mod bad_input;
mod clients;
mod failpoints;
mod floods;
mod guesses;
mod local;
mod masks;
mod names;
mod policy;
mod resources;
mod rotation;
mod smuggling;
mod smuggling_h2;
mod tokens;
mod trail;
mod transparency;
mod world;
mod writeback;
mod writes;
