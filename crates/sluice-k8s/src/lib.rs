//! What Kubernetes sees of Sluice: its kinds, the injection of the sidecar, and
//! the admission policies that hold while nothing of ours runs.
//!
//! ```text
//! sluice-policy's spec types --crds--------> CustomResourceDefinition
//! pod + InjectionSettings    --inject------> pod with the gateway in it, or Refusals
//! AdmissionReview            --admission---> AdmissionReview
//!                              policies----> ValidatingAdmissionPolicy, webhook configuration
//! ```
//!
//! Everything here is a pure function of its input. This crate knows no client,
//! no server and no file; `xtask generate` writes what [`generate`] lists.

pub mod admission;
pub mod crds;
pub mod generate;

pub mod inject;
pub mod java;
pub mod names;
pub mod patch;
pub mod policies;
pub mod webhooks;
pub mod yaml;
