//! Peers and harness for tests: gateways, providers, raw clients.
