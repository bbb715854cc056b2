package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

func sendTCP(address, mark string) attempt {
	connection, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return failed(err)
	}
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(patience))
	result := attempt{Connected: true}
	if _, err := connection.Write([]byte(mark)); err != nil {
		result.Error = err.Error()
		return result
	}
	if tcp, is := connection.(*net.TCPConn); is {
		_ = tcp.CloseWrite()
	}
	answer, err := io.ReadAll(io.LimitReader(connection, 4096))
	result.Answer = string(answer)
	if err != nil {
		result.Error = err.Error()
	}
	return result
}

func sendUDP(address, mark string) attempt {
	connection, err := net.Dial("udp", address)
	if err != nil {
		return failed(err)
	}
	defer connection.Close()
	// Three, so that a lost packet is no proof of anything.
	for range 3 {
		if _, err := connection.Write([]byte(mark)); err != nil {
			return failed(err)
		}
	}
	return answerOf(connection)
}

func answerOf(connection net.Conn) attempt {
	_ = connection.SetDeadline(time.Now().Add(patience))
	buffer := make([]byte, 4096)
	count, err := connection.Read(buffer)
	if err != nil {
		return failed(err)
	}
	return attempt{Answer: string(buffer[:count])}
}

// sendICMP sends an echo request by the socket that needs no right, or by a raw one.
func sendICMP(ip, mark string) attempt {
	address, err := netip.ParseAddr(ip)
	if err != nil {
		return failed(err)
	}
	family, protocol, kind := syscall.AF_INET, syscall.IPPROTO_ICMP, byte(8)
	if address.Is6() {
		family, protocol, kind = syscall.AF_INET6, syscall.IPPROTO_ICMPV6, byte(128)
	}
	packet := append([]byte{kind, 0, 0, 0, 0, 1, 0, 1}, mark...)
	if kind == 8 {
		binary.BigEndian.PutUint16(packet[2:], checksum(packet))
	}
	socket, err := syscall.Socket(family, syscall.SOCK_DGRAM, protocol)
	if err != nil {
		if socket, err = syscall.Socket(family, syscall.SOCK_RAW, protocol); err != nil {
			return failed(fmt.Errorf("socket: %w", err))
		}
	}
	return exchange(socket, address, packet)
}

// sendSCTP tries the kernel's own SCTP, then a raw packet of its protocol.
func sendSCTP(ip, mark string) attempt {
	address, err := netip.ParseAddr(ip)
	if err != nil {
		return failed(err)
	}
	family := syscall.AF_INET
	if address.Is6() {
		family = syscall.AF_INET6
	}
	const protocol = 132
	if socket, err := syscall.Socket(family, syscall.SOCK_STREAM, protocol); err == nil {
		connected := make(chan error, 1)
		go func() { connected <- syscall.Connect(socket, socketAddress(address, 8080)) }()
		select {
		case err = <-connected:
		case <-time.After(patience):
			err = syscall.ETIMEDOUT
		}
		if err == nil {
			_, err = syscall.Write(socket, []byte(mark))
		}
		_ = syscall.Close(socket)
		if err == nil {
			return attempt{Connected: true}
		}
	}
	return sendRaw(protocol, ip, mark)
}

func sendRaw(protocol int, ip, mark string) attempt {
	address, err := netip.ParseAddr(ip)
	if err != nil {
		return failed(err)
	}
	family := syscall.AF_INET
	if address.Is6() {
		family = syscall.AF_INET6
	}
	socket, err := syscall.Socket(family, syscall.SOCK_RAW, protocol)
	if err != nil {
		return failed(fmt.Errorf("socket: %w", err))
	}
	return exchange(socket, address, []byte(mark))
}

// exchange sends a packet three times and waits for anything that comes back.
func exchange(socket int, address netip.Addr, packet []byte) attempt {
	defer syscall.Close(socket)
	for range 3 {
		if err := syscall.Sendto(socket, packet, 0, socketAddress(address, 0)); err != nil {
			return failed(fmt.Errorf("send: %w", err))
		}
	}
	wait := syscall.NsecToTimeval(int64(patience))
	if err := syscall.SetsockoptTimeval(socket, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &wait); err != nil {
		return failed(err)
	}
	buffer := make([]byte, 4096)
	count, _, err := syscall.Recvfrom(socket, buffer, 0)
	if err != nil {
		return failed(fmt.Errorf("no answer: %w", err))
	}
	return attempt{Answer: fmt.Sprintf("%d bytes", count)}
}

func socketAddress(address netip.Addr, port int) syscall.Sockaddr {
	if address.Is4() {
		return &syscall.SockaddrInet4{Port: port, Addr: address.As4()}
	}
	return &syscall.SockaddrInet6{Port: port, Addr: address.As16()}
}

// checksum is RFC 1071's.
func checksum(bytes []byte) uint16 {
	var sum uint32
	for index := 0; index < len(bytes); index += 2 {
		pair := uint32(bytes[index]) << 8
		if index+1 < len(bytes) {
			pair |= uint32(bytes[index+1])
		}
		sum += pair
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// persist tries until it is ended, and prints how often after each round.
func persist(address, mark string) {
	for round := 1; ; round++ {
		if connection, err := net.DialTimeout("tcp", address, 200*time.Millisecond); err == nil {
			_, _ = connection.Write([]byte(mark))
			_ = connection.Close()
		}
		if connection, err := net.Dial("udp", address); err == nil {
			_, _ = connection.Write([]byte(mark))
			_ = connection.Close()
		}
		if _, err := fmt.Fprintf(os.Stdout, "round %d\n", round); err != nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}
