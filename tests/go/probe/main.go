// Command probe plays both sides of an attempt to get around the gateway.
//
//	probe wait                        the main process of a test's pod: ends when told to
//	probe listen                      a peer: prints a line of JSON for everything that reaches it
//	probe serve ADDRESS TEXT          gives TEXT to everyone who connects, and prints who did
//	probe tcp|udp ADDRESS MARK        sends MARK and reads the answer
//	probe icmp|sctp IP MARK           the same without ports
//	probe raw PROTOCOL IP MARK        the same by a raw socket
//	probe https -to ADDRESS …         one request; -h lists the options
//	probe dns NAME [SERVER]           resolves a name
//	probe tunnel COUNT DOMAIN         COUNT names with long labels, as a tunnel would ask
//	probe become UID GID -- COMMAND…  as another user
//	probe nest -- COMMAND…            in a user namespace of its own, where it is root
//	probe rights                      what this process may do
//	probe persist ADDRESS MARK        sends MARK by TCP and UDP again and again until it is ended
//	probe requests COUNT -to …        COUNT requests one after another; prints how many had which status
//
// Every attempt prints one line of JSON and exits with 0, however it went: only what cannot be tried at all is an error.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// patience is how long an attempt waits for an answer. What goes nowhere takes all of it.
const patience = 4 * time.Second

func main() {
	if len(os.Args) < 2 {
		fail("what? the first lines of main.go list it")
	}
	name, arguments := os.Args[1], os.Args[2:]
	command, known := commands[name]
	if !known {
		fail("`%s` is no command; the first lines of main.go list them", name)
	}
	if len(arguments) < command.arguments {
		fail("%s takes %d arguments", name, command.arguments)
	}
	command.run(arguments)
}

type command struct {
	arguments int
	run       func([]string)
}

var commands map[string]command

func init() {
	commands = map[string]command{
		"wait":     {0, func([]string) { wait() }},
		"listen":   {0, func([]string) { listen() }},
		"serve":    {2, func(a []string) { serve(a[0], a[1]) }},
		"tcp":      {2, func(a []string) { say(sendTCP(a[0], a[1])) }},
		"udp":      {2, func(a []string) { say(sendUDP(a[0], a[1])) }},
		"icmp":     {2, func(a []string) { say(sendICMP(a[0], a[1])) }},
		"sctp":     {2, func(a []string) { say(sendSCTP(a[0], a[1])) }},
		"raw":      {3, func(a []string) { say(sendRaw(number(a[0]), a[1], a[2])) }},
		"https":    {2, func(a []string) { say(https(options(a)).do()) }},
		"requests": {3, func(a []string) { say(requests(number(a[0]), options(a[1:]))) }},
		"dns":      {1, func(a []string) { say(resolve(a)) }},
		"tunnel":   {2, func(a []string) { say(tunnel(number(a[0]), a[1])) }},
		"become":   {3, func(a []string) { say(become(number(a[0]), number(a[1]), rest(a[2:]))) }},
		"nest":     {2, func(a []string) { say(nest(rest(a))) }},
		"rights":   {0, func([]string) { say(rights()) }},
		"persist":  {2, func(a []string) { persist(a[0], a[1]) }},
	}
}

// attempt is what came of one.
type attempt struct {
	// Error says where it ended; empty when it was not stopped on this side.
	Error string `json:"error,omitempty"`
	// Connected: a connection was made, which may have been to the gateway.
	Connected bool `json:"connected,omitempty"`
	// Answer is what came back.
	Answer string `json:"answer,omitempty"`
}

func failed(err error) attempt { return attempt{Error: err.Error()} }

func say(value any) {
	if err := json.NewEncoder(os.Stdout).Encode(value); err != nil {
		fail("%v", err)
	}
}

func fail(format string, values ...any) {
	fmt.Fprintf(os.Stderr, "probe: "+format+"\n", values...)
	os.Exit(2)
}

func number(text string) int {
	var value int
	if _, err := fmt.Sscanf(text, "%d", &value); err != nil {
		fail("`%s` is no number", text)
	}
	return value
}

// rest is what follows `--`.
func rest(arguments []string) []string {
	if len(arguments) < 2 || arguments[0] != "--" {
		fail("`-- COMMAND` is missing")
	}
	return arguments[1:]
}

// wait ends on the signals that end a container; as process 1 nothing else would.
func wait() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	<-signals
}
