//! The trail: records, their hash chain, the spool and its verification.
