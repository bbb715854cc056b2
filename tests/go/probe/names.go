package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
)

// answer is what a resolver said.
type answer struct {
	attempt
	Addresses []string `json:"addresses,omitempty"`
	Texts     []string `json:"texts,omitempty"`
	// NotFound: it said that there is no such name, or refused to say.
	NotFound bool `json:"notFound,omitempty"`
}

// resolve asks the pod's resolver, or the server that is named.
func resolve(arguments []string) answer {
	resolver := &net.Resolver{PreferGo: true}
	if len(arguments) > 1 {
		resolver.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, arguments[1])
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	// A dot at the end: without the search list of the pod.
	name := strings.TrimSuffix(arguments[0], ".") + "."
	addresses, err := resolver.LookupHost(ctx, name)
	texts, textError := resolver.LookupTXT(ctx, name)
	result := answer{Addresses: addresses, Texts: texts}
	if err != nil {
		result.Error = err.Error()
		var known *net.DNSError
		result.NotFound = errors.As(err, &known) && known.IsNotFound
		if textError != nil && textError.Error() != err.Error() {
			result.Error += "; " + textError.Error()
		}
	}
	return result
}

// tunnel asks for names that carry data, and counts what was answered and how.
func tunnel(count int, domain string) map[string]int {
	counts := map[string]int{}
	resolver := &net.Resolver{PreferGo: true}
	for index := range count {
		label := strings.Repeat(fmt.Sprintf("%06x", index), 10)
		name := label + "." + label + "." + domain + "."
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		texts, err := resolver.LookupTXT(ctx, name)
		cancel()
		switch known := (*net.DNSError)(nil); {
		case err == nil && len(texts) > 0:
			counts["answered"]++
		case errors.As(err, &known) && known.IsNotFound:
			counts["not found"]++
		case errors.As(err, &known) && known.IsTimeout:
			counts["no answer"]++
		default:
			counts["refused"]++
		}
	}
	return counts
}
