package main

import (
	"encoding/json"
	"regexp"
	"strings"
)

// volatile are the fields in which two answers of one API server differ, whoever asks.
var volatile = map[string]bool{
	"uid":                true,
	"resourceVersion":    true,
	"creationTimestamp":  true,
	"deletionTimestamp":  true,
	"managedFields":      true, // holds times; compared as present or not
	"clusterIP":          true,
	"clusterIPs":         true,
	"continue":           true, // holds the resource version
	"lastUpdateTime":     true,
	"lastTransitionTime": true,
	"evaluationError":    true,
}

// version is a resource version inside an error message.
var version = regexp.MustCompile(`in record \(\d+\)`)

// normal is the outcome as JSON, with volatile fields reduced to whether they are there, and the namespace
// under a neutral name.
func normal(outcome outcome, namespace string) string {
	bytes, err := json.Marshal(outcome)
	if err != nil {
		return "not JSON: " + err.Error()
	}
	var value any
	if err := json.Unmarshal(bytes, &value); err != nil {
		return "not JSON: " + err.Error()
	}
	bytes, err = json.Marshal(reduce(value))
	if err != nil {
		return "not JSON: " + err.Error()
	}
	text := strings.ReplaceAll(string(bytes), namespace, "NAMESPACE")
	return version.ReplaceAllString(text, "in record (VERSION)")
}

func reduce(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for key, field := range value {
			if volatile[key] {
				value[key] = field != nil && field != ""
			} else {
				value[key] = reduce(field)
			}
		}
	case []any:
		for i, item := range value {
			value[i] = reduce(item)
		}
	}
	return value
}
