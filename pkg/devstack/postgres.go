package devstack

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/lib/pq"
)

const (
	postgresUser     = "hooks"
	postgresDatabase = "hooks"
)

// PostgresConfig says what to start.
type PostgresConfig struct {
	// Dir is a folder for this server alone. Data found there are used again.
	Dir string
	// Durable turns on what keeps commits over a crash of the machine.
	Durable bool
	// Settings are further settings by name.
	Settings map[string]string
}

// Postgres is one private PostgreSQL. Start, Stop and Kill may follow each
// other in any order; each is to be called by one goroutine at a time.
type Postgres struct {
	cfg      PostgresConfig
	program  candidate
	owner    *owner
	data     string
	password string
	server   server
}

// NewPostgres finds the program and prepares the folder; nothing runs yet.
func NewPostgres(cfg PostgresConfig) (*Postgres, error) {
	program, err := newestServer("PostgreSQL", minPostgres(), postgresPrograms())
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, folderMode); err != nil {
		return nil, fmt.Errorf("making folder for PostgreSQL: %w", err)
	}
	p := &Postgres{cfg: cfg, program: program}
	// SIGINT is a "fast" shutdown: sessions are ended, commits are kept. Data that
	// nobody will read again need no last checkpoint: SIGQUIT, "immediate".
	p.server = server{name: "PostgreSQL", log: filepath.Join(cfg.Dir, "postgres.log"), stop: syscall.SIGQUIT, freePort: freePort}
	if cfg.Durable {
		p.server.stop = syscall.SIGINT
	}
	if p.owner, err = serverOwner(); err != nil {
		return nil, err
	}
	if p.data, err = p.owner.dataDir(cfg.Dir); err != nil {
		return nil, err
	}
	if p.password, err = storedPassword(filepath.Join(cfg.Dir, "password")); err != nil {
		return nil, errors.Join(err, p.removeOutside())
	}
	return p, nil
}

// Version returns the server's version, e.g. "15.18".
func (p *Postgres) Version() string { return p.program.version.String() }

// URL returns the URL of a database of a superuser, empty at the very first
// start. It is valid after the first Start and stays the same over Stop, Kill and Start.
func (p *Postgres) URL() string { return p.url(postgresDatabase) }

func (p *Postgres) url(database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(postgresUser, p.password),
		Host: p.server.addr(), Path: "/" + database, RawQuery: "sslmode=disable",
	}
	return u.String()
}

// PID returns the process id of the running server, 0 when it does not run.
func (p *Postgres) PID() int { return p.server.pid() }

// Exited is closed when the server that the last Start started has ended.
func (p *Postgres) Exited() <-chan struct{} { return p.server.exited() }

// Start starts the server and returns when it answers a query.
func (p *Postgres) Start(ctx context.Context) error {
	if err := p.initialise(ctx); err != nil {
		return err
	}
	if err := p.server.start(ctx, p.command, p.ping); err != nil {
		return err
	}
	return p.createDatabase(ctx)
}

// Stop stops the server and waits; when ctx ends first it kills.
func (p *Postgres) Stop(ctx context.Context) error { return p.server.end(ctx) }

// Kill is SIGKILL: the server gets no chance to put anything in order.
func (p *Postgres) Kill() error { return p.server.kill() }

// Abort is an "immediate" shutdown: sessions end without a word, and the next
// Start recovers as after a crash. When ctx ends first it kills.
func (p *Postgres) Abort(ctx context.Context) error { return p.server.endBy(ctx, syscall.SIGQUIT) }

// Demote makes a running server a standby that follows nobody: it ends all
// sessions, comes back at once, and is read-only until Promote.
func (p *Postgres) Demote(ctx context.Context) error {
	if err := p.Stop(ctx); err != nil {
		return err
	}
	signal := filepath.Join(p.data, "standby.signal")
	if err := os.WriteFile(signal, nil, 0o600); err != nil {
		return fmt.Errorf("demoting PostgreSQL: %w", err)
	}
	if p.owner != nil {
		if err := os.Chown(signal, int(p.owner.uid), int(p.owner.gid)); err != nil {
			return fmt.Errorf("demoting PostgreSQL: %w", err)
		}
	}
	return p.Start(ctx)
}

// Promote lets a demoted server write again, without ending sessions.
func (p *Postgres) Promote(ctx context.Context) error {
	return p.withDB(func(db *sql.DB) error {
		var promoted bool
		if err := db.QueryRowContext(ctx, `SELECT pg_promote()`).Scan(&promoted); err != nil || promoted {
			return err
		}
		return errors.New("it was not promoted in time")
	})
}

// Set changes a setting of the running server that needs no restart. Sessions get to
// know of it with their next statement, also those that are open.
func (p *Postgres) Set(ctx context.Context, name, value string) error {
	return p.withDB(func(db *sql.DB) error {
		_, err := db.ExecContext(ctx, `ALTER SYSTEM SET `+pq.QuoteIdentifier(name)+` = `+pq.QuoteLiteral(value))
		if err == nil {
			_, err = db.ExecContext(ctx, `SELECT pg_reload_conf()`)
		}
		return err
	})
}

