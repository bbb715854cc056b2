//! The data path as a whole: a client, a gateway in this process, a server.

mod path;
mod streams;
mod strict;
mod world;
