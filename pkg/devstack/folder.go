package devstack

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// folderMode lets PostgreSQL's user pass through; what matters inside is 0600.
const folderMode = 0o711

// folder is a working folder that one process owns by a lock on a file in it.
type folder struct {
	path string
	keep bool
	lock *os.File
}

// claimFolder takes dir itself (keep) or a fresh folder inside it.
func claimFolder(dir string, keep bool) (*folder, error) {
	var err error
	switch {
	case keep && dir == "":
		return nil, errors.New("servers whose data are kept need a folder")
	case keep:
		dir, err = madeFolder(dir)
	default:
		dir, err = freshFolder(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("making folder for servers: %w", err)
	}
	lock, err := lockFolder(dir)
	if err != nil {
		return nil, err
	}
	return &folder{path: dir, keep: keep, lock: lock}, nil
}

func madeFolder(dir string) (string, error) {
	if err := os.MkdirAll(dir, folderMode); err != nil {
		return "", err
	}
	return filepath.Abs(dir)
}

func freshFolder(parent string) (string, error) {
	if parent == "" {
		parent = tempRoot()
	} else {
		var err error
		if parent, err = madeFolder(parent); err != nil {
			return "", err
		}
		removeOrphans(parent)
	}
	dir, err := os.MkdirTemp(parent, "devstack-")
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, folderMode)
}

func lockFolder(dir string) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening lock file: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("servers in %s are in use by another run: stop that one first", dir), lock.Close())
	}
	return lock, nil
}

// removeOrphans removes what runs left behind that were killed. The lock of a
// living run cannot be taken, so its folder stays.
func removeOrphans(dir string) {
	found, _ := filepath.Glob(filepath.Join(dir, "devstack-*", "lock"))
	for _, path := range found {
		orphan := filepath.Dir(path)
		if lock, err := lockFolder(orphan); err == nil {
			_ = os.RemoveAll(orphan) // best effort: it may belong to another user
			_ = lock.Close()
		}
	}
}

// release gives the folder back and, unless it is kept, removes it. A second
// call does nothing.
func (f *folder) release() error {
	if f.lock == nil {
		return nil
	}
	var err error
	if !f.keep {
		err = os.RemoveAll(f.path)
	}
	err = errors.Join(err, f.lock.Close())
	f.lock = nil
	return err
}
