//go:build tools

// Package tools pins programs of the test cluster.
package tools

import (
	_ "github.com/opencontainers/runc"
)
