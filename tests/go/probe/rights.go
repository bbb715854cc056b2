package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// become takes another user and group, then does what is asked.
func become(uid, gid int, command []string) attempt {
	// The group first: a user that is not root could not change it.
	if err := syscall.Setgid(gid); err != nil {
		return failed(fmt.Errorf("setgid %d: %w", gid, err))
	}
	if err := syscall.Setuid(uid); err != nil {
		return failed(fmt.Errorf("setuid %d: %w", uid, err))
	}
	return run(exec.Command("/proc/self/exe", command...))
}

// nest does it as root of a user namespace of its own.
func nest(command []string) attempt {
	child := exec.Command("/proc/self/exe", command...)
	child.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	return run(child)
}

func run(command *exec.Cmd) attempt {
	output, err := command.CombinedOutput()
	if err != nil {
		return attempt{Error: fmt.Sprintf("%v: %s", err, output)}
	}
	return attempt{Answer: string(output)}
}

// state is what a process is and sees.
type state struct {
	UID, GID int
	// Capabilities: the effective, permitted, inheritable, bounding and ambient ones, as in /proc/self/status.
	Capabilities map[string]string
	// NoNewPrivileges is 1 where no program can give more.
	NoNewPrivileges string
	// Processes: command lines of all that are seen.
	Processes []string
	// Environments that can be read and name the gateway.
	Environments []string
	// Abstract Unix sockets of the network namespace.
	Abstract []string
	// Setuid: programs that would run as somebody else.
	Setuid []string
	// Keys: files in the gateway's and the service account's folders that hold a private key.
	Keys []string
	// Writable: folders of the gateway's in which a file could be made.
	Writable []string
	// Folders of the gateway's that are there.
	Folders []string
}

func rights() state {
	result := state{UID: os.Getuid(), GID: os.Getgid(), Capabilities: map[string]string{}}
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.TrimSpace(value)
		switch {
		case strings.HasPrefix(name, "Cap"):
			result.Capabilities[name] = value
		case name == "NoNewPrivs":
			result.NoNewPrivileges = value
		}
	}
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, folder := range processes {
		line, _ := os.ReadFile(filepath.Join(folder, "cmdline"))
		result.Processes = append(result.Processes, strings.TrimSpace(string(bytes.ReplaceAll(line, []byte{0}, []byte{' '}))))
		environment, _ := os.ReadFile(filepath.Join(folder, "environ"))
		if bytes.Contains(environment, []byte("SLUICE_")) {
			result.Environments = append(result.Environments, folder)
		}
	}
	sockets, _ := os.ReadFile("/proc/net/unix")
	for line := range strings.Lines(string(sockets)) {
		fields := strings.Fields(line)
		if last := fields[len(fields)-1]; strings.HasPrefix(last, "@") {
			result.Abstract = append(result.Abstract, last)
		}
	}
	look(&result)
	return result
}

func look(result *state) {
	folders := []string{"/run/sluice/private", "/run/sluice/trust", "/run/sluice/identity", "/var/lib/sluice/trail",
		"/var/run/secrets/kubernetes.io/serviceaccount"}
	for _, folder := range folders {
		if _, err := os.Stat(folder); err != nil {
			continue
		}
		result.Folders = append(result.Folders, folder)
		made := filepath.Join(folder, "made-by-the-agent")
		if os.WriteFile(made, nil, 0o600) == nil {
			result.Writable = append(result.Writable, folder)
			_ = os.Remove(made)
		}
		_ = filepath.WalkDir(folder, func(path string, entry os.DirEntry, err error) error {
			if err == nil && !entry.IsDir() {
				if content, err := os.ReadFile(path); err == nil && bytes.Contains(content, []byte("PRIVATE KEY")) {
					result.Keys = append(result.Keys, path)
				}
			}
			return nil
		})
	}
	_ = filepath.WalkDir("/bin", func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return nil
		}
		if about, err := os.Stat(path); err == nil && about.Mode()&(os.ModeSetuid|os.ModeSetgid) != 0 {
			result.Setuid = append(result.Setuid, path)
		}
		return nil
	})
}
