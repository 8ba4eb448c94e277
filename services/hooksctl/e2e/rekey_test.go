package e2e_test

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"
)

// hooksctl runs a command to its end, and returns what it printed and its exit code.
func (s *system) hooksctl(more []string, args ...string) (printed string, code int) {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), filepath.Join(os.Getenv(binariesVar), "hooksctl"), args...)
	cmd.Env = s.env(more...)
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		s.t.Fatalf("hooksctl %s: %v", args[0], err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// fleet is an api and workers that are replaced one by one while they work.
type fleet struct {
	*system
	processes []*service
	front     atomic.Pointer[client] // speaks to the latest api
}

// roll starts each process anew with other keys, before its predecessor goes.
func (f *fleet) roll(keys string) {
	f.t.Helper()
	setting := "HOOKS_ENCRYPTION_KEYS=" + keys
	api := f.api(setting)
	f.front.Store(f.client(api, tenant))
	next := []*service{api, f.worker(setting), f.worker(setting)}
	for _, p := range f.processes {
		p.terminate()
		if code := p.awaitEnd(); code != 0 {
			f.t.Errorf("%s: exit code %d", p.name, code)
		}
	}
	f.processes = next
}

// doctor wants a line in hooksctl's report with these keys. For a moment after a
// roll no worker leads, which is a fault to doctor and none here.
func (f *fleet) doctor(keys, want string) {
	f.t.Helper()
	if report, _ := f.hooksctl([]string{"HOOKS_ENCRYPTION_KEYS=" + keys}, "doctor"); !strings.Contains(report, want) {
		f.t.Errorf("doctor says nothing of %q:\n%s", want, report)
	}
}

// during runs what keeps on happening, again and again, while f does something.
func (f *fleet) during(do func(), happening ...func(round int) error) {
	f.t.Helper()
	stop := make(chan struct{})
	var group errgroup.Group
	for _, happens := range happening {
		group.Go(func() error {
			for round := 1; ; round++ {
				select {
				case <-stop:
					return nil
				default:
					if err := happens(round); err != nil {
						return err
					}
				}
			}
		})
	}
	end := sync.OnceFunc(func() { close(stop) })
	defer end() // when do ends the test
	do()
	end()
	if err := group.Wait(); err != nil {
		f.t.Error(err)
	}
}

// accepted makes a mutation that must have no errors of any kind.
func (f *fleet) accepted(query string, v vars) error {
	a, err := f.front.Load().send(query, v)
	if err == nil && (len(a.Errors) > 0 || !strings.Contains(a.Text, `"userErrors":[]`)) {
		err = errors.New(a.Text)
	}
	return err
}

// The procedure of deploy/runbooks/rotate-encryption-keys.md, while events are
// delivered and webhooks are changed: no attempt fails.
func TestRekey_keysAreRotatedWhileDelivering(t *testing.T) {
	t.Parallel()
	s, r := newSystem(t), newReceiver(t)
	var fresh [32]byte
	_, _ = rand.Read(fresh[:]) // never fails
	formerKey, newKey := s.key, base64.StdEncoding.EncodeToString(fresh[:])
	f := &fleet{system: s}
	f.roll(formerKey)
	header := func(value string) vars { return vars{"headers": []vars{{"name": "X-Api-Key", "value": value}}} }
	r.subscribe(f.front.Load(), "/quiet", nil)
	changed := r.subscribe(f.front.Load(), "/changed", header("key-0"))
	rotated := r.subscribe(f.front.Load(), "/rotated", header("key-0"))
	if err := f.accepted(rotateHook, vars{"id": rotated.Webhook.ID, "grace": 3600}); err != nil {
		t.Fatal(err)
	}

	var events atomic.Int64
	f.during(func() {
		some := func() {
			t.Helper()
			until := events.Load() + 20
			await(t, "more events", func() bool { return t.Failed() || events.Load() >= until })
		}
		some()
		f.roll(formerKey + "," + newKey)
		f.doctor(formerKey+","+newKey, " is all that is needed: ")
		some()
		f.roll(newKey + "," + formerKey)
		f.doctor(newKey+","+formerKey, "webhooks still need encryption key 2")
		var rotations errgroup.Group
		rotations.Go(func() error { // ten secrets are kept; the receiver trusts the first
			for range 7 {
				if err := f.accepted(rotateHook, vars{"id": rotated.Webhook.ID, "grace": 3600}); err != nil {
					return err
				}
			}
			return nil
		})
		out, code := f.hooksctl([]string{"HOOKS_ENCRYPTION_KEYS=" + newKey + "," + formerKey}, "rekey")
		if err := rotations.Wait(); err != nil || code != 0 || !strings.Contains(out, "no other key is needed") {
			t.Errorf("rekey: exit code %d, while rotating secrets: %v\n%s", code, err, out)
		}
		f.doctor(newKey+","+formerKey, " is all that is needed: ")
		some()
		f.roll(newKey)
		f.doctor(newKey, " is all that is needed\n")
		some()
	}, func(round int) error {
		defer events.Add(1)
		return f.accepted(dispatchOne, vars{"input": event(strconv.Itoa(round))})
	}, func(round int) error {
		return f.accepted(updateHook, vars{"id": changed.Webhook.ID, "input": header(fmt.Sprint("key-", round))})
	})
	s.awaitIdle()
	f.checkDelivered(r, int(events.Load()))
}

// checkDelivered wants each event at each of the three paths, at the first attempt.
func (f *fleet) checkDelivered(r *receiver, events int) {
	f.t.Helper()
	f.t.Logf("%d events", events)
	if n := f.count(`SELECT count(*) FROM deliveries WHERE status <> 'success' OR attempt_count <> 1`); n != 0 {
		f.t.Errorf("%d deliveries did not succeed at once", n)
	}
	for _, path := range []string{"/quiet", "/changed", "/rotated"} {
		came := r.requests(path)
		if len(came) != events {
			f.t.Errorf("%s got %d requests for %d events", path, len(came), events)
		}
		for _, got := range came {
			if path != "/quiet" && !strings.HasPrefix(got.Header.Get("X-Api-Key"), "key-") {
				f.t.Errorf("%s got X-Api-Key %q", path, got.Header.Get("X-Api-Key"))
			}
		}
	}
}