// initialise makes the data folder with initdb, once.
func (p *Postgres) initialise(ctx context.Context) error {
	made, err := os.ReadFile(filepath.Join(p.data, "PG_VERSION"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("looking for data of PostgreSQL: %w", err)
	}
	if err == nil && p.everStarted() {
		if v := strings.TrimSpace(string(made)); v != strconv.Itoa(p.program.version.major) {
			return fmt.Errorf("data in %s are of PostgreSQL %s and this is %s: delete that folder to start afresh", p.data, v, p.Version())
		}
		return nil
	}
	if err := p.clear(); err != nil {
		return fmt.Errorf("removing data that were never finished: %w", err)
	}
	pw, err := p.passwordFile()
	if err != nil {
		return err
	}
	defer os.Remove(pw)
	args := []string{
		"--pgdata", p.data, "--username", postgresUser, "--pwfile", pw,
		"--auth", "password", // over loopback only, and a fresh random one: cheaper than SCRAM for thousands of test connections
		"--encoding", "UTF8", "--locale", "C",
	}
	if !p.cfg.Durable {
		args = append(args, "--no-sync")
	}
	cmd := exec.CommandContext(ctx, filepath.Join(filepath.Dir(p.program.path), "initdb"), args...)
	p.asOwner(cmd)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("running initdb: %w:\n%s", err, out)
	}
	return nil
}

// everStarted tells data that hold something from those of an initdb that was
// interrupted: the server leaves a note of its options at its first start.
func (p *Postgres) everStarted() bool {
	_, err := os.Stat(filepath.Join(p.data, "postmaster.opts"))
	return err == nil
}

// clear empties the data folder, which initdb wants.
func (p *Postgres) clear() error {
	entries, err := os.ReadDir(p.data)
	for _, entry := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(p.data, entry.Name())))
	}
	return err
}

// passwordFile hands the password to initdb, in a file that its user can read.
func (p *Postgres) passwordFile() (string, error) {
	f, err := os.CreateTemp(tempRoot(), "devstack-pw-")
	if err != nil {
		return "", fmt.Errorf("making password file: %w", err)
	}
	_, err = f.WriteString(p.password + "\n")
	if p.owner != nil {
		err = errors.Join(err, f.Chown(int(p.owner.uid), int(p.owner.gid)))
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(fmt.Errorf("writing password file: %w", err), os.Remove(f.Name()))
	}
	return f.Name(), nil
}

func (p *Postgres) command() *exec.Cmd {
	args := []string{"-D", p.data}
	settings := p.settings()
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, "-c", name+"="+settings[name])
	}
	cmd := exec.Command(p.program.path, args...) //nolint:noctx // it outlives the context of its start
	p.asOwner(cmd)
	return cmd
}

func (p *Postgres) asOwner(cmd *exec.Cmd) {
	cmd.Dir = p.data
	cmd.Env = cleanEnv()
	cmd.SysProcAttr = childAttr(p.server.stop, p.owner.credential())
}

func (p *Postgres) settings() map[string]string {
	host, port := p.server.hostPort()
	s := map[string]string{
		"listen_addresses": host, "port": port, "unix_socket_directories": "",
		"timezone": "UTC", "log_timezone": "UTC",
		"max_connections": "400", // test packages run in parallel, each test with pools of its own
		"shared_buffers":  "256MB",
	}
	if !p.cfg.Durable {
		maps.Copy(s, map[string]string{
			"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off",
			"autovacuum_naptime": "1h", // the database of a test lives for a second
		})
	}
	maps.Copy(s, p.cfg.Settings)
	return s
}

func (p *Postgres) ping(ctx context.Context) error {
	return p.withDB(func(db *sql.DB) error { return db.PingContext(ctx) })
}

func (p *Postgres) createDatabase(ctx context.Context) error {
	return p.withDB(func(db *sql.DB) error {
		var exists bool
		err := db.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, postgresDatabase).Scan(&exists)
		if err != nil || exists {
			return err
		}
		_, err = db.ExecContext(ctx, `CREATE DATABASE `+pq.QuoteIdentifier(postgresDatabase))
		return err
	})
}

// withDB connects to the database that every server has.
func (p *Postgres) withDB(f func(*sql.DB) error) error {
	connector, err := pq.NewConnector(p.url("postgres"))
	if err != nil {
		return fmt.Errorf("reading URL of private PostgreSQL: %w", err)
	}
	db := sql.OpenDB(connector)
	if err := errors.Join(f(db), db.Close()); err != nil {
		return fmt.Errorf("asking private PostgreSQL: %w", err)
	}
	return nil
}

// removeOutside removes data that could not lie in the folder itself.
func (p *Postgres) removeOutside() error {
	if strings.HasPrefix(p.data, p.cfg.Dir) {
		return nil
	}
	if err := os.RemoveAll(p.data); err != nil {
		return fmt.Errorf("removing data of PostgreSQL: %w", err)
	}
	return nil
}

// storedPassword returns the password in a file, a new random one at first.
func storedPassword(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err == nil && len(b) > 0 {
		return string(b), nil
	}
	password := rand.Text()
	if err := os.WriteFile(path, []byte(password), 0o600); err != nil {
		return "", fmt.Errorf("storing password: %w", err)
	}
	return password, nil
}
