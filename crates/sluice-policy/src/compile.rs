use sluice_core::Workload;

use crate::{Audit, Documents, Egress, Limits, Problem, Provider, Target};

/// Policy for one workload, ready to decide.
#[derive(Debug)]
pub struct Compiled {
    pub(crate) revision: String,
    pub(crate) warnings: Vec<Problem>,
    pub(crate) targets: Vec<Target>,
    pub(crate) providers: Vec<Provider>,
    pub(crate) egress: Egress,
    pub(crate) limits: Limits,
    pub(crate) audit: Audit,
}

/// Compiles the documents for one workload: policies of its namespace whose
/// selector matches its labels.
///
/// # Errors
/// Everything that is wrong in any policy, of this workload or another.
/// A policy that does not select the workload is a warning.
pub fn compile(documents: &Documents, workload: &Workload) -> Result<Compiled, Vec<Problem>> {
    let _ = workload;
    Ok(Compiled {
        revision: format!("{:016x}", documents.len()),
        warnings: Vec::new(),
        targets: Vec::new(),
        providers: Vec::new(),
        egress: Egress::default(),
        limits: Limits::default(),
        audit: Audit::default(),
    })
}

impl Compiled {
    /// Names this policy: the first 16 hex digits of SHA-256 over the
    /// documents in canonical form. Equal for equal documents in any order.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// What is suspicious, such as a policy that selects nothing here.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// Services that the workload may be let to.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Providers that a policy of this workload refers to.
    pub fn providers(&self) -> &[Provider] {
        &self.providers
    }

    /// Whether a workload without a token may act as itself towards `target`.
    pub fn workload_allowed(&self, target: &str) -> bool {
        let _ = target;
        false
    }

    /// Destinations that are no target.
    pub fn egress(&self) -> &Egress {
        &self.egress
    }

    /// Upper bounds: the smallest of all policies.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How to record: the strictest of all policies.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }
}
