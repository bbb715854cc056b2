package main

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// request is one HTTPS request, each name in it chosen apart.
type request struct {
	to, name, host, method, path, token, tokenFile, ca, body string
	headers                                                  list
	http2, plain, hidden                                     bool
	pause                                                    time.Duration
}

// response is what came of it.
type response struct {
	attempt
	Status int `json:"status,omitempty"`
	// Certificate: the names in the server's.
	Certificate []string `json:"certificate,omitempty"`
	Body        string   `json:"body,omitempty"`
}

type list []string

func (l *list) String() string         { return strings.Join(*l, ",") }
func (l *list) Set(value string) error { *l = append(*l, value); return nil }

func options(arguments []string) request {
	var r request
	flags := flag.NewFlagSet("https", flag.ExitOnError)
	flags.StringVar(&r.to, "to", "", "HOST:PORT to connect to")
	flags.StringVar(&r.name, "name", "", "name in the TLS hello; empty: none")
	flags.StringVar(&r.host, "host", "", "Host or :authority; empty: the name")
	flags.StringVar(&r.method, "method", "GET", "method")
	flags.StringVar(&r.path, "path", "/version", "path and query")
	flags.StringVar(&r.token, "token", "", "bearer token")
	flags.StringVar(&r.tokenFile, "token-file", "", "file with the bearer token")
	flags.StringVar(&r.ca, "ca", "", "PEM of the roots; empty: the server's certificate is not checked")
	flags.StringVar(&r.body, "body", "", "JSON body")
	flags.Var(&r.headers, "header", "NAME: VALUE, again and again")
	flags.BoolVar(&r.http2, "http2", false, "HTTP/2")
	flags.BoolVar(&r.plain, "plain", false, "no TLS")
	flags.BoolVar(&r.hidden, "hidden", false, "encrypted hello: -name outside, hidden.example.com inside")
	flags.DurationVar(&r.pause, "pause", 0, "pause after each of several requests")
	_ = flags.Parse(arguments)
	if r.host == "" {
		r.host = r.name
	}
	if r.host == "" {
		r.host = r.to
	}
	return r
}

func https(r request) request { return r }

// do sends it, on a connection of its own.
func (r request) do() response {
	transport, seen, err := r.transport()
	if err != nil {
		return response{attempt: failed(err)}
	}
	defer transport.CloseIdleConnections()
	return r.over(transport, seen)
}

func (r request) over(transport *http.Transport, seen *[]string) response {
	scheme := "https"
	if r.plain {
		scheme = "http"
	}
	ctx, cancel := context.WithTimeout(context.Background(), 8*patience)
	defer cancel()
	message, err := http.NewRequestWithContext(ctx, r.method, scheme+"://"+r.to+r.path, strings.NewReader(r.body))
	if err != nil {
		return response{attempt: failed(err)}
	}
	message.Host = r.host
	if token := r.bearer(); token != "" {
		message.Header.Set("Authorization", "Bearer "+token)
	}
	if r.body != "" {
		message.Header.Set("Content-Type", "application/json")
	}
	for _, header := range r.headers {
		name, value, _ := strings.Cut(header, ": ")
		message.Header.Set(name, value)
	}
	answer, err := transport.RoundTrip(message)
	if err != nil {
		return response{attempt: failed(err), Certificate: *seen}
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	result := response{Status: answer.StatusCode, Body: string(body), Certificate: *seen}
	result.Connected = true
	if err != nil {
		result.Error = err.Error()
	}
	return result
}

func (r request) bearer() string {
	if r.tokenFile == "" {
		return r.token
	}
	token, err := os.ReadFile(r.tokenFile)
	if err != nil {
		fail("%v", err)
	}
	return strings.TrimSpace(string(token))
}

func (r request) transport() (*http.Transport, *[]string, error) {
	seen := new([]string)
	config := &tls.Config{ServerName: r.name, NextProtos: []string{"http/1.1"}}
	if r.http2 {
		config.NextProtos = []string{"h2"}
	}
	if r.ca == "" || r.name == "" {
		config.InsecureSkipVerify = true
	}
	if r.ca != "" {
		pem, err := os.ReadFile(r.ca)
		if err != nil {
			return nil, nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, nil, fmt.Errorf("%s holds no certificate", r.ca)
		}
	}
	if r.hidden {
		outer := r.name
		config.ServerName = "hidden.example.com"
		config.MinVersion = tls.VersionTLS13
		encoded, err := hiddenHello(outer)
		if err != nil {
			return nil, nil, err
		}
		config.EncryptedClientHelloConfigList = encoded
	}
	dialer := net.Dialer{Timeout: patience}
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, network, r.to)
	}
	secure := func(ctx context.Context, network, address string) (net.Conn, error) {
		connection, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		over := tls.Client(connection, config)
		_ = connection.SetDeadline(time.Now().Add(2 * patience))
		err = over.HandshakeContext(ctx)
		for _, certificate := range over.ConnectionState().PeerCertificates {
			*seen = append(*seen, certificate.DNSNames...)
		}
		if err != nil {
			return nil, errors.Join(err, connection.Close())
		}
		_ = connection.SetDeadline(time.Time{})
		return over, nil
	}
	return &http.Transport{DialContext: dial, DialTLSContext: secure, ForceAttemptHTTP2: r.http2}, seen, nil
}

// requests sends the same one again and again, over kept connections, and counts.
func requests(count int, r request) map[string]int {
	counts := map[string]int{}
	transport, seen, err := r.transport()
	if err != nil {
		fail("%v", err)
	}
	for range count {
		answer := r.over(transport, seen)
		key := fmt.Sprint(answer.Status)
		if answer.Error != "" {
			key = answer.Error
		}
		counts[key]++
		time.Sleep(r.pause)
	}
	return counts
}

// hiddenHello is an ECHConfigList (RFC 9849, section 4) for a key that nobody has.
func hiddenHello(publicName string) ([]byte, error) {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	public := key.PublicKey().Bytes()
	contents := []byte{7, 0x00, 0x20}                                         // config_id, KEM X25519
	contents = append(binary.BigEndian.AppendUint16(contents, 32), public...) // public_key
	contents = append(contents, 0x00, 0x04, 0x00, 0x01, 0x00, 0x01)           // HKDF-SHA256, AES-128-GCM
	contents = append(contents, 64, byte(len(publicName)))                    // maximum_name_length
	contents = append(append(contents, publicName...), 0, 0)                  // no extensions
	config := binary.BigEndian.AppendUint16([]byte{0xfe, 0x0d}, uint16(len(contents)))
	config = append(config, contents...)
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(config))), config...), nil
}
