//! One replica writes for the cluster: who holds the Lease `sluice-control`.

mod elect;
mod step;

pub use elect::{Candidate, elect};
pub use step::{Observed, Step, released, step};
