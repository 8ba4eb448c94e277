package devstack

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// owner is the user that PostgreSQL runs as when we are root, which it refuses.
// A nil owner means ourselves.
type owner struct{ uid, gid uint32 }

func serverOwner() (*owner, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
		if uidErr == nil && gidErr == nil {
			return &owner{uint32(uid), uint32(gid)}, nil
		}
	}
	return nil, errors.New("PostgreSQL does not run as root and this machine has neither a user postgres nor nobody: run as another user")
}

func (o *owner) credential() *syscall.Credential {
	if o == nil {
		return nil
	}
	return &syscall.Credential{Uid: o.uid, Gid: o.gid}
}

// dataDir returns a folder for data that the owner can use: dir/data if it can
// get there, else one under /tmp that a note in dir leads back to.
func (o *owner) dataDir(dir string) (string, error) {
	data := filepath.Join(dir, "data")
	if o == nil || reachable(dir) {
		return data, o.makeDir(data)
	}
	note := filepath.Join(dir, "data-is-at")
	if b, err := os.ReadFile(note); err == nil {
		if data = strings.TrimSpace(string(b)); o.owns(data) {
			return data, nil
		}
	}
	data, err := os.MkdirTemp(tempRoot(), "devstack-postgres-")
	if err != nil {
		return "", fmt.Errorf("making data folder: %w", err)
	}
	if err := os.WriteFile(note, []byte(data+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("noting data folder: %w", err)
	}
	return data, o.makeDir(data)
}

// makeDir makes a folder that only the owner can enter.
func (o *owner) makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making data folder: %w", err)
	}
	if o == nil {
		return nil
	}
	if err := os.Chown(dir, int(o.uid), int(o.gid)); err != nil {
		return fmt.Errorf("giving data folder to PostgreSQL's user: %w", err)
	}
	return nil
}

// owns guards against a folder that somebody else put where ours was.
func (o *owner) owns(dir string) bool {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stat.Uid == o.uid
}

// reachable tells whether everybody may pass through dir and all above it.
func reachable(dir string) bool {
	for ; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil || info.Mode().Perm()&0o001 == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}
