//! `sluice run` in real namespaces, as root and as an ordinary user.
//!
//! Each test makes a world of its own (folder, policy, server in the API
//! server's place) and asks from inside with a shell, as an agent would. They
//! need root, because only root can be both; without it they fail, they are
//! not skipped.

mod command;
mod files;
mod network;
mod rights;
mod world;
