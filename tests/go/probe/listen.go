package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"net"
	"os"
	"sync"
	"time"
)

// arrival is something that reached a peer.
type arrival struct {
	By   string `json:"by"`
	From string `json:"from"`
	// Name is that of a TLS hello.
	Name string `json:"name,omitempty"`
	// Text is what came, unprintable bytes in hexadecimal beside it.
	Text string `json:"text,omitempty"`
	Hex  string `json:"hex,omitempty"`
}

var printing sync.Mutex

func arrived(by string, from net.Addr, name string, bytes []byte) {
	line := arrival{By: by, Name: name, Text: string(bytes), Hex: hex.EncodeToString(bytes)}
	if from != nil {
		line.From = from.String()
	}
	printing.Lock()
	defer printing.Unlock()
	_ = json.NewEncoder(os.Stdout).Encode(line)
}

// listen takes everything on the ports that tests use, in both families.
func listen() {
	certificate := selfSigned()
	for _, port := range []string{"53", "80", "8080"} {
		go acceptAll("tcp", must(net.Listen("tcp", ":"+port)), nil)
	}
	for _, port := range []string{"443", "6443"} {
		go acceptAll("tls", must(net.Listen("tcp", ":"+port)), &certificate)
	}
	for _, port := range []string{"53", "443", "8080"} {
		go packets("udp", must(net.ListenPacket("udp", ":"+port)), true)
	}
	for _, network := range []string{"ip4:icmp", "ip6:ipv6-icmp"} {
		go packets("icmp", must(net.ListenPacket(network, every(network))), false)
	}
	for _, network := range []string{"ip4:132", "ip6:132"} {
		go packets("sctp", must(net.ListenPacket(network, every(network))), false)
	}
	say(map[string]bool{"listening": true})
	wait()
}

func every(network string) string {
	if network[2] == '4' {
		return "0.0.0.0"
	}
	return "::"
}

func must[T interface{}](value T, err error) T {
	if err != nil {
		fail("%v", err)
	}
	return value
}

func acceptAll(by string, listener net.Listener, certificate *tls.Certificate) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			fail("%v", err)
		}
		go take(by, connection, certificate)
	}
}

func take(by string, connection net.Conn, certificate *tls.Certificate) {
	defer connection.Close()
	arrived(by, connection.RemoteAddr(), "", nil)
	name := ""
	if certificate != nil {
		secure := tls.Server(connection, &tls.Config{
			Certificates: []tls.Certificate{*certificate},
			NextProtos:   []string{"h2", "http/1.1"},
			GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
				name = hello.ServerName
				arrived(by, connection.RemoteAddr(), name, []byte("hello"))
				return nil, nil
			},
		})
		connection = secure
	}
	buffer := make([]byte, 4096)
	for {
		_ = connection.SetReadDeadline(time.Now().Add(time.Minute))
		count, err := connection.Read(buffer)
		if count > 0 {
			arrived(by, connection.RemoteAddr(), name, buffer[:count])
			_, _ = connection.Write(buffer[:count])
		}
		if err != nil {
			return
		}
	}
}

func packets(by string, socket net.PacketConn, echo bool) {
	buffer := make([]byte, 65536)
	for {
		count, from, err := socket.ReadFrom(buffer)
		if err != nil {
			fail("%v", err)
		}
		arrived(by, from, "", buffer[:count])
		if echo {
			_, _ = socket.WriteTo(buffer[:count], from)
		}
	}
}

// serve gives text to everyone who connects.
func serve(address, text string) {
	listener := must(net.Listen("tcp", address))
	say(map[string]bool{"listening": true})
	for {
		connection := must(listener.Accept())
		arrived("tcp", connection.RemoteAddr(), "", nil)
		_, _ = connection.Write([]byte(text))
		_ = connection.Close()
	}
}

func selfSigned() tls.Certificate {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{"peer.example.com"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
	bytes := must(x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key))
	return tls.Certificate{Certificate: [][]byte{bytes}, PrivateKey: key}
}
