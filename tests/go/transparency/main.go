// Command transparency does the same operations with client-go twice, straight to the API server and through the
// gateway, each in a namespace of its own, and compares what came back. It prints one line of JSON for each
// operation and ends with 1 when two differ.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// side is one way to the API server, and the namespace that it may fill.
type side struct {
	namespace string
	config    *rest.Config
	typed     *kubernetes.Clientset
	protobuf  *kubernetes.Clientset
	dynamic   *dynamic.DynamicClient
	metadata  metadata.Interface
	discovery *discovery.DiscoveryClient
}

// operation is done on both sides; write says whether it changes state.
type operation struct {
	name  string
	write bool
	do    func(context.Context, *side) (any, error)
}

// outcome is what an operation gave: an error of the API server is an answer like any other.
type outcome struct {
	Value  any    `json:"value,omitempty"`
	Code   int32  `json:"code,omitempty"`
	Reason string `json:"reason,omitempty"`
	Error  string `json:"error,omitempty"`
}

func main() {
	direct := flag.String("direct", "", "kubeconfig of the API server")
	through := flag.String("through", "", "kubeconfig of the gateway")
	directNamespace := flag.String("direct-namespace", "", "namespace for the direct side")
	throughNamespace := flag.String("through-namespace", "", "namespace for the other side, of the same length")
	flag.Parse()
	differ, err := run(*direct, *directNamespace, *through, *throughNamespace)
	if err != nil {
		fmt.Fprintln(os.Stderr, "transparency:", err)
		os.Exit(2)
	}
	if differ {
		os.Exit(1)
	}
}

func run(direct, directNamespace, through, throughNamespace string) (differ bool, err error) {
	one, err := newSide(direct, directNamespace)
	if err != nil {
		return false, err
	}
	other, err := newSide(through, throughNamespace)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	printer := json.NewEncoder(os.Stdout)
	for _, operation := range operations {
		a := normal(outcomeOf(operation.do(ctx, one)), one.namespace)
		b := normal(outcomeOf(operation.do(ctx, other)), other.namespace)
		line := map[string]any{"operation": operation.name, "write": operation.write, "equal": a == b}
		if a != b {
			differ = true
			line["direct"], line["through"] = around(a, b)
		}
		if err := printer.Encode(line); err != nil {
			return differ, err
		}
	}
	return differ, nil
}

// around is where two texts begin to differ, with something before and after.
func around(a, b string) (string, string) {
	start := 0
	for start < min(len(a), len(b)) && a[start] == b[start] {
		start++
	}
	start = max(0, start-200)
	return a[start:min(len(a), start+600)], b[start:min(len(b), start+600)]
}

func newSide(kubeconfig, namespace string) (*side, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst, config.Timeout = 100, 100, time.Minute
	side := &side{namespace: namespace, config: config}
	protobuf := rest.CopyConfig(config)
	protobuf.ContentType = "application/vnd.kubernetes.protobuf"
	protobuf.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	var errs [5]error
	side.typed, errs[0] = kubernetes.NewForConfig(config)
	side.protobuf, errs[1] = kubernetes.NewForConfig(protobuf)
	side.dynamic, errs[2] = dynamic.NewForConfig(config)
	side.metadata, errs[3] = metadata.NewForConfig(config)
	side.discovery, errs[4] = discovery.NewDiscoveryClientForConfig(config)
	return side, errors.Join(errs[:]...)
}

func outcomeOf(value any, err error) outcome {
	var status apierrors.APIStatus
	switch {
	case err == nil:
		return outcome{Value: value}
	case errors.As(err, &status):
		return outcome{Code: status.Status().Code, Reason: string(status.Status().Reason), Error: err.Error()}
	default:
		return outcome{Error: err.Error()}
	}
}
