//go:build tools

// Package tools pins programs of the test cluster.
package tools

import (
	_ "helm.sh/helm/v3/cmd/helm"
)
