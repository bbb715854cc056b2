//! End-to-end tests of the gateway, against a real API server.
