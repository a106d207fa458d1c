package main

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	_ "github.com/lib/pq"
)

// readProperties reads what the charts mount: KEY=VALUE lines, with ${env:NAME:-OTHERWISE} in values.
func readProperties(path string) (map[string]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("PROPERTIES: %w", err)
	}
	defer file.Close()
	variable := regexp.MustCompile(`\$\{env:([^:}]+)(?::-([^}]*))?\}`)
	properties := map[string]string{}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		key, value, found := strings.Cut(line, "=")
		if !found || strings.HasPrefix(line, "#") {
			continue
		}
		properties[strings.TrimSpace(key)] = variable.ReplaceAllStringFunc(strings.TrimSpace(value), func(found string) string {
			parts := variable.FindStringSubmatch(found)
			return env(parts[1], parts[2])
		})
	}
	return properties, lines.Err()
}

// rows is the table `writes (n, client_time)`, the same as of the other writers.
type rows struct {
	db   *sql.DB
	lock sync.Mutex
	made bool
}

const patience = 30 * time.Second

// openRows gives rows without a database where the properties name no PostgreSQL: then there is only a gate.
func openRows(properties map[string]string) (*rows, error) {
	jdbc := properties["scalar.db.contact_points"]
	if properties["scalar.db.storage"] != "jdbc" || !strings.HasPrefix(jdbc, "jdbc:postgresql:") {
		return &rows{}, nil
	}
	source, err := url.Parse(strings.TrimPrefix(jdbc, "jdbc:"))
	if err != nil {
		return nil, err
	}
	source.Scheme, source.Host = "postgres", serviceAddress(source.Hostname(), source.Port())
	source.User = url.UserPassword(properties["scalar.db.username"], properties["scalar.db.password"])
	source.RawQuery = "sslmode=disable&connect_timeout=3"
	db, err := sql.Open("postgres", source.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(8)
	db.SetMaxIdleConns(8)
	return &rows{db: db}, nil
}

// serviceAddress finds a Service of the pod's namespace in the variables that the kubelet gives: the cluster has no DNS
// server. Other names are left as they are.
func serviceAddress(host, port string) string {
	service, _, _ := strings.Cut(host, ".")
	prefix := strings.ReplaceAll(strings.ToUpper(service), "-", "_")
	if port == "" {
		port = "5432"
	}
	return net.JoinHostPort(env(prefix+"_SERVICE_HOST", host), port)
}

// table makes it when this process did not yet.
func (r *rows) table(ctx context.Context) error {
	if r.db == nil {
		return errors.New("the properties name no PostgreSQL: this stand-in keeps rows in no other database")
	}
	r.lock.Lock()
	defer r.lock.Unlock()
	if r.made {
		return nil
	}
	_, err := r.db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS writes (n BIGINT PRIMARY KEY, client_time BIGINT NOT NULL)")
	r.made = err == nil
	return err
}

func (r *rows) put(n, unixNano int64) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := r.table(ctx); err != nil {
		return err
	}
	_, err := r.db.ExecContext(ctx, "INSERT INTO writes VALUES ($1, $2)", n, unixNano)
	return err
}

func (r *rows) highest() (highest int64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err = r.table(ctx); err == nil {
		err = r.db.QueryRowContext(ctx, "SELECT coalesce(max(n), 0) FROM writes").Scan(&highest)
	}
	return
}
